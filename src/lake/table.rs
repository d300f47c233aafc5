//! One Delta table: its live files, its `txn`s, and commits that compare and swap on the version.
//!
//! Promises: [`Table::commit`] lands exactly one version above the one that this object knows, or fails with
//! [`LakeError::Conflict`] and changes nothing; that is stricter than Delta's own conflict check and fences every writer that
//! was paused and replaced. A commit costs the same however many went before: the state is folded from the log's entries, and
//! no snapshot is rebuilt.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use deltalake::arrow::array::RecordBatch;
use deltalake::arrow::compute::cast;
use deltalake::arrow::datatypes::Schema;
use deltalake::arrow::error::ArrowError;
use deltalake::kernel::transaction::{CommitData, TransactionError};
use deltalake::kernel::{Action, Add, Remove, Transaction};
use deltalake::logstore::object_store::{Error as StoreError, ObjectStore, ObjectStoreExt as _, path::Path as StorePath};
use deltalake::logstore::{CommitOrBytes, LogStoreRef, get_actions};
use deltalake::operations::create::CreateBuilder;
use deltalake::parquet::arrow::ProjectionMask;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, DeltaTableBuilder};
use futures::TryStreamExt as _;
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;
use url::Url;
use uuid::Uuid;

use super::maintenance::Report;
use super::schema::{FORMAT_PROPERTY, FORMAT_VERSION, TableKind};
use super::{Context as _, LakeError, Storage, failpoint};
use crate::market::{Micros, Stream};

pub use super::parquet::encode;

/// A live data file of a table, with what the log says of it.
#[derive(Debug, Clone)]
pub struct DataFile {
    add: Add,
    /// Number of rows.
    pub rows: u64,
    min: HashMap<String, Value>,
    max: HashMap<String, Value>,
}

/// The statistics of a file that holds the rows of `files`.
pub(super) fn merged_statistics(files: &[Arc<DataFile>]) -> String {
    // Integers compare as such; texts and times (all written alike) compare as text.
    let less = |a: &Value, b: &Value| a.as_i64().zip(b.as_i64()).map_or_else(|| a.as_str() < b.as_str(), |(a, b)| a < b);
    let bounds = |of: fn(&DataFile) -> &HashMap<String, Value>, wins: &dyn Fn(&Value, &Value) -> bool| {
        let mut merged = of(&files[0]).clone();
        for file in &files[1..] {
            merged.retain(|name, _| of(file).contains_key(name));
            for (name, best) in &mut merged {
                if wins(&of(file)[name], best) {
                    *best = of(file)[name].clone();
                }
            }
        }
        merged
    };
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let (min, max) = (bounds(|f| &f.min, &less), bounds(|f| &f.max, &|a, b| less(b, a)));
    serde_json::json!({ "numRecords": rows, "minValues": min, "maxValues": max }).to_string()
}

impl DataFile {
    fn new(add: Add) -> Self {
        let stats: Value = add.stats.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let bounds = |name: &str| stats[name].as_object().map(|map| map.clone().into_iter().collect()).unwrap_or_default();
        Self { rows: stats["numRecords"].as_u64().unwrap_or(0), min: bounds("minValues"), max: bounds("maxValues"), add }
    }

