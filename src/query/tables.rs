//! Read-only copies of the tables' logs, brought up to date before each answer.

use std::path::{Path, PathBuf};

use tokio::runtime::Handle;

use crate::lake::{DataFile, LakeError, Storage, Table, TableKind};

/// An open table and the folder of its files.
#[derive(Debug)]
pub(super) struct TableView {
    pub(super) table: Table,
    /// Canonical path of the table's folder, because the sandbox compares paths in this form.
    folder: PathBuf,
}

impl TableView {
    /// Absolute path of a live file.
    pub(super) fn path(&self, file: &DataFile) -> String {
        self.folder.join(file.path()).to_string_lossy().into_owned()
    }
}

/// The tables of a storage, each opened when it is first needed.
#[derive(Debug)]
pub(super) struct Tables {
    storage: Storage,
    runtime: Handle,
    views: [Option<TableView>; TableKind::ALL.len()],
}

impl Tables {
    pub(super) fn new(storage: Storage, runtime: Handle) -> Self {
        Self { storage, runtime, views: Default::default() }
    }

    /// The table, refreshed; `None` if it does not exist yet.
    pub(super) fn fresh(&mut self, kind: TableKind) -> Result<Option<&TableView>, LakeError> {
        let slot = &mut self.views[kind as usize];
        if let Some(view) = slot.as_mut() {
            match self.runtime.block_on(view.table.refresh()) {
                Ok(_) => {}
                Err(LakeError::Gone { .. }) => *slot = None, // after a long pause: opened again below
                Err(error) => {
                    *slot = None; // its state may be incomplete
                    return Err(error);
                }
            }
        }
        if slot.is_none()
            && let Some(table) = self.runtime.block_on(Table::open(&self.storage, kind))?
        {
            *slot = Some(TableView { table, folder: canonical(&self.storage.table_path(kind)) });
        }
        Ok(slot.as_ref())
    }

    /// The table as of the last [`Self::fresh`].
    pub(super) fn known(&self, kind: TableKind) -> Option<&TableView> {
        self.views[kind as usize].as_ref()
    }

    /// Drops all tables, so that their logs are read again.
    pub(super) fn forget(&mut self) {
        self.views = Default::default();
    }
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
