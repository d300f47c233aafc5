//! Random streams of ticks with disorder, delays, repeats and invalid records; the seed determines them.

use std::fmt::Write as _;

use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;

/// Source, coin and quote currency.
pub(crate) type RefMarket = (&'static str, &'static str, &'static str);

/// A tick for the reference.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RefTick {
    pub(crate) market: RefMarket,
    /// Microseconds since the epoch.
    pub(crate) time: i64,
    pub(crate) price: f64,
    pub(crate) size: Option<f64>,
    pub(crate) trade: Option<i64>,
}

/// A line with the ticks and rejects that decoding it must give, each with its index in the record.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) ticks: Vec<(i32, RefTick)>,
    pub(crate) rejects: Vec<(i32, &'static str)>,
}

/// A seeded random generator.
pub(crate) struct Dice(Pcg64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Pcg64::seed_from_u64(seed))
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    fn time(&mut self, n: i64) -> i64 {
        i64::try_from(self.below(n.unsigned_abs())).unwrap()
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// 2025-05-12T23:50:00Z, so that streams cross midnight.
const START: i64 = 1_747_093_800 * SECOND;

/// Coin, quote currency and first price.
const MARKETS: [(&str, &str, f64); 5] = [
    ("bitcoin", "usd", 104_000.0),
    ("ethereum", "usd", 2_500.0),
    ("solana", "usd", 170.0),
    ("avalanche-2", "usd", 24.0),
    ("bitcoin", "eur", 93_000.0),
];

/// Lines without a tick, and the reason of their reject.
const JUNK: [(&str, &str); 12] = [
    ("", "blank"),
    ("{", "not JSON"),
    ("<html>error code: 1015</html>", "not JSON"),
    ("[]", "not an object"),
    ("null", "not an object"),
    (r#"{"coin_id":"bitcoin","price":null,"event_time":"2025-05-12T00:00:00Z"}"#, "price missing"),
    (r#"{"coin_id":"bitcoin","price":-1,"event_time":"2025-05-12T00:00:00Z"}"#, "price not positive"),
    (r#"{"coin_id":" ","price":1,"event_time":"2025-05-12T00:00:00Z"}"#, "coin_id missing"),
    (r#"{"coin_id":"bitcoin","price":1e400,"event_time":"2025-05-12T00:00:00Z"}"#, "price not finite"),
    (r#"{"coin_id":"bitcoin","price":1,"event_time":"yesterday"}"#, "event_time does not parse"),
    (r#"{"coin_id":"bitcoin","price":1,"event_time":"1999-01-01T00:00:00Z"}"#, "event_time out of range"),
    (r#"{"coin_id":"bitcoin","price":"n/a","event_time":"2025-05-12T00:00:00Z"}"#, "price is no number"),
];

fn rfc3339(micros: i64) -> String {
    chrono::DateTime::from_timestamp_micros(micros)
        .unwrap()
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// The tick as JSON, in one of several notations.
fn spell(tick: &RefTick, dice: &mut Dice) -> String {
    let (source, coin, quote) = tick.market;
    let coin = match dice.below(6) {
        0 => format!(" {} ", coin.to_uppercase()),
        _ => coin.to_owned(),
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
    let mut text = format!(r#"{{"source":"{source}","coin_id":"{coin}","price":{price},"event_time":{time}"#);
    if let Some(size) = tick.size {
        write!(text, r#","size":{size}"#).unwrap();
    }
    if let Some(trade) = tick.trade {
        let quoted = if dice.below(4) == 0 { "\"" } else { "" };
        write!(text, r#","trade_id":{quoted}{trade}{quoted}"#).unwrap();
    }
    match dice.below(4) {
        0 => write!(text, r#","quote":"{}""#, quote.to_uppercase()).unwrap(),
        _ if quote != "usd" => write!(text, r#","quote":"{quote}""#).unwrap(),
        _ => {}
    }
    if dice.below(8) == 0 {
        text += r#","unknown":{"nested":[1,null]}"#;
    }
    text + "}"
}

/// A record with a price history of which some points are rejects.
fn history(market: RefMarket, until: i64, price: f64, dice: &mut Dice) -> Line {
    let (source, coin, quote) = market;
    let mut line = Line { text: String::new(), ticks: Vec::new(), rejects: Vec::new() };
    let points = (0..3 + i32::try_from(dice.below(6)).unwrap()).map(|index| {
        let time = (until - dice.time(6 * HOUR)) / SECOND * SECOND;
        match dice.below(5) {
            0 => {
                line.rejects.push((index, "price missing"));
                format!("[{},null]", time / 1000)
            }
            1 => {
                line.rejects.push((index, "price not positive"));
                format!("[{},-1]", time / 1000)
            }
            2 => {
                line.rejects.push((index, "event_time out of range"));
                format!("[0,{price}]")
            }
            _ => {
                line.ticks.push((index, RefTick { market, time, price, size: None, trade: None }));
                format!("[{},{price}]", time / 1000)
            }
        }
    });
    let points = points.collect::<Vec<_>>().join(",");
    line.text = format!(r#"{{"source":"{source}","id":"{coin}","quote":"{quote}","prices":[{points}]}}"#);
    line
}

/// The parameters of a stream. Times are upper bounds, in microseconds of event time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamProfile {
    /// The source of its markets.
    pub(crate) source: &'static str,
    /// The first event time.
    pub(crate) start: i64,
    /// The number of lines, without repeats, invalid lines and histories.
    pub(crate) count: u64,
    /// `(n, time)`: one tick in `n` comes after a pause of up to `time`; the others follow each other within
    /// 1.5 s.
    pub(crate) pauses: Option<(u64, i64)>,
    /// One tick in fifty is late by up to this, five by up to a tenth of it, the others by up to 20 s.
    pub(crate) late: i64,
    /// One tick in twelve is repeated after one of these times.
    pub(crate) repeats: &'static [i64],
    /// The largest step of a price, in millionths of it.
    pub(crate) step: u64,
    /// Whether there are records with price histories.
    pub(crate) histories: bool,
}

impl StreamProfile {
    /// About 20 minutes of steady ticks, late by up to an hour.
    pub(crate) const HOURS: Self = Self {
        source: "test",
        start: START,
        count: 1_500,
        pauses: None,
        late: HOUR,
        repeats: &[0, MINUTE, 400 * SECOND, 9_000 * SECOND],
        step: 1_000,
        histories: false,
    };
    /// Bursts over three to five days; ticks are late by hours and repeated after days.
    pub(crate) const DAYS: Self = Self {
        source: "test",
        start: START,
        count: 2_400,
        pauses: Some((40, 3 * HOUR)),
        late: 30 * HOUR,
        repeats: &[0, MINUTE, 150 * MINUTE, 26 * HOUR, 70 * HOUR],
        step: 100,
        histories: true,
    };

    /// The stream of a seed: disorder, equal times, late ticks, repeats in another notation, invalid lines.
    pub(crate) fn stream(self, seed: u64) -> Vec<Line> {
        let mut dice = Dice::new(seed);
        let mut prices = MARKETS.map(|(_, _, price)| price);
        let mut lines: Vec<(i64, Line)> = Vec::new();
        let mut now = self.start;
        for n in 0..self.count {
            now += match self.pauses {
                Some((every, pause)) if dice.below(every) == 0 => dice.time(pause),
                _ => dice.time(1_500_000),
            };
            let i = usize::try_from(dice.below(MARKETS.len() as u64)).unwrap();
            let step = (dice.below(2 * self.step + 1) as f64 - self.step as f64) / 1_000_000.0;
            prices[i] = ((prices[i] * (1.0 + step)) * 1000.0).round() / 1000.0;
            let market = (self.source, MARKETS[i].0, MARKETS[i].1);
            let tick = RefTick {
                market,
                // Milliseconds, often the same one for several trades.
                time: now / SECOND * SECOND + dice.time(3) * 1000,
                price: prices[i],
                size: (dice.below(3) > 0).then(|| dice.below(1000) as f64 / 8.0),
                trade: (dice.below(4) > 0).then(|| i64::try_from(1_000_000 - n).unwrap()),
            };
            let arrival = now
                + match dice.below(50) {
                    0 => dice.time(self.late),
                    1..=5 => dice.time(self.late / 10),
                    _ => dice.time(20 * SECOND),
                };
            let one = |dice: &mut Dice| Line {
                text: spell(&tick, dice),
                ticks: vec![(0, tick.clone())],
                rejects: Vec::new(),
            };
            lines.push((arrival, one(&mut dice)));
            if dice.below(12) == 0 {
                lines.push((arrival + dice.pick(self.repeats), one(&mut dice)));
            }
            if dice.below(30) == 0 {
                let (text, why) = dice.pick(&JUNK);
                lines.push((
                    arrival,
                    Line { text: text.to_owned(), ticks: Vec::new(), rejects: vec![(0, why)] },
                ));
            }
            if self.histories && dice.below(60) == 0 {
                lines.push((arrival, history(market, now, prices[i], &mut dice)));
            }
        }
        lines.sort_by_key(|(arrival, _)| *arrival);
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

/// About `count` lines of [`StreamProfile::HOURS`].
pub(crate) fn random(seed: u64, count: u64) -> Vec<Line> {
    StreamProfile { count, ..StreamProfile::HOURS }.stream(seed)
}

/// The lines as the content of a file.
pub(crate) fn text(lines: &[Line]) -> String {
    lines.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect()
}
