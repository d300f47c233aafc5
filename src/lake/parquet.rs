//! Parquet bytes and the statistics that go with them into the log.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use std::sync::Arc;

use deltalake::arrow::array::{
    Array, ArrayRef, AsArray as _, DictionaryArray, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use deltalake::arrow::compute::{max, max_string, min, min_string};
use deltalake::arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use deltalake::arrow::error::ArrowError;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use deltalake::parquet::arrow::arrow_writer::ArrowWriterOptions;
use deltalake::parquet::arrow::{ArrowWriter, ProjectionMask};
use deltalake::parquet::basic::Compression;
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties};
use deltalake::parquet::schema::types::ColumnPath;
use serde_json::{Map, Value, json};

use super::schema::{ColumnType, TableKind};

fn properties(kind: TableKind) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(false)
        .set_created_by(concat!("cryptostream ", env!("CARGO_PKG_VERSION")).to_owned());
    // Few different values: worth a dictionary. Everything else (prices, times, raw text) is faster and no larger without.
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
pub fn encode(kind: TableKind, batch: &RecordBatch) -> Result<(Vec<u8>, String), ParquetError> {
    let mut writer = writer(kind, batch.schema())?;
    writer.write(batch)?;
    Ok((writer.into_inner()?, statistics(kind, batch)))
}

/// A writer into memory that takes batches one by one.
pub(super) fn writer(kind: TableKind, schema: SchemaRef) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
    // Without Arrow's own schema in the file a dictionary is an encoding and no type: every reader sees plain text.
    let options = ArrowWriterOptions::new().with_properties(properties(kind)).with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(Vec::new(), schema, options)
}

/// Puts columns together in the order of the table's schema. Text may come as a dictionary.
pub(super) fn assemble<const N: usize>(kind: TableKind, columns: [(&str, ArrayRef); N]) -> Result<RecordBatch, ArrowError> {
    let schema = kind.file_schema();
    debug_assert_eq!(schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), columns.each_ref().map(|c| c.0));
    let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect::<Vec<_>>();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.map(|c| c.1).to_vec())
}

pub(super) fn constant_text(text: &str, rows: usize) -> ArrayRef {
    text_codes(Int32Array::from(vec![0; rows]), StringArray::from(vec![text]))
}

/// Text by codes into a few values.
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
    json!({ "numRecords": batch.num_rows(), "minValues": mins, "maxValues": maxs, "nullCount": nulls }).to_string()
}

fn bounds(column: &ArrayRef) -> Option<(Value, Value)> {
    let time = |micros: i64| Some(DateTime::from_timestamp_micros(micros)?.to_rfc3339_opts(SecondsFormat::Micros, true).into());
    match column.data_type() {
        DataType::Int32 => Some((min(column.as_primitive::<Int32Type>())?.into(), max(column.as_primitive::<Int32Type>())?.into())),
        DataType::Int64 => Some((min(column.as_primitive::<Int64Type>())?.into(), max(column.as_primitive::<Int64Type>())?.into())),
        DataType::Timestamp(..) => {
            let column = column.as_primitive::<TimestampMicrosecondType>();
            Some((time(min(column)?)?, time(max(column)?)?))
        }
        DataType::Utf8 => Some((min_string(column.as_string::<i32>())?.into(), max_string(column.as_string::<i32>())?.into())),
        DataType::Dictionary(..) => bounds(column.as_any_dictionary().values()), // made for this batch: every value is used
        _ => None,
    }
}

/// The `txn`s that a checkpoint holds, by app id.
pub(super) fn checkpoint_txns(bytes: Bytes) -> Result<BTreeMap<String, i64>, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["txn.appId", "txn.version"]);
    let mut txns = BTreeMap::new();
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let Some(txn) = batch.column_by_name("txn").and_then(|column| column.as_struct_opt()) else { continue };
        let (Some(ids), Some(versions)) = (txn.column_by_name("appId"), txn.column_by_name("version")) else { continue };
        let (ids, versions) = (ids.as_string::<i32>(), versions.as_primitive::<Int64Type>());
        txns.extend((0..batch.num_rows()).filter(|&i| txn.is_valid(i)).map(|i| (ids.value(i).to_owned(), versions.value(i))));
    }
    Ok(txns)
}
