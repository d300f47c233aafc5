//! Keeping a table small: compaction, checkpoints, clean-up of the log and of files that nothing refers to.
//!
//! Done by the table's own writer. A compaction is a commit like any other, and fails with a conflict if the
//! table has moved on. So does a vacuum: it lists what nothing refers to, commits the counter `vacuum`, and
//! only then deletes. A writer that was paused in the midst of a batch conflicts with that commit and never
//! refers to a deleted file; a vacuum of a process that was replaced conflicts itself and deletes nothing.
//! Each step stands alone: where one fails, the others are done, and the report says what failed. Only who
//! was fenced, or does not know whether a commit landed, stops: what is known of the table is out of date.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chrono::Duration;
use deltalake::DeltaTable;
use deltalake::checkpoints::create_checkpoint;
use deltalake::logstore::object_store::{Error as StoreError, ObjectStoreExt as _, path::Path as StorePath};
use deltalake::parquet::errors::ParquetError;
use futures::TryStreamExt as _;
use tokio_util::task::AbortOnDropHandle;

use super::file::merged_statistics;
use super::log::Log;
use super::parquet::writer;
use super::table::{Change, Commit};
use super::{Context as _, DataFile, LakeError, Table, TableKind, failpoint};
use crate::text::chain;

/// Commits between checkpoints.
const CHECKPOINT_EVERY: u64 = 100;
/// Files below this size are small …
const SMALL_FILE: u64 = 512 << 10;
/// … unless there are so many that larger ones are worth a rewrite, too.
const MANY_FILES: usize = 800;
/// Small files of one date that are worth a rewrite.
const ENOUGH_FILES: usize = 50;
/// Small files in all that are worth it while the pipeline is behind; with fewer its own work goes first.
const ENOUGH_FILES_WHEN_BEHIND: usize = 400;
/// The same for a date that no longer grows.
const ENOUGH_OLD_FILES: usize = 8;
/// Time between two looks for files that nothing refers to; the first is as long after the start.
const VACUUM_EVERY: std::time::Duration = std::time::Duration::from_mins(20);
/// Files that were removed, and entries of the log, stay for so long: readers hold no lock.
pub(super) const RETENTION: Duration = Duration::hours(1);
/// Time without maintenance after one of its steps has failed.
const REST: std::time::Duration = std::time::Duration::from_mins(1);
/// Bytes of rows in memory in a row group of a compacted file at most, but for one batch: a reader takes a
/// row group at once.
const ROW_GROUP: usize = 128 << 20;
/// App ids of the counters that fence whoever was paused: each vacuum raises both.
const VACUUM: &str = "vacuum";
const MAINTENANCE: &str = "maintenance";

/// How much maintenance to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// What is due, while the pipeline has nothing waiting.
    Due,
    /// Only what can wait no longer: rows are waiting.
    Behind,
    /// Everything, now.
    All,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Files that were rewritten.
    pub compacted: usize,
    /// Files that they became.
    pub into: usize,
    /// Whether a checkpoint was made.
    pub checkpoint: bool,
    /// Entries and checkpoints of the log that were deleted.
    pub log_entries: usize,
    /// Files without a reference that were deleted.
    pub vacuumed: usize,
    /// What could not be done, in words, and files that cannot be read.
    pub problems: Vec<String>,
}

impl Report {
    fn add(&mut self, other: Self) {
        let Self { compacted, into, checkpoint, log_entries, vacuumed, problems } = other;
        self.compacted += compacted;
        self.into += into;
        self.checkpoint |= checkpoint;
        self.log_entries += log_entries;
        self.vacuumed += vacuumed;
        self.problems.extend(problems);
    }

    /// Notes the failure of a step. A writer that was fenced, or does not know whether its commit landed,
    /// goes no further.
    fn outcome(&mut self, table: &Table, step: Result<(), LakeError>) -> Result<bool, LakeError> {
        match step {
            Ok(()) => Ok(true),
            Err(error)
                if matches!(error, LakeError::Conflict { .. } | LakeError::Gone { .. })
                    || table.tried().is_some() =>
            {
                Err(error)
            }
            Err(error) => {
                self.problems.push(chain(&error));
                Ok(false)
            }
        }
    }
}

