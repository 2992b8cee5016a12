//! A gateway whose tokens the test can sign, and the table that the suites on tokens fill in. Nothing of a refused token may
//! reach the upstream, and a refusal keeps the connection: each table is sent over a single one.

use portcullis_harness::{
    client::{Response, Socket},
    gateway::Gateway,
    jose::{Compact, Es256, Hs256, Signer},
    upstream::Upstream,
    wait::{self, SOON},
};
use serde_json::{Value, json};

use crate::stage::{self, PASSWORD, now};

pub(crate) const OUR_SECRET: &str = "the secret of our own tokens, 32+";

/// A gateway whose own tokens the test can sign as well, and which takes those of `corp` by its public key.
pub(crate) struct Stage {
    pub(crate) gateway: Gateway,
    pub(crate) upstream: Upstream,
    pub(crate) corp: Es256,
    /// A good token of our own.
    pub(crate) good: Compact,
}

impl Stage {
    pub(crate) fn build() -> Self {
        let (upstream, corp) = (Upstream::start().unwrap(), Es256::generate().unwrap());
        let (address, pem) = (upstream.address(), corp.public_pem());
        let gateway = stage::start(|places| {
            std::fs::write(places.directory.join("corp.pem"), &pem).unwrap();
            let server = stage::server(places, "");
            format!(
                "{server}{}",
                CONFIGURATION
                    .replace("UPSTREAM", &address.to_string())
                    .replace("SECRET", OUR_SECRET)
            )
        });
        stage::add_user(gateway.house(), "alice", "guest");
        let good = gateway.client().log_in("alice", PASSWORD, "hotel").unwrap();
        Self {
            gateway,
            upstream,
            corp,
            good: Compact::parse(&good).unwrap(),
        }
    }

    /// Our own header and claims, changed, and validly signed with our own key.
    pub(crate) fn forge(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let (mut header, mut claims) = (
            self.good.header_json().unwrap(),
            self.good.claims().unwrap(),
        );
        change(&mut header, &mut claims);
        Hs256(OUR_SECRET.into())
            .sign(&header, &claims)
            .unwrap()
            .to_string()
    }

    pub(crate) fn forge_claim(&self, name: &str, value: Value) -> String {
        self.forge(|_, claims| claims[name] = value)
    }

    pub(crate) fn forge_text(&self, header: &str, payload: &str) -> String {
        Hs256(OUR_SECRET.into())
            .sign_bytes(header.as_bytes(), payload.as_bytes())
            .unwrap()
            .to_string()
    }

    pub(crate) fn corp_token(&self) -> Compact {
        self.corp
            .sign(&json!({ "alg": "ES256", "typ": "at+jwt" }), &corp_claims())
            .unwrap()
    }

    pub(crate) fn table(&self) -> Table<'_> {
        self.upstream.take_received();
        Table {
            stage: self,
            socket: Socket::connect(self.gateway.address()).unwrap(),
            wrong: Vec::new(),
        }
    }
}

const CONFIGURATION: &str = r#"
storage: { database: "sqlite://data/portcullis.db" }
auth:
  signing: { algorithm: HS256, secret: "SECRET" }
  default_resource: hotel
  resources: { hotel: { scopes: [hotel:read, hotel:write] }, event: { scopes: [event:read] } }
  roles: { guest: [hotel:read, event:read], admin: ["*"] }
issuers:
  - name: corp
    issuer: https://corp.example
    audiences: [hotel]
    public_key_file: corp.pem
    algorithms: [ES256]
upstreams:
  hotel: { endpoints: [UPSTREAM] }
routes:
  - { name: hotel, match: { path: /hotel/** }, upstream: hotel, auth: { resource: hotel, scopes: { all: [hotel:read] } } }
  - { name: auth, match: { path: /v1/** }, upstream: builtin:auth, auth: public }
"#;

pub(crate) fn corp_claims() -> Value {
    json!({ "iss": "https://corp.example", "sub": "bob", "aud": "hotel", "iat": now(), "exp": now() + 600, "scope": "hotel:read" })
}

/// Rows that are sent one after the other over one connection.
pub(crate) struct Table<'a> {
    stage: &'a Stage,
    socket: Socket,
    wrong: Vec<String>,
}

impl Table<'_> {
    /// These lines of an Authorization header, and what is answered: a status and the code of the problem.
    pub(crate) fn row(&mut self, name: &str, lines: &str, wanted: &[(u16, &str)]) {
        let (answer, took) = wait::timed(|| self.ask(lines));
        let seen = self.stage.upstream.take_received().len();
        let answer = match answer {
            Ok(answer) => answer,
            Err(ending) => return self.fail(name, &ending),
        };
        let (status, code) = (answer.status, answer.code());
        if !wanted.contains(&(status, code.as_str())) {
            self.fail(name, &format!("{status} {code}"));
        }
        let expected = usize::from(status == 200);
        if seen != expected {
            self.fail(name, &format!("the upstream saw {seen} requests"));
        }
        if took > SOON {
            self.fail(name, &format!("it took {took:?}"));
        }
        if let Some(complaint) = complaint(&answer) {
            self.fail(name, &complaint);
        }
    }

    fn ask(&mut self, lines: &str) -> Result<Response, String> {
        self.socket.send(format!(
            "GET /hotel/x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"
        ));
        self.socket.response().map_err(|ending| ending.to_string())
    }

    pub(crate) fn bearer(&mut self, name: &str, token: &str, wanted: &[(u16, &str)]) {
        self.row(name, &format!("Authorization: Bearer {token}\r\n"), wanted);
    }

    pub(crate) fn refuses(&mut self, name: &str, token: &str) {
        self.bearer(name, token, INVALID);
    }

    pub(crate) fn accepts(&mut self, name: &str, token: &str) {
        self.bearer(name, token, PASSED);
    }

    fn fail(&mut self, name: &str, what: &str) {
        self.wrong.push(format!("{name}: {what}"));
        self.socket = Socket::connect(self.stage.gateway.address()).unwrap();
    }

    pub(crate) fn end(mut self) {
        let good = self.stage.good.to_string();
        self.accepts("a good token at the end", &good);
        assert!(self.wrong.is_empty(), "\n{}", self.wrong.join("\n"));
    }
}

pub(crate) const INVALID: &[(u16, &str)] = &[(401, "invalid-token")];
pub(crate) const ABSENT: &[(u16, &str)] = &[(401, "authentication-required")];
pub(crate) const MALFORMED: &[(u16, &str)] = &[(400, "malformed-request")];
pub(crate) const PASSED: &[(u16, &str)] = &[(200, "")];

/// Every 401 says which scheme is wanted, and whether there was a token at all.
fn complaint(answer: &Response) -> Option<String> {
    let wanted = match answer.code().as_str() {
        "authentication-required" => r#"Bearer realm="portcullis""#,
        "invalid-token" => r#"Bearer realm="portcullis", error="invalid_token""#,
        _ => return None,
    };
    let challenge = answer.field("www-authenticate");
    (challenge != Some(wanted)).then(|| format!("the challenge is {challenge:?}"))
}
