//! What is admitted, by hand-set time.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    num::{NonZeroU32, NonZeroU64},
    sync::LazyLock,
};

use http::HeaderMap;
use portcullis_config::{
    limits::KeyPart,
    units::{Rate, Timestamp},
};
use portcullis_tokens::RememberedClaims;
use proptest::prelude::*;

use super::*;

mod floods;
mod threads;

const SEED: (u64, u64) = (1, 2);

pub(super) fn rate(count: u64, seconds: u64) -> Rate {
    Rate {
        count: NonZeroU64::new(count).expect("not zero"),
        period: Duration::from_secs(seconds),
    }
}

pub(super) fn per_user(rate: Rate, burst: u64) -> RateLimit {
    RateLimit {
        name: "per_user".to_owned(),
        key: vec![KeyPart::User],
        rate,
        burst: NonZeroU64::new(burst).expect("not zero"),
        ipv6_prefix: 64,
        tiers: BTreeMap::new(),
    }
}

pub(super) fn per_ip(rate: Rate, burst: u64) -> RateLimit {
    RateLimit {
        name: "per_ip".to_owned(),
        key: vec![KeyPart::Ip],
        ..per_user(rate, burst)
    }
}

pub(super) fn at(millis: u64) -> Moment {
    Moment {
        since_start: Duration::from_millis(millis),
        wall: Timestamp::from_millis(millis),
    }
}

pub(super) fn user(subject: &str) -> Caller<'_> {
    static HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
    static CLAIMS: LazyLock<RememberedClaims> = LazyLock::new(RememberedClaims::default);
    Caller {
        address: IpAddr::from([192, 0, 2, 1]),
        headers: &HEADERS,
        route: "hotel",
        principal: Some(Identity {
            issuer: "local",
            subject,
            roles: &[],
            tenant: None,
            claims: &CLAIMS,
        }),
    }
}

pub(super) fn limiter() -> Limiter {
    Limiter::new(SEED, 1000)
}

pub(super) fn draw<'p>(plan: &'p LimitPlan, caller: &Caller<'_>, cost: u32) -> Draw<'p> {
    plan.draw(caller, NonZeroU32::new(cost).expect("not zero"))
        .expect("a limited caller")
}

/// One draw of one: what remains, or the milliseconds to wait.
fn take_one(plan: &LimitPlan, subject: &str, now: Moment) -> Result<u64, u128> {
    match take(&[draw(plan, &user(subject), 1)], now) {
        Ok(standing) => Ok(standing.expect("one draw").remaining),
        Err(refused) => Err(refused.retry_after.as_millis()),
    }
}

#[test]
fn a_burst_passes_and_the_next_request_is_told_when_to_come() {
    let plan = limiter().plan(&per_user(rate(60, 60), 3));
    assert_eq!(take_one(&plan, "saad", at(0)), Ok(2));
    assert_eq!(take_one(&plan, "saad", at(0)), Ok(1));
    assert_eq!(take_one(&plan, "saad", at(0)), Ok(0));
    assert_eq!(take_one(&plan, "saad", at(0)), Err(1000));
    assert_eq!(
        take_one(&plan, "saad", at(400)),
        Err(600),
        "a refusal costs nothing"
    );
    assert_eq!(
        take_one(&plan, "saad", at(1000)),
        Ok(0),
        "come when told, and pass"
    );
}

#[test]
fn one_caller_does_not_spend_another_s_budget() {
    let plan = limiter().plan(&per_user(rate(60, 60), 1));
    assert_eq!(take_one(&plan, "saad", at(0)), Ok(0));
    assert_eq!(take_one(&plan, "admin", at(0)), Ok(0));
    assert_eq!(take_one(&plan, "saad", at(0)), Err(1000));
}

#[test]
fn a_standing_tells_the_bucket() {
    let plan = limiter().plan(&per_user(rate(60, 60), 120));
    let standing = take(&[draw(&plan, &user("saad"), 5)], at(0))
        .expect("a full bucket")
        .expect("one draw");
    assert_eq!(
        (standing.limit_name(), standing.limit(), standing.remaining),
        ("per_user", 120, 115)
    );
    assert_eq!(
        (standing.window(), standing.reset_after),
        (Duration::from_secs(120), Duration::from_secs(5))
    );
}

#[test]
fn a_stage_spends_on_all_limits_or_on_none() {
    let limiter = limiter();
    let (wide, narrow) = (
        limiter.plan(&per_user(rate(60, 60), 10)),
        limiter.plan(&per_ip(rate(1, 1), 1)),
    );
    let both = [
        draw(&wide, &user("saad"), 1),
        draw(&narrow, &user("saad"), 1),
    ];
    assert!(take(&both, at(0)).is_ok());
    for _ in 0..5 {
        let refused = take(&both, at(0)).expect_err("the narrow one is empty");
        assert_eq!(refused.standing.limit_name(), "per_ip");
    }
    assert_eq!(
        take_one(&wide, "saad", at(0)),
        Ok(8),
        "the wide one was spent on once"
    );
}

