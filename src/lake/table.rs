//! One Delta table: its live files, its `txn`s, and commits that compare and swap on the version.
//!
//! Promises: [`Table::commit`] lands exactly one version above the one that this object knows, or fails with
//! [`LakeError::Conflict`] or [`LakeError::Gone`] and changes nothing that anybody reads; that is stricter
//! than Delta's own conflict check and fences every writer that was paused and replaced. A commit costs the
//! same however many went before: the state is folded from the log's entries, and no snapshot is rebuilt.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{Duration, Utc};
use deltalake::DeltaTable;
use deltalake::arrow::array::RecordBatch;
use deltalake::kernel::transaction::CommitData;
use deltalake::kernel::{Action, Add, Transaction};
use deltalake::logstore::get_actions;
use deltalake::logstore::object_store::{
    Error as StoreError, ObjectStore, ObjectStoreExt as _, path::Path as StorePath,
};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use serde_json::Value;
use uuid::Uuid;

use super::file::DataFile;
use super::log::{Anchor, Log};
use super::parquet::decode;
use super::schema::{FORMAT_PROPERTY, FORMAT_VERSION, TableKind};
use super::{LakeError, Storage, TableContext as _, failpoint};
use crate::market::Stream;

pub use super::parquet::encode;

/// Files that were removed, and entries of the log, stay for so long: readers hold no lock.
pub(super) const RETENTION: Duration = Duration::hours(1);

/// What a commit does to its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Rows are added.
    Append,
    /// Rows are replaced, copy-on-write.
    Restate,
    /// The same rows in fewer files.
    Compact,
}

/// Everything that one commit holds.
#[derive(Debug)]
pub struct Commit<'a> {
    /// What it does.
    pub change: Change,
    /// New files, from [`Table::write`].
    pub adds: Vec<Add>,
    /// Files that go.
    pub removes: Vec<Arc<DataFile>>,
    /// Positions that the rows came from: `(app id, position)`.
    pub txns: Vec<(String, i64)>,
    /// Facts for those who read the log: counts and the like.
    pub facts: &'a [(&'a str, i64)],
}

/// A commit that was tried: enough to tell later whether it landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    version: u64,
    id: Uuid,
}

/// A table of the lake. One writer at a time; readers refresh a copy of their own.
pub struct Table {
    kind: TableKind,
    path: PathBuf,
    log: Log,
    /// The newest entry that was folded.
    anchor: Anchor,
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
    /// Opens the table for its writer and makes it if it is not there.
    ///
    /// # Errors
    /// [`LakeError::NotOurs`] where something else stands in its place; otherwise what the storage says.
    pub async fn open_or_create(storage: &Storage, kind: TableKind) -> Result<Self, LakeError> {
        let path = storage.table_path(kind);
        std::fs::create_dir_all(&path).map_err(|source| LakeError::Folder { path: path.clone(), source })?;
        if let Some(table) = Self::open(storage, kind).await? {
            return Ok(table);
        }
        let log = Log::open(&path, kind)?;
        let properties = [
            (FORMAT_PROPERTY, FORMAT_VERSION.to_owned()),
            ("delta.dataSkippingStatsColumns", kind.statistics().join(",")),
            ("delta.enableExpiredLogCleanup", "false".to_owned()),
            ("delta.deletedFileRetentionDuration", "interval 1 hours".to_owned()),
            ("delta.logRetentionDuration", "interval 1 hours".to_owned()),
        ];
        let created = CreateBuilder::new()
            .with_log_store(log.engine().clone())
            .with_table_name(kind.path())
            .with_columns(kind.delta_columns())
            .with_partition_columns(kind.is_dated().then_some("date"))
            .with_configuration(properties.map(|(key, value)| (key.to_owned(), Some(value))))
            .with_raise_if_key_not_exists(false)
            .with_save_mode(SaveMode::ErrorIfExists)
            .await;
        if let Some(table) = Self::open(storage, kind).await? {
            return Ok(table); // made by us or, a moment earlier, by another process
        }
        created.when("create", kind)?;
        Err(LakeError::NotOurs { path, why: "it vanished while it was made".into() })
    }

