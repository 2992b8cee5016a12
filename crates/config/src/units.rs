//! The quantities an operator writes: durations, sizes, rates, and the wall-clock instant everything is compared with.

use std::{num::NonZeroU64, time::Duration};

/// Milliseconds since the Unix epoch. Tokens, sessions and audit rows live by it; limits and breakers do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds, rounded down, as `NumericDate` counts them (RFC 7519 section 2).
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Saturates at both ends: a clock that is wrong must not panic.
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A number of bytes, written `16KiB`, `10MiB` or plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// So many in so long, written `60/1m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub count: NonZeroU64,
    pub period: Duration,
}

impl ByteSize {
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// No count, size or number of units may be larger: far above any use, far below what arithmetic could overflow.
pub(crate) const MOST: u64 = 1_000_000_000_000;

/// The longest duration that can be written.
pub(crate) const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

const DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const SIZE_UNITS: [(&str, u64); 4] = [
    ("", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

// The complaints below go on from the value: "`30` is not a duration: …".

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let millis = quantity(text, &DURATION_UNITS)
        .ok_or("is not a duration: write a number and ms, s, m, h or d, such as 500ms or 15m")?;
    match Duration::from_millis(millis) {
        duration if duration <= LONGEST => Ok(duration),
        _ => Err("is longer than ten years: write less".to_owned()),
    }
}

pub(crate) fn parse_size(text: &str) -> Result<ByteSize, String> {
    quantity(text, &SIZE_UNITS)
        .filter(|bytes| *bytes <= MOST)
        .map(ByteSize)
        .ok_or_else(|| {
            "is not a size: write a number of bytes, or one with KiB, MiB or GiB, such as 16KiB"
                .to_owned()
        })
}

pub(crate) fn parse_rate(text: &str) -> Result<Rate, String> {
    const REMEDY: &str = "is not a rate: write so many in so long, such as 60/1m";
    let (count, period) = text.split_once('/').ok_or(REMEDY)?;
    let count = quantity(count, &[("", 1)]).ok_or(REMEDY)?;
    let period = quantity(period, &DURATION_UNITS)
        .map(Duration::from_millis)
        .ok_or(REMEDY)?;
    let count = NonZeroU64::new(count).ok_or("lets nothing pass: to close a route, remove it")?;
    if period.is_zero() || period > LONGEST || count.get() > MAX_COUNT {
        return Err(format!(
            "is out of range: the count goes up to {MAX_COUNT}, the period from 1ms to 3650d"
        ));
    }
    Ok(Rate { count, period })
}

/// A billion a period; more is no limit.
pub(crate) const MAX_COUNT: u64 = 1_000_000_000;

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show(millis, &DURATION_UNITS)
}

pub(crate) fn show_size(bytes: u64) -> String {
    show(bytes, &SIZE_UNITS)
}

/// In the largest unit that divides it.
fn show(quantity: u64, units: &[(&str, u64)]) -> String {
    let fitting = units
        .iter()
        .rev()
        .find(|(_, factor)| quantity != 0 && quantity.is_multiple_of(*factor));
    match fitting.or(units.first()) {
        Some((unit, factor)) => format!("{}{unit}", quantity / factor),
        None => quantity.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_sizes_and_rates_are_read_as_written() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("14d"), Ok(Duration::from_secs(14 * 86_400)));
        assert_eq!(parse_size("16KiB"), Ok(ByteSize(16_384)));
        assert_eq!(parse_size("10"), Ok(ByteSize(10)));
        let rate = parse_rate("60/1m").expect("as the documentation has it");
        assert_eq!(
            (rate.count.get(), rate.period),
            (60, Duration::from_secs(60))
        );
    }

    #[test]
    fn what_is_ambiguous_is_no_quantity() {
        for text in [
            "",
            "30",
            "1.5s",
            "-1s",
            "1 s",
            "1S",
            "1h30m",
            "s",
            "99999999999999999999s",
            "4000d",
            "١s",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
        for text in ["", "1KB", "1kib", "-1", "1.5MiB", "99999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
        for text in [
            "",
            "60",
            "60/",
            "/1m",
            "0/1m",
            "60/0s",
            "60/m",
            "60/1m/1m",
            "9999999999/1s",
        ] {
            assert!(parse_rate(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_clock_saturates_instead_of_wrapping() {
        assert_eq!(
            Timestamp::from_millis(u64::MAX)
                .plus(Duration::MAX)
                .as_millis(),
            u64::MAX
        );
        assert_eq!(
            Timestamp::from_secs(1).saturating_since(Timestamp::from_secs(2)),
            Duration::ZERO
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_as_the_same(millis in 0..=3650 * 86_400_000u64, bytes in 0..=MOST) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&show_size(bytes)), Ok(ByteSize(bytes)));
        }
    }
}
