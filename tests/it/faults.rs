//! Small inputs that went wrong once: names, numbers and times at their borders, and a line that decodes to
//! very many rejects.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cryptostream::lake::{Storage, Table, TableKind, gold};
use cryptostream::market::{Candle, Interval, MINUTE};
use cryptostream::pipeline::summary::Summary;
use cryptostream::query::{CandleQuery, MarketFilter, Queries};

use crate::support::shared_data;
use crate::support::tables::{NULL, Row, assert_same, assert_sound, dump, replay, rows};

/// 2025-03-04T10:00:00Z.
const TEN: i64 = 1_741_082_400_000_000;

/// The lines of an input beside the project, where it is there.
fn lines(name: &str) -> Option<Vec<String>> {
    let path = shared_data(&format!("data/faults/{name}"))?;
    Some(std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect())
}

/// A storage of its own that holds what some lines make.
struct Replayed {
    folder: tempfile::TempDir,
    totals: (u64, u64, u64),
}

impl Replayed {
    async fn new(lines: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut replayed = Self { folder, totals: (0, 0, 0) };
        let totals = replayed.again(lines).await.totals;
        replayed.totals = (totals.ticks, totals.duplicates, totals.rejected);
        replayed
    }

    async fn again(&self, lines: &[String]) -> Summary {
        let input = self.folder.path().join("input.ndjson");
        std::fs::write(&input, lines.join("\n")).unwrap();
        let summary = replay(&self.storage(), &input, 50_000).await.unwrap();
        assert_sound(&self.storage(), "after a replay").await;
        summary
    }

    fn storage(&self) -> PathBuf {
        self.folder.path().join("storage")
    }

    /// Gold by coin and minutes after ten.
    async fn candles(&self) -> BTreeMap<(String, i64), Candle> {
        let table =
            Table::open(&Storage::new(&self.storage()).unwrap(), TableKind::Gold).await.unwrap().unwrap();
        let mut candles = BTreeMap::new();
        for file in table.files() {
            for row in gold::read(&table, file).await.unwrap() {
                let minute = (row.candle.window_start - TEN) / MINUTE;
                candles.insert((row.market.coin_id.to_string(), minute), row.candle);
            }
        }
        candles
    }

    async fn prices(&self, coin: &str, minute: i64) -> (f64, f64, f64, f64, i64) {
        let candle = self.candles().await.remove(&(coin.to_owned(), minute)).unwrap();
        (candle.open, candle.high, candle.low, candle.close, candle.ticks)
    }

    /// Quarantine's cells, row by row: topic, partition, offset, index, key, value, `value_raw`, source,
    /// reason.
    async fn rejected(&self) -> Vec<Row> {
        dump(&self.storage()).await.remove("quarantine").unwrap()
    }

    async fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<String> = self.rejected().await.into_iter().map(|row| row[8].clone()).collect();
        reasons.sort();
        reasons
    }
}

