//! Decodes raw records to ticks: one tolerant decoder for every payload shape, by field aliases.
//!
//! The result depends on the record alone (its `ingested_at` included), not on a clock: a record decodes to
//! the same ticks and rejects whenever it is processed. Unknown fields are ignored.

mod fields;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;

use self::fields::{Fields, each_point, first, number, parse, price, string, time, values};
use super::{Details, MINUTE, Market, Micros, RecordRef, Tick, Ticks, TradeId};

/// 2009-01-03, the day of Bitcoin's first block: no price is older.
pub const GENESIS: Micros = 1_230_940_800_000_000;
/// How far a source's clock may run ahead of ours.
pub const MAX_AHEAD: Micros = 5 * MINUTE;
/// Most bytes of a name: coin id, source, quote, symbol.
pub const MAX_NAME: usize = 256;

/// Why a tick was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The record's bytes are not UTF-8.
    NotUtf8,
    /// Nothing but white space.
    Blank,
    /// Not valid JSON.
    NotJson,
    /// Valid JSON, but no object.
    NotAnObject,
    /// A price history without points.
    NoTicks,
    /// No coin id, neither in the value nor as the record's key, or one that is blank or no text.
    CoinMissing,
    /// A coin id, source, quote or symbol of more than [`MAX_NAME`] bytes.
    NameTooLong,
    /// A coin id, source, quote or symbol with control characters.
    NameHasControls,
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
    /// The text in the quarantine table's column `reason`.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not UTF-8",
            Self::Blank => "blank",
            Self::NotJson => "not JSON",
            Self::NotAnObject => "not an object",
            Self::NoTicks => "no ticks",
            Self::CoinMissing => "coin_id missing",
            Self::NameTooLong => "name longer than 256 bytes",
            Self::NameHasControls => "name has control characters",
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
    /// Number of the tick in its record, from 0.
    pub index: i32,
    pub reason: Reason,
}

/// Decodes records and numbers the markets that it finds in them.
#[derive(Debug, Default)]
pub struct Decoder {
    markets: Arc<Vec<Arc<Market>>>,
    ids: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>,
    /// The key of a market in `ids`: its names and the lengths of the first two, so that no two markets share
    /// one.
    scratch: Vec<u8>,
    headers: LastHeaders,
}

/// What the decoder reads from a record's headers: the quote currency and, for a history, the range of event
/// times that it fills.
#[derive(Debug, Default)]
struct Headers {
    quote: Option<String>,
    fill_from: Option<Micros>,
    fill_to: Option<Micros>,
}

impl Headers {
    fn parse(text: &str) -> Self {
        let object: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        let time = |name| object.get(name).and_then(Value::as_i64);
        Self {
            quote: object.get("quote").and_then(Value::as_str).map(str::to_owned),
            fill_from: time("fill_from"),
            fill_to: time("fill_to"),
        }
    }
}

/// The headers that were parsed last, with their text: consecutive records mostly have the same.
#[derive(Debug, Default)]
struct LastHeaders {
    text: String,
    headers: Headers,
}

impl LastHeaders {
    fn of(&mut self, record: RecordRef<'_>) -> Option<&Headers> {
        let text = record.headers?;
        if self.text != text {
            *self = Self { text: text.to_owned(), headers: Headers::parse(text) };
        }
        Some(&self.headers)
    }
}

/// A point of a history: its time and its value.
type Point<'a> = (&'a RawValue, &'a RawValue);

impl Decoder {
    /// The markets found so far; [`Tick::market`] is an index into them.
    pub fn markets(&self) -> Arc<Vec<Arc<Market>>> {
        Arc::clone(&self.markets)
    }

