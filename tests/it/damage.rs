//! `verify` on tables that were damaged on purpose; maintenance; writers whose table has changed; foreign
//! tables.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cryptostream::lake::maintenance::{Effort, Maintenance};
use cryptostream::lake::table::{Change, Commit};
use cryptostream::lake::verify::{Scope, verify};
use cryptostream::lake::{LakeError, Storage, Table, TableKind};
use cryptostream::text::chain;
use deltalake::arrow::array::{AsArray as _, Float64Array, RecordBatch};
use deltalake::arrow::compute::concat_batches;
use deltalake::arrow::datatypes::Float64Type;

use crate::support::stream::{random, text};
use crate::support::tables::{
    age, assert_same, assert_sound, open, replay, replay_within, storage_with_rows,
};

/// Replaces the rows of a table's largest file by the damaged ones.
async fn damage(storage: &Storage, kind: TableKind, damage: impl Fn(&RecordBatch) -> RecordBatch) {
    let mut table = open(storage, kind).await;
    let file = Arc::clone(table.files().max_by_key(|file| file.rows).unwrap());
    let batches = table.read(&file, None).await.unwrap();
    let rows = concat_batches(&batches[0].schema(), &batches).unwrap();
    let add = table.write(file.date(), &damage(&rows)).await.unwrap();
    let damaged = Commit { adds: vec![add], removes: vec![file], ..Commit::empty(Change::Restate) };
    table.commit(damaged).await.unwrap();
}

async fn differences(storage: &Storage) -> String {
    let report = verify(storage, Scope::All).await.unwrap();
    assert!(!report.is_sound(), "nothing was found: {report}");
    report.differences().join("\n")
}

fn doubled(rows: &RecordBatch) -> RecordBatch {
    concat_batches(&rows.schema(), [rows, &rows.slice(0, 1)]).unwrap()
}

fn shortened(rows: &RecordBatch) -> RecordBatch {
    rows.slice(1, rows.num_rows() - 1)
}

/// The rows, with the last bit of a number in the first row flipped.
fn nudged(rows: &RecordBatch, column: &str) -> RecordBatch {
    changed(rows, column, |number| f64::from_bits(number.to_bits() ^ 1))
}

