//! One spelling for each path.
//!
//! RFC 3986 section 6.2.2 gives two spellings of a path as the same if they differ in escapes of unreserved characters
//! or in the case of an escape's digits; those are brought into one form, once, so that a doubly encoded path stays
//! encoded. What servers are known to read differently from each other is refused instead.

use std::borrow::Cow;

use crate::rejection::Malformation;

/// What a byte of a path is to us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Percent,
    /// Not allowed in a path (RFC 3986 section 3.3), but sent by browsers as it is: escaped.
    Unescaped,
    Parameter,
    Backslash,
    Fragment,
    Forbidden,
}

fn kind(byte: u8) -> Kind {
    match byte {
        b'%' => Kind::Percent,
        b';' => Kind::Parameter,
        b'\\' => Kind::Backslash,
        b'#' => Kind::Fragment,
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => Kind::Plain,
        b'/' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':'
        | b'@' => Kind::Plain,
        b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => Kind::Unescaped,
        _ => Kind::Forbidden,
    }
}

/// The canonical form of a path, borrowed if it is canonical already. Canonical paths come out as they went in.
pub(crate) fn canonical(path: &str) -> Result<Cow<'_, str>, Malformation> {
    if !path.starts_with('/') {
        return Err(Malformation::Target);
    }
    let path = if needs_rewriting(path)? {
        Cow::Owned(rewritten(path)?)
    } else {
        Cow::Borrowed(path)
    };
    check_segments(&path)?;
    Ok(path)
}

fn needs_rewriting(path: &str) -> Result<bool, Malformation> {
    let mut rewrite = false;
    for byte in path.bytes() {
        match kind(byte) {
            Kind::Plain => {}
            Kind::Percent | Kind::Unescaped => rewrite = true,
            Kind::Parameter => return Err(Malformation::PathParameter),
            Kind::Backslash => return Err(Malformation::HiddenSeparator),
            Kind::Fragment => return Err(Malformation::Fragment),
            Kind::Forbidden => return Err(Malformation::TargetEncoding),
        }
    }
    Ok(rewrite)
}

/// On the output of all decoding, so that `%2e` is no way around it.
fn check_segments(path: &str) -> Result<(), Malformation> {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => return Err(Malformation::DotSegment),
            // A trailing slash ends in an empty segment, which is the one place where it means the same to everybody.
            "" if segments.peek().is_some() => return Err(Malformation::EmptySegment),
            _ => {}
        }
    }
    Ok(())
}

fn rewritten(path: &str) -> Result<String, Malformation> {
    let mut canonical = String::with_capacity(path.len() + 16);
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match kind(byte) {
            Kind::Percent => {
                let escaped = escaped_byte(&mut bytes).ok_or(Malformation::TargetEncoding)?;
                push_decoded(&mut canonical, escaped)?;
            }
            Kind::Unescaped => push_escape(&mut canonical, byte),
            Kind::Plain => canonical.push(char::from(byte)),
            Kind::Parameter | Kind::Backslash | Kind::Fragment | Kind::Forbidden => {
                return Err(Malformation::TargetEncoding);
            }
        }
    }
    Ok(canonical)
}

fn escaped_byte(digits: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let mut digit = || {
        char::from(digits.next()?)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some(digit()? << 4 | digit()?)
}

fn push_decoded(canonical: &mut String, byte: u8) -> Result<(), Malformation> {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            canonical.push(char::from(byte))
        }
        b'/' | b'\\' | 0..=0x1f | 0x7f => return Err(Malformation::HiddenSeparator),
        b';' => return Err(Malformation::PathParameter),
        _ => push_escape(canonical, byte),
    }
    Ok(())
}

fn push_escape(canonical: &mut String, byte: u8) {
    let digit = |value: u8| {
        char::from_digit(u32::from(value), 16)
            .unwrap_or('0')
            .to_ascii_uppercase()
    };
    canonical.extend(['%', digit(byte >> 4), digit(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_path_become_one() {
        let check = |path, expected| assert_eq!(canonical(path).as_deref(), Ok(expected), "{path}");
        check("/", "/");
        check("/hotel-db/", "/hotel-db/");
        check("/%61dmin", "/admin");
        check("/%2d%2E%5f%7E", "/-._~");
        check("/caf%c3%a9", "/caf%C3%A9");
        check("/a%20b", "/a%20b");
        check("/{id}|[x]", "/%7Bid%7D%7C%5Bx%5D");
        check("/a%40b", "/a%40b");
        check("/.well-known/...", "/.well-known/...");
        check("/ADMIN", "/ADMIN");
    }

    #[test]
    fn decoding_happens_once() {
        assert_eq!(canonical("/%2561dmin").as_deref(), Ok("/%2561dmin"));
        assert_eq!(
            canonical("/%252e%252e/admin").as_deref(),
            Ok("/%252e%252e/admin")
        );
    }

    #[test]
    fn what_servers_read_differently_is_refused() {
        let check = |path, expected| assert_eq!(canonical(path), Err(expected), "{path:?}");
        for path in [
            "/x/../admin",
            "/x/%2e%2e/admin",
            "/x/.%2E/admin",
            "/./admin",
            "/%2e/admin",
            "/..",
            "/a/.",
            "/../../etc",
        ] {
            check(path, Malformation::DotSegment);
        }
        for path in ["//admin", "//", "/x//", "/x//admin"] {
            check(path, Malformation::EmptySegment);
        }
        for path in [
            "/x%2f..%2fadmin",
            "/x%5Cadmin",
            "/%00/admin",
            "/x\\..\\admin",
            "/a%0d%0ab",
            "/%7f",
        ] {
            check(path, Malformation::HiddenSeparator);
        }
        for path in ["/x/..;/admin", "/admin;x=1", "/admin%3bx"] {
            check(path, Malformation::PathParameter);
        }
        for path in ["/%zz", "/%", "/%4", "/a b", "/\u{e9}", "/\0", "/%+1"] {
            check(path, Malformation::TargetEncoding);
        }
        check("/a#b", Malformation::Fragment);
        check("admin", Malformation::Target);
        check("*", Malformation::Target);
        check("", Malformation::Target);
    }

    #[test]
    fn a_canonical_path_is_not_copied() {
        assert!(matches!(
            canonical("/hotel-db/rooms/42"),
            Ok(Cow::Borrowed(_))
        ));
    }

    proptest! {
        #[test]
        fn canonicalising_twice_changes_nothing(path in r"/([a-z.%0-9A-F{}@!/~]|%[0-9a-fA-F]{2}){0,40}") {
            if let Ok(once) = canonical(&path) {
                let twice = canonical(&once);
                prop_assert_eq!(twice.as_deref(), Ok(once.as_ref()));
            }
        }

        #[test]
        fn no_accepted_path_leads_anywhere_else(path in "/([a-z./]|%2[eEfF]|%5[cC]|%61){0,30}") {
            if let Ok(path) = canonical(&path) {
                let decoded = path.replace("%2F", "/").replace("%5C", "\\");
                prop_assert!(!decoded.contains("/../") && !decoded.contains("//") && !decoded.contains('\\'), "{}", path);
            }
        }
    }
}
