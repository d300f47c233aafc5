//! Answers as text: an aligned table for people, CSV (quoted as RFC 4180 says, one line feed a line) and JSON for programs. No colour.
//!
//! CSV and JSON lose nothing: numbers stand in their shortest form that reads back as the same value, times in RFC 3339 (UTC).

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat};

use super::{CandleSeries, SqlAnswer, SqlValue};
use crate::market::{Candle, Market, Micros, printable, rfc3339};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// Comma-separated values with a header.
    Csv,
    /// An array of objects, one a line.
    Json,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Table, Self::Csv, Self::Json];

    /// `table`, `csv`, `json`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.label() == text)
            .ok_or_else(|| format!("'{text}' is not a format: use table, csv or json"))
    }
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
pub fn write_candles(out: &mut impl Write, format: Format, series: &CandleSeries, width: Option<usize>) -> io::Result<()> {
    let rows = series.market.iter().flat_map(|market| series.candles.iter().map(|candle| candle_values(market, candle)));
    match format {
        Format::Csv => {
            csv_line(out, CANDLE_COLUMNS.map(str::to_owned))?;
            rows.into_iter().try_for_each(|row| csv_line(out, row.iter().map(plain)))
        }
        Format::Json => write_json(out, &CANDLE_COLUMNS, rows),
        Format::Table => candle_table(out, series, width),
    }
}

