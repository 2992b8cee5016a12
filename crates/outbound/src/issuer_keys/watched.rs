//! One issuer under watch: what its task and the requests that miss a key say to each other.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use portcullis_config::issuers::Algorithm;
use portcullis_tokens::{
    IssuerKeys, KeyRenewal, KeySet, PublishedKeys, Renewal, renewal::Schedule,
};
use tokio::sync::{Notify, watch};

use super::{RenewalError, Shared, place::Place};
use crate::fetch::Fetched;

/// What requests and the task of one issuer share.
pub(super) struct Watched {
    name: String,
    algorithms: Vec<Algorithm>,
    pub(super) state: Mutex<State>,
    /// Wakes the task.
    asked: Notify,
    /// Counts answers and failures to answer.
    concluded: watch::Sender<u64>,
    shared: Arc<Shared>,
}

pub(super) struct State {
    pub(super) schedule: Schedule,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Resting,
    /// A request has asked, and the task is about to.
    Asked,
    /// A question is under way.
    Asking,
}

impl Watched {
    pub(super) fn new(place: &Place, shared: Arc<Shared>) -> Self {
        let schedule = Schedule::new(place.pace(), shared.now());
        Self {
            name: place.name.clone(),
            algorithms: place.algorithms.clone(),
            // The first question is asked as soon as the task runs.
            state: Mutex::new(State {
                schedule,
                phase: Phase::Asked,
            }),
            asked: Notify::new(),
            concluded: watch::channel(0).0,
            shared,
        }
    }

    /// Puts the keys of a document in force, unless they are already.
    pub(super) fn take_in(
        &self,
        keys: &IssuerKeys,
        last: &mut Option<Vec<u8>>,
        fetched: Fetched,
    ) -> Result<(), RenewalError> {
        let is_new = last.as_ref() != Some(&fetched.body);
        if is_new {
            let read = KeySet::from_jwks(&fetched.body, &self.algorithms)?;
            self.report(&read);
            keys.replace(read.keys);
            *last = Some(fetched.body);
        }
        let (now, roll) = (self.shared.now(), self.shared.roll());
        let mut state = self.state.lock();
        if is_new {
            state.schedule.keys_changed();
        }
        state.schedule.succeeded(now, fetched.max_age, roll);
        Ok(())
    }

    fn report(&self, read: &PublishedKeys) {
        let (issuer, keys) = (&self.name, read.keys.count());
        tracing::info!(%issuer, keys, "the keys of an issuer are in force");
        for skipped in &read.skipped {
            tracing::info!(%issuer, "of an issuer's keys, {skipped}");
        }
    }

    /// What is left when the issuer could not be asked, and for how much longer.
    fn fail(&self, keys: &IssuerKeys, last: &mut Option<Vec<u8>>, error: &RenewalError) {
        let (now, roll, issuer) = (self.shared.now(), self.shared.roll(), &self.name);
        let mut state = self.state.lock();
        let is_first = state.schedule.failures() == 0;
        state.schedule.failed(now, roll);
        let has_expired = state.schedule.is_expired(now) && last.is_some();
        let age = state.schedule.age(now).as_secs();
        drop(state);
        if has_expired {
            *last = None;
            keys.replace(KeySet::empty());
            tracing::error!(%issuer, %error, age_seconds = age, "the keys of an issuer are too old to be trusted: its tokens are refused");
        } else if is_first {
            tracing::warn!(%issuer, %error, age_seconds = age, "the keys of an issuer cannot be renewed: asking on");
        } else {
            tracing::debug!(%issuer, %error, age_seconds = age, "the keys of an issuer still cannot be renewed");
        }
    }
}

impl KeyRenewal for Watched {
    fn renew(&self, key_id: Option<&str>) -> Option<Renewal> {
        let now = self.shared.now();
        let mut state = self.state.lock();
        let State { schedule, phase } = &mut *state;
        match phase {
            Phase::Asked | Phase::Asking => schedule.may_join(key_id, now).then_some(())?,
            Phase::Resting => {
                let (mut budget, roll) = (self.shared.budget.lock(), self.shared.roll());
                let may_ask = schedule.may_ask(key_id, now, &mut budget, roll);
                may_ask.then_some(())?;
                *phase = Phase::Asked;
                self.asked.notify_one();
            }
        }
        // Under the lock, so that the end of the question cannot be missed.
        let mut concluded = self.concluded.subscribe();
        Some(Box::pin(async move {
            // The task has gone: there is nothing to wait for either.
            let _answered = concluded.changed().await;
        }))
    }
}

/// The task of one issuer.
pub(super) struct Follower {
    pub(super) watched: Arc<Watched>,
    pub(super) place: Place,
    pub(super) keys: Weak<IssuerKeys>,
    /// What the keys in force were read from. Most answers are the same as the last.
    pub(super) last: Option<Vec<u8>>,
}

impl Follower {
    pub(super) async fn follow(mut self) {
        while let Some(keys) = self.keys.upgrade() {
            self.watched.state.lock().phase = Phase::Asking;
            match self.place.ask(&self.watched.shared).await {
                Ok(fetched) => self.conclude(&keys, fetched),
                Err(error) => self.watched.fail(&keys, &mut self.last, &error),
            }
            drop(keys);
            self.watched.state.lock().phase = Phase::Resting;
            self.watched.concluded.send_modify(|count| *count += 1);
            self.wait().await;
        }
    }

    fn conclude(&mut self, keys: &IssuerKeys, fetched: Fetched) {
        let failures = self.watched.state.lock().schedule.failures();
        if let Err(error) = self.watched.take_in(keys, &mut self.last, fetched) {
            self.watched.fail(keys, &mut self.last, &error);
        } else if failures > 0 {
            tracing::info!(issuer = %self.place.name, "the keys of an issuer are renewed again");
        }
    }

    /// Until the keys are due, or a request finds one missing.
    async fn wait(&self) {
        let due_at = self.watched.state.lock().schedule.due_at();
        let due = tokio::time::sleep_until(self.watched.shared.started + due_at);
        tokio::pin!(due);
        loop {
            tokio::select! {
                () = &mut due => return,
                () = self.watched.asked.notified() => {}
            }
            // A call may be left over from a question that was due in the same moment.
            if self.watched.state.lock().phase == Phase::Asked {
                return;
            }
        }
    }
}
