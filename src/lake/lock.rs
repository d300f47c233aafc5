//! One pipeline per storage: an OS file lock, which a stopped process keeps and the end of the process
//! releases.
//!
//! The lock prevents accidents; safety does not depend on it, because the commits of two writers conflict.
//! `--take-over` ignores the lock and records a new owner; the previous owner stops at its next commit.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::PathBuf;

use uuid::Uuid;

use super::{LakeError, Storage};

const LOCK: &str = ".cryptostream.lock";
const OWNER: &str = ".cryptostream.owner";

/// The right of one process to write a storage's tables.
#[derive(Debug)]
pub struct Lock {
    /// `None` after a take-over from a process that still holds the lock.
    file: Option<File>,
    /// Path of the file with the owner's id.
    owner: PathBuf,
    /// Path of the lock file.
    path: PathBuf,
    /// Id of this process as an owner, random.
    id: String,
}

/// Outcome of [`Lock::attempt`].
#[derive(Debug)]
pub enum Attempt {
    Acquired(Lock),
    /// Another process holds the lock.
    Held,
}

impl Lock {
    /// Tries to lock `storage`. With `take_over`, this process becomes the owner even if another one holds
    /// the lock.
    ///
    /// # Errors
    /// When the storage's folder cannot be written.
    pub fn attempt(storage: &Storage, take_over: bool) -> Result<Attempt, LakeError> {
        let failed = |source| LakeError::Folder { path: storage.root().to_owned(), source };
        std::fs::create_dir_all(storage.root()).map_err(failed)?;
        let path = storage.root().join(LOCK);
        let file = try_lock(&path).map_err(failed)?;
        if file.is_none() && !take_over {
            return Ok(Attempt::Held);
        }
        let lock = Self { file, owner: storage.root().join(OWNER), path, id: Uuid::new_v4().to_string() };
        let staged = storage.root().join(format!("{OWNER}.{}", lock.id));
        let mut owner = File::create(&staged).map_err(failed)?;
        write!(owner, "{}", lock.id).and_then(|()| std::fs::rename(&staged, &lock.owner)).map_err(failed)?;
        Ok(Attempt::Acquired(lock))
    }

    /// Whether no other process is known to have taken over.
    pub fn is_mine(&self) -> bool {
        // If the owner cannot be read, assume no take-over: after one, commits conflict.
        std::fs::read_to_string(&self.owner).map_or(true, |id| id == self.id)
    }

    /// After a take-over: locks the file if the previous owner has ended.
    pub fn acquire_file_lock(&mut self) {
        if self.file.is_none() {
            self.file = try_lock(&self.path).unwrap_or_default();
        }
    }
}

fn try_lock(path: &std::path::Path) -> std::io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_recorded_owner_counts_as_a_take_over() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new(folder.path()).unwrap();
        let Attempt::Acquired(lock) = Lock::attempt(&storage, false).unwrap() else {
            panic!("the storage is new")
        };
        assert!(lock.is_mine());
        let Attempt::Acquired(other) = Lock::attempt(&storage, true).unwrap() else {
            panic!("a take-over ignores the lock")
        };
        assert!(!lock.is_mine() && other.is_mine());
        // An owner file that cannot be read is no take-over.
        std::fs::remove_file(&other.owner).unwrap();
        assert!(other.is_mine());
    }
}
