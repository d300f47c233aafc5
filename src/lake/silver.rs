//! The silver table: valid ticks, without duplicates.

mod lookup;
mod parts;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Datelike as _};
use deltalake::arrow::array::{
    Array as _, ArrayRef, Float64Array, Int32Array, Int64Array, PrimitiveArray, RecordBatch, StringArray,
    StringBuilder,
};
use deltalake::arrow::datatypes::ArrowPrimitiveType;
use deltalake::arrow::error::ArrowError;
use deltalake::kernel::Add;

use super::columns::Columns;
use super::parquet::{assemble, constant_integer, constant_text, text_codes, times};
use super::{DataFile, LakeError, Table, TableContext as _, TableKind};
use crate::market::window::Place;
use crate::market::{DAY, Details, HOUR, Market, Stream, Tick, Ticks, TradeId, by_date, time::floor};

pub use lookup::{aggregate, keys_since, known, scan};
pub use parts::{Part, TickBatch, read_on};

/// The rows of ticks that are of one event date; `batch` has their markets.
pub(super) fn rows(stream: &Stream, batch: &Ticks, ticks: &[&Tick]) -> Result<RecordBatch, ArrowError> {
    let count = ticks.len();
    // Only the names that these ticks use: Parquet's statistics cover all values of a dictionary.
    let mut markets: Vec<&Market> = Vec::new();
    let mut numbers: Vec<Option<i32>> = vec![None; batch.markets.len()];
    let codes = Int32Array::from_iter_values(ticks.iter().map(|tick| {
        *numbers[tick.market as usize].get_or_insert_with(|| {
            markets.push(batch.market(tick));
            i32::try_from(markets.len() - 1).unwrap_or(i32::MAX)
        })
    }));
    let names = |pick: fn(&Market) -> &str| {
        text_codes(codes.clone(), markets.iter().map(|market| Some(pick(market))).collect::<StringArray>())
    };
    let doubles = |pick: fn(&Tick) -> Option<f64>| -> ArrayRef {
        Arc::new(ticks.iter().map(|tick| pick(tick)).collect::<Float64Array>())
    };
    let detail = |pick: fn(&Details) -> Option<f64>| -> ArrayRef {
        Arc::new(ticks.iter().map(|tick| tick.details.as_deref().and_then(pick)).collect::<Float64Array>())
    };
    let (mut symbols, mut trade_ids) = (StringBuilder::new(), StringBuilder::with_capacity(count, count * 8));
    let mut number = String::new();
    for tick in ticks {
        symbols.append_option(tick.details.as_deref().and_then(|details| details.symbol.as_deref()));
        match &tick.trade_id {
            None => trade_ids.append_null(),
            Some(TradeId::Text(text)) => trade_ids.append_value(text),
            Some(TradeId::Number(n)) => {
                use std::fmt::Write as _;
                number.clear();
                write!(number, "{n}").expect("writing to a string cannot fail");
                trade_ids.append_value(&number);
            }
        }
    }
    let midnight = floor(ticks.first().map_or(0, |tick| tick.event_time), DAY);
    debug_assert!(
        ticks.iter().all(|tick| floor(tick.event_time, DAY) == midnight),
        "the rows of a file have one event date"
    );
    let day = DateTime::from_timestamp_micros(midnight).unwrap_or_default();
    let calendar = |value: u32| constant_integer(i32::try_from(value).unwrap_or(0), count);
    let hours = ticks.iter().map(|tick| i32::try_from((tick.event_time - midnight) / HOUR).unwrap_or(0));
    assemble(
        TableKind::Silver,
        [
            ("coin_id", names(|m| &m.coin_id)),
            ("symbol", Arc::new(symbols.finish())),
            ("source", names(|m| &m.source)),
            ("quote", names(|m| &m.quote)),
            ("price", doubles(|tick| Some(tick.price))),
            ("size", doubles(|tick| tick.size)),
            ("trade_id", Arc::new(trade_ids.finish())),
            (
                "sequence",
                Arc::new(
                    ticks
                        .iter()
                        .map(|tick| tick.trade_id.as_ref()?.sequence()?.number())
                        .collect::<Int64Array>(),
                ),
            ),
            ("volume_24h", detail(|d| d.volume_24h)),
            ("market_cap", detail(|d| d.market_cap)),
            ("price_change_24h", detail(|d| d.price_change_24h)),
            ("price_change_pct_24h", detail(|d| d.price_change_pct_24h)),
            ("high_24h", detail(|d| d.high_24h)),
            ("low_24h", detail(|d| d.low_24h)),
            ("event_time", times(ticks.iter().map(|tick| tick.event_time))),
            ("ingested_at", times(ticks.iter().map(|tick| tick.ingested_at))),
            ("topic", constant_text(&stream.topic, count)),
            ("partition", constant_integer(stream.partition, count)),
            ("offset", Arc::new(Int64Array::from_iter_values(ticks.iter().map(|tick| tick.offset)))),
            ("index", Arc::new(Int32Array::from_iter_values(ticks.iter().map(|tick| tick.index)))),
            ("year", constant_integer(day.year(), count)),
            ("month", calendar(day.month())),
            ("day", calendar(day.day())),
            ("hour", Arc::new(Int32Array::from_iter_values(hours))),
        ],
    )
}

/// Most rows of a file: a batch of a few long histories can have millions.
const FILE_ROWS: usize = 1 << 20;

