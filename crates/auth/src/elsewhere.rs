//! People who sign in at an identity provider: from what it says of them to a user of ours.
//!
//! A user is found by the provider's issuer and the person's subject there and by nothing else. An address that stands in
//! two places does not make two accounts one: whoever gets hold of it in either would get hold of both.

mod begun;

use std::borrow::Cow;

use portcullis_audit::{Action, Outcome, Party};
use portcullis_config::{providers::Provider as Settings, units::Timestamp};
use portcullis_outbound::providers::{Provider, ProviderError, Providers, Returned};
use portcullis_policy::rejection::Rejection;
use portcullis_store::{Identity as Account, NewUser, StoreError, User};
use portcullis_tokens::{Identity, TokenError, WrappingKey};
use sha2::{Digest, Sha256};

use crate::{
    answer::Refusal,
    identifiers::Email,
    issue::{party_of, user_party},
    random::{self, NoRandomness},
    request::{Call, malformed_field},
    service::AuthService,
};

pub(crate) use begun::{BegunSignIn, removal};

/// Longer ones are left out: a name is shown, and nothing goes by it.
const MAX_DISPLAY_NAME_CHARS: usize = 100;
/// Of the digest of an identity, for a user who has no other name.
const NAME_DIGITS: usize = 16;

const OVERLOADED_RETRY: std::time::Duration = std::time::Duration::from_secs(1);
const NOT_BEGUN_HERE: &str =
    "This sign-in was not begun in this browser, or too long ago, or is over. Begin again.";

/// The providers, and what encrypts that which browsers keep for us while they are there.
pub struct Elsewhere {
    pub providers: Providers,
    pub key: WrappingKey,
}

/// What the browser brought back from the provider.
pub(crate) enum Answer {
    Code {
        code: String,
        issuer: Option<String>,
    },
    /// The person declined, or the provider did. Its words are nobody's to repeat.
    Refused,
}

/// Why somebody whom the provider knows is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotLetIn {
    Domain,
    Unknown,
    Disabled,
}

impl NotLetIn {
    /// For the audit log.
    fn reason(self) -> &'static str {
        match self {
            Self::Domain => "domain-not-allowed",
            Self::Unknown => "unknown-user",
            Self::Disabled => "disabled",
        }
    }
}

impl AuthService {
    /// The user who signed in at the provider, made now if need be. `begun` was spent by this very browser.
    pub(crate) async fn user_from(
        &self,
        provider: &Provider,
        begun: &BegunSignIn,
        answer: Answer,
        call: &Call,
    ) -> Result<User, Refusal> {
        self.spend_begun(begun, call).await?;
        let Answer::Code { code, issuer } = &answer else {
            return Err(self.not_let_in("provider-refused", provider, None, call));
        };
        let returned = Returned {
            code,
            issuer: issuer.as_deref(),
        };
        let identified = provider
            .identify(&begun.drawn(), returned, self.now())
            .await;
        let identity = identified.map_err(|error| self.unidentified(error, provider, call))?;
        self.user_of_identity(provider, &identity, call).await
    }

    /// Each begun sign-in is good for one answer, right or wrong.
    async fn spend_begun(&self, begun: &BegunSignIn, call: &Call) -> Result<(), Refusal> {
        match self.store.spend(&begun.digest(), begun.expires_at()).await {
            Ok(()) => Ok(()),
            Err(StoreError::Taken) => Err(self.not_begun_here("replayed", call)),
            Err(error) => Err(error.into()),
        }
    }

    /// The answer is for somebody else's browser, or came before. That is the client's mistake or a trick on it.
    pub(crate) fn not_begun_here(&self, reason: &'static str, call: &Call) -> Refusal {
        self.note_failure(reason.into(), None, call);
        malformed_field(NOT_BEGUN_HERE)
    }

    async fn user_of_identity(
        &self,
        provider: &Provider,
        identity: &Identity,
        call: &Call,
    ) -> Result<User, Refusal> {
        let settings = provider.settings();
        let account = Account {
            issuer: settings.issuer.clone(),
            subject: identity.subject.clone(),
        };
        let refused = |no: NotLetIn| {
            let who = user_party(&format!("{}:{}", settings.name, identity.subject), None);
            self.not_let_in(no.reason(), provider, Some(who), call)
        };
        if !is_of_allowed_domain(settings, identity) {
            return Err(refused(NotLetIn::Domain));
        }
        let user = match self.store.user_by_identity(&account).await? {
            Some(user) => user,
            None if settings.create_users => {
                self.create_user_from(provider, identity, account, call)
                    .await?
            }
            None => return Err(refused(NotLetIn::Unknown)),
        };
        if user.disabled {
            return Err(refused(NotLetIn::Disabled));
        }
        Ok(user)
    }

