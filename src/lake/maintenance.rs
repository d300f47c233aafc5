//! Keeping a table small: compaction, checkpoints, clean-up of the log and of files that nothing refers to.
//!
//! Done by the table's own writer, so that nothing races: the compaction is a commit like any other, between two others, and
//! fails with a conflict if the table has moved on; the rest touches only what no reader wants.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chrono::Duration;
use deltalake::DeltaTable;
use deltalake::checkpoints::{cleanup_metadata, create_checkpoint};
use deltalake::logstore::LogStoreRef;
use deltalake::logstore::object_store::{Error as StoreError, ObjectStoreExt as _, path::Path as StorePath};
use deltalake::operations::vacuum::VacuumMode;
use tokio_util::task::AbortOnDropHandle;

use super::parquet::writer;
use super::table::{Change, Commit, merged_statistics};
use super::{Context as _, DataFile, LakeError, Table, TableKind, failpoint};

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
/// Files that nothing refers to stay for so long: readers hold no lock.
const RETENTION: Duration = Duration::hours(1);

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Files that were rewritten.
    pub compacted: usize,
    /// Files that they became.
    pub into: usize,
    /// Whether a checkpoint was made.
    pub checkpoint: bool,
    /// Entries of the log that were deleted.
    pub log_entries: usize,
    /// Files without a reference that were deleted.
    pub vacuumed: usize,
}

/// Bytes that a compacted file aims at. Gold's are small, so that a restatement rewrites little.
const fn target(kind: TableKind) -> u64 {
    match kind {
        TableKind::Gold => 4 << 20,
        _ => 16 << 20,
    }
}

fn order(file: &DataFile) -> (Option<String>, i64, String) {
    let first = file.integers("offset").map(|(min, _)| min);
    let first = first.or_else(|| file.times("window_start").map(|(min, _)| min)).unwrap_or(i64::MIN);
    (file.texts("topic").map(|(min, _)| min.to_owned()), first, file.path().to_owned())
}

/// The groups of files to rewrite as one each.
fn plan(kind: TableKind, files: impl Iterator<Item = Arc<DataFile>>, effort: Effort) -> Vec<Vec<Arc<DataFile>>> {
    let mut dates: BTreeMap<Option<String>, Vec<Arc<DataFile>>> = BTreeMap::new();
    let mut files: Vec<_> = files.filter(|file| file.bytes() < target(kind) / 4).collect();
    if effort != Effort::All && files.len() < MANY_FILES {
        // Full batches of a busy pipeline: rewriting them costs more than reading them.
        files.retain(|file| file.bytes() < SMALL_FILE);
    }
    for file in files {
        dates.entry(file.date().map(str::to_owned)).or_default().push(file);
    }
    if effort == Effort::Behind && dates.values().map(Vec::len).sum::<usize>() < ENOUGH_FILES_WHEN_BEHIND {
        return Vec::new();
    }
    let newest = dates.keys().next_back().cloned().flatten();
    let mut groups = Vec::new();
    for (date, mut small) in dates {
        let enough = match effort {
            Effort::All => 2,
            Effort::Due | Effort::Behind if date == newest => ENOUGH_FILES,
            Effort::Due | Effort::Behind => ENOUGH_OLD_FILES,
        };
        if small.len() < enough {
            continue;
        }
        small.sort_by_key(|file| order(file));
        let (mut group, mut bytes) = (Vec::new(), 0);
        for file in small {
            if bytes + file.bytes() > target(kind) && !group.is_empty() {
                groups.push(std::mem::take(&mut group));
                bytes = 0;
            }
            bytes += file.bytes();
            group.push(file);
        }
        groups.push(group);
    }
    groups.retain(|group| group.len() > 1);
    groups
}

async fn compact(table: &mut Table, effort: Effort, report: &mut Report) -> Result<(), LakeError> {
    let kind = table.kind();
    for group in plan(kind, table.files().cloned(), effort) {
        let mut writer = writer(kind, kind.file_schema()).when("compact", kind)?;
        for file in &group {
            for batch in table.read(file, None).await? {
                tokio::task::block_in_place(|| writer.write(&batch)).when("compact", kind)?;
            }
        }
        let bytes = tokio::task::block_in_place(|| writer.into_inner()).when("compact", kind)?;
        let add = table.put(group[0].date(), bytes, merged_statistics(&group)).await?;
        report.compacted += group.len();
        report.into += 1;
        table.commit(Commit { change: Change::Compact, adds: vec![add], removes: group, txns: Vec::new(), facts: &[] }).await?;
    }
    Ok(())
}

