//! What must not grow: memory with the number of events, files with the number of commits.

use std::fmt::Write as _;

use cryptostream::alert::rule::Rule;
use cryptostream::lake::{Storage, Table, TableKind};
use cryptostream::pipeline::PipelineSettings;

use crate::support::process::{simulating, succeed};
use crate::support::tables::{assert_sound, replaying, run};

/// Resident memory of a pipeline at its peak, in MB: what it needs, and half as much again. A stage that kept
/// the million events would need some 300 more.
const MEMORY: u64 = 450;
/// Live files of a table.
const FILES: usize = 200;

#[test]
fn a_pipeline_at_full_speed_needs_memory_for_its_batches_only() {
    let folder = tempfile::tempdir().unwrap();
    let ended = succeed(simulating(&folder.path().join("storage"), 1_000_000, 10_000));
    let summary = String::from_utf8(ended.stdout).unwrap();
    let peak = summary.lines().find_map(|line| line.strip_prefix("peak memory")).expect("Linux tells it");
    let peak: u64 = peak.trim().strip_suffix(" MB").unwrap().parse().unwrap();
    println!("peak memory {peak} MB");
    assert!(peak <= MEMORY, "{summary}");
}

/// Each batch closes a candle that raises an alert, and holds a reject: a commit in every table.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_commits_leave_few_files() {
    const COMMITS: i64 = 1_000;
    let folder = tempfile::tempdir().unwrap();
    let (input, storage) = (folder.path().join("stream.ndjson"), folder.path().join("storage"));
    let mut lines = String::new();
    for minute in 0..COMMITS {
        let time = 1_747_008_000 + minute * 60;
        writeln!(lines, r#"{{"coin_id":"bitcoin","price":{},"event_time":{}}}"#, 100 + minute % 7, time + 40)
            .unwrap();
        writeln!(lines, r#"{{"coin_id":"bitcoin","price":{},"event_time":{}}}"#, 101 + minute % 7, time + 50)
            .unwrap();
        writeln!(lines, "not JSON").unwrap();
    }
    std::fs::write(&input, lines).unwrap();
    let rule = Rule { cooldown: 0, ..Rule::default() };
    let totals = run(PipelineSettings { rule, ..replaying(&storage, &input, 3) }).await.unwrap().totals;
    assert_eq!((totals.candles, totals.alerts, totals.rejected), (1_000, 1_000, 1_000));
    for kind in TableKind::ALL {
        let table = Table::open(&Storage::new(&storage).unwrap(), kind).await.unwrap().unwrap();
        assert!(
            table.version() >= COMMITS.unsigned_abs() - 1,
            "{kind}: {} versions would be few files anyway",
            table.version()
        );
        assert!(table.files().len() <= FILES, "{kind}: {} files", table.files().len());
    }
    assert_sound(&storage, "after many small commits").await;
}