    /// Opens the table as it stands; none where there is no such table yet.
    ///
    /// # Errors
    /// As [`Self::open_or_create`].
    pub async fn open(storage: &Storage, kind: TableKind) -> Result<Option<Self>, LakeError> {
        let path = storage.table_path(kind);
        if !path.exists() {
            return Ok(None);
        }
        let log = Log::open(&path, kind)?;
        if !log.engine().is_delta_table_location().await.when("open", kind)? {
            let strange = std::fs::read_dir(&path)
                .ok()
                .into_iter()
                .flatten()
                .flatten()
                .any(|e| e.file_name() != "_delta_log");
            return if strange {
                Err(LakeError::NotOurs { path, why: "the folder holds files but no Delta log".into() })
            } else {
                Ok(None)
            };
        }
        let mut table = DeltaTable::new(log.engine().clone());
        table.load().await.when("open", kind)?;
        let snapshot = table.snapshot().when("open", kind)?;
        match snapshot.metadata().configuration().get(FORMAT_PROPERTY).map(String::as_str) {
            Some(FORMAT_VERSION) => {}
            Some(other) => {
                return Err(LakeError::NotOurs {
                    path,
                    why: format!("its format is {other}, this program writes {FORMAT_VERSION}"),
                });
            }
            None => return Err(LakeError::NotOurs { path, why: "another program made it".into() }),
        }
        let version = snapshot.version();
        let mut files = BTreeMap::new();
        for view in snapshot.log_data().iter() {
            if view.deletion_vector_descriptor().is_some() {
                return Err(LakeError::NotOurs {
                    path,
                    why: "it has deletion vectors, which this program does not read".into(),
                });
            }
            #[expect(deprecated, reason = "the log wants Add actions back when files are rewritten")]
            let add = view.add_action();
            files.insert(add.path.clone(), Arc::new(DataFile::new(add)));
        }
        let newest = log.entry(version).await?.ok_or(LakeError::Gone { table: kind, version })?;
        let mut this = Self {
            kind,
            path,
            anchor: Log::anchor(version, &newest),
            log,
            tried: None,
            files,
            txns: BTreeMap::new(),
            removed: BTreeMap::new(),
            checkpoint: 0,
        };
        this.load_history().await?;
        Ok(Some(this))
    }

    /// Reads all `txn`s and recent removals up to this version: from the newest checkpoint, then from the
    /// entries after it.
    async fn load_history(&mut self) -> Result<(), LakeError> {
        let mut next = 0;
        if let Some((version, location)) = self.log.newest_checkpoint(self.version()).await? {
            let bytes = self
                .store()
                .get(&location)
                .await
                .when("open", self.kind)?
                .bytes()
                .await
                .when("open", self.kind)?;
            let checkpoint = super::parquet::checkpoint(bytes).when("open", self.kind)?;
            (self.txns, self.removed) = (checkpoint.txns, checkpoint.removed);
            next = version + 1;
            self.checkpoint = version;
        }
        for version in next..=self.version() {
            let entry = self.log.entry(version).await?;
            let entry = entry.ok_or_else(|| LakeError::Corrupt {
                table: self.kind,
                what: format!("a log without entry {version} and no checkpoint"),
            })?;
            for action in get_actions(version, &entry).when("open", self.kind)? {
                if let Action::Txn(_) | Action::Remove(_) = &action {
                    self.fold(&action);
                }
            }
        }
        Ok(())
    }

    /// Takes in what other writers have committed since. `true` when there was something.
    ///
    /// # Errors
    /// [`LakeError::Gone`] where the log was cleaned up beyond what this object knows: open the table anew.
    /// Otherwise what the storage says.
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

    /// Makes sure that this object knows the newest version: that nobody else has committed, and that the log
    /// still holds it.
    ///
    /// # Errors
    /// [`LakeError::Conflict`], [`LakeError::Gone`]; otherwise what the storage says.
    pub async fn ensure_current(&self) -> Result<(), LakeError> {
        let beyond = self.log.beyond(self.anchor).await?;
        if beyond.is_empty() {
            Ok(())
        } else {
            Err(LakeError::Conflict { table: self.kind, version: self.version() + 1 })
        }
    }

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

    /// Which table this is.
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

