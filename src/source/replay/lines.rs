//! Splits a content into lines and collects them to batches of records, on a thread that may block.

use std::time::Duration;

use tokio::sync::mpsc::Sender;

use super::super::SourceError;
use super::super::peek::event_time;
use super::super::record::envelope;
use super::MAX_LINE;
use super::content::{Content, MARK, Map};
use super::gunzip;
use super::pace::{Pacer, Speed};
use crate::market::time::now;
use crate::market::{Micros, RecordRef, Records};

/// Most records of a batch.
const LINES: usize = 8_192;
/// Bytes of records from which on a batch is complete.
const BYTES: usize = 4 << 20;
/// Lines that are due within this time of the first one are delivered together.
const TOGETHER: Duration = Duration::from_millis(20);
/// The byte order marks of UTF-16 (little and big endian) and UTF-32 (big endian; little endian begins as
/// UTF-16 does).
const FOREIGN_MARKS: [&[u8]; 3] = [b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"];
/// The source of records from plain lines, unless their payload names one.
const SOURCE: &str = "replay";

pub(super) enum Batch {
    /// Records to be delivered at `due` after the start of the replay.
    Lines {
        due: Duration,
        records: Records,
    },
    /// The content has been read to its end.
    End,
    Failed(SourceError),
}

/// Reads a content to its end and sends it in batches.
pub(super) struct Reader {
    content: Content,
    map: Option<Map>,
    batch: Records,
    /// None: as fast as possible.
    pacer: Option<Pacer>,
    /// When the first and the last line of the open batch are due.
    due: (Duration, Duration),
    /// Lines below this offset are counted, but not delivered.
    first: i64,
    /// Clock time of the last read.
    produced_at: Micros,
    sender: Sender<Batch>,
}

/// The receiver of the batches is gone.
struct Gone;

enum Stop {
    Gone,
    Failed(SourceError),
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

impl Reader {
    pub(super) fn new(
        content: Content,
        map: Option<Map>,
        speed: Speed,
        first: i64,
        sender: Sender<Batch>,
    ) -> Self {
        let pacer = match speed {
            Speed::Max => None,
            Speed::Times(factor) => Some(Pacer::new(factor)),
        };
        Self {
            content,
            map,
            batch: Records::new(),
            pacer,
            due: (Duration::ZERO, Duration::ZERO),
            first,
            produced_at: now(),
            sender,
        }
    }

    pub(super) fn run(mut self) {
        let last = match self.read() {
            Ok(()) => Batch::End,
            Err(Stop::Failed(error)) => Batch::Failed(error),
            Err(Stop::Gone) => return,
        };
        let _ = self.sender.blocking_send(last);
    }

    fn read(&mut self) -> Result<(), Stop> {
        let mut reading = self.content.read()?;
        let mut map = self.map.take();
        // The beginning of a line that the next block continues.
        let mut part = Vec::new();
        for number in 0.. {
            if self.sender.is_closed() {
                return Err(Stop::Gone);
            }
            let block = match self.content.next(&mut reading, map.as_mut(), number) {
                Ok(block) => block,
                Err(mut error) => {
                    if let SourceError::Damaged { line, source, .. } = &mut error
                        && gunzip::is_after_content(source)
                    {
                        self.last_line(&part)?;
                        *line = self.content.lines;
                    }
                    self.flush()?;
                    return Err(error.into());
                }
            };
            if block.is_empty() {
                break;
            }
            self.produced_at = now();
            let mut start = 0;
            for end in memchr::memchr_iter(b'\n', block) {
                if part.is_empty() {
                    self.line(&block[start..end])?;
                } else {
                    part.extend_from_slice(&block[start..end]);
                    self.line(&part)?;
                    part.clear();
                }
                start = end + 1;
            }
            part.extend_from_slice(&block[start..]);
            if part.len() > MAX_LINE {
                self.flush()?;
                return Err(self.content.long_line(MAX_LINE).into());
            }
            if map.is_none() {
                // Lines from a pipe are not held back until more arrive.
                self.flush()?;
            }
        }
        self.last_line(&part)?;
        Ok(self.flush()?)
    }

    /// Reads the bytes after the last line break, if any, as a line.
    fn last_line(&mut self, part: &[u8]) -> Result<(), Stop> {
        let is_only_a_mark = self.content.lines == 0 && part == MARK;
        if part.is_empty() || is_only_a_mark { Ok(()) } else { self.line(part) }
    }

    fn line(&mut self, mut line: &[u8]) -> Result<(), Stop> {
        let offset = self.content.lines.cast_signed();
        if offset == 0 {
            if FOREIGN_MARKS.iter().any(|mark| line.starts_with(mark)) {
                return Err(self.content.foreign_text().into());
            }
            line = line.strip_prefix(MARK).unwrap_or(line);
        }
        self.content.lines += 1;
        if offset < self.first {
            return Ok(());
        }
        let envelope = if envelope::is_envelope(line) { envelope::parse(line) } else { None };
        let record = match &envelope {
            Some(inner) => RecordRef {
                offset,
                key: inner.key.as_deref(),
                value: &inner.value,
                source: inner.source.as_deref().unwrap_or(SOURCE),
                headers: inner.headers.as_deref(),
                produced_at: inner.produced_at.unwrap_or(self.produced_at),
            },
            None => RecordRef {
                offset,
                key: None,
                value: line,
                source: SOURCE,
                headers: None,
                produced_at: self.produced_at,
            },
        };
        if let Some(pacer) = &mut self.pacer {
            let time = event_time(record.value).or_else(|| envelope.as_ref().and_then(|e| e.produced_at));
            let due = pacer.due(time);
            if self.batch.is_empty() {
                self.due.0 = due;
            } else if due > self.due.0 + TOGETHER {
                self.flush()?;
                self.due.0 = due;
            }
            self.due.1 = due;
        }
        self.batch.push(record);
        if self.batch.len() >= LINES || self.batch.bytes() >= BYTES { Ok(self.flush()?) } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Gone> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = Batch::Lines { due: self.due.1, records: std::mem::take(&mut self.batch) };
        self.sender.blocking_send(batch).map_err(|_| Gone)
    }
}
