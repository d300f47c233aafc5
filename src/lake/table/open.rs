//! Opening a table: creating it where it is absent, and folding its log.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltalake::DeltaTable;
use deltalake::kernel::Action;
use deltalake::logstore::get_actions;
use deltalake::logstore::object_store::ObjectStoreExt as _;
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::SaveMode;

use super::Table;
use crate::lake::file::DataFile;
use crate::lake::log::Log;
use crate::lake::schema::{FORMAT_PROPERTY, FORMAT_VERSION, TableKind};
use crate::lake::{LakeError, Storage, TableContext as _, parquet};

impl Table {
    /// Opens the table for its writer and creates it if it is absent.
    ///
    /// # Errors
    /// [`LakeError::NotOurs`] if the folder holds something else.
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
            return Ok(table); // created here or, a moment earlier, by another process
        }
        created.when("create", kind)?;
        Err(LakeError::NotOurs { path, why: "it disappeared while it was created".into() })
    }

    /// Opens the table; `None` if it does not exist yet.
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
            let has_files = std::fs::read_dir(&path)
                .ok()
                .into_iter()
                .flatten()
                .flatten()
                .any(|e| e.file_name() != "_delta_log");
            return if has_files {
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

    /// Reads all `txn`s and recent removals up to this version, from the newest checkpoint and the entries
    /// after it.
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
            let checkpoint = parquet::checkpoint(bytes).when("open", self.kind)?;
            (self.txns, self.removed) = (checkpoint.txns, checkpoint.removed);
            next = version + 1;
            self.checkpoint = version;
        }
        for version in next..=self.version() {
            let entry = self.log.entry(version).await?;
            let entry = entry.ok_or_else(|| LakeError::Corrupt {
                table: self.kind,
                what: format!("its log has neither entry {version} nor a newer checkpoint"),
            })?;
            for action in get_actions(version, &entry).when("open", self.kind)? {
                if let Action::Txn(_) | Action::Remove(_) = &action {
                    self.fold(&action);
                }
            }
        }
        Ok(())
    }
}
