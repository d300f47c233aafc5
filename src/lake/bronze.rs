//! The bronze table: every record exactly as it came in, with its position. Reads it back stream by stream in
//! offset order ([`Reader`]), or several streams in order of arrival ([`Backlog`]).

use std::collections::VecDeque;
use std::sync::Arc;

use deltalake::arrow::array::{Array as _, ArrayRef, BinaryBuilder, Int64Array, RecordBatch, StringBuilder};
use deltalake::arrow::error::ArrowError;

use super::columns::Columns;
use super::parquet::{assemble, constant_integer, constant_text, constant_time, times};
use super::{DataFile, LakeError, Table, TableContext as _, TableKind};
use crate::market::{Micros, RecordRef, Records, Stream};

/// Records of one stream that were ingested at the same time.
#[derive(Debug)]
pub struct RawBatch {
    pub stream: Arc<Stream>,
    /// Lowest offset first.
    pub records: Records,
    pub ingested_at: Micros,
}

/// The columns `value` and `value_raw`: a value is in the first if it is UTF-8, else in the second.
pub(super) fn value_columns<'a>(
    values: impl Iterator<Item = Option<&'a [u8]>>,
    bytes: usize,
) -> (ArrayRef, ArrayRef) {
    let (mut text, mut raw) =
        (StringBuilder::with_capacity(values.size_hint().0, bytes), BinaryBuilder::new());
    for value in values {
        let valid = value.and_then(|value| std::str::from_utf8(value).ok());
        text.append_option(valid);
        raw.append_option(value.filter(|_| valid.is_none()));
    }
    (Arc::new(text.finish()), Arc::new(raw.finish()))
}

