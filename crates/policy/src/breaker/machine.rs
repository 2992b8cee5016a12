//! The breaker's rules as a plain machine, without locks and without sharing.

use std::time::Duration;

use portcullis_config::upstreams::CircuitBreaker;
use smallvec::SmallVec;

use super::{
    state::{Reason, State, Transition},
    switch::Forced,
    window::Window,
};

/// Repeated openings last up to this many times `open_for`.
const LONGEST_REST: u32 = 10;

/// What a client is told when every probe is out: how they end is not ours to foresee.
const RETRY_WHILE_PROBING: Duration = Duration::from_secs(1);

/// Where `slow_calls` stands without `failure_rate`.
const DEFAULT_WINDOW: Duration = Duration::from_secs(10);
const DEFAULT_MINIMUM: u32 = 20;

pub(super) enum Outcome {
    Success { took: Duration },
    Failure,
}

/// An outcome, as the settings see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Slow,
    Failed,
}

/// What a permit remembers of its making.
pub(super) struct Entry {
    pub(super) generation: u64,
    pub(super) probe: Option<ProbeId>,
    pub(super) transition: Option<Transition>,
}

pub(super) type ProbeId = u64;

struct Probe {
    id: ProbeId,
    lease_ends: Duration,
}

enum Phase {
    Closed {
        failures_in_a_row: u32,
        window: Window,
    },
    Open {
        until: Duration,
    },
    HalfOpen {
        probes: SmallVec<[Probe; 2]>,
        successes: u32,
    },
    /// Nothing is counted, and nothing changes it but the hand that holds it.
    Held(Forced),
}

pub(super) struct Machine {
    settings: CircuitBreaker,
    probe_lease: Duration,
    phase: Phase,
    generation: u64,
    next_probe: ProbeId,
    /// Failed probes since it was last closed.
    relapses: u32,
    randomness: u64,
}

impl Machine {
    pub(super) fn new(settings: &CircuitBreaker, probe_lease: Duration, seed: u64) -> Self {
        Self {
            phase: closed(settings),
            settings: settings.clone(),
            probe_lease,
            generation: 0,
            next_probe: 0,
            relapses: 0,
            randomness: seed,
        }
    }

    pub(super) fn reconfigure(&mut self, settings: &CircuitBreaker, probe_lease: Duration) {
        self.settings = settings.clone();
        self.probe_lease = probe_lease;
        if let Phase::Closed { window, .. } = &mut self.phase {
            window.resize(window_length(settings));
        }
    }

    /// Leave to send a request, or how long to wait for it.
    pub(super) fn enter(&mut self, now: Duration) -> Result<Entry, Duration> {
        let mut transition = None;
        if let Phase::Held(Forced::Open) = self.phase {
            return Err(self.settings.open_for);
        }
        if let Phase::Open { until } = self.phase {
            if now < until {
                return Err(until - now);
            }
            let probing = Phase::HalfOpen {
                probes: SmallVec::new(),
                successes: 0,
            };
            transition = Some(self.change(probing, Reason::RestOver));
        }
        let probe = self.lease_probe(now)?;
        Ok(Entry {
            generation: self.generation,
            probe,
            transition,
        })
    }

    pub(super) fn force(&mut self, forced: Option<Forced>, now: Duration) -> Option<Transition> {
        let before = self.state(now);
        let (next, reason) = match (forced, self.forced()) {
            (None, None) => return None,
            (Some(forced), _) => (Phase::Held(forced), Reason::Forced),
            (None, Some(_)) => (closed(&self.settings), Reason::Released),
        };
        self.relapses = 0;
        let transition = self.change(next, reason);
        // A rest that is over was half-open to everybody who looked.
        let seen = Transition {
            from: before,
            ..transition
        };
        (seen.from != seen.to).then_some(seen)
    }

