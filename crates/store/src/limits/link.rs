//! The connection to Redis, and the task that keeps it.
//!
//! Whoever finds it broken says so and goes on without; the task alone looks for the store, a few times a second, and
//! hands out a new connection once the store has answered a script. Each connection knows the process it leads to, so
//! that nothing is written to a memory that was taken for another.

use std::{fmt::Display, slice, sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use parking_lot::{Mutex, RwLock};
use portcullis_config::{
    sharing::{OnStoreFailure, Sharing},
    storage::Redis,
};
use portcullis_policy::{
    clock::Moment,
    limits::{Memory, SharedKey},
};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, InfoDict, IntoConnectionInfo, Pipeline,
    RedisFuture, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
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
    leases::Leases,
    script::{Belief, Bucket, BucketTold, LimitsError, Names, Scripts, Told, buckets_told, told},
};

/// Between two looks for a store that is away.
const PAUSE: Duration = Duration::from_millis(250);

/// One look, from the name of the host to the answer of a script.
const LOOK: Duration = Duration::from_millis(500);

/// A connection that works, as far as anybody knows.
pub(super) struct Linked {
    connection: Connection,
    /// The server process; empty for a Cluster, where each node speaks for itself.
    run: String,
}

#[derive(Clone)]
enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

pub(super) struct Link {
    redis: Redis,
    without: OnStoreFailure,
    clock: Clock,
    names: Names,
    scripts: Scripts,
    /// The name of this process in the store.
    holder: String,
    memories: Vec<Mutex<Memory>>,
    /// What this memory has given.
    leases: Arc<Leases>,
    current: RwLock<Option<Arc<Linked>>>,
    broken: Notify,
}

impl Link {
    pub(super) fn new(
        redis: &Redis,
        sharing: &Sharing,
        clock: Clock,
        holder: u64,
        leases: Arc<Leases>,
    ) -> Arc<Self> {
        let names = Names::new(partitions(redis));
        Arc::new(Self {
            memories: (0..names.partitions()).map(|_| Mutex::default()).collect(),
            redis: redis.clone(),
            without: sharing.on_store_failure,
            holder: format!("{holder:016x}"),
            clock,
            names,
            scripts: Scripts::new(),
            leases,
            current: RwLock::default(),
            broken: Notify::new(),
        })
    }

    /// Returns after the first look for the store, whatever came of it. The task must be ended by the caller.
    pub(super) async fn keep_from_now(self: Arc<Self>) -> AbortHandle {
        let (looked, first_look) = oneshot::channel();
        let keeper = tokio::spawn(self.keep(looked)).abort_handle();
        // It is dropped unsent only with the runtime.
        drop(first_look.await);
        keeper
    }

    /// The connection, unless the store is away.
    pub(super) fn linked(&self) -> Option<Arc<Linked>> {
        self.current.read().clone()
    }

    /// Told by whoever found it broken. Only the first is heard.
    pub(super) fn lost(&self, linked: &Arc<Linked>, cause: &dyn Display) {
        let mut current = self.current.write();
        if !current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, linked))
        {
            return;
        }
        *current = None;
        drop(current);
        tracing::warn!(%cause, until_it_is_back = self.fallback(), "the store of the shared limits is away");
        self.broken.notify_one();
    }

    /// When the memory that keeps this key was lost, in monotonic nanoseconds.
    pub(super) fn lost_at(&self, key: &SharedKey) -> Option<u64> {
        self.memory(self.names.partition(key)).lock().lost_at()
    }

    /// Spends on all buckets or on none. On a Cluster each lies on a node of its own: all are asked at once, and what was
    /// taken is given back where another refuses.
    pub(super) async fn take(
        &self,
        linked: &Linked,
        buckets: &[Bucket<'_>],
    ) -> Result<Vec<BucketTold>, LimitsError> {
        if self.names.partitions() == 1 || buckets.len() == 1 {
            return self.take_from(linked, buckets).await;
        }
        let all = buckets
            .iter()
            .map(|bucket| self.take_from(linked, slice::from_ref(bucket)));
        let told = try_join_all(all).await?.concat();
        if told.iter().any(|told| told.weighing.wait > 0) {
            let taken = buckets
                .iter()
                .zip(&told)
                .filter(|(_, told)| told.weighing.wait == 0);
            let back: Vec<_> = taken.map(|(bucket, _)| bucket.back()).collect();
            let all = back
                .iter()
                .map(|bucket| self.take_from(linked, slice::from_ref(bucket)));
            try_join_all(all).await?;
        }
        Ok(told)
    }

    /// The buckets must lie in one partition.
    async fn take_from(
        &self,
        linked: &Linked,
        buckets: &[Bucket<'_>],
    ) -> Result<Vec<BucketTold>, LimitsError> {
        let first = buckets
            .first()
            .map(|bucket| self.names.partition(&bucket.draw.key));
        let numbers = self.ask(linked, first.unwrap_or_default(), buckets).await?;
        buckets_told(&numbers, buckets.len())
    }

    async fn ask(
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
            guarded: self.without == OnStoreFailure::LocalShare,
            holder: &self.holder,
        };
        let call = self.scripts.take(&self.names, partition, &belief, buckets);
        let (told, numbers) = told(call.on(&mut linked.connection.clone()).await?)?;
        self.note(partition, told, asked);
        Ok(numbers)
    }

    fn fallback(&self) -> &'static str {
        match self.without {
            OnStoreFailure::LocalShare => "local_share",
            OnStoreFailure::Allow => "allow",
            OnStoreFailure::Deny => "deny",
        }
    }

    fn note(&self, partition: u16, told: Told, asked: Moment) {
        let mut memory = self.memory(partition).lock();
        if memory.note(told.mark, told.lost_ago, asked) {
            self.leases.forget_all();
        }
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
                    tracing::warn!(%cause, until_it_is_back = self.fallback(), "the store of the shared limits is away");
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
        let partitions = 0..self.names.partitions();
        try_join_all(partitions.map(|partition| self.ask(&linked, partition, &[]))).await?;
        *self.current.write() = Some(Arc::new(linked));
        Ok(())
    }

    async fn connect(&self) -> Result<Linked, LimitsError> {
        let client = match &self.redis {
            Redis::Single(url) => Client::open(url.expose_secret())?,
            Redis::Sentinel { sentinels, master } => master_of(sentinels, master).await?,
            Redis::Cluster(seeds) => return cluster(seeds).await,
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
        Ok(Linked {
            connection: Connection::Server(connection),
            run: server.get("run_id").ok_or(LimitsError::Garbled)?,
        })
    }
}

async fn cluster(seeds: &[SecretString]) -> Result<Linked, LimitsError> {
    let seeds = seeds.iter().map(ExposeSecret::expose_secret);
    let client = ClusterClient::builder(seeds)
        .connection_timeout(LOOK)
        .response_timeout(LOOK)
        .retries(1)
        .build()?;
    Ok(Linked {
        connection: Connection::Cluster(client.get_async_connection().await?),
        run: String::new(),
    })
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
