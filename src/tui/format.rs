//! Numbers, times and ages as the screen shows them. Every function is pure and keeps to the width that it
//! promises.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers are rounded for people; the casts stay far inside the ranges"
)]

use chrono::{DateTime, Local, Offset, TimeZone, Timelike};
use unicode_width::UnicodeWidthStr;

use crate::market::{DAY, HOUR, MINUTE, Micros, SECOND};

/// Most decimals that a price is written out with; smaller ones go to scientific notation.
const MAX_DECIMALS: usize = 12;

/// The clock that times are shown on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Zone {
    /// Coordinated universal time.
    Utc,
    /// The machine's time zone.
    #[default]
    Local,
}

impl Zone {
    /// How far this clock is ahead of UTC at `time`.
    pub fn offset(self, time: Micros) -> Micros {
        match self {
            Self::Utc => 0,
            Self::Local => DateTime::from_timestamp_micros(time).map_or(0, |t| {
                i64::from(Local.offset_from_utc_datetime(&t.naive_utc()).fix().local_minus_utc()) * SECOND
            }),
        }
    }

    /// The other clock.
    pub const fn toggled(self) -> Self {
        match self {
            Self::Utc => Self::Local,
            Self::Local => Self::Utc,
        }
    }

    /// `time` written by chrono's `pattern` on this clock.
    pub fn write(self, time: Micros, pattern: &str) -> String {
        DateTime::from_timestamp_micros(time.saturating_add(self.offset(time)))
            .map_or_else(|| "–".to_owned(), |t| t.format(pattern).to_string())
    }

    /// `UTC`, or the offset of the local clock as `UTC+2`, `UTC-3:30`.
    pub fn label(self, time: Micros) -> String {
        let offset = self.offset(time);
        if offset == 0 {
            return "UTC".to_owned();
        }
        let sign = if offset < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset.abs() / HOUR, offset.abs() % HOUR / MINUTE);
        if minutes == 0 { format!("UTC{sign}{hours}") } else { format!("UTC{sign}{hours}:{minutes:02}") }
    }

    /// Whether `time` is a midnight on this clock.
    pub fn is_midnight(self, time: Micros) -> bool {
        DateTime::from_timestamp_micros(time.saturating_add(self.offset(time)))
            .is_some_and(|t| t.num_seconds_from_midnight() == 0)
    }
}

/// Decimals that show about six significant digits of `price`, and never none of a small one.
pub fn price_decimals(price: f64) -> usize {
    let size = price.abs();
    match size {
        s if !s.is_finite() || s == 0.0 => 2,
        s if s >= 1e6 => 0,
        s if s >= 10_000.0 => 1,
        s if s >= 100.0 => 2,
        s if s >= 10.0 => 3,
        s if s >= 1.0 => 4,
        s => (3 - s.log10().floor() as i64) as usize,
    }
}

/// A price: thousands apart, as many decimals as its size asks for.
pub fn price(price: f64) -> String {
    price_with(price, price_decimals(price))
}

/// A price in at most `width` columns, nine or more: written out where that fits, else with four significant
/// digits and an exponent.
pub fn price_within(value: f64, width: usize) -> String {
    let written = price(value);
    if written.len() <= width { written } else { format!("{value:.3e}") }
}

/// A price with a given number of decimals; beyond what fits a screen in scientific notation.
pub fn price_with(price: f64, decimals: usize) -> String {
    if !price.is_finite() {
        return "–".to_owned();
    }
    if price.abs() >= 1e12 {
        return format!("{price:.3e}");
    }
    if decimals > MAX_DECIMALS && price != 0.0 {
        // As many digits as the decimals would show, so that neighbours on an axis are told apart.
        let digits = (decimals as f64 + price.abs().log10().floor()).max(3.0) as usize;
        return format!("{price:.digits$e}");
    }
    group(&format!("{price:.decimals$}"))
}

