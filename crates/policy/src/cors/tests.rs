//! What pages of which origins are told, as tables.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn rule(origins: &[&str], credentials: bool) -> config::Cors {
    let listed = origins.iter().map(|origin| (*origin).to_owned()).collect();
    config::Cors {
        origins: if origins == ["*"] {
            Origins::Any
        } else {
            Origins::Listed(listed)
        },
        credentials,
        max_age: Duration::from_secs(600),
        headers: vec![header::AUTHORIZATION, header::CONTENT_TYPE],
        expose: vec![header::ETAG],
    }
}

const APP: &str = "https://app.example.com";

fn marked(rule: &config::Cors, origin: Option<&str>, upstream: &[(HeaderName, &str)]) -> HeaderMap {
    let origin = origin.map(|origin| HeaderValue::from_str(origin).expect("visible"));
    let upstream = upstream.iter().map(|(name, value)| {
        let value = HeaderValue::from_str(value).expect("visible");
        (name.clone(), value)
    });
    let mut answer: HeaderMap = HeaderMap::from_iter(upstream);
    Cors::new(rule, &[]).mark(origin.as_ref(), &mut answer);
    answer
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().expect("text"))
}

#[test]
fn only_a_listed_origin_may_read() {
    let check = |origin, expected| {
        let answer = marked(&rule(&[APP, "http://localhost:3000"], true), origin, &[]);
        let allowed = text(&answer, &header::ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(allowed, expected, "{origin:?}");
        let credentials = text(&answer, &header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        assert_eq!(credentials, expected.map(|_| "true"), "{origin:?}");
        assert_eq!(text(&answer, &header::VARY), Some("Origin"), "{origin:?}");
    };
    check(Some(APP), Some(APP));
    check(Some("http://localhost:3000"), Some("http://localhost:3000"));
    for other in [
        "null",
        "*",
        "http://app.example.com",
        "https://APP.example.com",
        "https://app.example.com.evil.test",
        "https://app.example.com:443",
        "https://app.example.com/",
        "https://xapp.example.com",
        "https://app.example.com, https://app.example.com",
        "",
    ] {
        check(Some(other), None);
    }
    check(None, None);
}

#[test]
fn every_origin_is_told_the_same() {
    for origin in [APP, "null", "https://evil.test"] {
        let answer = marked(&rule(&["*"], false), Some(origin), &[]);
        let allowed = text(&answer, &header::ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(allowed, Some("*"));
        assert_eq!(
            text(&answer, &header::ACCESS_CONTROL_ALLOW_CREDENTIALS),
            None
        );
        assert_eq!(text(&answer, &header::VARY), None);
    }
}

#[test]
fn the_upstream_has_no_say_in_it() {
    let said = ANSWERS.map(|name| (name, "*"));
    let answer = marked(&rule(&[APP], false), Some("https://evil.test"), &said);
    assert_eq!(answer.len(), 1, "only Vary may be left: {answer:?}");
    let answer = marked(&rule(&[APP], false), Some(APP), &said);
    let allowed = text(&answer, &header::ACCESS_CONTROL_ALLOW_ORIGIN);
    assert_eq!(allowed, Some(APP));
    assert_eq!(
        text(&answer, &header::ACCESS_CONTROL_ALLOW_CREDENTIALS),
        None
    );
}

#[test]
fn a_page_may_read_what_the_gateway_says_and_what_is_exposed() {
    let answer = marked(&rule(&[APP], false), Some(APP), &[]);
    let exposed = text(&answer, &header::ACCESS_CONTROL_EXPOSE_HEADERS).expect("a list");
    for name in ["etag", "ratelimit", "retry-after", "x-request-id"] {
        assert!(
            exposed.split(", ").any(|listed| listed == name),
            "{exposed}"
        );
    }
}

#[test]
fn vary_names_the_origin_once() {
    let lines = |said: &str| {
        let answer = marked(&rule(&[APP], false), None, &[(header::VARY, said)]);
        answer.get_all(header::VARY).iter().count()
    };
    assert_eq!(lines("accept-encoding"), 2);
    assert_eq!(lines("Accept-Encoding, ORIGIN"), 1);
    assert_eq!(lines("*"), 1);
}

#[test]
fn a_preflight_is_told_methods_headers_and_for_how_long() {
    let cors = Cors::new(&rule(&[APP], false), &[Method::GET, Method::PUT]);
    let told = cors.permissions(Some(&HeaderValue::from_static(APP)));
    let told: Vec<_> = told
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
        .collect();
    let expected = [
        ("access-control-allow-methods", "GET, PUT"),
        (
            "access-control-allow-headers",
            "authorization, content-type",
        ),
        ("access-control-max-age", "600"),
    ];
    assert_eq!(told, expected);
    let other = HeaderValue::from_static("https://evil.test");
    assert_eq!(cors.permissions(Some(&other)), []);
    assert_eq!(cors.permissions(None), []);
}

#[test]
fn a_route_for_all_methods_permits_the_known_ones() {
    let told =
        Cors::new(&rule(&["*"], false), &[]).permissions(Some(&HeaderValue::from_static(APP)));
    assert_eq!(told[0].1, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
}

#[test]
fn a_preflight_names_an_origin_and_a_method() {
    let asked = |method: Method, fields: &[(&str, &str)]| {
        let fields = fields.iter().map(|(name, value)| {
            let name: HeaderName = name.parse().expect("a name");
            (name, HeaderValue::from_str(value).expect("visible"))
        });
        method_asked_for(&method, &HeaderMap::from_iter(fields))
    };
    let (origin, put) = (("origin", APP), ("access-control-request-method", "PUT"));
    assert_eq!(asked(Method::OPTIONS, &[origin, put]), Some(Method::PUT));
    assert_eq!(asked(Method::GET, &[origin, put]), None);
    assert_eq!(asked(Method::OPTIONS, &[put]), None);
    assert_eq!(asked(Method::OPTIONS, &[origin]), None);
    let no_method = ("access-control-request-method", "P UT");
    assert_eq!(asked(Method::OPTIONS, &[origin, no_method]), None);
}

#[test]
fn two_origins_are_none() {
    let mut headers = HeaderMap::new();
    for _ in 0..2 {
        headers.append(header::ORIGIN, HeaderValue::from_static(APP));
    }
    assert_eq!(origin(&headers), None);
}

proptest! {
    #[test]
    fn no_origin_is_reflected_that_is_not_listed(origin in "[ -~]{0,60}") {
        prop_assume!(origin != APP);
        let answer = marked(&rule(&[APP], true), Some(&origin), &[]);
        prop_assert_eq!(text(&answer, &header::ACCESS_CONTROL_ALLOW_ORIGIN), None);
    }
}
