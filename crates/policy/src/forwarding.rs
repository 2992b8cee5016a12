//! Under which path the upstream is asked.

use std::borrow::Cow;

use portcullis_config::{
    routes::Rewrite,
    templates::{PathTemplate, TemplateSegment},
};

/// Of a canonical path that the route matched; the result is canonical again. `None`: the route did not match it.
pub fn rewrite<'p>(rule: &Rewrite, path: &'p str) -> Option<Cow<'p, str>> {
    match rule {
        Rewrite::Prefixes { strip, add } => Some(replace_prefix(strip, add, path)),
        Rewrite::Template(template) => fill(template, path).map(Cow::Owned),
    }
}

/// Takes a prefix off and puts another on. Only whole segments come off: `/hotel` is no prefix of `/hotels`, and a
/// path without the prefix keeps what it has.
fn replace_prefix<'p>(strip: &str, add: &str, path: &'p str) -> Cow<'p, str> {
    let rest = strip_segments(path, strip).unwrap_or(path);
    match (add.trim_end_matches('/'), rest) {
        ("", "") => Cow::Borrowed("/"),
        ("", rest) => Cow::Borrowed(rest),
        (prefix, rest) => Cow::Owned([prefix, rest].concat()),
    }
}

fn strip_segments<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// As [`rewrite`]. A rest follows with its slash: under `/x/**`, `/x` has none, and `/x/` has one alone.
pub(crate) fn fill(template: &PathTemplate, path: &str) -> Option<String> {
    let mut filled = String::with_capacity(path.len() + 16);
    for segment in &template.segments {
        filled.push('/');
        filled.push_str(match segment {
            TemplateSegment::Literal(literal) => literal,
            TemplateSegment::Taken(place) => {
                let taken = path.split('/').skip(1).nth(*place);
                taken.filter(|taken| !taken.is_empty())?
            }
        });
    }
    if let Some(place) = template.rest_from {
        let slash = path.match_indices('/').nth(place);
        filled.push_str(slash.map_or("", |(slash, _)| path.split_at(slash).1));
    }
    if filled.is_empty() {
        filled.push('/');
    }
    Some(filled)
}

#[cfg(test)]
mod tests {
    use portcullis_config::routes::PathPattern;
    use proptest::prelude::*;

    use super::*;
    use crate::hygiene::canonical_path;

    fn check(strip: &str, add: &str, path: &str, expected: &str) {
        let rule = Rewrite::Prefixes {
            strip: strip.to_owned(),
            add: add.to_owned(),
        };
        let rewritten = rewrite(&rule, path);
        assert_eq!(
            rewritten.as_deref(),
            Some(expected),
            "-{strip} +{add} {path}"
        );
    }

    #[test]
    fn whole_segments_come_off() {
        check("/hotel", "", "/hotel/rooms", "/rooms");
        check("/hotel", "", "/hotels", "/hotels");
        check("/hotel", "", "/other", "/other");
        check("/a/b", "", "/a/b/c/", "/c/");
    }

    #[test]
    fn a_whole_path_becomes_a_slash() {
        check("/hotel", "", "/hotel", "/");
        check("/hotel", "", "/hotel/", "/");
    }

    #[test]
    fn a_prefix_goes_in_front() {
        check("", "/v1", "/auth/login", "/v1/auth/login");
        check("/api/v1", "/v1", "/api/v1/users/me", "/v1/users/me");
        check("/a", "/b", "/a", "/b");
        check("", "/v1/", "/", "/v1/");
    }

    #[test]
    fn without_a_rule_nothing_is_copied() {
        let same = rewrite(&Rewrite::default(), "/x");
        assert!(matches!(same, Some(Cow::Borrowed("/x"))));
    }

    fn template(text: &str, pattern: &str) -> PathTemplate {
        let pattern = PathPattern::parse(pattern).expect("a pattern");
        PathTemplate::parse(text, &pattern).expect("a template")
    }

    fn check_template(text: &str, pattern: &str, path: &str, expected: Option<&str>) {
        let filled = fill(&template(text, pattern), path);
        assert_eq!(filled.as_deref(), expected, "{text} for {path}");
    }

    #[test]
    fn a_template_takes_what_stars_matched_and_the_rest() {
        let check = |path, expected| {
            check_template("/v2/{1}/{rest}", "/hotels/*/**", path, Some(expected));
        };
        check("/hotels/7", "/v2/7");
        check("/hotels/7/", "/v2/7/");
        check("/hotels/7/rooms/8", "/v2/7/rooms/8");
        check("/hotels/a%20b/x%2Cy", "/v2/a%20b/x%2Cy");
        check_template("/{2}/by/{1}", "/*/of/*", "/a/of/b", Some("/b/by/a"));
        check_template("/new{path}", "/old/**", "/old/x", Some("/new/old/x"));
        check_template("/{rest}", "/x/**", "/x", Some("/"));
        check_template("/{rest}", "/x/**", "/x/a/", Some("/a/"));
        check_template("/one/", "/x/**", "/x/a", Some("/one/"));
        check_template("/", "/x/**", "/x/a", Some("/"));
    }

    #[test]
    fn a_path_that_lacks_what_a_template_takes_becomes_none() {
        check_template("/{1}", "/x/*", "/x", None);
        check_template("/{1}", "/x/*", "/x/", None);
    }

    /// The literal that each must begin with, the template, and the pattern it was written for.
    const TEMPLATES: [(&str, &str, &str); 6] = [
        ("/v2/", "/v2/{1}/{rest}", "/*/**"),
        ("/a", "/a/{rest}", "/**"),
        ("/a/", "/a{path}", "/**"),
        ("/", "/{2}/{1}", "/*/*"),
        ("/", "/{rest}", "/x/**"),
        ("/in/", "/in/{1}/out", "/x/*"),
    ];

    proptest! {
        #[test]
        fn a_filled_template_is_canonical_and_stays_below_its_literals(
            path in "(/([a-z.@!~-]{1,3}|%[0-9A-F]{2}|[.]{1,2}){0,3}){1,5}",
            which in prop::sample::select(TEMPLATES.as_slice()),
        ) {
            let (literal, text, pattern) = which;
            let Ok(path) = canonical_path(&path) else { return Ok(()) };
            let Some(filled) = fill(&template(text, pattern), &path) else { return Ok(()) };
            prop_assert!(filled.starts_with(literal), "{filled}");
            let again = canonical_path(&filled);
            prop_assert_eq!(again.as_deref(), Ok(filled.as_str()));
        }
    }
}
