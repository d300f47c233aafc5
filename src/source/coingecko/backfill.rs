//! The ranges of history to fetch, and which of them to request next. Reads no clock but in [`fills`]; times of
//! the backlog are times since the source's start.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Fill, SourceError, SourceKind, Stored};
use super::CoinGeckoSettings;
use crate::market::time::now;
use crate::market::{MINUTE, Micros};

/// The shortest gap in a coin's candles that is filled.
const GAP: Micros = 15 * MINUTE;

/// The ranges of history, within the reach of `settings.history`, that the storage lacks.
///
/// # Errors
/// When the storage cannot be read.
pub async fn fills(settings: &CoinGeckoSettings, stored: impl Stored) -> Result<Vec<Fill>, SourceError> {
    let Some(reach) = settings.history.reach() else { return Ok(Vec::new()) };
    let to = now();
    let gaps = stored
        .gaps(SourceKind::Coingecko, &settings.vs_currency, &settings.coins, (to - reach, to), GAP)
        .await
        .map_err(SourceError::Resume)?;
    let fills = gaps.into_iter().flat_map(|(coin_id, gaps)| {
        gaps.into_iter().map(move |(from, end)| Fill {
            coin_id: Arc::clone(&coin_id),
            from,
            // A gap up to now ends at the coin's first live tick, which is known after the first poll.
            to: (end < to).then_some(end),
        })
    });
    Ok(fills.collect())
}

/// A range of a coin's history whose end is known, so that it can be requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Number of the fill in the [`Backlog`], in the order of addition.
    pub id: usize,
    pub coin_id: Arc<str>,
    /// Inclusive.
    pub from: Micros,
    /// Exclusive.
    pub to: Micros,
}

/// The ranges that are still to be fetched.
#[derive(Debug, Clone)]
pub struct Backlog {
    jobs: Vec<Job>,
    next_id: usize,
}

#[derive(Debug, Clone)]
struct Job {
    id: usize,
    fill: Fill,
    /// Failed requests.
    failures: u32,
    /// Earliest time of the next request, since the source's start.
    not_before: Duration,
}

impl Job {
    fn range(&self, to: Micros) -> Range {
        Range { id: self.id, coin_id: self.fill.coin_id.clone(), from: self.fill.from, to }
    }
}

impl Backlog {
    /// A backlog of `fills`, in their order, without empty ranges.
    pub fn new(fills: Vec<Fill>) -> Self {
        let mut all = Self { jobs: Vec::with_capacity(fills.len()), next_id: 0 };
        for fill in fills {
            all.add(fill);
        }
        all
    }

    /// Notes a live tick of a coin: the first one is the end of the coin's ranges that had none.
    pub fn live(&mut self, coin_id: &str, time: Micros) {
        for job in self.jobs.iter_mut().filter(|job| &*job.fill.coin_id == coin_id) {
            job.fill.to.get_or_insert(time);
        }
        self.drop_empty();
    }

    /// Adds a range, unless it is empty.
    pub fn add(&mut self, fill: Fill) {
        let id = self.next_id;
        self.next_id += 1;
        self.jobs.push(Job { id, fill, failures: 0, not_before: Duration::ZERO });
        self.drop_empty();
    }

    /// The range to request now: of those that are due the first of the preferred coin, else the first. Ranges
    /// without an end are not due before the coin's first live tick.
    pub fn next(&self, now: Duration, preferred: Option<&str>) -> Option<Range> {
        let due = || self.ready().filter(|(job, _)| job.not_before <= now);
        let (job, to) =
            due().find(|(job, _)| Some(&*job.fill.coin_id) == preferred).or_else(|| due().next())?;
        Some(job.range(to))
    }

    /// When the next range is due; none while there is none with an end.
    pub fn due(&self) -> Option<Duration> {
        self.ready().map(|(job, _)| job.not_before).min()
    }

    /// Removes and returns all ranges of a coin that an answer reaching back to `since` covers.
    pub fn take(&mut self, coin_id: &str, since: Micros) -> Vec<Range> {
        let filled =
            |job: &Job| &*job.fill.coin_id == coin_id && job.fill.from >= since && job.fill.to.is_some();
        let ranges = self.ready().filter(|(job, _)| filled(job)).map(|(job, to)| job.range(to)).collect();
        self.jobs.retain(|job| !filled(job));
        ranges
    }

