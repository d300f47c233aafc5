//! A candle: the ticks of one market in one window, summed up.

use serde::{Deserialize, Serialize};

use super::Micros;

/// Open, high, low and close of one window. Prices in quote currency; percentages are of 100.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candle {
    /// Start of the window, inclusive.
    pub window_start: Micros,
    /// End of the window, exclusive.
    pub window_end: Micros,
    /// Price of the first tick.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Price of the last tick.
    pub close: f64,
    /// Plain mean of the ticks' prices.
    pub avg: f64,
    /// Sum of the ticks' sizes, in coins; none where no tick has one.
    pub volume: Option<f64>,
    /// Number of ticks.
    pub ticks: i64,
    /// Whether the window is closed (stands in gold) or still gathers ticks.
    pub closed: bool,
}

impl Candle {
    /// `close - open`.
    #[must_use]
    pub fn change(&self) -> f64 {
        self.close - self.open
    }

    /// `(close - open) / open * 100`.
    #[must_use]
    pub fn change_pct(&self) -> f64 {
        (self.close - self.open) / self.open * 100.0
    }

    /// `(high - low) / low * 100`.
    #[must_use]
    pub fn volatility_pct(&self) -> f64 {
        (self.high - self.low) / self.low * 100.0
    }

    /// Takes in a candle of the same bucket that starts no earlier than what this one holds.
    pub fn absorb(&mut self, later: &Self) {
        #[expect(clippy::cast_precision_loss, reason = "tick counts stay far below 2^52")]
        let (mine, theirs) = (self.ticks as f64, later.ticks as f64);
        self.avg = (self.avg * mine + later.avg * theirs) / (mine + theirs);
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
