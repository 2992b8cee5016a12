//! What all endpoints share. Made once; a change of the file that concerns it makes a new one.

use std::{sync::Arc, time::Duration};

use portcullis_audit::{Action, Desk, Event, Outcome, Party};
use portcullis_config::{auth::Auth, units::Timestamp};
use portcullis_outbound::mail::Post;
use portcullis_policy::breaker::BreakerSwitch;
use portcullis_store::{Client, RevocationNews, RightsChange, Sessions, Store, StoreError, User};
use portcullis_tokens::{
    ClientAssertions, LOCAL_CLOCK_SKEW, RefreshKey, Revocation, Revocations, Verifier, WrappingKey,
};

use crate::{
    answer::{self, Refusal},
    client_authentication::audiences,
    cookie::Cookies,
    courier::{Courier, Satchel},
    elsewhere::Elsewhere,
    issue::party_of,
    letters::Links,
    log_watch::LogWatch,
    mail_throttle::MailThrottle,
    metrics::Metrics,
    password::Hasher,
    request::Call,
    signing_keys::SigningKeys,
    throttle::Throttle,
};

pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the binary hands in.
pub struct AuthParts<'a> {
    pub config: Auth,
    pub store: Store,
    pub sessions: Sessions,
    pub refresh_key: Arc<RefreshKey>,
    pub signer: Arc<SigningKeys>,
    pub hasher: Arc<Hasher>,
    pub desk: Arc<Desk>,
    pub clock: Clock,
    pub registry: &'a prometheus::Registry,
    pub verifier: Arc<Verifier>,
    /// So that a user disabled here is refused here in the very next request.
    pub revocations: Arc<Revocations>,
    /// Of what others revoke.
    pub news: RevocationNews,
    /// Wraps what authenticator apps share with us.
    pub second_factor_key: Arc<WrappingKey>,
    /// Seals where the next page begins.
    pub cursor_key: WrappingKey,
    /// Whose they are is not known here.
    pub breakers: Arc<dyn BreakerSwitch>,
    /// Where people may sign in instead.
    pub elsewhere: Elsewhere,
    /// Absent where no mail is sent.
    pub post: Option<Post>,
}

/// Whom tokens are made out to.
pub(crate) trait TokenHolder {
    /// All of its tokens with a lower version than it has.
    fn outdated(&self) -> Revocation;
}

impl TokenHolder for User {
    fn outdated(&self) -> Revocation {
        outdated(&self.id, self.version)
    }
}

/// In the log an id is an id, whoever has it.
impl TokenHolder for Client {
    fn outdated(&self) -> Revocation {
        outdated(&self.id, self.version)
    }
}

fn outdated(id: &str, version: u64) -> Revocation {
    Revocation::UserBefore {
        user_id: id.to_owned(),
        version,
    }
}

pub struct AuthService {
    pub(crate) config: Auth,
    pub(crate) store: Store,
    pub(crate) sessions: Sessions,
    pub(crate) refresh_key: Arc<RefreshKey>,
    /// Where refresh tokens travel as cookies.
    pub(crate) cookies: Option<Cookies>,
    pub(crate) signer: Arc<SigningKeys>,
    pub(crate) hasher: Arc<Hasher>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) second_factor_key: Arc<WrappingKey>,
    pub(crate) cursor_key: WrappingKey,
    pub(crate) breakers: Arc<dyn BreakerSwitch>,
    pub(crate) elsewhere: Elsewhere,
    pub(crate) throttle: Throttle,
    pub(crate) assertions: ClientAssertions,
    pub(crate) mail_throttle: MailThrottle,
    pub(crate) courier: Option<Courier>,
    pub(crate) metrics: Metrics,
    pub(crate) log_watch: LogWatch,
    clock: Clock,
}

impl AuthService {
    /// Must be called inside the runtime.
    pub fn new(parts: AuthParts<'_>) -> Result<Self, prometheus::Error> {
        let courier = courier(&parts);
        let metrics = Metrics::register(parts.registry, &parts.hasher)?;
        Ok(Self {
            assertions: ClientAssertions::new(audiences(&parts.config.issuer)),
            cookies: Cookies::new(&parts.config),
            throttle: Throttle::new(parts.config.throttle),
            mail_throttle: MailThrottle::new(parts.config.throttle.address),
            courier,
            config: parts.config,
            store: parts.store,
            sessions: parts.sessions,
            refresh_key: parts.refresh_key,
            signer: parts.signer,
            hasher: parts.hasher,
            desk: parts.desk,
            verifier: parts.verifier,
            revocations: parts.revocations,
            second_factor_key: parts.second_factor_key,
            cursor_key: parts.cursor_key,
            breakers: parts.breakers,
            elsewhere: parts.elsewhere,
            metrics,
            log_watch: LogWatch::new(parts.news),
            clock: parts.clock,
        })
    }

    /// Answers all who wait for news. For a stop, which they would hold up.
    pub fn end_waits(&self) {
        self.log_watch.stop();
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(crate) fn event(
        &self,
        call: &Call,
        action: Action,
        outcome: Outcome,
        actor: Party,
    ) -> Event {
        Event::new(self.now(), action, outcome, actor)
            .from_address(call.address)
            .in_request(&*call.request_id)
    }

    /// Of what users do with their own.
    pub(crate) fn own_event(&self, action: Action, user: &User, call: &Call) -> Event {
        let party = party_of(user);
        self.event(call, action, Outcome::Success, party.clone())
            .on(party)
    }

    /// Refuses the tokens from before the last change of whom they are of, here and at once. The log, which was committed,
    /// brings it to everybody else.
    pub(crate) fn outdate(&self, changed: &impl TokenHolder, until: Timestamp) {
        self.revocations.revoke(changed.outdated(), until);
    }

    /// Carries out a change of what a path names, and refuses the tokens from before.
    pub(crate) async fn outdating<T: TokenHolder>(
        &self,
        until: Timestamp,
        change: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Refusal> {
        let changed = change.await.map_err(answer::of_change)?;
        self.outdate(&changed, until);
        Ok(changed)
    }

    pub(crate) fn rights_change<'a>(&'a self, event: &'a Event) -> RightsChange<'a> {
        RightsChange {
            event,
            file: &self.config.roles,
            until: self.last_expiry(),
        }
    }

    /// When no access token that exists now can still be valid.
    pub(crate) fn last_expiry(&self) -> Timestamp {
        let longest: Duration = self
            .config
            .access_token_lifetime
            .saturating_add(LOCAL_CLOCK_SKEW);
        self.now().plus(longest)
    }
}

/// Only where there is a post, and what to write.
fn courier(parts: &AuthParts<'_>) -> Option<Courier> {
    let (post, mail) = parts.post.as_ref().zip(parts.config.mail.as_ref())?;
    let satchel = Satchel {
        store: parts.store.clone(),
        desk: Arc::clone(&parts.desk),
        clock: Arc::clone(&parts.clock),
        post: post.clone(),
        links: Links::of(mail),
    };
    Some(satchel.start())
}