/// What a table needs beside its rows; it touches no file that a reader or the writer may want, so it runs beside the commits.
#[derive(Debug, Clone, Copy)]
struct Chores {
    checkpoint: bool,
    vacuum: bool,
}

async fn tidy(kind: TableKind, log: LogStoreRef, version: u64, chores: Chores) -> Result<Report, LakeError> {
    let mut report = Report::default();
    let open = async || {
        let mut engine = DeltaTable::new(log.clone());
        engine.load_version(version).await.when("open", kind).map(|()| engine)
    };
    if chores.checkpoint {
        let engine = open().await?;
        failpoint::pass(kind.label(), "checkpoint.before").when("checkpoint", kind)?;
        create_checkpoint(&engine, None).await.when("checkpoint", kind)?;
        failpoint::pass(kind.label(), "checkpoint.after").when("checkpoint", kind)?;
        report.checkpoint = true;
        report.log_entries = cleanup_metadata(&engine, None).await.when("clean up", kind)?;
        failpoint::pass(kind.label(), "cleanup.after").when("clean up", kind)?;
    }
    if chores.vacuum {
        // Files that no version within the retention refers to, those of crashed commits among them. A dry run names them and
        // commits nothing; deleting them is ours.
        // Opened anew: the clean-up may have deleted what the table was read from before.
        let engine = open().await?;
        let store = engine.object_store();
        let plan = engine.vacuum().with_mode(VacuumMode::Full).with_retention_period(RETENTION).with_dry_run(true);
        let (_, plan) = plan.await.when("vacuum", kind)?;
        failpoint::pass(kind.label(), "vacuum.before").when("vacuum", kind)?;
        for path in plan.files_deleted {
            match store.delete(&StorePath::from(path.as_str())).await {
                Ok(()) => report.vacuumed += 1,
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error).when("vacuum", kind),
            }
        }
        failpoint::pass(kind.label(), "vacuum.after").when("vacuum", kind)?;
    }
    Ok(report)
}

/// Does what is due, or everything. Checkpoints and clean-up are begun here and reported by a later call, unless everything is
/// asked for.
///
/// # Errors
/// What the storage says; [`LakeError::Conflict`] where another writer has committed.
pub async fn maintain(table: &mut Table, effort: Effort) -> Result<Report, LakeError> {
    let kind = table.kind();
    let mut report = match table.tidying.take_if(|tidying| tidying.is_finished() || effort == Effort::All) {
        Some(done) => done.await.map_err(std::io::Error::other).when("maintain", kind)??,
        None => Report::default(),
    };
    compact(table, effort, &mut report).await?;
    let since = table.version() - table.checkpoint;
    let all = effort == Effort::All;
    let chores = Chores {
        checkpoint: since >= CHECKPOINT_EVERY || (all && since > 0),
        vacuum: all || (effort == Effort::Due && table.vacuumed.elapsed() >= VACUUM_EVERY),
    };
    if table.tidying.is_some() || !(chores.checkpoint || chores.vacuum) {
        return Ok(report);
    }
    if chores.checkpoint {
        table.checkpoint = table.version();
    }
    if chores.vacuum {
        table.vacuumed = Instant::now();
    }
    let tidying = AbortOnDropHandle::new(tokio::spawn(tidy(kind, table.log().clone(), table.version(), chores)));
    if all {
        let tidied = tidying.await.map_err(std::io::Error::other).when("maintain", kind)??;
        report = Report { checkpoint: tidied.checkpoint, log_entries: tidied.log_entries, vacuumed: tidied.vacuumed, ..report };
    } else {
        table.tidying = Some(tidying);
    }
    Ok(report)
}

/// Waits for what [`maintain`] has begun.
///
/// # Errors
/// As [`maintain`].
pub async fn settle(table: &mut Table) -> Result<(), LakeError> {
    if let Some(tidying) = table.tidying.take() {
        tidying.await.map_err(std::io::Error::other).when("maintain", table.kind())??;
    }
    Ok(())
}
