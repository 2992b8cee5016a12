//! The service as the gateway sees it: whole requests into the router, a real SQLite database, a clock set by hand.

mod accounts;
mod admin_names;
mod admin_objects;
mod administration;
mod audit;
mod breakers;
mod clients;
mod described;
mod equal_work;
mod every_field;
mod hostile;
mod imports;
mod keys;
mod login;
mod mail;
mod misused;
mod oauth;
mod oauth_refresh;
mod pages;
mod password_change;
mod providers;
mod published;
mod races;
mod refresh;
mod refresh_cookie;
mod second_factor;
mod sign_out;
mod signing_clients;
mod throttling;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use http_body_util::BodyExt;
use portcullis_audit::{Action, Desk, Event, Outcome, Party};
use portcullis_config::{
    auth::{
        Auth, HashCost, PasswordRules, Registration, Resource, RoleScopes, SessionStore, Signing,
        Throttle,
    },
    issuers::{Algorithm, ClaimNames, Issuer, KeySource, TokenType},
    refresh_tokens::{RefreshTokens, Transport},
    storage::{Database, RootKeyBytes},
    units::{ByteSize, Rate, Timestamp},
};
use portcullis_outbound::{issuer_keys::KeyKeeper, providers::Providers};
use portcullis_store::{AuditFilter, AuditRow, OpenMode, Sessions, Store, User};
use portcullis_tokens::{
    IssuerKeys, IssuerSpec, KeySet, RefreshKey, Revocations, SigningAlgorithm, Verifier,
    VerifierParts, WrappingKey, rotation::Rotation,
};
use prometheus::Registry;
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tower::ServiceExt;

use crate::{
    AuthParts, AuthService, Elsewhere, KeptKeys, NewAccount, SigningKeys, Strength, create_user,
    identifiers::{Email, Username},
    password::{Hasher, Password},
};

pub(crate) const ISSUER: &str = "http://localhost:8080";
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The resources and roles of the shipped file, with the cheapest hash there is.
pub(crate) fn auth_config() -> Auth {
    let rate = |count: u64, secs| Rate {
        count: count.try_into().unwrap(),
        period: Duration::from_secs(secs),
    };
    let resource = |scopes: [&str; 2], max_token_lifetime| Resource {
        scopes: scopes.map(str::to_owned).to_vec(),
        max_token_lifetime,
    };
    let scopes =
        |scopes: &[&str]| RoleScopes::These(scopes.iter().map(|s| (*s).to_owned()).collect());
    Auth {
        issuer: ISSUER.to_owned(),
        signing: Signing::Es256,
        rotate_every: Duration::from_secs(30 * 86_400),
        access_token_lifetime: Duration::from_secs(300),
        refresh_tokens: RefreshTokens {
            idle: Duration::from_secs(7 * 24 * 3600),
            absolute: Duration::from_secs(30 * 24 * 3600),
            grace: Duration::from_secs(10),
            transport: Transport::Body,
            origins: Vec::new(),
        },
        registration: Registration::Admin,
        default_resource: Some("hotel".to_owned()),
        password: PasswordRules {
            min_length: 12,
            min_score: 3,
            breached: None,
            hash: HashCost {
                memory: ByteSize(64 * 1024),
                iterations: 1,
                parallelism: 1,
            },
            hashing_memory: ByteSize(64 * 1024),
        },
        throttle: Throttle {
            address: rate(30, 60),
            account: rate(10, 900),
        },
        sessions: SessionStore::Database,
        mail: None,
        resources: BTreeMap::from([
            (
                "hotel".to_owned(),
                resource(["hotel:read", "hotel:write"], None),
            ),
            (
                "event".to_owned(),
                resource(["event:read", "event:write"], None),
            ),
            (
                "hospital".to_owned(),
                resource(
                    ["hospital:read", "hospital:write"],
                    Some(Duration::from_secs(120)),
                ),
            ),
        ]),
        roles: BTreeMap::from([
            ("guest".to_owned(), scopes(&["hotel:read", "event:read"])),
            (
                "staff".to_owned(),
                scopes(&["hotel:read", "hotel:write", "event:read", "event:write"]),
            ),
            ("clerk".to_owned(), scopes(&["users:read"])),
            ("admin".to_owned(), RoleScopes::All),
        ]),
        default_role: Some("guest".to_owned()),
        providers: Vec::new(),
    }
}

