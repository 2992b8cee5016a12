//! Limits that replicas have in common: what the proxy asks, and a draw in the words that every replica uses.
//!
//! Whoever keeps the common buckets is behind [`SharedLimits`]; the proxy neither knows nor sees it.

use std::{pin::Pin, sync::Arc, time::Duration};

use smallvec::SmallVec;

use crate::clock::Moment;

use super::{Account, Caller, Draw, Quota, Refused, SharedKey, Standing, in_locking_order};

/// The common buckets as a request meets them.
pub trait SharedLimits: Send + Sync {
    /// Spends on every draw of a stage, or on none of them. It never waits longer than the operator allowed.
    fn take<'a>(&'a self, draws: &'a [Draw<'a>], caller: &'a Caller<'a>, now: Moment) -> Taken<'a>;
}

/// A verdict, at once where nobody had to be asked.
pub enum Taken<'a> {
    Now(Verdict),
    Later(Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>),
}

/// Where the caller stands with the nearest limit; nothing where there was nothing to spend on.
pub type Verdict = Result<Option<Standing>, NotTaken>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    Refused(Refused),
    /// Nobody could be asked, and the operator wants such requests refused or has left no share for them.
    StoreAway,
}

/// Shared buckets are reckoned in sixteenths of a microsecond: coarse enough for a script that knows only doubles, fine
/// enough that a fast limit is not rounded to a slower one.
pub const TICKS_PER_MICROSECOND: u64 = 16;

/// One draw as any replica would write it down. Amounts are ticks: the time in which they are earned.
#[derive(Clone, Debug)]
pub struct SharedDraw {
    quota: Arc<Quota>,
    pub account: Account,
    pub limit: Arc<str>,
    pub key: SharedKey,
    pub cost: u64,
    /// What an empty bucket takes to fill.
    pub tolerance: u64,
    /// The tolerance of the slowest bucket of this limit, of all tiers.
    pub ceiling: u64,
    emission: u64,
}

/// A shared bucket after a draw, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weighing {
    pub left: u64,
    pub reset: u64,
    /// Above zero: refused, and as long until the same draw would pass.
    pub wait: u64,
}

impl SharedDraw {
    fn new(draw: &Draw<'_>, caller: &Caller<'_>) -> Self {
        let quota = draw.quota;
        let emission = ticks(quota.emission());
        let tolerance = emission.saturating_mul(quota.burst());
        Self {
            quota: Arc::clone(quota),
            account: draw.account(),
            limit: Arc::clone(quota.limit_name()),
            key: draw.plan.shared_key(caller),
            cost: emission.saturating_mul(draw.cost),
            tolerance,
            ceiling: ticks(draw.plan.ceiling()).max(tolerance),
            emission,
        }
    }

    /// Whether a draw under this quota is reckoned as this one is.
    pub fn has_quota_of(&self, draw: &Draw<'_>) -> bool {
        Arc::ptr_eq(&self.quota, draw.quota)
    }

    /// What `draw`, of the same quota, costs.
    pub fn cost_of(&self, draw: &Draw<'_>) -> u64 {
        self.emission.saturating_mul(draw.cost)
    }

    fn standing(&self, weighing: &Weighing) -> Standing {
        Standing {
            quota: Arc::clone(&self.quota),
            remaining: weighing.left / self.emission,
            reset_after: duration(weighing.reset),
        }
    }
}

/// The draws of a stage, one for each limit.
pub fn shared(draws: &[Draw<'_>], caller: &Caller<'_>) -> SmallVec<[SharedDraw; 4]> {
    let draws = in_locking_order(draws);
    draws
        .iter()
        .map(|draw| SharedDraw::new(draw, caller))
        .collect()
}

/// What the buckets' answers mean for the request.
pub fn verdict(draws: &[SharedDraw], weighings: &[Weighing]) -> Verdict {
    let weighed = || draws.iter().zip(weighings);
    let refusing = weighed().filter(|(_, weighing)| weighing.wait > 0);
    if let Some((draw, weighing)) = refusing.max_by_key(|(_, weighing)| weighing.wait) {
        return Err(NotTaken::Refused(Refused {
            standing: draw.standing(weighing),
            retry_after: duration(weighing.wait),
        }));
    }
    let nearest = weighed().min_by_key(|(draw, weighing)| weighing.left / draw.cost.max(1));
    Ok(nearest.map(|(draw, weighing)| draw.standing(weighing)))
}

/// Rounded up, so that never more than the rate is let through.
pub fn ticks(nanos: u64) -> u64 {
    let ticks = (u128::from(nanos) * u128::from(TICKS_PER_MICROSECOND)).div_ceil(1000);
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Rounded down: what is given must not be more than there was.
pub fn whole_ticks(nanos: u64) -> u64 {
    let ticks = u128::from(nanos) * u128::from(TICKS_PER_MICROSECOND) / 1000;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

pub fn duration(ticks: u64) -> Duration {
    let nanos = u128::from(ticks) * 1000 / u128::from(TICKS_PER_MICROSECOND);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
