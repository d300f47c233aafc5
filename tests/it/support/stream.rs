//! Made-up streams with all that a bad network does to them, and a plain reference of what the tables must hold.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;

/// A tick as the reference knows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RefTick {
    pub(crate) coin: &'static str,
    /// Microseconds since the epoch.
    pub(crate) time: i64,
    pub(crate) price: f64,
    pub(crate) size: Option<f64>,
    pub(crate) trade: Option<i64>,
}

/// A line and what it says: a tick, or nothing valid.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) tick: Option<RefTick>,
}

/// A seeded source of choices.
pub(crate) struct Dice(Pcg64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Pcg64::seed_from_u64(seed))
    }

    /// A whole number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

const COINS: [&str; 4] = ["bitcoin", "ethereum", "solana", "avalanche-2"];
/// 2025-05-12T23:50:00Z, so that streams cross midnight.
const START: i64 = 1_747_093_800_000_000;
const JUNK: [&str; 12] = [
    "",
    "{",
    "<html>error code: 1015</html>",
    "[]",
    "null",
    r#"{"coin_id":"bitcoin","price":null,"event_time":"2025-05-12T00:00:00Z"}"#,
    r#"{"coin_id":"bitcoin","price":-1,"event_time":"2025-05-12T00:00:00Z"}"#,
    r#"{"coin_id":" ","price":1,"event_time":"2025-05-12T00:00:00Z"}"#,
    r#"{"coin_id":"bitcoin","price":1e400,"event_time":"2025-05-12T00:00:00Z"}"#,
    r#"{"coin_id":"bitcoin","price":1,"event_time":"yesterday"}"#,
    r#"{"coin_id":"bitcoin","price":1,"event_time":"1999-01-01T00:00:00Z"}"#,
    r#"{"coin_id":"bitcoin","price":"n/a","event_time":"2025-05-12T00:00:00Z"}"#,
];