    /// Path below the table's folder.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.add.path
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.add.size).unwrap_or(0)
    }

    /// Value of the partition column `date`, `2025-05-12`.
    #[must_use]
    pub fn date(&self) -> Option<&str> {
        self.add.partition_values.get("date")?.as_deref()
    }

    /// Smallest and largest value of an integer column; none where the log does not say.
    #[must_use]
    pub fn integers(&self, column: &str) -> Option<(i64, i64)> {
        Some((self.min.get(column)?.as_i64()?, self.max.get(column)?.as_i64()?))
    }

    /// Smallest and largest value of a timestamp column.
    #[must_use]
    pub fn times(&self, column: &str) -> Option<(Micros, Micros)> {
        let time = |value: &Value| chrono::DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|t| t.timestamp_micros());
        Some((time(self.min.get(column)?)?, time(self.max.get(column)?)?))
    }

    /// Smallest and largest value of a text column.
    #[must_use]
    pub fn texts(&self, column: &str) -> Option<(&str, &str)> {
        Some((self.min.get(column)?.as_str()?, self.max.get(column)?.as_str()?))
    }

    /// Whether rows with `column` in `from..=to` may be inside.
    #[must_use]
    pub fn may_hold_times(&self, column: &str, from: Micros, to: Micros) -> bool {
        self.times(column).is_none_or(|(min, max)| min <= to && from <= max)
    }

    /// Whether rows with this text in `column` may be inside.
    #[must_use]
    pub fn may_hold_text(&self, column: &str, text: &str) -> bool {
        self.texts(column).is_none_or(|(min, max)| min <= text && text <= max)
    }

    /// Whether rows of the stream with offsets in `from..=to` may be inside.
    #[must_use]
    pub fn may_hold_offsets(&self, stream: &Stream, from: i64, to: i64) -> bool {
        self.may_hold_text("topic", &stream.topic) && self.integers("offset").is_none_or(|(min, max)| min <= to && from <= max)
    }

    fn remove(&self, data_change: bool) -> Remove {
        Remove {
            path: self.add.path.clone(),
            data_change,
            deletion_timestamp: Some(chrono::Utc::now().timestamp_millis()),
            extended_file_metadata: Some(true),
            partition_values: Some(self.add.partition_values.clone()),
            size: Some(self.add.size),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
        }
    }
}

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

/// A table of the lake. One writer at a time; readers refresh a copy of their own.
pub struct Table {
    kind: TableKind,
    path: PathBuf,
    log: LogStoreRef,
    store: Arc<dyn ObjectStore>,
    version: u64,
    /// Version of the newest checkpoint, 0 where there is none.
    pub(super) checkpoint: u64,
    /// When files without a reference were looked for last, or the table was opened.
    pub(super) vacuumed: Instant,
    /// Checkpoint and clean-up under way.
    pub(super) tidying: Option<AbortOnDropHandle<Result<Report, LakeError>>>,
    files: BTreeMap<String, Arc<DataFile>>,
    txns: BTreeMap<String, i64>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("kind", &self.kind)
            .field("version", &self.version)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

fn log_store(storage: &Storage, kind: TableKind) -> Result<(PathBuf, LogStoreRef), LakeError> {
    let path = storage.table_path(kind);
    let url = Url::from_directory_path(&path)
        .map_err(|()| LakeError::NotOurs { path: path.clone(), why: "the path cannot be written as a URL".into() })?;
    let log = DeltaTableBuilder::from_url(url).and_then(|builder| builder.build_storage()).when("open", kind)?;
    Ok((path, log))
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
        let (_, log) = log_store(storage, kind)?;
        let properties = [
            (FORMAT_PROPERTY, FORMAT_VERSION.to_owned()),
            ("delta.dataSkippingStatsColumns", kind.statistics().join(",")),
            ("delta.enableExpiredLogCleanup", "false".to_owned()),
            ("delta.deletedFileRetentionDuration", "interval 1 hours".to_owned()),
            ("delta.logRetentionDuration", "interval 1 hours".to_owned()),
        ];
        let created = CreateBuilder::new()
            .with_log_store(log)
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
        let (path, log) = log_store(storage, kind)?;
        if !log.is_delta_table_location().await.when("open", kind)? {
            let strange = std::fs::read_dir(&path).ok().into_iter().flatten().flatten().any(|e| e.file_name() != "_delta_log");
            return if strange {
                Err(LakeError::NotOurs { path, why: "the folder holds files but no Delta log".into() })
            } else {
                Ok(None)
            };
        }
        let mut table = DeltaTable::new(log.clone());
        table.load().await.when("open", kind)?;
        let snapshot = table.snapshot().when("open", kind)?;
        match snapshot.metadata().configuration().get(FORMAT_PROPERTY).map(String::as_str) {
            Some(FORMAT_VERSION) => {}
            Some(other) => {
                return Err(LakeError::NotOurs { path, why: format!("its format is {other}, this program writes {FORMAT_VERSION}") });
            }
            None => return Err(LakeError::NotOurs { path, why: "another program made it".into() }),
        }
        let version = snapshot.version();
        let mut files = BTreeMap::new();
        for view in snapshot.log_data().iter() {
            if view.deletion_vector_descriptor().is_some() {
                return Err(LakeError::NotOurs { path, why: "it has deletion vectors, which this program does not read".into() });
            }
            #[expect(deprecated, reason = "the log wants Add actions back when files are rewritten")]
            let add = view.add_action();
            files.insert(add.path.clone(), Arc::new(DataFile::new(add)));
        }
        let store = log.object_store(None);
        let mut this =
            Self { kind, path, log, store, version, checkpoint: 0, vacuumed: Instant::now(), tidying: None, files, txns: BTreeMap::new() };
        this.load_txns().await?;
        Ok(Some(this))
    }

