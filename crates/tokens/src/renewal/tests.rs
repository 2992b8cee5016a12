//! The bounds on asking, by a clock set by hand.

use proptest::prelude::*;

use super::*;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn had_at(now: Duration, max_age: Option<Duration>) -> Schedule {
    let mut schedule = Schedule::new(Pace::REMOTE, at(0));
    schedule.succeeded(now, max_age, 0.5);
    schedule
}

#[test]
fn keys_are_renewed_ahead_of_the_time_at_which_they_are_due() {
    let due_after = |max_age: Option<u64>, roll: f64| {
        let mut schedule = Schedule::new(Pace::REMOTE, at(0));
        assert_eq!(schedule.due_at(), at(0), "the first time at once");
        schedule.succeeded(at(100), max_age.map(at), roll);
        (schedule.due_at() - at(100)).as_secs_f64()
    };
    for (max_age, kept_for) in [
        (None, 300.0),
        (Some(600), 600.0),
        (Some(0), 10.0),
        (Some(30 * 24 * 3600), 3600.0),
    ] {
        let (earliest, latest) = (due_after(max_age, 0.0), due_after(max_age, 1.0));
        assert!((earliest / kept_for - 0.80).abs() < 1e-6, "{max_age:?}");
        assert!((latest / kept_for - 0.95).abs() < 1e-6, "{max_age:?}");
    }
}

#[test]
fn a_file_is_looked_at_every_other_second_whatever_it_says() {
    let mut schedule = Schedule::new(Pace::FILE, at(0));
    schedule.succeeded(at(0), Some(at(3600)), 1.0);
    assert!(schedule.due_at() <= at(2));
}

#[test]
fn an_issuer_that_is_away_is_asked_less_and_less_often() {
    let mut schedule = Schedule::new(Pace::REMOTE, at(0));
    let mut waits = Vec::new();
    for _ in 0..8 {
        let now = schedule.due_at();
        schedule.failed(now, 0.5);
        waits.push((schedule.due_at() - now).as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    let now = schedule.due_at();
    schedule.failed(now, 0.0);
    let early = schedule.due_at() - now;
    schedule.failed(now, 1.0);
    let late = schedule.due_at() - now;
    assert!(
        early < at(30) && late > at(30),
        "and not in step with others"
    );
    schedule.succeeded(at(1000), None, 0.0);
    schedule.failed(at(1000), 0.5);
    assert_eq!(schedule.due_at(), at(1001), "from the beginning again");
}

#[test]
fn keys_are_trusted_for_a_day_after_they_were_last_had() {
    let mut schedule = had_at(at(100), None);
    for now in [at(100), at(100) + STALE_FOR - at(1)] {
        schedule.failed(now, 0.5);
        assert!(!schedule.is_expired(now), "at {now:?}");
    }
    let end = at(100) + STALE_FOR;
    assert!(schedule.is_expired(end));
    assert_eq!(schedule.age(end), STALE_FOR);
    schedule.succeeded(end, None, 0.5);
    assert!(!schedule.is_expired(end));
}

#[test]
fn keys_that_were_never_had_do_not_expire_but_their_age_grows() {
    let schedule = Schedule::new(Pace::REMOTE, at(5));
    let now = at(5) + STALE_FOR + STALE_FOR;
    assert!(!schedule.is_expired(now));
    assert_eq!(schedule.age(now), STALE_FOR + STALE_FOR);
}

#[test]
fn requests_have_an_issuer_asked_once_in_a_cool_down() {
    let (mut schedule, mut budget) = (had_at(at(0), None), Budget::new(at(0)));
    let mut asks = |key: &str, now| schedule.may_ask(Some(key), now, &mut budget, 1.0);
    assert!(
        asks("a", at(100)),
        "a renewal in the background starts no cool-down"
    );
    assert!(!asks("b", at(100)) && !asks("b", at(111)));
    assert!(asks("b", at(112)), "ten seconds, and a fifth at the most");
}

#[test]
fn a_key_that_was_asked_for_in_vain_is_unknown_for_a_while() {
    let (mut schedule, mut budget) = (had_at(at(0), None), Budget::new(at(0)));
    assert!(schedule.may_ask(Some("a"), at(100), &mut budget, 0.0));
    assert!(schedule.may_join(Some("b"), at(100)));
    schedule.succeeded(at(101), None, 0.5);
    for key in ["a", "b"] {
        assert!(
            !schedule.may_ask(Some(key), at(120), &mut budget, 0.0),
            "{key}"
        );
        assert!(
            !schedule.may_join(Some(key), at(120)),
            "{key} is not waited for"
        );
    }
    assert!(
        schedule.may_ask(Some("c"), at(120), &mut budget, 0.0),
        "another"
    );
    assert!(
        schedule.may_ask(Some("a"), at(131), &mut budget, 0.0),
        "later"
    );
}

#[test]
fn an_issuer_that_could_not_be_asked_has_denied_nothing() {
    let (mut schedule, mut budget) = (had_at(at(0), None), Budget::new(at(0)));
    assert!(schedule.may_ask(Some("a"), at(100), &mut budget, 0.0));
    schedule.failed(at(101), 0.5);
    schedule.succeeded(at(105), None, 0.5);
    assert!(schedule.may_ask(Some("a"), at(112), &mut budget, 0.0));
}

#[test]
fn new_keys_make_unknown_names_worth_a_question() {
    let (mut schedule, mut budget) = (had_at(at(0), None), Budget::new(at(0)));
    assert!(schedule.may_ask(Some("a"), at(100), &mut budget, 0.0));
    schedule.succeeded(at(101), None, 0.5);
    schedule.keys_changed();
    assert!(schedule.may_ask(Some("a"), at(112), &mut budget, 0.0));
}

#[test]
fn all_issuers_together_are_asked_within_one_budget() {
    let mut budget = Budget::new(at(0));
    let asked = |budget: &mut Budget, now| {
        let issuers = (0..1000).map(|_| had_at(at(0), None));
        let asks = |mut issuer: Schedule| issuer.may_ask(Some("a"), now, budget, 0.0);
        issuers.map(asks).filter(|asked| *asked).count()
    };
    assert_eq!(asked(&mut budget, at(1)), 20);
    assert_eq!(asked(&mut budget, at(1)), 0);
    assert_eq!(asked(&mut budget, at(4)), 3);
    assert_eq!(
        asked(&mut budget, at(4000)),
        20,
        "saved up, but not without end"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However many names a flood invents, and whatever comes of the questions.
    #[test]
    fn a_flood_of_names_has_an_issuer_asked_no_more_often_than_once_in_a_cool_down(
        steps in proptest::collection::vec((0..2000u64, 0..50_000u32, any::<bool>()), 1..60),
    ) {
        let (mut schedule, mut budget) = (had_at(at(0), None), Budget::new(at(0)));
        let (mut now, mut last) = (at(0), None);
        for (wait, name, succeeds) in steps {
            now += Duration::from_millis(wait);
            let name = name.to_string();
            if schedule.may_ask(Some(&name), now, &mut budget, 0.5) {
                prop_assert!(last.is_none_or(|last| now - last >= COOL_DOWN));
                last = Some(now);
                for other in 0..300 {
                    schedule.may_join(Some(&format!("{name}-{other}")), now);
                }
                if succeeds { schedule.succeeded(now, None, 0.5) } else { schedule.failed(now, 0.5) }
            }
            prop_assert!(schedule.unknown.names.len() <= MAX_UNKNOWN && schedule.asked.is_empty());
        }
    }
}
