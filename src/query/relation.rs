//! SQL text for a list of data files. All quoting of paths is here.
//!
//! This build of DuckDB cannot calculate with time zones: the program's own SQL takes times as µs
//! (`epoch_us`), the views for users cast them to TIMESTAMP, UTC. The date is taken from the folder of the
//! file only: a storage's path may look like a partition, too.

use crate::lake::TableKind;
use crate::lake::schema::ColumnType;

/// `text` as an SQL literal.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `[ 'a', 'b' ]`.
///
/// Glob characters are not escaped: DuckDB takes a path as a pattern only if there is no file of that name.
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

/// A relation for a FROM clause: the stored columns as in the files, times with a zone, and `filename`.
pub(super) fn files(kind: TableKind, paths: &[String]) -> String {
    if paths.is_empty() {
        let columns =
            kind.stored_columns().map(|(name, column)| format!("NULL::{} AS \"{name}\"", sql_type(*column)));
        return format!(
            "(SELECT {}, NULL::VARCHAR AS filename WHERE false)",
            columns.collect::<Vec<_>>().join(", ")
        );
    }
    // The schema is not stated: it would double the time of a small query, and all files of a format have the
    // same.
    format!("read_parquet({}, hive_partitioning = false, filename = true)", literals(paths))
}

/// A query for all columns of the table, `date` included, in the schema's order and types.
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
    fn only_quotes_are_escaped() {
        assert_eq!(literals(&["/a b/[c]*'.parquet".into(), "/d".into()]), "['/a b/[c]*''.parquet', '/d']");
    }
}
