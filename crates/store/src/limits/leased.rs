//! `mode: leased`: who comes often has a share taken ahead for it, and is let through from that without a call.
//!
//! A request that finds too little in a lease asks the store, for all such limits of its stage in one call, as it would
//! in `exact`; and beside what it costs it asks for as much as the caller is expected to spend in the next moment.
//! Leases that run out are filled up in the background, those that nobody spends from are given back.

use std::{sync::Arc, time::Duration};

use portcullis_policy::{
    clock::Moment,
    limits::{
        Account, Caller, Care, Draw,
        shared::{self, NotTaken, SharedDraw, Taken, Verdict, Weighing},
    },
};
use smallvec::SmallVec;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::{
    Counting, NoAnswer,
    leases::{Held, Leases},
    link::Linked,
    script::{Bucket, BucketTold, LeaseAsk},
};

/// A lease is sized to last so long.
const AHEAD_MILLIS: u64 = 500;

/// Who comes less often than that is not worth a lease.
const OFTEN_PER_SECOND: u64 = 4;

/// A bucket that fills faster is not lent from: a lease would be over before it was of any use.
const SHORTEST_WINDOW: Duration = Duration::from_millis(200);

/// Between two looks at the leases. One that was not spent from in between is given back.
const LOOK: Duration = Duration::from_millis(250);

/// Calls at one time that no request waits for, and how long each may take.
const AT_ONCE: usize = 256;
const UNHURRIED: Duration = Duration::from_millis(500);

/// What of a request's stage is set aside in leases. Dropped, it is put back, so that a client that leaves takes nothing
/// with it.
struct Reservation<'a> {
    leases: &'a Leases,
    draws: &'a [Draw<'a>],
    kept: SmallVec<[(Account, u64); 4]>,
    /// Those of the draws for which the leases have too little.
    lacking: SmallVec<[Draw<'a>; 4]>,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        for (account, cost) in &self.kept {
            self.leases.put_back(account, *cost);
        }
    }
}

/// What a request asks the store for more with. Dropped without an answer, others may ask again.
struct Asking<'a> {
    leases: &'a Leases,
    asked: Vec<(Account, LeaseAsk)>,
}

impl Asking<'_> {
    fn told(mut self, told: &[BucketTold], asked_at: Moment) {
        for ((account, ask), told) in self.asked.drain(..).zip(told) {
            self.leases
                .told(&account, &ask, Some(told), asked_at.nanos());
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        for (account, ask) in &self.asked {
            self.leases.told(account, ask, None, 0);
        }
    }
}

