//! SQL text that stands for a list of data files: the one place where paths become SQL.
//!
//! This build of DuckDB cannot calculate with time zones: our own SQL takes times as µs (`epoch_us`), the
//! views for users cast them to TIMESTAMP, UTC. Partition values are taken from the file's name, whatever
//! else the path may look like.

use crate::lake::TableKind;
use crate::lake::schema::ColumnType;

/// `text` as an SQL literal.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `[ 'a', 'b' ]`.
///
/// Glob characters stay as they are: DuckDB takes a path that names a file as that file before it looks for
/// patterns.
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

/// Something to select from: the table's columns as they stand in its files, times with a zone, and
/// `filename`.
pub(super) fn files(kind: TableKind, paths: &[String]) -> String {
    if paths.is_empty() {
        let columns =
            kind.stored_columns().map(|(name, column)| format!("NULL::{} AS \"{name}\"", sql_type(*column)));
        return format!(
            "(SELECT {}, NULL::VARCHAR AS filename WHERE false)",
            columns.collect::<Vec<_>>().join(", ")
        );
    }
    // Stating the schema here too would double the time of a small question; all files of a format have the
    // same.
    format!("read_parquet({}, hive_partitioning = false, filename = true)", literals(paths))
}

/// A query for all columns of the design, in its order and types, `date` included.
pub(super) fn view(kind: TableKind, paths: &[String]) -> String {
    let column = |(name, column): &(&str, ColumnType)| match column {
        ColumnType::Date => {
            format!("regexp_extract(filename, 'date=([0-9-]+)/[^/]*$', 1)::DATE AS \"{name}\"")
        }
        column => format!("\"{name}\"::{} AS \"{name}\"", sql_type(*column)),
    };
    let columns: Vec<_> = kind.columns().iter().map(column).collect();
    format!("SELECT {} FROM {}", columns.join(", "), files(kind, paths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_and_nothing_else_changes() {
        assert_eq!(literals(&["/a b/[c]*'.parquet".into(), "/d".into()]), "['/a b/[c]*''.parquet', '/d']");
    }
}
