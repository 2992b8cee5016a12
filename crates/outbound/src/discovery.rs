//! Where an issuer publishes its keys, told by itself: OIDC Discovery 1.0, or RFC 8414 where there is no such
//! document. Both name the issuer, and it must be the one that was asked, byte for byte: a document of another one would
//! let that other one say which keys are good.

use portcullis_config::issuers;
use serde_json::{Map, Value};

use crate::fetch::{FetchError, Fetcher};

/// Metadata has a few dozen members.
const MAX_METADATA_BYTES: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    #[error("its metadata cannot be had at {url}: it {cause}")]
    Fetch { url: String, cause: FetchError },
    #[error("its metadata is not a JSON object")]
    NotMetadata,
    #[error("its metadata is that of another issuer")]
    OtherIssuer,
    #[error("its metadata names no `jwks_uri` that keys may be fetched from")]
    NoKeyAddress,
}

/// What an issuer says of itself, once it is sure that it is the one that was asked.
pub(crate) struct Metadata {
    members: Map<String, Value>,
    /// An issuer elsewhere has no business with what listens on this machine.
    is_local: bool,
}

/// The address of its key set.
pub async fn discover(fetcher: &Fetcher, issuer: &str) -> Result<String, DiscoveryError> {
    let metadata = metadata(fetcher, issuer).await?;
    metadata
        .address("jwks_uri")
        .ok_or(DiscoveryError::NoKeyAddress)
}

pub(crate) async fn metadata(fetcher: &Fetcher, issuer: &str) -> Result<Metadata, DiscoveryError> {
    let [first, second] = metadata_addresses(issuer);
    let fetched = match fetcher.fetch(&first, MAX_METADATA_BYTES).await {
        // It is there and has no such document. An issuer that is away need not be asked twice.
        Err(FetchError::Status(_)) => fetcher
            .fetch(&second, MAX_METADATA_BYTES)
            .await
            .map_err(|cause| DiscoveryError::Fetch { url: second, cause }),
        fetched => fetched.map_err(|cause| DiscoveryError::Fetch { url: first, cause }),
    }?;
    Metadata::read(&fetched.body, issuer)
}

impl Metadata {
    fn read(document: &[u8], issuer: &str) -> Result<Self, DiscoveryError> {
        let document: Value =
            serde_json::from_slice(document).map_err(|_invalid| DiscoveryError::NotMetadata)?;
        let Value::Object(members) = document else {
            return Err(DiscoveryError::NotMetadata);
        };
        if members.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(DiscoveryError::OtherIssuer);
        }
        Ok(Self {
            members,
            is_local: issuers::is_loopback_url(issuer),
        })
    }

    /// One that may be asked, or that a browser may be sent to.
    pub(crate) fn address(&self, name: &str) -> Option<String> {
        let address = self.members.get(name)?.as_str()?;
        let is_fit = issuers::may_be_fetched(address)
            && (self.is_local || !issuers::is_loopback_url(address));
        is_fit.then(|| address.to_owned())
    }

    /// Whether a list has this word; nothing where there is no list.
    pub(crate) fn lists(&self, name: &str, word: &str) -> Option<bool> {
        let list = self.members.get(name)?.as_array()?;
        Some(list.iter().any(|listed| listed.as_str() == Some(word)))
    }

    pub(crate) fn says(&self, name: &str) -> bool {
        self.members.get(name).and_then(Value::as_bool) == Some(true)
    }
}

/// OIDC appends to the issuer's path, RFC 8414 section 3.1 puts its own name before it.
fn metadata_addresses(issuer: &str) -> [String; 2] {
    let bare = issuer.trim_end_matches('/');
    let path_begins = bare
        .find("://")
        .and_then(|scheme| Some(scheme + 3 + bare.get(scheme + 3..)?.find('/')?))
        .unwrap_or(bare.len());
    let (host, path) = bare.split_at(path_begins);
    [
        format!("{bare}/.well-known/openid-configuration"),
        format!("{host}/.well-known/oauth-authorization-server{path}"),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key_address(document: &[u8], issuer: &str) -> Result<String, DiscoveryError> {
        let metadata = Metadata::read(document, issuer)?;
        metadata
            .address("jwks_uri")
            .ok_or(DiscoveryError::NoKeyAddress)
    }

    #[test]
    fn metadata_is_looked_for_where_the_standards_say() {
        let found = |issuer| metadata_addresses(issuer).join(" ");
        assert_eq!(
            found("https://a.example"),
            "https://a.example/.well-known/openid-configuration \
             https://a.example/.well-known/oauth-authorization-server"
        );
        let with_path = "https://a.example:8443/realms/x/.well-known/openid-configuration \
                         https://a.example:8443/.well-known/oauth-authorization-server/realms/x";
        assert_eq!(found("https://a.example:8443/realms/x"), with_path);
        assert_eq!(found("https://a.example:8443/realms/x/"), with_path);
    }

    #[test]
    fn only_the_issuer_itself_says_where_its_keys_are() {
        const ISSUER: &str = "https://a.example/x";
        let found = |issuer: &str, address: &str| {
            let metadata = json!({"issuer": issuer, "jwks_uri": address, "other": [1]});
            let found = key_address(metadata.to_string().as_bytes(), ISSUER);
            found.map_err(|error| error.to_string())
        };
        let keys = "https://keys.example/a";
        assert_eq!(found(ISSUER, keys), Ok(keys.to_owned()));
        for other in [
            "https://a.example/x/",
            "https://A.example/x",
            "",
            "https://b.example",
        ] {
            let refused = Err(DiscoveryError::OtherIssuer.to_string());
            assert_eq!(found(other, keys), refused, "{other}");
        }
        for address in [
            "http://keys.example/a",
            "http://127.0.0.1:9/a",
            "https://127.0.0.1/a",
            "https://localhost/a",
            "file:///etc/passwd",
            "/a",
            "",
        ] {
            let refused = Err(DiscoveryError::NoKeyAddress.to_string());
            assert_eq!(found(ISSUER, address), refused, "{address}");
        }
    }

    #[test]
    fn an_issuer_on_this_machine_may_keep_its_keys_here() {
        let metadata = json!({"issuer": "http://localhost:1", "jwks_uri": "http://127.0.0.1:2/a"});
        let found = key_address(metadata.to_string().as_bytes(), "http://localhost:1");
        assert_eq!(found.ok().as_deref(), Some("http://127.0.0.1:2/a"));
    }

    #[test]
    fn what_is_no_metadata_is_refused() {
        for text in [
            "",
            "<html>",
            "[]",
            "null",
            "{}",
            r#"{"issuer":"x","jwks_uri":5}"#,
        ] {
            assert!(key_address(text.as_bytes(), "x").is_err(), "{text}");
        }
    }
}
