//! Decides whether a user's SQL is one statement that only reads, by the engine's own parser.

use duckdb::Connection;

use super::failed;
use crate::query::QueryError;
use crate::query::engine::rows;

const PERMIT: &str = include_str!("../permit.sql");

/// The statement inside an EXPLAIN, if the text is one.
pub(super) fn explained(text: &str) -> Option<&str> {
    let after = |text: &'_ str, word: &str| {
        let (head, rest) = text
            .trim_start()
            .split_at_checked(word.len())
            .map(|(head, rest)| (head.to_owned(), rest.to_owned()))?;
        (head.eq_ignore_ascii_case(word) && rest.starts_with(char::is_whitespace))
            .then_some(text.len() - rest.len())
    };
    let rest = &text[after(text, "EXPLAIN")?..];
    Some(after(rest, "ANALYZE").map_or(rest, |start| &rest[start..]))
}

/// Refuses anything but one statement that only reads.
pub(super) fn permit(db: &Connection, text: &str) -> Result<(), QueryError> {
    const READING: &str = "only one statement that reads is allowed: SELECT, WITH, FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN";
    const PARAMETERS: &str = "a query takes no parameters: write the values instead of ?, $1 or $name";
    type Verdict = (Option<u64>, Option<String>, Option<String>, Option<u64>, Option<u64>);
    let text = explained(text).unwrap_or(text);
    let verdict = rows(db, PERMIT, [text], |row| {
        Ok::<Verdict, _>((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
    });
    let verdict = verdict.map_err(failed)?.pop();
    match verdict {
        Some((_, Some(kind), Some(message), ..)) if kind != "not implemented" => {
            Err(QueryError::Sql(message))
        }
        Some((Some(1), None, None, Some(0), Some(0))) => Ok(()),
        Some((Some(1), None, None, Some(0), Some(_))) => Err(QueryError::Refused(PARAMETERS.into())),
        Some((Some(0), None, None, ..)) => Err(QueryError::Refused("there is no SQL in the query".into())),
        _ => Err(QueryError::Refused(READING.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::engine::{SpillFolder, connect};

    fn verdict(text: &str) -> Result<(), QueryError> {
        permit(&connect(SpillFolder::new().path()).unwrap(), text)
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
            "select ?",
            "describe select $1",
            "explain select $name",
            "select 1 limit ?",
            "with a as (select ? as x) select * from a",
            "export database '/tmp/x'",
            "prepare p as select 1",
            "checkpoint",
        ] {
            assert!(matches!(verdict(text), Err(QueryError::Refused(_))), "{text}: {:?}", verdict(text));
        }
        assert!(matches!(verdict("selec 1"), Err(QueryError::Sql(_))));
        assert!(verdict("select ?").unwrap_err().to_string().contains("no parameters"));
        assert!(verdict("select '?', {'type': 'VALUE_PARAMETER'}").is_ok());
    }
}
