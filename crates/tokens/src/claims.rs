//! The claims of an access token (RFC 9068), as we write them and as they are read back.

use std::time::Duration;

use portcullis_config::units::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{error::TokenError, scopes::ScopeSet, text};

/// What our own tokens say. `resource` equals `aud`; times are seconds since the epoch.
#[derive(Clone, Debug, Serialize)]
pub struct AccessClaims {
    pub iss: String,
    pub sub: String,
    pub aud: String,
    pub resource: String,
    pub exp: u64,
    pub iat: u64,
    pub jti: String,
    pub client_id: String,
    /// Separated by spaces.
    pub scope: String,
    pub roles: Vec<String>,
    pub sid: String,
    pub ver: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

impl AccessClaims {
    /// What the verifier would refuse is not signed: the holder could never use it. Returns the scopes.
    pub(crate) fn check(&self) -> Result<ScopeSet, &'static str> {
        let names = [
            ("sub", &self.sub),
            ("jti", &self.jti),
            ("client_id", &self.client_id),
            ("sid", &self.sid),
        ];
        let tenant = self.tenant.iter().map(|tenant| ("tenant", tenant));
        if let Some((claim, _)) = names
            .into_iter()
            .chain(tenant)
            .find(|(_, value)| !text::is_name(value))
        {
            return Err(claim);
        }
        if self.aud.is_empty() || self.aud != self.resource {
            return Err("resource");
        }
        if self.exp <= self.iat {
            return Err("exp");
        }
        if !self.roles.iter().all(|role| text::is_role(role)) {
            return Err("roles");
        }
        ScopeSet::parse(&self.scope).map_err(|_invalid| "scope")
    }
}

/// The members of a payload, read one by one. A claim is named twice: as it stands in the token, which a foreign
/// issuer decides, and as we call it in [`TokenError::BadClaims`].
#[derive(Clone, Copy)]
pub(crate) struct Claims<'a>(pub(crate) &'a Map<String, Value>);

/// When a token is valid. `issued_at` is required of our own.
pub(crate) struct Validity {
    pub(crate) expires_at: Timestamp,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) issued_at: Option<Timestamp>,
}

impl Validity {
    /// RFC 7519 section 4.1: on and after `exp` a token is refused, before `nbf` as well; both with the issuer's skew.
    pub(crate) fn check(
        &self,
        now: Timestamp,
        clock_skew: Duration,
        max_lifetime: Duration,
    ) -> Result<(), TokenError> {
        if now >= self.expires_at.plus(clock_skew) {
            return Err(TokenError::Expired);
        }
        let latest_begin = now.plus(clock_skew);
        let begins = [self.not_before, self.issued_at];
        if begins
            .into_iter()
            .flatten()
            .any(|begin| begin > latest_begin)
        {
            return Err(TokenError::NotYetValid);
        }
        // Where a foreign issuer does not say when, what remains of the lifetime is all that can be bounded.
        let since = self.issued_at.unwrap_or(latest_begin);
        if self.expires_at.saturating_since(since) > max_lifetime {
            Err(TokenError::LifetimeTooLong)
        } else {
            Ok(())
        }
    }
}

impl<'a> Claims<'a> {
    /// The member of that name, or else the one at the end of a path such as `realm_access.roles`. The whole name is
    /// tried first, since names may be addresses and have dots in them.
    pub(crate) fn find(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).or_else(|| {
            let (first, rest) = name.split_once('.')?;
            Self(self.0.get(first)?.as_object()?).find(rest)
        })
    }

    pub(crate) fn name(self, name: &str, claim: &'static str) -> Result<&'a str, TokenError> {
        self.optional_name(name, claim)?
            .ok_or(TokenError::BadClaims(claim))
    }

    pub(crate) fn optional_name(
        self,
        name: &str,
        claim: &'static str,
    ) -> Result<Option<&'a str>, TokenError> {
        match self.find(name) {
            None => Ok(None),
            Some(value) => match value.as_str() {
                Some(text) if text::is_name(text) => Ok(Some(text)),
                Some(_) | None => Err(TokenError::BadClaims(claim)),
            },
        }
    }

    /// A list of strings, or one string as a list of one.
    pub(crate) fn names(self, name: &str, claim: &'static str) -> Result<Vec<&'a str>, TokenError> {
        match self.find(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| value.as_str().ok_or(TokenError::BadClaims(claim)))
                .collect(),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
                Err(TokenError::BadClaims(claim))
            }
        }
    }

    pub(crate) fn validity(self) -> Result<Validity, TokenError> {
        Ok(Validity {
            expires_at: self.date("exp")?.ok_or(TokenError::BadClaims("exp"))?,
            not_before: self.date("nbf")?,
            issued_at: self.date("iat")?,
        })
    }

    /// A `NumericDate`: seconds, perhaps with a fraction (RFC 7519 section 2). Beyond the last timestamp it is the last.
    fn date(self, claim: &'static str) -> Result<Option<Timestamp>, TokenError> {
        let Some(value) = self.0.get(claim) else {
            return Ok(None);
        };
        if let Some(seconds) = value.as_u64() {
            return Ok(Some(Timestamp::from_secs(seconds)));
        }
        let seconds = value.as_f64().ok_or(TokenError::BadClaims(claim))?;
        let since_epoch =
            Duration::try_from_secs_f64(seconds).map_err(|_range| TokenError::BadClaims(claim))?;
        Ok(Some(Timestamp::default().plus(since_epoch)))
    }
}
