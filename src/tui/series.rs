//! Series of candles for the chart: grouping into wider buckets, and moving averages.

use crate::market::time::floor;
use crate::market::{Candle, Micros};

/// Candles grouped into buckets of `width`, aligned to the epoch, oldest first.
pub(super) fn group(candles: &[Candle], width: Micros) -> Vec<Candle> {
    let mut groups: Vec<Candle> = Vec::with_capacity(candles.len());
    for candle in candles {
        let start = floor(candle.window_start, width);
        match groups.last_mut() {
            Some(last) if last.window_start == start => last.absorb(candle),
            _ => groups.push(Candle { window_start: start, window_end: start + width, ..candle.clone() }),
        }
    }
    groups
}

/// The simple moving average: the mean of the last `length` closes at each candle; none for the first
/// `length - 1` candles.
pub(super) fn sma(candles: &[Candle], length: usize) -> Vec<Option<f64>> {
    (0..candles.len())
        .map(|i| {
            let window = &candles[(i + 1).checked_sub(length)?..=i];
            #[expect(clippy::cast_precision_loss, reason = "a handful of candles")]
            let mean = window.iter().map(|c| c.close).sum::<f64>() / length as f64;
            Some(mean)
        })
        .collect()
}

/// The exponential moving average of the closes, weight `2 / (length + 1)`; none for the first `length - 1`
/// candles.
pub(super) fn ema(candles: &[Candle], length: usize) -> Vec<Option<f64>> {
    #[expect(clippy::cast_precision_loss, reason = "a handful of candles")]
    let weight = 2.0 / (length as f64 + 1.0);
    let mut mean: Option<f64> = None;
    candles
        .iter()
        .enumerate()
        .map(|(i, candle)| {
            let next = mean.map_or(candle.close, |m| m + (candle.close - m) * weight);
            mean = Some(next);
            (i + 1 >= length).then_some(next)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::MINUTE;

    fn minute(at: i64, price: f64) -> Candle {
        Candle { high: price + 1.0, low: price - 1.0, ..Candle::of_tick(at * MINUTE, MINUTE, price) }
    }

    fn starts(candles: &[Candle]) -> Vec<i64> {
        candles.iter().map(|c| c.window_start / MINUTE).collect()
    }

    #[test]
    fn groups_are_aligned_and_have_no_candles_for_gaps() {
        let groups = group(&[minute(1, 1.0), minute(2, 5.0), minute(3, 3.0), minute(10, 7.0)], 3 * MINUTE);
        assert_eq!(starts(&groups), [0, 3, 9]);
        assert!((groups[0].high - 6.0).abs() < f64::EPSILON && (groups[0].close - 5.0).abs() < f64::EPSILON);
    }

    #[test]
    fn averages_begin_at_the_candle_of_their_length() {
        let candles: Vec<Candle> =
            (0..5).map(|i| minute(i, [1.0, 2.0, 3.0, 4.0, 5.0][usize::try_from(i).unwrap()])).collect();
        assert_eq!(sma(&candles, 3), [None, None, Some(2.0), Some(3.0), Some(4.0)]);
        assert_eq!(sma(&candles, 9), [None; 5]);
        assert_eq!(ema(&candles, 3), [None, None, Some(2.25), Some(3.125), Some(4.0625)]);
        assert_eq!(ema(&[], 3), []);
    }
}
