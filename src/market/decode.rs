//! From raw records to ticks: one tolerant decoder for every payload shape, by field aliases.
//!
//! Its verdict depends on the record alone (its `ingested_at` included), never on a clock: the same record decodes to the
//! same ticks and rejects whenever it is processed. Unknown fields are ignored.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use chrono::DateTime;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Details, MINUTE, Market, Micros, RecordRef, Tick, Ticks, TradeId};

/// 2009-01-03, the day of Bitcoin's first block: no price is older.
pub const GENESIS: Micros = 1_230_940_800_000_000;
/// How far a source's clock may run ahead of ours.
pub const MAX_AHEAD: Micros = 5 * MINUTE;

/// Why a tick was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The record's bytes are not UTF-8.
    NotUtf8,
    /// Nothing but white space.
    Blank,
    /// It does not parse.
    NotJson,
    /// Valid JSON, but no object.
    NotAnObject,
    /// A price history without points.
    NoTicks,
    /// No coin id, neither in the value nor as the record's key, or one that is blank or no text.
    CoinMissing,
    /// No price, or null.
    PriceMissing,
    /// A price that is no number.
    PriceNotNumber,
    /// A price beyond what a double holds.
    PriceNotFinite,
    /// A price of zero or less.
    PriceNotPositive,
    /// A size that is no finite number.
    SizeNotNumber,
    /// No time, or null.
    TimeMissing,
    /// A time that is neither RFC 3339 nor an epoch.
    TimeUnparsable,
    /// Before 2009-01-03 or more than five minutes after the record came in.
    TimeOutOfRange,
}

impl Reason {
    /// The reason as the quarantine table has it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not UTF-8",
            Self::Blank => "blank",
            Self::NotJson => "not JSON",
            Self::NotAnObject => "not an object",
            Self::NoTicks => "no ticks",
            Self::CoinMissing => "coin_id missing",
            Self::PriceMissing => "price missing",
            Self::PriceNotNumber => "price is no number",
            Self::PriceNotFinite => "price not finite",
            Self::PriceNotPositive => "price not positive",
            Self::SizeNotNumber => "size is no finite number",
            Self::TimeMissing => "event_time missing",
            Self::TimeUnparsable => "event_time does not parse",
            Self::TimeOutOfRange => "event_time out of range",
        }
    }
}

/// A tick that was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// Offset of the record.
    pub offset: i64,
    /// Place in the record.
    pub index: i32,
    /// Why.
    pub reason: Reason,
}

/// Decodes records and remembers the markets it has met.
#[derive(Debug, Default)]
pub struct Decoder {
    markets: Arc<Vec<Arc<Market>>>,
    ids: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    scratch: String,
}

