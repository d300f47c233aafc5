//! Replays a recording: JSON lines, plain or gzip, from a file or standard input; one line is one record.
//!
//! Guarantees:
//! * The stream's identity is the hash of the decompressed content and an offset is the line's number from 0,
//!   so a position always means the same record: a file is read twice, first to hash it, and no block is
//!   delivered that differs from what was hashed. Standard input (and any other file that can be read only
//!   once) has a new identity in each run.
//! * Every line is a record, also if it is blank, not UTF-8, or the last one without a line break. Only `\n` is
//!   removed, and a byte order mark before the first line; a `\r` belongs to the value. A text that begins with
//!   the byte order mark of UTF-16 or UTF-32 is refused as a whole.
//! * Of a damaged gzip file all whole lines that can be read are delivered, then an error names the last of
//!   them. Its identity is the hash of what can be read. If only data after the gzip data is wrong, the content
//!   is complete.
//! * A line that [`Recorder`](super::record::Recorder) wrote gives the record in it; if such a line is invalid,
//!   the line itself is the value.

mod content;
mod gunzip;
mod lines;
pub mod pace;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use self::content::{Content, Map};
use self::lines::{Batch, Reader};
pub use self::pace::Speed;
use super::{End, Outlet, SourceError, SourceState};
use crate::market::Stream;
use crate::market::records::Delivery;

/// Most bytes of a line.
pub const MAX_LINE: usize = 64 << 20;
/// Batches read ahead of the one being delivered.
const READ_AHEAD: usize = 2;

#[derive(Debug, Clone, PartialEq)]
pub struct ReplaySettings {
    /// The recording; `-` is standard input.
    pub input: PathBuf,
    pub speed: Speed,
}

/// A recording, opened and hashed.
#[derive(Debug)]
pub struct Replay {
    content: Content,
    stream: Stream,
    map: Option<Map>,
    speed: Speed,
}

impl Replay {
    /// Opens a recording; `-` is standard input. Blocks: a file is read through once for its identity.
    ///
    /// # Errors
    /// When the file is missing, a directory, or cannot be read.
    pub fn open(path: &Path, speed: Speed) -> Result<Self, SourceError> {
        let mut content = Content::open(path)?;
        let map = content.map()?;
        let topic = match &map {
            Some(map) => format!("replay:{}", map.identity.to_hex()),
            None => format!("replay:stdin-{}", uuid::Uuid::new_v4()),
        };
        Ok(Self { content, stream: Stream::new(&topic, 0), map, speed })
    }

    /// The identity of the recording.
    pub const fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Number of records, where it is known before the end.
    pub fn lines(&self) -> Option<u64> {
        self.map.as_ref().map(|map| map.lines)
    }

    /// Delivers the records after the offset `resume_after`, or all.
    ///
    /// # Errors
    /// When the recording cannot be read to its end (after all whole lines before the error are delivered), or
    /// has changed since it was opened.
    pub async fn run(self, outlet: Outlet, resume_after: Option<i64>) -> Result<End, SourceError> {
        let total = self.lines();
        let progress = |done: u64| SourceState::Replaying {
            #[expect(clippy::cast_precision_loss, reason = "a share for the screen")]
            done: total.map(|total| if total == 0 { 1.0 } else { done as f64 / total as f64 }),
        };
        outlet.status.send_modify(|s| s.state = progress(0));
        let (sender, mut batches) = mpsc::channel(READ_AHEAD);
        let first = resume_after.map_or(0, |offset| offset.saturating_add(1));
        let reader = Reader::new(self.content, self.map, self.speed, first, sender);
        // Not a thread of the runtime: one that blocks on standard input cannot be stopped, and must not delay
        // the process's exit. One that reads a file ends when its channel closes.
        std::thread::Builder::new()
            .name("replay".into())
            .spawn(move || reader.run())
            .map_err(|source| SourceError::Setting(format!("cannot start the replay's reader: {source}")))?;
        let started = Instant::now();
        loop {
            let batch = tokio::select! {
                biased;
                () = outlet.cancel.cancelled() => return Ok(End::Stopped),
                batch = batches.recv() => batch.ok_or(SourceError::Reader)?,
            };
            match batch {
                Batch::Lines { due, records } => {
                    if due > Duration::ZERO && !wait_until(&outlet, started, due).await {
                        return Ok(End::Stopped);
                    }
                    let done = records.last_offset().map_or(0, |offset| offset.unsigned_abs() + 1);
                    if !outlet.deliver(Delivery { stream: Some(self.stream.clone()), records }).await {
                        return Ok(End::Stopped);
                    }
                    outlet.status.send_modify(|s| s.state = progress(done));
                }
                Batch::End => {
                    outlet.status.send_modify(|s| s.state = SourceState::Finished);
                    let delivered = outlet.status.borrow().records > 0;
                    return Ok(if resume_after.is_some() && !delivered {
                        End::NothingNew
                    } else {
                        End::Finished
                    });
                }
                Batch::Failed(error) => return Err(error),
            }
        }
    }
}

/// Waits until `due` after `started`. Returns `false` when the run was cancelled.
async fn wait_until(outlet: &Outlet, started: Instant, due: Duration) -> bool {
    // A time that an `Instant` cannot hold is never reached: a year serves as well.
    let due = started.checked_add(due).unwrap_or_else(|| started + Duration::from_hours(365 * 24));
    tokio::select! {
        biased;
        () = outlet.cancel.cancelled() => false,
        () = tokio::time::sleep_until(due) => true,
    }
}

/// The file's name in errors.
fn display_name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".into() } else { path.display().to_string() }
}

#[cfg(test)]
mod tests;
