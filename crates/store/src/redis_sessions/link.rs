//! The connection to the Redis that keeps sessions, and the task that finds it again.
//!
//! A call that fails is tried once more on the connection found next, because a connection may have been closed while
//! nobody used it; all that is called can be repeated. While the store is known to be away nobody waits for it.

use std::{fmt::Display, sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use portcullis_config::storage::Redis;
use redis::FromRedisValue;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{
    Evicts,
    script::{Fitness, Scripts, fitness},
};
use crate::{
    connection::{Call, Connection, LOOK, PAUSE, Unanswered, partitions},
    error::StoreError,
};

/// How long a call waits for its answer, and how long for a new connection after a failure. In tests the machine is busy with
/// all of them, and what they are about is not how soon somebody is turned away.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 5_000 } else { 500 });

/// Why a call came to nothing, as the log tells it.
#[derive(Debug, thiserror::Error)]
#[error("redis, which keeps the sessions: {0}")]
struct NoAnswer(#[source] Unanswered);

#[derive(Debug, thiserror::Error)]
#[error("redis, which keeps the sessions, is away")]
struct Away;

/// What came of a look for the store.
#[derive(Debug, thiserror::Error)]
enum Missed {
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error(transparent)]
    Evicts(#[from] Evicts),
}

pub(super) struct Link {
    redis: Redis,
    pub(super) scripts: Scripts,
    current: watch::Sender<Option<Arc<Connection>>>,
    broken: Notify,
}

impl Link {
    /// Looks for the store once. One that is away is no reason not to start; one that throws sessions away is.
    pub(super) async fn find(redis: &Redis, scripts: Scripts) -> Result<Arc<Self>, Evicts> {
        let link = Self {
            redis: redis.clone(),
            scripts,
            current: watch::Sender::new(None),
            broken: Notify::new(),
        };
        match link.look().await {
            Ok(()) => {}
            Err(Missed::Evicts(evicts)) => return Err(evicts),
            Err(Missed::Unanswered(cause)) => say_away(&cause),
        }
        Ok(Arc::new(link))
    }

    /// Finds the store again each time it was lost. Ends never.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut evicted = false;
        loop {
            if self.current.borrow().is_some() {
                self.broken.notified().await;
            } else {
                sleep(PAUSE).await;
            }
            match self.look().await {
                Ok(()) => evicted = false,
                Err(Missed::Evicts(evicts)) if !evicted => {
                    evicted = true;
                    tracing::error!(cause = %evicts, "sessions are refused until this is mended");
                }
                // Later looks that find nothing say nothing new.
                Err(Missed::Evicts(_) | Missed::Unanswered(_)) => {}
            }
        }
    }

    pub(super) fn check_present(&self) -> Result<(), StoreError> {
        match *self.current.borrow() {
            Some(_) => Ok(()),
            None => Err(StoreError::Unavailable(Away.into())),
        }
    }

    pub(super) async fn ask<R: FromRedisValue>(&self, call: &Call) -> Result<R, StoreError> {
        let mut found = self.current.subscribe();
        let Some(connection) = found.borrow_and_update().clone() else {
            return Err(StoreError::Unavailable(Away.into()));
        };
        let failure = match self.ask_on(&connection, call).await {
            Ok(reply) => return Ok(reply),
            Err(failure) => failure,
        };
        let other = timeout(PATIENCE, found.wait_for(Option::is_some)).await;
        let other = other
            .ok()
            .and_then(Result::ok)
            .and_then(|found| found.clone());
        let Some(other) = other.filter(|_| !matches!(failure, Unanswered::TooSlow)) else {
            return Err(StoreError::Unavailable(NoAnswer(failure).into()));
        };
        let again = self.ask_on(&other, call).await;
        again.map_err(|failure| StoreError::Unavailable(NoAnswer(failure).into()))
    }

    async fn ask_on<R: FromRedisValue>(
        &self,
        connection: &Arc<Connection>,
        call: &Call,
    ) -> Result<R, Unanswered> {
        let mut own = Connection::clone(connection);
        let reply = timeout(PATIENCE, call.on(&mut own)).await;
        reply
            .map_err(Unanswered::from)
            .flatten()
            .inspect_err(|cause| self.lost(connection, cause))
    }

    /// Told by whoever found it broken. Only the first is heard.
    fn lost(&self, connection: &Arc<Connection>, cause: &dyn Display) {
        let was_current = self.current.send_if_modified(|current| {
            let is_current = current
                .as_ref()
                .is_some_and(|current| Arc::ptr_eq(current, connection));
            if is_current {
                *current = None;
            }
            is_current
        });
        if was_current {
            say_away(cause);
            self.broken.notify_one();
        }
    }

    /// A connection is handed out once every server behind it has taken a write and keeps what it is given.
    async fn look(&self) -> Result<(), Missed> {
        let looked = timeout(LOOK, async {
            let connection = Connection::open(&self.redis).await?;
            let servers = self.probe(&connection).await?;
            Ok::<_, Unanswered>((connection, servers))
        });
        let (connection, servers) = looked.await.map_err(Unanswered::from).flatten()?;
        for server in &servers {
            if server.policy != "noeviction" {
                return Err(Evicts(server.policy.clone()).into());
            }
        }
        tracing::info!("sessions are kept in Redis");
        if !servers.iter().all(|server| server.appends) {
            tracing::warn!(
                "the Redis that keeps sessions writes no append-only file: set `appendonly yes`"
            );
        }
        self.current.send_replace(Some(Arc::new(connection)));
        Ok(())
    }

    async fn probe(&self, connection: &Connection) -> Result<Vec<Fitness>, Unanswered> {
        let probes = (0..partitions(&self.redis)).map(|partition| {
            let (call, mut connection) = (self.scripts.probe(partition), connection.clone());
            async move { Ok(fitness(call.on(&mut connection).await?)) }
        });
        try_join_all(probes).await
    }
}

fn say_away(cause: &dyn Display) {
    tracing::warn!(%cause, "the Redis that keeps sessions is away: nobody signs in until it is back");
}
