//! The silver table: valid ticks, each once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Datelike as _, Timelike as _};
use deltalake::arrow::array::{
    Array, ArrayRef, AsArray as _, Float64Array, Int32Array, Int64Array, PrimitiveArray, RecordBatch,
    StringArray, StringBuilder,
};
use deltalake::arrow::datatypes::{
    ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use deltalake::arrow::error::ArrowError;
use deltalake::kernel::Add;

use super::parquet::{assemble, constant_integer, constant_text, text_codes, times};
use super::quarantine::by_date;
use super::{DataFile, LakeError, Table, TableContext as _, TableKind};
use crate::market::dedup::TickKey;
use crate::market::window::{Aggregation, Place, window_start};
use crate::market::{DAY, Details, MINUTE, Market, Micros, Stream, Tick, Ticks, TradeId};

/// Ticks of one stream as silver hands them on: committed, in position order.
#[derive(Debug)]
pub struct TickBatch {
    /// Where their records stand.
    pub stream: Arc<Stream>,
    /// The ticks.
    pub ticks: Ticks,
    /// The last offset that was read to make them.
    pub last: i64,
}

pub(super) fn rows(stream: &Stream, batch: &Ticks, ticks: &[&Tick]) -> Result<RecordBatch, ArrowError> {
    let count = ticks.len();
    // Only the names that these ticks use: all of a file's dictionary counts for the file's statistics.
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
                write!(number, "{n}").expect("a string takes all");
                trade_ids.append_value(&number);
            }
        }
    }
    let day =
        DateTime::from_timestamp_micros(ticks.first().map_or(0, |tick| tick.event_time)).unwrap_or_default();
    let calendar = |value: u32| constant_integer(i32::try_from(value).unwrap_or(0), count);
    let hours =
        ticks.iter().map(|tick| i32::try_from(tick.event_time.rem_euclid(DAY) / (60 * MINUTE)).unwrap_or(0));
    debug_assert!(
        ticks.iter().all(|tick| tick.event_time.div_euclid(DAY) == day.timestamp().div_euclid(86_400)),
        "{}",
        day.hour()
    );
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

/// Rows of a file at most: a batch of a few long histories can have millions.
const FILE_ROWS: usize = 1 << 20;

/// Writes ticks to data files, one an event date (or more where there are very many), to be committed.
///
/// # Errors
/// What the storage says.
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

/// The columns that tell one tick from another and order them.
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

/// Reads ticks back, sharing the names of markets and streams between them.
#[derive(Debug, Default)]
pub struct Reader {
    markets: HashMap<[Box<str>; 3], Arc<Market>>,
    streams: HashSet<Arc<Stream>>,
}

/// A tick as it stands in silver.
#[derive(Debug, Clone)]
pub struct TickRow {
    /// Its market.
    pub market: Arc<Market>,
    /// Its place among the market's ticks, with its position.
    pub place: Place,
    /// The tick ([`Tick::market`] is not set).
    pub tick: Tick,
}

