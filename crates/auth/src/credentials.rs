//! Is this the person? One path for everybody: throttle, look-up, one password verification, one answer.
//!
//! An account that does not exist, is disabled or has no password costs what a wrong password costs and is answered
//! with the same bytes. What it was stands in the audit log alone.

use portcullis_audit::{Action, Outcome, Party};
use portcullis_config::units::Timestamp;
use portcullis_policy::{limits::Refused, rejection::Rejection};
use portcullis_store::{PasswordRecord, StoreError, User};

use crate::{
    answer::Refusal,
    caller::Caller,
    identifiers::login_key,
    issue::party_of,
    password::{HashingError, Password, Verdict},
    request::Call,
    service::AuthService,
    throttle::{Attempt, Throttled},
};

type Found = Option<(User, Option<PasswordRecord>)>;

impl AuthService {
    /// `name` is a user name or an e-mail address, as it came.
    pub(crate) async fn check_credentials(
        &self,
        name: &str,
        password: Password,
        call: &Call,
    ) -> Result<User, Refusal> {
        let key = login_key(name);
        let attempt = self.admit(key.as_deref().unwrap_or(name), call)?;
        // What can be nobody's name is looked up as the empty one, which is nobody's either, and takes as long.
        let found: Found = self
            .store
            .user_by_login(key.as_deref().unwrap_or_default())
            .await?;
        let stored = found.as_ref().and_then(|(_, record)| record.clone());
        let verdict = self
            .verify(
                &password,
                stored.as_ref(),
                found.as_ref().map(|(user, _)| user),
            )
            .await?;
        match (verdict, found) {
            (Verdict::Match { outdated }, Some((user, Some(record)))) if !user.disabled => {
                self.throttle.succeeded(attempt, self.now());
                if outdated {
                    self.renew_hash(&user, &record, password).await;
                }
                Ok(user)
            }
            (verdict, found) => Err(self.refused(verdict, found, attempt, call)),
        }
    }

    /// Asks somebody who is signed in for the password once more, before what must not be done with a stolen token
    /// alone. Counts and costs what a sign-in does, in the same buckets.
    pub(crate) async fn confirm_password(
        &self,
        caller: &Caller,
        password: Password,
        call: &Call,
    ) -> Result<(), Refusal> {
        let user = &caller.user;
        let name = user.username.as_deref().or(user.email.as_deref());
        let key = name.and_then(login_key);
        let attempt = self.admit(key.as_deref().unwrap_or(&user.id), call)?;
        let stored = self.store.password_of(&user.id).await?;
        let verdict = self.verify(&password, stored.as_ref(), Some(user)).await?;
        match (verdict, stored) {
            (Verdict::Match { outdated }, Some(record)) => {
                self.throttle.succeeded(attempt, self.now());
                if outdated {
                    self.renew_hash(user, &record, password).await;
                }
                Ok(())
            }
            (Verdict::Match { .. } | Verdict::Mismatch, stored) => {
                Err(self.not_confirmed(user, stored.is_some(), attempt, call))
            }
        }
    }

    /// What refuses without a look at the account.
    fn admit(&self, name: &str, call: &Call) -> Result<Attempt, Refusal> {
        let admitted = self.throttle.check(call.address, name, self.now());
        let attempt = admitted.map_err(|throttled| self.throttled(throttled, call))?;
        self.hasher.check_room()?;
        Ok(attempt)
    }

    async fn verify(
        &self,
        password: &Password,
        stored: Option<&PasswordRecord>,
        user: Option<&User>,
    ) -> Result<Verdict, Refusal> {
        let opens = user.is_some_and(|user| !user.disabled);
        let verdict = self
            .hasher
            .verify(password.clone(), stored.cloned(), opens)
            .await;
        match verdict {
            Err(HashingError::Stored(error)) => {
                let user = user.map(|user| user.id.as_str());
                tracing::error!(user, %error, "a stored password hash is not run");
                Ok(Verdict::Mismatch)
            }
            verdict => Ok(verdict?),
        }
    }

    /// Keeps the password under the current parameters. Nobody waits for its success: the old hash is as good.
    async fn renew_hash(&self, user: &User, old: &PasswordRecord, password: Password) {
        let renewed = match self.hasher.hash(password).await {
            Ok(renewed) => renewed,
            Err(error) => {
                return tracing::debug!(%error, "a password hash keeps its old parameters");
            }
        };
        match self
            .store
            .replace_password_hash(&user.id, old, &renewed, self.now())
            .await
        {
            Ok(()) => {}
            // Somebody else has renewed it, or changed the password, in between.
            Err(StoreError::Conflict) => {}
            Err(error) => tracing::warn!(%error, "a password hash keeps its old parameters"),
        }
    }

    fn refused(&self, verdict: Verdict, found: Found, attempt: Attempt, call: &Call) -> Refusal {
        let now: Timestamp = self.now();
        self.throttle.failed(attempt, now);
        let reason = reason(verdict, found.as_ref());
        let event = self
            .event(
                call,
                Action::LoginFailure,
                Outcome::Refused,
                Party::anonymous(),
            )
            .because(reason);
        // What was typed is not kept where it is nobody's name: people type their password there.
        let event = match &found {
            Some((user, _)) => event.on(party_of(user)),
            None => event,
        };
        self.desk.offer(event, now);
        Rejection::InvalidCredentials.into()
    }

    fn not_confirmed(
        &self,
        user: &User,
        has_password: bool,
        attempt: Attempt,
        call: &Call,
    ) -> Refusal {
        let now = self.now();
        self.throttle.failed(attempt, now);
        let reason = if has_password {
            "wrong-password"
        } else {
            "no-password"
        };
        let action = Action::PasswordConfirmed;
        let event = self.event(call, action, Outcome::Refused, party_of(user));
        self.desk.offer(event.because(reason), now);
        Rejection::InvalidCredentials.into()
    }

    pub(crate) fn throttled(&self, throttled: Throttled, call: &Call) -> Refusal {
        let event = self
            .event(
                call,
                Action::RateLimited,
                Outcome::Refused,
                Party::anonymous(),
            )
            .because(throttled.limit);
        self.desk.denial(event, self.now());
        let refused = Refused::of(throttled.limit, throttled.rate, throttled.retry_after);
        Rejection::RateLimited(Box::new(refused)).into()
    }
}

fn reason(verdict: Verdict, found: Option<&(User, Option<PasswordRecord>)>) -> &'static str {
    match (found, verdict) {
        (None, _) => "unknown-user",
        (Some((user, _)), Verdict::Match { .. }) if user.disabled => "disabled",
        (Some((_, None)), _) => "no-password",
        (Some(_), _) => "wrong-password",
    }
}
