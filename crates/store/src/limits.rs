//! Limits that replicas share through Redis.
//!
//! A request that has to ask does so on one connection for all of them ([`link`]), waits no longer than the operator
//! allowed, and is otherwise decided by what he wrote for that case. After a failure nobody waits again until the store
//! has been found by the task that looks for it.

mod exact;
mod leased;
mod leases;
mod link;
mod script;
#[cfg(test)]
mod tests;

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
        Caller, Demand, Draw, Share,
        shared::{NotTaken, SharedLimits, Taken, Verdict},
    },
};
use tokio::{runtime::Handle, task::AbortHandle, time::timeout};

use leases::Leases;
use link::{Link, Linked};
use script::{Bucket, BucketTold};

use crate::connection::Unanswered;

/// Reads both clocks at once.
pub(crate) type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// The limits of one gateway, shared with the others that use the same Redis.
pub struct RedisLimits {
    counting: Arc<Counting>,
    tasks: [AbortHandle; 2],
}

/// What requests and background calls have in common.
struct Counting {
    sharing: Sharing,
    link: Arc<Link>,
    share: Share,
    leases: Arc<Leases>,
    demand: Demand,
    clock: Clock,
    runtime: Handle,
    errors: AtomicU64,
}

/// The store failed or was too slow, and that has been said.
struct NoAnswer;

impl Drop for RedisLimits {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl RedisLimits {
    /// Looks for the store once before it returns, so that the first request finds what is there. A store that is away
    /// is looked for from then on; it is no reason not to start. Must be called inside the runtime that outlives it.
    /// `name` must be another for each process.
    pub async fn open(
        redis: &Redis,
        sharing: &Sharing,
        clock: Arc<dyn Fn() -> Moment + Send + Sync>,
        name: u64,
    ) -> Arc<Self> {
        let (leases, share) = (
            Arc::new(Leases::new()),
            Share::new(sharing.replicas.get(), clock()),
        );
        let link = Link::new(
            redis,
            sharing,
            Arc::clone(&clock),
            name,
            Arc::clone(&leases),
        );
        let keeper = Arc::clone(&link).keep_from_now().await;
        let counting = Arc::new(Counting {
            sharing: sharing.clone(),
            link,
            share,
            leases,
            demand: Demand::default(),
            clock,
            runtime: Handle::current(),
            errors: AtomicU64::new(0),
        });
        let tending = tokio::spawn(Arc::clone(&counting).tend_leases());
        Arc::new(Self {
            counting,
            tasks: [keeper, tending.abort_handle()],
        })
    }

    /// How often the store failed or was too slow, since the start.
    pub fn store_errors(&self) -> u64 {
        self.counting.errors.load(Relaxed)
    }

    /// Gives back what was taken ahead; for the end, when nobody spends any more.
    pub async fn close(&self) {
        self.counting.give_all_back().await;
    }
}

impl SharedLimits for RedisLimits {
    fn take<'a>(&'a self, draws: &'a [Draw<'a>], caller: &'a Caller<'a>, now: Moment) -> Taken<'a> {
        if draws.is_empty() {
            return Taken::Now(Ok(None));
        }
        let counting = &self.counting;
        if counting.sharing.mode == Mode::Leased {
            return counting.take_leased(draws, caller);
        }
        let Some(linked) = counting.link.linked() else {
            return Taken::Now(counting.without_store(draws, now));
        };
        counting.share.store_found();
        Taken::Later(Box::pin(counting.take_exactly(linked, draws, caller, now)))
    }
}

impl Counting {
    fn now(&self) -> Moment {
        (self.clock)()
    }

    /// Asks the store, for as long as a request may wait.
    async fn take(
        &self,
        linked: &Arc<Linked>,
        buckets: &[Bucket<'_>],
    ) -> Result<Vec<BucketTold>, NoAnswer> {
        self.take_within(self.sharing.timeout, linked, buckets)
            .await
    }

    /// After a failure nobody asks until the store has been found again.
    async fn take_within(
        &self,
        patience: Duration,
        linked: &Arc<Linked>,
        buckets: &[Bucket<'_>],
    ) -> Result<Vec<BucketTold>, NoAnswer> {
        let answer = timeout(patience, self.link.take(linked, buckets)).await;
        answer.map_err(Unanswered::from).flatten().map_err(|cause| {
            self.errors.fetch_add(1, Relaxed);
            self.link.lost(linked, &cause);
            NoAnswer
        })
    }

    fn without_store(&self, draws: &[Draw<'_>], now: Moment) -> Verdict {
        match self.sharing.on_store_failure {
            OnStoreFailure::LocalShare => self.share.take(draws, now),
            OnStoreFailure::Allow => Ok(None),
            OnStoreFailure::Deny => Err(NotTaken::StoreAway),
        }
    }
}
