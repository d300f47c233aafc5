//! Errors that end a source or a recorder.

use std::io;

/// Why a source cannot start or continue, or a recording cannot be written. Failures that a source retries by
/// itself are a [`SourceState`](super::SourceState) instead. `name` is a file's path as the user gave it, or
/// `standard input`.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot open the recording '{name}'")]
    Open {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "'{name}' is a directory, not a recording: name a file of JSON lines, plain or gzip, or - for standard input"
    )]
    Directory { name: String },
    #[error("cannot read the recording '{name}' beyond line {line}")]
    Read {
        name: String,
        /// Number of lines read before the error.
        line: u64,
        #[source]
        source: io::Error,
    },
    /// The gzip data is cut off or corrupt.
    #[error("the recording '{name}' is damaged {}", place(*.line))]
    Damaged {
        name: String,
        /// Number of whole lines before the damage.
        line: u64,
        #[source]
        source: io::Error,
    },
    /// The text begins with the byte order mark of UTF-16 or UTF-32.
    #[error(
        "the recording '{name}' is UTF-16 or UTF-32 text: convert it to UTF-8 first, as 'iconv -f UTF-16 -t UTF-8' does"
    )]
    Encoding { name: String },
    #[error(
        "line {line} of the recording '{name}' is longer than {limit} bytes: is it a recording of one record a line?"
    )]
    LongLine {
        name: String,
        /// Counted from 1.
        line: u64,
        /// Most bytes of a line.
        limit: usize,
    },
    #[error(
        "the recording '{name}' changed while it was being replayed (after line {line}); start again to replay it as it is now"
    )]
    Changed {
        name: String,
        /// Number of lines delivered before the change was found.
        line: u64,
    },
    /// Recording into this file would lose data, or give a file that cannot be replayed. Nothing was written.
    #[error("{0}")]
    Refused(String),
    #[error("cannot write the recording '{name}'{kept}")]
    Write {
        name: String,
        /// Empty, or the end of the message: where the records before the error are.
        kept: String,
        #[source]
        source: io::Error,
    },
    /// A setting is invalid, or the system lacks what the source needs.
    #[error("{0}")]
    Setting(String),
    /// A thread of the source panicked.
    #[error("the source's reader stopped unexpectedly")]
    Reader,
    /// The storage cannot be read.
    #[error("cannot find out where to resume")]
    Resume(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn place(line: u64) -> String {
    if line == 0 { "within its first line".into() } else { format!("after line {line}, the last good one") }
}
