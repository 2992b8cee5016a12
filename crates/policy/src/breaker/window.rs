//! What happened lately: ten buckets that follow each other around, so that forgetting is gradual and memory fixed.

use std::time::Duration;

use crate::clock::nanos;

use super::machine::Verdict;

const BUCKETS: u8 = 10;

pub(super) struct Window {
    bucket_nanos: u64,
    buckets: [Bucket; BUCKETS as usize],
}

/// The counts of one tenth of the window, and which tenth since the start it stands for.
#[derive(Clone, Copy, Default)]
struct Bucket {
    number: u64,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) requests: u32,
    pub(super) failures: u32,
    pub(super) slow: u32,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        Self {
            bucket_nanos: (nanos(length) / u64::from(BUCKETS)).max(1),
            buckets: [Bucket::default(); BUCKETS as usize],
        }
    }

    /// Another length cuts time differently, so what was counted before cannot be kept.
    pub(super) fn resize(&mut self, length: Duration) {
        let resized = Self::new(length);
        if resized.bucket_nanos != self.bucket_nanos {
            *self = resized;
        }
    }

    pub(super) fn record(&mut self, verdict: Verdict, now: Duration) {
        let number = self.number(now);
        let place = usize::try_from(number % u64::from(BUCKETS)).unwrap_or(0);
        let Some(bucket) = self.buckets.get_mut(place) else {
            return;
        };
        if bucket.number < number {
            *bucket = Bucket {
                number,
                counts: Counts::default(),
            };
        }
        bucket.counts.requests = bucket.counts.requests.saturating_add(1);
        bucket.counts.failures = bucket
            .counts
            .failures
            .saturating_add(u32::from(verdict == Verdict::Failed));
        bucket.counts.slow = bucket
            .counts
            .slow
            .saturating_add(u32::from(verdict == Verdict::Slow));
    }

    pub(super) fn totals(&self, now: Duration) -> Counts {
        let oldest = self.number(now).saturating_sub(u64::from(BUCKETS - 1));
        let recent = self.buckets.iter().filter(|bucket| bucket.number >= oldest);
        recent.fold(Counts::default(), |sum, bucket| Counts {
            requests: sum.requests.saturating_add(bucket.counts.requests),
            failures: sum.failures.saturating_add(bucket.counts.failures),
            slow: sum.slow.saturating_add(bucket.counts.slow),
        })
    }

    fn number(&self, now: Duration) -> u64 {
        nanos(now) / self.bucket_nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut window = Window::new(Duration::from_secs(10));
        for second in 0..10 {
            let verdict = if second == 0 {
                Verdict::Failed
            } else {
                Verdict::Slow
            };
            window.record(verdict, Duration::from_secs(second));
        }
        let at = |window: &Window, second| window.totals(Duration::from_secs(second));
        assert_eq!(
            at(&window, 9),
            Counts {
                requests: 10,
                failures: 1,
                slow: 9
            }
        );
        assert_eq!(
            at(&window, 10),
            Counts {
                requests: 9,
                failures: 0,
                slow: 9
            }
        );
        assert_eq!(at(&window, 100), Counts::default());
    }

    #[test]
    fn a_bucket_is_emptied_before_it_is_used_again() {
        let mut window = Window::new(Duration::from_secs(10));
        window.record(Verdict::Slow, Duration::from_secs(3));
        window.record(Verdict::Good, Duration::from_secs(13));
        assert_eq!(
            window.totals(Duration::from_secs(13)),
            Counts {
                requests: 1,
                failures: 0,
                slow: 0
            }
        );
    }

    #[test]
    fn a_window_of_another_length_starts_empty() {
        let mut window = Window::new(Duration::from_secs(10));
        window.record(Verdict::Failed, Duration::from_secs(3));
        window.resize(Duration::from_secs(10));
        assert_eq!(
            window.totals(Duration::from_secs(3)).failures,
            1,
            "the same length keeps what it has seen"
        );
        window.resize(Duration::from_secs(20));
        assert_eq!(window.totals(Duration::from_secs(3)), Counts::default());
    }
}
