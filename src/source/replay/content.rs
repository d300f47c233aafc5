//! Reads the decompressed bytes of a recording in blocks. A file is read twice: the first reading makes a
//! [`Map`] of block hashes, and the second checks each block against it, so that no block of a file that
//! changed in between is delivered.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::path::Path;

use super::super::SourceError;
use super::display_name;
use super::gunzip::{self, Gunzip};

/// Decompressed bytes of a block.
const BLOCK: usize = 1 << 20;
/// Compressed bytes of one read.
const COMPRESSED: usize = 256 << 10;
/// The byte order mark that some programs put before UTF-8 text.
pub(super) const MARK: &[u8] = b"\xef\xbb\xbf";

/// The content of a file as a first reading found it.
#[derive(Debug)]
pub(super) struct Map {
    /// Hash of the content, as far as it can be read.
    pub(super) identity: blake3::Hash,
    /// Number of records. A last line without a line break counts, unless damage of the file may have cut it.
    pub(super) lines: u64,
    /// Length of the content in bytes.
    length: u64,
    /// Hash of each block.
    blocks: Vec<blake3::Hash>,
    /// The error that ends the content of a damaged file.
    damage: Option<io::Error>,
}

/// An open recording.
#[derive(Debug)]
pub(super) struct Content {
    name: String,
    from: From,
    /// Lines read so far, for errors; counted by the caller.
    pub(super) lines: u64,
}

#[derive(Debug)]
enum From {
    /// Can be read again from its start.
    File(File),
    /// Can be read once: standard input, a named pipe. None when it was.
    Once(Option<Once>),
}

#[derive(Debug)]
enum Once {
    Stdin,
    Pipe(File),
}

/// One reading of a content, from its start.
pub(super) struct Reading {
    source: Box<dyn Read + Send>,
    gzip: bool,
    /// Fill each block but the last, so that it can be compared; else return the bytes of each read at once, so
    /// that lines of a pipe are not delayed.
    whole_blocks: bool,
    buffer: Vec<u8>,
    /// The error that ended the last block early; the next call of [`Self::block`] returns it.
    failure: Option<io::Error>,
}

