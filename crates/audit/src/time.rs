//! The one spelling of an instant in the log: RFC 3339, UTC, milliseconds. A calendar crate for this alone would be a
//! dependency for ten lines of arithmetic.

use portcullis_config::units::Timestamp;

const DAY_MILLIS: u64 = 86_400_000;

/// `2026-11-22T01:20:00.123Z`
pub fn rfc3339(at: Timestamp) -> String {
    let (days, millis) = (at.as_millis() / DAY_MILLIS, at.as_millis() % DAY_MILLIS);
    let (year, month, day) = civil(days);
    let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
    let (second, milli) = (millis / 1000 % 60, millis % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Days since 1970 as a date of the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last of its year, and in eras of 400 years, after which
/// the calendar repeats.
fn civil(days_since_1970: u64) -> (u64, u64, u64) {
    const ERA_DAYS: u64 = 146_097;
    let days = days_since_1970 + 719_468;
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = if months_since_march < 10 {
        months_since_march + 3
    } else {
        months_since_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_spelled_as_the_calendar_has_them() {
        let check =
            |millis, expected| assert_eq!(rfc3339(Timestamp::from_millis(millis)), expected);
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_399_999, "2000-02-28T23:59:59.999Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_709_251_200_000, "2024-03-01T00:00:00.000Z");
        check(1_767_225_599_001, "2025-12-31T23:59:59.001Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn no_instant_is_too_late_to_be_spelled() {
        assert!(rfc3339(Timestamp::from_millis(u64::MAX)).ends_with('Z'));
    }
}
