//! `rate_limits:`, and how routes name them. The types are in [`crate::limits`].

use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroU64},
    sync::Arc,
    time::Duration,
};

use super::{in_flight, limit_keys, sharing::SHARING};
use crate::{
    limits::{InFlightLimit, RateLimit, Tier},
    names,
    reader::{Section, Value},
    routes::Spend,
    units::{self, Rate},
};

/// What `rate_limits` declares.
#[derive(Default)]
pub(super) struct Limits {
    pub(super) rates: Vec<Arc<RateLimit>>,
    pub(super) in_flight: Vec<Arc<InFlightLimit>>,
}

/// What a route takes of them.
#[derive(Default)]
pub(super) struct Drawn {
    pub(super) rates: Vec<Spend>,
    pub(super) in_flight: Vec<Arc<InFlightLimit>>,
}

pub(super) fn limits(file: &Section<'_>, roles: &[String]) -> Limits {
    let mut limits = Limits::default();
    let entries = file.find("rate_limits").map(|value| value.named_entries());
    for (name, value) in entries.unwrap_or_default() {
        if name == SHARING {
            continue;
        }
        value.section(|section| match section.find("in_flight") {
            Some(most) => {
                let limit = in_flight::limit(name, section, &most);
                limits.in_flight.push(Arc::new(limit));
            }
            None => limits
                .rates
                .push(Arc::new(rate_limit(name, section, roles))),
        });
    }
    limits
}

fn rate_limit(name: &str, section: &Section<'_>, roles: &[String]) -> RateLimit {
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
        ipv6_prefix: limit_keys::ipv6_prefix(section),
        tiers: section.or("tiers", BTreeMap::new(), |value| Some(tiers(value, roles))),
    }
}

fn rate(section: &Section<'_>) -> Option<Rate> {
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

/// `rate_limits` of a route: which of them a request takes from, and how much.
pub(super) fn drawn(value: &Value<'_>, limits: &Limits) -> Drawn {
    let (mut drawn, mut names) = (Drawn::default(), Vec::new());
    for element in value.list() {
        let Some(name) = draw(&element, limits, &mut drawn) else {
            continue;
        };
        if names.contains(&name) {
            element.mistake("is spent on twice: keep one, and raise its `cost` if that was meant");
        }
        names.push(name);
    }
    drawn
}

/// The name of the limit, which may be written alone or with a cost.
fn draw(value: &Value<'_>, limits: &Limits, drawn: &mut Drawn) -> Option<String> {
    if value.is_single() {
        return named(value, None, limits, drawn);
    }
    let name = value.section(|section| {
        let limit = section.require("limit", "name one of `rate_limits`");
        let cost = section.find("cost");
        match limit {
            Some(limit) => named(&limit, cost.as_ref(), limits, drawn),
            None => {
                cost.and_then(|value| self::cost(&value, None));
                None
            }
        }
    });
    name.flatten()
}

fn named(
    value: &Value<'_>,
    cost: Option<&Value<'_>>,
    limits: &Limits,
    drawn: &mut Drawn,
) -> Option<String> {
    let rates = limits.rates.iter().map(|limit| limit.name.as_str());
    let in_flight = limits.in_flight.iter().map(|limit| limit.name.as_str());
    let known: Vec<&str> = rates.chain(in_flight).collect();
    let name = value.known("rate limit", &known, "declare it under `rate_limits`")?;
    if let Some(limit) = limits.rates.iter().find(|limit| limit.name == name) {
        let cost = cost.and_then(|cost| self::cost(cost, Some(limit)));
        drawn.rates.push(Spend {
            limit: Arc::clone(limit),
            cost: cost.unwrap_or(NonZeroU32::MIN),
        });
    }
    if let Some(limit) = limits.in_flight.iter().find(|limit| limit.name == name) {
        if let Some(cost) = cost {
            cost.mistake("goes with a rate: a request in flight takes one place, so remove it");
        }
        drawn.in_flight.push(Arc::clone(limit));
    }
    Some(name)
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
