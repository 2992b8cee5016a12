//! The desk under crowds, floods and an absent writer.

use proptest::prelude::*;

use super::*;

const SMALL: DeskLimits = DeskLimits {
    queue: 4,
    kinds: 3,
    window: Duration::from_secs(10),
};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn denial_of(user: &str, now: Timestamp) -> Event {
    Event::new(
        now,
        Action::RateLimited,
        Outcome::Refused,
        Party::user(user),
    )
    .because("rate-limited")
    .on_route("hotel")
    .in_request("r")
}

fn sign_in(now: Timestamp) -> Event {
    Event::new(
        now,
        Action::LoginSuccess,
        Outcome::Success,
        Party::user("saad"),
    )
}

fn told(events: &[Event]) -> u64 {
    events.iter().map(|event| event.count).sum()
}

#[test]
fn the_first_denial_of_a_kind_is_written_at_once() {
    let desk = Desk::new(SMALL);
    desk.denial(denial_of("saad", at(0)), at(0));
    let taken = desk.take(10, at(0));
    assert_eq!(taken, [denial_of("saad", at(0))]);
}

#[test]
fn repeats_become_one_row_with_count_and_end() {
    let desk = Desk::new(SMALL);
    for millis in [0, 100, 200, 9_000] {
        desk.denial(denial_of("saad", at(millis)), at(millis));
    }
    assert_eq!(desk.take(10, at(9_999)).len(), 1, "the window is not over");
    let taken = desk.take(10, at(10_000));
    let [row] = taken.as_slice() else {
        panic!("one row, not {taken:?}")
    };
    assert_eq!(
        (row.count, row.at, row.until),
        (3, at(100), Some(at(9_000)))
    );
    assert_eq!(
        row.request_id, None,
        "an aggregate belongs to no single request"
    );
    assert_eq!(desk.aggregated(), 3);
}

#[test]
fn a_kind_that_did_not_repeat_leaves_no_second_row() {
    let desk = Desk::new(SMALL);
    desk.denial(denial_of("saad", at(0)), at(0));
    assert_eq!(desk.take(10, at(0)).len(), 1);
    assert!(desk.take(10, at(60_000)).is_empty());
    desk.denial(denial_of("saad", at(60_000)), at(60_000));
    assert_eq!(
        desk.take(10, at(60_000)).len(),
        1,
        "after its window a kind is new again"
    );
}

#[test]
fn two_users_are_two_kinds() {
    let desk = Desk::new(SMALL);
    desk.denial(denial_of("saad", at(0)), at(0));
    desk.denial(denial_of("mona", at(0)), at(0));
    assert_eq!(desk.take(10, at(0)).len(), 2);
}

#[test]
fn anonymous_callers_are_told_apart_by_address() {
    let desk = Desk::new(SMALL);
    for address in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
        let event = Event::new(
            at(0),
            Action::AccessDenied,
            Outcome::Refused,
            Party::anonymous(),
        );
        desk.denial(event.from_address(address.parse().ok()), at(0));
    }
    assert_eq!(desk.take(10, at(0)).len(), 2);
}

#[test]
fn a_crowd_beyond_the_limit_is_counted_by_action_alone() {
    let desk = Desk::new(SMALL);
    for n in 0..1_000 {
        desk.denial(denial_of(&format!("user-{n}"), at(0)), at(0));
    }
    assert!(desk.tray.lock().repeats.len() <= SMALL.kinds + Action::ALL.len());
    desk.close_windows();
    let taken = desk.take(100, at(1));
    let crowd = taken
        .iter()
        .find(|event| event.actor.id == "various")
        .expect("a row for the crowd");
    assert_eq!((crowd.count, crowd.route.as_deref()), (997, None));
    assert_eq!(told(&taken), 1_000);
}

#[test]
fn a_full_queue_leaves_a_gap_with_the_exact_number() {
    let desk = Desk::new(SMALL);
    for millis in 0..10 {
        desk.offer(sign_in(at(millis)), at(millis));
    }
    let taken = desk.take(100, at(20));
    let gap = taken.first().expect("the gap comes first");
    assert_eq!(
        (gap.action, gap.count, gap.at, gap.until),
        (Action::AuditGap, 6, at(4), Some(at(9)))
    );
    assert_eq!(taken.len(), 5);
    assert!(desk.take(100, at(20)).is_empty(), "a gap is told once");
}

#[test]
fn closing_brings_out_what_was_still_counting() {
    let desk = Desk::new(SMALL);
    desk.denial(denial_of("saad", at(0)), at(0));
    desk.denial(denial_of("saad", at(1)), at(1));
    desk.close_windows();
    assert_eq!(told(&desk.take(10, at(1))), 2);
}

#[test]
fn a_clock_that_goes_back_only_lengthens_a_window() {
    let desk = Desk::new(SMALL);
    desk.denial(denial_of("saad", at(50_000)), at(50_000));
    desk.denial(denial_of("saad", at(10)), at(10));
    assert_eq!(told(&desk.take(10, at(10))), 1);
    assert_eq!(told(&desk.take(10, at(60_000))), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Offer,
    Denial(u8),
    Wait(u16),
    Take(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Offer),
        6 => (0u8..8).prop_map(Step::Denial),
        2 => (0u16..12_000).prop_map(Step::Wait),
        2 => (0u8..6).prop_map(Step::Take),
    ]
}

proptest! {
    #[test]
    fn everything_offered_is_taken_aggregated_or_counted(steps in prop::collection::vec(step(), 0..200)) {
        let desk = Desk::new(SMALL);
        let (mut now, mut offered, mut accounted) = (at(0), 0u64, 0u64);
        for step in steps {
            match step {
                Step::Offer => desk.offer(sign_in(now), now),
                Step::Denial(user) => desk.denial(denial_of(&user.to_string(), now), now),
                Step::Wait(millis) => now = now.plus(Duration::from_millis(millis.into())),
                Step::Take(max) => {
                    let taken = desk.take(max.into(), now);
                    prop_assert!(taken.len() <= usize::from(max), "a batch never exceeds its limit");
                    accounted += told(&taken);
                }
            }
            offered += u64::from(matches!(step, Step::Offer | Step::Denial(_)));
            prop_assert!(desk.depth() <= SMALL.queue);
            prop_assert!(desk.tray.lock().repeats.len() <= SMALL.kinds + Action::ALL.len());
        }
        desk.close_windows();
        loop {
            let taken = desk.take(7, now);
            if taken.is_empty() {
                break;
            }
            accounted += told(&taken);
        }
        prop_assert_eq!(accounted, offered);
    }
}