/// Bytes that a compacted file aims at. Gold's are small, so that a restatement rewrites little.
const fn target(kind: TableKind) -> u64 {
    match kind {
        TableKind::Gold => 4 << 20,
        _ => 16 << 20,
    }
}

/// What the files of one group share: the date and, where a file is of one stream only, that stream. A file
/// then has its rows of a stream between two of its offsets, and readers can tell which.
type Shared = (Option<String>, Option<(String, i64)>);

fn shared(file: &DataFile) -> Shared {
    let topic = file.texts("topic").filter(|(min, max)| min == max).map(|(topic, _)| topic.to_owned());
    let partition =
        file.integers("partition").filter(|(min, max)| min == max).map(|(partition, _)| partition);
    (file.date().map(str::to_owned), topic.zip(partition))
}

fn order(file: &DataFile) -> (i64, String) {
    let first = file.integers("offset").map(|(min, _)| min);
    let first = first.or_else(|| file.times("window_start").map(|(min, _)| min)).unwrap_or(i64::MIN);
    (first, file.path().to_owned())
}

/// Cuts files into groups that make one file each.
fn cut(kind: TableKind, files: Vec<Arc<DataFile>>) -> Vec<Vec<Arc<DataFile>>> {
    let (mut groups, mut group, mut bytes) = (Vec::new(), Vec::new(), 0);
    for file in files {
        if bytes + file.bytes() > target(kind) && !group.is_empty() {
            groups.push(std::mem::take(&mut group));
            bytes = 0;
        }
        bytes += file.bytes();
        group.push(file);
    }
    groups.push(group);
    groups
}

