//! `shadow` of a route: names of checks and of rate limits. The types are in [`crate::shadow`].
//!
//! A check that the route does not have is refused: whoever lists it believes that something is being watched.

use crate::{
    reader::Value,
    routes::{Access, Route, Target},
    shadow::{Check, Shadow},
};

/// Reads the list for a route that is whole but for it.
pub(super) fn shadow(value: &Value<'_>, route: &Route) -> Shadow {
    let limits: Vec<&str> = route.limit_names().collect();
    let checks = Check::ALL.map(Check::name);
    let known = [checks.as_slice(), &limits].concat();
    let mut shadow = Shadow::default();
    for element in value.list() {
        let remedy = "name a check, or a rate limit that this route spends from";
        let Some(name) = element.known("check here", &known, remedy) else {
            continue;
        };
        let is_limit = limits.contains(&name.as_str());
        match Check::named(&name) {
            Some(_) if is_limit => element
                .mistake("is a check and a rate limit of this route: give the limit another name"),
            Some(check) => {
                if let Some(missing) = missing(check, route) {
                    element.mistake(missing);
                }
                push_new(&mut shadow.checks, check, &element);
            }
            None => push_new(&mut shadow.limits, name, &element),
        }
    }
    shadow
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, new: T, element: &Value<'_>) {
    if list.contains(&new) {
        element.mistake("is written twice: keep one");
    }
    list.push(new);
}

/// Why the check would never report anything.
fn missing(check: Check, route: &Route) -> Option<&'static str> {
    let is_missing = match check {
        Check::Address => route.addresses.allow.is_empty() && route.addresses.deny.is_empty(),
        Check::Body => route.body.is_none(),
        Check::Token | Check::Access => matches!(route.access, Access::Public),
        Check::MaxInFlight => match &route.target {
            Target::Upstream(upstream) => upstream.max_in_flight.is_none(),
            Target::Auth | Target::Redirect(_) => true,
        },
        Check::CircuitBreaker => !matches!(route.target, Target::Upstream(_)),
    };
    is_missing.then_some(match check {
        Check::Address => "would report nothing: this route has no `ip` lists",
        Check::Body => {
            "would report nothing: this route has no `body` of its own, and the server's stays in force"
        }
        Check::Token | Check::Access => "would report nothing: this route is public",
        Check::MaxInFlight => "would report nothing: the upstream has no `max_in_flight`",
        Check::CircuitBreaker => "would report nothing: only what leads to one of `upstreams` has a breaker",
    })
}
