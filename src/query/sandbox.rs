//! A user's SQL, in a DuckDB of its own.
//!
//! Three walls: the parser says that the text is one statement that only reads (`permit.sql`); the files that may be opened are listed
//! one by one, everything else outside is closed, and the configuration is locked; rows, memory and time are bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use duckdb::types::{TimeUnit, ValueRef};
use duckdb::{Connection, InterruptHandle};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::relation::{literals, view};
use super::worker::{connect, rows};
use super::{QueryError, TableKind};
use crate::market::Micros;

const PERMIT: &str = include_str!("permit.sql");
/// Times in views carry no zone; these two make the clock comparable with them (the engine's own `now()` is zoned).
const CLOCK: &str = "CREATE MACRO now() AS make_timestamp(epoch_us(get_current_timestamp()));
    CREATE MACRO today() AS make_timestamp(epoch_us(get_current_timestamp()))::DATE;";
/// Most rows of an answer; they are held in memory.
const MOST_ROWS: usize = 1_000_000;
/// The engine drops an interrupt that comes while it is still planning, so it is repeated.
const INTERRUPT_EVERY: Duration = Duration::from_millis(20);

/// One value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum SqlValue {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A number in its exact decimal digits: integers of any width, decimals.
    Number(String),
    /// A 64-bit float; 32-bit ones are widened so that they print the same.
    Float(f64),
    /// Text, and whatever the engine best shows as text.
    Text(String),
    /// A time in UTC.
    Time(Micros),
    /// A list, struct or map as JSON text.
    Json(String),
}

/// The answer to a user's SQL.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlAnswer {
    /// Names of the columns; they may repeat.
    pub columns: Vec<String>,
    /// The rows, as wide as `columns`.
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

/// Stops the engine when nobody waits for it any more.
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

/// Runs `text` over the views on a thread of its own until the deadline.
pub(super) async fn run(views: Views, text: String, deadline: Instant, timeout: Duration) -> Result<SqlAnswer, QueryError> {
    let (started, handle) = oneshot::channel();
    let mut stop = Stop { wanted: Arc::default(), handle: None };
    let wanted = Arc::clone(&stop.wanted);
    let mut work = tokio::task::spawn_blocking(move || {
        let db = connect().map_err(QueryError::engine("start DuckDB"))?;
        started.send(db.interrupt_handle()).ok();
        answer(&db, &views, &text, &wanted)
    });
    stop.handle = handle.await.ok();
    let finished = |joined: Result<_, tokio::task::JoinError>| joined.unwrap_or(Err(QueryError::Stopped));
    if let Ok(joined) = timeout_at(deadline, &mut work).await {
        return finished(joined);
    }
    loop {
        stop.now();
        if let Ok(joined) = timeout_at(Instant::now() + INTERRUPT_EVERY, &mut work).await {
            return finished(joined).map_err(|_| QueryError::Timeout(timeout));
        }
    }
}

fn answer(db: &Connection, views: &Views, text: &str, stop: &AtomicBool) -> Result<SqlAnswer, QueryError> {
    permit(db, text)?;
    db.execute_batch(&views.definitions).map_err(QueryError::engine("define the views"))?;
    db.execute_batch(CLOCK).map_err(QueryError::engine("define the clock"))?;
    let lock =
        format!("SET allowed_paths = {}; SET enable_external_access = false; SET lock_configuration = true;", literals(&views.files));
    db.execute_batch(&lock).map_err(QueryError::engine("close the sandbox"))?;
    read(db, text, stop).map_err(|error| match error {
        Failure::Engine(error) => QueryError::Sql(words(&error)),
        Failure::TooMany => QueryError::TooManyRows(MOST_ROWS),
    })
}

enum Failure {
    Engine(duckdb::Error),
    TooMany,
}

impl From<duckdb::Error> for Failure {
    fn from(error: duckdb::Error) -> Self {
        Self::Engine(error)
    }
}

/// What the engine says, without the advice to download what this program never downloads.
fn words(error: &duckdb::Error) -> String {
    let text = error.to_string();
    text.split("\n\nPlease try installing").next().unwrap_or_default().trim_end().to_owned()
}

