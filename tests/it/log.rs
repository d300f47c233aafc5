//! The tables' logs: writers that were paused and replaced, clean-up, vacuum, and what cannot be read.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use cryptostream::lake::bronze::{self, Backlog, RawBatch, Reader};
use cryptostream::lake::maintenance::{Effort, Maintenance};
use cryptostream::lake::silver::{self, Part, TickBatch};
use cryptostream::lake::table::{Change, Commit};
use cryptostream::lake::{LakeError, Storage, Table, TableKind};
use cryptostream::market::{RecordRef, Records, Stream};
use deltalake::arrow::array::RecordBatch;
use deltalake::arrow::compute::concat_batches;
use deltalake::kernel::Add;
use proptest::prelude::*;

use crate::support::stream::{Dice, random, text};
use crate::support::tables::{age, assert_same, assert_sound, replay};

const HOURS: std::time::Duration = std::time::Duration::from_hours(3);

fn nothing<'a>(txns: Vec<(String, i64)>) -> Commit<'a> {
    Commit { change: Change::Append, adds: vec![], removes: vec![], txns, facts: &[] }
}

fn append<'a>(adds: Vec<Add>) -> Commit<'a> {
    Commit { adds, ..nothing(vec![]) }
}

async fn open(storage: &Storage, kind: TableKind) -> Table {
    Table::open(storage, kind).await.unwrap().unwrap()
}

async fn storage_with_rows(folder: &Path) -> Storage {
    let input = folder.join("stream.ndjson");
    std::fs::write(&input, text(&random(3, 800))).unwrap();
    replay(&folder.join("storage"), &input, 200).await.unwrap();
    Storage::new(&folder.join("storage")).unwrap()
}

/// A copy of the rows of one of the table's files, as a file that is not yet committed.
async fn another_file(table: &Table) -> Add {
    let file = table.files().next().unwrap();
    let rows = table.read(file, None).await.unwrap();
    table.write(file.date(), &rows[0]).await.unwrap()
}

fn fenced<T: std::fmt::Debug>(outcome: &Result<T, LakeError>) {
    assert!(matches!(outcome, Err(LakeError::Conflict { .. } | LakeError::Gone { .. })), "{outcome:?}");
}

fn gone<T: std::fmt::Debug>(outcome: &Result<T, LakeError>) {
    assert!(matches!(outcome, Err(LakeError::Gone { .. })), "{outcome:?}");
}

