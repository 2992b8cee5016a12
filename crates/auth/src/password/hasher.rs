//! The hashing pool: few threads of its own, so that a login storm holds a known amount of memory and takes nothing
//! from the threads that serve requests.
//!
//! A core is left to those. Priority alone does not do it: a thread that wakes up, however important, waits until the
//! one that runs has had its slice of a millisecond or two, and a request wakes several threads on its way.
//!
//! The worker itself is the permit. A client that leaves before its turn is skipped; one that leaves during it is not
//! waited for, but its slot is taken until the hash is done, or leaving would be a way around the bound.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use portcullis_config::{
    auth::{HashCost, PasswordRules},
    units::ByteSize,
};
use portcullis_store::PasswordRecord;
use prometheus::IntGauge;
use tokio::{sync::oneshot, time::Instant};

use super::{
    BreachedListError, Password, StoredHashError, Verdict, Weakness,
    bench::{Bench, Shop},
    policy::Policy,
};
use crate::random::NoRandomness;

/// How many may wait. At some 20 ms a hash and one worker, the last of them waits a good second.
const MAX_WAITING: usize = 64;
/// How long one waits for its turn before it is told to come again. In tests the machine is busy with all of them, and what they
/// are about is not how soon somebody is turned away.
const MAX_WAIT: Duration = Duration::from_secs(if cfg!(test) { 30 } else { 2 });
/// When to come again: who is turned away is told this, or up to three seconds more in turn, so that a crowd that came in
/// one instant does not come back in one.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_TURNS: u64 = 4;
/// A worker without work for so long gives its memory back.
const IDLE: Duration = Duration::from_secs(30);
/// Sign-ins give way to proxied requests on the same cores.
const NICENESS: i32 = 10;

/// Beyond this a failed sign-in is not held up to look like a slower one.
const LONGEST_PRETENCE: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce(&mut Bench) + Send>;

/// Hashes and verifies passwords on its own threads, which end when it is dropped.
pub struct Hasher {
    jobs: SyncSender<Job>,
    waiting: IntGauge,
    max_wait: Duration,
    turned_away: AtomicU64,
    policy: Arc<Policy>,
    /// Microseconds that a refusal takes, since one was refused by a hash that is dearer than ours: an answer that took
    /// as long would tell that the account exists, so all take as long.
    refusal_micros: AtomicU64,
}

