//! One-minute windows: aggregation that does not depend on the order of arrival, watermarks, and closing.
//!
//! Everything here is a function of the ticks in position order and of the clock's instants that are passed
//! in between them: however ticks are batched, the same windows close at the same ticks and instants with the
//! same values.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::sum::ExactSum;
use super::time;
use super::{Candle, MINUTE, Market, Micros, SECOND, Sequence, Stream, Tick, Ticks};

/// How far a market's watermark stays behind its newest tick.
pub const GRACE: Micros = 30 * SECOND;
/// When no tick of a market has come in for this long, the clock moves its watermark.
pub const IDLE: Micros = 90 * SECOND;

/// The rank of a tick among all ticks of its market: by event time, then the trade's number, then the
/// position.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub event_time: Micros,
    /// The trade's number; ticks without one come first.
    pub sequence: Option<Sequence>,
    pub stream: Arc<Stream>,
    pub offset: i64,
    /// Number of the tick in its record.
    pub index: i32,
}

impl Place {
    pub fn of(stream: &Arc<Stream>, tick: &Tick) -> Self {
        Self {
            event_time: tick.event_time,
            sequence: tick.trade_id.as_ref().and_then(super::TradeId::sequence),
            stream: Arc::clone(stream),
            offset: tick.offset,
            index: tick.index,
        }
    }
}

/// Start of the window that holds `time`.
pub const fn window_start(time: Micros) -> Micros {
    time::floor(time, MINUTE)
}

/// The ticks of one market in one minute.
#[derive(Debug, Clone)]
pub struct Window {
    start: Micros,
    first: Place,
    last: Place,
    open: f64,
    close: f64,
    high: f64,
    low: f64,
    prices: ExactSum,
    sizes: Option<ExactSum>,
    ticks: i64,
    /// Lowest offset of each stream.
    lowest: Vec<(Arc<Stream>, i64)>,
}

impl Window {
    /// A window with one tick.
    pub fn new(place: Place, price: f64, size: Option<f64>) -> Self {
        let mut window = Self {
            start: window_start(place.event_time),
            first: place.clone(),
            last: place.clone(),
            open: price,
            close: price,
            high: price,
            low: price,
            prices: ExactSum::default(),
            sizes: None,
            ticks: 0,
            lowest: Vec::with_capacity(1),
        };
        window.add(place, price, size);
        window
    }

    /// Adds a tick of this minute; the order does not matter.
    pub fn add(&mut self, place: Place, price: f64, size: Option<f64>) {
        match self.lowest.iter_mut().find(|(stream, _)| *stream == place.stream) {
            Some((_, lowest)) => *lowest = place.offset.min(*lowest),
            None => self.lowest.push((Arc::clone(&place.stream), place.offset)),
        }
        self.high = self.high.max(price);
        self.low = self.low.min(price);
        self.prices.add(price);
        if let Some(size) = size {
            self.sizes.get_or_insert_default().add(size);
        }
        self.ticks += 1;
        if place >= self.last {
            (self.last, self.close) = (place, price);
        } else if place < self.first {
            (self.first, self.open) = (place, price);
        }
    }

    pub fn candle(&self, closed: bool) -> Candle {
        Candle {
            window_start: self.start,
            window_end: self.start + MINUTE,
            open: self.open,
            high: self.high,
            low: self.low,
            close: self.close,
            avg: self.prices.mean(self.ticks),
            volume: self.sizes.as_ref().map(ExactSum::value),
            ticks: self.ticks,
            closed,
        }
    }

    /// The window as a row of gold.
    pub fn row(&self, market: &Arc<Market>, closed_at: Micros, closed_in: i64) -> ClosedCandle {
        ClosedCandle {
            market: Arc::clone(market),
            candle: self.candle(true),
            first_event_time: self.first.event_time,
            last_event_time: self.last.event_time,
            closed_at,
            closed_in,
        }
    }
}

/// A row of gold: a closed candle, and when it was closed.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosedCandle {
    pub market: Arc<Market>,
    pub candle: Candle,
    /// Event time of its first tick.
    pub first_event_time: Micros,
    /// Event time of its last tick.
    pub last_event_time: Micros,
    /// Event time of the tick that closed it; the clock's time if the market was silent; the window's end if
    /// the source had ended.
    pub closed_at: Micros,
    /// Version of gold's commit that first wrote it.
    pub closed_in: i64,
}

