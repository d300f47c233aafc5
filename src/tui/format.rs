//! Numbers, times and texts for the screen: pure functions, most with a documented largest width in columns.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers are rounded for people; the casts stay far inside the ranges"
)]

use chrono::{DateTime, Local, Offset, TimeZone, Timelike};
use unicode_width::UnicodeWidthStr;

use crate::market::{DAY, HOUR, MINUTE, Micros, SECOND};

/// Most decimals of a price; prices that need more are written in scientific notation.
const MAX_DECIMALS: usize = 12;

/// The time zone that times are shown in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Zone {
    /// Coordinated universal time.
    #[default]
    Utc,
    /// The machine's time zone.
    Local,
}

impl Zone {
    /// Difference from UTC at `time`, positive to the east.
    pub fn offset(self, time: Micros) -> Micros {
        match self {
            Self::Utc => 0,
            Self::Local => DateTime::from_timestamp_micros(time).map_or(0, |t| {
                i64::from(Local.offset_from_utc_datetime(&t.naive_utc()).fix().local_minus_utc()) * SECOND
            }),
        }
    }

    pub const fn toggled(self) -> Self {
        match self {
            Self::Utc => Self::Local,
            Self::Local => Self::Utc,
        }
    }

    /// `time` in this zone, formatted by a pattern of chrono's.
    pub fn write(self, time: Micros, pattern: &str) -> String {
        DateTime::from_timestamp_micros(time.saturating_add(self.offset(time)))
            .map_or_else(|| "–".to_owned(), |t| t.format(pattern).to_string())
    }

    /// `UTC`, or the offset at `time` as `UTC+2`, `UTC-3:30`.
    pub fn label(self, time: Micros) -> String {
        let offset = self.offset(time);
        if offset == 0 {
            return "UTC".to_owned();
        }
        let sign = if offset < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset.abs() / HOUR, offset.abs() % HOUR / MINUTE);
        if minutes == 0 { format!("UTC{sign}{hours}") } else { format!("UTC{sign}{hours}:{minutes:02}") }
    }

    /// Whether `time` is a midnight in this zone.
    pub fn is_midnight(self, time: Micros) -> bool {
        DateTime::from_timestamp_micros(time.saturating_add(self.offset(time)))
            .is_some_and(|t| t.num_seconds_from_midnight() == 0)
    }
}

/// Decimals for a price: five significant digits or more from 1 on, four below.
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

/// A price with commas between thousands and [`price_decimals`].
pub fn price(price: f64) -> String {
    price_with(price, price_decimals(price))
}

/// A price in at most `width` columns (9 or more): as [`price`] where that fits, else with four significant
/// digits and an exponent.
pub fn price_within(value: f64, width: usize) -> String {
    let written = price(value);
    if written.len() <= width { written } else { format!("{value:.3e}") }
}

/// A price with commas between thousands and this many decimals; very large and very small ones in scientific
/// notation.
pub fn price_with(price: f64, decimals: usize) -> String {
    if !price.is_finite() {
        return "–".to_owned();
    }
    if price.abs() >= 1e12 {
        return format!("{price:.3e}");
    }
    if decimals > MAX_DECIMALS && price != 0.0 {
        // As many digits as the decimals would show, so that neighbours on an axis differ.
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

/// A whole number with commas between thousands.
pub fn count(n: u64) -> String {
    group(&n.to_string())
}

/// A large number in at most six columns: `932`, `12.3 k`, `4.56 M`, `1.20 B`.
pub fn compact(n: f64) -> String {
    scaled(n, 1000.0, &["", " k", " M", " B", " T"])
}

/// As [`compact`], for a whole number.
pub fn compact_count(n: u64) -> String {
    compact(n as f64)
}

/// Bytes in at most seven columns: `932 B`, `1.10 MB`.
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

/// A rate per second: one decimal below ten, [`compact`] above.
pub fn rate(n: f64) -> String {
    if n < 9.95 { format!("{n:.1}") } else { compact(n.round()) }
}

/// An amount of coins: [`compact`] from ten thousand on.
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

/// The direction of a change as it is shown, with two decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
    /// The change is shown as 0.00.
    Flat,
}

impl Direction {
    /// The direction of a change in percent.
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

/// A duration, rounded down: `42 s`, `3 min`, `2 h`, `5 d`. A negative one is `0 s`.
pub fn age(span: Micros) -> String {
    match span.max(0) {
        s if s < 2 * MINUTE => format!("{} s", s / SECOND),
        s if s < 2 * HOUR => format!("{} min", s / MINUTE),
        s if s < 2 * DAY => format!("{} h", s / HOUR),
        s => format!("{} d", s / DAY),
    }
}

/// A duration in seconds, rounded up; zero for a negative one.
pub const fn seconds_up(span: Micros) -> i64 {
    if span <= 0 { 0 } else { span.saturating_add(SECOND - 1) / SECOND }
}

/// A countdown, rounded up to seconds: `0:28`, `12:05`, `3:07:45`.
pub fn countdown(span: Micros) -> String {
    let seconds = seconds_up(span);
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if h > 0 { format!("{h}:{m:02}:{s:02}") } else { format!("{m}:{s:02}") }
}

/// `text` in at most `width` columns; the end is replaced by `…` where it is wider.
pub fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    if width == 0 {
        return String::new();
    }
    // Measured as a whole: a combining character may change the width of the one before it.
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

/// `text` in exactly `width` columns: cut as by [`fit`], or padded with blanks on the right.
pub fn pad(text: &str, width: usize) -> String {
    let mut text = fit(text, width);
    text.extend(std::iter::repeat_n(' ', width.saturating_sub(text.width())));
    text
}

/// As [`pad`], with the blanks on the left.
pub fn pad_left(text: &str, width: usize) -> String {
    let text = fit(text, width);
    " ".repeat(width.saturating_sub(text.width())) + &text
}

/// `text` followed by `end` in at most `most` lines of `width` columns, broken between words where possible.
/// Where it does not fit, the end of `text` is cut and `end` stays.
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

/// Lines of at most `width` columns, broken between words; a longer word is broken at the end of a line.
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

/// A name made from a coin id: `avalanche-2` becomes `Avalanche 2`.
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
mod tests;
