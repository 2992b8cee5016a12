//! What stands for a first proof until the second comes: 32 random bytes, of which the database keeps a hash. Who holds
//! them is who gave the first proof; they say nothing else.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use crate::random::{self, NoRandomness};

const BYTES: usize = 32;
/// In base64.
const CHARACTERS: usize = 43;

/// A new one as the client is given it, and the hash it is kept by.
pub(super) fn new() -> Result<(SecretString, [u8; 32]), NoRandomness> {
    let bytes = random::bytes::<BYTES>()?;
    let shown = SecretString::from(URL_SAFE_NO_PAD.encode(bytes));
    Ok((shown, Sha256::digest(bytes).into()))
}

/// `None` for what was never given out, so that the database is not asked for it.
pub(super) fn hash_of(text: &str) -> Option<[u8; 32]> {
    if text.len() != CHARACTERS {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_challenge_is_found_by_what_the_client_was_given() {
        let (shown, hash) = new().unwrap();
        assert_eq!(hash_of(shown.expose_secret()), Some(hash));
        for other in ["", "x", &"!".repeat(43), &"A".repeat(44)] {
            assert_eq!(hash_of(other), None, "{other}");
        }
    }
}
