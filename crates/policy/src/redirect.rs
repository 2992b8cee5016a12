//! Where a client is sent that a route redirects.

use http::HeaderValue;
use portcullis_config::redirects::{Redirect, RedirectHost, RedirectOrigin};

use crate::{forwarding::fill, hygiene::CanonicalTarget};

/// The value of `Location` for a request that the route matched; `None` only where it did not.
pub fn location(redirect: &Redirect, target: &CanonicalTarget<'_>) -> Option<HeaderValue> {
    let mut location = match &redirect.origin {
        Some(origin) => self::origin(origin, &target.host)?,
        None => String::new(),
    };
    location.push_str(&fill(&redirect.path, &target.path)?);
    if let Some(query) = redirect.query.as_deref().or(target.query) {
        location.extend(["?", query]);
    }
    HeaderValue::try_from(location).ok()
}

fn origin(origin: &RedirectOrigin, host: &str) -> Option<String> {
    let host = match &origin.host {
        RedirectHost::Named(named) => named,
        RedirectHost::OfRequest => Some(host).filter(|host| !host.is_empty())?,
    };
    let port = origin.port.map(|port| format!(":{port}"));
    let scheme = origin.scheme;
    Some(format!("{scheme}://{host}{}", port.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use http::StatusCode;
    use portcullis_config::{routes::PathPattern, templates::PathTemplate};

    use super::*;

    fn redirect(host: Option<RedirectHost>, path: &str, query: Option<&str>) -> Redirect {
        let pattern = PathPattern::parse("/x/*/**").expect("a pattern");
        Redirect {
            origin: host.map(|host| RedirectOrigin {
                scheme: "https",
                host,
                port: Some(8443),
            }),
            path: PathTemplate::parse(path, &pattern).expect("a template"),
            query: query.map(str::to_owned),
            status: StatusCode::FOUND,
        }
    }

    fn target<'a>(host: &'a str, query: Option<&'a str>) -> CanonicalTarget<'a> {
        CanonicalTarget {
            host: Cow::Borrowed(host),
            path: Cow::Borrowed("/x/a/b"),
            query,
        }
    }

    #[test]
    fn path_and_query_come_along() {
        let check = |redirect: Redirect, query, expected: &str| {
            let location = location(&redirect, &target("a.example", query));
            assert_eq!(location.expect("a location"), expected);
        };
        let same = || redirect(Some(RedirectHost::OfRequest), "{path}", None);
        check(same(), None, "https://a.example:8443/x/a/b");
        check(same(), Some("q=1&r"), "https://a.example:8443/x/a/b?q=1&r");
        let named = Some(RedirectHost::Named("new.example".to_owned()));
        check(
            redirect(named, "/{1}/{rest}", None),
            None,
            "https://new.example:8443/a/b",
        );
        check(
            redirect(None, "/y/{rest}", Some("from=x")),
            Some("q=1"),
            "/y/b?from=x",
        );
        check(redirect(None, "/y", Some("")), Some("q=1"), "/y?");
    }

    #[test]
    fn without_a_host_nobody_is_sent_to_one() {
        let same = redirect(Some(RedirectHost::OfRequest), "{path}", None);
        assert_eq!(location(&same, &target("", None)), None);
    }
}
