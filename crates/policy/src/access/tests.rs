//! Principals here are real ones: signed and verified, because nothing else can make them.

use std::{sync::Arc, time::Duration};

use portcullis_config::units::Timestamp;
use portcullis_tokens::{
    AccessClaims, IssuerSpec, KeySet, Revocations, SigningAlgorithm, SigningKey, Verifier,
    VerifierParts,
};

use super::*;

const ISSUER: &str = "https://gw.example";
const NOW: u64 = 1_800_000_000;

fn principal(scope: &str, roles: &[&str]) -> Arc<Principal> {
    followed(scope, roles, &Arc::default())
}

fn followed(scope: &str, roles: &[&str], revocations: &Arc<Revocations>) -> Arc<Principal> {
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
        tenant: None,
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
    let found = check(&rule, &caller).map_err(|rejection| rejection.code());
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
    let rejection = check(&rule, &principal("hotel:read", &[])).expect_err("the scope is missing");
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
    let rejection = check(&rule, &principal("hotel:read", &[])).expect_err("the scope is missing");
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
