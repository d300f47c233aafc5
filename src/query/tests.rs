//! Golden tests: small tables, written as the pipeline writes them, and the answer of every query.

mod candles;
mod markets;
mod sql;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use deltalake::arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use deltalake::arrow::datatypes::DataType;

use super::*;
use crate::lake::DataFile;
use crate::lake::Table;
use crate::lake::table::{Change, Commit};
use crate::market::{DAY, HOUR, MINUTE, date, rfc3339};

/// 2025-05-12T00:00:00Z, a Monday.
const START: Micros = 1_747_008_000_000_000;

/// A row as (column, value); columns that are not named are null.
type Cells = Vec<(&'static str, Cell)>;

#[derive(Clone)]
enum Cell {
    Text(String),
    Long(i64),
    Double(f64),
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Long(value)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Double(value)
    }
}

macro_rules! cells {
    ($($name:ident: $value:expr),* $(,)?) => { vec![$((stringify!($name), Cell::from($value))),*] };
}
use cells;

fn batch(kind: TableKind, rows: &[Cells]) -> RecordBatch {
    let schema = kind.file_schema();
    let columns = schema.fields().iter().map(|field| {
        let cells = rows
            .iter()
            .map(|row| row.iter().find(|(name, _)| name == field.name()).map(|(_, cell)| cell.clone()));
        let long = |cell| if let Some(Cell::Long(value)) = cell { Some(value) } else { None };
        let column: ArrayRef = match field.data_type() {
            DataType::Utf8 => Arc::new(
                cells
                    .map(|cell| if let Some(Cell::Text(value)) = cell { Some(value) } else { None })
                    .collect::<StringArray>(),
            ),
            DataType::Float64 => Arc::new(
                cells
                    .map(|cell| if let Some(Cell::Double(value)) = cell { Some(value) } else { None })
                    .collect::<Float64Array>(),
            ),
            DataType::Int64 => Arc::new(cells.map(long).collect::<Int64Array>()),
            DataType::Int32 => Arc::new(
                cells
                    .map(|cell| long(cell).map(|value| i32::try_from(value).unwrap()))
                    .collect::<Int32Array>(),
            ),
            DataType::Timestamp(..) => {
                Arc::new(cells.map(long).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
            }
            other => new_null_array(other, rows.len()),
        };
        column
    });
    let columns = columns.collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

/// Writes rows to one file per call and replaces the files that `gone` picks.
async fn put(table: &mut Table, day: Option<&str>, rows: &[Cells], gone: impl Fn(&DataFile) -> bool) {
    let add = table.write(day, &batch(table.kind(), rows)).await.unwrap();
    let removes: Vec<_> = table.files().filter(|file| gone(file)).cloned().collect();
    let change = if removes.is_empty() { Change::Append } else { Change::Restate };
    table.commit(Commit { adds: vec![add], removes, ..Commit::empty(change) }).await.unwrap();
}

async fn table(storage: &Storage, kind: TableKind) -> Table {
    Table::open_or_create(storage, kind).await.unwrap()
}

fn minute(
    source: &str,
    coin: &str,
    quote: &str,
    start: Micros,
    prices: [f64; 4],
    volume: Option<f64>,
    ticks: i64,
) -> Cells {
    let [open, high, low, close] = prices;
    let mut row = cells! {
        window_start: start, window_end: start + MINUTE, coin_id: coin, source: source, quote: quote,
        open_price: open, max_price: high, min_price: low, close_price: close, avg_price: f64::midpoint(low, high), tick_count: ticks,
        price_change: close - open, price_change_pct: (close - open) / open * 100.0, volatility_pct: (high - low) / low * 100.0,
        first_event_time: start, last_event_time: start + 59_000_000, closed_at: start + MINUTE, closed_in: 1,
    };
    row.extend(volume.map(|volume| ("volume", Cell::Double(volume))));
    row
}

/// Flat candles, one tick each, of `binance` bitcoin in usd.
fn flat(minutes: impl IntoIterator<Item = (i64, f64)>) -> Vec<Cells> {
    minutes
        .into_iter()
        .map(|(at, price)| minute("binance", "bitcoin", "usd", START + at * MINUTE, [price; 4], None, 1))
        .collect()
}

fn storage(folder: &Path) -> Storage {
    Storage::new(folder).unwrap()
}

fn market(source: Option<&str>, coin: &str) -> MarketFilter {
    MarketFilter { coin_id: coin.into(), source: source.map(Into::into), quote: "usd".into() }
}

fn ask(interval: Interval, last: Option<usize>, before: Option<Micros>) -> CandleQuery {
    CandleQuery { market: market(None, "bitcoin"), interval, last, before }
}

/// 20 minutes before and after midnight with holes, trades with and without sizes, and other markets between.
async fn two_days(storage: &Storage) -> Table {
    let mut gold = table(storage, TableKind::Gold).await;
    let row = |at: i64, prices, volume, ticks| {
        minute("binance", "bitcoin", "usd", START + DAY + at * MINUTE, prices, volume, ticks)
    };
    let other = |source, coin, quote, at: i64| {
        minute(source, coin, quote, START + DAY + at * MINUTE, [9.0; 4], Some(9.0), 9)
    };
    let before = [
        row(-20, [10.0, 12.0, 9.0, 11.0], Some(1.5), 2),
        row(-19, [11.0, 11.0, 10.0, 10.5], None, 1),
        other("binance", "bitcoin", "eur", -19),
        other("binance", "ethereum", "usd", -18),
        row(-3, [10.0, 10.5, 10.0, 10.5], None, 3),
    ];
    put(&mut gold, Some("2025-05-12"), &before, |_| false).await;
    let after = [
        row(1, [20.0, 25.0, 20.0, 21.0], Some(0.25), 1),
        row(0, [10.5, 20.0, 10.0, 20.0], None, 4),
        other("kraken", "bitcoin", "usd", 1),
    ];
    put(&mut gold, Some("2025-05-13"), &after, |_| false).await;
    put(&mut gold, Some("2025-05-13"), &[row(7, [21.0, 21.0, 19.0, 19.5], None, 1)], |_| false).await;
    gold
}

#[tokio::test(flavor = "multi_thread")]
async fn storages_without_tables_or_rows_give_empty_answers() {
    let folder = tempfile::tempdir().unwrap();
    let queries = Queries::open(storage(&folder.path().join("not yet")), None).unwrap();
    for _ in 0..2 {
        for interval in Interval::ALL {
            let series = queries.candles(ask(interval, Some(5), None)).await.unwrap();
            assert_eq!(series, CandleSeries::default());
        }
        assert_eq!(queries.markets(None).await.unwrap(), []);
        assert_eq!(queries.alerts(10).await.unwrap(), []);
        assert_eq!(queries.known().await.unwrap(), []);
        assert_eq!(queries.newest(market(None, "bitcoin")).await.unwrap(), None);
        let gaps = queries
            .gaps("binance".into(), "usd".into(), vec!["bitcoin".into()], START, START + HOUR, 15 * MINUTE)
            .await
            .unwrap();
        assert_eq!(gaps, [("bitcoin".into(), vec![(START, START + HOUR)])]);
        for view in TableKind::ALL {
            let answer = queries
                .sql(
                    format!("SELECT * FROM {}", view.label()),
                    Duration::from_mins(1),
                    &CancellationToken::new(),
                )
                .await
                .unwrap();
            assert_eq!(answer.columns, view.columns().iter().map(|(name, _)| *name).collect::<Vec<_>>());
            assert!(answer.rows.is_empty());
        }
        for kind in TableKind::ALL {
            table(&storage(&folder.path().join("not yet")), kind).await; // in the second round the tables exist, empty
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_those_of_one_source() {
    let folder = tempfile::tempdir().unwrap();
    two_days(&storage(folder.path())).await;
    let queries = Queries::open(storage(folder.path()), None).unwrap();
    let midnight = START + DAY;
    let coins = vec!["bitcoin".into(), "ethereum".into(), "dogecoin".into()];
    let gaps = queries
        .gaps("kraken".into(), "usd".into(), coins.clone(), midnight - HOUR, midnight + HOUR, 15 * MINUTE)
        .await
        .unwrap();
    let whole = vec![(midnight - HOUR, midnight + HOUR)];
    let bitcoin = vec![(midnight - HOUR, midnight + MINUTE), (midnight + 2 * MINUTE, midnight + HOUR)];
    assert_eq!(
        gaps,
        [("bitcoin".into(), bitcoin), ("ethereum".into(), whole.clone()), ("dogecoin".into(), whole.clone())]
    );
    let gaps =
        queries.gaps("kraken".into(), "gbp".into(), coins, midnight - HOUR, midnight + HOUR, 15 * MINUTE);
    assert!(gaps.await.unwrap().iter().all(|(_, gaps)| *gaps == whole), "candles in usd are none in gbp");
    let gaps = queries
        .gaps(
            "binance".into(),
            "usd".into(),
            vec!["bitcoin".into()],
            midnight - 20 * MINUTE + 1,
            midnight + 8 * MINUTE,
            5 * MINUTE,
        )
        .await
        .unwrap();
    let minute = |n: i64| midnight + n * MINUTE;
    assert_eq!(
        gaps[0].1,
        [(minute(-18), minute(-3))],
        "a candle that reaches into the range counts; 5 minutes are not longer than 5"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_thread_ends_with_the_last_handle() {
    let folder = tempfile::tempdir().unwrap();
    let queries = Queries::open(storage(folder.path()), None).unwrap();
    let jobs = queries.jobs.downgrade();
    drop(queries.clone());
    assert!(queries.known().await.is_ok());
    drop(queries);
    assert!(jobs.upgrade().is_none());
    assert_eq!(date(START), "2025-05-12");
}
