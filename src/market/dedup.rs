//! Exact deduplication with bounded memory.
//!
//! Of each market the keys at or after a cutoff are remembered, all of them, and its newest known key always (a stale coin
//! repeats for months). A tick older than that is not judged here: the caller asks silver's files ([`Verdict::Unknown`]).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{HOUR, MINUTE, Market, Micros, Tick, TradeId};

/// How far behind a market's newest tick keys are remembered.
pub const HORIZON: Micros = 2 * HOUR;
/// How many keys are remembered in all; above it the horizon shrinks. About 100 bytes each.
pub const MAX_KEYS: usize = 500_000;

/// What makes two ticks of one market the same tick.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    event_time: Micros,
    price: u64,
    /// No size is the bits of a NaN, which no size has.
    size: u64,
    trade_id: Option<TradeId>,
}

impl Key {
    /// The key of a tick.
    #[must_use]
    pub fn of(tick: &Tick) -> Self {
        Self::new(tick.event_time, tick.price, tick.size, tick.trade_id.clone())
    }

    /// The key from its parts. `-0.0` is `0.0`.
    #[must_use]
    pub fn new(event_time: Micros, price: f64, size: Option<f64>, trade_id: Option<TradeId>) -> Self {
        Self { event_time, price: (price + 0.0).to_bits(), size: size.map_or(u64::MAX, |size| (size + 0.0).to_bits()), trade_id }
    }

    /// Its event time.
    #[must_use]
    pub fn event_time(&self) -> Micros {
        self.event_time
    }
}

/// Whether a tick is one that silver has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is not there.
    New,
    /// It is there.
    Duplicate,
    /// It is older than what is remembered: silver's files know.
    Unknown,
}

#[derive(Debug, Default)]
struct Memory {
    /// All keys at or after this are remembered.
    cutoff: Micros,
    newest: Option<Key>,
    minutes: BTreeMap<Micros, HashSet<Key, RandomState>>,
}

impl Memory {
    fn insert(&mut self, key: Key) -> bool {
        if self.newest.as_ref().is_none_or(|newest| newest.event_time <= key.event_time) {
            self.newest = Some(key.clone());
        }
        self.minutes.entry(key.event_time.div_euclid(MINUTE)).or_default().insert(key)
    }
}

/// The keys of all markets.
#[derive(Debug)]
pub struct Dedup {
    markets: HashMap<Arc<Market>, Memory, RandomState>,
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
    /// Remembers `horizon` of event time behind each market's newest tick, and no more than about `max_keys` keys.
    #[must_use]
    pub fn new(horizon: Micros, max_keys: usize) -> Self {
        Self { markets: HashMap::default(), keys: 0, horizon, max_keys }
    }

    /// Whether the market was met; one that was not must be [`Self::resume`]d before its ticks are judged.
    #[must_use]
    pub fn knows(&self, market: &Market) -> bool {
        self.markets.contains_key(market)
    }

    /// How far back keys are wanted when a market is met whose newest tick is at `event_time`.
    #[must_use]
    pub fn wanted_from(&self, event_time: Micros) -> Micros {
        event_time.saturating_sub(self.horizon)
    }

    /// Meets a market: `keys` are all that silver has of it at or after `cutoff`.
    pub fn resume(&mut self, market: Arc<Market>, cutoff: Micros, keys: impl IntoIterator<Item = Key>) {
        let memory = self.markets.entry(market).or_default();
        memory.cutoff = cutoff;
        for key in keys {
            self.keys += usize::from(memory.insert(key));
        }
    }

    /// Judges a tick and remembers it if it is new.
    ///
    /// # Panics
    /// When the market was never met.
    pub fn judge(&mut self, market: &Market, key: Key) -> Verdict {
        let memory = self.markets.get_mut(market).expect("markets are met before their ticks are judged");
        if memory.newest.as_ref() == Some(&key) {
            return Verdict::Duplicate;
        }
        if key.event_time < memory.cutoff {
            return Verdict::Unknown;
        }
        if memory.insert(key) {
            self.keys += 1;
            return Verdict::New;
        }
        Verdict::Duplicate
    }

    /// Whether a key is older than what is remembered of its market.
    #[must_use]
    pub fn is_beyond(&self, market: &Market, key: &Key) -> bool {
        self.markets.get(market).is_none_or(|memory| key.event_time < memory.cutoff)
    }

    /// Whether a key is the newest that silver is known to have of its market.
    #[must_use]
    pub fn is_newest(&self, market: &Market, key: &Key) -> bool {
        self.markets.get(market).is_some_and(|memory| memory.newest.as_ref() == Some(key))
    }

    /// Notes that silver has `key`, although it is older than what is remembered, if it is the newest known of its market.
    pub fn note(&mut self, market: &Market, key: &Key) {
        if let Some(memory) = self.markets.get_mut(market)
            && memory.newest.as_ref().is_none_or(|newest| newest.event_time <= key.event_time)
        {
            memory.newest = Some(key.clone());
        }
    }

    /// Forgets what lies beyond the horizon. To be called between batches.
    pub fn forget(&mut self) {
        let mut horizon = self.horizon;
        loop {
            for memory in self.markets.values_mut() {
                let Some(newest) = memory.newest.as_ref().map(|key| key.event_time) else { continue };
                let keep = (newest - horizon).div_euclid(MINUTE);
                while let Some(entry) = memory.minutes.first_entry().filter(|entry| *entry.key() < keep) {
                    memory.cutoff = memory.cutoff.max((entry.key() + 1) * MINUTE);
                    self.keys -= entry.remove().len();
                }
            }
            if self.keys <= self.max_keys || horizon < MINUTE {
                return;
            }
            horizon /= 2;
        }
    }

    /// Number of keys remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }
}
