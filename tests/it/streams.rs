//! Tables whose files hold rows of several streams in any order: each stream is read completely and in order.

use std::sync::Arc;

use cryptostream::lake::bronze::{self, Backlog, RawBatch, Reader};
use cryptostream::lake::maintenance::{Effort, Maintenance};
use cryptostream::lake::silver::{self, Part, TickBatch};
use cryptostream::lake::table::{Change, Commit};
use cryptostream::lake::{LakeError, Storage, Table, TableKind};
use cryptostream::market::{RecordRef, Records, Stream};
use deltalake::arrow::array::RecordBatch;
use proptest::prelude::*;

use crate::support::stream::{Dice, random, text};
use crate::support::tables::{assert_same, assert_sound, join_files, open, replay};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn small_files_of_many_streams_are_compacted() {
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

/// Extends a bronze table to `records` records of each stream, in batches of random sizes and in random
/// turns.
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
        let txns = vec![position];
        table.commit(Commit { adds: vec![add], txns, ..Commit::empty(Change::Append) }).await.unwrap();
        next[at] = last;
    }
    table
}

/// Joins random files into one, in a random order of files: compaction would not do that.
async fn join_some(table: &mut Table, dice: &mut Dice) {
    let mut files: Vec<_> = table.files().filter(|_| dice.below(3) == 0).cloned().collect();
    if files.len() < 2 {
        return;
    }
    let turn = usize::try_from(dice.below(files.len() as u64)).unwrap();
    files.rotate_left(turn);
    join_files(table, files).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_is_read_completely_and_in_order_however_its_files_were_joined() {
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
        // All streams together; a missing file is an error.
        assert!(matches!(drain(&table, &streams).await, Ok(900)), "seed {seed}");
        let lost = Arc::clone(table.files().last().unwrap());
        table.commit(Commit { removes: vec![lost], ..Commit::empty(Change::Restate) }).await.unwrap();
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

/// Asserts that reading silver in small steps gives every tick once: each stream in order of positions, and
/// all together in order of arrival.
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
            // Folders that a wrong conversion of the name would use.
            for other in ["xAy", "a b", "a", "a/b"] {
                std::fs::create_dir_all(folder.path().join(other)).unwrap();
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
            for other in ["xAy", "a b", "a/b"] {
                let there = folder.path().join(other);
                assert!(name == other || std::fs::read_dir(&there).unwrap().count() == 0, "something was written to {}", there.display());
            }
        });
    }
}