impl ClosedCandle {
    /// Whether both have the same sums, to the last bit; `closed_at` and `closed_in` are not compared.
    pub fn same_sums(&self, other: &Self) -> bool {
        let bits = |row: &Self| {
            let c = &row.candle;
            let prices = [c.open, c.high, c.low, c.close, c.avg].map(f64::to_bits);
            (
                prices,
                c.volume.map(f64::to_bits),
                c.ticks,
                c.window_start,
                row.first_event_time,
                row.last_event_time,
            )
        };
        self.market == other.market && bits(self) == bits(other)
    }

    /// Market and window start, which identify the row.
    pub fn key(&self) -> (Arc<Market>, Micros) {
        (Arc::clone(&self.market), self.candle.window_start)
    }
}

/// What adding ticks or moving the clock did to the windows.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Windows that closed, as they were at that moment, in closing order (`closed_in` not yet known: 0).
    pub closed: Vec<ClosedCandle>,
    /// Windows behind the watermark that got a tick, with the event time that closes them if they are new.
    pub late: BTreeMap<(Arc<Market>, Micros), Micros>,
}

impl Outcome {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.late.is_empty()
    }
}

/// The newest tick of a market.
#[derive(Debug, Clone)]
pub struct Latest {
    place: Place,
    pub price: f64,
    /// Ticker symbol, from the newest tick that has one.
    pub symbol: Option<Arc<str>>,
    /// Traded value of 24 hours in quote currency, from the newest tick that has one.
    pub volume_24h: Option<f64>,
    /// Change over 24 hours, percent, that the source gave with this tick.
    pub change_24h: Option<f64>,
}

impl Latest {
    /// Event time of the tick.
    pub fn event_time(&self) -> Micros {
        self.place.event_time
    }
}

#[derive(Debug)]
struct Open {
    /// Windows that end at or before this are closed.
    watermark: Micros,
    latest: Option<Latest>,
    windows: BTreeMap<Micros, Window>,
    /// Newest `ingested_at` of its ticks; moves with the watermark while the market is silent.
    last_seen: Micros,
}

impl Open {
    fn new(watermark: Micros) -> Self {
        Self { watermark, latest: None, windows: BTreeMap::new(), last_seen: Micros::MIN }
    }

    fn close(
        &mut self,
        market: &Arc<Market>,
        closed_at: impl Fn(&Window) -> Micros,
        into: &mut Vec<ClosedCandle>,
    ) {
        while let Some(entry) = self.windows.first_entry() {
            if entry.get().start + MINUTE > self.watermark {
                break;
            }
            let window = entry.remove();
            into.push(window.row(market, closed_at(&window), 0));
        }
    }
}

/// The open windows of all markets, and how far each stream was read.
#[derive(Debug, Default)]
pub struct Windows {
    markets: HashMap<Arc<Market>, Open, foldhash::fast::RandomState>,
    read: BTreeMap<Arc<Stream>, i64>,
}

impl Windows {
    /// Whether the market was added, by a tick or by [`Self::resume`].
    pub fn knows(&self, market: &Market) -> bool {
        self.markets.contains_key(market)
    }

    /// Adds a market whose windows up to `newest_end` are in gold, so they are closed.
    pub fn resume(&mut self, market: Arc<Market>, newest_end: Option<Micros>) {
        self.markets.entry(market).or_insert_with(|| Open::new(newest_end.unwrap_or(Micros::MIN)));
    }

    /// Another process has closed a market's windows up to `end`: drops them, so that their ticks are late.
    pub fn close_until(&mut self, market: &Market, end: Micros) {
        if let Some(open) = self.markets.get_mut(market) {
            open.watermark = open.watermark.max(end);
            open.windows.retain(|start, _| start + MINUTE > end);
        }
    }

    /// The last offset of a stream that was read.
    pub fn read_to(&self, stream: &Stream) -> Option<i64> {
        self.read.get(stream).copied()
    }

