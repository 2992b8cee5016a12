//! What the benches share: configurations with the whole policy on, tokens for their callers, and gateways without sockets.

pub mod rehearsed;
pub mod upstream;

use std::{fmt::Write, time::Duration};

use portcullis_tokens::{AccessClaims, SignError, SigningKey};
use secrecy::SecretString;

pub const ISSUER: &str = "http://bench.test";
/// Signs nothing but the tokens of a bench.
pub const SECRET: &str = "a-secret-of-the-bench-and-of-nothing-else";

/// Which answer headers the gateway sets. Both tell the upstream who calls and by which request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    /// Three security headers.
    Lean,
    /// Everything a default configuration sets.
    Full,
}

impl Headers {
    fn settings(self) -> &'static str {
        match self {
            Self::Lean => {
                "{ security: { X-Content-Type-Options: nosniff, X-Frame-Options: DENY, Referrer-Policy: no-referrer }, \
                   rate_limit: none, process_time: false }"
            }
            Self::Full => "{ security: owasp, rate_limit: both, process_time: true }",
        }
    }
}

/// Where a measured gateway listens and forwards to.
pub struct Places<'a> {
    pub listen: &'a str,
    pub admin: &'a str,
    pub upstream: &'a str,
    pub database: &'a str,
}

/// Token, resource, scope, limits by address and by user, breaker: all on, and wide enough never to refuse.
pub fn whole_policy(headers: Headers, places: &Places<'_>) -> String {
    let Places {
        listen,
        admin,
        upstream,
        database,
    } = places;
    format!(
        r#"
version: 1
server:
  listeners: [{{ address: {listen} }}]
  admin: {admin}
  threads: 1
  headers: {}
  access_log: none
storage: {{ database: "sqlite://{database}" }}
auth:
  issuer: {ISSUER}
  signing: {{ algorithm: HS256, secret: {SECRET} }}
  access_token: {{ lifetime: 1h }}
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read] }}
upstreams:
  hotel:
    endpoints: [{upstream}]
    circuit_breaker: {{ failure_rate: {{ percent: 50, window: 10s, minimum_requests: 20 }} }}
rate_limits:
  per_ip: {{ key: ip, limit: 1000000000/1m }}
  per_user: {{ key: user, limit: 1000000000/1m }}
routes:
  - name: hotel
    match: {{ path: /hotel-db/**, methods: [GET] }}
    upstream: hotel
    auth: {{ resource: hotel, scopes: {{ all: [hotel:read] }} }}
    rate_limits: [per_ip, per_user]
    forward: {{ user: X-User-Id, roles: null, scopes: null }}
"#,
        headers.settings()
    )
}

/// `count` routes from `/r0/**` on, each with the whole policy. Written tightly: the loader takes files up to 1 MiB.
pub fn many_routes(count: usize) -> String {
    let mut text = format!(
        r#"
version: 1
server: {{ access_log: none }}
storage: {{ database: "sqlite://unused.db" }}
auth:
  issuer: {ISSUER}
  signing: {{ algorithm: HS256, secret: {SECRET} }}
  access_token: {{ lifetime: 1h }}
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read] }}
upstreams: {{ h: {{ endpoints: [127.0.0.1:3] }} }}
rate_limits: {{ i: {{ key: ip, limit: 1000000000/1m }}, u: {{ key: user, limit: 1000000000/1m }} }}
routes:
"#
    );
    for route in 0..count {
        let policy = "upstream: h,auth: {resource: hotel},rate_limits: [i,u]";
        writeln!(
            text,
            "- {{name: r{route},match: {{path: /r{route}/**}},{policy}}}"
        )
        .expect("a string takes whatever is written");
    }
    text
}

/// A key that signs as the measured gateway's own auth service would.
pub fn signing_key() -> anyhow::Result<SigningKey> {
    Ok(SigningKey::from_secret(&SecretString::from(SECRET))?)
}

/// The token of the `user`th caller, valid for an hour from `now`.
pub fn token(key: &SigningKey, user: usize, now: Duration) -> Result<String, SignError> {
    key.sign(&AccessClaims {
        iss: ISSUER.to_owned(),
        sub: format!("01998f3c-0000-7000-8000-{user:012}"),
        aud: String::from("hotel"),
        resource: String::from("hotel"),
        exp: now.as_secs() + 3600,
        iat: now.as_secs(),
        jti: format!("{user:032x}"),
        client_id: String::from("portcullis"),
        scope: String::from("hotel:read"),
        roles: vec![String::from("guest")],
        sid: format!("01998f3c-0000-7000-9000-{user:012}"),
        ver: 1,
        tenant: None,
    })
}