/// Commits of a successor, until entries that others know are cleaned up.
async fn move_on(storage: &Storage, kind: TableKind) -> Table {
    let mut table = open(storage, kind).await;
    for round in 0..3 {
        let file = another_file(&table).await;
        table.commit(append(vec![file])).await.unwrap();
        age(storage.root(), HOURS);
        table.commit(nothing(vec![("take-over".to_owned(), round)])).await.unwrap();
        let report = Maintenance::new().maintain(&mut table, Effort::All).await.unwrap();
        assert_eq!(report.problems, [""; 0]);
        assert!(report.log_entries > 0, "round {round}: {report:?}");
    }
    table
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn maintenance_of_a_replaced_process_deletes_nothing_of_its_successor() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage_with_rows(folder.path()).await;
    for kind in [TableKind::Bronze, TableKind::Silver, TableKind::Gold] {
        let mut replaced = open(&storage, kind).await;
        let mut successor = open(&storage, kind).await;
        let file = another_file(&successor).await;
        successor.commit(append(vec![file])).await.unwrap();
        age(storage.root(), HOURS);
        fenced(&Maintenance::new().maintain(&mut replaced, Effort::All).await);
        for file in successor.files() {
            assert!(successor.absolute(file).exists(), "{kind}: {} was deleted", file.path());
        }
        assert!(!successor.refresh().await.unwrap(), "{kind}: the replaced process has committed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_process_that_was_paused_for_longer_than_the_log_is_kept_commits_learns_and_deletes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage_with_rows(folder.path()).await;
    let kind = TableKind::Silver;
    let mut writer = open(&storage, kind).await;
    let mut maintainer = open(&storage, kind).await;
    let mut reader = open(&storage, kind).await;
    let lost = another_file(&writer).await;
    let successor = move_on(&storage, kind).await;

    gone(&reader.refresh().await);
    gone(&writer.commit(append(vec![lost.clone()])).await);
    // Not even where an entry now stands at the very version that they look for.
    gone(&reader.refresh().await);
    fenced(&Maintenance::new().maintain(&mut maintainer, Effort::All).await);
    fenced(&writer.commit(append(vec![lost.clone()])).await);

    let now = open(&storage, kind).await;
    assert_eq!(now.version(), successor.version());
    let paths = |table: &Table| table.files().map(|file| file.path().to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(paths(&now), paths(&successor));
    assert!(!paths(&now).contains(&lost.path));
    assert!(now.files().all(|file| now.absolute(file).exists()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_checkpoint_that_is_written_late_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage_with_rows(folder.path()).await;
    let kind = TableKind::Silver;
    Maintenance::new().maintain(&mut open(&storage, kind).await, Effort::All).await.unwrap();
    let log = storage.table_path(kind).join("_delta_log");
    let early: Vec<_> = std::fs::read_dir(&log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("checkpoint"))
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    assert!(early.len() >= 2, "a checkpoint and the pointer to it: {early:?}");
    let successor = move_on(&storage, kind).await;
    for (path, bytes) in early {
        std::fs::write(path, bytes).unwrap();
    }
    let now = open(&storage, kind).await;
    assert_eq!(
        (now.version(), now.files().len(), now.positions()),
        (successor.version(), successor.files().len(), successor.positions())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_of_failed_commits_go_and_files_that_readers_may_want_stay() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage_with_rows(folder.path()).await;
    let kind = TableKind::Silver;
    // A commit that is lost takes its files with it.
    let (mut stale, mut table) = (open(&storage, kind).await, open(&storage, kind).await);
    let lost = another_file(&stale).await;
    table.commit(nothing(vec![])).await.unwrap();
    fenced(&stale.commit(append(vec![lost.clone()])).await);
    assert!(!storage.table_path(kind).join(&lost.path).exists());
    // A file that was never committed goes with the next vacuum, however new it is; one that a compaction has
    // just replaced stays.
    let orphan = another_file(&table).await;
    let mut in_between = open(&storage, kind).await;
    let uncommitted = another_file(&in_between).await;
    let replaced: Vec<_> = table.files().map(|file| table.absolute(file)).collect();
    let hours_old = storage.table_path(kind).join(format!("{}#1", orphan.path));
    std::fs::write(&hours_old, "of a process that was killed while it wrote").unwrap();
    std::fs::File::options()
        .write(true)
        .open(&hours_old)
        .unwrap()
        .set_modified(std::time::SystemTime::now() - HOURS)
        .unwrap();
    let report = Maintenance::new().maintain(&mut table, Effort::All).await.unwrap();
    assert_eq!((report.vacuumed, report.problems.len()), (3, 0), "{report:?}");
    assert!(!storage.table_path(kind).join(&orphan.path).exists() && !hours_old.exists());
    assert!(replaced.iter().all(|path| path.exists()));
    // Whoever had written a file before the vacuum cannot refer to it any more.
    fenced(&in_between.commit(append(vec![uncommitted])).await);
    // After a restart it is still known what was removed when.
    drop(table);
    let report = Maintenance::new().maintain(&mut open(&storage, kind).await, Effort::All).await.unwrap();
    assert_eq!(report.vacuumed, 0, "{report:?}");
    assert!(replaced.iter().all(|path| path.exists()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_unreadable_file_stops_no_maintenance() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("stream.ndjson");
    std::fs::write(&input, text(&random(3, 800))).unwrap();
    replay(&folder.path().join("storage"), &input, 50).await.unwrap();
    let storage = Storage::new(&folder.path().join("storage")).unwrap();
    for (kind, damage) in [(TableKind::Silver, "garbage"), (TableKind::Bronze, "missing")] {
        let (mut table, mut maintenance) = (open(&storage, kind).await, Maintenance::new());
        // Small files again, as after a time of polls.
        for _ in 0..4 {
            let file = another_file(&table).await;
            table.commit(append(vec![file])).await.unwrap();
        }
        let bad = Arc::clone(table.files().min_by_key(|file| file.bytes()).unwrap());
        let before = table.files().len();
        match damage {
            "missing" => std::fs::remove_file(table.absolute(&bad)).unwrap(),
            garbage => std::fs::write(table.absolute(&bad), garbage).unwrap(),
        }
        let report = maintenance.maintain(&mut table, Effort::All).await.unwrap();
        assert!(
            report.checkpoint && report.compacted > 1 && table.files().len() < before,
            "{kind}: {report:?}"
        );
        assert!(report.problems.len() == 1 && report.problems[0].contains(bad.path()), "{kind}: {report:?}");
        assert!(
            table.files().any(|file| file.path() == bad.path()),
            "{kind}: the file was dropped from the table"
        );
        let again = maintenance.maintain(&mut table, Effort::All).await.unwrap();
        assert_eq!(again.problems, [""; 0], "{kind}: told twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn small_files_of_many_streams_are_joined_too() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::new(folder.path()).unwrap();
    let streams: Vec<_> = (0..60).map(|n| Arc::new(Stream::new(&format!("replay:{n:02}"), 0))).collect();
    for (effort, records) in [(Effort::Due, 3), (Effort::All, 7)] {
        let mut table = several_streams(&storage, &streams[..], records, &mut Dice::new(2)).await;
        let report = Maintenance::new().maintain(&mut table, effort).await.unwrap();
        assert!(report.compacted >= 60 && table.files().len() <= 6, "{effort:?}: {report:?}");
        for stream in &streams {
            let mut reader = Reader::new(&table, stream, -1, records - 1).await.unwrap();
            let mut offsets = Vec::new();
            while let Some(runs) = reader.next(&table).await.unwrap() {
                offsets.extend(runs.iter().flat_map(|run| run.records.iter().map(|record| record.offset)));
            }
            assert_eq!(offsets, (0..records).collect::<Vec<_>>(), "{stream}");
        }
    }
}

/// A bronze table of several streams whose records come in batches of random sizes, the streams in turn.
async fn several_streams(storage: &Storage, streams: &[Arc<Stream>], records: i64, dice: &mut Dice) -> Table {
    let mut table = Table::open_or_create(storage, TableKind::Bronze).await.unwrap();
    let mut next: Vec<i64> =
        streams.iter().map(|stream| table.position(stream).map_or(0, |last| last + 1)).collect();
    loop {
        let open: Vec<usize> = (0..streams.len()).filter(|i| next[*i] < records).collect();
        if open.is_empty() {
            break;
        }
        let at = open[usize::try_from(dice.below(open.len() as u64)).unwrap()];
        let mut batch = Records::new();
        let last = records.min(next[at] + 1 + i64::try_from(dice.below(40)).unwrap());
        for offset in next[at]..last {
            let value = format!("{} {offset}", streams[at]);
            batch.push(RecordRef {
                offset,
                key: None,
                value: value.as_bytes(),
                source: "s",
                headers: None,
                produced_at: 0,
            });
        }
        let batch = RawBatch {
            stream: Arc::clone(&streams[at]),
            records: batch,
            ingested_at: 1_747_008_000_000_000 + last,
        };
        let add = bronze::write(&table, &batch).await.unwrap();
        let position = (table.app_id(&streams[at]), last - 1);
        table.commit(Commit { adds: vec![add], ..nothing(vec![position]) }).await.unwrap();
        next[at] = last;
    }
    table
}

/// Joins random files into one, rows in a random order of files: worse than any compaction.
async fn join_some(table: &mut Table, dice: &mut Dice) {
    let mut files: Vec<_> = table.files().filter(|_| dice.below(3) == 0).cloned().collect();
    if files.len() < 2 {
        return;
    }
    let turn = usize::try_from(dice.below(files.len() as u64)).unwrap();
    files.rotate_left(turn);
    let mut rows = Vec::new();
    for file in &files {
        rows.extend(table.read(file, None).await.unwrap());
    }
    let rows = concat_batches(&rows[0].schema(), &rows).unwrap();
    let add = table.write(files[0].date(), &rows).await.unwrap();
    table.commit(Commit { change: Change::Compact, removes: files, ..append(vec![add]) }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_is_read_whole_and_in_order_however_its_files_were_joined() {
    for seed in 0..6 {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new(folder.path()).unwrap();
        let mut dice = Dice::new(seed);
        let streams = [("replay:a", 0), ("replay:b", 0), ("replay:a", 1)]
            .map(|(topic, partition)| Arc::new(Stream::new(topic, partition)));
        let mut table = several_streams(&storage, &streams, 300, &mut dice).await;
        for _ in 0..4 {
            for stream in &streams {
                let (after, to) = (i64::try_from(dice.below(300)).unwrap() - 1, 299);
                let mut reader = Reader::new(&table, stream, after, to).await.unwrap();
                let mut read = Vec::new();
                while let Some(runs) = reader.next(&table).await.unwrap() {
                    for run in runs {
                        assert_eq!(run.stream, *stream);
                        read.extend(run.records.iter().map(|r| {
                            (r.offset, String::from_utf8(r.value.to_vec()).unwrap(), run.ingested_at)
                        }));
                    }
                }
                assert_eq!(
                    read.iter().map(|(offset, ..)| *offset).collect::<Vec<_>>(),
                    (after + 1..=to).collect::<Vec<_>>(),
                    "seed {seed} {stream}"
                );
                assert!(
                    read.iter().all(|(offset, value, _)| *value == format!("{stream} {offset}")),
                    "seed {seed} {stream}"
                );
            }
            join_some(&mut table, &mut dice).await;
        }
        // All streams together, and a file that is lost is never passed over.
        assert!(matches!(drain(&table, &streams).await, Ok(900)), "seed {seed}");
        let lost = Arc::clone(table.files().last().unwrap());
        table
            .commit(Commit { removes: vec![lost], change: Change::Restate, ..nothing(vec![]) })
            .await
            .unwrap();
        let drained = drain(&table, &streams).await;
        assert!(matches!(drained, Err(LakeError::Corrupt { .. })), "seed {seed}: {drained:?}");
    }
}

/// Number of records in the backlog of all streams.
async fn drain(table: &Table, streams: &[Arc<Stream>]) -> Result<usize, LakeError> {
    let (mut backlog, mut records) = (Backlog::default(), 0);
    for stream in streams {
        backlog.add(table, (**stream).clone(), -1, 299).await?;
    }
    while let Some(run) = backlog.next(table).await? {
        records += run.records.len();
    }
    Ok(records)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn silver_and_gold_are_rebuilt_from_files_of_two_streams() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, undisturbed) = (folder.path().join("storage"), folder.path().join("undisturbed"));
    for seed in [1, 2] {
        let input = folder.path().join(format!("{seed}.ndjson"));
        std::fs::write(&input, text(&random(seed, 1_000))).unwrap();
        replay(&storage, &input, 40).await.unwrap();
        replay(&undisturbed, &input, 50_000).await.unwrap();
    }
    let at = Storage::new(&storage).unwrap();
    let mut dice = Dice::new(1);
    let mut table = open(&at, TableKind::Bronze).await;
    for _ in 0..3 {
        join_some(&mut table, &mut dice).await;
    }
    assert!(
        table.files().any(|file| file.texts("topic").is_some_and(|(min, max)| min != max)),
        "no file holds two streams"
    );
    for layer in ["silver", "quarantine", "gold", "alerts"] {
        std::fs::remove_dir_all(storage.join(layer)).unwrap();
    }
    assert!(replay(&storage, &folder.path().join("2.ndjson"), 50_000).await.unwrap().totals.records == 0);
    assert_same(&undisturbed, &storage, "rebuilt").await;
    read_on_in_small_steps(&open(&at, TableKind::Silver).await).await;
    assert_sound(&storage, "rebuilt").await;
    std::fs::remove_dir_all(storage.join("gold")).unwrap();
    replay(&storage, &folder.path().join("2.ndjson"), 50_000).await.unwrap();
    assert_sound(&storage, "gold rebuilt").await;
}

/// Silver gives every tick of every stream once, in order, and of several streams in the order in which they
/// came in.
async fn read_on_in_small_steps(silver: &Table) {
    let all = || {
        silver
            .positions()
            .into_iter()
            .map(|(stream, to)| Part { stream: Arc::new(stream), after: -1, to })
            .collect::<Vec<_>>()
    };
    let (mut whole, mut parts) = (Vec::new(), all());
    assert_eq!(parts.len(), 2);
    while !parts.is_empty() {
        whole.extend(silver::read_on(silver, &mut parts, i64::MAX).await.unwrap());
    }
    let (mut steps, mut parts) = (Vec::new(), all());
    while !parts.is_empty() {
        steps.extend(silver::read_on(silver, &mut parts, 60).await.unwrap());
        for part in &parts {
            let last =
                steps.iter().rev().find(|batch| batch.stream == part.stream).map_or(-1, |batch| batch.last);
            assert_eq!(last, part.after);
        }
    }
    let ticks = |batches: &[TickBatch]| {
        let ticks = batches.iter().flat_map(|batch| {
            batch.ticks.ticks.iter().map(|tick| (Arc::clone(&batch.stream), tick.offset, tick.ingested_at))
        });
        ticks.collect::<Vec<_>>()
    };
    assert_eq!(ticks(&steps), ticks(&whole));
    assert!(ticks(&whole).is_sorted_by_key(|(.., ingested_at)| *ingested_at));
    let rows: u64 = silver.files().map(|file| file.rows).sum();
    assert_eq!(ticks(&whole).len() as u64, rows);
    for (stream, to) in silver.positions() {
        assert_eq!(steps.iter().rev().find(|batch| *batch.stream == stream).unwrap().last, to);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_storage_may_have_any_name(name in prop_oneof![
        "[a-z%\\\\ #?&+:;'\"\\[\\]{}*~$^|<>=@!,.0-9A-F-]{1,20}",
        "\\PC{1,20}",
        Just("x%41y".to_owned()),
        Just("a%20b".to_owned()),
        Just("a\\b".to_owned()),
    ]) {
        prop_assume!(!name.contains('/') && name != "." && name != ".." && name.len() < 200);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            // Neighbours that a wrong conversion would hit.
            for neighbour in ["xAy", "a b", "a", "a/b"] {
                std::fs::create_dir_all(folder.path().join(neighbour)).unwrap();
            }
            let storage = Storage::new(&folder.path().join(&name)).unwrap();
            let streams = [Arc::new(Stream::new("replay:a", 0))];
            several_streams(&storage, &streams, 20, &mut Dice::new(1)).await;
            let mut table = open(&storage, TableKind::Bronze).await;
            Maintenance::new().maintain(&mut table, Effort::All).await.unwrap();
            let table = open(&storage, TableKind::Bronze).await;
            assert_eq!(table.position(&streams[0]), Some(19));
            let mut rows = 0;
            for file in table.files() {
                let absolute = table.absolute(file);
                assert!(absolute.exists() && absolute.starts_with(folder.path().join(&name)), "{}", absolute.display());
                rows += table.read(file, None).await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>();
            }
            assert_eq!(rows, 20);
            for neighbour in ["xAy", "a b", "a/b"] {
                let there = folder.path().join(neighbour);
                assert!(name == neighbour || std::fs::read_dir(&there).unwrap().count() == 0, "something landed in {}", there.display());
            }
        });
    }
}
