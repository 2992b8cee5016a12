//! The bounds of the cache, with principals that nobody verified.

use portcullis_config::units::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{
    KeySet,
    issuer_keys::IssuerKeys,
    principal::{IssuerName, VerifiedClaims},
    scopes::ScopeSet,
};

fn principal(subject: &str) -> Arc<Principal> {
    Arc::new(Principal::new(VerifiedClaims {
        subject: subject.into(),
        issuer: IssuerName::Local,
        resource: "hotel".into(),
        scopes: ScopeSet::default(),
        roles: Box::default(),
        tenant: None,
        remembered: crate::RememberedClaims::default(),
        session: None,
        version: 0,
        token_id: Box::default(),
        client_id: None,
        key_id: None,
        revocations: None,
        their_subject: None,
        expires_at: Timestamp::default(),
        refused_from: Timestamp::default(),
    }))
}

/// Of keys that never change.
fn remember(cache: &Cache, token: &str) {
    remember_by(cache, token, &no_keys());
}

fn remember_by(cache: &Cache, token: &str, keys: &Arc<IssuerKeys>) {
    cache.insert(token, &principal(token), keys.current().warrant(keys));
}

fn no_keys() -> Arc<IssuerKeys> {
    KeySet::new([]).expect("nothing clashes").into()
}

fn is_known(cache: &Cache, token: &str) -> bool {
    cache
        .find(token)
        .is_some_and(|found| found.subject() == token)
}

/// Entries and bytes of all shards, after a look at each shard's books.
fn held(cache: &Cache) -> (usize, usize) {
    let mut sum = (0, 0);
    for shard in &cache.shards {
        let shard = shard.lock();
        let mut queued: Vec<_> = shard.queue.iter().collect();
        queued.sort();
        queued.dedup();
        assert_eq!(
            (queued.len(), shard.queue.len()),
            (shard.entries.len(), shard.entries.len()),
            "queued once each"
        );
        assert!(
            queued.iter().all(|hash| shard.entries.contains_key(hash)),
            "nothing queued that is gone"
        );
        assert_eq!(
            shard.bytes,
            shard
                .entries
                .values()
                .map(|entry| entry.weight)
                .sum::<usize>()
        );
        assert!(shard.entries.len() <= shard.max_entries && shard.bytes <= shard.max_bytes);
        sum = (sum.0 + shard.entries.len(), sum.1 + shard.bytes);
    }
    sum
}

#[test]
fn entries_are_bounded_exactly_whatever_their_number() {
    for max_entries in [0, 1, 15, 16, 17, 100] {
        let cache = Cache::new(max_entries, 1 << 20);
        (0..2000).for_each(|number| remember(&cache, &format!("token-{number}")));
        assert_eq!(held(&cache).0, max_entries);
    }
}

#[test]
fn bytes_are_bounded_and_a_token_larger_than_its_share_is_not_kept() {
    let cache = Cache::new(10_000, 16 * 4096);
    for number in 0..500 {
        remember(&cache, &format!("{number}{}", "x".repeat(number)));
    }
    let (entries, bytes) = held(&cache);
    assert!(
        entries > 16 && bytes <= 16 * 4096,
        "{entries} entries of {bytes} bytes"
    );
    let large = "y".repeat(4096);
    remember(&cache, &large);
    assert!(!is_known(&cache, &large));
    assert!(held(&cache).0 > 16, "and it drove nobody out");
}

#[test]
fn a_token_in_use_outlives_those_that_came_after_it() {
    let cache = Cache::new(160, 1 << 20);
    remember(&cache, "in use");
    for number in 0..5000 {
        assert!(is_known(&cache, "in use"), "after {number}");
        remember(&cache, &format!("passing-{number}"));
    }
}

#[test]
fn two_tokens_of_one_hash_never_stand_in_for_each_other() {
    let cache = Cache::new(160, 1 << 20);
    let tail = "s".repeat(64);
    let (first, second) = (format!("a.{tail}"), format!("b.{tail}"));
    remember(&cache, &first);
    assert!(is_known(&cache, &first) && !is_known(&cache, &second));
    remember(&cache, &second);
    assert!(
        is_known(&cache, &second) && !is_known(&cache, &first),
        "the later one takes the place"
    );
    assert_eq!(held(&cache).0, 1);
}

#[test]
fn a_token_is_forgotten_once_the_keys_that_vouched_for_it_are_replaced() {
    let cache = Cache::new(160, 1 << 20);
    let (ours, theirs) = (no_keys(), no_keys());
    let before = ours.current().warrant(&ours);
    remember_by(&cache, "old", &ours);
    remember_by(&cache, "of others", &theirs);
    ours.replace(KeySet::new([]).expect("nothing clashes"));
    assert!(!is_known(&cache, "old"));
    cache.insert("late", &principal("late"), before);
    assert!(
        !is_known(&cache, "late"),
        "a verdict of replaced keys that comes after them"
    );
    assert!(
        is_known(&cache, "of others"),
        "their keys are the same as before"
    );
    remember_by(&cache, "old", &ours);
    assert!(is_known(&cache, "old"), "verified anew");
}

proptest! {
    #[test]
    fn the_books_are_right_after_any_use(steps in proptest::collection::vec((0..3u8, 0..60usize), 0..300), max in 0..40usize) {
        let cache = Cache::new(max, 16 * 1500);
        let keys = no_keys();
        for (step, token) in steps {
            let token = format!("{token}-{}", "x".repeat(token * 20));
            match step {
                0 => remember_by(&cache, &token, &keys),
                1 => prop_assert!(cache.find(&token).is_none_or(|found| found.subject() == token)),
                _ => if token.len() == 2 { keys.replace(KeySet::new([]).expect("nothing clashes")) },
            }
        }
        prop_assert!(held(&cache).0 <= max);
    }
}
