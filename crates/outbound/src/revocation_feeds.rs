//! Follows the revocations of other gateways: one task for each issuer that has a `revocations_url`. It reads their log
//! from the beginning, waits for what comes next, and confirms to [`Revocations`] that nothing is missing. What happens to
//! requests while nothing is confirmed is decided elsewhere.
//!
//! After an error the log is read from its beginning: whoever answers then may have another one, with the same numbers.
//!
//! A task ends when nobody holds its revocations any more, which is some time after the last configuration that named
//! its issuer was replaced.

mod page;
mod reader;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use portcullis_config::{
    issuers::{Issuer, RevocationFeed},
    units::Timestamp,
};
use portcullis_tokens::Revocations;
use secrecy::ExposeSecret;
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep, timeout},
};

use self::{
    page::{FULL, Page},
    reader::{ANSWER_WITHIN, Reader},
};
use crate::{
    fetch::{FetchError, Fetcher},
    issuer_keys::Roll,
};

pub use page::NotUnderstood;
pub use reader::FeedError;

/// The wall clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// More rows than an issuer of any size has within the lifetime of its tokens.
const MAX_ROWS: usize = 1_000_000;
/// Also where the other side does not hold its answers back.
const PACE: Duration = Duration::from_millis(200);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Everybody's revocations that are followed.
pub struct FeedKeeper {
    kept: Mutex<Vec<Kept>>,
    fetcher: Mutex<Option<Arc<Fetcher>>>,
    runtime: Handle,
    roll: Arc<Roll>,
    clock: Clock,
}

/// One issuer whose revocations are followed, for as long as somebody uses them.
struct Kept {
    source: Source,
    revocations: Weak<Revocations>,
    began: Timestamp,
    attempted: watch::Receiver<bool>,
}

/// What makes another follower of it when it changes.
#[derive(Clone)]
struct Source {
    name: String,
    feed: RevocationFeed,
    /// No row matters for longer than a token can live.
    longest: Duration,
}

impl Source {
    fn is(&self, other: &Self) -> bool {
        let secret = |source: &Self| source.feed.client_secret.expose_secret().to_owned();
        self.name == other.name
            && self.longest == other.longest
            && self.feed.url == other.feed.url
            && self.feed.client_id == other.feed.client_id
            && secret(self) == secret(other)
    }
}

impl FeedKeeper {
    /// Its tasks run on `runtime`.
    pub fn new(runtime: Handle, roll: Roll, clock: Clock) -> Self {
        Self {
            kept: Mutex::default(),
            fetcher: Mutex::default(),
            runtime,
            roll: Arc::new(roll),
            clock,
        }
    }

    /// The revocations of this issuer: those of before, if it is followed already, or new ones that are read at once. An
    /// issuer that cannot be reached is no error.
    pub fn revocations_of(
        &self,
        issuer: &Issuer,
        feed: &RevocationFeed,
    ) -> Result<Arc<Revocations>, FetchError> {
        let source = Source {
            name: issuer.name.clone(),
            feed: feed.clone(),
            longest: issuer.max_token_lifetime + issuer.clock_skew,
        };
        let mut kept = self.kept.lock();
        kept.retain(|kept| kept.revocations.strong_count() > 0);
        let known = kept.iter().find(|kept| kept.source.is(&source));
        if let Some(revocations) = known.and_then(|kept| kept.revocations.upgrade()) {
            return Ok(revocations);
        }
        // Only the way to them has changed: what is known stays known while they are read anew.
        let same_name = |kept: &&Kept| kept.source.name == source.name;
        let of_before = kept.iter().rev().find(same_name);
        let of_before = of_before.and_then(|kept| kept.revocations.upgrade());
        let revocations = Arc::new(match of_before {
            Some(known) => Revocations::beginning_with(&known),
            None => Revocations::new(),
        });
        let followed = self.follow(source, &revocations)?;
        kept.push(followed);
        Ok(revocations)
    }

    fn follow(&self, source: Source, revocations: &Arc<Revocations>) -> Result<Kept, FetchError> {
        let (tell, attempted) = watch::channel(false);
        let follower = Follower {
            reader: Reader::new(self.fetcher()?, source.feed.clone()),
            source: source.clone(),
            revocations: Arc::downgrade(revocations),
            place: None,
            failures: 0,
            state: State::New,
            attempted: tell,
            roll: Arc::clone(&self.roll),
            clock: Arc::clone(&self.clock),
        };
        self.runtime.spawn(follower.run());
        Ok(Kept {
            source,
            revocations: Arc::downgrade(revocations),
            began: (self.clock)(),
            attempted,
        })
    }

