//! Questions to the lake, answered by DuckDB on a thread of its own; the callers wait, the pipeline never does.
//!
//! Only files that can matter are handed to DuckDB: by partition date and by the statistics in the Delta log.
//! The SQL stands in `query/*.sql`.

use std::sync::Arc;

use crate::market::{Candle, Interval, Market, Micros};

/// Which market a question is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MarketFilter {
    /// The coin, as [`Market::coin_id`].
    pub coin_id: Arc<str>,
    /// Only this source; none: the preferred one if it has candles, else the one with the newest candle.
    pub source: Option<Arc<str>>,
    /// The quote currency, `usd` as a rule.
    pub quote: Arc<str>,
}

/// A question for candles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandleQuery {
    /// Of which market.
    pub market: MarketFilter,
    /// How wide.
    pub interval: Interval,
    /// At most so many, the newest; none: all.
    pub last: Option<usize>,
    /// Only candles that start before this time; none: up to the newest. For looking back in steps.
    pub before: Option<Micros>,
}

/// The answer to a [`CandleQuery`].
#[derive(Debug, Clone, PartialEq)]
pub struct CandleSeries {
    /// The market that was found; none where there are no candles.
    pub market: Option<Arc<Market>>,
    /// Candles that stand in gold, oldest first, no entry for a window without ticks. Open ones are the caller's to add.
    pub candles: Vec<Candle>,
    /// Number of candles of this width that the market has in gold, all told.
    pub total: u64,
}

/// One line of the market table. Changes in percent, against the price that long before the last one.
#[derive(Debug, Clone, PartialEq)]
pub struct MarketRow {
    /// The market.
    pub market: Arc<Market>,
    /// Ticker symbol as the source gives it, where known.
    pub symbol: Option<Arc<str>>,
    /// Last price.
    pub price: f64,
    /// Event time of the last tick.
    pub event_time: Micros,
    /// Change over a minute.
    pub change_1m: Option<f64>,
    /// Change over an hour.
    pub change_1h: Option<f64>,
    /// Change over a day: from our candles where they reach back that far, else what the source says.
    pub change_24h: Option<f64>,
    /// Volatility of the last closed minute, percent.
    pub volatility_1m: Option<f64>,
    /// Volatility of the last hour, `(max - min) / min * 100`, percent.
    pub volatility_1h: Option<f64>,
    /// Amount traded in 24 hours, in coins, where ticks are trades.
    pub volume_24h: Option<f64>,
    /// Closes of the last hour's minutes, oldest first.
    pub closes: Vec<f64>,
}
