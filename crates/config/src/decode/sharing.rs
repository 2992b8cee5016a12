//! `rate_limits.sharing:`. The types are in [`crate::sharing`].

use std::{num::NonZeroU32, time::Duration};

use crate::{
    names,
    reader::{Section, Value},
    sharing::{Mode, OnStoreFailure, Sharing},
};

/// The one name under `rate_limits` that is no limit but says how all of them are shared between replicas.
pub(super) const SHARING: &str = "sharing";

const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(10);

pub(super) fn sharing(file: &Section<'_>, has_redis: bool) -> Sharing {
    let limits = file.find("rate_limits");
    let section = limits.and_then(|limits| limits.entry(SHARING));
    let Some(section) = section else {
        return Sharing::default();
    };
    section
        .section(|section| shared(section, has_redis))
        .unwrap_or_default()
}

fn shared(section: &Section<'_>, has_redis: bool) -> Sharing {
    let defaults = Sharing::default();
    let written = section.find("mode");
    let mode = written.as_ref().and_then(mode).unwrap_or(defaults.mode);
    let Some(written) = written.filter(|_| mode != Mode::Local) else {
        return alone(section);
    };
    if !has_redis {
        written.mistake("needs a store that all replicas reach: name it in `storage.redis`");
    }
    Sharing {
        mode,
        timeout: section.or("timeout", defaults.timeout, |value| {
            value.duration(TIMEOUTS)
        }),
        on_store_failure: section.or("on_store_failure", defaults.on_store_failure, |value| {
            value.word(&[
                ("local_share", OnStoreFailure::LocalShare),
                ("allow", OnStoreFailure::Allow),
                ("deny", OnStoreFailure::Deny),
            ])
        }),
        replicas: section.or("replicas", defaults.replicas, |value| {
            value.number::<u32>(1..=10_000).and_then(NonZeroU32::new)
        }),
    }
}

/// With `mode: local` nothing is shared: the other keys speak of a store that is not asked, and pass with their defaults
/// alone, so that none is taken and then does nothing.
fn alone(section: &Section<'_>) -> Sharing {
    const CONDITION: &str = "limits are shared: write `mode: exact` or `mode: leased`";
    section.idle_unless("timeout", &["5ms"], CONDITION);
    section.idle_unless("on_store_failure", &["local_share"], CONDITION);
    section.idle_unless("replicas", &["1"], CONDITION);
    Sharing::default()
}

fn mode(value: &Value<'_>) -> Option<Mode> {
    value.parse(|text| match text {
        "local" => Ok(Mode::Local),
        "exact" => Ok(Mode::Exact),
        "leased" => Ok(Mode::Leased),
        _ => Err(format!(
            "is not a mode, and {} is reserved for how limits are shared: write local, exact or leased",
            names::quote(SHARING)
        )),
    })
}
