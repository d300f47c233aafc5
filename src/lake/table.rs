//! One Delta table: its live files, its `txn`s, and commits that compare and swap on the version.
//!
//! Promises: [`Table::commit`] lands exactly one version above the one that this object knows, or fails with
//! [`LakeError::Conflict`] or [`LakeError::Gone`] and changes nothing that readers see. This is stricter than
//! Delta's own conflict check: a writer that was paused and replaced can never commit. The cost of a commit
//! does not grow with the number of versions: the state is folded from the log's entries, and no snapshot is
//! rebuilt.

mod commit;
mod open;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{Duration, Utc};
use deltalake::arrow::array::RecordBatch;
use deltalake::kernel::{Action, Add};
use deltalake::logstore::get_actions;
use deltalake::logstore::object_store::{
    Error as StoreError, ObjectStore, ObjectStoreExt as _, path::Path as StorePath,
};
use uuid::Uuid;

use super::file::DataFile;
use super::log::{Anchor, Log};
use super::parquet::{decode, encode};
use super::schema::TableKind;
use super::{LakeError, TableContext as _, failpoint};
use crate::market::Stream;

pub use commit::{Change, Commit, Tried};

/// How long removed files and entries of the log are kept: readers hold no lock.
pub(super) const RETENTION: Duration = Duration::hours(1);

/// A table of the lake. One writer at a time; readers refresh a copy of their own.
pub struct Table {
    kind: TableKind,
    path: PathBuf,
    log: Log,
    /// The newest entry that was folded.
    anchor: Anchor,
    /// See [`Self::tried`].
    tried: Option<Tried>,
    files: BTreeMap<String, Arc<DataFile>>,
    txns: BTreeMap<String, i64>,
    /// Files that were removed within the retention, with the time of the removal in milliseconds since the
    /// epoch.
    removed: BTreeMap<String, i64>,
    /// Version of the checkpoint that this object was read from, 0 where there was none.
    checkpoint: u64,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("kind", &self.kind)
            .field("version", &self.anchor.version)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

impl Table {
    /// Applies what other writers have committed since; `true` if there was anything.
    ///
    /// # Errors
    /// [`LakeError::Gone`] if entries that this object has not read were cleaned up: open the table again.
    pub async fn refresh(&mut self) -> Result<bool, LakeError> {
        let entries = self.log.beyond(self.anchor).await?;
        for bytes in &entries {
            let version = self.version() + 1;
            let actions = get_actions(version, bytes).when("read", self.kind)?;
            self.anchor = Log::anchor(version, bytes);
            actions.iter().for_each(|action| self.fold(action));
        }
        self.forget_old_removals();
        Ok(!entries.is_empty())
    }

    /// Checks that this object knows the newest version and that the log still holds it.
    ///
    /// # Errors
    /// [`LakeError::Conflict`] if another writer has committed, [`LakeError::Gone`] if the version was
    /// cleaned up.
    pub async fn ensure_current(&self) -> Result<(), LakeError> {
        let beyond = self.log.beyond(self.anchor).await?;
        if beyond.is_empty() {
            Ok(())
        } else {
            Err(LakeError::Conflict { table: self.kind, version: self.version() + 1 })
        }
    }

    /// Applies an action of an entry to the state.
    fn fold(&mut self, action: &Action) {
        match action {
            Action::Add(add) => {
                self.files.insert(add.path.clone(), Arc::new(DataFile::new(add.clone())));
            }
            Action::Remove(remove) => {
                self.files.remove(&remove.path);
                self.removed.insert(remove.path.clone(), remove.deletion_timestamp.unwrap_or(0));
            }
            Action::Txn(txn) => {
                self.txns.insert(txn.app_id.clone(), txn.version);
            }
            _ => {}
        }
    }

    pub fn kind(&self) -> TableKind {
        self.kind
    }

    /// The version that this object knows.
    pub fn version(&self) -> u64 {
        self.anchor.version
    }

