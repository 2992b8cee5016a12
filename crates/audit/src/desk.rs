//! Where events without a change are handed in: between the request path, which must not wait, and the writer, which
//! may have to wait for a database.
//!
//! Nothing is dropped silently. A repeated denial is counted into a row that says how many; an event that finds the
//! queue full is counted into an `audit_gap` row with the exact number.
//!
//! Invariant: the counts of all events taken, plus what still lies here, equal the counts of all events offered.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use parking_lot::Mutex;
use portcullis_config::units::Timestamp;

use crate::event::{Action, Event, Outcome, Party, PartyKind};

/// How much the desk may hold, and how long it counts repeats before it says so.
#[derive(Clone, Copy, Debug)]
pub struct DeskLimits {
    /// Events that wait for the writer.
    pub queue: usize,
    /// Kinds of denial told apart at once; beyond, repeats are counted by their action alone.
    pub kinds: usize,
    /// How long repeats of one kind are counted into one row.
    pub window: Duration,
}

impl Default for DeskLimits {
    fn default() -> Self {
        Self {
            queue: 8192,
            kinds: 4096,
            window: Duration::from_secs(10),
        }
    }
}

/// The bounded queue of audit events. Every call is short and none waits for I/O.
#[derive(Debug, Default)]
pub struct Desk {
    limits: DeskLimits,
    tray: Mutex<Tray>,
}

impl Desk {
    pub fn new(limits: DeskLimits) -> Self {
        Self {
            limits,
            tray: Mutex::default(),
        }
    }

    /// Hands in an event that is worth a row of its own.
    pub fn offer(&self, event: Event, now: Timestamp) {
        self.tray.lock().queue(event, now, &self.limits);
    }

    /// Hands in a refusal. The first of its kind gets a row at once; repeats within the window become one row.
    pub fn denial(&self, event: Event, now: Timestamp) {
        let kind = Kind::of(&event);
        let mut tray = self.tray.lock();
        if let Some(repeats) = tray.repeats.get_mut(&kind) {
            let count = event.count;
            repeats.add(count, now);
            tray.aggregated = tray.aggregated.saturating_add(count);
            return;
        }
        if tray.repeats.len() < self.limits.kinds {
            tray.watch(kind, &event, now);
            tray.queue(event, now, &self.limits);
        } else {
            tray.overflow(&event, now);
        }
    }

    /// At most `max` events for the writer: a gap first, then aggregates whose window is over, then the queue.
    pub fn take(&self, max: usize, now: Timestamp) -> Vec<Event> {
        let mut taken = Vec::new();
        let mut tray = self.tray.lock();
        if max > 0 {
            taken.extend(tray.gap.take().map(Repeats::into_event));
        }
        // Half a batch at the most: a crowd of finished windows must not fill the queue behind it.
        tray.take_finished(&mut taken, max.div_ceil(2), now, self.limits.window);
        let room = max.saturating_sub(taken.len()).min(tray.queue.len());
        taken.extend(tray.queue.drain(..room));
        tray.take_finished(&mut taken, max, now, self.limits.window);
        taken
    }

    /// From here on no window is waited for, so that the gateway can write everything before it ends.
    pub fn close_windows(&self) {
        self.tray.lock().closing = true;
    }

    /// Events that wait for the writer, without the windows that still count.
    pub fn depth(&self) -> usize {
        self.tray.lock().queue.len()
    }

    /// Denials that were counted into another's row since the start.
    pub fn aggregated(&self) -> u64 {
        self.tray.lock().aggregated
    }
}

#[derive(Debug, Default)]
struct Tray {
    queue: VecDeque<Event>,
    repeats: HashMap<Kind, Repeats>,
    /// The keys of `repeats`, oldest window first: what is over is found without a search.
    windows: VecDeque<(Timestamp, Kind)>,
    gap: Option<Repeats>,
    aggregated: u64,
    closing: bool,
}

impl Tray {
    fn queue(&mut self, event: Event, now: Timestamp, limits: &DeskLimits) {
        if self.queue.len() < limits.queue {
            self.queue.push_back(event);
            return;
        }
        let gap = self.gap.get_or_insert_with(|| Repeats::of(gap_event(now)));
        gap.add(event.count, now);
    }

    fn watch(&mut self, kind: Kind, first: &Event, now: Timestamp) {
        let template = Event {
            request_id: None,
            ..first.clone()
        };
        self.repeats.insert(kind.clone(), Repeats::of(template));
        self.windows.push_back((now, kind));
    }

    /// Counts by action alone. These few kinds come on top of the limit: there are only so many actions.
    fn overflow(&mut self, event: &Event, now: Timestamp) {
        let kind = Kind::any(event.action);
        if !self.repeats.contains_key(&kind) {
            let crowd = Event::new(
                now,
                event.action,
                event.outcome,
                Party::new(PartyKind::Anonymous, "various"),
            );
            self.watch(kind.clone(), &crowd.because("various"), now);
        }
        if let Some(repeats) = self.repeats.get_mut(&kind) {
            repeats.add(event.count, now);
            self.aggregated = self.aggregated.saturating_add(event.count);
        }
    }

    fn take_finished(
        &mut self,
        taken: &mut Vec<Event>,
        max: usize,
        now: Timestamp,
        window: Duration,
    ) {
        while taken.len() < max {
            let Some((opened, _)) = self.windows.front() else {
                return;
            };
            if !self.closing && now.saturating_since(*opened) < window {
                return;
            }
            let repeats = self
                .windows
                .pop_front()
                .and_then(|(_, kind)| self.repeats.remove(&kind));
            taken.extend(
                repeats
                    .filter(|repeats| repeats.count > 0)
                    .map(Repeats::into_event),
            );
        }
    }
}

fn gap_event(now: Timestamp) -> Event {
    Event::new(
        now,
        Action::AuditGap,
        Outcome::Failure,
        Party::system("audit"),
    )
    .because("queue-full")
}

/// What makes two denials the same in the eyes of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    action: Action,
    route: Option<String>,
    who: Who,
    reason: Option<Cow<'static, str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Known(PartyKind, String),
    Address(Option<IpAddr>),
    /// The crowd that no longer fits: see [`Tray::overflow`].
    Anyone,
}

impl Kind {
    fn of(event: &Event) -> Self {
        let who = match event.actor.kind {
            PartyKind::Anonymous => Who::Address(event.source_address),
            known @ (PartyKind::User
            | PartyKind::Client
            | PartyKind::System
            | PartyKind::Role
            | PartyKind::Session
            | PartyKind::Route
            | PartyKind::Key
            | PartyKind::Upstream
            | PartyKind::Operator
            | PartyKind::Config) => Who::Known(known, event.actor.id.clone()),
        };
        Self {
            action: event.action,
            route: event.route.clone(),
            who,
            reason: event.reason.clone(),
        }
    }

    fn any(action: Action) -> Self {
        Self {
            action,
            route: None,
            who: Who::Anyone,
            reason: None,
        }
    }
}

/// Repeats that will be told in one row.
#[derive(Debug)]
struct Repeats {
    template: Event,
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

impl Repeats {
    fn of(template: Event) -> Self {
        Self {
            first: template.at,
            last: template.at,
            template,
            count: 0,
        }
    }

    fn add(&mut self, count: u64, now: Timestamp) {
        if self.count == 0 {
            self.first = now;
        }
        self.count = self.count.saturating_add(count);
        self.last = now;
    }

    fn into_event(self) -> Event {
        Event {
            at: self.first,
            until: Some(self.last),
            count: self.count,
            ..self.template
        }
    }
}

#[cfg(test)]
mod tests;
