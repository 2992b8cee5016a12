//! `mode: exact`: every request is counted in the store, all limits of a stage in one call.

use std::sync::Arc;

use portcullis_policy::{
    clock::Moment,
    limits::{
        Caller, Draw,
        shared::{self, SharedDraw, Verdict, Weighing},
    },
};

use super::{Counting, NoAnswer, link::Linked, script::Bucket};

impl Counting {
    pub(super) async fn take_exactly(
        &self,
        linked: Arc<Linked>,
        draws: &[Draw<'_>],
        caller: &Caller<'_>,
        now: Moment,
    ) -> Verdict {
        let shared_draws = shared::shared(draws, caller);
        let bucket = |draw| Bucket {
            brought: self.brought(draw, draws, now),
            ..Bucket::of(draw, draw.cost)
        };
        let buckets: Vec<Bucket<'_>> = shared_draws.iter().map(bucket).collect();
        let told = match self.take(&linked, &buckets).await {
            Ok(told) => told,
            Err(NoAnswer) => return self.without_store(draws, now),
        };
        let weighings: Vec<Weighing> = told.iter().map(|told| told.weighing).collect();
        let verdict = shared::verdict(&shared_draws, &weighings);
        if verdict.is_ok() {
            self.share.charge(draws, now);
        }
        verdict
    }

    /// What this replica has left of its share, once after the store's memory was lost.
    pub(super) fn brought(&self, shared_draw: &SharedDraw, draws: &[Draw<'_>], now: Moment) -> u64 {
        let Some(lost_at) = self.link.lost_at(&shared_draw.key) else {
            return 0;
        };
        let own = draws
            .iter()
            .find(|draw| draw.account() == shared_draw.account);
        let nanos = own.map_or(0, |draw| self.share.bring_back(draw, lost_at, now));
        shared::whole_ticks(nanos)
    }
}
