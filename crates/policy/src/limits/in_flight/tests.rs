//! Never one too many, and none lost.

use std::{
    num::NonZeroU32,
    sync::{
        LazyLock,
        atomic::{AtomicIsize, Ordering},
    },
    thread,
    time::Duration,
};

use http::HeaderMap;
use portcullis_config::{limits::KeyPart, server::RateLimitHeaders, units::Timestamp};
use proptest::prelude::*;

use super::*;
use crate::{clock::Moment, limits::Limiter, rate_headers::rate_headers};

const ALICE: Key = [1, 2];
const BOB: Key = [3, 4];

#[test]
fn a_key_has_so_many_places_and_no_more() {
    let counts = InFlightCounts::new();
    let held: Vec<_> = (0..20).map(|_| counts.enter(ALICE, 20)).collect();
    assert!(held.iter().all(Option::is_some));
    assert!(counts.enter(ALICE, 20).is_none());
    assert!(counts.enter(BOB, 20).is_some(), "another key has its own");
    drop(held);
    assert!(counts.enter(ALICE, 20).is_some());
}

#[test]
fn a_refusal_takes_no_place() {
    let counts = InFlightCounts::new();
    let held = counts.enter(ALICE, 1);
    for _ in 0..100 {
        assert!(counts.enter(ALICE, 1).is_none());
    }
    drop(held);
    assert!(counts.enter(ALICE, 1).is_some());
}

#[test]
fn threads_never_hold_more_places_than_there_are() {
    let (counts, held) = (InFlightCounts::new(), AtomicIsize::new(0));
    let work = |most: isize| {
        for _ in 0..300_000 {
            if let Some(place) = counts.enter(ALICE, most) {
                let now = held.fetch_add(1, Ordering::SeqCst) + 1;
                assert!(now <= most, "{now} of {most}");
                held.fetch_sub(1, Ordering::SeqCst);
                drop(place);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| work(1));
        }
    });
    assert!(counts.enter(ALICE, 1).is_some(), "all of them came back");
}

#[test]
fn threads_that_come_together_get_every_place_there_is() {
    for _ in 0..200 {
        let counts = InFlightCounts::new();
        let held: Vec<Option<PlaceInFlight>> = thread::scope(|scope| {
            let coming: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| counts.enter(ALICE, 5)))
                .collect();
            coming
                .into_iter()
                .map(|thread| thread.join().expect("it does not panic"))
                .collect()
        });
        assert_eq!(
            held.iter().flatten().count(),
            5,
            "nobody is turned away by one who is"
        );
    }
}

#[test]
fn more_keys_than_the_sketch_has_room_for_refuse_too_early_and_never_too_late() {
    let counts = InFlightCounts::new();
    let mut held = Vec::new();
    for number in 0..100_000u64 {
        let key = [number, number.wrapping_mul(0x9E37_79B9_7F4A_7C15)];
        held.extend(counts.enter(key, 1));
        assert!(
            counts.enter(key, 1).is_none(),
            "a second place for {number}"
        );
    }
    assert!(held.len() > 1000, "only {} had a place", held.len());
}

fn alice() -> Caller<'static> {
    static HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
    Caller {
        address: [192, 0, 2, 1].into(),
        headers: &HEADERS,
        route: "hotel",
        principal: None,
    }
}

fn two_at_once() -> InFlightLimit {
    InFlightLimit {
        name: "in_flight".to_owned(),
        key: vec![KeyPart::User],
        most: NonZeroU32::new(2).expect("not zero"),
        ipv6_prefix: 64,
    }
}

#[test]
fn a_reload_knows_who_is_still_in_flight() {
    let limiter = Limiter::new((1, 2), 10);
    let before = limiter.in_flight_plan(&two_at_once());
    let _held = [before.enter(&alice()), before.enter(&alice())];
    let after = limiter.in_flight_plan(&two_at_once());
    assert!(after.enter(&alice()).is_err());
}

#[test]
fn whoever_finds_no_place_is_told_how_many_there_are_and_to_come_again() {
    let limiter = Limiter::new((1, 2), 10);
    let plan = limiter.in_flight_plan(&two_at_once());
    let _held = [plan.enter(&alice()), plan.enter(&alice())];
    let refused = plan.enter(&alice()).expect_err("both are taken");
    assert_eq!(refused.retry_after, Duration::from_secs(1));
    let now = Moment {
        since_start: Duration::ZERO,
        wall: Timestamp::from_secs(1000),
    };
    let told: Vec<String> = rate_headers(RateLimitHeaders::Both, &refused.standing, now)
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
        .collect();
    assert_eq!(
        told,
        [
            r#"ratelimit-policy: "in_flight";q=2;qu="concurrent-requests""#,
            r#"ratelimit: "in_flight";r=0;t=1"#,
            "x-ratelimit-limit: 2",
            "x-ratelimit-remaining: 0",
            "x-ratelimit-reset: 1001",
        ]
    );
}

proptest! {
    /// With fewer keys than slots the sketch counts as one would by hand.
    #[test]
    fn places_come_and_go_as_counted_by_hand(
        most in 1isize..5,
        steps in proptest::collection::vec((0u64..4, any::<bool>()), 1..200),
    ) {
        let counts = InFlightCounts::new();
        let mut held: [Vec<PlaceInFlight>; 4] = Default::default();
        for (key, leaves) in steps {
            let places = &mut held[usize::try_from(key).expect("below four")];
            if leaves {
                places.pop();
                continue;
            }
            let entered = counts.enter([key, key], most);
            prop_assert_eq!(entered.is_some(), places.len() < usize::try_from(most).expect("above zero"));
            places.extend(entered);
        }
    }
}
