//! What holds for every rejection there is.

use std::collections::HashSet;

use super::*;
use crate::{limits::Standing, problem::Problem};

fn refused() -> Refused {
    Refused {
        standing: Standing::example("per_user", 0, Duration::from_secs(60)),
        retry_after: Duration::from_millis(1500),
    }
}

/// One of each; the test below fails to be complete only if somebody adds a variant here and nowhere else.
fn every_rejection() -> Vec<Rejection> {
    let challenge = HeaderValue::from_static("Bearer");
    let soon = Duration::from_millis(10);
    vec![
        Rejection::Malformed(Malformation::Host),
        Rejection::RouteNotFound,
        Rejection::MethodNotAllowed {
            allow: HeaderValue::from_static("GET, HEAD"),
        },
        Rejection::RequestTimeout,
        Rejection::UriTooLong,
        Rejection::HeadersTooLarge,
        Rejection::BodyTooLarge,
        Rejection::AddressNotAllowed,
        Rejection::AuthenticationRequired,
        Rejection::InvalidToken { cause: "expired" },
        Rejection::InsufficientScope {
            challenge: challenge.clone(),
        },
        Rejection::WrongResource { challenge },
        Rejection::RateLimited(Box::new(refused())),
        Rejection::CircuitOpen { retry_after: soon },
        Rejection::Overloaded { retry_after: soon },
        Rejection::UpstreamUnreachable,
        Rejection::UpstreamFailed,
        Rejection::UpstreamTimeout,
        Rejection::KeysUnavailable,
        Rejection::RevocationsStale,
        Rejection::StoreUnavailable,
        Rejection::InvalidCredentials,
        Rejection::MfaRequired,
        Rejection::ResourceNotAllowed,
        Rejection::CrossSite,
        Rejection::Conflict,
        Rejection::UnsupportedMediaType,
        Rejection::WeakPassword {
            reason: "The password is too short.",
        },
        Rejection::UnusableHash,
        Rejection::InternalError,
    ]
}

fn every_malformation() -> [Malformation; 19] {
    use Malformation::*;
    [
        Target,
        TargetEncoding,
        DotSegment,
        EmptySegment,
        HiddenSeparator,
        PathParameter,
        Fragment,
        Query,
        Host,
        HostDisagrees,
        Version,
        ContentLength,
        TransferEncoding,
        Framing,
        HeaderValue,
        ConnectionNomination,
        DuplicateAuthorization,
        Body,
        Field("The field username is missing."),
    ]
}

#[test]
fn codes_are_distinct_words_of_the_contract() {
    let codes: HashSet<_> = every_rejection().iter().map(Rejection::code).collect();
    assert_eq!(
        codes.len(),
        every_rejection().len(),
        "two rejections share a code"
    );
    for code in codes {
        assert!(
            code.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
            "{code}"
        );
    }
}

#[test]
fn texts_need_no_escaping() {
    let malformed = every_malformation().map(Rejection::Malformed);
    for rejection in every_rejection().iter().chain(&malformed) {
        for text in [rejection.title(), &rejection.detail()] {
            let plain = text
                .bytes()
                .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
            assert!(plain && !text.is_empty(), "{}: {text}", rejection.code());
        }
        assert!(
            rejection.detail().ends_with('.'),
            "{}: details are sentences",
            rejection.code()
        );
    }
}

#[test]
fn bodies_are_json_that_agrees_with_the_rejection() {
    for rejection in every_rejection() {
        let body = Problem::of(&rejection, "id").to_json();
        let parsed: serde_json::Value = serde_json::from_slice(&body).expect("the body is JSON");
        assert_eq!(
            parsed["status"].as_u64(),
            Some(u64::from(rejection.status().as_u16()))
        );
        assert_eq!(parsed["code"].as_str(), Some(rejection.code()));
        assert_eq!(
            parsed["type"],
            format!("urn:portcullis:problem:{}", rejection.code())
        );
    }
}

#[test]
fn every_unauthorized_answer_carries_a_challenge() {
    for rejection in every_rejection()
        .iter()
        .filter(|rejection| rejection.status() == StatusCode::UNAUTHORIZED)
    {
        let named = rejection
            .headers()
            .iter()
            .any(|(name, _)| name == header::WWW_AUTHENTICATE);
        assert!(
            named,
            "{}: RFC 9110 section 15.5.2 asks for WWW-Authenticate",
            rejection.code()
        );
    }
}

#[test]
fn a_missing_token_is_no_error_code_and_a_bad_one_is() {
    let challenge = |rejection: Rejection| rejection.headers().remove(0).1;
    assert_eq!(
        challenge(Rejection::AuthenticationRequired),
        r#"Bearer realm="portcullis""#
    );
    assert_eq!(
        challenge(Rejection::InvalidToken { cause: "expired" }),
        r#"Bearer realm="portcullis", error="invalid_token""#
    );
}

#[test]
fn every_unavailable_answer_says_when_to_come_back() {
    for rejection in every_rejection()
        .iter()
        .filter(|rejection| rejection.status() == StatusCode::SERVICE_UNAVAILABLE)
    {
        assert_eq!(
            rejection.headers(),
            [(header::RETRY_AFTER, HeaderValue::from(1u64))],
            "{}",
            rejection.code()
        );
    }
}

#[test]
fn retry_after_is_rounded_up() {
    let rejection = Rejection::RateLimited(Box::new(refused()));
    assert_eq!(
        rejection.headers(),
        [(header::RETRY_AFTER, HeaderValue::from_static("2"))]
    );
}

#[test]
fn only_requests_whose_end_is_in_doubt_close_the_connection() {
    let closing: Vec<_> = every_rejection()
        .iter()
        .filter(|rejection| rejection.closes_connection())
        .map(Rejection::code)
        .collect();
    assert_eq!(closing, ["request-timeout", "body-too-large"]);
    assert!(Rejection::Malformed(Malformation::Framing).closes_connection());
    assert!(!Rejection::Malformed(Malformation::DotSegment).closes_connection());
}
