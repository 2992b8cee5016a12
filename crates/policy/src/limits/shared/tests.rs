//! Draws in the words of all replicas, and what the answers mean.

use proptest::prelude::*;

use super::*;
use crate::limits::{
    Limiter,
    tests::{draw, per_ip, per_user, rate, user},
};

#[test]
fn replicas_with_other_seeds_call_a_caller_the_same() {
    let names = [(1, 2), (3, 4)].map(|seed| {
        let plan = Limiter::new(seed, 10).plan(&per_user(rate(60, 60), 60));
        shared(&[draw(&plan, &user("saad"), 1)], &user("saad"))[0].key
    });
    assert_eq!(names[0], names[1]);
}

#[test]
fn the_name_of_a_caller_never_changes() {
    let plan = Limiter::new((1, 2), 10).plan(&per_user(rate(60, 60), 60));
    let key = shared(&[draw(&plan, &user("saad"), 1)], &user("saad"))[0].key;
    // Another version of the gateway that named it otherwise would let it spend twice.
    assert_eq!(
        format!("{:032x}", u128::from_be_bytes(key)),
        "28a881070c6ed70f289474be98b24164"
    );
}

#[test]
fn the_refusal_with_the_longest_wait_is_told() {
    let limiter = Limiter::new((1, 2), 10);
    let plans = [
        limiter.plan(&per_user(rate(60, 60), 60)),
        limiter.plan(&per_ip(rate(1, 60), 1)),
    ];
    let draws = plans.each_ref().map(|plan| draw(plan, &user("saad"), 1));
    let draws = shared(&draws, &user("saad"));
    let second = ticks(1_000_000_000);
    let weighing = |wait| Weighing {
        left: 0,
        reset: second,
        wait,
    };
    let refused = verdict(&draws, &[weighing(second), weighing(2 * second)]);
    let Err(NotTaken::Refused(refused)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.standing.limit_name(), "per_ip");
    assert_eq!(refused.retry_after, Duration::from_secs(2));
}

proptest! {
    /// A limit is never more generous in ticks than in nanoseconds.
    #[test]
    fn ticks_never_round_in_the_caller_s_favour(nanos in 0u64..u64::MAX / 32) {
        prop_assert!(duration(ticks(nanos)).as_nanos() >= u128::from(nanos));
        prop_assert!(duration(whole_ticks(nanos)).as_nanos() <= u128::from(nanos));
    }
}
