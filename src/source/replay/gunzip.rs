//! Decompresses gzip as `gzip -dc` does: concatenated members, then zeros as padding. Of a damaged file all
//! bytes before the damage are returned before the error.

use std::io::{self, BufRead, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// The first bytes of every member.
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The only compression method in use.
const DEFLATE: u8 = 8;

/// Flags of a member's header.
mod flag {
    pub(super) const HEADER_CRC: u8 = 1 << 1;
    pub(super) const EXTRA: u8 = 1 << 2;
    pub(super) const NAME: u8 = 1 << 3;
    pub(super) const COMMENT: u8 = 1 << 4;
    pub(super) const RESERVED: u8 = 0b1110_0000;
}

pub(super) struct Gunzip<R> {
    raw: R,
    inflate: Decompress,
    /// Checksum and length of the member's content so far.
    crc: Crc,
    at: At,
}

/// The part of the file that is read next.
#[derive(Clone, Copy)]
enum At {
    FirstHeader,
    Header,
    Body,
    Trailer,
    End,
}

impl<R: BufRead> Gunzip<R> {
    pub(super) fn new(raw: R) -> Self {
        Self { raw, inflate: Decompress::new(false), crc: Crc::new(), at: At::FirstHeader }
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.raw
            .read_exact(&mut bytes)
            .map_err(|error| if error.kind() == io::ErrorKind::UnexpectedEof { cut() } else { error })?;
        Ok(bytes)
    }

    fn skip_text(&mut self) -> io::Result<()> {
        while self.bytes()? != [0] {}
        Ok(())
    }

    /// Reads the header after a member, or the padding. Returns `false` when there is no further member.
    fn next_member(&mut self) -> io::Result<bool> {
        match self.raw.fill_buf()?.first() {
            None => return Ok(false),
            Some(0) => {
                self.padding()?;
                return Ok(false);
            }
            Some(_) => {}
        }
        self.header()?;
        Ok(true)
    }

    /// Reads zeros up to the end, which tapes and block devices append.
    fn padding(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.raw.fill_buf()?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Err(foreign());
            }
            match bytes.len() {
                0 => return Ok(()),
                n => self.raw.consume(n),
            }
        }
    }

    fn header(&mut self) -> io::Result<()> {
        if self.bytes::<1>()? != MAGIC[..1] || self.bytes::<1>()? != MAGIC[1..] {
            return Err(foreign());
        }
        // Method, flags, 4 bytes of time, extra flags, operating system.
        let [method, flags, ..] = self.bytes::<8>()?;
        if method != DEFLATE || flags & flag::RESERVED != 0 {
            return Err(corrupt());
        }
        if flags & flag::EXTRA != 0 {
            for _ in 0..u16::from_le_bytes(self.bytes()?) {
                self.bytes::<1>()?;
            }
        }
        if flags & flag::NAME != 0 {
            self.skip_text()?;
        }
        if flags & flag::COMMENT != 0 {
            self.skip_text()?;
        }
        if flags & flag::HEADER_CRC != 0 {
            self.bytes::<2>()?;
        }
        self.inflate.reset(false);
        self.crc.reset();
        Ok(())
    }

    /// Decompresses into `out` and returns the number of bytes; 0 at the end of the member's data.
    fn body(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let input = self.raw.fill_buf()?;
            let is_end = input.is_empty();
            let (taken, given) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(input, out, FlushDecompress::None);
            let count = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
            let given = count(self.inflate.total_out(), given);
            self.raw.consume(count(self.inflate.total_in(), taken));
            self.crc.update(&out[..given]);
            match status {
                Ok(Status::StreamEnd) => {
                    self.at = At::Trailer;
                    return Ok(given);
                }
                // The next call returns the error again, with no bytes before it.
                _ if given > 0 => return Ok(given),
                Ok(_) if is_end => return Err(cut()),
                Ok(_) => {}
                Err(_) => return Err(corrupt()),
            }
        }
    }

    fn trailer(&mut self) -> io::Result<()> {
        let expected = (self.crc.sum(), self.crc.amount());
        let found = (u32::from_le_bytes(self.bytes()?), u32::from_le_bytes(self.bytes()?));
        if found == expected {
            Ok(())
        } else {
            Err(damage(io::ErrorKind::InvalidData, "the checksum of its content is wrong"))
        }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            match self.at {
                At::FirstHeader => {
                    self.header()?;
                    self.at = At::Body;
                }
                At::Header => self.at = if self.next_member()? { At::Body } else { At::End },
                At::Body => match self.body(out)? {
                    0 => {}
                    given => return Ok(given),
                },
                At::Trailer => {
                    self.trailer()?;
                    self.at = At::Header;
                }
                At::End => return Ok(0),
            }
        }
    }
}

