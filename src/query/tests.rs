//! Golden tests: small tables written as the pipeline writes them, and what every question says of them.

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
    table.commit(Commit { change, adds: vec![add], removes, txns: Vec::new(), facts: &[] }).await.unwrap();
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

/// One line a candle: start, O H L C, mean, volume, ticks.
fn lines(series: &CandleSeries) -> Vec<String> {
    let line = |c: &Candle| {
        assert!(c.closed);
        let volume = c.volume.map_or_else(|| "-".to_owned(), |v| format!("{v:?}"));
        format!(
            "{} {:?} {:?} {:?} {:?} {:?} {volume} {}",
            &rfc3339(c.window_start)[5..16],
            c.open,
            c.high,
            c.low,
            c.close,
            c.avg,
            c.ticks
        )
    };
    series.candles.iter().map(line).collect()
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
async fn nothing_is_there_and_nothing_fails() {
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
            table(&storage(&folder.path().join("not yet")), kind).await; // the second time round the tables are there, and empty
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn candles_of_every_width_across_midnight() {
    let folder = tempfile::tempdir().unwrap();
    two_days(&storage(folder.path())).await;
    let queries = Queries::open(storage(folder.path()), Some("binance".into())).unwrap();
    let minutes = queries.candles(ask(Interval::Minute1, None, None)).await.unwrap();
    assert_eq!(minutes.market, Some(Arc::new(Market::new("binance", "bitcoin", "usd"))));
    let all = [
        "05-12T23:40 10.0 12.0 9.0 11.0 10.5 1.5 2",
        "05-12T23:41 11.0 11.0 10.0 10.5 10.5 - 1",
        "05-12T23:57 10.0 10.5 10.0 10.5 10.25 - 3",
        "05-13T00:00 10.5 20.0 10.0 20.0 15.0 - 4",
        "05-13T00:01 20.0 25.0 20.0 21.0 22.5 0.25 1",
        "05-13T00:07 21.0 21.0 19.0 19.5 20.0 - 1",
    ];
    assert_eq!((lines(&minutes), minutes.total), (all.map(String::from).into(), 6));
    assert!(minutes.candles.iter().all(|c| c.window_end == c.window_start + MINUTE));
    let expected: [(Interval, &[&str]); 5] = [
        (
            Interval::Minute5,
            &[
                "05-12T23:40 10.0 12.0 9.0 10.5 10.5 1.5 3",
                "05-12T23:55 10.0 10.5 10.0 10.5 10.25 - 3",
                "05-13T00:00 10.5 25.0 10.0 21.0 16.5 0.25 5",
                "05-13T00:05 21.0 21.0 19.0 19.5 20.0 - 1",
            ],
        ),
        (
            Interval::Minute15,
            &[
                "05-12T23:30 10.0 12.0 9.0 10.5 10.5 1.5 3",
                "05-12T23:45 10.0 10.5 10.0 10.5 10.25 - 3",
                "05-13T00:00 10.5 25.0 10.0 19.5 17.083333333333332 0.25 6",
            ],
        ),
        (
            Interval::Hour1,
            &[
                "05-12T23:00 10.0 12.0 9.0 10.5 10.375 1.5 6",
                "05-13T00:00 10.5 25.0 10.0 19.5 17.083333333333332 0.25 6",
            ],
        ),
        (
            Interval::Hour4,
            &[
                "05-12T20:00 10.0 12.0 9.0 10.5 10.375 1.5 6",
                "05-13T00:00 10.5 25.0 10.0 19.5 17.083333333333332 0.25 6",
            ],
        ),
        (
            Interval::Day1,
            &[
                "05-12T00:00 10.0 12.0 9.0 10.5 10.375 1.5 6",
                "05-13T00:00 10.5 25.0 10.0 19.5 17.083333333333332 0.25 6",
            ],
        ),
    ];
    for (interval, rows) in expected {
        let series = queries.candles(ask(interval, None, None)).await.unwrap();
        assert_eq!(lines(&series), rows, "{interval}");
        assert_eq!(series.total, rows.len() as u64, "{interval}");
        assert!(series.candles.iter().all(|c| c.window_end == c.window_start + interval.micros()));
        // Any stretch of the whole, wherever it begins and ends.
        for last in 0..=rows.len() + 1 {
            for end in 0..=rows.len() {
                let before = series.candles.get(end).map(|c| c.window_start);
                let part = queries.candles(ask(interval, Some(last), before)).await.unwrap();
                assert_eq!(
                    part.candles,
                    series.candles[end.saturating_sub(last)..end],
                    "{interval}, last {last} before {before:?}"
                );
                assert_eq!(part.total, series.total);
            }
        }
    }
    for (end, candle) in minutes.candles.iter().enumerate() {
        let part = queries.candles(ask(Interval::Minute1, Some(2), Some(candle.window_start))).await.unwrap();
        assert_eq!(part.candles, minutes.candles[end.saturating_sub(2)..end]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_for_one_source() {
    let folder = tempfile::tempdir().unwrap();
    let mut gold = two_days(&storage(folder.path())).await;
    let queries = Queries::open(storage(folder.path()), None).unwrap();
    let preferring = Queries::open(storage(folder.path()), Some("kraken".into())).unwrap();
    let source = async |queries: &Queries, source: Option<&str>, coin: &str| {
        let query = CandleQuery {
            market: market(source, coin),
            interval: Interval::Minute1,
            last: Some(1),
            before: None,
        };
        queries.candles(query).await.unwrap().market.map(|market| market.source.to_string())
    };
    assert_eq!(source(&queries, None, "bitcoin").await.as_deref(), Some("binance"), "the newest candle");
    assert_eq!(source(&preferring, None, "bitcoin").await.as_deref(), Some("kraken"), "the preferred source");
    assert_eq!(
        source(&preferring, None, "ethereum").await.as_deref(),
        Some("binance"),
        "the preferred source has none"
    );
    assert_eq!(
        source(&preferring, Some("binance"), "bitcoin").await.as_deref(),
        Some("binance"),
        "the named source"
    );
    assert_eq!(source(&queries, Some("nobody"), "bitcoin").await, None);
    assert_eq!(source(&queries, None, "dogecoin").await, None);
    let newer = minute("kraken", "bitcoin", "usd", START + 2 * DAY, [1.0; 4], None, 1);
    put(&mut gold, Some("2025-05-14"), &[newer], |_| false).await;
    assert_eq!(source(&queries, None, "bitcoin").await.as_deref(), Some("kraken"), "the newest candle, now");

    let known = queries.known().await.unwrap();
    let names: Vec<_> = known
        .iter()
        .map(|known| format!("{} {} {}", known.market, known.candles, rfc3339(known.newest)))
        .collect();
    assert_eq!(
        names,
        [
            "binance/bitcoin/eur 1 2025-05-12T23:41:00Z",
            "binance/bitcoin/usd 6 2025-05-13T00:07:00Z",
            "binance/ethereum/usd 1 2025-05-12T23:42:00Z",
            "kraken/bitcoin/usd 2 2025-05-14T00:00:00Z",
        ]
    );
    assert_eq!(queries.newest(market(None, "bitcoin")).await.unwrap(), Some(known[3].clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_seen_at_once_and_a_restated_file_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut gold = table(&storage(folder.path()), TableKind::Gold).await;
    let queries = Queries::open(storage(folder.path()), None).unwrap();
    let totals = async || {
        let mut totals = Vec::new();
        for interval in [Interval::Minute1, Interval::Minute5, Interval::Hour1, Interval::Day1] {
            totals.push(queries.candles(ask(interval, None, None)).await.unwrap().total);
        }
        totals
    };
    put(&mut gold, Some("2025-05-12"), &flat((0..10).map(|at| (at, 1.0))), |_| false).await;
    assert_eq!(totals().await, [10, 2, 1, 1]);
    put(&mut gold, Some("2025-05-12"), &flat((10..12).map(|at| (at, 2.0))), |_| false).await;
    assert_eq!(totals().await, [12, 3, 1, 1]);
    // The first file again, with a changed row and one more; the old one goes, from the disk too.
    let old: Vec<_> = gold.files().filter(|file| file.rows == 10).map(|file| gold.absolute(file)).collect();
    let rows = flat((0..10).map(|at| (at, if at == 9 { 7.0 } else { 1.0 })).chain([(61, 3.0)]));
    put(&mut gold, Some("2025-05-12"), &rows, |file| file.rows == 10).await;
    old.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    assert_eq!(totals().await, [13, 4, 2, 1]);
    let series = queries.candles(ask(Interval::Minute1, None, None)).await.unwrap();
    let prices: Vec<_> = series.candles.iter().map(|c| c.close).collect();
    assert_eq!(prices, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 7.0, 2.0, 2.0, 3.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_market_table_measures_every_market_from_its_own_newest_candle() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(folder.path());
    let mut gold = table(&storage, TableKind::Gold).await;
    let at = |hours: i64, minutes: i64| START + hours * HOUR + minutes * MINUTE;
    let row = |coin, start, prices, volume| minute("binance", coin, "usd", start, prices, volume, 1);
    let first = [
        row("bitcoin", at(0, 29), [50.0; 4], Some(100.0)), // a day and a minute before
        row("bitcoin", at(12, 0), [70.0; 4], Some(5.0)),
        row("bitcoin", at(23, 25), [80.0; 4], None), // 65 minutes before: the candle an hour before is missing
    ];
    put(&mut gold, Some("2025-05-12"), &first, |_| false).await;
    let second = [
        row("bitcoin", at(24, 0), [90.0, 125.0, 90.0, 90.0], Some(0.5)),
        row("bitcoin", at(24, 29), [99.0, 100.0, 98.0, 100.0], None),
        row("bitcoin", at(24, 30), [100.0, 110.0, 100.0, 110.0], Some(0.25)),
        row("ethereum", at(24, 10), [5.0; 4], None), // 20 minutes older than bitcoin's newest, and alone
        minute("kraken", "bitcoin", "usd", at(24, 29), [1.0; 4], None, 1),
    ];
    put(&mut gold, Some("2025-05-13"), &second, |_| false).await;
    let queries = Queries::open(storage.clone(), None).unwrap();
    let bitcoin = MarketRow {
        market: Arc::new(Market::new("binance", "bitcoin", "usd")),
        symbol: None,
        price: 110.0,
        event_time: at(24, 30) + 59_000_000,
        change_1m: Some(10.0),
        price_1h_ago: Some(80.0),
        price_24h_ago: Some(50.0),
        source_change_24h: None,
        volatility_1m: Some(10.0),
        volatility_1h: Some((125.0 - 90.0) / 90.0 * 100.0),
        volume_24h: Some(5.75),
        closes: vec![90.0, 100.0, 110.0],
    };
    let mut ethereum = MarketRow {
        market: Arc::new(Market::new("binance", "ethereum", "usd")),
        symbol: None,
        price: 5.0,
        event_time: at(24, 10) + 59_000_000,
        change_1m: None,
        price_1h_ago: None,
        price_24h_ago: None,
        source_change_24h: None,
        volatility_1m: Some(0.0),
        volatility_1h: Some(0.0),
        volume_24h: None,
        closes: vec![5.0],
    };
    assert_eq!(queries.markets(None).await.unwrap(), [bitcoin.clone(), ethereum.clone()]);
    assert_eq!(queries.markets(Some("kraken".into())).await.unwrap().len(), 1);
    assert_eq!(queries.markets(Some("nobody".into())).await.unwrap(), []);

    let mut silver = table(&storage, TableKind::Silver).await;
    let tick = |coin: &str, symbol: &str, at: Micros, value: f64, change: f64| {
        cells! { coin_id: coin, symbol: symbol, source: "binance", quote: "usd", price: 5.0, volume_24h: value, price_change_pct_24h: change, event_time: at }
    };
    let ticks = [
        tick("ethereum", "old", at(24, 9), 1.0, 1.0),
        tick("ethereum", "old", at(24, 10) + 59_000_000, 1.0, 2.5),
        // Newer than the newest candle: its change belongs to a price that is not in the row.
        tick("ethereum", "eth", at(24, 11), 10.0, 99.0),
        tick("bitcoin", "btc", at(24, 10), 1.0, 1.0),
    ];
    put(&mut silver, Some("2025-05-13"), &ticks, |_| false).await;
    ethereum.symbol = Some("eth".into());
    ethereum.source_change_24h = Some(2.5);
    ethereum.volume_24h = Some(2.0);
    let bitcoin = MarketRow { symbol: Some("btc".into()), ..bitcoin };
    assert_eq!(queries.markets(None).await.unwrap(), [bitcoin, ethereum]);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_come_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(folder.path());
    let mut table = table(&storage, TableKind::Alerts).await;
    let alert = |n: i64| Alert {
        alert_id: format!("id{n}"),
        rule: "volatility".into(),
        market: Market::new("binance", "bitcoin", "usd"),
        window_start: START + n * MINUTE,
        window_end: START + (n + 1) * MINUTE,
        avg_price: 1.5,
        min_price: 1.0,
        max_price: 2.0,
        volatility: 100.0,
        threshold: 0.02,
        timestamp: START + (n + 2) * MINUTE,
    };
    let row = |n: i64| {
        let a = alert(n);
        cells! {
            alert_id: a.alert_id.as_str(), rule: a.rule.as_str(), source: "binance", coin_id: "bitcoin", quote: "usd", window_start: a.window_start,
            window_end: a.window_end, avg_price: a.avg_price, min_price: a.min_price, max_price: a.max_price, volatility: a.volatility,
            threshold: a.threshold, timestamp: a.timestamp,
        }
    };
    // Files that overlap in time: 0 4 8, 1 5 9, …
    for first in 0..4 {
        put(&mut table, None, &[row(first), row(first + 4), row(first + 8)], |_| false).await;
    }
    let queries = Queries::open(storage, None).unwrap();
    for limit in [0, 1, 3, 5, 12, 100] {
        let expected: Vec<_> = (0..12).rev().take(limit).map(alert).collect();
        assert_eq!(queries.alerts(limit).await.unwrap(), expected);
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
        "the candle that reaches into the stretch counts; 5 minutes are not longer than 5"
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
