//! The clock, buckets of time, and parsing of times, rounded to the nearest microsecond, halves to even.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Micros;

pub fn now() -> Micros {
    Utc::now().timestamp_micros()
}

/// A stretch of time in microseconds, the largest number where that is too long.
pub fn micros(span: Duration) -> Micros {
    Micros::try_from(span.as_micros()).unwrap_or(Micros::MAX)
}

/// Start of the epoch-aligned bucket of `width` that holds `time`.
pub const fn floor(time: Micros, width: Micros) -> Micros {
    time - time.rem_euclid(width)
}

/// Parses a time: RFC 3339, or an epoch in seconds, milliseconds or microseconds, distinguished by size.
#[inline]
pub fn parse(text: &str) -> Option<Micros> {
    let text = text.trim();
    rfc3339(text).or_else(|| epoch(text))
}

fn rfc3339(text: &str) -> Option<Micros> {
    let cut = DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros();
    // Rounds by the text: chrono reads no more than nine places.
    let Some((_, fraction)) = text.split_once('.') else { return Some(cut) };
    let places = fraction.bytes().take_while(u8::is_ascii_digit).count();
    Some(cut + i64::from(rounds_up(fraction[..places].get(6..).unwrap_or_default(), cut)))
}

fn epoch(text: &str) -> Option<Micros> {
    let scale = |n: u64| {
        if n < 100_000_000_000 {
            1_000_000
        } else if n < 100_000_000_000_000 {
            1_000
        } else {
            1
        }
    };
    if let Ok(whole) = text.parse::<i64>() {
        return whole.checked_mul(scale(whole.unsigned_abs()));
    }
    // Scale the shortest decimal text of the double, which is what the source wrote, not its binary
    // expansion.
    let value = text.parse::<f64>().ok().filter(|x| x.abs() < 9e15)?;
    let plain = value.abs().to_string();
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let whole: i64 = whole.parse().ok()?;
    let scale = scale(whole.unsigned_abs());
    let places = scale.ilog10() as usize;
    let (kept, beyond) = fraction.split_at(places.min(fraction.len()));
    let mut micros = whole.checked_mul(scale)?;
    if !kept.is_empty() {
        micros += kept.parse::<i64>().ok()? * 10_i64.pow(u32::try_from(places - kept.len()).ok()?);
    }
    micros += i64::from(rounds_up(beyond, micros));
    Some(if value < 0.0 { -micros } else { micros })
}

/// Whether `micros` with these decimal places behind it is nearer to the next number; halves go to the even
/// one.
fn rounds_up(places: &str, micros: Micros) -> bool {
    match places.as_bytes() {
        [] | [b'0'..=b'4', ..] => false,
        [b'5', rest @ ..] if rest.iter().all(|d| *d == b'0') => micros % 2 != 0,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn epochs_are_rounded_to_the_nearest_microsecond() {
        for (text, expected) in [
            ("1747008000", 1_747_008_000_000_000),
            ("1747008000123", 1_747_008_000_123_000),
            ("1747008000123456", 1_747_008_000_123_456),
            ("1747008000.5", 1_747_008_000_500_000),
            ("1747008000123.4565", 1_747_008_000_123_456),
            ("1747008000123.4575", 1_747_008_000_123_458),
            ("1.747008e9", 1_747_008_000_000_000),
            ("-1.5", -1_500_000),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        assert_eq!([parse("1e300"), parse("NaN"), parse("inf"), parse(""), parse("0x10")], [None; 5]);
    }

    #[test]
    fn texts_are_rounded_by_all_their_places() {
        for (text, expected) in [
            ("2025-05-12T00:00:00.1234565Z", 123_456),
            ("2025-05-12T00:00:00.1234575Z", 123_458),
            ("2025-05-12T00:00:00.1234565000000000000Z", 123_456),
            ("2025-05-12T00:00:00.1234565000000000001Z", 123_457),
            ("2025-05-12T00:00:00.1234564999999999999Z", 123_456),
            ("2025-05-12T02:00:00.1234567+02:00", 123_457),
            (" 2025-05-12t00:00:00.123z ", 123_000),
            ("2025-05-12T00:00:00.9999996Z", 1_000_000),
        ] {
            assert_eq!(parse(text), Some(1_747_008_000_000_000 + expected), "{text}");
        }
        assert_eq!(parse("1969-12-31T23:59:59.9999985Z"), Some(-2));
    }

    proptest! {
        #[test]
        fn a_text_and_an_epoch_of_one_instant_are_one_time(seconds in 1_300_000_000i64..2_000_000_000, fraction in 0u32..10_000_000) {
            let (micros, place) = (i64::from(fraction / 10), fraction % 10);
            let expected = seconds * 1_000_000 + micros + i64::from(place > 5 || (place == 5 && micros % 2 == 1));
            let text = DateTime::from_timestamp(seconds, fraction * 100).unwrap().format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string();
            prop_assert_eq!(parse(&text), Some(expected));
            // Not every value with seven places has its own double.
            let epoch = format!("{seconds}.{fraction:07}");
            if epoch.parse::<f64>().unwrap().to_string() == epoch {
                prop_assert_eq!(parse(&epoch), Some(expected));
            }
        }

        #[test]
        fn any_text_is_a_time_or_none(text in "\\PC{0,40}", number in any::<f64>(), whole in any::<i64>()) {
            let _ = (parse(&text), parse(&number.to_string()), parse(&whole.to_string()));
            let _ = parse(&format!("2025-05-12T00:00:00.{text}Z"));
        }
    }
}
