//! Exact deduplication with bounded memory.
//!
//! For each market, all keys at or after a cutoff are remembered, and in any case its newest known key (the
//! source repeats a stale coin's tick for months). Older ticks are not judged here ([`Verdict::Unknown`]):
//! the caller searches silver's files.

use std::collections::{BTreeMap, HashSet};

use foldhash::fast::RandomState;

use super::time::floor;
use super::{HOUR, MINUTE, Micros, Tick, TradeId};

/// How far behind a market's newest tick keys are remembered.
pub const HORIZON: Micros = 2 * HOUR;
/// Most keys in memory, of about 100 bytes each; above this number the horizon is shortened.
pub const MAX_KEYS: usize = 500_000;

/// What makes two ticks of one market the same tick.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TickKey {
    event_time: Micros,
    /// Bits of the price.
    price: u64,
    /// Bits of the size; without a size those of a NaN, which no size has.
    size: u64,
    trade_id: Option<TradeId>,
}

impl TickKey {
    pub fn of(tick: &Tick) -> Self {
        Self::new(tick.event_time, tick.price, tick.size, tick.trade_id.clone())
    }

    /// `-0.0` counts as `0.0`.
    pub fn new(event_time: Micros, price: f64, size: Option<f64>, trade_id: Option<TradeId>) -> Self {
        Self {
            event_time,
            price: (price + 0.0).to_bits(),
            size: size.map_or(u64::MAX, |size| (size + 0.0).to_bits()),
            trade_id,
        }
    }

    pub fn event_time(&self) -> Micros {
        self.event_time
    }
}

/// Whether silver has a tick already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    New,
    Duplicate,
    /// Older than what is remembered: silver's files must be searched.
    Unknown(TickKey),
}

#[derive(Debug, Default)]
struct Memory {
    /// All keys at or after this are remembered.
    cutoff: Micros,
    newest: Option<TickKey>,
    /// By start of the minute.
    minutes: BTreeMap<Micros, HashSet<TickKey, RandomState>>,
}

impl Memory {
    fn insert(&mut self, key: TickKey) -> bool {
        if self.newest.as_ref().is_none_or(|newest| newest.event_time <= key.event_time) {
            self.newest = Some(key.clone());
        }
        self.minutes.entry(floor(key.event_time, MINUTE)).or_default().insert(key)
    }
}

/// The keys of all markets, by the markets' numbers ([`Tick::market`]).
#[derive(Debug)]
pub struct Dedup {
    markets: Vec<Option<Memory>>,
    /// Number of keys in memory.
    keys: usize,
    horizon: Micros,
    max_keys: usize,
}

impl Default for Dedup {
    fn default() -> Self {
        Self::new(HORIZON, MAX_KEYS)
    }
}

impl Dedup {
    /// Remembers `horizon` of event time behind each market's newest tick, and no more than about `max_keys`
    /// keys.
    pub fn new(horizon: Micros, max_keys: usize) -> Self {
        Self { markets: Vec::new(), keys: 0, horizon, max_keys }
    }

    fn memory(&self, market: u32) -> Option<&Memory> {
        self.markets.get(market as usize)?.as_ref()
    }

    /// Whether the market was added by [`Self::resume`], as it must be before its ticks are judged.
    pub fn knows(&self, market: u32) -> bool {
        self.memory(market).is_some()
    }

    /// The cutoff with which to [`Self::resume`] a market whose newest tick is at `event_time`.
    pub fn wanted_from(&self, event_time: Micros) -> Micros {
        event_time.saturating_sub(self.horizon)
    }

    /// Adds a market; `keys` are all that silver has of it at or after `cutoff`.
    pub fn resume(&mut self, market: u32, cutoff: Micros, keys: impl IntoIterator<Item = TickKey>) {
        let mut memory = Memory { cutoff, ..Memory::default() };
        self.keys += keys.into_iter().filter(|key| memory.insert(key.clone())).count();
        let place = market as usize;
        if self.markets.len() <= place {
            self.markets.resize_with(place + 1, || None);
        }
        self.markets[place] = Some(memory);
    }

