//! Who is calling and how a caller gets a token, wired: the signing keys, the verifier, the revocations it follows, and
//! the embedded auth service behind its socket.

use std::{path::Path, sync::Arc, thread};

use anyhow::Context;
use portcullis_audit::Desk;
use portcullis_auth::{AuthParts, AuthService, Elsewhere, SigningKeys, password::Hasher};
use portcullis_config::{
    Config,
    auth::{Auth, SessionStore},
    storage::RootKeyBytes,
};
use portcullis_outbound::{
    issuer_keys::KeyKeeper, mail::Post, providers::Providers, revocation_feeds::FeedKeeper,
};
use portcullis_store::{RedisSessions, RevocationNews, Sessions, SessionsInRedis, Store};
use portcullis_tokens::{RefreshKey, Revocations, Verifier, WrappingKey};
use prometheus::Registry;
use tempfile::TempDir;

use crate::{
    auth_socket::AuthSocket,
    breaker_handle::BreakerHandle,
    clock,
    feeds::{self, FIRST_READINGS, FeedAge},
    housekeeping::keep_house,
    issuer_keys::{self, KeyAges},
    keys,
    revocation_feed::RevocationFeed,
    root_key::root_key,
    verification::{Kept, verifier},
};

/// What authenticator apps share with us is wrapped for this purpose.
const SECOND_FACTOR: &str = "second-factor";
/// What is derived for the places where pages go on.
const CURSORS: &str = "cursors";

pub(crate) struct Identity {
    /// One for every verifier of this run: what was revoked stays so.
    revocations: Arc<Revocations>,
    own: Option<Own>,
    /// Of all issuers elsewhere, over all reloads.
    keeper: Arc<KeyKeeper>,
    /// Of those among them that are gateways, likewise.
    feeds: Arc<FeedKeeper>,
}

/// What only a gateway with an `auth` section has.
struct Own {
    settings: Auth,
    store: Store,
    sessions: Sessions,
    news: RevocationNews,
    refresh_key: Arc<RefreshKey>,
    signing: Arc<SigningKeys>,
    second_factor_key: Arc<WrappingKey>,
    revocations: Arc<Revocations>,
    root: RootKeyBytes,
}

impl Identity {
    /// Reads or makes the keys and reads all revocations, so that the first request is judged as the last before it was.
    pub(crate) async fn establish(
        config: &Config,
        store: Option<&Store>,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        let revocations = Arc::new(Revocations::new());
        let own = match store {
            Some(store) => Own::establish(config, store, &revocations, registry).await?,
            None => None,
        };
        Ok(Self {
            revocations,
            own,
            keeper: Arc::new(issuer_keys::keeper()),
            feeds: Arc::new(feeds::keeper()),
        })
    }

    /// The verifier for a configuration, at the start and at each reload. Our own keys and all revocations are those of
    /// this run; what the configuration says of other issuers is read anew.
    pub(crate) fn verifier(&self, config: &Config) -> anyhow::Result<Arc<Verifier>> {
        let own = self.own.as_ref().map(|own| own.signing.verifying());
        let revocations = Arc::clone(&self.revocations);
        let kept = Kept {
            keys: &self.keeper,
            feeds: &self.feeds,
        };
        verifier(config, own, Some(kept), revocations).map(Arc::new)
    }

    /// Waits for the first readings of what other gateways revoked, so that no token is admitted in between that was
    /// refused before a restart.
    pub(crate) async fn catch_up(&self) {
        self.feeds.attempted(FIRST_READINGS).await;
    }

