//! From a refresh token to the next pair: is it ours, does its session go on, what may its user have now, and only then is it spent.
//!
//! What may be refused for the user's sake is decided before the token is presented to the store, so that such a refusal costs
//! nobody a session. The access token is made before as well: its time is then never after an end that came in between, whose
//! revocation would otherwise be moot too early.

use std::{num::NonZeroU32, time::Duration};

use portcullis_audit::{Action, Outcome, Party, PartyKind};
use portcullis_config::units::{Rate, Timestamp};
use portcullis_policy::{limits::Refused, rejection::Rejection};
use portcullis_store::{Presented, Rotation, Session, User};
use portcullis_tokens::{RefreshToken, Revocation, ScopeSet};
use uuid::Uuid;

use crate::{
    answer::Refusal,
    entitlement::{ALL_SCOPES, Entitlement, NotEntitled, Wanted, entitle},
    issue::{Issued, Successor, party_of},
    request::Call,
    service::AuthService,
};

/// How often one spent token is answered within its grace. A page with more tabs than this can wait a second.
const REPEATS: NonZeroU32 = NonZeroU32::new(20).expect("20 is not 0");
/// By then the client should have the successor from whoever got it.
const REPEAT_AFTER: Duration = Duration::from_secs(1);
const A_SECOND: Duration = Duration::from_secs(1);
const LIMIT: &str = "refresh_repeats";

/// What a refresh may ask for beside going on.
#[derive(Default)]
pub(crate) struct Asked<'a> {
    /// The session's own where absent.
    pub(crate) resource: Option<&'a str>,
    pub(crate) scopes: Option<ScopeSet>,
}

/// Why there is no next pair. Only `Reused` has changed anything.
pub(crate) enum NotRefreshed {
    /// Not ours, unknown, ended, expired, of another client: not told apart.
    Invalid,
    /// The session was ended by this very call.
    Reused,
    TooManyRepeats,
    NotEntitled(NotEntitled),
    Failed(Refusal),
}

impl<T: Into<Refusal>> From<T> for NotRefreshed {
    fn from(failed: T) -> Self {
        Self::Failed(failed.into())
    }
}

/// A refresh token that nothing is wrong with, as far as can be told without spending it.
struct Use<'a> {
    generation: u64,
    session: &'a Session,
    user: &'a User,
    resource: &'a str,
    now: Timestamp,
}

impl AuthService {
    /// For a client that has proven to be the one named.
    pub(crate) async fn refresh(
        &self,
        token: &str,
        client: &str,
        asked: &Asked<'_>,
        call: &Call,
    ) -> Result<Issued, NotRefreshed> {
        let token = self
            .refresh_key
            .read(token)
            .map_err(|_not_ours| NotRefreshed::Invalid)?;
        let now = self.now();
        let (session, user) = self
            .session_of(token, now)
            .await?
            .filter(|(session, _)| session.client_id.as_deref() == Some(client))
            .ok_or(NotRefreshed::Invalid)?;
        let entitlement = self
            .entitle_again(&session, &user, asked)
            .map_err(|no| self.not_entitled(no, &user, call))?
            .ending_by(session.absolute_expires_at, now);
        // Tokens count in seconds, and one that is never good is none.
        if entitlement.lifetime < A_SECOND {
            return Err(NotRefreshed::Invalid);
        }
        let claims = self.claims(&user, &entitlement, &session.sid, now)?;
        let access_token = self.sign(&claims)?;
        let use_of = Use {
            generation: token.generation,
            session: &session,
            user: &user,
            resource: &entitlement.resource,
            now,
        };
        let successor = self.present(&use_of, call).await?;
        let successor = Successor {
            sid: &successor.sid,
            generation: successor.generation,
            expires_at: successor.idle_expires_at,
        };
        let issued = Issued::new(access_token, entitlement);
        Ok(self.with_refresh_token(issued, &successor, now)?)
    }

