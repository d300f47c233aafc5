//! Values of settings: their types, and the words for what they are not. Each type's text is what it parses.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, SecondsFormat};

use crate::market::Micros;

/// Text that is never shown, logged or written: `Debug` and `Display` mask it, and it cannot be serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A closed set of values with names.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// Their names, in order.
            pub const LABELS: &[&str] = &[$($label),+];

            /// The name in settings.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }

            pub(super) fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($label => Ok(Self::$variant),)+
                    _ => Err(not_one_of(text, Self::LABELS)),
                }
            }
        }
    };
}

choice! {
    /// How much history a first start fetches.
    Backfill {
        /// None.
        Off = "off",
        /// The last day.
        Day = "1d",
        /// The last week.
        Week = "7d",
    }
}

impl Backfill {
    /// The stretch of time, zero for [`Backfill::Off`].
    pub const fn span(self) -> Duration {
        Duration::from_hours(match self {
            Self::Off => 0,
            Self::Day => 24,
            Self::Week => 7 * 24,
        })
    }
}

choice! {
    /// What kind of `CoinGecko` key is used.
    Plan {
        /// A demo key, or none.
        Demo = "demo",
        /// A paid key, with a host of its own.
        Pro = "pro",
    }
}

choice! {
    /// The dashboard's colours.
    Theme {
        /// The terminal's own 16 colours.
        Default = "default",
        /// 24-bit colours.
        Truecolor = "truecolor",
        /// Blue up, orange down.
        Colorblind = "colorblind",
        /// No colours.
        Mono = "mono",
    }
}

choice! {
    /// Whether colours are used.
    Color {
        /// On a terminal.
        Auto = "auto",
        /// Nowhere (`NO_COLOR`, `--no-color`).
        Never = "never",
    }
}

/// How fast a replay runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as it is taken.
    Max,
    /// So many seconds of event time a second, above zero.
    Times(f64),
}

/// How many ticks a second the simulator makes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// As many as are taken, on virtual time.
    Max,
    /// So many, above zero.
    PerSecond(f64),
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::Times(n) => n.fmt(f),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::PerSecond(n) => n.fmt(f),
        }
    }
}

pub(super) fn not_one_of(text: &str, labels: &[&str]) -> String {
    match labels {
        [head @ .., last] if !head.is_empty() => {
            format!("'{text}' is none of {} and {last}", head.join(", "))
        }
        _ => format!("'{text}' is not {}", labels.join(", ")),
    }
}

/// `max`, or a number above zero.
pub(super) fn max_or_number(text: &str) -> Result<Option<f64>, String> {
    if text == "max" {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() && n > 0.0 => Ok(Some(n)),
        _ => Err(format!("'{text}' is neither a number above 0 nor 'max'")),
    }
}

pub(super) fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() && n >= 0.0 => Ok(n),
        _ => Err(format!("'{text}' is not a percentage of 0 or more")),
    }
}

pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("'{text}' is neither true nor false")),
    }
}

/// A whole number of `least` or more.
pub(super) fn count<T: FromStr + From<u8> + PartialOrd>(text: &str, least: u8) -> Result<T, String> {
    match text.replace('_', "").parse::<T>() {
        Ok(n) if n >= T::from(least) => Ok(n),
        _ => Err(format!("'{text}' is not a whole number of {least} or more")),
    }
}

/// A duration such as `15s`, `100ms`, `1m 30s`, within bounds.
pub(super) fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let span = match text.parse::<u64>() {
        Ok(0) => Duration::ZERO,
        Ok(n) => return Err(format!("'{text}' has no unit: write {n}s or {n}ms")),
        Err(_) => humantime::parse_duration(text)
            .map_err(|_| format!("'{text}' is not a duration such as 15s or 100ms"))?,
    };
    if span < least {
        Err(format!("'{text}' is too short: at least {}", humantime::format_duration(least)))
    } else if span > most {
        Err(format!("'{text}' is too long: at most {}", humantime::format_duration(most)))
    } else {
        Ok(span)
    }
}

