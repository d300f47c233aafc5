//! Strict JSON: an array of objects, one per line.

use std::collections::HashSet;
use std::io::{self, Write};

use super::plain;
use crate::query::{SqlValue, strict};

/// The names, with a number appended to each repetition: `x`, `x_1`.
pub(super) fn distinct(names: &[String]) -> Vec<String> {
    let mut taken: HashSet<String> = names.iter().cloned().collect();
    let mut seen = HashSet::new();
    let mut other = |name: &String| {
        let other = (1..=2 * names.len())
            .map(|n| format!("{name}_{n}"))
            .find(|other| !taken.contains(other))
            .unwrap_or_default();
        taken.insert(other.clone());
        other
    };
    names.iter().map(|name| if seen.insert(name) { name.clone() } else { other(name) }).collect()
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Writes a value. Copies nothing: it may be large.
fn json(out: &mut impl Write, value: &SqlValue) -> io::Result<()> {
    match value {
        SqlValue::Null => out.write_all(b"null"),
        SqlValue::Float(value) if !value.is_finite() => {
            Ok(serde_json::to_writer(out, strict::not_finite(*value))?)
        }
        SqlValue::Text(text) => Ok(serde_json::to_writer(out, text)?),
        value => out.write_all(plain(value).as_bytes()),
    }
}

pub(super) fn write_json<R: AsRef<[SqlValue]>>(
    out: &mut impl Write,
    columns: &[impl AsRef<str>],
    rows: impl IntoIterator<Item = R>,
) -> io::Result<()> {
    let keys: Vec<_> = columns.iter().map(|column| json_text(column.as_ref())).collect();
    let mut before = "[\n  ";
    for row in rows {
        write!(out, "{before}{{")?;
        for (index, (key, value)) in keys.iter().zip(row.as_ref()).enumerate() {
            write!(out, "{}{key}: ", if index == 0 { "" } else { ", " })?;
            json(out, value)?;
        }
        out.write_all(b"}")?;
        before = ",\n  ";
    }
    out.write_all(if before == ",\n  " { b"\n]\n" } else { b"[]\n" })
}