    /// Reads all `txn`s up to this version: from the newest checkpoint, then from the entries after it.
    async fn load_txns(&mut self) -> Result<(), LakeError> {
        let listing: Vec<_> = self.store.list(Some(self.log.log_path())).try_collect().await.when("open", self.kind)?;
        let checkpoint = listing
            .into_iter()
            .filter_map(|meta| {
                let name = meta.location.filename()?;
                let version: u64 = name.split_once(".checkpoint.")?.0.parse().ok()?;
                let whole = name.ends_with(".parquet") && name.matches('.').count() == 2;
                (whole && version <= self.version).then_some((version, meta.location))
            })
            .max();
        let mut next = 0;
        if let Some((version, location)) = checkpoint {
            let bytes = self.store.get(&location).await.when("open", self.kind)?.bytes().await.when("open", self.kind)?;
            self.txns = super::parquet::checkpoint_txns(bytes).when("open", self.kind)?;
            next = version + 1;
            self.checkpoint = version;
        }
        for version in next..=self.version {
            let entry = self.log.read_commit_entry(version).await.when("open", self.kind)?;
            let entry = entry
                .ok_or_else(|| LakeError::Corrupt { table: self.kind, what: format!("a log without entry {version} and no checkpoint") })?;
            for action in get_actions(version, &entry).when("open", self.kind)? {
                if let Action::Txn(txn) = action {
                    self.txns.insert(txn.app_id, txn.version);
                }
            }
        }
        Ok(())
    }

    /// Takes in what other writers have committed since. `true` when there was something.
    ///
    /// # Errors
    /// What the storage says.
    pub async fn refresh(&mut self) -> Result<bool, LakeError> {
        let before = self.version;
        while let Some(entry) = self.log.read_commit_entry(self.version + 1).await.when("read", self.kind)? {
            let actions = get_actions(self.version + 1, &entry).when("read", self.kind)?;
            self.version += 1;
            self.fold(&actions);
        }
        Ok(self.version != before)
    }

