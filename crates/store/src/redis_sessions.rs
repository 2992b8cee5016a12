//! Sessions whose refresh tokens are counted in Redis.
//!
//! The database keeps who signed in, when and from where, and whether the session was ended; Redis keeps the one thing
//! that changes with every refresh, the generation. So whatever ends sessions is committed in the database like any
//! other change, and holds with Redis away. What Redis alone knows is believed only under the reign it was written
//! under: see `memory.lua`.

mod link;
mod script;
#[cfg(test)]
mod tests;

#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use portcullis_config::storage::Redis;
#[cfg(test)]
use portcullis_config::units::Timestamp;
#[cfg(test)]
use portcullis_harness::wait::PATIENCE;
use tokio::task::AbortHandle;

use crate::error::StoreError;

use link::Link;
use script::{Act, Scripts, seen, verdict};
pub(crate) use script::{Kept, Turn, Verdict};

/// A Redis that may throw sessions away. Whoever is signed out by that is only annoyed, but nobody could say any more
/// why a session is gone.
#[derive(Debug, thiserror::Error)]
#[error(
    "redis evicts keys (maxmemory-policy {0}) and must keep the sessions it is given: set `maxmemory-policy noeviction`"
)]
pub struct Evicts(String);

/// The generations of the sessions of all gateways that use the same database and Redis.
pub struct RedisSessions {
    link: Arc<Link>,
    keeper: AbortHandle,
}

impl Drop for RedisSessions {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl RedisSessions {
    /// Looks for Redis once before it returns. One that is away is looked for from then on; one that evicts is refused.
    /// Must be called inside the runtime that outlives it.
    pub async fn open(redis: &Redis) -> Result<Arc<Self>, Evicts> {
        Self::with(redis, Scripts::new()).await
    }

    async fn with(redis: &Redis, scripts: Scripts) -> Result<Arc<Self>, Evicts> {
        let link = Link::find(redis, scripts).await?;
        let keeper = tokio::spawn(Arc::clone(&link).keep()).abort_handle();
        Ok(Arc::new(Self { link, keeper }))
    }

    /// `Unavailable` if it is known to be away: for whoever would have to commit something first.
    pub(crate) fn check_present(&self) -> Result<(), StoreError> {
        self.link.check_present()
    }

    /// Begins to count, from generation 0.
    pub(crate) async fn begin(
        &self,
        sid: &str,
        idle: Duration,
        absolute: Duration,
    ) -> Result<(), StoreError> {
        self.link
            .ask(&self.link.scripts.open(sid, idle, absolute))
            .await
    }

    /// What [`turn`](Self::turn) would do.
    pub(crate) async fn look(&self, turn: &Turn<'_>) -> Result<Verdict, StoreError> {
        self.act(Act::Look, turn).await
    }

    pub(crate) async fn turn(&self, turn: &Turn<'_>) -> Result<Verdict, StoreError> {
        self.act(Act::Turn, turn).await
    }

    async fn act(&self, act: Act, turn: &Turn<'_>) -> Result<Verdict, StoreError> {
        let reply = self.link.ask(&self.link.scripts.turn(act, turn)).await?;
        verdict(reply).map_err(|garbled| StoreError::Unavailable(garbled.into()))
    }

    /// Those that are gone are `None`, in the order asked for.
    pub(crate) async fn see(&self, sids: &[&str]) -> Result<Vec<Option<Kept>>, StoreError> {
        try_join_all(sids.iter().map(|sid| async move {
            let reply = self.link.ask(&self.link.scripts.see(sid)).await?;
            seen(reply).map_err(|garbled| StoreError::Unavailable(garbled.into()))
        }))
        .await
    }

    /// After the database has ended them. What cannot be told to Redis now is left to the ends of the keys: the
    /// database is asked before them.
    pub(crate) async fn forget(&self, sids: &[&str]) {
        let forgotten = sids.iter().map(|sid| async move {
            let call = self.link.scripts.forget(sid);
            self.link.ask::<()>(&call).await
        });
        if let Err(cause) = try_join_all(forgotten).await {
            tracing::debug!(%cause, "ended sessions are left in redis");
        }
    }
}

#[cfg(test)]
impl RedisSessions {
    /// With keys of its own on a server that tests share, and with a clock that stands still until it is set.
    pub(crate) async fn of_a_test(redis: &Redis) -> Arc<Self> {
        static TESTS: AtomicU64 = AtomicU64::new(0);
        let prefix = format!("test-{}:", TESTS.fetch_add(1, Ordering::Relaxed));
        let scripts = Scripts::by_a_clock_of_the_test(&prefix);
        let sessions = Self::with(redis, scripts).await.expect("it keeps all");
        sessions.once_found().await
    }

    /// On a Redis that is there: a busy machine may answer the first look too late.
    pub(crate) async fn found(redis: &Redis) -> Arc<Self> {
        let sessions = Self::open(redis).await.expect("it keeps all");
        sessions.once_found().await
    }

    async fn once_found(self: Arc<Self>) -> Arc<Self> {
        let found = async {
            while self.check_present().is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.expect("a Redis that is there");
        self
    }

    /// Leaves a real clock alone.
    pub(crate) async fn set_clock(&self, now: Timestamp) {
        if let Some(call) = self.link.scripts.set_clock(now) {
            self.link.ask::<()>(&call).await.expect("it is there");
        }
    }
}