pub(super) fn show_duration(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

/// An RFC 3339 time or a UTC date, from 2009-01-03 on (the decoder takes nothing earlier).
pub(super) fn time(text: &str) -> Result<Micros, String> {
    let time = DateTime::parse_from_rfc3339(text)
        .map(|t| t.timestamp_micros())
        .or_else(|_| {
            text.parse::<NaiveDate>().map(|d| d.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros())
        })
        .map_err(|_| format!("'{text}' is not a time such as 2025-01-01T00:00:00Z or 2025-01-01"))?;
    let earliest = NaiveDate::from_ymd_opt(2009, 1, 3).unwrap_or_default().and_time(chrono::NaiveTime::MIN);
    if time < earliest.and_utc().timestamp_micros() {
        Err(format!("'{text}' is before 2009-01-03"))
    } else {
        Ok(time)
    }
}

pub(super) fn show_time(time: Micros) -> String {
    DateTime::from_timestamp_micros(time).unwrap_or_default().to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Comma-separated coin ids: trimmed, lower case, each once, at least one.
pub(super) fn coins(text: &str) -> Result<Vec<Arc<str>>, String> {
    let mut coins: Vec<Arc<str>> = Vec::new();
    for coin in text.split(',').map(|c| c.trim().to_lowercase()).filter(|c| !c.is_empty()) {
        if coin.contains(|c: char| c.is_whitespace() || c.is_control() || "/?#&=%".contains(c)) {
            return Err(format!("'{coin}' is not a coin's id such as bitcoin"));
        }
        if !coins.iter().any(|c| **c == *coin) {
            coins.push(coin.into());
        }
    }
    if coins.is_empty() {
        Err("no coin is named: give ids such as bitcoin,ethereum".to_owned())
    } else {
        Ok(coins)
    }
}

/// A currency's code, trimmed and lower case.
pub(super) fn currency(text: &str) -> Result<String, String> {
    let code = text.trim().to_lowercase();
    if code.is_empty()
        || code.contains(|c: char| c.is_whitespace() || c.is_control() || ",/?#&=%".contains(c))
    {
        return Err(format!("'{text}' is not a currency such as usd or eur"));
    }
    Ok(code)
}

/// `bitcoin=0.05,ethereum=0.1`.
pub(super) fn thresholds(text: &str) -> Result<BTreeMap<String, f64>, String> {
    text.split(',')
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            let (coin, value) =
                part.split_once('=').ok_or_else(|| format!("'{}' is not COIN=PERCENT", part.trim()))?;
            let coin = coin.trim().to_lowercase();
            if coin.is_empty() {
                Err(format!("'{}' names no coin", part.trim()))
            } else {
                Ok((coin, percent(value.trim())?))
            }
        })
        .collect()
}

/// A folder of this machine.
pub(super) fn folder(text: &str) -> Result<PathBuf, String> {
    match text.split_once("://") {
        Some(("s3" | "s3a", _)) => Err("storage on S3 is not supported yet: give a folder".to_owned()),
        Some((scheme, _)) => Err(format!("'{scheme}://' is not supported: give a folder")),
        None if text.trim().is_empty() => Err("the storage has no name: give a folder".to_owned()),
        None => Ok(text.into()),
    }
}

/// An `http(s)` address without its last slash.
pub(super) fn address(text: &str) -> Result<String, String> {
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            if !url.username().is_empty() || url.password().is_some() {
                Err("the address holds a password: secrets come from the environment, in variables of their own".to_owned())
            } else {
                Ok(text.trim_end_matches('/').to_owned())
            }
        }
        _ => Err(format!("'{text}' is not an address such as https://api.coingecko.com/api/v3")),
    }
}

/// An address as the old README gave it, `[url](url)`, or plain.
pub(super) fn unlinked(text: &str) -> &str {
    text.strip_prefix('[')
        .and_then(|t| t.strip_suffix(')'))
        .and_then(|t| t.split_once("]("))
        .map_or(text, |(_, url)| url)
        .trim()
}