    fn fold(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Add(add) => {
                    self.files.insert(add.path.clone(), Arc::new(DataFile::new(add.clone())));
                }
                Action::Remove(remove) => {
                    self.files.remove(&remove.path);
                }
                Action::Txn(txn) => {
                    self.txns.insert(txn.app_id.clone(), txn.version);
                }
                _ => {}
            }
        }
    }

    /// Which table this is.
    #[must_use]
    pub fn kind(&self) -> TableKind {
        self.kind
    }

    /// The version that this object knows.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The live files.
    #[must_use]
    pub fn files(&self) -> impl ExactSizeIterator<Item = &Arc<DataFile>> {
        self.files.values()
    }

    /// Absolute path of a live file.
    #[must_use]
    pub fn absolute(&self, file: &DataFile) -> PathBuf {
        self.path.join(file.path())
    }

    /// The position that was committed last under an app id.
    #[must_use]
    pub fn txn(&self, app_id: &str) -> Option<i64> {
        self.txns.get(app_id).copied()
    }

    /// App id under which this table's positions in a stream are kept: layer, topic and partition.
    #[must_use]
    pub fn app_id(&self, stream: &Stream) -> String {
        format!("{}/{stream}", self.kind.label())
    }

    /// The last offset of the stream whose rows are in this table.
    #[must_use]
    pub fn position(&self, stream: &Stream) -> Option<i64> {
        self.txn(&self.app_id(stream))
    }

    /// All streams of which this table has taken in rows, with the last offset of each.
    #[must_use]
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
        let (bytes, stats) = tokio::task::block_in_place(|| encode(self.kind, batch)).when("write", self.kind)?;
        self.put(date, bytes, stats).await
    }

    /// Stores an encoded file under a new name.
    pub(super) async fn put(&self, date: Option<&str>, bytes: Vec<u8>, stats: String) -> Result<Add, LakeError> {
        let kind = self.kind;
        let name = format!("part-{}.parquet", Uuid::new_v4());
        let path = date.map_or_else(|| name.clone(), |date| format!("date={date}/{name}"));
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        failpoint::pass(kind.label(), "write.before").when("write", kind)?;
        self.store.put(&StorePath::from(path.as_str()), bytes.into()).await.when("write", kind)?;
        failpoint::pass(kind.label(), "write.after").when("write", kind)?;
        Ok(Add {
            path,
            partition_values: date.map(|date| ("date".to_owned(), Some(date.to_owned()))).into_iter().collect(),
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
    /// [`LakeError::Conflict`] where that version is taken. After any error the commit may or may not have landed: open the
    /// table again and look at its positions.
    pub async fn commit(&mut self, commit: Commit<'_>) -> Result<u64, LakeError> {
        let kind = self.kind;
        let data_change = commit.change != Change::Compact;
        let mut actions: Vec<Action> = commit.removes.iter().map(|file| Action::Remove(file.remove(data_change))).collect();
        actions.extend(commit.adds.into_iter().map(|add| Action::Add(Add { data_change, ..add })));
        let operation = match commit.change {
            Change::Append => {
                let partition_by = kind.is_dated().then(|| vec!["date".to_owned()]);
                DeltaOperation::Write { mode: SaveMode::Append, partition_by, predicate: None }
            }
            Change::Restate => DeltaOperation::Update { predicate: None },
            Change::Compact => DeltaOperation::Optimize { predicate: None, target_size: 0 },
        };
        let facts = commit.facts.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        let now = chrono::Utc::now().timestamp_millis();
        let txns = commit.txns.into_iter().map(|(app_id, at)| Transaction::new_with_last_update(app_id, at, Some(now))).collect();
        let data = CommitData::new(actions, operation, facts, txns);
        let bytes = CommitOrBytes::LogBytes(data.get_bytes().map_err(deltalake::DeltaTableError::from).when("commit to", kind)?);
        let (version, step) = (self.version + 1, if data_change { "commit" } else { "compact" });
        failpoint::pass(kind.label(), &format!("{step}.before")).when("commit to", kind)?;
        match self.log.write_commit_entry(version, bytes, Uuid::new_v4()).await {
            Ok(()) => {}
            Err(TransactionError::VersionAlreadyExists(version)) => return Err(LakeError::Conflict { table: kind, version }),
            Err(error) => return Err(deltalake::DeltaTableError::from(error)).when("commit to", kind),
        }
        self.version = version;
        self.fold(&data.actions);
        failpoint::pass(kind.label(), &format!("{step}.after")).when("commit to", kind)?;
        Ok(version)
    }

    /// Reads a file's rows, all columns or those named, in the types of the table's schema.
    ///
    /// # Errors
    /// [`LakeError::MissingFile`] where it is gone (vacuumed: refresh and look again).
    pub async fn read(&self, file: &DataFile, columns: Option<&[&str]>) -> Result<Vec<RecordBatch>, LakeError> {
        let kind = self.kind;
        let bytes = match self.store.get(&StorePath::from(file.path())).await {
            Ok(found) => found.bytes().await.when("read", kind)?,
            Err(StoreError::NotFound { .. }) => return Err(LakeError::MissingFile { table: kind, path: file.path().to_owned() }),
            Err(error) => return Err(error).when("read", kind),
        };
        tokio::task::block_in_place(|| {
            let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).when("read", kind)?;
            let mask =
                columns.map_or_else(ProjectionMask::all, |names| ProjectionMask::columns(builder.parquet_schema(), names.iter().copied()));
            let reader = builder.with_projection(mask).with_batch_size(1 << 16).build().when("read", kind)?;
            reader.map(|batch| conform(kind, &batch?)).collect::<Result<Vec<_>, _>>().when("read", kind)
        })
    }

    pub(super) fn log(&self) -> &LogStoreRef {
        &self.log
    }
}

/// Other engines write the same types in other dress (Spark's INT96 times, views of text): brings them into ours.
fn conform(kind: TableKind, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = kind.file_schema();
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let Ok(wanted) = schema.field_with_name(field.name()) else { continue };
        fields.push(wanted.clone());
        columns.push(if wanted.data_type() == column.data_type() { Arc::clone(column) } else { cast(column, wanted.data_type())? });
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
