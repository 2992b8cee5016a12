//! Refresh tokens: which session, and which of its tokens in turn, under a MAC. There is nothing secret in them but the MAC, and
//! nothing of them has to be kept: whoever holds the key can tell every token that was ever made, and who reads the database none.
//!
//! The bytes are version (1), key id (4), session (16), generation (LEB128, 1 to 10) and HMAC-SHA256 (32) over all before it, in
//! base64url without padding. Each token has one spelling: another would be another token to a log, and the same one to us.

use aws_lc_rs::{
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
    hmac,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_config::storage::RootKeyBytes;

use crate::error::RefreshTokenError;

const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 4;
const SESSION_BYTES: usize = 16;
const MAC_BYTES: usize = 32;
/// The bytes of the largest generation, and of a whole token with it in base64.
const LONGEST_GENERATION: usize = 10;
const LONGEST_TOKEN: usize =
    (1 + KEY_ID_BYTES + SESSION_BYTES + LONGEST_GENERATION + MAC_BYTES).div_ceil(3) * 4;

/// Not printable and not copyable.
pub struct RefreshKey {
    mac: hmac::Key,
    id: [u8; KEY_ID_BYTES],
}

/// What a refresh token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// A UUID.
    pub session: [u8; SESSION_BYTES],
    pub generation: u64,
}

impl RefreshKey {
    /// The same root key always gives the same key.
    pub fn derive(root: &RootKeyBytes) -> Self {
        let salt = Salt::new(HKDF_SHA256, b"portcullis refresh token v1");
        let derived = salt.extract(root.expose());
        let material = derived
            .expand(&[b"mac"], hmac::HMAC_SHA256)
            .expect("HKDF-SHA256 gives up to 8160 bytes, and this asks for 32");
        Self {
            mac: hmac::Key::from(material),
            id: key_id(&derived),
        }
    }

