//! Files that are written beside their target and renamed to it when they are complete. Until then the target
//! is unchanged, whatever happens to the writer.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Appended to the name of the target.
const SUFFIX: &str = ".partial";
/// Symbolic links followed at most, as Linux does.
const LINKS: usize = 40;

/// A locked file beside its target. When it is dropped it stays there, unless it is committed or discarded.
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    path: PathBuf,
    target: PathBuf,
    /// The target at [`Self::open`], locked so that no process appends to a file that is about to be replaced;
    /// none where there was none.
    before: Option<File>,
}

impl StagedFile {
    /// Opens the file beside `target` with an exclusive lock: a new one, or the one that a killed writer left,
    /// with its content.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process writes it or its target; else when it cannot be
    /// created or `target` cannot be written.
    pub fn open(target: &Path) -> io::Result<Self> {
        let target = behind_links(target);
        let mut path = target.clone().into_os_string();
        path.push(SUFFIX);
        let path = PathBuf::from(path);
        loop {
            let before = locked_if_there(&target)?;
            let file = locked(&path, File::options().create(true).truncate(false).write(true))?;
            let staged = Self { file, path: path.clone(), target: target.clone(), before };
            // Another process may have committed its file between the two locks.
            if staged.is_target_unchanged() {
                return Ok(staged);
            }
        }
    }

    fn is_target_unchanged(&self) -> bool {
        self.before.as_ref().map_or_else(|| !self.target.exists(), |before| is_at(before, &self.target))
    }

    /// Path of the staged file, not of its target.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub const fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Renames the file to its target, with the permissions of the file that it replaces.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process writes a target that was created after
    /// [`Self::open`]; else the system's error. Both files are unchanged then.
    pub fn commit(mut self) -> io::Result<()> {
        if !self.is_target_unchanged() {
            self.before = locked_if_there(&self.target)?;
        }
        if let Ok(before) = fs::metadata(&self.target) {
            self.file.set_permissions(before.permissions())?;
        }
        self.file.sync_all()?;
        fs::rename(&self.path, &self.target)
    }

    /// Renames the file to its target unless that exists by now. A target that was empty at [`Self::open`] and
    /// still is counts as absent.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when the target exists; else the system's error. Both files are
    /// unchanged then.
    pub fn commit_new(self) -> io::Result<()> {
        if self.before.as_ref().is_some_and(|before| {
            is_at(before, &self.target) && before.metadata().is_ok_and(|m| m.len() == 0)
        }) {
            return self.commit();
        }
        self.file.sync_all()?;
        match fs::hard_link(&self.path, &self.target) {
            Ok(()) => fs::remove_file(&self.path),
            // Not every file system has hard links.
            Err(error)
                if error.kind() != io::ErrorKind::AlreadyExists
                    && fs::symlink_metadata(&self.target).is_err() =>
            {
                fs::rename(&self.path, &self.target)
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes the file; the target is unchanged.
    pub fn discard(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Whether both describe the same file, by device and inode.
pub fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Follows symbolic links, so that a commit replaces the file that they point to and not the links. The last
/// link may point to a file that does not exist yet.
fn behind_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        if let Ok(whole) = path.canonicalize() {
            return whole;
        }
        match fs::read_link(&path) {
            Ok(link) => path = path.parent().unwrap_or(Path::new("")).join(link),
            Err(_) => break,
        }
    }
    path
}

/// Whether an open file is the one at this path now.
fn is_at(file: &File, path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|named| file.metadata().is_ok_and(|opened| is_same(&named, &opened)))
}

/// Opens a file and locks it exclusively.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when another process holds the lock; else the system's error.
pub fn locked(path: &Path, options: &OpenOptions) -> io::Result<File> {
    loop {
        let file = options.open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::WouldBlock, "another process writes it")
            }
            TryLockError::Error(error) => error,
        })?;
        // Another process may have replaced the file between opening and locking.
        if is_at(&file, path) {
            return Ok(file);
        }
    }
}

