//! `rewrite` of a route: prefixes off and on, or a template. The types are in [`crate::routes`] and
//! [`crate::templates`].

use crate::{
    reader::Section,
    routes::{PathPattern, Rewrite, Segment},
    templates::PathTemplate,
};

/// `pattern` is the route's; absent where it is wrong.
pub(super) fn rewrite(section: &Section<'_>, pattern: Option<&PathPattern>) -> Rewrite {
    let prefixes = prefixes(section, pattern);
    let Some(value) = section.find("template") else {
        return prefixes;
    };
    if prefixes != Rewrite::default() {
        value.mistake("makes the whole path: remove the prefixes, or this");
    }
    let template = pattern
        .and_then(|pattern| value.parse(|text| PathTemplate::parse(text, pattern)))
        .unwrap_or_default();
    Rewrite::Template(template)
}

fn prefixes(section: &Section<'_>, pattern: Option<&PathPattern>) -> Rewrite {
    let strip = section.or("strip_prefix", String::new(), |value| {
        let prefix = value.parse(prefix)?;
        if pattern.is_some_and(|pattern| !begins_with(pattern, &prefix)) {
            value.mistake("is not how the paths of this route begin: nothing would be stripped");
        }
        Some(prefix)
    });
    Rewrite::Prefixes {
        strip,
        add: section.or("add_prefix", String::new(), |value| value.parse(prefix)),
    }
}

fn prefix(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let pattern = PathPattern::parse(text)?;
    let literal = pattern
        .segments
        .iter()
        .all(|segment| matches!(segment, Segment::Literal(_)));
    if pattern.subtree || !literal || text.ends_with('/') {
        return Err("is no prefix: write whole segments without `*` and without a `/` at the end, such as /api".to_owned());
    }
    Ok(text.to_owned())
}

fn begins_with(path: &PathPattern, prefix: &str) -> bool {
    let mut segments = path.segments.iter();
    prefix
        .split('/')
        .skip(1)
        .all(|wanted| match segments.next() {
            Some(Segment::Literal(literal)) => literal == wanted,
            Some(Segment::Any) => true,
            None => false,
        })
}
