//! `rate_limits:`, and how routes name them. The types are in [`crate::limits`].

use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroU64},
    sync::Arc,
    time::Duration,
};

use super::limit_keys;
use crate::{
    limits::{RateLimit, Tier},
    names,
    reader::{Section, Value},
    routes::Spend,
    units::{self, Rate},
};

/// The one name under `rate_limits` that is no limit but says how all of them are shared between replicas.
const SHARING: &str = "sharing";

pub(super) fn rate_limits(file: &Section<'_>, roles: &[String]) -> Vec<Arc<RateLimit>> {
    let Some(value) = file.find("rate_limits") else {
        return Vec::new();
    };
    let mut limits = Vec::new();
    for (name, value) in value.named_entries() {
        if name == SHARING {
            value.section(sharing);
        } else if let Some(limit) = value.section(|section| rate_limit(name, section, roles)) {
            limits.push(Arc::new(limit));
        }
    }
    limits
}

/// With `mode: local` nothing is shared: the other keys speak of a store that is not there, and pass with their defaults
/// alone, so that none is taken and then does nothing.
fn sharing(section: &Section<'_>) {
    if let Some(mode) = section.find("mode") {
        mode.parse(|text| match text {
            "local" => Ok(()),
            "exact" | "leased" => Err("is not supported yet: write local".to_owned()),
            _ => Err(format!(
                "is not a mode, and {} is reserved for how limits are shared: write local",
                names::quote(SHARING)
            )),
        });
    }
    section.later_unless("timeout", &["5ms"]);
    section.later_unless("on_store_failure", &["local_share"]);
    section.later_unless("replicas", &["1"]);
}

fn rate_limit(name: &str, section: &Section<'_>, roles: &[String]) -> RateLimit {
    section.later("in_flight");
    let rate = rate(section);
    let limit_count = rate.map_or(NonZeroU64::MAX, |rate| rate.count);
    RateLimit {
        name: name.to_owned(),
        key: limit_keys::key(section),
        rate: rate.unwrap_or(Rate {
            count: NonZeroU64::MIN,
            period: Duration::from_secs(1),
        }),
        burst: section.or("burst", limit_count, |value| {
            value
                .number::<u64>(1..=units::MAX_COUNT)
                .and_then(NonZeroU64::new)
        }),
        ipv6_prefix: section.or("ipv6_prefix", 64, |value| value.number(32..=128)),
        tiers: section.or("tiers", BTreeMap::new(), |value| Some(tiers(value, roles))),
    }
}

fn rate(section: &Section<'_>) -> Option<Rate> {
    if section.find("limit").is_none() && section.find("in_flight").is_some() {
        return None;
    }
    section
        .require("limit", "write so many in so long, such as 60/1m")?
        .parse(units::parse_rate)
}

fn tiers(value: &Value<'_>, roles: &[String]) -> BTreeMap<String, Tier> {
    let known: Vec<&str> = roles.iter().map(String::as_str).collect();
    let mut tiers = BTreeMap::new();
    for (role, value) in value.entries() {
        if !known.contains(&role) {
            value.mistake(names::unknown(
                "role",
                &names::quote(role),
                role,
                &known,
                "declare it under `auth.roles`",
            ));
        }
        if let Some(tier) = value.parse(tier) {
            tiers.insert(role.to_owned(), tier);
        }
    }
    tiers
}

fn tier(text: &str) -> Result<Tier, String> {
    match text {
        "unlimited" => Ok(Tier::Unlimited),
        _ => units::parse_rate(text)
            .map(Tier::Limited)
            .map_err(|complaint| format!("{complaint}, or unlimited")),
    }
}

/// `rate_limits` of a route: which of them a request spends from, and how much.
pub(super) fn spends(value: &Value<'_>, limits: &[Arc<RateLimit>]) -> Vec<Spend> {
    let mut spends: Vec<Spend> = Vec::new();
    for element in value.list() {
        let Some(spend) = spend(&element, limits) else {
            continue;
        };
        if spends
            .iter()
            .any(|other| other.limit.name == spend.limit.name)
        {
            element.mistake("is spent on twice: keep one, and raise its `cost` if that was meant");
        }
        spends.push(spend);
    }
    spends
}

fn spend(value: &Value<'_>, limits: &[Arc<RateLimit>]) -> Option<Spend> {
    if value.is_single() {
        return Some(Spend {
            limit: limit(value, limits)?,
            cost: NonZeroU32::MIN,
        });
    }
    let spend = value.section(|section| {
        let limit = section
            .require("limit", "name one of `rate_limits`")
            .and_then(|value| limit(&value, limits));
        let cost = section.or("cost", NonZeroU32::MIN, |value| {
            cost(value, limit.as_deref())
        });
        Some(Spend {
            limit: limit?,
            cost,
        })
    });
    spend.flatten()
}

fn limit(value: &Value<'_>, limits: &[Arc<RateLimit>]) -> Option<Arc<RateLimit>> {
    let known: Vec<&str> = limits.iter().map(|limit| limit.name.as_str()).collect();
    let name = value.known("rate limit", &known, "declare it under `rate_limits`")?;
    limits.iter().find(|limit| limit.name == name).cloned()
}

fn cost(value: &Value<'_>, limit: Option<&RateLimit>) -> Option<NonZeroU32> {
    let cost = value
        .number::<u32>(1..=u64::from(u32::MAX))
        .and_then(NonZeroU32::new)?;
    if let Some(limit) = limit.filter(|limit| u64::from(cost.get()) > limit.burst.get()) {
        let text = format!(
            "is more than {} holds at once ({}): no request would ever pass",
            names::quote(&limit.name),
            limit.burst
        );
        value.mistake(text);
    }
    Some(cost)
}