impl Reader {
    /// Hands the rows of a file to `take`, in the file's order.
    ///
    /// # Errors
    /// What the storage says.
    pub async fn rows(
        &mut self,
        table: &Table,
        file: &DataFile,
        mut take: impl FnMut(TickRow),
    ) -> Result<(), LakeError> {
        for batch in table.read(file, Some(&TICK_COLUMNS)).await? {
            let column = |name: &str| {
                let missing = || LakeError::Corrupt {
                    table: TableKind::Silver,
                    what: format!("{} without {name}", file.path()),
                };
                batch.column_by_name(name).ok_or_else(missing)
            };
            let (coin, source, quote) = (
                column("coin_id")?.as_string::<i32>(),
                column("source")?.as_string::<i32>(),
                column("quote")?.as_string::<i32>(),
            );
            let (price, size) = (
                column("price")?.as_primitive::<Float64Type>(),
                column("size")?.as_primitive::<Float64Type>(),
            );
            let (trade_id, symbol) =
                (column("trade_id")?.as_string::<i32>(), column("symbol")?.as_string::<i32>());
            let volume = column("volume_24h")?.as_primitive::<Float64Type>();
            let change = column("price_change_pct_24h")?.as_primitive::<Float64Type>();
            let event_time = column("event_time")?.as_primitive::<TimestampMicrosecondType>();
            let ingested_at = column("ingested_at")?.as_primitive::<TimestampMicrosecondType>();
            let (topic, partition) =
                (column("topic")?.as_string::<i32>(), column("partition")?.as_primitive::<Int32Type>());
            let (offset, index) =
                (column("offset")?.as_primitive::<Int64Type>(), column("index")?.as_primitive::<Int32Type>());
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

/// A part of a stream that is to be read: `after + 1 ..= to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The stream.
    pub stream: Arc<Stream>,
    /// The last offset that was read.
    pub after: i64,
    /// The last offset to be read.
    pub to: i64,
}

/// Reads on in some parts, in the order in which their records came in, and moves them on; those that were
/// read to their end go. Reads about `most` offsets at once. Of two streams that were ingested in turn, the
/// second would be late as a whole if it were read after the first.
///
/// # Errors
/// What the storage says.
pub async fn read_on(table: &Table, parts: &mut Vec<Part>, most: i64) -> Result<Vec<TickBatch>, LakeError> {
    // Parts that begin after the first one has ended wait for their turn.
    parts.sort_by_cached_key(|part| came_in(table, part));
    let until = parts.first().map_or(Micros::MAX, |part| came_in(table, part).1);
    let turn = parts.iter().position(|part| came_in(table, part).0 > until).unwrap_or(parts.len());
    let later = parts.get(turn).map_or(Micros::MAX, |part| came_in(table, part).0 - 1);
    let each = (most / i64::try_from(turn).unwrap_or(1).max(1)).max(1);
    let windows: Vec<Part> = parts[..turn]
        .iter()
        .map(|part| Part { to: part.to.min(part.after.saturating_add(each)), ..part.clone() })
        .collect();
    let mut rows = rows_of(table, &windows).await?;
    // Beyond the end of a window that is cut short lies what came in later than its last row.
    let newest = |rows: &Vec<TickRow>| rows.iter().map(|row| row.tick.ingested_at).max();
    let is_cut = |i: usize| windows[i].to < parts[i].to;
    let cut = rows.iter().enumerate().filter(|(i, _)| is_cut(*i)).filter_map(|(_, rows)| newest(rows)).min();
    let limit = later.min(cut.unwrap_or(Micros::MAX));
    let mut ordered = Vec::new();
    let mut read = Vec::new();
    for (i, rows) in rows.iter_mut().enumerate() {
        let whole = rows.iter().position(|row| row.tick.ingested_at > limit).unwrap_or(rows.len());
        read.push(rows.get(whole).map_or(windows[i].to, |row| row.tick.offset - 1));
        let mut came_in = Micros::MIN; // a clock that was set back does not reorder a stream
        ordered.extend(rows.drain(..whole).map(|row| {
            came_in = row.tick.ingested_at.max(came_in);
            (came_in, i, row)
        }));
    }
    ordered.sort_by_key(|(came_in, i, _)| (*came_in, *i));
    let mut batches: Vec<(usize, TickBatch)> = Vec::new();
    let (mut ids, mut markets) = (HashMap::new(), Vec::new());
    for (_, i, TickRow { market, tick, .. }) in ordered {
        let id = *ids.entry(Arc::clone(&market)).or_insert_with(|| {
            markets.push(market);
            u32::try_from(markets.len() - 1).unwrap_or(u32::MAX)
        });
        if batches.last().is_none_or(|(last, _)| *last != i) {
            batches.push((
                i,
                TickBatch { stream: Arc::clone(&windows[i].stream), ticks: Ticks::default(), last: -1 },
            ));
        }
        let Some((_, batch)) = batches.last_mut() else { continue };
        batch.last = tick.offset;
        batch.ticks.ticks.push(Tick { market: id, ..tick });
    }
    let markets = Arc::new(markets);
    batches.iter_mut().for_each(|(_, batch)| batch.ticks.markets = Arc::clone(&markets));
    for (i, part) in parts[..turn].iter_mut().enumerate() {
        match batches.iter_mut().rev().find(|(of, _)| *of == i) {
            Some((_, batch)) => batch.last = read[i],
            None => batches.push((
                i,
                TickBatch { stream: Arc::clone(&part.stream), ticks: Ticks::default(), last: read[i] },
            )),
        }
        part.after = read[i];
    }
    parts.retain(|part| part.after < part.to);
    Ok(batches.into_iter().map(|(_, batch)| batch).collect())
}

/// Bounds of the times at which the ticks of a part came in.
fn came_in(table: &Table, part: &Part) -> (Micros, Micros) {
    let files = table
        .files()
        .filter(|file| file.may_hold_offsets(&part.stream, part.after.saturating_add(1), part.to));
    let times = files.map(|file| file.times("ingested_at").unwrap_or((Micros::MIN + 1, Micros::MAX)));
    times
        .reduce(|(first, last), (from, to)| (from.min(first), to.max(last)))
        .unwrap_or((Micros::MIN + 1, Micros::MIN + 1))
}

/// The rows of some parts, each part's in order of position.
async fn rows_of(table: &Table, parts: &[Part]) -> Result<Vec<Vec<TickRow>>, LakeError> {
    let mut reader = Reader::default();
    let mut rows: Vec<Vec<TickRow>> = parts.iter().map(|_| Vec::new()).collect();
    let may_hold = |file: &&Arc<DataFile>| {
        parts.iter().any(|part| file.may_hold_offsets(&part.stream, part.after.saturating_add(1), part.to))
    };
    for file in table.files().filter(may_hold) {
        reader
            .rows(table, file, |row| {
                let holds = |part: &Part| {
                    row.place.stream == part.stream
                        && row.tick.offset > part.after
                        && row.tick.offset <= part.to
                };
                if let Some(i) = parts.iter().position(holds) {
                    rows[i].push(row);
                }
            })
            .await?;
    }
    rows.iter_mut().for_each(|rows| rows.sort_by_key(|row| (row.tick.offset, row.tick.index)));
    Ok(rows)
}

/// The sums of some windows, from all that silver has of them.
///
/// # Errors
/// What the storage says.
pub async fn aggregate(
    table: &Table,
    wanted: &BTreeSet<(Arc<Market>, Micros)>,
) -> Result<Aggregation, LakeError> {
    let mut sums = Aggregation::default();
    scan(table, wanted, |row| sums.add(&row.market, row.place, row.tick.price, row.tick.size)).await?;
    Ok(sums)
}

/// Hands every tick of some windows to `take`, in no particular order.
///
/// # Errors
/// What the storage says.
pub async fn scan(
    table: &Table,
    wanted: &BTreeSet<(Arc<Market>, Micros)>,
    mut take: impl FnMut(TickRow),
) -> Result<(), LakeError> {
    let starts: BTreeSet<Micros> = wanted.iter().map(|(_, start)| *start).collect();
    let mut reader = Reader::default();
    for file in table.files() {
        let inside = |(min, max): (Micros, Micros)| starts.range(window_start(min)..=max).next().is_some();
        if file.times("event_time").is_none_or(inside) {
            reader
                .rows(table, file, |row| {
                    let start = window_start(row.tick.event_time);
                    if starts.contains(&start) && wanted.contains(&(Arc::clone(&row.market), start)) {
                        take(row);
                    }
                })
                .await?;
        }
    }
    Ok(())
}

/// All keys that silver has of some markets, of each at or after its own time.
///
/// # Errors
/// What the storage says.
pub async fn keys_since(
    table: &Table,
    from: &HashMap<Arc<Market>, Micros>,
) -> Result<HashMap<Arc<Market>, Vec<TickKey>>, LakeError> {
    let mut keys: HashMap<Arc<Market>, Vec<TickKey>> = HashMap::new();
    let mut reader = Reader::default();
    for file in table.files() {
        let may_hold = |(market, from): (&Arc<Market>, &Micros)| {
            file.times("event_time").is_none_or(|(_, max)| max >= *from)
                && file.may_hold_text("source", &market.source)
                && file.may_hold_text("coin_id", &market.coin_id)
                && file.may_hold_text("quote", &market.quote)
        };
        if from.iter().any(may_hold) {
            reader
                .rows(table, file, |row| {
                    if from.get(&row.market).is_some_and(|from| row.tick.event_time >= *from) {
                        keys.entry(row.market).or_default().push(TickKey::of(&row.tick));
                    }
                })
                .await?;
        }
    }
    Ok(keys)
}

/// Those of `asked` that silver has.
///
/// # Errors
/// What the storage says.
pub async fn known(
    table: &Table,
    asked: &HashSet<(Arc<Market>, TickKey)>,
) -> Result<HashSet<(Arc<Market>, TickKey)>, LakeError> {
    let times: BTreeSet<Micros> = asked.iter().map(|(_, key)| key.event_time()).collect();
    let mut found = HashSet::new();
    let mut reader = Reader::default();
    for file in table.files() {
        if file.times("event_time").is_none_or(|(min, max)| times.range(min..=max).next().is_some()) {
            reader
                .rows(table, file, |row| {
                    if times.contains(&row.tick.event_time) {
                        let key = (row.market, TickKey::of(&row.tick));
                        if asked.contains(&key) {
                            found.insert(key);
                        }
                    }
                })
                .await?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
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
