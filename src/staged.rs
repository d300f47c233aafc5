//! Files that are written beside the one that they become: until they are complete, what was there stays as it is.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What is put behind the name of the file that it is going to be.
const SUFFIX: &str = ".partial";

/// A file beside its target. It stays where it is until it is committed or discarded.
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    path: PathBuf,
    target: PathBuf,
}

impl StagedFile {
    /// Opens the file beside `target` for this process alone: a new one, or one with what a writer left in it that was killed.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process writes it; else when it cannot be made, or `target` not be written.
    pub fn open(target: &Path) -> io::Result<Self> {
        // Through a link, so that the link stays one.
        let target = target.canonicalize().unwrap_or_else(|_| target.to_owned());
        match File::options().write(true).open(&target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut path = target.clone().into_os_string();
        path.push(SUFFIX);
        let path = PathBuf::from(path);
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            lock(&file)?;
            // Between the two another process may have committed it: what is open then is the target.
            if fs::metadata(&path).is_ok_and(|named| file.metadata().is_ok_and(|opened| is_same(&named, &opened))) {
                return Ok(Self { file, path, target });
            }
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself.
    #[must_use]
    pub const fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Makes it the target, with the permissions of the one before.
    ///
    /// # Errors
    /// What the system says; both files are as they were.
    pub fn commit(self) -> io::Result<()> {
        if let Ok(before) = fs::metadata(&self.target) {
            self.file.set_permissions(before.permissions())?;
        }
        self.file.sync_all()?;
        fs::rename(&self.path, &self.target)
    }

    /// Removes it.
    ///
    /// # Errors
    /// What the system says.
    pub fn discard(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Whether both are of one file, whatever names led to it.
#[must_use]
pub fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Takes the lock of a file that only one process may write.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when another process has it.
pub fn lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::new(io::ErrorKind::WouldBlock, "another process writes it"),
        TryLockError::Error(error) => error,
    })
}

/// Whether a path names something that is written to rather than replaced: a device, a pipe, a terminal.
#[must_use]
pub fn is_stream(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Makes `target` a file of these bytes; a stream gets them written.
///
/// # Errors
/// What the system says; `target` is as it was.
pub fn write(target: &Path, bytes: &[u8]) -> io::Result<()> {
    if is_stream(target) {
        return fs::write(target, bytes);
    }
    let mut staged = StagedFile::open(target)?;
    let written = staged.file.set_len(0).and_then(|()| staged.file.write_all(bytes));
    match written {
        Ok(()) => staged.commit(),
        Err(error) => {
            let _ = staged.discard(); // the first error is the one to tell
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_target_is_whole_or_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("picture.svg");
        write(&target, b"one").unwrap();
        let mut staged = StagedFile::open(&target).unwrap();
        staged.file().write_all(b"half of tw").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"one");
        assert_eq!(write(&target, b"two").unwrap_err().kind(), io::ErrorKind::WouldBlock, "one writer at a time");
        drop(staged); // as a killed writer leaves it
        write(&target, b"two").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["picture.svg"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_permissions_and_streams_stay_what_they_are() {
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
        write(Path::new("/dev/null"), b"x").unwrap();
        assert!(is_stream(Path::new("/dev/null")) && !is_stream(&target) && !is_stream(folder.path()));
        assert!(write(folder.path(), b"x").is_err(), "a folder");
        assert!(write(&folder.path().join("no/where"), b"x").is_err());
    }
}
