//! Bars in eighths of a cell: sparklines and volume.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "eighths of few cells, clamped before the cast"
)]

/// Blocks of no to eight eighths.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A line of at most `width` blocks, scaled from the lowest to the highest value; where all are equal, at
/// half height.
pub fn sparkline(values: &[f64], width: usize) -> String {
    let values = resample(values, width);
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    values
        .iter()
        .map(|v| {
            let share = (v - low) / (high - low);
            if share.is_finite() {
                EIGHTHS[1 + (share * 7.0).round().clamp(0.0, 7.0) as usize]
            } else {
                EIGHTHS[4]
            }
        })
        .collect()
}

/// At most `width` values: the last one of each of `width` equal parts. Values that are not finite are left
/// out.
fn resample(values: &[f64], width: usize) -> Vec<f64> {
    let values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    if values.len() <= width {
        return values;
    }
    (1..=width).map(|i| values[i * values.len() / width - 1]).collect()
}

/// The glyph of a bar in `row` (0 the highest) of `rows`; a bar of value `most` fills all rows, and one above
/// zero at least an eighth of a row.
pub fn bar(value: f64, most: f64, row: u16, rows: u16) -> char {
    if !(value > 0.0 && most > 0.0) {
        return ' ';
    }
    let total = (value / most * f64::from(rows) * 8.0).round().clamp(1.0, f64::from(rows) * 8.0) as u16;
    let below = (rows - 1 - row) * 8;
    EIGHTHS[usize::from(total.saturating_sub(below).min(8))]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_scaled_from_the_lowest_to_the_highest_value() {
        assert_eq!(sparkline(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 8), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[5.0, 5.0], 8), "▄▄");
        assert_eq!(sparkline(&[], 8), "");
        assert_eq!(sparkline(&[1.0, f64::NAN, 2.0], 8), "▁█");
        assert_eq!(sparkline(&[9.0, 1.0, 9.0, 8.0], 2), "▁█");
    }

    #[test]
    fn bars_fill_from_below() {
        assert_eq!((bar(8.0, 8.0, 0, 2), bar(8.0, 8.0, 1, 2)), ('█', '█'));
        assert_eq!((bar(4.0, 8.0, 0, 2), bar(4.0, 8.0, 1, 2)), (' ', '█'));
        assert_eq!((bar(6.0, 8.0, 0, 2), bar(6.0, 8.0, 1, 2)), ('▄', '█'));
        assert_eq!(bar(0.0001, 8.0, 1, 2), '▁');
        assert_eq!(bar(0.0, 8.0, 1, 2), ' ');
        assert_eq!(bar(1.0, f64::NAN, 0, 1), ' ');
    }

    proptest! {
        #[test]
        fn no_line_is_too_long(values in proptest::collection::vec(any::<f64>(), 0..100), width in 0usize..40) {
            prop_assert!(sparkline(&values, width).chars().count() <= width);
        }

        #[test]
        fn any_bar_is_a_block(value in any::<f64>(), most in any::<f64>(), rows in 1u16..20, row in 0u16..20) {
            prop_assert!(EIGHTHS.contains(&bar(value, most, row.min(rows - 1), rows)));
        }
    }
}
