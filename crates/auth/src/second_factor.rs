//! The second proof at sign-in: a code of an authenticator app, or a recovery code in its place.
//!
//! Who has given a first proof holds a challenge, and the tokens come for the challenge and a code together. Everything
//! that limits guessing is in the database and counted before a code is looked at, so that neither a restart nor another
//! replica gives more tries: [`TRIES`] for a challenge, and for an account [`FREE_TRIES`] in a row before each further
//! one has to wait. A recovery code cannot be guessed and never waits, so nobody is locked out by what others try.

mod app;
mod challenge;
mod code;
mod picture;

use std::{num::NonZeroU64, time::Duration};

use portcullis_audit::{Action, Event, Outcome, Party};
use portcullis_config::units::{Rate, Timestamp};
use portcullis_policy::{limits::Refused, rejection::Rejection};
use portcullis_store::{Challenge, CodeTry, StoreError, TotpSecret, UsedCode, User};
use portcullis_tokens::ScopeSet;
use secrecy::SecretString;

pub(crate) use app::{App, place};
pub(crate) use code::{Code, new_recovery_codes};
pub(crate) use picture::{Format, data_address};

use crate::{
    answer::Refusal,
    entitlement::{ALL_SCOPES, Entitlement, Wanted, entitle},
    issue::party_of,
    request::Call,
    service::AuthService,
    sign_in::SignedIn,
};

/// Time enough to find the phone.
const CHALLENGE_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// For one challenge.
const TRIES: u32 = 5;
/// For one account, until a right code.
const FREE_TRIES: u64 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// At one guess an hour a code is found after some decades.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

impl AuthService {
    pub(crate) async fn has_second_factor(&self, user: &User) -> Result<bool, Refusal> {
        let secret = self.store.totp_secret(&user.id).await?;
        Ok(secret.is_some_and(|secret| secret.confirmed))
    }

    /// For whoever has given a first proof, of which `success` tells.
    pub(crate) async fn challenge(
        &self,
        user: &User,
        entitlement: &Entitlement,
        success: Event,
    ) -> Result<SecretString, Refusal> {
        let (shown, hash) = challenge::new()?;
        let challenge = Challenge {
            user_id: user.id.clone(),
            user_version: user.version,
            resource: entitlement.resource.clone(),
            scopes: entitlement.asked_scopes().to_owned(),
            tenant: entitlement.tenant.clone(),
        };
        let challenged = Event {
            action: Action::MfaChallenged,
            ..success
        };
        let expires_at = self.now().plus(CHALLENGE_LIFETIME);
        self.store
            .open_challenge(&hash, &challenge, expires_at, &challenged)
            .await
            .map_err(|error| refused_by(error, Rejection::InvalidCredentials))?;
        Ok(shown)
    }

    /// The tokens that the first proof was for.
    pub(crate) async fn answer_challenge(
        &self,
        challenge: &str,
        code: &Code,
        call: &Call,
    ) -> Result<SignedIn, Refusal> {
        let failure = self.mfa_failure(call, Party::anonymous());
        let hash = challenge::hash_of(challenge);
        let Some((hash, waiting)) = self.waiting_for(hash).await? else {
            // Whoever makes challenges up is refused a row of the log for each.
            self.desk
                .denial(failure.because("unknown-challenge"), self.now());
            return Err(Rejection::InvalidCredentials.into());
        };
        let failure = failure
            .on(Party::user(&waiting.user_id))
            .for_resource(&waiting.resource);
        let Some(user) = self.unchanged_user(&waiting).await? else {
            return Err(self.refuse_code(&failure, "user-changed"));
        };
        let entitlement = self.entitlement_of(&waiting, &user)?;
        let redeem = |used, events: Vec<Event>| {
            let (store, hash, user) = (&self.store, &hash, &user);
            async move { store.redeem_challenge(hash, &user.id, used, &events).await }
        };
        self.use_code((&user, code), &failure, call, redeem).await?;
        let success = self.event(
            call,
            Action::LoginSuccess,
            Outcome::Success,
            party_of(&user),
        );
        self.let_in(&user, entitlement, call, success).await
    }

    /// The challenge that is still open, having counted this try.
    async fn waiting_for(
        &self,
        hash: Option<[u8; 32]>,
    ) -> Result<Option<([u8; 32], Challenge)>, Refusal> {
        let Some(hash) = hash else {
            return Ok(None);
        };
        let waiting = self.store.try_challenge(&hash, TRIES, self.now()).await?;
        Ok(waiting.map(|waiting| (hash, waiting)))
    }

    async fn unchanged_user(&self, waiting: &Challenge) -> Result<Option<User>, Refusal> {
        let user = self.store.user(&waiting.user_id).await?;
        Ok(user.filter(|user| !user.disabled && user.version == waiting.user_version))
    }