/// The fields of an object that mean something, as raw JSON text; the last of equal keys counts.
#[derive(Default)]
struct Fields<'a> {
    coin_id: Option<&'a str>,
    id: Option<&'a str>,
    price: Option<&'a str>,
    current_price: Option<&'a str>,
    event_time: Option<&'a str>,
    last_updated: Option<&'a str>,
    timestamp: Option<&'a str>,
    size: Option<&'a str>,
    trade_id: Option<&'a str>,
    source: Option<&'a str>,
    quote: Option<&'a str>,
    symbol: Option<&'a str>,
    volume_24h: Option<&'a str>,
    total_volume: Option<&'a str>,
    market_cap: Option<&'a str>,
    price_change_24h: Option<&'a str>,
    price_change_pct_24h: Option<&'a str>,
    high_24h: Option<&'a str>,
    low_24h: Option<&'a str>,
    prices: Option<&'a str>,
    market_caps: Option<&'a str>,
    total_volumes: Option<&'a str>,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Fields::default();
                while let Some(Key(key)) = map.next_key()? {
                    let slot = match &*key {
                        "coin_id" => &mut fields.coin_id,
                        "id" => &mut fields.id,
                        "price" => &mut fields.price,
                        "current_price" => &mut fields.current_price,
                        "event_time" => &mut fields.event_time,
                        "last_updated" => &mut fields.last_updated,
                        "timestamp" => &mut fields.timestamp,
                        "size" => &mut fields.size,
                        "trade_id" => &mut fields.trade_id,
                        "source" => &mut fields.source,
                        "quote" => &mut fields.quote,
                        "symbol" => &mut fields.symbol,
                        "volume_24h" => &mut fields.volume_24h,
                        "total_volume" => &mut fields.total_volume,
                        "market_cap" => &mut fields.market_cap,
                        "price_change_24h" => &mut fields.price_change_24h,
                        "price_change_pct_24h" | "price_change_percentage_24h" => &mut fields.price_change_pct_24h,
                        "high_24h" => &mut fields.high_24h,
                        "low_24h" => &mut fields.low_24h,
                        "prices" => &mut fields.prices,
                        "market_caps" => &mut fields.market_caps,
                        "total_volumes" => &mut fields.total_volumes,
                        _ => {
                            map.next_value::<serde::de::IgnoredAny>()?;
                            continue;
                        }
                    };
                    *slot = Some(map.next_value::<&RawValue>()?.get());
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// An object's key, borrowed unless it holds escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// The first of some aliases that is there and not null.
fn first<const N: usize>(aliases: [Option<&str>; N]) -> Option<&str> {
    aliases.into_iter().flatten().find(|raw| *raw != "null")
}

/// The text of a raw JSON string; none for any other value.
fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

enum NotANumber {
    Missing,
    Unparsable,
    Infinite,
}

/// A raw JSON number or numeric string.
fn number(raw: Option<&str>) -> Result<f64, NotANumber> {
    let raw = raw.filter(|raw| !matches!(*raw, "null" | "true" | "false")).ok_or(NotANumber::Missing)?;
    let parsed = match string(raw) {
        Some(text) => text.trim().parse::<f64>(),
        None => raw.parse::<f64>(),
    };
    match parsed {
        Ok(x) if x.is_finite() => Ok(x),
        Ok(_) => Err(NotANumber::Infinite),
        Err(_) => Err(NotANumber::Unparsable),
    }
}

/// Epoch seconds, milliseconds or microseconds, told apart by size, to microseconds, halves to even.
fn epoch(text: &str) -> Option<Micros> {
    let digits = |n: u64| {
        if n < 100_000_000_000 {
            1_000_000
        } else if n < 100_000_000_000_000 {
            1_000
        } else {
            1
        }
    };
    if let Ok(whole) = text.parse::<i64>() {
        return whole.checked_mul(digits(whole.unsigned_abs()));
    }
    // The shortest decimal text of a double is what its writer meant: scale that, not its binary expansion.
    let value = text.parse::<f64>().ok().filter(|x| x.abs() < 9e15)?;
    let plain = value.abs().to_string();
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let whole: i64 = whole.parse().ok()?;
    let scale = digits(whole.unsigned_abs());
    let places = scale.ilog10() as usize;
    let (kept, cut) = fraction.split_at(places.min(fraction.len()));
    let mut micros = whole.checked_mul(scale)?;
    if !kept.is_empty() {
        micros += kept.parse::<i64>().ok()? * 10_i64.pow(u32::try_from(places - kept.len()).ok()?);
    }
    let round_up = match cut.as_bytes() {
        [] | [b'0'..=b'4', ..] => false,
        [b'5', rest @ ..] if rest.iter().all(|d| *d == b'0') => micros % 2 == 1,
        _ => true,
    };
    micros += i64::from(round_up);
    Some(if value < 0.0 { -micros } else { micros })
}

fn time(raw: Option<&str>, latest: Micros) -> Result<Micros, Reason> {
    let raw = raw.filter(|raw| !matches!(*raw, "true" | "false")).ok_or(Reason::TimeMissing)?;
    let micros = match string(raw) {
        Some(text) => {
            let text = text.trim();
            match DateTime::parse_from_rfc3339(text) {
                Ok(time) => Some(time.timestamp_micros()),
                Err(_) => epoch(text),
            }
        }
        None => epoch(raw),
    };
    let micros = micros.ok_or(Reason::TimeUnparsable)?;
    if (GENESIS..=latest).contains(&micros) { Ok(micros) } else { Err(Reason::TimeOutOfRange) }
}

fn price(raw: Option<&str>) -> Result<f64, Reason> {
    let price = number(raw).map_err(|error| match error {
        NotANumber::Missing => Reason::PriceMissing,
        NotANumber::Unparsable => Reason::PriceNotNumber,
        NotANumber::Infinite => Reason::PriceNotFinite,
    })?;
    if price > 0.0 { Ok(price) } else { Err(Reason::PriceNotPositive) }
}

/// What a history record says in its headers: the range that it fills, and the currency.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HistoryHeaders {
    fill_from: Option<Micros>,
    fill_to: Option<Micros>,
    quote: Option<String>,
}

