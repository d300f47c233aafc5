//! A log file of bounded size: at the limit it becomes `<name>.1`, replacing the one before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes of one file: two such files hold days of INFO lines.
const LIMIT: u64 = 10 << 20;

pub(super) struct Rolling {
    path: PathBuf,
    file: File,
    size: u64,
    limit: u64,
}

impl Rolling {
    /// Opens the file for appending; creates it and its folder if they do not exist.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, limit: LIMIT })
    }

    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        if self.size > 0 && self.size + line.len() as u64 > self.limit {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            fs::rename(&self.path, older)?;
            let limit = self.limit;
            *self = Self { limit, ..Self::open(&self.path)? };
        }
        self.size += line.len() as u64;
        self.file.write_all(line.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_stays_bounded_and_one_older_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = Rolling { limit: 10, ..Rolling::open(&path).unwrap() };
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n"] {
            log.line(line).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\nfive\n");
        assert_eq!(fs::read_to_string(dir.path().join("a.log.1")).unwrap(), "three\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
