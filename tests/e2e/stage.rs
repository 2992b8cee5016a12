//! What the suites share: gateways with the configurations they need, users, tokens of the test's own making, and the
//! audit log as the database has it.

use std::{
    net::SocketAddr,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use portcullis_config::storage::Database;
use portcullis_harness::{
    gateway::{Gateway, House, Places},
    jose::{Hs256, Signer},
    upstream::Upstream,
    wait::{self, PATIENCE},
};
use portcullis_store::{AuditFilter, AuditRow, OpenMode, Store};
use serde_json::{Value, json};

/// The binary under test, built by cargo beside this one.
const PORTCULLIS: &str = env!("CARGO_BIN_EXE_portcullis");

/// The secret that the tests share with the issuer `corp`, in place of an identity provider.
pub(crate) const CORP_SECRET: &str = "a secret that the tests share with the gateway";
/// Of users made by the tests. Long enough for the policy.
pub(crate) const PASSWORD: &str = "eleven blue lanterns at sea";

/// The shipped file, which `demo` runs as well.
pub(crate) const SHIPPED: &str = include_str!("../../gateway.yaml");

pub(crate) fn start(configuration: impl Fn(&Places) -> String) -> Gateway {
    Gateway::start(Path::new(PORTCULLIS), configuration).unwrap()
}

/// A directory with a configuration, for commands without a running gateway.
pub(crate) fn build(configuration: impl FnOnce(&Places) -> String) -> House {
    House::build(Path::new(PORTCULLIS), configuration).unwrap()
}

/// The demo with its database in `data`, where the shipped file beside it expects it.
pub(crate) fn demo() -> Gateway {
    let house = build(|_| SHIPPED.to_owned());
    let (port, admin) = (
        house.places().listener.port().to_string(),
        house.places().admin.port().to_string(),
    );
    let arguments = [
        "demo",
        "--port",
        &port,
        "--admin-port",
        &admin,
        "--data-dir",
        "data",
    ];
    let mut gateway = house.launch(&arguments).unwrap();
    gateway.wait_ready().unwrap();
    gateway
}

/// The section `server`, with more lines of it where a test needs them.
pub(crate) fn server(places: &Places, more: &str) -> String {
    let Places {
        listener, admin, ..
    } = places;
    let fixed = "threads: 2\n  access_log: { format: json, to: stdout }";
    format!(
        "version: 1\nserver:\n  listeners: [{{ address: {listener} }}]\n  admin: {admin}\n  {fixed}\n  {more}\n"
    )
}

/// The section `issuers` with `corp` alone: its tokens are made by [`corp_token`].
pub(crate) const CORP: &str = r#"
issuers:
  - name: corp
    issuer: https://corp.example
    audiences: [hotel, event]
    secret: "a secret that the tests share with the gateway"
    algorithms: [HS256]
    roles: { hotel-staff: staff }
"#;

/// A gateway without a database before one recording upstream: `/open/**` is public, `/admin/**` wants a token of
/// `corp` for the hotel with the scope `hotel:read`.
pub(crate) struct Stage {
    pub(crate) gateway: Gateway,
    pub(crate) upstream: Upstream,
}

impl Stage {
    pub(crate) fn build() -> Self {
        // No head may be given up because the machine is slow, and no connection be closed that a test says must be.
        Self::with_limits("header_timeout: 1h, idle_timeout: 1h")
    }

    /// `limits` are entries of `server.limits`.
    pub(crate) fn with_limits(limits: &str) -> Self {
        let upstream = Upstream::start().unwrap();
        let gateway = start(|places| stage(places, upstream.address(), limits));
        Self { gateway, upstream }
    }
}

fn stage(places: &Places, upstream: SocketAddr, limits: &str) -> String {
    let server = server(places, &format!("limits: {{ {limits} }}"));
    format!(
        "{server}{CORP}
upstreams:
  hotel:
    endpoints: [{upstream}]
    circuit_breaker: {{ consecutive_failures: 100000 }}
routes:
  - {{ name: open, match: {{ path: /open/** }}, upstream: hotel, auth: public }}
  - name: admin
    match: {{ path: /admin/** }}
    upstream: hotel
    auth: {{ resource: hotel, scopes: {{ all: [hotel:read] }} }}
"
    )
}

/// Seconds since the epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "tokens of a test are valid by the real clock"
)]
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// What a good token of `corp` says.
pub(crate) fn corp_claims(subject: &str) -> Value {
    json!({
        "iss": "https://corp.example",
        "sub": subject,
        "aud": "hotel",
        "iat": now(),
        "exp": now() + 600,
        "scope": "hotel:read",
    })
}

pub(crate) fn corp_token(claims: &Value) -> String {
    let signer = Hs256(CORP_SECRET.into());
    signer
        .sign(&json!({ "alg": "HS256", "typ": "at+jwt" }), claims)
        .unwrap()
        .to_string()
}

/// A user with [`PASSWORD`], made at the command line.
pub(crate) fn add_user(house: &House, name: &str, role: &str) {
    make_user(house, &[name, "--role", role], PASSWORD);
}

/// `arguments` are those of `user add`.
pub(crate) fn make_user(house: &House, arguments: &[&str], password: &str) {
    let arguments = [&["user", "add"], arguments].concat();
    let added = wait::until("a password that is hashed", PATIENCE, || {
        let added = house.command_with_input(&arguments, password).unwrap();
        let said = String::from_utf8_lossy(&added.stderr).into_owned();
        // A machine that is busy may come to it too late.
        (!said.contains("waiting to be hashed")).then_some((added.status, said))
    });
    let (status, said) = added.unwrap();
    assert!(status.success(), "{arguments:?}: {said}");
}

/// Reads the audit log until `enough` rows of this action satisfy the test, and returns them all.
pub(crate) fn audit_rows(
    database: &Database,
    action: &str,
    enough: impl Fn(&[AuditRow]) -> bool,
) -> Vec<AuditRow> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = runtime
        .block_on(Store::open(database, OpenMode::Tool, "test"))
        .unwrap();
    let filter = AuditFilter {
        action: Some(action.to_owned()),
        ..AuditFilter::default()
    };
    let mut last = Vec::new();
    let found = wait::until(&format!("enough rows of {action}"), PATIENCE, || {
        last = runtime.block_on(store.audit_rows(&filter)).unwrap();
        enough(&last).then(|| last.clone())
    });
    runtime.block_on(store.close());
    found.unwrap_or_else(|error| panic!("{error}; there are {last:#?}"))
}

/// The whole log, oldest first.
pub(crate) fn all_rows(database: &Database) -> Vec<AuditRow> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = runtime
        .block_on(Store::open(database, OpenMode::Tool, "test"))
        .unwrap();
    let (mut rows, mut filter) = (Vec::new(), AuditFilter::default());
    loop {
        let page = runtime.block_on(store.audit_rows(&filter)).unwrap();
        let Some(last) = page.last() else { break };
        filter.after = Some(last.cursor());
        rows.extend(page);
    }
    runtime.block_on(store.close());
    rows
}

/// The database of a gateway with the usual `storage` section.
pub(crate) fn sqlite(gateway: &Gateway) -> Database {
    Database::Sqlite(gateway.house().path("data/portcullis.db"))
}