/// Writes ticks to data files, one per event date (more for very many ticks), to be committed.
pub async fn write(table: &Table, stream: &Stream, batch: &Ticks) -> Result<Vec<Add>, LakeError> {
    let mut adds = Vec::new();
    for (date, ticks) in by_date(&batch.ticks, |tick| tick.event_time) {
        for ticks in ticks.chunks(FILE_ROWS) {
            let rows = tokio::task::block_in_place(|| rows(stream, batch, ticks))
                .when("write", TableKind::Silver)?;
            adds.push(table.write(Some(&date), &rows).await?);
        }
    }
    Ok(adds)
}

/// The columns that a [`TickRow`] is read from.
const TICK_COLUMNS: [&str; 15] = [
    "coin_id",
    "symbol",
    "source",
    "quote",
    "price",
    "size",
    "trade_id",
    "volume_24h",
    "price_change_pct_24h",
    "event_time",
    "ingested_at",
    "topic",
    "partition",
    "offset",
    "index",
];

/// Reads ticks, which share the names of their markets and streams.
#[derive(Debug, Default)]
pub struct Reader {
    markets: HashMap<[Box<str>; 3], Arc<Market>>,
    streams: HashSet<Arc<Stream>>,
}

/// A row of silver.
#[derive(Debug, Clone)]
pub struct TickRow {
    pub market: Arc<Market>,
    /// Its rank among the market's ticks, with its stream and offset.
    pub place: Place,
    /// [`Tick::market`] is not set.
    pub tick: Tick,
}

impl Reader {
    /// Passes the rows of a file to `take`, in the file's order.
    pub async fn rows(
        &mut self,
        table: &Table,
        file: &DataFile,
        mut take: impl FnMut(TickRow),
    ) -> Result<(), LakeError> {
        for batch in table.read(file, Some(&TICK_COLUMNS)).await? {
            let columns = Columns { table: TableKind::Silver, file, batch: &batch };
            let (coin, source) = (columns.text("coin_id")?, columns.text("source")?);
            let (quote, symbol) = (columns.text("quote")?, columns.text("symbol")?);
            let (price, size) = (columns.double("price")?, columns.double("size")?);
            let trade_id = columns.text("trade_id")?;
            let volume = columns.double("volume_24h")?;
            let change = columns.double("price_change_pct_24h")?;
            let (event_time, ingested_at) = (columns.time("event_time")?, columns.time("ingested_at")?);
            let (topic, partition) = (columns.text("topic")?, columns.integer("partition")?);
            let (offset, index) = (columns.long("offset")?, columns.integer("index")?);
            for i in 0..batch.num_rows() {
                let market = self.market(source.value(i), coin.value(i), quote.value(i));
                let stream = self.stream(topic.value(i), partition.value(i));
                let symbol = symbol.is_valid(i).then(|| symbol.value(i).into());
                let details = Details {
                    symbol,
                    volume_24h: option(volume, i),
                    price_change_pct_24h: option(change, i),
                    ..Details::default()
                };
                let tick = Tick {
                    market: 0,
                    index: index.value(i),
                    offset: offset.value(i),
                    event_time: event_time.value(i),
                    price: price.value(i),
                    size: option(size, i),
                    trade_id: trade_id.is_valid(i).then(|| TradeId::parse(trade_id.value(i))),
                    details: (details != Details::default()).then(|| Box::new(details)),
                    ingested_at: ingested_at.value(i),
                };
                take(TickRow { market, place: Place::of(&stream, &tick), tick });
            }
        }
        Ok(())
    }

    fn market(&mut self, source: &str, coin: &str, quote: &str) -> Arc<Market> {
        let names = [source.into(), coin.into(), quote.into()];
        Arc::clone(self.markets.entry(names).or_insert_with(|| Arc::new(Market::new(source, coin, quote))))
    }

    fn stream(&mut self, topic: &str, partition: i32) -> Arc<Stream> {
        let stream = Stream::new(topic, partition);
        if let Some(known) = self.streams.get(&stream) {
            return Arc::clone(known);
        }
        let stream = Arc::new(stream);
        self.streams.insert(Arc::clone(&stream));
        stream
    }
}

fn option<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, i: usize) -> Option<T::Native> {
    column.is_valid(i).then(|| column.value(i))
}

#[cfg(test)]
mod tests {
    use deltalake::arrow::array::AsArray as _;

    use super::*;
    use crate::market::decode::Decoder;
    use crate::market::{RecordRef, Records};

    #[test]
    fn a_file_names_only_the_markets_of_its_ticks() {
        let mut records = Records::new();
        for (offset, coin) in (0..).zip(["a", "b", "c", "b"]) {
            let value =
                format!(r#"{{"coin_id":"{coin}","price":1,"event_time":{}}}"#, 1_747_008_000 + offset);
            records.push(RecordRef {
                offset,
                key: None,
                value: value.as_bytes(),
                source: "s",
                headers: None,
                produced_at: 0,
            });
        }
        let (batch, _) =
            Decoder::default().decode_all(4, records.iter().map(|record| (record, 1_800_000_000_000_000)));
        let ticks: Vec<&Tick> = batch.ticks.iter().skip(1).filter(|tick| tick.offset != 2).collect();
        let rows = rows(&Stream::direct(), &batch, &ticks).unwrap();
        let coins = rows.column_by_name("coin_id").unwrap().as_any_dictionary();
        assert_eq!(coins.values().as_string::<i32>().iter().collect::<Vec<_>>(), [Some("b")]);
        assert_eq!((coins.len(), coins.null_count()), (2, 0));
    }
}
