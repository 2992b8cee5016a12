//! A share of a common bucket that a replica has taken ahead, and may spend without asking.
//!
//! What is taken counts as gone in the store at once. The store keeps room for what may still be spent of it, until the
//! lease ends by the store's clock; here it ends earlier, reckoned from before it was asked for, so that clocks need not
//! agree. Both sides count from the beginning and never downwards: an answer that is lost, late or told twice makes a
//! lease smaller, never larger.
//!
//! All amounts are ticks, all instants monotonic nanoseconds.

use crate::clock::nanos;

use super::shared::{Weighing, duration, whole_ticks};

/// Of the time for which the store keeps room: what is left makes up for clocks that run unlike.
const SPENDABLE: u64 = 3;
const OF: u64 = 4;

/// A refusal of the store is remembered so long at the most: another replica may give something back meanwhile.
const REFUSED_FOR: u64 = 50_000_000;

#[derive(Clone, Debug)]
pub struct Lease {
    /// Tells this lease from one that was forgotten.
    serial: u64,
    /// All that the store has given.
    taken: u64,
    /// All that was spent of it.
    spent: u64,
    /// By requests that still wait for another limit.
    reserved: u64,
    ends: u64,
    /// The store's instant of the newest answer that was believed.
    version: u64,
    told: Weighing,
    told_at: u64,
    refused_cost: u64,
    refused_until: u64,
    /// Somebody asks for more.
    is_asking: bool,
    spent_when_looked: u64,
}

/// What the store says of a lease.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTold {
    pub version: u64,
    pub taken: u64,
    /// For how long the store keeps room, in nanoseconds.
    pub validity: u64,
    pub weighing: Weighing,
}

/// What should become of a lease that is looked at from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    Leave,
    /// It is in use and about to end.
    Renew,
    /// It is not in use: what is left of it is given back.
    GiveBack,
    /// There is nothing in it.
    Forget,
}

impl Lease {
    pub fn new(serial: u64) -> Self {
        Self {
            serial,
            taken: 0,
            spent: 0,
            reserved: 0,
            ends: 0,
            version: 0,
            told: Weighing {
                left: 0,
                reset: 0,
                wait: 0,
            },
            told_at: 0,
            refused_cost: u64::MAX,
            refused_until: 0,
            is_asking: false,
            spent_when_looked: 0,
        }
    }

    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// What the store is told. Requests that still wait may yet give up what they reserved.
    pub fn spent(&self) -> u64 {
        self.spent
    }

    pub fn spendable(&self, now: u64) -> u64 {
        if now < self.ends {
            self.taken.saturating_sub(self.spent + self.reserved)
        } else {
            0
        }
    }

    /// Sets `cost` aside, if there is so much.
    pub fn reserve(&mut self, cost: u64, now: u64) -> bool {
        let is_enough = self.spendable(now) >= cost;
        if is_enough {
            self.reserved += cost;
        }
        is_enough
    }

    pub fn spend_reserved(&mut self, cost: u64) {
        self.reserved = self.reserved.saturating_sub(cost);
        self.spent += cost;
    }

    pub fn put_back(&mut self, cost: u64) {
        self.reserved = self.reserved.saturating_sub(cost);
    }

    /// Whether to ask for more now: less than `enough` is left, and nobody asks yet.
    pub fn begin_to_ask(&mut self, enough: u64, now: u64) -> bool {
        let asks = !self.is_asking && self.spendable(now) < enough;
        self.is_asking |= asks;
        asks
    }

    pub fn end_asking(&mut self) {
        self.is_asking = false;
    }

    /// Answers may come in another order than they were given; an older one says nothing that the newer did not.
    pub fn told(&mut self, told: &LeaseTold, asked_at: u64) {
        if told.version < self.version {
            return;
        }
        self.version = told.version;
        self.taken = told.taken;
        self.ends = asked_at.saturating_add(told.validity / OF * SPENDABLE);
        self.told = told.weighing;
        self.told_at = asked_at;
    }

    /// Where the bucket stands, without a word on the lease.
    pub fn note(&mut self, weighing: Weighing, now: u64) {
        self.told = weighing;
        self.told_at = now;
    }

    /// After [`Self::note`], which says how long `cost` has to wait.
    pub fn refused(&mut self, cost: u64, now: u64) {
        let wait = nanos(duration(self.told.wait));
        self.refused_cost = cost;
        self.refused_until = now.saturating_add(wait.min(REFUSED_FOR));
    }

    /// Whether the store has just refused as much: it need not be asked again.
    pub fn is_refused(&self, cost: u64, now: u64) -> bool {
        now < self.refused_until && cost >= self.refused_cost
    }

    /// Where the bucket stands, as far as it is known here.
    pub fn weighing(&self, now: u64) -> Weighing {
        let passed = whole_ticks(now.saturating_sub(self.told_at));
        Weighing {
            left: self.told.left + self.spendable(now),
            reset: self.told.reset.saturating_sub(passed),
            wait: self.told.wait.saturating_sub(passed),
        }
    }

    /// To be asked a few times while a lease lasts. One that has ended here may not have ended in the store yet: what is
    /// left of it is given back all the same.
    pub fn look(&mut self, renew_within: u64, now: u64) -> Care {
        let is_in_use = self.spent != self.spent_when_looked;
        self.spent_when_looked = self.spent;
        if self.is_busy() {
            return Care::Leave;
        }
        let is_about_to_end = self.ends.saturating_sub(now) < renew_within;
        match (self.taken > self.spent, is_in_use) {
            (true, false) => Care::GiveBack,
            (true, true) if is_about_to_end => Care::Renew,
            (false, false) if now >= self.refused_until => Care::Forget,
            (true | false, _) => Care::Leave,
        }
    }

    /// Whether somebody waits with a part of it, or for more. What was spent is not the last word then.
    pub fn is_busy(&self) -> bool {
        self.is_asking || self.reserved > 0
    }
}

#[cfg(test)]
mod tests;
