//! Dates and instants in their JSON form: RFC 3339 in UTC, `YYYY-MM-DD`.
//!
//! Columns count microseconds and days since the epoch; only the years 0 to 9999
//! have a text, and nothing outside them is read or written.

use jiff::civil::{Date, DateTime};

const MICROS_MIN: i64 = -62_167_219_200_000_000;
const MICROS_MAX: i64 = 253_402_300_799_999_999;
const DAYS_MIN: i32 = -719_528;
const DAYS_MAX: i32 = 2_932_896;
const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Whether the instant has a text.
pub(crate) fn is_instant(micros: i64) -> bool {
    (MICROS_MIN..=MICROS_MAX).contains(&micros)
}

/// Whether the day has a text.
pub(crate) fn is_day(days: i32) -> bool {
    (DAYS_MIN..=DAYS_MAX).contains(&days)
}

/// Reads RFC 3339; digits finer than a microsecond are cut.
pub(crate) fn parse_instant(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let shape = bytes.len() >= 20
        && bytes.is_ascii()
        && bytes[4] == b'-'
        && matches!(bytes[10], b'T' | b't' | b' ')
        && bytes[13] == b':'
        && bytes[16] == b':';
    if !shape {
        return None;
    }
    let (local, offset_seconds) = match text.strip_suffix(['Z', 'z']) {
        Some(local) => (local, 0),
        None => {
            let (local, offset) = text.split_at(text.len() - 6);
            (local, parse_offset(offset)?)
        }
    };
    let local: DateTime = local.parse().ok()?;
    let days = i64::from(days_of(local.date()));
    let time = local.time();
    let seconds =
        i64::from(time.hour()) * 3_600 + i64::from(time.minute()) * 60 + i64::from(time.second())
            - offset_seconds;
    let fraction = i64::from(time.subsec_nanosecond()) / 1_000;
    Some(days * MICROS_PER_DAY + seconds * MICROS_PER_SECOND + fraction)
        .filter(|micros| is_instant(*micros))
}

/// Reads `+01:00`, in seconds.
fn parse_offset(text: &str) -> Option<i64> {
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let part = |text: &str, max: i64| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<i64>().ok())?.filter(|number| *number <= max)
    };
    let seconds = part(hours, 23)? * 3_600 + part(minutes, 59)? * 60;
    match text.as_bytes()[0] {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

/// Reads milliseconds since the epoch.
pub(crate) fn instant_of_millis(millis: i64) -> Option<i64> {
    millis.checked_mul(1_000).filter(|micros| is_instant(*micros))
}

/// Reads `YYYY-MM-DD`.
pub(crate) fn parse_day(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-';
    let date: Date = shape.then(|| text.parse().ok())??;
    Some(days_of(date)).filter(|days| is_day(*days))
}

/// Writes the instant as RFC 3339 with `Z` and no, three or six digits of a second.
pub(crate) fn write_instant(micros: i64, out: &mut Vec<u8>) {
    let days = i32::try_from(micros.div_euclid(MICROS_PER_DAY)).expect("checked by is_instant");
    let seconds = micros.rem_euclid(MICROS_PER_DAY) / MICROS_PER_SECOND;
    let seconds = u32::try_from(seconds).expect("below a day");
    write_day(days, out);
    out.push(b'T');
    write_digits(seconds / 3_600, 2, out);
    out.push(b':');
    write_digits(seconds / 60 % 60, 2, out);
    out.push(b':');
    write_digits(seconds % 60, 2, out);
    let fraction = u32::try_from(micros.rem_euclid(MICROS_PER_SECOND)).expect("below a million");
    if fraction != 0 {
        out.push(b'.');
        match fraction % 1_000 {
            0 => write_digits(fraction / 1_000, 3, out),
            _ => write_digits(fraction, 6, out),
        }
    }
    out.push(b'Z');
}

/// Writes the day as `YYYY-MM-DD`.
pub(crate) fn write_day(days: i32, out: &mut Vec<u8>) {
    let (year, month, day) = date_of(days);
    write_digits(year, 4, out);
    out.push(b'-');
    write_digits(month, 2, out);
    out.push(b'-');
    write_digits(day, 2, out);
}

/// Days since the epoch, counted in years that begin with March, so that the leap day
/// comes last (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days_of(date: Date) -> i32 {
    let (month, day) = (i32::from(date.month()), i32::from(date.day()));
    let year = i32::from(date.year()) - i32::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + day_of_year - 719_468
}

/// The reverse of [`days_of`]: year, month and day, for years from 0.
fn date_of(days: i32) -> (u32, u32, u32) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i32::from(month <= 2);
    (year.unsigned_abs(), month.unsigned_abs(), day.unsigned_abs())
}

fn write_digits(mut number: u32, width: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + width, b'0');
    for place in out[start..].iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_of(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_instant_has_as_many_digits_as_it_needs() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_500_000, "1970-01-01T00:00:01.500Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (MICROS_MIN, "0000-01-01T00:00:00Z"),
            (MICROS_MAX, "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(text_of(|out| write_instant(micros, out)), text);
        }
    }

    #[test]
    fn only_rfc_3339_is_an_instant() {
        assert_eq!(parse_instant("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(parse_instant("1970-01-01T00:00:00.1234567Z"), Some(123_456));
        assert_eq!(parse_instant("9999-12-31T23:59:59.999999Z"), Some(MICROS_MAX));
        assert_eq!(parse_instant("9999-12-31T23:59:59-01:00"), None);
        for text in [
            "1970-01-01",
            "1970-01-01T00:00:00",
            "now",
            "19700101T000000Z",
            "",
            "é",
            "1970-01-01T00:00:00+1:00",
            "1970-01-01T00:00:00+25:00",
            "1970-01-01T00:00:00[UTC]",
        ] {
            assert_eq!(parse_instant(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_whole_date_is_a_day() {
        assert_eq!(parse_day("1970-01-02"), Some(1));
        assert_eq!(parse_day("0000-01-01"), Some(DAYS_MIN));
        assert_eq!(parse_day("9999-12-31"), Some(DAYS_MAX));
        for text in ["1970-02-30", "19700102", "1970-1-02", "1970-01-02T00:00:00"] {
            assert_eq!(parse_day(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn instants_survive_their_text(micros in MICROS_MIN..=MICROS_MAX) {
            prop_assert_eq!(parse_instant(&text_of(|out| write_instant(micros, out))), Some(micros));
        }

        #[test]
        fn days_survive_their_text(days in DAYS_MIN..=DAYS_MAX) {
            prop_assert_eq!(parse_day(&text_of(|out| write_day(days, out))), Some(days));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (parse_instant(&text), parse_day(&text));
        }
    }
}
