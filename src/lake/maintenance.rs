//! Keeps a table small: compaction, checkpoints, clean-up of the log, and vacuum (deletion of unreferenced
//! files). Runs in the table's writer.
//!
//! A compaction is a commit like any other and conflicts if another process has committed. A vacuum lists
//! unreferenced files, commits the counter `vacuum`, and only then deletes: a writer that was paused in the
//! middle of a batch conflicts with that commit and never refers to a deleted file; the vacuum of a process
//! that was replaced conflicts itself and deletes nothing. If one step fails, the others still run and the
//! report says what failed. Only a conflict, or a commit with an unknown outcome, ends maintenance: the state
//! of the table in this process is then out of date.

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
/// Time between vacuums; the first one is due this long after the start.
const VACUUM_EVERY: std::time::Duration = std::time::Duration::from_mins(20);
/// Time without maintenance after one of its steps has failed.
const PAUSE: std::time::Duration = std::time::Duration::from_mins(1);
/// App ids of two counters that every vacuum raises, so that commits of paused writers conflict.
const VACUUM: &str = "vacuum";
const MAINTENANCE: &str = "maintenance";

/// How much maintenance to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// What is due: no rows are waiting.
    Due,
    /// Only what is urgent: rows are waiting.
    Behind,
    /// Everything, due or not.
    All,
}

/// What was done, in numbers of files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Files that were rewritten by compactions.
    pub compacted: usize,
    /// Files that they were rewritten into.
    pub into: usize,
    pub checkpoint: bool,
    /// Entries and checkpoints of the log that were deleted.
    pub log_entries: usize,
    /// Unreferenced files that were deleted.
    pub vacuumed: usize,
    /// Errors of failed steps, and files that cannot be read.
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

    /// Records the failure of a step and returns whether it succeeded. Errors after which maintenance must
    /// stop are returned: conflicts, and commits with an unknown outcome.
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

/// Lists unreferenced data files (expired removals, files of failed commits) and, if there are any, commits
/// the counters that make it safe to delete them.
async fn plan_vacuum(table: &mut Table) -> Result<Vec<StorePath>, LakeError> {
    let kind = table.kind();
    let listing: Vec<_> = table.store().list(None).try_collect().await.when("list", kind)?;
    table.forget_old_removals();
    let paths = listing.into_iter().map(|meta| meta.location);
    let unreferenced: Vec<_> =
        paths.filter(|path| is_data_file(path) && !table.is_wanted(path.as_ref())).collect();
    if !unreferenced.is_empty() {
        let txns = [VACUUM, MAINTENANCE]
            .map(|counter| (counter.to_owned(), table.txn(counter).unwrap_or(0) + 1))
            .to_vec();
        // Conflicts if another writer has committed since, who may refer to one of these files.
        table.commit(Commit { txns, ..Commit::empty(Change::Compact) }).await?;
    }
    Ok(unreferenced)
}

/// Whether a path may be a data file: Parquet, not hidden and not in the log.
fn is_data_file(path: &StorePath) -> bool {
    path.extension() == Some("parquet") && path.parts().all(|part| !part.as_ref().starts_with(['_', '.']))
}

