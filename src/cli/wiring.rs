//! Builds the parts' settings and handles (storage, queries, pipeline, channels) from the program's settings.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
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
use crate::text::chain;
use crate::tui;

/// How long a run over a finite source retries after a failure.
const GIVE_UP_AFTER: Duration = Duration::from_mins(1);

pub(super) fn storage(settings: &Settings) -> Result<Storage, LakeError> {
    Storage::new(&settings.storage)
}

/// The storage, for commands that need one.
///
/// # Errors
/// When its folder does not exist.
pub(super) fn existing_storage(settings: &Settings) -> anyhow::Result<Storage> {
    let storage = storage(settings)?;
    if !storage.root().is_dir() {
        bail!("there is no storage at {}", storage.root().display());
    }
    Ok(storage)
}

/// Columns of the terminal, if stdout is one.
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

/// The source whose candles are shown when there are several: the one that the user named, if any.
pub(super) fn preferred_source(settings: &Settings) -> Option<Arc<str>> {
    let label = || match settings.source {
        SourceKind::Replay => None, // a recording may hold records of any source
        kind => Some(kind.label().into()),
    };
    settings.from.clone().or_else(|| if settings.is_given("source") { label() } else { None })
}

pub(super) fn queries(settings: &Settings) -> anyhow::Result<Queries> {
    Ok(Queries::open(storage(settings)?, preferred_source(settings))?)
}

/// A limit on the memory of this process (`RLIMIT_DATA`). Restores the previous limit when dropped.
#[derive(Debug)]
pub(super) struct MemoryBound(Rlimit);

impl Drop for MemoryBound {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::Data, self.0); // the soft limit may always be raised to the hard one
    }
}

/// Limits the memory of this process to `bytes`: an allocation beyond it fails. Does nothing where the system
/// has no such limit.
pub(super) fn bound_memory(bytes: u64) -> MemoryBound {
    let before = getrlimit(Resource::Data);
    let current = Some(before.current.map_or(bytes, |current| current.min(bytes)));
    if let Err(error) = setrlimit(Resource::Data, Rlimit { current, ..before }) {
        tracing::debug!(%error, "memory stays unbounded");
    }
    MemoryBound(before)
}

pub(super) type Ends = (Connections, watch::Receiver<Arc<Snapshot>>, watch::Sender<Option<Arc<str>>>);

/// The channels between a pipeline and the dashboard: the pipeline's ends, the snapshots to show, and the
/// selected coin.
pub(super) fn connections(first: Snapshot, cancel: CancellationToken) -> Ends {
    let (snapshots, shown) = watch::channel(Arc::new(first));
    let (select, selected) = watch::channel(None);
    (Connections { snapshots, selected, cancel }, shown, select)
}

/// Runs the dashboard's queries.
#[derive(Debug, Clone)]
pub(super) struct Backend {
    queries: Queries,
    /// Answer for this source only.
    from: Option<Arc<str>>,
}

pub(super) fn backend(settings: &Settings) -> anyhow::Result<Backend> {
    Ok(Backend { queries: queries(settings)?, from: settings.from.clone() })
}

impl tui::Backend for Backend {
    async fn candles(&self, mut query: CandleQuery) -> Result<CandleSeries, String> {
        query.market.source = query.market.source.or_else(|| self.from.clone());
        self.queries.candles(query).await.map_err(|error| chain(&error))
    }

    async fn markets(&self) -> Result<Vec<MarketRow>, String> {
        self.queries.markets(self.from.clone()).await.map_err(|error| chain(&error))
    }

    async fn alerts(&self, limit: usize) -> Result<Vec<Alert>, String> {
        self.queries.alerts(limit).await.map_err(|error| chain(&error))
    }
}