/// The rows, with a number in the first row changed.
fn changed(rows: &RecordBatch, column: &str, change: impl Fn(f64) -> f64) -> RecordBatch {
    let at = rows.schema().index_of(column).unwrap();
    let numbers = rows.column(at).as_primitive::<Float64Type>();
    let changed: Float64Array = (0..rows.num_rows())
        .map(|i| Some(if i == 0 { change(numbers.value(i)) } else { numbers.value(i) }))
        .collect();
    let mut columns = rows.columns().to_vec();
    columns[at] = Arc::new(changed);
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

fn copy_of(storage: &Storage, to: &Path) -> Storage {
    assert!(
        std::process::Command::new("cp").arg("-r").arg(storage.root()).arg(to).status().unwrap().success()
    );
    Storage::new(to).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_damage_is_found() {
    type Damage = fn(&RecordBatch) -> RecordBatch;
    let folder = tempfile::tempdir().unwrap();
    let sound = storage_with_rows(folder.path()).await;
    assert_sound(sound.root(), "before any damage").await;
    let cases: [(TableKind, Damage, &str); 15] = [
        (TableKind::Bronze, doubled, "is there twice"),
        (TableKind::Bronze, shortened, "has no records at offsets"),
        (TableKind::Silver, doubled, "is there twice"),
        (TableKind::Silver, shortened, "is missing"),
        (TableKind::Silver, |rows| nudged(rows, "price"), "is not what its record decodes to"),
        (TableKind::Quarantine, shortened, "is missing"),
        (TableKind::Gold, doubled, "is there twice"),
        (TableKind::Gold, shortened, "has no candle at"),
        (TableKind::Gold, |rows| nudged(rows, "avg_price"), "is not the aggregation of its ticks"),
        (TableKind::Alerts, doubled, "is there twice"),
        (TableKind::Alerts, |rows| nudged(rows, "avg_price"), "alerts: avg_price of"),
        (TableKind::Alerts, |rows| nudged(rows, "min_price"), "alerts: min_price of"),
        (TableKind::Alerts, |rows| nudged(rows, "max_price"), "alerts: max_price of"),
        (TableKind::Alerts, |rows| nudged(rows, "volatility"), "alerts: volatility of"),
        (TableKind::Alerts, |rows| changed(rows, "threshold", |_| 100.0), "is not above its threshold"),
    ];
    for (n, (kind, how, words)) in cases.into_iter().enumerate() {
        let copy = copy_of(&sound, &folder.path().join(format!("case-{n}")));
        damage(&copy, kind, how).await;
        let differences = differences(&copy).await;
        assert!(differences.contains(words), "{kind}: {differences}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_cannot_be_read_is_one_difference_and_hides_no_other() {
    type Break = fn(&Path);
    let folder = tempfile::tempdir().unwrap();
    let sound = storage_with_rows(folder.path()).await;
    let ways: [(Break, &str); 2] = [
        (|file| std::fs::remove_file(file).unwrap(), "is missing"),
        (|file| std::fs::write(file, b"PAR1 and no more").unwrap(), "cannot be read"),
    ];
    for (n, (how, words)) in ways.into_iter().enumerate() {
        let all = copy_of(&sound, &folder.path().join(format!("all-{n}")));
        for kind in TableKind::ALL {
            let one = copy_of(&sound, &folder.path().join(format!("{}-{n}", kind.label())));
            for storage in [&one, &all] {
                let table = open(storage, kind).await;
                how(&table.absolute(table.files().max_by_key(|file| file.rows).unwrap()));
            }
            let report = verify(&one, Scope::All).await.unwrap();
            let [difference] = report.differences() else { panic!("{kind}: {report}") };
            assert!(difference.starts_with(kind.label()) && difference.contains(words), "{kind}: {report}");
        }
        let report = verify(&all, Scope::All).await.unwrap();
        assert_eq!(report.differences().len(), TableKind::ALL.len(), "{report}");
        // Nor does a table without its log end the check.
        std::fs::remove_dir_all(all.table_path(TableKind::Gold).join("_delta_log")).unwrap();
        let report = verify(&all, Scope::All).await.unwrap();
        assert!(report.differences().iter().any(|text| text.contains("no Delta log")), "{report}");
        std::fs::remove_dir_all(all.table_path(TableKind::Gold)).unwrap();
        let report = verify(&all, Scope::All).await.unwrap();
        assert!(report.differences().iter().any(|text| text == "gold: there is no such table"), "{report}");
        assert!(
            report.differences().iter().any(|text| text.starts_with("bronze") && text.contains(words)),
            "{report}"
        );
    }
}

/// Data files below a folder.
fn data_files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let below = |path: &Path| {
        if path.is_dir() {
            data_files(path)
        } else {
            usize::from(path.extension().is_some_and(|x| x == "parquet"))
        }
    };
    entries.map(|entry| below(&entry.path())).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replay_whose_stage_cannot_go_on_ends_with_the_cause_and_is_continued_later() {
    let folder = tempfile::tempdir().unwrap();
    let sound = storage_with_rows(folder.path()).await;
    let input = folder.path().join("stream.ndjson");
    // The tables that must be made again from the one whose file is missing.
    let cases = [
        (
            TableKind::Bronze,
            &[TableKind::Silver, TableKind::Quarantine, TableKind::Gold, TableKind::Alerts][..],
            "stage silver failed",
        ),
        (TableKind::Silver, &[TableKind::Gold, TableKind::Alerts][..], "stage gold failed"),
    ];
    for (kind, rebuilt, stage) in cases {
        let storage = copy_of(&sound, &folder.path().join(kind.label()));
        for kind in rebuilt {
            std::fs::remove_dir_all(storage.table_path(*kind)).unwrap();
        }
        let table = open(&storage, kind).await;
        // A file in the middle: the rows before it can be processed.
        let mut files: Vec<_> = table.files().collect();
        files.sort_by_key(|file| file.integers("offset"));
        let file = table.absolute(files[files.len() / 2]);
        let aside = folder.path().join("aside.parquet");
        std::fs::rename(&file, &aside).unwrap();
        let files = data_files(storage.root());
        let failed = replay_within(storage.root(), &input, 200, Duration::from_secs(2)).await.unwrap_err();
        let message = chain(&failed);
        assert!(
            message.starts_with(&format!("{stage}: gave up after 2s: data file"))
                && message.ends_with("is missing"),
            "{message}"
        );
        let more = data_files(storage.root()) - files;
        assert!(more <= 10, "{more} files were written although nothing could be committed");
        std::fs::rename(&aside, &file).unwrap();
        replay(storage.root(), &input, 200).await.unwrap();
        assert_same(sound.root(), storage.root(), "once the file was back").await;
        assert_sound(storage.root(), "once the file was back").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_writer_whose_table_has_changed_cannot_commit() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage_with_rows(folder.path()).await;
    for change in [Change::Append, Change::Restate, Change::Compact] {
        let mut stale = open(&storage, TableKind::Gold).await;
        let mut fresh = open(&storage, TableKind::Gold).await;
        fresh.commit(Commit::empty(Change::Append)).await.unwrap();
        let refused = stale.commit(Commit::empty(change)).await;
        assert!(matches!(refused, Err(LakeError::Conflict { .. })), "{refused:?}");
        // After a refresh it can.
        assert!(stale.refresh().await.unwrap());
        stale.commit(Commit::empty(change)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn maintenance_changes_no_row_and_keeps_the_files_of_open_readers() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("stream.ndjson");
    std::fs::write(&input, text(&random(5, 1_500))).unwrap();
    let (storage, undisturbed) = (folder.path().join("storage"), folder.path().join("undisturbed"));
    replay(&undisturbed, &input, 50_000).await.unwrap();
    replay(&storage, &input, 20).await.unwrap();
    let at = Storage::new(&storage).unwrap();
    for kind in TableKind::ALL {
        let before = open(&at, kind).await;
        let mut table = open(&at, kind).await;
        let report = Maintenance::new().maintain(&mut table, Effort::All).await.unwrap();
        assert!(report.checkpoint && table.files().len() <= before.files().len(), "{kind}: {report:?}");
        // Vacuum keeps files that were live within the last hour.
        for file in before.files() {
            before.read(file, None).await.unwrap();
        }
        // A checkpoint holds the same as the log.
        let reopened = open(&at, kind).await;
        assert_eq!(reopened.positions(), before.positions(), "{kind}");
        assert_eq!(reopened.version(), table.version());
    }
    assert_same(&undisturbed, &storage, "after maintenance").await;
    assert_sound(&storage, "after maintenance").await;
    let more = replay(&storage, &input, 20).await.unwrap();
    assert!(more.nothing_new);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn old_log_entries_and_files_of_crashed_commits_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage_with_rows(folder.path()).await;
    for round in 0..3 {
        let mut table = open(&storage, TableKind::Silver).await;
        // As a process that was killed between writing a file and its commit leaves it.
        let file = Arc::clone(table.files().next().unwrap());
        let rows = table.read(&file, None).await.unwrap();
        let orphan = table.absolute(&file).with_file_name(format!("part-orphan-{round}.parquet"));
        std::fs::copy(table.absolute(&file), &orphan).unwrap();
        table.commit(Commit::empty(Change::Append)).await.unwrap();
        age(storage.root(), std::time::Duration::from_hours(3));
        table.commit(Commit::empty(Change::Append)).await.unwrap();
        let report = Maintenance::new().maintain(&mut table, Effort::All).await.unwrap();
        assert!(report.vacuumed == 1 && !orphan.exists(), "{report:?}");
        assert!(!rows.is_empty());
        let log =
            std::fs::read_dir(storage.table_path(TableKind::Silver).join("_delta_log")).unwrap().count();
        assert!(log <= 6, "{log} files in the log after round {round}");
        assert_sound(storage.root(), "after clean-up").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_table_that_is_not_ours_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("silver/crypto_transformed");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("part-00000.snappy.parquet"), b"of another program").unwrap();
    let storage = Storage::new(folder.path()).unwrap();
    let refused = Table::open_or_create(&storage, TableKind::Silver).await.unwrap_err();
    assert!(refused.to_string().contains("is not a table of this program"), "{refused}");

    let delta = deltalake::DeltaTable::try_from_url(
        url::Url::from_directory_path(folder.path().join("gold/crypto_metrics_1m")).unwrap(),
    );
    std::fs::create_dir_all(folder.path().join("gold/crypto_metrics_1m")).unwrap();
    let column = deltalake::kernel::StructField::nullable("x", deltalake::kernel::DataType::LONG);
    delta.await.unwrap().create().with_columns([column]).await.unwrap();
    let refused = Table::open_or_create(&storage, TableKind::Gold).await.unwrap_err();
    assert!(refused.to_string().contains("another program made it"), "{refused}");
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 1);
}
