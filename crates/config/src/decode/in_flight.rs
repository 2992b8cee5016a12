//! `in_flight` under `rate_limits:` what one key may have going on at the same time.

use std::num::NonZeroU32;

use super::limit_keys;
use crate::{
    limits::InFlightLimit,
    reader::{Section, Value},
};

/// `most` is the value of `in_flight`, which made this a cap instead of a rate.
pub(super) fn limit(name: &str, section: &Section<'_>, most: &Value<'_>) -> InFlightLimit {
    for key in ["limit", "burst", "tiers"] {
        if let Some(value) = section.find(key) {
            value.mistake(
                "goes with a rate: write a limit of its own for it, or leave `in_flight` out",
            );
        }
    }
    InFlightLimit {
        name: name.to_owned(),
        key: limit_keys::key(section),
        most: most
            .number::<u32>(1..=u64::from(u32::MAX))
            .and_then(NonZeroU32::new)
            .unwrap_or(NonZeroU32::MIN),
        ipv6_prefix: limit_keys::ipv6_prefix(section),
    }
}
