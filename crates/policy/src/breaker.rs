//! Whether an upstream is fit to be asked: it rests after failures and is then tried with a few requests.
//!
//! ```text
//!            too many failures,                 open_for has passed
//!            or slow calls                      (and somebody comes)
//!  closed ───────────────────────▶ open ───────────────────────────▶ half-open
//!    ▲                              ▲          a probe failed            │  │
//!    │                              └────────────────────────────────────┘  │
//!    └──────────────────── close_after probes succeeded ────────────────────┘
//! ```
//!
//! [`Breaker::enter`] gives out a [`BreakerPermit`], which is told how the request ended. A permit that is dropped
//! untold counts for nothing and gives its probe back, because a client that hangs up says nothing about the upstream;
//! and should a permit be lost altogether, its probe's lease runs out. So a half-open breaker cannot wedge.
//!
//! An operator may hold it open or closed ([`Forced`]): it then counts nothing, and begins anew when it is let go.
//!
//! Every change of state begins a new generation. Outcomes of an older one are ignored: what was sent before the
//! breaker opened must not close it.

mod machine;
mod state;
mod switch;
mod window;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use portcullis_config::upstreams::CircuitBreaker;

use crate::clock::Moment;

use machine::{Entry, Machine, Outcome};

pub use state::{Reason, State, Transition};
pub use switch::{BreakerSwitch, BreakerView, Forced};

/// One upstream's breaker. It outlives snapshots: a reload reconfigures it.
pub struct Breaker {
    /// The generation while closed, [`NOT_CLOSED`] otherwise: entering a closed breaker takes no lock.
    gate: AtomicU64,
    machine: Mutex<Machine>,
}

const NOT_CLOSED: u64 = u64::MAX;

/// The upstream rests. Ask again after that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitOpen {
    pub retry_after: Duration,
}

impl Breaker {
    /// `probe_lease` is how long a probe may stay without outcome before another may take its place; twice the request
    /// timeout is plenty. The seed only spreads the jitter of several gateways.
    pub fn new(settings: &CircuitBreaker, probe_lease: Duration, seed: u64) -> Self {
        Self {
            gate: AtomicU64::new(0),
            machine: Mutex::new(Machine::new(settings, probe_lease, seed)),
        }
    }

    /// Takes over new settings and keeps the state: a reload neither closes a breaker nor forgets what it has seen.
    pub fn reconfigure(&self, settings: &CircuitBreaker, probe_lease: Duration) {
        self.machine.lock().reconfigure(settings, probe_lease);
    }

    /// Holds it open or closed, or leaves it to itself again, closed and with nothing seen. A change of state is given
    /// back to be counted.
    pub fn force(&self, forced: Option<Forced>, now: Moment) -> Option<Transition> {
        let mut machine = self.machine.lock();
        let transition = machine.force(forced, now.since_start);
        self.open_gate(&machine);
        transition
    }

    pub fn forced(&self) -> Option<Forced> {
        self.machine.lock().forced()
    }

    /// Leave to send one request to the upstream; retries ask again.
    pub fn enter(self: &Arc<Self>, now: Moment) -> Result<BreakerPermit, CircuitOpen> {
        let generation = self.gate.load(Ordering::Acquire);
        if generation != NOT_CLOSED {
            return Ok(self.permit(Entry {
                generation,
                probe: None,
                transition: None,
            }));
        }
        let mut machine = self.machine.lock();
        let entry = machine
            .enter(now.since_start)
            .map_err(|retry_after| CircuitOpen { retry_after })?;
        Ok(self.permit(entry))
    }

    /// The state as the next request would find it: an open breaker whose rest is over counts as half-open.
    pub fn state(&self, now: Moment) -> State {
        self.machine.lock().state(now.since_start)
    }

    /// How long an open breaker will still refuse.
    pub fn rests(&self, now: Moment) -> Option<Duration> {
        self.machine.lock().rests(now.since_start)
    }

    fn permit(self: &Arc<Self>, entry: Entry) -> BreakerPermit {
        BreakerPermit {
            breaker: Arc::clone(self),
            entry,
            settled: false,
        }
    }

    fn settle(&self, entry: &Entry, outcome: Outcome, now: Moment) -> Option<Transition> {
        let mut machine = self.machine.lock();
        let transition = machine.settle(entry, outcome, now.since_start);
        self.open_gate(&machine);
        transition
    }

    /// Under the lock, so that the gate cannot end up behind the machine.
    fn open_gate(&self, machine: &Machine) {
        let generation = machine.closed_generation().unwrap_or(NOT_CLOSED);
        self.gate.store(generation, Ordering::Release);
    }
}

/// Leave to forward one request, and the duty to say how it ended. Made by [`Breaker::enter`] only.
#[must_use = "a permit dropped at once lets nobody through"]
pub struct BreakerPermit {
    breaker: Arc<Breaker>,
    entry: Entry,
    settled: bool,
}

impl BreakerPermit {
    /// Whether this request tries out an upstream that was resting.
    pub fn is_probe(&self) -> bool {
        self.entry.probe.is_some()
    }

    /// The change of state that entering made, to be counted once.
    pub fn transition(&self) -> Option<Transition> {
        self.entry.transition
    }

    /// The last byte was handed on, `took` after the request was sent.
    pub fn succeed(mut self, now: Moment, took: Duration) -> Option<Transition> {
        self.settled = true;
        self.breaker
            .settle(&self.entry, Outcome::Success { took }, now)
    }

    /// The upstream refused, timed out, broke off or answered that it failed.
    pub fn fail(mut self, now: Moment) -> Option<Transition> {
        self.settled = true;
        self.breaker.settle(&self.entry, Outcome::Failure, now)
    }
}

impl Drop for BreakerPermit {
    fn drop(&mut self) {
        if !self.settled && self.is_probe() {
            self.breaker.machine.lock().give_back(&self.entry);
        }
    }
}

#[cfg(test)]
mod tests;
