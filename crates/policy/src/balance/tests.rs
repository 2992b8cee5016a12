//! Shares, spread and what happens to keys when endpoints come and go.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn round(weights: &[u8]) -> Vec<usize> {
    let rota = Rota::new(weights.iter().copied().enumerate());
    let length = rota.turns.len();
    (0..).map_while(|turn| rota.at(turn)).take(length).collect()
}

#[test]
fn equals_take_turns_in_the_order_of_the_file() {
    assert_eq!(round(&[1, 1, 1]), [0, 1, 2]);
    assert_eq!(round(&[7, 7]), [0, 1], "only the ratio counts");
}

#[test]
fn a_heavy_endpoint_gets_no_burst() {
    assert_eq!(round(&[5, 1, 1]), [0, 0, 0, 1, 0, 0, 2]);
    assert_eq!(round(&[9, 3, 3]), [0, 0, 1, 0, 2]);
}

#[test]
fn nobody_has_a_turn_where_nobody_weighs() {
    assert_eq!(Rota::new([(0, 0)]).at(7), None);
    assert_eq!(Rota::new([]).other(7), None);
}

#[test]
fn an_only_endpoint_has_no_other() {
    let rota = Rota::new([(3, 5)]);
    assert_eq!((rota.at(9), rota.other(9)), (Some(3), None));
}

#[test]
fn busy_is_measured_by_weight() {
    let load = |in_flight, weight| Load { in_flight, weight };
    assert!(is_busier(load(2, 1), load(1, 1)));
    assert!(
        !is_busier(load(2, 2), load(1, 1)),
        "twice as heavy, twice as much"
    );
    assert!(!is_busier(load(0, 1), load(0, 9)), "idle is idle");
}

/// Endpoints as `home` sees them, named by a number.
fn endpoints(weights: &[u8]) -> Vec<(usize, u64, u8)> {
    let named = weights.iter().enumerate();
    named
        .map(|(index, weight)| (index, digest(&[u8::try_from(index).unwrap()]), *weight))
        .collect()
}

#[test]
fn keys_are_shared_out_by_weight() {
    let endpoints = endpoints(&[1, 2, 5]);
    let mut counts = BTreeMap::new();
    for key in 0..80_000_u64 {
        let chosen = home(scatter(key), endpoints.iter().copied()).unwrap();
        *counts.entry(chosen).or_insert(0_i32) += 1;
    }
    for (endpoint, expected) in [(0, 10_000), (1, 20_000), (2, 50_000)] {
        let off = (counts[&endpoint] - expected).abs();
        assert!(off < 1_000, "{counts:?}");
    }
}

proptest! {
    #[test]
    fn in_one_round_everybody_comes_as_often_as_they_weigh(weights in prop::collection::vec(0_u8..=100, 1..8)) {
        let round = round(&weights);
        let total: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
        let share = if total == 0 { 1 } else { total / round.len() };
        for (endpoint, weight) in weights.iter().enumerate() {
            let came = round.iter().filter(|turn| **turn == endpoint).count();
            prop_assert_eq!(came * share, usize::from(*weight));
        }
    }

    #[test]
    fn nobody_waits_much_longer_than_their_share(weights in prop::collection::vec(1_u8..=100, 2..8)) {
        let round = round(&weights);
        let all = [round.clone(), round.clone()].concat();
        for endpoint in 0..weights.len() {
            let came = round.iter().filter(|turn| **turn == endpoint).count();
            let fair = round.len().div_ceil(came);
            let mut waited = 0;
            for turn in &all {
                waited = if *turn == endpoint { 0 } else { waited + 1 };
                prop_assert!(waited <= 2 * fair + weights.len(), "{endpoint} waits {waited} turns of {fair}");
            }
        }
    }

    #[test]
    fn the_other_is_never_the_first(weights in prop::collection::vec(1_u8..=100, 2..8), turn: u64) {
        let rota = Rota::new(weights.iter().copied().enumerate());
        prop_assert_ne!(rota.at(turn).unwrap(), rota.other(turn).unwrap());
    }

    #[test]
    fn an_endpoint_that_leaves_takes_only_its_own_keys(
        weights in prop::collection::vec(1_u8..=100, 2..10),
        leaves in any::<prop::sample::Index>(),
        keys in prop::collection::vec(any::<u64>(), 1..200),
    ) {
        let before = endpoints(&weights);
        let gone = leaves.index(before.len());
        let after: Vec<_> = before.iter().copied().filter(|(index, ..)| *index != gone).collect();
        for key in keys {
            let (then, now) = (home(key, before.iter().copied()), home(key, after.iter().copied()));
            if then == Some(gone) {
                prop_assert_ne!(now, Some(gone));
            } else {
                prop_assert_eq!(then, now);
            }
        }
    }

    #[test]
    fn an_endpoint_that_weighs_more_only_gains_keys(
        weights in prop::collection::vec(1_u8..=50, 2..10),
        grows in any::<prop::sample::Index>(),
        keys in prop::collection::vec(any::<u64>(), 1..200),
    ) {
        let before = endpoints(&weights);
        let grown = grows.index(before.len());
        let after: Vec<_> = before
            .iter()
            .map(|(index, name, weight)| (*index, *name, if *index == grown { weight * 2 } else { *weight }))
            .collect();
        for key in keys {
            let (then, now) = (home(key, before.iter().copied()), home(key, after.iter().copied()));
            prop_assert!(then == now || now == Some(grown));
        }
    }
}

#[test]
fn a_request_is_hashed_by_what_it_has() {
    let mut headers = HeaderMap::new();
    headers.insert("x-room", HeaderValue::from_static("7"));
    headers.append(header::COOKIE, HeaderValue::from_static("a=1; room=7"));
    headers.append(
        header::COOKIE,
        HeaderValue::from_static("b=2;  c=; roomy=9"),
    );
    let caller = Caller {
        headers: &headers,
        address: IpAddr::from([192, 0, 2, 1]),
        subject: None,
    };
    let of = |by: HashKey| key_of(&by, &caller);
    let header = |name: &'static str| HashKey::Header(HeaderName::from_static(name));
    let cookie = |name: &str| HashKey::Cookie(name.to_owned());
    assert_eq!(of(header("x-room")), of(cookie("room")), "both say 7");
    assert_eq!(of(cookie("b")), Some(digest(b"2")));
    for absent in [
        header("x-other"),
        cookie("c"),
        cookie("oom"),
        cookie("Room"),
    ] {
        assert_eq!(key_of(&absent, &caller), None, "{absent:?}");
    }
    assert_eq!(of(HashKey::User), of(HashKey::Ip), "nobody has signed in");
    let known = Caller {
        subject: Some("saad"),
        ..caller
    };
    assert_eq!(key_of(&HashKey::User, &known), Some(digest(b"saad")));
}