fn rows(batch: &RawBatch) -> Result<RecordBatch, ArrowError> {
    let records = &batch.records;
    let count = records.len();
    let bytes = records.iter().map(|r| r.value.len()).sum();
    let (value, value_raw) = value_columns(records.iter().map(|r| Some(r.value)), bytes);
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
pub async fn write(table: &Table, batch: &RawBatch) -> Result<deltalake::kernel::Add, LakeError> {
    let rows = tokio::task::block_in_place(|| rows(batch)).when("write", TableKind::Bronze)?;
    table.write(Some(&crate::market::date(batch.ingested_at)), &rows).await
}

/// Reads bronze's records of one stream in offset order: call [`Reader::next`] until it returns `None`.
///
/// Files are read one after the other; files whose offsets overlap (a compaction joined files that were not
/// adjacent) are read together.
#[derive(Debug)]
pub struct Reader {
    /// The files with rows of the stream, each with its first and last offset of the stream; the next one is
    /// at the end.
    files: Vec<(i64, i64, Arc<DataFile>)>,
    stream: Arc<Stream>,
    after: i64,
    to: i64,
}

impl Reader {
    /// A reader of the offsets `after + 1 ..= to`. Files with rows of several streams are opened to find
    /// their offsets of this one.
    pub async fn new(table: &Table, stream: &Arc<Stream>, after: i64, to: i64) -> Result<Self, LakeError> {
        let mut files = Vec::new();
        for file in table.files().filter(|f| f.may_hold_offsets(stream, after.saturating_add(1), to)) {
            let offsets = match file.offsets_of(stream) {
                Some(offsets) => Some(offsets),
                None => offsets_in(table, file, stream).await?,
            };
            if let Some((first, last)) = offsets.filter(|(first, last)| *first <= to && *last > after) {
                files.push((first, last, Arc::clone(file)));
            }
        }
        files.sort_by_key(|(first, last, _)| std::cmp::Reverse((*first, *last)));
        Ok(Self { files, stream: Arc::clone(stream), after, to })
    }

    /// The records of the next file, or of the next files whose offsets overlap, in runs of one
    /// `ingested_at`.
    ///
    /// # Errors
    /// When a file cannot be read; the next call continues without it.
    pub async fn next(&mut self, table: &Table) -> Result<Option<Vec<RawBatch>>, LakeError> {
        let Some(next) = self.files.pop() else { return Ok(None) };
        let mut end = next.1;
        let mut together = vec![next];
        while let Some(next) = self.files.pop_if(|(first, ..)| *first <= end) {
            end = next.1.max(end);
            together.push(next);
        }
        let mut runs = Vec::new();
        for at in 0..together.len() {
            match self.runs(table, &together[at].2).await {
                Ok(more) => runs.extend(more),
                Err(error) => {
                    together.remove(at);
                    self.files.extend(together.into_iter().rev());
                    return Err(error);
                }
            }
        }
        Ok(Some(if ascends(&runs) { runs } else { sorted(&runs) }))
    }

    /// A file's records of the stream and range, in the file's order.
    async fn runs(&self, table: &Table, file: &DataFile) -> Result<Vec<RawBatch>, LakeError> {
        let mut runs: Vec<RawBatch> = Vec::new();
        for batch in table.read(file, None).await? {
            let columns = Columns { table: TableKind::Bronze, file, batch: &batch };
            let (topic, partition) = (columns.text("topic")?, columns.integer("partition")?);
            let offset = columns.long("offset")?;
            let (key, headers) = (columns.text("key")?, columns.text("headers")?);
            let source = columns.text("source")?;
            let (value, raw) = (columns.text("value")?, columns.binary("value_raw")?);
            let (produced_at, ingested_at) = (columns.time("produced_at")?, columns.time("ingested_at")?);
            for i in 0..batch.num_rows() {
                let ours =
                    topic.value(i) == &*self.stream.topic && partition.value(i) == self.stream.partition;
                if !ours || offset.value(i) <= self.after || offset.value(i) > self.to {
                    continue;
                }
                if runs.last().is_none_or(|run| run.ingested_at != ingested_at.value(i)) {
                    runs.push(RawBatch {
                        stream: Arc::clone(&self.stream),
                        records: Records::new(),
                        ingested_at: ingested_at.value(i),
                    });
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
        Ok(runs)
    }
}

/// Reads several streams in the order in which their records came in. Reading stream by stream would make all
/// ticks of the second stream late where two were ingested in turn.
#[derive(Debug, Default)]
pub struct Backlog {
    streams: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    reader: Reader,
    /// Read, but not yet returned.
    ready: VecDeque<RawBatch>,
    /// The last offset that was read.
    read: i64,
}

impl Pending {
    /// `ingested_at` of the next records, or a lower bound of it while their file is unread; `None` at the
    /// end.
    fn next_at(&self) -> Option<Micros> {
        let unread = || {
            self.reader
                .files
                .last()
                .map(|(_, _, file)| file.times("ingested_at").map_or(Micros::MIN, |(min, _)| min))
        };
        self.ready.front().map(|run| run.ingested_at).or_else(unread)
    }

    /// Reads the next file. Only Kafka's streams have gaps between offsets: in other streams a gap is an
    /// error.
    async fn read_on(&mut self, table: &Table) -> Result<(), LakeError> {
        let runs = self.reader.next(table).await?.unwrap_or_default();
        for offset in runs.iter().flat_map(|run| run.records.iter().map(|record| record.offset)) {
            self.expect(offset)?;
            self.read = offset;
        }
        self.ready.extend(runs);
        if self.reader.files.is_empty() { self.expect(self.reader.to + 1) } else { Ok(()) }
    }

    /// Fails if `offset` leaves a gap in a dense stream.
    fn expect(&self, offset: i64) -> Result<(), LakeError> {
        let stream = &self.reader.stream;
        if !stream.is_dense() || offset <= self.read + 1 {
            return Ok(());
        }
        let what = format!(
            "records {} to {} of {stream} are missing, although its position covers them",
            self.read + 1,
            offset - 1
        );
        Err(LakeError::Corrupt { table: TableKind::Bronze, what })
    }
}

impl Backlog {
    /// Adds the offsets `after + 1 ..= to` of a stream.
    ///
    /// # Errors
    /// As [`Reader::new`].
    pub async fn add(&mut self, table: &Table, stream: Stream, after: i64, to: i64) -> Result<(), LakeError> {
        let reader = Reader::new(table, &Arc::new(stream), after, to).await?;
        let pending = Pending { reader, ready: VecDeque::new(), read: after };
        if pending.reader.files.is_empty() {
            pending.expect(to + 1)?;
        }
        self.streams.push(pending);
        Ok(())
    }

    /// The next records, all of one stream; `None` at the end. A file is read only when its records are due.
    ///
    /// # Errors
    /// [`LakeError::Corrupt`] where a stream without gaps has one; otherwise as [`Reader::next`].
    pub async fn next(&mut self, table: &Table) -> Result<Option<RawBatch>, LakeError> {
        loop {
            self.streams.retain(|pending| pending.next_at().is_some());
            let Some(pending) = self.streams.iter_mut().min_by_key(|pending| pending.next_at()) else {
                return Ok(None);
            };
            match pending.ready.pop_front() {
                Some(run) => return Ok(Some(run)),
                None => pending.read_on(table).await?,
            }
        }
    }
}

/// The first and last offset of a stream in a file of several streams; `None` if it has no rows of the
/// stream.
async fn offsets_in(
    table: &Table,
    file: &DataFile,
    stream: &Stream,
) -> Result<Option<(i64, i64)>, LakeError> {
    let mut found: Option<(i64, i64)> = None;
    for batch in table.read(file, Some(&["topic", "partition", "offset"])).await? {
        let columns = Columns { table: TableKind::Bronze, file, batch: &batch };
        let (topic, partition) = (columns.text("topic")?, columns.integer("partition")?);
        let offset = columns.long("offset")?;
        for i in (0..batch.num_rows())
            .filter(|&i| topic.value(i) == &*stream.topic && partition.value(i) == stream.partition)
        {
            let (first, last) = found.get_or_insert((offset.value(i), offset.value(i)));
            (*first, *last) = (offset.value(i).min(*first), offset.value(i).max(*last));
        }
    }
    Ok(found)
}

fn ascends(runs: &[RawBatch]) -> bool {
    let mut last = i64::MIN;
    runs.iter()
        .flat_map(|run| run.records.iter())
        .all(|record| record.offset > std::mem::replace(&mut last, record.offset))
}

/// The records of some runs in order of offsets, in runs of one `ingested_at`.
fn sorted(runs: &[RawBatch]) -> Vec<RawBatch> {
    let mut records: Vec<_> =
        runs.iter().flat_map(|run| run.records.iter().map(move |record| (record, run))).collect();
    records.sort_by_key(|(record, _)| record.offset);
    let mut sorted: Vec<RawBatch> = Vec::new();
    for (record, run) in records {
        if sorted.last().is_none_or(|last| last.ingested_at != run.ingested_at) {
            sorted.push(RawBatch {
                stream: Arc::clone(&run.stream),
                records: Records::new(),
                ingested_at: run.ingested_at,
            });
        }
        if let Some(last) = sorted.last_mut() {
            last.records.push(record);
        }
    }
    sorted
}
