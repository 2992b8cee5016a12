//! Whose revocations are kept and for how long; reading them over the network is tried with two gateways.

use std::{collections::BTreeMap, time::Duration};

use portcullis_config::issuers::{Algorithm, ClaimNames, KeySource};
use portcullis_harness::ports::free_port;
use portcullis_tokens::Revocation;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn issuer() -> Issuer {
    let feed = RevocationFeed {
        url: format!("http://127.0.0.1:{}/v1/revocations", free_port().unwrap()),
        client_id: "id".to_owned(),
        client_secret: "secret".to_owned().into(),
    };
    Issuer {
        name: "gate".to_owned(),
        issuer: "https://gate.example".to_owned(),
        audiences: vec!["hotel".to_owned()],
        keys: KeySource::Discovery,
        algorithms: vec![Algorithm::Es256],
        types: Vec::new(),
        clock_skew: Duration::ZERO,
        max_token_lifetime: Duration::from_secs(60),
        roles: BTreeMap::new(),
        claims: ClaimNames {
            resource: "aud".to_owned(),
            scopes: Vec::new(),
            roles: "roles".to_owned(),
            user: "sub".to_owned(),
            tenant: "tid".to_owned(),
        },
        token_cache: 0,
        revocations: Some(feed),
    }
}

fn keeper() -> FeedKeeper {
    // Another test may have been first.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    FeedKeeper::new(Handle::current(), Box::new(|| 0.5), Arc::new(|| NOW))
}

fn revocations_of(keeper: &FeedKeeper, issuer: &Issuer) -> Arc<Revocations> {
    let feed = issuer.revocations.as_ref().unwrap();
    keeper.revocations_of(issuer, feed).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_keeps_its_revocations_until_its_feed_changes() {
    let (keeper, one) = (keeper(), issuer());
    let first = revocations_of(&keeper, &one);
    let gone = Revocation::Session("s".to_owned());
    first.revoke(gone, NOW.plus(Duration::from_secs(60)));
    assert!(Arc::ptr_eq(&first, &revocations_of(&keeper, &one)));
    let mut other = one.clone();
    if let Some(feed) = &mut other.revocations {
        feed.client_secret = "another".to_owned().into();
    }
    let second = revocations_of(&keeper, &other);
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(second.len(), 1, "what is known stays known");
    drop(first);
    revocations_of(&keeper, &other);
    assert_eq!(
        keeper.kept.lock().len(),
        1,
        "nobody uses the first any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_cannot_be_read_is_attempted_and_stays_stale() {
    let (keeper, issuer) = (keeper(), issuer());
    assert_eq!(keeper.oldest_age(NOW), None, "none is followed");
    let revocations = revocations_of(&keeper, &issuer);
    keeper.attempted(Duration::from_secs(30)).await;
    let later = NOW.plus(Duration::from_secs(9));
    assert!(revocations.are_stale(NOW));
    assert_eq!(keeper.oldest_age(later), Some(Duration::from_secs(9)));
}
