//! Answers as text: an aligned table for people, CSV (quoted as RFC 4180 says, one line feed a line) and JSON
//! for programs. No colour.
//!
//! CSV and JSON lose nothing: numbers stand in their shortest form that reads back as the same value, times
//! in RFC 3339 (UTC). JSON is strict: NaN and the infinities are strings, columns of one name get a number
//! behind it. In CSV nothing between two commas is NULL and `""` the empty text; a NULL that stands alone in
//! its row is `NULL`, for a row must not be a blank line.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Write};

use super::{CandleSeries, SqlAnswer, SqlValue, strict};
use crate::market::{Candle, Market, printable, rfc3339};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// Comma-separated values with a header.
    Csv,
    /// An array of objects, one a line.
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

/// Writes candles, oldest first. A table is cut to `width` columns of the terminal, where there is one.
///
/// # Errors
/// What `out` says.
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

/// Writes the answer to a user's SQL. A table is cut to `width` columns of the terminal, where there is one.
///
/// # Errors
/// What `out` says.
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

fn plain(value: &SqlValue) -> Cow<'_, str> {
    match value {
        SqlValue::Null => "".into(),
        SqlValue::Bool(value) => value.to_string().into(),
        SqlValue::Float(value) => float(*value).into(),
        SqlValue::Number(text) | SqlValue::Text(text) | SqlValue::Json(text) => text.into(),
    }
}

/// How NULL stands where nothing would be a blank line.
const NULL: &str = "NULL";

fn csv_row(out: &mut impl Write, row: &[SqlValue]) -> io::Result<()> {
    csv_line(out, row, |out, value| match value {
        SqlValue::Null if row.len() == 1 => out.write_all(NULL.as_bytes()),
        SqlValue::Text(text) | SqlValue::Json(text) => csv_text(out, text),
        value => out.write_all(plain(value).as_bytes()),
    })
}

