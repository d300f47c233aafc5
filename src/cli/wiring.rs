//! From settings to the parts' own settings.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::lake::{LakeError, Storage};
use crate::market::Alert;
use crate::pipeline::status::Snapshot;
use crate::pipeline::{Connections, PipelineSettings, WhenHeld};
use crate::query::{CandleQuery, CandleSeries, MarketRow, Queries};
use crate::source::SourceKind;
use crate::tui;

/// How long a run that is to end tries to get over a failure.
const GIVE_UP_AFTER: Duration = Duration::from_mins(1);

pub(super) fn storage(settings: &Settings) -> Result<Storage, LakeError> {
    Storage::new(&settings.storage)
}

/// Columns of the terminal that stdout is, if it is one.
pub(super) fn width() -> Option<usize> {
    std::io::stdout()
        .is_terminal()
        .then(|| crossterm::terminal::size().ok().map(|(columns, _)| columns.into()))
        .flatten()
}

pub(super) fn pipeline(settings: &Settings, when_held: WhenHeld) -> Result<PipelineSettings, LakeError> {
    let source = settings.source();
    Ok(PipelineSettings {
        storage: storage(settings)?,
        limits: settings.limits,
        rule: settings.rule.clone(),
        when_held: if settings.take_over { WhenHeld::TakeOver } else { when_held },
        give_up_after: source.is_finite().then_some(GIVE_UP_AFTER),
        source,
    })
}

/// The source whose candles are shown when there are several: the one that was asked for.
pub(super) fn preferred_source(settings: &Settings) -> Option<Arc<str>> {
    let label = || match settings.source {
        SourceKind::Replay => None, // a recording holds what it holds
        kind => Some(kind.label().into()),
    };
    settings.from.clone().or_else(|| if settings.is_given("source") { label() } else { None })
}

pub(super) fn queries(settings: &Settings) -> anyhow::Result<Queries> {
    Ok(Queries::open(storage(settings)?, preferred_source(settings))?)
}

/// A bound on the data that this process has in memory; dropped, the one before it is in force again.
#[derive(Debug)]
pub(super) struct MemoryBound(Rlimit);

impl Drop for MemoryBound {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::Data, self.0); // the soft limit may always be raised to the hard one
    }
}

/// Bounds the data that this process may have in memory: an allocation beyond it fails. Where the system
/// knows no such bound, nothing does.
pub(super) fn bound_memory(bytes: u64) -> MemoryBound {
    let before = getrlimit(Resource::Data);
    let current = Some(before.current.map_or(bytes, |current| current.min(bytes)));
    if let Err(error) = setrlimit(Resource::Data, Rlimit { current, ..before }) {
        tracing::debug!(%error, "memory stays unbounded");
    }
    MemoryBound(before)
}

pub(super) type Ends = (Connections, watch::Receiver<Arc<Snapshot>>, watch::Sender<Option<Arc<str>>>);

/// What connects a pipeline with those who watch it.
pub(super) fn connections(first: Snapshot, cancel: CancellationToken) -> Ends {
    let (snapshots, shown) = watch::channel(Arc::new(first));
    let (select, selected) = watch::channel(None);
    (Connections { snapshots, selected, cancel }, shown, select)
}

/// Answers the dashboard's questions.
#[derive(Debug, Clone)]
pub(super) struct Backend {
    pub(super) queries: Queries,
    pub(super) from: Option<Arc<str>>,
}

impl tui::Backend for Backend {
    async fn candles(&self, mut query: CandleQuery) -> Result<CandleSeries, String> {
        query.market.source = query.market.source.or_else(|| self.from.clone());
        self.queries.candles(query).await.map_err(|error| super::exit::chain(&error))
    }

    async fn markets(&self) -> Result<Vec<MarketRow>, String> {
        self.queries.markets(self.from.clone()).await.map_err(|error| super::exit::chain(&error))
    }

    async fn alerts(&self, limit: usize) -> Result<Vec<Alert>, String> {
        self.queries.alerts(limit).await.map_err(|error| super::exit::chain(&error))
    }
}
