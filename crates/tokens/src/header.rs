//! The JOSE header. It is read before anything is verified, so that it may choose a key of ours but never bring one,
//! nor ask for a processing that we do not do.

use portcullis_config::issuers::{Algorithm, TokenType};
use serde_json::{Map, Value};

use crate::{algorithm, error::TokenError, json};

pub(crate) struct Header {
    /// Nothing for `none` and everything else that we do not verify.
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) key_id: Option<String>,
    type_name: Option<String>,
    /// A certificate thumbprint. It only hints at a key, and Microsoft Entra puts one into every token.
    has_thumbprint: bool,
    has_unknown: bool,
}

impl Header {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, TokenError> {
        let members = json::object(bytes).ok_or(TokenError::Malformed)?;
        // RFC 7515 section 4.1.11: whoever does not understand an extension listed here must refuse. We know none.
        if members.contains_key("crit") {
            return Err(TokenError::Critical);
        }
        let algorithm = string(&members, "alg")?.ok_or(TokenError::Malformed)?;
        let mut header = Self {
            algorithm: algorithm::named(&algorithm),
            key_id: string(&members, "kid")?,
            type_name: string(&members, "typ")?,
            has_thumbprint: false,
            has_unknown: false,
        };
        for name in members.keys() {
            header.note(name)?;
        }
        Ok(header)
    }

    fn note(&mut self, name: &str) -> Result<(), TokenError> {
        match name {
            "alg" | "kid" | "typ" => {}
            // A key of the sender's choice, a place to fetch one, another encoding, or a token within: never followed.
            "jwk" | "jku" | "x5u" | "x5c" | "zip" | "enc" | "cty" | "b64" => {
                return Err(TokenError::Malformed);
            }
            "x5t" | "x5t#S256" => self.has_thumbprint = true,
            _ => self.has_unknown = true,
        }
        Ok(())
    }

    /// Whether it holds only what our own signer writes.
    pub(crate) fn is_closed(&self) -> bool {
        !self.has_thumbprint && !self.has_unknown
    }

    pub(crate) fn is_of_type(&self, accepted: &[TokenType]) -> bool {
        accepted.iter().any(|kind| match (kind, &self.type_name) {
            (TokenType::Absent, None) => true,
            (TokenType::Named(name), Some(given)) => {
                without_prefix(given).eq_ignore_ascii_case(without_prefix(name))
            }
            (TokenType::Absent, Some(_)) | (TokenType::Named(_), None) => false,
        })
    }
}

/// RFC 7515 section 4.1.9: `application/` may be left out where no other slash follows.
fn without_prefix(media_type: &str) -> &str {
    match media_type.split_once('/') {
        Some((prefix, rest))
            if prefix.eq_ignore_ascii_case("application") && !rest.contains('/') =>
        {
            rest
        }
        Some(_) | None => media_type,
    }
}

fn string(members: &Map<String, Value>, name: &str) -> Result<Option<String>, TokenError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_),
        ) => Err(TokenError::Malformed),
    }
}