/// Commas between thousands of a plain decimal number.
fn group(number: &str) -> String {
    let (sign, rest) = number.strip_prefix('-').map_or(("", number), |r| ("-", r));
    let (whole, fraction) = rest.split_once('.').map_or((rest, None), |(w, f)| (w, Some(f)));
    let mut out = String::with_capacity(number.len() + 4);
    out.push_str(sign);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// A whole number, thousands apart.
pub fn count(n: u64) -> String {
    group(&n.to_string())
}

/// A large number in at most six columns: `932`, `12.3 k`, `4.56 M`, `1.20 B`.
pub fn compact(n: f64) -> String {
    scaled(n, 1000.0, &["", " k", " M", " B", " T"])
}

/// Bytes in at most seven columns: `932 B`, `1.1 MB`.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, 1000.0, &[" B", " kB", " MB", " GB", " TB"])
}

fn scaled(n: f64, base: f64, units: &[&str]) -> String {
    if !n.is_finite() {
        return "–".to_owned();
    }
    let mut value = n;
    let mut unit = 0;
    while value.abs() >= base * 0.9995 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let decimals = match value.abs() {
        v if unit == 0 && v.fract() == 0.0 => 0,
        v if v >= 99.95 => 0,
        v if v >= 9.995 || unit == 0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}{}", units[unit])
}

/// A rate a second: one decimal below ten, compact above.
pub fn rate(n: f64) -> String {
    if n < 9.95 { format!("{n:.1}") } else { compact(n.round()) }
}

/// An amount of coins (a candle's volume): compact from ten thousand on.
pub fn amount(n: f64) -> String {
    match n.abs() {
        v if v >= 10_000.0 => compact(n),
        v if v >= 100.0 => price_with(n, 0),
        v if v >= 10.0 => price_with(n, 1),
        v if v >= 1.0 => price_with(n, 2),
        _ => price_within(n, 10),
    }
}

/// A percentage without its sign, in at most five columns: two decimals, one from a hundred on, none from a
/// thousand on, an exponent from a hundred thousand on.
pub fn percent(value: f64) -> String {
    match value.abs() {
        v if v >= 99_999.5 => format!("{v:.0e}"),
        v if v >= 1000.0 => format!("{v:.0}"),
        v if v >= 99.95 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// Which way a change goes, once rounded to what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
    /// Neither, to two decimals.
    Flat,
}

impl Direction {
    /// The direction of a change in percent, by what two decimals show of it.
    pub fn of(change: f64) -> Self {
        if change >= 0.005 {
            Self::Up
        } else if change <= -0.005 {
            Self::Down
        } else {
            Self::Flat
        }
    }

    /// `▲`, `▼` or a blank: colour is never the only sign.
    pub const fn glyph(self) -> char {
        match self {
            Self::Up => '▲',
            Self::Down => '▼',
            Self::Flat => ' ',
        }
    }
}

/// A change in percent with its glyph, right-aligned in seven columns: `▲ 0.06`, `▼12.40`.
pub fn change(value: Option<f64>) -> String {
    match value {
        Some(v) if v.is_finite() => format!("{}{:>5}", Direction::of(v).glyph(), percent(v)),
        _ => "     –".to_owned(),
    }
}

/// How long something lasted or how old it is: `0.4 s`, `42 s`, `3 min`, `2 h`, `5 d`. Never negative.
pub fn age(span: Micros) -> String {
    let span = span.max(0);
    match span {
        s if s < 10 * SECOND => format!("{:.1} s", s as f64 / SECOND as f64),
        s if s < 2 * MINUTE => format!("{} s", s / SECOND),
        s if s < 2 * HOUR => format!("{} min", s / MINUTE),
        s if s < 2 * DAY => format!("{} h", s / HOUR),
        s => format!("{} d", s / DAY),
    }
}

/// An age in whole seconds: for lines that are drawn once a second.
pub fn coarse_age(span: Micros) -> String {
    if span < 10 * SECOND { format!("{} s", span.max(0) / SECOND) } else { age(span) }
}

/// A countdown: `0:28`, `12:05`, `3:07:45`.
pub fn countdown(span: Micros) -> String {
    let seconds = (span.max(0) + SECOND - 1) / SECOND;
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if h > 0 { format!("{h}:{m:02}:{s:02}") } else { format!("{m}:{s:02}") }
}

/// `text` in at most `width` columns, with `…` for what was cut.
pub fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    if width == 0 {
        return String::new();
    }
    // Measured as a whole: a sign may change the width of the one before it.
    let mut out = String::new();
    for c in text.chars() {
        out.push(c);
        if out.width() + 1 > width {
            out.pop();
            break;
        }
    }
    out.push('…');
    out
}

