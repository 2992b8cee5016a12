//! The limits of a route, sorted by when a request meets them.
//!
//! A limit is compiled once, however many routes name it: what a request reads of it is then in the processor's caches
//! already, whichever route was asked before.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

use portcullis_config::{limits::InFlightLimit, routes};
use portcullis_policy::limits::{InFlightPlan, LimitPlan, shared::NotTaken};
use prometheus::IntCounter;

use crate::{in_flight::Cap, snapshot::Surroundings};

/// The limits that are spent at one point of admission.
#[derive(Default)]
pub(crate) struct Stage {
    /// Entered before anything is spent.
    pub(crate) caps: Vec<Cap>,
    /// Spent on together or not at all.
    pub(crate) binding: Vec<Spend>,
    /// Each spent on by itself, once the others have let the request pass: one that is empty must not keep the
    /// request from spending on the rest.
    pub(crate) shadowed: Vec<Spend>,
}

impl Stage {
    /// Of everything that is counted here, shadowed or not.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let rates = self.binding.iter().chain(&self.shadowed);
        let rates = rates.map(|spend| spend.plan.name());
        let caps = self.caps.iter().map(|cap| cap.plan.name());
        caps.chain(rates)
    }

    pub(crate) fn has(&self, limit: &str) -> bool {
        self.names().any(|name| name == limit)
    }
}

/// What a request on a route takes from one limit.
pub(crate) struct Spend {
    pub(crate) plan: Arc<LimitPlan>,
    pub(crate) cost: NonZeroU32,
    allowed: IntCounter,
    refused: IntCounter,
    /// The store that replicas share was away, and nobody decided in its place.
    undecided: IntCounter,
}

impl Spend {
    /// `not_taken` is why the stage was refused, by this limit or by another.
    pub(crate) fn count(&self, not_taken: Option<&NotTaken>) {
        match not_taken {
            None => self.allowed.inc(),
            Some(NotTaken::StoreAway) => self.undecided.inc(),
            Some(NotTaken::Refused(refused))
                if refused.standing.limit_name() == self.plan.name() =>
            {
                self.refused.inc()
            }
            Some(NotTaken::Refused(_)) => {}
        }
    }
}

/// The limits of one configuration, compiled as routes come to name them.
pub(crate) struct Plans<'a> {
    around: &'a Surroundings<'a>,
    rates: HashMap<String, Arc<LimitPlan>>,
    in_flight: HashMap<String, Arc<InFlightPlan>>,
}

impl<'a> Plans<'a> {
    pub(crate) fn new(around: &'a Surroundings<'a>) -> Self {
        Self {
            around,
            rates: HashMap::new(),
            in_flight: HashMap::new(),
        }
    }

    /// The stage of the client, before any cryptography, and that of the principal.
    pub(crate) fn stages_of(&mut self, route: &routes::Route) -> (Stage, Stage) {
        let (mut client, mut principal) = (Stage::default(), Stage::default());
        for spend in &route.rate_limits {
            let is_shadowed = route.shadow.limits.contains(&spend.limit.name);
            let stage = if spend.limit.needs_principal() {
                &mut principal
            } else {
                &mut client
            };
            let spends = if is_shadowed {
                &mut stage.shadowed
            } else {
                &mut stage.binding
            };
            spends.push(self.spend(spend, is_shadowed));
        }
        for limit in &route.in_flight {
            let stage = if limit.needs_principal() {
                &mut principal
            } else {
                &mut client
            };
            let is_shadowed = route.shadow.limits.contains(&limit.name);
            stage.caps.push(self.cap(limit, is_shadowed));
        }
        (client, principal)
    }

    fn spend(&mut self, spend: &routes::Spend, is_shadowed: bool) -> Spend {
        let (limit, around) = (&spend.limit, self.around);
        let known = self.rates.entry(limit.name.clone());
        let plan = known.or_insert_with(|| Arc::new(around.limiter.plan(limit)));
        Spend {
            plan: Arc::clone(plan),
            cost: spend.cost,
            allowed: self.decided(&limit.name, "allowed"),
            refused: self.decided(&limit.name, refused(is_shadowed)),
            undecided: self.decided(&limit.name, "store_unavailable"),
        }
    }

    fn cap(&mut self, limit: &InFlightLimit, is_shadowed: bool) -> Cap {
        let around = self.around;
        let known = self.in_flight.entry(limit.name.clone());
        let plan = known.or_insert_with(|| Arc::new(around.limiter.in_flight_plan(limit)));
        Cap {
            plan: Arc::clone(plan),
            is_shadowed,
            allowed: self.decided(&limit.name, "allowed"),
            refused: self.decided(&limit.name, refused(is_shadowed)),
        }
    }

    fn decided(&self, limit: &str, outcome: &'static str) -> IntCounter {
        self.around.metrics.limit_decisions(limit, outcome)
    }
}

/// How a refusal is counted.
fn refused(is_shadowed: bool) -> &'static str {
    if is_shadowed {
        "would_refuse"
    } else {
        "refused"
    }
}
