//! Parses the texts of settings into values and shows values as text. An error is a message without a place:
//! `'5' has no unit: write 5s or 5ms`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, SecondsFormat};
use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::market::{Micros, time};

/// The names of an enum's values, for help and completions.
pub(super) fn names<T: ValueEnum>() -> Vec<PossibleValue> {
    let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    values.map(|value| value.help(None::<&'static str>)).collect()
}

pub(super) fn name<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// The enum's value of this name.
pub(super) fn one_of<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let names: Vec<_> = T::value_variants().iter().map(name).collect();
        match names.as_slice() {
            [a, b] => format!("'{text}' is neither {a} nor {b}"),
            [head @ .., last] => format!("'{text}' is none of {} and {last}", head.join(", ")),
            [] => format!("'{text}' is not known"),
        }
    })
}

pub(super) fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() && n >= 0.0 => Ok(n),
        _ => Err(format!("'{text}' is not a percentage of 0 or more")),
    }
}

/// `true`, `1`, `yes`, `on`, or their opposites.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("'{text}' is neither true nor false")),
    }
}

/// `false` for the first of two names, `true` for the second.
pub(super) fn one_of_two(text: &str, names: [&str; 2]) -> Result<bool, String> {
    match names.iter().position(|name| *name == text) {
        Some(index) => Ok(index == 1),
        None => Err(format!("'{text}' is neither {} nor {}", names[0], names[1])),
    }
}

/// A whole number of `least` or more.
pub(super) fn count<T: FromStr + From<u8> + PartialOrd>(text: &str, least: u8) -> Result<T, String> {
    match text.replace('_', "").parse::<T>() {
        Ok(n) if n >= T::from(least) => Ok(n),
        _ => Err(format!("'{text}' is not a whole number of {least} or more")),
    }
}

/// A duration such as `15s`, `100ms`, `1m 30s`, from `least` to `most`.
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

/// As [`duration`], in microseconds.
pub(super) fn micros(text: &str, least: Duration, most: Duration) -> Result<Micros, String> {
    duration(text, least, most).map(time::micros)
}

pub(super) fn show_micros(span: Micros) -> String {
    show_duration(Duration::from_micros(span.unsigned_abs()))
}

/// An RFC 3339 time or a UTC date, from 2009-01-03 on (the decoder rejects earlier times).
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
pub(super) fn coins(text: &str) -> Result<Vec<String>, String> {
    let mut coins: Vec<String> = Vec::new();
    for coin in text.split(',').map(|c| c.trim().to_lowercase()).filter(|c| !c.is_empty()) {
        if coin.contains(|c: char| c.is_whitespace() || c.is_control() || "/?#&=%".contains(c)) {
            return Err(format!("'{coin}' is not a coin's id such as bitcoin"));
        }
        if !coins.contains(&coin) {
            coins.push(coin);
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

/// Percentages by coin id: `bitcoin=0.05,ethereum=0.1`.
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

pub(super) fn show_thresholds(thresholds: &BTreeMap<String, f64>) -> String {
    thresholds.iter().map(|(coin, percent)| format!("{coin}={percent}")).collect::<Vec<_>>().join(",")
}

/// The path of a local folder.
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
                Err("the address contains a user or password: take it out (secrets are set by environment variables only)"
                    .to_owned())
            } else {
                Ok(text.trim_end_matches('/').to_owned())
            }
        }
        _ => Err(format!("'{text}' is not an address such as https://api.coingecko.com/api/v3")),
    }
}

/// A URL, plain or as the Markdown link `[url](url)` that the `.env` template of earlier versions contains.
pub(super) fn unlinked(text: &str) -> &str {
    text.strip_prefix('[')
        .and_then(|t| t.strip_suffix(')'))
        .and_then(|t| t.split_once("]("))
        .map_or(text, |(_, url)| url)
        .trim()
}
