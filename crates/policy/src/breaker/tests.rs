//! The breaker by hand-set time, and held to its promises under any interleaving.

mod forced;

use std::num::NonZeroU32;

use portcullis_config::{
    units::Timestamp,
    upstreams::{FailureRate, SlowCalls},
};
use proptest::prelude::*;

use super::*;

const LEASE: Duration = Duration::from_secs(60);
const QUICK: Duration = Duration::from_millis(1);

fn nonzero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

/// Opens after five failures for ten seconds; one probe closes it.
fn settings() -> CircuitBreaker {
    CircuitBreaker {
        consecutive_failures: nonzero(5),
        failure_rate: None,
        slow_calls: None,
        open_for: Duration::from_secs(10),
        half_open_requests: nonzero(1),
        close_after: nonzero(1),
    }
}

fn breaker(settings: &CircuitBreaker) -> Arc<Breaker> {
    Arc::new(Breaker::new(settings, LEASE, 7))
}

fn at(millis: u64) -> Moment {
    Moment {
        since_start: Duration::from_millis(millis),
        wall: Timestamp::from_millis(millis),
    }
}

fn enter(breaker: &Arc<Breaker>, millis: u64) -> BreakerPermit {
    breaker
        .enter(at(millis))
        .unwrap_or_else(|open| panic!("refused at {millis} ms: {open:?}"))
}

fn fail(breaker: &Arc<Breaker>, millis: u64) -> Option<Transition> {
    enter(breaker, millis).fail(at(millis))
}

fn fail_times(breaker: &Arc<Breaker>, times: usize) {
    for _ in 0..times {
        fail(breaker, 0);
    }
}

fn succeed(breaker: &Arc<Breaker>, millis: u64) -> Option<Transition> {
    enter(breaker, millis).succeed(at(millis), QUICK)
}

/// Five failures at the start: open until 10 s.
fn opened(settings: &CircuitBreaker) -> Arc<Breaker> {
    let breaker = breaker(settings);
    while breaker.state(at(0)) == State::Closed {
        fail(&breaker, 0);
    }
    breaker
}

fn transition(from: State, to: State, reason: Reason) -> Option<Transition> {
    Some(Transition { from, to, reason })
}

#[test]
fn failures_in_a_row_open_it() {
    let breaker = breaker(&settings());
    for _ in 0..4 {
        assert_eq!(fail(&breaker, 0), None);
    }
    assert_eq!(
        fail(&breaker, 0),
        transition(State::Closed, State::Open, Reason::ConsecutiveFailures)
    );
    let refused = breaker.enter(at(4000)).err();
    assert_eq!(
        refused,
        Some(CircuitOpen {
            retry_after: Duration::from_secs(6)
        })
    );
}

#[test]
fn a_success_in_between_begins_the_row_anew() {
    let breaker = breaker(&settings());
    for _ in 0..10 {
        for _ in 0..4 {
            assert_eq!(fail(&breaker, 0), None);
        }
        assert_eq!(succeed(&breaker, 0), None);
    }
}

#[test]
fn the_first_opening_lasts_exactly_open_for() {
    let breaker = opened(&settings());
    assert!(breaker.enter(at(9_999)).is_err());
    let probe = enter(&breaker, 10_000);
    assert!(probe.is_probe());
    assert_eq!(
        probe.transition(),
        transition(State::Open, State::HalfOpen, Reason::RestOver)
    );
}

#[test]
fn a_good_probe_closes_it() {
    let breaker = opened(&settings());
    assert_eq!(
        succeed(&breaker, 10_000),
        transition(State::HalfOpen, State::Closed, Reason::ProbesSucceeded)
    );
    assert!(!enter(&breaker, 10_000).is_probe());
    assert_eq!(
        fail(&breaker, 10_000),
        None,
        "the row of failures begins anew"
    );
}

#[test]
fn each_failed_probe_doubles_the_rest_up_to_ten_times() {
    let breaker = opened(&settings());
    let mut now = 10_000;
    for doubled in [20, 40, 80, 100, 100, 100] {
        assert_eq!(
            fail(&breaker, now),
            transition(State::HalfOpen, State::Open, Reason::ProbeFailed)
        );
        let rest = breaker
            .enter(at(now))
            .err()
            .expect("it is open again")
            .retry_after;
        let longest = Duration::from_secs(doubled);
        assert!(
            rest <= longest && rest > longest * 9 / 10,
            "{rest:?} is {longest:?} less up to a tenth"
        );
        now += u64::try_from(rest.as_millis()).expect("a short rest") + 1;
    }
    assert!(succeed(&breaker, now).is_some());
    for _ in 0..5 {
        fail(&breaker, now);
    }
    assert!(
        breaker.enter(at(now + 10_000)).is_ok(),
        "closed in between, it rests as long as at first"
    );
}

