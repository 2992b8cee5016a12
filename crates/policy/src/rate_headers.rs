//! What a client is told about its budget: the `RateLimit` pair of the IETF draft and the older `X-RateLimit-*` triple.
//!
//! All of them are read off one [`Standing`], so they cannot contradict each other. Written without `format!`: these
//! are set on every proxied answer.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use portcullis_config::server::RateLimitHeaders;
use smallvec::SmallVec;

use crate::{
    clock::{Moment, whole_seconds},
    limits::Standing,
};

const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// At most a pair and a triple, so that none of it is on the heap.
pub type RateHeaders = SmallVec<[(HeaderName, HeaderValue); 5]>;

/// The headers the operator chose, with the numbers of `standing` at `now`.
pub fn rate_headers(choice: RateLimitHeaders, standing: &Standing, now: Moment) -> RateHeaders {
    let mut headers = RateHeaders::new();
    let (ietf, x) = match choice {
        RateLimitHeaders::Ietf => (true, false),
        RateLimitHeaders::X => (false, true),
        RateLimitHeaders::Both => (true, true),
        RateLimitHeaders::None => (false, false),
    };
    if ietf {
        headers.push((RATE_LIMIT_POLICY, standing.quota.policy().clone()));
        headers.push((RATE_LIMIT, rate_limit(standing)));
    }
    if x {
        headers.push((X_LIMIT, HeaderValue::from(standing.limit())));
        headers.push((X_REMAINING, HeaderValue::from(standing.remaining)));
        headers.push((X_RESET, HeaderValue::from(reset_at(standing, now))));
    }
    headers
}

/// `"per_user";r=42;t=13`
fn rate_limit(standing: &Standing) -> HeaderValue {
    let mut digits = itoa::Buffer::new();
    let mut value: SmallVec<[u8; 96]> = SmallVec::from_slice(standing.quota.item().as_bytes());
    value.extend_from_slice(digits.format(standing.remaining).as_bytes());
    value.extend_from_slice(b";t=");
    value.extend_from_slice(digits.format(seconds_to_reset(standing)).as_bytes());
    HeaderValue::from_bytes(&value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A full bucket is full now; anything else rounds up.
fn seconds_to_reset(standing: &Standing) -> u64 {
    if standing.reset_after.is_zero() {
        0
    } else {
        whole_seconds(standing.reset_after)
    }
}

/// A date to the second, which must not be earlier than the bucket is full; so the fraction of `now` counts too.
fn reset_at(standing: &Standing, now: Moment) -> u64 {
    now.wall
        .plus(standing.reset_after)
        .as_millis()
        .div_ceil(1000)
}

/// `"per_user";q=60;w=60`: the bucket and the seconds in which it fills.
pub(crate) fn policy(limit_name: &str, burst: u64, window: Duration) -> HeaderValue {
    let text = format!(
        "\"{}\";q={burst};w={}",
        quotable(limit_name),
        whole_seconds(window)
    );
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// `"in_flight";q=20;qu="concurrent-requests"`: there is no window in which places come back.
pub(crate) fn policy_of_places(limit_name: &str, most: u64) -> HeaderValue {
    let text = format!(
        "\"{}\";q={most};qu=\"concurrent-requests\"",
        quotable(limit_name)
    );
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

pub(crate) fn item(limit_name: &str) -> Box<str> {
    format!("\"{}\";r=", quotable(limit_name)).into()
}

/// What a string of RFC 9651 section 3.3.3 can hold without escapes. The loader lets nothing else into a name.
fn quotable(name: &str) -> String {
    name.chars()
        .map(|character| {
            if matches!(character, ' ' | '!' | '#'..='[' | ']'..='~') {
                character
            } else {
                '_'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use portcullis_config::units::Timestamp;

    use super::*;

    fn told(choice: RateLimitHeaders, standing: &Standing) -> Vec<String> {
        let now = Moment {
            since_start: Duration::ZERO,
            wall: Timestamp::from_millis(1_000_000_400),
        };
        let headers = rate_headers(choice, standing, now);
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect()
    }

    #[test]
    fn all_headers_tell_the_same_numbers() {
        let standing = Standing::example("per_user", 42, Duration::from_millis(12_500));
        assert_eq!(
            told(RateLimitHeaders::Both, &standing),
            [
                r#"ratelimit-policy: "per_user";q=60;w=60"#,
                r#"ratelimit: "per_user";r=42;t=13"#,
                "x-ratelimit-limit: 60",
                "x-ratelimit-remaining: 42",
                "x-ratelimit-reset: 1000013",
            ]
        );
    }

    #[test]
    fn a_full_bucket_resets_at_once() {
        let standing = Standing::example("per_user", 60, Duration::ZERO);
        assert_eq!(
            told(RateLimitHeaders::Ietf, &standing).last().unwrap(),
            r#"ratelimit: "per_user";r=60;t=0"#
        );
    }

    #[test]
    fn the_operator_chooses_which_are_sent() {
        let standing = Standing::example("per_ip", 1, Duration::from_secs(1));
        let check = |choice, count| assert_eq!(told(choice, &standing).len(), count, "{choice:?}");
        check(RateLimitHeaders::Ietf, 2);
        check(RateLimitHeaders::X, 3);
        check(RateLimitHeaders::None, 0);
    }

    #[test]
    fn a_name_cannot_break_out_of_its_quotes() {
        let standing = Standing::example("a\"b\\\n", 1, Duration::from_secs(1));
        assert_eq!(
            told(RateLimitHeaders::Ietf, &standing).last().unwrap(),
            r#"ratelimit: "a_b__";r=1;t=1"#
        );
    }
}
