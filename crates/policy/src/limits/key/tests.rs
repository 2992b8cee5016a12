//! Who is counted together.

use std::sync::Arc;

use http::HeaderName;

use super::*;

/// What a test says of a request; the rest is the same in all.
#[derive(Default)]
struct Request {
    address: &'static str,
    user: Option<&'static str>,
    route: &'static str,
    headers: HeaderMap,
    issuer: &'static str,
    tenant: Option<&'static str>,
    claims: RememberedClaims,
}

impl Request {
    fn caller(&self) -> Caller<'_> {
        let address = if self.address.is_empty() {
            "192.0.2.1"
        } else {
            self.address
        };
        let identity = |subject| Identity {
            issuer: self.issuer,
            subject,
            roles: &[],
            tenant: self.tenant,
            claims: &self.claims,
        };
        Caller {
            address: address.parse().expect("an address"),
            headers: &self.headers,
            route: self.route,
            principal: self.user.map(identity),
        }
    }
}

fn share(key: &[KeyPart], one: &Request, other: &Request) -> bool {
    let keying = Keying::new(key, 64, (1, 2));
    keying.key_of(&one.caller()) == keying.key_of(&other.caller())
}

fn from(address: &'static str) -> Request {
    Request {
        address,
        ..Request::default()
    }
}

fn of(user: &'static str) -> Request {
    Request {
        user: Some(user),
        ..Request::default()
    }
}

fn with(lines: &[&'static str]) -> Request {
    let named = |line: &&'static str| (client(), HeaderValue::from_static(line));
    Request {
        headers: lines.iter().map(named).collect(),
        ..Request::default()
    }
}

fn client() -> HeaderName {
    HeaderName::from_static("x-api-client")
}

fn claiming(issuer: &'static str, value: Option<&str>) -> Request {
    let claim = value.map(|value| (Arc::from("org"), value.into()));
    Request {
        issuer,
        claims: claim.into_iter().collect(),
        ..of("anyone")
    }
}

#[test]
fn addresses_of_one_ipv6_network_are_one_caller() {
    let check = |one, other| share(&[KeyPart::Ip], &from(one), &from(other));
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
    let elsewhere = Request {
        address: "192.0.2.2",
        route: "s",
        ..of("saad")
    };
    assert!(share(&[KeyPart::User], &of("saad"), &elsewhere));
    assert!(!share(&[KeyPart::User], &of("saad"), &of("admin")));
}

#[test]
fn without_a_user_the_address_is_counted_and_is_nobody_s_name() {
    for part in [
        KeyPart::User,
        KeyPart::Tenant,
        KeyPart::Claim("org".to_owned()),
    ] {
        let check = |one: Request, other: Request| share(std::slice::from_ref(&part), &one, &other);
        assert!(check(from("192.0.2.1"), from("192.0.2.1")));
        assert!(!check(from("192.0.2.1"), from("192.0.2.2")));
        assert!(!check(from("192.0.2.1"), of("192.0.2.1")));
    }
}

#[test]
fn combined_parts_are_counted_together() {
    let both = [KeyPart::User, KeyPart::Route];
    let at = |user, route| Request { route, ..of(user) };
    assert!(!share(&both, &at("a", "r"), &at("a", "s")));
    assert!(!share(&both, &at("ab", "c"), &at("a", "bc")));
    let elsewhere = Request {
        address: "192.0.2.9",
        ..at("a", "r")
    };
    assert!(share(&both, &at("a", "r"), &elsewhere));
}

#[test]
fn a_header_is_counted_by_its_whole_value() {
    let key = [KeyPart::Header(client())];
    let check =
        |one: &[&'static str], other: &[&'static str]| share(&key, &with(one), &with(other));
    assert!(check(&["app-1"], &["app-1"]));
    assert!(!check(&["app-1"], &["app-2"]));
    assert!(!check(&["app-1"], &["APP-1"]));
    assert!(check(&["a", "b"], &["a, b"]), "two lines are one value");
    assert!(!check(&["a", "b"], &["b", "a"]));
    assert!(
        !check(&["a", "b"], &["a"]),
        "a second line is not overlooked"
    );
}

#[test]
fn whoever_leaves_the_header_out_shares_one_budget() {
    let key = [KeyPart::Header(client())];
    assert!(share(&key, &from("192.0.2.1"), &from("192.0.2.2")));
    assert!(
        !share(&key, &with(&[]), &with(&[""])),
        "an empty value is a value"
    );
    assert!(!share(&key, &with(&[]), &with(&["-"])));
}

#[test]
fn a_claim_is_counted_within_its_issuer() {
    let key = [KeyPart::Claim("org".to_owned())];
    let check = |one: (&'static str, Option<&str>), other: (&'static str, Option<&str>)| {
        share(&key, &claiming(one.0, one.1), &claiming(other.0, other.1))
    };
    assert!(check(("corp", Some("a")), ("corp", Some("a"))));
    assert!(!check(("corp", Some("a")), ("corp", Some("b"))));
    assert!(
        !check(("corp", Some("a")), ("partner", Some("a"))),
        "of another issuer"
    );
    assert!(
        check(("corp", None), ("corp", None)),
        "all who have none are one"
    );
    assert!(!check(("corp", None), ("corp", Some("-"))));
    assert!(!check(("corp", None), ("partner", None)));
}

#[test]
fn a_tenant_is_counted_over_all_its_users() {
    let of_tenant = |user, tenant| Request { tenant, ..of(user) };
    let check = |one, other| share(&[KeyPart::Tenant], &one, &other);
    assert!(check(
        of_tenant("a", Some("t1")),
        of_tenant("b", Some("t1"))
    ));
    assert!(!check(
        of_tenant("a", Some("t1")),
        of_tenant("a", Some("t2"))
    ));
    assert!(!check(of_tenant("a", None), of_tenant("a", Some("t2"))));
}