#[derive(Debug, thiserror::Error)]
pub enum HashingError {
    #[error("too many passwords are waiting to be hashed")]
    Overloaded { retry_after: Duration },
    #[error("a stored password hash is not run: {0}")]
    Stored(#[source] StoredHashError),
    #[error("the list of breached passwords {0}")]
    Breached(#[from] BreachedListError),
    #[error("the list of breached passwords could not be searched")]
    Search(#[source] io::Error),
    #[error("argon2 failed: {0}")]
    Argon(#[from] argon2::Error),
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    #[error("no thread could be started for hashing")]
    Threads(#[source] io::Error),
    #[error("the gauge of waiting passwords is not valid")]
    Metric(#[from] prometheus::Error),
    #[error("a hashing job ended without an answer")]
    Abandoned,
}

/// Why there is no hash of a new password.
#[derive(Debug, thiserror::Error)]
pub enum NewPasswordError {
    #[error(transparent)]
    Weak(#[from] Weakness),
    #[error(transparent)]
    Hashing(#[from] HashingError),
}

impl Hasher {
    /// Starts one worker for each core but one, or fewer where the memory budget does not hold as many. Costs one hashing.
    pub fn start(rules: &PasswordRules, cores: usize) -> Result<Self, HashingError> {
        let policy = Arc::new(Policy::open(rules)?);
        let workers = workers(rules.hash, rules.hashing_memory, cores);
        let shop = Shop::open(rules, workers)?;
        let (jobs, queue) = sync_channel(MAX_WAITING);
        let waiting = IntGauge::new(
            "portcullis_password_hashing_queue",
            "Passwords that wait to be hashed or verified.",
        )?;
        let queue = Arc::new(Mutex::new(queue));
        for (number, mut bench) in shop.benches().enumerate() {
            let (queue, waiting) = (Arc::clone(&queue), waiting.clone());
            thread::Builder::new()
                .name(format!("hashing-{number}"))
                .spawn(move || work(&queue, &waiting, &mut bench))
                .map_err(HashingError::Threads)?;
        }
        Ok(Self {
            jobs,
            waiting,
            max_wait: MAX_WAIT,
            turned_away: AtomicU64::new(0),
            policy,
            refusal_micros: AtomicU64::new(0),
        })
    }

    /// The gauge `portcullis_password_hashing_queue`, for the registry.
    pub fn waiting(&self) -> &IntGauge {
        &self.waiting
    }

    /// Whether a password that came now would find a place in the queue. Keeps none; asked before the account is looked
    /// up, for in a storm most are turned away, and that must cost next to nothing.
    pub(crate) fn check_room(&self) -> Result<(), HashingError> {
        let waiting = usize::try_from(self.waiting.get()).unwrap_or_default();
        if waiting < MAX_WAITING {
            Ok(())
        } else {
            Err(self.overloaded())
        }
    }

    /// What to keep of a password that is not to be judged.
    pub async fn hash(&self, password: Password) -> Result<PasswordRecord, HashingError> {
        self.run(move |bench| bench.hash(&password)).await?
    }

    /// What to keep of a new password, if it is strong enough. `names` are the user's, in their mapped form.
    pub async fn hash_new(
        &self,
        password: Password,
        names: Vec<String>,
    ) -> Result<PasswordRecord, NewPasswordError> {
        let policy = Arc::clone(&self.policy);
        let hashed = self.run(move |bench| {
            let judged = policy.judge(&password, &names);
            judged.map_err(HashingError::Search)??;
            Ok(bench.hash(&password)?)
        });
        hashed.await?
    }

    /// Without a stored hash the work is the same and the verdict is `Mismatch`. `opens` says whether a match lets
    /// anybody in; where it does not, as for a disabled account, it takes as long as a mismatch.
    pub async fn verify(
        &self,
        password: Password,
        stored: Option<PasswordRecord>,
        opens: bool,
    ) -> Result<Verdict, HashingError> {
        let verified = self.run(move |bench| {
            let begun = Instant::now();
            let verdict = bench.verify(&password, stored.as_ref(), opens);
            (verdict, begun.elapsed(), bench.is_outdated(stored.as_ref()))
        });
        let (verdict, took, was_outdated) = verified.await?;
        if !(opens && matches!(verdict, Ok(Verdict::Match { .. }))) {
            let pretence = self.pretence(took, was_outdated);
            tokio::time::sleep(pretence).await;
        }
        verdict
    }

    /// How much longer a refusal waits that took so long.
    fn pretence(&self, took: Duration, was_outdated: bool) -> Duration {
        let micros = u64::try_from(took.min(LONGEST_PRETENCE).as_micros()).unwrap_or(u64::MAX);
        let usual = self.refusal_micros.load(Ordering::Relaxed);
        if was_outdated {
            // What one hiccup has raised sinks again.
            let usual = micros.max(usual - usual / 8);
            self.refusal_micros.store(usual, Ordering::Relaxed);
        }
        Duration::from_micros(usual.saturating_sub(micros))
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Bench) -> T + Send + 'static,
    ) -> Result<T, HashingError> {
        let (start, started) = oneshot::channel();
        let (reply, answer) = oneshot::channel();
        self.queue(Box::new(move |bench| {
            if start.send(()).is_ok() {
                drop(reply.send(work(bench)));
            }
        }))?;
        match tokio::time::timeout(self.max_wait, started).await {
            Err(_elapsed) => Err(self.overloaded()),
            Ok(Err(_dropped)) => Err(HashingError::Abandoned),
            Ok(Ok(())) => answer.await.map_err(|_dropped| HashingError::Abandoned),
        }
    }

    fn queue(&self, job: Job) -> Result<(), HashingError> {
        self.waiting.inc();
        self.jobs.try_send(job).map_err(|_full| {
            self.waiting.dec();
            self.overloaded()
        })
    }

    fn overloaded(&self) -> HashingError {
        let turn = self.turned_away.fetch_add(1, Ordering::Relaxed) % RETRY_TURNS;
        let retry_after = RETRY + Duration::from_secs(turn);
        HashingError::Overloaded { retry_after }
    }
}

/// For tests of what is answered when nothing can be hashed, and of what a refusal costs.
#[cfg(test)]
impl Hasher {
    /// How many hashes of the current cost were made by now.
    pub(crate) async fn hashings(&self) -> usize {
        self.run(|bench| bench.hashings())
            .await
            .expect("an idle pool")
    }

    /// From now on the refusals of this pool take so long, as if a dear hash had been met.
    pub(crate) fn refuse_in(&self, time: Duration) {
        let micros = time.as_micros().try_into().expect("a short time");
        self.refusal_micros.store(micros, Ordering::Relaxed);
    }

    /// Until what is returned is dropped, every worker of a pool of one is busy and the queue is full.
    pub(crate) async fn stall(&self) -> std::sync::mpsc::Sender<()> {
        let (release, held) = std::sync::mpsc::channel();
        let (entered, inside) = oneshot::channel();
        self.queue(Box::new(move |_| {
            entered.send(()).ok();
            held.recv().ok();
        }))
        .expect("an idle pool");
        inside.await.expect("the worker lives");
        while self.queue(Box::new(|_| ())).is_ok() {}
        release
    }
}

fn workers(cost: HashCost, budget: ByteSize, cores: usize) -> usize {
    let fit = budget.bytes() / cost.memory.bytes().max(1);
    let fit = usize::try_from(fit).unwrap_or(usize::MAX);
    fit.min(cores.saturating_sub(1)).max(1)
}

fn work(queue: &Mutex<Receiver<Job>>, waiting: &IntGauge, bench: &mut Bench) {
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "the hashing threads keep their priority");
    }
    loop {
        let job = match next(queue) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                bench.rest();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        waiting.dec();
        // A panic must not shrink the pool. The bench's memory is overwritten by the next job whatever its state.
        if catch_unwind(AssertUnwindSafe(|| job(bench))).is_err() {
            tracing::error!("a hashing job panicked");
        }
    }
}

/// One worker waits at the queue and holds its lock; the others wait for the lock, and as long.
fn next(queue: &Mutex<Receiver<Job>>) -> Result<Job, RecvTimeoutError> {
    let queue = queue.try_lock_for(IDLE).ok_or(RecvTimeoutError::Timeout)?;
    queue.recv_timeout(IDLE)
}

#[cfg(test)]
mod tests;
