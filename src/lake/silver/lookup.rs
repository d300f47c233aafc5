//! Questions to all of silver: the ticks of some windows, and which ticks it has already.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Reader, TickRow};
use crate::lake::{LakeError, Table};
use crate::market::dedup::TickKey;
use crate::market::window::{Aggregation, window_start};
use crate::market::{Market, Micros};

/// The sums of some windows, each from all of its ticks in silver.
pub async fn aggregate(
    table: &Table,
    wanted: &BTreeSet<(Arc<Market>, Micros)>,
) -> Result<Aggregation, LakeError> {
    let mut sums = Aggregation::default();
    scan(table, wanted, |row| sums.add(&row.market, row.place, row.tick.price, row.tick.size)).await?;
    Ok(sums)
}

/// Passes every tick of some windows to `take`, in no particular order.
pub async fn scan(
    table: &Table,
    wanted: &BTreeSet<(Arc<Market>, Micros)>,
    mut take: impl FnMut(TickRow),
) -> Result<(), LakeError> {
    let starts: BTreeSet<Micros> = wanted.iter().map(|(_, start)| *start).collect();
    let mut reader = Reader::default();
    for file in table.files() {
        let inside = |(min, max): (Micros, Micros)| starts.range(window_start(min)..=max).next().is_some();
        if file.times("event_time").is_none_or(inside) {
            reader
                .rows(table, file, |row| {
                    let start = window_start(row.tick.event_time);
                    if starts.contains(&start) && wanted.contains(&(Arc::clone(&row.market), start)) {
                        take(row);
                    }
                })
                .await?;
        }
    }
    Ok(())
}

/// The keys of all ticks of some markets, of each market at or after its time in `from`.
pub async fn keys_since(
    table: &Table,
    from: &HashMap<Arc<Market>, Micros>,
) -> Result<HashMap<Arc<Market>, Vec<TickKey>>, LakeError> {
    let mut keys: HashMap<Arc<Market>, Vec<TickKey>> = HashMap::new();
    let mut reader = Reader::default();
    for file in table.files() {
        let may_hold = |(market, from): (&Arc<Market>, &Micros)| {
            file.times("event_time").is_none_or(|(_, max)| max >= *from) && file.may_hold_market(market)
        };
        if from.iter().any(may_hold) {
            reader
                .rows(table, file, |row| {
                    if from.get(&row.market).is_some_and(|from| row.tick.event_time >= *from) {
                        keys.entry(row.market).or_default().push(TickKey::of(&row.tick));
                    }
                })
                .await?;
        }
    }
    Ok(keys)
}

/// The keys in `asked` that are in silver.
pub async fn known(
    table: &Table,
    asked: &HashSet<(Arc<Market>, TickKey)>,
) -> Result<HashSet<(Arc<Market>, TickKey)>, LakeError> {
    let times: BTreeSet<Micros> = asked.iter().map(|(_, key)| key.event_time()).collect();
    let mut found = HashSet::new();
    let mut reader = Reader::default();
    for file in table.files() {
        if file.times("event_time").is_none_or(|(min, max)| times.range(min..=max).next().is_some()) {
            reader
                .rows(table, file, |row| {
                    if times.contains(&row.tick.event_time) {
                        let key = (row.market, TickKey::of(&row.tick));
                        if asked.contains(&key) {
                            found.insert(key);
                        }
                    }
                })
                .await?;
        }
    }
    Ok(found)
}