/// `text` in exactly `width` columns: cut, or filled up with blanks.
pub fn pad(text: &str, width: usize) -> String {
    let mut text = fit(text, width);
    text.extend(std::iter::repeat_n(' ', width.saturating_sub(text.width())));
    text
}

/// As [`pad`], the blanks on the left.
pub fn pad_left(text: &str, width: usize) -> String {
    let text = fit(text, width);
    " ".repeat(width.saturating_sub(text.width())) + &text
}

/// `text` and then `end` in at most `most` lines of `width` columns, broken between words where that is
/// possible. What does not fit is cut from the end of `text`; `end` stays.
pub fn wrap(text: &str, end: &str, width: usize, most: usize) -> Vec<String> {
    let mut room = (width * most).saturating_sub(end.width());
    loop {
        let lines = broken(&format!("{}{end}", fit(text, room)), width);
        if lines.len() <= most || room == 0 {
            return lines.into_iter().take(most).collect();
        }
        room -= 1;
    }
}

/// Lines of `width` columns, broken between words; a word that is longer than a line, where the line ends.
fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() {
            if line.width() + 1 + word.width() <= width {
                line.push(' ');
                line.push_str(word);
                continue;
            }
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            line.push(c);
            if line.width() > width && line.len() > c.len_utf8() {
                line.pop();
                lines.push(std::mem::replace(&mut line, c.to_string()));
            }
        }
    }
    lines.push(line);
    lines
}

