//! The pool: its bounds, who is turned away and who is passed over, and how long a refusal takes.

use std::{collections::BTreeMap, sync::mpsc};

use super::*;

fn rules(memory_kib: u64, budget_kib: u64) -> PasswordRules {
    PasswordRules {
        min_length: 12,
        min_score: 3,
        breached: None,
        hash: HashCost {
            memory: ByteSize(memory_kib * 1024),
            iterations: 1,
            parallelism: 1,
        },
        hashing_memory: ByteSize(budget_kib * 1024),
    }
}

fn password() -> Password {
    Password::parse("secret").unwrap()
}

/// A job that says when it runs, and runs until it is released.
fn occupy(entered: oneshot::Sender<()>, held: Receiver<()>) -> impl FnOnce(&mut Bench) + Send {
    move |_| {
        entered.send(()).ok();
        held.recv().ok();
    }
}

/// A pool of one whose worker is busy until the sender is dropped.
async fn busy_hasher() -> (Arc<Hasher>, mpsc::Sender<()>) {
    let hasher = Arc::new(Hasher::start(&rules(64, 64), 1).unwrap());
    let (release, held) = mpsc::channel::<()>();
    let (entered, inside) = oneshot::channel();
    let occupant = Arc::clone(&hasher);
    tokio::spawn(async move { occupant.run(occupy(entered, held)).await });
    inside.await.unwrap();
    (hasher, release)
}

#[test]
fn memory_and_cores_bound_the_pool() {
    let check = |memory_kib, budget_kib, cores, expected| {
        let rules = rules(memory_kib, budget_kib);
        assert_eq!(workers(rules.hash, rules.hashing_memory, cores), expected);
    };
    check(19 * 1024, 76 * 1024, 8, 4);
    check(19 * 1024, 76 * 1024, 4, 3);
    check(19 * 1024, 76 * 1024, 2, 1);
    check(19 * 1024, 76 * 1024, 1, 1);
    check(19 * 1024, 10 * 1024, 2, 1);
    check(19 * 1024, 76 * 1024, 0, 1);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let (hasher, release) = busy_hasher().await;
    for _ in 0..MAX_WAITING {
        hasher.queue(Box::new(|_| ())).unwrap();
    }
    assert_eq!(hasher.waiting().get(), 64);
    let refused = hasher.verify(password(), None, true).await;
    assert!(
        matches!(refused, Err(HashingError::Overloaded { .. })),
        "{refused:?}"
    );
    assert_eq!(hasher.waiting().get(), 64, "the refused one does not wait");
    drop(release);
}

#[tokio::test]
async fn whether_there_is_room_is_known_beforehand() {
    let (hasher, release) = busy_hasher().await;
    for _ in 0..MAX_WAITING {
        hasher.check_room().unwrap();
        hasher.queue(Box::new(|_| ())).unwrap();
    }
    assert!(hasher.check_room().is_err());
    assert_eq!(hasher.waiting().get(), 64, "asking takes no place");
    drop(release);
}

#[tokio::test]
async fn those_who_are_turned_away_together_do_not_come_back_together() {
    let (hasher, release) = busy_hasher().await;
    while hasher.queue(Box::new(|_| ())).is_ok() {}
    let mut told = BTreeMap::<u64, usize>::new();
    for _ in 0..400 {
        let Err(HashingError::Overloaded { retry_after }) = hasher.check_room() else {
            panic!("there is room");
        };
        *told.entry(retry_after.as_secs()).or_default() += 1;
    }
    assert_eq!(
        told,
        BTreeMap::from([(2, 100), (3, 100), (4, 100), (5, 100)])
    );
    drop(release);
}

#[tokio::test]
async fn who_waited_too_long_is_refused_and_its_job_skipped() {
    let (hasher, release) = busy_hasher().await;
    let impatient = Hasher {
        jobs: hasher.jobs.clone(),
        waiting: hasher.waiting.clone(),
        max_wait: Duration::ZERO,
        turned_away: AtomicU64::new(0),
        policy: Arc::clone(&hasher.policy),
        refusal_micros: AtomicU64::new(0),
    };
    let (touched, touches) = mpsc::channel::<()>();
    let waited = impatient.run(move |_| touched.send(())).await;
    assert!(
        matches!(waited, Err(HashingError::Overloaded { .. })),
        "{waited:?}"
    );
    drop(release);
    // The next one is served, which also shows that the one before it was passed over.
    assert_eq!(
        hasher.verify(password(), None, true).await.unwrap(),
        Verdict::Mismatch
    );
    assert!(
        touches.try_recv().is_err(),
        "a job whose client left must not run"
    );
}

#[tokio::test]
async fn a_client_that_leaves_during_its_hash_keeps_the_slot_taken() {
    let hasher = Arc::new(Hasher::start(&rules(64, 64), 1).unwrap());
    let (release, held) = mpsc::channel::<()>();
    let (entered, inside) = oneshot::channel();
    let leaver = tokio::spawn({
        let hasher = Arc::clone(&hasher);
        async move { hasher.run(occupy(entered, held)).await }
    });
    inside.await.unwrap();
    leaver.abort();
    assert!(leaver.await.unwrap_err().is_cancelled());
    hasher.queue(Box::new(|_| ())).unwrap();
    assert_eq!(
        hasher.waiting().get(),
        1,
        "the only worker is still at the leaver's hash"
    );
    drop(release);
}

#[tokio::test]
async fn a_panic_does_not_shrink_the_pool() {
    let hasher = Hasher::start(&rules(64, 64), 1).unwrap();
    let failed = hasher.run(|_| panic!("on purpose")).await;
    assert!(matches!(failed, Err(HashingError::Abandoned)), "{failed:?}");
    assert_eq!(
        hasher.verify(password(), None, true).await.unwrap(),
        Verdict::Mismatch
    );
}

#[test]
fn refusals_take_as_long_as_the_dearer_ones_and_forget_a_hiccup() {
    let hasher = Hasher::start(&rules(64, 64), 1).unwrap();
    let ms = Duration::from_millis;
    assert_eq!(
        hasher.pretence(ms(20), false),
        ms(0),
        "nothing dearer was met"
    );
    assert_eq!(hasher.pretence(ms(240), true), ms(0));
    assert_eq!(hasher.pretence(ms(20), false), ms(220), "an unknown name");
    assert_eq!(hasher.pretence(Duration::from_secs(60), true), ms(0));
    assert!(hasher.pretence(ms(20), false) < Duration::from_secs(1));
    for _ in 0..40 {
        hasher.pretence(ms(240), true);
    }
    assert_eq!(hasher.pretence(ms(20), false), ms(220));
}

#[tokio::test]
async fn what_was_hashed_verifies() {
    let hasher = Hasher::start(&rules(64, 256), 3).unwrap();
    let stored = hasher.hash(password()).await.unwrap();
    assert_eq!(
        hasher.verify(password(), Some(stored), true).await.unwrap(),
        Verdict::Match { outdated: false }
    );
}
