//! The gold table: one row per market and minute that has ticks, the exact aggregation of silver's ticks.

mod history;
mod slice;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use deltalake::arrow::array::{Array as _, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use deltalake::arrow::error::ArrowError;
use deltalake::kernel::Add;

use super::columns::Columns;
use super::parquet::{assemble, times};
use super::{DataFile, LakeError, Table, TableContext as _, TableKind};
use crate::market::window::ClosedCandle;
use crate::market::{Candle, MINUTE, Market, Micros, by_date};

pub use history::as_closed;
#[cfg(test)]
pub(super) use history::tests;
pub(super) use history::{History, arrival};
pub use slice::{Slice, closed_after, slice_after};

pub(super) fn batch(rows: &[&ClosedCandle]) -> Result<RecordBatch, ArrowError> {
    let doubles = |pick: fn(&Candle) -> f64| -> ArrayRef {
        Arc::new(rows.iter().map(|r| Some(pick(&r.candle))).collect::<Float64Array>())
    };
    let names = |pick: fn(&Market) -> &str| -> ArrayRef {
        Arc::new(rows.iter().map(|r| Some(pick(&r.market))).collect::<StringArray>())
    };
    assemble(
        TableKind::Gold,
        [
            ("window_start", times(rows.iter().map(|r| r.candle.window_start))),
            ("window_end", times(rows.iter().map(|r| r.candle.window_end))),
            ("coin_id", names(|m| &m.coin_id)),
            ("source", names(|m| &m.source)),
            ("quote", names(|m| &m.quote)),
            ("open_price", doubles(|c| c.open)),
            ("max_price", doubles(|c| c.high)),
            ("min_price", doubles(|c| c.low)),
            ("close_price", doubles(|c| c.close)),
            ("avg_price", doubles(|c| c.avg)),
            ("volume", Arc::new(rows.iter().map(|r| r.candle.volume).collect::<Float64Array>())),
            ("tick_count", Arc::new(rows.iter().map(|r| Some(r.candle.ticks)).collect::<Int64Array>())),
            ("price_change", doubles(Candle::change)),
            ("price_change_pct", doubles(Candle::change_pct)),
            ("volatility_pct", doubles(Candle::volatility_pct)),
            ("first_event_time", times(rows.iter().map(|r| r.first_event_time))),
            ("last_event_time", times(rows.iter().map(|r| r.last_event_time))),
            ("closed_at", times(rows.iter().map(|r| r.closed_at))),
            ("closed_in", Arc::new(rows.iter().map(|r| Some(r.closed_in)).collect::<Int64Array>())),
        ],
    )
}

/// Writes rows to data files, one per date, ordered by (window start, market), to be committed.
pub async fn write(table: &Table, rows: &[ClosedCandle]) -> Result<Vec<Add>, LakeError> {
    let mut adds = Vec::new();
    for (date, mut rows) in by_date(rows, |row| row.candle.window_start) {
        rows.sort_by(|a, b| (a.candle.window_start, &a.market).cmp(&(b.candle.window_start, &b.market)));
        let batch = batch(&rows).when("write", TableKind::Gold)?;
        adds.push(table.write(Some(&date), &batch).await?);
    }
    Ok(adds)
}

/// The rows of one file, in the file's order.
pub async fn read(table: &Table, file: &DataFile) -> Result<Vec<ClosedCandle>, LakeError> {
    rows(file, table.read(file, None).await?)
}

pub(super) fn rows(file: &DataFile, batches: Vec<RecordBatch>) -> Result<Vec<ClosedCandle>, LakeError> {
    let mut rows = Vec::new();
    let mut markets: HashMap<[String; 3], Arc<Market>> = HashMap::new();
    for batch in batches {
        let columns = Columns { table: TableKind::Gold, file, batch: &batch };
        let (coin, source, quote) =
            (columns.text("coin_id")?, columns.text("source")?, columns.text("quote")?);
        let (start, end) = (columns.time("window_start")?, columns.time("window_end")?);
        let (open, high, low, close) = (
            columns.double("open_price")?,
            columns.double("max_price")?,
            columns.double("min_price")?,
            columns.double("close_price")?,
        );
        let (avg, volume, ticks) =
            (columns.double("avg_price")?, columns.double("volume")?, columns.long("tick_count")?);
        let (first, last, closed_at, closed_in) = (
            columns.time("first_event_time")?,
            columns.time("last_event_time")?,
            columns.time("closed_at")?,
            columns.long("closed_in")?,
        );
        for i in 0..batch.num_rows() {
            let names = [source.value(i).to_owned(), coin.value(i).to_owned(), quote.value(i).to_owned()];
            let market = markets
                .entry(names)
                .or_insert_with_key(|[source, coin, quote]| Arc::new(Market::new(source, coin, quote)));
            rows.push(ClosedCandle {
                market: Arc::clone(market),
                candle: Candle {
                    window_start: start.value(i),
                    window_end: end.value(i),
                    open: open.value(i),
                    high: high.value(i),
                    low: low.value(i),
                    close: close.value(i),
                    avg: avg.value(i),
                    volume: volume.is_valid(i).then(|| volume.value(i)),
                    ticks: ticks.value(i),
                    closed: true,
                },
                first_event_time: first.value(i),
                last_event_time: last.value(i),
                closed_at: closed_at.value(i),
                closed_in: closed_in.value(i),
            });
        }
    }
    Ok(rows)
}

/// The files that hold rows of the `wanted` windows, each with all of its rows.
pub async fn files_with(
    table: &Table,
    wanted: &BTreeMap<(Arc<Market>, Micros), Micros>,
) -> Result<Vec<(Arc<DataFile>, Vec<ClosedCandle>)>, LakeError> {
    let starts: BTreeSet<Micros> = wanted.keys().map(|(_, start)| *start).collect();
    let mut found = Vec::new();
    for file in table.files() {
        if file.times("window_start").is_none_or(|(min, max)| starts.range(min..=max).next().is_some()) {
            let rows = read(table, file).await?;
            if rows.iter().any(|row| wanted.contains_key(&row.key())) {
                found.push((Arc::clone(file), rows));
            }
        }
    }
    Ok(found)
}

/// The newest window end of each of these markets; no entry for a market without rows.
pub async fn newest_ends(
    table: &Table,
    markets: &HashSet<Arc<Market>>,
) -> Result<HashMap<Arc<Market>, Micros>, LakeError> {
    let mut files: Vec<_> = table.files().collect();
    files.sort_by_key(|file| {
        std::cmp::Reverse(file.times("window_start").map_or(Micros::MAX, |(_, max)| max))
    });
    let mut ends: HashMap<Arc<Market>, Micros> = HashMap::new();
    for file in files {
        let (_, newest) = file.times("window_start").unwrap_or((Micros::MIN, Micros::MAX - MINUTE));
        let open = |market: &&Arc<Market>| {
            ends.get(*market).is_none_or(|end| *end < newest + MINUTE) && file.may_hold_market(market)
        };
        if !markets.iter().any(|market| open(&market)) {
            continue;
        }
        for row in read(table, file).await? {
            if markets.contains(&row.market) {
                let end = ends.entry(row.market).or_insert(row.candle.window_end);
                *end = row.candle.window_end.max(*end);
            }
        }
    }
    Ok(ends)
}
