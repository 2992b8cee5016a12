//! Passwords: what is taken as one, what is too weak to be kept, and (below) how they are hashed.
//!
//! A password never prints, is wiped when dropped, and is normalised once, here: NFKC, so that what two keyboards make
//! of the same character signs in to the same account (NIST SP 800-63B section 3.1.1.2). Nothing is ever cut off. What
//! was typed is kept beside it for the hashes of other systems, which were made of that.

mod argon;
mod bench;
mod breached;
mod common;
mod hasher;
mod legacy;
mod policy;
mod stored;

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, de};
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, Zeroizing};

pub use breached::{BreachedList, BreachedListError};
pub use hasher::{Hasher, HashingError, NewPasswordError};
pub use policy::Weakness;
pub use stored::{ImportBounds, StoredHashError, Verdict, import};

/// Enough for any passphrase; the hash would take more, the memory and the time of normalising it are the reason.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// A password in its normalised form. Deliberately without `Debug` and `PartialEq`; clones share the bytes.
#[derive(Clone)]
pub struct Password(Arc<Forms>);

struct Forms {
    normalised: Zeroizing<String>,
    typed: Zeroizing<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a password has 1 to {MAX_PASSWORD_BYTES} bytes")]
pub struct PasswordLength;

impl Password {
    pub fn parse(text: &str) -> Result<Self, PasswordLength> {
        if text.is_empty() || text.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordLength);
        }
        // Room for the whole result beforehand: a string that grows leaves copies behind that nobody wipes.
        let mut normalised =
            Zeroizing::new(String::with_capacity(text.nfkc().map(char::len_utf8).sum()));
        normalised.extend(text.nfkc());
        let typed = Zeroizing::new(text.to_owned());
        Ok(Self(Arc::new(Forms { normalised, typed })))
    }

    fn normalised(&self) -> &str {
        &self.0.normalised
    }

    /// As it came, for hashes that another system made of it.
    fn typed(&self) -> &[u8] {
        self.0.typed.as_bytes()
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PasswordVisitor)
    }
}

struct PasswordVisitor;

impl de::Visitor<'_> for PasswordVisitor {
    type Value = Password;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a password")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Password, E> {
        Password::parse(text).map_err(E::custom)
    }

    fn visit_string<E: de::Error>(self, mut text: String) -> Result<Password, E> {
        let password = Password::parse(&text).map_err(E::custom);
        text.zeroize();
        password
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        Password::parse(text)
            .ok()
            .map(|password| password.normalised().to_owned())
    }

    #[test]
    fn what_two_keyboards_make_of_a_character_is_one_password() {
        for (one, other) in [
            ("caf\u{e9}", "cafe\u{301}"),
            ("\u{fb01}sh", "fish"),
            ("ＡＢＣ", "ABC"),
        ] {
            assert_eq!(parsed(one), parsed(other), "{one} {other}");
        }
    }

    #[test]
    fn a_nul_byte_ends_nothing() {
        assert_ne!(parsed("pass\0x"), parsed("pass"));
        assert_ne!(parsed("pass\0x"), parsed("pass\0y"));
    }

    #[test]
    fn a_password_has_one_to_1024_bytes() {
        assert!(parsed("").is_none());
        assert!(parsed("x").is_some());
        assert!(parsed(&"x".repeat(1024)).is_some());
        assert!(parsed(&"x".repeat(1025)).is_none());
        assert!(
            parsed(&"é".repeat(513)).is_none(),
            "bytes are counted, not characters"
        );
    }
}
