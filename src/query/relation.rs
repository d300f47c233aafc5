//! SQL text that stands for a list of data files: the one place where paths become SQL.
//!
//! The columns are stated, never guessed from the files; times come as TIMESTAMP in UTC, since this build of DuckDB cannot calculate with
//! time zones. Partition values are taken from the file's name, whatever else the path may look like.

use std::fmt::Write as _;

use crate::lake::TableKind;
use crate::lake::schema::ColumnType;

/// `text` as an SQL literal.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `[ 'a', 'b' ]`.
///
/// Glob characters stay as they are: DuckDB takes a path that names a file as that file before it looks for patterns.
pub(super) fn literals(paths: &[String]) -> String {
    format!("[{}]", paths.iter().map(|path| literal(path)).collect::<Vec<_>>().join(", "))
}

fn sql_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Text => "VARCHAR",
        ColumnType::Binary => "BLOB",
        ColumnType::Long => "BIGINT",
        ColumnType::Integer => "INTEGER",
        ColumnType::Double => "DOUBLE",
        ColumnType::Timestamp => "TIMESTAMP",
        ColumnType::Date => "DATE",
    }
}

/// Something to select from: the table's columns as they stand in its files, and `filename`.
pub(super) fn files(kind: TableKind, paths: &[String]) -> String {
    let stored = || kind.columns().iter().filter(|(name, _)| !(kind.is_dated() && *name == "date"));
    let mut sql = String::new();
    if paths.is_empty() {
        sql.push_str("(SELECT ");
        for (name, column) in stored() {
            write!(sql, "NULL::{} AS \"{name}\", ", sql_type(*column)).ok();
        }
        sql.push_str("NULL::VARCHAR AS filename WHERE false)");
        return sql;
    }
    write!(sql, "read_parquet({}, hive_partitioning = false, filename = true, schema = map {{", literals(paths)).ok();
    for (index, (name, column)) in stored().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(sql, "{comma}'{name}': {{name: '{name}', type: '{}', default_value: NULL}}", sql_type(*column)).ok();
    }
    sql.push_str("})");
    sql
}

/// A query for all columns of the design, in its order, `date` included.
pub(super) fn view(kind: TableKind, paths: &[String]) -> String {
    let date = if kind.is_dated() { ", regexp_extract(filename, 'date=([0-9-]+)/[^/]*$', 1)::DATE AS date" } else { "" };
    format!("SELECT * EXCLUDE (filename){date} FROM {}", files(kind, paths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_and_nothing_else_changes() {
        assert_eq!(literals(&["/a b/[c]*'.parquet".into(), "/d".into()]), "['/a b/[c]*''.parquet', '/d']");
    }
}