    /// The session that a token of ours is of, and its user, while both go on.
    pub(crate) async fn session_of(
        &self,
        token: RefreshToken,
        now: Timestamp,
    ) -> Result<Option<(Session, User)>, Refusal> {
        let sid = Uuid::from_bytes(token.session).to_string();
        let session = self.sessions.find(&sid).await?;
        let Some(session) = session.filter(|session| session.is_live(now)) else {
            return Ok(None);
        };
        let user = self.store.user(&session.user_id).await?;
        let user = user.filter(|user| user.keeps(&session));
        Ok(user.map(|user| (session, user)))
    }

    /// By the roles of this moment. A session that was opened for less than all scopes stays so.
    pub(crate) fn entitle_again(
        &self,
        session: &Session,
        user: &User,
        asked: &Asked<'_>,
    ) -> Result<Entitlement, NotEntitled> {
        let wanted = Wanted {
            resource: asked.resource.unwrap_or(&session.resource),
            scopes: asked.scopes.as_ref(),
            tenant: session.tenant.as_deref(),
        };
        if wanted.resource != session.resource || session.scopes == ALL_SCOPES {
            return entitle(&self.config, user, &wanted);
        }
        let granted = ScopeSet::parse(&session.scopes).map_err(|_invalid| NotEntitled::NoScope)?;
        let is_granted = |scope: &str| granted.contains(scope);
        if wanted
            .scopes
            .is_some_and(|asked| !asked.iter().all(is_granted))
        {
            return Err(NotEntitled::ScopeNotGranted);
        }
        let now = Wanted {
            scopes: None,
            ..wanted
        };
        let now = entitle(&self.config, user, &now)?;
        let left = now.scopes.iter().filter(|scope| is_granted(scope));
        let left = ScopeSet::from_words(left).map_err(|_invalid| NotEntitled::NoScope)?;
        if left.is_empty() {
            return Err(NotEntitled::NoScope);
        }
        let scopes = wanted.scopes.or(Some(&left));
        entitle(&self.config, user, &Wanted { scopes, ..wanted })
    }

    /// Spends the token, or finds that it was spent.
    async fn present(&self, use_of: &Use<'_>, call: &Call) -> Result<Session, NotRefreshed> {
        let Use {
            session, user, now, ..
        } = *use_of;
        let event = |action, outcome| {
            self.event(call, action, outcome, party_of(user))
                .on(Party::new(PartyKind::Session, &*session.sid))
                .for_resource(use_of.resource)
        };
        let rotated = event(Action::TokenRefreshed, Outcome::Success);
        let until = self.last_expiry();
        let rules = &self.config.refresh_tokens;
        let presented = Presented {
            sid: &session.sid,
            generation: use_of.generation,
            at: now,
            idle: rules.idle,
            grace: rules.grace,
            repeats: REPEATS.get(),
            repeated: &rotated.clone().because("repeated"),
            rotated: &rotated,
            reused: &event(Action::TokenReused, Outcome::Refused),
            revocation_until: until,
        };
        match self.sessions.rotate(&presented).await? {
            Rotation::Rotated(session) | Rotation::Repeated(session) => Ok(session),
            Rotation::Reused(session) => {
                let sid = session.sid;
                tracing::warn!(sid, "a spent refresh token has ended its session");
                self.revocations.revoke(Revocation::Session(sid), until);
                Err(NotRefreshed::Reused)
            }
            Rotation::TooManyRepeats => {
                let event = event(Action::RateLimited, Outcome::Refused).because(LIMIT);
                self.desk.denial(event, now);
                Err(NotRefreshed::TooManyRepeats)
            }
            Rotation::Ended => Err(NotRefreshed::Invalid),
        }
    }

    /// What a repeated token is told that came too often.
    pub(crate) fn too_many_repeats(&self) -> Rejection {
        let rate = Rate {
            count: REPEATS.into(),
            period: self.config.refresh_tokens.grace,
        };
        Rejection::RateLimited(Box::new(Refused::of(LIMIT, rate, REPEAT_AFTER)))
    }

    fn not_entitled(&self, no: NotEntitled, user: &User, call: &Call) -> NotRefreshed {
        let event = self.event(call, Action::AccessDenied, Outcome::Refused, party_of(user));
        self.desk.denial(event.because(no.reason()), self.now());
        NotRefreshed::NotEntitled(no)
    }
}
