//! The refresh token as a cookie: no script can read it, it goes to the auth service's paths alone, and no other site can make
//! a browser use it.
//!
//! `SameSite=Strict` keeps other sites out, and the checks of [`Cookies::check_origin`] those that count as the same site, such as
//! another sub-domain (Fetch Metadata, and `Origin` where a browser does not send that). Both are headers that scripts cannot
//! set. Programs that are no browsers send neither, and hold no cookie that somebody else could make them use.

use std::time::Duration;

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use portcullis_config::{auth::Auth, refresh_tokens::origin_of};
use portcullis_policy::rejection::{Malformation, Rejection};
use zeroize::Zeroizing;

use crate::answer::Refusal;

/// Browsers take a cookie of this prefix only with `Secure`, and over HTTP only from this very machine.
pub(crate) const NAME: &str = "__Secure-portcullis-refresh";
/// The aliases of the shipped file are for clients that keep their token themselves: one cookie has one path.
const PATH: &str = "/v1/auth";
/// What a page may not set.
const FETCH_SITE: &str = "sec-fetch-site";

/// How this gateway sets its cookie and whom it takes it from; none where answers carry the token in their body alone.
pub(crate) struct Cookies {
    path: String,
    origins: Vec<String>,
}

/// To be set with an answer.
pub(crate) struct RefreshCookie(HeaderValue);

impl RefreshCookie {
    pub(crate) fn set(self, response: &mut Response) {
        response.headers_mut().append(header::SET_COOKIE, self.0);
    }
}

impl Cookies {
    pub(crate) fn new(config: &Auth) -> Option<Self> {
        let tokens = &config.refresh_tokens;
        if !tokens.transport.has_cookie() {
            return None;
        }
        let own = origin_of(&config.issuer).into_iter();
        Some(Self {
            path: format!("{}{PATH}", path_of(&config.issuer)),
            origins: own.chain(tokens.origins.iter().cloned()).collect(),
        })
    }

    pub(crate) fn keep(&self, token: &str, lifetime: Duration) -> Result<RefreshCookie, Refusal> {
        self.line(token, lifetime.as_secs())
    }

    pub(crate) fn remove(&self) -> Result<RefreshCookie, Refusal> {
        self.line("", 0)
    }

    fn line(&self, token: &str, max_age: u64) -> Result<RefreshCookie, Refusal> {
        let path = &self.path;
        let line = Zeroizing::new(format!(
            "{NAME}={token}; Max-Age={max_age}; Path={path}; Secure; HttpOnly; SameSite=Strict"
        ));
        let mut value = HeaderValue::from_str(&line)
            .map_err(|_invalid| Refusal::internal("the path of the issuer fits into no cookie"))?;
        value.set_sensitive(true);
        Ok(RefreshCookie(value))
    }

    /// The token that the browser sends along. More than one means that somebody else has set one beside ours.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Zeroizing<String>>, Refusal> {
        let lines = headers.get_all(header::COOKIE).iter();
        let pairs = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.split_once('='));
        let mut ours =
            pairs.filter(|(name, value)| name.trim() == NAME && !value.trim().is_empty());
        let found = ours.next().map(|(_, value)| value.trim().to_owned().into());
        match ours.next() {
            Some(_) => Err(Rejection::Malformed(Malformation::Field(SEVERAL)).into()),
            None => Ok(found),
        }
    }

    /// For whatever sets the cookie or lives by it: a page elsewhere must neither use somebody's session nor replace it by its own.
    pub(crate) fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let (site, origin) = (text(FETCH_SITE), text(header::ORIGIN.as_str()));
        let is_listed = origin.is_some_and(|origin| self.origins.iter().any(|ours| ours == origin));
        let is_ours = match site {
            Some("same-origin" | "none") => true,
            Some("same-site") => is_listed,
            Some(_) => false,
            None => origin.is_none() || is_listed,
        };
        if is_ours {
            Ok(())
        } else {
            Err(Rejection::CrossSite.into())
        }
    }
}

const SEVERAL: &str =
    "The refresh cookie stands more than once. Remove the cookies of this site and sign in again.";

/// Where the gateway is mounted below another server's root, its issuer says so.
fn path_of(issuer: &str) -> &str {
    let rest = issuer.split_once("://").map_or("", |(_, rest)| rest);
    let path = rest.find('/').and_then(|at| rest.get(at..));
    path.unwrap_or_default().trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_our_own_pages_and_what_is_no_page_may_use_the_cookie() {
        let cookies = Cookies {
            path: String::new(),
            origins: vec![
                "https://a.example".to_owned(),
                "https://app.a.example".to_owned(),
            ],
        };
        let (ours, app) = ("https://a.example", "https://app.a.example");
        let cases: [(&[(&'static str, &str)], bool); 14] = [
            (&[], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "same-site"), ("origin", app)], true),
            (
                &[
                    ("sec-fetch-site", "same-site"),
                    ("origin", "https://evil.a.example"),
                ],
                false,
            ),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", app)], false),
            (&[("sec-fetch-site", "sideways")], false),
            (&[("origin", ours)], true),
            (&[("origin", app)], true),
            (&[("origin", "http://a.example")], false),
            (&[("origin", "https://a.example.evil")], false),
            (&[("origin", "null")], false),
        ];
        for (sent, passes) in cases {
            let checked = cookies.check_origin(&headers(sent));
            assert_eq!(checked.is_ok(), passes, "{sent:?}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others_and_refused_beside_another_of_its_name() {
        let read = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            Cookies::read(&headers(&lines))
                .map(|found| found.map(|token| token.to_string()))
                .map_err(|refusal| refusal.rejection.code())
        };
        let ours = "__Secure-portcullis-refresh=abc";
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["a=b; x__Secure-portcullis-refresh=y"]), Ok(None));
        assert_eq!(read(&["__Secure-portcullis-refresh="]), Ok(None));
        assert_eq!(
            read(&["a=b; __Secure-portcullis-refresh=abc;c=d"]),
            Ok(Some("abc".to_owned()))
        );
        assert_eq!(read(&["a=b", ours]), Ok(Some("abc".to_owned())));
        for twice in [
            &[ours, ours][..],
            &["__Secure-portcullis-refresh=x; __Secure-portcullis-refresh=y"],
        ] {
            assert_eq!(read(twice), Err("malformed-request"));
        }
    }

    #[test]
    fn the_path_follows_where_the_gateway_is_mounted() {
        for (issuer, path) in [
            ("https://a.example", ""),
            ("https://a.example/", ""),
            ("https://a.example/gate/way/", "/gate/way"),
        ] {
            assert_eq!(path_of(issuer), path, "{issuer}");
        }
    }
}
