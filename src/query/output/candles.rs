//! The table of candles, for people.

use std::io::{self, Write};

use super::table::{Column, ColumnKind, total, write_table};
use crate::market::{Candle, printable, rfc3339};
use crate::query::{CandleSeries, strict};

/// Numbers of at least `LARGE`, or below `SMALL`, are written with an exponent.
const LARGE: f64 = 1e16;
const SMALL: f64 = 1e-5;

/// The shortest digits that read back as the same float: `24.777`, `8714`, `7.312e-6`.
pub(super) fn shortest(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => strict::not_finite(value).to_owned(),
        size if size != 0.0 && !(SMALL..LARGE).contains(&size) => format!("{value:e}"),
        _ => value.to_string(),
    }
}

/// Pads numbers without an exponent on the right, so that their decimal points are aligned when the column is
/// aligned right.
pub(super) fn aligned_at_points(texts: impl Iterator<Item = String>) -> Vec<String> {
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
pub(super) fn percent(value: f64, sign: &str) -> String {
    let sign = if value > 0.0 { sign } else { "" };
    if value != 0.0 && value.abs() < 0.001 {
        format!("{sign}{value:.3e}")
    } else {
        format!("{sign}{value:.3}")
    }
}

/// Columns that are left out one by one, in this order, if the terminal is too narrow.
const DISPENSABLE: [&str; 5] = ["mean", "ticks", "volatility", "volume", "change"];

pub(super) fn candle_table(
    out: &mut impl Write,
    series: &CandleSeries,
    width: Option<usize>,
) -> io::Result<()> {
    let Some(market) = &series.market else { return writeln!(out, "no candles") };
    let candles = &series.candles;
    let quote = market.quote.to_uppercase();
    writeln!(out, "{} in {quote} from {}", printable(&market.coin_id), printable(&market.source))?;
    let start =
        |row: usize| rfc3339(candles[row].window_start).replace('T', " ").trim_end_matches(":00Z").to_owned();
    let numbers = |head: String, number: &dyn Fn(&Candle) -> String| {
        Column::numbers(&head, aligned_at_points(candles.iter().map(number)))
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
