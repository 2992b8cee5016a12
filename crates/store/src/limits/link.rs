//! The connection to Redis, and the task that keeps it.
//!
//! Whoever finds it broken says so and goes on without; the task alone looks for the store, a few times a second, and
//! hands out a new connection once the store has answered a script. Each connection knows the process it leads to, so
//! that nothing is written to a memory that was taken for another.

use std::{fmt::Display, slice, sync::Arc};

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
use redis::{InfoDict, cmd};
use tokio::{
    sync::{Notify, oneshot},
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::connection::{Connection, LOOK, PAUSE, Unanswered, partitions};

use super::{
    Clock,
    leases::Leases,
    script::{Belief, Bucket, BucketTold, Names, Scripts, Told, buckets_told, told},
};

/// A connection that works, as far as anybody knows.
pub(super) struct Linked {
    connection: Connection,
    /// The server process; empty for a Cluster, where each node speaks for itself.
    run: String,
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
    ) -> Result<Vec<BucketTold>, Unanswered> {
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
    ) -> Result<Vec<BucketTold>, Unanswered> {
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
    ) -> Result<Vec<u64>, Unanswered> {
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
            match look.map_err(Unanswered::from).flatten() {
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
    async fn look(&self) -> Result<(), Unanswered> {
        let linked = self.connect().await?;
        let partitions = 0..self.names.partitions();
        try_join_all(partitions.map(|partition| self.ask(&linked, partition, &[]))).await?;
        *self.current.write() = Some(Arc::new(linked));
        Ok(())
    }

    async fn connect(&self) -> Result<Linked, Unanswered> {
        let mut connection = Connection::open(&self.redis).await?;
        let run = match &mut connection {
            Connection::Server(server) => {
                let server: InfoDict = cmd("INFO").arg("server").query_async(server).await?;
                server.get("run_id").ok_or(Unanswered::Garbled)?
            }
            Connection::Cluster(_) => String::new(),
        };
        Ok(Linked { connection, run })
    }
}
