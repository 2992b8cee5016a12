//! What can be said in the log. The words follow the OWASP logging vocabulary, spelled out.
//!
//! Actor and target carry type, id and name, so that a row can be read alone. Passwords, tokens and codes never come
//! in here: there is no field for them.

use std::{borrow::Cow, fmt, net::IpAddr};

use portcullis_config::units::Timestamp;
use serde::{Serialize, Serializer};

/// The longest id or name of a party, in bytes. A foreign subject is a stranger's text and may be of any length.
const PARTY_TEXT: usize = 256;

/// One thing that happened, or `count` of a kind between `at` and `until`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    #[serde(serialize_with = "instant")]
    pub at: Timestamp,
    pub action: Action,
    pub outcome: Outcome,
    /// A stable word such as `wrong-password` or a rejection's code, not a sentence.
    pub reason: Option<Cow<'static, str>>,
    pub actor: Party,
    pub target: Option<Party>,
    pub source_address: Option<IpAddr>,
    pub request_id: Option<String>,
    pub route: Option<String>,
    pub resource: Option<String>,
    /// How many it stands for: 1 unless it is an aggregate or a gap.
    pub count: u64,
    /// When the last of an aggregate happened.
    #[serde(serialize_with = "maybe_instant")]
    pub until: Option<Timestamp>,
}

impl Event {
    pub fn new(at: Timestamp, action: Action, outcome: Outcome, actor: Party) -> Self {
        Self {
            at,
            action,
            outcome,
            reason: None,
            actor,
            target: None,
            source_address: None,
            request_id: None,
            route: None,
            resource: None,
            count: 1,
            until: None,
        }
    }

    #[must_use]
    pub fn because(self, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..self
        }
    }

    #[must_use]
    pub fn on(self, target: Party) -> Self {
        Self {
            target: Some(target),
            ..self
        }
    }

    #[must_use]
    pub fn from_address(self, address: Option<IpAddr>) -> Self {
        Self {
            source_address: address,
            ..self
        }
    }

    #[must_use]
    pub fn in_request(self, request_id: impl Into<String>) -> Self {
        Self {
            request_id: Some(request_id.into()),
            ..self
        }
    }

    #[must_use]
    pub fn on_route(self, route: impl Into<String>) -> Self {
        Self {
            route: Some(route.into()),
            ..self
        }
    }

    #[must_use]
    pub fn for_resource(self, resource: impl Into<String>) -> Self {
        Self {
            resource: Some(resource.into()),
            ..self
        }
    }
}

fn instant<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::rfc3339(*at))
}

fn maybe_instant<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => instant(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// Who acted, or what was acted on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Party {
    pub kind: PartyKind,
    pub id: String,
    pub name: Option<String>,
}

impl Party {
    /// An id beyond 256 bytes is cut and ends in `…`.
    pub fn new(kind: PartyKind, id: impl Into<String>) -> Self {
        Self {
            kind,
            id: clipped(id.into()),
            name: None,
        }
    }

    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self {
            name: Some(clipped(name.into())),
            ..self
        }
    }

    pub fn user(id: impl Into<String>) -> Self {
        Self::new(PartyKind::User, id)
    }

    /// A caller who has not said, or not proven, who it is. The source address is all that tells it apart.
    pub fn anonymous() -> Self {
        Self::new(PartyKind::Anonymous, "anonymous")
    }

    /// The gateway acting by itself; `part` names which part of it.
    pub fn system(part: &'static str) -> Self {
        Self::new(PartyKind::System, part)
    }

    /// Whoever holds the command line.
    pub fn operator(login: impl Into<String>) -> Self {
        Self::new(PartyKind::Operator, login)
    }
}