    /// Decodes one record that came in at `ingested_at`: its valid ticks go to `ticks`, its rejects to
    /// `rejects`.
    pub fn decode(
        &mut self,
        record: RecordRef<'_>,
        ingested_at: Micros,
        ticks: &mut Vec<Tick>,
        rejects: &mut Vec<Reject>,
    ) {
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

    fn tick(
        &mut self,
        record: RecordRef<'_>,
        fields: &Fields<'_>,
        ingested_at: Micros,
    ) -> Result<Tick, Reason> {
        let market = self.market(record, fields)?;
        let price = price(first([fields.price, fields.current_price]))?;
        let event_time =
            time(first([fields.event_time, fields.last_updated, fields.timestamp]), latest(ingested_at))?;
        let size = match first([fields.size]) {
            None => None,
            raw => Some(number(raw).map_err(|_| Reason::SizeNotNumber)?),
        };
        let trade_id =
            first([fields.trade_id]).map(|raw| TradeId::parse(&string(raw).unwrap_or(Cow::Borrowed(raw))));
        let symbol = fields.symbol.and_then(string);
        symbol.as_deref().map_or(Ok(()), check_name)?;
        let details = Details {
            symbol: symbol.map(Into::into),
            volume_24h: number(first([fields.volume_24h, fields.total_volume])).ok(),
            market_cap: number(fields.market_cap).ok(),
            price_change_24h: number(fields.price_change_24h).ok(),
            price_change_pct_24h: number(fields.price_change_pct_24h).ok(),
            high_24h: number(fields.high_24h).ok(),
            low_24h: number(fields.low_24h).ok(),
        };
        Ok(Tick {
            market,
            index: 0,
            offset: record.offset,
            event_time,
            price,
            size,
            trade_id,
            details: boxed(details),
            ingested_at,
        })
    }

    /// `CoinGecko`'s `market_chart`: one record, many ticks. Points outside the range that the record fills
    /// are skipped.
    fn history(
        &mut self,
        record: RecordRef<'_>,
        fields: &Fields<'_>,
        ingested_at: Micros,
        ticks: &mut Vec<Tick>,
        rejects: &mut Vec<Reject>,
    ) {
        let offset = record.offset;
        let market = match self.market(record, fields) {
            Ok(market) => market,
            Err(reason) => return rejects.push(Reject { offset, index: 0, reason }),
        };
        let (from, to) =
            self.headers.of(record).map_or((None, None), |headers| (headers.fill_from, headers.fill_to));
        let range = from.unwrap_or(Micros::MIN)..to.unwrap_or(Micros::MAX);
        let (caps, volumes) = (values(fields.market_caps), values(fields.total_volumes));
        let tick = |index: i32, point: &RawValue| -> Result<Option<Tick>, Reason> {
            let (at, value) =
                serde_json::from_str::<Point<'_>>(point.get()).map_err(|_| Reason::PriceMissing)?;
            let at = first([Some(at.get())]);
            if !range.contains(&time(at, Micros::MAX)?) {
                return Ok(None);
            }
            let event_time = time(at, latest(ingested_at))?;
            let price = price(Some(value.get()))?;
            let of = |values: &[Option<f64>]| values.get(usize::try_from(index).ok()?).copied().flatten();
            let details =
                boxed(Details { volume_24h: of(&volumes), market_cap: of(&caps), ..Details::default() });
            Ok(Some(Tick {
                market,
                index,
                offset,
                event_time,
                price,
                size: None,
                trade_id: None,
                details,
                ingested_at,
            }))
        };
        let mut index = 0;
        each_point(fields.prices, |point| {
            match tick(index, point) {
                Ok(tick) => ticks.extend(tick),
                Err(reason) => rejects.push(Reject { offset, index, reason }),
            }
            index += 1;
        });
        if index == 0 {
            rejects.push(Reject { offset, index, reason: Reason::NoTicks });
        }
    }

    /// The index of a record's market, which is added if it is new.
    fn market(&mut self, record: RecordRef<'_>, fields: &Fields<'_>) -> Result<u32, Reason> {
        let coin_id = match first([fields.coin_id, fields.id]) {
            Some(raw) => string(raw).ok_or(Reason::CoinMissing)?,
            None => Cow::Borrowed(record.key.ok_or(Reason::CoinMissing)?),
        };
        let coin_id = lower_case(coin_id.trim());
        if coin_id.is_empty() {
            return Err(Reason::CoinMissing);
        }
        let source = fields.source.and_then(string).unwrap_or(Cow::Borrowed(record.source));
        let stated = fields.quote.and_then(string);
        let quote = lower_case(match &stated {
            Some(quote) => quote,
            None => self.headers.of(record).and_then(|headers| headers.quote.as_deref()).unwrap_or("usd"),
        });
        let names = [&*source, &*coin_id, &*quote];
        self.scratch.clear();
        names.into_iter().for_each(|name| self.scratch.extend_from_slice(name.as_bytes()));
        self.scratch.extend_from_slice([source.len(), coin_id.len()].map(usize::to_le_bytes).as_flattened());
        if let Some(&id) = self.ids.get(self.scratch.as_slice()) {
            return Ok(id);
        }
        names.into_iter().try_for_each(check_name)?;
        let id = u32::try_from(self.markets.len()).expect("fewer than 2^32 markets");
        Arc::make_mut(&mut self.markets).push(Arc::new(Market::new(&source, &coin_id, &quote)));
        self.ids.insert(self.scratch.as_slice().into(), id);
        Ok(id)
    }

    /// Decodes a sequence of about `count` records into a batch of ticks and its rejects.
    pub fn decode_all<'a>(
        &mut self,
        count: usize,
        records: impl Iterator<Item = (RecordRef<'a>, Micros)>,
    ) -> (Ticks, Vec<Reject>) {
        let (mut ticks, mut rejects) = (Vec::with_capacity(count), Vec::new());
        for (record, ingested_at) in records {
            self.decode(record, ingested_at, &mut ticks, &mut rejects);
        }
        (Ticks { markets: self.markets(), ticks }, rejects)
    }
}

/// The latest event time that a record may hold.
fn latest(ingested_at: Micros) -> Micros {
    ingested_at.saturating_add(MAX_AHEAD)
}

fn boxed(details: Details) -> Option<Box<Details>> {
    (details != Details::default()).then(|| Box::new(details))
}

fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|b| b.is_ascii_uppercase() || !b.is_ascii()) {
        name.to_lowercase().into()
    } else {
        name.into()
    }
}

fn check_name(name: &str) -> Result<(), Reason> {
    if name.len() > MAX_NAME {
        return Err(Reason::NameTooLong);
    }
    if name.chars().any(char::is_control) { Err(Reason::NameHasControls) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