    /// Version of the checkpoint that this object was read from, 0 where there was none.
    pub(super) fn checkpoint(&self) -> u64 {
        self.checkpoint
    }

    /// The live files, ordered by path.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &Arc<DataFile>> {
        self.files.values()
    }

    /// Absolute path of a live file.
    pub fn absolute(&self, file: &DataFile) -> PathBuf {
        self.path.join(file.path())
    }

    /// The position that was last committed under an app id.
    pub fn txn(&self, app_id: &str) -> Option<i64> {
        self.txns.get(app_id).copied()
    }

    /// App id under which this table's positions in a stream are kept: layer, topic and partition.
    pub fn app_id(&self, stream: &Stream) -> String {
        format!("{}/{stream}", self.kind.label())
    }

    /// The last offset of the stream whose rows are in this table.
    pub fn position(&self, stream: &Stream) -> Option<i64> {
        self.txn(&self.app_id(stream))
    }

    /// All streams of which this table has taken in rows, with the last offset of each.
    pub fn positions(&self) -> Vec<(Stream, i64)> {
        let prefix = format!("{}/", self.kind.label());
        let stream = |app_id: &str| {
            let (topic, partition) = app_id.strip_prefix(&prefix)?.rsplit_once('/')?;
            Some(Stream::new(topic, partition.parse().ok()?))
        };
        self.txns.iter().filter_map(|(app_id, offset)| Some((stream(app_id)?, *offset))).collect()
    }

    /// Writes rows to a new data file; they are not in the table until the file is committed.
    pub async fn write(&self, date: Option<&str>, batch: &RecordBatch) -> Result<Add, LakeError> {
        let (bytes, stats) =
            tokio::task::block_in_place(|| encode(self.kind, batch)).when("write", self.kind)?;
        self.put(date, bytes, stats).await
    }

    /// Stores an encoded file under a new name.
    pub(super) async fn put(
        &self,
        date: Option<&str>,
        bytes: Vec<u8>,
        stats: String,
    ) -> Result<Add, LakeError> {
        let kind = self.kind;
        let name = format!("part-{}.parquet", Uuid::new_v4());
        let path = date.map_or_else(|| name.clone(), |date| format!("date={date}/{name}"));
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        failpoint::pass(kind.label(), "write.before").when("write", kind)?;
        self.store().put(&StorePath::from(path.as_str()), bytes.into()).await.when("write", kind)?;
        failpoint::pass(kind.label(), "write.after").when("write", kind)?;
        Ok(Add {
            path,
            partition_values: date
                .map(|date| ("date".to_owned(), Some(date.to_owned())))
                .into_iter()
                .collect(),
            size,
            modification_time: chrono::Utc::now().timestamp_millis(),
            data_change: true,
            stats: Some(stats),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        })
    }

    /// Reads a file's rows, all columns or those named, in the types of the table's schema.
    ///
    /// # Errors
    /// [`LakeError::MissingFile`] if it was vacuumed: refresh the table and use its new files.
    pub async fn read(
        &self,
        file: &DataFile,
        columns: Option<&[&str]>,
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let kind = self.kind;
        let bytes = match self.store().get(&StorePath::from(file.path())).await {
            Ok(found) => found.bytes().await.when("read", kind)?,
            Err(StoreError::NotFound { .. }) => {
                return Err(LakeError::MissingFile { table: kind, path: file.path().to_owned() });
            }
            Err(error) => return Err(error).when("read", kind),
        };
        tokio::task::block_in_place(|| decode(kind, &bytes, columns).when("read", kind))
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    pub(super) fn store(&self) -> &Arc<dyn ObjectStore> {
        self.log.store()
    }

    /// Whether a data file is live, or was removed so recently that readers may still use it.
    pub(super) fn is_wanted(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.removed.contains_key(path)
    }

    /// Forgets removals that are older than the retention, so that vacuum may delete the files.
    pub(super) fn forget_old_removals(&mut self) {
        let since = Utc::now().timestamp_millis() - RETENTION.num_milliseconds();
        self.removed.retain(|_, at| *at > since);
    }
}
