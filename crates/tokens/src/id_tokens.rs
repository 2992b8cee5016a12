//! ID tokens: what an identity provider says of the person it has just signed in (OIDC Core 1.0 section 2).

use std::{sync::Arc, time::Duration};

use aws_lc_rs::constant_time;
use portcullis_config::{issuers::TokenType, units::Timestamp};

use crate::{
    claims::Claims,
    error::TokenError,
    issuer_keys::IssuerKeys,
    keys::Demands,
    statements::{Expectation, Statement, shown_name},
    verifier::{MissingKey, Refused},
};

/// Between a provider's clock and ours.
const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// An ID token is read once, right after it was made: one that was made earlier was kept by somebody.
const MAX_AGE: Duration = Duration::from_secs(10 * 60);

/// Providers differ from minutes to half a day. It matters little, as the age is bounded.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Reads the ID tokens that one provider makes for one client, which is us.
pub struct IdTokens {
    issuer: String,
    client_id: String,
    keys: Arc<IssuerKeys>,
    demands: Demands,
    types: [TokenType; 2],
}

/// A person as a provider knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Together with the issuer it never means anybody else. Nothing else here does that.
    pub subject: String,
    /// Only where the provider says that it has verified it.
    pub email: Option<String>,
    pub name: Option<String>,
}

impl IdTokens {
    pub fn new(issuer: &str, client_id: &str, keys: Arc<IssuerKeys>) -> Self {
        Self {
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            keys,
            demands: Demands::new(issuer, &[client_id.to_owned()]),
            types: [TokenType::Named("JWT".to_owned()), TokenType::Absent],
        }
    }

    /// Whose this token is, if the provider made it just now, for us and for the sign-in that drew `nonce`.
    pub fn read(&self, token: &str, nonce: &str, now: Timestamp) -> Result<Identity, Refused> {
        let statement = Statement::parse(token)?;
        self.check(&statement, nonce, now).map_err(|cause| Refused {
            cause,
            issuer: None,
            missing: MissingKey::behind_own(cause, &self.keys, statement.header.key_id.clone()),
        })
    }

    fn check(
        &self,
        statement: &Statement<'_>,
        nonce: &str,
        now: Timestamp,
    ) -> Result<Identity, TokenError> {
        let expected = Expectation {
            issuer: &self.issuer,
            demands: &self.demands,
            types: &self.types,
            clock_skew: CLOCK_SKEW,
            max_lifetime: MAX_LIFETIME,
        };
        let validity = statement.check(&expected, &self.keys.current().keys, now)?;
        let issued_at = validity.issued_at.ok_or(TokenError::BadClaims("iat"))?;
        if now.saturating_since(issued_at) > MAX_AGE {
            return Err(TokenError::Expired);
        }
        let claims = statement.claims();
        self.check_party(claims)?;
        check_nonce(claims, nonce)?;
        Ok(Identity {
            subject: claims.name("sub", "sub")?.to_owned(),
            email: verified_email(claims),
            name: shown_name(claims, "name"),
        })
    }

    /// OIDC Core 1.0 section 3.1.3.7, steps 3 to 5: among several audiences it has to say that it is for us.
    fn check_party(&self, claims: Claims<'_>) -> Result<(), TokenError> {
        let party = claims.optional_name("azp", "azp")?;
        let is_alone = claims.names("aud", "aud")?.len() == 1;
        match party {
            Some(party) if party == self.client_id => Ok(()),
            None if is_alone => Ok(()),
            Some(_) | None => Err(TokenError::BadClaims("azp")),
        }
    }
}

fn check_nonce(claims: Claims<'_>, nonce: &str) -> Result<(), TokenError> {
    let given = claims.name("nonce", "nonce")?;
    constant_time::verify_slices_are_equal(given.as_bytes(), nonce.as_bytes())
        .map_err(|_unequal| TokenError::BadClaims("nonce"))
}

/// Some providers write `"true"`. A word is not a promise.
fn verified_email(claims: Claims<'_>) -> Option<String> {
    let is_verified = claims.find("email_verified")?.as_bool()?;
    is_verified.then(|| shown_name(claims, "email"))?
}
