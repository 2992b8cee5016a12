//! Whether a verified caller may use a route.
//!
//! The order of the questions is the order in which a client can do something about the answer: a token for another
//! resource must be fetched anew, a missing scope must be granted.

use http::HeaderValue;
use portcullis_config::{
    routes::{AccessRule, TenantRule},
    units::Timestamp,
};
use portcullis_tokens::Principal;

use crate::rejection::Rejection;

/// Every part of the rule must hold; within `any_scopes`, `any_roles` and `issuers`, one entry is enough. `path` is the
/// canonical one that the request came with.
pub fn check(rule: &AccessRule, principal: &Principal, path: &str) -> Result<(), Rejection> {
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
        })
        && is_of_tenant(rule.tenant, principal.tenant(), path);
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

/// A token of no tenant is of none that a path could name.
fn is_of_tenant(rule: TenantRule, tenant: Option<&str>, path: &str) -> bool {
    match (rule, tenant) {
        (TenantRule::Any, _) | (TenantRule::Required, Some(_)) => true,
        (TenantRule::Required | TenantRule::Segment(_), None) => false,
        // What stands before the first slash is nothing, so that the first segment is 1.
        (TenantRule::Segment(number), Some(tenant)) => path
            .split('/')
            .nth(number.get())
            .is_some_and(|segment| spells(segment, tenant)),
    }
}

/// Whether the segment is this text, as a server reads it: with its escapes resolved once.
fn spells(segment: &str, text: &str) -> bool {
    let mut rest = segment.as_bytes();
    for expected in text.bytes() {
        let Some((byte, after)) = next_byte(rest) else {
            return false;
        };
        if byte != expected {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

/// An escape that is none stands for itself.
fn next_byte(text: &[u8]) -> Option<(u8, &[u8])> {
    let escaped = text.strip_prefix(b"%").and_then(|rest| {
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let byte = is_hex.then(|| u8::from_str_radix(digits, 16).ok())??;
        Some((byte, after))
    });
    escaped.or_else(|| text.split_first().map(|(byte, after)| (*byte, after)))
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
