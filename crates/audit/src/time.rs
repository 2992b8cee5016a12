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

/// What [`rfc3339`] spells, with or without the fraction; `None` for anything else, other spellings of RFC 3339 included.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let spelled = match text.strip_suffix('Z')? {
        whole if whole.len() == "2026-11-22T01:20:00".len() => format!("{whole}.000Z"),
        _ => text.to_owned(),
    };
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = spelled.get(from..to)?;
        let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        all_digits.then(|| digits.parse().ok())?
    };
    let days = days_since_1970(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let seconds = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    let at = Timestamp::from_millis(days * DAY_MILLIS + seconds * 1000 + number(20, 23)?);
    // What stands between the numbers, and whether there are such a day and such an hour, shows in the way back.
    (rfc3339(at) == spelled).then_some(at)
}

/// The inverse of [`civil`], for years from 1970 on.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let is_date = (1970..=9999).contains(&year) && (1..=12).contains(&month) && day > 0;
    if !is_date {
        return None;
    }
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let before_the_year = 365 * year + year / 4 - year / 100 + year / 400;
    (before_the_year + (153 * month + 2) / 5 + day - 1).checked_sub(719_468)
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
    fn what_is_spelled_reads_back_and_nothing_else() {
        for millis in [
            0,
            951_782_399_999,
            951_782_400_000,
            1_767_225_599_001,
            253_402_300_799_999,
        ] {
            let at = Timestamp::from_millis(millis);
            assert_eq!(parse_rfc3339(&rfc3339(at)), Some(at));
        }
        let whole = parse_rfc3339("2024-02-29T23:59:59Z");
        assert_eq!(whole, Some(Timestamp::from_millis(1_709_251_199_000)));
        for wrong in [
            "",
            "Z",
            "2024",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01 00:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00+00:00",
            "1969-12-31T23:59:59Z",
            "+024-01-01T00:00:00Z",
            "2024-01-01T00:00:00.0Z",
            "2024-01-01T00:00:00.000000Z",
            "2024-01-01T00:00:00é",
            "２０２４-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_instant_is_too_late_to_be_spelled() {
        assert!(rfc3339(Timestamp::from_millis(u64::MAX)).ends_with('Z'));
    }
}
