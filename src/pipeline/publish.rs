//! Snapshots for the screen: of a pipeline in this process, or of a storage that another one feeds.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::meter::{Meters, Rates, locked, memory};
use super::monitor::Monitor;
use super::status::{Component, Cooling, Failure, Live, Role, Snapshot, StageState};
use super::{Connections, PipelineSettings};
use crate::lake::{LakeError, Storage};
use crate::market::time::now;
use crate::source::SourceStatus;
use crate::text::cause_first;

/// The shortest time between two snapshots.
const PUBLISH_EVERY: Duration = Duration::from_millis(50);
/// The longest.
const PUBLISH_AT_LEAST: Duration = Duration::from_millis(500);

/// What the stages write for snapshots.
#[derive(Debug, Default, Clone)]
pub(super) struct Shared {
    pub(super) meters: Arc<Meters>,
    pub(super) live: Arc<Mutex<Arc<Vec<Live>>>>,
    pub(super) cooling: Arc<Mutex<Arc<Vec<Cooling>>>>,
}

/// Writes each notice of the source to the log once when it appears and once when it is gone, with or without
/// a screen.
#[derive(Debug, Default)]
pub(super) struct Notices(Vec<String>);

impl Notices {
    pub(super) fn log(&mut self, source: &SourceStatus) {
        let (gone, new) = self.change(&source.notices);
        for notice in new {
            tracing::warn!(source = source.kind.label(), "{notice}");
        }
        for notice in gone {
            tracing::info!(source = source.kind.label(), "no longer: {notice}");
        }
    }

    /// The notices that are gone and those that are new. One whose figures alone have changed is the same.
    fn change(&mut self, now: &[String]) -> (Vec<String>, Vec<String>) {
        if self.0 == now {
            return (Vec::new(), Vec::new());
        }
        let key = |notice: &String| {
            notice.split(' ').filter(|word| !word.contains(|c: char| c.is_ascii_digit())).collect::<String>()
        };
        let without = |these: &[String], those: &[String]| {
            let keys: Vec<String> = those.iter().map(key).collect();
            these.iter().filter(|notice| !keys.contains(&key(notice))).cloned().collect()
        };
        let change = (without(&self.0, now), without(now, &self.0));
        self.0 = now.to_vec();
        change
    }
}

/// Publishes snapshots of a running pipeline, and writes the source's notices to the log.
pub(super) struct Publisher {
    shared: Shared,
    source: watch::Receiver<SourceStatus>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    alert_threshold: f64,
    rates: Rates,
    notices: Notices,
}

impl Publisher {
    pub(super) fn new(
        shared: Shared,
        source: watch::Receiver<SourceStatus>,
        snapshots: watch::Sender<Arc<Snapshot>>,
        alert_threshold: f64,
    ) -> Self {
        let (rates, notices) = (Rates::default(), Notices::default());
        Self { shared, source, snapshots, alert_threshold, rates, notices }
    }

    pub(super) fn publish(&mut self) {
        let source = self.source.borrow().clone();
        self.notices.log(&source);
        let snapshot =
            snapshot(&self.shared, Some(source), Role::Pipeline, &mut self.rates, self.alert_threshold);
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    /// Waits until the next snapshot is due.
    pub(super) async fn due(&self) {
        let changed = async {
            tokio::time::sleep(PUBLISH_EVERY).await;
            self.shared.meters.changed.notified().await;
        };
        let _ = tokio::time::timeout(PUBLISH_AT_LEAST, changed).await;
    }
}

/// Shows a failure that ends the run, in the last snapshot.
pub(super) fn failed(snapshots: &watch::Sender<Arc<Snapshot>>, why: String) {
    snapshots.send_modify(|last| {
        let mut snapshot = Snapshot::clone(last);
        let at = now();
        snapshot.last_error = Some(Failure { component: Component::Pipeline, why, at, ended: None });
        snapshot.stages.iter_mut().for_each(|stage| stage.state = StageState::Stopped);
        *last = Arc::new(snapshot);
    });
}

/// The newest failure that is not over, else the newest of those that are.
fn last_error(meters: &Meters) -> Option<Failure> {
    meters.failures().into_iter().max_by_key(|failure| (failure.ended.is_none(), failure.at))
}

pub(super) fn snapshot(
    shared: &Shared,
    source: Option<SourceStatus>,
    role: Role,
    rates: &mut Rates,
    alert_threshold: f64,
) -> Snapshot {
    let meters = &shared.meters;
    Snapshot {
        role,
        source,
        stages: rates.stages(meters),
        totals: meters.totals(),
        live: Arc::clone(&locked(&shared.live)),
        cooling: Arc::clone(&locked(&shared.cooling)),
        revision: meters.revision.load(Ordering::Relaxed),
        last_error: last_error(meters),
        memory: memory().map(|(now, _)| now),
        alert_threshold,
        at: now(),
    }
}

/// Shows a storage that another process feeds, until cancelled.
pub async fn monitor(storage: Storage, alert_threshold: f64, connections: Connections) {
    let mut publisher = MonitorPublisher::new(storage, alert_threshold);
    let role = || Role::Monitor { why: "read-only".to_owned(), takes_over: false };
    while publisher.publish(role(), &connections).await.is_continue() {}
}

/// A snapshot of what a storage holds now.
///
/// # Errors
/// What the storage says.
pub async fn picture(settings: &PipelineSettings) -> Result<Snapshot, LakeError> {
    let mut publisher = MonitorPublisher::new(settings.storage.clone(), settings.rule.threshold);
    let live = publisher.monitor.refresh(&publisher.shared.meters).await?.unwrap_or_default();
    *locked(&publisher.shared.live) = Arc::new(live);
    let role = Role::Monitor { why: "a picture".to_owned(), takes_over: false };
    Ok(snapshot(&publisher.shared, None, role, &mut publisher.rates, publisher.alert_threshold))
}

/// Publishes snapshots of a storage that are made from its tables alone.
pub(super) struct MonitorPublisher {
    monitor: Monitor,
    shared: Shared,
    rates: Rates,
    alert_threshold: f64,
    /// The failure of the last read, if it failed, for the log.
    failures: Notices,
}

impl MonitorPublisher {
    pub(super) fn new(storage: Storage, alert_threshold: f64) -> Self {
        Self {
            monitor: Monitor::new(storage),
            shared: Shared::default(),
            rates: Rates::default(),
            alert_threshold,
            failures: Notices::default(),
        }
    }

