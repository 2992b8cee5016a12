//! The names a user signs in with, mapped to the one form that is the key in the database.
//!
//! Two spellings of one name must be one account, and two names that look alike must not be two: RFC 8265 section 3.3
//! (`UsernameCaseMapped`) for the mapping, Unicode Technical Standard #39 for what is refused beyond it.

use std::net::IpAddr;

use portcullis_store::LoginName;
use unicode_normalization::UnicodeNormalization;
use unicode_security::{GeneralSecurityProfile, RestrictionLevel, RestrictionLevelDetection};

/// RFC 5321 section 4.5.3.1.3, less the angle brackets. User names have the same bound, so that one check serves both.
pub const MAX_NAME_BYTES: usize = 254;
const MAX_DISPLAY_NAME_CHARS: usize = 100;
const MAX_LOCAL_PART_BYTES: usize = 64;
const MAX_LABEL_BYTES: usize = 63;

/// A user name as it is shown, and in the mapped form that is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username {
    shown: String,
    key: String,
}

/// An e-mail address as it was written, and lower-cased. The local part is case-sensitive by RFC 5321 and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    shown: String,
    key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("the name is empty or longer than {MAX_NAME_BYTES} bytes")]
    Length,
    #[error("the name has a character that names may not have")]
    Character,
    #[error("the name mixes scripts that look alike")]
    MixedScripts,
    #[error("this is not an e-mail address")]
    NotAnAddress,
}

impl Username {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_length(text)?;
        let key = map(text);
        check_length(&key)?;
        if !key.chars().all(is_name_character) || !key.chars().any(char::is_alphanumeric) {
            return Err(NameError::Character);
        }
        // Latin with Cyrillic or Greek is how `аdmin` is made to look like `admin`; Latin with Han and Kana is Japanese.
        if key.as_str().detect_restriction_level() > RestrictionLevel::HighlyRestrictive {
            return Err(NameError::MixedScripts);
        }
        // A key that maps to another key would be a second door to somebody's account.
        if map(&key) != key {
            return Err(NameError::Character);
        }
        Ok(Self {
            shown: text.nfkc().collect(),
            key,
        })
    }

    /// As the user writes it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The same for all spellings of the name.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn login_name(&self) -> LoginName<'_> {
        LoginName {
            shown: self.shown(),
            key: self.key(),
        }
    }
}

impl Email {
    /// Takes the dot-atom form of RFC 5321 with a domain name in ASCII. Quoted local parts and address literals are
    /// legal and never meant.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_length(text)?;
        let (local, domain) = text.split_once('@').ok_or(NameError::NotAnAddress)?;
        if !is_dot_atom(local) || !is_domain(domain) {
            return Err(NameError::NotAnAddress);
        }
        Ok(Self {
            shown: text.to_owned(),
            key: text.to_ascii_lowercase(),
        })
    }

    /// As the user writes it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Lower-cased.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn login_name(&self) -> LoginName<'_> {
        LoginName {
            shown: self.shown(),
            key: self.key(),
        }
    }
}

/// Free text, except for what would rearrange the text around it.
pub(crate) fn is_display_name(name: &str) -> bool {
    let rearranges = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (1..=MAX_DISPLAY_NAME_CHARS).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(|c| c.is_control() || rearranges(c))
}

/// The key to look an account up by. `None` for what can be nobody's name: the caller goes on and finds nobody, so that
/// an impossible name takes as long as an unknown one.
pub fn login_key(text: &str) -> Option<String> {
    if text.contains('@') {
        Email::parse(text).ok().map(|email| email.key)
    } else {
        Username::parse(text).ok().map(|username| username.key)
    }
}

/// What of an address tells clients apart: an IPv6 client commands its whole /64.
pub fn address_key(address: IpAddr) -> [u8; 16] {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => (u128::from(v6) & !u128::from(u64::MAX)).to_be_bytes(),
    }
}

fn check_length(text: &str) -> Result<(), NameError> {
    if text.is_empty() || text.len() > MAX_NAME_BYTES {
        Err(NameError::Length)
    } else {
        Ok(())
    }
}

/// NFKC covers the width mapping of RFC 8265 and, beyond it, ligatures and the like. It is applied again because
/// lower-casing can leave a sequence that composes.
fn map(text: &str) -> String {
    text.nfkc()
        .collect::<String>()
        .to_lowercase()
        .nfkc()
        .collect()
}

