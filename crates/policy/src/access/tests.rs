//! Principals here are real ones: signed and verified, because nothing else can make them.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use portcullis_config::units::Timestamp;
use portcullis_tokens::{
    AccessClaims, IssuerSpec, KeySet, Revocations, SigningAlgorithm, SigningKey, Verifier,
    VerifierParts,
};

use proptest::prelude::*;

use super::*;

const ISSUER: &str = "https://gw.example";
const NOW: u64 = 1_800_000_000;

fn principal(scope: &str, roles: &[&str]) -> Arc<Principal> {
    followed(scope, roles, &Arc::default())
}

fn followed(scope: &str, roles: &[&str], revocations: &Arc<Revocations>) -> Arc<Principal> {
    of_tenant(scope, roles, None, revocations)
}

fn of_tenant(
    scope: &str,
    roles: &[&str],
    tenant: Option<&str>,
    revocations: &Arc<Revocations>,
) -> Arc<Principal> {
    let claims = AccessClaims {
        iss: ISSUER.to_owned(),
        sub: "u-1".to_owned(),
        aud: "hotel".to_owned(),
        resource: "hotel".to_owned(),
        exp: NOW + 300,
        iat: NOW,
        jti: "j-1".to_owned(),
        client_id: "web".to_owned(),
        scope: scope.to_owned(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        sid: "s-1".to_owned(),
        ver: 1,
        tenant: tenant.map(str::to_owned),
    };
    let key = SigningKey::generate(SigningAlgorithm::EdDsa).expect("a key");
    let keys = KeySet::new([key.verification_key()]).expect("one key");
    let verifier = Verifier::new(VerifierParts {
        issuers: vec![IssuerSpec::local(
            ISSUER,
            ["hotel".to_owned()],
            Duration::from_secs(300),
            keys,
        )],
        cache_entries: 1,
        cache_bytes: 1 << 14,
        revocations: Arc::clone(revocations),
    });
    let token = key.sign(&claims).expect("a token");
    verifier
        .expect("one issuer")
        .verify(&token, Timestamp::from_secs(NOW))
        .expect("a principal")
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn hotel() -> AccessRule {
    AccessRule {
        resource: "hotel".to_owned(),
        ..AccessRule::default()
    }
}

fn check_rule(rule: AccessRule, expected: Result<(), &str>) {
    let caller = principal("hotel:read hotel:write", &["guest", "staff"]);
    let found = check(&rule, &caller, "/hotel").map_err(|rejection| rejection.code());
    assert_eq!(found, expected, "{rule:?}");
}

#[test]
fn a_rule_that_names_only_a_resource_asks_for_nothing_else() {
    check_rule(hotel(), Ok(()));
}

#[test]
fn a_token_for_another_resource_opens_nothing_whatever_its_scopes() {
    let event = AccessRule {
        resource: "event".to_owned(),
        all_scopes: names(&["hotel:read"]),
        ..AccessRule::default()
    };
    check_rule(event, Err("wrong-resource"));
}

#[test]
fn all_means_all_and_any_means_one() {
    let refused = Err("insufficient-scope");
    let all = |scopes| AccessRule {
        all_scopes: names(scopes),
        ..hotel()
    };
    check_rule(all(&["hotel:read", "hotel:write"]), Ok(()));
    check_rule(all(&["hotel:read", "hotel:delete"]), refused);
    let any = |scopes| AccessRule {
        any_scopes: names(scopes),
        ..hotel()
    };
    check_rule(any(&["hotel:delete", "hotel:write"]), Ok(()));
    check_rule(any(&["hotel:delete"]), refused);
    let roles = |roles| AccessRule {
        any_roles: names(roles),
        ..hotel()
    };
    check_rule(roles(&["admin", "staff"]), Ok(()));
    check_rule(roles(&["admin"]), refused);
}

#[test]
fn every_part_of_a_rule_must_hold() {
    let rule = AccessRule {
        all_scopes: names(&["hotel:read"]),
        any_roles: names(&["admin"]),
        ..hotel()
    };
    check_rule(rule, Err("insufficient-scope"));
}

#[test]
fn a_rule_may_ask_for_an_issuer() {
    let from = |issuers| AccessRule {
        issuers: names(issuers),
        ..hotel()
    };
    check_rule(from(&["local"]), Ok(()));
    check_rule(from(&["corp", "local"]), Ok(()));
    check_rule(from(&["corp"]), Err("insufficient-scope"));
}

#[test]
fn the_challenge_names_the_scopes_of_the_rule_and_not_of_the_token() {
    let rule = AccessRule {
        all_scopes: names(&["hotel:admin"]),
        any_scopes: names(&["hotel:x"]),
        ..hotel()
    };
    let rejection =
        check(&rule, &principal("hotel:read", &[]), "/").expect_err("the scope is missing");
    let (_, challenge) = rejection.headers().remove(0);
    assert_eq!(
        challenge,
        r#"Bearer realm="portcullis", error="insufficient_scope", scope="hotel:admin hotel:x""#
    );
}

#[test]
fn a_scope_that_cannot_be_quoted_is_left_out_of_the_challenge() {
    let rule = AccessRule {
        all_scopes: names(&["a\"b"]),
        ..hotel()
    };
    let rejection =
        check(&rule, &principal("hotel:read", &[]), "/").expect_err("the scope is missing");
    assert_eq!(
        rejection.headers().remove(0).1,
        r#"Bearer realm="portcullis", error="insufficient_scope""#
    );
}

#[test]
fn only_a_rule_that_asks_for_it_refuses_what_is_stale() {
    let revocations = Arc::new(Revocations::new());
    let principal = followed("hotel:read", &[], &revocations);
    let fresh = AccessRule {
        fresh: true,
        ..hotel()
    };
    let at = |seconds| Timestamp::from_secs(NOW + seconds);
    let verdict = |rule: &AccessRule, now| {
        check_freshness(rule, &principal, now).map_err(|refused| refused.code())
    };
    assert_eq!(verdict(&fresh, at(0)), Err("revocations-stale"));
    assert_eq!(verdict(&hotel(), at(0)), Ok(()));
    revocations.confirm(at(0));
    assert_eq!(verdict(&fresh, at(15)), Ok(()));
    assert_eq!(verdict(&fresh, at(16)), Err("revocations-stale"));
    revocations.confirm(at(16));
    assert_eq!(verdict(&fresh, at(16)), Ok(()));
}

fn segment(number: usize) -> TenantRule {
    TenantRule::Segment(NonZeroUsize::new(number).expect("segments count from 1"))
}

#[test]
fn a_rule_may_ask_for_a_tenant_or_for_the_one_that_the_path_names() {
    let check_tenant = |tenant: Option<&str>, rule, path, passes| {
        let caller = of_tenant("hotel:read", &[], tenant, &Arc::default());
        let rule = AccessRule {
            tenant: rule,
            ..hotel()
        };
        let found = check(&rule, &caller, path).map_err(|rejection| rejection.code());
        let expected = if passes {
            Ok(())
        } else {
            Err("insufficient-scope")
        };
        assert_eq!(found, expected, "{tenant:?} {rule:?} {path}");
    };
    let acme = Some("acme");
    check_tenant(None, TenantRule::Any, "/t/acme", true);
    check_tenant(acme, TenantRule::Any, "/t/globex", true);
    check_tenant(acme, TenantRule::Required, "/", true);
    check_tenant(None, TenantRule::Required, "/t/acme", false);
    for (path, passes) in [
        ("/t/acme", true),
        ("/t/acme/", true),
        ("/t/acme/orders/globex", true),
        ("/t/globex", false),
        ("/t/Acme", false),
        ("/t/acme2", false),
        ("/t/acm", false),
        ("/t/", false),
        ("/t", false),
        ("/", false),
        ("/acme", false),
        ("/acme/t", false),
        ("/t/x/acme", false),
        ("/t/ac%6de", true),
        ("/t/ac%256de", false),
        ("/t/acme%00", false),
        ("/t/acme;v=1", false),
    ] {
        check_tenant(acme, segment(2), path, passes);
        check_tenant(None, segment(2), path, false);
    }
    // Foreign tenants may be any text; an escape is resolved once, as a server would.
    check_tenant(Some("a b"), segment(1), "/a%20b/x", true);
    check_tenant(Some("a%20b"), segment(1), "/a%20b/x", false);
    check_tenant(Some("a%20b"), segment(1), "/a%2520b/x", true);
    check_tenant(Some("100%"), segment(1), "/100%", true);
    check_tenant(Some("é"), segment(1), "/%C3%A9", true);
}

/// As anything but an unreserved character travels in a path.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(escape).collect()
}

proptest! {
    /// Whatever the tenant and whatever stands in the path: they pass together only if they are the same.
    #[test]
    fn a_segment_opens_to_its_own_tenant_alone(
        tenant in "[ -~é]{1,12}",
        other in "[ -~é]{1,12}",
        before in prop::collection::vec("[a-z%2]{0,6}", 0..4),
        after in prop::collection::vec("[a-z%2]{0,6}", 0..4),
    ) {
        let number = segment(before.len() + 1);
        let path = |tenant: &str| {
            let mut segments = before.clone();
            segments.push(escaped(tenant));
            segments.extend(after.iter().cloned());
            format!("/{}", segments.join("/"))
        };
        prop_assert!(is_of_tenant(number, Some(&tenant), &path(&tenant)));
        prop_assert_eq!(is_of_tenant(number, Some(&tenant), &path(&other)), tenant == other);
        prop_assert!(!is_of_tenant(number, None, &path(&tenant)));
    }

    /// Any bytes at all, with the tenant of another: never a panic, and never more than an exact match lets through.
    #[test]
    fn no_path_passes_without_naming_the_tenant(path in "/[ -~]{0,40}", number in 1_usize..5) {
        let passes = is_of_tenant(segment(number), Some("acme"), &path);
        let names = path.split('/').nth(number).is_some_and(|segment| {
            let resolved: String = segment
                .replace("%61", "a").replace("%63", "c").replace("%6d", "m").replace("%6D", "m").replace("%65", "e");
            resolved == "acme"
        });
        prop_assert_eq!(passes, names);
    }
}
