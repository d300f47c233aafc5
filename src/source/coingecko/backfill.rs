//! Which stretch of history to ask for next: pure bookkeeping.

use std::sync::Arc;
use std::time::Duration;

use super::super::Fill;
use crate::market::Micros;

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
pub struct Backfill {
    jobs: Vec<Job>,
}

#[derive(Debug, Clone)]
struct Job {
    id: usize,
    fill: Fill,
    failures: u32,
    /// Not to be tried before, in time since the start.
    not_before: Duration,
}

impl Backfill {
    /// All of `fills`, in their order; empty ranges are left out.
    #[must_use]
    pub fn new(fills: Vec<Fill>) -> Self {
        let job = |(id, fill)| Job { id, fill, failures: 0, not_before: Duration::ZERO };
        let mut all = Self { jobs: fills.into_iter().enumerate().map(job).collect() };
        all.drop_empty();
        all
    }

    /// A live tick of a coin: the first ends the ranges that are to go up to it.
    pub fn live(&mut self, coin_id: &str, time: Micros) {
        for job in self.jobs.iter_mut().filter(|job| &*job.fill.coin_id == coin_id) {
            job.fill.to.get_or_insert(time);
        }
        self.drop_empty();
    }

    /// The stretch to ask for now: of those that are due the preferred coin's, else the first. Ranges whose end is not
    /// known yet wait for a live tick.
    #[must_use]
    pub fn next(&self, now: Duration, preferred: Option<&str>) -> Option<Range> {
        let due = || self.ready().filter(|(job, _)| job.not_before <= now);
        let (job, to) = due().find(|(job, _)| Some(&*job.fill.coin_id) == preferred).or_else(|| due().next())?;
        Some(Range { id: job.id, coin_id: job.fill.coin_id.clone(), from: job.fill.from, to })
    }

    /// When the next stretch is due; none while nothing can be asked for.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.ready().map(|(job, _)| job.not_before).min()
    }

    /// A stretch is done with: it was fetched, or never will be.
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

    fn next(backfill: &Backfill, now: u64, preferred: Option<&str>) -> Option<(usize, Micros)> {
        backfill.next(Duration::from_secs(now), preferred).map(|r| (r.id, r.to))
    }

    #[test]
    fn the_selected_coin_comes_first_and_ranges_wait_for_their_end() {
        let mut backfill = Backfill::new(vec![fill("a", 0, Some(9)), fill("b", 0, None), fill("c", 0, Some(9)), fill("d", 9, Some(9))]);
        assert_eq!(next(&backfill, 0, None), Some((0, 9)));
        assert_eq!(next(&backfill, 0, Some("c")), Some((2, 9)));
        assert_eq!(next(&backfill, 0, Some("b")), Some((0, 9)), "no live tick yet");
        backfill.live("b", 5);
        backfill.live("b", 6);
        assert_eq!(next(&backfill, 0, Some("b")), Some((1, 5)), "up to the first");
        assert_eq!(next(&backfill, 0, Some("d")), Some((0, 9)), "nothing to fill");
        for id in 0..3 {
            backfill.done(id);
        }
        assert_eq!((next(&backfill, 0, None), backfill.due()), (None, None));
    }

    #[test]
    fn what_failed_is_tried_again_later() {
        let mut backfill = Backfill::new(vec![fill("a", 0, Some(9)), fill("b", 0, Some(9)), fill("stale", 5, None)]);
        backfill.live("stale", 3);
        assert_eq!((backfill.failed(0), backfill.failed(0)), (1, 2));
        backfill.postpone(0, Duration::from_secs(7));
        assert_eq!(next(&backfill, 0, Some("a")), Some((1, 9)));
        backfill.done(1);
        assert_eq!((next(&backfill, 6, None), backfill.due()), (None, Some(Duration::from_secs(7))));
        assert_eq!(next(&backfill, 7, None), Some((0, 9)));
    }
}
