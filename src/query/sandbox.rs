//! Runs a user's SQL in a separate DuckDB.
//!
//! Three safeguards: the text must be one statement that only reads, by the engine's own parser
//! (`permit.sql`); only listed files may be opened, all other external access is disabled, and the
//! configuration is locked; rows, bytes, memory, temporary files and time are limited. Results are streamed,
//! so these limits hold while the query runs.

mod permit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use duckdb::arrow::array::{Array as _, AsArray as _};
use duckdb::{Connection, InterruptHandle};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::engine::{SpillFolder, connect, rows};
use super::relation::{literal, literals, view};
use super::{QueryError, TableKind, strict};
use permit::{explained, permit};

/// Times in views have no zone; with these macros neither has the clock (the engine's own `now()` has one).
const CLOCK: &str = "CREATE MACRO now() AS make_timestamp(epoch_us(get_current_timestamp()));
    CREATE MACRO today() AS make_timestamp(epoch_us(get_current_timestamp()))::DATE;";
/// Most rows of an answer; they are held in memory.
const MOST_ROWS: usize = 1_000_000;
/// Most bytes of an answer.
const MOST_BYTES: usize = 256 << 20;
/// How often the engine is interrupted until it stops: it ignores an interrupt while it is planning.
const INTERRUPT_EVERY: Duration = Duration::from_millis(20);
/// The engine checks for interrupts between two vectors of rows. A query that does not stop within this time
/// is abandoned.
const STOP_WITHIN: Duration = Duration::from_secs(1);
/// How often the temporary files are measured.
const MEASURE_EVERY: Duration = Duration::from_millis(100);

/// One value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum SqlValue {
    Null,
    Bool(bool),
    /// A number in its exact decimal digits: integers of any width, decimals.
    Number(String),
    /// A 64-bit float; 32-bit ones are widened so that they print the same.
    Float(f64),
    /// Text, times in RFC 3339 (UTC), and values of all other types as the engine prints them.
    Text(String),
    /// A list, struct or map as strict JSON text.
    Json(String),
}

/// The answer to a user's SQL.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlAnswer {
    /// Names of the columns; not necessarily unique.
    pub columns: Vec<String>,
    /// Each row has a value per column.
    pub rows: Vec<Vec<SqlValue>>,
}

/// The tables as views: their definitions, and the files that these may open.
#[derive(Debug, Default)]
pub(super) struct Views {
    definitions: String,
    files: Vec<String>,
}

impl Views {
    pub(super) fn add(&mut self, kind: TableKind, paths: Vec<String>) {
        self.definitions += &["CREATE VIEW ", kind.label(), " AS ", &view(kind, &paths), ";\n"].concat();
        self.files.extend(paths);
    }
}

/// Interrupts the engine, at the latest when dropped: then the caller no longer waits.
struct Stop {
    wanted: Arc<AtomicBool>,
    handle: Option<Arc<InterruptHandle>>,
}

impl Stop {
    fn now(&self) {
        self.wanted.store(true, Relaxed);
        if let Some(handle) = &self.handle {
            handle.interrupt();
        }
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.now();
    }
}

/// Limits after which a query is stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryLimits<'a> {
    pub(super) deadline: Instant,
    /// The time that the deadline came from.
    pub(super) timeout: Duration,
    /// Most bytes of temporary files, but for what is written until they are measured.
    pub(super) spill: u64,
    pub(super) cancel: &'a CancellationToken,
}

/// Runs `text` over the views on a blocking thread.
pub(super) async fn run(
    views: Views,
    text: String,
    limits: QueryLimits<'_>,
) -> Result<SqlAnswer, QueryError> {
    let spill = SpillFolder::new();
    let folder = spill.path().to_owned();
    let (started, handle) = oneshot::channel();
    let mut stop = Stop { wanted: Arc::default(), handle: None };
    let wanted = Arc::clone(&stop.wanted);
    let mut work = tokio::task::spawn_blocking(move || {
        let db = connect(&folder).map_err(QueryError::engine("start DuckDB"))?;
        started.send(db.interrupt_handle()).ok();
        answer(&db, &views, &text, &wanted).map_err(|error| match error {
            QueryError::Sql(message) if message.contains(&*folder.to_string_lossy()) => {
                QueryError::Spill(message)
            }
            error => error,
        })
    });
    stop.handle = handle.await.ok();
    let reason = tokio::select! {
        joined = &mut work => return joined.unwrap_or(Err(QueryError::Stopped)),
        () = limits.cancel.cancelled() => QueryError::Interrupted,
        () = sleep_until(limits.deadline) => QueryError::Timeout(limits.timeout),
        bytes = outgrown(&spill, limits.spill) => QueryError::OutOfMemory(format!("{} MB of temporary files", bytes / 1_000_000)),
    };
    let given_up = Instant::now() + STOP_WITHIN;
    loop {
        stop.now();
        if timeout(INTERRUPT_EVERY, &mut work).await.is_ok() || Instant::now() > given_up {
            return Err(reason);
        }
    }
}

