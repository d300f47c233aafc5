//! The tables' logs: writers that were paused and replaced, clean-up, vacuum, and unreadable files.

use std::collections::BTreeSet;
use std::sync::Arc;

use cryptostream::lake::maintenance::{Effort, Maintenance};
use cryptostream::lake::table::{Change, Commit};
use cryptostream::lake::{LakeError, Storage, Table, TableKind};
use deltalake::kernel::Add;

use crate::support::stream::{random, text};
use crate::support::tables::{age, open, replay, storage_with_rows};

const HOURS: std::time::Duration = std::time::Duration::from_hours(3);

fn append<'a>(file: Add) -> Commit<'a> {
    Commit { adds: vec![file], ..Commit::empty(Change::Append) }
}

/// A copy of the rows of one of the table's files, as a file that is not yet committed.
async fn another_file(table: &Table) -> Add {
    let file = table.files().next().unwrap();
    let rows = table.read(file, None).await.unwrap();
    table.write(file.date(), &rows[0]).await.unwrap()
}

fn assert_fenced<T: std::fmt::Debug>(outcome: &Result<T, LakeError>) {
    assert!(matches!(outcome, Err(LakeError::Conflict { .. } | LakeError::Gone { .. })), "{outcome:?}");
}

fn assert_gone<T: std::fmt::Debug>(outcome: &Result<T, LakeError>) {
    assert!(matches!(outcome, Err(LakeError::Gone { .. })), "{outcome:?}");
}

/// Commits as a successor until the entries that other objects know are cleaned up.
async fn commit_and_clean_up(storage: &Storage, kind: TableKind) -> Table {
    let mut table = open(storage, kind).await;
    for round in 0..3 {
        let file = another_file(&table).await;
        table.commit(append(file)).await.unwrap();
        age(storage.root(), HOURS);
        let txns = vec![("take-over".to_owned(), round)];
        table.commit(Commit { txns, ..Commit::empty(Change::Append) }).await.unwrap();
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
        successor.commit(append(file)).await.unwrap();
        age(storage.root(), HOURS);
        assert_fenced(&Maintenance::new().maintain(&mut replaced, Effort::All).await);
        for file in successor.files() {
            assert!(successor.absolute(file).exists(), "{kind}: {} was deleted", file.path());
        }
        assert!(!successor.refresh().await.unwrap(), "{kind}: the replaced process has committed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_process_paused_for_longer_than_the_log_is_kept_cannot_read_commit_or_delete() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage_with_rows(folder.path()).await;
    let kind = TableKind::Silver;
    let mut writer = open(&storage, kind).await;
    let mut maintainer = open(&storage, kind).await;
    let mut reader = open(&storage, kind).await;
    let lost = another_file(&writer).await;
    let successor = commit_and_clean_up(&storage, kind).await;

    assert_gone(&reader.refresh().await);
    assert_gone(&writer.commit(append(lost.clone())).await);
    // Even if there is now an entry of the version that they would read or put next.
    assert_gone(&reader.refresh().await);
    assert_fenced(&Maintenance::new().maintain(&mut maintainer, Effort::All).await);
    assert_fenced(&writer.commit(append(lost.clone())).await);

    let now = open(&storage, kind).await;
    assert_eq!(now.version(), successor.version());
    let paths = |table: &Table| table.files().map(|file| file.path().to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(paths(&now), paths(&successor));
    assert!(!paths(&now).contains(&lost.path));
    assert!(now.files().all(|file| now.absolute(file).exists()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_checkpoint_that_is_written_late_changes_nothing() {
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
    let successor = commit_and_clean_up(&storage, kind).await;
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
async fn vacuum_deletes_files_of_failed_commits_and_keeps_files_that_readers_may_use() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage_with_rows(folder.path()).await;
    let kind = TableKind::Silver;
    // A commit that conflicts deletes its files.
    let (mut stale, mut table) = (open(&storage, kind).await, open(&storage, kind).await);
    let lost = another_file(&stale).await;
    table.commit(Commit::empty(Change::Append)).await.unwrap();
    assert_fenced(&stale.commit(append(lost.clone())).await);
    assert!(!storage.table_path(kind).join(&lost.path).exists());
    // The next vacuum deletes a file that was never committed, however new it is, and keeps one that a
    // compaction has just replaced.
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
    // A writer that wrote its file before the vacuum can no longer commit it.
    assert_fenced(&in_between.commit(append(uncommitted)).await);
    // After a restart the times of removals are still known.
    drop(table);
    let report = Maintenance::new().maintain(&mut open(&storage, kind).await, Effort::All).await.unwrap();
    assert_eq!(report.vacuumed, 0, "{report:?}");
    assert!(replaced.iter().all(|path| path.exists()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_unreadable_file_does_not_stop_maintenance() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("stream.ndjson");
    std::fs::write(&input, text(&random(3, 800))).unwrap();
    replay(&folder.path().join("storage"), &input, 50).await.unwrap();
    let storage = Storage::new(&folder.path().join("storage")).unwrap();
    for (kind, damage) in [(TableKind::Silver, "garbage"), (TableKind::Bronze, "missing")] {
        let (mut table, mut maintenance) = (open(&storage, kind).await, Maintenance::new());
        // More small files, as polls write them.
        for _ in 0..4 {
            let file = another_file(&table).await;
            table.commit(append(file)).await.unwrap();
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
        assert_eq!(again.problems, [""; 0], "{kind}: reported twice");
    }
}
