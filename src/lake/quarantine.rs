//! The quarantine table: one row per rejected tick, with the reason and the record's unchanged bytes. A
//! record's bytes are in its first row only, since a history of a few kilobytes can have many thousands of
//! rejected ticks.

use std::sync::Arc;

use deltalake::arrow::array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch};
use deltalake::arrow::datatypes::Int32Type;
use deltalake::arrow::error::ArrowError;
use deltalake::kernel::Add;

use super::bronze::{RawBatch, value_columns};
use super::parquet::{assemble, constant_integer, constant_text, constant_time};
use super::{LakeError, Table, TableContext as _, TableKind};
use crate::market::decode::{MAX_NAME, Reject};
use crate::market::{RecordRef, date};

/// Most rows of a file.
const FILE_ROWS: usize = 100_000;

/// A reject with its record.
struct Rejected<'a> {
    record: RecordRef<'a>,
    reject: Reject,
    /// Whether it is the first reject of its record.
    first: bool,
}

/// The rejects of a batch beyond offset `after`. Both are ordered by offset, so one pass finds the records.
fn beyond<'a>(batch: &'a RawBatch, rejects: &'a [Reject], after: i64) -> impl Iterator<Item = Rejected<'a>> {
    let mut records = batch.records.iter().peekable();
    let mut last = None;
    rejects.iter().filter(move |reject| reject.offset > after).map_while(move |&reject| {
        while records.next_if(|record| record.offset < reject.offset).is_some() {}
        let first = last.replace(reject.offset) != Some(reject.offset);
        Some(Rejected { record: *records.peek()?, reject, first })
    })
}

/// The rows of a batch's rejects beyond offset `after`, in their order, in batches of at most [`FILE_ROWS`].
pub(super) fn rows<'a>(
    batch: &'a RawBatch,
    rejects: &'a [Reject],
    after: i64,
) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
    let mut rejected = beyond(batch, rejects, after);
    std::iter::from_fn(move || {
        let rejected: Vec<_> = rejected.by_ref().take(FILE_ROWS).collect();
        (!rejected.is_empty()).then(|| file_rows(batch, &rejected))
    })
}