    /// The live files.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &Arc<DataFile>> {
        self.files.values()
    }

    /// Absolute path of a live file.
    pub fn absolute(&self, file: &DataFile) -> PathBuf {
        self.path.join(file.path())
    }

    /// The position that was committed last under an app id.
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
    ///
    /// # Errors
    /// What the storage says (a full disk, for one).
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

    /// Commits as the version after the one that this object knows. Returns that version.
    ///
    /// # Errors
    /// [`LakeError::Conflict`] where that version is taken: the commit's files are deleted.
    /// [`LakeError::Gone`] where the log was cleaned up beyond what this object knows. After any other error
    /// the commit may or may not have landed: open the table anew and ask [`Self::holds`] or look at the
    /// positions.
    pub async fn commit(&mut self, commit: Commit<'_>) -> Result<u64, LakeError> {
        let kind = self.kind;
        let data_change = commit.change != Change::Compact;
        let written: Vec<_> = commit.adds.iter().map(|add| StorePath::from(add.path.as_str())).collect();
        let mut actions: Vec<Action> =
            commit.removes.iter().map(|file| Action::Remove(file.remove(data_change))).collect();
        actions.extend(commit.adds.into_iter().map(|add| Action::Add(Add { data_change, ..add })));
        let operation = match commit.change {
            Change::Append => {
                let partition_by = kind.is_dated().then(|| vec!["date".to_owned()]);
                DeltaOperation::Write { mode: SaveMode::Append, partition_by, predicate: None }
            }
            Change::Restate => DeltaOperation::Update { predicate: None },
            Change::Compact => DeltaOperation::Optimize { predicate: None, target_size: 0 },
        };
        let tried = Tried { version: self.version() + 1, id: Uuid::new_v4() };
        let facts = commit.facts.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value)));
        let facts = facts.chain([("id".to_owned(), Value::from(tried.id.to_string()))]).collect();
        let now = Utc::now().timestamp_millis();
        let txns = commit
            .txns
            .into_iter()
            .map(|(app_id, at)| Transaction::new_with_last_update(app_id, at, Some(now)))
            .collect();
        let data = CommitData::new(actions, operation, facts, txns);
        let bytes = data.get_bytes().map_err(deltalake::DeltaTableError::from).when("commit to", kind)?;
        let step = if data_change { "commit" } else { "compact" };
        failpoint::pass(kind.label(), &format!("{step}.before")).when("commit to", kind)?;
        self.tried = Some(tried);
        match self.log.put(self.anchor, bytes).await {
            Ok(anchor) => self.anchor = anchor,
            Err(error) => {
                if matches!(error, LakeError::Conflict { .. } | LakeError::Gone { .. }) {
                    self.tried = None; // lost, or void whatever stands there
                }
                if matches!(error, LakeError::Conflict { .. }) {
                    for path in written {
                        self.store().delete(&path).await.ok(); // else the next vacuum finds it
                    }
                }
                return Err(error);
            }
        }
        data.actions.iter().for_each(|action| self.fold(action));
        failpoint::pass(kind.label(), &format!("{step}.after")).when("commit to", kind)?;
        self.tried = None;
        Ok(self.version())
    }

    /// The commit that failed through this object and may have landed all the same, if any: what this object
    /// knows may be out of date.
    pub fn tried(&self) -> Option<Tried> {
        self.tried
    }

    /// Whether a commit that was tried, through this object or another, has landed.
    ///
    /// # Errors
    /// [`LakeError::Gone`] where the log no longer tells; otherwise what the storage says.
    pub async fn holds(&self, tried: Tried) -> Result<bool, LakeError> {
        match self.log.entry(tried.version).await? {
            Some(bytes) => Ok(memchr::memmem::find(&bytes, tried.id.to_string().as_bytes()).is_some()),
            None if tried.version > self.version() => Ok(false),
            None => Err(LakeError::Gone { table: self.kind, version: tried.version }),
        }
    }

    /// Reads a file's rows, all columns or those named, in the types of the table's schema.
    ///
    /// # Errors
    /// [`LakeError::MissingFile`] where it is gone (vacuumed: refresh and look again).
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

    /// Whether a data file is live or was so recently removed that readers may still want it.
    pub(super) fn is_wanted(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.removed.contains_key(path)
    }

    /// Readers no longer want what was removed longer ago than the retention.
    pub(super) fn forget_old_removals(&mut self) {
        let since = Utc::now().timestamp_millis() - RETENTION.num_milliseconds();
        self.removed.retain(|_, at| *at > since);
    }
}
