//! Paths made anew out of the one that came: literal segments, and what the route's pattern matched.
//!
//! `{1}` is what the first `*` of the pattern stands for, `{rest}` what `**` does, `{path}` the whole path. Each stands
//! for whole segments, so that nothing a client sends can run into a literal or climb out of one.

use crate::routes::{PathPattern, Segment};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathTemplate {
    pub segments: Vec<TemplateSegment>,
    /// The segment of the path, counted from 0, from which on it follows as it is.
    pub rest_from: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateSegment {
    Literal(String),
    /// That segment of the path, counted from 0.
    Taken(usize),
}

impl PathTemplate {
    /// For the paths that `pattern` matches. The complaint goes on from the text, as that of [`PathPattern::parse`].
    pub fn parse(text: &str, pattern: &PathPattern) -> Result<Self, String> {
        let (front, rest_from) = match text.strip_suffix("{path}") {
            Some(front) => (front, Some(0)),
            None => match text.strip_suffix("/{rest}") {
                Some(front) if pattern.subtree => (front, Some(pattern.segments.len())),
                Some(_) => {
                    return Err("has {rest}, but the route's path has no `**`".to_owned());
                }
                None => (text, None),
            },
        };
        let segments = match front.strip_prefix('/') {
            Some(front) => segments(front, rest_from.is_none(), pattern)?,
            None if front.is_empty() && rest_from.is_some() => Vec::new(),
            None => return Err("is not a path: begin it with `/`".to_owned()),
        };
        Ok(Self {
            segments,
            rest_from,
        })
    }

    /// `{path}` alone.
    pub fn keeps_all(&self) -> bool {
        self.segments.is_empty() && self.rest_from == Some(0)
    }
}

fn segments(
    text: &str,
    may_end_in_slash: bool,
    pattern: &PathPattern,
) -> Result<Vec<TemplateSegment>, String> {
    let last = text.split('/').count() - 1;
    let parsed = text.split('/').enumerate().map(|(index, text)| {
        if text.is_empty() && !(may_end_in_slash && index == last) {
            return Err(
                "has an empty segment: write single slashes, and none before {path}".to_owned(),
            );
        }
        segment(text, pattern)
    });
    parsed.collect()
}

fn segment(text: &str, pattern: &PathPattern) -> Result<TemplateSegment, String> {
    let placeholder = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    if let Some(name) = placeholder {
        let taken = name.parse().ok().and_then(|nth| nth_star(nth, pattern));
        return taken.map(TemplateSegment::Taken).ok_or_else(|| {
            "has a name in braces that stands for nothing here: {1} is what the first `*` of the route's path matched, {rest} at the end what `**` did, {path} at the end the whole path".to_owned()
        });
    }
    if text.contains(['{', '}']) {
        return Err(
            "has braces within a segment: what they name stands for a whole one".to_owned(),
        );
    }
    match Segment::parse(text)? {
        Segment::Literal(literal) => Ok(TemplateSegment::Literal(literal)),
        Segment::Any => Err("has `*`: write {1} for what the first one matched".to_owned()),
    }
}

/// The place of the `nth` `*`, counted from 1.
fn nth_star(nth: usize, pattern: &PathPattern) -> Option<usize> {
    let stars = pattern.segments.iter().enumerate();
    let mut stars = stars.filter(|(_, segment)| **segment == Segment::Any);
    stars.nth(nth.checked_sub(1)?).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(template: &str, pattern: &str) -> Result<PathTemplate, String> {
        let pattern = PathPattern::parse(pattern).expect("a pattern");
        PathTemplate::parse(template, &pattern)
    }

    #[test]
    fn a_template_is_literals_what_stars_matched_and_a_rest() {
        let check = |template, pattern, segments: &[&str], rest_from| {
            let segments = segments.iter().map(|text| match text.parse() {
                Ok(place) => TemplateSegment::Taken(place),
                Err(_word) => TemplateSegment::Literal((*text).to_owned()),
            });
            let expected = PathTemplate {
                segments: segments.collect(),
                rest_from,
            };
            assert_eq!(parse(template, pattern), Ok(expected), "{template}");
        };
        check("/", "/x", &[""], None);
        check("/a/b/", "/x", &["a", "b", ""], None);
        check("/v2/{1}/{rest}", "/hotels/*/**", &["v2", "1"], Some(2));
        check("/{2}/{1}", "/*/a/*", &["2", "0"], None);
        check("/{rest}", "/x/**", &[], Some(1));
        check("{path}", "/x/**", &[], Some(0));
        check("/v2{path}", "/x", &["v2"], Some(0));
    }

    #[test]
    fn what_would_leave_the_canonical_form_is_no_template() {
        for (template, pattern) in [
            ("", "/x"),
            ("a", "/x"),
            ("//", "/x"),
            ("/a//b", "/x"),
            ("/a/{path}", "/x"),
            ("/a/../b", "/x"),
            ("/./{1}", "/*"),
            ("/{1}", "/x"),
            ("/{0}", "/*"),
            ("/{2}", "/*"),
            ("/a{1}", "/*"),
            ("/{1}{1}", "/*"),
            ("/{rest}", "/x"),
            ("/{rest}/a", "/x/**"),
            ("/{path}/a", "/x"),
            ("/{user}", "/x"),
            ("/*", "/*"),
            ("/a%2fb", "/x"),
            ("/a?b", "/x"),
            ("/a;b", "/x"),
            ("/a b", "/x"),
        ] {
            assert!(parse(template, pattern).is_err(), "{template}");
        }
    }
}
