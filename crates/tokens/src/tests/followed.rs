//! Tokens of another Portcullis whose revocations are followed: taken back by what they say, and by nothing of ours.

use std::collections::BTreeMap;

use portcullis_config::issuers::{Algorithm, ClaimNames, Issuer, KeySource, TokenType};

use super::*;
use crate::Revocation;

const THEIRS: &str = "https://other.example";

fn other() -> Issuer {
    Issuer {
        name: "other".to_owned(),
        issuer: THEIRS.to_owned(),
        audiences: vec!["hotel".to_owned()],
        keys: KeySource::Discovery,
        algorithms: vec![Algorithm::Es256],
        types: vec![TokenType::Named("at+jwt".to_owned())],
        clock_skew: Duration::from_secs(5),
        max_token_lifetime: Duration::from_secs(3600),
        roles: BTreeMap::new(),
        claims: ClaimNames {
            resource: "aud".to_owned(),
            scopes: vec!["scope".to_owned()],
            roles: "roles".to_owned(),
            user: "name".to_owned(),
            tenant: "tid".to_owned(),
        },
        token_cache: 100,
        revocations: None,
    }
}

struct Two {
    key: SigningKey,
    own: Arc<Revocations>,
    theirs: Arc<Revocations>,
    verifier: Verifier,
}

impl Two {
    fn build() -> Self {
        let key = key(SigningAlgorithm::Es256);
        let keys = KeySet::new([key.verification_key()]).expect("one key");
        let (own, theirs): (Arc<Revocations>, Arc<Revocations>) = Default::default();
        let foreign = IssuerSpec::foreign(&other(), keys).expect("a good name");
        let issuers = vec![local(&[&key]), foreign.following(Arc::clone(&theirs))];
        let verifier = verifier_of(issuers, &own);
        Self {
            key,
            own,
            theirs,
            verifier,
        }
    }

    fn token(&self, changes: &Value) -> String {
        let theirs = changed(payload(), &json!({"iss": THEIRS, "name": "alice"}));
        let header = header_of(&self.key).to_string();
        forged(&self.key, &header, changed(theirs, changes).to_string())
    }
}

const SUBJECT: &str = "01890000-0000-7000-8000-000000000001";

fn revocations(key: &SigningKey) -> [Revocation; 3] {
    [
        Revocation::Session("session-1".to_owned()),
        Revocation::UserBefore {
            user_id: SUBJECT.to_owned(),
            version: 8,
        },
        Revocation::Key(key.kid().to_owned()),
    ]
}

#[test]
fn a_followed_token_ends_by_session_by_user_and_by_key_though_it_is_remembered() {
    for which in 0..3 {
        let two = Two::build();
        let token = two.token(&json!({}));
        let principal = two.verifier.verify(&token, now()).expect("a good token");
        assert_eq!(principal.subject(), "other:alice");
        let until = Timestamp::from_secs(NOW + 1000);
        for revocation in revocations(&two.key) {
            two.own.revoke(revocation, until);
        }
        assert_eq!(refusal(&two.verifier, &token), None, "ours are not theirs");
        let [one, two_, three] = revocations(&two.key);
        let revocation = [one, two_, three].into_iter().nth(which).expect("three");
        two.theirs.revoke(revocation, until);
        assert_eq!(refusal(&two.verifier, &token), Some(TokenError::Revoked));
        assert!(!principal.still_stands(now()));
    }
}

#[test]
fn what_they_revoke_ends_nothing_of_ours() {
    let two = Two::build();
    let ours = signed(&two.key);
    for revocation in revocations(&two.key) {
        two.theirs
            .revoke(revocation, Timestamp::from_secs(NOW + 1000));
    }
    assert_eq!(refusal(&two.verifier, &ours), None);
}

#[test]
fn a_token_that_could_not_be_taken_back_is_refused() {
    let two = Two::build();
    for (claim, wrong) in [
        ("sid", json!(null)),
        ("sid", json!(1)),
        ("ver", json!(null)),
        ("ver", json!("7")),
        ("sub", json!(null)),
    ] {
        let token = two.token(&json!({ claim: wrong }));
        assert_eq!(
            refusal(&two.verifier, &token),
            Some(TokenError::BadClaims(claim)),
            "{claim}"
        );
    }
}

#[test]
fn a_token_is_as_fresh_as_the_feed_of_its_own_issuer() {
    let two = Two::build();
    let ours = two.verifier.verify(&signed(&two.key), now());
    let theirs = two.verifier.verify(&two.token(&json!({})), now());
    let (ours, theirs) = (ours.expect("good"), theirs.expect("good"));
    assert!(ours.has_stale_revocations(now()) && theirs.has_stale_revocations(now()));
    two.own.confirm(now());
    assert!(!ours.has_stale_revocations(now()) && theirs.has_stale_revocations(now()));
    two.theirs.confirm(now());
    assert!(!theirs.has_stale_revocations(now()));
    assert!(theirs.has_stale_revocations(Timestamp::from_secs(NOW + 16)));
}