/// The groups of files to rewrite as one each.
fn plan(
    kind: TableKind,
    files: impl Iterator<Item = Arc<DataFile>>,
    effort: Effort,
) -> Vec<Vec<Arc<DataFile>>> {
    let mut parts: BTreeMap<Shared, Vec<Arc<DataFile>>> = BTreeMap::new();
    let mut files: Vec<_> = files.filter(|file| file.bytes() < target(kind) / 4).collect();
    if effort != Effort::All && files.len() < MANY_FILES {
        // Full batches of a busy pipeline: rewriting them costs more than reading them.
        files.retain(|file| file.bytes() < SMALL_FILE);
    }
    for file in files {
        parts.entry(shared(&file)).or_default().push(file);
    }
    if effort == Effort::Behind && parts.values().map(Vec::len).sum::<usize>() < ENOUGH_FILES_WHEN_BEHIND {
        return Vec::new();
    }
    let newest = parts.keys().next_back().and_then(|(date, _)| date.clone());
    let enough = |date: &Option<String>| match effort {
        Effort::All => 2,
        Effort::Due | Effort::Behind if *date == newest => ENOUGH_FILES,
        Effort::Due | Effort::Behind => ENOUGH_OLD_FILES,
    };
    let mut groups = Vec::new();
    // Many streams with a few files each: these are joined with each other.
    let mut left_over: BTreeMap<Option<String>, Vec<Arc<DataFile>>> = BTreeMap::new();
    for ((date, _), mut small) in parts {
        small.sort_by_key(|file| order(file));
        if small.len() < enough(&date) {
            left_over.entry(date).or_default().extend(small);
        } else {
            groups.extend(cut(kind, small));
        }
    }
    for (date, small) in left_over {
        if small.len() >= enough(&date) {
            groups.extend(cut(kind, small));
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// Rewrites small files as larger ones. A file that cannot be read is left where it is and told once.
async fn compact(table: &mut Table, effort: Effort, report: &mut Report) -> Result<(), LakeError> {
    let kind = table.kind();
    let readable = table.files().filter(|file| !table.upkeep.unreadable.contains(file.path())).cloned();
    for group in plan(kind, readable, effort) {
        let mut writer = writer(kind, kind.file_schema()).when("compact", kind)?;
        let (mut joined, mut gathered) = (Vec::with_capacity(group.len()), 0);
        for file in group {
            let batches = match table.read(&file, None).await {
                Ok(batches) => batches,
                Err(error) => {
                    table.upkeep.unreadable.insert(file.path().to_owned());
                    report.problems.push(format!("left as it is: {} ({})", file.path(), chain(&error)));
                    continue;
                }
            };
            tokio::task::block_in_place(|| {
                for batch in &batches {
                    gathered += batch.get_array_memory_size();
                    if gathered > ROW_GROUP {
                        writer.flush()?;
                        gathered = batch.get_array_memory_size();
                    }
                    writer.write(batch)?;
                }
                Ok::<_, ParquetError>(())
            })
            .when("compact", kind)?;
            joined.push(file);
        }
        if joined.len() < 2 {
            continue;
        }
        let bytes = tokio::task::block_in_place(|| writer.into_inner()).when("compact", kind)?;
        let add = table.put(joined[0].date(), bytes, merged_statistics(&joined)).await?;
        let rewritten = joined.len();
        table
            .commit(Commit {
                change: Change::Compact,
                adds: vec![add],
                removes: joined,
                txns: Vec::new(),
                facts: &[],
            })
            .await?;
        report.compacted += rewritten;
        report.into += 1;
    }
    Ok(())
}

/// Lists the data files that nothing refers to, expired removals and files of failed commits alike, and
/// raises the counter that makes it safe to delete them. None: there are no such files.
async fn plan_vacuum(table: &mut Table) -> Result<Vec<StorePath>, LakeError> {
    let kind = table.kind();
    let listing: Vec<_> = table.store().list(None).try_collect().await.when("list", kind)?;
    table.forget_old_removals();
    let paths = listing.into_iter().map(|meta| meta.location);
    let unwanted: Vec<_> =
        paths.filter(|path| is_data_file(path) && !table.is_wanted(path.as_ref())).collect();
    if !unwanted.is_empty() {
        let txns = [VACUUM, MAINTENANCE]
            .map(|counter| (counter.to_owned(), table.txn(counter).unwrap_or(0) + 1))
            .to_vec();
        // Where a commit may go over foreign entries, what these refer to has to be left out again after this
        // one.
        table
            .commit(Commit {
                change: Change::Compact,
                adds: Vec::new(),
                removes: Vec::new(),
                txns,
                facts: &[],
            })
            .await?;
    }
    Ok(unwanted)
}

/// Whether a path may be a data file: Parquet, and neither in the log nor hidden.
fn is_data_file(path: &StorePath) -> bool {
    path.extension() == Some("parquet") && path.parts().all(|part| !part.as_ref().starts_with(['_', '.']))
}

/// What a table needs beside its rows; none of it touches what a reader or the writer may want, so it runs
/// beside the commits.
#[derive(Debug)]
struct Chores {
    /// The version to make a checkpoint of.
    checkpoint: Option<u64>,
    /// Files to delete: nothing refers to them and, since a counter was raised, nothing ever will.
    unwanted: Option<Vec<StorePath>>,
}

async fn checkpoint(kind: TableKind, log: &Log, version: u64) -> Result<(), LakeError> {
    let mut engine = DeltaTable::new(log.engine().clone());
    engine.load_version(version).await.when("checkpoint", kind)?;
    failpoint::pass(kind.label(), "checkpoint.before").when("checkpoint", kind)?;
    create_checkpoint(&engine, None).await.when("checkpoint", kind)?;
    failpoint::pass(kind.label(), "checkpoint.after").when("checkpoint", kind)
}

async fn clean_up(kind: TableKind, log: &Log) -> Result<usize, LakeError> {
    let deleted = log.clean_up(RETENTION).await?;
    failpoint::pass(kind.label(), "cleanup.after").when("clean up", kind)?;
    Ok(deleted)
}

/// Deletes files one by one. Returns how many went, and why the last one that did not go did not.
async fn delete(kind: TableKind, log: &Log, files: Vec<StorePath>) -> (usize, Result<(), LakeError>) {
    let (mut deleted, mut outcome) = (0, failpoint::pass(kind.label(), "vacuum.before").when("vacuum", kind));
    match log.delete_staged(RETENTION.to_std().unwrap_or_default()).when("vacuum", kind) {
        Ok(staged) => deleted += staged,
        Err(error) => outcome = Err(error),
    }
    for path in files {
        match log.store().delete(&path).await {
            Ok(()) => deleted += 1,
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => outcome = Err(error).when("vacuum", kind),
        }
    }
    (deleted, outcome.and(failpoint::pass(kind.label(), "vacuum.after").when("vacuum", kind)))
}

async fn tidy(kind: TableKind, log: Log, chores: Chores) -> Report {
    let mut report = Report::default();
    let mut outcomes = Vec::new();
    if let Some(version) = chores.checkpoint {
        let made = checkpoint(kind, &log, version).await;
        report.checkpoint = made.is_ok();
        outcomes.push(made);
        outcomes.push(clean_up(kind, &log).await.map(|deleted| report.log_entries = deleted));
    }
    if let Some(files) = chores.unwanted {
        let (deleted, outcome) = delete(kind, &log, files).await;
        report.vacuumed = deleted;
        outcomes.push(outcome);
    }
    report.problems = outcomes.into_iter().filter_map(Result::err).map(|error| chain(&error)).collect();
    report
}

/// Does what is due, or everything. Checkpoints, clean-up and deletions are begun here and reported by a
/// later call, unless everything is asked for. What fails is in the report.
///
/// # Errors
/// [`LakeError::Conflict`] and [`LakeError::Gone`] where another writer has committed: this process no longer
/// owns the table. What the storage says where it is not known whether a commit landed: open the table anew.
pub async fn maintain(table: &mut Table, effort: Effort) -> Result<Report, LakeError> {
    let all = effort == Effort::All;
    let mut report = Report::default();
    if table.upkeep.tidying.as_ref().is_some_and(|tidying| tidying.is_finished() || all) {
        report.add(finish(table).await);
    }
    if !all && table.upkeep.resting.is_some_and(|until| Instant::now() < until) {
        return Ok(report);
    }
    let compacted = compact(table, effort, &mut report).await;
    let mut failed = !report.outcome(table, compacted)?;
    let since = table.version() - table.upkeep.checkpoint;
    let checkpoint_due = since >= CHECKPOINT_EVERY || (all && since > 0);
    let vacuum_due = all || (effort == Effort::Due && table.upkeep.vacuumed.elapsed() >= VACUUM_EVERY);
    if table.upkeep.tidying.is_none() && (checkpoint_due || vacuum_due) {
        let begun = begin(table, checkpoint_due, vacuum_due).await;
        failed |= !report.outcome(table, begun)?;
    }
    table.upkeep.resting = failed.then(|| Instant::now() + REST);
    if all {
        report.add(finish(table).await);
    }
    Ok(report)
}

/// Begins checkpoint and vacuum beside the commits, for the table's owner only.
async fn begin(table: &mut Table, checkpoint: bool, vacuum: bool) -> Result<(), LakeError> {
    table.ensure_current().await?;
    let mut chores = Chores { checkpoint: None, unwanted: None };
    if vacuum {
        chores.unwanted = Some(plan_vacuum(table).await?);
        if table.upkeep.vacuumed.elapsed() >= VACUUM_EVERY {
            table.upkeep.unreadable.clear(); // a file may have been out of reach for a time only
        }
        table.upkeep.vacuumed = Instant::now();
    }
    if checkpoint {
        table.upkeep.checkpoint = table.version();
        chores.checkpoint = Some(table.version());
    }
    table.upkeep.tidying =
        Some(AbortOnDropHandle::new(tokio::spawn(tidy(table.kind(), table.log().clone(), chores))));
    Ok(())
}

/// Waits for what [`maintain`] has begun.
pub async fn finish(table: &mut Table) -> Report {
    let Some(tidying) = table.upkeep.tidying.take() else { return Report::default() };
    tidying.await.unwrap_or_else(|panic| Report {
        problems: vec![format!("{}: maintenance ended by a panic: {panic}", table.kind())],
        ..Report::default()
    })
}