impl Content {
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let name = display_name(path);
        let from = if path == Path::new("-") {
            From::Once(Some(Once::Stdin))
        } else {
            let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
            let (metadata, file) =
                opened.map_err(|source| SourceError::Open { name: name.clone(), source })?;
            if metadata.is_dir() {
                return Err(SourceError::Directory { name });
            }
            if metadata.is_file() { From::File(file) } else { From::Once(Some(Once::Pipe(file))) }
        };
        Ok(Self { name, from, lines: 0 })
    }

    /// Reads a file through; none where it can be read only once.
    pub(super) fn map(&mut self) -> Result<Option<Map>, SourceError> {
        if matches!(self.from, From::Once(_)) {
            return Ok(None);
        }
        let mut reading = self.read()?;
        let (mut hasher, mut blocks, mut lines, mut length, mut damage) =
            (blake3::Hasher::new(), Vec::new(), 0u64, 0u64, None);
        let mut is_line_open = false;
        loop {
            let gzip = reading.gzip;
            let block = match reading.block() {
                Ok(block) => block,
                Err(error) if gzip && is_damage(&error) => {
                    damage = Some(error);
                    break;
                }
                Err(error) => return Err(self.failed(gzip, lines, error)),
            };
            let Some(end) = block.last() else { break };
            hasher.update(block);
            lines += memchr::memchr_iter(b'\n', block).count() as u64;
            is_line_open = *end != b'\n' && !(blocks.is_empty() && block == MARK);
            blocks.push(blake3::hash(block));
            length += block.len() as u64;
        }
        lines += u64::from(is_line_open && damage.as_ref().is_none_or(gunzip::is_after_content));
        Ok(Some(Map { identity: hasher.finalize(), lines, length, blocks, damage }))
    }

    /// Starts reading from the start.
    pub(super) fn read(&mut self) -> Result<Reading, SourceError> {
        let (whole_blocks, raw): (bool, io::Result<Box<dyn Read + Send>>) = match &mut self.from {
            From::File(file) => (
                true,
                file.try_clone().and_then(|mut f| f.rewind().map(|()| Box::new(f) as Box<dyn Read + Send>)),
            ),
            From::Once(once) => {
                let raw = match once.take() {
                    Some(Once::Stdin) => Ok(Box::new(io::stdin()) as Box<dyn Read + Send>),
                    Some(Once::Pipe(file)) => Ok(Box::new(file) as Box<dyn Read + Send>),
                    None => Err(io::Error::other("it can be read only once")),
                };
                (false, raw)
            }
        };
        raw.and_then(|raw| Reading::new(raw, whole_blocks)).map_err(|source| self.failed(false, 0, source))
    }

    /// Block `number` (from 0), checked against `map`; empty at the end. Bytes that were added to a file after
    /// it was mapped are not read.
    ///
    /// # Errors
    /// When the block differs from the map or cannot be read, and after the last block of a damaged file.
    pub(super) fn next<'a>(
        &self,
        reading: &'a mut Reading,
        map: Option<&mut Map>,
        number: usize,
    ) -> Result<&'a [u8], SourceError> {
        let Some(map) = map else {
            let gzip = reading.gzip;
            return reading.block().map_err(|source| self.failed(gzip, self.lines, source));
        };
        let Some(expected) = map.blocks.get(number) else {
            return map.damage.take().map_or(Ok(&[]), |damage| Err(self.failed(true, self.lines, damage)));
        };
        let left = map.length - number as u64 * BLOCK as u64;
        let length = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        match reading.block() {
            Ok(block) if block.len() >= length && blake3::hash(&block[..length]) == *expected => {
                Ok(&block[..length])
            }
            // The first reading could read this block, so any damage of it is a change.
            Ok(_) => Err(SourceError::Changed { name: self.name.clone(), line: self.lines }),
            Err(error) if is_damage(&error) => {
                Err(SourceError::Changed { name: self.name.clone(), line: self.lines })
            }
            Err(source) => Err(self.failed(false, self.lines, source)),
        }
    }

    /// The error of a text that is not UTF-8 by its byte order mark.
    pub(super) fn foreign_text(&self) -> SourceError {
        SourceError::Encoding { name: self.name.clone() }
    }

    pub(super) fn long_line(&self, limit: usize) -> SourceError {
        SourceError::LongLine { name: self.name.clone(), line: self.lines + 1, limit }
    }

    fn failed(&self, gzip: bool, line: u64, source: io::Error) -> SourceError {
        let name = self.name.clone();
        if gzip && is_damage(&source) {
            SourceError::Damaged { name, line, source }
        } else {
            SourceError::Read { name, line, source }
        }
    }
}

fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

impl Reading {
    fn new(mut raw: Box<dyn Read + Send>, whole_blocks: bool) -> io::Result<Self> {
        let mut head = Vec::with_capacity(gunzip::MAGIC.len());
        raw.by_ref().take(gunzip::MAGIC.len() as u64).read_to_end(&mut head)?;
        let gzip = head == gunzip::MAGIC;
        let whole = Cursor::new(head).chain(raw);
        let source: Box<dyn Read + Send> = if gzip {
            Box::new(Gunzip::new(BufReader::with_capacity(COMPRESSED, whole)))
        } else {
            Box::new(whole)
        };
        Ok(Self { source, gzip, whole_blocks, buffer: vec![0; BLOCK], failure: None })
    }

    /// The next bytes; empty at the end. An error is returned after all bytes before it.
    fn block(&mut self) -> io::Result<&[u8]> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut filled = 0;
        while filled < self.buffer.len() {
            match self.source.read(&mut self.buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => {
                    filled += n;
                    if !self.whole_blocks {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if filled == 0 => return Err(error),
                Err(error) => {
                    self.failure = Some(error);
                    break;
                }
            }
        }
        Ok(&self.buffer[..filled])
    }
}
