//! Under which path the upstream is asked.

use std::borrow::Cow;

use portcullis_config::routes::Rewrite;

/// Takes a prefix off and puts another on. Only whole segments come off: `/hotel` is no prefix of `/hotels`, and a
/// path without the prefix keeps what it has. The path and the result are canonical.
pub fn rewrite<'p>(rule: &Rewrite, path: &'p str) -> Cow<'p, str> {
    let rest = strip_segments(path, &rule.strip_prefix).unwrap_or(path);
    match (rule.add_prefix.trim_end_matches('/'), rest) {
        ("", "") => Cow::Borrowed("/"),
        ("", rest) => Cow::Borrowed(rest),
        (prefix, rest) => Cow::Owned([prefix, rest].concat()),
    }
}

fn strip_segments<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(strip: &str, add: &str, path: &str, expected: &str) {
        let rule = Rewrite {
            strip_prefix: strip.to_owned(),
            add_prefix: add.to_owned(),
        };
        assert_eq!(rewrite(&rule, path), expected, "-{strip} +{add} {path}");
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
        assert!(matches!(
            rewrite(&Rewrite::default(), "/x"),
            Cow::Borrowed("/x")
        ));
    }
}