/// Writes the answer to a user's SQL. A table is cut to `width` columns of the terminal, where there is one.
///
/// # Errors
/// What `out` says.
pub fn write_answer(out: &mut impl Write, format: Format, answer: &SqlAnswer, width: Option<usize>) -> io::Result<()> {
    match format {
        Format::Csv => {
            csv_line(out, answer.columns.iter().cloned())?;
            answer.rows.iter().try_for_each(|row| csv_line(out, row.iter().map(plain)))
        }
        Format::Json => write_json(out, &answer.columns, &answer.rows),
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

/// `24.777`, `8714.0`, `1e-5`: the shortest digits that read back as the same float.
fn float(value: f64) -> String {
    format!("{value:?}")
}

/// To the second, with a fraction where there is one.
fn time(at: Micros) -> String {
    DateTime::from_timestamp_micros(at).map_or_else(|| at.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

fn plain(value: &SqlValue) -> String {
    match value {
        SqlValue::Null => String::new(),
        SqlValue::Bool(value) => value.to_string(),
        SqlValue::Float(value) => float(*value),
        SqlValue::Time(at) => time(*at),
        SqlValue::Number(text) | SqlValue::Text(text) | SqlValue::Json(text) => text.clone(),
    }
}

fn csv_line(out: &mut impl Write, fields: impl IntoIterator<Item = String>) -> io::Result<()> {
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        if field.contains([',', '"', '\r', '\n']) {
            write!(out, "\"{}\"", field.replace('"', "\"\""))?;
        } else {
            out.write_all(field.as_bytes())?;
        }
    }
    out.write_all(b"\n")
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn json(value: &SqlValue) -> String {
    match value {
        SqlValue::Null => "null".to_owned(),
        SqlValue::Float(value) if !value.is_finite() => "null".to_owned(), // JSON has no such numbers
        SqlValue::Text(text) => json_text(text),
        SqlValue::Time(at) => json_text(&time(*at)),
        value => plain(value),
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
        let fields: Vec<_> = keys.iter().zip(row.as_ref()).map(|(key, value)| format!("{key}: {}", json(value))).collect();
        write!(out, "{before}{{{}}}", fields.join(", "))?;
        before = ",\n  ";
    }
    out.write_all(if before == ",\n  " { b"\n]\n" } else { b"[]\n" })
}

/// A table's column: its head, its cells, and to which side they lean.
struct Column {
    head: String,
    cells: Vec<String>,
    is_number: bool,
}

/// Narrower than this no column is cut.
const NARROWEST: usize = 6;
const GAP: &str = "  ";

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Widths that together fit into `width`: the widest columns give way first.
fn fit(mut widths: Vec<usize>, width: Option<usize>) -> Vec<usize> {
    let Some(width) = width else { return widths };
    let all = |widths: &[usize]| widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
    while all(&widths) > width {
        match widths.iter_mut().max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => break,
        }
    }
    widths
}

fn write_table(out: &mut impl Write, columns: &[Column], width: Option<usize>) -> io::Result<()> {
    let widths =
        columns.iter().map(|column| column.cells.iter().chain([&column.head]).map(|cell| length(cell)).max().unwrap_or(0)).collect();
    let widths = fit(widths, width);
    let line = |out: &mut dyn Write, cell: &dyn Fn(&Column) -> String| {
        let mut text = String::new();
        for (index, (column, width)) in columns.iter().zip(&widths).enumerate() {
            let mut cell = cell(column);
            if length(&cell) > *width {
                cell = cell.chars().take(width - 1).chain(['…']).collect();
            }
            let gap = if index == 0 { "" } else { GAP };
            text += gap;
            let room = " ".repeat(width.saturating_sub(length(&cell)));
            text.extend(if column.is_number { [room, cell] } else { [cell, room] });
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(out, &|column| column.head.clone())?;
    let rule = widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>().join(GAP);
    writeln!(out, "{rule}")?;
    (0..columns.first().map_or(0, |column| column.cells.len())).try_for_each(|row| line(out, &|column| column.cells[row].clone()))
}

/// Floats with as many decimals as the most exact of them needs, at most `most`, so that the points stand below each other.
fn aligned(values: &[Option<f64>], most: usize) -> Vec<String> {
    let decimals = |value: &f64| format!("{value}").split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let decimals = values.iter().flatten().map(decimals).max().unwrap_or(0).min(most);
    values.iter().map(|value| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.decimals$}"))).collect()
}

/// Decimals of prices in a table; the cheapest coins need them all.
const PRICE_DECIMALS: usize = 12;

fn candle_table(out: &mut impl Write, series: &CandleSeries, width: Option<usize>) -> io::Result<()> {
    let Some(market) = &series.market else { return writeln!(out, "no candles") };
    let candles = &series.candles;
    let quote = market.quote.to_uppercase();
    writeln!(out, "{} in {quote} from {}", printable(&market.coin_id), printable(&market.source))?;
    let number = |head: &str, cells| Column { head: head.to_owned(), cells, is_number: true };
    // All prices of a candle are told to the same number of decimals.
    let prices: Vec<_> = [|c: &Candle| c.open, |c: &Candle| c.high, |c: &Candle| c.low, |c: &Candle| c.close]
        .iter()
        .flat_map(|price| candles.iter().map(|candle| Some(price(candle))))
        .collect();
    let mut prices = aligned(&prices, PRICE_DECIMALS).into_iter();
    let mut price = |head: &str| number(&format!("{head} {quote}"), prices.by_ref().take(candles.len()).collect());
    let prices = [price("open"), price("high"), price("low"), price("close")];
    let decimals = prices[0].cells.first().and_then(|cell| cell.split_once('.')).map_or(0, |(_, decimals)| decimals.len());
    let mut columns = vec![Column {
        head: "start UTC".to_owned(),
        cells: candles.iter().map(|candle| rfc3339(candle.window_start).replace('T', " ").trim_end_matches(":00Z").to_owned()).collect(),
        is_number: false,
    }];
    columns.extend(prices);
    columns.push(number(&format!("mean {quote}"), candles.iter().map(|candle| format!("{:.*}", decimals + 1, candle.avg)).collect()));
    columns.push(number("volume coins", aligned(&candles.iter().map(|candle| candle.volume).collect::<Vec<_>>(), 8)));
    columns.push(number("ticks", candles.iter().map(|candle| candle.ticks.to_string()).collect()));
    columns.push(number("change %", candles.iter().map(|candle| format!("{:+.3}", candle.change_pct())).collect()));
    columns.push(number("volatility %", candles.iter().map(|candle| format!("{:.3}", candle.volatility_pct())).collect()));
    if candles.iter().any(|candle| !candle.closed) {
        let cells = candles.iter().map(|candle| if candle.closed { String::new() } else { "open".to_owned() }).collect();
        columns.push(Column { head: String::new(), cells, is_number: false });
    }
    write_table(out, &columns, width)?;
    writeln!(out, "{} of {} candles", candles.len(), series.total.max(candles.len() as u64))
}

fn answer_table(out: &mut impl Write, answer: &SqlAnswer, width: Option<usize>) -> io::Result<()> {
    let shown = |value: &SqlValue| if *value == SqlValue::Null { "NULL".to_owned() } else { printable(&plain(value)) };
    // A plan is a drawing: its lines are the answer.
    if answer.columns == ["explain_key", "explain_value"] {
        return answer.rows.iter().try_for_each(|row| writeln!(out, "{}", plain(&row[1]).trim_end()));
    }
    let columns: Vec<_> = answer
        .columns
        .iter()
        .enumerate()
        .map(|(index, name)| Column {
            head: printable(name),
            cells: answer.rows.iter().map(|row| shown(&row[index])).collect(),
            is_number: answer.rows.iter().all(|row| matches!(row[index], SqlValue::Null | SqlValue::Number(_) | SqlValue::Float(_))),
        })
        .collect();
    write_table(out, &columns, width)?;
    writeln!(out, "{} {}", answer.rows.len(), if answer.rows.len() == 1 { "row" } else { "rows" })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use proptest::prelude::*;

    const START: Micros = 1_747_008_000_000_000;

    fn series() -> CandleSeries {
        let candle = |minute: i64, close: f64, volume, closed| Candle {
            window_start: START + minute * 60_000_000,
            window_end: START + (minute + 1) * 60_000_000,
            open: 104_072.7,
            high: 104_100.0,
            low: 104_000.0,
            close,
            avg: 104_050.123_456,
            volume,
            ticks: 4,
            closed,
        };
        CandleSeries {
            market: Some(Arc::new(Market::new("a,b", "bitcoin", "usd"))),
            candles: vec![candle(0, 104_072.75, Some(8714.0), true), candle(1, 104_000.0, None, false)],
            total: 90,
        }
    }

    fn answer() -> SqlAnswer {
        SqlAnswer {
            columns: ["n", "t", "when", "j"].map(str::to_owned).into(),
            rows: vec![
                vec![
                    SqlValue::Number("1.50".into()),
                    SqlValue::Text("say \"hi\"\nx".into()),
                    SqlValue::Time(START + 1),
                    SqlValue::Json("[1]".into()),
                ],
                vec![SqlValue::Null, SqlValue::Text(String::new()), SqlValue::Null, SqlValue::Bool(true)],
                vec![SqlValue::Float(f64::NAN), SqlValue::Text("a\u{1b}[31m".into()), SqlValue::Time(START), SqlValue::Float(1e-5)],
            ],
        }
    }

    fn text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn candles_as_csv() {
        insta::assert_snapshot!(text(|out| write_candles(out, Format::Csv, &series(), None)), @r#"
        coin_id,source,window_start,window_end,open,high,low,close,avg,volume,ticks,change_pct,volatility_pct
        bitcoin,"a,b",2025-05-12T00:00:00Z,2025-05-12T00:01:00Z,104072.7,104100.0,104000.0,104072.75,104050.123456,8714.0,4,4.804333893798315e-5,0.09615384615384616
        bitcoin,"a,b",2025-05-12T00:01:00Z,2025-05-12T00:02:00Z,104072.7,104100.0,104000.0,104000.0,104050.123456,,4,-0.0698550148117586,0.09615384615384616
        "#);
    }

    #[test]
    fn candles_as_json() {
        insta::assert_snapshot!(text(|out| write_candles(out, Format::Json, &series(), None)), @r#"
        [
          {"coin_id": "bitcoin", "source": "a,b", "window_start": "2025-05-12T00:00:00Z", "window_end": "2025-05-12T00:01:00Z", "open": 104072.7, "high": 104100.0, "low": 104000.0, "close": 104072.75, "avg": 104050.123456, "volume": 8714.0, "ticks": 4, "change_pct": 4.804333893798315e-5, "volatility_pct": 0.09615384615384616},
          {"coin_id": "bitcoin", "source": "a,b", "window_start": "2025-05-12T00:01:00Z", "window_end": "2025-05-12T00:02:00Z", "open": 104072.7, "high": 104100.0, "low": 104000.0, "close": 104000.0, "avg": 104050.123456, "volume": null, "ticks": 4, "change_pct": -0.0698550148117586, "volatility_pct": 0.09615384615384616}
        ]
        "#);
    }

    #[test]
    fn candles_as_a_table() {
        insta::assert_snapshot!(text(|out| write_candles(out, Format::Table, &series(), None)), @r#"
        bitcoin in USD from a,b
        start UTC          open USD   high USD    low USD  close USD    mean USD  volume coins  ticks  change %  volatility %
        ────────────────  ─────────  ─────────  ─────────  ─────────  ──────────  ────────────  ─────  ────────  ────────────  ────
        2025-05-12 00:00  104072.70  104100.00  104000.00  104072.75  104050.123          8714      4    +0.000         0.096
        2025-05-12 00:01  104072.70  104100.00  104000.00  104000.00  104050.123             –      4    -0.070         0.096  open
        2 of 90 candles
        "#);
    }

    #[test]
    fn answers_as_csv() {
        assert_eq!(
            text(|out| write_answer(out, Format::Csv, &answer(), None)),
            "n,t,when,j\n1.50,\"say \"\"hi\"\"\nx\",2025-05-12T00:00:00.000001Z,[1]\n,,,true\nNaN,a\u{1b}[31m,2025-05-12T00:00:00Z,1e-5\n"
        );
    }

    #[test]
    fn answers_as_json() {
        let out = text(|out| write_answer(out, Format::Json, &answer(), None));
        let parsed: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(parsed[1], serde_json::json!({"n": null, "t": "", "when": null, "j": true}));
        assert_eq!(parsed[2]["t"], "a\u{1b}[31m");
        insta::assert_snapshot!(out, @r#"
        [
          {"n": 1.50, "t": "say \"hi\"\nx", "when": "2025-05-12T00:00:00.000001Z", "j": [1]},
          {"n": null, "t": "", "when": null, "j": true},
          {"n": null, "t": "a\u001b[31m", "when": "2025-05-12T00:00:00Z", "j": 1e-5}
        ]
        "#);
        let empty = SqlAnswer { rows: vec![], ..answer() };
        assert_eq!(text(|out| write_answer(out, Format::Json, &empty, None)), "[]\n");
    }

    #[test]
    fn answers_as_a_table_that_fits() {
        insta::assert_snapshot!(text(|out| write_answer(out, Format::Table, &answer(), None)), @r#"
           n  t           when                         j
        ────  ──────────  ───────────────────────────  ────
        1.50  say "hi" x  2025-05-12T00:00:00.000001Z  [1]
        NULL              NULL                         true
         NaN  a[31m       2025-05-12T00:00:00Z         1e-5
        3 rows
        "#);
        let narrow = text(|out| write_answer(out, Format::Table, &answer(), Some(40)));
        assert!(narrow.lines().all(|line| length(line) <= 40), "{narrow}");
        assert!(narrow.contains('…'));
    }

    proptest! {
        #[test]
        fn floats_read_back_as_themselves(bits: u64) {
            let value = f64::from_bits(bits);
            let back: f64 = float(value).parse().unwrap();
            prop_assert!(back.to_bits() == value.to_bits() || back.is_nan() && value.is_nan());
        }
    }
}
