//! An index of gold's files: the markets in each and their numbers of candles, read once per file, since files
//! never change. From it come the choice of a source, the totals, and the files that a query needs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use duckdb::Connection;

use super::engine::{over, rows};
use super::tables::TableView;
use super::{KnownMarket, MarketFilter, TableKind};
use crate::lake::DataFile;
use crate::market::{Interval, Market, Micros};

const CENSUS: &str = include_str!("census.sql");

/// Candles of one market in a file or on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tally {
    candles: u64,
    oldest: Micros,
    newest: Micros,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.candles += other.candles;
        self.oldest = self.oldest.min(other.oldest);
        self.newest = self.newest.max(other.newest);
    }
}

/// Index into [`Census::markets`].
type MarketId = usize;

#[derive(Debug, Default)]
struct Day {
    files: Vec<Arc<DataFile>>,
    tallies: HashMap<MarketId, Tally>,
    /// Changes whenever `files` does.
    edition: u64,
}

/// The index, by file and by day.
#[derive(Debug, Default)]
pub(super) struct Census {
    markets: Vec<Arc<Market>>,
    ids: HashMap<Arc<Market>, MarketId>,
    files: HashMap<String, Vec<(MarketId, Tally)>>,
    days: BTreeMap<String, Day>,
    /// The version of gold that the index is of; `None` while it is incomplete.
    version: Option<u64>,
    /// Number of editions of all days so far.
    editions: u64,
    /// Number of wider candles per day, as (edition of the day, candles).
    wider: HashMap<(MarketId, Interval), HashMap<String, (u64, u64)>>,
}

impl Census {
    /// Adds gold's new files and drops removed ones.
    pub(super) fn update(&mut self, db: &Connection, gold: &TableView) -> duckdb::Result<()> {
        let version = gold.table.version();
        if self.version == Some(version) {
            return Ok(());
        }
        self.version = None; // until it is complete
        let live: BTreeMap<String, &Arc<DataFile>> =
            gold.table.files().map(|file| (gold.path(file), file)).collect();
        self.files.retain(|path, _| live.contains_key(path));
        let new: Vec<&Arc<DataFile>> =
            live.iter().filter(|(path, _)| !self.files.contains_key(*path)).map(|(_, file)| *file).collect();
        self.read(db, gold, &new)?;
        self.arrange(&live);
        self.version = Some(version);
        Ok(())
    }

