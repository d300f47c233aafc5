//! The tables compared with simple references: random streams, random batches, recorded days.

use std::path::{Path, PathBuf};
use std::process::Command;

use cryptostream::lake::TableKind;

use crate::support::process::{killed_at, replaying};
use crate::support::reference::{ALERTS, Expected, GOLD, QUARANTINE, SILVER, expected};
use crate::support::stream::{Dice, Line, StreamProfile, random, text};
use crate::support::tables::{Row, assert_rows, assert_same, assert_sound, canonical, dump, replay, rows};
use crate::support::{shared_data, skip};

/// Asserts that the tables hold what the reference says.
async fn assert_expected(storage: &Path, wanted: &Expected, when: &str) {
    for (kind, columns, wanted) in [
        (TableKind::Silver, &SILVER[..], &wanted.silver),
        (TableKind::Quarantine, &QUARANTINE, &wanted.quarantine),
        (TableKind::Gold, &GOLD, &wanted.gold),
        (TableKind::Alerts, &ALERTS, &wanted.alerts),
    ] {
        assert_rows(&rows(storage, kind, columns).await, wanted, &format!("{when}: {kind}"));
    }
}

/// Replays lines in batches of several sizes and compares the tables with the reference and with each other.
async fn replayed_in_batches(lines: &[Line], seed: u64, sizes: &[u64]) {
    let wanted = expected(lines);
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("stream.ndjson");
    std::fs::write(&input, text(lines)).unwrap();
    let mut first: Option<PathBuf> = None;
    for batch in sizes {
        let storage = folder.path().join(format!("batch-{batch}"));
        let when = format!("seed {seed}, batches of {batch}");
        let totals = replay(&storage, &input, usize::try_from(*batch).unwrap()).await.unwrap().totals;
        let counts =
            [totals.records, totals.ticks, totals.duplicates, totals.rejected, totals.candles, totals.alerts];
        let rows =
            [&wanted.silver, &wanted.quarantine, &wanted.gold, &wanted.alerts].map(|rows| rows.len() as u64);
        assert_eq!(
            counts,
            [lines.len() as u64, rows[0], wanted.duplicates, rows[1], rows[2], rows[3]],
            "{when}"
        );
        assert_expected(&storage, &wanted, &when).await;
        assert_sound(&storage, &when).await;
        match &first {
            None => first = Some(storage),
            Some(first) => assert_same(first, &storage, &when).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_streams_give_what_the_reference_says_however_they_are_batched() {
    for seed in 0..6 {
        let mut dice = Dice::new(seed + 1000);
        let sizes = [50_000, 8 + dice.below(50), 60 + dice.below(400)];
        replayed_in_batches(&random(seed, 1_500), seed, &sizes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ticks_that_come_again_after_days_are_dropped() {
    for seed in 20..23 {
        let mut dice = Dice::new(seed);
        replayed_in_batches(&StreamProfile::DAYS.stream(seed), seed, &[50_000, 20 + dice.below(300)]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ticks_that_come_again_after_days_are_dropped_by_a_process_that_never_saw_them() {
    let lines = StreamProfile::DAYS.stream(31);
    let folder = tempfile::tempdir().unwrap();
    let (input, storage) = (folder.path().join("stream.ndjson"), folder.path().join("storage"));
    std::fs::write(&input, text(&lines)).unwrap();
    for _ in 0..4 {
        killed_at("silver.commit.after@5", replaying(&storage, &input, 97));
    }
    replay(&storage, &input, 97).await.unwrap();
    assert_expected(&storage, &expected(&lines), "after four kills").await;
    assert_sound(&storage, "after four kills").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_recording_that_is_replayed_again_adds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (input, storage) = (folder.path().join("stream.ndjson"), folder.path().join("storage"));
    let lines = random(99, 300);
    std::fs::write(&input, text(&lines)).unwrap();
    replay(&storage, &input, 100).await.unwrap();
    let before = dump(&storage).await;
    let again = replay(&storage, &input, 100).await.unwrap();
    assert!(again.nothing_new && again.totals.records == 0);
    assert_eq!(before, dump(&storage).await);
    // A file that grew is a new recording; silver drops the ticks that it has already.
    let more = random(100, 50);
    std::fs::write(&input, text(&lines) + &text(&more)).unwrap();
    let grown = replay(&storage, &input, 100).await.unwrap();
    assert_eq!(grown.totals.records, (lines.len() + more.len()) as u64);
    let all: Vec<_> = lines.iter().chain(&more).cloned().collect();
    // Which of two ticks of one millisecond is the first may depend on their positions, which differ in the
    // new recording.
    let without_ties = |mut rows: Vec<Row>| {
        rows.iter_mut()
            .flat_map(|row| GOLD.iter().zip(row))
            .filter(|(c, _)| matches!(**c, "open_price" | "close_price"))
            .for_each(|(_, cell)| cell.clear());
        rows.sort_unstable();
        rows
    };
    let found = rows(&storage, TableKind::Gold, &GOLD).await;
    assert_rows(&without_ties(found), &without_ties(expected(&all).gold), "after a recording that grew");
    assert_sound(&storage, "after a recording that grew").await;
}

/// Some columns of a CSV file, each given as (column of the table, column of the file): all rows, sorted,
/// with cells as in the table.
fn csv(path: &Path, kind: TableKind, columns: &[(&str, &str)]) -> Vec<Row> {
    let content = std::fs::read_to_string(path).unwrap();
    let mut lines = content.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let places: Vec<_> =
        columns.iter().map(|(_, name)| head.iter().position(|h| h == name).unwrap()).collect();
    let row = |line: &str| -> Row {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |(place, (column, _)): (&usize, &(&str, &str))| {
            let text = if cells[*place].is_empty() { crate::support::tables::NULL } else { cells[*place] };
            canonical(kind, column, text).unwrap()
        };
        places.iter().zip(columns).map(cell).collect()
    };
    let mut rows: Vec<_> = lines.map(row).collect();
    rows.sort_unstable();
    rows
}

/// Asserts that some columns of a table equal those of a CSV file, given as in [`csv`].
async fn assert_csv(storage: &Path, kind: TableKind, path: &Path, columns: &[(&str, &str)]) {
    let names: Vec<&str> = columns.iter().map(|(column, _)| *column).collect();
    let when = format!("{kind} and {}", path.display());
    assert_rows(&rows(storage, kind, &names).await, &csv(path, kind, columns), &when);
}

/// Asserts that a storage holds what the reference in Python computes from the replayed file; alerts are
/// compared only if all ticks are in order.
async fn assert_as_the_oracle_says(storage: &Path, input: &Path, counts: (u64, u64, u64), in_order: bool) {
    let Some(oracle) = shared_data("tools/oracle.py") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (candles, alerts) = (folder.path().join("candles.csv"), folder.path().join("alerts.csv"));
    let run = Command::new("python3")
        .arg(oracle)
        .arg(input)
        .arg("--candles")
        .arg(&candles)
        .arg("--alerts")
        .arg(&alerts)
        .output();
    let output = match run {
        Err(error) => return skip(&format!("there is no python3: {error}")),
        Ok(output) => output,
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = String::from_utf8(output.stdout).unwrap();
    let (ticks, duplicates, rejected) = counts;
    assert!(
        output.contains(&format!("ticks {ticks}, duplicates {duplicates}, rejected {rejected} ")),
        "{output}"
    );
    let columns = [
        ("coin_id", "coin_id"),
        ("source", "source"),
        ("window_start", "window_start"),
        ("open_price", "open"),
        ("max_price", "high"),
        ("min_price", "low"),
        ("close_price", "close"),
        ("avg_price", "avg"),
        ("volume", "volume"),
        ("tick_count", "ticks"),
        ("volatility_pct", "volatility_pct"),
    ];
    assert_csv(storage, TableKind::Gold, &candles, &columns).await;
    if in_order {
        let columns = [
            ("coin_id", "coin_id"),
            ("source", "source"),
            ("window_start", "window_start"),
            ("volatility", "volatility_pct"),
        ];
        assert_csv(storage, TableKind::Alerts, &alerts, &columns).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_random_stream_gives_what_the_oracle_says() {
    let folder = tempfile::tempdir().unwrap();
    let (input, storage) = (folder.path().join("stream.ndjson"), folder.path().join("storage"));
    std::fs::write(&input, text(&StreamProfile { histories: false, ..StreamProfile::DAYS }.stream(41)))
        .unwrap();
    let totals = replay(&storage, &input, 400).await.unwrap().totals;
    assert_as_the_oracle_says(&storage, &input, (totals.ticks, totals.duplicates, totals.rejected), false)
        .await;
}

async fn recorded_day(name: &str, batch: usize, counts: (u64, u64, u64), in_order: bool) {
    let file = |ending: &str| shared_data(&format!("data/replay/{name}{ending}"));
    let (Some(input), Some(bars)) = (file(".ndjson.gz"), file(".expected-1m.csv")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let totals = replay(folder.path(), &input, batch).await.unwrap().totals;
    assert_eq!((totals.ticks, totals.duplicates, totals.rejected), counts);
    let mut columns = vec![
        ("coin_id", "coin_id"),
        ("window_start", "window_start"),
        ("open_price", "open"),
        ("max_price", "high"),
        ("min_price", "low"),
        ("close_price", "close"),
        ("volume", "volume"),
    ];
    if std::fs::read_to_string(&bars).unwrap().lines().next().unwrap().ends_with("ticks") {
        columns.push(("tick_count", "ticks"));
    }
    assert_csv(folder.path(), TableKind::Gold, &bars, &columns).await;
    assert_as_the_oracle_says(folder.path(), &input, counts, in_order).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_recorded_day_becomes_the_exchanges_own_bars() {
    recorded_day("day", 50_000, (131_040, 0, 0), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_messy_day_becomes_its_bars_too() {
    recorded_day("day-messy", 7_919, (139_600, 8_574, 1_430), false).await;
}
