//! A breaker in an operator's hand.

use super::*;
use crate::breaker::Forced;

#[test]
fn one_that_is_held_open_refuses_for_as_long_as_it_is_held() {
    let breaker = breaker(&settings());
    let forced = breaker.force(Some(Forced::Open), at(0));
    assert_eq!(
        forced,
        transition(State::Closed, State::Open, Reason::Forced)
    );
    for millis in [0, 10_000, 1_000_000_000] {
        let open = breaker.enter(at(millis)).map(|_| ()).unwrap_err();
        assert_eq!(open.retry_after, Duration::from_secs(10));
        assert_eq!(breaker.state(at(millis)), State::Open);
    }
}

#[test]
fn one_that_is_held_closed_lets_through_whatever_it_sees() {
    let breaker = opened(&settings());
    let forced = breaker.force(Some(Forced::Closed), at(0));
    assert_eq!(
        forced,
        transition(State::Open, State::Closed, Reason::Forced)
    );
    for _ in 0..1_000 {
        assert_eq!(fail(&breaker, 0), None);
    }
    assert_eq!(breaker.state(at(0)), State::Closed);
}

#[test]
fn one_that_is_let_go_begins_anew() {
    let breaker = opened(&settings());
    breaker.force(Some(Forced::Open), at(0));
    let released = breaker.force(None, at(1));
    assert_eq!(
        released,
        transition(State::Open, State::Closed, Reason::Released)
    );
    assert_eq!(breaker.forced(), None);
    fail_times(&breaker, 4);
    assert_eq!(breaker.state(at(1)), State::Closed);
    assert!(fail(&breaker, 1).is_some(), "the fifth failure since");
}

#[test]
fn letting_go_of_one_that_nobody_holds_changes_nothing() {
    let breaker = opened(&settings());
    assert_eq!(breaker.force(None, at(1)), None);
    assert_eq!(breaker.state(at(1)), State::Open);
}

#[test]
fn what_was_sent_before_it_was_held_does_not_count_afterwards() {
    let breaker = breaker(&settings());
    let before: Vec<_> = (0..5).map(|_| enter(&breaker, 0)).collect();
    breaker.force(Some(Forced::Closed), at(1));
    breaker.force(None, at(2));
    for permit in before {
        assert_eq!(permit.fail(at(3)), None);
    }
    assert_eq!(breaker.state(at(3)), State::Closed);
}

#[test]
fn a_reload_lets_go_of_nothing() {
    let breaker = breaker(&settings());
    breaker.force(Some(Forced::Open), at(0));
    breaker.reconfigure(&settings(), LEASE);
    assert_eq!(breaker.forced(), Some(Forced::Open));
    assert!(breaker.enter(at(1)).is_err());
}