#[test]
fn the_limit_nearest_to_refusing_is_told() {
    let limiter = limiter();
    let (wide, narrow) = (
        limiter.plan(&per_user(rate(60, 60), 10)),
        limiter.plan(&per_ip(rate(60, 60), 5)),
    );
    let nearest = |costs: (u32, u32)| {
        let draws = [
            draw(&wide, &user("saad"), costs.0),
            draw(&narrow, &user("saad"), costs.1),
        ];
        take(&draws, at(0))
            .expect("there is enough")
            .map(|standing| standing.limit_name().to_owned())
    };
    assert_eq!(nearest((1, 1)).as_deref(), Some("per_ip"));
    assert_eq!(
        nearest((4, 1)).as_deref(),
        Some("per_user"),
        "five are left, which is one more request of four"
    );
}

#[test]
fn of_two_refusals_the_longer_wait_is_told() {
    let limiter = limiter();
    let (short, long) = (
        limiter.plan(&per_user(rate(1, 1), 1)),
        limiter.plan(&per_ip(rate(1, 60), 1)),
    );
    let both = [
        draw(&short, &user("saad"), 1),
        draw(&long, &user("saad"), 1),
    ];
    assert!(take(&both, at(0)).is_ok());
    assert_eq!(
        take(&both, at(0)).expect_err("both are empty").retry_after,
        Duration::from_secs(60)
    );
}

#[test]
fn a_limit_named_twice_costs_the_sum() {
    let plan = limiter().plan(&per_user(rate(60, 60), 3));
    let twice = [draw(&plan, &user("saad"), 1), draw(&plan, &user("saad"), 1)];
    assert_eq!(
        take(&twice, at(0))
            .expect("two of three")
            .expect("draws")
            .remaining,
        1
    );
    assert!(take(&twice, at(0)).is_err());
}

#[test]
fn what_costs_more_than_the_bucket_holds_never_passes() {
    let plan = limiter().plan(&per_user(rate(60, 60), 3));
    assert!(take(&[draw(&plan, &user("saad"), 4)], at(0)).is_err());
    assert_eq!(take_one(&plan, "saad", at(0)), Ok(2));
}

#[test]
fn no_draws_are_no_refusal() {
    assert_eq!(take(&[], at(0)), Ok(None));
}

#[test]
fn a_reload_keeps_what_was_spent() {
    let limiter = limiter();
    let before = limiter.plan(&per_user(rate(60, 60), 3));
    for _ in 0..3 {
        assert!(take_one(&before, "saad", at(0)).is_ok());
    }
    let after = limiter.plan(&per_user(rate(60, 60), 4));
    assert_eq!(
        take_one(&after, "saad", at(0)),
        Ok(0),
        "one more than before, and not four"
    );
}

#[test]
fn a_reload_to_a_smaller_limit_leaves_nobody_locked_out() {
    let limiter = limiter();
    let before = limiter.plan(&per_user(rate(10, 3600), 10));
    for _ in 0..10 {
        assert!(take_one(&before, "saad", at(0)).is_ok());
    }
    let after = limiter.plan(&per_user(rate(60, 60), 60));
    assert_eq!(
        take_one(&after, "saad", at(0)),
        Err(1000),
        "as empty as a bucket of the new limit can be"
    );
    assert_eq!(take_one(&after, "saad", at(1000)), Ok(0));
}

#[test]
fn the_buckets_of_a_removed_limit_go_with_its_last_plan() {
    let limiter = limiter();
    let plan = limiter.plan(&per_user(rate(60, 60), 1));
    assert!(take_one(&plan, "saad", at(0)).is_ok());
    assert_eq!(limiter.key_counts(), [(Arc::from("per_user"), 1)]);
    drop(plan);
    assert_eq!(limiter.key_counts(), []);
    let anew = limiter.plan(&per_user(rate(60, 60), 1));
    assert_eq!(take_one(&anew, "saad", at(0)), Ok(0));
}

#[test]
fn a_rate_that_does_not_divide_is_never_exceeded() {
    let plan = limiter().plan(&per_user(rate(7, 1), 7));
    let admitted = (0..100_000)
        .filter(|millis| take_one(&plan, "saad", at(*millis)).is_ok())
        .count();
    assert!(
        (700..=706).contains(&admitted),
        "7 + 7/s for 100 s, less at most one for rounding: {admitted}"
    );
}

