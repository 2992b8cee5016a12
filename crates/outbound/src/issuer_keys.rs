//! Keeps the keys of other issuers. Each issuer has one task that asks it, in the background ahead of time and when a
//! request finds a key missing, and never twice at once: whoever comes while a question is under way waits for its
//! answer. When to ask is decided by [`Schedule`]; here it is carried out.
//!
//! A task ends when nobody holds the keys any more, which is some time after the last configuration that named its
//! issuer was replaced.

use std::{
    io,
    path::Path,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use portcullis_config::issuers::{Algorithm, Issuer, KeySource};
use portcullis_tokens::{
    IssuerKeys, KeyRenewal, KeySet, KeySetError, MAX_KEY_SET_BYTES, PublishedKeys, Renewal,
    renewal::{Budget, Pace, Schedule},
};
use tokio::{
    fs::File,
    io::AsyncReadExt,
    runtime::Handle,
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    discovery::{DiscoveryError, discover},
    fetch::{FetchError, Fetched, Fetcher},
};

/// Draws a number from 0 to 1, for jitter.
pub type Roll = Box<dyn Fn() -> f64 + Send + Sync>;

/// Everybody's keys that may change while the gateway runs.
pub struct KeyKeeper {
    shared: Arc<Shared>,
    kept: Mutex<Vec<Kept>>,
    /// Where the questions are asked, whichever thread finds a key missing.
    runtime: Handle,
}

struct Shared {
    fetcher: OnceLock<Fetcher>,
    budget: Mutex<Budget>,
    roll: Roll,
    started: Instant,
}

/// One issuer whose keys are kept, for as long as somebody uses them.
struct Kept {
    place: Place,
    keys: Weak<IssuerKeys>,
    watched: Arc<Watched>,
}

/// Whose keys, and from where. A configuration that says the same goes on with what was had before.
#[derive(Clone, PartialEq, Eq)]
struct Place {
    name: String,
    issuer: String,
    source: Source,
    algorithms: Vec<Algorithm>,
}

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Url(String),
    Discovery,
    File(std::path::PathBuf),
}

/// How an issuer's keys stand.
#[derive(Clone, Debug)]
pub struct Standing {
    pub name: String,
    /// Since they were last had, or since they were first asked for.
    pub age: Duration,
    pub keys: usize,
    /// How often in a row the issuer could not be asked.
    pub failures: u32,
}

