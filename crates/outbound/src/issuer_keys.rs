//! Keeps the keys of other issuers. Each issuer has one task that asks it, in the background ahead of time and when a
//! request finds a key missing, and never twice at once: whoever comes while a question is under way waits for its
//! answer. When to ask is decided by [`Schedule`]; here it is carried out.
//!
//! A task ends when nobody holds the keys any more, which is some time after the last configuration that named its
//! issuer was replaced.

mod place;
mod watched;

use std::{
    io,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use portcullis_config::issuers::{Algorithm, Issuer};
use portcullis_tokens::{IssuerKeys, KeyRenewal, KeySetError, renewal::Budget};
use tokio::{runtime::Handle, time::Instant};

use self::{
    place::{Place, Source, read_now},
    watched::{Follower, Watched},
};
use crate::{
    discovery::DiscoveryError,
    fetch::{FetchError, Fetcher},
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
        let place = Place::of(issuer);
        place.map(|place| self.keys_at(place)).transpose()
    }

    /// As [`Self::keys_of`], for an issuer that says where its keys are and is known under `name`.
    pub fn published_keys(
        &self,
        name: &str,
        issuer: &str,
        algorithms: &[Algorithm],
    ) -> Result<Arc<IssuerKeys>, RenewalError> {
        self.keys_at(Place {
            name: name.to_owned(),
            issuer: issuer.to_owned(),
            source: Source::Discovery,
            algorithms: algorithms.to_vec(),
        })
    }

    fn keys_at(&self, place: Place) -> Result<Arc<IssuerKeys>, RenewalError> {
        let mut kept = self.kept.lock();
        kept.retain(|kept| kept.keys.strong_count() > 0);
        let known = kept.iter().find(|kept| kept.place == place);
        if let Some(keys) = known.and_then(|kept| kept.keys.upgrade()) {
            return Ok(keys);
        }
        let (watched, keys) = self.watch(&place)?;
        kept.push(Kept {
            place,
            keys: Arc::downgrade(&keys),
            watched,
        });
        Ok(keys)
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

#[cfg(test)]
mod tests;
