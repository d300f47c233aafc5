//! Numbers, times and texts for the screen.

use proptest::prelude::*;

use super::*;

#[test]
fn prices_have_as_many_digits_as_their_size_needs() {
    for (value, text) in [
        (104_180.0, "104,180.0"),
        (2566.4, "2,566.40"),
        (179.11, "179.11"),
        (17.41, "17.410"),
        (2.6126, "2.6126"),
        (0.8456, "0.8456"),
        (0.000_012_34, "0.00001234"),
        (1.0, "1.0000"),
        (0.1, "0.1000"),
        (1e-20, "1.000e-20"),
        (5e15, "5.000e15"),
        (f64::NAN, "–"),
    ] {
        assert_eq!(price(value), text);
    }
    for (value, text) in [
        (0.000_012_36, "0.00001236"),
        (0.000_007_312, "7.312e-6"),
        (3.2e-13, "3.200e-13"),
        (1e15, "1.000e15"),
        (0.5, "0.5000"),
    ] {
        assert_eq!(price_within(value, 10), text);
    }
    assert_eq!(
        (price_with(3.987_12e-9, 14), price_with(3.987_11e-9, 14)),
        ("3.98712e-9".to_owned(), "3.98711e-9".to_owned())
    );
    assert_eq!(price_with(-1_234_567.891, 2), "-1,234,567.89");
    assert_eq!(price_with(999.0, 0), "999");
}

#[test]
fn large_numbers_are_short() {
    for (value, text) in [
        (0.0, "0"),
        (932.0, "932"),
        (999.9, "1.00 k"),
        (12_345.0, "12.3 k"),
        (4_560_000.0, "4.56 M"),
        (2.5, "2.5"),
        (33.0e9, "33.0 B"),
    ] {
        assert_eq!(compact(value), text);
    }
    assert_eq!((amount(0.25).as_str(), amount(1.25e-20).as_str()), ("0.2500", "1.250e-20"));
    assert_eq!(bytes(1_100_000), "1.10 MB");
    assert_eq!(bytes(92_000_000), "92.0 MB");
    assert_eq!(count(1_234_567), "1,234,567");
}

#[test]
fn changes_carry_a_glyph_and_keep_their_width() {
    assert_eq!(change(Some(0.06)), "▲ 0.06");
    assert_eq!(change(Some(-12.4)), "▼12.40");
    assert_eq!(change(Some(0.001)), "  0.00");
    assert_eq!(change(Some(-104.26)), "▼104.3");
    assert_eq!(change(None), "     –");
}

#[test]
fn durations_have_one_unit() {
    for (span, text) in [
        (0, "0 s"),
        (1_200_000, "1 s"),
        (42 * SECOND, "42 s"),
        (3 * MINUTE, "3 min"),
        (5 * HOUR, "5 h"),
        (3 * DAY, "3 d"),
        (-5, "0 s"),
    ] {
        assert_eq!(age(span), text);
    }
    assert_eq!(countdown(28 * SECOND), "0:28");
    assert_eq!(countdown(3 * HOUR + 7 * MINUTE + 45 * SECOND), "3:07:45");
}

#[test]
fn cut_text_keeps_to_its_columns() {
    assert_eq!(fit("bitcoin", 7), "bitcoin");
    assert_eq!(fit("bitcoin", 4), "bit…");
    assert_eq!(fit("価格価格", 5), "価格…");
    assert_eq!(fit("abc", 0), "");
    assert_eq!((pad("比特币", 8).as_str(), pad("比特币", 5).as_str()), ("比特币  ", "比特…"));
    assert_eq!(title_case("avalanche-2"), "Avalanche 2");
}

#[test]
fn wrapped_text_keeps_its_beginning_and_its_end() {
    let cause = "no space left on device (os error 28): cannot write /very/long/path/part-00000.parquet";
    assert_eq!(
        wrap(cause, " · again in 4 s", 60, 2),
        [
            "no space left on device (os error 28): cannot write",
            "/very/long/path/part-00000.parquet · again in 4 s",
        ]
    );
    assert_eq!(
        wrap(cause, " · again in 4 s", 40, 2),
        ["no space left on device (os error 28):", "cannot write /very/long/… · again in 4 s",]
    );
    assert_eq!(wrap("aaaaaaaaaaaa", "", 5, 9), ["aaaaa", "aaaaa", "aa"]);
    assert_eq!(wrap("比特币比特币", "", 5, 9), ["比特", "币比", "特币"]);
}

#[test]
fn zones_write_times() {
    let noon = 1_747_051_200 * SECOND;
    assert_eq!(Zone::Utc.write(noon, "%Y-%m-%d %H:%M"), "2025-05-12 12:00");
    assert_eq!(Zone::Utc.label(noon), "UTC");
    assert_eq!(Zone::Utc.write(i64::MAX, "%H:%M"), "–");
    assert!(Zone::Utc.is_midnight(0));
}

proptest! {
    #[test]
    fn any_price_fits_sixteen_columns_and_is_not_shown_as_zero(exponent in -30.0..30.0f64) {
        let text = price(10f64.powf(exponent));
        prop_assert!(text.width() <= 16, "{text}");
        prop_assert!(text.chars().any(|c| ('1'..='9').contains(&c)), "{text}");
    }

    #[test]
    fn compact_numbers_keep_to_six_columns(n in 0.0..9.9e14f64) {
        let text = compact(n.round());
        prop_assert!(text.width() <= 6, "{text}");
    }

    #[test]
    fn a_price_fits_its_column_and_keeps_four_digits(exponent in -25.0..25.0f64, width in 10usize..16) {
        let value = 10f64.powf(exponent);
        let text = price_within(value, width);
        let back: f64 = text.replace(',', "").parse().unwrap();
        prop_assert!(text.len() <= width && (back - value).abs() <= value * 0.000_51, "{} {}", value, text);
    }

    #[test]
    fn fitted_text_fits(text in "\\PC{0,40}", width in 0usize..50) {
        prop_assert!(fit(&text, width).width() <= width);
        prop_assert_eq!(pad(&text, width).width(), width);
    }

    #[test]
    fn wrapped_text_fits(text in "\\PC{0,80}", width in 2usize..50, most in 1usize..4) {
        let lines = wrap(&text, " · end", width, most);
        prop_assert!(lines.len() <= most && lines.iter().all(|line| line.width() <= width), "{:?}", lines);
    }
}
