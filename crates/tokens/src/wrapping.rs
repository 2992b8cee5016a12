//! Keys at rest: AES-256-GCM under a key that HKDF-SHA256 derives from the root key, one for each purpose.
//!
//! A wrapped key is the nonce, the ciphertext and the tag, in that order. Nonces are random: 96 bits allow some four
//! billion wraps under one purpose before a repetition is worth a thought, and we make a handful.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    rand,
};
use portcullis_config::storage::RootKeyBytes;
use zeroize::Zeroizing;

use crate::error::WrapError;

/// Not printable and not copyable.
pub struct WrappingKey {
    key: LessSafeKey,
    purpose: &'static str,
}

impl WrappingKey {
    /// The same root key and purpose always give the same wrapping key; what one purpose wraps no other unwraps.
    pub fn derive(root: &RootKeyBytes, purpose: &'static str) -> Self {
        let salt = Salt::new(HKDF_SHA256, b"portcullis wrapping key v1");
        let derived = salt.extract(root.expose());
        let info = [purpose.as_bytes()];
        let material = derived
            .expand(&info, &AES_256_GCM)
            .expect("HKDF-SHA256 gives up to 8160 bytes, and this asks for 32");
        Self {
            key: LessSafeKey::new(UnboundKey::from(material)),
            purpose,
        }
    }

    pub fn wrap(&self, plaintext: &[u8]) -> Result<Vec<u8>, WrapError> {
        self.seal(self.purpose.as_bytes(), plaintext)
    }

    pub fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        self.open(self.purpose.as_bytes(), wrapped)
    }

    /// As [`WrappingKey::wrap`], but it comes back for this owner only: what lies in one row is worth nothing in another.
    pub fn wrap_for(&self, owner: &str, plaintext: &[u8]) -> Result<Vec<u8>, WrapError> {
        self.seal(&self.bound_to(owner), plaintext)
    }

    /// What [`WrappingKey::wrap_for`] made for the same owner.
    pub fn unwrap_for(&self, owner: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        self.open(&self.bound_to(owner), wrapped)
    }

    /// No purpose holds a NUL, so no purpose with an owner can be another one, or one without.
    fn bound_to(&self, owner: &str) -> Vec<u8> {
        [self.purpose.as_bytes(), b"\0", owner.as_bytes()].concat()
    }

    fn seal(&self, context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, WrapError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_unspecified| WrapError::Wrap)?;
        // Encrypted in place, with room for the tag: a vector that grows would leave the plaintext behind.
        let mut wrapped =
            Vec::with_capacity(NONCE_LEN + plaintext.len() + self.key.algorithm().tag_len());
        wrapped.extend_from_slice(&nonce);
        let mut body = Zeroizing::new(plaintext.to_vec());
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                &mut body,
            )
            .map_err(|_unspecified| WrapError::Wrap)?;
        wrapped.extend_from_slice(&body);
        wrapped.extend_from_slice(tag.as_ref());
        Ok(wrapped)
    }

    fn open(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        let (nonce, body) = wrapped
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(WrapError::Unwrap)?;
        let mut body = Zeroizing::new(body.to_vec());
        let opened = self
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(context),
                &mut body,
            )
            .map_err(|_unspecified| WrapError::Unwrap)?
            .len();
        body.truncate(opened);
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(root: u8, purpose: &'static str) -> WrappingKey {
        WrappingKey::derive(&RootKeyBytes::new([root; 32]), purpose)
    }

    #[test]
    fn what_is_wrapped_comes_back_under_the_same_root_and_purpose_only() {
        let wrapped = key(1, "signing keys").wrap(b"secret").expect("wrapping");
        assert_eq!(
            key(1, "signing keys")
                .unwrap(&wrapped)
                .expect("the same key")
                .as_slice(),
            b"secret"
        );
        assert_eq!(
            key(2, "signing keys").unwrap(&wrapped),
            Err(WrapError::Unwrap),
            "another root key"
        );
        assert_eq!(
            key(1, "checkpoints").unwrap(&wrapped),
            Err(WrapError::Unwrap),
            "another purpose"
        );
    }

    #[test]
    fn what_is_wrapped_for_one_owner_comes_back_for_no_other() {
        let key = key(1, "second-factor");
        let wrapped = key.wrap_for("one", b"secret").expect("wrapping");
        let opened = key.unwrap_for("one", &wrapped).expect("the same owner");
        assert_eq!(opened.as_slice(), b"secret");
        for other in ["other", "", "one\0", "One"] {
            let refused = key.unwrap_for(other, &wrapped);
            assert_eq!(refused, Err(WrapError::Unwrap), "{other:?}");
        }
        assert_eq!(key.unwrap(&wrapped), Err(WrapError::Unwrap), "no owner");
    }

    #[test]
    fn one_flipped_bit_anywhere_or_a_missing_byte_is_noticed() {
        let key = key(1, "signing keys");
        let wrapped = key.wrap(b"secret").expect("wrapping");
        for place in 0..wrapped.len() {
            let mut damaged = wrapped.clone();
            damaged[place] ^= 1;
            assert_eq!(key.unwrap(&damaged), Err(WrapError::Unwrap), "byte {place}");
            assert_eq!(
                key.unwrap(&wrapped[..place]),
                Err(WrapError::Unwrap),
                "cut at {place}"
            );
        }
    }

    #[test]
    fn wrapping_twice_never_gives_the_same_bytes() {
        let key = key(1, "signing keys");
        assert_ne!(
            key.wrap(b"secret").expect("wrapping"),
            key.wrap(b"secret").expect("wrapping")
        );
        assert!(
            !key.wrap(b"a longer secret")
                .expect("wrapping")
                .windows(8)
                .any(|window| window == b"a longer")
        );
    }
}