#[test]
fn clocks_and_rates_at_the_end_of_their_range_do_no_harm() {
    let end = Moment {
        since_start: Duration::MAX,
        wall: Timestamp::from_millis(u64::MAX),
    };
    let slow = limiter().plan(&per_user(
        Rate {
            count: NonZeroU64::MIN,
            period: Duration::MAX,
        },
        u64::MAX,
    ));
    assert!(take_one(&slow, "saad", at(0)).is_ok());
    assert!(take_one(&slow, "saad", end).is_ok() || take_one(&slow, "saad", end).is_err());
    let fast = limiter().plan(&per_user(
        Rate {
            count: NonZeroU64::MAX,
            period: Duration::from_nanos(1),
        },
        u64::MAX,
    ));
    assert!(take_one(&fast, "saad", at(0)).is_ok());
}

/// A bucket as one would explain it: tokens that drip in, counted in nanoseconds of earning.
struct PlainBucket {
    emission: u128,
    capacity: u128,
    earned: u128,
    last: u128,
}

impl PlainBucket {
    fn new(rate: Rate, burst: u64) -> Self {
        let emission = rate
            .period
            .as_nanos()
            .div_ceil(u128::from(rate.count.get()));
        let capacity = emission * u128::from(burst);
        Self {
            emission,
            capacity,
            earned: capacity,
            last: 0,
        }
    }

    fn has(&mut self, cost: u32, now: u128) -> bool {
        self.earned = (self.earned + now - self.last).min(self.capacity);
        self.last = now;
        self.earned >= self.emission * u128::from(cost)
    }
}

prop_compose! {
    fn quotas()(count in 1u64..50, seconds in 1u64..20, burst in 1u64..50) -> (Rate, u64) {
        (rate(count, seconds), burst)
    }
}

proptest! {
    /// The invariant of the room: no window admits more than the burst and what was earned in it.
    #[test]
    fn no_window_admits_more_than_burst_and_rate(
        (rate, burst) in quotas(),
        steps in proptest::collection::vec((0u64..3000, 1u32..5), 1..120),
    ) {
        let plan = limiter().plan(&per_user(rate, burst));
        let emission = rate.period.as_nanos() as f64 / rate.count.get() as f64;
        let mut now = 0;
        let mut admitted: Vec<(u64, u32)> = Vec::new();
        for (pause, cost) in steps {
            now += pause;
            if take(&[draw(&plan, &user("saad"), cost)], at(now)).is_ok() {
                admitted.push((now, cost));
            }
        }
        for first in 0..admitted.len() {
            let mut sum = 0;
            for (instant, cost) in &admitted[first..] {
                sum += u64::from(*cost);
                let earned = (instant - admitted[first].0) as f64 * 1e6 / emission;
                prop_assert!(sum as f64 <= burst as f64 + earned + 1e-6, "{} in a window that allows {} + {}", sum, burst, earned);
            }
        }
    }

    #[test]
    fn two_limits_together_decide_as_two_plain_buckets_would(
        (user_rate, user_burst) in quotas(),
        (ip_rate, ip_burst) in quotas(),
        steps in proptest::collection::vec((0u64..2000, 1u32..5, 1u32..5), 1..120),
    ) {
        let limiter = limiter();
        let plans = [limiter.plan(&per_user(user_rate, user_burst)), limiter.plan(&per_ip(ip_rate, ip_burst))];
        let mut plain = [PlainBucket::new(user_rate, user_burst), PlainBucket::new(ip_rate, ip_burst)];
        let mut millis = 0;
        for (pause, user_cost, ip_cost) in steps {
            millis += pause;
            let costs = [user_cost, ip_cost];
            let now = u128::from(millis) * 1_000_000;
            let expected = plain[0].has(costs[0], now) & plain[1].has(costs[1], now);
            for (bucket, cost) in plain.iter_mut().zip(costs).filter(|_| expected) {
                bucket.earned -= bucket.emission * u128::from(cost);
            }
            let draws = [draw(&plans[0], &user("saad"), costs[0]), draw(&plans[1], &user("saad"), costs[1])];
            let found = take(&draws, at(millis));
            prop_assert_eq!(found.is_ok(), expected);
            let standing = found.map_or_else(|refused| refused.standing, |standing| standing.expect("two draws"));
            let bucket = &plain[usize::from(standing.limit_name() == "per_ip")];
            prop_assert_eq!(u128::from(standing.remaining), bucket.earned / bucket.emission);
            prop_assert_eq!(standing.reset_after.as_nanos(), bucket.capacity - bucket.earned);
        }
    }

    /// Whoever waits as long as told, passes; whoever comes a moment earlier, does not.
    #[test]
    fn the_wait_told_is_the_wait_needed((rate, burst) in quotas(), tries in 1u64..100) {
        let plan = limiter().plan(&per_user(rate, burst));
        let draws = [draw(&plan, &user("saad"), 1)];
        let mut refused = None;
        for _ in 0..tries {
            refused = take(&draws, at(0)).err();
        }
        if let Some(refused) = refused {
            let early = at(0).plus(refused.retry_after - Duration::from_nanos(1));
            prop_assert!(take(&draws, early).is_err());
            prop_assert!(take(&draws, at(0).plus(refused.retry_after)).is_ok());
        }
    }
}
