//! Issuers that publish their keys over HTTP, well or badly, and a gateway that takes their tokens.

use std::{net::SocketAddr, path::PathBuf};

use portcullis_harness::{
    client::{Request, Response},
    gateway::{Gateway, Places},
    jose::{Es256, Signer},
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE},
};
use serde_json::{Value, json};

use crate::stage::{self, now};

/// A key with the name it is published under.
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) signer: Es256,
}

impl Key {
    pub(crate) fn generate(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            signer: Es256::generate().unwrap(),
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = self.signer.public_jwk();
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A good token of this issuer (named by its `iss`), for the hotel.
    pub(crate) fn token(&self, issuer: &str, subject: &str) -> String {
        self.sign(&claims(issuer, subject))
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": self.id});
        self.signer.sign(&header, claims).unwrap().to_string()
    }
}

pub(crate) fn claims(issuer: &str, subject: &str) -> Value {
    json!({
        "iss": issuer, "sub": subject, "aud": "hotel", "iat": now(), "exp": now() + 600,
        "scope": "hotel:read", "roles": ["hotel-staff"],
    })
}

pub(crate) fn key_set(keys: &[&Key]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

pub(crate) fn document(body: &str) -> Reaction {
    cached_document(body, "max-age=600")
}

pub(crate) fn cached_document(body: &str, cache_control: &str) -> Reaction {
    Reaction::send(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: {cache_control}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// `http://127.0.0.1:port`: what stands as `iss`, and where the keys are.
pub(crate) fn url(server: &Upstream) -> String {
    format!("http://{}", server.address())
}

/// An entry of `issuers`.
pub(crate) fn entry(name: &str, issuer: &str, source: &str) -> String {
    format!(
        "  - name: {name}\n    issuer: {issuer}\n    audiences: [hotel]\n    algorithms: [ES256]\n    roles: {{ hotel-staff: staff }}\n    {source}\n"
    )
}

/// A gateway before a recording upstream, with these issuers. `/hotel/**` wants a token for the hotel, `/optional/**`
/// takes one, and `/one/**` takes those of `one` alone.
pub(crate) struct Stage {
    pub(crate) gateway: Gateway,
    pub(crate) upstream: Upstream,
}

impl Stage {
    pub(crate) fn build(issuers: &str) -> Self {
        Self::build_with(|_| issuers.to_owned())
    }

    pub(crate) fn build_with(issuers: impl Fn(&Places) -> String) -> Self {
        let upstream = Upstream::start().unwrap();
        let address = upstream.address();
        let gateway = stage::start(|places| configuration(places, address, &issuers(places)));
        Self { gateway, upstream }
    }

    /// With these files as the only authorities it trusts for what it fetches.
    pub(crate) fn trusting(certificates: PathBuf, issuers: &str) -> Self {
        let upstream = Upstream::start().unwrap();
        let address = upstream.address();
        let house = stage::build(|places| configuration(places, address, issuers));
        let house = house.with_environment("SSL_CERT_FILE", certificates);
        let mut gateway = house.launch(&["run"]).unwrap();
        gateway.wait_ready().unwrap();
        Self { gateway, upstream }
    }

    /// A gateway that takes the tokens of one issuer called `one`, once it has its keys.
    pub(crate) fn of(issuer: &Upstream) -> Self {
        let source = format!("jwks_url: {}/jwks", url(issuer));
        let stage = Self::build(&entry("one", &url(issuer), &source));
        stage.wait_for_keys("one");
        stage
    }

    pub(crate) fn wait_for_keys(&self, issuer: &str) {
        wait_for_keys(&self.gateway, issuer);
    }

    pub(crate) fn ask(&self, path: &str, token: &str) -> Response {
        let request = Request::get(path).bearer(token);
        self.gateway.client().send(&request).unwrap()
    }

    /// Status and code of the answer to this token.
    pub(crate) fn answer(&self, token: &str) -> (u16, String) {
        let answer = self.ask("/hotel/x", token);
        (answer.status, answer.code())
    }

    pub(crate) fn passes(&self, token: &str) {
        assert_eq!(self.answer(token), (200, String::new()));
    }

    pub(crate) fn wait_until_it_passes(&self, token: &str) {
        wait::until("a token that passes", PATIENCE, || {
            (self.answer(token).0 == 200).then_some(())
        })
        .unwrap();
    }

    pub(crate) fn key_age(&self, issuer: &str) -> f64 {
        let metrics = self.gateway.metrics().unwrap();
        metrics.sum("portcullis_issuer_keys_age_seconds", &[("issuer", issuer)])
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        wait::until(text, PATIENCE, || {
            self.gateway.stderr().contains(text).then_some(())
        })
        .unwrap();
    }
}

/// By the log, which costs no question.
pub(crate) fn wait_for_keys(gateway: &Gateway, issuer: &str) {
    let said = format!("\"issuer\":\"{issuer}\"");
    wait::until("the keys of an issuer", PATIENCE, || {
        let log = gateway.stderr();
        let had = |line: &str| line.contains("are in force") && line.contains(&said);
        log.lines().any(had).then_some(())
    })
    .unwrap();
}

pub(crate) fn configuration(places: &Places, upstream: SocketAddr, issuers: &str) -> String {
    let server = stage::server(places, "");
    format!(
        "{server}issuers:\n{issuers}
upstreams:
  hotel: {{ endpoints: [{upstream}] }}
rate_limits:
  mine: {{ key: user, limit: 5/1h }}
routes:
  - {{ name: hotel, match: {{ path: /hotel/** }}, upstream: hotel, auth: {{ resource: hotel, scopes: {{ all: [hotel:read] }} }} }}
  - {{ name: one, match: {{ path: /one/** }}, upstream: hotel, auth: {{ resource: hotel, issuers: [one] }} }}
  - name: optional
    match: {{ path: /optional/** }}
    upstream: hotel
    auth: {{ resource: hotel, optional: true }}
    rate_limits: [mine]
"
    )
}