#[test]
fn gateways_with_other_seeds_rest_differently() {
    let rest = |seed| {
        let breaker = Arc::new(Breaker::new(&settings(), LEASE, seed));
        fail_times(&breaker, 5);
        fail(&breaker, 10_000);
        breaker.enter(at(10_000)).err()
    };
    assert_ne!(rest(1), rest(2));
}

#[test]
fn only_so_many_probes_are_out_at_once() {
    let breaker = opened(&CircuitBreaker {
        half_open_requests: nonzero(2),
        close_after: nonzero(3),
        ..settings()
    });
    let (first, second) = (enter(&breaker, 10_000), enter(&breaker, 10_000));
    let refused = breaker.enter(at(10_000)).err();
    assert_eq!(
        refused,
        Some(CircuitOpen {
            retry_after: Duration::from_secs(1)
        })
    );
    assert_eq!(first.succeed(at(10_001), QUICK), None);
    let third = enter(&breaker, 10_001);
    assert_eq!(second.succeed(at(10_002), QUICK), None);
    assert!(
        third.succeed(at(10_002), QUICK).is_some(),
        "the third success closes it"
    );
}

#[test]
fn one_failed_probe_opens_it_whatever_the_others_say() {
    let breaker = opened(&CircuitBreaker {
        half_open_requests: nonzero(2),
        close_after: nonzero(2),
        ..settings()
    });
    let (first, second) = (enter(&breaker, 10_000), enter(&breaker, 10_000));
    assert!(first.fail(at(10_001)).is_some());
    assert_eq!(
        second.succeed(at(10_001), QUICK),
        None,
        "its generation is over"
    );
    assert_eq!(breaker.state(at(10_001)), State::Open);
}

#[test]
fn a_probe_whose_client_leaves_gives_its_place_back() {
    let breaker = opened(&settings());
    for _ in 0..100 {
        drop(enter(&breaker, 10_000));
    }
    assert!(succeed(&breaker, 10_000).is_some());
}

#[test]
fn a_lost_probe_blocks_nobody_beyond_its_lease() {
    let breaker = opened(&settings());
    let lost = enter(&breaker, 10_000);
    assert!(breaker.enter(at(69_999)).is_err());
    let next = enter(&breaker, 70_000);
    assert_eq!(
        lost.fail(at(70_001)),
        None,
        "its lease was over, and so is its say"
    );
    assert!(next.succeed(at(70_002), QUICK).is_some());
}

#[test]
fn what_was_sent_before_it_opened_does_not_close_it() {
    let breaker = breaker(&settings());
    let (early, late) = (enter(&breaker, 0), enter(&breaker, 0));
    fail_times(&breaker, 5);
    assert_eq!(early.succeed(at(1), QUICK), None);
    let probe = enter(&breaker, 10_000);
    assert_eq!(late.succeed(at(10_001), QUICK), None);
    assert_eq!(breaker.state(at(10_001)), State::HalfOpen);
    assert!(probe.succeed(at(10_002), QUICK).is_some());
}

#[test]
fn a_dropped_permit_is_neither_success_nor_failure() {
    let breaker = breaker(&settings());
    for _ in 0..4 {
        fail(&breaker, 0);
        drop(enter(&breaker, 0));
    }
    assert!(
        fail(&breaker, 0).is_some(),
        "the row of failures was not broken"
    );
}

fn by_rate() -> CircuitBreaker {
    let failure_rate = FailureRate {
        percent: 50,
        window: Duration::from_secs(10),
        minimum_requests: nonzero(20),
    };
    CircuitBreaker {
        consecutive_failures: nonzero(1000),
        failure_rate: Some(failure_rate),
        ..settings()
    }
}

#[test]
fn a_rate_of_failures_opens_it_once_there_is_enough_to_tell() {
    let breaker = breaker(&by_rate());
    for _ in 0..9 {
        assert_eq!(succeed(&breaker, 0).or(fail(&breaker, 1)), None);
    }
    assert_eq!(succeed(&breaker, 2), None, "nineteen requests are too few");
    assert_eq!(
        fail(&breaker, 2),
        transition(State::Closed, State::Open, Reason::FailureRate)
    );
}

#[test]
fn failures_that_are_long_past_do_not_count() {
    let breaker = breaker(&by_rate());
    fail_times(&breaker, 15);
    for millis in (11_000..30_000).step_by(500) {
        let settled = [
            succeed(&breaker, millis),
            succeed(&breaker, millis),
            fail(&breaker, millis),
        ];
        assert_eq!(
            settled, [None; 3],
            "a third failed, {millis} ms after the outage began"
        );
    }
}

