//! What people type as their second proof: six digits that the app shows, or a recovery code from the drawer.
//!
//! A recovery code is 120 random bits, so that a plain hash keeps it as well as a slow one, and nobody needs to be held
//! up for guessing it. It is written in Crockford's base 32, which has no letters that look like others.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::app::CODE_DIGITS;
use crate::random::{self, NoRandomness};

/// How many recovery codes a user has at first.
pub(crate) const RECOVERY_CODES: usize = 10;

const ALPHABET: &str = "0123456789abcdefghjkmnpqrstvwxyz";
const RECOVERY_BYTES: usize = 15;
const RECOVERY_CHARACTERS: usize = RECOVERY_BYTES * 8 / BITS;
const GROUP: usize = 6;
/// Of one character.
const BITS: usize = 5;
/// Longer than any spelling with blanks and dashes in it.
const LONGEST: usize = 64;

/// Something of the right form. Deliberately without `Debug`.
pub(crate) enum Code {
    App(Zeroizing<String>),
    /// The hash that it is kept by.
    Recovery([u8; 32]),
}

impl Code {
    /// Blanks, dashes and capitals do not matter. `None` for what cannot be a code.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let characters = text.chars().filter(|c| !matches!(c, ' ' | '-'));
        let code: Zeroizing<String> = Zeroizing::new(characters.collect());
        if code.len() == CODE_DIGITS && code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Self::App(code));
        }
        let read: Option<String> = code.chars().map(recovery_character).collect();
        let read = Zeroizing::new(read?);
        (read.len() == RECOVERY_CHARACTERS).then(|| Self::Recovery(hash(&read)))
    }

    /// For the audit log.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::App(_) => "totp",
            Self::Recovery(_) => "recovery-code",
        }
    }
}

/// What Crockford reads for a letter that looks like a digit.
fn recovery_character(typed: char) -> Option<char> {
    let character = match typed.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        other => other,
    };
    ALPHABET.contains(character).then_some(character)
}

fn hash(code: &str) -> [u8; 32] {
    Sha256::digest(code.as_bytes()).into()
}

/// New recovery codes as they are shown, and the hashes they are kept by.
pub(crate) fn new_recovery_codes() -> Result<(Vec<String>, Vec<[u8; 32]>), NoRandomness> {
    let mut shown = Vec::with_capacity(RECOVERY_CODES);
    let mut kept = Vec::with_capacity(RECOVERY_CODES);
    for _ in 0..RECOVERY_CODES {
        let code = Zeroizing::new(spelled(random::bytes::<RECOVERY_BYTES>()?));
        kept.push(hash(&code));
        shown.push(grouped(&code));
    }
    Ok((shown, kept))
}

fn spelled(bytes: [u8; RECOVERY_BYTES]) -> String {
    let number = bytes
        .iter()
        .fold(0_u128, |n, byte| (n << 8) | u128::from(*byte));
    let places = (0..RECOVERY_CHARACTERS).rev();
    let indices = places.map(|place| usize::try_from((number >> (place * BITS)) & 0x1f));
    indices
        .filter_map(|index| ALPHABET.chars().nth(index.ok()?))
        .collect()
}

fn grouped(code: &str) -> String {
    let mut grouped = String::with_capacity(code.len() + code.len() / GROUP);
    for (place, character) in code.chars().enumerate() {
        if place > 0 && place % GROUP == 0 {
            grouped.push('-');
        }
        grouped.push(character);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn kept(text: &str) -> Option<[u8; 32]> {
        match Code::parse(text)? {
            Code::App(_) => None,
            Code::Recovery(hash) => Some(hash),
        }
    }

    #[test]
    fn a_recovery_code_is_read_as_people_write_it() {
        let (shown, hashes) = new_recovery_codes().unwrap();
        assert_eq!(shown.len(), RECOVERY_CODES);
        for (shown, hash) in shown.iter().zip(&hashes) {
            assert_eq!(shown.len(), 27, "{shown}");
            for written in [
                shown.clone(),
                shown.replace('-', ""),
                shown.replace('-', " "),
                shown.to_uppercase(),
                shown.replace('0', "O"),
                shown.replace('1', "l"),
                format!(" {shown} "),
            ] {
                assert_eq!(kept(&written).as_ref(), Some(hash), "{written}");
            }
        }
        let different: BTreeSet<_> = hashes.iter().collect();
        assert_eq!(different.len(), RECOVERY_CODES);
    }

    #[test]
    fn bits_are_spelled_from_the_first_to_the_last() {
        assert_eq!(spelled([0; 15]), "0".repeat(24));
        assert_eq!(spelled([0xff; 15]), "z".repeat(24));
        let mut bytes = [0; 15];
        bytes[0] = 0b0000_1000;
        bytes[14] = 2;
        assert_eq!(spelled(bytes), "100000000000000000000002");
        assert_eq!(grouped("abcdefghjkmn"), "abcdef-ghjkmn");
    }

    #[test]
    fn what_is_neither_is_no_code() {
        for text in [
            "",
            "12345",
            "1234567",
            "12345a",
            "１２３４５６",
            "----",
            "u",
        ] {
            assert!(Code::parse(text).is_none(), "{text:?}");
        }
        assert!(
            Code::parse(&"u".repeat(24)).is_none(),
            "a letter that is not in use"
        );
        assert!(Code::parse(&"0".repeat(65)).is_none());
        assert!(matches!(Code::parse("123 456"), Some(Code::App(code)) if *code == "123456"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,80}") {
            let _ = Code::parse(&text);
        }
    }
}
