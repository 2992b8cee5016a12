//! Waiting for something to become true, with a deadline. Tests wait through here and never sleep for a fixed time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

/// Long enough for a loaded machine with two cores; a healthy run never gets near it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// For what takes a moment and is timed: a loaded machine may hold up any of those who take part for seconds, so it says only
/// that something else, which takes longer than this, was not waited for.
pub const SOON: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(10);

/// A point in time, and how long it began before.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    began: Instant,
    limit: Duration,
}

impl Deadline {
    #[expect(
        clippy::disallowed_methods,
        reason = "a deadline of a test is a matter of the real clock"
    )]
    pub fn within(limit: Duration) -> Self {
        Self {
            began: Instant::now(),
            limit,
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn remaining(&self) -> Duration {
        self.limit.saturating_sub(self.elapsed())
    }

    pub fn has_passed(&self) -> bool {
        self.remaining().is_zero()
    }
}

/// Asks again and again until `attempt` has an answer, or fails naming `what` did not come.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = Deadline::within(limit);
    loop {
        if let Some(answer) = attempt() {
            return Ok(answer);
        }
        if deadline.has_passed() {
            bail!("{what} did not come within {limit:?}");
        }
        thread::sleep(PAUSE);
    }
}

/// What `work` returns, and how long it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let watch = Deadline::within(PATIENCE);
    let done = work();
    (done, watch.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_never_comes_ends_at_the_deadline() {
        let outcome = until("a miracle", Duration::from_millis(30), || None::<()>);
        assert_eq!(
            outcome.unwrap_err().to_string(),
            "a miracle did not come within 30ms"
        );
    }

    #[test]
    fn the_first_answer_is_taken() {
        let mut asked = 0;
        let answer = until("the third time", PATIENCE, || {
            asked += 1;
            (asked == 3).then_some(asked)
        });
        assert_eq!(answer.unwrap(), 3);
    }
}
