//! The generic cell rate algorithm: a bucket is one number, the instant at which it will be full again.
//!
//! A request pushes that instant back by the time it takes to earn what the request costs, and is refused if the
//! bucket would then need longer to fill than an empty one does. All arithmetic is in whole nanoseconds and saturates.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use http::HeaderValue;
use portcullis_config::units::Rate;

use crate::{clock::nanos, rate_headers};

/// Ninety-odd years: long enough for any limit, short enough that sums of two stay far from the end of a `u64`.
const LONGEST: u64 = u64::MAX / 6;

/// Nobody knows when a place will be free: as soon as one of the caller's own requests ends.
const PLACE_RETRY: Duration = Duration::from_secs(1);

/// A rate and a burst, ready to be reckoned with and to be told to clients.
#[derive(Debug, PartialEq, Eq)]
pub struct Quota {
    limit_name: Arc<str>,
    burst: u64,
    /// Earning one request takes this long. Rounded up, so that never more than the rate is admitted.
    emission: u64,
    /// Filling an empty bucket takes this long.
    tolerance: u64,
    policy: HeaderValue,
    /// `"name";r=`, the unchanging beginning of the `RateLimit` header.
    item: Box<str>,
}

impl Quota {
    pub(super) fn new(limit_name: Arc<str>, rate: Rate, burst: u64) -> Self {
        let emission = nanos(rate.period)
            .div_ceil(rate.count.get())
            .clamp(1, LONGEST);
        let tolerance = emission.saturating_mul(burst).min(LONGEST);
        let window = Duration::from_nanos(tolerance);
        let policy = rate_headers::policy(&limit_name, burst, window);
        let item = rate_headers::item(&limit_name);
        Self {
            limit_name,
            burst,
            emission,
            tolerance,
            policy,
            item,
        }
    }

    /// Places instead of a rate, told to clients as a quota of requests at the same time.
    pub(super) fn of_places(limit_name: &str, most: NonZeroU32) -> Self {
        let most = u64::from(most.get());
        Self {
            limit_name: limit_name.into(),
            burst: most,
            emission: 1,
            tolerance: nanos(PLACE_RETRY),
            policy: rate_headers::policy_of_places(limit_name, most),
            item: rate_headers::item(limit_name),
        }
    }

    /// What taking `cost` at `now` would do to a bucket that is full again at `full_at`.
    pub(super) fn weigh(&self, full_at: u64, cost: u64, now: u64) -> Weighed {
        let before = full_at.max(now);
        let after = before.saturating_add(self.emission.saturating_mul(cost));
        let wait = (after - now).saturating_sub(self.tolerance);
        let stays = if wait == 0 { after } else { before };
        Weighed {
            full_at: stays,
            wait,
            remaining: self.tolerance.saturating_sub(stays - now) / self.emission,
            reset: stays - now,
        }
    }

    /// What has been let through elsewhere, whether this bucket had it or not.
    pub(super) fn charge(&self, full_at: u64, cost: u64, now: u64) -> u64 {
        let after = full_at
            .max(now)
            .saturating_add(self.emission.saturating_mul(cost));
        after.min(now.saturating_add(self.tolerance))
    }

    /// Less time for one request is more generous; with the same rate, the larger burst is.
    pub(super) fn generosity(&self) -> (std::cmp::Reverse<u64>, u64) {
        (std::cmp::Reverse(self.emission), self.burst)
    }

    pub(super) fn tolerance(&self) -> u64 {
        self.tolerance
    }

    pub(super) fn emission(&self) -> u64 {
        self.emission
    }

    pub(super) fn limit_name(&self) -> &Arc<str> {
        &self.limit_name
    }

    pub(super) fn burst(&self) -> u64 {
        self.burst
    }

    pub(crate) fn policy(&self) -> &HeaderValue {
        &self.policy
    }

    pub(crate) fn item(&self) -> &str {
        &self.item
    }
}

/// A bucket after a draw, or as it stays if the draw is refused.
pub(super) struct Weighed {
    pub(super) full_at: u64,
    /// Above zero: refused, and as long until the same draw would pass.
    pub(super) wait: u64,
    pub(super) remaining: u64,
    pub(super) reset: u64,
}

/// Where a caller stands with the limit that will refuse it first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub(crate) quota: Arc<Quota>,
    /// Requests that would pass if they all came now.
    pub remaining: u64,
    /// Until the bucket is full again.
    pub reset_after: Duration,
}

impl Standing {
    pub fn limit_name(&self) -> &str {
        &self.quota.limit_name
    }

    /// The size of the bucket.
    pub fn limit(&self) -> u64 {
        self.quota.burst
    }

    /// The time in which an empty bucket fills.
    pub fn window(&self) -> Duration {
        Duration::from_nanos(self.quota.tolerance)
    }

    #[cfg(test)]
    pub(crate) fn example(limit_name: &str, remaining: u64, reset_after: Duration) -> Self {
        let rate = Rate {
            count: 60.try_into().unwrap(),
            period: Duration::from_secs(60),
        };
        Self {
            quota: Arc::new(Quota::new(limit_name.into(), rate, 60)),
            remaining,
            reset_after,
        }
    }
}

/// A draw that found too little in one of its buckets. Nothing was spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Of the limit with the longest wait.
    pub standing: Standing,
    pub retry_after: Duration,
}

impl Refused {
    /// All places are taken.
    pub(super) fn without_a_place(quota: &Arc<Quota>) -> Self {
        Self {
            standing: Standing {
                quota: Arc::clone(quota),
                remaining: 0,
                reset_after: PLACE_RETRY,
            },
            retry_after: PLACE_RETRY,
        }
    }

    /// A refusal by a limit that is counted elsewhere, such as failed sign-ins: nothing remains of `rate`.
    pub fn of(limit_name: &str, rate: Rate, retry_after: Duration) -> Self {
        let standing = Standing {
            quota: Arc::new(Quota::new(limit_name.into(), rate, rate.count.get())),
            remaining: 0,
            reset_after: rate.period,
        };
        Self {
            standing,
            retry_after,
        }
    }
}