    /// Starts the auth service, if there is one. Must be called inside the runtime.
    pub(crate) fn start_auth_service(
        &self,
        verifier: &Arc<Verifier>,
        desk: &Arc<Desk>,
        registry: &Registry,
        breakers: &Arc<BreakerHandle>,
    ) -> anyhow::Result<Option<AuthDoor>> {
        let Some(own) = &self.own else {
            return Ok(None);
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let service = AuthService::new(AuthParts {
            config: own.settings.clone(),
            store: own.store.clone(),
            sessions: own.sessions.clone(),
            refresh_key: Arc::clone(&own.refresh_key),
            signer: Arc::clone(&own.signing),
            hasher: Arc::new(Hasher::start(&own.settings.password, cores)?),
            desk: Arc::clone(desk),
            clock: Arc::new(clock::wall),
            registry,
            verifier: Arc::clone(verifier),
            revocations: Arc::clone(&own.revocations),
            news: own.news.clone(),
            second_factor_key: Arc::clone(&own.second_factor_key),
            cursor_key: WrappingKey::derive(&own.root, CURSORS),
            breakers: Arc::clone(breakers) as _,
            elsewhere: self.elsewhere(own)?,
            post: post(&own.settings)?,
        })?;
        let (service, socket) = (Arc::new(service), AuthSocket::bind()?);
        let path = socket.path().to_owned();
        Ok(Some(AuthDoor {
            path,
            service: Arc::clone(&service),
            _folder: socket.serve(service.router()),
        }))
    }

    /// The identity providers, whose keys are kept as those of other issuers.
    fn elsewhere(&self, own: &Own) -> anyhow::Result<Elsewhere> {
        let Auth {
            providers, issuer, ..
        } = &own.settings;
        let providers = Providers::new(providers, issuer, &self.keeper);
        Ok(Elsewhere {
            providers: providers.context("auth.providers cannot be used")?,
            key: WrappingKey::derive(&own.root, "sign-ins elsewhere"),
        })
    }

    /// For whoever shows how other issuers' keys stand.
    pub(crate) fn keeper(&self) -> Arc<KeyKeeper> {
        Arc::clone(&self.keeper)
    }

    /// What brings the ages of other issuers' keys up to date before they are read.
    pub(crate) fn key_ages(&self, registry: &Registry) -> anyhow::Result<KeyAges> {
        Ok(KeyAges::register(registry, Arc::clone(&self.keeper))?)
    }

    /// What brings the age of the revocations up to date before it is read.
    pub(crate) fn feed_age(&self, registry: &Registry) -> anyhow::Result<FeedAge> {
        let own = self.own.as_ref().map(|own| Arc::clone(&own.revocations));
        Ok(FeedAge::register(registry, own, Arc::clone(&self.feeds))?)
    }
}

impl Own {
    /// `None` without an `auth` section.
    async fn establish(
        config: &Config,
        store: &Store,
        revocations: &Arc<Revocations>,
        registry: &Registry,
    ) -> anyhow::Result<Option<Self>> {
        let Some(auth) = &config.auth else {
            return Ok(None);
        };
        let root = root_key(&config.storage)?;
        let signing = Arc::new(keys::signing_keys(auth, store, &root).await?);
        let feed = RevocationFeed::new(store.clone(), Arc::clone(revocations), registry)?;
        tokio::spawn(keys::follow(Arc::clone(&signing), feed.key_revoked()));
        let feed = feed.read().await.context("cannot read the revocations")?;
        let news = store.revocation_news();
        tokio::spawn(feed.follow(news.clone()));
        let sessions = sessions(config, auth, store).await?;
        let house = keep_house(store.clone(), sessions.clone(), Arc::clone(revocations));
        tokio::spawn(house);
        Ok(Some(Self {
            settings: auth.clone(),
            store: store.clone(),
            sessions,
            news,
            refresh_key: Arc::new(RefreshKey::derive(&root)),
            signing,
            second_factor_key: Arc::new(WrappingKey::derive(&root, SECOND_FACTOR)),
            revocations: Arc::clone(revocations),
            root,
        }))
    }
}

/// Where the configuration keeps sessions.
pub(crate) async fn sessions(
    config: &Config,
    auth: &Auth,
    store: &Store,
) -> anyhow::Result<Sessions> {
    let store = store.clone();
    if auth.sessions == SessionStore::Database {
        return Ok(Sessions::Database(store));
    }
    let redis = config.storage.redis.as_ref();
    let redis = redis.context("the loader lets sessions into Redis only where there is one")?;
    let opened = RedisSessions::open(redis).await;
    let redis = opened.context("cannot keep sessions")?;
    Ok(Sessions::Redis(SessionsInRedis { store, redis }))
}

fn post(settings: &Auth) -> anyhow::Result<Option<Post>> {
    let post = settings.mail.as_ref().map(Post::to_server);
    post.transpose().context("auth.mail cannot be used")
}

/// Where `builtin:auth` is reached. The socket's folder goes when this is dropped.
pub(crate) struct AuthDoor {
    path: std::path::PathBuf,
    service: Arc<AuthService>,
    _folder: TempDir,
}

impl AuthDoor {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn service(&self) -> Arc<AuthService> {
        Arc::clone(&self.service)
    }
}
