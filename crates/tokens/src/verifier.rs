//! The one door through which a token becomes a [`Principal`].
//!
//! Cheap checks come first: size and alphabet, header, issuer, key; then the signature, and then what it vouches for.
//! Nothing of a token is believed before its signature, but `iss` and `kid` have to choose among keys that we hold.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_config::units::Timestamp;

use crate::{
    cache::{Cache, CacheCounts},
    claims::Claims,
    error::{KeyError, TokenError},
    header::Header,
    issuer::{Issuer, IssuerSpec},
    issuer_keys::{IssuerKeys, Renewal},
    json,
    keys::KeySet,
    principal::{IssuerName, Principal},
    revocations::Revocations,
};

/// Longer ones are refused before any work is spent on them.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

pub struct VerifierParts {
    pub issuers: Vec<IssuerSpec>,
    /// Verified tokens remembered at the most; 0 remembers none.
    pub cache_entries: usize,
    /// What they may hold together, roughly.
    pub cache_bytes: usize,
    /// Of our own tokens.
    pub revocations: Arc<Revocations>,
}

pub struct Verifier {
    /// By `iss`.
    issuers: HashMap<String, Issuer>,
    cache: Cache,
}

impl Verifier {
    pub fn new(parts: VerifierParts) -> Result<Self, KeyError> {
        let mut issuers: HashMap<String, Issuer> = HashMap::new();
        for spec in parts.issuers {
            let issuer = Issuer::new(spec, &parts.revocations);
            let is_known = issuers
                .values()
                .any(|known| known.issuer == issuer.issuer || known.name() == issuer.name());
            if is_known {
                return Err(KeyError::DuplicateIssuer);
            }
            issuers.insert(issuer.issuer.clone(), issuer);
        }
        Ok(Self {
            issuers,
            cache: Cache::new(parts.cache_entries, parts.cache_bytes),
        })
    }

    /// Whether this token is good at `now`. A token seen before costs a look-up, an unknown one a signature check.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<Principal>, TokenError> {
        self.examine(token, now).map_err(|refused| refused.cause)
    }

    /// As [`Self::verify`], for a caller who counts refusals by issuer, or who would wait for keys that may be had.
    pub fn examine(&self, token: &str, now: Timestamp) -> Result<Arc<Principal>, Refused> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLarge.into());
        }
        let principal = match self.cache.find(token) {
            Some(principal) => principal,
            None => self.verify_unseen(token, now)?,
        };
        Self::check_now(&principal, now).map_err(|cause| Refused {
            cause,
            issuer: Some(principal.issuer().clone()),
            missing: None,
        })?;
        Ok(principal)
    }

    /// Whose token it is, as of the moment when it was issued: what became of it since is not looked at. For whoever brings it
    /// to give something back, never for whoever wants something.
    pub fn recognize(&self, token: &str) -> Result<Arc<Principal>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLarge);
        }
        if let Some(principal) = self.cache.find(token) {
            return Ok(principal);
        }
        let payload = Parts::of(token)?.payload()?;
        let issued_at = Claims(&payload).validity()?.issued_at;
        // Nobody's word as yet, and then the word of whoever signed it.
        self.verify_unseen(token, issued_at.ok_or(TokenError::BadClaims("iat"))?)
            .map_err(|refused| refused.cause)
    }

    /// From the return of this call on, no token of that issuer (named by its `iss`) passes that these keys do not
    /// verify, remembered ones included.
    pub fn replace_keys(&self, issuer: &str, keys: KeySet) -> Result<(), KeyError> {
        let issuer = self.issuers.get(issuer).ok_or(KeyError::UnknownIssuer)?;
        issuer.keys.replace(keys);
        Ok(())
    }

    pub fn cache_counts(&self) -> CacheCounts {
        self.cache.counts()
    }

    fn verify_unseen(&self, token: &str, now: Timestamp) -> Result<Arc<Principal>, Refused> {
        let parts = Parts::of(token)?;
        let header = parts.header()?;
        let payload = parts.payload()?;
        let issuer = self.issuer_of(&payload)?;
        self.verify_of(issuer, token, (&header, &payload), now)
            .map_err(|cause| Refused::by(issuer, header, cause))
    }

    /// The warrant is of the keys that were used, so that a verdict of replaced keys is never found again.
    fn verify_of(
        &self,
        issuer: &Issuer,
        token: &str,
        (header, payload): (&Header, &Payload),
        now: Timestamp,
    ) -> Result<Arc<Principal>, TokenError> {
        issuer.check_header(header)?;
        let current = issuer.keys.current();
        let key = current.keys.choose(header)?;
        let claims = Claims(payload);
        // Only their form, and before the library looks at them: it would take dates of a wrong type for bad JSON.
        let validity = claims.validity()?;
        key.check(token, &issuer.demands)?;
        let principal = Arc::new(issuer.read(claims, validity, (key, header), now)?);
        let warrant = current.warrant(&issuer.keys);
        self.cache.insert(token, &principal, warrant);
        Ok(principal)
    }

    fn issuer_of(&self, payload: &Payload) -> Result<&Issuer, TokenError> {
        let claimed = payload
            .get("iss")
            .and_then(serde_json::Value::as_str)
            .ok_or(TokenError::BadClaims("iss"))?;
        self.issuers.get(claimed).ok_or(TokenError::UnknownIssuer)
    }

    /// What may have changed since the token was remembered.
    fn check_now(principal: &Principal, now: Timestamp) -> Result<(), TokenError> {
        if principal.is_expired(now) {
            return Err(TokenError::Expired);
        }
        if principal.still_stands(now) {
            Ok(())
        } else {
            Err(TokenError::Revoked)
        }
    }
}

