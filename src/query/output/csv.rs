//! CSV, quoted as RFC 4180 says.

use std::io::{self, Write};

use super::plain;
use crate::query::SqlValue;

/// NULL in a row of a single column, where an empty field would be a blank line.
const NULL: &str = "NULL";

pub(super) fn csv_row(out: &mut impl Write, row: &[SqlValue]) -> io::Result<()> {
    csv_line(out, row, |out, value| match value {
        SqlValue::Null if row.len() == 1 => out.write_all(NULL.as_bytes()),
        SqlValue::Text(text) | SqlValue::Json(text) => csv_text(out, text),
        value => out.write_all(plain(value).as_bytes()),
    })
}

/// Writes a text as a field, quoted if it could be misread otherwise. Copies nothing: it may be large.
pub(super) fn csv_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    let is_ambiguous = text.is_empty()
        || text == NULL
        || text.starts_with(char::is_whitespace)
        || text.ends_with(char::is_whitespace);
    if !is_ambiguous && !text.contains([',', '"', '\r', '\n']) {
        return out.write_all(text.as_bytes());
    }
    out.write_all(b"\"")?;
    for part in text.split_inclusive('"') {
        out.write_all(part.as_bytes())?;
        if part.ends_with('"') {
            out.write_all(b"\"")?;
        }
    }
    out.write_all(b"\"")
}

pub(super) fn csv_line<W: Write, T>(
    out: &mut W,
    fields: impl IntoIterator<Item = T>,
    write: impl Fn(&mut W, T) -> io::Result<()>,
) -> io::Result<()> {
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        write(out, field)?;
    }
    out.write_all(b"\n")
}
