//! `issuers:` whose tokens are accepted beside our own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;

#[derive(Clone)]
pub struct Issuer {
    /// Our name for it: the prefix of its users in headers, limits and audit.
    pub name: String,
    pub issuer: String,
    pub audiences: Vec<String>,
    pub keys: KeySource,
    pub algorithms: Vec<Algorithm>,
    pub types: Vec<TokenType>,
    pub clock_skew: Duration,
    pub max_token_lifetime: Duration,
    /// Their role to ours; a role without an entry is dropped.
    pub roles: BTreeMap<String, String>,
    pub claims: ClaimNames,
    /// Verified tokens remembered at the most.
    pub token_cache: usize,
    /// Where another Portcullis tells what it revoked.
    pub revocations: Option<RevocationFeed>,
}

/// Another gateway's log of revocations, and as whom it is read.
#[derive(Clone)]
pub struct RevocationFeed {
    pub url: String,
    pub client_id: String,
    pub client_secret: SecretString,
}

impl RevocationFeed {
    /// `/oauth/token` of the same origin.
    pub fn token_url(&self) -> String {
        let after_scheme = self.url.find("://").map_or(0, |at| at + 3);
        let (scheme, rest) = self.url.split_at(after_scheme);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        format!("{scheme}{authority}/oauth/token")
    }
}

#[derive(Clone)]
pub enum KeySource {
    /// A PEM file with one public key.
    PublicKeyFile(PathBuf),
    Secret(SecretString),
    /// Where the issuer publishes its keys.
    JwksUrl(String),
    /// The same, but the issuer's own metadata says where.
    Discovery,
    /// A key set kept in a file, which may be replaced while the gateway runs.
    JwksFile(PathBuf),
}

/// Whether keys may be fetched from here: over https, where nobody on the way can put in his own, or from this machine.
pub fn may_be_fetched(url: &str) -> bool {
    let Ok(url) = url.parse::<http::Uri>() else {
        return false;
    };
    // A name before the host is no part of it, and misleads whoever reads the file.
    let hosted = url
        .authority()
        .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    hosted
        && match url.scheme_str() {
            Some("https") => true,
            Some("http") => is_on_this_machine(url.host().unwrap_or_default()),
            Some(_) | None => false,
        }
}

/// Whether this is a plain address of the machine itself, where TLS would guard nothing.
pub fn is_loopback_url(url: &str) -> bool {
    let url = url.parse::<http::Uri>();
    url.is_ok_and(|url| is_on_this_machine(url.host().unwrap_or_default()))
}

fn is_on_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

impl Issuer {
    /// One that is read with the configuration. A key set in a file is looked at by whoever keeps it.
    pub(crate) fn key_file(&self) -> Option<&Path> {
        match &self.keys {
            KeySource::PublicKeyFile(path) => Some(path),
            KeySource::Secret(_)
            | KeySource::JwksUrl(_)
            | KeySource::Discovery
            | KeySource::JwksFile(_) => None,
        }
    }
}

/// Where a foreign token keeps what we need. The first of several names that is present counts.
#[derive(Clone, Debug)]
pub struct ClaimNames {
    pub resource: String,
    pub scopes: Vec<String>,
    pub roles: String,
    pub user: String,
    pub tenant: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// A `typ` that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenType {
    Named(String),
    /// The field is absent.
    Absent,
}

/// What a route calls our own auth service in its list of issuers; no entry of `issuers` may bear the name.
pub const LOCAL: &str = "local";

#[cfg(test)]
mod tests {
    use super::{RevocationFeed, is_loopback_url, may_be_fetched};

    #[test]
    fn tokens_for_a_feed_come_from_its_own_origin() {
        for (url, expected) in [
            (
                "https://a.example/v1/revocations",
                "https://a.example/oauth/token",
            ),
            (
                "http://127.0.0.1:8080/v1/x/y",
                "http://127.0.0.1:8080/oauth/token",
            ),
            ("https://[::1]:1", "https://[::1]:1/oauth/token"),
        ] {
            let feed = RevocationFeed {
                url: url.to_owned(),
                client_id: String::new(),
                client_secret: String::new().into(),
            };
            assert_eq!(feed.token_url(), expected);
        }
    }

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        for url in [
            "https://login.example.com/jwks",
            "https://10.0.0.1:8443/jwks?x=1",
            "http://localhost:8080/jwks",
            "http://127.0.0.1/jwks",
            "http://127.8.8.8:1/",
            "http://[::1]:8080/jwks",
        ] {
            assert!(may_be_fetched(url), "{url}");
        }
        for url in [
            "http://login.example.com/jwks",
            "http://localhost.example.com/jwks",
            "http://127.0.0.1.example.com/",
            "http://127.0.0.1@example.com/",
            "https://login.example.com@evil.example/jwks",
            "http://10.0.0.1/jwks",
            "http://0.0.0.0/jwks",
            "ftp://localhost/jwks",
            "file:///etc/passwd",
            "/jwks",
            "localhost/jwks",
            "https:///jwks",
            "",
        ] {
            assert!(!may_be_fetched(url), "{url}");
        }
        assert!(is_loopback_url("http://localhost:1/") && is_loopback_url("https://[::1]/"));
        assert!(!is_loopback_url("https://example.com/"));
    }
}
