//! The scripts, what goes into them and what comes out.

use std::time::Duration;

use portcullis_config::units::Timestamp;

use crate::connection::{Call, ScriptText, Unanswered};

/// With what all scripts know of this memory before each.
macro_rules! script {
    ($file:literal) => {
        concat!(include_str!("memory.lua"), include_str!($file))
    };
}

const PREFIX: &str = "portcullis:";

/// Every key is named by its session alone, so that on a Cluster a session has one home.
pub(super) struct Scripts {
    prefix: String,
    open: ScriptText,
    turn: ScriptText,
    see: ScriptText,
    forget: ScriptText,
    probe: ScriptText,
}

/// What is asked when a refresh token is presented.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) sid: &'a str,
    pub(crate) generation: u64,
    pub(crate) grace: Duration,
    pub(crate) most_repeats: u32,
    pub(crate) idle: Duration,
}

/// Whether a script acts, or only says what it would do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Look,
    Turn,
}

/// A session as Redis keeps it, by the clock of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) generation: u64,
    pub(crate) rotated_at: Timestamp,
    pub(crate) idle_expires_at: Timestamp,
}

/// What a refresh token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Rotated(Kept),
    Repeated(Kept),
    TooManyRepeats,
    /// Spent, and too old to be a repetition.
    Reused,
    /// This memory does not have the session, or not as it was last.
    Lost,
}

/// What a server says of itself.
pub(super) struct Fitness {
    pub(super) policy: String,
    pub(super) appends: bool,
}

/// A word and three numbers.
type Reply = (String, u64, u64, u64);

impl Scripts {
    pub(super) fn new() -> Self {
        Self::with(PREFIX.to_owned(), str::to_owned)
    }

    fn with(prefix: String, text: impl Fn(&str) -> String) -> Self {
        let script = |written: &str| ScriptText::new(text(written));
        Self {
            prefix,
            open: script(script!("open.lua")),
            turn: script(script!("turn.lua")),
            see: script(script!("see.lua")),
            forget: script("return redis.call('DEL', KEYS[1])"),
            probe: script(script!("probe.lua")),
        }
    }

    pub(super) fn open(&self, sid: &str, idle: Duration, absolute: Duration) -> Call {
        let arguments = ["0".to_owned(), millis(idle), millis(absolute)];
        self.open.with(&[self.key(sid)], &arguments)
    }

    pub(super) fn turn(&self, act: Act, turn: &Turn<'_>) -> Call {
        let act = match act {
            Act::Look => "look",
            Act::Turn => "turn",
        };
        let arguments = [
            act.to_owned(),
            turn.generation.to_string(),
            millis(turn.grace),
            turn.most_repeats.to_string(),
            millis(turn.idle),
        ];
        self.turn.with(&[self.key(turn.sid)], &arguments)
    }

    pub(super) fn see(&self, sid: &str) -> Call {
        self.see.with(&[self.key(sid)], &[])
    }

    pub(super) fn forget(&self, sid: &str) -> Call {
        self.forget.with(&[self.key(sid)], &[])
    }

    /// On a Cluster, of one partition after another.
    pub(super) fn probe(&self, partition: u16) -> Call {
        let key = format!("{}sessions:{{{partition}}}", self.prefix);
        self.probe.with(&[key], &[])
    }

    fn key(&self, sid: &str) -> String {
        format!("{}session:{{{sid}}}", self.prefix)
    }
}

pub(super) fn verdict((word, generation, rotated, idle): Reply) -> Result<Verdict, Unanswered> {
    let kept = kept(generation, rotated, idle);
    match word.as_str() {
        "rotated" => Ok(Verdict::Rotated(kept)),
        "repeated" => Ok(Verdict::Repeated(kept)),
        "too_many_repeats" => Ok(Verdict::TooManyRepeats),
        "reused" => Ok(Verdict::Reused),
        "lost" => Ok(Verdict::Lost),
        _ => Err(Unanswered::Garbled),
    }
}

pub(super) fn seen((word, generation, rotated, idle): Reply) -> Result<Option<Kept>, Unanswered> {
    match word.as_str() {
        "kept" => Ok(Some(kept(generation, rotated, idle))),
        "lost" => Ok(None),
        _ => Err(Unanswered::Garbled),
    }
}

pub(super) fn fitness((policy, appends): (String, String)) -> Fitness {
    Fitness {
        policy,
        appends: appends == "1",
    }
}

fn kept(generation: u64, rotated: u64, idle: u64) -> Kept {
    Kept {
        generation,
        rotated_at: Timestamp::from_millis(rotated),
        idle_expires_at: Timestamp::from_millis(idle),
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

#[cfg(test)]
impl Scripts {
    /// By a clock that a test sets: the list `<prefix>clock`, of seconds and microseconds.
    pub(super) fn by_a_clock_of_the_test(prefix: &str) -> Self {
        let clock = format!("redis.call('LRANGE', '{prefix}clock', 0, 1)");
        Self::with(prefix.to_owned(), |text| {
            text.replace("redis.call('TIME')", &clock)
        })
    }

    /// `None` if they go by the server's own.
    pub(super) fn set_clock(&self, now: Timestamp) -> Option<Call> {
        const SET: &str =
            "redis.call('DEL', KEYS[1]); redis.call('RPUSH', KEYS[1], ARGV[1], ARGV[2])";
        let micros = now.as_millis() % 1000 * 1000;
        let arguments = [now.as_secs().to_string(), micros.to_string()];
        let clock = format!("{}clock", self.prefix);
        (self.prefix != PREFIX).then(|| ScriptText::new(SET.to_owned()).with(&[clock], &arguments))
    }
}