    fn read(&mut self, db: &Connection, gold: &TableView, new: &[&Arc<DataFile>]) -> duckdb::Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        let found = rows(db, &over(CENSUS, TableKind::Gold, Some(gold), new.iter().copied()), [], |row| {
            let market =
                Market::new(&row.get::<_, String>(1)?, &row.get::<_, String>(2)?, &row.get::<_, String>(3)?);
            Ok((
                row.get::<_, String>(0)?,
                market,
                Tally { candles: row.get(4)?, oldest: row.get(5)?, newest: row.get(6)? },
            ))
        })?;
        for file in new {
            self.files.insert(gold.path(file), Vec::new());
        }
        for (path, market, tally) in found {
            let id = self.id(market);
            self.files.entry(path).or_default().push((id, tally));
        }
        Ok(())
    }

    fn id(&mut self, market: Market) -> MarketId {
        if let Some(id) = self.ids.get(&market) {
            return *id;
        }
        let market = Arc::new(market);
        self.markets.push(Arc::clone(&market));
        self.ids.insert(market, self.markets.len() - 1);
        self.markets.len() - 1
    }

    /// Groups the live files by day; days whose files have not changed are kept.
    fn arrange(&mut self, live: &BTreeMap<String, &Arc<DataFile>>) {
        let mut days: BTreeMap<&str, Vec<(&str, &Arc<DataFile>)>> = BTreeMap::new();
        for (path, file) in live {
            days.entry(file.date().unwrap_or_default()).or_default().push((path, file));
        }
        self.days.retain(|date, _| days.contains_key(date.as_str()));
        for (date, files) in days {
            let day = self.days.entry(date.to_owned()).or_default();
            if day.files.iter().map(|file| file.path()).eq(files.iter().map(|(_, file)| file.path())) {
                continue;
            }
            self.editions += 1;
            day.edition = self.editions;
            day.files = files.iter().map(|(_, file)| Arc::clone(file)).collect();
            day.tallies.clear();
            for (id, tally) in files.iter().filter_map(|(path, _)| self.files.get(*path)).flatten() {
                day.tallies.entry(*id).and_modify(|sum| sum.add(*tally)).or_insert(*tally);
            }
        }
    }

    /// Every market with candles, ordered.
    pub(super) fn known(&self) -> Vec<KnownMarket> {
        let mut sums: HashMap<MarketId, Tally> = HashMap::new();
        for (id, tally) in self.days.values().flat_map(|day| &day.tallies) {
            sums.entry(*id).and_modify(|sum| sum.add(*tally)).or_insert(*tally);
        }
        let mut known: Vec<_> = sums
            .into_iter()
            .map(|(id, Tally { candles, oldest, newest })| KnownMarket {
                market: Arc::clone(&self.markets[id]),
                candles,
                oldest,
                newest,
            })
            .collect();
        known.sort_unstable_by(|a, b| a.market.cmp(&b.market));
        known
    }

    /// The market that a filter selects: of the filter's source, else of the preferred one, else of the one
    /// with the newest candle.
    pub(super) fn find(&self, filter: &MarketFilter, preferred: Option<&Arc<str>>) -> Option<KnownMarket> {
        let known = |(id, market): (MarketId, &Arc<Market>)| {
            let mut tallies = self.days.values().filter_map(|day| day.tallies.get(&id));
            let mut sum = *tallies.next()?;
            tallies.for_each(|tally| sum.add(*tally));
            Some(KnownMarket {
                market: Arc::clone(market),
                candles: sum.candles,
                oldest: sum.oldest,
                newest: sum.newest,
            })
        };
        let fits = |market: &Market| {
            market.coin_id == filter.coin_id
                && market.quote == filter.quote
                && filter.source.as_ref().is_none_or(|source| *source == market.source)
        };
        let found =
            self.markets.iter().enumerate().filter(|(_, market)| fits(market)).filter_map(known).collect();
        choose(found, preferred)
    }

    /// The source to use for all markets (`wanted`, else preferred, else the one with the newest candle), and
    /// the start of its newest candle.
    pub(super) fn source(
        &self,
        wanted: Option<&Arc<str>>,
        preferred: Option<&Arc<str>>,
    ) -> Option<(Arc<str>, Micros)> {
        let mut known = self.known();
        known.retain(|known| wanted.is_none_or(|source| *source == known.market.source));
        let chosen = choose(known.clone(), preferred)?.market;
        let newest = known
            .iter()
            .filter(|known| known.market.source == chosen.source)
            .map(|known| known.newest)
            .max()?;
        Some((Arc::clone(&chosen.source), newest))
    }

    /// Number of one-minute candles of a market on each day that has some, oldest first.
    pub(super) fn minutes(&self, market: &Arc<Market>) -> Vec<(String, u64)> {
        let Some(id) = self.ids.get(market) else { return Vec::new() };
        self.days
            .iter()
            .filter_map(|(date, day)| Some((date.clone(), day.tallies.get(id)?.candles)))
            .collect()
    }

    /// The days whose wider candles must be counted, for the first time or again.
    pub(super) fn uncounted(&self, market: &Arc<Market>, interval: Interval) -> Vec<String> {
        let Some(id) = self.ids.get(market) else { return Vec::new() };
        let counted = self.wider.get(&(*id, interval));
        let is_counted = |date: &String, day: &Day| {
            counted.is_some_and(|days| days.get(date).is_some_and(|(edition, _)| *edition == day.edition))
        };
        let days =
            self.days.iter().filter(|(date, day)| day.tallies.contains_key(id) && !is_counted(date, day));
        days.map(|(date, _)| date.clone()).collect()
    }

    /// Stores the numbers of wider candles of some days.
    pub(super) fn count(&mut self, market: &Arc<Market>, interval: Interval, counts: Vec<(String, u64)>) {
        let Some(id) = self.ids.get(market) else { return };
        let counted = self.wider.entry((*id, interval)).or_default();
        counted.retain(|date, _| self.days.contains_key(date));
        for (date, candles) in counts {
            let edition = self.days.get(&date).map_or(0, |day| day.edition);
            counted.insert(date, (edition, candles));
        }
    }

    /// Number of wider candles of a market on each day, oldest first, as stored by [`Self::count`].
    pub(super) fn counted(&self, market: &Arc<Market>, interval: Interval) -> Vec<(String, u64)> {
        let counted = self.ids.get(market).and_then(|id| self.wider.get(&(*id, interval)));
        let is_live =
            |date: &String, edition: u64| self.days.get(date).is_some_and(|day| day.edition == edition);
        let mut days: Vec<_> = counted
            .into_iter()
            .flatten()
            .filter(|(date, (edition, _))| is_live(date, *edition))
            .map(|(date, (_, candles))| (date.clone(), *candles))
            .collect();
        days.sort_unstable();
        days
    }

    /// The files of some days that hold candles of a market.
    pub(super) fn files_of<'a>(
        &'a self,
        gold: &TableView,
        market: &Arc<Market>,
        days: &[&str],
    ) -> Vec<&'a Arc<DataFile>> {
        let Some(id) = self.ids.get(market) else { return Vec::new() };
        let holds = |file: &&Arc<DataFile>| {
            self.files.get(&gold.path(file)).is_some_and(|shares| shares.iter().any(|(other, _)| other == id))
        };
        days.iter().filter_map(|date| self.days.get(*date)).flat_map(|day| &day.files).filter(holds).collect()
    }
}

/// The market of the preferred source, else the one with the newest candle; of several the first in order.
fn choose(mut known: Vec<KnownMarket>, preferred: Option<&Arc<str>>) -> Option<KnownMarket> {
    if known.iter().any(|known| Some(&known.market.source) == preferred) {
        known.retain(|known| Some(&known.market.source) == preferred);
    }
    known.sort_by(|a, b| a.market.cmp(&b.market));
    known.into_iter().reduce(|best, next| if next.newest > best.newest { next } else { best })
}
