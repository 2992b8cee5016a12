//! Who is calling: keys, signing and verification of access tokens.
//!
//! Start with [`Verifier::verify`], which makes every [`Principal`]; then read `header`, `issuer` and `claims` in the
//! order it calls them. [`SigningKey`] is the other side, [`Revocations`] what takes a token back before it expires.
//!
//! Invariant: no I/O and no clock. The time comes in as `now`, key files as text that somebody else has read, and a
//! `Principal` exists only if a signature, its claims and the revocations were checked.

mod algorithm;
mod cache;
mod claims;
mod client_assertions;
mod der;
mod error;
mod foreign;
mod header;
mod id_tokens;
mod issuer;
mod issuer_keys;
mod json;
mod jwks;
mod keys;
mod principal;
mod refresh;
mod remembered;
pub mod renewal;
mod revocations;
pub mod rotation;
mod scopes;
mod signing;
mod statements;
mod text;
mod verifier;
mod wrapping;

#[cfg(test)]
mod tests;

pub use crate::{
    cache::CacheCounts,
    claims::AccessClaims,
    client_assertions::{ClientAssertion, ClientAssertions, ClientKeys, ClientKeysError},
    error::{KeyError, RefreshTokenError, SignError, TokenError, WrapError},
    id_tokens::{IdTokens, Identity},
    issuer::{IssuerSpec, LOCAL_CLOCK_SKEW, OWN_RESOURCE},
    issuer_keys::{IssuerKeys, KeyRenewal, Renewal},
    jwks::{KeyFault, KeySetError, MAX_KEY_SET_BYTES, PublishedKeys, SkippedKey},
    keys::{KeySet, VerificationKey},
    principal::{IssuerName, Principal},
    refresh::{RefreshKey, RefreshToken},
    remembered::RememberedClaims,
    revocations::{Bearer, Revocation, Revocations, STALE_AFTER},
    scopes::{InvalidScope, ScopeSet},
    signing::{SigningAlgorithm, SigningKey},
    verifier::{MAX_TOKEN_BYTES, MissingKey, Refused, Verifier, VerifierParts},
    wrapping::WrappingKey,
};
