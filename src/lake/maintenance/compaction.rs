//! Compaction: which small files are worth a rewrite, and the rewrite.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use deltalake::parquet::errors::ParquetError;

use super::{Effort, Report};
use crate::lake::file::merged_statistics;
use crate::lake::parquet::writer;
use crate::lake::table::{Change, Commit};
use crate::lake::{DataFile, LakeError, Table, TableContext as _, TableKind};
use crate::text::chain;

/// Only files below this size, in bytes, are compacted while there are fewer than [`MANY_FILES`].
const SMALL_FILE: u64 = 512 << 10;
/// From this number of files on, larger ones are compacted, too.
const MANY_FILES: usize = 800;
/// Small files of the newest date that are worth a rewrite.
const ENOUGH_FILES: usize = 50;
/// The same for an older date, which no longer grows.
const ENOUGH_OLD_FILES: usize = 8;
/// Small files of all dates that are worth a rewrite while rows are waiting.
const ENOUGH_FILES_WHEN_BEHIND: usize = 400;
/// Most bytes of a row group of a compacted file, in memory, but for its last batch: a reader loads whole row
/// groups.
const ROW_GROUP: usize = 128 << 20;

/// Target size of a compacted file in bytes. Gold's are small, so that a restatement rewrites little.
const fn target(kind: TableKind) -> u64 {
    match kind {
        TableKind::Gold => 4 << 20,
        _ => 16 << 20,
    }
}

/// What files that are compacted together have in common: the date and, for files of one stream only, that
/// stream. The statistics of the compacted file then still show its range of offsets.
type Shared = (Option<String>, Option<(String, i64)>);

fn shared(file: &DataFile) -> Shared {
    let topic = file.texts("topic").filter(|(min, max)| min == max).map(|(topic, _)| topic.to_owned());
    let partition =
        file.integers("partition").filter(|(min, max)| min == max).map(|(partition, _)| partition);
    (file.date().map(str::to_owned), topic.zip(partition))
}

/// Sort key: first offset or window start, then path.
fn order(file: &DataFile) -> (i64, String) {
    let first = file.integers("offset").map(|(min, _)| min);
    let first = first.or_else(|| file.times("window_start").map(|(min, _)| min)).unwrap_or(i64::MIN);
    (first, file.path().to_owned())
}

/// Cuts files into groups of at most the target size.
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

/// The groups of files to rewrite into one file each.
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
    // Files of streams with too few files each are joined across streams.
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

/// Rewrites small files as larger ones. A file that cannot be read is kept, reported, and left out of later
/// compactions (`unreadable` holds the paths).
pub(super) async fn compact(
    table: &mut Table,
    effort: Effort,
    unreadable: &mut HashSet<String>,
    report: &mut Report,
) -> Result<(), LakeError> {
    let kind = table.kind();
    let readable = table.files().filter(|file| !unreadable.contains(file.path())).cloned();
    for group in plan(kind, readable, effort) {
        let mut writer = writer(kind, kind.file_schema()).when("compact", kind)?;
        let (mut joined, mut gathered) = (Vec::with_capacity(group.len()), 0);
        for file in group {
            let batches = match table.read(&file, None).await {
                Ok(batches) => batches,
                Err(error) => {
                    unreadable.insert(file.path().to_owned());
                    report.problems.push(format!("not compacted: {} ({})", file.path(), chain(&error)));
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
        table.commit(Commit { adds: vec![add], removes: joined, ..Commit::empty(Change::Compact) }).await?;
        report.compacted += rewritten;
        report.into += 1;
    }
    Ok(())
}
