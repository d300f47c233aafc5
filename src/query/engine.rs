//! DuckDB: connections without network access, their temporary files, and SQL over a list of data files.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duckdb::{Config, Connection, Params, Row};
use uuid::Uuid;

use super::tables::TableView;
use super::{TableKind, relation};
use crate::lake::DataFile;

/// Enough for a year of ten coins at once; the pipeline beside it needs the rest.
pub(super) const MEMORY: &str = "512MB";
/// Most data that is written to temporary files when memory is full.
pub(super) const SPILL: &str = "2GB";
/// [`SPILL`] in bytes, which this program enforces: under the engine's own limit the files grow to more than
/// twice as much.
pub(super) const SPILL_BYTES: u64 = 2_000_000_000;

/// A folder for temporary files, deleted on drop. Folders of killed processes are deleted when the next one
/// is created.
#[derive(Debug)]
pub(super) struct SpillFolder {
    path: PathBuf,
    /// Locked while the folder is in use. `None` if the folder could not be created: the engine reports that
    /// when it needs it.
    _lock: Option<File>,
}

const SPILL_PREFIX: &str = "cryptostream-";

impl SpillFolder {
    pub(super) fn new() -> Self {
        let parent = std::env::temp_dir();
        remove_abandoned(&parent);
        let name = format!("{SPILL_PREFIX}{}", Uuid::new_v4());
        let path = parent.join(&name);
        // It is renamed once it is locked: an unlocked folder of that name counts as abandoned.
        let unlocked = parent.join(format!(".{name}"));
        let made = fs::DirBuilder::new().mode(0o700).create(&unlocked).and_then(|()| {
            let lock = File::open(&unlocked)?;
            lock.try_lock()?;
            fs::rename(&unlocked, &path)?;
            Ok(lock)
        });
        Self { path, _lock: made.ok() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the files in it.
    pub(super) fn bytes(&self) -> u64 {
        fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.metadata().ok())
            .map(|file| file.len())
            .sum()
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path); // what remains is deleted as abandoned
    }
}

/// Deletes the folders that no process uses any more. One that cannot be deleted (it is another user's) is
/// kept.
fn remove_abandoned(parent: &Path) {
    let is_ours = |name: &str| {
        name.strip_prefix(SPILL_PREFIX)
            .is_some_and(|rest| Uuid::try_parse(rest).is_ok_and(|id| id.hyphenated().to_string() == rest))
    };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder
            && entry.file_name().to_str().is_some_and(is_ours)
            && let Ok(lock) = File::open(entry.path())
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path()); // tried again next time
        }
    }
}

/// A DuckDB that never uses the network and writes files only to the folder `spill`.
pub(super) fn connect(spill: &Path) -> duckdb::Result<Connection> {
    let config = Config::default()
        .enable_autoload_extension(false)?
        .max_memory(MEMORY)?
        .threads(2)?
        .with("temp_directory", spill.to_string_lossy())?
        .with("max_temp_directory_size", SPILL)?
        .with("allow_persistent_secrets", "false")?;
    let db = Connection::open_in_memory_with_flags(config)?;
    // Data files never change, so cached metadata stays valid.
    db.execute_batch(
        "SET parquet_metadata_cache = true; SET validate_external_file_cache = 'NO_VALIDATION';",
    )?;
    Ok(db)
}

/// Runs SQL and maps every row.
pub(super) fn rows<T, P: Params>(
    db: &Connection,
    sql: &str,
    params: P,
    mut row: impl FnMut(&Row<'_>) -> duckdb::Result<T>,
) -> duckdb::Result<Vec<T>> {
    let mut statement = db.prepare(sql)?;
    let mut found = statement.query(params)?;
    let mut all = Vec::new();
    while let Some(next) = found.next()? {
        all.push(row(next)?);
    }
    Ok(all)
}

pub(super) fn paths<'a>(view: &TableView, files: impl IntoIterator<Item = &'a Arc<DataFile>>) -> Vec<String> {
    files.into_iter().map(|file| view.path(file)).collect()
}

/// The template with `{gold}` (for the table gold) replaced by these files of the table, or by an empty
/// relation of its columns if there are none.
pub(super) fn over<'a>(
    template: &str,
    kind: TableKind,
    view: Option<&TableView>,
    files: impl IntoIterator<Item = &'a Arc<DataFile>>,
) -> String {
    let paths = view.map(|view| paths(view, files)).unwrap_or_default();
    template.replace(&format!("{{{}}}", kind.label()), &relation::files(kind, &paths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_folders_are_deleted() {
        let parent = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("file"), "x").unwrap();
            path
        };
        let id = Uuid::new_v4().to_string();
        let (abandoned, used) =
            (folder(&format!("cryptostream-{id}")), folder(&format!("cryptostream-{}", Uuid::new_v4())));
        let lock = File::open(&used).unwrap();
        lock.try_lock().unwrap();
        let others = [
            folder("cryptostream-data"),
            folder(&format!("cryptostream-{id}.old")),
            folder(&format!("cryptostream-{}", id.replace('-', ""))),
            folder(&format!("x-cryptostream-{id}")),
        ];
        remove_abandoned(parent.path());
        assert!(!abandoned.exists());
        assert!(others.iter().chain([&used]).all(|path| path.join("file").exists()));
        drop(lock);
        remove_abandoned(parent.path());
        assert!(!used.exists());
    }
}