    /// With the default role. `Conflict` if the address is that of a user who signs in otherwise.
    async fn create_user_from(
        &self,
        provider: &Provider,
        identity: &Identity,
        account: Account,
        call: &Call,
    ) -> Result<User, Refusal> {
        let now = self.now();
        let user = new_user(provider.settings(), identity, account.clone(), now)?;
        let name = user.username.as_deref().or(user.email.as_deref());
        let created = self
            .event(
                call,
                Action::UserCreated,
                Outcome::Success,
                Party::anonymous(),
            )
            .on(user_party(&user.id, name))
            .because(reason_of(provider.settings()));
        let roles: Vec<&str> = self.config.default_role.as_deref().into_iter().collect();
        match self.store.create_user(&user, &roles, &created).await {
            Ok(user) => Ok(user),
            // The same person may have come twice at the same time.
            Err(StoreError::Taken) => {
                let user = self.store.user_by_identity(&account).await?;
                user.ok_or_else(|| Rejection::Conflict.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn not_let_in(
        &self,
        reason: &'static str,
        provider: &Provider,
        who: Option<Party>,
        call: &Call,
    ) -> Refusal {
        let provider = &provider.settings().name;
        tracing::debug!(%provider, reason, "a sign-in elsewhere is refused here");
        self.note_failure(reason.into(), who, call);
        Rejection::InvalidCredentials.into()
    }

    fn unidentified(&self, error: ProviderError, provider: &Provider, call: &Call) -> Refusal {
        let rejection = rejection_of(&error);
        let name = &provider.settings().name;
        if rejection == Rejection::InvalidCredentials {
            tracing::debug!(provider = %name, %error, "a sign-in elsewhere identifies nobody");
            self.note_failure(reason_of_error(&error).into(), None, call);
        }
        Refusal::caused(rejection, format!("provider {name}: {error}"))
    }

    fn note_failure(&self, reason: Cow<'static, str>, who: Option<Party>, call: &Call) {
        let (action, outcome) = (Action::LoginFailure, Outcome::Refused);
        let event = self
            .event(call, action, outcome, Party::anonymous())
            .because(reason);
        let event = match who {
            Some(who) => event.on(who),
            None => event,
        };
        self.desk.denial(event, self.now());
    }

    /// That somebody got in, and by which provider.
    pub(crate) fn signed_in_elsewhere(
        &self,
        user: &User,
        provider: &Provider,
        call: &Call,
    ) -> portcullis_audit::Event {
        self.event(call, Action::LoginSuccess, Outcome::Success, party_of(user))
            .because(reason_of(provider.settings()))
    }
}

pub(crate) fn provider_refusal(provider: &Provider, error: &ProviderError) -> Refusal {
    let name = &provider.settings().name;
    Refusal::caused(rejection_of(error), format!("provider {name}: {error}"))
}

fn reason_of(settings: &Settings) -> String {
    format!("provider:{}", settings.name)
}

/// What is the person's, what is the provider's, and what is ours to mend.
fn rejection_of(error: &ProviderError) -> Rejection {
    match error {
        ProviderError::Busy => Rejection::Overloaded {
            retry_after: OVERLOADED_RETRY,
        },
        ProviderError::Away | ProviderError::Discovery(_) | ProviderError::Fetch(_) => {
            Rejection::UpstreamUnreachable
        }
        ProviderError::NoEndpoint(_) | ProviderError::NotItsClient | ProviderError::Unusable => {
            Rejection::UpstreamFailed
        }
        ProviderError::IdToken(TokenError::KeysUnavailable) => Rejection::KeysUnavailable,
        ProviderError::Code | ProviderError::OtherIssuer | ProviderError::IdToken(_) => {
            Rejection::InvalidCredentials
        }
    }
}

/// For the audit log.
fn reason_of_error(error: &ProviderError) -> &'static str {
    match error {
        ProviderError::Code => "unknown-code",
        ProviderError::OtherIssuer => "other-provider",
        ProviderError::IdToken(error) => error.outcome(),
        ProviderError::Busy
        | ProviderError::Away
        | ProviderError::Discovery(_)
        | ProviderError::NoEndpoint(_)
        | ProviderError::Fetch(_)
        | ProviderError::NotItsClient
        | ProviderError::Unusable => "provider-failed",
    }
}

/// By the address that the provider has verified. One it has not verified is none.
fn is_of_allowed_domain(settings: &Settings, identity: &Identity) -> bool {
    let domain = identity
        .email
        .as_deref()
        .and_then(|email| email.rsplit_once('@'))
        .map(|(_, domain)| domain.to_ascii_lowercase());
    settings.allowed_domains.is_empty()
        || domain.is_some_and(|domain| settings.allowed_domains.contains(&domain))
}

fn new_user(
    settings: &Settings,
    identity: &Identity,
    account: Account,
    now: Timestamp,
) -> Result<NewUser, NoRandomness> {
    let email = identity.email.as_deref();
    let email = email.and_then(|email| Email::parse(email).ok());
    // Everybody has a name. Whose address is not known is named after the provider, and nobody's choice.
    let username = email
        .is_none()
        .then(|| given_name(&settings.name, &account));
    let shown = identity.name.clone();
    Ok(NewUser {
        id: random::row_id(now)?,
        username_key: username.as_ref().map(|name| name.to_ascii_lowercase()),
        username,
        email_verified: email.is_some(),
        email: email.as_ref().map(|email| email.shown().to_owned()),
        email_key: email.map(|email| email.key().to_owned()),
        display_name: shown.filter(|name| name.chars().count() <= MAX_DISPLAY_NAME_CHARS),
        identity: Some(account),
        created_at: now,
        ..NewUser::default()
    })
}

/// Such as `google-5f3c…`: the same for the same person, and short enough to be shown.
fn given_name(provider: &str, account: &Account) -> String {
    let digest = Sha256::new()
        .chain_update(&account.issuer)
        .chain_update([0])
        .chain_update(&account.subject)
        .finalize();
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let digits = digits.get(..NAME_DIGITS).unwrap_or_default();
    format!("{provider}-{digits}")
}