/// Why an issuer's keys were not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("{0}")]
    Discovery(#[from] DiscoveryError),
    #[error("cannot read the file: {0}")]
    Read(#[from] io::Error),
    #[error("{0}")]
    KeySet(#[from] KeySetError),
}

impl KeyKeeper {
    /// Its tasks run on `runtime`.
    pub fn new(runtime: Handle, roll: Roll) -> Self {
        Self {
            shared: Arc::new(Shared {
                fetcher: OnceLock::new(),
                budget: Mutex::new(Budget::new(Duration::ZERO)),
                roll,
                started: Instant::now(),
            }),
            kept: Mutex::default(),
            runtime,
        }
    }

    /// The keys of this issuer: those of before, if it was known already, or new ones that are asked for at once. An
    /// issuer that cannot be reached is no error, a file that cannot be read is. Nothing for one whose keys do not change.
    pub fn keys_of(&self, issuer: &Issuer) -> Result<Option<Arc<IssuerKeys>>, RenewalError> {
        let Some(place) = Place::of(issuer) else {
            return Ok(None);
        };
        let mut kept = self.kept.lock();
        kept.retain(|kept| kept.keys.strong_count() > 0);
        let known = kept.iter().find(|kept| kept.place == place);
        if let Some(keys) = known.and_then(|kept| kept.keys.upgrade()) {
            return Ok(Some(keys));
        }
        let (watched, keys) = self.watch(&place)?;
        kept.push(Kept {
            place,
            keys: Arc::downgrade(&keys),
            watched,
        });
        Ok(Some(keys))
    }

    fn watch(&self, place: &Place) -> Result<(Arc<Watched>, Arc<IssuerKeys>), RenewalError> {
        let watched = Arc::new(Watched::new(place, Arc::clone(&self.shared)));
        let renewal: Arc<dyn KeyRenewal> = Arc::clone(&watched) as _;
        let keys = Arc::new(IssuerKeys::renewed_by(renewal));
        let mut last = None;
        match &place.source {
            Source::File(path) => {
                let document = read_now(path)?;
                watched.take_in(&keys, &mut last, document)?;
            }
            Source::Url(_) | Source::Discovery => self.shared.prepare()?,
        }
        let following = Follower {
            watched: Arc::clone(&watched),
            place: place.clone(),
            keys: Arc::downgrade(&keys),
            last,
        };
        self.runtime.spawn(following.follow());
        Ok((watched, keys))
    }

    /// Of every issuer whose keys are in use, those of the latest configuration last.
    pub fn standings(&self) -> Vec<Standing> {
        let kept = self.kept.lock();
        let now = self.shared.now();
        let standing = |kept: &Kept| {
            let keys = kept.keys.upgrade()?;
            let state = kept.watched.state.lock();
            Some(Standing {
                name: kept.place.name.clone(),
                age: state.schedule.age(now),
                keys: keys.count(),
                failures: state.schedule.failures(),
            })
        };
        kept.iter().filter_map(standing).collect()
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn roll(&self) -> f64 {
        (self.roll)()
    }

    /// Loads the system's roots, which costs milliseconds and is of no use to a gateway that fetches nothing.
    fn prepare(&self) -> Result<(), FetchError> {
        if self.fetcher.get().is_none() {
            // Two that come here at once make one too many, which is dropped.
            let _kept = self.fetcher.set(Fetcher::new()?);
        }
        Ok(())
    }

    fn fetcher(&self) -> Result<&Fetcher, FetchError> {
        self.prepare()?;
        let unprepared = || FetchError::Setup("nothing was prepared".to_owned());
        self.fetcher.get().ok_or_else(unprepared)
    }
}

impl Place {
    fn of(issuer: &Issuer) -> Option<Self> {
        let source = match &issuer.keys {
            KeySource::JwksUrl(url) => Source::Url(url.clone()),
            KeySource::Discovery => Source::Discovery,
            KeySource::JwksFile(path) => Source::File(path.clone()),
            KeySource::PublicKeyFile(_) | KeySource::Secret(_) => return None,
        };
        Some(Self {
            name: issuer.name.clone(),
            issuer: issuer.issuer.clone(),
            source,
            algorithms: issuer.algorithms.clone(),
        })
    }
}

/// What requests and the task of one issuer share.
struct Watched {
    name: String,
    algorithms: Vec<Algorithm>,
    state: Mutex<State>,
    /// Wakes the task.
    asked: Notify,
    /// Counts answers and failures to answer.
    concluded: watch::Sender<u64>,
    shared: Arc<Shared>,
}

struct State {
    schedule: Schedule,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Resting,
    /// A request has asked, and the task is about to.
    Asked,
    /// A question is under way.
    Asking,
}

impl Watched {
    fn new(place: &Place, shared: Arc<Shared>) -> Self {
        let pace = match place.source {
            Source::Url(_) | Source::Discovery => Pace::REMOTE,
            Source::File(_) => Pace::FILE,
        };
        let schedule = Schedule::new(pace, shared.now());
        Self {
            name: place.name.clone(),
            algorithms: place.algorithms.clone(),
            // The first question is asked as soon as the task runs.
            state: Mutex::new(State {
                schedule,
                phase: Phase::Asked,
            }),
            asked: Notify::new(),
            concluded: watch::channel(0).0,
            shared,
        }
    }

    /// Puts the keys of a document in force, unless they are already.
    fn take_in(
        &self,
        keys: &IssuerKeys,
        last: &mut Option<Vec<u8>>,
        fetched: Fetched,
    ) -> Result<(), RenewalError> {
        let is_new = last.as_ref() != Some(&fetched.body);
        if is_new {
            let read = KeySet::from_jwks(&fetched.body, &self.algorithms)?;
            self.report(&read);
            keys.replace(read.keys);
            *last = Some(fetched.body);
        }
        let (now, roll) = (self.shared.now(), self.shared.roll());
        let mut state = self.state.lock();
        if is_new {
            state.schedule.keys_changed();
        }
        state.schedule.succeeded(now, fetched.max_age, roll);
        Ok(())
    }

    fn report(&self, read: &PublishedKeys) {
        let (issuer, keys) = (&self.name, read.keys.count());
        tracing::info!(%issuer, keys, "the keys of an issuer are in force");
        for skipped in &read.skipped {
            tracing::info!(%issuer, "of an issuer's keys, {skipped}");
        }
    }

    /// What is left when the issuer could not be asked, and for how much longer.
    fn fail(&self, keys: &IssuerKeys, last: &mut Option<Vec<u8>>, error: &RenewalError) {
        let (now, roll, issuer) = (self.shared.now(), self.shared.roll(), &self.name);
        let mut state = self.state.lock();
        let is_first = state.schedule.failures() == 0;
        state.schedule.failed(now, roll);
        let has_expired = state.schedule.is_expired(now) && last.is_some();
        let age = state.schedule.age(now).as_secs();
        drop(state);
        if has_expired {
            *last = None;
            keys.replace(KeySet::empty());
            tracing::error!(%issuer, %error, age_seconds = age, "the keys of an issuer are too old to be trusted: its tokens are refused");
        } else if is_first {
            tracing::warn!(%issuer, %error, age_seconds = age, "the keys of an issuer cannot be renewed: asking on");
        } else {
            tracing::debug!(%issuer, %error, age_seconds = age, "the keys of an issuer still cannot be renewed");
        }
    }
}

impl KeyRenewal for Watched {
    fn renew(&self, key_id: Option<&str>) -> Option<Renewal> {
        let now = self.shared.now();
        let mut state = self.state.lock();
        let State { schedule, phase } = &mut *state;
        match phase {
            Phase::Asked | Phase::Asking => schedule.may_join(key_id, now).then_some(())?,
            Phase::Resting => {
                let (mut budget, roll) = (self.shared.budget.lock(), self.shared.roll());
                let may_ask = schedule.may_ask(key_id, now, &mut budget, roll);
                may_ask.then_some(())?;
                *phase = Phase::Asked;
                self.asked.notify_one();
            }
        }
        // Under the lock, so that the end of the question cannot be missed.
        let mut concluded = self.concluded.subscribe();
        Some(Box::pin(async move {
            // The task has gone: there is nothing to wait for either.
            let _answered = concluded.changed().await;
        }))
    }
}

/// The task of one issuer.
struct Follower {
    watched: Arc<Watched>,
    place: Place,
    keys: Weak<IssuerKeys>,
    /// What the keys in force were read from. Most answers are the same as the last.
    last: Option<Vec<u8>>,
}

impl Follower {
    async fn follow(mut self) {
        while let Some(keys) = self.keys.upgrade() {
            self.watched.state.lock().phase = Phase::Asking;
            match self.ask().await {
                Ok(fetched) => self.conclude(&keys, fetched),
                Err(error) => self.watched.fail(&keys, &mut self.last, &error),
            }
            drop(keys);
            self.watched.state.lock().phase = Phase::Resting;
            self.watched.concluded.send_modify(|count| *count += 1);
            self.wait().await;
        }
    }

    fn conclude(&mut self, keys: &IssuerKeys, fetched: Fetched) {
        let failures = self.watched.state.lock().schedule.failures();
        if let Err(error) = self.watched.take_in(keys, &mut self.last, fetched) {
            self.watched.fail(keys, &mut self.last, &error);
        } else if failures > 0 {
            tracing::info!(issuer = %self.place.name, "the keys of an issuer are renewed again");
        }
    }

    /// Until the keys are due, or a request finds one missing.
    async fn wait(&self) {
        let due_at = self.watched.state.lock().schedule.due_at();
        let due = tokio::time::sleep_until(self.watched.shared.started + due_at);
        tokio::pin!(due);
        loop {
            tokio::select! {
                () = &mut due => return,
                () = self.watched.asked.notified() => {}
            }
            // A call may be left over from a question that was due in the same moment.
            if self.watched.state.lock().phase == Phase::Asked {
                return;
            }
        }
    }

    async fn ask(&self) -> Result<Fetched, RenewalError> {
        let fetcher = || self.watched.shared.fetcher();
        let from = |url: String| async move {
            let fetched = fetcher()?.fetch(&url, MAX_KEY_SET_BYTES).await?;
            Ok::<_, RenewalError>(fetched)
        };
        match &self.place.source {
            Source::Url(url) => from(url.clone()).await,
            Source::Discovery => from(discover(fetcher()?, &self.place.issuer).await?).await,
            Source::File(path) => read(path).await,
        }
    }
}

/// One byte more than a key set may have shows that it is too large.
const FILE_LIMIT: u64 = MAX_KEY_SET_BYTES as u64 + 1;

async fn read(path: &Path) -> Result<Fetched, RenewalError> {
    let mut body = Vec::new();
    let file = File::open(path).await?;
    file.take(FILE_LIMIT).read_to_end(&mut body).await?;
    Ok(of_file(body))
}

/// At the start, when there is nobody who could be kept waiting.
fn read_now(path: &Path) -> Result<Fetched, RenewalError> {
    let mut body = Vec::new();
    let file = std::fs::File::open(path)?;
    io::Read::read_to_end(&mut io::Read::take(file, FILE_LIMIT), &mut body)?;
    Ok(of_file(body))
}

fn of_file(body: Vec<u8>) -> Fetched {
    Fetched {
        body,
        max_age: None,
    }
}