    /// As sessions keep it, to tell tokens of another root key.
    pub fn id(&self) -> String {
        self.id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn write(&self, token: RefreshToken) -> String {
        let mut bytes = Vec::with_capacity(LONGEST_TOKEN);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&token.session);
        push_generation(&mut bytes, token.generation);
        let mac = hmac::sign(&self.mac, &bytes);
        bytes.extend_from_slice(mac.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whether it is one of ours. That it was found here does not say that it is still good.
    pub fn read(&self, text: &str) -> Result<RefreshToken, RefreshTokenError> {
        if text.len() > LONGEST_TOKEN {
            return Err(RefreshTokenError);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_not_base64| RefreshTokenError)?;
        let (said, mac) = bytes
            .split_last_chunk::<MAC_BYTES>()
            .ok_or(RefreshTokenError)?;
        // In constant time, and before anything that was said is looked at.
        hmac::verify(&self.mac, said, mac).map_err(|_unspecified| RefreshTokenError)?;
        self.parse(said).ok_or(RefreshTokenError)
    }

    fn parse(&self, said: &[u8]) -> Option<RefreshToken> {
        let said = said.strip_prefix(&[VERSION])?.strip_prefix(&self.id)?;
        let (session, generation) = said.split_first_chunk::<SESSION_BYTES>()?;
        Some(RefreshToken {
            session: *session,
            generation: generation_of(generation)?,
        })
    }
}

fn key_id(derived: &Prk) -> [u8; KEY_ID_BYTES] {
    let mut id = [0; KEY_ID_BYTES];
    derived
        .expand(&[b"id"], KeyId)
        .and_then(|material| material.fill(&mut id))
        .expect("HKDF-SHA256 gives up to 8160 bytes, and this asks for 4");
    id
}

struct KeyId;

impl KeyType for KeyId {
    fn len(&self) -> usize {
        KEY_ID_BYTES
    }
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn push_generation(bytes: &mut Vec<u8>, mut generation: u64) {
    loop {
        let [low, ..] = generation.to_le_bytes();
        generation >>= 7;
        if generation == 0 {
            return bytes.push(low & 0x7f);
        }
        bytes.push(low | 0x80);
    }
}

/// All of `bytes`, in the one spelling that [`push_generation`] gives.
fn generation_of(bytes: &[u8]) -> Option<u64> {
    if bytes.len() > LONGEST_GENERATION {
        return None;
    }
    let (last, before) = bytes.split_last()?;
    let is_spelled = last & 0x80 == 0
        && before.iter().all(|byte| byte & 0x80 != 0)
        && (*last != 0 || before.is_empty());
    if !is_spelled {
        return None;
    }
    bytes.iter().rev().try_fold(0_u64, |generation, byte| {
        let low = u64::from(byte & 0x7f);
        Some(generation.checked_mul(0x80)? | low)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SESSION: [u8; SESSION_BYTES] = [7; SESSION_BYTES];

    fn key(root: u8) -> RefreshKey {
        RefreshKey::derive(&RootKeyBytes::new([root; 32]))
    }

    /// As a forger would who has the key and not the spelling.
    fn signed(key: &RefreshKey, said: &[u8]) -> String {
        let mac = hmac::sign(&key.mac, said);
        URL_SAFE_NO_PAD.encode([said, mac.as_ref()].concat())
    }

    fn said(key: &RefreshKey, generation: &[u8]) -> Vec<u8> {
        [&[VERSION], &key.id[..], &SESSION, generation].concat()
    }

    #[test]
    fn a_token_has_one_spelling() {
        let key = key(1);
        let spelled = |generation: &[u8]| {
            key.read(&signed(&key, &said(&key, generation)))
                .map(|token| token.generation)
        };
        assert_eq!(spelled(&[5]), Ok(5));
        assert_eq!(spelled(&[0]), Ok(0));
        assert_eq!(spelled(&[0x80, 1]), Ok(128));
        let largest = [[0xff; 9].as_slice(), &[1]].concat();
        assert_eq!(spelled(&largest), Ok(u64::MAX));
        let too_large = [[0xff; 9].as_slice(), &[2]].concat();
        let too_long = [[0x80; 10].as_slice(), &[1]].concat();
        for generation in [
            &[][..],
            &[0x85, 0],
            &[0x80],
            &[5, 5],
            &[0x80, 0x80, 0],
            &too_large,
            &too_long,
        ] {
            assert_eq!(
                spelled(generation),
                Err(RefreshTokenError),
                "{generation:?}"
            );
        }
    }

    #[test]
    fn another_version_another_key_id_and_another_root_key_are_refused() {
        let (key, elsewhere) = (key(1), key(2));
        let mut version = said(&key, &[5]);
        version[0] = 2;
        let mut id = said(&key, &[5]);
        id[1] ^= 1;
        for other in [version, id] {
            assert_eq!(key.read(&signed(&key, &other)), Err(RefreshTokenError));
        }
        let token = RefreshToken {
            session: SESSION,
            generation: 5,
        };
        assert_eq!(key.read(&elsewhere.write(token)), Err(RefreshTokenError));
        assert_ne!(key.id(), elsewhere.id());
    }

    #[test]
    fn what_is_no_token_at_all_is_refused() {
        let key = key(1);
        let token = key.write(RefreshToken {
            session: SESSION,
            generation: u64::MAX,
        });
        assert_eq!(
            token.len(),
            LONGEST_TOKEN,
            "without padding it is a multiple of 4"
        );
        for text in [
            "",
            "AQ",
            "é",
            &"A".repeat(65_536),
            &format!("{token}="),
            &format!("{token}A"),
            &format!(" {token}"),
        ] {
            assert_eq!(key.read(text), Err(RefreshTokenError));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(session: [u8; SESSION_BYTES], generation: u64) {
            let (key, token) = (key(1), RefreshToken { session, generation });
            prop_assert_eq!(key.read(&key.write(token)), Ok(token));
        }

        /// The trailing bits of the last character included.
        #[test]
        fn one_changed_character_is_refused(session: [u8; SESSION_BYTES], generation: u64, place: prop::sample::Index, other in "[A-Za-z0-9_+/=-]") {
            let (key, token) = (key(1), RefreshToken { session, generation });
            let mut text = key.write(token);
            let place = place.index(text.len());
            prop_assume!(text[place..=place] != other);
            text.replace_range(place..=place, &other);
            prop_assert_eq!(key.read(&text), Err(RefreshTokenError));
        }

        #[test]
        fn nothing_makes_reading_panic(text in ".{0,120}") {
            prop_assert!(key(1).read(&text).is_err());
        }
    }
}
