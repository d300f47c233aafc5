//! Data files as Parquet bytes: encoding, decoding, and their statistics for the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};

use deltalake::arrow::array::{
    Array, ArrayRef, AsArray as _, DictionaryArray, Int32Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use deltalake::arrow::compute::{cast, max, max_string, min, min_string};
use deltalake::arrow::datatypes::{
    DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType,
};
use deltalake::arrow::error::ArrowError;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use deltalake::parquet::arrow::arrow_writer::ArrowWriterOptions;
use deltalake::parquet::arrow::{ArrowWriter, ProjectionMask};
use deltalake::parquet::basic::Compression;
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::metadata::RowGroupMetaData;
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties};
use deltalake::parquet::schema::types::ColumnPath;
use serde_json::{Map, Value, json};

use super::schema::{ColumnType, TableKind};

/// Most decompressed bytes that are decoded together, but for a single larger row group: Arrow's text columns
/// have 32-bit offsets.
const READ_AT_ONCE: i64 = 1 << 30;

fn properties(kind: TableKind) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(false)
        .set_created_by(concat!("cryptostream ", env!("CARGO_PKG_VERSION")).to_owned());
    // Few different values: worth a dictionary. Everything else (prices, times, raw text) is faster and no
    // larger without.
    for (name, column) in kind.columns() {
        if *column == ColumnType::Text && !matches!(*name, "value" | "trade_id" | "alert_id") {
            builder = builder.set_column_dictionary_enabled(ColumnPath::from(*name), true);
        }
    }
    // Readers skip row groups by the same columns by which the log lets them skip files.
    for name in kind.statistics() {
        builder = builder.set_column_statistics_enabled(ColumnPath::from(*name), EnabledStatistics::Chunk);
    }
    builder.build()
}

/// The rows as a Parquet file and the file's statistics as the Delta log wants them (JSON).
///
/// # Errors
/// Where the rows do not fit the table's schema.
pub(super) fn encode(kind: TableKind, batch: &RecordBatch) -> Result<(Vec<u8>, String), ParquetError> {
    let mut writer = writer(kind, batch.schema())?;
    writer.write(batch)?;
    Ok((writer.into_inner()?, statistics(kind, batch)))
}

/// A writer to memory that takes batches one by one.
pub(super) fn writer(kind: TableKind, schema: SchemaRef) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
    // Without Arrow's schema in the file, a dictionary is only an encoding: every reader sees plain text.
    let options = ArrowWriterOptions::new().with_properties(properties(kind)).with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(Vec::new(), schema, options)
}

/// A batch of columns, which must be in the order of the table's schema. Text columns may be dictionaries.
pub(super) fn assemble<const N: usize>(
    kind: TableKind,
    columns: [(&str, ArrayRef); N],
) -> Result<RecordBatch, ArrowError> {
    let schema = kind.file_schema();
    debug_assert_eq!(
        schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(),
        columns.each_ref().map(|c| c.0)
    );
    let fields = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect::<Vec<_>>();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.map(|c| c.1).to_vec())
}

pub(super) fn constant_text(text: &str, rows: usize) -> ArrayRef {
    text_codes(Int32Array::from(vec![0; rows]), StringArray::from(vec![text]))
}

/// A text column as a dictionary: `codes` are indices into `values`.
pub(super) fn text_codes(codes: Int32Array, values: StringArray) -> ArrayRef {
    Arc::new(DictionaryArray::<Int32Type>::new(codes, Arc::new(values)))
}

pub(super) fn constant_integer(value: i32, rows: usize) -> ArrayRef {
    Arc::new(Int32Array::from(vec![value; rows]))
}

pub(super) fn constant_time(time: i64, rows: usize) -> ArrayRef {
    times(std::iter::repeat_n(time, rows))
}

pub(super) fn times(times: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
}

fn statistics(kind: TableKind, batch: &RecordBatch) -> String {
    let (mut mins, mut maxs, mut nulls) = (Map::new(), Map::new(), Map::new());
    for name in kind.statistics() {
        let Some(column) = batch.column_by_name(name) else { continue };
        nulls.insert((*name).to_owned(), json!(column.null_count()));
        if let Some((low, high)) = bounds(column) {
            mins.insert((*name).to_owned(), low);
            maxs.insert((*name).to_owned(), high);
        }
    }
    json!({ "numRecords": batch.num_rows(), "minValues": mins, "maxValues": maxs, "nullCount": nulls })
        .to_string()
}

fn bounds(column: &ArrayRef) -> Option<(Value, Value)> {
    let time = |micros: i64| {
        Some(DateTime::from_timestamp_micros(micros)?.to_rfc3339_opts(SecondsFormat::Micros, true).into())
    };
    match column.data_type() {
        DataType::Int32 => Some((
            min(column.as_primitive::<Int32Type>())?.into(),
            max(column.as_primitive::<Int32Type>())?.into(),
        )),
        DataType::Int64 => Some((
            min(column.as_primitive::<Int64Type>())?.into(),
            max(column.as_primitive::<Int64Type>())?.into(),
        )),
        DataType::Timestamp(..) => {
            let column = column.as_primitive::<TimestampMicrosecondType>();
            Some((time(min(column)?)?, time(max(column)?)?))
        }
        DataType::Utf8 => {
            texts(min_string(column.as_string::<i32>())?, max_string(column.as_string::<i32>())?)
        }
        DataType::Dictionary(..) => {
            let (codes, values) = (
                column.as_dictionary_opt::<Int32Type>()?,
                column.as_any_dictionary().values().as_string_opt::<i32>()?,
            );
            // A dictionary may hold more than this batch's values.
            let mut used = vec![false; values.len()];
            codes
                .keys()
                .iter()
                .flatten()
                .for_each(|code| used[usize::try_from(code).unwrap_or_default()] = true);
            let used = || values.iter().zip(&used).filter_map(|(value, used)| value.filter(|_| *used));
            texts(used().min()?, used().max()?)
        }
        _ => None,
    }
}

