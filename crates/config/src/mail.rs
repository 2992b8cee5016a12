//! `auth.mail:` where mail is handed in, who it is from, and the pages its links lead to.

use secrecy::{ExposeSecret, SecretString};

use crate::certificates::Authorities;

#[derive(Clone)]
pub struct Mail {
    pub server: MailServer,
    /// An address, or a name with one in angle brackets.
    pub from: String,
    /// The operator's own page: a code is put behind it. Without it the mail shows the code alone.
    pub reset_link: Option<String>,
    pub verify_link: Option<String>,
    /// Whose word is taken for the server's certificate; those that Mozilla trusts where absent.
    pub ca: Option<Authorities>,
}

#[derive(Clone)]
pub struct MailServer {
    pub host: String,
    pub port: u16,
    pub tls: MailTls,
    pub login: Option<MailLogin>,
}

/// How the connection is kept from being read. A certificate is verified wherever there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// Not at all.
    Plain,
    /// By STARTTLS if the server offers it.
    IfOffered,
    /// By STARTTLS, or no mail is sent.
    Required,
    /// From the first byte.
    Wrapped,
}

#[derive(Clone)]
pub struct MailLogin {
    pub user: String,
    pub password: SecretString,
}

impl PartialEq for Mail {
    fn eq(&self, other: &Self) -> bool {
        let login = |mail: &Self| {
            let login = mail.server.login.as_ref();
            login.map(|login| {
                (
                    login.user.clone(),
                    login.password.expose_secret().to_owned(),
                )
            })
        };
        let rest = |mail: &Self| {
            (
                (mail.server.host.clone(), mail.server.port, mail.server.tls),
                (
                    mail.from.clone(),
                    mail.reset_link.clone(),
                    mail.verify_link.clone(),
                ),
                mail.ca.as_ref().map(|ca| ca.certificates().to_vec()),
            )
        };
        login(self) == login(other) && rest(self) == rest(other)
    }
}
