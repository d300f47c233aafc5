//! Windows against a naive reference: random ticks, batches and clock instants.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::market::TradeId;

const MARKETS: usize = 3;
/// 2025-05-12T00:00:00Z.
const START: Micros = 1_747_008_000_000_000;

/// A generated tick: market, seconds since the previous tick came in, seconds from its event to its arrival,
/// trade number, price.
type Drawn = (usize, i64, i64, Option<i64>, u32);

fn ticks() -> impl Strategy<Value = Vec<Drawn>> {
    let delay = prop_oneof![6 => 0i64..40, 2 => 0i64..400, 1 => -200i64..0];
    let pause = prop_oneof![8 => 0i64..20, 1 => 0i64..300];
    prop::collection::vec((0..MARKETS, pause, delay, prop::option::of(0i64..5), 1u32..1000), 1..120)
}

fn markets() -> Arc<Vec<Arc<Market>>> {
    Arc::new((0..MARKETS).map(|n| Arc::new(Market::new("s", &format!("coin-{n}"), "usd"))).collect())
}

/// The ticks in position order: one per record, offsets from 0.
fn stream(drawn: &[Drawn]) -> Vec<Tick> {
    let mut clock = START;
    let ticks = drawn.iter().enumerate().map(|(n, (market, pause, delay, trade, price))| {
        clock += pause * SECOND;
        Tick {
            market: u32::try_from(*market).unwrap(),
            index: 0,
            offset: n as i64,
            event_time: clock - delay * SECOND,
            price: f64::from(*price),
            size: price.is_multiple_of(2).then_some(f64::from(price / 2)),
            trade_id: trade.map(TradeId::Number),
            details: None,
            ingested_at: clock,
        }
    });
    ticks.collect()
}

fn batch(ticks: &[Tick]) -> Ticks {
    Ticks { markets: markets(), ticks: ticks.to_vec() }
}

/// The candle of some ticks, computed from all of them at once: open, high, low, close, average, volume,
/// number.
fn candle(ticks: &[&Tick]) -> (f64, f64, f64, f64, f64, Option<f64>, i64) {
    let mut sorted = ticks.to_vec();
    sorted.sort_by_key(|t| {
        (t.event_time, t.trade_id.as_ref().map(|id| id.to_string().parse::<i64>().unwrap()), t.offset)
    });
    let prices: Vec<f64> = sorted.iter().map(|t| t.price).collect();
    let sizes: Vec<f64> = sorted.iter().filter_map(|t| t.size).collect();
    let (high, low) =
        (prices.iter().copied().fold(f64::MIN, f64::max), prices.iter().copied().fold(f64::MAX, f64::min));
    let volume = (!sizes.is_empty()).then(|| sizes.iter().sum());
    let avg = prices.iter().sum::<f64>() / prices.len() as f64; // whole numbers: exact
    (prices[0], high, low, prices[prices.len() - 1], avg, volume, prices.len() as i64)
}

fn values(row: &ClosedCandle) -> (f64, f64, f64, f64, f64, Option<f64>, i64) {
    let c = &row.candle;
    (c.open, c.high, c.low, c.close, c.avg, c.volume, c.ticks)
}

/// Windows as the gold stage uses them, with all ticks and rows kept for the reference.
#[derive(Default)]
struct Gold {
    windows: Windows,
    /// All ticks added so far, as silver has them.
    silver: Vec<Tick>,
    rows: BTreeMap<(Arc<Market>, Micros), ClosedCandle>,
}

impl Gold {
    fn ticks_of(&self, key: &(Arc<Market>, Micros)) -> Vec<&Tick> {
        let markets = markets();
        let of =
            |tick: &&Tick| (&markets[tick.market as usize], window_start(tick.event_time)) == (&key.0, key.1);
        self.silver.iter().filter(of).collect()
    }

    /// Inserts closed rows, and restates late windows from all of their ticks.
    fn commit(&mut self, outcome: &Outcome) {
        for row in &outcome.closed {
            assert!(self.rows.insert(row.key(), row.clone()).is_none(), "closed twice: {row:?}");
        }
        let market_of = markets();
        for (key, closed_at) in &outcome.late {
            let mut sums = Aggregation::default();
            for tick in self.ticks_of(key) {
                let market = &market_of[tick.market as usize];
                sums.add(market, Place::of(&Arc::new(Stream::direct()), tick), tick.price, tick.size);
            }
            let row = sums.windows()[key].row(&key.0, *closed_at, 0);
            self.rows.insert(key.clone(), row);
        }
    }