    pub(super) fn forced(&self) -> Option<Forced> {
        match self.phase {
            Phase::Held(forced) => Some(forced),
            Phase::Closed { .. } | Phase::Open { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    /// `Ok(None)` where no probe is needed, that is, while closed.
    fn lease_probe(&mut self, now: Duration) -> Result<Option<ProbeId>, Duration> {
        let Phase::HalfOpen { probes, .. } = &mut self.phase else {
            return Ok(None);
        };
        probes.retain(|probe| now < probe.lease_ends);
        if probes.len() >= self.settings.half_open_requests.get() as usize {
            return Err(RETRY_WHILE_PROBING);
        }
        self.next_probe = self.next_probe.wrapping_add(1);
        let lease_ends = now.saturating_add(self.probe_lease);
        probes.push(Probe {
            id: self.next_probe,
            lease_ends,
        });
        Ok(Some(self.next_probe))
    }

    pub(super) fn settle(
        &mut self,
        entry: &Entry,
        outcome: Outcome,
        now: Duration,
    ) -> Option<Transition> {
        if !self.is_current(entry) {
            return None;
        }
        let verdict = self.judge(outcome);
        match entry.probe {
            Some(_) => self.settle_probe(entry, verdict, now),
            None => self.count(verdict, now),
        }
    }

    /// Takes a probe back without an outcome. Its generation is checked, for another may have begun meanwhile.
    pub(super) fn give_back(&mut self, entry: &Entry) {
        if self.is_current(entry) {
            self.end_probe(entry);
        }
    }

    pub(super) fn is_current(&self, entry: &Entry) -> bool {
        entry.generation == self.generation
    }

    /// A slow answer is no success for a probe: closed again, the breaker would only open for the same reason.
    fn settle_probe(
        &mut self,
        entry: &Entry,
        verdict: Verdict,
        now: Duration,
    ) -> Option<Transition> {
        if !self.end_probe(entry) {
            return None;
        }
        match verdict {
            Verdict::Good => self.count_good_probe(),
            Verdict::Slow | Verdict::Failed => {
                self.relapses = self.relapses.saturating_add(1);
                let until = now.saturating_add(self.next_rest());
                Some(self.change(Phase::Open { until }, Reason::ProbeFailed))
            }
        }
    }

    fn count_good_probe(&mut self) -> Option<Transition> {
        let Phase::HalfOpen { successes, .. } = &mut self.phase else {
            return None;
        };
        *successes = successes.saturating_add(1);
        if *successes < self.settings.close_after.get() {
            return None;
        }
        self.relapses = 0;
        Some(self.change(closed(&self.settings), Reason::ProbesSucceeded))
    }

    fn count(&mut self, verdict: Verdict, now: Duration) -> Option<Transition> {
        let Phase::Closed {
            failures_in_a_row,
            window,
        } = &mut self.phase
        else {
            return None;
        };
        *failures_in_a_row = match verdict {
            Verdict::Failed => failures_in_a_row.saturating_add(1),
            Verdict::Good | Verdict::Slow => 0,
        };
        window.record(verdict, now);
        let reason = self.reason_to_open(now)?;
        let until = now.saturating_add(self.settings.open_for);
        Some(self.change(Phase::Open { until }, reason))
    }

    fn reason_to_open(&mut self, now: Duration) -> Option<Reason> {
        let Phase::Closed {
            failures_in_a_row,
            window,
        } = &mut self.phase
        else {
            return None;
        };
        if *failures_in_a_row >= self.settings.consecutive_failures.get() {
            return Some(Reason::ConsecutiveFailures);
        }
        let rate = self.settings.failure_rate;
        if rate.is_none() && self.settings.slow_calls.is_none() {
            return None;
        }
        let seen = window.totals(now);
        if seen.requests < rate.map_or(DEFAULT_MINIMUM, |rate| rate.minimum_requests.get()) {
            return None;
        }
        if rate.is_some_and(|rate| reaches(seen.failures, seen.requests, rate.percent)) {
            return Some(Reason::FailureRate);
        }
        let slow = self.settings.slow_calls;
        slow.is_some_and(|slow| reaches(seen.slow, seen.requests, slow.percent))
            .then_some(Reason::SlowCalls)
    }

    fn judge(&self, outcome: Outcome) -> Verdict {
        match (outcome, self.settings.slow_calls) {
            (Outcome::Failure, _) => Verdict::Failed,
            (Outcome::Success { took }, Some(slow)) if took > slow.slower_than => Verdict::Slow,
            (Outcome::Success { .. }, _) => Verdict::Good,
        }
    }

    /// Whether the probe's lease was still running out.
    fn end_probe(&mut self, entry: &Entry) -> bool {
        let Phase::HalfOpen { probes, .. } = &mut self.phase else {
            return false;
        };
        let Some(position) = probes
            .iter()
            .position(|probe| Some(probe.id) == entry.probe)
        else {
            return false;
        };
        probes.swap_remove(position);
        true
    }

    /// Twice as long for each failed probe, less up to a tenth at random, so that gateways do not probe in step.
    fn next_rest(&mut self) -> Duration {
        let doubled = 1u32
            .checked_shl(self.relapses)
            .unwrap_or(LONGEST_REST)
            .clamp(1, LONGEST_REST);
        let longest = self.settings.open_for.saturating_mul(doubled);
        let thousandth = longest / 1000;
        longest.saturating_sub(thousandth.saturating_mul(self.random_below_hundred()))
    }

    /// A step of `SplitMix64`: spread, not secrecy, is what is asked of it.
    fn random_below_hundred(&mut self) -> u32 {
        self.randomness = self.randomness.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.randomness;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((mixed ^ (mixed >> 31)) % 100).unwrap_or(0)
    }

    fn change(&mut self, next: Phase, reason: Reason) -> Transition {
        let from = self.phase.state();
        self.phase = next;
        self.generation = self.generation.wrapping_add(1);
        Transition {
            from,
            to: self.phase.state(),
            reason,
        }
    }

    pub(super) fn closed_generation(&self) -> Option<u64> {
        (self.phase.state() == State::Closed).then_some(self.generation)
    }

    pub(super) fn rests(&self, now: Duration) -> Option<Duration> {
        match self.phase {
            Phase::Open { until } => until.checked_sub(now).filter(|rest| !rest.is_zero()),
            Phase::Closed { .. } | Phase::HalfOpen { .. } | Phase::Held(_) => None,
        }
    }

    pub(super) fn state(&self, now: Duration) -> State {
        match self.phase {
            Phase::Open { until } if now >= until => State::HalfOpen,
            Phase::Closed { .. } | Phase::Open { .. } | Phase::HalfOpen { .. } | Phase::Held(_) => {
                self.phase.state()
            }
        }
    }
}

impl Phase {
    fn state(&self) -> State {
        match self {
            Self::Closed { .. } => State::Closed,
            Self::Open { .. } => State::Open,
            Self::HalfOpen { .. } => State::HalfOpen,
            Self::Held(forced) => forced.state(),
        }
    }
}

fn closed(settings: &CircuitBreaker) -> Phase {
    Phase::Closed {
        failures_in_a_row: 0,
        window: Window::new(window_length(settings)),
    }
}

fn window_length(settings: &CircuitBreaker) -> Duration {
    settings
        .failure_rate
        .map_or(DEFAULT_WINDOW, |rate| rate.window)
}

fn reaches(part: u32, whole: u32, percent: u8) -> bool {
    u64::from(part) * 100 >= u64::from(whole) * u64::from(percent)
}
