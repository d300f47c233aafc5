//! Merges the trades of all coins by time and writes each one as a line of JSON.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::SimulatorSettings;
use super::coin::{Coin, Decimal};
use crate::market::{Micros, RecordRef, Records};

/// The endless sequence of trades of a market, in the order of virtual time.
#[derive(Debug)]
pub struct Generator {
    coins: Vec<Named>,
    /// Next trade of each coin: its virtual time, and the coin's index as a tie-breaker.
    next: BinaryHeap<Reverse<(Micros, u32)>>,
    line: Vec<u8>,
}

#[derive(Debug)]
struct Named {
    coin: Coin,
    id: String,
    /// The line up to the price.
    head: Vec<u8>,
    /// Number of trades so far: the id of the last one.
    trades: u64,
}

impl Generator {
    /// The market of `settings`, which depends on seed, coins, start and tick, but not on the rate.
    pub fn new(settings: &SimulatorSettings) -> Self {
        let tick = settings.tick.as_secs_f64();
        let mut coins: Vec<Named> =
            settings.coins.iter().map(|id| Named::new(settings.seed, id, tick)).collect();
        let next = coins
            .iter_mut()
            .zip(0..)
            .map(|(named, i)| Reverse((settings.start + named.coin.first_wait(), i)))
            .collect();
        Self { coins, next, line: Vec::with_capacity(256) }
    }

    /// Virtual time of the next trade; [`Micros::MAX`] without coins.
    pub fn next_time(&self) -> Micros {
        self.next.peek().map_or(Micros::MAX, |next| next.0.0)
    }

    /// Appends the next trade, with this event time.
    pub fn push(&mut self, records: &mut Records, event_time: Micros, produced_at: Micros) {
        let Some(mut next) = self.next.peek_mut() else { return };
        let Reverse((time, index)) = *next;
        let named = &mut self.coins[index as usize];
        let trade = named.coin.trade();
        // Dropping the guard moves the changed entry to its place in the heap.
        *next = Reverse((time.saturating_add(trade.wait), index));
        drop(next);
        named.trades += 1;
        let line = &mut self.line;
        line.clear();
        line.extend_from_slice(&named.head);
        push_decimal(line, trade.price);
        line.extend_from_slice(b",\"size\":");
        push_decimal(line, trade.size);
        line.extend_from_slice(b",\"event_time\":");
        push_number(line, event_time.div_euclid(1_000).unsigned_abs());
        line.extend_from_slice(b",\"trade_id\":");
        push_number(line, named.trades);
        line.push(b'}');
        records.push(RecordRef {
            offset: 0,
            key: Some(&named.id),
            value: line,
            source: "simulator",
            headers: None,
            produced_at,
        });
    }
}

impl Named {
    fn new(seed: u64, id: &str, tick: f64) -> Self {
        let name = serde_json::to_string(id).expect("text is always JSON");
        let head = format!("{{\"source\":\"simulator\",\"coin_id\":{name},\"price\":").into_bytes();
        Self { coin: Coin::new(seed, id, tick), id: id.to_owned(), head, trades: 0 }
    }
}

/// Bytes for the digits of the largest number and a point.
const WIDTH: usize = 24;

/// Appends `number` in decimal.
fn push_number(line: &mut Vec<u8>, number: u64) {
    push_decimal(line, Decimal { units: number, decimals: 0 });
}

/// Appends a decimal with all of its decimals: `0.0120`.
fn push_decimal(line: &mut Vec<u8>, Decimal { units, decimals }: Decimal) {
    let mut text = [0u8; WIDTH];
    let mut at = WIDTH;
    let mut left = units;
    let mut put = |digit: u8| {
        at -= 1;
        text[at] = digit;
    };
    for _ in 0..decimals {
        put(digit(left));
        left /= 10;
    }
    if decimals > 0 {
        put(b'.');
    }
    loop {
        put(digit(left));
        left /= 10;
        if left == 0 {
            break;
        }
    }
    line.extend_from_slice(&text[at..]);
}

const fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn decimals_are_written_with_all_their_digits(units in any::<u64>(), decimals in 0u32..13) {
            let mut line = Vec::new();
            push_decimal(&mut line, Decimal { units, decimals });
            let text = String::from_utf8(line).expect("ASCII");
            let (digits, expected) = (text.replace('.', ""), units.to_string());
            prop_assert_eq!(digits.trim_start_matches('0'), expected.trim_start_matches('0'));
            prop_assert_eq!(text.split_once('.').map_or(0, |(_, d)| d.len()), decimals as usize);
            prop_assert!(serde_json::from_str::<f64>(&text).is_ok(), "{}", text);
        }
    }

    #[test]
    fn a_market_depends_on_its_seed_only() {
        let make = |seed, coins: usize| {
            let settings =
                SimulatorSettings { seed, coins: super::super::coins(coins), ..SimulatorSettings::default() };
            let mut generator = Generator::new(&settings);
            let mut records = Records::new();
            let mut last = 0;
            for _ in 0..5_000 {
                let time = generator.next_time();
                assert!(time >= last, "merged by time");
                last = time;
                generator.push(&mut records, time, 0);
            }
            records.iter().map(|r| (r.key.map(str::to_owned), r.value.to_vec())).collect::<Vec<_>>()
        };
        assert_eq!(make(1, 10), make(1, 10));
        assert_ne!(make(1, 10), make(2, 10));
        let (ten, twenty) = (make(1, 10), make(1, 20));
        let of = |all: &[(Option<String>, Vec<u8>)]| {
            all.iter().filter(|r| r.0.as_deref() == Some("solana")).take(100).cloned().collect::<Vec<_>>()
        };
        assert_eq!(of(&ten), of(&twenty), "a coin's path does not depend on the others");
        let text: Vec<u8> =
            ten.into_iter().flat_map(|(_, value)| [value, b"\n".to_vec()]).flatten().collect();
        assert_eq!(
            blake3::hash(&text).to_hex().as_str(),
            GOLDEN,
            "a seed gives the same market in every release"
        );
    }

    /// Hash of the first 5,000 ticks of seed 1. It must not change, so that a seed can be repeated later.
    const GOLDEN: &str = "3a09ff298af4b86e2ebf09d8fa91b0c7d3c338ebdac7de12af2b8736b7160793";
}
