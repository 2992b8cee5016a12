//! Whether a verified caller may use a route.
//!
//! The order of the questions is the order in which a client can do something about the answer: a token for another
//! resource must be fetched anew, a missing scope must be granted.

use http::HeaderValue;
use portcullis_config::{routes::AccessRule, units::Timestamp};
use portcullis_tokens::Principal;

use crate::rejection::Rejection;

/// Every part of the rule must hold; within `any_scopes`, `any_roles` and `issuers`, one entry is enough.
pub fn check(rule: &AccessRule, principal: &Principal) -> Result<(), Rejection> {
    if principal.resource() != rule.resource {
        return Err(Rejection::WrongResource {
            challenge: challenge(rule),
        });
    }
    let scopes = principal.scopes();
    let permitted = scopes.contains_all(&rule.all_scopes)
        && allows(&rule.any_scopes, |scope| scopes.contains(scope))
        && allows(&rule.any_roles, |role| {
            principal.roles().iter().any(|held| **held == *role)
        })
        && allows(&rule.issuers, |issuer| {
            principal.issuer().as_str() == issuer
        });
    if permitted {
        Ok(())
    } else {
        Err(Rejection::InsufficientScope {
            challenge: challenge(rule),
        })
    }
}

/// Whether what was revoked lately is known, where the rule asks for that. Without it a token is good until somebody
/// says otherwise; with it somebody must have been heard.
pub fn check_freshness(
    rule: &AccessRule,
    principal: &Principal,
    now: Timestamp,
) -> Result<(), Rejection> {
    if rule.fresh && principal.has_stale_revocations(now) {
        Err(Rejection::RevocationsStale)
    } else {
        Ok(())
    }
}

/// An empty list asks for nothing.
fn allows(wanted: &[String], has: impl Fn(&str) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(|name| has(name))
}

/// RFC 6750 section 3, with the scopes that the route asks for: from the file alone, never from the token.
fn challenge(rule: &AccessRule) -> HeaderValue {
    const PLAIN: &str = r#"Bearer realm="portcullis", error="insufficient_scope""#;
    let scopes: Vec<&str> = rule
        .all_scopes
        .iter()
        .chain(&rule.any_scopes)
        .map(String::as_str)
        .collect();
    let plain = || HeaderValue::from_static(PLAIN);
    if scopes.is_empty() || scopes.iter().any(|scope| scope.contains(['"', '\\'])) {
        return plain();
    }
    HeaderValue::try_from(format!("{PLAIN}, scope=\"{}\"", scopes.join(" ")))
        .unwrap_or_else(|_| plain())
}

#[cfg(test)]
mod tests;
