//! Which stretch of history to ask for next: pure bookkeeping.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Fill, SourceError, SourceKind, Stored};
use super::CoinGeckoSettings;
use crate::market::time::now;
use crate::market::{MINUTE, Micros};

/// A gap in a coin's candles that is worth a request.
const GAP: Micros = 15 * MINUTE;

/// The stretches of history that the storage lacks.
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
            // The gap that reaches to now ends where live ticks begin, which only the first answer tells.
            to: (end < to).then_some(end),
        })
    });
    Ok(fills.collect())
}

/// A stretch that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Which of the fills.
    pub id: usize,
    /// The coin.
    pub coin_id: Arc<str>,
    /// Start, inclusive.
    pub from: Micros,
    /// End, exclusive.
    pub to: Micros,
}

/// The stretches that are still to be fetched.
#[derive(Debug, Clone)]
pub struct Backlog {
    jobs: Vec<Job>,
    next_id: usize,
}

#[derive(Debug, Clone)]
struct Job {
    id: usize,
    fill: Fill,
    failures: u32,
    /// Not to be tried before, in time since the start.
    not_before: Duration,
}

impl Job {
    fn range(&self, to: Micros) -> Range {
        Range { id: self.id, coin_id: self.fill.coin_id.clone(), from: self.fill.from, to }
    }
}

impl Backlog {
    /// All of `fills`, in their order; empty ranges are left out.
    pub fn new(fills: Vec<Fill>) -> Self {
        let mut all = Self { jobs: Vec::with_capacity(fills.len()), next_id: 0 };
        for fill in fills {
            all.add(fill);
        }
        all
    }

    /// A live tick of a coin: the first ends the ranges that are to go up to it.
    pub fn live(&mut self, coin_id: &str, time: Micros) {
        for job in self.jobs.iter_mut().filter(|job| &*job.fill.coin_id == coin_id) {
            job.fill.to.get_or_insert(time);
        }
        self.drop_empty();
    }

    /// One more stretch, unless it is empty.
    pub fn add(&mut self, fill: Fill) {
        let id = self.next_id;
        self.next_id += 1;
        self.jobs.push(Job { id, fill, failures: 0, not_before: Duration::ZERO });
        self.drop_empty();
    }

    /// The stretch to ask for now: of those that are due the preferred coin's, else the first. Ranges whose
    /// end is not known yet wait for a live tick.
    pub fn next(&self, now: Duration, preferred: Option<&str>) -> Option<Range> {
        let due = || self.ready().filter(|(job, _)| job.not_before <= now);
        let (job, to) =
            due().find(|(job, _)| Some(&*job.fill.coin_id) == preferred).or_else(|| due().next())?;
        Some(job.range(to))
    }

    /// When the next stretch is due; none while nothing can be asked for.
    pub fn due(&self) -> Option<Duration> {
        self.ready().map(|(job, _)| job.not_before).min()
    }

    /// Takes out all stretches of a coin that an answer reaching back to `since` fills.
    pub fn take(&mut self, coin_id: &str, since: Micros) -> Vec<Range> {
        let filled =
            |job: &Job| &*job.fill.coin_id == coin_id && job.fill.from >= since && job.fill.to.is_some();
        let ranges = self.ready().filter(|(job, _)| filled(job)).map(|(job, to)| job.range(to)).collect();
        self.jobs.retain(|job| !filled(job));
        ranges
    }

    /// Nothing more is to be asked for a coin.
    pub fn give_up(&mut self, coin_id: &str) {
        self.jobs.retain(|job| &*job.fill.coin_id != coin_id);
    }

    /// A stretch was fetched.
    pub fn done(&mut self, id: usize) {
        self.jobs.retain(|job| job.id != id);
    }

    /// Fetching a stretch failed: how often in a row by now.
    pub fn failed(&mut self, id: usize) -> u32 {
        self.jobs.iter_mut().find(|job| job.id == id).map_or(1, |job| {
            job.failures += 1;
            job.failures
        })
    }

    /// Whether fetching a stretch that is still to be fetched has failed.
    pub fn is_failing(&self) -> bool {
        self.jobs.iter().any(|job| job.failures > 0)
    }

    /// Not to be tried again before `at`.
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
    fn the_selected_coin_comes_first_and_ranges_wait_for_their_end() {
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
    fn one_answer_fills_all_stretches_that_it_covers() {
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
    fn what_failed_is_tried_again_later() {
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
