//! The lakehouse: five Delta tables in one folder, each written by one stage and readable by any engine.
//!
//! What it promises: a commit holds its rows and the positions that they came from, or nothing; a writer
//! whose table has moved on since it last looked can never commit ([`LakeError::Conflict`]); a table that is
//! not ours is never written to.

pub mod alerts;
pub mod bronze;
pub mod failpoint;
mod file;
pub mod gold;
pub mod lock;
mod log;
pub mod maintenance;
pub mod parquet;
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

/// What can go wrong with the tables. `Display` prints itself only; the causes hang on `source`.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// Another writer has committed since this one last looked. Throw the state away and rebuild it from the
    /// tables.
    #[error("another writer has committed version {version} of {table}")]
    Conflict {
        /// Which table.
        table: TableKind,
        /// The version that both wanted.
        version: u64,
    },
    /// The log was cleaned up beyond what this object knows, so that it cannot tell what happened since. Open
    /// the table anew.
    #[error(
        "the log of {table} no longer holds version {version}: it was cleaned up since this process last looked"
    )]
    Gone {
        /// Which table.
        table: TableKind,
        /// The version that was known.
        version: u64,
    },
    /// There is something else where our table should be.
    #[error("{} is not a table of this program: {why}. Choose another --storage", path.display())]
    NotOurs {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A data file that the log names is not there.
    #[error("data file {path} of {table} is missing")]
    MissingFile {
        /// Which table.
        table: TableKind,
        /// Path below the table's folder.
        path: String,
    },
    /// The files of a table cannot be read or written.
    #[error("cannot {action} {table}")]
    Storage {
        /// `read`, `write`, `open` …
        action: &'static str,
        /// Which table.
        table: TableKind,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The storage folder itself cannot be used.
    #[error("cannot use storage {}", path.display())]
    Folder {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A table holds what this program never writes.
    #[error("{table} holds what cannot be: {what}")]
    Corrupt {
        /// Which table.
        table: TableKind,
        /// What was found.
        what: String,
    },
}

impl LakeError {
    /// Whether trying again may help: a file may come back, a disk have room, a state that is rebuilt fit.
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

    /// Whether a reader is told that its copy of the table is out of date: what it refers to was cleaned up.
    /// A newly opened one may not be.
    pub const fn is_outdated(&self) -> bool {
        matches!(self, Self::Gone { .. } | Self::MissingFile { .. })
    }
}

/// Turns an error of an engine into ours, with what was being done to which table.
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

    /// The folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a table lives.
    pub fn table_path(&self, table: TableKind) -> PathBuf {
        self.root.join(table.path())
    }
}
