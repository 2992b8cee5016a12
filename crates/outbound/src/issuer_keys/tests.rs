//! Keys over a long time, by a clock that is turned by hand; asking over the network is tried with the whole gateway.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use portcullis_config::issuers::{Algorithm, ClaimNames, Issuer, KeySource, TokenType};
use portcullis_harness::jose::Es256;
use portcullis_tokens::renewal::STALE_FOR;
use serde_json::json;
use tokio::{runtime::Handle, time};

use super::*;

fn issuer(keys: KeySource) -> Issuer {
    Issuer {
        name: "corp".to_owned(),
        issuer: "https://corp.example".to_owned(),
        audiences: vec!["hotel".to_owned()],
        keys,
        algorithms: vec![Algorithm::Es256],
        types: vec![TokenType::Absent],
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
        revocations: None,
    }
}

fn keeper() -> KeyKeeper {
    KeyKeeper::new(Handle::current(), Box::new(|| 0.5))
}

fn key_set(keys: usize) -> String {
    let key = |number| {
        let mut jwk = Es256::generate().unwrap().public_jwk();
        jwk["kid"] = json!(format!("key-{number}"));
        jwk
    };
    json!({"keys": (0..keys).map(key).collect::<Vec<_>>()}).to_string()
}

struct File {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl File {
    fn with(keys: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        fs::write(&path, key_set(keys)).unwrap();
        Self {
            path,
            _directory: directory,
        }
    }

    fn issuer(&self) -> Issuer {
        issuer(KeySource::JwksFile(self.path.clone()))
    }
}

/// The clock goes on by itself while nothing else is to be done, so that this takes no time.
async fn until(keys: &IssuerKeys, count: usize, within: Duration) {
    let reached = time::timeout(within, async {
        while keys.count() != count {
            time::sleep(Duration::from_millis(500)).await;
        }
    });
    assert!(reached.await.is_ok(), "{} keys, not {count}", keys.count());
}

#[tokio::test(start_paused = true)]
async fn a_file_is_followed_and_what_it_lost_is_kept_for_a_day() {
    let (file, keeper) = (File::with(2), keeper());
    let keys = keeper.keys_of(&file.issuer()).unwrap().unwrap();
    assert_eq!(keys.count(), 2, "before anybody can ask");
    fs::write(&file.path, key_set(3)).unwrap();
    until(&keys, 3, Duration::from_secs(10)).await;
    fs::write(&file.path, "half a fi").unwrap();
    let gone_at = Instant::now();
    time::sleep(STALE_FOR - Duration::from_secs(60)).await;
    assert_eq!(keys.count(), 3, "kept as long as it may be");
    let standing = keeper.standings().pop().unwrap();
    assert!(standing.failures > 1000 && standing.age > STALE_FOR - Duration::from_secs(120));
    until(&keys, 0, Duration::from_secs(180)).await;
    assert!(gone_at.elapsed() >= STALE_FOR - Duration::from_secs(10));
    fs::write(&file.path, key_set(1)).unwrap();
    until(&keys, 1, Duration::from_secs(10)).await;
    assert!(keeper.standings().pop().unwrap().age < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn the_next_configuration_goes_on_with_the_same_keys_unless_it_says_otherwise() {
    let (file, keeper) = (File::with(1), keeper());
    let first = keeper.keys_of(&file.issuer()).unwrap().unwrap();
    fs::remove_file(&file.path).unwrap();
    let again = keeper.keys_of(&file.issuer()).unwrap().unwrap();
    assert!(Arc::ptr_eq(&first, &again), "not even looked at anew");
    let others = [
        Issuer {
            name: "other".to_owned(),
            ..file.issuer()
        },
        Issuer {
            issuer: "other".to_owned(),
            ..file.issuer()
        },
        Issuer {
            algorithms: vec![Algorithm::Es384],
            ..file.issuer()
        },
        issuer(KeySource::JwksFile(file.path.with_extension("other"))),
    ];
    for other in others {
        let error = keeper.keys_of(&other).err().unwrap();
        assert!(matches!(error, RenewalError::Read(_)), "{error}");
    }
    assert_eq!(keeper.standings().len(), 1, "what failed is not kept");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_any_more_once_no_configuration_holds_the_keys() {
    let (file, keeper) = (File::with(1), keeper());
    let keys = keeper.keys_of(&file.issuer()).unwrap().unwrap();
    let watched = Arc::clone(&keeper.kept.lock()[0].watched);
    drop(keys);
    let ended = time::timeout(Duration::from_secs(60), async {
        // Ours and the keeper's are left.
        while Arc::strong_count(&watched) > 2 {
            time::sleep(Duration::from_millis(500)).await;
        }
    });
    assert!(ended.await.is_ok());
    assert!(keeper.standings().is_empty());
}

#[tokio::test]
async fn keys_that_do_not_change_are_not_kept_here() {
    let keeper = keeper();
    let pem = issuer(KeySource::PublicKeyFile("corp.pem".into()));
    assert!(keeper.keys_of(&pem).unwrap().is_none());
    assert!(keeper.standings().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_key_set_is_an_error_from_the_start() {
    let file = File::with(1);
    let huge = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(400_000));
    for (content, wanted) in [
        (
            "{}",
            "the document is not a JSON object with a list `keys`, or has a member twice",
        ),
        (
            r#"{"keys":[{"kty":"oct","k":"AA"}]}"#,
            "the key set has no key that could be used: key 0 is a shared secret, which nobody publishes",
        ),
        (&huge, "the key set is larger than 262144 bytes"),
    ] {
        fs::write(&file.path, content).unwrap();
        let error = keeper().keys_of(&file.issuer()).err().unwrap();
        assert_eq!(error.to_string(), wanted);
    }
}