/// Most bytes of a text in the statistics, which every commit and every open table holds. No name is longer.
const LONGEST_TEXT: usize = 256;

fn texts(low: &str, high: &str) -> Option<(Value, Value)> {
    Some((capped_min(low).into(), capped_max(high)?.into()))
}

fn prefix(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

/// A text of bounded length that is no greater than `text`.
pub(super) fn capped_min(text: &str) -> String {
    prefix(text).to_owned()
}

/// A text of bounded length that is no less than `text`; none where there is no such text.
pub(super) fn capped_max(text: &str) -> Option<String> {
    let prefix = prefix(text);
    if prefix.len() == text.len() {
        return Some(text.to_owned());
    }
    // Replace the last character that has a successor by it, and drop what follows.
    prefix.char_indices().rev().find_map(|(at, c)| {
        let next = (u32::from(c) + 1..=u32::from(char::MAX)).find_map(char::from_u32)?;
        Some(format!("{}{next}", &prefix[..at]))
    })
}

/// The rows of a file, all columns or those named, in the types of the table's schema.
pub(super) fn decode(
    kind: TableKind,
    file: &Bytes,
    columns: Option<&[&str]>,
) -> Result<Vec<RecordBatch>, ParquetError> {
    let open = || ParquetRecordBatchReaderBuilder::try_new(file.clone());
    let groups: Vec<i64> =
        open()?.metadata().row_groups().iter().map(RowGroupMetaData::total_byte_size).collect();
    // A batch may span row groups: those of a large file are read one by one.
    let parts: Vec<Vec<usize>> = if groups.iter().sum::<i64>() > READ_AT_ONCE {
        (0..groups.len()).map(|i| vec![i]).collect()
    } else {
        vec![(0..groups.len()).collect()]
    };
    let mut batches = Vec::new();
    for part in parts {
        let builder = open()?;
        let mask = columns.map_or_else(ProjectionMask::all, |names| {
            ProjectionMask::columns(builder.parquet_schema(), names.iter().copied())
        });
        for batch in builder.with_row_groups(part).with_projection(mask).with_batch_size(1 << 16).build()? {
            batches.push(conform(kind, &batch?)?);
        }
    }
    Ok(batches)
}

/// Casts columns to the types of the table's schema: other engines write the same values as other types
/// (Spark's INT96 times, string views).
fn conform(kind: TableKind, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = kind.file_schema();
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let Ok(wanted) = schema.field_with_name(field.name()) else { continue };
        fields.push(wanted.clone());
        columns.push(if wanted.data_type() == column.data_type() {
            Arc::clone(column)
        } else {
            cast(column, wanted.data_type())?
        });
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// The content of a checkpoint apart from the live files.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    /// Positions by app id.
    pub(super) txns: BTreeMap<String, i64>,
    /// Removed files, with the time of the removal in milliseconds since the epoch.
    pub(super) removed: BTreeMap<String, i64>,
}

/// Reads the `txn` and `remove` actions of a checkpoint.
pub(super) fn checkpoint(bytes: Bytes) -> Result<Checkpoint, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let columns = ["txn.appId", "txn.version", "remove.path", "remove.deletionTimestamp"];
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns);
    let mut checkpoint = Checkpoint::default();
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let mut pairs = |action: &str,
                         name: &str,
                         number: &str,
                         into: fn(&mut Checkpoint) -> &mut BTreeMap<String, i64>| {
            let missing = || {
                ParquetError::General(format!("a checkpoint without {action}.{name} and {action}.{number}"))
            };
            let action =
                batch.column_by_name(action).and_then(|column| column.as_struct_opt()).ok_or_else(missing)?;
            let (names, numbers) =
                action.column_by_name(name).zip(action.column_by_name(number)).ok_or_else(missing)?;
            let (names, numbers) = (cast(names, &DataType::Utf8)?, cast(numbers, &DataType::Int64)?);
            let (names, numbers) = (names.as_string::<i32>(), numbers.as_primitive::<Int64Type>());
            let rows = (0..batch.num_rows()).filter(|&i| action.is_valid(i) && names.is_valid(i));
            into(&mut checkpoint).extend(rows.map(|i| {
                (names.value(i).to_owned(), if numbers.is_valid(i) { numbers.value(i) } else { 0 })
            }));
            Ok::<_, ParquetError>(())
        };
        pairs("txn", "appId", "version", |checkpoint| &mut checkpoint.txns)?;
        pairs("remove", "path", "deletionTimestamp", |checkpoint| &mut checkpoint.removed)?;
    }
    Ok(checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn statistics_cover_only_values_that_occur() {
        let codes = Int32Array::from(vec![1, 1, 2]);
        let column = text_codes(codes, StringArray::from(vec!["a", "m", "n", "z"]));
        assert_eq!(bounds(&column), Some(("m".into(), "n".into())));
    }

    proptest! {
        #[test]
        fn a_capped_bound_still_bounds(text in "\\PC{0,400}", tail in prop::collection::vec(any::<char>(), 0..300)) {
            let text = text + &tail.into_iter().collect::<String>();
            prop_assert!(capped_min(&text) <= text && capped_min(&text).len() <= LONGEST_TEXT);
            if let Some(max) = capped_max(&text) {
                prop_assert!(max >= text && max.len() <= LONGEST_TEXT + 3);
            }
            prop_assert!(text.len() > LONGEST_TEXT || capped_max(&text).as_deref() == Some(&text));
        }
    }
}
