//! From settings to the parts' own settings.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::alert::rule::Rule;
use crate::config::{Backfill, Color, Plan, Rate, Settings, Speed, Theme};
use crate::lake::{LakeError, Storage};
use crate::market::{Alert, Micros};
use crate::pipeline::status::Snapshot;
use crate::pipeline::{Connections, PipelineSettings, SourceSettings, WhenHeld};
use crate::query::{CandleQuery, CandleSeries, MarketRow, Queries};
use crate::source::SourceKind;
use crate::source::coingecko::{self, ApiKey, History, KeyKind};
use crate::source::replay;
use crate::source::simulator;
use crate::transport::direct::BatchLimits;
use crate::tui;

/// How long a run that is to end tries to get over a failure.
const GIVE_UP_AFTER: Duration = Duration::from_mins(1);

fn micros(time: Duration) -> Micros {
    Micros::try_from(time.as_micros()).unwrap_or(Micros::MAX)
}

pub(super) fn storage(settings: &Settings) -> Result<Storage, LakeError> {
    Storage::new(&settings.storage)
}

/// Whether colours are wanted, terminal or not.
pub(super) fn color(settings: &Settings) -> bool {
    settings.ui.color == Color::Auto
}

/// Columns of the terminal that stdout is, if it is one.
pub(super) fn width() -> Option<usize> {
    std::io::stdout()
        .is_terminal()
        .then(|| crossterm::terminal::size().ok().map(|(columns, _)| columns.into()))
        .flatten()
}

pub(super) fn source(settings: &Settings) -> SourceSettings {
    let coins = || settings.coins.iter().map(ToString::to_string).collect::<Vec<_>>();
    match settings.source {
        SourceKind::Coingecko => {
            let given = &settings.coingecko;
            SourceSettings::CoinGecko(Box::new(coingecko::CoinGeckoSettings {
                base_url: Some(given.base_url.clone()),
                key: given.api_key.as_ref().map(|key| ApiKey {
                    kind: match given.plan {
                        Plan::Demo => KeyKind::Demo,
                        Plan::Pro => KeyKind::Pro,
                    },
                    secret: key.expose().to_owned(),
                }),
                coins: coins(),
                vs_currency: settings.quote.clone(),
                poll: settings.poll,
                connect_timeout: given.connect_timeout,
                timeout: given.timeout,
                history: match settings.backfill {
                    Backfill::Off => History::Off,
                    Backfill::Day => History::Day,
                    Backfill::Week => History::Week,
                },
                ..coingecko::CoinGeckoSettings::default()
            }))
        }
        SourceKind::Replay => SourceSettings::Replay {
            input: settings.input.clone().unwrap_or_default(),
            speed: match settings.speed {
                Speed::Max => replay::Speed::Max,
                Speed::Times(times) => replay::Speed::Times(times),
            },
        },
        SourceKind::Simulator => {
            let given = &settings.simulator;
            SourceSettings::Simulator(simulator::SimulatorSettings {
                seed: given.seed,
                coins: given.markets.map_or_else(coins, simulator::coins),
                rate: match given.rate {
                    Rate::Max => simulator::Rate::Max,
                    Rate::PerSecond(rate) => simulator::Rate::PerSecond(rate),
                },
                events: given.events,
                start: given.start,
                tick: given.tick,
            })
        }
    }
}

pub(super) fn rule(settings: &Settings) -> Rule {
    let given = &settings.alerts;
    Rule {
        threshold: given.threshold,
        overrides: given.overrides.clone(),
        cooldown: micros(given.cooldown),
        max_age: micros(given.max_age),
    }
}

pub(super) fn pipeline(settings: &Settings, when_held: WhenHeld) -> Result<PipelineSettings, LakeError> {
    let is_finite = match settings.source {
        SourceKind::Replay => true,
        SourceKind::Simulator => settings.simulator.events.is_some(),
        SourceKind::Coingecko => false,
    };
    Ok(PipelineSettings {
        storage: storage(settings)?,
        source: source(settings),
        limits: BatchLimits { latency: settings.batch_latency, records: settings.batch_records },
        rule: rule(settings),
        when_held: if settings.take_over { WhenHeld::TakeOver } else { when_held },
        give_up_after: is_finite.then_some(GIVE_UP_AFTER),
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

pub(super) fn dashboard(settings: &Settings) -> tui::DashboardSettings {
    tui::DashboardSettings {
        theme: match settings.ui.theme {
            Theme::Default => tui::theme::ThemeKind::Default,
            Theme::Truecolor => tui::theme::ThemeKind::Truecolor,
            Theme::Colorblind => tui::theme::ThemeKind::Colorblind,
            Theme::Mono => tui::theme::ThemeKind::Mono,
        },
        red_up: settings.ui.red_up,
        no_color: !color(settings),
        zone: if settings.ui.utc { tui::format::Zone::Utc } else { tui::format::Zone::Local },
        interval: settings.ui.interval,
        coin: None,
    }
}