/// The statement that an EXPLAIN explains, where it is one.
fn explained(text: &str) -> Option<&str> {
    let after = |text: &'_ str, word: &str| {
        let (head, rest) = text.trim_start().split_at_checked(word.len()).map(|(head, rest)| (head.to_owned(), rest.to_owned()))?;
        (head.eq_ignore_ascii_case(word) && rest.starts_with(char::is_whitespace)).then_some(text.len() - rest.len())
    };
    let rest = &text[after(text, "EXPLAIN")?..];
    Some(after(rest, "ANALYZE").map_or(rest, |start| &rest[start..]))
}

/// Refuses what is not one statement that only reads.
fn permit(db: &Connection, text: &str) -> Result<(), QueryError> {
    const READING: &str = "only one statement that reads is allowed: SELECT, WITH, FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN";
    type Verdict = (Option<u64>, Option<String>, Option<String>, Option<u64>);
    let text = explained(text).unwrap_or(text);
    let verdict = rows(db, PERMIT, [text], |row| Ok::<Verdict, _>((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
    let verdict = verdict.map_err(|error| QueryError::Sql(words(&error)))?.pop();
    match verdict {
        Some((_, Some(kind), Some(message), _)) if kind != "not implemented" => Err(QueryError::Sql(message)),
        Some((Some(1), None, None, Some(0))) => Ok(()),
        Some((Some(0), None, None, _)) => Err(QueryError::Refused("there is no SQL in the query".into())),
        _ => Err(QueryError::Refused(READING.into())),
    }
}

/// How a column is taken over, by its type as the engine names it.
fn column(index: usize, kind: &str) -> Option<String> {
    const AS_IT_IS: &[&str] = &[
        "BOOLEAN",
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
        "FLOAT",
        "DOUBLE",
        "VARCHAR",
        "JSON",
        "DATE",
        "TIMESTAMP",
        "TIMESTAMP_S",
        "TIMESTAMP_MS",
        "TIMESTAMP_NS",
        "TIMESTAMP WITH TIME ZONE",
    ];
    let is_nested = kind.ends_with(']') || ["STRUCT(", "MAP(", "UNION("].iter().any(|start| kind.starts_with(start));
    match kind {
        _ if is_nested => Some(format!("to_json(c{index})")),
        _ if AS_IT_IS.contains(&kind) || kind.starts_with("DECIMAL(") => None,
        _ => Some(format!("c{index}::VARCHAR")),
    }
}

fn read(db: &Connection, text: &str, stop: &AtomicBool) -> Result<SqlAnswer, Failure> {
    let text = text.trim().trim_end_matches(';');
    if explained(text).is_some() {
        return collect(db, text, None, stop);
    }
    let described = rows(db, &format!("DESCRIBE {text}"), [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
    let Ok(described) = described else {
        return collect(db, text, None, stop); // DESCRIBE, SHOW, SUMMARIZE: plain columns
    };
    let casts: Vec<_> = described.iter().enumerate().map(|(index, (_, kind))| column(index, kind)).collect();
    let kinds = described.iter().map(|(_, kind)| kind.clone()).collect();
    let names = described.into_iter().map(|(name, _)| name).collect();
    if casts.iter().all(Option::is_none) {
        return collect(db, text, Some((names, kinds)), stop);
    }
    let columns: Vec<_> = casts.into_iter().enumerate().map(|(index, cast)| cast.unwrap_or_else(|| format!("c{index}"))).collect();
    let aliases: Vec<_> = (0..columns.len()).map(|index| format!("c{index}")).collect();
    let sql = format!("SELECT {} FROM (\n{text}\n) AS t({})", columns.join(", "), aliases.join(", "));
    collect(db, &sql, Some((names, kinds)), stop)
}

/// Names and types of the columns.
type Header = (Vec<String>, Vec<String>);

fn collect(db: &Connection, sql: &str, header: Option<Header>, stop: &AtomicBool) -> Result<SqlAnswer, Failure> {
    let mut statement = db.prepare(sql)?;
    let mut found = statement.query([])?;
    let given = found.as_ref().map(duckdb::Statement::column_names).unwrap_or_default();
    let (columns, kinds) = header.unwrap_or_else(|| (given, Vec::new()));
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        if rows.len() == MOST_ROWS {
            return Err(Failure::TooMany);
        }
        if stop.load(Relaxed) {
            break; // the deadline has passed: the answer is thrown away
        }
        let values = (0..columns.len()).map(|index| Ok(value(row.get_ref(index)?, kinds.get(index).map_or("", String::as_str))));
        rows.push(values.collect::<duckdb::Result<Vec<_>>>()?);
    }
    Ok(SqlAnswer { columns, rows })
}

fn value(value: ValueRef<'_>, kind: &str) -> SqlValue {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let nested = kind == "JSON" || kind.ends_with([']', ')']) && !kind.starts_with("DECIMAL(") && !kind.starts_with("ENUM(");
    match value {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Boolean(value) => SqlValue::Bool(value),
        ValueRef::TinyInt(value) => SqlValue::Number(value.to_string()),
        ValueRef::SmallInt(value) => SqlValue::Number(value.to_string()),
        ValueRef::Int(value) => SqlValue::Number(value.to_string()),
        ValueRef::BigInt(value) => SqlValue::Number(value.to_string()),
        ValueRef::HugeInt(value) => SqlValue::Number(value.to_string()),
        ValueRef::UTinyInt(value) => SqlValue::Number(value.to_string()),
        ValueRef::USmallInt(value) => SqlValue::Number(value.to_string()),
        ValueRef::UInt(value) => SqlValue::Number(value.to_string()),
        ValueRef::UBigInt(value) => SqlValue::Number(value.to_string()),
        ValueRef::UHugeInt(value) => SqlValue::Number(value.to_string()),
        ValueRef::Decimal(value) => SqlValue::Number(value.to_string()),
        ValueRef::Float(value) => SqlValue::Float(value.to_string().parse().unwrap_or_else(|_| f64::from(value))),
        ValueRef::Double(value) => SqlValue::Float(value),
        ValueRef::Text(bytes) if nested => SqlValue::Json(text(bytes)),
        ValueRef::Text(bytes) => SqlValue::Text(text(bytes)),
        ValueRef::Timestamp(unit, at) => time(unit, at),
        ValueRef::Date32(days) => SqlValue::Text(date(days)),
        other => SqlValue::Text(format!("{:?}", other.to_owned())), // a plain column of a rare type in SHOW and its like
    }
}

fn time(unit: TimeUnit, at: i64) -> SqlValue {
    match unit {
        _ if at == i64::MAX => SqlValue::Text("infinity".into()),
        _ if at == -i64::MAX => SqlValue::Text("-infinity".into()),
        TimeUnit::Nanosecond => {
            SqlValue::Text(chrono::DateTime::from_timestamp_nanos(at).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
        }
        unit => SqlValue::Time(unit.to_micros(at)),
    }
}

fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".into(),
        days if days == -i32::MAX => "-infinity".into(),
        days => chrono::DateTime::from_timestamp(i64::from(days) * 86_400, 0)
            .map_or_else(|| days.to_string(), |date| date.format("%Y-%m-%d").to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Result<(), QueryError> {
        permit(&connect().unwrap(), text)
    }

    #[test]
    fn one_statement_that_reads_is_allowed() {
        for text in [
            "SELECT 1",
            "select 1;",
            "/* c */ select 1 -- c",
            "from gold limit 1",
            "with a as (select 1) select * from a union all select 2",
            "with recursive t(i) as (select 1 union all select i + 1 from t where i < 3) select * from t",
            "values (1)",
            "describe gold",
            "show tables",
            "summarize gold",
            "table gold",
            "select 'COPY_QUERY_NODE' as type, {'type': 'INSERT_QUERY_NODE'}",
            "explain select 1",
            "  Explain\tanalyze\nselect 1",
        ] {
            assert!(verdict(text).is_ok(), "{text}: {:?}", verdict(text));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "  -- nothing",
            "select 1; select 2",
            "select 1; copy (select 1) to '/tmp/x'",
            "copy (select 1) to '/tmp/x'",
            "with x as (copy (select 1) to '/tmp/x') select * from x",
            "with x as materialized (insert into t values (1) returning *) select * from x",
            "select * from (with x as (delete from t returning *) select * from x)",
            "explain analyze copy (select 1) to '/tmp/x'",
            "explain with x as (copy (select 1) to '/tmp/x') select * from x",
            "attach '/tmp/x'",
            "install icu",
            "load icu",
            "set threads = 1",
            "pragma threads = 1",
            "create table t as select 1",
            "drop view gold",
            "call duckdb_settings()",
            "export database '/tmp/x'",
            "prepare p as select 1",
            "checkpoint",
        ] {
            assert!(matches!(verdict(text), Err(QueryError::Refused(_))), "{text}: {:?}", verdict(text));
        }
        assert!(matches!(verdict("selec 1"), Err(QueryError::Sql(_))));
    }
}