    /// Removes all ranges of a coin.
    pub fn give_up(&mut self, coin_id: &str) {
        self.jobs.retain(|job| &*job.fill.coin_id != coin_id);
    }

    /// Removes a range that was fetched.
    pub fn done(&mut self, id: usize) {
        self.jobs.retain(|job| job.id != id);
    }

    /// Counts a failed request for a range; returns how many have failed.
    pub fn failed(&mut self, id: usize) -> u32 {
        self.jobs.iter_mut().find(|job| job.id == id).map_or(1, |job| {
            job.failures += 1;
            job.failures
        })
    }

    /// Whether requests for any of the remaining ranges have failed.
    pub fn is_failing(&self) -> bool {
        self.jobs.iter().any(|job| job.failures > 0)
    }

    /// Makes a range not due before `at`.
    pub fn postpone(&mut self, id: usize, at: Duration) {
        if let Some(job) = self.jobs.iter_mut().find(|job| job.id == id) {
            job.not_before = at;
        }
    }

    fn ready(&self) -> impl Iterator<Item = (&Job, Micros)> {
        self.jobs.iter().filter_map(|job| Some((job, job.fill.to?)))
    }

    fn drop_empty(&mut self) {
        self.jobs.retain(|job| job.fill.to.is_none_or(|to| job.fill.from < to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(coin: &str, from: Micros, to: Option<Micros>) -> Fill {
        Fill { coin_id: coin.into(), from, to }
    }

    fn next(backlog: &Backlog, now: u64, preferred: Option<&str>) -> Option<(usize, Micros)> {
        backlog.next(Duration::from_secs(now), preferred).map(|r| (r.id, r.to))
    }

    #[test]
    fn the_selected_coin_comes_first_and_ranges_without_an_end_wait() {
        let mut backlog = Backlog::new(vec![
            fill("a", 0, Some(9)),
            fill("b", 0, None),
            fill("c", 0, Some(9)),
            fill("d", 9, Some(9)),
        ]);
        assert_eq!(next(&backlog, 0, None), Some((0, 9)));
        assert_eq!(next(&backlog, 0, Some("c")), Some((2, 9)));
        assert_eq!(next(&backlog, 0, Some("b")), Some((0, 9)), "no live tick yet");
        backlog.live("b", 5);
        backlog.live("b", 6);
        assert_eq!(next(&backlog, 0, Some("b")), Some((1, 5)), "up to the first");
        assert_eq!(next(&backlog, 0, Some("d")), Some((0, 9)), "nothing to fill");
        for id in 0..3 {
            backlog.done(id);
        }
        assert_eq!((next(&backlog, 0, None), backlog.due()), (None, None));
    }

    #[test]
    fn one_answer_fills_all_ranges_that_it_covers() {
        let mut backlog = Backlog::new(vec![
            fill("a", 10, Some(20)),
            fill("b", 10, Some(20)),
            fill("a", 30, None),
            fill("a", 5, Some(7)),
        ]);
        let ids = |ranges: Vec<Range>| ranges.into_iter().map(|r| r.id).collect::<Vec<_>>();
        assert_eq!(ids(backlog.take("a", 8)), [0]);
        backlog.live("a", 40);
        assert_eq!(ids(backlog.take("a", 8)), [2]);
        assert_eq!((next(&backlog, 0, None), next(&backlog, 0, Some("a"))), (Some((1, 20)), Some((3, 7))));
        backlog.give_up("b");
        assert_eq!(next(&backlog, 0, None), Some((3, 7)));
    }

    #[test]
    fn failed_ranges_are_retried_later() {
        let mut backlog =
            Backlog::new(vec![fill("a", 0, Some(9)), fill("b", 0, Some(9)), fill("stale", 5, None)]);
        backlog.live("stale", 3);
        assert_eq!((backlog.failed(0), backlog.failed(0)), (1, 2));
        backlog.postpone(0, Duration::from_secs(7));
        assert_eq!(next(&backlog, 0, Some("a")), Some((1, 9)));
        backlog.done(1);
        assert_eq!((next(&backlog, 6, None), backlog.due()), (None, Some(Duration::from_secs(7))));
        assert_eq!(next(&backlog, 7, None), Some((0, 9)));
    }
}
