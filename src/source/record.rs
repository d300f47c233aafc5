//! `cryptostream record`: writes what a source delivers to a file that replay reads back, record for record and
//! byte for byte.
//!
//! A new recording is written to a file beside its target and renamed at the end, so that an existing one is
//! not replaced before the new one is complete; with [`Existing::Append`] lines are appended to the recording
//! itself. A killed recorder leaves a file that is valid up to the last flush: lines and gzip members are
//! written whole.

pub mod envelope;

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::SourceError;
use crate::market::records::Delivery;
use crate::staged::{self, StagedFile};

/// Longest time between two flushes.
const FLUSH: Duration = Duration::from_secs(1);
/// Bytes of buffered lines from which on they are flushed.
const BUFFER: usize = 1 << 20;

/// What to do with an existing recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse to record.
    Keep,
    /// Replace it when the new one is complete.
    Replace,
    Append,
}

/// Writes deliveries as envelopes, one a line; gzip where the file's name ends in `.gz`.
pub struct Recorder {
    name: String,
    output: Output,
    gzip: bool,
    lines: String,
    records: u64,
    /// Records that are flushed, and the file's length in bytes with them.
    written: (u64, u64),
}

enum Output {
    /// A file beside the recording, to be renamed at the end.
    Staged(StagedFile, Existing),
    /// An existing recording, to be appended to.
    End(File),
    /// Standard output, a pipe, a device.
    Stream(Box<dyn Write + Send>),
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Staged(staged, _) => staged.file().write_all(bytes),
            Self::End(file) => file.write_all(bytes),
            Self::Stream(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// Truncates a file to `length` bytes.
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        match self {
            Self::Staged(staged, _) => staged.file().set_len(length),
            Self::End(file) => file.set_len(length),
            Self::Stream(_) => Ok(()),
        }
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("name", &self.name)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

/// Refuses to record into the file that is being replayed, also where the two have different names (links,
/// redirections); `-` is standard output or input.
///
/// # Errors
/// [`SourceError::Refused`].
pub fn refuse_input(recording: &Path, input: &Path) -> Result<(), SourceError> {
    let standard = |path: &Path, device: &str| {
        fs::metadata(if path == Path::new("-") { Path::new(device) } else { path })
    };
    match (standard(recording, "/dev/stdout"), standard(input, "/dev/stdin")) {
        (Ok(output), Ok(input)) if output.is_file() && staged::is_same(&output, &input) => {
            Err(SourceError::Refused(format!(
                "'{}' is the recording that is read: record into another file",
                recording.display()
            )))
        }
        _ => Ok(()),
    }
}

impl Recorder {
    /// Opens a recording for writing; `-` is standard output. Blocks: a recording that is to be appended to is
    /// read through.
    ///
    /// # Errors
    /// [`SourceError::Refused`] when existing records could be lost; else when the file cannot be written.
    pub fn create(path: &Path, existing: Existing) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        let failed = |source| SourceError::Write { name: name.clone(), kept: String::new(), source };
        if name == "-" {
            return Ok(Self::to("standard output", Box::new(io::stdout()), false));
        }
        let gzip = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
        if staged::is_stream(path) {
            return Ok(Self::to(
                &name,
                Box::new(File::options().write(true).open(path).map_err(failed)?),
                gzip,
            ));
        }
        let exists = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0);
        if exists && existing == Existing::Append {
            return Self::append(&name, path);
        }
        if exists && existing == Existing::Keep {
            return Err(SourceError::Refused(format!(
                "there is a recording '{name}': add to it with --append, replace it with --force, or name another file"
            )));
        }
        let mut staged = StagedFile::open(path).map_err(|error| in_use(&name, error))?;
        if staged.file().metadata().map_err(failed)?.len() > 0 {
            return Err(SourceError::Refused(format!(
                "'{}' holds the records of a recorder that was killed: rename it to keep them, or delete it; then record again",
                staged.path().display()
            )));
        }
        Ok(Self::with(&name, Output::Staged(staged, existing), gzip))
    }

