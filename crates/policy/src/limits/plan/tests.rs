//! Who is counted together, and with which quota.

use std::{collections::BTreeMap, num::NonZeroU64, time::Duration};

use portcullis_config::units::Rate;

use super::*;

fn rate(count: u64) -> Rate {
    Rate {
        count: NonZeroU64::new(count).expect("not zero"),
        period: Duration::from_secs(60),
    }
}

fn plan(key: &[KeyPart], tiers: &[(&str, Tier)]) -> LimitPlan {
    let limit = RateLimit {
        name: "limit".to_owned(),
        key: key.to_vec(),
        rate: rate(60),
        burst: NonZeroU64::new(60).expect("not zero"),
        ipv6_prefix: 64,
        tiers: tiers
            .iter()
            .map(|(role, tier)| ((*role).to_owned(), *tier))
            .collect::<BTreeMap<_, _>>(),
    };
    LimitPlan::new(&limit, Arc::new(Buckets::new(0, 10)), (1, 2))
}

fn caller<'a>(address: &str, subject: Option<&'a str>, route: &'a str) -> Caller<'a> {
    Caller {
        address: address.parse().expect("an address"),
        subject,
        roles: &[],
        route,
    }
}

fn share(key: &[KeyPart], one: Caller<'_>, other: Caller<'_>) -> bool {
    let plan = plan(key, &[]);
    plan.key_of(&one) == plan.key_of(&other)
}

#[test]
fn addresses_of_one_ipv6_network_are_one_caller() {
    let check = |one, other| {
        share(
            &[KeyPart::Ip],
            caller(one, None, "r"),
            caller(other, Some("u"), "s"),
        )
    };
    assert!(check("2001:db8::1", "2001:db8::ffff:2"), "one /64");
    assert!(!check("2001:db8::1", "2001:db8:0:1::1"), "another /64");
    assert!(
        check("192.0.2.1", "::ffff:192.0.2.1"),
        "IPv4 in the clothes of IPv6"
    );
    assert!(!check("192.0.2.1", "192.0.2.2"));
}

#[test]
fn a_user_is_counted_wherever_they_are() {
    let check = |one, other| share(&[KeyPart::User], one, other);
    assert!(check(
        caller("192.0.2.1", Some("saad"), "r"),
        caller("192.0.2.2", Some("saad"), "s")
    ));
    assert!(!check(
        caller("192.0.2.1", Some("saad"), "r"),
        caller("192.0.2.1", Some("admin"), "r")
    ));
}

#[test]
fn without_a_user_the_address_is_counted_and_is_nobody_s_name() {
    let check = |one, other| share(&[KeyPart::User], one, other);
    assert!(check(
        caller("192.0.2.1", None, "r"),
        caller("192.0.2.1", None, "s")
    ));
    assert!(!check(
        caller("192.0.2.1", None, "r"),
        caller("192.0.2.2", None, "r")
    ));
    assert!(!check(
        caller("192.0.2.1", None, "r"),
        caller("192.0.2.1", Some("192.0.2.1"), "r")
    ));
}

#[test]
fn combined_parts_are_counted_together() {
    let both = [KeyPart::User, KeyPart::Route];
    assert!(!share(
        &both,
        caller("192.0.2.1", Some("a"), "r"),
        caller("192.0.2.1", Some("a"), "s")
    ));
    assert!(!share(
        &both,
        caller("192.0.2.1", Some("ab"), "c"),
        caller("192.0.2.1", Some("a"), "bc")
    ));
    assert!(share(
        &both,
        caller("192.0.2.1", Some("a"), "r"),
        caller("192.0.2.9", Some("a"), "r")
    ));
}

#[test]
fn the_most_generous_tier_counts() {
    let tiers = [
        ("admin", Tier::Unlimited),
        ("staff", Tier::Limited(rate(600))),
        ("team", Tier::Limited(rate(100))),
        ("trial", Tier::Limited(rate(5))),
    ];
    let plan = plan(&[KeyPart::User], &tiers);
    let check = |roles: &[&str], expected: Option<u64>| {
        let roles: Vec<Box<str>> = roles.iter().map(|role| (*role).into()).collect();
        let found = plan
            .quota_of(&roles)
            .map(|quota| quota.tolerance() / 1_000_000_000);
        let limit = plan.quota_of(&roles).map(|quota| quota.generosity().1);
        assert_eq!(limit, expected, "{roles:?}");
        assert!(
            found.is_none_or(|window| window == 60),
            "each of these refills in a minute: {found:?}"
        );
    };
    check(&[], Some(60));
    check(&["stranger"], Some(60));
    check(&["trial"], Some(5));
    check(&["trial", "team"], Some(100));
    check(&["team", "staff"], Some(600));
    check(&["staff", "admin"], None);
}

#[test]
fn an_unlimited_caller_draws_nothing() {
    let plan = plan(&[KeyPart::User], &[("admin", Tier::Unlimited)]);
    let roles = ["admin".into()];
    let admin = Caller {
        roles: &roles,
        ..caller("192.0.2.1", Some("root"), "r")
    };
    assert!(plan.draw(&admin, NonZeroU32::MIN).is_none());
}
