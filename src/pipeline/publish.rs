//! Snapshots for the screen: of a pipeline in this process, or of a storage that another one feeds.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::meter::Meters;
use super::monitor::Monitor;
use super::status::{Cooling, Live, Role, Snapshot};
use super::summary::memory;
use super::supervisor::{Connections, PipelineSettings};
use crate::lake::{LakeError, Storage};
use crate::market::time::now;
use crate::source;
use crate::text::chain;

/// What the stages tell the supervisor.
#[derive(Debug, Default, Clone)]
pub(super) struct Shared {
    pub(super) meters: Arc<Meters>,
    pub(super) live: Arc<Mutex<Arc<Vec<Live>>>>,
    pub(super) cooling: Arc<Mutex<Arc<Vec<Cooling>>>>,
}

/// Rows a second of every stage, smoothed.
#[derive(Debug, Default)]
pub(super) struct Rates {
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
}

/// What the screen is told now.
pub(super) fn snapshot(
    shared: &Shared,
    source: Option<source::SourceStatus>,
    role: Role,
    rates: &mut Rates,
    alert_threshold: f64,
) -> Snapshot {
    let meters = &shared.meters;
    let rates = rates.measure(meters);
    Snapshot {
        role,
        source,
        stages: meters
            .stages
            .iter()
            .zip(rates)
            .map(|(meter, (taken, committed))| meter.status(taken, committed))
            .collect(),
        totals: meters.totals(),
        live: Arc::clone(&shared.live.lock().unwrap_or_else(PoisonError::into_inner)),
        cooling: Arc::clone(&shared.cooling.lock().unwrap_or_else(PoisonError::into_inner)),
        revision: meters.revision.load(Ordering::Relaxed),
        last_error: meters.last_error(),
        memory: memory().map(|(now, _)| now),
        alert_threshold,
        at: now(),
    }
}

/// Shows a storage that another process feeds, until cancelled.
pub async fn monitor(storage: Storage, alert_threshold: f64, connections: Connections) {
    let mut onlooker = Onlooker::new(storage, alert_threshold);
    let role = || Role::Monitor { why: "only looking on".to_owned(), takes_over: false };
    while onlooker.look(role(), &connections).await == Looking::On {}
}

/// A snapshot of what a storage holds now.
///
/// # Errors
/// What the storage says.
pub async fn picture(settings: &PipelineSettings) -> Result<Snapshot, LakeError> {
    let mut onlooker = Onlooker::new(settings.storage.clone(), settings.rule.threshold);
    let live = onlooker.monitor.look(&onlooker.shared.meters).await?.unwrap_or_default();
    *onlooker.shared.live.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
    let role = Role::Monitor { why: "a picture".to_owned(), takes_over: false };
    Ok(snapshot(&onlooker.shared, None, role, &mut onlooker.rates, onlooker.alert_threshold))
}

/// Whether to go on looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looking {
    On,
    Cancelled,
}

/// Makes snapshots of a storage from its tables alone.
pub(super) struct Onlooker {
    monitor: Monitor,
    shared: Shared,
    rates: Rates,
    alert_threshold: f64,
}

impl Onlooker {
    pub(super) fn new(storage: Storage, alert_threshold: f64) -> Self {
        Self {
            monitor: Monitor::new(storage),
            shared: Shared::default(),
            rates: Rates::default(),
            alert_threshold,
        }
    }

    /// Publishes what the tables hold now, and waits for a second.
    pub(super) async fn look(&mut self, role: Role, connections: &Connections) -> Looking {
        match self.monitor.look(&self.shared.meters).await {
            Ok(Some(live)) => {
                *self.shared.live.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
                self.shared.meters.revise();
            }
            Ok(None) => {}
            Err(error) => self.shared.meters.error(chain(&error)),
        }
        let snapshot = snapshot(&self.shared, None, role, &mut self.rates, self.alert_threshold);
        connections.snapshots.send_replace(Arc::new(snapshot));
        tokio::select! {
            () = connections.cancel.cancelled() => Looking::Cancelled,
            () = tokio::time::sleep(Duration::from_secs(1)) => Looking::On,
        }
    }
}
