//! Which host a request is for, from `Host` or from the target, and never from two that disagree.

use std::borrow::Cow;

use http::{HeaderValue, Uri, Version, uri::Scheme};

use crate::rejection::Malformation;

/// As long as a name in DNS can be.
const LONGEST_HOST: usize = 255;

/// The host in lower case, without port and trailing dot; empty where HTTP/1.0 leaves it out.
pub(super) fn canonical<'a>(
    uri: &'a Uri,
    version: Version,
    field: Option<&'a HeaderValue>,
) -> Result<Cow<'a, str>, Malformation> {
    let from_field = field
        .map(|value| Authority::parse(value.to_str().unwrap_or("")))
        .transpose()?;
    let from_target = authority_of(uri)?;
    match (from_field, from_target) {
        (Some(field), Some((target, default_port))) => {
            let agree = field.host == target.host
                && field.port.unwrap_or(default_port) == target.port.unwrap_or(default_port);
            if agree {
                Ok(field.host)
            } else {
                Err(Malformation::HostDisagrees)
            }
        }
        (Some(field), None) => Ok(field.host),
        (None, Some((target, _))) if version == Version::HTTP_2 => Ok(target.host),
        (None, None) if version == Version::HTTP_10 => Ok(Cow::Borrowed("")),
        (None, _) => Err(Malformation::Host),
    }
}

/// The authority of a target in absolute-form (or of HTTP/2, where it is a field of its own) and its scheme's port.
fn authority_of(uri: &Uri) -> Result<Option<(Authority<'_>, u16)>, Malformation> {
    let Some(authority) = uri.authority() else {
        return Ok(None);
    };
    // Without a scheme it is authority-form, which is for CONNECT alone (RFC 9112 section 3.2.3).
    let scheme = uri.scheme().ok_or(Malformation::Target)?;
    let default_port = if *scheme == Scheme::HTTP {
        80
    } else if *scheme == Scheme::HTTPS {
        443
    } else {
        return Err(Malformation::Target);
    };
    Ok(Some((Authority::parse(authority.as_str())?, default_port)))
}

struct Authority<'a> {
    host: Cow<'a, str>,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    fn parse(text: &'a str) -> Result<Self, Malformation> {
        let (host, port) = split_port(text).ok_or(Malformation::Host)?;
        let port = port.map(parse_port).transpose()?;
        let host = if host.starts_with('[') {
            host
        } else {
            host.strip_suffix('.').unwrap_or(host)
        };
        if !is_host(host) {
            return Err(Malformation::Host);
        }
        let lower = !host.bytes().any(|byte| byte.is_ascii_uppercase());
        let host = if lower {
            Cow::Borrowed(host)
        } else {
            Cow::Owned(host.to_ascii_lowercase())
        };
        Ok(Self { host, port })
    }
}

/// The colons of an IPv6 address are inside its brackets.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if text.starts_with('[') {
        let (address, rest) = text.split_at(text.find(']')? + 1);
        return if rest.is_empty() {
            Some((address, None))
        } else {
            Some((address, Some(rest.strip_prefix(':')?)))
        };
    }
    Some(
        text.split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port))),
    )
}

fn parse_port(text: &str) -> Result<u16, Malformation> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.then(|| text.parse().ok()).flatten();
    port.filter(|port| *port > 0).ok_or(Malformation::Host)
}

/// Names and addresses as they are used. RFC 3986 would allow more, but none of it is a host that exists.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').unwrap_or("");
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(allowed);
    host.len() <= LONGEST_HOST && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_host(
        target: &'static str,
        version: Version,
        field: Option<&'static str>,
    ) -> Result<String, Malformation> {
        let uri = Uri::from_static(target);
        let value = field.map(HeaderValue::from_static);
        canonical(&uri, version, value.as_ref()).map(Cow::into_owned)
    }

    #[test]
    fn hosts_have_one_spelling() {
        let check = |field, expected: &str| {
            assert_eq!(
                canonical_host("/", Version::HTTP_11, Some(field)).as_deref(),
                Ok(expected),
                "{field}"
            );
        };
        check("a.test", "a.test");
        check("A.Test:8080", "a.test");
        check("a.test.", "a.test");
        check("a.test.:80", "a.test");
        check("127.0.0.1:8080", "127.0.0.1");
        check("[::1]:8080", "[::1]");
        check("[2001:DB8::1]", "[2001:db8::1]");
        check("my_service", "my_service");
    }

    #[test]
    fn ill_formed_hosts_are_refused() {
        for field in [
            "",
            " ",
            ".",
            "a..test",
            ".a.test",
            "a.test, b.test",
            "a.test,b.test",
            "a.test@b.test",
            "a.test/x",
            "a.test:",
            "a.test:0",
            "a.test:99999",
            "a.test:+80",
            "a.test:80:80",
            "a test",
            "a.test\tx",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[zz]",
            "::1",
            "[]",
            "a%41.test",
            "http://a.test",
        ] {
            assert_eq!(
                canonical_host("/", Version::HTTP_11, Some(field)),
                Err(Malformation::Host),
                "{field:?}"
            );
        }
    }

    #[test]
    fn only_http_1_0_may_leave_the_host_out() {
        assert_eq!(
            canonical_host("/", Version::HTTP_11, None),
            Err(Malformation::Host)
        );
        assert_eq!(
            canonical_host("http://a.test/", Version::HTTP_11, None),
            Err(Malformation::Host)
        );
        assert_eq!(
            canonical_host("/", Version::HTTP_2, None),
            Err(Malformation::Host)
        );
        assert_eq!(
            canonical_host("/", Version::HTTP_10, None).as_deref(),
            Ok("")
        );
    }

    #[test]
    fn an_absolute_target_must_agree_with_the_host() {
        let check = |target, field, expected: Result<&str, _>| {
            let found = canonical_host(target, Version::HTTP_11, Some(field));
            assert_eq!(
                found.as_deref(),
                expected.as_ref().map(|host| *host),
                "{target} {field}"
            );
        };
        check("http://a.test/x", "a.test", Ok("a.test"));
        check("http://A.test:80/x", "a.test", Ok("a.test"));
        check("https://a.test/x", "a.test:443", Ok("a.test"));
        check(
            "http://b.test/x",
            "a.test",
            Err(Malformation::HostDisagrees),
        );
        check(
            "http://a.test:81/x",
            "a.test",
            Err(Malformation::HostDisagrees),
        );
        check("http://u@a.test/x", "a.test", Err(Malformation::Host));
        check("ftp://a.test/x", "a.test", Err(Malformation::Target));
        check("a.test:80", "a.test", Err(Malformation::Target));
    }

    #[test]
    fn http_2_names_its_host_in_the_target() {
        assert_eq!(
            canonical_host("https://A.test/x", Version::HTTP_2, None).as_deref(),
            Ok("a.test")
        );
        assert_eq!(
            canonical_host("https://a.test/x", Version::HTTP_2, Some("b.test")),
            Err(Malformation::HostDisagrees)
        );
    }
}