/// A token that was refused, and what was learned of it on the way.
pub struct Refused {
    pub cause: TokenError,
    /// Whose token it claims to be, if that is a configured issuer: fit for the label of a metric, but nobody's word.
    pub issuer: Option<IssuerName>,
    /// There where another key might have verified it.
    pub missing: Option<MissingKey>,
}

/// A key that a token wants and its issuer may have by now.
pub struct MissingKey {
    keys: Arc<IssuerKeys>,
    key_id: Option<String>,
}

impl MissingKey {
    /// A token that names no key can only mean one we hold, unless we hold none at all.
    pub(crate) fn behind(
        cause: TokenError,
        keys: &Arc<IssuerKeys>,
        key_id: Option<String>,
    ) -> Option<Self> {
        let is_missing = cause == TokenError::KeysUnavailable
            || cause == TokenError::UnknownKey && key_id.is_some();
        is_missing.then(|| Self {
            keys: Arc::clone(keys),
            key_id,
        })
    }

    /// Of a token that the issuer itself has just handed over, and no stranger: where no key fits, all may have changed,
    /// under the names of before or without any.
    pub(crate) fn behind_own(
        cause: TokenError,
        keys: &Arc<IssuerKeys>,
        key_id: Option<String>,
    ) -> Option<Self> {
        let fits_none = matches!(
            cause,
            TokenError::KeysUnavailable
                | TokenError::UnknownKey
                | TokenError::WrongAlgorithm
                | TokenError::BadSignature
        );
        fits_none.then(|| Self {
            keys: Arc::clone(keys),
            key_id,
        })
    }

    /// Has the issuer asked, unless that was done a moment ago; see [`crate::KeyRenewal::renew`].
    pub fn renew(&self) -> Option<Renewal> {
        self.keys.renew(self.key_id.as_deref())
    }
}

impl Refused {
    fn by(issuer: &Issuer, header: Header, cause: TokenError) -> Self {
        Self {
            cause,
            issuer: Some(issuer.name()),
            missing: MissingKey::behind(cause, &issuer.keys, header.key_id),
        }
    }
}

/// Before an issuer could be told.
impl From<TokenError> for Refused {
    fn from(cause: TokenError) -> Self {
        Self {
            cause,
            issuer: None,
            missing: None,
        }
    }
}

pub(crate) type Payload = serde_json::Map<String, serde_json::Value>;

/// The compact form of RFC 7515 section 3.1, still encoded.
pub(crate) struct Parts<'a> {
    header: &'a str,
    payload: &'a str,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(token: &'a str) -> Result<Self, TokenError> {
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if token.len() > MAX_TOKEN_BYTES || !token.bytes().all(is_allowed) {
            return Err(TokenError::Malformed);
        }
        let mut parts = token.split('.');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(header), Some(payload), Some(signature), None)
                if !header.is_empty() && !payload.is_empty() && !signature.is_empty() =>
            {
                Ok(Self { header, payload })
            }
            _ => Err(TokenError::Malformed),
        }
    }

    pub(crate) fn header(&self) -> Result<Header, TokenError> {
        Header::read(&decode(self.header)?)
    }

    pub(crate) fn payload(&self) -> Result<Payload, TokenError> {
        json::object(&decode(self.payload)?).ok_or(TokenError::Malformed)
    }
}

/// Padding, the other alphabet and stray bits at the end are all errors, so that one token has one spelling.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_invalid| TokenError::Malformed)
}
