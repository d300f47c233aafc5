//! A reference implementation of the tables after a replay: all in memory, and without any code of the program.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::stream::{Line, RefMarket, RefTick};
use super::tables::{NULL, Row, instant};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
/// Delay of a market's watermark behind its newest tick.
const GRACE: i64 = 30 * SECOND;
/// The default rule: the volatility must exceed this many percent, a market has no alerts for this long after
/// one, and a candle must close within this time after its end.
const THRESHOLD: f64 = 0.02;
const COOL_DOWN: i64 = 5 * MINUTE;
const MAX_AGE: i64 = 300 * SECOND;

/// What the tables must hold: sorted rows of the columns in the constant that each field names.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) duplicates: u64,
    /// [`SILVER`].
    pub(crate) silver: Vec<Row>,
    /// [`QUARANTINE`].
    pub(crate) quarantine: Vec<Row>,
    /// [`GOLD`].
    pub(crate) gold: Vec<Row>,
    /// [`ALERTS`].
    pub(crate) alerts: Vec<Row>,
}

pub(crate) const SILVER: [&str; 10] =
    ["source", "coin_id", "quote", "event_time", "price", "size", "trade_id", "sequence", "offset", "index"];
pub(crate) const QUARANTINE: [&str; 4] = ["offset", "index", "reason", "value"];
pub(crate) const GOLD: [&str; 15] = [
    "source",
    "coin_id",
    "quote",
    "window_start",
    "window_end",
    "open_price",
    "max_price",
    "min_price",
    "close_price",
    "avg_price",
    "volume",
    "tick_count",
    "volatility_pct",
    "first_event_time",
    "last_event_time",
];
pub(crate) const ALERTS: [&str; 9] = [
    "source",
    "coin_id",
    "quote",
    "window_start",
    "volatility",
    "avg_price",
    "min_price",
    "max_price",
    "threshold",
];

/// A tick: the fields that order it (time, trade id, offset, index in the record), then price and size.
type Placed = (i64, Option<i64>, usize, i32, f64, Option<f64>);

/// The exact sum, rounded once: prices and sizes in tests are multiples of 2^-60, and the sum of a minute of
/// them fits 128 bits.
#[expect(clippy::cast_possible_truncation, reason = "far below 2^127")]
fn sum(terms: impl Iterator<Item = f64>) -> f64 {
    let unit = 2_f64.powi(60);
    let whole: i128 = terms
        .map(|term| {
            assert!((term * unit).fract() == 0.0, "{term} is too fine for the reference");
            (term * unit) as i128
        })
        .sum();
    whole as f64 / unit
}

/// The ticks of a window, in order, and their aggregates.
struct Sums {
    ticks: Vec<Placed>,
}

impl Sums {
    fn new(mut ticks: Vec<Placed>) -> Self {
        ticks.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
        Self { ticks }
    }

    fn prices(&self) -> impl Iterator<Item = f64> {
        self.ticks.iter().map(|tick| tick.4)
    }

    fn high(&self) -> f64 {
        self.prices().fold(f64::MIN, f64::max)
    }

    fn low(&self) -> f64 {
        self.prices().fold(f64::MAX, f64::min)
    }

    fn avg(&self) -> f64 {
        sum(self.prices()) / self.ticks.len() as f64
    }

    fn volume(&self) -> Option<f64> {
        let sizes: Vec<f64> = self.ticks.iter().filter_map(|tick| tick.5).collect();
        (!sizes.is_empty()).then(|| sum(sizes.into_iter()))
    }

    fn volatility(&self) -> f64 {
        (self.high() - self.low()) / self.low() * 100.0
    }
}

fn double(x: f64) -> String {
    format!("{x:?}")
}

fn option(x: Option<impl ToString>) -> String {
    x.map_or_else(|| NULL.to_owned(), |x| x.to_string())
}

/// A row that starts with the columns of the market.
fn named(market: RefMarket, cells: impl IntoIterator<Item = String>) -> Row {
    [market.0, market.1, market.2].map(str::to_owned).into_iter().chain(cells).collect()
}