    /// Judges a tick of a market and remembers it if it is new.
    ///
    /// # Panics
    /// If the market was not resumed.
    pub fn judge(&mut self, market: u32, key: TickKey) -> Verdict {
        let memory = self.markets[market as usize]
            .as_mut()
            .expect("markets are resumed before their ticks are judged");
        if key.event_time < memory.cutoff {
            return if memory.newest.as_ref() == Some(&key) {
                Verdict::Duplicate
            } else {
                Verdict::Unknown(key)
            };
        }
        if memory.insert(key) {
            self.keys += 1;
            return Verdict::New;
        }
        Verdict::Duplicate
    }

    /// Whether an event time is older than what is remembered of its market.
    pub fn is_beyond(&self, market: u32, event_time: Micros) -> bool {
        self.memory(market).is_none_or(|memory| event_time < memory.cutoff)
    }

    /// Whether a key is the newest that silver is known to have of its market.
    pub fn is_newest(&self, market: u32, key: &TickKey) -> bool {
        self.memory(market).is_some_and(|memory| memory.newest.as_ref() == Some(key))
    }

    /// Remembers a key older than the cutoff, which silver has, if it is the newest known of its market.
    pub fn note(&mut self, market: u32, key: &TickKey) {
        if let Some(memory) = self.markets.get_mut(market as usize).and_then(Option::as_mut)
            && memory.newest.as_ref().is_none_or(|newest| newest.event_time <= key.event_time)
        {
            memory.newest = Some(key.clone());
        }
    }

    /// Drops the keys beyond the horizon. To be called between batches.
    pub fn forget(&mut self) {
        let mut horizon = self.horizon;
        loop {
            for memory in self.markets.iter_mut().flatten() {
                let Some(newest) = memory.newest.as_ref().map(|key| key.event_time) else { continue };
                let keep = floor(newest - horizon, MINUTE);
                while let Some(entry) = memory.minutes.first_entry().filter(|entry| *entry.key() < keep) {
                    memory.cutoff = memory.cutoff.max(entry.key() + MINUTE);
                    self.keys -= entry.remove().len();
                }
            }
            if self.keys <= self.max_keys || horizon < MINUTE {
                return;
            }
            horizon /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(time: Micros) -> TickKey {
        TickKey::new(time, 1.0, None, None)
    }

    #[test]
    fn the_parts_of_a_key_are_compared_by_value() {
        assert_eq!(
            TickKey::new(1, 2.0, Some(0.0), Some(TradeId::parse("7"))),
            TickKey::new(1, 2.0, Some(-0.0), Some(TradeId::Number(7)))
        );
        assert_ne!(TickKey::new(1, 2.0, None, None), TickKey::new(1, 2.0, Some(0.0), None));
    }

    #[test]
    fn a_stale_coins_only_tick_stays_known() {
        let mut dedup = Dedup::new(HOUR, 100);
        dedup.resume(0, 50 * HOUR, []);
        assert_eq!(dedup.judge(0, key(HOUR)), Verdict::Unknown(key(HOUR)));
        dedup.note(0, &key(HOUR));
        assert_eq!(dedup.judge(0, key(HOUR)), Verdict::Duplicate);
        dedup.forget();
        assert_eq!(dedup.judge(0, key(HOUR)), Verdict::Duplicate);
    }

    proptest! {
        /// A set of all accepted keys stands for silver's files: the verdict is exact however little is
        /// remembered.
        #[test]
        fn forgetting_changes_no_verdict(times in prop::collection::vec(0i64..400, 1..300), horizon in 1i64..100, most in 1usize..40, every in 1usize..20) {
            let mut dedup = Dedup::new(horizon * MINUTE, most);
            dedup.resume(0, Micros::MIN, []);
            let mut files = HashSet::new();
            for (n, time) in times.into_iter().enumerate() {
                let key = key(time * MINUTE / 4);
                let fresh = match dedup.judge(0, key.clone()) {
                    Verdict::New => true,
                    Verdict::Duplicate => false,
                    Verdict::Unknown(key) => { dedup.note(0, &key); !files.contains(&key) }
                };
                prop_assert_eq!(fresh, files.insert(key));
                if n % every == 0 {
                    dedup.forget();
                }
            }
        }
    }
}
