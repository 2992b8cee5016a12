//! `cors` of a route. The types are in [`crate::cors`].

use std::time::Duration;

use http::HeaderName;

use super::routes::host;
use crate::{
    cors::{Cors, Origins},
    reader::{Section, Value},
};

/// No browser remembers longer.
const LONGEST_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn cors(section: &Section<'_>) -> Option<Cors> {
    let origins = section.require("origins", "list them, such as [https://app.example.com]");
    let origins = origins.and_then(|value| self::origins(&value));
    let credentials = section.or("credentials", false, |value| {
        let credentials = value.boolean()?;
        if credentials && origins == Some(Origins::Any) {
            value.mistake("with origins `*` any page could act for whoever is signed in: list the origins, or remove this");
        }
        Some(credentials)
    });
    let ten_minutes = Duration::from_secs(10 * 60);
    let max_age = section.or("max_age", ten_minutes, |value| {
        value.duration(Duration::ZERO..=LONGEST_MEMORY)
    });
    let usual = vec![http::header::AUTHORIZATION, http::header::CONTENT_TYPE];
    let headers = section.or("headers", usual, |value| Some(names(value)));
    let expose = section.or("expose", Vec::new(), |value| Some(names(value)));
    Some(Cors {
        origins: origins?,
        credentials,
        max_age,
        headers,
        expose,
    })
}

fn origins(value: &Value<'_>) -> Option<Origins> {
    let elements = value.list();
    if elements.is_empty() {
        value.mistake("is empty: list origins, or remove `cors`");
    }
    let read: Vec<(Value<'_>, String)> = elements
        .into_iter()
        .filter_map(|element| Some((element.clone(), element.parse(origin)?)))
        .collect();
    let mut origins = Vec::new();
    let several = read.len() > 1;
    for (element, origin) in read {
        if origin == "*" && several {
            element.mistake("stands for every origin: write it alone");
        } else if origins.contains(&origin) {
            element.mistake("is written twice: keep one");
        }
        origins.push(origin);
    }
    if origins == ["*"] {
        return Some(Origins::Any);
    }
    (!origins.is_empty()).then_some(Origins::Listed(origins))
}

/// In the one spelling that browsers send (RFC 6454 section 6.1), because origins are compared exactly.
pub(super) fn origin(text: &str) -> Result<String, String> {
    match text {
        "*" => return Ok(text.to_owned()),
        "null" => {
            return Err("is sent by every sandboxed page and local file: no origin can be told by it; remove it".to_owned());
        }
        _ => {}
    }
    if text.contains('*') {
        return Err("has a wildcard: write each origin out".to_owned());
    }
    canonical(text).ok_or_else(|| {
        "is no origin: write scheme and host, such as https://app.example.com or http://localhost:3000, without a `/` at the end".to_owned()
    })
}

pub(crate) fn canonical(text: &str) -> Option<String> {
    let (scheme, authority) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte));
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (
            name,
            Some(port.parse::<u16>().ok().filter(|port| *port > 0)?),
        ),
        _ => (authority, None),
    };
    let name = host(name).ok().filter(|_| is_scheme)?;
    let usual = match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    Some(match port.filter(|_| port != usual) {
        Some(port) => format!("{scheme}://{name}:{port}"),
        None => format!("{scheme}://{name}"),
    })
}

fn names(value: &Value<'_>) -> Vec<HeaderName> {
    value.each(|element| element.parse(name))
}

fn name(text: &str) -> Result<HeaderName, String> {
    if text == "*" {
        return Err(
            "does not cover what matters, such as Authorization: write each name out".to_owned(),
        );
    }
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_error| "is no header name: use letters, digits and `-`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_the_spelling_that_browsers_send() {
        let check = |text, expected: &str| assert_eq!(origin(text).as_deref(), Ok(expected));
        check("https://app.example.com", "https://app.example.com");
        check("HTTPS://App.Example.com:443", "https://app.example.com");
        check("http://localhost:80", "http://localhost");
        check("https://a.example:80", "https://a.example:80");
        check("http://[::1]:3000", "http://[::1]:3000");
        check("http://[::1]", "http://[::1]");
        check("app-extension://abcdef", "app-extension://abcdef");
    }

    #[test]
    fn what_no_browser_sends_is_no_origin() {
        for text in [
            "",
            "app.example.com",
            "https://",
            "https://a/",
            "https://a/path",
            "https://u@a",
            "https://a:0",
            "https://a:x",
            "://a",
            "1a://b",
            "https://a b",
            "https://*.a",
            "null",
            "https://a?b",
            "https://ä.example",
            "https://a#",
        ] {
            assert!(origin(text).is_err(), "{text:?}");
        }
    }
}
