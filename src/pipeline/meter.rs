//! Counters, timings and failures of the stages: written without waiting, read for snapshots.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::Notify;

use super::status::{Component, Failure, StageKind, StageState, StageStatus, Totals};
use crate::lake::Table;
use crate::market::Micros;
use crate::market::time::now;

/// The value of a mutex, also where a thread panicked that held it: every value here is consistent after each
/// step.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Timings in microseconds, 1 µs to 1 h, two digits.
#[derive(Debug)]
pub struct Timings(Mutex<Histogram<u64>>);

impl Default for Timings {
    fn default() -> Self {
        Self(Mutex::new(Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("constant bounds are valid")))
    }
}

impl Timings {
    pub fn note(&self, time: Duration) {
        if let Ok(mut histogram) = self.0.lock() {
            histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
        }
    }

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

/// How far the table that a stage reads was at some time.
///
/// While rows that were offered by then are still in the channel, what the table had is among them: reading it,
/// too, would process it twice. What is missing once they are taken ([`Meter::has_taken`]) was not handed over
/// and has to be read.
#[derive(Debug)]
pub struct Seen<T> {
    pub upto: T,
    /// Rows that had been offered to the stage by then.
    offered: u64,
}

#[derive(Debug)]
pub struct Meter {
    stage: StageKind,
    /// Rows offered to the stage by the one before.
    pub offered: AtomicU64,
    pub taken: AtomicU64,
    pub committed: AtomicU64,
    /// How long commits took, data files included.
    pub commits: Timings,
    facts: Mutex<Facts>,
}

impl Meter {
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
        change(&mut locked(&self.facts));
    }

    pub fn state(&self, state: StageState) {
        self.change(|facts| {
            if matches!(state, StageState::Restarting { .. }) {
                facts.restarts += 1;
            }
            facts.state = state;
        });
    }

    /// The stage has processed its input to the end and has stopped.
    pub fn drained(&self) {
        self.change(|facts| (facts.drained, facts.state) = (true, StageState::Stopped));
    }

    /// Whether the stage has processed its input to the end.
    pub fn is_drained(&self) -> bool {
        locked(&self.facts).drained
    }

    /// Notes how far the stage's input has been committed; see [`Seen`].
    pub fn seen<T>(&self, upto: T) -> Seen<T> {
        Seen { upto, offered: self.offered.load(Ordering::Relaxed) }
    }

    /// Whether everything that had been offered by then is processed.
    pub fn has_taken<T>(&self, seen: &Seen<T>) -> bool {
        self.taken.load(Ordering::Relaxed) >= seen.offered
    }

    /// Whether the stage runs and nothing that was offered to it waits.
    fn is_caught_up(&self) -> bool {
        let waits = !self.has_taken(&self.seen(()));
        let facts = locked(&self.facts);
        !waits && (facts.state == StageState::Ok || facts.drained)
    }

    /// Sets the figures of the stage's table.
    pub fn table(&self, table: &Table) {
        let (files, bytes) = (table.files().len(), table.files().map(|file| file.bytes()).sum());
        self.change(|facts| {
            (facts.version, facts.files, facts.bytes) = (Some(table.version()), files, bytes);
        });
    }

    /// Counts a commit of `rows` that took `time`, data files included.
    pub fn commit(&self, table: &Table, rows: u64, time: Duration) {
        self.committed.fetch_add(rows, Ordering::Relaxed);
        self.commits.note(time);
        self.table(table);
        self.change(|facts| (facts.last_commit, facts.commit_time) = (Some(now()), Some(time)));
    }

    fn status(&self, (in_per_second, out_per_second): (f64, f64)) -> StageStatus {
        let facts = locked(&self.facts);
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

/// The meters of a run.
#[derive(Debug)]
pub struct Meters {
    pub stages: [Meter; 4],
    /// From the reception of a batch's first record to its live candle.
    pub latency: Timings,
    /// Notified when something that a snapshot shows has changed.
    pub changed: Notify,
    /// Goes up with every change of gold or the alert log.
    pub revision: AtomicU64,
    totals: Mutex<Totals>,
    /// The last failure of each component that has had one.
    failures: Mutex<Vec<Failure>>,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            stages: StageKind::ALL.map(Meter::new),
            latency: Timings::default(),
            changed: Notify::new(),
            revision: AtomicU64::new(0),
            totals: Mutex::default(),
            failures: Mutex::default(),
        }
    }
}

impl Meters {
    pub fn of(&self, stage: StageKind) -> &Meter {
        &self.stages[stage as usize]
    }

    /// Whether nothing waits for this stage or one before it: all records that came in have passed it.
    pub fn is_caught_up(&self, stage: StageKind) -> bool {
        // In the order that rows take: one that moves on meanwhile is found at a later stage.
        self.stages.iter().take(stage as usize + 1).all(Meter::is_caught_up)
    }

    /// Whether all stages before this one have processed their input to the end.
    pub fn is_drained_before(&self, stage: StageKind) -> bool {
        self.stages.iter().take(stage as usize).all(Meter::is_drained)
    }

    pub fn count(&self, add: impl FnOnce(&mut Totals)) {
        add(&mut locked(&self.totals));
        self.changed.notify_one();
    }

    pub fn totals(&self) -> Totals {
        *locked(&self.totals)
    }

    /// Notes a failure; `why` has the cause first.
    pub fn failed(&self, component: Component, why: String) {
        let mut failures = locked(&self.failures);
        failures.retain(|failure| failure.component != component);
        failures.push(Failure { component, why, at: now(), ended: None });
        drop(failures);
        self.changed.notify_one();
    }

    /// Ends the component's failure, if it has one.
    pub fn works(&self, component: Component) {
        let mut failures = locked(&self.failures);
        let failing = |failure: &&mut Failure| failure.component == component && failure.ended.is_none();
        if let Some(failure) = failures.iter_mut().find(failing) {
            failure.ended = Some(now());
            self.changed.notify_one();
        }
    }

    /// The last failure of each component that has had one.
    pub fn failures(&self) -> Vec<Failure> {
        locked(&self.failures).clone()
    }

    /// Marks answers that were read from gold or the alert log as stale.
    pub fn revise(&self) {
        self.revision.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }
}

/// Rows processed and committed a second, by stage, over the last two seconds or more.
#[derive(Debug, Default)]
pub struct Rates {
    last: Option<(Instant, [(u64, u64); 4])>,
    rates: [(f64, f64); 4],
}

impl Rates {
    fn measure(&mut self, meters: &Meters) -> [(f64, f64); 4] {
        let read = meters
            .stages
            .each_ref()
            .map(|meter| (meter.taken.load(Ordering::Relaxed), meter.committed.load(Ordering::Relaxed)));
        let (at, before) = *self.last.get_or_insert((Instant::now(), read));
        let passed = at.elapsed().as_secs_f64();
        if passed >= 2.0 {
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let rate = |new: u64, old: u64| (new - old) as f64 / passed;
            for (i, rates) in self.rates.iter_mut().enumerate() {
                *rates = (rate(read[i].0, before[i].0), rate(read[i].1, before[i].1));
            }
            self.last = Some((Instant::now(), read));
        }
        self.rates
    }

    /// The figures of all stages, in order.
    pub fn stages(&mut self, meters: &Meters) -> Vec<StageStatus> {
        let rates = self.measure(meters);
        meters.stages.iter().zip(rates).map(|(meter, rates)| meter.status(rates)).collect()
    }
}

/// Resident memory of the process in bytes, now and at its peak; none where the system does not say.
pub fn memory() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}