/// A coin id as a name: `avalanche-2` is `Avalanche 2`.
pub fn title_case(id: &str) -> String {
    id.split('-')
        .map(|word| {
            let mut chars = word.chars();
            chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prices_show_what_matters_of_them() {
        for (value, text) in [
            (104_180.0, "104,180.0"),
            (2566.4, "2,566.40"),
            (179.11, "179.11"),
            (17.41, "17.410"),
            (2.6126, "2.6126"),
            (0.8456, "0.8456"),
            (0.000_012_34, "0.00001234"),
            (1.0, "1.0000"),
            (0.1, "0.1000"),
            (1e-20, "1.000e-20"),
            (5e15, "5.000e15"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(price(value), text);
        }
        for (value, text) in [
            (0.000_012_36, "0.00001236"),
            (0.000_007_312, "7.312e-6"),
            (3.2e-13, "3.200e-13"),
            (1e15, "1.000e15"),
            (0.5, "0.5000"),
        ] {
            assert_eq!(price_within(value, 10), text);
        }
        assert_eq!(
            (price_with(3.987_12e-9, 14), price_with(3.987_11e-9, 14)),
            ("3.98712e-9".to_owned(), "3.98711e-9".to_owned())
        );
        assert_eq!(price_with(-1_234_567.891, 2), "-1,234,567.89");
        assert_eq!(price_with(999.0, 0), "999");
    }

    #[test]
    fn large_numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (932.0, "932"),
            (999.9, "1.00 k"),
            (12_345.0, "12.3 k"),
            (4_560_000.0, "4.56 M"),
            (2.5, "2.5"),
            (33.0e9, "33.0 B"),
        ] {
            assert_eq!(compact(value), text);
        }
        assert_eq!((amount(0.25).as_str(), amount(1.25e-20).as_str()), ("0.2500", "1.250e-20"));
        assert_eq!(bytes(1_100_000), "1.10 MB");
        assert_eq!(bytes(92_000_000), "92.0 MB");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn changes_carry_a_glyph_and_keep_their_width() {
        assert_eq!(change(Some(0.06)), "▲ 0.06");
        assert_eq!(change(Some(-12.4)), "▼12.40");
        assert_eq!(change(Some(0.001)), "  0.00");
        assert_eq!(change(Some(-104.26)), "▼104.3");
        assert_eq!(change(None), "     –");
    }

    #[test]
    fn spans_read_naturally() {
        for (span, text) in [
            (0, "0.0 s"),
            (1_200_000, "1.2 s"),
            (42 * SECOND, "42 s"),
            (3 * MINUTE, "3 min"),
            (5 * HOUR, "5 h"),
            (-5, "0.0 s"),
        ] {
            assert_eq!(age(span), text);
        }
        assert_eq!(countdown(28 * SECOND), "0:28");
        assert_eq!(countdown(3 * HOUR + 7 * MINUTE + 45 * SECOND), "3:07:45");
    }

    #[test]
    fn cut_text_keeps_to_its_columns() {
        assert_eq!(fit("bitcoin", 7), "bitcoin");
        assert_eq!(fit("bitcoin", 4), "bit…");
        assert_eq!(fit("価格価格", 5), "価格…");
        assert_eq!(fit("abc", 0), "");
        assert_eq!((pad("比特币", 8).as_str(), pad("比特币", 5).as_str()), ("比特币  ", "比特…"));
        assert_eq!(title_case("avalanche-2"), "Avalanche 2");
    }

    #[test]
    fn wrapped_text_keeps_its_beginning_and_its_end() {
        let cause = "no space left on device (os error 28): cannot write /very/long/path/part-00000.parquet";
        assert_eq!(
            wrap(cause, " · again in 4 s", 60, 2),
            [
                "no space left on device (os error 28): cannot write",
                "/very/long/path/part-00000.parquet · again in 4 s",
            ]
        );
        assert_eq!(
            wrap(cause, " · again in 4 s", 40, 2),
            ["no space left on device (os error 28):", "cannot write /very/long/… · again in 4 s",]
        );
        assert_eq!(wrap("aaaaaaaaaaaa", "", 5, 9), ["aaaaa", "aaaaa", "aa"]);
        assert_eq!(wrap("比特币比特币", "", 5, 9), ["比特", "币比", "特币"]);
    }

    #[test]
    fn clocks_write_times() {
        let noon = 1_747_051_200 * SECOND;
        assert_eq!(Zone::Utc.write(noon, "%Y-%m-%d %H:%M"), "2025-05-12 12:00");
        assert_eq!(Zone::Utc.label(noon), "UTC");
        assert_eq!(Zone::Utc.write(i64::MAX, "%H:%M"), "–");
        assert!(Zone::Utc.is_midnight(0));
    }

    proptest! {
        #[test]
        fn any_price_is_short_and_never_zero_when_it_is_not(exponent in -30.0..30.0f64) {
            let text = price(10f64.powf(exponent));
            prop_assert!(text.width() <= 16, "{text}");
            prop_assert!(text.chars().any(|c| ('1'..='9').contains(&c)), "{text}");
        }

        #[test]
        fn compact_numbers_keep_to_six_columns(n in 0.0..9.9e14f64) {
            let text = compact(n.round());
            prop_assert!(text.width() <= 6, "{text}");
        }

        #[test]
        fn a_price_fits_its_column_and_keeps_four_digits(exponent in -25.0..25.0f64, width in 10usize..16) {
            let value = 10f64.powf(exponent);
            let text = price_within(value, width);
            let back: f64 = text.replace(',', "").parse().unwrap();
            prop_assert!(text.len() <= width && (back - value).abs() <= value * 0.000_51, "{} {}", value, text);
        }

        #[test]
        fn fitted_text_fits(text in "\\PC{0,40}", width in 0usize..50) {
            prop_assert!(fit(&text, width).width() <= width);
            prop_assert_eq!(pad(&text, width).width(), width);
        }

        #[test]
        fn wrapped_text_fits(text in "\\PC{0,80}", width in 2usize..50, most in 1usize..4) {
            let lines = wrap(&text, " · end", width, most);
            prop_assert!(lines.len() <= most && lines.iter().all(|line| line.width() <= width), "{:?}", lines);
        }
    }
}