type Point<'a> = (&'a RawValue, &'a RawValue);

impl Decoder {
    /// The markets met so far; [`Tick::market`] points into them.
    #[must_use]
    pub fn markets(&self) -> Arc<Vec<Arc<Market>>> {
        Arc::clone(&self.markets)
    }

    /// Decodes one record that came in at `ingested_at`: its valid ticks go to `ticks`, its rejects to `rejects`.
    pub fn decode(&mut self, record: RecordRef<'_>, ingested_at: Micros, ticks: &mut Vec<Tick>, rejects: &mut Vec<Reject>) {
        let reject = |reason| Reject { offset: record.offset, index: 0, reason };
        let fields = match parse(record.value) {
            Ok(fields) => fields,
            Err(reason) => return rejects.push(reject(reason)),
        };
        if fields.prices.is_some() && first([fields.price, fields.current_price]).is_none() {
            return self.history(record, &fields, ingested_at, ticks, rejects);
        }
        match self.tick(record, &fields, ingested_at) {
            Ok(tick) => ticks.push(tick),
            Err(reason) => rejects.push(reject(reason)),
        }
    }

    fn tick(&mut self, record: RecordRef<'_>, fields: &Fields<'_>, ingested_at: Micros) -> Result<Tick, Reason> {
        let market = self.market(record, fields, None)?;
        let price = price(first([fields.price, fields.current_price]))?;
        let event_time = time(first([fields.event_time, fields.last_updated, fields.timestamp]), ingested_at + MAX_AHEAD)?;
        let size = match first([fields.size]) {
            None => None,
            raw => Some(number(raw).map_err(|_| Reason::SizeNotNumber)?),
        };
        let trade_id = first([fields.trade_id]).map(|raw| TradeId::parse(&string(raw).unwrap_or(Cow::Borrowed(raw))));
        let details = Details {
            symbol: fields.symbol.and_then(string).map(Into::into),
            volume_24h: number(first([fields.volume_24h, fields.total_volume])).ok(),
            market_cap: number(fields.market_cap).ok(),
            price_change_24h: number(fields.price_change_24h).ok(),
            price_change_pct_24h: number(fields.price_change_pct_24h).ok(),
            high_24h: number(fields.high_24h).ok(),
            low_24h: number(fields.low_24h).ok(),
        };
        let details = (details != Details::default()).then(|| Box::new(details));
        Ok(Tick { market, index: 0, offset: record.offset, event_time, price, size, trade_id, details, ingested_at })
    }

