//! `cryptostream record`: what a source delivers, to a file that replay reads back, record for record and byte for byte.
//!
//! A killed recorder leaves a file that is good up to the last flush: lines, and members of a gzip file, are written whole.

pub mod envelope;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::SourceError;
use crate::market::records::Delivery;

/// How often a recording is written out while records come slowly.
const FLUSH: Duration = Duration::from_secs(1);
/// Text held back at most before it is written out.
const BUFFER: usize = 1 << 20;

/// Writes deliveries as envelopes, one a line; gzip where the file's name ends in `.gz`.
pub struct Recorder {
    name: String,
    file: Box<dyn Write + Send>,
    gzip: bool,
    lines: String,
    records: u64,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("name", &self.name).field("records", &self.records).finish_non_exhaustive()
    }
}

impl Recorder {
    /// A recorder into a new or emptied file; `-` is standard output.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        if name == "-" {
            return Ok(Self::to("standard output", Box::new(io::stdout()), false));
        }
        match File::create(path) {
            Ok(file) => Ok(Self::to(&name, Box::new(file), path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz")))),
            Err(source) => Err(SourceError::Write { name, source }),
        }
    }

    /// A recorder into anything that takes bytes; `name` is what errors call it.
    #[must_use]
    pub fn to(name: &str, file: Box<dyn Write + Send>, gzip: bool) -> Self {
        Self { name: name.to_owned(), file, gzip, lines: String::new(), records: 0 }
    }

    /// Records taken so far.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Takes a delivery, and writes out when enough has gathered. Blocks while writing.
    ///
    /// # Errors
    /// When the file cannot be written: the disk is full, the reader of a pipe is gone …
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

    /// Writes out everything taken so far. Blocks while writing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<(), SourceError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let written = if self.gzip { member(self.lines.as_bytes()) } else { Ok(Vec::new()) }
            .and_then(|packed| self.file.write_all(if self.gzip { &packed } else { self.lines.as_bytes() }))
            .and_then(|()| self.file.flush());
        self.lines.clear();
        written.map_err(|source| SourceError::Write { name: self.name.clone(), source })
    }

    /// Records everything that arrives until the channel closes or `cancel` is raised (what is in the channel by then is
    /// still taken), writing out at least once a second. Gives the number of records.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn run(mut self, mut deliveries: mpsc::Receiver<Delivery>, cancel: CancellationToken) -> Result<u64, SourceError> {
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
        Ok(self.blocking(None).await?.records)
    }

    /// Takes one delivery, or writes out, on a thread that may block.
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

/// One whole gzip member; members one after the other are a gzip file.
fn member(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::default());
    encoder.write_all(text)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{RecordRef, Records};

    /// A disk with room for so many bytes.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let n = bytes.len().min(self.0);
            self.0 -= n;
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn delivery() -> Delivery {
        let mut records = Records::new();
        records.push(RecordRef { offset: 0, key: None, value: b"x", source: "s", headers: None, produced_at: 1 });
        Delivery { stream: None, records }
    }

    #[tokio::test]
    async fn a_full_disk_is_an_error_in_words() {
        let (sender, receiver) = mpsc::channel(1);
        sender.send(delivery()).await.expect("room");
        drop(sender);
        let error = Recorder::to("out.ndjson", Box::new(Disk(10)), false).run(receiver, CancellationToken::new()).await.expect_err("full");
        assert_eq!(error.to_string(), "cannot write the recording 'out.ndjson'");
        assert!(!error.is_transient());
    }

    #[tokio::test]
    async fn what_was_delivered_before_the_end_is_recorded() {
        let (sender, receiver) = mpsc::channel(4);
        let cancel = CancellationToken::new();
        sender.send(delivery()).await.expect("room");
        sender.send(delivery()).await.expect("room");
        cancel.cancel();
        let count = Recorder::to("x", Box::new(io::sink()), true).run(receiver, cancel).await.expect("recorded");
        assert_eq!(count, 2);
    }
}
