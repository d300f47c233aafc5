//! Runs pipelines in this process, and reads and compares their tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cryptostream::alert::rule::Rule;
use cryptostream::lake::table::{Change, Commit};
use cryptostream::lake::verify::{Scope, verify};
use cryptostream::lake::{DataFile, Storage, Table, TableKind};
use cryptostream::pipeline::summary::Summary;
use cryptostream::pipeline::{Connections, PipelineError, PipelineSettings, WhenHeld, supervisor};
use cryptostream::source::Source;
use cryptostream::source::replay::{ReplaySettings, Speed};
use cryptostream::transport::direct::BatchLimits;
use deltalake::arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch};
use deltalake::arrow::compute::concat_batches;
use deltalake::arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use deltalake::arrow::util::display::array_value_to_string;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::stream::{random, text};

/// The settings of a pipeline that replays a file at full speed.
pub(crate) fn replaying(storage: &Path, input: &Path, batch_records: usize) -> PipelineSettings {
    PipelineSettings {
        storage: Storage::new(storage).unwrap(),
        source: Source::Replay(ReplaySettings { input: input.to_owned(), speed: Speed::Max }),
        limits: BatchLimits { latency: Duration::from_secs(1), records: batch_records },
        rule: Rule::default(),
        // A child that another test starts has copies of this process's locks until its `exec`.
        when_held: WhenHeld::Wait,
        give_up_after: Some(Duration::from_mins(1)),
    }
}

/// Runs a pipeline with a finite source to its end.
pub(crate) async fn run(settings: PipelineSettings) -> Result<Summary, PipelineError> {
    let (snapshots, _shown) = watch::channel(Arc::new(supervisor::blank(&settings)));
    let (_select, selected) = watch::channel(None);
    let connections = Connections { snapshots, selected, cancel: CancellationToken::new() };
    Ok(supervisor::run(settings, connections).await?.expect("not cancelled"))
}

/// Replays a file at full speed, to its end.
pub(crate) async fn replay(
    storage: &Path,
    input: &Path,
    batch_records: usize,
) -> Result<Summary, PipelineError> {
    run(replaying(storage, input, batch_records)).await
}

/// As [`replay`], with the time after which a failing stage gives up.
pub(crate) async fn replay_within(
    storage: &Path,
    input: &Path,
    batch_records: usize,
    give_up_after: Duration,
) -> Result<Summary, PipelineError> {
    run(PipelineSettings { give_up_after: Some(give_up_after), ..replaying(storage, input, batch_records) })
        .await
}

/// A storage below `folder` with a random stream of 800 records in it, written in batches of 200.
pub(crate) async fn storage_with_rows(folder: &Path) -> Storage {
    let input = folder.join("stream.ndjson");
    std::fs::write(&input, text(&random(3, 800))).unwrap();
    replay(&folder.join("storage"), &input, 200).await.unwrap();
    Storage::new(&folder.join("storage")).unwrap()
}

/// The table of a storage, which must be there.
pub(crate) async fn open(storage: &Storage, kind: TableKind) -> Table {
    Table::open(storage, kind).await.unwrap().unwrap()
}

/// A row as text, cell by cell.
pub(crate) type Row = Vec<String>;

/// The cell of a null.
pub(crate) const NULL: &str = "null";

/// A time as [`rows`] shows it.
pub(crate) fn instant(micros: i64) -> String {
    chrono::DateTime::from_timestamp_micros(micros)
        .unwrap()
        .to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// A value as [`rows`] shows it: doubles to the last bit, times as short as they can be.
fn cell(column: &ArrayRef, row: usize) -> String {
    match column.data_type() {
        _ if column.is_null(row) => NULL.to_owned(),
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Timestamp(..) => instant(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        _ => array_value_to_string(column, row).unwrap(),
    }
}

/// A cell that a test states for this column, as [`rows`] would show it.
pub(crate) fn canonical(kind: TableKind, column: &str, text: &str) -> Result<String, String> {
    let field = kind.file_schema().field_with_name(column).map(|f| f.data_type().clone());
    let wrong = |why: &dyn std::fmt::Display| format!("{column}: '{text}': {why}");
    match field {
        Err(_) if column == "date" => Ok(text.to_owned()),
        Err(_) => Err(format!("{kind} has no column {column}")),
        Ok(_) if text == NULL => Ok(text.to_owned()),
        Ok(DataType::Float64) => text.parse::<f64>().map(|x| format!("{x:?}")).map_err(|e| wrong(&e)),
        Ok(DataType::Timestamp(..)) => chrono::DateTime::parse_from_rfc3339(text)
            .map(|t| instant(t.timestamp_micros()))
            .map_err(|e| wrong(&e)),
        Ok(_) => Ok(text.to_owned()),
    }
}

/// Some columns of all rows of a table, sorted; none where there is no such table.
pub(crate) async fn rows_of(storage: &Path, kind: TableKind, columns: &[&str]) -> Option<Vec<Row>> {
    let table = Table::open(&Storage::new(storage).unwrap(), kind).await.unwrap()?;
    let mut rows = Vec::new();
    for file in table.files() {
        for batch in table.read(file, None).await.unwrap() {
            let picked: Vec<Option<&ArrayRef>> =
                columns.iter().map(|name| batch.column_by_name(name)).collect();
            let one = |row| {
                let cells = columns.iter().zip(&picked).map(|(name, column)| match column {
                    Some(column) => cell(column, row),
                    None if *name == "date" => file.date().unwrap_or(NULL).to_owned(),
                    None => panic!("{kind} has no column {name}"),
                });
                cells.collect::<Row>()
            };
            rows.extend((0..batch.num_rows()).map(one));
        }
    }
    rows.sort_unstable();
    Some(rows)
}

/// As [`rows_of`]; no rows where there is no such table.
pub(crate) async fn rows(storage: &Path, kind: TableKind, columns: &[&str]) -> Vec<Row> {
    rows_of(storage, kind, columns).await.unwrap_or_default()
}

/// The values of bronze's records of one partition with their offsets, in order.
pub(crate) async fn values(storage: &Path) -> Vec<(i64, String)> {
    let rows = rows(storage, TableKind::Bronze, &["offset", "value"]).await;
    let mut values: Vec<_> = rows.into_iter().map(|row| (row[0].parse().unwrap(), row[1].clone())).collect();
    values.sort_unstable();
    values
}

/// Columns whose values come from the clock and differ from run to run.
const fn clock_columns(table: TableKind) -> &'static [&'static str] {
    match table {
        TableKind::Bronze => &["produced_at", "ingested_at", "date"],
        TableKind::Quarantine => &["ingested_at", "date"],
        TableKind::Silver => &["ingested_at"],
        TableKind::Gold => &["closed_at", "closed_in"],
        TableKind::Alerts => &["timestamp"],
    }
}

/// The columns of a table without those of the clock and `others`.
pub(crate) fn columns_without(kind: TableKind, others: &[&str]) -> Vec<&'static str> {
    let names = kind.columns().iter().map(|(name, _)| *name);
    names.filter(|name| !clock_columns(kind).contains(name) && !others.contains(name)).collect()
}

