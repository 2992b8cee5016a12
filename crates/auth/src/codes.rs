//! A code that is sent by mail: 128 random bits, of which only the hash is kept.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_store::CodeHash;
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::random::{self, NoRandomness};

const BYTES: usize = 16;
/// Whatever is presented is hashed; more than this was never sent.
const MAX_TEXT_BYTES: usize = 128;

/// Deliberately without `Debug`.
pub(crate) struct Code(Zeroizing<String>);

impl Code {
    pub(crate) fn make() -> Result<Self, NoRandomness> {
        let bytes = Zeroizing::new(random::bytes::<BYTES>()?);
        Ok(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes))))
    }

    pub(crate) fn hash(&self) -> CodeHash {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// For the letter alone.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        if text.is_empty() || text.len() > MAX_TEXT_BYTES {
            return Err(serde::de::Error::custom("a code has 1 to 128 bytes"));
        }
        // People copy a blank along.
        Ok(Self(Zeroizing::new(text.trim().to_owned())))
    }
}