#[test]
fn slow_answers_open_it_and_a_slow_probe_does_not_close_it() {
    let slow_calls = Some(SlowCalls {
        slower_than: Duration::from_secs(5),
        percent: 80,
    });
    let breaker = breaker(&CircuitBreaker {
        slow_calls,
        ..settings()
    });
    let slow = Duration::from_secs(6);
    let opened: Vec<_> = (0..20)
        .filter_map(|_| enter(&breaker, 0).succeed(at(0), slow))
        .collect();
    assert_eq!(
        Some(opened[0]),
        transition(State::Closed, State::Open, Reason::SlowCalls)
    );
    let probed = enter(&breaker, 10_000).succeed(at(16_000), slow);
    assert_eq!(
        probed,
        transition(State::HalfOpen, State::Open, Reason::ProbeFailed)
    );
}

#[test]
fn a_reload_keeps_the_state() {
    let breaker = opened(&settings());
    breaker.reconfigure(
        &CircuitBreaker {
            consecutive_failures: nonzero(1),
            ..settings()
        },
        LEASE,
    );
    assert!(breaker.enter(at(9_999)).is_err());
    assert!(succeed(&breaker, 10_000).is_some());
    assert!(fail(&breaker, 10_000).is_some(), "the new settings count");
}

#[test]
fn an_open_breaker_whose_rest_is_over_shows_as_half_open() {
    let breaker = opened(&settings());
    assert_eq!(breaker.state(at(9_999)), State::Open);
    assert_eq!(breaker.state(at(10_000)), State::HalfOpen);
}

#[derive(Clone, Debug)]
enum Step {
    Enter,
    Succeed(usize),
    Fail(usize),
    Leave(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Enter),
        1 => any::<usize>().prop_map(Step::Succeed),
        3 => any::<usize>().prop_map(Step::Fail),
        1 => any::<usize>().prop_map(Step::Leave),
        2 => (0u64..15_000).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..300)
}

/// What the transitions told so far, which is all a reader of the metrics knows.
struct Told {
    state: State,
    opened_at: u64,
}

impl Told {
    fn hear(&mut self, transition: Option<Transition>, now: u64) {
        let Some(transition) = transition else { return };
        assert_eq!(
            transition.from, self.state,
            "transitions follow each other without a gap"
        );
        self.state = transition.to;
        if transition.to == State::Open {
            self.opened_at = now;
        }
    }
}

proptest! {
    #[test]
    fn it_never_forwards_while_open_never_probes_beyond_its_bound_and_never_wedges(
        steps in steps(),
        (failures, probes, close_after) in (1u32..4, 1u32..4, 1u32..4),
    ) {
        let settings = CircuitBreaker {
            consecutive_failures: nonzero(failures),
            half_open_requests: nonzero(probes),
            close_after: nonzero(close_after),
            ..settings()
        };
        let breaker = Arc::new(Breaker::new(&settings, Duration::from_secs(1_000_000), 7));
        let mut told = Told { state: State::Closed, opened_at: 0 };
        let mut out: Vec<BreakerPermit> = Vec::new();
        let mut now = 0;
        for step in steps {
            let chosen = |index: usize, out: &mut Vec<BreakerPermit>| (!out.is_empty()).then(|| out.swap_remove(index % out.len()));
            match step {
                Step::Wait(millis) => now += millis,
                Step::Succeed(index) => told.hear(chosen(index, &mut out).and_then(|permit| permit.succeed(at(now), QUICK)), now),
                Step::Fail(index) => told.hear(chosen(index, &mut out).and_then(|permit| permit.fail(at(now))), now),
                Step::Leave(index) => drop(chosen(index, &mut out)),
                Step::Enter => {
                    if let Ok(permit) = breaker.enter(at(now)) {
                        let rested = told.state != State::Open || now >= told.opened_at + 10_000;
                        prop_assert!(rested, "let through while open");
                        told.hear(permit.transition(), now);
                        prop_assert_eq!(permit.is_probe(), told.state == State::HalfOpen);
                        out.push(permit);
                    }
                    let probing = out.iter().filter(|permit| permit.is_live_probe()).count();
                    prop_assert!(probing <= probes as usize, "{} probes are out", probing);
                }
            }
        }
        // Whatever happened: once all are gone and the longest rest is over, good probes close it.
        out.clear();
        now += 100_001;
        for _ in 0..close_after {
            let permit = breaker.enter(at(now)).expect("it does not wedge");
            permit.succeed(at(now), QUICK);
        }
        prop_assert_eq!(breaker.state(at(now)), State::Closed);
    }
}

impl BreakerPermit {
    /// A probe of the current half-open spell; those of an earlier one have no say any more.
    fn is_live_probe(&self) -> bool {
        self.is_probe() && self.breaker.machine.lock().is_current(&self.entry)
    }
}

#[test]
fn threads_get_no_more_probes_than_there_are() {
    let breaker = opened(&CircuitBreaker {
        half_open_requests: nonzero(3),
        ..settings()
    });
    let permits: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..100)
                        .filter_map(|_| breaker.enter(at(10_000)).ok())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no thread fails"))
            .collect()
    });
    assert_eq!(permits.len(), 3);
}