    /// `CoinGecko`'s `market_chart`: one record, many ticks. Points outside the range that the record fills are neither valid nor
    /// rejected.
    fn history(
        &mut self,
        record: RecordRef<'_>,
        fields: &Fields<'_>,
        ingested_at: Micros,
        ticks: &mut Vec<Tick>,
        rejects: &mut Vec<Reject>,
    ) {
        let headers: HistoryHeaders = record.headers.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let reject = |index, reason| Reject { offset: record.offset, index, reason };
        let market = match self.market(record, fields, headers.quote.as_deref()) {
            Ok(market) => market,
            Err(reason) => return rejects.push(reject(0, reason)),
        };
        let points: Vec<&RawValue> = fields.prices.and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
        if points.is_empty() {
            return rejects.push(reject(0, Reason::NoTicks));
        }
        let others = |raw: Option<&str>| -> Vec<Option<f64>> {
            let points: Vec<(serde_json::Value, Option<f64>)> = raw.and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
            points.into_iter().map(|(_, value)| value).collect()
        };
        let (caps, volumes) = (others(fields.market_caps), others(fields.total_volumes));
        let range = headers.fill_from.unwrap_or(Micros::MIN)..headers.fill_to.unwrap_or(Micros::MAX);
        for (index, point) in (0i32..).zip(points) {
            let Ok((at, value)) = serde_json::from_str::<Point<'_>>(point.get()) else {
                rejects.push(reject(index, Reason::PriceMissing));
                continue;
            };
            let place = usize::try_from(index).unwrap_or(0);
            let valid = time(first([Some(at.get())]), Micros::MAX).and_then(|event_time| {
                if !range.contains(&event_time) {
                    return Ok(None);
                }
                let event_time = time(Some(at.get()), ingested_at + MAX_AHEAD)?;
                let details = Details {
                    volume_24h: volumes.get(place).copied().flatten(),
                    market_cap: caps.get(place).copied().flatten(),
                    ..Details::default()
                };
                let (price, details) = (price(Some(value.get()))?, Some(Box::new(details)));
                Ok(Some(Tick { market, index, offset: record.offset, event_time, price, size: None, trade_id: None, details, ingested_at }))
            });
            match valid {
                Ok(Some(tick)) => ticks.push(tick),
                Ok(None) => {}
                Err(reason) => rejects.push(reject(index, reason)),
            }
        }
    }

    fn market(&mut self, record: RecordRef<'_>, fields: &Fields<'_>, quote: Option<&str>) -> Result<u32, Reason> {
        let named = match first([fields.coin_id, fields.id]) {
            Some(raw) => string(raw).ok_or(Reason::CoinMissing)?,
            None => Cow::Borrowed(record.key.ok_or(Reason::CoinMissing)?),
        };
        let coin = named.trim();
        if coin.is_empty() {
            return Err(Reason::CoinMissing);
        }
        let source = fields.source.and_then(string);
        let source = source.as_deref().unwrap_or(record.source);
        let stated = fields.quote.and_then(string);
        let quote = stated.as_deref().or(quote).unwrap_or("usd");
        self.scratch.clear();
        for (part, fold) in [(source, false), (coin, true), (quote, true)] {
            if fold && part.bytes().any(|b| b.is_ascii_uppercase() || !b.is_ascii()) {
                self.scratch.push_str(&part.to_lowercase());
            } else {
                self.scratch.push_str(part);
            }
            self.scratch.push('\0');
        }
        if let Some(&id) = self.ids.get(self.scratch.as_str()) {
            return Ok(id);
        }
        let mut parts = self.scratch.split('\0');
        let mut next = || parts.next().unwrap_or_default();
        let market = Market::new(next(), next(), next());
        let id = u32::try_from(self.markets.len()).expect("fewer than 2^32 markets");
        Arc::make_mut(&mut self.markets).push(Arc::new(market));
        self.ids.insert(self.scratch.as_str().into(), id);
        Ok(id)
    }

    /// Decodes a run of at most about `count` records into a batch of ticks and its rejects.
    pub fn decode_all<'a>(&mut self, count: usize, records: impl Iterator<Item = (RecordRef<'a>, Micros)>) -> (Ticks, Vec<Reject>) {
        let (mut ticks, mut rejects) = (Vec::with_capacity(count), Vec::new());
        for (record, ingested_at) in records {
            self.decode(record, ingested_at, &mut ticks, &mut rejects);
        }
        (Ticks { markets: self.markets(), ticks }, rejects)
    }
}

