//! The checks that need nothing but their arguments.

use http::HeaderValue;

use super::*;

fn check(value: &'static str, expected: Result<Option<&str>, &str>) {
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
    let found = bearer(&headers);
    assert_eq!(
        found.as_ref().map_err(Rejection::code),
        expected.as_ref().map_err(|code| *code),
        "{value:?}"
    );
}

#[test]
fn a_token_is_read_from_the_bearer_scheme_alone() {
    check("Bearer abc", Ok(Some("abc")));
    check("bearer abc", Ok(Some("abc")));
    check("BEARER  abc", Ok(Some("abc")));
    check("Basic abc", Ok(None));
    check("Bearerabc", Ok(None));
    check("Bear", Ok(None));
}

#[test]
fn a_bearer_without_a_token_is_malformed() {
    check("Bearer", Err("malformed-request"));
    check("Bearer  ", Err("malformed-request"));
}

#[test]
fn a_denied_address_is_refused_even_where_it_is_allowed() {
    let network = |text: &str| text.parse().expect("a network");
    let lists = AddressLists {
        allow: vec![network("10.0.0.0/8")],
        deny: vec![network("10.1.0.0/16")],
    };
    let check = |address: &str| check_address(&lists, address.parse().expect("an address")).is_ok();
    assert!(check("10.2.0.1"));
    assert!(!check("10.1.0.1"), "deny wins over allow");
    assert!(
        !check("192.0.2.1"),
        "a list of allowed networks leaves the others out"
    );
}