fn rfc3339(micros: i64) -> String {
    chrono::DateTime::from_timestamp_micros(micros).unwrap().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// The tick as text, in one of several spellings.
fn spell(tick: &RefTick, dice: &mut Dice) -> String {
    let coin = match dice.below(6) {
        0 => format!(" {} ", tick.coin.to_uppercase()),
        _ => tick.coin.to_owned(),
    };
    let price = match dice.below(4) {
        0 => format!("\"{}\"", tick.price),
        _ => format!("{}", tick.price),
    };
    let time = match dice.below(5) {
        0 => (tick.time / 1000).to_string(),
        1 => tick.time.to_string(),
        2 => format!("{:?}", (tick.time / 1000) as f64 / 1000.0),
        3 => format!("\"{}\"", rfc3339(tick.time).replace('Z', "+00:00")),
        _ => format!("\"{}\"", rfc3339(tick.time)),
    };
    let mut text = format!(r#"{{"source":"test","coin_id":"{coin}","price":{price},"event_time":{time}"#);
    if let Some(size) = tick.size {
        write!(text, r#","size":{size}"#).unwrap();
    }
    if let Some(trade) = tick.trade {
        write!(text, r#","trade_id":{trade}"#).unwrap();
    }
    if dice.below(8) == 0 {
        text += r#","unknown":{"nested":[1,null]}"#;
    }
    text + "}"
}

/// About `count` lines: disorder, ties, lateness, repeats (at once and much later, spelled anew), junk.
pub(crate) fn random(seed: u64, count: u64) -> Vec<Line> {
    let mut dice = Dice::new(seed);
    let mut prices = [104_000.0, 2_500.0, 170.0, 24.0];
    let mut lines: Vec<(i64, Line)> = Vec::new();
    let mut now = START;
    for n in 0..count {
        now += i64::try_from(dice.below(1_500_000)).unwrap();
        let i = usize::try_from(dice.below(4)).unwrap();
        let step = (dice.below(2001) as f64 - 1000.0) / 1_000_000.0;
        prices[i] = ((prices[i] * (1.0 + step)) * 1000.0).round() / 1000.0;
        // Milliseconds, often the same one for several trades.
        let time = now / 1_000_000 * 1_000_000 + i64::try_from(dice.below(3)).unwrap() * 1000;
        let tick = RefTick {
            coin: COINS[i],
            time,
            price: prices[i],
            size: (dice.below(3) > 0).then(|| dice.below(1000) as f64 / 8.0),
            trade: (dice.below(4) > 0).then(|| i64::try_from(1_000_000 - n).unwrap()),
        };
        // When it arrives: up to 20 s late, now and then minutes or an hour.
        let delay = match dice.below(50) {
            0 => dice.below(3_600_000_000),
            1..=5 => dice.below(200_000_000),
            _ => dice.below(20_000_000),
        };
        let arrival = now + i64::try_from(delay).unwrap();
        lines.push((arrival, Line { text: spell(&tick, &mut dice), tick: Some(tick.clone()) }));
        if dice.below(12) == 0 {
            let again = arrival + dice.pick(&[0, 60_000_000, 400_000_000, 9_000_000_000]);
            lines.push((again, Line { text: spell(&tick, &mut dice), tick: Some(tick) }));
        }
        if dice.below(30) == 0 {
            lines.push((arrival, Line { text: dice.pick(&JUNK).to_owned(), tick: None }));
        }
    }
    lines.sort_by_key(|(arrival, _)| *arrival);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// The lines as a file's content.
pub(crate) fn text(lines: &[Line]) -> String {
    lines.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect()
}

/// A candle as the reference computes it: open, high, low, close, ticks, and its terms in canonical order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RefCandle {
    pub(crate) open: f64,
    pub(crate) high: f64,
    pub(crate) low: f64,
    pub(crate) close: f64,
    pub(crate) ticks: i64,
    pub(crate) volume: Option<f64>,
}

/// What silver, quarantine and gold must hold.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) ticks: u64,
    pub(crate) duplicates: u64,
    pub(crate) rejected: u64,
    /// By coin and start of the minute.
    pub(crate) candles: BTreeMap<(String, i64), RefCandle>,
}

/// A tick behind what orders it: time, trade number, offset.
type Placed<'a> = (i64, Option<i64>, usize, &'a RefTick);

/// The plain reference: everything at once, in memory, sorted.
pub(crate) fn expected(lines: &[Line]) -> Expected {
    let mut expected = Expected::default();
    let mut seen = HashSet::new();
    let mut minutes: BTreeMap<(String, i64), Vec<Placed<'_>>> = BTreeMap::new();
    for (offset, line) in lines.iter().enumerate() {
        let Some(tick) = &line.tick else {
            expected.rejected += 1;
            continue;
        };
        if !seen.insert((tick.coin, tick.time, tick.trade, tick.price.to_bits(), tick.size.map(f64::to_bits))) {
            expected.duplicates += 1;
            continue;
        }
        expected.ticks += 1;
        let minute = tick.time.div_euclid(60_000_000) * 60_000_000;
        minutes.entry((tick.coin.to_owned(), minute)).or_default().push((tick.time, tick.trade, offset, tick));
    }
    for (key, mut ticks) in minutes {
        ticks.sort_by_key(|(time, trade, offset, _)| (*time, *trade, *offset));
        let prices = || ticks.iter().map(|t| t.3.price);
        // Sizes are eighths and small: their sum is exact in any order.
        let sizes: Vec<f64> = ticks.iter().filter_map(|t| t.3.size).collect();
        let candle = RefCandle {
            open: ticks[0].3.price,
            close: ticks[ticks.len() - 1].3.price,
            high: prices().fold(f64::MIN, f64::max),
            low: prices().fold(f64::MAX, f64::min),
            ticks: i64::try_from(ticks.len()).unwrap(),
            volume: (!sizes.is_empty()).then(|| sizes.iter().sum()),
        };
        expected.candles.insert(key, candle);
    }
    expected
}