impl Counting {
    pub(super) fn take_leased<'a>(
        self: &'a Arc<Self>,
        draws: &'a [Draw<'a>],
        caller: &'a Caller<'a>,
    ) -> Taken<'a> {
        let now = self.now();
        let reservation = match self.reserve(draws, now) {
            Ok(reservation) => reservation,
            Err(refused) => return Taken::Now(Err(refused)),
        };
        if reservation.lacking.is_empty() {
            return Taken::Now(self.spend(reservation, Vec::new(), Vec::new(), now));
        }
        match self.link.linked() {
            Some(linked) => Taken::Later(Box::pin(async move {
                self.share.store_found();
                self.take_more(linked, reservation, caller).await
            })),
            None => Taken::Now(self.without_store(draws, now)),
        }
    }

    fn reserve<'a>(
        &'a self,
        draws: &'a [Draw<'a>],
        now: Moment,
    ) -> Result<Reservation<'a>, NotTaken> {
        let mut reservation = Reservation {
            leases: &self.leases,
            draws,
            kept: SmallVec::new(),
            lacking: SmallVec::new(),
        };
        for draw in draws {
            match self.leases.reserve(draw, now.nanos()) {
                Held::Reserved(cost) => reservation.kept.push((draw.account(), cost)),
                Held::TooLittle => reservation.lacking.push(*draw),
                Held::Refused(draw, weighing) => {
                    shared::verdict(&[*draw], &[weighing])?;
                }
            }
        }
        Ok(reservation)
    }

    /// Asks for what the leases lack, and for something ahead.
    async fn take_more<'a>(
        self: &'a Arc<Self>,
        linked: Arc<Linked>,
        reservation: Reservation<'a>,
        caller: &Caller<'_>,
    ) -> Verdict {
        let asked_at = self.now();
        let shared_draws = shared::shared(&reservation.lacking, caller);
        let (asking, buckets) = self.ask_with_leases(&shared_draws, &reservation.lacking, asked_at);
        let told = match self.take(&linked, &buckets).await {
            Ok(told) => told,
            Err(NoAnswer) => return self.without_store(reservation.draws, self.now()),
        };
        asking.told(&told, asked_at);
        let now = self.now();
        let weighings: Vec<Weighing> = told.iter().map(|told| told.weighing).collect();
        if let Err(refused) = shared::verdict(&shared_draws, &weighings) {
            for (draw, told) in shared_draws.iter().zip(&told) {
                self.leases.refused(draw, told, now.nanos());
            }
            return Err(refused);
        }
        self.spend(reservation, shared_draws.into_vec(), weighings, now)
    }

    fn ask_with_leases<'a, 'd>(
        &'a self,
        shared_draws: &'d [SharedDraw],
        draws: &[Draw<'_>],
        now: Moment,
    ) -> (Asking<'a>, Vec<Bucket<'d>>) {
        let mut asking = Asking {
            leases: &self.leases,
            asked: Vec::new(),
        };
        let mut buckets = Vec::new();
        for draw in shared_draws {
            self.demand.observe(&draw.account, 1);
            let lease = self.leases.ask(draw, self.wanted(draw), now.nanos());
            asking.asked.push((draw.account, lease));
            buckets.push(Bucket {
                brought: self.brought(draw, draws, now),
                lease,
                ..Bucket::of(draw, draw.cost)
            });
        }
        (asking, buckets)
    }

    /// What was reserved is spent, and what was asked for has been. Says where the caller stands.
    fn spend(
        self: &Arc<Self>,
        mut reservation: Reservation<'_>,
        mut spent: Vec<SharedDraw>,
        mut weighings: Vec<Weighing>,
        now: Moment,
    ) -> Verdict {
        for (account, cost) in std::mem::take(&mut reservation.kept) {
            let Some(from_lease) = self.leases.spend_reserved(&account, cost, now.nanos()) else {
                continue;
            };
            if from_lease.runs_out {
                self.runtime.spawn(Arc::clone(self).renew(account));
            }
            spent.push(from_lease.draw);
            weighings.push(from_lease.weighing);
        }
        self.share.charge(reservation.draws, now);
        shared::verdict(&spent, &weighings)
    }

    /// What the caller is expected to spend in the next moment, in ticks; 0 where a lease is not worth it.
    fn wanted(&self, draw: &SharedDraw) -> u64 {
        let per_second = self.demand.per_second(&draw.account);
        if per_second < OFTEN_PER_SECOND || shared::duration(draw.tolerance) < SHORTEST_WINDOW {
            return 0;
        }
        let requests = per_second.saturating_mul(AHEAD_MILLIS) / 1000;
        requests.saturating_mul(draw.cost).min(draw.tolerance)
    }

    /// Whoever calls this has begun to ask for the lease.
    async fn renew(self: Arc<Self>, account: Account) {
        let asked_at = self.now();
        let more = self.leases.ask_for_more(&account, |draw, requests| {
            self.demand.observe(&account, requests);
            self.wanted(draw)
        });
        let Some((draw, lease)) = more else { return };
        let asking = Asking {
            leases: &self.leases,
            asked: vec![(account, lease)],
        };
        let Some(linked) = self.link.linked() else {
            return;
        };
        let bucket = Bucket {
            lease,
            ..Bucket::of(&draw, 0)
        };
        if let Ok(told) = self.take_within(UNHURRIED, &linked, &[bucket]).await {
            asking.told(&told, asked_at);
        }
    }

    async fn give_back(self: Arc<Self>, account: Account) {
        let Some((draw, lease)) = self.leases.end(&account) else {
            return;
        };
        let bucket = Bucket {
            lease,
            ..Bucket::of(&draw, 0)
        };
        if let Some(linked) = self.link.linked() {
            // If it fails, what was not spent is lost until the bucket has filled again.
            self.take_within(UNHURRIED, &linked, &[bucket]).await.ok();
        }
        self.leases.forget(&account, lease.serial);
    }

    /// Looks after the leases, for as long as the gateway lives.
    pub(super) async fn tend_leases(self: Arc<Self>) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let mut calls = JoinSet::new();
            for (account, care) in self.leases.look(self.now().nanos()) {
                if calls.len() >= AT_ONCE {
                    calls.join_next().await;
                }
                match care {
                    Care::Renew => calls.spawn(Arc::clone(&self).renew(account)),
                    Care::GiveBack => calls.spawn(Arc::clone(&self).give_back(account)),
                    Care::Leave | Care::Forget => continue,
                };
            }
            calls.join_all().await;
        }
    }

    /// At the stop: nobody spends any more.
    pub(super) async fn give_all_back(self: &Arc<Self>) {
        let mut calls = JoinSet::new();
        for account in self.leases.all() {
            if calls.len() >= AT_ONCE {
                calls.join_next().await;
            }
            calls.spawn(Arc::clone(self).give_back(account));
        }
        calls.join_all().await;
    }
}
