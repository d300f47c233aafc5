use std::sync::Arc;

use proptest::prelude::*;

use super::candles::{aligned_at_points, percent, shortest};
use super::table::length;
use super::*;
use crate::market::MINUTE;

const START: crate::market::Micros = 1_747_008_000_000_000;

fn series() -> CandleSeries {
    let candle = |minute: i64, close: f64, volume, closed| Candle {
        high: 104_100.0,
        low: 104_000.0,
        close,
        avg: 104_050.123_456,
        volume,
        ticks: 4,
        closed,
        ..Candle::of_tick(START + minute * MINUTE, MINUTE, 104_072.7)
    };
    CandleSeries {
        market: Some(Arc::new(Market::new("a,b", "bitcoin", "usd"))),
        candles: vec![candle(0, 104_072.75, Some(8714.0), true), candle(1, 104_000.0, None, false)],
        total: 90,
        newest: Some(START),
    }
}

fn answer() -> SqlAnswer {
    SqlAnswer {
        columns: ["n", "t", "when", "j"].map(str::to_owned).into(),
        rows: vec![
            vec![
                SqlValue::Number("1.50".into()),
                SqlValue::Text("say \"hi\"\nx".into()),
                SqlValue::Text("2025-05-12T00:00:00.000001Z".into()),
                SqlValue::Json("[1]".into()),
            ],
            vec![SqlValue::Null, SqlValue::Text(String::new()), SqlValue::Null, SqlValue::Bool(true)],
            vec![
                SqlValue::Float(f64::NAN),
                SqlValue::Text("a\u{1b}[31m".into()),
                SqlValue::Text(rfc3339(START)),
                SqlValue::Float(1e-5),
            ],
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
    start UTC         open USD  high USD  low USD  close USD       mean USD  volume coins  ticks   change %  volatility %
    ────────────────  ────────  ────────  ───────  ─────────  ─────────────  ────────────  ─────  ─────────  ────────────  ────
    2025-05-12 00:00  104072.7    104100   104000  104072.75  104050.123456          8714      4  +4.804e-5         0.096
    2025-05-12 00:01  104072.7    104100   104000  104000     104050.123456             –      4     -0.070         0.096  open
    2 of 90 candles
    "#);
}

#[test]
fn answers_as_csv() {
    assert_eq!(
        text(|out| write_answer(out, Format::Csv, &answer(), None)),
        "n,t,when,j\n1.50,\"say \"\"hi\"\"\nx\",2025-05-12T00:00:00.000001Z,[1]\n,\"\",,true\nNaN,a\u{1b}[31m,2025-05-12T00:00:00Z,1e-5\n"
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
      {"n": "NaN", "t": "a\u001b[31m", "when": "2025-05-12T00:00:00Z", "j": 1e-5}
    ]
    "#);
    let empty = SqlAnswer { rows: vec![], ..answer() };
    assert_eq!(text(|out| write_answer(out, Format::Json, &empty, None)), "[]\n");
}

#[test]
fn csv_distinguishes_null_from_empty_text_and_has_no_blank_line() {
    let text_value = |text: &str| SqlValue::Text(text.to_owned());
    let values = [
        SqlValue::Null,
        text_value("x"),
        text_value(""),
        text_value("NULL"),
        text_value(" "),
        text_value("\n"),
    ];
    let one = SqlAnswer {
        columns: vec!["v".into()],
        rows: values.iter().map(|value| vec![value.clone()]).collect(),
    };
    assert_eq!(
        text(|out| write_answer(out, Format::Csv, &one, None)),
        "v\nNULL\nx\n\"\"\n\"NULL\"\n\" \"\n\"\n\"\n"
    );
    let row =
        SqlAnswer { columns: values.iter().map(|_| "v".to_owned()).collect(), rows: vec![values.into()] };
    assert_eq!(
        text(|out| write_answer(out, Format::Csv, &row, None)),
        "v,v,v,v,v,v\n,x,\"\",\"NULL\",\" \",\"\n\"\n"
    );
}

#[test]
fn repeated_column_names_get_numbers() {
    let names = ["x", "y", "x", "x_1", "x", "y"].map(str::to_owned);
    assert_eq!(distinct(&names), ["x", "y", "x_2", "x_1", "x_3", "y_1"]);
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

#[test]
fn numbers_of_a_table_are_exact_and_as_short_as_possible() {
    let texts = [104_072.75, 8714.0, 0.000_012_36, 7.312e-6, 3.1e-13, 1e300, 0.1 + 0.2, -0.0, f64::NAN];
    assert_eq!(
        texts.map(shortest),
        [
            "104072.75",
            "8714",
            "0.00001236",
            "7.312e-6",
            "3.1e-13",
            "1e300",
            "0.30000000000000004",
            "-0",
            "NaN"
        ]
    );
    let column = ["1.5", "20", "–", "3.1e-13", "0.995"].map(str::to_owned);
    assert_eq!(aligned_at_points(column.into_iter()), ["1.5  ", "20    ", "–", "3.1e-13", "0.995"]);
    assert_eq!(
        [0.0, 1.23456, -0.000_480_433, 4.804_33e-9].map(|value| percent(value, "+")),
        ["0.000", "+1.235", "-4.804e-4", "+4.804e-9"]
    );
}

#[test]
fn a_narrow_table_of_candles_has_fewer_columns_and_no_number_is_cut() {
    for width in [40, 60, 80, 100, 130] {
        let table = text(|out| write_candles(out, Format::Table, &series(), Some(width)));
        assert!(!table.contains('…') && table.contains("104072.75"), "{table}");
        assert!(width < 70 || table.lines().all(|line| length(line) <= width), "{width}\n{table}");
        assert_eq!(table.contains("; no room for mean"), width < 130, "{width}\n{table}");
    }
}

proptest! {
    #[test]
    fn floats_read_back_as_themselves(bits: u64) {
        let value = f64::from_bits(bits);
        let back: f64 = float(value).parse().unwrap();
        prop_assert!(back.to_bits() == value.to_bits() || back.is_nan() && value.is_nan());
        let back: f64 = shortest(value).parse().unwrap();
        prop_assert!(back.to_bits() == value.to_bits() || back.is_nan() && value.is_nan());
    }
}
