//! The bronze table: every record as it came, and where it stood.

use std::sync::Arc;

use deltalake::arrow::array::{Array, ArrayRef, BinaryBuilder, Int64Array, RecordBatch, StringBuilder};
use deltalake::arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use deltalake::arrow::error::ArrowError;

use super::parquet::{assemble, constant_integer, constant_text, constant_time, times};
use super::{Context as _, LakeError, Table, TableKind};
use crate::market::{Micros, RecordRef, Records, Stream};

/// Records of one stream that came in at one time: what bronze commits and silver reads.
#[derive(Debug)]
pub struct RawBatch {
    /// Where they stand.
    pub stream: Arc<Stream>,
    /// The records, lowest offset first.
    pub records: Records,
    /// When they came in.
    pub ingested_at: Micros,
}

/// Text, or bytes where it is none: the pair of columns `value` and `value_raw`.
pub(super) fn value_columns<'a>(values: impl Iterator<Item = &'a [u8]>, bytes: usize) -> (ArrayRef, ArrayRef) {
    let (mut text, mut raw) = (StringBuilder::with_capacity(values.size_hint().0, bytes), BinaryBuilder::new());
    for value in values {
        if let Ok(value) = std::str::from_utf8(value) {
            text.append_value(value);
            raw.append_null();
        } else {
            text.append_null();
            raw.append_value(value);
        }
    }
    (Arc::new(text.finish()), Arc::new(raw.finish()))
}

fn rows(batch: &RawBatch) -> Result<RecordBatch, ArrowError> {
    let records = &batch.records;
    let count = records.len();
    let (value, value_raw) = value_columns(records.iter().map(|r| r.value), records.bytes());
    let texts = |pick: fn(RecordRef<'_>) -> Option<&str>| -> ArrayRef {
        let mut builder = StringBuilder::with_capacity(count, count * 12);
        records.iter().for_each(|record| builder.append_option(pick(record)));
        Arc::new(builder.finish())
    };
    assemble(
        TableKind::Bronze,
        [
            ("topic", constant_text(&batch.stream.topic, count)),
            ("partition", constant_integer(batch.stream.partition, count)),
            ("offset", Arc::new(records.iter().map(|r| r.offset).collect::<Int64Array>())),
            ("key", texts(|r| r.key)),
            ("value", value),
            ("value_raw", value_raw),
            ("headers", texts(|r| r.headers)),
            ("source", texts(|r| Some(r.source))),
            ("produced_at", times(records.iter().map(|r| r.produced_at))),
            ("ingested_at", constant_time(batch.ingested_at, count)),
        ],
    )
}

/// Writes a batch to a data file, to be committed.
///
/// # Errors
/// What the storage says.
pub async fn write(table: &Table, batch: &RawBatch) -> Result<deltalake::kernel::Add, LakeError> {
    let rows = tokio::task::block_in_place(|| rows(batch)).when("write", TableKind::Bronze)?;
    table.write(Some(&crate::market::date(batch.ingested_at)), &rows).await
}

/// The offsets of a stream beyond `after` up to `to`, file by file: call [`Reader::next`] until it gives none.
#[derive(Debug)]
pub struct Reader {
    files: Vec<Arc<super::DataFile>>,
    stream: Arc<Stream>,
    after: i64,
    to: i64,
}

impl Reader {
    /// Reads what `table` has of `stream` in `after + 1 ..= to`, lowest offset first.
    #[must_use]
    pub fn new(table: &Table, stream: &Arc<Stream>, after: i64, to: i64) -> Self {
        let mut files: Vec<_> = table.files().filter(|f| f.may_hold_offsets(stream, after.saturating_add(1), to)).cloned().collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.integers("offset").map_or(i64::MIN, |(min, _)| min)));
        Self { files, stream: Arc::clone(stream), after, to }
    }

    /// The next file's records, in runs of one `ingested_at`.
    ///
    /// # Errors
    /// What the storage says.
    pub async fn next(&mut self, table: &Table) -> Result<Option<Vec<RawBatch>>, LakeError> {
        let Some(file) = self.files.pop() else { return Ok(None) };
        let mut runs: Vec<RawBatch> = Vec::new();
        for batch in table.read(&file, None).await? {
            let text = |name: &str| batch.column_by_name(name).map(deltalake::arrow::array::AsArray::as_string::<i32>);
            let longs = |name: &str| batch.column_by_name(name).map(deltalake::arrow::array::AsArray::as_primitive::<Int64Type>);
            let times =
                |name: &str| batch.column_by_name(name).map(deltalake::arrow::array::AsArray::as_primitive::<TimestampMicrosecondType>);
            let raw = batch.column_by_name("value_raw").map(deltalake::arrow::array::AsArray::as_binary::<i32>);
            let (
                Some(topic),
                Some(offset),
                Some(key),
                Some(value),
                Some(raw),
                Some(headers),
                Some(source),
                Some(produced_at),
                Some(ingested_at),
            ) = (
                text("topic"),
                longs("offset"),
                text("key"),
                text("value"),
                raw,
                text("headers"),
                text("source"),
                times("produced_at"),
                times("ingested_at"),
            )
            else {
                return Err(LakeError::Corrupt { table: TableKind::Bronze, what: format!("{} without some columns", file.path()) });
            };
            for i in 0..batch.num_rows() {
                if topic.value(i) != &*self.stream.topic || offset.value(i) <= self.after || offset.value(i) > self.to {
                    continue;
                }
                if runs.last().is_none_or(|run| run.ingested_at != ingested_at.value(i)) {
                    let (stream, records) = (Arc::clone(&self.stream), Records::new());
                    runs.push(RawBatch { stream, records, ingested_at: ingested_at.value(i) });
                }
                let Some(run) = runs.last_mut() else { continue };
                run.records.push(RecordRef {
                    offset: offset.value(i),
                    key: key.is_valid(i).then(|| key.value(i)),
                    value: if value.is_valid(i) { value.value(i).as_bytes() } else { raw.value(i) },
                    source: source.value(i),
                    headers: headers.is_valid(i).then(|| headers.value(i)),
                    produced_at: produced_at.value(i),
                });
            }
        }
        Ok(Some(runs))
    }
}
