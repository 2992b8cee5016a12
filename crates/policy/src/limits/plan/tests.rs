//! With which quota a caller is counted.

use std::{collections::BTreeMap, num::NonZeroU64, time::Duration};

use http::HeaderMap;
use portcullis_config::{limits::KeyPart, units::Rate};
use portcullis_tokens::RememberedClaims;

use super::*;
use crate::limits::Identity;

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
    let (roles, claims) = (["admin".into()], RememberedClaims::default());
    let admin = Caller {
        address: [192, 0, 2, 1].into(),
        headers: &HeaderMap::new(),
        route: "r",
        principal: Some(Identity {
            issuer: "local",
            subject: "root",
            roles: &roles,
            tenant: None,
            claims: &claims,
        }),
    };
    assert!(plan.draw(&admin, NonZeroU32::MIN).is_none());
}
