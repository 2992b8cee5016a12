//! Whose request it is: the token of `Authorization: Bearer`, verified.
//!
//! This is the one check that may wait, and only for a key that another issuer may have made public a moment ago: never
//! longer than [`KEYS_WITHIN`], and not at all where the issuer is not asked anyway.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, header};
use pingora::http::RequestHeader;
use portcullis_config::{routes::Access, units::Timestamp};
use portcullis_policy::rejection::{Malformation, Rejection};
use portcullis_tokens::{MissingKey, Principal, Refused, TokenError, Verifier};
use tokio::time::timeout;

use crate::{
    gateway::Gateway,
    snapshot::{Route, Snapshot},
};

/// How long a request waits for an issuer to answer. A healthy one takes a fraction of it; a client takes it for no more
/// than a slow answer.
const KEYS_WITHIN: Duration = Duration::from_millis(500);

/// Who calls.
pub(crate) enum Caller {
    /// On a public route, where nobody asks, or on an optional one.
    Anonymous,
    Verified(Arc<Principal>),
}

impl Caller {
    pub(crate) fn verified(&self) -> Option<&Arc<Principal>> {
        match self {
            Self::Anonymous => None,
            Self::Verified(principal) => Some(principal),
        }
    }
}

pub(crate) async fn authenticate(
    gateway: &Gateway,
    snapshot: &Snapshot,
    route: &Route,
    request: &RequestHeader,
    now: Timestamp,
) -> Result<Caller, Rejection> {
    let headers = &request.headers;
    match &route.access {
        Access::Public => return Ok(Caller::Anonymous),
        Access::Optional(_) if !headers.contains_key(header::AUTHORIZATION) => {
            return Ok(Caller::Anonymous);
        }
        // Whoever tries to say who he is must succeed in it, on an optional route as well.
        Access::Optional(_) | Access::Protected(_) => {}
    }
    let token = bearer(headers)?.ok_or(Rejection::AuthenticationRequired)?;
    let verified = examine(&snapshot.verifier, token, now).await;
    gateway.count_verification(&verified);
    match verified {
        Ok(principal) => Ok(Caller::Verified(principal)),
        Err(refused) => Err(refusal_of(refused.cause)),
    }
}

/// Once, and once more where the issuer was asked in between. What it said, and whether it did, shows in the keys.
async fn examine(
    verifier: &Verifier,
    token: &str,
    now: Timestamp,
) -> Result<Arc<Principal>, Refused> {
    let verified = verifier.examine(token, now);
    let missing = verified
        .as_ref()
        .err()
        .and_then(|refused| refused.missing.as_ref());
    let Some(renewal) = missing.and_then(MissingKey::renew) else {
        return verified;
    };
    match timeout(KEYS_WITHIN, renewal).await {
        Ok(()) => verifier.examine(token, now),
        Err(_late) => verified,
    }
}

const NO_TOKEN: Malformation =
    Malformation::Field("The Authorization header names the scheme Bearer but holds no token.");

/// The token of `Authorization: Bearer`. Another scheme is no token at all: the answer then says what is wanted.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Rejection> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let Some((scheme, rest)) = value.as_bytes().split_at_checked(b"bearer".len()) else {
        return Ok(None);
    };
    if !scheme.eq_ignore_ascii_case(b"bearer") || rest.first().is_some_and(|next| *next != b' ') {
        return Ok(None);
    }
    // RFC 9110 section 11.4: one or more spaces stand between the scheme and the token.
    let token = rest.trim_ascii_start();
    match std::str::from_utf8(token) {
        Ok(token) if !token.is_empty() => Ok(Some(token)),
        Ok(_) | Err(_) => Err(Rejection::Malformed(NO_TOKEN)),
    }
}

fn refusal_of(cause: TokenError) -> Rejection {
    if cause == TokenError::KeysUnavailable {
        return Rejection::KeysUnavailable;
    }
    Rejection::InvalidToken {
        cause: cause.outcome(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(value: &'static str, expected: Result<Option<&str>, &str>) {
        let headers =
            HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
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
}
