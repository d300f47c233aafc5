//! Answers as text: an aligned table for people, CSV (quoted as in RFC 4180, lines end with a line feed) and
//! JSON for programs. No colour.
//!
//! CSV and JSON are lossless: numbers have the shortest form that reads back as the same value, times are in
//! RFC 3339 (UTC). JSON is strict: NaN and the infinities are strings, repeated column names get a number
//! appended. In CSV, an empty field is NULL and `""` the empty text; in a row of a single column NULL is
//! written as `NULL`, because a row must not be a blank line.

mod candles;
mod csv;
mod json;
mod table;

use std::borrow::Cow;
use std::io::{self, Write};

use super::{CandleSeries, SqlAnswer, SqlValue, strict};
use crate::market::{Candle, Market, printable, rfc3339};

use candles::candle_table;
use csv::{csv_line, csv_row, csv_text};
use json::{distinct, write_json};
use table::{Column, ColumnKind, write_table};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns, fewer of them on a narrow terminal.
    #[default]
    Table,
    /// With a header line.
    Csv,
    /// An array of objects, one per line.
    Json,
}

const CANDLE_COLUMNS: [&str; 13] = [
    "coin_id",
    "source",
    "window_start",
    "window_end",
    "open",
    "high",
    "low",
    "close",
    "avg",
    "volume",
    "ticks",
    "change_pct",
    "volatility_pct",
];

/// Writes candles, oldest first. A table is fitted to `width` columns of the terminal, if there is one.
pub fn write_candles(
    out: &mut impl Write,
    format: Format,
    series: &CandleSeries,
    width: Option<usize>,
) -> io::Result<()> {
    let rows = series
        .market
        .iter()
        .flat_map(|market| series.candles.iter().map(|candle| candle_values(market, candle)));
    match format {
        Format::Csv => {
            csv_line(out, CANDLE_COLUMNS, csv_text)?;
            rows.into_iter().try_for_each(|row| csv_row(out, &row))
        }
        Format::Json => write_json(out, &CANDLE_COLUMNS, rows),
        Format::Table => candle_table(out, series, width),
    }
}

/// Writes the answer to a user's SQL. A table is fitted to `width` columns of the terminal, if there is one.
pub fn write_answer(
    out: &mut impl Write,
    format: Format,
    answer: &SqlAnswer,
    width: Option<usize>,
) -> io::Result<()> {
    match format {
        Format::Csv => {
            csv_line(out, &answer.columns, |out, name| csv_text(out, name))?;
            answer.rows.iter().try_for_each(|row| csv_row(out, row))
        }
        Format::Json => write_json(out, &distinct(&answer.columns), &answer.rows),
        Format::Table => answer_table(out, answer, width),
    }
}

fn candle_values(market: &Market, candle: &Candle) -> [SqlValue; 13] {
    [
        SqlValue::Text(market.coin_id.to_string()),
        SqlValue::Text(market.source.to_string()),
        SqlValue::Text(rfc3339(candle.window_start)),
        SqlValue::Text(rfc3339(candle.window_end)),
        SqlValue::Float(candle.open),
        SqlValue::Float(candle.high),
        SqlValue::Float(candle.low),
        SqlValue::Float(candle.close),
        SqlValue::Float(candle.avg),
        candle.volume.map_or(SqlValue::Null, SqlValue::Float),
        SqlValue::Number(candle.ticks.to_string()),
        SqlValue::Float(candle.change_pct()),
        SqlValue::Float(candle.volatility_pct()),
    ]
}

/// `24.777`, `8714.0`, `1e-5`: the shortest digits that read back as the same float; `NaN`, `Infinity`,
/// `-Infinity`.
fn float(value: f64) -> String {
    if value.is_finite() { format!("{value:?}") } else { strict::not_finite(value).to_owned() }
}

/// A value as text without quotes; NULL is empty.
fn plain(value: &SqlValue) -> Cow<'_, str> {
    match value {
        SqlValue::Null => "".into(),
        SqlValue::Bool(value) => value.to_string().into(),
        SqlValue::Float(value) => float(*value).into(),
        SqlValue::Number(text) | SqlValue::Text(text) | SqlValue::Json(text) => text.into(),
    }
}

fn answer_table(out: &mut impl Write, answer: &SqlAnswer, width: Option<usize>) -> io::Result<()> {
    let shown = |value: &SqlValue| {
        if *value == SqlValue::Null { "NULL".to_owned() } else { printable(&plain(value)) }
    };
    // A plan is printed without a table.
    if answer.columns == ["explain_key", "explain_value"] {
        return answer.rows.iter().try_for_each(|row| writeln!(out, "{}", plain(&row[1]).trim_end()));
    }
    let kind = |index: usize| {
        let is_number =
            |value: &SqlValue| matches!(value, SqlValue::Null | SqlValue::Number(_) | SqlValue::Float(_));
        if answer.rows.iter().all(|row| is_number(&row[index])) {
            ColumnKind::Number
        } else {
            ColumnKind::Text
        }
    };
    let column = |(index, name): (usize, &String)| {
        Column::new(&printable(name), kind(index), move |row| shown(&answer.rows[row][index]))
    };
    let columns: Vec<_> = answer.columns.iter().enumerate().map(column).collect();
    write_table(out, &columns, answer.rows.len(), width)?;
    writeln!(out, "{} {}", answer.rows.len(), if answer.rows.len() == 1 { "row" } else { "rows" })
}

#[cfg(test)]
mod tests;
