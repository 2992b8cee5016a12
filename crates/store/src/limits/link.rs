//! The connection to Redis, and the task that keeps it.
//!
//! Whoever finds it broken says so and goes on without; the task alone looks for the store, a few times a second, and
//! hands out a new connection once the store has answered a script. Each connection knows the process it leads to, so
//! that nothing is written to a memory that was taken for another.

use std::{fmt::Display, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use portcullis_config::storage::Redis;
use portcullis_policy::{
    clock::Moment,
    limits::{Memory, SharedKey, shared::Weighing},
};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, InfoDict, IntoConnectionInfo, TlsMode,
    aio::MultiplexedConnection,
    cmd,
    sentinel::{Sentinel, SentinelNodeConnectionInfo},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::{Notify, oneshot},
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{
    Clock,
    script::{Belief, Bucket, LimitsError, Names, Scripts, Told, told, weighings},
};

/// Between two looks for a store that is away.
const PAUSE: Duration = Duration::from_millis(250);

/// One look, from the name of the host to the answer of a script.
const LOOK: Duration = Duration::from_millis(500);

/// A connection that works, as far as anybody knows.
pub(super) struct Linked {
    connection: MultiplexedConnection,
    run: String,
}

pub(super) struct Link {
    redis: Redis,
    guarded: bool,
    clock: Clock,
    names: Names,
    scripts: Scripts,
    memories: Vec<Mutex<Memory>>,
    current: RwLock<Option<Arc<Linked>>>,
    broken: Notify,
}

impl Link {
    /// Returns after the first look for the store, whatever came of it. The task must be ended by the caller.
    pub(super) async fn open(
        redis: Redis,
        guarded: bool,
        clock: Clock,
    ) -> (Arc<Self>, AbortHandle) {
        let names = Names::new(partitions(&redis));
        let link = Arc::new(Self {
            memories: (0..names.partitions()).map(|_| Mutex::default()).collect(),
            redis,
            guarded,
            clock,
            names,
            scripts: Scripts::new(),
            current: RwLock::default(),
            broken: Notify::new(),
        });
        let (looked, first_look) = oneshot::channel();
        let keeper = tokio::spawn(Arc::clone(&link).keep(looked)).abort_handle();
        // It is dropped unsent only with the runtime.
        drop(first_look.await);
        (link, keeper)
    }

    /// The connection, unless the store is away.
    pub(super) fn linked(&self) -> Option<Arc<Linked>> {
        self.current.read().clone()
    }

    /// Told by whoever found it broken. Only the first is heard.
    pub(super) fn lost(&self, linked: &Arc<Linked>, cause: &dyn Display, fallback: &str) {
        let mut current = self.current.write();
        if !current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, linked))
        {
            return;
        }
        *current = None;
        drop(current);
        tracing::warn!(%cause, until_it_is_back = fallback, "the store of the shared limits is away");
        self.broken.notify_one();
    }

    /// When the memory that keeps this key was lost, in monotonic nanoseconds.
    pub(super) fn lost_at(&self, key: &SharedKey) -> Option<u64> {
        self.memory(self.names.partition(key)).lock().lost_at()
    }

    /// Spends on all buckets or on none.
    pub(super) async fn take(
        &self,
        linked: &Linked,
        buckets: &[Bucket<'_>],
    ) -> Result<Vec<Weighing>, LimitsError> {
        let numbers = self.ask_to_take(linked, 0, buckets).await?;
        weighings(&numbers, buckets.len())
    }

    async fn ask_to_take(
        &self,
        linked: &Linked,
        partition: u16,
        buckets: &[Bucket<'_>],
    ) -> Result<Vec<u64>, LimitsError> {
        let asked = (self.clock)();
        let seen = self.memory(partition).lock().run().to_owned();
        let belief = Belief {
            run: &linked.run,
            seen: &seen,
            guarded: self.guarded,
        };
        let call = self.scripts.take(&self.names, partition, &belief, buckets);
        let (told, numbers) = told(call.on(&mut linked.connection.clone()).await?)?;
        self.note(partition, told, asked);
        Ok(numbers)
    }

    fn note(&self, partition: u16, told: Told, asked: Moment) {
        self.memory(partition)
            .lock()
            .note(told.mark, told.lost_ago, asked);
    }

    fn memory(&self, partition: u16) -> &Mutex<Memory> {
        self.memories
            .get(usize::from(partition))
            .expect("there is one for each partition")
    }

    async fn keep(self: Arc<Self>, looked: oneshot::Sender<()>) {
        let mut looked = Some(looked);
        loop {
            let look = timeout(LOOK, self.look()).await;
            match look.map_err(LimitsError::from).flatten() {
                Ok(()) => tracing::info!("limits are shared through the store"),
                // Later looks that find nothing say nothing new.
                Err(cause) if looked.is_some() => {
                    tracing::warn!(%cause, "the store of the shared limits is away");
                }
                Err(_still_away) => {}
            }
            if let Some(looked) = looked.take() {
                // Nobody waits where the start was given up.
                looked.send(()).ok();
            }
            if self.linked().is_some() {
                self.broken.notified().await;
            } else {
                sleep(PAUSE).await;
            }
        }
    }

    /// A connection is handed out once the store has answered on it for every partition, and has written.
    async fn look(&self) -> Result<(), LimitsError> {
        let linked = self.connect().await?;
        for partition in 0..self.names.partitions() {
            self.ask_to_take(&linked, partition, &[]).await?;
        }
        *self.current.write() = Some(Arc::new(linked));
        Ok(())
    }

    async fn connect(&self) -> Result<Linked, LimitsError> {
        let client = match &self.redis {
            Redis::Single(url) => Client::open(url.expose_secret())?,
            Redis::Sentinel { sentinels, master } => master_of(sentinels, master).await?,
            Redis::Cluster(_) => return Err(LimitsError::Garbled),
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(LOOK))
            .set_response_timeout(None);
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let server: InfoDict = cmd("INFO")
            .arg("server")
            .query_async(&mut connection)
            .await?;
        let run = server.get("run_id").ok_or(LimitsError::Garbled)?;
        Ok(Linked { connection, run })
    }
}

/// Parts of the keys that lie on one node each.
fn partitions(redis: &Redis) -> u16 {
    match redis {
        Redis::Single(_) | Redis::Sentinel { .. } => 1,
        Redis::Cluster(_) => 64,
    }
}

/// Asks the Sentinels, each time: whoever was the master may be none any more.
async fn master_of(sentinels: &[SecretString], master: &str) -> Result<Client, LimitsError> {
    let mut addresses = Vec::new();
    let mut login = SentinelNodeConnectionInfo::default();
    for sentinel in sentinels {
        let info = sentinel.expose_secret().into_connection_info()?;
        login = login.set_redis_connection_info(info.redis_settings().clone());
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            login = login.set_tls_mode(TlsMode::Secure);
        }
        addresses.push(info.addr().clone());
    }
    let mut sentinels = Sentinel::build(addresses)?;
    Ok(sentinels.async_master_for(master, Some(&login)).await?)
}
