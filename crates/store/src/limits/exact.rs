//! `mode: exact`: every request is counted in the store, all limits of a stage in one call.

use std::sync::Arc;

use portcullis_policy::{
    clock::Moment,
    limits::{
        Caller, Draw,
        shared::{self, SharedDraw, Verdict, Weighing},
    },
};
use tokio::time::timeout;

use super::{
    RedisLimits,
    link::Linked,
    script::{Bucket, LimitsError},
};

impl RedisLimits {
    pub(super) async fn take_exactly(
        &self,
        linked: Arc<Linked>,
        draws: &[Draw<'_>],
        caller: &Caller<'_>,
        now: Moment,
    ) -> Verdict {
        let shared_draws = shared::shared(draws, caller);
        let buckets = self.buckets(&shared_draws, draws, now);
        let asked = timeout(self.timeout(), self.link.take(&linked, &buckets)).await;
        match asked.map_err(LimitsError::from).flatten() {
            Ok(weighings) => self.told(draws, &shared_draws, &weighings, now),
            Err(cause) => {
                self.store_failed(&linked, &cause);
                self.without_store(draws, now)
            }
        }
    }

    fn told(
        &self,
        draws: &[Draw<'_>],
        shared_draws: &[SharedDraw],
        weighings: &[Weighing],
        now: Moment,
    ) -> Verdict {
        let verdict = shared::verdict(shared_draws, weighings);
        if verdict.is_ok() {
            self.share.charge(draws, now);
        }
        verdict
    }

    fn buckets<'d>(
        &self,
        shared_draws: &'d [SharedDraw],
        draws: &[Draw<'_>],
        now: Moment,
    ) -> Vec<Bucket<'d>> {
        let bucket = |draw: &'d SharedDraw| Bucket {
            draw,
            brought: self.brought(draw, draws, now),
        };
        shared_draws.iter().map(bucket).collect()
    }

    /// What this replica has left of its share, once after the store's memory was lost.
    fn brought(&self, shared_draw: &SharedDraw, draws: &[Draw<'_>], now: Moment) -> u64 {
        let Some(lost_at) = self.link.lost_at(&shared_draw.key) else {
            return 0;
        };
        let own = draws.iter().find(|draw| draw.is_of(&shared_draw.limit));
        let nanos = own.map_or(0, |draw| self.share.bring_back(draw, lost_at, now));
        shared::whole_ticks(nanos)
    }
}