    fn take(&mut self, ticks: &[Tick]) -> Outcome {
        let Some(last) = ticks.last() else { return Outcome::default() };
        self.silver.extend_from_slice(ticks);
        let outcome = self.windows.add(&Arc::new(Stream::direct()), &batch(ticks), last.offset);
        self.commit(&outcome);
        outcome
    }

    fn idle(&mut self, clock: Micros) -> Outcome {
        let outcome = self.windows.idle(clock, Micros::MIN);
        self.commit(&outcome);
        outcome
    }

    /// The windows with ticks that are in no row.
    fn open(&self) -> BTreeSet<(Arc<Market>, Micros)> {
        let markets = markets();
        let keys = self
            .silver
            .iter()
            .map(|tick| (Arc::clone(&markets[tick.market as usize]), window_start(tick.event_time)));
        keys.filter(|key| !self.rows.contains_key(key)).collect()
    }
}

/// Cuts ticks where `cuts`, repeated, says so.
fn pieces<'a>(ticks: &'a [Tick], cuts: &'a [bool]) -> Vec<&'a [Tick]> {
    let cut = |n: &usize| cuts[n % cuts.len()];
    let bounds: Vec<usize> =
        [0].into_iter().chain((1..ticks.len()).filter(cut)).chain([ticks.len()]).collect();
    bounds.windows(2).map(|pair| &ticks[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn gold_is_the_aggregation_of_silver_at_every_step(drawn in ticks(), cuts in prop::collection::vec(any::<bool>(), 1..40), looks in prop::collection::vec(any::<bool>(), 1..40)) {
        let ticks = stream(&drawn);
        let mut gold = Gold::default();
        for (n, piece) in pieces(&ticks, &cuts).into_iter().enumerate() {
            gold.take(piece);
            if looks[n % looks.len()] {
                gold.idle(piece[piece.len() - 1].ingested_at);
            }
            for (key, row) in &gold.rows {
                prop_assert_eq!(values(row), candle(&gold.ticks_of(key)));
            }
            // Every tick at or below the position is in gold, and the position cannot be higher.
            let position = *gold.windows.positions().values().next().unwrap();
            let open = gold.open();
            let in_open = |tick: &&Tick| open.contains(&(Arc::clone(&markets()[tick.market as usize]), window_start(tick.event_time)));
            let lowest = gold.silver.iter().filter(in_open).map(|tick| tick.offset).min();
            prop_assert_eq!(position, lowest.map_or(gold.silver.len() as i64 - 1, |lowest| lowest - 1));
        }
        let outcome = gold.windows.finish();
        gold.commit(&outcome);
        prop_assert!(gold.open().is_empty());
        prop_assert!(gold.rows.iter().all(|(key, row)| values(row) == candle(&gold.ticks_of(key))));
    }

    #[test]
    fn the_same_windows_close_however_the_batches_are_cut(drawn in ticks(), looks in prop::collection::vec(any::<bool>(), 1..40), cuts in prop::collection::vec(any::<bool>(), 1..40)) {
        let ticks = stream(&drawn);
        let run = |cuts: &[bool]| {
            let mut gold = Gold::default();
            let (mut closed, mut late) = (Vec::new(), Vec::new());
            // The clock's instants lie between the same ticks, however these are batched.
            for piece in pieces(&ticks, &looks) {
                let mut outcomes: Vec<Outcome> = pieces(piece, cuts).into_iter().map(|batch| gold.take(batch)).collect();
                outcomes.push(gold.idle(piece[piece.len() - 1].ingested_at));
                // Within a batch the order of markets is undefined.
                let mut rows: Vec<ClosedCandle> = outcomes.iter().flat_map(|outcome| outcome.closed.clone()).collect();
                rows.sort_by_key(ClosedCandle::key);
                closed.extend(rows);
                late.push(outcomes.into_iter().flat_map(|outcome| outcome.late.into_keys()).collect::<BTreeSet<_>>());
            }
            (closed, late, gold.windows.positions())
        };
        prop_assert_eq!(run(&cuts), run(&[false]));
    }

    #[test]
    fn a_silent_market_closes_in_time_while_others_are_busy_and_no_other_does(drawn in ticks(), cuts in prop::collection::vec(any::<bool>(), 1..40)) {
        let ticks = stream(&drawn);
        let mut gold = Gold::default();
        for piece in pieces(&ticks, &cuts) {
            gold.take(piece);
            let clock = piece[piece.len() - 1].ingested_at;
            let last_seen = |market: &Market| {
                let of = gold.silver.iter().filter(|tick| *markets()[tick.market as usize] == *market);
                let newest = of.clone().map(|tick| tick.event_time).max().unwrap();
                (of.map(|tick| tick.ingested_at).max().unwrap(), newest)
            };
            let known: BTreeMap<Arc<Market>, (Micros, Micros)> =
                gold.open().into_iter().map(|(market, _)| (Arc::clone(&market), last_seen(&market))).collect();
            let outcome = gold.idle(clock);
            for row in &outcome.closed {
                prop_assert!(clock - known[&row.market].0 > IDLE, "closed although it was not silent: {:?}", row);
                prop_assert_eq!(row.closed_at, clock);
            }
            for (market, start) in gold.open() {
                let (last_seen, newest) = known[&market];
                // Its watermark is at least where its newest tick put it, plus the time of silence.
                let silent = (clock - last_seen - IDLE).max(0);
                prop_assert!(start + MINUTE > newest - GRACE + silent, "{} at {} is still open", market, start);
                // So it is closed at the latest a minute, the grace and the idle time after its last tick
                // came in.
                prop_assert!(clock - last_seen < IDLE + GRACE + MINUTE);
            }
        }
    }
}

fn tick(market: u32, offset: i64, second: i64) -> Tick {
    let at = START + second * SECOND;
    let (event_time, ingested_at) = (at, at);
    Tick {
        market,
        index: 0,
        offset,
        event_time,
        price: 1.0,
        size: None,
        trade_id: None,
        details: None,
        ingested_at,
    }
}

#[test]
fn silence_is_measured_by_the_ingestion_times_of_ticks() {
    // Ticks that are read back long after: the coin was silent already before the restart.
    let mut gold = Gold::default();
    gold.take(&[tick(0, 0, 10), tick(1, 1, 170)]);
    assert!(gold.idle(START + 169 * SECOND).is_empty());
    // 60 + 30 s beyond its last tick's minute, less the 10 s that this tick was old by its end: 90 s + 80 s
    // after it.
    assert!(gold.idle(START + 10 * SECOND + IDLE + 79 * SECOND).is_empty());
    let closed = gold.idle(START + 10 * SECOND + IDLE + 80 * SECOND).closed;
    assert_eq!(
        closed.iter().map(|row| (&*row.market.coin_id, row.candle.window_start)).collect::<Vec<_>>(),
        [("coin-0", START)]
    );
    assert_eq!(gold.windows.positions().into_values().collect::<Vec<_>>(), [0]);
}

#[test]
fn markets_of_an_interrupted_source_are_not_silent() {
    let mut windows = Windows::default();
    windows.add(&Arc::new(Stream::direct()), &batch(&[tick(0, 0, 10)]), 0);
    let restarted = START + 3600 * SECOND;
    assert!(windows.idle(restarted + IDLE, restarted).is_empty());
    assert_eq!(windows.idle(restarted + IDLE + 80 * SECOND, restarted).closed.len(), 1);
}

#[test]
fn windows_that_another_process_closed_are_dropped() {
    let mut windows = Windows::default();
    let stream = Arc::new(Stream::direct());
    windows.add(&stream, &batch(&[tick(0, 0, 10), tick(0, 1, 70), tick(1, 2, 70)]), 2);
    windows.close_until(&markets()[0], START + MINUTE);
    let starts = |windows: &Windows| {
        windows
            .live()
            .iter()
            .map(|(_, _, open)| open.iter().map(|c| c.window_start).collect())
            .collect::<Vec<Vec<_>>>()
    };
    assert_eq!(starts(&windows), [vec![START + MINUTE], vec![START + MINUTE]]);
    assert_eq!(windows.add(&stream, &batch(&[tick(0, 3, 50)]), 3).late.len(), 1);
    assert_eq!(starts(&windows), [vec![START + MINUTE], vec![START + MINUTE]]);
}
