//! What is written to users: plain and short, in words that do not presume the reader asked for it.

use std::time::Duration;

use portcullis_config::mail::Mail;
use portcullis_outbound::mail::Letter;
use portcullis_store::CodePurpose;

/// How long a code is good, and how long it is worth sending.
pub(crate) const CODE_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Of each purpose the operator's own page, where there is one.
#[derive(Clone)]
pub(crate) struct Links {
    reset: Option<String>,
    verify: Option<String>,
}

impl Links {
    pub(crate) fn of(mail: &Mail) -> Self {
        Self {
            reset: mail.reset_link.clone(),
            verify: mail.verify_link.clone(),
        }
    }

    pub(crate) fn letter(&self, purpose: CodePurpose, to: &str, code: &str) -> Letter {
        let (subject, reason, link, otherwise) = match purpose {
            CodePurpose::ResetPassword => (
                "Reset your password",
                "Somebody, most likely you, has asked to reset the password of this account.",
                &self.reset,
                "If it was not you, do nothing: your password stays as it is.",
            ),
            CodePurpose::VerifyEmail => (
                "Verify your e-mail address",
                "This address was given for an account.",
                &self.verify,
                "If it was not you, do nothing.",
            ),
        };
        let way = match link {
            Some(link) => format!("To go on, open this page within 15 minutes:\n\n{link}{code}"),
            None => format!("To go on, enter this code within 15 minutes:\n\n{code}"),
        };
        Letter {
            to: to.to_owned(),
            subject,
            text: format!("{reason}\n\n{way}\n\n{otherwise}\n"),
            useful_for: CODE_LIFETIME,
        }
    }
}
