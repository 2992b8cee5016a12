//! Limits that replicas share through Redis. The only room that names redis.
//!
//! A request that has to ask does so on one connection for all of them ([`link`]), waits no longer than the operator
//! allowed, and is otherwise decided by what he wrote for that case. After a failure nobody waits again until the store
//! has been found by the task that looks for it.

mod exact;
mod link;
mod script;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use portcullis_config::{
    sharing::{Mode, OnStoreFailure, Sharing},
    storage::Redis,
};
use portcullis_policy::{
    clock::Moment,
    limits::{
        Caller, Draw, Share,
        shared::{NotTaken, SharedLimits, Taken, Verdict},
    },
};

use link::{Link, Linked};
use tokio::task::AbortHandle;

/// Reads both clocks at once.
pub(crate) type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// The limits of one gateway, shared with the others that use the same Redis.
pub struct RedisLimits {
    sharing: Sharing,
    link: Arc<Link>,
    share: Share,
    errors: AtomicU64,
    keeper: AbortHandle,
}

impl Drop for RedisLimits {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl RedisLimits {
    /// Looks for the store once before it returns, so that the first request finds what is there. A store that is away
    /// is looked for from then on; it is no reason not to start. Must be called inside the runtime that outlives it.
    pub async fn open(
        redis: &Redis,
        sharing: &Sharing,
        clock: Arc<dyn Fn() -> Moment + Send + Sync>,
    ) -> Arc<Self> {
        let guarded = sharing.on_store_failure == OnStoreFailure::LocalShare;
        let share = Share::new(sharing.replicas.get(), clock());
        let (link, keeper) = Link::open(redis.clone(), guarded, clock).await;
        Arc::new(Self {
            share,
            sharing: sharing.clone(),
            link,
            errors: AtomicU64::new(0),
            keeper,
        })
    }

    /// How often the store failed or was too slow, since the start.
    pub fn store_errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    fn timeout(&self) -> Duration {
        self.sharing.timeout
    }

    /// From now on nobody asks there until it has been found again.
    fn store_failed(&self, linked: &Arc<Linked>, cause: &dyn std::fmt::Display) {
        self.errors.fetch_add(1, Relaxed);
        self.link.lost(linked, cause, self.fallback());
    }

    fn fallback(&self) -> &'static str {
        match self.sharing.on_store_failure {
            OnStoreFailure::LocalShare => "local_share",
            OnStoreFailure::Allow => "allow",
            OnStoreFailure::Deny => "deny",
        }
    }

    fn without_store(&self, draws: &[Draw<'_>], now: Moment) -> Verdict {
        match self.sharing.on_store_failure {
            OnStoreFailure::LocalShare => self.share.take(draws, now),
            OnStoreFailure::Allow => Ok(None),
            OnStoreFailure::Deny => Err(NotTaken::StoreAway),
        }
    }
}

impl SharedLimits for RedisLimits {
    fn take<'a>(&'a self, draws: &'a [Draw<'a>], caller: &'a Caller<'a>, now: Moment) -> Taken<'a> {
        if draws.is_empty() {
            return Taken::Now(Ok(None));
        }
        let Some(linked) = self.link.linked() else {
            return Taken::Now(self.without_store(draws, now));
        };
        self.share.store_found();
        match self.sharing.mode {
            Mode::Local | Mode::Exact | Mode::Leased => {
                Taken::Later(Box::pin(self.take_exactly(linked, draws, caller, now)))
            }
        }
    }
}
