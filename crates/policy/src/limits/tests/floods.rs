//! More callers than a limit can remember.

use super::*;

/// Remembered at the most: ten a shard.
const BOUND: usize = 640;
/// One common bucket for each shard.
const IN_COMMON: usize = 64;

/// Three an hour, so that nothing comes back in the time of a test.
fn plan(limiter: &Limiter) -> LimitPlan {
    limiter.plan(&per_user(rate(3, 3600), 3))
}

/// How many of five requests pass.
fn passed(plan: &LimitPlan, subject: &str) -> usize {
    (0..5)
        .filter(|_| take_one(plan, subject, at(0)).is_ok())
        .count()
}

#[test]
fn of_three_times_as_many_callers_as_are_remembered_each_is_limited() {
    let limiter = Limiter::new(SEED, BOUND);
    let plan = plan(&limiter);
    let strangers: Vec<String> = (0..3 * BOUND)
        .map(|number| format!("stranger-{number}"))
        .collect();
    let admitted: Vec<usize> = strangers.iter().map(|name| passed(&plan, name)).collect();
    assert!(admitted.iter().all(|passed| *passed <= 3));
    let sum: usize = admitted.iter().sum();
    assert!(sum <= 3 * (BOUND + IN_COMMON), "{sum}");
    assert!(
        strangers.iter().all(|name| passed(&plan, name) == 0),
        "a second round gets nothing"
    );
    let kept: usize = limiter.key_counts().iter().map(|(_, keys)| keys).sum();
    assert!(kept <= BOUND, "{kept}");
}

#[test]
fn whoever_has_spent_before_a_flood_keeps_what_is_left() {
    let limiter = Limiter::new(SEED, BOUND);
    let plan = plan(&limiter);
    assert_eq!(take_one(&plan, "known", at(0)), Ok(2));
    for number in 0..3 * BOUND {
        passed(&plan, &format!("stranger-{number}"));
    }
    assert_eq!(passed(&plan, "known"), 2);
}

/// Harsh, and over with the time in which a bucket fills.
#[test]
fn whoever_comes_into_a_flood_waits_no_longer_than_one_who_spent_everything() {
    let limiter = Limiter::new(SEED, BOUND);
    let plan = plan(&limiter);
    for number in 0..3 * BOUND {
        passed(&plan, &format!("stranger-{number}"));
    }
    let wait = take_one(&plan, "newcomer", at(0)).expect_err("all room is taken");
    assert!(wait <= 1_200_000, "{wait} ms");
    assert!(take_one(&plan, "newcomer", at(1_200_000)).is_ok());
    let mut spent = 1;
    while take_one(&plan, "newcomer", at(3_600_000)).is_ok() {
        spent += 1;
    }
    assert!(spent <= 3 + 3, "a bucket and an hour's worth: {spent}");
}

proptest! {
    /// The invariant of the room where keys come, share the common bucket, and get one of their own again.
    #[test]
    fn no_caller_gets_more_than_burst_and_rate_out_of_a_crowded_map(
        steps in proptest::collection::vec((0u8..250, 0u64..400), 1..600),
    ) {
        let limiter = Limiter::new(SEED, 64);
        let plan = limiter.plan(&per_user(rate(1, 1), 3));
        let mut now = 0;
        let mut admitted: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
        for (name, pause) in steps {
            now += pause / 40;
            for _ in 0..2 {
                if take_one(&plan, &name.to_string(), at(now)).is_ok() {
                    admitted.entry(name).or_default().push(now);
                }
            }
        }
        for (name, instants) in admitted {
            for (index, first) in instants.iter().enumerate() {
                for (later, last) in instants.iter().enumerate().skip(index) {
                    let count = (later - index + 1) as f64;
                    let allowed = 3.0 + (last - first) as f64 / 1000.0;
                    prop_assert!(count <= allowed + 1e-6, "{} got {} where {} are allowed", name, count, allowed);
                }
            }
        }
    }
}
