//! The quarantine table: what could not become a tick, untouched, and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltalake::arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringBuilder};
use deltalake::arrow::error::ArrowError;
use deltalake::kernel::Add;

use super::bronze::{RawBatch, value_columns};
use super::parquet::{assemble, constant_integer, constant_text, constant_time};
use super::{Context as _, LakeError, Table, TableKind};
use crate::market::decode::Reject;
use crate::market::{Micros, RecordRef, date};

pub(super) fn rows(batch: &RawBatch, rejected: &[(RecordRef<'_>, Reject)]) -> Result<RecordBatch, ArrowError> {
    let count = rejected.len();
    let (value, value_raw) = value_columns(rejected.iter().map(|(record, _)| record.value), 0);
    let texts = |pick: fn(&(RecordRef<'_>, Reject)) -> Option<String>| -> ArrayRef {
        let mut builder = StringBuilder::new();
        rejected.iter().for_each(|row| builder.append_option(pick(row)));
        Arc::new(builder.finish())
    };
    assemble(
        TableKind::Quarantine,
        [
            ("topic", constant_text(&batch.stream.topic, count)),
            ("partition", constant_integer(batch.stream.partition, count)),
            ("offset", Arc::new(rejected.iter().map(|(_, reject)| reject.offset).collect::<Int64Array>())),
            ("index", Arc::new(rejected.iter().map(|(_, reject)| reject.index).collect::<Int32Array>())),
            ("key", texts(|(record, _)| record.key.map(str::to_owned))),
            ("value", value),
            ("value_raw", value_raw),
            ("source", texts(|(record, _)| Some(record.source.to_owned()))),
            ("reason", texts(|(_, reject)| Some(reject.reason.text().to_owned()))),
            ("ingested_at", constant_time(batch.ingested_at, count)),
        ],
    )
}

/// The rejects of a batch beyond offset `after`, each with its record.
pub(super) fn beyond<'a>(batch: &'a RawBatch, rejects: &[Reject], after: i64) -> Vec<(RecordRef<'a>, Reject)> {
    let first = batch.records.get(0).map_or(0, |record| record.offset);
    let by_offset = |offset: i64| {
        // Offsets are dense but for gaps that Kafka leaves: guess, then search.
        let guess = usize::try_from(offset - first).ok().and_then(|i| batch.records.get(i));
        guess.filter(|record| record.offset == offset).or_else(|| batch.records.iter().find(|record| record.offset == offset))
    };
    let fresh = rejects.iter().filter(|reject| reject.offset > after);
    fresh.filter_map(|reject| Some((by_offset(reject.offset)?, *reject))).collect()
}

/// Writes the rejects of a batch beyond offset `after` to a data file, to be committed. Returns the file and its number of rows;
/// none where there are no such rejects.
///
/// # Errors
/// What the storage says.
pub async fn write(table: &Table, batch: &RawBatch, rejects: &[Reject], after: i64) -> Result<Option<(Add, u64)>, LakeError> {
    let rejected = beyond(batch, rejects, after);
    if rejected.is_empty() {
        return Ok(None);
    }
    let rows = rows(batch, &rejected).when("write", TableKind::Quarantine)?;
    Ok(Some((table.write(Some(&date(batch.ingested_at)), &rows).await?, rejected.len() as u64)))
}

/// Groups anything by the UTC date of its time, in order of date.
pub(super) fn by_date<T>(items: impl IntoIterator<Item = T>, time: impl Fn(&T) -> Micros) -> BTreeMap<String, Vec<T>> {
    let mut days: BTreeMap<i64, Vec<T>> = BTreeMap::new();
    for item in items {
        days.entry(time(&item).div_euclid(crate::market::DAY)).or_default().push(item);
    }
    days.into_iter().map(|(day, items)| (date(day * crate::market::DAY), items)).collect()
}