/// Waits until the temporary files exceed `most` bytes; returns their size.
async fn outgrown(spill: &SpillFolder, most: u64) -> u64 {
    loop {
        tokio::time::sleep(MEASURE_EVERY).await;
        let bytes = spill.bytes();
        if bytes > most {
            return bytes;
        }
    }
}

fn answer(db: &Connection, views: &Views, text: &str, stop: &AtomicBool) -> Result<SqlAnswer, QueryError> {
    permit(db, text)?;
    db.execute_batch(&views.definitions).map_err(QueryError::engine("define the views"))?;
    db.execute_batch(CLOCK).map_err(QueryError::engine("define the clock"))?;
    let lock = format!(
        "SET allowed_paths = {}; SET enable_external_access = false; SET lock_configuration = true;",
        literals(&views.files)
    );
    db.execute_batch(&lock).map_err(QueryError::engine("close the sandbox"))?;
    if explained(text).is_some() { plan(db, text) } else { read(db, text, stop) }
}

/// Converts the engine's error.
#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn failed(error: duckdb::Error) -> QueryError {
    let text = message(&error);
    match text.strip_prefix("Out of Memory Error: ") {
        // The lines after the first suggest settings that a user cannot change.
        Some(what) => QueryError::OutOfMemory(what.lines().next().unwrap_or_default().to_owned()),
        None => QueryError::Sql(text),
    }
}

/// As [`failed`], for a statement that wraps the user's. Drops the position in the text, which is one in the
/// wrapper.
fn failed_inside(error: duckdb::Error) -> QueryError {
    match failed(error) {
        QueryError::Sql(text) => QueryError::Sql(before(&text, "\n\nLINE ")),
        error => error,
    }
}

/// The engine's message without suggestions to install extensions and without stack traces.
fn message(error: &duckdb::Error) -> String {
    before(&before(&error.to_string(), "\n\nPlease try installing"), "\nStack Trace:")
}

/// The text before the first `end`.
fn before(text: &str, end: &str) -> String {
    text.split(end).next().unwrap_or_default().trim_end().to_owned()
}

/// How to convert a column's values, which all leave the engine as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Bool,
    Number,
    Float,
    Text,
    Time,
    Json,
}

/// The form of a column and the SQL that makes its text, by its type as the engine names it.
fn form(column: &str, kind: &str) -> (Form, String) {
    const NUMBERS: &[&str] = &[
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "HUGEINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
        "UHUGEINT",
        "BIGNUM",
    ];
    let is_nested =
        kind.ends_with(']') || ["STRUCT(", "MAP(", "UNION("].iter().any(|start| kind.starts_with(start));
    let text = format!("{column}::VARCHAR");
    match kind {
        _ if is_nested => (Form::Json, format!("to_json({column})::VARCHAR")),
        "JSON" => (Form::Json, text),
        "BOOLEAN" => (Form::Bool, text),
        "FLOAT" | "DOUBLE" => (Form::Float, text),
        "TIMESTAMP" | "TIMESTAMP_S" | "TIMESTAMP_MS" | "TIMESTAMP_NS" => (Form::Time, text),
        // This engine cannot cast times with zones.
        "TIMESTAMP WITH TIME ZONE" => (
            Form::Time,
            format!(
                "CASE WHEN isfinite({column}) THEN make_timestamp(epoch_us({column}))::VARCHAR \
                 WHEN {column} > get_current_timestamp() THEN 'infinity' WHEN {column} IS NOT NULL THEN '-infinity' END"
            ),
        ),
        _ if NUMBERS.contains(&kind) || kind.starts_with("DECIMAL(") => (Form::Number, text),
        _ => (Form::Text, text),
    }
}