    /// Publishes what the tables hold now, and waits for a second. A failure to read them is logged when its
    /// cause changes and when it ends.
    pub(super) async fn publish(&mut self, role: Role, connections: &Connections) -> ControlFlow<()> {
        let mut failing = Vec::new();
        match self.monitor.refresh(&self.shared.meters).await {
            Ok(Some(live)) => {
                self.shared.meters.works(Component::Monitor);
                *locked(&self.shared.live) = Arc::new(live);
                self.shared.meters.revise();
            }
            Ok(None) => self.shared.meters.works(Component::Monitor),
            Err(error) => {
                failing.push(cause_first(&error));
                self.shared.meters.failed(Component::Monitor, failing[0].clone());
            }
        }
        let (ended, new) = self.failures.change(&failing);
        for error in new {
            tracing::warn!(error, "the tables cannot be read, trying again every second");
        }
        if failing.is_empty() {
            for error in ended {
                tracing::info!(error, "the tables can be read again");
            }
        }
        let snapshot = snapshot(&self.shared, None, role, &mut self.rates, self.alert_threshold);
        connections.snapshots.send_replace(Arc::new(snapshot));
        tokio::select! {
            () = connections.cancel.cancelled() => ControlFlow::Break(()),
            () = tokio::time::sleep(Duration::from_secs(1)) => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::lake::{Table, TableKind};

    #[test]
    fn a_notice_is_new_once_and_gone_once_whatever_its_figures() {
        let list = |notices: &[&str]| notices.iter().map(|notice| (*notice).to_owned()).collect::<Vec<_>>();
        let mut notices = Notices::default();
        let (clock, later) =
            ("this clock is 2h behind the server's", "this clock is 1h 59m 59s behind the server's");
        let coin = "not in the answer: bitcorn (is the id right?)";
        assert_eq!(notices.change(&list(&[clock])), (list(&[]), list(&[clock])));
        assert_eq!(notices.change(&list(&[clock])), (list(&[]), list(&[])));
        assert_eq!(notices.change(&list(&[later, coin])), (list(&[]), list(&[coin])));
        assert_eq!(notices.change(&list(&[later])), (list(&[coin]), list(&[])));
        assert_eq!(notices.change(&list(&[])), (list(&[later]), list(&[])));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failure_to_read_the_tables_is_logged_once_and_so_is_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let (root, log) = (folder.path().join("storage"), folder.path().join("log"));
        let storage = Storage::new(&root).unwrap();
        for kind in [TableKind::Silver, TableKind::Gold] {
            Table::open_or_create(&storage, kind).await.unwrap();
        }
        let writer = Arc::new(std::fs::File::create(&log).unwrap());
        let subscriber = tracing_subscriber::fmt().with_env_filter("cryptostream").with_ansi(false);
        let subscriber = subscriber.with_writer(writer).finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let blank = snapshot(&Shared::default(), None, Role::Pipeline, &mut Rates::default(), 0.02);
        let (snapshots, _shown) = watch::channel(Arc::new(blank));
        let (_select, selected) = watch::channel(None);
        let connections = Connections { snapshots, selected, cancel: CancellationToken::new() };
        connections.cancel.cancel(); // so that no look waits
        let mut publisher = MonitorPublisher::new(storage, 0.02);
        let broken = root.join(TableKind::Gold.path()).join("_delta_log/00000000000000000001.json");
        for is_broken in [true, true, true, false, false] {
            if is_broken {
                std::fs::write(&broken, "{").unwrap();
            } else {
                let _ = std::fs::remove_file(&broken);
            }
            let _ = publisher.publish(Role::Pipeline, &connections).await;
        }
        let text = std::fs::read_to_string(&log).unwrap();
        let count = |text: &str, part: &str| text.matches(part).count();
        assert_eq!((count(&text, " WARN "), count(&text, "cannot be read")), (1, 1), "{text}");
        assert_eq!(count(&text, "can be read again"), 1, "{text}");
    }

    #[test]
    fn a_failure_that_lasts_comes_before_a_newer_one_that_is_over() {
        let meters = Meters::default();
        let why = |meters: &Meters| last_error(meters).map(|failure| (failure.why, failure.ended.is_some()));
        meters.failed(Component::Source, "connection refused".to_owned());
        meters.failed(Component::Monitor, "no such file".to_owned());
        meters.works(Component::Monitor);
        assert_eq!(why(&meters), Some(("connection refused".to_owned(), false)));
        meters.works(Component::Source);
        assert!(why(&meters).is_some_and(|(_, ended)| ended));
    }
}
