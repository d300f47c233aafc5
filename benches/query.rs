//! The queries of the dashboard over a year of ten coins: 5.3 million candles, one file per day.
//!
//! Criterion reports means; the percentiles are printed before.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use cryptostream::lake::table::{Change, Commit};
use cryptostream::lake::{Storage, Table, TableKind};
use cryptostream::market::{DAY, Interval, MINUTE, Micros, date};
use cryptostream::query::{CandleQuery, MarketFilter, Queries};
use deltalake::arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use tokio::runtime::Runtime;

/// 2024-05-12T00:00:00Z.
const START: Micros = 1_715_472_000_000_000;
const DAYS: i64 = 365;
const COINS: [&str; 10] = [
    "avalanche-2",
    "bitcoin",
    "cardano",
    "chainlink",
    "dogecoin",
    "ethereum",
    "polkadot",
    "ripple",
    "solana",
    "tron",
];

/// One day of all coins, a candle per minute, with the columns of gold.
fn day(start: Micros) -> RecordBatch {
    let rows = || {
        (0..DAY / MINUTE).flat_map(|minute| (0..COINS.len()).map(move |coin| (start + minute * MINUTE, coin)))
    };
    let times = |offset: Micros| -> ArrayRef {
        Arc::new(
            TimestampMicrosecondArray::from(rows().map(|(time, _)| time + offset).collect::<Vec<_>>())
                .with_timezone("UTC"),
        )
    };
    let texts = |text: &dyn Fn(usize) -> &'static str| -> ArrayRef {
        Arc::new(StringArray::from(rows().map(|(_, coin)| text(coin)).collect::<Vec<_>>()))
    };
    let doubles = |value: &dyn Fn(f64) -> f64| -> ArrayRef {
        #[expect(clippy::cast_precision_loss, reason = "minutes of a few years")]
        let price = |(time, coin): (Micros, usize)| {
            (coin as f64 + 1.0) * 100.0 + ((time / MINUTE) as f64 / 60.0).sin()
        };
        Arc::new(Float64Array::from(rows().map(|row| value(price(row))).collect::<Vec<_>>()))
    };
    let longs = |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![value; rows().count()])) };
    let columns =
        TableKind::Gold.columns().iter().filter(|(name, _)| *name != "date").map(|(name, _)| match *name {
            "window_start" | "first_event_time" => times(0),
            "window_end" | "closed_at" => times(MINUTE),
            "last_event_time" => times(MINUTE - 1),
            "coin_id" => texts(&|coin| COINS[coin]),
            "source" => texts(&|_| "binance"),
            "quote" => texts(&|_| "usd"),
            "tick_count" | "closed_in" => longs(7),
            "max_price" => doubles(&|price| price * 1.001),
            "min_price" => doubles(&|price| price * 0.999),
            "volatility_pct" | "price_change" | "price_change_pct" => doubles(&|_| 0.2),
            "volume" => doubles(&|price| price.fract()),
            _ => doubles(&|price| price),
        });
    RecordBatch::try_new(TableKind::Gold.file_schema(), columns.collect())
        .expect("columns as the schema has them")
}

async fn fill(folder: &Path) -> Storage {
    let storage = Storage::new(folder).expect("an absolute path");
    let mut gold = Table::open_or_create(&storage, TableKind::Gold).await.expect("a table");
    for index in 0..DAYS {
        let start = START + index * DAY;
        let add = gold.write(Some(&date(start)), &day(start)).await.expect("a file");
        let commit = Commit {
            change: Change::Append,
            adds: vec![add],
            removes: Vec::new(),
            txns: Vec::new(),
            facts: &[],
        };
        gold.commit(commit).await.expect("a commit");
    }
    storage
}

fn ask(interval: Interval, last: Option<usize>, coin: &str) -> CandleQuery {
    CandleQuery {
        market: MarketFilter { coin_id: coin.into(), source: None, quote: "usd".into() },
        interval,
        last,
        before: None,
    }
}

/// Asks `times` times, and prints the median, the 99th percentile and the maximum of the durations.
#[expect(clippy::print_stdout, reason = "a bench reports to its terminal")]
fn percentiles(runtime: &Runtime, what: &str, times: usize, mut question: impl AsyncFnMut(usize)) {
    let mut taken: Vec<Duration> = (0..times)
        .map(|index| {
            let start = Instant::now();
            runtime.block_on(question(index));
            start.elapsed()
        })
        .collect();
    let first = taken[0];
    taken.sort_unstable();
    println!(
        "{what:<28} p50 {:>9.2?}  p99 {:>9.2?}  worst {:>9.2?}  (the first took {first:.2?})",
        taken[times / 2],
        taken[times * 99 / 100],
        taken[times - 1]
    );
}

fn questions(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let storage = runtime.block_on(fill(folder.path()));
    let queries = runtime.block_on(async { Queries::open(storage, None).expect("an engine") });
    for (interval, times) in
        [(Interval::Minute1, 1000), (Interval::Minute5, 200), (Interval::Hour1, 100), (Interval::Day1, 20)]
    {
        percentiles(&runtime, &format!("last 200 at {interval}"), times, async |index| {
            black_box(
                queries.candles(ask(interval, Some(200), COINS[index % COINS.len()])).await.expect("candles"),
            );
        });
    }
    percentiles(&runtime, "market table", 100, async |_| {
        black_box(queries.markets(None).await.expect("markets"));
    });
    let start = Instant::now();
    let all = runtime
        .block_on(queries.candles(ask(Interval::Minute1, None, "bitcoin")))
        .expect("candles")
        .candles
        .len();
    report(&format!("all {all} candles of one coin: {:.2?}", start.elapsed()));

    let mut group = criterion.benchmark_group("query");
    group.sample_size(10);
    for interval in [Interval::Minute1, Interval::Minute5, Interval::Hour1] {
        group.bench_function(format!("last 200 at {interval}"), |bencher| {
            bencher.iter(|| runtime.block_on(queries.candles(ask(interval, Some(200), "bitcoin"))));
        });
    }
    group.bench_function("market table", |bencher| bencher.iter(|| runtime.block_on(queries.markets(None))));
    group.finish();
}

#[expect(clippy::print_stdout, reason = "a bench reports to its terminal")]
fn report(line: &str) {
    println!("{line}");
}

criterion_group!(benches, questions);
criterion_main!(benches);
