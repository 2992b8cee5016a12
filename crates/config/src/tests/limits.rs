//! What limits count by, and when they can be counted.

use http::HeaderName;

use super::valid;
use crate::limits::KeyPart;

/// The parts of the key, and whether it waits for the token.
fn check(key: &str, parts: &[KeyPart], needs_principal: bool) {
    let config = valid(&format!(
        "rate_limits: {{ a: {{ key: {key}, limit: 60/1m }} }}"
    ));
    let limit = config.rate_limits.first().expect("one is written");
    assert_eq!(limit.key, parts, "{key}");
    assert_eq!(limit.needs_principal(), needs_principal, "{key}");
}

#[test]
fn keys_that_only_a_token_can_fill_wait_for_it() {
    let header = KeyPart::Header(HeaderName::from_static("x-api-client"));
    let claim = KeyPart::Claim("org.unit".to_owned());
    check("ip", &[KeyPart::Ip], false);
    check(
        "'header:X-Api-Client'",
        std::slice::from_ref(&header),
        false,
    );
    check(
        "[route, 'header:x-api-client']",
        &[KeyPart::Route, header.clone()],
        false,
    );
    check("user", &[KeyPart::User], true);
    check("claim:tenant", &[KeyPart::Tenant], true);
    check("claim:org.unit", std::slice::from_ref(&claim), true);
    check(
        "['header:X-Api-Client', claim:org.unit]",
        &[header, claim],
        true,
    );
}

#[test]
fn a_header_with_tiers_waits_for_the_roles() {
    let config = valid(
        "rate_limits: { a: { key: 'header:X-Api-Client', limit: 60/1m, tiers: { guest: 6/1m } } }",
    );
    let limit = config.rate_limits.first().expect("one is written");
    assert!(limit.needs_principal());
}

#[test]
fn places_are_no_rate_and_are_named_as_one() {
    let config = valid(
        "rate_limits: { a: { key: user, in_flight: 20 }, b: { key: ip, limit: 60/1m } }\n\
         routes: [{ name: r, match: { path: / }, upstream: hotel, auth: public, rate_limits: [b, { limit: a }] }]",
    );
    let route = config.routes.first().expect("one is written");
    let places = route.in_flight.first().expect("one is named");
    assert_eq!((places.name.as_str(), places.most.get()), ("a", 20));
    assert!(places.needs_principal());
    let rates: Vec<&str> = route
        .rate_limits
        .iter()
        .map(|spend| spend.limit.name.as_str())
        .collect();
    assert_eq!(rates, ["b"]);
}

#[test]
fn claims_that_several_limits_count_by_are_named_once() {
    let config = valid(
        "rate_limits: { a: { key: claim:org, limit: 60/1m }, b: { key: [ip, claim:org, claim:tenant], limit: 60/1m }, c: { key: claim:plan, in_flight: 1 } }",
    );
    let claims: Vec<&str> = config.counted_claims().into_iter().collect();
    assert_eq!(claims, ["org", "plan"], "a tenant is known anyway");
}
