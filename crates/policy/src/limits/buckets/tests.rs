//! What the map forgets, and what becomes of newcomers when it can forget nothing.

use proptest::prelude::*;

use super::*;

fn key(number: u64) -> Key {
    [number.wrapping_mul(0x9E37_79B9_7F4A_7C15), number]
}

fn insert(shard: &mut Shard, number: u64, full_at: u64, now: u64) {
    let place = shard.find(key(number), now);
    shard.set(place, key(number), full_at, now);
}

fn full_at(shard: &mut Shard, number: u64, now: u64) -> u64 {
    let place = shard.find(key(number), now);
    shard.full_at(place, u64::MAX)
}

#[test]
fn idle_buckets_make_room_for_new_ones() {
    let mut shard = Shard::new(1000);
    for number in 0..100_000 {
        insert(&mut shard, number, number + 10, number);
    }
    assert!(
        shard.entries.len() < 50,
        "ten are in use at any time; kept were {}",
        shard.entries.len()
    );
    assert_eq!(shard.overflow_full_at, 0);
}

#[test]
fn a_shard_of_buckets_in_use_sends_newcomers_to_a_common_one() {
    let mut shard = Shard::new(10);
    for number in 0..10 {
        insert(&mut shard, number, 1000, 0);
    }
    insert(&mut shard, 10, 500, 0);
    assert_eq!(shard.entries.len(), 10);
    assert_eq!(
        full_at(&mut shard, 11, 0),
        500,
        "the next newcomer finds what the first one spent"
    );
    assert_eq!(
        full_at(&mut shard, 3, 0),
        1000,
        "those who were there keep their own"
    );
}

#[test]
fn newcomers_have_their_own_again_once_there_is_room() {
    let mut shard = Shard::new(10);
    for number in 0..11 {
        insert(&mut shard, number, 1000, 0);
    }
    assert!(
        full_at(&mut shard, 11, 1000) <= 1000,
        "the common one has filled in the meantime"
    );
    insert(&mut shard, 11, 2000, 1000);
    assert_eq!(full_at(&mut shard, 11, 1000), 2000);
}

#[test]
fn what_was_spent_in_common_is_not_given_again() {
    let mut shard = Shard::new(10);
    for number in 0..10 {
        insert(&mut shard, number, 1000, 0);
    }
    insert(&mut shard, 10, 5000, 0);
    assert_eq!(full_at(&mut shard, 10, 2000), 5000, "now there is room");
    insert(&mut shard, 10, 6000, 2000);
    assert_eq!(full_at(&mut shard, 10, 2000), 6000);
    assert_eq!(
        full_at(&mut shard, 3, 5000).max(5000),
        5000,
        "and then it is over"
    );
}

#[test]
fn a_flood_takes_no_more_memory_than_the_bound() {
    const BOUND: u64 = 20_000;
    let buckets = Buckets::new(0, usize::try_from(BOUND).expect("small"));
    for number in 0..3 * BOUND {
        let [other, key] = key(number);
        let key = [key, other];
        let mut shard = buckets.lock(key);
        let place = shard.find(key, 0);
        shard.set(place, key, u64::MAX, 0);
    }
    let kept = u64::try_from(buckets.len()).expect("small");
    assert!(kept <= BOUND + 64, "{kept}");
    let bytes: usize = buckets
        .shards
        .iter()
        .map(|shard| bytes(&shard.lock()))
        .sum();
    assert!(
        u64::try_from(bytes).expect("small") <= 100 * BOUND,
        "{bytes}"
    );
}

fn bytes(shard: &Shard) -> usize {
    shard.entries.capacity() * size_of::<Entry>() + shard.index.allocation_size()
}

#[test]
fn a_key_costs_less_than_a_hundred_bytes_at_every_size() {
    let mut shard = Shard::new(usize::MAX);
    for number in 0..70_000 {
        insert(&mut shard, number, u64::MAX, 0);
        let bytes = bytes(&shard);
        assert!(
            number < 100 || bytes <= 100 * shard.entries.len(),
            "{bytes} bytes for {number} keys"
        );
    }
}

#[test]
fn keys_are_spread_over_the_shards() {
    let buckets = Buckets::new(0, 6400);
    for number in 0..3200u64 {
        let key = [number, number.wrapping_mul(0x9E37_79B9_7F4A_7C15)];
        let mut shard = buckets.lock(key);
        let place = shard.find(key, 0);
        shard.set(place, key, 1000, 0);
    }
    assert_eq!(buckets.len(), 3200);
}

proptest! {
    /// Forgetting is only of buckets that are full, so a map without bounds would say the same.
    #[test]
    fn nothing_is_forgotten_that_matters(steps in proptest::collection::vec((0u64..30, 1u64..40, 0u64..5), 1..400)) {
        let mut shard = Shard::new(1000);
        let mut remembered = std::collections::HashMap::new();
        let mut now = 0;
        for (number, lasts, pause) in steps {
            now += pause;
            let expected = remembered.get(&number).copied().unwrap_or(0).max(now);
            prop_assert_eq!(full_at(&mut shard, number, now).max(now), expected);
            insert(&mut shard, number, now + lasts, now);
            remembered.insert(number, now + lasts);
        }
        let indexed: Vec<bool> = shard.entries.iter().map(|entry| shard.position(entry.key).is_some()).collect();
        prop_assert!(indexed.iter().all(|found| *found) && shard.index.len() == shard.entries.len());
    }
}
