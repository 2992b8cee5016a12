//! What a request takes from its limits: a stage at a time, all of it or nothing.
//!
//! Where no replica shares them this waits for nothing, and where they are shared it waits no longer than the operator
//! allowed.

use std::slice;

use portcullis_policy::{
    clock::Moment,
    limits::{
        self, Caller, Draw, Standing,
        shared::{NotTaken, SharedLimits, Taken, Verdict},
    },
    rejection::Rejection,
};
use smallvec::SmallVec;

use crate::{
    exchange::Progress,
    gateway::Gateway,
    stage::{Spend, Stage},
};

/// What one request spends with.
pub(crate) struct Purse<'a> {
    shared: Option<&'a dyn SharedLimits>,
    now: Moment,
}

impl<'a> Purse<'a> {
    pub(crate) fn new(gateway: &'a Gateway, now: Moment) -> Self {
        Self {
            shared: gateway.shared_limits.as_deref(),
            now,
        }
    }

    /// Spends on all binding limits of one stage or on none of them, and then on each shadowed one by itself.
    pub(crate) async fn spend(
        &self,
        stage: &Stage,
        caller: &Caller<'_>,
        progress: &mut Progress,
    ) -> Result<Option<Standing>, Rejection> {
        let standing = self.take(&stage.binding, caller).await?;
        for shadowed in &stage.shadowed {
            if let Err(refused) = self.take(slice::from_ref(shadowed), caller).await {
                progress.let_off(&refused);
            }
        }
        Ok(standing)
    }

    async fn take(
        &self,
        spends: &[Spend],
        caller: &Caller<'_>,
    ) -> Result<Option<Standing>, Rejection> {
        let draws: SmallVec<[Draw<'_>; 4]> = spends
            .iter()
            .filter_map(|spend| spend.plan.draw(caller, spend.cost))
            .collect();
        let taken = match self.shared {
            None => limits::take(&draws, self.now).map_err(NotTaken::Refused),
            Some(shared) => ask(shared, &draws, caller, self.now).await,
        };
        for spend in spends {
            spend.count(taken.as_ref().err());
        }
        taken.map_err(|not_taken| match not_taken {
            NotTaken::Refused(refused) => Rejection::RateLimited(Box::new(refused)),
            NotTaken::StoreAway => Rejection::StoreUnavailable,
        })
    }
}

async fn ask<'a>(
    shared: &'a dyn SharedLimits,
    draws: &'a [Draw<'a>],
    caller: &'a Caller<'a>,
    now: Moment,
) -> Verdict {
    match shared.take(draws, caller, now) {
        Taken::Now(verdict) => verdict,
        Taken::Later(verdict) => verdict.await,
    }
}

/// Of two stages the one with less left is told to the client.
pub(crate) fn nearest(one: Option<Standing>, other: Option<Standing>) -> Option<Standing> {
    [one, other]
        .into_iter()
        .flatten()
        .min_by_key(|standing| standing.remaining)
}