    /// Adds a batch of one stream, read up to offset `last`. Ticks that were added before are skipped.
    pub fn add(&mut self, stream: &Arc<Stream>, batch: &Ticks, last: i64) -> Outcome {
        let mut outcome = Outcome::default();
        let read_to = self.read_to(stream).unwrap_or(i64::MIN);
        // One look-up per market and batch, not one per tick.
        let mut opens: Vec<Option<Open>> = batch.markets.iter().map(|_| None).collect();
        for tick in batch.ticks.iter().filter(|tick| tick.offset > read_to) {
            let market = batch.market(tick);
            let open = opens[tick.market as usize]
                .get_or_insert_with(|| self.markets.remove(market).unwrap_or_else(|| Open::new(Micros::MIN)));
            open.last_seen = open.last_seen.max(tick.ingested_at);
            let place = Place::of(stream, tick);
            let start = window_start(tick.event_time);
            if start + MINUTE <= open.watermark {
                outcome
                    .late
                    .entry((Arc::clone(market), start))
                    .or_insert(open.watermark.saturating_add(GRACE));
            } else if let Some(window) = open.windows.get_mut(&start) {
                window.add(place.clone(), tick.price, tick.size);
            } else {
                open.windows.insert(start, Window::new(place.clone(), tick.price, tick.size));
            }
            if open.latest.as_ref().is_none_or(|latest| latest.place <= place) {
                let before = open.latest.take();
                let details = tick.details.as_deref();
                open.latest = Some(Latest {
                    price: tick.price,
                    symbol: details
                        .and_then(|d| d.symbol.clone())
                        .or_else(|| before.as_ref()?.symbol.clone()),
                    volume_24h: details.and_then(|d| d.volume_24h).or_else(|| before.as_ref()?.volume_24h),
                    // Not from an older tick: the change belongs to that tick's price.
                    change_24h: details.and_then(|d| d.price_change_pct_24h),
                    place,
                });
                if tick.event_time - GRACE > open.watermark {
                    open.watermark = tick.event_time - GRACE;
                    open.close(market, |_| tick.event_time, &mut outcome.closed);
                }
            }
        }
        for (market, open) in batch.markets.iter().zip(opens) {
            if let Some(open) = open {
                self.markets.insert(Arc::clone(market), open);
            }
        }
        let read = self.read.entry(Arc::clone(stream)).or_insert(last);
        *read = last.max(*read);
        outcome
    }

    /// Moves the watermarks of silent markets with the clock: each by the time by which `clock` is more than
    /// [`IDLE`] after its newest tick came in, or after `since`, when the source started to deliver
    /// ([`Micros::MIN`] if that does not matter).
    ///
    /// All ticks that came in up to `clock` must have been added: otherwise a window could close while its
    /// ticks are waiting.
    pub fn idle(&mut self, clock: Micros, since: Micros) -> Outcome {
        let mut outcome = Outcome::default();
        for (market, open) in self.markets.iter_mut().filter(|(_, open)| !open.windows.is_empty()) {
            let silent = clock.saturating_sub(open.last_seen.max(since)).saturating_sub(IDLE);
            if silent > 0 {
                open.last_seen = clock - IDLE;
                open.watermark = open.watermark.saturating_add(silent);
                open.close(market, |_| clock, &mut outcome.closed);
            }
        }
        outcome
    }

    /// Closes all windows because the source has ended, each with its end as `closed_at`.
    pub fn finish(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        for (market, open) in &mut self.markets {
            if let Some(end) = open.windows.keys().next_back().map(|start| start + MINUTE) {
                open.watermark = open.watermark.max(end);
                open.close(market, |window| window.start + MINUTE, &mut outcome.closed);
            }
        }
        outcome
    }

    /// The highest offset of each stream at or below which every tick is in a closed window.
    pub fn positions(&self) -> BTreeMap<Arc<Stream>, i64> {
        let mut positions = self.read.clone();
        for (stream, lowest) in
            self.markets.values().flat_map(|open| open.windows.values()).flat_map(|window| &window.lowest)
        {
            if let Some(position) = positions.get_mut(stream) {
                *position = (lowest - 1).min(*position);
            }
        }
        positions
    }

    /// The markets with a tick so far, ordered, each with its newest tick and its open candles, oldest first.
    pub fn live(&self) -> Vec<(Arc<Market>, Latest, Vec<Candle>)> {
        let live = self.markets.iter().filter_map(|(market, open)| {
            let candles = open.windows.values().map(|window| window.candle(false)).collect();
            Some((Arc::clone(market), open.latest.clone()?, candles))
        });
        let mut live: Vec<_> = live.collect();
        live.sort_by(|a, b| a.0.cmp(&b.0));
        live
    }
}

/// The rows of a set of windows, from any ticks of them in any order.
#[derive(Debug, Default)]
pub struct Aggregation {
    windows: BTreeMap<(Arc<Market>, Micros), Window>,
}

impl Aggregation {
    pub fn add(&mut self, market: &Arc<Market>, place: Place, price: f64, size: Option<f64>) {
        match self.windows.get_mut(&(Arc::clone(market), window_start(place.event_time))) {
            Some(window) => window.add(place, price, size),
            None => {
                self.windows.insert(
                    (Arc::clone(market), window_start(place.event_time)),
                    Window::new(place, price, size),
                );
            }
        }
    }

    /// The windows, ordered by (market, start).
    pub fn windows(self) -> BTreeMap<(Arc<Market>, Micros), Window> {
        self.windows
    }
}

#[cfg(test)]
mod tests;