/// Some orders of a few lines, their own first.
fn orders(lines: &[String]) -> Vec<Vec<String>> {
    let mut orders = vec![lines.to_vec(), lines.iter().rev().cloned().collect()];
    for shift in 1..lines.len() {
        let mut order = lines.to_vec();
        order.rotate_left(shift);
        orders.push(order);
    }
    orders
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn trade_ids_of_any_length_order_trades_of_one_instant() {
    let Some(lines) = lines("h01-big-trade-ids.ndjson") else { return };
    for order in orders(&lines) {
        let replayed = Replayed::new(&order).await;
        assert_eq!(replayed.totals, (9, 0, 0));
        assert_eq!(replayed.prices("big27", 0).await, (101.0, 103.0, 101.0, 103.0, 3), "{order:?}");
        assert_eq!(replayed.prices("u64", 0).await, (50.0, 52.0, 50.0, 52.0, 3), "{order:?}");
        assert_eq!(replayed.prices("cross", 0).await, (70.0, 72.0, 70.0, 72.0, 3), "{order:?}");
        let sequences = rows(&replayed.storage(), TableKind::Silver, &["sequence"]).await;
        assert_eq!(sequences.iter().filter(|row| row[0] != NULL).count(), 2, "those within 64 bits");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn trades_without_a_price_are_rejected_and_the_rest_is_in_order() {
    let Some(lines) = lines("h02-dirty-trades.ndjson") else { return };
    let replayed = Replayed::new(&lines).await;
    assert_eq!(replayed.totals, (6, 0, 3));
    assert_eq!(replayed.prices("dirty", 1).await, (98.0, 103.0, 98.0, 103.0, 5));
    assert_eq!(replayed.reasons().await, ["price is no number", "price not positive", "price not positive"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_text_and_an_epoch_of_one_instant_are_one_tick() {
    let Some(lines) = lines("h04b-halfmicro.ndjson") else { return };
    let replayed = Replayed::new(&lines).await;
    assert_eq!(replayed.totals, (3, 1, 0));
    assert_eq!(replayed.prices("submicro", 1).await, (11.0, 12.0, 11.0, 12.0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn odd_numbers_and_times_are_taken_or_rejected_as_ever() {
    if let Some(lines) = lines("h14-numbers.ndjson") {
        assert_eq!(Replayed::new(&lines).await.totals, (6, 0, 5));
    }
    if let Some(lines) = lines("h24-times.ndjson") {
        assert_eq!(Replayed::new(&lines).await.totals, (9, 0, 35));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn names_with_control_characters_spoil_no_other_market() {
    let Some(poison) = lines("h19c-nul-poison.ndjson") else { return };
    for order in orders(&poison) {
        let replayed = Replayed::new(&order).await;
        assert_eq!(replayed.totals, (2, 0, 2));
        assert_eq!(replayed.candles().await.len(), 1);
        assert_eq!(replayed.prices("bitcoin", 0).await, (100.0, 101.0, 100.0, 101.0, 2));
        assert_eq!(replayed.reasons().await, ["name has control characters"; 2]);
    }
    let replayed = Replayed::new(&poison).await;
    let again = replayed.again(&poison[..3]).await.totals;
    assert_eq!((again.ticks, again.duplicates, again.rejected), (0, 2, 1));
    assert_eq!(replayed.prices("bitcoin", 0).await, (100.0, 101.0, 100.0, 101.0, 2));
    let Some(nul) = lines("h19b-nul.ndjson") else { return };
    assert_eq!(Replayed::new(&nul).await.totals, (0, 0, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_largest_prices_are_summed_exactly_in_any_order() {
    let Some(lines) = lines("hx-max.ndjson") else { return };
    let mut candles = Vec::new();
    for order in orders(&lines) {
        let replayed = Replayed::new(&order).await;
        assert_eq!(replayed.prices("max", 0).await, (1.7e308, 1.7e308, 1.5e308, 1.5e308, 3));
        let gold = dump(&replayed.storage()).await.remove("gold").unwrap();
        assert!(!gold.iter().flatten().any(|cell| cell == "NaN"), "{gold:?}");
        candles.extend(replayed.candles().await.into_values());
        let market = MarketFilter { coin_id: "max".into(), source: None, quote: "usd".into() };
        let query = CandleQuery { market, interval: Interval::Minute5, last: None, before: None };
        let queries = Queries::open(Storage::new(&replayed.storage()).unwrap(), None).unwrap();
        let wide = queries.candles(query).await.unwrap().candles;
        assert_eq!((wide[0].avg, wide[0].volume), (1.6e308, Some(f64::INFINITY)), "a wider candle");
    }
    assert!(candles.iter().all(|candle| *candle == candles[0]), "{candles:?}");
    assert_eq!((candles[0].avg, candles[0].volume), (1.6e308, Some(f64::INFINITY)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_line_of_very_many_rejects_is_stored_once() {
    let tick = |offset: i64| format!(r#"{{"id":"x","price":1,"event_time":{}}}"#, TEN + offset * 1_000_000);
    let zeros = format!(r#"{{"id":"x","prices":[0{}]}}"#, ",0".repeat(33_499));
    let lines = [tick(0), zeros.clone(), "[]".to_owned(), tick(1)];
    let replayed = Replayed::new(&lines).await;
    assert_eq!(replayed.totals, (2, 0, 33_501));
    let rejected = replayed.rejected().await;
    assert_eq!(rejected.iter().filter(|row| row[2] == "1").count(), 33_500);
    let values: Vec<_> =
        rejected.iter().filter(|row| row[5] != NULL).map(|row| (&*row[2], &*row[3], &*row[5])).collect();
    assert_eq!(values, [("1", "0", &*zeros), ("2", "0", "[]")]);
    assert!(replayed.again(&lines).await.nothing_new);
    // The same records with other borders: each of them a batch of its own.
    let input = replayed.folder.path().join("input.ndjson");
    let other = replayed.folder.path().join("other");
    replay(&other, &input, 1).await.unwrap();
    assert_sound(&other, "record by record").await;
    assert_same(&replayed.storage(), &other, "record by record").await;
}
