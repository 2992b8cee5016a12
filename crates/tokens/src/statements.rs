//! Signed statements that are no access tokens: what an identity provider says of a person, and what a client says of
//! itself. They are read in the order of access tokens, by the same header, keys and dates, and make no `Principal`.

use std::time::Duration;

use portcullis_config::{issuers::TokenType, units::Timestamp};

use crate::{
    claims::{Claims, Validity},
    error::TokenError,
    header::Header,
    keys::{Demands, KeySet},
    text,
    verifier::{Parts, Payload},
};

/// Of whom a statement is expected, for whom, and how long it may be good.
pub(crate) struct Expectation<'a> {
    /// Compared byte for byte.
    pub(crate) issuer: &'a str,
    /// Issuer and audiences, as the library is asked for them.
    pub(crate) demands: &'a Demands,
    pub(crate) types: &'a [TokenType],
    pub(crate) clock_skew: Duration,
    pub(crate) max_lifetime: Duration,
}

/// A statement as it came: taken apart, and nothing of it believed.
pub(crate) struct Statement<'a> {
    text: &'a str,
    pub(crate) header: Header,
    payload: Payload,
}

impl<'a> Statement<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, TokenError> {
        let parts = Parts::of(text)?;
        Ok(Self {
            text,
            header: parts.header()?,
            payload: parts.payload()?,
        })
    }

    /// Nothing of it may be used before [`Self::check`], but who it claims to be of chooses the keys.
    pub(crate) fn claims(&self) -> Claims<'_> {
        Claims(&self.payload)
    }

    /// Type, signature, issuer, audience, subject and dates.
    pub(crate) fn check(
        &self,
        expected: &Expectation<'_>,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<Validity, TokenError> {
        if !self.header.is_of_type(expected.types) {
            return Err(TokenError::WrongType);
        }
        let key = keys.choose(&self.header)?;
        let validity = self.claims().validity()?;
        key.check(self.text, expected.demands)?;
        // The library would take a list with ours in it.
        if self.claims().find("iss").and_then(|issuer| issuer.as_str()) != Some(expected.issuer) {
            return Err(TokenError::UnknownIssuer);
        }
        validity.check(now, expected.clock_skew, expected.max_lifetime)?;
        Ok(validity)
    }
}

/// Claims that are shown and never decide: left out unless they are there and fit to be shown.
pub(crate) fn shown_name(claims: Claims<'_>, name: &str) -> Option<String> {
    let value = claims.find(name)?.as_str()?;
    text::is_name(value).then(|| value.to_owned())
}
