//! Parses the headers `Retry-After` and `Date`, and compares the server's clock with ours. Pure functions.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime};

use crate::market::{MINUTE, Micros, SECOND};

/// Largest difference between our clock and the server's that is not reported.
const TOLERANCE: Micros = MINUTE;

/// The wait of a `Retry-After` header: seconds, or the time from `now` to a date; zero for a date in the past.
pub fn retry_after(text: &str, now: Micros) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    }
    http_date(text).map(|date| Duration::from_micros(u64::try_from(date.saturating_sub(now)).unwrap_or(0)))
}

/// A date in any of HTTP's three formats.
pub fn http_date(text: &str) -> Option<Micros> {
    let text = text.trim();
    if let Ok(date) = DateTime::parse_from_rfc2822(text) {
        return Some(date.timestamp_micros());
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .into_iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map(|date| date.and_utc().timestamp_micros())
}

/// A notice for a clock that is wrong: `clock` is the time here when it was `server` on the server. None within
/// the tolerance.
pub fn clock_notice(clock: Micros, server: Micros) -> Option<String> {
    let off = clock.abs_diff(server);
    if off <= TOLERANCE.unsigned_abs() {
        return None;
    }
    let amount = humantime::format_duration(Duration::from_secs(off / SECOND.unsigned_abs()));
    Some(if clock > server {
        format!(
            "this computer's clock is {amount} ahead of the server's: set it, or the age of prices is wrong"
        )
    } else {
        format!(
            "this computer's clock is {amount} behind the server's: set it, or new prices are rejected because their times are in the future"
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T: Micros = 784_111_777 * SECOND;

    #[test]
    fn dates_are_parsed_in_all_three_formats() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(http_date(text), Some(T), "{text}");
        }
        assert_eq!(http_date("yesterday"), None);
    }

    #[test]
    fn waits_are_seconds_or_dates() {
        assert_eq!(retry_after("53", T), Some(Duration::from_secs(53)));
        assert_eq!(retry_after(" 1.5 ", T), Some(Duration::from_millis(1_500)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", T), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", T), Some(Duration::ZERO));
        assert_eq!(
            [retry_after("-1", T), retry_after("soon", T), retry_after("", T), retry_after("nan", T)],
            [None; 4]
        );
    }

    #[test]
    fn a_clock_that_is_ahead_or_behind_gives_a_notice() {
        assert_eq!(clock_notice(T + 60 * SECOND, T), None);
        assert!(clock_notice(T + 125 * SECOND, T).expect("off").contains("2m 5s ahead"));
        assert!(clock_notice(T - 2 * 60 * MINUTE, T).expect("off").contains("2h behind"));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_panic(text in "\\PC*", number in any::<u128>(), now in any::<i64>()) {
            let _ = (retry_after(&text, now), http_date(&text), retry_after(&number.to_string(), now));
        }
    }
}
