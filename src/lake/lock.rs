//! One pipeline a storage: an OS file lock that death frees and a stopped process keeps.
//!
//! The lock is for politeness, the fences of the commits are what makes it safe: `--take-over` ignores the
//! lock, names itself the owner, and whoever was owner before stops at its next commit.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::PathBuf;

use uuid::Uuid;

use super::{LakeError, Storage};

const LOCK: &str = ".cryptostream.lock";
const OWNER: &str = ".cryptostream.owner";

/// The right to feed a storage.
#[derive(Debug)]
pub struct Lock {
    /// Held while the process lives; none after a take-over from a process that still holds it.
    file: Option<File>,
    owner: PathBuf,
    path: PathBuf,
    id: String,
}

/// What an attempt to get the lock came to.
#[derive(Debug)]
pub enum Attempt {
    /// This process feeds the storage now.
    Acquired(Lock),
    /// Another process does.
    Held,
}

impl Lock {
    /// Tries to become the one that feeds `storage`.
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
        // Who owns a storage that cannot be read is not known: the fences of the commits decide.
        std::fs::read_to_string(&self.owner).map_or(true, |id| id == self.id)
    }

    /// After a take-over: gets hold of the file lock once its old holder is gone.
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
    fn only_another_owner_that_is_named_has_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new(folder.path()).unwrap();
        let Attempt::Acquired(lock) = Lock::attempt(&storage, false).unwrap() else {
            panic!("the storage is new")
        };
        assert!(lock.is_mine());
        let Attempt::Acquired(other) = Lock::attempt(&storage, true).unwrap() else {
            panic!("a take-over asks nobody")
        };
        assert!(!lock.is_mine() && other.is_mine());
        // A storage that is away says nothing about its owner.
        std::fs::remove_file(&other.owner).unwrap();
        assert!(other.is_mine());
    }
}