fn clipped(mut text: String) -> String {
    if text.len() > PARTY_TEXT {
        let end = text.floor_char_boundary(PARTY_TEXT - '…'.len_utf8());
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Makes a closed enum whose words are the contract: in rows, in metric labels, in filters.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The variant that is spelled so, or none.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words! {
    Action {
        LoginSuccess = "login_success",
        LoginFailure = "login_failure",
        TokenIssued = "token_issued",
        /// Given back by whoever held it.
        TokenRevoked = "token_revoked",
        /// A refresh token gave its successor and an access token; `repeated` is the reason where it had done so a moment before.
        TokenRefreshed = "token_refreshed",
        /// A refresh token was presented that was spent long ago: two hold the session, and it was ended.
        TokenReused = "token_reused",
        /// By logout, or by an administrator; with a user as the target, all of them.
        SessionEnded = "session_ended",
        /// Admission said no: token, access, address.
        AccessDenied = "access_denied",
        RateLimited = "rate_limited",
        /// A request on a route with `audit: all` that passed.
        ApiAccess = "api_access",
        UserCreated = "user_created",
        UserDisabled = "user_disabled",
        UserEnabled = "user_enabled",
        /// An account at an identity provider lets this user in from now on.
        IdentityLinked = "identity_linked",
        IdentityUnlinked = "identity_unlinked",
        /// Its tenant, or another attribute that is not its own to change.
        UserChanged = "user_changed",
        UserDeleted = "user_deleted",
        RoleCreated = "role_created",
        RoleChanged = "role_changed",
        RoleDeleted = "role_deleted",
        RoleGranted = "role_granted",
        RoleRevoked = "role_revoked",
        ClientCreated = "client_created",
        ClientChanged = "client_changed",
        ClientDeleted = "client_deleted",
        ClientDisabled = "client_disabled",
        ClientEnabled = "client_enabled",
        /// It has another secret, or other keys.
        ClientProofChanged = "client_proof_changed",
        /// A user who was signed in was asked for the password again. Only refusals are kept; a success shows in what it was for.
        PasswordConfirmed = "password_confirmed",
        /// The first proof was right; a second is asked for.
        MfaChallenged = "mfa_challenged",
        /// The reason says whether it was a code of the app or a recovery code.
        MfaSuccess = "mfa_success",
        MfaFailure = "mfa_failure",
        /// Its secret was shown. Until a code confirms it, nothing is asked for.
        MfaBegun = "mfa_begun",
        MfaEnabled = "mfa_enabled",
        MfaDisabled = "mfa_disabled",
        RecoveryCodeUsed = "recovery_code_used",
        RecoveryCodesReplaced = "recovery_codes_replaced",
        PasswordChanged = "password_changed",
        /// Somebody said it is forgotten. Nothing has changed by that.
        PasswordResetRequested = "password_reset_requested",
        /// With a code that was sent by mail.
        PasswordReset = "password_reset",
        EmailVerificationRequested = "email_verification_requested",
        EmailVerified = "email_verified",
        ProfileChanged = "profile_changed",
        SigningKeyCreated = "signing_key_created",
        /// It signs from now on.
        SigningKeyActivated = "signing_key_activated",
        /// Taken back, so that it verifies nothing any more.
        SigningKeyRetired = "signing_key_retired",
        /// Nothing that it signed can be good any more.
        SigningKeyRemoved = "signing_key_removed",
        GatewayStarted = "gateway_started",
        GatewayStopped = "gateway_stopped",
        ConfigurationLoaded = "configuration_loaded",
        ConfigurationReloaded = "configuration_reloaded",
        /// What was to be loaded while the gateway runs was not usable; what was in force stays.
        ConfigurationRejected = "configuration_rejected",
        BreakerOpened = "breaker_opened",
        BreakerClosed = "breaker_closed",
        /// By an administrator, who is the actor; the reason is the state it is held in.
        BreakerForced = "breaker_forced",
        BreakerReleased = "breaker_released",
        /// Somebody read the log over HTTP.
        AuditRead = "audit_read",
        /// The desk was full: `count` events happened of which only the number is known.
        AuditGap = "audit_gap",
    }
}

words! {
    Outcome {
        Success = "success",
        Failure = "failure",
        Refused = "refused",
    }
}

words! {
    PartyKind {
        User = "user",
        Client = "client",
        Anonymous = "anonymous",
        System = "system",
        Role = "role",
        Session = "session",
        Route = "route",
        Key = "key",
        Upstream = "upstream",
        Operator = "operator",
        Config = "config",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_reads_back_from_its_word() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(*action));
        }
        assert_eq!(
            Action::parse("LOGIN_SUCCESS"),
            None,
            "words are compared exactly"
        );
    }

    #[test]
    fn a_strangers_id_is_cut_between_characters() {
        let party = Party::user("é".repeat(400));
        assert!(party.id.len() <= PARTY_TEXT);
        assert!(party.id.ends_with("é…"), "{}", party.id);
    }

    #[test]
    fn an_event_reads_as_one_line_of_json() {
        let event = Event::new(
            Timestamp::from_millis(0),
            Action::LoginFailure,
            Outcome::Refused,
            Party::user("u1").named("saad"),
        )
        .because("wrong-password")
        .from_address("192.0.2.7".parse().ok())
        .in_request("r1");
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"at":"1970-01-01T00:00:00.000Z","action":"login_failure","outcome":"refused","reason":"wrong-password","actor":{"kind":"user","id":"u1","name":"saad"},"target":null,"source_address":"192.0.2.7","request_id":"r1","route":null,"resource":null,"count":1,"until":null}"#
        );
    }

    #[test]
    fn a_line_break_in_a_name_stays_inside_its_row() {
        let event = Event::new(
            Timestamp::from_millis(0),
            Action::LoginFailure,
            Outcome::Refused,
            Party::user("a\nb"),
        );
        assert!(!serde_json::to_string(&event).unwrap().contains('\n'));
    }
}
