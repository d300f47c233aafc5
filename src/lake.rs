//! The lakehouse: five Delta tables in one folder, each written by one stage and readable by any engine.
//!
//! Promises: a commit holds its rows and the positions that they came from, or nothing; a writer cannot
//! commit once another writer has committed ([`LakeError::Conflict`]), until it has refreshed; a table that
//! another program made is never written to.

pub mod alerts;
pub mod bronze;
mod columns;
pub mod failpoint;
mod file;
pub mod gold;
pub mod lock;
mod log;
pub mod maintenance;
mod parquet;
pub mod quarantine;
pub mod schema;
pub mod silver;
pub mod table;
pub mod verify;

use std::path::{Path, PathBuf};

use deltalake::DeltaTableError;
use deltalake::arrow::error::ArrowError;
use deltalake::logstore::object_store;
use deltalake::parquet::errors::ParquetError;

pub use file::DataFile;
pub use schema::TableKind;
pub use table::Table;

/// Errors of the tables. `Display` leaves out the cause, which is the error's `source`.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// Another writer has committed since this one last refreshed: state derived from the table must be
    /// rebuilt.
    #[error("another writer has committed version {version} of {table}")]
    Conflict {
        table: TableKind,
        /// The version that both writers tried to commit.
        version: u64,
    },
    /// Entries that this object would need to learn what has changed were cleaned up: open the table again.
    #[error(
        "the log of {table} no longer holds version {version}: it was cleaned up since this process last read it"
    )]
    Gone {
        table: TableKind,
        /// The version that this object knows.
        version: u64,
    },
    /// A table's folder holds something that this program did not make, or a format that it does not know.
    #[error("{} is not a table of this program: {why}. Choose another --storage", path.display())]
    NotOurs { path: PathBuf, why: String },
    /// A data file that the log lists is missing.
    #[error("data file {path} of {table} is missing")]
    MissingFile {
        table: TableKind,
        /// Path below the table's folder.
        path: String,
    },
    /// The files of a table cannot be read or written.
    #[error("cannot {action} {table}")]
    Storage {
        /// `read`, `write`, `open` …
        action: &'static str,
        table: TableKind,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The storage folder itself cannot be used.
    #[error("cannot use storage {}", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A table holds something that this program never writes.
    #[error("{table} is corrupt: {what}")]
    Corrupt { table: TableKind, what: String },
}

impl LakeError {
    /// Whether a retry may succeed: once a file is back, the disk has room, or the state was rebuilt.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Conflict { .. }
            | Self::Gone { .. }
            | Self::MissingFile { .. }
            | Self::Storage { .. }
            | Self::Folder { .. } => true,
            Self::NotOurs { .. } | Self::Corrupt { .. } => false,
        }
    }

    /// Whether a reader's copy of the table refers to files or entries that were deleted since: opening the
    /// table again may help.
    pub const fn is_outdated(&self) -> bool {
        matches!(self, Self::Gone { .. } | Self::MissingFile { .. })
    }
}

/// Turns errors of Delta, Arrow and the file system into [`LakeError::Storage`].
pub(crate) trait TableContext<T> {
    fn when(self, action: &'static str, table: TableKind) -> Result<T, LakeError>;
}

macro_rules! table_context {
    ($($error:ty),*) => {$(
        impl<T> TableContext<T> for Result<T, $error> {
            fn when(self, action: &'static str, table: TableKind) -> Result<T, LakeError> {
                self.map_err(|source| LakeError::Storage { action, table, source: Box::new(source) })
            }
        }
    )*};
}
table_context!(
    DeltaTableError,
    ArrowError,
    ParquetError,
    object_store::Error,
    std::io::Error,
    serde_json::Error
);

/// The folder that holds the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    root: PathBuf,
}

impl Storage {
    /// The storage in `root`, which need not exist yet.
    ///
    /// # Errors
    /// When the path cannot be made absolute, or is not UTF-8: Delta's paths are text.
    pub fn new(root: &Path) -> Result<Self, LakeError> {
        let failed = |source| LakeError::Folder { path: root.to_owned(), source };
        let root = std::path::absolute(root).map_err(failed)?;
        if root.to_str().is_none() {
            return Err(failed(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "its path is not UTF-8",
            )));
        }
        Ok(Self { root })
    }

    /// Absolute path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Absolute path of a table's folder.
    pub fn table_path(&self, table: TableKind) -> PathBuf {
        self.root.join(table.path())
    }
}
