//! Is this the person? One path for everybody: throttle, look-up, one password verification, one answer.
//!
//! An account that does not exist, is disabled or has no password costs what a wrong password costs and is answered
//! with the same bytes. What it was stands in the audit log alone.

use portcullis_audit::{Action, Outcome, Party};
use portcullis_config::units::Timestamp;
use portcullis_policy::{limits::Refused, rejection::Rejection};
use portcullis_store::{PasswordRecord, StoreError, User};

use crate::{
    accounts::PASSWORD_SCHEME,
    answer::Refusal,
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
        let attempt = self
            .throttle
            .check(call.address, key.as_deref().unwrap_or(name), self.now())
            .map_err(|throttled| self.throttled(throttled, call))?;
        // What can be nobody's name is looked up as the empty one, which is nobody's either, and takes as long.
        let found: Found = self
            .store
            .user_by_login(key.as_deref().unwrap_or_default())
            .await?;
        let stored = found.as_ref().and_then(|(_, record)| record.clone());
        let verdict = self
            .verify(&password, stored.as_ref(), found.as_ref())
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

    async fn verify(
        &self,
        password: &Password,
        stored: Option<&PasswordRecord>,
        found: Option<&(User, Option<PasswordRecord>)>,
    ) -> Result<Verdict, Refusal> {
        // A scheme that is not ours cannot be read; the work is done all the same.
        let ours = stored.filter(|record| record.scheme() == PASSWORD_SCHEME);
        let hash = ours.map(|record| record.expose_hash().to_owned());
        match self.hasher.verify(password.clone(), hash).await {
            Err(HashingError::Stored(error)) => {
                let user = found.map(|(user, _)| user.id.as_str());
                tracing::error!(user, %error, "a stored password hash is not run");
                Ok(Verdict::Mismatch)
            }
            verdict => Ok(verdict?),
        }
    }

    /// Keeps the password under the current parameters. Nobody waits for its success: the old hash is as good.
    async fn renew_hash(&self, user: &User, old: &PasswordRecord, password: Password) {
        let renewed = match self.hasher.hash(password).await {
            Ok(hash) => PasswordRecord::new(hash, PASSWORD_SCHEME),
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

    fn throttled(&self, throttled: Throttled, call: &Call) -> Refusal {
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
