//! The places that a request takes among those of its caller, and keeps until it is closed.

use std::sync::Arc;

use portcullis_policy::{
    limits::{Caller, InFlightPlan, PlaceInFlight},
    rejection::Rejection,
};
use prometheus::IntCounter;
use smallvec::SmallVec;

use crate::exchange::Progress;

/// How many requests of one caller may be in flight, as a route asks for it.
pub(crate) struct Cap {
    pub(crate) plan: Arc<InFlightPlan>,
    /// It only reports.
    pub(crate) is_shadowed: bool,
    pub(crate) allowed: IntCounter,
    pub(crate) refused: IntCounter,
}

/// Dropped with the exchange, and so given back however the request ends.
pub(crate) type Places = SmallVec<[PlaceInFlight; 2]>;

impl Cap {
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