/// Letters, digits, marks of the scripts in modern use, and three signs. No `@`, so that no name is an address, and no
/// sign that means something to a shell, a URL, LDAP or SQL.
fn is_name_character(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    }
    // UTS #39 allows some punctuation and, in places, joiners: neither can be seen well enough to be part of a name.
    let is_joiner_or_punctuation = matches!(
        c,
        '\u{00b7}' | '\u{058a}' | '\u{05f3}' | '\u{05f4}' | '\u{0f0b}'
    ) || matches!(c, '\u{2000}'..='\u{206f}' | '\u{3000}'..='\u{3004}' | '\u{30a0}' | '\u{30fb}');
    !is_joiner_or_punctuation && c.identifier_allowed()
}

fn is_dot_atom(local: &str) -> bool {
    let is_atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    local.len() <= MAX_LOCAL_PART_BYTES
        && local
            .split('.')
            .all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

fn is_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= MAX_LABEL_BYTES
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mapped(text: &str) -> Option<String> {
        Username::parse(text).ok().map(|name| name.key)
    }

    #[test]
    fn spellings_of_one_name_are_one_account() {
        for spelling in [
            "admin",
            "Admin",
            "ADMIN",
            "ａｄｍｉｎ",
            "ＡＤＭＩＮ",
            "ⓐdmin",
        ] {
            assert_eq!(mapped(spelling).as_deref(), Some("admin"), "{spelling}");
        }
        assert_eq!(
            mapped("e\u{301}va"),
            mapped("\u{e9}va"),
            "composed and decomposed"
        );
        assert_eq!(mapped("ﬁnn").as_deref(), Some("finn"));
    }

    #[test]
    fn names_of_one_script_are_taken() {
        for name in [
            "saad",
            "o.k-_1",
            "жанна",
            "Ελένη",
            "田中さん",
            "שרה",
            "محمد",
            "josé",
        ] {
            assert!(mapped(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_name_that_deceives_is_refused() {
        let cases = [
            ("", "nothing"),
            ("аdmin", "Cyrillic а before Latin"),
            ("αdmin", "Greek alpha before Latin"),
            ("ad\u{200b}min", "zero-width space"),
            ("ad\u{200d}min", "joiner"),
            ("ad\u{ad}min", "soft hyphen"),
            ("admin ", "trailing space"),
            ("admin\u{a0}", "no-break space"),
            ("\u{202e}nimda", "right-to-left override"),
            ("\u{feff}admin", "byte order mark"),
            ("ad\0min", "NUL"),
            ("ad\r\nmin", "line break"),
            ("admin@", "an at sign"),
            ("a/b", "slash"),
            ("a'--", "quote"),
            ("*)(uid=*", "LDAP"),
            ("{{7*7}}", "template"),
            ("<script>", "markup"),
            ("...", "no letter"),
            ("\u{1f600}", "emoji"),
            ("\u{e000}", "private use"),
        ];
        for (name, what) in cases {
            assert_eq!(mapped(name), None, "{what}");
        }
        assert_eq!(
            mapped(&"a".repeat(MAX_NAME_BYTES)).map(|name| name.len()),
            Some(MAX_NAME_BYTES)
        );
        assert_eq!(mapped(&"a".repeat(MAX_NAME_BYTES + 1)), None, "too long");
    }

    #[test]
    fn a_turkish_dotted_i_is_not_a_second_spelling_of_i() {
        assert_ne!(mapped("\u{130}rem"), mapped("irem"));
        assert_ne!(mapped("ırem"), mapped("irem"));
    }

    #[test]
    fn addresses_are_taken_in_their_plain_form_only() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(
                Email::parse(text).ok().map(|email| email.key).as_deref(),
                expected,
                "{text:?}"
            );
        };
        check("Saad+hotel@Example.COM", Some("saad+hotel@example.com"));
        check("o'neil@sub.example.com", Some("o'neil@sub.example.com"));
        check("a@xn--bcher-kva.example", Some("a@xn--bcher-kva.example"));
        check("\"a b\"@example.com", None);
        check("a@b@example.com", None);
        check("a@example.com\r\nBcc: x@y.z", None);
        check("a\r\nBcc:b@example.com", None);
        check("a@exam ple.com", None);
        check("a@-example.com", None);
        check("a@example..com", None);
        check(".a@example.com", None);
        check("a@[127.0.0.1]", None);
        check("a@bücher.example", None);
        check("@example.com", None);
        check("a@", None);
        check(&format!("{}@example.com", "a".repeat(65)), None);
    }

    #[test]
    fn an_ipv6_client_is_its_whole_64() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:0:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(
            key("192.0.2.1"),
            key("::ffff:192.0.2.1"),
            "a mapped address is the IPv4 client itself"
        );
    }

    proptest! {
        #[test]
        fn mapping_is_idempotent(text in "\\PC{1,24}") {
            if let Some(once) = mapped(&text) {
                prop_assert_eq!(mapped(&once), Some(once.clone()));
                prop_assert!(!once.contains('@'));
            }
        }
    }
}
