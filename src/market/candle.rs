//! A candle: the ticks of one market in one window, summed up.

use serde::{Deserialize, Serialize};

use super::{Interval, Micros};

/// The sums of one window. Prices are in quote currency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candle {
    /// Start of the window, inclusive.
    pub window_start: Micros,
    /// End of the window, exclusive.
    pub window_end: Micros,
    /// Price of the first tick.
    pub open: f64,
    pub high: f64,
    pub low: f64,
    /// Price of the last tick.
    pub close: f64,
    /// Plain mean of the ticks' prices.
    pub avg: f64,
    /// Sum of the ticks' sizes in coins; `None` if no tick has one.
    pub volume: Option<f64>,
    pub ticks: i64,
    /// Whether the window is closed (in gold) or still receives ticks.
    pub closed: bool,
}

impl Candle {
    /// The open candle of one tick without a size, in the window of `width` from `window_start` on.
    pub const fn of_tick(window_start: Micros, width: Micros, price: f64) -> Self {
        Self {
            window_start,
            window_end: window_start + width,
            open: price,
            high: price,
            low: price,
            close: price,
            avg: price,
            volume: None,
            ticks: 1,
            closed: false,
        }
    }

    /// `close - open`.
    pub fn change(&self) -> f64 {
        self.close - self.open
    }

    /// Percent: `(close - open) / open * 100`.
    pub fn change_pct(&self) -> f64 {
        (self.close - self.open) / self.open * 100.0
    }

    /// Percent: `(high - low) / low * 100`.
    pub fn volatility_pct(&self) -> f64 {
        (self.high - self.low) / self.low * 100.0
    }

    /// Merges a candle of the same bucket whose ticks are later than all of this one's.
    pub fn absorb(&mut self, later: &Self) {
        #[expect(clippy::cast_precision_loss, reason = "tick counts stay far below 2^52")]
        let (mine, theirs) = (self.ticks as f64, later.ticks as f64);
        let sum = self.avg * mine + later.avg * theirs;
        let all = mine + theirs;
        let scaled = || (self.avg * (mine / all) + later.avg * (theirs / all)).min(self.high.max(later.high));
        self.avg = if sum.is_finite() { sum / all } else { scaled() };
        self.high = self.high.max(later.high);
        self.low = self.low.min(later.low);
        self.close = later.close;
        self.volume = match (self.volume, later.volume) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0.0) + b.unwrap_or(0.0)),
        };
        self.ticks += later.ticks;
        self.closed &= later.closed;
    }
}

/// `gold` (candles of `interval`, oldest first, as a query gives them) with the open one-minute candles on
/// top. `newest` is the start of the newest minute in gold: open candles up to it have closed since they were
/// read, and are left out.
pub fn with_open(
    gold: &[Candle],
    newest: Option<Micros>,
    open: &[Candle],
    interval: Interval,
) -> Vec<Candle> {
    let mut candles = gold.to_vec();
    let is_open = |minute: &&Candle| newest.is_none_or(|newest| minute.window_start > newest);
    let mut open: Vec<&Candle> = open.iter().filter(is_open).collect();
    open.sort_by_key(|c| c.window_start);
    open.dedup_by_key(|c| c.window_start);
    for minute in open {
        let start = interval.bucket(minute.window_start);
        match candles.binary_search_by_key(&start, |c| c.window_start) {
            Ok(at) => candles[at].absorb(minute),
            Err(at) => {
                candles.insert(
                    at,
                    Candle { window_start: start, window_end: start + interval.micros(), ..minute.clone() },
                );
            }
        }
    }
    candles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::MINUTE;

    fn minute(at: i64, price: f64) -> Candle {
        Candle {
            high: price + 1.0,
            low: price - 1.0,
            volume: Some(1.0),
            ticks: 2,
            closed: true,
            ..Candle::of_tick(at * MINUTE, MINUTE, price)
        }
    }

    fn starts(candles: &[Candle]) -> Vec<i64> {
        candles.iter().map(|c| c.window_start / MINUTE).collect()
    }

    #[test]
    fn a_minute_that_gold_has_is_taken_from_gold() {
        let merged = with_open(
            &[minute(1, 10.0), minute(2, 11.0)],
            Some(2 * MINUTE),
            &[minute(2, 99.0), minute(3, 12.0), minute(5, 13.0)],
            Interval::Minute1,
        );
        assert_eq!(starts(&merged), [1, 2, 3, 5]);
        assert!((merged[1].close - 11.0).abs() < f64::EPSILON);
    }

    #[test]
    fn live_minutes_join_the_bucket_that_they_belong_to() {
        let gold = [Candle { window_end: 5 * MINUTE, ..minute(0, 10.0) }];
        let open = [minute(6, 13.0), minute(4, 12.0), minute(0, 99.0)];
        let merged = with_open(&gold, Some(0), &open, Interval::Minute5);
        assert_eq!(starts(&merged), [0, 5]);
        assert_eq!((merged[0].ticks, merged[0].window_end, merged[0].volume), (4, 5 * MINUTE, Some(2.0)));
        assert!(
            (merged[0].close - 12.0).abs() < f64::EPSILON && (merged[0].high - 13.0).abs() < f64::EPSILON
        );
        assert_eq!(merged[1].window_end, 10 * MINUTE);
    }

    #[test]
    fn the_largest_and_the_smallest_prices_make_no_nan() {
        let at = |price| Candle { high: price, low: price, ..minute(0, price) };
        let mut candle = at(f64::MAX);
        candle.absorb(&Candle { ticks: 3, ..at(f64::MAX) });
        assert!((candle.avg - f64::MAX).abs() < 1e293 && candle.avg <= f64::MAX, "{}", candle.avg);
        candle.absorb(&at(5e-324));
        assert!(candle.avg < f64::MAX && candle.avg > f64::MAX / 2.0);
        assert!(candle.change().is_finite() && candle.change_pct().is_finite());
        for (open, close) in [(5e-324, f64::MAX), (f64::MAX, 5e-324), (5e-324, 5e-324)] {
            let candle =
                Candle { open, close, high: open.max(close), low: open.min(close), ..minute(0, 1.0) };
            assert!(
                ![candle.change(), candle.change_pct(), candle.volatility_pct()].iter().any(|x| x.is_nan()),
                "{candle:?}"
            );
        }
    }
}