/// A value from its text.
fn value(form: Form, text: &str) -> SqlValue {
    match form {
        Form::Bool => SqlValue::Bool(text == "true"),
        Form::Number => SqlValue::Number(text.to_owned()),
        Form::Float => text.parse().map_or_else(|_| SqlValue::Text(text.to_owned()), SqlValue::Float),
        Form::Text => SqlValue::Text(text.to_owned()),
        Form::Time => SqlValue::Text(time(text)),
        Form::Json => SqlValue::Json(strict::json(text)),
    }
}

/// `2025-01-02 03:04:05.5` as RFC 3339 with no, 3, 6 or 9 places of a second; other texts (infinity, years
/// before Christ) are returned unchanged.
fn time(text: &str) -> String {
    match text.split_once(' ') {
        Some((date, time)) if !time.contains(' ') => {
            let places = time.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            format!("{date}T{time}{}Z", "0".repeat(places.next_multiple_of(3) - places))
        }
        _ => text.to_owned(),
    }
}

/// The lines of an EXPLAIN.
fn plan(db: &Connection, text: &str) -> Result<SqlAnswer, QueryError> {
    let line = |row: &duckdb::Row<'_>| Ok(vec![SqlValue::Text(row.get(0)?), SqlValue::Text(row.get(1)?)]);
    Ok(SqlAnswer {
        columns: ["explain_key", "explain_value"].map(str::to_owned).into(),
        rows: rows(db, text, [], line).map_err(failed)?,
    })
}

fn read(db: &Connection, text: &str, stop: &AtomicBool) -> Result<SqlAnswer, QueryError> {
    // The engine's parser finds the end of the statement, even if semicolons and comments follow it.
    let statement = format!("FROM query({})", literal(text));
    let describe = |sql: &str| {
        rows(db, &format!("DESCRIBE {sql}"), [], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })
    };
    // Describing the statement itself gives its own column names, which may repeat; but DESCRIBE, SHOW and
    // SUMMARIZE cannot be described.
    let described = if let Ok(described) = describe(text) {
        described
    } else {
        db.prepare(text).map_err(failed)?;
        describe(&statement).map_err(failed_inside)?
    };
    let names: Vec<_> = (0..described.len()).map(|index| format!("c{index}")).collect();
    let (forms, columns): (Vec<_>, Vec<_>) =
        described.iter().zip(&names).map(|((_, kind), name)| form(name, kind)).unzip();
    let sql = format!("SELECT {} FROM (\n{statement}\n) AS t({})", columns.join(", "), names.join(", "));
    let mut prepared = db.prepare(&sql).map_err(failed_inside)?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for batch in prepared.stream_arrow([]).map_err(failed_inside)? {
        let batch = batch.map_err(failed_inside)?;
        let texts: Option<Vec<_>> =
            batch.columns().iter().map(|column| column.as_string_opt::<i32>()).collect();
        let texts = texts.ok_or_else(|| QueryError::Engine {
            action: "read the answer",
            source: "a column did not come as text".into(),
        })?;
        for index in 0..batch.num_rows() {
            let of = |(text, form): (&duckdb::arrow::array::StringArray, &Form)| {
                if text.is_null(index) { SqlValue::Null } else { value(*form, text.value(index)) }
            };
            bytes += texts.iter().map(|text| size_of::<SqlValue>() + text.value(index).len()).sum::<usize>();
            if rows.len() == MOST_ROWS {
                return Err(QueryError::TooManyRows(MOST_ROWS));
            }
            if bytes > MOST_BYTES {
                return Err(QueryError::TooLarge(MOST_BYTES));
            }
            rows.push(texts.iter().copied().zip(&forms).map(of).collect());
        }
        if stop.load(Relaxed) {
            return Err(QueryError::Interrupted); // the caller no longer waits
        }
    }
    Ok(SqlAnswer { columns: described.into_iter().map(|(name, _)| name).collect(), rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn temporary_files_are_bounded() {
        let timeout = Duration::from_mins(1);
        let cancel = CancellationToken::new();
        let limits =
            QueryLimits { deadline: Instant::now() + timeout, timeout, spill: 50_000_000, cancel: &cancel };
        let text =
            "select count(*) from (select i, md5(i::varchar) h from range(2000000000) t(i) order by h)";
        let error = run(Views::default(), text.to_owned(), limits).await.unwrap_err();
        assert!(
            matches!(&error, QueryError::OutOfMemory(what) if what.contains("MB of temporary files")),
            "{error:?}"
        );
    }
}
