//! Hearing that the revocation log has grown: PostgreSQL tells whoever listens, at the commit (migration 0009).
//!
//! This only hastens those who look at the log from time to time, and who go on to do so whatever happens here: what is not heard
//! costs one of their pauses, no failure ends anything, and a connection begins with the news that something may have been missed.
//!
//! A pooler that gives connections out by transaction takes a LISTEN and hands nothing on; worse, what is said then
//! comes to whoever uses that connection next and does not expect it. So a new connection listens for an echo first, on a channel of
//! its own that nobody else uses, and without one it does not listen to anything else.

use std::{convert::Infallible, future::pending, mem, time::Duration};

use tokio::{
    select,
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    engine::{Engine, Listener, Postgres, Said},
    error::StoreError,
    store::Store,
};

const CHANNEL: &str = "portcullis_revocations";

/// For an echo on its way, which takes a millisecond.
const ECHO_LIMIT: Duration = Duration::from_secs(10);
/// Of a connection on which nothing is said. Whatever is on its way may forget it without a word.
const CHECK_EVERY: Duration = Duration::from_secs(30);

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Where several connections in a row would not hear. Somebody may set up the pooler in another way.
const DEAF_PAUSE: Duration = Duration::from_secs(600);
/// Failures in a row. A connection that is merely closed, as idle ones are, is there again after the first.
const TOLD_AFTER: u32 = 2;
/// An echo that does not come once may have been held up.
const DEAF_AFTER: u32 = 3;

/// Says that revocations may have been logged since one last looked. Many that come at once are one.
#[derive(Clone, Debug)]
pub struct RevocationNews {
    told: watch::Receiver<u64>,
}

/// The number goes up with each piece of news.
impl From<watch::Receiver<u64>> for RevocationNews {
    fn from(told: watch::Receiver<u64>) -> Self {
        Self { told }
    }
}

impl RevocationNews {
    /// The same, without the news there was so far.
    #[must_use]
    pub fn from_now_on(&self) -> Self {
        let mut later = self.clone();
        later.told.mark_unchanged();
        later
    }

    /// How often there was news.
    pub fn count(&self) -> u64 {
        *self.told.borrow()
    }

    /// Waits for news since this returned last. For ever, where nobody tells (any more). Nothing is lost where this is not
    /// awaited to its end.
    pub async fn heard(&mut self) {
        if self.told.changed().await.is_err() {
            pending().await
        }
    }
}

impl Store {
    /// Begins to listen, until the store is closed or nobody wants to know any more. SQLite has nobody who tells.
    ///
    /// Must be called inside the runtime.
    pub fn revocation_news(&self) -> RevocationNews {
        let (tell, told) = watch::channel(0);
        if let Engine::Postgres(postgres) = &self.engine {
            let ear = Ear {
                listening: postgres.clone(),
                saying: postgres.clone(),
                echo_limit: ECHO_LIMIT,
                tell,
            };
            tokio::spawn(ear.listen_to_the_end());
        }
        told.into()
    }
}

/// Why there is nothing to hear.
#[derive(Debug, thiserror::Error)]
enum Deaf {
    #[error(transparent)]
    Connection(#[from] StoreError),
    #[error("the database is behind a pooler that gives connections out by transaction")]
    Pooled,
}

impl Deaf {
    fn pause(&self, failures: u32) -> Duration {
        match self {
            Self::Pooled if failures >= DEAF_AFTER => DEAF_PAUSE,
            Self::Pooled | Self::Connection(_) => pause_after(failures),
        }
    }
}

struct Ear {
    listening: Postgres,
    /// The same database, unless a test has another.
    saying: Postgres,
    echo_limit: Duration,
    tell: watch::Sender<u64>,
}

/// Since something was heard last.
#[derive(Default)]
struct Silence {
    failures: u32,
    is_told: bool,
}

impl Ear {
    async fn listen_to_the_end(self) {
        select! {
            never = self.listen() => match never {},
            () = self.listening.closed() => {}
            () = self.tell.closed() => {}
        }
    }

    async fn listen(&self) -> Infallible {
        let mut silence = Silence::default();
        loop {
            let Err(error) = self.listen_once(&mut silence).await;
            silence.goes_on(&error);
            sleep(error.pause(silence.failures)).await;
        }
    }

    /// Returns when the connection is of no use any more.
    async fn listen_once(&self, silence: &mut Silence) -> Result<Infallible, Deaf> {
        let mut listener = self.listening.listener().await?;
        if !self.has_echo(&mut listener).await? {
            return Err(Deaf::Pooled);
        }
        listener.listen(CHANNEL).await?;
        silence.ends();
        // What was committed before was not heard.
        self.tell();
        loop {
            match timeout(CHECK_EVERY, listener.hear()).await {
                Ok(said) => self.pass_on(said?),
                Err(_nothing_said) => listener.check().await?,
            }
        }
    }

    /// Whether this connection hears what another one says.
    async fn has_echo(&self, listener: &mut Listener) -> Result<bool, StoreError> {
        let echo = listener.echo().to_owned();
        listener.listen(&echo).await?;
        self.saying.listener().await?.say(&echo).await?;
        match timeout(self.echo_limit, listener.hear()).await {
            Ok(said) => said.map(|_echo| true),
            Err(_nothing_said) => Ok(false),
        }
    }

    fn pass_on(&self, said: Said) {
        match said {
            Said::News => self.tell(),
            Said::Echo => {}
        }
    }

    fn tell(&self) {
        self.tell.send_modify(|count| *count += 1);
    }
}

impl Silence {
    fn goes_on(&mut self, error: &Deaf) {
        self.failures = self.failures.saturating_add(1);
        let lasts = self.failures >= TOLD_AFTER;
        if lasts && !mem::replace(&mut self.is_told, true) {
            tracing::warn!(%error, "the database does not tell of revocations: each is found by the look of every second");
        }
    }

    fn ends(&mut self) {
        if mem::take(self).is_told {
            tracing::info!("the database tells of revocations");
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
