//! Letters to a mail server: handed in at once, sent in the background, tried again until they are no use any more.
//!
//! Nobody who hands a letter in waits for a mail server or learns how it went. What waits is bounded in number and in
//! time, and lives in memory: a restart loses it, and whoever waits for it asks again. The log is told when mail stops
//! and when it flows again, and never to whom or about what.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};
use portcullis_config::mail::{Mail, MailServer, MailTls};
use secrecy::ExposeSecret;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};

/// Letters that wait or are being sent.
const PLACES: usize = 256;
/// Of them at the same time.
const AT_ONCE: usize = 4;
/// For each command of the conversation with the server.
const TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Deliberately without `Debug`: it holds an address and a code.
pub struct Letter {
    pub to: String,
    pub subject: &'static str,
    pub text: String,
    /// After so long it is not worth sending.
    pub useful_for: Duration,
}

/// As many letters wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many letters are waiting to be sent")]
pub struct Crowded;

#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error("`from` is no address that mail can be from: {0}")]
    From(#[from] lettre::address::AddressError),
    #[error("the mail server cannot be asked: {0}")]
    Server(#[from] lettre::transport::smtp::Error),
}

/// Where letters are handed in. Cheap to clone.
#[derive(Clone)]
pub struct Post(Arc<dyn Fn(Letter) -> Result<(), Crowded> + Send + Sync>);

impl Post {
    /// Must be called inside the runtime that will send.
    pub fn to_server(mail: &Mail) -> Result<Self, MailError> {
        let office = Arc::new(Office::open(mail)?);
        Ok(Self::through(move |letter| office.take(letter)))
    }

    /// Another way than by a server, for tests.
    pub fn through(way: impl Fn(Letter) -> Result<(), Crowded> + Send + Sync + 'static) -> Self {
        Self(Arc::new(way))
    }

    pub fn send(&self, letter: Letter) -> Result<(), Crowded> {
        (self.0)(letter)
    }
}

struct Office {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    places: Arc<Semaphore>,
    counters: Arc<Semaphore>,
    /// So that a server that is away is told of once.
    is_down: AtomicBool,
}

impl Office {
    fn open(mail: &Mail) -> Result<Self, MailError> {
        Ok(Self {
            transport: transport(mail)?,
            from: mail.from.parse()?,
            places: Arc::new(Semaphore::new(PLACES)),
            counters: Arc::new(Semaphore::new(AT_ONCE)),
            is_down: AtomicBool::new(false),
        })
    }

    fn take(self: &Arc<Self>, letter: Letter) -> Result<(), Crowded> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_none| Crowded)?;
        // An address that is none was refused at registration; what gets this far is not worth a word to anybody.
        if let Some(message) = message(&self.from, &letter) {
            let until = Instant::now() + letter.useful_for;
            tokio::spawn(Arc::clone(self).deliver(message, until, place));
        }
        Ok(())
    }

    async fn deliver(
        self: Arc<Self>,
        message: Message,
        until: Instant,
        _place: OwnedSemaphorePermit,
    ) {
        let mut pause = FIRST_PAUSE;
        loop {
            let sent = {
                let _counter = self.counters.acquire().await;
                self.transport.send(message.clone()).await
            };
            match sent {
                Ok(_answer) => return self.flows(),
                Err(error) => self.stops(&error),
            }
            if Instant::now() + pause >= until {
                return;
            }
            sleep(pause).await;
            pause = (pause * 4).min(LONGEST_PAUSE);
        }
    }

    fn flows(&self) {
        if self.is_down.swap(false, Ordering::Relaxed) {
            tracing::info!("mail is sent again");
        }
    }

    /// The server's own words may repeat the address, so only their kind is told.
    fn stops(&self, error: &lettre::transport::smtp::Error) {
        if self.is_down.swap(true, Ordering::Relaxed) {
            return;
        }
        let status = error.status().map(|status| status.to_string());
        let kind = kind(error);
        tracing::warn!(kind, status, "mail is not sent; it is tried again");
    }
}

fn kind(error: &lettre::transport::smtp::Error) -> &'static str {
    if error.is_permanent() {
        "refused by the server"
    } else if error.is_transient() {
        "put off by the server"
    } else if error.is_timeout() {
        "no answer in time"
    } else if error.is_tls() {
        "no TLS connection"
    } else if error
        .source()
        .is_some_and(<dyn Error>::is::<std::io::Error>)
    {
        "no connection"
    } else {
        "no conversation"
    }
}

/// In plain text. Header lines are made of parsed addresses and our own subjects, so none can be slipped in.
fn message(from: &Mailbox, letter: &Letter) -> Option<Message> {
    let to: Mailbox = Mailbox::new(None, letter.to.parse().ok()?);
    let message = Message::builder()
        .from(from.clone())
        .to(to)
        .subject(letter.subject)
        .header(ContentType::TEXT_PLAIN)
        .body(letter.text.clone());
    message.ok()
}

fn transport(mail: &Mail) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
    let MailServer {
        host,
        port,
        tls,
        login,
    } = &mail.server;
    let tls = match tls {
        MailTls::Plain => Tls::None,
        MailTls::IfOffered => Tls::Opportunistic(tls_parameters(mail)?),
        MailTls::Required => Tls::Required(tls_parameters(mail)?),
        MailTls::Wrapped => Tls::Wrapper(tls_parameters(mail)?),
    };
    let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(*port)
        .tls(tls)
        .timeout(Some(TIMEOUT));
    let builder = match login {
        Some(login) => {
            let password = login.password.expose_secret().to_owned();
            builder.credentials(Credentials::new(login.user.clone(), password))
        }
        None => builder,
    };
    Ok(builder.build())
}

fn tls_parameters(mail: &Mail) -> Result<TlsParameters, MailError> {
    let builder = TlsParameters::builder(mail.server.host.clone());
    let Some(ca) = &mail.ca else {
        return Ok(builder.build()?);
    };
    let mut builder = builder.certificate_store(CertificateStore::None);
    for authority in ca.certificates() {
        builder = builder.add_root_certificate(Certificate::from_der(authority.to_vec())?);
    }
    Ok(builder.build()?)
}

#[cfg(test)]
mod tests;
