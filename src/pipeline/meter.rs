//! How a stage reports what it does: counters and timings, read by the supervisor, never waited on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::Notify;

use super::status::{StageKind, StageState, StageStatus, Totals};
use crate::lake::Table;
use crate::market::Micros;
use crate::market::time::now;

/// Timings in microseconds, 1 µs to 1 h, two digits.
#[derive(Debug)]
pub struct Timings(Mutex<Histogram<u64>>);

impl Default for Timings {
    fn default() -> Self {
        Self(Mutex::new(Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("constant bounds are valid")))
    }
}

impl Timings {
    /// Notes one.
    pub fn note(&self, time: Duration) {
        if let Ok(mut histogram) = self.0.lock() {
            histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
        }
    }

    /// How many were noted.
    pub fn count(&self) -> u64 {
        self.0.lock().map_or(0, |histogram| histogram.len())
    }

    /// Median and 99th percentile; none where nothing was noted.
    pub fn percentiles(&self) -> Option<(Duration, Duration)> {
        let histogram = self.0.lock().ok()?;
        let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| (at(0.5), at(0.99)))
    }
}

#[derive(Debug)]
struct Facts {
    state: StageState,
    version: Option<u64>,
    last_commit: Option<Micros>,
    commit_time: Option<Duration>,
    files: usize,
    bytes: u64,
    restarts: u32,
    drained: bool,
}

/// A stage's look at the table that it reads.
#[derive(Debug)]
pub struct Seen<T> {
    /// How far the table was.
    pub upto: T,
    /// Rows that had been offered to the stage by then.
    offered: u64,
}

/// The figures of one stage.
#[derive(Debug)]
pub struct Meter {
    stage: StageKind,
    /// Rows offered to the stage by the one before.
    pub offered: AtomicU64,
    /// Rows worked off.
    pub taken: AtomicU64,
    /// Rows committed.
    pub committed: AtomicU64,
    /// How long commits took, data files included.
    pub commits: Timings,
    facts: Mutex<Facts>,
}

impl Meter {
    /// A meter at zero.
    pub fn new(stage: StageKind) -> Self {
        Self {
            stage,
            offered: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            commits: Timings::default(),
            facts: Mutex::new(Facts {
                state: StageState::Recovering,
                version: None,
                last_commit: None,
                commit_time: None,
                files: 0,
                bytes: 0,
                restarts: 0,
                drained: false,
            }),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// The stage's state is now this.
    pub fn state(&self, state: StageState) {
        self.change(|facts| {
            if matches!(state, StageState::Restarting { .. }) {
                facts.restarts += 1;
            }
            facts.state = state;
        });
    }

    /// The stage has taken all of its input, to the end, and has stopped.
    pub fn drained(&self) {
        self.change(|facts| (facts.drained, facts.state) = (true, StageState::Stopped));
    }

    /// Whether the stage has taken all of its input, to the end.
    pub fn is_drained(&self) -> bool {
        self.facts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).drained
    }

    /// How far the stage's input has been committed, to be looked at again once what was offered up to now is
    /// worked off.
    pub fn seen<T>(&self, upto: T) -> Seen<T> {
        Seen { upto, offered: self.offered.load(Ordering::Relaxed) }
    }

    /// Whether everything that had been offered at a look is worked off. What is missing up to there was not
    /// handed over.
    pub fn has_taken<T>(&self, seen: &Seen<T>) -> bool {
        self.taken.load(Ordering::Relaxed) >= seen.offered
    }

    /// Whether the stage is at work and nothing that was offered to it waits.
    fn is_caught_up(&self) -> bool {
        let waits = !self.has_taken(&self.seen(()));
        let facts = self.facts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        !waits && (facts.state == StageState::Ok || facts.drained)
    }

    /// The stage looked at its table.
    pub fn table(&self, table: &Table) {
        let (files, bytes) = (table.files().len(), table.files().map(|file| file.bytes()).sum());
        self.change(|facts| {
            (facts.version, facts.files, facts.bytes) = (Some(table.version()), files, bytes);
        });
    }

    /// The stage committed `rows` to its table in this time.
    pub fn commit(&self, table: &Table, rows: u64, time: Duration) {
        self.committed.fetch_add(rows, Ordering::Relaxed);
        self.commits.note(time);
        self.table(table);
        self.change(|facts| (facts.last_commit, facts.commit_time) = (Some(now()), Some(time)));
    }

    /// What the screen is told; the rates are the caller's to measure.
    pub fn status(&self, in_per_second: f64, out_per_second: f64) -> StageStatus {
        let facts = self.facts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let taken = self.taken.load(Ordering::Relaxed);
        StageStatus {
            stage: self.stage,
            state: facts.state.clone(),
            rows_in: taken,
            rows_out: self.committed.load(Ordering::Relaxed),
            in_per_second,
            out_per_second,
            lag: self.offered.load(Ordering::Relaxed).saturating_sub(taken),
            version: facts.version,
            last_commit: facts.last_commit,
            commit_time: facts.commit_time,
            files: facts.files,
            bytes: facts.bytes,
            restarts: facts.restarts,
        }
    }
}

/// What all stages share with the supervisor.
#[derive(Debug)]
pub struct Meters {
    /// One a stage, in order.
    pub stages: [Meter; 4],
    /// From the reception of a batch's first record to its live candle.
    pub latency: Timings,
    /// Wakes the supervisor: something to show has changed.
    pub changed: Notify,
    /// Goes up with every change of gold or the alert log.
    pub revision: AtomicU64,
    totals: Mutex<Totals>,
    last_error: Mutex<Option<(Micros, String)>>,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            stages: StageKind::ALL.map(Meter::new),
            latency: Timings::default(),
            changed: Notify::new(),
            revision: AtomicU64::new(0),
            totals: Mutex::default(),
            last_error: Mutex::default(),
        }
    }
}

impl Meters {
    /// A stage's meter.
    pub fn of(&self, stage: StageKind) -> &Meter {
        &self.stages[stage as usize]
    }

    /// Whether nothing waits for or before a stage: all records that came in have passed it.
    pub fn is_caught_up(&self, stage: StageKind) -> bool {
        // In the order that rows take: one that moves on meanwhile is met later on.
        self.stages.iter().take(stage as usize + 1).all(Meter::is_caught_up)
    }

    /// Whether all stages before this one have taken all of their input, to the end.
    pub fn is_drained_before(&self, stage: StageKind) -> bool {
        self.stages.iter().take(stage as usize).all(Meter::is_drained)
    }

    /// Adds to the totals.
    pub fn count(&self, add: impl FnOnce(&mut Totals)) {
        add(&mut self.totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// The totals.
    pub fn totals(&self) -> Totals {
        *self.totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Notes a failure for the screen.
    pub fn error(&self, why: String) {
        *self.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((now(), why));
        self.changed.notify_one();
    }

    /// The last failure.
    pub fn last_error(&self) -> Option<(Micros, String)> {
        self.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Answers read from gold or the alert log are stale now.
    pub fn revise(&self) {
        self.revision.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }
}