fn file_rows<'a>(batch: &RawBatch, rejected: &[Rejected<'a>]) -> Result<RecordBatch, ArrowError> {
    let count = rejected.len();
    let (value, value_raw) =
        value_columns(rejected.iter().map(|row| row.first.then_some(row.record.value)), 0);
    let texts = |pick: fn(&Rejected<'a>) -> Option<&'a str>| -> ArrayRef {
        Arc::new(rejected.iter().map(pick).collect::<DictionaryArray<Int32Type>>())
    };
    assemble(
        TableKind::Quarantine,
        [
            ("topic", constant_text(&batch.stream.topic, count)),
            ("partition", constant_integer(batch.stream.partition, count)),
            ("offset", Arc::new(rejected.iter().map(|row| row.reject.offset).collect::<Int64Array>())),
            ("index", Arc::new(rejected.iter().map(|row| row.reject.index).collect::<Int32Array>())),
            ("key", texts(|row| row.text(row.record.key))),
            ("value", value),
            ("value_raw", value_raw),
            ("source", texts(|row| row.text(Some(row.record.source)))),
            ("reason", texts(|row| Some(row.reject.reason.text()))),
            ("ingested_at", constant_time(batch.ingested_at, count)),
        ],
    )
}

impl<'a> Rejected<'a> {
    /// A text of the record. Like the value, a text that is too long for a name is in the first row only.
    fn text(&self, text: Option<&'a str>) -> Option<&'a str> {
        text.filter(|text| self.first || text.len() <= MAX_NAME)
    }
}

/// Writes the rejects of a batch beyond offset `after` to data files, to be committed together: a record's
/// rows belong to one commit. Returns the files and their number of rows.
pub async fn write(
    table: &Table,
    batch: &RawBatch,
    rejects: &[Reject],
    after: i64,
) -> Result<(Vec<Add>, u64), LakeError> {
    let (mut adds, mut count) = (Vec::new(), 0);
    for rows in rows(batch, rejects, after) {
        let rows = rows.when("write", TableKind::Quarantine)?;
        count += rows.num_rows() as u64;
        adds.push(table.write(Some(&date(batch.ingested_at)), &rows).await?);
    }
    Ok((adds, count))
}

#[cfg(test)]
mod tests {
    use deltalake::arrow::array::Array as _;
    use deltalake::arrow::util::display::array_value_to_string;
    use proptest::prelude::*;

    use super::*;
    use crate::market::decode::Decoder;
    use crate::market::{Records, Stream};

    fn batch<'a>(records: impl IntoIterator<Item = RecordRef<'a>>) -> RawBatch {
        let mut all = Records::new();
        records.into_iter().for_each(|record| all.push(record));
        RawBatch {
            stream: Arc::new(Stream::new("replay:x", 0)),
            records: all,
            ingested_at: 1_800_000_000_000_000,
        }
    }

    fn rejected(batch: &RawBatch, after: i64) -> Vec<RecordBatch> {
        let records = batch.records.iter().map(|record| (record, batch.ingested_at));
        let (_, rejects) = Decoder::default().decode_all(0, records);
        rows(batch, &rejects, after).map(Result::unwrap).collect()
    }

    fn text(batches: &[RecordBatch]) -> Vec<String> {
        let row = |rows: &RecordBatch, i| {
            rows.columns().iter().map(|column| array_value_to_string(column, i).unwrap() + "|").collect()
        };
        batches.iter().flat_map(|rows| (0..rows.num_rows()).map(move |i| row(rows, i))).collect()
    }

    #[test]
    fn a_records_bytes_are_in_its_first_row_only() {
        let (history, key) =
            (format!(r#"{{"id":"x","prices":[0{}]}}"#, ",0".repeat(119_999)), "k".repeat(MAX_NAME + 1));
        let record =
            |offset, key, value| RecordRef { offset, key, value, source: "s", headers: None, produced_at: 0 };
        let blank = b"".as_slice();
        let batch = batch([
            record(3, Some("a"), b"\xff"),
            record(7, Some(&key), history.as_bytes()),
            record(8, None, blank),
        ]);
        let files = rejected(&batch, -1);
        assert_eq!(files.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [100_000, 20_002]);
        let filled = |name: &str| -> usize {
            files
                .iter()
                .map(|rows| {
                    (0..rows.num_rows())
                        .filter(|i| {
                            !array_value_to_string(rows.column_by_name(name).unwrap(), *i).unwrap().is_empty()
                        })
                        .count()
                })
                .sum()
        };
        assert_eq!(
            [filled("value"), filled("value_raw"), filled("key"), filled("source"), filled("reason")],
            [1, 1, 2, 120_002, 120_002]
        );
        let value = files[1].column_by_name("value").unwrap();
        assert_eq!(value.len() - value.null_count(), 1, "the blank record's");
        assert!(files.iter().map(RecordBatch::get_array_memory_size).sum::<usize>() < 16 << 20);
        assert_eq!(text(&rejected(&batch, 7)), ["replay:x|0|8|0||||s|blank|2027-01-15T08:00:00Z|"]);
    }

    proptest! {
        #[test]
        fn any_batches_and_repeated_records_give_the_same_rows(
            values in prop::collection::vec((1i64..3, prop::sample::select(vec!["", "{", "[]", r#"{"id":"x","prices":[0,[1747008000,1],[1]]}"#, r#"{"id":"x","price":1,"event_time":1747008000}"#])), 1..20),
            cuts in prop::collection::vec(0usize..20, 0..4), again in 0usize..20,
        ) {
            let mut offset = 0;
            let records: Vec<_> = values.iter().map(|(gap, value)| {
                offset += gap;
                RecordRef { offset, key: None, value: value.as_bytes(), source: "s", headers: None, produced_at: 0 }
            }).collect();
            let whole = text(&rejected(&batch(records.iter().copied()), -1));
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(records.len())).chain([0, records.len()]).collect();
            cuts.sort_unstable();
            let (mut pieces, mut after) = (Vec::new(), -1);
            for cut in cuts.windows(2) {
                // A batch that is processed again may begin before the table's position.
                let batch = batch(records[cut[0].saturating_sub(again)..cut[1]].iter().copied());
                pieces.extend(text(&rejected(&batch, after)));
                after = batch.records.last_offset().unwrap_or(-1).max(after);
            }
            prop_assert_eq!(pieces, whole);
        }
    }
}