    /// Made when the first issuer needs it: it loads the system's roots, which costs milliseconds.
    fn fetcher(&self) -> Result<Arc<Fetcher>, FetchError> {
        let mut fetcher = self.fetcher.lock();
        if let Some(fetcher) = &*fetcher {
            return Ok(Arc::clone(fetcher));
        }
        let made = Arc::new(Fetcher::patient(ANSWER_WITHIN)?);
        *fetcher = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Returns once each log was read whole, or could not be, and after `limit` in any case.
    pub async fn attempted(&self, limit: Duration) {
        let attempts: Vec<_> = {
            let kept = self.kept.lock();
            kept.iter().map(|kept| kept.attempted.clone()).collect()
        };
        let all = async {
            for mut attempted in attempts {
                // Its task has ended: nothing is to be waited for.
                let _ended = attempted.wait_for(|attempted| *attempted).await;
            }
        };
        let _late = timeout(limit, all).await;
    }

    /// Since the least recent confirmation of any of them, or since it was first asked for; `None` where none is followed.
    pub fn oldest_age(&self, now: Timestamp) -> Option<Duration> {
        let kept = self.kept.lock();
        let age = |kept: &Kept| {
            let revocations = kept.revocations.upgrade()?;
            let unread = || now.saturating_since(kept.began);
            Some(revocations.age(now).unwrap_or_else(unread))
        };
        kept.iter().filter_map(age).max()
    }
}

/// What was said of it last: each change is one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Followed,
    Away,
    Stale,
}

struct Follower {
    source: Source,
    reader: Reader,
    revocations: Weak<Revocations>,
    /// Where to go on, once the log was begun.
    place: Option<Place>,
    failures: u32,
    state: State,
    attempted: watch::Sender<bool>,
    roll: Arc<Roll>,
    clock: Clock,
}

#[derive(Clone, Copy)]
struct Place {
    after: u64,
    /// There was nothing more when it was last asked.
    is_at_head: bool,
}

impl Follower {
    async fn run(mut self) {
        let mut swept = Instant::now();
        while self.revocations.strong_count() > 0 {
            let began = Instant::now();
            let outcome = self.turn().await;
            let pause = match outcome {
                Ok(()) => PACE.saturating_sub(began.elapsed()),
                Err(error) => self.failed(&error),
            };
            if swept.elapsed() >= SWEEP_EVERY {
                swept = Instant::now();
                self.sweep();
            }
            sleep(pause).await;
        }
    }

    /// One page.
    async fn turn(&mut self) -> Result<(), FeedError> {
        let place = self.place.unwrap_or(Place {
            after: 0,
            is_at_head: false,
        });
        let page = self.reader.page(place.after, place.is_at_head).await?;
        let Some(revocations) = self.revocations.upgrade() else {
            return Ok(());
        };
        let now = (self.clock)();
        let is_at_head = page.revocations.len() < FULL;
        self.place = Some(Place {
            after: page.next,
            is_at_head,
        });
        self.take_in(page, &revocations, now)?;
        if is_at_head {
            revocations.confirm(now);
            self.read();
        }
        Ok(())
    }

    fn take_in(
        &self,
        page: Page,
        revocations: &Revocations,
        now: Timestamp,
    ) -> Result<(), FeedError> {
        if revocations.len() + page.revocations.len() > MAX_ROWS {
            return Err(FeedError::TooMany(MAX_ROWS));
        }
        let last = now.plus(self.source.longest);
        for (revocation, until) in page.revocations {
            revocations.revoke(revocation, until.min(last));
        }
        Ok(())
    }

    fn read(&mut self) {
        self.failures = 0;
        self.attempted.send_replace(true);
        if self.state != State::Followed {
            self.state = State::Followed;
            tracing::info!(issuer = self.source.name, "the revocations are followed");
        }
    }

    /// How long to leave it alone.
    fn failed(&mut self, error: &FeedError) -> Duration {
        self.place = None;
        self.attempted.send_replace(true);
        self.tell(error);
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(8));
        self.failures = self.failures.saturating_add(1);
        let spread = 0.5 + (self.roll)() / 2.0;
        pause.min(LONGEST_PAUSE).mul_f64(spread)
    }

    fn tell(&mut self, error: &FeedError) {
        let now = (self.clock)();
        let revocations = self.revocations.upgrade();
        let is_stale = revocations.is_none_or(|revocations| revocations.are_stale(now));
        let state = if is_stale { State::Stale } else { State::Away };
        if self.state == state {
            return;
        }
        self.state = state;
        let issuer = &self.source.name;
        if is_stale {
            tracing::error!(
                issuer,
                %error,
                "the revocations are stale: routes with `fresh` refuse its tokens"
            );
        } else {
            tracing::warn!(issuer, %error, "the revocations cannot be read");
        }
    }

    fn sweep(&self) {
        if let Some(revocations) = self.revocations.upgrade() {
            revocations.sweep((self.clock)());
        }
    }
}

#[cfg(test)]
mod tests;
