//! What a replica knows of the store's memory: whose it is, and when it was lost.
//!
//! A store that was restarted, emptied or replaced by its standby has forgotten what the replicas were let through. The
//! first of them that notices marks the memory, and from then on every bucket in it begins empty, to be filled with what
//! the replicas bring back of their shares. So a loss costs no more than the shares that were spent meanwhile.

use crate::clock::{Moment, nanos};

use std::time::Duration;

/// How a store answers when it is asked about its memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The server process.
    pub run: String,
    /// The instant of the loss by the server's clock: a name, not a number. Empty: nothing is known to be lost.
    pub lost: String,
}

#[derive(Debug, Default)]
pub struct Memory {
    mark: Mark,
    lost_at: Option<u64>,
}

impl Memory {
    /// The server process that answered last; empty where none has yet.
    pub fn run(&self) -> &str {
        &self.mark.run
    }

    /// Monotonic nanoseconds. Absent where nothing was lost, or nothing that this replica had a part in.
    pub fn lost_at(&self) -> Option<u64> {
        self.lost_at
    }

    /// `lost_ago` is the server's word, and counts from `asked`: reckoned too early, a loss only makes the shares smaller.
    /// Tells whether there is a new mark.
    pub fn note(&mut self, mark: Mark, lost_ago: Duration, asked: Moment) -> bool {
        if mark == self.mark {
            return false;
        }
        let took_part = !self.mark.run.is_empty();
        let lost_at = asked.nanos().saturating_sub(nanos(lost_ago));
        self.lost_at = (took_part && !mark.lost.is_empty()).then_some(lost_at);
        self.mark = mark;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(run: &str, lost: &str) -> Mark {
        Mark {
            run: run.to_owned(),
            lost: lost.to_owned(),
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::default().plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_loss_is_reckoned_from_the_instant_the_store_tells() {
        let mut memory = Memory::default();
        assert!(memory.note(mark("a", ""), Duration::ZERO, at(1)));
        assert_eq!(memory.lost_at(), None);
        assert!(memory.note(mark("b", "77"), Duration::from_secs(2), at(9)));
        assert_eq!(memory.lost_at(), Some(7_000_000_000));
        assert!(!memory.note(mark("b", "77"), Duration::from_secs(3), at(9)));
        assert_eq!(
            memory.lost_at(),
            Some(7_000_000_000),
            "one loss is one instant"
        );
    }

    #[test]
    fn who_came_after_the_loss_had_no_part_in_it() {
        let mut memory = Memory::default();
        memory.note(mark("b", "77"), Duration::ZERO, at(1));
        assert_eq!(memory.lost_at(), None);
    }

    #[test]
    fn an_emptied_store_has_lost_its_memory_in_the_same_run() {
        let mut memory = Memory::default();
        memory.note(mark("a", ""), Duration::ZERO, at(1));
        memory.note(mark("a", "5"), Duration::ZERO, at(5));
        assert_eq!(memory.lost_at(), Some(5_000_000_000));
        memory.note(mark("a", "8"), Duration::ZERO, at(8));
        assert_eq!(memory.lost_at(), Some(8_000_000_000));
    }
}
