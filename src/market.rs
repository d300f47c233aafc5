//! The domain: ticks, candles, markets, positions. Types and pure functions only: nothing here does I/O, and
//! only [`time::now`] reads the clock.

pub mod candle;
pub mod coins;
pub mod decode;
pub mod dedup;
pub mod records;
pub mod sum;
pub mod time;
pub mod trade;
pub mod window;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};

pub use crate::text::printable;
pub use candle::Candle;
pub use records::{RecordRef, Records};
pub use trade::{Sequence, TradeId};

/// Microseconds since the Unix epoch, UTC.
pub type Micros = i64;

pub const SECOND: Micros = 1_000_000;
/// The width of a gold window.
pub const MINUTE: Micros = 60 * SECOND;
pub const HOUR: Micros = 60 * MINUTE;
pub const DAY: Micros = 24 * HOUR;

/// `2025-05-12T00:00:00Z`: RFC 3339, UTC, to the second.
pub fn rfc3339(time: Micros) -> String {
    DateTime::from_timestamp_micros(time)
        .map_or_else(|| time.to_string(), |t| t.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// `2025-05-12`: the UTC date of a time, as in the partitions of tables.
pub fn date(time: Micros) -> String {
    DateTime::from_timestamp_micros(time).unwrap_or_default().format("%Y-%m-%d").to_string()
}

/// Groups items by the UTC date of their time, in order of dates; keys as [`date`] writes them.
pub fn by_date<T>(
    items: impl IntoIterator<Item = T>,
    time: impl Fn(&T) -> Micros,
) -> BTreeMap<String, Vec<T>> {
    let mut days: BTreeMap<Micros, Vec<T>> = BTreeMap::new();
    for item in items {
        days.entry(time::floor(time(&item), DAY)).or_default().push(item);
    }
    days.into_iter().map(|(midnight, items)| (date(midnight), items)).collect()
}

/// The key of duplicates, watermarks, windows and alerts. Ordered by (source, `coin_id`, quote).
///
/// The decoder rejects names with control characters or of more than [`decode::MAX_NAME`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Market {
    /// Where the price comes from: `coingecko`, `simulator`, `binance` …
    pub source: Arc<str>,
    /// `CoinGecko`'s id of the coin, trimmed and lower-cased: `bitcoin`.
    pub coin_id: Arc<str>,
    /// The currency the price is in: `usd`.
    pub quote: Arc<str>,
}

impl Market {
    pub fn new(source: &str, coin_id: &str, quote: &str) -> Self {
        Self { source: source.into(), coin_id: coin_id.into(), quote: quote.into() }
    }
}

impl fmt::Display for Market {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.source, self.coin_id, self.quote)
    }
}

/// The identity of a stream of records. Within a stream, an offset always means the same record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream {
    /// `direct`, `replay:<hash of the content>`, `kafka:<cluster id>/<topic>`.
    pub topic: Arc<str>,
    /// The topic's partition; 0 if there is only one.
    pub partition: i32,
}

impl Stream {
    pub fn new(topic: &str, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }

    /// The stream of records that the bronze writer numbers itself.
    pub fn direct() -> Self {
        Self::new("direct", 0)
    }

    /// Whether every offset from 0 on has a record; Kafka's streams have gaps.
    pub fn is_dense(&self) -> bool {
        !self.topic.starts_with("kafka:")
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// What a `CoinGecko` answer contains besides the price, as the source gave it. Amounts are in quote
/// currency.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Details {
    /// Ticker symbol, lower case as the source sends it.
    pub symbol: Option<Arc<str>>,
    /// Traded value, not the amount of coins.
    pub volume_24h: Option<f64>,
    pub market_cap: Option<f64>,
    /// Absolute.
    pub price_change_24h: Option<f64>,
    /// Percent.
    pub price_change_pct_24h: Option<f64>,
    pub high_24h: Option<f64>,
    pub low_24h: Option<f64>,
}

/// One price of one market at one time, with the position of the record that it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// Index into the markets of the batch that holds the tick.
    pub market: u32,
    /// Number of the tick in its record, from 0.
    pub index: i32,
    /// Offset of the record in its stream.
    pub offset: i64,
    /// Time of the price, as the source states it.
    pub event_time: Micros,
    /// Finite and above zero, in quote currency.
    pub price: f64,
    /// Traded amount in coins, where the tick is a trade. Finite.
    pub size: Option<f64>,
    pub trade_id: Option<TradeId>,
    pub details: Option<Box<Details>>,
    /// When the record came in, by the clock of the process that wrote bronze.
    pub ingested_at: Micros,
}

