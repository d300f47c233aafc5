//! Files that are written beside the one that they become: until they are complete, what was there stays as
//! it is.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What is put behind the name of the file that it is going to be.
const SUFFIX: &str = ".partial";
/// Links followed at most, as the system does.
const LINKS: usize = 40;

/// A file beside its target. It stays where it is until it is committed or discarded.
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    path: PathBuf,
    target: PathBuf,
    /// The target as it was found, locked: nobody adds to what is going to be replaced.
    before: Option<File>,
}

impl StagedFile {
    /// Opens the file beside `target` for this process alone: a new one, or one with what a writer left in it
    /// that was killed.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process writes it or its target; else when it cannot be
    /// made, or `target` not be written.
    pub fn open(target: &Path) -> io::Result<Self> {
        let target = behind_links(target);
        let mut path = target.clone().into_os_string();
        path.push(SUFFIX);
        let path = PathBuf::from(path);
        loop {
            let before = locked_if_there(&target)?;
            let file = locked(&path, File::options().create(true).truncate(false).write(true))?;
            let staged = Self { file, path: path.clone(), target: target.clone(), before };
            // Before this one was locked, another process may have committed its own.
            if staged.is_target_unchanged() {
                return Ok(staged);
            }
        }
    }

    fn is_target_unchanged(&self) -> bool {
        self.before.as_ref().map_or_else(|| !self.target.exists(), |before| is_at(before, &self.target))
    }

    /// Where it stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself.
    pub const fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Makes it the target, with the permissions of the one before.
    ///
    /// # Errors
    /// What the system says, [`io::ErrorKind::WouldBlock`] when another process writes a target that was not
    /// there before; both files are as they were.
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

    /// Makes it the target, unless there is one by now; an empty file that was there before is none.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when there is one, else what the system says; both files are as they
    /// were.
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

    /// Removes it.
    ///
    /// # Errors
    /// What the system says.
    pub fn discard(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Whether both are of one file, whatever names led to it.
pub fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Where a path leads through links, so that they stay links; the last of them may lead to nothing yet.
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

/// Whether a file is the one that has this name now.
fn is_at(file: &File, path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|named| file.metadata().is_ok_and(|opened| is_same(&named, &opened)))
}

/// Opens a file that only one process may write, with its lock.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when another process has it; else what the system says.
pub fn locked(path: &Path, options: &OpenOptions) -> io::Result<File> {
    loop {
        let file = options.open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::WouldBlock, "another process writes it")
            }
            TryLockError::Error(error) => error,
        })?;
        // Between the two another process may have given its name to another file.
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

/// Whether a path names something that is written to rather than replaced: a device, a pipe, a terminal.
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
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
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
        assert_eq!(
            write(&target, b"two").unwrap_err().kind(),
            io::ErrorKind::WouldBlock,
            "one writer at a time"
        );
        drop(staged); // as a killed writer leaves it
        write(&target, b"two").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["picture.svg"]);
    }

    #[test]
    fn what_is_new_replaces_nothing_that_appeared() {
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
        // A file that is empty has nothing to lose, until it gets something.
        for (meanwhile, kept) in [("", "new"), ("filled", "filled")] {
            fs::write(&target, "").unwrap();
            let new = staged(b"new");
            fs::write(&target, meanwhile).unwrap();
            assert_eq!(new.commit_new().is_ok(), meanwhile.is_empty());
            assert_eq!(fs::read(&target).unwrap(), kept.as_bytes());
        }
    }

    #[test]
    fn what_another_writes_is_not_replaced() {
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
        // One that was not there at first, too.
        fs::remove_file(&target).unwrap();
        let staged = StagedFile::open(&target).unwrap();
        let appender = appending().unwrap();
        assert_eq!(staged.commit().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(appender);
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
        // A link to nothing, by way of another, relative to where it stands.
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