fn damage(kind: io::ErrorKind, message: &'static str) -> io::Error {
    io::Error::new(kind, message)
}

fn cut() -> io::Error {
    damage(io::ErrorKind::UnexpectedEof, "its gzip data is cut off")
}

fn corrupt() -> io::Error {
    damage(io::ErrorKind::InvalidData, "its gzip data is corrupt")
}

/// The error of data after the last member, whose content is complete.
#[derive(Debug, thiserror::Error)]
#[error("something that is not gzip follows its gzip data")]
struct Foreign;

fn foreign() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Foreign)
}

/// Whether the content is complete and only data after it is wrong.
pub(super) fn is_after_content(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(cause) if cause.is::<Foreign>())
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write as _};

    use flate2::write::GzEncoder;
    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::*;

    fn member(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// The decompressed bytes, and the error at their end.
    fn unpacked(bytes: &[u8], buffer: usize) -> (Vec<u8>, Option<String>) {
        let mut out = Vec::new();
        let end = Gunzip::new(BufReader::with_capacity(buffer, bytes)).read_to_end(&mut out);
        (out, end.err().map(|error| error.to_string()))
    }

    #[test]
    fn members_with_every_header_field_and_padding_are_read() {
        let mut odd = GzBuilder::new()
            .extra(vec![7; 300])
            .filename("a name")
            .comment("a comment")
            .mtime(1)
            .write(Vec::new(), Compression::none());
        odd.write_all(b"odd").unwrap();
        let mut bytes = [member(b"one\n"), member(b""), odd.finish().unwrap()].concat();
        bytes.extend([0; 700]);
        assert_eq!(unpacked(&bytes, 512), (b"one\nodd".to_vec(), None));
    }

    #[test]
    fn all_bytes_before_a_damage_are_returned() {
        let text: Vec<u8> = (0..40_000u32)
            .flat_map(|n| format!("{}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
            .collect();
        let whole = member(&text);
        let result = |bytes: &[u8]| {
            let (out, error) = unpacked(bytes, 4096);
            assert!(text.starts_with(&out));
            (out.len(), error.unwrap())
        };
        assert_eq!(result(&whole[..whole.len() - 8]), (text.len(), "its gzip data is cut off".to_owned()));
        assert_eq!(
            result(&[&whole[..], b"\x1f"].concat()),
            (text.len(), "its gzip data is cut off".to_owned())
        );
        for junk in [&b"junk"[..], b"\0\0junk", &[b"\0".as_slice(), &whole].concat()] {
            assert_eq!(
                result(&[&whole[..], junk].concat()),
                (text.len(), "something that is not gzip follows its gzip data".to_owned())
            );
        }
        let mut wrong = whole.clone();
        let checksum = whole.len() - 8;
        wrong[checksum] ^= 1;
        assert_eq!(result(&wrong), (text.len(), "the checksum of its content is wrong".to_owned()));
        let (half, error) = result(&whole[..whole.len() / 2]);
        assert!(half > text.len() / 3 && error.ends_with("cut off"), "{half}: {error}");
        // A block of the reserved type is an error after the block before it.
        let stored = [&member(b"")[..10], &[0, 3, 0, 0xfc, 0xff, b'a', b'b', b'\n', 0x07]].concat();
        assert_eq!(unpacked(&stored, 64), (b"ab\n".to_vec(), Some("its gzip data is corrupt".to_owned())));
        assert_eq!(
            unpacked(&[0x1f, 0x8b, 9, 0, 0, 0, 0, 0, 0, 0], 64).1.unwrap(),
            "its gzip data is corrupt"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_panic(bytes in any::<Vec<u8>>(), at in 0usize..200, text in any::<Vec<u8>>()) {
            unpacked(&[&MAGIC[..], &[8, 0, 0, 0, 0, 0, 0, 0], &bytes].concat(), 16);
            let mut damaged = member(&text);
            let at = at % damaged.len();
            damaged[at] ^= 0x55;
            unpacked(&damaged, 16);
            let (out, error) = unpacked(&member(&text)[..at], 16);
            prop_assert!(text.starts_with(&out) && error.is_some());
            prop_assert_eq!(unpacked(&member(&text), 16), (text, None));
        }
    }
}
