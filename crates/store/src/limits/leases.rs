//! The leases of this gateway, by account: who is in the table is in use, and what is not leaves it.
//!
//! The locks are held for a few instructions and never across one another, so what a request takes from several leases
//! it reserves one by one and puts back if it cannot have them all.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::{Mutex, MutexGuard};
use portcullis_policy::limits::{
    Account, Care, Draw, Lease, LeaseTold,
    shared::{SharedDraw, Weighing},
};

use super::script::{BucketTold, LeaseAsk, Wanted, validity};

const SHARDS: usize = 64;

/// Callers beyond it are counted in the store, each request of theirs.
const LEASES_PER_SHARD: usize = 1024;

pub(super) struct Leases {
    shards: Box<[Mutex<HashMap<Account, Entry>>]>,
    next_serial: AtomicU64,
}

struct Entry {
    lease: Lease,
    draw: SharedDraw,
    /// Less than this left: it is time to ask for more.
    enough: u64,
    /// What of it the demand was told.
    observed: u64,
    /// It is being given back: nothing of it is spent, and nothing more is heard of it. It stays until the store has
    /// answered, because a new one in its place would make the store forget this one.
    has_ended: bool,
}

/// What a lease had for a request.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// So much is set aside.
    Reserved(u64),
    /// The store said a moment ago that there is not so much.
    Refused(Box<SharedDraw>, Weighing),
    TooLittle,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            next_serial: AtomicU64::new(1),
        }
    }

    pub(super) fn reserve(&self, draw: &Draw<'_>, now: u64) -> Held {
        let account = draw.account();
        let mut shard = self.shard(&account);
        let Some(entry) = shard.get_mut(&account) else {
            return Held::TooLittle;
        };
        if entry.has_ended || !entry.draw.has_quota_of(draw) {
            return Held::TooLittle;
        }
        let cost = entry.draw.cost_of(draw);
        if entry.lease.reserve(cost, now) {
            Held::Reserved(cost)
        } else if entry.lease.is_refused(cost, now) {
            let weighing = Weighing {
                left: 0,
                wait: entry.lease.weighing(now).wait.max(1),
                ..entry.lease.weighing(now)
            };
            Held::Refused(Box::new(entry.draw.clone()), weighing)
        } else {
            Held::TooLittle
        }
    }

    /// Where its bucket stands afterwards; `None` where the lease has been forgotten meanwhile.
    pub(super) fn spend_reserved(&self, account: &Account, cost: u64, now: u64) -> Option<Spent> {
        let mut shard = self.shard(account);
        let entry = shard.get_mut(account)?;
        entry.lease.spend_reserved(cost);
        let enough = entry.enough;
        let weighing = Weighing {
            wait: 0,
            ..entry.lease.weighing(now)
        };
        Some(Spent {
            draw: entry.draw.clone(),
            weighing,
            runs_out: entry.lease.begin_to_ask(enough, now),
        })
    }

    pub(super) fn put_back(&self, account: &Account, cost: u64) {
        if let Some(entry) = self.shard(account).get_mut(account) {
            entry.lease.put_back(cost);
        }
    }

    /// What to ask the store for together with a request that the lease has too little for. With `wanted` at zero no
    /// lease is begun.
    pub(super) fn ask(&self, draw: &SharedDraw, wanted: u64, now: u64) -> LeaseAsk {
        let account = &draw.account;
        let mut shard = self.shard(account);
        if !shard.contains_key(account) && (wanted == 0 || shard.len() >= LEASES_PER_SHARD) {
            return LeaseAsk::default();
        }
        let entry = shard.entry(*account).or_insert_with(|| self.entry(draw));
        if entry.has_ended {
            return LeaseAsk::default();
        }
        entry.draw = draw.clone();
        let asks = wanted > 0 && entry.lease.begin_to_ask(u64::MAX, now);
        if asks {
            entry.enough = wanted / 2;
        }
        LeaseAsk {
            serial: entry.lease.serial(),
            spent: entry.lease.spent(),
            wanted: if asks {
                Wanted::More(wanted)
            } else {
                Wanted::Nothing
            },
        }
    }

    /// What to ask for a lease that runs out, or is about to end; `None` where it has been forgotten meanwhile.
    pub(super) fn ask_for_more(
        &self,
        account: &Account,
        wanted: impl FnOnce(&SharedDraw, u64) -> u64,
    ) -> Option<(SharedDraw, LeaseAsk)> {
        let mut shard = self.shard(account);
        let entry = shard.get_mut(account).filter(|entry| !entry.has_ended)?;
        let spent = entry.lease.spent();
        let requests = (spent - entry.observed) / entry.draw.cost.max(1);
        entry.observed = spent;
        let wanted = wanted(&entry.draw, requests);
        entry.enough = wanted / 2;
        let ask = LeaseAsk {
            serial: entry.lease.serial(),
            spent,
            wanted: Wanted::More(wanted),
        };
        Some((entry.draw.clone(), ask))
    }

    /// Ends a lease and says what is to be given back. One that a request waits with is left alone: it ends by itself.
    pub(super) fn end(&self, account: &Account) -> Option<(SharedDraw, LeaseAsk)> {
        let mut shard = self.shard(account);
        let entry = shard.get_mut(account)?;
        if entry.has_ended || entry.lease.is_busy() {
            return None;
        }
        entry.has_ended = true;
        let ask = LeaseAsk {
            serial: entry.lease.serial(),
            spent: entry.lease.spent(),
            wanted: Wanted::End,
        };
        Some((entry.draw.clone(), ask))
    }

    /// The store has taken it back, or cannot be told.
    pub(super) fn forget(&self, account: &Account, serial: u64) {
        let mut shard = self.shard(account);
        if shard
            .get(account)
            .is_some_and(|entry| entry.lease.serial() == serial)
        {
            shard.remove(account);
        }
    }

    /// Only who wanted more ends the asking.
    pub(super) fn told(
        &self,
        account: &Account,
        ask: &LeaseAsk,
        told: Option<&BucketTold>,
        asked_at: u64,
    ) {
        let mut shard = self.shard(account);
        let Some(entry) = shard.get_mut(account) else {
            return;
        };
        if entry.has_ended || entry.lease.serial() != ask.serial {
            return;
        }
        if ask.wanted != Wanted::Nothing {
            entry.lease.end_asking();
        }
        let Some(told) = told else { return };
        entry.lease.told(
            &LeaseTold {
                version: told.version,
                taken: told.taken,
                validity: validity(&entry.draw),
                weighing: told.weighing,
            },
            asked_at,
        );
    }

    /// Remembers that the store has not so much, where there is room for it.
    pub(super) fn refused(&self, draw: &SharedDraw, told: &BucketTold, now: u64) {
        let account = &draw.account;
        if told.weighing.wait == 0 {
            return;
        }
        let mut shard = self.shard(account);
        if !shard.contains_key(account) && shard.len() >= LEASES_PER_SHARD {
            return;
        }
        let entry = shard.entry(*account).or_insert_with(|| self.entry(draw));
        entry.lease.note(told.weighing, now);
        entry.lease.refused(draw.cost, now);
    }

    /// What has to be done about each lease now.
    pub(super) fn look(&self, now: u64) -> Vec<(Account, Care)> {
        let mut cares = Vec::new();
        for shard in &self.shards {
            shard.lock().retain(|account, entry| {
                let renew_within = validity(&entry.draw) / 2;
                match entry.lease.look(renew_within, now) {
                    _ if entry.has_ended => true,
                    Care::Leave => true,
                    Care::Forget => false,
                    Care::GiveBack => {
                        cares.push((*account, Care::GiveBack));
                        true
                    }
                    Care::Renew => {
                        if entry.lease.begin_to_ask(u64::MAX, now) {
                            cares.push((*account, Care::Renew));
                        }
                        true
                    }
                }
            });
        }
        cares
    }

    pub(super) fn all(&self) -> Vec<Account> {
        let accounts = |shard: &Mutex<HashMap<Account, Entry>>| {
            let shard = shard.lock();
            shard.keys().copied().collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(accounts).collect()
    }

    /// The store that gave them has forgotten them.
    pub(super) fn forget_all(&self) {
        for shard in &self.shards {
            shard.lock().clear();
        }
    }

    fn entry(&self, draw: &SharedDraw) -> Entry {
        Entry {
            lease: Lease::new(self.next_serial.fetch_add(1, Relaxed)),
            draw: draw.clone(),
            enough: 0,
            observed: 0,
            has_ended: false,
        }
    }

    fn shard(&self, account: &Account) -> MutexGuard<'_, HashMap<Account, Entry>> {
        let chosen = usize::try_from(account.spread() % SHARDS as u64).unwrap_or(0);
        self.shards
            .get(chosen)
            .expect("the remainder is below the number of shards")
            .lock()
    }
}

/// What a request has taken from a lease.
pub(super) struct Spent {
    pub(super) draw: SharedDraw,
    pub(super) weighing: Weighing,
    /// Whoever gets to know this must ask for more.
    pub(super) runs_out: bool,
}
