//! `redirect` of a route. The types are in [`crate::redirects`].

use http::StatusCode;

use super::routes::host;
use crate::{
    reader::Section,
    redirects::{Redirect, RedirectHost, RedirectOrigin},
    routes::{PathPattern, RouteMatch},
    templates::PathTemplate,
};

/// Keys that speak of an upstream.
const OF_UPSTREAMS: [&str; 7] = [
    "upstream",
    "timeout",
    "rewrite",
    "forward",
    "headers",
    "upgrade",
    "max_connection_life",
];

/// What a route that redirects cannot say.
pub(super) fn check_alone(route: &Section<'_>) {
    for key in OF_UPSTREAMS {
        if let Some(value) = route.find(key) {
            value.mistake("says nothing where the route redirects: remove it, or `redirect`");
        }
    }
}

pub(super) fn redirect(section: &Section<'_>, matches: Option<&RouteMatch>) -> Option<Redirect> {
    let statuses = [
        ("301", StatusCode::MOVED_PERMANENTLY),
        ("302", StatusCode::FOUND),
        ("303", StatusCode::SEE_OTHER),
        ("307", StatusCode::TEMPORARY_REDIRECT),
        ("308", StatusCode::PERMANENT_REDIRECT),
    ];
    let status = section.or("status", StatusCode::PERMANENT_REDIRECT, |value| {
        value.word(&statuses)
    });
    let to = section.require("to", "write where, such as https://{host}{path}")?;
    let matches = matches?;
    let redirect = to.parse(|text| redirect_to(text, &matches.path))?;
    let any_host = redirect.takes_host() && matches.hosts.is_empty();
    if any_host {
        to.mistake("sends clients to any host that one of them names: list the route's `match.hosts`, or write the host out");
    }
    if redirect.origin.is_none() && redirect.query.is_none() && redirect.path.keeps_all() {
        to.mistake("is where the client is already");
    }
    Some(Redirect { status, ..redirect })
}

fn redirect_to(text: &str, pattern: &PathPattern) -> Result<Redirect, String> {
    let (place, query) = match text.split_once('?') {
        Some((place, query)) => (place, Some(self::query(query)?)),
        None => (text, None),
    };
    let (origin, path) = split_origin(place)?;
    let path = if origin.is_some() && path.is_empty() {
        "/"
    } else {
        path
    };
    Ok(Redirect {
        origin,
        path: PathTemplate::parse(path, pattern)?,
        query,
        status: StatusCode::PERMANENT_REDIRECT,
    })
}

/// The part before the path must end where it seems to: a path or a name that followed it without a `/` between would
/// be part of the host.
fn split_origin(place: &str) -> Result<(Option<RedirectOrigin>, &str), String> {
    if place.starts_with(['/', '{']) {
        return Ok((None, place));
    }
    let (scheme, rest) = match place.split_once("://") {
        Some(("http", rest)) => ("http", rest),
        Some(("https", rest)) => ("https", rest),
        Some(_) | None => {
            return Err("leads nowhere: begin it with https://, http:// or `/`".to_owned());
        }
    };
    let ends = [rest.find('/'), rest.find("{path}")];
    let end = ends.into_iter().flatten().min().unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (name, port) = split_port(authority)?;
    let host = match name {
        "{host}" => RedirectHost::OfRequest,
        name => RedirectHost::Named(host(name)?),
    };
    Ok((Some(RedirectOrigin { scheme, host, port }), path))
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), String> {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => {
            let port = port.parse().ok().filter(|port| *port > 0);
            let port = port.ok_or("has no port from 1 to 65535 after the `:`")?;
            Ok((name, Some(port)))
        }
        Some(_) | None => Ok((authority, None)),
    }
}

fn query(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"#{}\"<>\\^`|".contains(&byte);
    if text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("has a query that must be escaped, or that takes something from the request: write it out".to_owned())
    }
}