/// Work that runs concurrently with commits: it touches no file that readers or the writer use.
#[derive(Debug)]
struct BackgroundTasks {
    /// The version to write a checkpoint of.
    checkpoint: Option<u64>,
    /// Files to delete; since the counters were raised, no later commit can refer to them.
    unreferenced: Option<Vec<StorePath>>,
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

/// Deletes temporary and unreferenced files one by one. Returns the number deleted and the last error.
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

async fn run(kind: TableKind, log: Log, tasks: BackgroundTasks) -> Report {
    let mut report = Report::default();
    let mut outcomes = Vec::new();
    if let Some(version) = tasks.checkpoint {
        let made = checkpoint(kind, &log, version).await;
        report.checkpoint = made.is_ok();
        outcomes.push(made);
        outcomes.push(clean_up(kind, &log).await.map(|deleted| report.log_entries = deleted));
    }
    if let Some(files) = tasks.unreferenced {
        let (deleted, outcome) = delete(kind, &log, files).await;
        report.vacuumed = deleted;
        outcomes.push(outcome);
    }
    report.problems = outcomes.into_iter().filter_map(Result::err).map(|error| chain(&error)).collect();
    report
}

/// The schedule of a table's maintenance, and the work in progress. Create one with each [`Table`] that is
/// opened to write, and drop it with the table.
#[derive(Debug)]
pub struct Maintenance {
    /// Version of the newest checkpoint that was started here; 0 if none was.
    checkpoint: u64,
    /// When the last vacuum ran, or this object was created.
    vacuumed: Instant,
    /// No maintenance before this time, after a step has failed.
    paused_until: Option<Instant>,
    /// Paths of files that could not be read: each is reported once and left out of compactions.
    unreadable: HashSet<String>,
    /// Checkpoint, clean-up and deletions in progress.
    background: Option<AbortOnDropHandle<Report>>,
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
            paused_until: None,
            unreadable: HashSet::new(),
            background: None,
        }
    }

    /// Does what is due, or everything. Checkpoints, clean-up and deletions are only started here and
    /// reported by a later call, except with [`Effort::All`]. Failed steps are in the report.
    ///
    /// # Errors
    /// [`LakeError::Conflict`] and [`LakeError::Gone`] if another writer has committed: this process no
    /// longer owns the table. Any other error if a commit's outcome is unknown: open the table again.
    pub async fn maintain(&mut self, table: &mut Table, effort: Effort) -> Result<Report, LakeError> {
        let all = effort == Effort::All;
        let mut report = Report::default();
        if self.background.as_ref().is_some_and(|background| background.is_finished() || all) {
            report.add(self.finish().await);
        }
        if !all && self.paused_until.is_some_and(|until| Instant::now() < until) {
            return Ok(report);
        }
        let compacted = compact(table, effort, &mut self.unreadable, &mut report).await;
        let mut failed = !report.outcome(table, compacted)?;
        let since = table.version() - table.checkpoint().max(self.checkpoint);
        let checkpoint_due = since >= CHECKPOINT_EVERY || (all && since > 0);
        let vacuum_due = all || (effort == Effort::Due && self.vacuumed.elapsed() >= VACUUM_EVERY);
        if self.background.is_none() && (checkpoint_due || vacuum_due) {
            let started = self.start(table, checkpoint_due, vacuum_due).await;
            failed |= !report.outcome(table, started)?;
        }
        self.paused_until = failed.then(|| Instant::now() + PAUSE);
        if all {
            report.add(self.finish().await);
        }
        Ok(report)
    }

    /// Starts checkpoint and vacuum in the background. Fails if this process no longer owns the table.
    async fn start(&mut self, table: &mut Table, checkpoint: bool, vacuum: bool) -> Result<(), LakeError> {
        table.ensure_current().await?;
        let mut tasks = BackgroundTasks { checkpoint: None, unreferenced: None };
        if vacuum {
            tasks.unreferenced = Some(plan_vacuum(table).await?);
            if self.vacuumed.elapsed() >= VACUUM_EVERY {
                self.unreadable.clear(); // a file may have been unreadable only for a time
            }
            self.vacuumed = Instant::now();
        }
        if checkpoint {
            self.checkpoint = table.version();
            tasks.checkpoint = Some(table.version());
        }
        let background = tokio::spawn(run(table.kind(), table.log().clone(), tasks));
        self.background = Some(AbortOnDropHandle::new(background));
        Ok(())
    }

    /// Waits for what [`Self::maintain`] has started.
    pub async fn finish(&mut self) -> Report {
        let Some(background) = self.background.take() else { return Report::default() };
        background.await.unwrap_or_else(|panic| Report {
            problems: vec![format!("maintenance panicked: {panic}")],
            ..Report::default()
        })
    }
}
