//! The places that a request takes among those of its caller, and keeps until it is closed.

use portcullis_config::limits::InFlightLimit;
use portcullis_policy::{
    limits::{Caller, InFlightPlan, PlaceInFlight},
    rejection::Rejection,
};
use prometheus::IntCounter;
use smallvec::SmallVec;

use crate::{exchange::Progress, snapshot::Surroundings};

/// How many requests of one caller may be in flight, as a route asks for it.
pub(crate) struct Cap {
    plan: InFlightPlan,
    /// It only reports.
    is_shadowed: bool,
    allowed: IntCounter,
    refused: IntCounter,
}

/// Dropped with the exchange, and so given back however the request ends.
pub(crate) type Places = SmallVec<[PlaceInFlight; 2]>;

impl Cap {
    pub(crate) fn compile(
        limit: &InFlightLimit,
        is_shadowed: bool,
        around: &Surroundings<'_>,
    ) -> Self {
        let decided = |outcome| around.metrics.limit_decisions(&limit.name, outcome);
        let refused = if is_shadowed {
            "would_refuse"
        } else {
            "refused"
        };
        Self {
            plan: around.limiter.in_flight_plan(limit),
            is_shadowed,
            allowed: decided("allowed"),
            refused: decided(refused),
        }
    }

    fn enter(&self, caller: &Caller<'_>) -> Result<PlaceInFlight, Rejection> {
        let entered = self.plan.enter(caller);
        match &entered {
            Ok(_) => self.allowed.inc(),
            Err(_) => self.refused.inc(),
        }
        entered.map_err(|refused| Rejection::RateLimited(Box::new(refused)))
    }
}

/// A place under every cap of a stage, or none.
pub(crate) fn enter(
    caps: &[Cap],
    caller: &Caller<'_>,
    progress: &mut Progress,
) -> Result<Places, Rejection> {
    let mut places = Places::new();
    for cap in caps {
        match cap.enter(caller) {
            Ok(place) => places.push(place),
            Err(refused) if cap.is_shadowed => progress.let_off(&refused),
            Err(refused) => return Err(refused),
        }
    }
    Ok(places)
}