/// A text as a field: quoted where it would be taken for something else, or for a blank line. Copies nothing:
/// it may be large.
fn csv_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    let is_mistakable = text.is_empty()
        || text == NULL
        || text.starts_with(char::is_whitespace)
        || text.ends_with(char::is_whitespace);
    if !is_mistakable && !text.contains([',', '"', '\r', '\n']) {
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

fn csv_line<W: Write, T>(
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

/// The names, with a number behind each that is there before: `x`, `x_1`.
fn distinct(names: &[String]) -> Vec<String> {
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

/// Copies nothing: a value may be large.
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

fn write_json<R: AsRef<[SqlValue]>>(
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

/// What the cells of a column are, and so to which side they lean and whether they may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ColumnKind {
    /// Leans to the left, and is cut where there is no room.
    Text,
    /// Leans to the left, and is never cut.
    Time,
    /// Leans to the right, and is never cut.
    Number,
}

struct Column<'a> {
    head: String,
    kind: ColumnKind,
    /// Makes the cell of a row.
    cell: Box<dyn Fn(usize) -> String + 'a>,
}

impl<'a> Column<'a> {
    fn new(head: &str, kind: ColumnKind, cell: impl Fn(usize) -> String + 'a) -> Self {
        Self { head: head.to_owned(), kind, cell: Box::new(cell) }
    }

    /// A column of numbers whose cells have to know each other.
    fn numbers(head: &str, cells: Vec<String>) -> Self {
        Self::new(head, ColumnKind::Number, move |row| cells[row].clone())
    }

    /// The width of its widest cell, in characters. Makes every cell: an answer may be too large to keep
    /// them.
    fn width(&self, rows: usize) -> usize {
        (0..rows).map(|row| length(&(self.cell)(row))).max().unwrap_or(0).max(length(&self.head))
    }
}

/// Narrower than this no column is cut.
const NARROWEST: usize = 6;
const GAP: &str = "  ";

fn length(text: &str) -> usize {
    text.chars().count()
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)
}

/// Widths that together fit into `width` where they can: the widest columns of text are cut first, a number
/// never is.
fn fit(columns: &[Column<'_>], mut widths: Vec<usize>, width: Option<usize>) -> Vec<usize> {
    let Some(width) = width else { return widths };
    while total(&widths) > width {
        let texts = columns.iter().zip(&mut widths).filter(|(column, _)| column.kind == ColumnKind::Text);
        match texts.map(|(_, width)| width).max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => break,
        }
    }
    widths
}

fn write_table(
    out: &mut impl Write,
    columns: &[Column<'_>],
    rows: usize,
    width: Option<usize>,
) -> io::Result<()> {
    let widths = fit(columns, columns.iter().map(|column| column.width(rows)).collect(), width);
    let line = |out: &mut dyn Write, cell: &dyn Fn(&Column<'_>) -> String| {
        let mut text = String::new();
        for (index, (column, width)) in columns.iter().zip(&widths).enumerate() {
            let mut cell = cell(column);
            if length(&cell) > *width {
                cell = cell.chars().take(width - 1).chain(['…']).collect();
            }
            let gap = if index == 0 { "" } else { GAP };
            text += gap;
            let room = " ".repeat(width.saturating_sub(length(&cell)));
            text.extend(match column.kind {
                ColumnKind::Text | ColumnKind::Time => [cell, room],
                ColumnKind::Number => [room, cell],
            });
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(out, &|column| column.head.clone())?;
    for (index, width) in widths.iter().enumerate() {
        out.write_all(if index == 0 { "" } else { GAP }.as_bytes())?;
        (0..*width).try_for_each(|_| out.write_all("─".as_bytes()))?;
    }
    writeln!(out)?;
    (0..rows).try_for_each(|row| line(out, &|column| (column.cell)(row)))
}

/// Numbers from here on, and below the other one, are written with an exponent.
const LARGE: f64 = 1e16;
const SMALL: f64 = 1e-5;

/// The shortest digits that read back as the same float: `24.777`, `8714`, `7.312e-6`.
fn shortest(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => strict::not_finite(value).to_owned(),
        size if size != 0.0 && !(SMALL..LARGE).contains(&size) => format!("{value:e}"),
        _ => value.to_string(),
    }
}

/// Texts of numbers with blanks behind them, so that the points of those without an exponent stand below each
/// other.
fn below_each_other(texts: impl Iterator<Item = String>) -> Vec<String> {
    let decimals = |text: &str| match text.split_once('.') {
        _ if text.contains(['e', '–']) => None,
        Some((_, decimals)) => Some(decimals.len() + 1),
        None => Some(0),
    };
    let texts: Vec<String> = texts.collect();
    let most = texts.iter().filter_map(|text| decimals(text)).max().unwrap_or(0);
    let blanks = |text: &str| decimals(text).map_or(0, |decimals| most - decimals);
    texts.into_iter().map(|text| format!("{text}{:blanks$}", "", blanks = blanks(&text))).collect()
}

/// A percentage with three decimals, or with four digits where three decimals would not show one of them.
fn percent(value: f64, sign: &str) -> String {
    let sign = if value > 0.0 { sign } else { "" };
    if value != 0.0 && value.abs() < 0.001 {
        format!("{sign}{value:.3e}")
    } else {
        format!("{sign}{value:.3}")
    }
}

/// The columns of [`candle_table`] that are left out one by one where the terminal is too narrow, the first
/// one first.
const DISPENSABLE: [&str; 5] = ["mean", "ticks", "volatility", "volume", "change"];

fn candle_table(out: &mut impl Write, series: &CandleSeries, width: Option<usize>) -> io::Result<()> {
    let Some(market) = &series.market else { return writeln!(out, "no candles") };
    let candles = &series.candles;
    let quote = market.quote.to_uppercase();
    writeln!(out, "{} in {quote} from {}", printable(&market.coin_id), printable(&market.source))?;
    let start =
        |row: usize| rfc3339(candles[row].window_start).replace('T', " ").trim_end_matches(":00Z").to_owned();
    let numbers = |head: String, number: &dyn Fn(&Candle) -> String| {
        Column::numbers(&head, below_each_other(candles.iter().map(number)))
    };
    let mut columns = vec![
        Column::new("start UTC", ColumnKind::Time, start),
        numbers(format!("open {quote}"), &|candle| shortest(candle.open)),
        numbers(format!("high {quote}"), &|candle| shortest(candle.high)),
        numbers(format!("low {quote}"), &|candle| shortest(candle.low)),
        numbers(format!("close {quote}"), &|candle| shortest(candle.close)),
        numbers(format!("mean {quote}"), &|candle| shortest(candle.avg)),
        numbers("volume coins".to_owned(), &|candle| candle.volume.map_or_else(|| "–".to_owned(), shortest)),
        numbers("ticks".to_owned(), &|candle| candle.ticks.to_string()),
        numbers("change %".to_owned(), &|candle| percent(candle.change_pct(), "+")),
        numbers("volatility %".to_owned(), &|candle| percent(candle.volatility_pct(), "")),
    ];
    if candles.iter().any(|candle| !candle.closed) {
        columns.push(Column::new("", ColumnKind::Text, |row| {
            if candles[row].closed { String::new() } else { "open".to_owned() }
        }));
    }
    let mut left_out = Vec::new();
    for name in DISPENSABLE {
        let widths: Vec<usize> = columns.iter().map(|column| column.width(candles.len())).collect();
        if width.is_none_or(|width| total(&widths) <= width) {
            break;
        }
        columns.retain(|column| !column.head.starts_with(name));
        left_out.push(name);
    }
    write_table(out, &columns, candles.len(), width)?;
    write!(out, "{} of {} candles", candles.len(), series.total.max(candles.len() as u64))?;
    match left_out[..] {
        [] => writeln!(out),
        _ => writeln!(out, "; no room for {}", left_out.join(", ")),
    }
}

fn answer_table(out: &mut impl Write, answer: &SqlAnswer, width: Option<usize>) -> io::Result<()> {
    let shown = |value: &SqlValue| {
        if *value == SqlValue::Null { "NULL".to_owned() } else { printable(&plain(value)) }
    };
    // A plan is a drawing: its lines are the answer.
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