fn candle(market: RefMarket, start: i64, sums: &Sums) -> Row {
    let (first, last) = (sums.ticks[0], sums.ticks[sums.ticks.len() - 1]);
    let cells = [
        instant(start),
        instant(start + MINUTE),
        double(first.4),
        double(sums.high()),
        double(sums.low()),
        double(last.4),
        double(sums.avg()),
        option(sums.volume().map(double)),
        sums.ticks.len().to_string(),
        double(sums.volatility()),
        instant(first.0),
        instant(last.0),
    ];
    named(market, cells)
}

/// The state of a market while the stream is read, for the alerts.
#[derive(Default)]
struct Open {
    watermark: Option<i64>,
    windows: BTreeMap<i64, Vec<Placed>>,
    alerted: Option<i64>,
}

impl Open {
    /// Adds a tick and judges the windows that it closes.
    fn add(&mut self, market: RefMarket, start: i64, placed: Placed, alerts: &mut Vec<Row>) {
        if self.watermark.is_none_or(|watermark| start + MINUTE > watermark) {
            self.windows.entry(start).or_default().push(placed);
        }
        let watermark = placed.0 - GRACE;
        if self.watermark.is_none_or(|before| before < watermark) {
            self.watermark = Some(watermark);
            let open = self.windows.split_off(&(watermark - MINUTE + 1));
            for (start, ticks) in std::mem::replace(&mut self.windows, open) {
                self.judge(market, start, ticks, placed.0, alerts);
            }
        }
    }

    /// Closes every window at its end, as the end of a finite source does.
    fn finish(&mut self, market: RefMarket, alerts: &mut Vec<Row>) {
        for (start, ticks) in std::mem::take(&mut self.windows) {
            self.judge(market, start, ticks, start + MINUTE, alerts);
        }
    }

    fn judge(
        &mut self,
        market: RefMarket,
        start: i64,
        ticks: Vec<Placed>,
        closed_at: i64,
        alerts: &mut Vec<Row>,
    ) {
        let sums = Sums::new(ticks);
        let cooling = self.alerted.is_some_and(|alerted| start - alerted < COOL_DOWN);
        if sums.volatility() > THRESHOLD && closed_at - (start + MINUTE) <= MAX_AGE && !cooling {
            self.alerted = Some(start);
            let cells = [sums.volatility(), sums.avg(), sums.low(), sums.high(), THRESHOLD].map(double);
            alerts.push(named(market, std::iter::once(instant(start)).chain(cells)));
        }
    }
}

fn tick(tick: &RefTick, offset: usize, index: i32) -> Row {
    let trade = option(tick.trade);
    let cells = [instant(tick.time), double(tick.price), option(tick.size.map(double)), trade.clone(), trade];
    named(tick.market, cells.into_iter().chain([offset.to_string(), index.to_string()]))
}

/// What the tables must hold after a replay of these lines to its end.
pub(crate) fn expected(lines: &[Line]) -> Expected {
    let mut expected = Expected::default();
    let mut seen = HashSet::new();
    let mut windows: BTreeMap<(RefMarket, i64), Vec<Placed>> = BTreeMap::new();
    let mut markets: HashMap<RefMarket, Open> = HashMap::new();
    for (offset, line) in lines.iter().enumerate() {
        for (n, (index, reason)) in line.rejects.iter().enumerate() {
            let value = if n == 0 { line.text.as_str() } else { NULL };
            expected.quarantine.push(vec![
                offset.to_string(),
                index.to_string(),
                (*reason).to_owned(),
                value.to_owned(),
            ]);
        }
        for (index, t) in &line.ticks {
            if !seen.insert((t.market, t.time, t.trade, t.price.to_bits(), t.size.map(f64::to_bits))) {
                expected.duplicates += 1;
                continue;
            }
            expected.silver.push(tick(t, offset, *index));
            let placed = (t.time, t.trade, offset, *index, t.price, t.size);
            let start = t.time.div_euclid(MINUTE) * MINUTE;
            windows.entry((t.market, start)).or_default().push(placed);
            markets.entry(t.market).or_default().add(t.market, start, placed, &mut expected.alerts);
        }
    }
    for (market, open) in &mut markets {
        open.finish(*market, &mut expected.alerts);
    }
    expected.gold = windows
        .into_iter()
        .map(|((market, start), ticks)| candle(market, start, &Sums::new(ticks)))
        .collect();
    let tables = [&mut expected.silver, &mut expected.quarantine, &mut expected.gold, &mut expected.alerts];
    tables.into_iter().for_each(|rows| rows.sort_unstable());
    expected
}
