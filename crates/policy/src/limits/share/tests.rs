//! What shares let through together, and what is brought back of them.

use proptest::prelude::*;

use super::*;
use crate::limits::{
    LimitPlan,
    tests::{at, draw, limiter, per_user, rate, user},
};

const REPLICAS: u32 = 3;

/// A replica with a limit of its own buckets.
struct Replica {
    share: Share,
    plan: LimitPlan,
}

impl Replica {
    fn of(replicas: u32, burst: u64) -> Self {
        let share = Share::new(replicas, at(0));
        share.store_found();
        Self {
            share,
            plan: limiter().plan(&per_user(rate(60, 60), burst)),
        }
    }

    fn draw(&self) -> Draw<'_> {
        draw(&self.plan, &user("saad"), 1)
    }

    fn admits(&self, millis: u64) -> bool {
        self.share.take(&[self.draw()], at(millis)).is_ok()
    }
}

#[test]
fn a_share_is_its_part_of_the_burst() {
    let replica = Replica::of(REPLICAS, 8);
    let admitted = (0..20).filter(|_| replica.admits(0)).count();
    assert_eq!(admitted, 2);
    assert!(!replica.admits(999));
    assert!(
        replica.admits(1_000),
        "two thirds were left, and a third comes every second"
    );
}

#[test]
fn a_share_of_less_than_one_request_is_no_share() {
    let replica = Replica::of(REPLICAS, 2);
    let taken = replica.share.take(&[replica.draw()], at(1_000_000));
    assert_eq!(taken, Err(NotTaken::StoreAway));
}

#[test]
fn what_is_left_is_told_in_requests_that_would_pass() {
    let replica = Replica::of(REPLICAS, 9);
    let standing = replica
        .share
        .take(&[replica.draw()], at(0))
        .unwrap()
        .unwrap();
    assert_eq!((standing.remaining, standing.limit()), (2, 9));
}

#[test]
fn what_the_store_let_through_is_charged_to_the_share() {
    let replica = Replica::of(REPLICAS, 9);
    for _ in 0..5 {
        replica.share.charge(&[replica.draw()], at(0));
    }
    assert!(!replica.admits(0), "five of three");
    assert!(replica.admits(3_000), "and no more than the three");
}

#[test]
fn a_replica_that_begins_without_the_store_begins_with_nothing() {
    let plan = limiter().plan(&per_user(rate(60, 60), 9));
    let share = Share::new(REPLICAS, at(0));
    let take = |millis| {
        share
            .take(&[draw(&plan, &user("saad"), 1)], at(millis))
            .is_ok()
    };
    assert!(!take(0));
    share.store_found();
    assert!(
        !take(2_999),
        "that the store is found later changes nothing"
    );
    assert!(take(3_000));
}

#[test]
fn what_is_left_of_a_share_is_brought_back_once() {
    let replica = Replica::of(REPLICAS, 9);
    assert!(replica.admits(0));
    let second = 1_000_000_000;
    assert_eq!(
        replica.share.bring_back(&replica.draw(), 0, at(500)),
        2 * second
    );
    assert_eq!(replica.share.bring_back(&replica.draw(), 0, at(500)), 0);
    assert_eq!(replica.share.bring_back(&replica.draw(), 0, at(4_000)), 0);
    assert!(
        !replica.admits(600),
        "what was brought back is not spent here"
    );
}

proptest! {
    /// Whatever comes to whom and when, all shares together are within the limit; and so is what they let through
    /// together with what they bring back.
    #[test]
    fn shares_never_sum_above_the_limit(
        replicas in 1u32..6,
        burst in 1u64..40,
        requests in prop::collection::vec((0usize..6, 0u64..2_000), 1..200),
    ) {
        let all: Vec<Replica> = (0..replicas).map(|_| Replica::of(replicas, burst)).collect();
        let (mut now, mut admitted) = (0, 0);
        for (replica, pause) in requests {
            now += pause;
            let replica = &all[replica % all.len()];
            admitted += u64::from(replica.admits(now));
        }
        let brought: u64 = all
            .iter()
            .map(|replica| replica.share.bring_back(&replica.draw(), at(now).nanos(), at(now)))
            .sum();
        let earned = u128::from(burst) * 1_000_000_000 + u128::from(at(now).nanos());
        let spent = u128::from(admitted) * 1_000_000_000 + u128::from(brought);
        prop_assert!(spent <= earned, "{admitted} admitted and {brought} brought back of {earned}");
    }
}