/// The rows of every table by its label, sorted, without the columns of the clock.
pub(crate) async fn dump(storage: &Path) -> BTreeMap<&'static str, Vec<Row>> {
    let mut tables = BTreeMap::new();
    for kind in TableKind::ALL {
        if let Some(rows) = rows_of(storage, kind, &columns_without(kind, &[])).await {
            tables.insert(kind.label(), rows);
        }
    }
    tables
}

/// Most rows of each side that a difference shows.
const SHOWN: usize = 10;

/// The rows that only one of two sorted lists has: `-` for missing ones, `+` for unexpected ones. None where the
/// lists are equal.
pub(crate) fn difference(found: &[Row], wanted: &[Row]) -> Option<String> {
    if found == wanted {
        return None;
    }
    let mut text = format!("{} rows, wanted {}", found.len(), wanted.len());
    let (mut f, mut w, mut shown) = (0, 0, [0; 2]);
    while f < found.len() || w < wanted.len() {
        let (sign, row) = match (found.get(f), wanted.get(w)) {
            (Some(a), Some(b)) if a == b => {
                (f, w) = (f + 1, w + 1);
                continue;
            }
            (Some(a), b) if b.is_none_or(|b| a < b) => {
                f += 1;
                ('+', a)
            }
            (_, b) => {
                w += 1;
                ('-', b.expect("one side has rows"))
            }
        };
        let shown = &mut shown[usize::from(sign == '+')];
        *shown += 1;
        if *shown <= SHOWN {
            write!(text, "\n  {sign} {}", row.join(" | ").replace(char::is_control, "\u{fffd}")).unwrap();
        }
    }
    Some(text)
}

/// Asserts that two sorted lists of rows are equal.
pub(crate) fn assert_rows(found: &[Row], wanted: &[Row], when: &str) {
    if let Some(difference) = difference(found, wanted) {
        panic!("{when}: {difference}");
    }
}

/// Asserts that two storages hold the same rows.
pub(crate) async fn assert_same(left: &Path, right: &Path, when: &str) {
    let (left, right) = (dump(left).await, dump(right).await);
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>(), "{when}");
    for (table, rows) in &left {
        assert_rows(&right[table], rows, &format!("{when}: {table}"));
    }
}

/// Asserts that every promise is kept.
pub(crate) async fn assert_sound(storage: &Path, when: &str) {
    let report = verify(&Storage::new(storage).unwrap(), Scope::All).await.unwrap();
    assert!(report.is_sound(), "{when}: {report}");
}

/// Sets the modification time of every file below a folder to `by` before now.
pub(crate) fn age(folder: &Path, by: Duration) {
    let then = std::time::SystemTime::now() - by;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            age(&entry.path(), by);
        } else {
            std::fs::File::options().write(true).open(entry.path()).unwrap().set_modified(then).unwrap();
        }
    }
}

/// Replaces files of a table by one with their rows, in the order of `files`, as a compaction does.
pub(crate) async fn join_files(table: &mut Table, files: Vec<Arc<DataFile>>) {
    let mut batches: Vec<RecordBatch> = Vec::new();
    for file in &files {
        batches.extend(table.read(file, None).await.unwrap());
    }
    let rows = concat_batches(&table.kind().file_schema(), &batches).unwrap();
    let add = table.write(files[0].date(), &rows).await.unwrap();
    let joined = Commit { adds: vec![add], removes: files, ..Commit::empty(Change::Compact) };
    table.commit(joined).await.unwrap();
}