    /// Opens an existing recording for appending.
    fn append(name: &str, path: &Path) -> Result<Self, SourceError> {
        let mut file = staged::locked(path, File::options().read(true).append(true))
            .map_err(|error| in_use(name, error))?;
        let Ending { gzip, is_line_open } = ending(&mut file).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                SourceError::Refused(format!(
                    "cannot append to '{name}': its gzip data is damaged or followed by other data; \
                 'cryptostream record NEW --input {name} --speed max' copies the lines that can be read"
                ))
            }
            _ => in_use(name, error),
        })?;
        let length = file.metadata().map_err(|error| in_use(name, error))?.len();
        let mut recorder = Self::with(name, Output::End(file), gzip);
        recorder.written.1 = length;
        if is_line_open {
            recorder.lines.push('\n');
        }
        Ok(recorder)
    }

    /// A recorder into any writer; `name` is what errors call it.
    pub fn to(name: &str, stream: Box<dyn Write + Send>, gzip: bool) -> Self {
        Self::with(name, Output::Stream(stream), gzip)
    }

    fn with(name: &str, output: Output, gzip: bool) -> Self {
        Self { name: name.to_owned(), output, gzip, lines: String::new(), records: 0, written: (0, 0) }
    }

    /// Buffers a delivery's records, and flushes when the buffer is full. Blocks.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn write(&mut self, delivery: &Delivery) -> Result<(), SourceError> {
        for record in delivery.records.iter() {
            envelope::write(&mut self.lines, record);
            self.lines.push('\n');
            self.records += 1;
            if self.lines.len() >= BUFFER {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes all buffered records to the file. Blocks.
    ///
    /// # Errors
    /// When the file cannot be written (disk full, pipe closed); it is truncated to its length after the last
    /// successful flush.
    pub fn flush(&mut self) -> Result<(), SourceError> {
        if self.records == self.written.0 {
            return Ok(());
        }
        let lines = std::mem::take(&mut self.lines);
        let packed = if self.gzip { member(lines.as_bytes()) } else { Ok(lines.into_bytes()) };
        match packed.and_then(|packed| self.output.write(&packed).map(|()| packed.len() as u64)) {
            Ok(length) => {
                self.written = (self.records, self.written.1 + length);
                Ok(())
            }
            Err(source) => Err(self.failed(source)),
        }
    }

    /// Truncates the file after a failed write, and gives the error with the place of the records before it.
    fn failed(&mut self, source: io::Error) -> SourceError {
        let (records, length) = self.written;
        let is_truncated = self.output.truncate(length).is_ok();
        let kept = match std::mem::replace(&mut self.output, Output::Stream(Box::new(io::sink()))) {
            Output::Staged(staged, _) if records == 0 => {
                let _ = staged.discard(); // the error to report is that of the write
                String::new()
            }
            Output::Staged(staged, _) => {
                format!("; its first {records} records are in '{}'", staged.path().display())
            }
            Output::End(_) if is_truncated && records > 0 => format!("; {records} records were added to it"),
            Output::End(_) | Output::Stream(_) => String::new(),
        };
        SourceError::Write { name: self.name.clone(), kept, source }
    }

    /// Flushes and completes the recording: a new one is renamed to its target, or deleted if it has no records.
    /// Returns the number of records. Blocks.
    ///
    /// # Errors
    /// When the file cannot be written; [`SourceError::Refused`] when the target has appeared meanwhile and is
    /// not to be replaced.
    pub fn finish(mut self) -> Result<u64, SourceError> {
        self.flush()?;
        let mut kept = String::new();
        let ended = match self.output {
            Output::Staged(staged, _) if self.records == 0 => staged.discard(),
            Output::Staged(staged, existing) => {
                let partial = staged.path().display().to_string();
                kept = format!("; its records are in '{partial}'");
                let ended = if existing == Existing::Replace { staged.commit() } else { staged.commit_new() };
                if ended.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
                    return Err(SourceError::Refused(format!(
                        "'{}' appeared while it was being recorded and was not replaced; the records are in '{partial}'",
                        self.name
                    )));
                }
                ended
            }
            Output::End(file) => file.sync_all(),
            Output::Stream(_) => Ok(()),
        };
        ended.map_err(|source| SourceError::Write { name: self.name, kept, source })?;
        Ok(self.records)
    }

    /// Records all deliveries until the channel closes or `cancel` is cancelled (deliveries in the channel by
    /// then are still recorded), flushes at least once a second, and completes the recording. Returns the
    /// number of records.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn run(
        mut self,
        mut deliveries: mpsc::Receiver<Delivery>,
        cancel: CancellationToken,
    ) -> Result<u64, SourceError> {
        let mut flush = tokio::time::interval(FLUSH);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let delivery = tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                delivery = deliveries.recv() => match delivery {
                    Some(delivery) => Some(delivery),
                    None => break,
                },
                _ = flush.tick() => None,
            };
            self = self.blocking(delivery).await?;
        }
        deliveries.close();
        while let Ok(delivery) = deliveries.try_recv() {
            self = self.blocking(Some(delivery)).await?;
        }
        tokio::task::spawn_blocking(move || self.finish()).await.map_err(|_| SourceError::Reader)?
    }

    /// Writes one delivery, or flushes, on a thread that may block.
    async fn blocking(mut self, delivery: Option<Delivery>) -> Result<Self, SourceError> {
        tokio::task::spawn_blocking(move || {
            match delivery {
                Some(delivery) => self.write(&delivery)?,
                None => self.flush()?,
            }
            Ok(self)
        })
        .await
        .map_err(|_| SourceError::Reader)?
    }
}

/// The text as one whole gzip member; concatenated members are a gzip file.
fn member(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::default());
    encoder.write_all(text)?;
    encoder.finish()
}

/// The error of a file that another process may be writing.
fn in_use(name: &str, source: io::Error) -> SourceError {
    match source.kind() {
        io::ErrorKind::WouldBlock => SourceError::Refused(format!("another recorder writes '{name}'")),
        _ => SourceError::Write { name: name.to_owned(), kept: String::new(), source },
    }
}

/// The end of a recording that is to be appended to.
struct Ending {
    gzip: bool,
    /// Whether its last line lacks a line break.
    is_line_open: bool,
}

/// Reads a recording to its end. Damaged gzip is an error, and so is anything after its gzip data, padding
/// included: a replay would not read members after it.
fn ending(file: &mut File) -> io::Result<Ending> {
    let mut head = Vec::new();
    file.take(2).read_to_end(&mut head)?;
    let gzip = head == [0x1f, 0x8b];
    if !gzip {
        file.seek(io::SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        return Ok(Ending { gzip, is_line_open: last != *b"\n" });
    }
    file.rewind()?;
    let mut content = MultiGzDecoder::new(file);
    let mut block = vec![0; 64 << 10];
    let mut last = b'\n';
    loop {
        match content.read(&mut block)? {
            0 => return Ok(Ending { gzip, is_line_open: last != b'\n' }),
            n => last = block[n - 1],
        }
    }
}

#[cfg(test)]
mod tests;
