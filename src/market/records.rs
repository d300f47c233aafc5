//! Raw records in a flat buffer, as sources deliver, transports carry and bronze stores them. Nothing is
//! interpreted.

use std::sync::Arc;

use super::{Micros, Stream};

/// Records that a source passes to the transport together.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The stream that the records' offsets are of; `None` if the bronze writer numbers them (direct
    /// transport).
    pub stream: Option<Stream>,
    /// Lowest offset first.
    pub records: Records,
}

/// A record in [`Records`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Offset in the stream; in direct transport 0 until the bronze writer has numbered it.
    pub offset: i64,
    /// The coin's id, where the source knows it.
    pub key: Option<&'a str>,
    /// The bytes exactly as the source sent them.
    pub value: &'a [u8],
    pub source: &'a str,
    /// The record's other metadata, a JSON object as text.
    pub headers: Option<&'a str>,
    /// When the source made the record.
    pub produced_at: Micros,
}

impl RecordRef<'_> {
    /// Bytes of its key, value, source and headers.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.key.map_or(0, str::len) + self.value.len() + self.source.len() + self.headers.map_or(0, str::len)
    }
}

/// What records of one delivery have in common, stored once.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    source: Arc<str>,
    headers: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy)]
struct RecordSpan {
    offset: i64,
    produced_at: Micros,
    key_end: u32,
    value_end: u32,
    origin: u32,
    has_key: bool,
}

/// Records one after the other in shared buffers: a record needs no allocation of its own.
#[derive(Debug, Clone, Default)]
pub struct Records {
    keys: String,
    values: Vec<u8>,
    rows: Vec<RecordSpan>,
    origins: Vec<Origin>,
    bytes: usize,
}

impl Records {
    /// Most bytes that a batch of several records may hold: far below what the 32-bit offsets of tables'
    /// columns reach.
    pub const MAX_BYTES: usize = 64 << 20;

    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch with room for about as much as `other` holds.
    pub fn sized_like(other: &Self) -> Self {
        let room = |n: usize| n + n / 16;
        Self {
            keys: String::with_capacity(room(other.keys.len())),
            values: Vec::with_capacity(room(other.values.len())),
            rows: Vec::with_capacity(room(other.rows.len())),
            origins: Vec::new(),
            bytes: 0,
        }
    }

    /// Appends a copy of `record`. Its offset is taken as it stands.
    ///
    /// # Panics
    /// When the values or the keys together pass 4 GiB; callers close a batch at [`Self::MAX_BYTES`].
    pub fn push(&mut self, record: RecordRef<'_>) {
        let same = self
            .origins
            .last()
            .is_some_and(|o| &*o.source == record.source && o.headers.as_deref() == record.headers);
        if !same {
            self.origins
                .push(Origin { source: record.source.into(), headers: record.headers.map(Into::into) });
        }
        self.keys.push_str(record.key.unwrap_or_default());
        self.values.extend_from_slice(record.value);
        self.bytes += record.bytes();
        self.rows.push(RecordSpan {
            offset: record.offset,
            produced_at: record.produced_at,
            key_end: u32::try_from(self.keys.len()).expect("a batch's keys fit 32 bits"),
            value_end: u32::try_from(self.values.len()).expect("a batch's values fit 32 bits"),
            origin: u32::try_from(self.origins.len() - 1).expect("fewer origins than bytes"),
            has_key: record.key.is_some(),
        });
    }

    /// Appends copies of all of `other`'s records.
    pub fn append(&mut self, other: &Self) {
        other.iter().for_each(|record| self.push(record));
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of all records. What records share is counted for each of them, as tables store it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Option<i64> {
        self.rows.last().map(|row| row.offset)
    }

    /// Sets the offsets to `first`, `first + 1` …
    pub fn number_from(&mut self, first: i64) {
        for (offset, row) in (first..).zip(&mut self.rows) {
            row.offset = offset;
        }
    }

    /// The record at `index`, counted from 0.
    pub fn get(&self, index: usize) -> Option<RecordRef<'_>> {
        (index < self.rows.len()).then(|| self.at(index))
    }

    fn at(&self, index: usize) -> RecordRef<'_> {
        let row = &self.rows[index];
        let (key_start, value_start) =
            index.checked_sub(1).map_or((0, 0), |i| (self.rows[i].key_end, self.rows[i].value_end));
        let origin = &self.origins[row.origin as usize];
        RecordRef {
            offset: row.offset,
            key: row.has_key.then(|| &self.keys[key_start as usize..row.key_end as usize]),
            value: &self.values[value_start as usize..row.value_end as usize],
            source: &origin.source,
            headers: origin.headers.as_deref(),
            produced_at: row.produced_at,
        }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordRef<'_>> {
        (0..self.rows.len()).map(|i| self.at(i))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_come_back_as_they_went_in() {
        let rows = [
            RecordRef {
                offset: 3,
                key: Some("bitcoin"),
                value: b"{}",
                source: "a",
                headers: None,
                produced_at: 1,
            },
            RecordRef { offset: 4, key: None, value: b"", source: "a", headers: Some("{}"), produced_at: 2 },
            RecordRef {
                offset: 9,
                key: Some(""),
                value: b"\xff",
                source: "b",
                headers: None,
                produced_at: 3,
            },
        ];
        let mut records = Records::new();
        rows.into_iter().for_each(|r| records.push(r));
        assert!(records.iter().eq(rows));
        records.number_from(100);
        assert_eq!(records.iter().map(|r| r.offset).collect::<Vec<_>>(), [100, 101, 102]);
    }

    proptest! {
        #[test]
        fn every_byte_of_every_record_is_counted(
            records in prop::collection::vec((any::<Option<String>>(), any::<Vec<u8>>(), "[ab]{0,2}", prop::option::of("[ab]{0,2}")), 0..20),
        ) {
            let mut all = Records::new();
            for (key, value, source, headers) in &records {
                let (key, headers) = (key.as_deref(), headers.as_deref());
                all.push(RecordRef { offset: 0, key, value, source, headers, produced_at: 0 });
            }
            let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            let bytes: usize = records.iter().map(|(key, value, source, headers)| length(key) + value.len() + source.len() + length(headers)).sum();
            prop_assert_eq!(all.bytes(), bytes);
            let mut copy = Records::sized_like(&all);
            copy.append(&all);
            prop_assert_eq!(copy.bytes(), bytes);
        }
    }
}