/// A running auth service with its database.
pub(crate) struct House {
    pub(crate) service: Arc<AuthService>,
    pub(crate) registry: Registry,
    /// What was handed to the post.
    pub(crate) letters: mail::Letters,
    router: Router,
    clock: Arc<AtomicU64>,
    _directory: TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::open_with(|_| ()).await
    }

    pub(crate) async fn open_with(change: impl FnOnce(&mut Auth)) -> Self {
        let in_database = |store: &Store| Sessions::Database(store.clone());
        Self::open_on(None, in_database, NOW, change).await
    }

    /// On SQLite, or on the database that is given; with its sessions wherever they are kept beside it.
    async fn open_on(
        database: Option<Database>,
        sessions: impl FnOnce(&Store) -> Sessions,
        now: Timestamp,
        change: impl FnOnce(&mut Auth),
    ) -> Self {
        let mut config = auth_config();
        change(&mut config);
        let directory = tempfile::tempdir().unwrap();
        let on_file = || Database::Sqlite(directory.path().join("auth.db"));
        let database = database.unwrap_or_else(on_file);
        let store = Store::open(&database, OpenMode::Serve, "test")
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let rotation = Rotation {
            every: config.rotate_every,
            algorithm: SigningAlgorithm::Es256,
            token_lifetime: config.access_token_lifetime,
            since: now,
        };
        let kept = KeptKeys::new(store.clone(), &RootKeyBytes::new([7; 32]), rotation);
        let signer = Arc::new(SigningKeys::open(kept, now).await.unwrap());
        let revocations = Arc::new(Revocations::new());
        let clock = Arc::new(AtomicU64::new(now.as_millis()));
        let registry = Registry::new();
        let letters = mail::Letters::default();
        let providers = config.providers.clone();
        let keeper = KeyKeeper::new(Handle::current(), Box::new(|| 0.5));
        let parts = AuthParts {
            hasher: Arc::new(Hasher::start(&config.password, 1).unwrap()),
            verifier: Arc::new(verifier(&config, signer.verifying(), &revocations)),
            config,
            sessions: sessions(&store),
            news: store.revocation_news(),
            refresh_key: Arc::new(RefreshKey::derive(&RootKeyBytes::new([7; 32]))),
            store,
            signer,
            desk: Arc::new(Desk::default()),
            clock: Arc::new({
                let clock = Arc::clone(&clock);
                move || Timestamp::from_millis(clock.load(Ordering::Relaxed))
            }),
            registry: &registry,
            revocations,
            second_factor_key: Arc::new(WrappingKey::derive(
                &RootKeyBytes::new([7; 32]),
                "second-factor",
            )),
            cursor_key: WrappingKey::derive(&RootKeyBytes::new([7; 32]), "cursors"),
            breakers: Arc::new(breakers::Scripted::default()),
            elsewhere: Elsewhere {
                providers: Providers::new(&providers, ISSUER, &keeper).unwrap(),
                key: WrappingKey::derive(&RootKeyBytes::new([7; 32]), "sign-ins elsewhere"),
            },
            post: Some(mail::post(&letters)),
        };
        let service = Arc::new(AuthService::new(parts).unwrap());
        Self {
            router: Arc::clone(&service).router(),
            service,
            registry,
            letters,
            clock,
            _directory: directory,
        }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock
            .fetch_add(by.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }

    pub(crate) fn set_back(&self, by: Duration) {
        self.clock
            .fetch_sub(by.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }

    /// `saad`, the guest of the demo, and `admin`.
    pub(crate) async fn with_demo_users(self) -> Self {
        self.add_user("saad", "1234", "guest").await;
        self.add_user("admin", "admin", "admin").await;
        self
    }

    /// A name with an `@` becomes an e-mail address.
    pub(crate) async fn add_user(&self, name: &str, password: &str, role: &str) -> User {
        let is_address = name.contains('@');
        let account = NewAccount {
            username: (!is_address).then(|| Username::parse(name).unwrap()),
            email: is_address.then(|| Email::parse(name).unwrap()),
            password: Password::parse(password).unwrap(),
            roles: &[role],
            tenant: None,
            strength: Strength::Unchecked,
        };
        let event = Event::new(
            NOW,
            Action::UserCreated,
            Outcome::Success,
            Party::operator("test"),
        );
        create_user(&self.service.store, &self.service.hasher, account, event)
            .await
            .unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            text,
        }
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.send(request(Method::GET, path, token, Body::empty()))
            .await
    }

    pub(crate) async fn post(&self, path: &str, token: Option<&str>, body: Value) -> Answer {
        self.send(request(
            Method::POST,
            path,
            token,
            Body::from(body.to_string()),
        ))
        .await
    }

    pub(crate) async fn log_in(&self, body: Value) -> Answer {
        self.post("/v1/auth/login", None, body).await
    }

    pub(crate) async fn token(&self, username: &str, password: &str, resource: &str) -> String {
        let answer = self
            .log_in(json!({ "username": username, "password": password, "resource": resource }))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// What the log has by now, the events that wait at the desk included.
    pub(crate) async fn audit(&self) -> Vec<AuditRow> {
        let events = self.service.desk.take(1000, self.service.now());
        self.service.store.append_events(&events).await.unwrap();
        let filter = AuditFilter {
            limit: 1000,
            ..AuditFilter::default()
        };
        self.service.store.audit_rows(&filter).await.unwrap()
    }

    pub(crate) async fn audit_of(&self, action: Action) -> Vec<AuditRow> {
        self.audit()
            .await
            .into_iter()
            .filter(|row| row.action == action.as_str())
            .collect()
    }
}

fn verifier(config: &Auth, keys: Arc<IssuerKeys>, revocations: &Arc<Revocations>) -> Verifier {
    let resources = config.resources.keys().cloned();
    let lifetime = config.access_token_lifetime;
    let corp = corp();
    let their_keys =
        KeySet::from_secret(&SecretString::from(CORP_SECRET), &corp.algorithms).unwrap();
    Verifier::new(VerifierParts {
        issuers: vec![
            IssuerSpec::local(&config.issuer, resources, lifetime, keys),
            IssuerSpec::foreign(&corp, their_keys).unwrap(),
        ],
        cache_entries: 100,
        cache_bytes: 1 << 20,
        revocations: Arc::clone(revocations),
    })
    .unwrap()
}

pub(crate) const CORP: &str = "https://login.example.com";
pub(crate) const CORP_SECRET: &str = "a secret of thirty-two bytes, or so";

/// An issuer beside our own, for what its users may do here: nothing.
fn corp() -> Issuer {
    Issuer {
        name: "corp".to_owned(),
        issuer: CORP.to_owned(),
        audiences: vec!["hotel".to_owned()],
        keys: KeySource::Secret(SecretString::from(CORP_SECRET)),
        algorithms: vec![Algorithm::Hs256],
        types: vec![TokenType::Named("at+jwt".to_owned())],
        clock_skew: Duration::from_secs(5),
        max_token_lifetime: Duration::from_secs(3600),
        roles: BTreeMap::new(),
        claims: ClaimNames {
            resource: "aud".to_owned(),
            scopes: vec!["scope".to_owned()],
            roles: "roles".to_owned(),
            user: "sub".to_owned(),
            tenant: "tid".to_owned(),
        },
        token_cache: 10,
        revocations: None,
    }
}

/// A request as the gateway would pass it on.
pub(crate) fn request(
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Body,
) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-portcullis-client-address", "192.0.2.7")
        .header("x-request-id", "r-1");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(body).unwrap()
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// The problem's code, having checked that it is a whole problem.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(
            self.headers[header::CONTENT_TYPE],
            "application/problem+json",
            "{}",
            self.text
        );
        assert_eq!(self.headers[header::CACHE_CONTROL], "no-store");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["request_id"], "r-1");
        problem["code"].as_str().unwrap().to_owned()
    }
}