/// Valid ticks of one stream in position order; without duplicates once silver has committed them.
#[derive(Debug, Clone, Default)]
pub struct Ticks {
    /// The markets that [`Tick::market`] points into.
    pub markets: Arc<Vec<Arc<Market>>>,
    pub ticks: Vec<Tick>,
}

impl Ticks {
    /// The market of one of this batch's ticks.
    pub fn market(&self, tick: &Tick) -> &Arc<Market> {
        &self.markets[tick.market as usize]
    }
}

/// The width of a candle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Interval {
    #[serde(rename = "1m")]
    Minute1,
    #[serde(rename = "5m")]
    Minute5,
    #[serde(rename = "15m")]
    Minute15,
    #[serde(rename = "1h")]
    Hour1,
    #[serde(rename = "4h")]
    Hour4,
    /// A UTC day.
    #[serde(rename = "1d")]
    Day1,
}

impl Interval {
    /// Narrowest first.
    pub const ALL: [Self; 6] =
        [Self::Minute1, Self::Minute5, Self::Minute15, Self::Hour1, Self::Hour4, Self::Day1];

    /// Width in microseconds.
    pub const fn micros(self) -> Micros {
        match self {
            Self::Minute1 => MINUTE,
            Self::Minute5 => 5 * MINUTE,
            Self::Minute15 => 15 * MINUTE,
            Self::Hour1 => HOUR,
            Self::Hour4 => 4 * HOUR,
            Self::Day1 => DAY,
        }
    }

    /// `1m`, `5m`, `15m`, `1h`, `4h`, `1d`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Minute1 => "1m",
            Self::Minute5 => "5m",
            Self::Minute15 => "15m",
            Self::Hour1 => "1h",
            Self::Hour4 => "4h",
            Self::Day1 => "1d",
        }
    }

    /// Start of the epoch-aligned bucket that holds `time`.
    pub const fn bucket(self, time: Micros) -> Micros {
        time::floor(time, self.micros())
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|i| i.label() == text)
            .ok_or_else(|| format!("'{text}' is not an interval: use 1m, 5m, 15m, 1h, 4h or 1d"))
    }
}

/// A raised alert: one per (rule, market, window).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Hash of (rule, market, window start): the same alert has the same id wherever it is made.
    pub alert_id: String,
    /// Name of the rule: `volatility`.
    pub rule: String,
    pub market: Market,
    pub window_start: Micros,
    pub window_end: Micros,
    /// Mean price of the candle's ticks.
    pub avg_price: f64,
    pub min_price: f64,
    pub max_price: f64,
    /// `(max_price - min_price) / min_price * 100`.
    pub volatility: f64,
    /// The threshold that `volatility` exceeded, percent.
    pub threshold: f64,
    /// When the alert was raised, by the clock.
    pub timestamp: Micros,
}

impl Alert {
    /// The id of an alert: 128 bits of a hash of its key, as hex.
    pub fn id(rule: &str, market: &Market, window_start: Micros) -> String {
        // Different keys give different texts: names of markets have no control characters.
        let key =
            [rule, &market.source, &market.coin_id, &market.quote, &window_start.to_string()].join("\0");
        blake3::hash(key.as_bytes()).to_hex()[..32].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_aligned_to_the_epoch_on_both_sides_of_it() {
        assert_eq!(Interval::Minute5.bucket(7 * MINUTE), 5 * MINUTE);
        assert_eq!(Interval::Minute5.bucket(-1), -5 * MINUTE);
        assert_eq!(Interval::Day1.bucket(DAY), DAY);
    }

    #[test]
    fn an_alerts_id_depends_on_its_key_only_and_never_changes() {
        let id = |source, coin, quote| {
            Alert::id("volatility", &Market::new(source, coin, quote), 1_747_008_000_000_000)
        };
        assert_eq!(id("binance", "bitcoin", "usd"), "fed02bc5b283965fb17620128b63dc41");
        let alike = [
            id("ab", "c", "usd"),
            id("a", "bc", "usd"),
            id("", "abc", "usd"),
            id("abc", "", "usd"),
            id("abc", "usd", ""),
        ];
        assert_eq!(alike.iter().collect::<std::collections::BTreeSet<_>>().len(), alike.len());
    }
}
