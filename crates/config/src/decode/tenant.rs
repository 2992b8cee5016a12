//! `auth.tenant` of a route: required, or the one that a segment of the path names.

use std::num::NonZeroUsize;

use crate::{
    reader::{Section, Value},
    routes::{PathPattern, Segment, TenantRule},
};

/// Nobody puts a tenant deeper; a misplaced number is more likely.
const DEEPEST: u64 = 32;

pub(super) fn tenant(value: &Value<'_>, pattern: Option<&PathPattern>) -> Option<TenantRule> {
    if value.is_single() {
        return value.parse(|text| match text {
            "required" => Ok(TenantRule::Required),
            _ => Err(
                "is not known here: write required, or { segment: 2 } for the second one of the path"
                    .to_owned(),
            ),
        });
    }
    value
        .section(|section| segment(section, pattern))
        .flatten()
        .map(TenantRule::Segment)
}

/// A segment that is the same in all paths of the route, or is in none, names no tenant.
fn segment(section: &Section<'_>, pattern: Option<&PathPattern>) -> Option<NonZeroUsize> {
    let value = section.require("segment", "say which one of the path: the first is 1")?;
    let number: NonZeroUsize = value
        .number::<usize>(1..=DEEPEST)
        .and_then(NonZeroUsize::new)?;
    let pattern = pattern?;
    match pattern.segments.get(number.get() - 1) {
        Some(Segment::Any) => Some(number),
        None if pattern.subtree => Some(number),
        Some(Segment::Literal(_)) => {
            value.mistake("is the same in every path of this route: name one that `*` stands for");
            None
        }
        None => {
            value.mistake("is in no path of this route: they are shorter");
            None
        }
    }
}
