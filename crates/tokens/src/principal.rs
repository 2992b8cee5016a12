//! The proof that a caller was verified. Only [`crate::Verifier`] makes one, so that a function that takes a
//! `&Principal` cannot be reached by a token that was not checked.

use std::sync::Arc;

use portcullis_config::{issuers::LOCAL, units::Timestamp};

use crate::{
    remembered::RememberedClaims,
    revocations::{Bearer, Revocations},
    scopes::ScopeSet,
};

/// Who calls, and what the token lets them do. Shared, never copied.
#[derive(Debug)]
pub struct Principal {
    claims: VerifiedClaims,
    role_line: Box<str>,
}

/// Whose tokens they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IssuerName {
    Local,
    /// The name the operator gave it.
    Foreign(Arc<str>),
}

impl IssuerName {
    /// As rules, metrics and logs name it. No foreign issuer can bear the name of the local one.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Local => LOCAL,
            Self::Foreign(name) => name,
        }
    }
}

/// What the verifier found. Whoever holds one has checked it.
#[derive(Debug)]
pub(crate) struct VerifiedClaims {
    pub(crate) subject: Box<str>,
    pub(crate) issuer: IssuerName,
    pub(crate) resource: Box<str>,
    pub(crate) scopes: ScopeSet,
    pub(crate) roles: Box<[Box<str>]>,
    pub(crate) tenant: Option<Box<str>>,
    pub(crate) remembered: RememberedClaims,
    pub(crate) session: Option<Box<str>>,
    pub(crate) version: u64,
    pub(crate) token_id: Box<str>,
    pub(crate) client_id: Option<Box<str>>,
    pub(crate) key_id: Option<Arc<str>>,
    /// Those of its issuer, where somebody follows them.
    pub(crate) revocations: Option<Arc<Revocations>>,
    /// As revocations name them, where that is not `subject`.
    pub(crate) their_subject: Option<Box<str>>,
    pub(crate) expires_at: Timestamp,
    /// `expires_at` and the issuer's clock skew.
    pub(crate) refused_from: Timestamp,
}

impl Principal {
    pub(crate) fn new(claims: VerifiedClaims) -> Self {
        let role_line = claims.roles.join(",").into();
        Self { claims, role_line }
    }

    /// A local user's id, or `<issuer name>:<sub>`, so that no foreign subject is ever taken for a local one.
    pub fn subject(&self) -> &str {
        &self.claims.subject
    }

    pub fn issuer(&self) -> &IssuerName {
        &self.claims.issuer
    }

    /// The one resource the token opens.
    pub fn resource(&self) -> &str {
        &self.claims.resource
    }

    pub fn scopes(&self) -> &ScopeSet {
        &self.claims.scopes
    }

    /// In our words: roles of a foreign token are mapped, and those without a mapping are gone.
    pub fn roles(&self) -> &[Box<str>] {
        &self.claims.roles
    }

    pub fn tenant(&self) -> Option<&str> {
        self.claims.tenant.as_deref()
    }

    /// Those that [`crate::IssuerSpec::remembering`] asked for.
    pub fn remembered(&self) -> &RememberedClaims {
        &self.claims.remembered
    }

    /// Of foreign tokens only where their revocations are followed.
    pub fn session(&self) -> Option<&str> {
        self.claims.session.as_deref()
    }

    /// The user's counter when the token was issued; 0 for foreign tokens whose revocations are not followed.
    pub fn version(&self) -> u64 {
        self.claims.version
    }

    /// `jti`; empty where a foreign token has none.
    pub fn token_id(&self) -> &str {
        &self.claims.token_id
    }

    pub fn client_id(&self) -> Option<&str> {
        self.claims.client_id.as_deref()
    }

    /// As the token says it, without clock skew.
    pub fn expires_at(&self) -> Timestamp {
        self.claims.expires_at
    }

    /// Separated by spaces.
    pub fn scope_line(&self) -> &str {
        self.claims.scopes.line()
    }

    /// Separated by commas.
    pub fn role_line(&self) -> &str {
        &self.role_line
    }

    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.claims.refused_from
    }

    /// Whether it may have been revoked without this being known here, as always where nobody follows its issuer.
    pub fn has_stale_revocations(&self, now: Timestamp) -> bool {
        let revocations = self.claims.revocations.as_ref();
        revocations.is_none_or(|revocations| revocations.are_stale(now))
    }

    /// Whether nothing of what the token came from was taken back. What a good token began may outlast the token, but
    /// not its session, so its expiry is not looked at here.
    pub fn still_stands(&self, now: Timestamp) -> bool {
        let claims = &self.claims;
        let bearer = Bearer {
            session: self.session(),
            subject: claims.their_subject.as_ref().unwrap_or(&claims.subject),
            version: claims.version,
            key_id: claims.key_id.as_deref(),
        };
        let revocations = claims.revocations.as_ref();
        revocations.is_none_or(|revocations| !revocations.refuses(&bearer, now))
    }

    /// Roughly what it holds on the heap, for the cache's bound.
    pub(crate) fn weight(&self) -> usize {
        let claims = &self.claims;
        let names = [&claims.subject, &claims.resource, &claims.token_id]
            .into_iter()
            .map(|name| name.len());
        let optional = [
            &claims.tenant,
            &claims.session,
            &claims.client_id,
            &claims.their_subject,
        ]
        .into_iter()
        .flatten()
        .map(|name| name.len());
        // A role or a scope is kept twice: alone, with its length and pointer, and in its line.
        let words = claims
            .roles
            .iter()
            .map(|role| role.len())
            .chain(claims.scopes.iter().map(str::len));
        size_of::<Self>()
            + names.sum::<usize>()
            + optional.sum::<usize>()
            + claims.remembered.weight()
            + words.map(|length| 2 * length + 17).sum::<usize>()
    }
}