fn locked_if_there(path: &Path) -> io::Result<Option<File>> {
    match locked(path, File::options().write(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        locked => locked.map(Some),
    }
}

/// Whether a path is written to rather than replaced: a device, a pipe, a terminal.
pub fn is_stream(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Replaces `target` with a file of these bytes; writes them to it where it is a stream.
///
/// # Errors
/// As [`StagedFile::open`] and [`StagedFile::commit`]; a file at `target` is unchanged then.
pub fn write(target: &Path, bytes: &[u8]) -> io::Result<()> {
    if is_stream(target) {
        return fs::write(target, bytes);
    }
    let mut staged = StagedFile::open(target)?;
    let written = staged.file.set_len(0).and_then(|()| staged.file.write_all(bytes));
    match written {
        Ok(()) => staged.commit(),
        Err(error) => {
            let _ = staged.discard(); // the first error is the one to report
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_target_is_complete_or_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("picture.svg");
        write(&target, b"one").unwrap();
        let mut staged = StagedFile::open(&target).unwrap();
        staged.file().write_all(b"half of tw").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"one");
        assert_eq!(
            write(&target, b"two").unwrap_err().kind(),
            io::ErrorKind::WouldBlock,
            "one writer at a time"
        );
        drop(staged); // leaves the file, as a killed writer does
        write(&target, b"two").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["picture.svg"]);
    }

    #[test]
    fn commit_new_replaces_no_file_that_appeared_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        let staged = |text: &[u8]| {
            let mut staged = StagedFile::open(&target).unwrap();
            staged.file().write_all(text).unwrap();
            staged
        };
        let new = staged(b"new");
        fs::write(&target, "appeared").unwrap();
        assert_eq!(new.commit_new().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(
            (fs::read(&target).unwrap(), names(folder.path())),
            (b"appeared".to_vec(), vec!["a".into(), "a.partial".into()])
        );
        fs::remove_file(&target).unwrap();
        staged(b"NEW").commit_new().unwrap();
        assert_eq!((fs::read(&target).unwrap(), names(folder.path())), (b"NEW".to_vec(), vec!["a".into()]));
        // An empty target is replaced, unless it was filled meanwhile.
        for (meanwhile, kept) in [("", "new"), ("filled", "filled")] {
            fs::write(&target, "").unwrap();
            let new = staged(b"new");
            fs::write(&target, meanwhile).unwrap();
            assert_eq!(new.commit_new().is_ok(), meanwhile.is_empty());
            assert_eq!(fs::read(&target).unwrap(), kept.as_bytes());
        }
    }

    #[test]
    fn a_target_that_another_process_writes_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        let appending = || locked(&target, File::options().append(true).create(true));
        let appender = appending().unwrap();
        assert_eq!(StagedFile::open(&target).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(names(folder.path()), ["a"]);
        drop(appender);
        let staged = StagedFile::open(&target).unwrap();
        assert_eq!(appending().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        staged.commit().unwrap();
        // Nor is one that did not exist at first.
        fs::remove_file(&target).unwrap();
        let staged = StagedFile::open(&target).unwrap();
        let appender = appending().unwrap();
        assert_eq!(staged.commit().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(appender);
    }

    #[cfg(unix)]
    #[test]
    fn links_permissions_and_streams_are_kept() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);
        // A relative link to a link to a file that does not exist.
        fs::create_dir(folder.path().join("d")).unwrap();
        std::os::unix::fs::symlink("../c", folder.path().join("d/c")).unwrap();
        std::os::unix::fs::symlink("e", folder.path().join("c")).unwrap();
        write(&folder.path().join("d/c"), b"behind").unwrap();
        assert!(fs::symlink_metadata(folder.path().join("d/c")).unwrap().is_symlink());
        assert_eq!(fs::read(folder.path().join("e")).unwrap(), b"behind");
        std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
        assert!(write(&folder.path().join("loop"), b"x").is_err());
        write(Path::new("/dev/null"), b"x").unwrap();
        assert!(is_stream(Path::new("/dev/null")) && !is_stream(&target) && !is_stream(folder.path()));
        assert!(write(folder.path(), b"x").is_err(), "a folder");
        assert!(write(&folder.path().join("no/where"), b"x").is_err());
    }
}
