//! Why a source cannot be started or goes no further.

use std::io;

/// Why a source cannot be started or goes no further. What it gets over by itself is a [`SourceState`], not
/// an error.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The recording cannot be opened.
    #[error("cannot open the recording '{name}'")]
    Open {
        /// The file as the user named it.
        name: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The recording is a directory.
    #[error(
        "'{name}' is a directory, not a recording: name a file of JSON lines, plain or gzip, or - for standard input"
    )]
    Directory {
        /// The file as the user named it.
        name: String,
    },
    /// Reading failed on the way.
    #[error("cannot read the recording '{name}' beyond line {line}")]
    Read {
        /// The file as the user named it.
        name: String,
        /// Lines read until then.
        line: u64,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The compressed data is cut off or corrupt.
    #[error("the recording '{name}' is damaged {}", behind(*.line))]
    Damaged {
        /// The file as the user named it.
        name: String,
        /// Whole lines before the damage.
        line: u64,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The text begins as UTF-16 or UTF-32 does.
    #[error(
        "the recording '{name}' is UTF-16 or UTF-32 text: convert it to UTF-8 first, as 'iconv -f UTF-16 -t UTF-8' does"
    )]
    Encoding {
        /// The file as the user named it.
        name: String,
    },
    /// One line is longer than any record can be.
    #[error(
        "line {line} of the recording '{name}' is longer than {limit} bytes: is it a recording of one record a line?"
    )]
    LongLine {
        /// The file as the user named it.
        name: String,
        /// The line, counted from 1.
        line: u64,
        /// The most bytes a line may have.
        limit: usize,
    },
    /// The file is not what it was when the replay began.
    #[error(
        "the recording '{name}' changed while it was being replayed (after line {line}); start again to replay it as it is now"
    )]
    Changed {
        /// The file as the user named it.
        name: String,
        /// Lines delivered until then.
        line: u64,
    },
    /// A recording would destroy something, or nothing could read it: what is there stays as it is.
    #[error("{0}")]
    Refused(String),
    /// A recording cannot be written.
    #[error("cannot write the recording '{name}'{kept}")]
    Write {
        /// The file as the user named it.
        name: String,
        /// What has become of the records before, in words behind the name.
        kept: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The source cannot work as it is set up.
    #[error("{0}")]
    Setting(String),
    /// A thread of the source ended by a panic.
    #[error("the source's reader stopped unexpectedly")]
    Reader,
    /// What the storage holds of the source cannot be read.
    #[error("cannot find out where to resume")]
    Resume(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SourceError {
    /// Whether starting the source again may help without the user doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
                )
            }
            Self::Reader => true,
            _ => false,
        }
    }
}

/// Where a recording is damaged.
fn behind(line: u64) -> String {
    if line == 0 { "within its first line".into() } else { format!("behind line {line}, the last good one") }
}
