//! The pipeline: one file a stage, the supervisor that owns all tasks, the status that the screen sees.
//!
//! A stage is one short loop, the same everywhere (`stage`): read from a position, apply a pure function,
//! commit with the position, hand on. Between the stages of one process batches go through bounded channels;
//! the tables are the truth, and whoever notices a gap in what was handed over reads it from them.

mod alerts;
mod bronze;
mod follow;
mod gold;
pub mod meter;
pub mod monitor;
mod publish;
mod silver;
mod stage;
pub mod status;
pub mod summary;
pub mod supervisor;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::status::Snapshot;
use crate::alert::rule::Rule;
use crate::lake::{LakeError, Storage};
use crate::source::replay::Speed;
use crate::source::{SourceError, coingecko, simulator};
use crate::transport::direct::BatchLimits;

pub use stage::StageError;

/// The source to run, with its settings.
#[derive(Debug, Clone)]
pub enum SourceSettings {
    /// Live prices.
    CoinGecko(Box<coingecko::CoinGeckoSettings>),
    /// A recording; `-` is standard input.
    Replay {
        /// The file.
        input: PathBuf,
        /// How fast.
        speed: Speed,
    },
    /// A made-up market.
    Simulator(simulator::SimulatorSettings),
}

/// What to do when another process feeds the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenHeld {
    /// Give up.
    Fail,
    /// Look on and take its place when it ends.
    Wait,
    /// Take its place now.
    TakeOver,
}

/// All that the pipeline needs to know.
#[derive(Debug, Clone)]
pub struct PipelineSettings {
    /// Where the tables are.
    pub storage: Storage,
    /// Where records come from.
    pub source: SourceSettings,
    /// When batches are closed.
    pub limits: BatchLimits,
    /// When candles raise alerts.
    pub rule: Rule,
    /// What to do when another process feeds the storage.
    pub when_held: WhenHeld,
    /// How long a stage that keeps failing is started again before the run ends with the cause; none: for
    /// ever. For sources that end, so that their runs end, too.
    pub give_up_after: Option<Duration>,
}

/// Why the pipeline ended early.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// Another process feeds the storage.
    #[error("another process feeds {}; stop it, or take its place with --take-over", .0.display())]
    Held(PathBuf),
    /// The source failed for good.
    #[error("the source failed")]
    Source(#[from] SourceError),
    /// A stage failed for good.
    #[error("stage {stage} failed")]
    Stage {
        /// Which one.
        stage: &'static str,
        /// Why.
        #[source]
        source: StageError,
    },
    /// The storage cannot be used.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The query engine cannot be used.
    #[error("cannot look for gaps in the candles")]
    Query(#[source] crate::query::QueryError),
    /// A task panicked: a defect of this program.
    #[error("{0} ended by a panic")]
    Panicked(&'static str),
}

/// What the pipeline is connected to.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Gets a snapshot whenever there is something new to show.
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    /// The coin that the user looks at: its history is fetched first.
    pub selected: watch::Receiver<Option<Arc<str>>>,
    /// Ends the run in good order.
    pub cancel: CancellationToken,
}
