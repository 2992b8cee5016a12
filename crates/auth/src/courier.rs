//! Codes by mail, away from the request. An endpoint leaves an errand and answers; whether there is such an account, and
//! whether its owner gets a letter, is found out afterwards, so that neither the answer nor its time tells.

use std::sync::Arc;

use portcullis_audit::{Action, Desk, Event, Outcome, Party};
use portcullis_outbound::mail::Post;
use portcullis_policy::rejection::Rejection;
use portcullis_store::{CodePurpose, NewCode, Store, StoreError, User};
use tokio::sync::mpsc;

use crate::{
    answer::Refusal,
    codes::Code,
    issue::party_of,
    letters::{CODE_LIFETIME, Links},
    random::NoRandomness,
    request::Call,
    service::Clock,
};

/// Errands that wait. An endpoint that finds no room says so, whoever it was about.
const WAITING: usize = 64;
/// The queue is a database and nothing else, and moves on within a moment.
const RETRY: std::time::Duration = std::time::Duration::from_secs(2);

/// Whom a code is for.
pub(crate) enum Errand {
    /// By a name as it came, for a password that was forgotten.
    Forgotten { name: String, call: Call },
    /// Somebody who is signed in, or was just made.
    Unverified { user_id: String, call: Call },
}

pub(crate) struct Courier {
    errands: mpsc::Sender<Errand>,
}

impl Courier {
    pub(crate) fn leave(&self, errand: Errand) -> Result<(), Refusal> {
        let left = self.errands.try_send(errand);
        left.map_err(|_full| Rejection::Overloaded { retry_after: RETRY }.into())
    }
}

/// What the courier has at hand.
pub(crate) struct Satchel {
    pub(crate) store: Store,
    pub(crate) desk: Arc<Desk>,
    pub(crate) clock: Clock,
    pub(crate) post: Post,
    pub(crate) links: Links,
}

#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    #[error("too many letters are waiting to be sent")]
    Crowded,
}

impl Satchel {
    /// Must be called inside the runtime. The courier ends with what is returned.
    pub(crate) fn start(self) -> Courier {
        let (errands, mut waiting) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            while let Some(errand) = waiting.recv().await {
                if let Err(error) = self.run(errand).await {
                    tracing::warn!(%error, "a code could not be sent");
                }
            }
        });
        Courier { errands }
    }

    async fn run(&self, errand: Errand) -> Result<(), Lost> {
        match errand {
            Errand::Forgotten { name, call } => {
                let found = self.store.user_by_login(&name).await?;
                let (user, _) = found.unzip();
                self.send(CodePurpose::ResetPassword, user, &call).await
            }
            Errand::Unverified { user_id, call } => {
                let user = self.store.user(&user_id).await?;
                let user = user.filter(|user| !user.email_verified);
                self.send(CodePurpose::VerifyEmail, user, &call).await
            }
        }
    }

    async fn send(
        &self,
        purpose: CodePurpose,
        user: Option<User>,
        call: &Call,
    ) -> Result<(), Lost> {
        let action = match purpose {
            CodePurpose::ResetPassword => Action::PasswordResetRequested,
            CodePurpose::VerifyEmail => Action::EmailVerificationRequested,
        };
        let now = (self.clock)();
        let event = |outcome| {
            Event::new(now, action, outcome, Party::anonymous())
                .from_address(call.address)
                .in_request(&*call.request_id)
        };
        let to = user.as_ref().filter(|user| !user.disabled);
        let Some((user, email)) = to.and_then(|user| Some((user, user.email.as_deref()?))) else {
            let refused = event(Outcome::Refused).because("nobody-to-write-to");
            self.desk.offer(refused, now);
            return Ok(());
        };
        let code = Code::make()?;
        let kept = NewCode {
            user_id: &user.id,
            purpose,
            hash: &code.hash(),
            expires_at: now.plus(CODE_LIFETIME),
        };
        let done = event(Outcome::Success).on(party_of(user));
        self.store.keep_email_code(&kept, &done).await?;
        let letter = self.links.letter(purpose, email, code.expose());
        self.post.send(letter).map_err(|_crowded| Lost::Crowded)
    }
}
