//! The tables against a plain reference: random streams, random batches, recorded days.

use std::path::PathBuf;

use cryptostream::lake::{Storage, Table, TableKind, gold};

use crate::support::stream::{Dice, RefCandle, expected, random, text};
use crate::support::tables::{assert_same, assert_sound, replay};

async fn candles(storage: &std::path::Path) -> std::collections::BTreeMap<(String, i64), RefCandle> {
    let table = Table::open(&Storage::new(storage).unwrap(), TableKind::Gold).await.unwrap().unwrap();
    let mut candles = std::collections::BTreeMap::new();
    for file in table.files() {
        for row in gold::read(&table, file).await.unwrap() {
            let c = row.candle;
            let candle = RefCandle { open: c.open, high: c.high, low: c.low, close: c.close, ticks: c.ticks, volume: c.volume };
            let twice = candles.insert((row.market.coin_id.to_string(), c.window_start), candle);
            assert_eq!(twice, None, "{} {}", row.market, c.window_start);
        }
    }
    candles
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_streams_give_what_the_reference_says_however_they_are_batched() {
    for seed in 0..8 {
        let lines = random(seed, 1_500);
        let wanted = expected(&lines);
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("stream.ndjson");
        std::fs::write(&input, text(&lines)).unwrap();
        let mut dice = Dice::new(seed + 1000);
        let mut first: Option<PathBuf> = None;
        for batch in [50_000, 1 + dice.below(40), 40 + dice.below(400)] {
            let storage = folder.path().join(format!("batch-{batch}"));
            let when = format!("seed {seed}, batches of {batch}");
            let summary = replay(&storage, &input, usize::try_from(batch).unwrap()).await.unwrap();
            assert_eq!(summary.totals.records, lines.len() as u64, "{when}");
            let totals = (summary.totals.ticks, summary.totals.duplicates, summary.totals.rejected);
            assert_eq!(totals, (wanted.ticks, wanted.duplicates, wanted.rejected), "{when}");
            assert_eq!(candles(&storage).await, wanted.candles, "{when}");
            assert_sound(&storage, &when).await;
            match &first {
                None => first = Some(storage),
                Some(first) => assert_same(first, &storage, &when).await,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_recording_that_is_replayed_again_adds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (input, storage) = (folder.path().join("stream.ndjson"), folder.path().join("storage"));
    let lines = random(99, 300);
    std::fs::write(&input, text(&lines)).unwrap();
    replay(&storage, &input, 100).await.unwrap();
    let before = crate::support::tables::dump(&storage).await;
    let again = replay(&storage, &input, 100).await.unwrap();
    assert!(again.nothing_new && again.totals.records == 0);
    assert_eq!(before, crate::support::tables::dump(&storage).await);
    // A file that grew is a new recording, of which silver drops what it has.
    let more = random(100, 50);
    std::fs::write(&input, text(&lines) + &text(&more)).unwrap();
    let grown = replay(&storage, &input, 100).await.unwrap();
    assert_eq!(grown.totals.records, (lines.len() + more.len()) as u64);
    let all: Vec<_> = lines.iter().chain(&more).cloned().collect();
    assert_eq!(candles(&storage).await.len(), expected(&all).candles.len());
    assert_sound(&storage, "after a recording that grew").await;
}

/// The recorded days beside the project, where there are any.
fn recorded(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/replay").join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
    }
    path.exists().then_some(path)
}

async fn recorded_day(name: &str, batch: usize, counts: (u64, u64, u64)) {
    let (Some(input), Some(bars)) = (recorded(&format!("{name}.ndjson.gz")), recorded(&format!("{name}.expected-1m.csv"))) else { return };
    let folder = tempfile::tempdir().unwrap();
    let totals = replay(folder.path(), &input, batch).await.unwrap().totals;
    assert_eq!((totals.ticks, totals.duplicates, totals.rejected), counts);
    let mut found = candles(folder.path()).await;
    let bars = std::fs::read_to_string(bars).unwrap();
    let mut rows = bars.lines();
    let ticks_too = rows.next().unwrap().ends_with("ticks");
    for row in rows {
        let cells: Vec<&str> = row.split(',').collect();
        let start = chrono::DateTime::parse_from_rfc3339(cells[1]).unwrap().timestamp_micros();
        let candle = found.remove(&(cells[0].to_owned(), start)).unwrap_or_else(|| panic!("no candle for {row}"));
        let number = |i: usize| cells[i].parse::<f64>().unwrap();
        let wanted = RefCandle {
            open: number(2),
            high: number(3),
            low: number(4),
            close: number(5),
            volume: Some(number(6)),
            ticks: if ticks_too { cells[7].parse().unwrap() } else { candle.ticks },
        };
        assert_eq!(candle, wanted, "{row}");
    }
    assert!(found.is_empty(), "candles that are not in the recording: {found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_recorded_day_becomes_the_exchanges_own_bars() {
    recorded_day("day", 50_000, (131_040, 0, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_messy_day_becomes_its_bars_too() {
    recorded_day("day-messy", 7_919, (139_600, 8_574, 1_430)).await;
}
