//! Keeping a table small: compaction, checkpoints, clean-up of the log and of files that nothing refers to.
//!
//! Done by the table's own writer. A compaction is a commit like any other, and fails with a conflict if the
//! table has moved on. So does a vacuum: it lists what nothing refers to, commits the counter `vacuum`, and
//! only then deletes. A writer that was paused in the midst of a batch conflicts with that commit and never
//! refers to a deleted file; a vacuum of a process that was replaced conflicts itself and deletes nothing.
//! Each step stands alone: where one fails, the others are done, and the report says what failed. Only who
//! was fenced, or does not know whether a commit landed, stops: what is known of the table is out of date.

mod compaction;

use std::collections::HashSet;
use std::time::Instant;

use deltalake::DeltaTable;
use deltalake::checkpoints::create_checkpoint;
use deltalake::logstore::object_store::{Error as StoreError, ObjectStoreExt as _, path::Path as StorePath};
use futures::TryStreamExt as _;
use tokio_util::task::AbortOnDropHandle;

use compaction::compact;

use super::log::Log;
use super::table::{Change, Commit, RETENTION};
use super::{LakeError, Table, TableContext as _, TableKind, failpoint};
use crate::text::chain;

/// Commits between checkpoints.
const CHECKPOINT_EVERY: u64 = 100;
/// Time between two looks for files that nothing refers to; the first is as long after the start.
const VACUUM_EVERY: std::time::Duration = std::time::Duration::from_mins(20);
/// Time without maintenance after one of its steps has failed.
const REST: std::time::Duration = std::time::Duration::from_mins(1);
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
        table.commit(Commit { txns, ..Commit::empty(Change::Compact) }).await?;
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

/// Keeps one table small, and remembers between two calls what was done and what is under way. Whoever opens
/// a table to write makes one for it, and drops it with the table.
#[derive(Debug)]
pub struct Maintenance {
    /// Version of the newest checkpoint that was begun here; 0 where there is none.
    checkpoint: u64,
    /// When files without a reference were looked for last; the start counts as the first time.
    vacuumed: Instant,
    /// No maintenance before this time: a step of the last one failed.
    resting: Option<Instant>,
    /// Files that could not be read, so that each is reported once and left out of compactions.
    unreadable: HashSet<String>,
    /// Checkpoint, clean-up and deletions under way.
    tidying: Option<AbortOnDropHandle<Report>>,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self::new()
    }
}

impl Maintenance {
    /// For a table that was just opened.
    pub fn new() -> Self {
        Self {
            checkpoint: 0,
            vacuumed: Instant::now(),
            resting: None,
            unreadable: HashSet::new(),
            tidying: None,
        }
    }

    /// Does what is due, or everything. Checkpoints, clean-up and deletions are begun here and reported by a
    /// later call, unless everything is asked for. What fails is in the report.
    ///
    /// # Errors
    /// [`LakeError::Conflict`] and [`LakeError::Gone`] where another writer has committed: this process no
    /// longer owns the table. What the storage says where it is not known whether a commit landed: open the
    /// table anew.
    pub async fn maintain(&mut self, table: &mut Table, effort: Effort) -> Result<Report, LakeError> {
        let all = effort == Effort::All;
        let mut report = Report::default();
        if self.tidying.as_ref().is_some_and(|tidying| tidying.is_finished() || all) {
            report.add(self.finish().await);
        }
        if !all && self.resting.is_some_and(|until| Instant::now() < until) {
            return Ok(report);
        }
        let compacted = compact(table, effort, &mut self.unreadable, &mut report).await;
        let mut failed = !report.outcome(table, compacted)?;
        let since = table.version() - table.checkpoint().max(self.checkpoint);
        let checkpoint_due = since >= CHECKPOINT_EVERY || (all && since > 0);
        let vacuum_due = all || (effort == Effort::Due && self.vacuumed.elapsed() >= VACUUM_EVERY);
        if self.tidying.is_none() && (checkpoint_due || vacuum_due) {
            let begun = self.begin(table, checkpoint_due, vacuum_due).await;
            failed |= !report.outcome(table, begun)?;
        }
        self.resting = failed.then(|| Instant::now() + REST);
        if all {
            report.add(self.finish().await);
        }
        Ok(report)
    }

    /// Begins checkpoint and vacuum beside the commits, for the table's owner only.
    async fn begin(&mut self, table: &mut Table, checkpoint: bool, vacuum: bool) -> Result<(), LakeError> {
        table.ensure_current().await?;
        let mut chores = Chores { checkpoint: None, unwanted: None };
        if vacuum {
            chores.unwanted = Some(plan_vacuum(table).await?);
            if self.vacuumed.elapsed() >= VACUUM_EVERY {
                self.unreadable.clear(); // a file may have been out of reach for a time only
            }
            self.vacuumed = Instant::now();
        }
        if checkpoint {
            self.checkpoint = table.version();
            chores.checkpoint = Some(table.version());
        }
        let tidying = tokio::spawn(tidy(table.kind(), table.log().clone(), chores));
        self.tidying = Some(AbortOnDropHandle::new(tidying));
        Ok(())
    }

    /// Waits for what [`Self::maintain`] has begun.
    pub async fn finish(&mut self) -> Report {
        let Some(tidying) = self.tidying.take() else { return Report::default() };
        tidying.await.unwrap_or_else(|panic| Report {
            problems: vec![format!("maintenance ended by a panic: {panic}")],
            ..Report::default()
        })
    }
}
