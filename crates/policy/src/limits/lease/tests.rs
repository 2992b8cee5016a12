//! What a lease lets be spent, by hand-set time.

use super::*;

const SECOND: u64 = 1_000_000_000;

fn told(version: u64, taken: u64) -> LeaseTold {
    LeaseTold {
        version,
        taken,
        validity: 2 * SECOND,
        weighing: Weighing {
            left: 100,
            reset: 0,
            wait: 0,
        },
    }
}

fn lease_of(taken: u64) -> Lease {
    let mut lease = Lease::new(1);
    lease.told(&told(1, taken), 0);
    lease
}

fn spend(lease: &mut Lease, cost: u64, now: u64) -> bool {
    let reserved = lease.reserve(cost, now);
    if reserved {
        lease.spend_reserved(cost);
    }
    reserved
}

#[test]
fn no_more_is_spent_than_was_taken() {
    let mut lease = lease_of(10);
    assert!(spend(&mut lease, 6, 0));
    assert!(!spend(&mut lease, 5, 0));
    assert!(spend(&mut lease, 4, 0));
    assert_eq!((lease.spent(), lease.spendable(0)), (10, 0));
}

#[test]
fn a_lease_ends_before_the_store_gives_its_room_away() {
    let mut lease = lease_of(10);
    assert!(spend(&mut lease, 1, SECOND * 3 / 2 - 1));
    assert!(!spend(&mut lease, 1, SECOND * 3 / 2));
}

#[test]
fn what_is_reserved_is_nobody_else_s_and_can_be_put_back() {
    let mut lease = lease_of(10);
    assert!(lease.reserve(7, 0));
    assert!(!lease.reserve(4, 0));
    assert_eq!(lease.spent(), 0, "the store is not told of it");
    lease.put_back(7);
    assert!(lease.reserve(10, 0));
}

#[test]
fn an_older_answer_is_not_believed() {
    let mut lease = lease_of(10);
    lease.told(&told(5, 4), 0);
    lease.told(&told(4, 30), 0);
    assert_eq!(lease.spendable(0), 4);
}

#[test]
fn what_was_spent_while_the_call_was_on_its_way_counts() {
    let mut lease = lease_of(10);
    assert!(spend(&mut lease, 8, 0));
    // The store had dropped the lease, and began it anew with what it was told then: nothing spent, five given.
    lease.told(&told(2, 5), 0);
    assert_eq!(lease.spendable(0), 0);
}

#[test]
fn a_refusal_is_remembered_for_as_much_and_not_for_long() {
    let mut lease = lease_of(0);
    lease.note(
        Weighing {
            left: 0,
            reset: 0,
            wait: 16_000_000,
        },
        0,
    );
    lease.refused(5, 0);
    assert!(lease.is_refused(5, 0) && lease.is_refused(9, 0));
    assert!(!lease.is_refused(4, 0), "less may be there");
    assert!(
        !lease.is_refused(5, SECOND),
        "and somebody may have given back"
    );
}

#[test]
fn one_asks_at_a_time() {
    let mut lease = lease_of(10);
    assert!(!lease.begin_to_ask(5, 0), "there is enough");
    assert!(spend(&mut lease, 6, 0));
    assert!(lease.begin_to_ask(5, 0));
    assert!(!lease.begin_to_ask(5, 0));
    lease.end_asking();
    assert!(lease.begin_to_ask(5, 0));
}

#[test]
fn who_spends_is_renewed_and_who_does_not_gives_back() {
    let mut lease = lease_of(10);
    assert!(spend(&mut lease, 1, 0));
    assert_eq!(lease.look(SECOND, 0), Care::Leave);
    assert_eq!(lease.look(SECOND, 0), Care::GiveBack);
    assert!(spend(&mut lease, 1, 0));
    assert_eq!(lease.look(SECOND, SECOND), Care::Renew);
    assert!(lease.reserve(1, SECOND));
    assert_eq!(
        lease.look(SECOND, SECOND),
        Care::Leave,
        "a request waits with it"
    );
    lease.put_back(1);
    assert_eq!(
        lease.look(SECOND, SECOND * 2),
        Care::GiveBack,
        "it has ended here, but perhaps not there"
    );
    lease.told(&told(2, lease.spent()), SECOND * 2);
    assert_eq!(lease.look(SECOND, SECOND * 2), Care::Forget);
}