fn parse(value: &[u8]) -> Result<Fields<'_>, Reason> {
    let text = std::str::from_utf8(value).map_err(|_| Reason::NotUtf8)?;
    match text.trim_start().bytes().next() {
        Some(b'{') => serde_json::from_str(text).map_err(|_| Reason::NotJson),
        Some(_) => Err(serde_json::from_str::<&RawValue>(text).map_or(Reason::NotJson, |_| Reason::NotAnObject)),
        None => Err(Reason::Blank),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_800_000_000_000_000;

    fn decode_keyed(value: &str, key: Option<&str>, headers: Option<&str>) -> (Ticks, Vec<Reject>) {
        let record = RecordRef { offset: 7, key, value: value.as_bytes(), source: "replay", headers, produced_at: 0 };
        Decoder::default().decode_all(1, std::iter::once((record, NOW)))
    }

    fn one(value: &str) -> (Market, Tick) {
        let (ticks, rejects) = decode_keyed(value, None, None);
        assert_eq!(rejects, [], "{value}");
        ((**ticks.market(&ticks.ticks[0])).clone(), ticks.ticks[0].clone())
    }

    fn reason(value: &str) -> &'static str {
        let (ticks, rejects) = decode_keyed(value, None, None);
        assert_eq!(ticks.ticks, [], "{value}");
        assert_eq!(rejects.len(), 1, "{value}");
        rejects[0].reason.text()
    }

    #[test]
    fn one_tick_written_in_many_ways_is_one_tick() {
        let (market, tick) = one(
            r#"{"source":"binance","coin_id":"bitcoin","price":104072.7,"size":0.0,"event_time":"2025-05-12T00:00:00.000Z","trade_id":10}"#,
        );
        assert_eq!(market, Market::new("binance", "bitcoin", "usd"));
        assert_eq!((tick.event_time, tick.price, tick.size), (1_747_008_000_000_000, 104_072.7, Some(0.0)));
        for other in [
            r#" {"source":"binance","id":" Bitcoin ","current_price":"104072.7","size":"0","last_updated":"2025-05-12T00:00:00+00:00","trade_id":"10","quote":"USD"}"#,
            r#"{"source":"binance","coin_id":null,"id":"BITCOIN","price":1.040727e5,"size":0,"timestamp":1747008000,"trade_id":10,"unknown":{"nested":[1,null]}}"#,
            r#"{"price":1,"source":"binance","c\u006fin_id":"bitcoin","price":104072.7,"size":0.0,"event_time":1747008000.0,"trade_id":10}"#,
            r#"{"source":"binance","coin_id":"bitcoin","price":104072.7,"size":0,"event_time":1747008000000,"trade_id":10}"#,
            r#"{"source":"binance","coin_id":"bitcoin","price":104072.7,"size":0,"event_time":"1747008000000000","trade_id":10}"#,
            r#"{"source":"binance","coin_id":"bitcoin","price":104072.7,"size":0,"event_time":"2025-05-12T02:00:00+02:00","trade_id":10}"#,
        ] {
            let (m, t) = one(other);
            assert_eq!(
                (m, t.event_time, t.price, t.size, t.trade_id),
                (market.clone(), tick.event_time, tick.price, tick.size, tick.trade_id.clone()),
                "{other}"
            );
        }
    }

    #[test]
    fn a_message_of_the_old_producer_is_a_tick() {
        let (market, tick) = one(r#"{"timestamp": 1747008000.123456, "coin_id": "solana", "price": 173.07, "volume_24h": 12}"#);
        assert_eq!(market, Market::new("replay", "solana", "usd"));
        assert_eq!(tick.event_time, 1_747_008_000_123_456);
        assert_eq!(tick.details.and_then(|d| d.volume_24h), Some(12.0));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (value, expected) in [
            ("", "blank"),
            (" \r", "blank"),
            ("{", "not JSON"),
            ("<html>", "not JSON"),
            ("[]", "not an object"),
            ("null", "not an object"),
            (r#"{"coin_id":" ","price":1,"event_time":"2025-05-12T00:00:00Z"}"#, "coin_id missing"),
            (r#"{"coin_id":["bitcoin"],"price":1,"event_time":"2025-05-12T00:00:00Z"}"#, "coin_id missing"),
            (r#"{"price":1,"event_time":"2025-05-12T00:00:00Z"}"#, "coin_id missing"),
            (r#"{"coin_id":"b"}"#, "price missing"),
            (r#"{"coin_id":"b","price":true}"#, "price missing"),
            (r#"{"coin_id":"b","price":"n/a"}"#, "price is no number"),
            (r#"{"coin_id":"b","price":[1]}"#, "price is no number"),
            (r#"{"coin_id":"b","price":1e400}"#, "price not finite"),
            (r#"{"coin_id":"b","price":"NaN"}"#, "price not finite"),
            (r#"{"coin_id":"b","price":-1}"#, "price not positive"),
            (r#"{"coin_id":"b","price":1}"#, "event_time missing"),
            (r#"{"coin_id":"b","price":1,"event_time":"yesterday"}"#, "event_time does not parse"),
            (r#"{"coin_id":"b","price":1,"event_time":"2025-05-12T00:00:00"}"#, "event_time does not parse"),
            (r#"{"coin_id":"b","price":1,"event_time":"1999-01-01T00:00:00Z"}"#, "event_time out of range"),
            (r#"{"coin_id":"b","price":1,"event_time":1800000301}"#, "event_time out of range"),
            (r#"{"coin_id":"b","price":1,"event_time":1747008000,"size":"x"}"#, "size is no finite number"),
            (r#"{"prices":[]}"#, "coin_id missing"),
        ] {
            assert_eq!(reason(value), expected, "{value}");
        }
        one(r#"{"coin_id":"b","price":1,"event_time":1800000300}"#);
        let record = RecordRef { offset: 0, key: None, value: b"\xff{}", source: "x", headers: None, produced_at: 0 };
        assert_eq!(Decoder::default().decode_all(1, std::iter::once((record, NOW))).1[0].reason, Reason::NotUtf8);
    }

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
            assert_eq!(epoch(text), Some(expected), "{text}");
        }
        assert_eq!(epoch("1e300"), None);
    }

    #[test]
    fn a_history_fills_its_range_and_nothing_else() {
        let value = r#"{"prices":[[1747008000000,1.5],[1747008300000,2.5],[1747008600000,null],[1747008900000,9]],
                        "market_caps":[[1747008000000,10],[1747008300000,20]],"total_volumes":[[1747008000000,null],[1747008300000,7.5]]}"#;
        let headers = r#"{"fill_from":1747008300000000,"fill_to":1747008900000000,"quote":"eur"}"#;
        let (ticks, rejects) = decode_keyed(value, Some("Bitcoin"), Some(headers));
        assert_eq!(**ticks.market(&ticks.ticks[0]), Market::new("replay", "bitcoin", "eur"));
        assert_eq!(ticks.ticks.iter().map(|t| (t.index, t.price)).collect::<Vec<_>>(), [(1, 2.5)]);
        assert_eq!(ticks.ticks[0].details.as_ref().map(|d| (d.market_cap, d.volume_24h)), Some((Some(20.0), Some(7.5))));
        assert_eq!(rejects, [Reject { offset: 7, index: 2, reason: Reason::PriceMissing }]);
        assert_eq!(decode_keyed(r#"{"prices":[]}"#, Some("bitcoin"), None).1[0].reason, Reason::NoTicks);
        assert_eq!(decode_keyed(value, Some("bitcoin"), None).0.ticks.len(), 3);
    }
}