    /// As it was granted with the first proof, if the configuration still says so.
    fn entitlement_of(&self, waiting: &Challenge, user: &User) -> Result<Entitlement, Refusal> {
        let refused = || Refusal::from(Rejection::ResourceNotAllowed);
        let scopes = (waiting.scopes != ALL_SCOPES).then(|| ScopeSet::parse(&waiting.scopes));
        let scopes = scopes.transpose().map_err(|_never| refused())?;
        let wanted = Wanted {
            resource: &waiting.resource,
            scopes: scopes.as_ref(),
            tenant: waiting.tenant.as_deref(),
        };
        entitle(&self.config, user, &wanted).map_err(|_no| refused())
    }

    /// Uses a code that is right, in one change with what it is for and with the events that tell of the code. `failure` is
    /// what the log is told of one that is wrong, or was used before.
    pub(crate) async fn use_code<'c, F>(
        &self,
        (user, code): (&User, &'c Code),
        failure: &Event,
        call: &Call,
        purpose: impl FnOnce(UsedCode<'c>, Vec<Event>) -> F,
    ) -> Result<(), Refusal>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        let used = self.check_code(user, code, failure).await?;
        match purpose(used, self.success_events(user, code, call)).await {
            Err(StoreError::Conflict) => Err(self.refuse_code(failure, "used-or-unknown-code")),
            outcome => Ok(outcome?),
        }
    }

    /// Whether the code is right. It must still be used.
    async fn check_code<'c>(
        &self,
        user: &User,
        code: &'c Code,
        failure: &Event,
    ) -> Result<UsedCode<'c>, Refusal> {
        let digits = match code {
            Code::Recovery(hash) => return Ok(UsedCode::Recovery(hash)),
            Code::App(digits) => digits,
        };
        let now = self.now();
        match self.store.try_code(&user.id, now, wait_after).await? {
            CodeTry::Counted(secret) => self
                .app(user, &secret)?
                .step_of(digits, now)
                .map(UsedCode::Step)
                .ok_or_else(|| self.refuse_code(failure, "wrong-code")),
            CodeTry::HeldUp(until) => {
                self.refuse_code(failure, "held-up");
                Err(held_up(until, now))
            }
            CodeTry::NoSecret => Err(self.refuse_code(failure, "no-second-factor")),
        }
    }

    pub(crate) fn mfa_failure(&self, call: &Call, actor: Party) -> Event {
        self.event(call, Action::MfaFailure, Outcome::Refused, actor)
    }

    pub(crate) fn refuse_code(&self, failure: &Event, reason: &'static str) -> Refusal {
        self.desk.offer(failure.clone().because(reason), self.now());
        Rejection::InvalidCredentials.into()
    }

    fn success_events(&self, user: &User, code: &Code, call: &Call) -> Vec<Event> {
        let event = |action| {
            self.event(call, action, Outcome::Success, party_of(user))
                .because(code.kind())
        };
        match code {
            Code::App(_) => vec![event(Action::MfaSuccess)],
            Code::Recovery(_) => vec![event(Action::MfaSuccess), event(Action::RecoveryCodeUsed)],
        }
    }

    pub(crate) fn app(&self, user: &User, secret: &TotpSecret) -> Result<App, Refusal> {
        let key = &self.second_factor_key;
        let secret = key.unwrap_for(&user.id, &secret.wrapped);
        App::of(&secret.map_err(|error| Refusal::internal(format!("a TOTP secret: {error}")))?)
    }
}

/// After so many failures in a row.
fn wait_after(failures: u64) -> Duration {
    let Some(doublings) = failures.checked_sub(FREE_TRIES) else {
        return Duration::ZERO;
    };
    let doublings = u32::try_from(doublings).unwrap_or(u32::MAX).min(10);
    FIRST_WAIT
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(LONGEST_WAIT)
}

fn held_up(until: Timestamp, now: Timestamp) -> Refusal {
    let wait = until.saturating_since(now);
    let rate = Rate {
        count: NonZeroU64::MIN,
        period: wait,
    };
    Rejection::RateLimited(Box::new(Refused::of("second_factor", rate, wait))).into()
}

/// `Conflict` is for the caller to name; everything else is as always.
pub(crate) fn refused_by(error: StoreError, conflict: Rejection) -> Refusal {
    if matches!(error, StoreError::Conflict) {
        conflict.into()
    } else {
        error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_some_free_tries_each_wait_is_twice_the_last_up_to_an_hour() {
        let waits: Vec<u64> = (0..16)
            .map(|failures| wait_after(failures).as_secs())
            .collect();
        let expected = [
            0, 0, 0, 0, 0, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600,
        ];
        assert_eq!(waits, expected);
        assert_eq!(wait_after(u64::MAX), LONGEST_WAIT);
    }
}
