//! What the screen and the summary show of the pipeline: one immutable [`Snapshot`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use crate::source::{SourceKind, SourceState, SourceStatus};

use crate::market::{Candle, Market, Micros};

/// Whether this process feeds the storage or only reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    Pipeline,
    /// Another process feeds the storage; this one takes its place when the lock is free (if `takes_over`).
    Monitor {
        why: String,
        takes_over: bool,
    },
}

/// The stages, in the order that data passes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StageKind {
    Bronze,
    Silver,
    Gold,
    Alerts,
}

impl StageKind {
    pub const ALL: [Self; 4] = [Self::Bronze, Self::Silver, Self::Gold, Self::Alerts];

    /// `bronze`, `silver`, `gold`, `alerts`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Bronze => "bronze",
            Self::Silver => "silver",
            Self::Gold => "gold",
            Self::Alerts => "alerts",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum StageState {
    /// Rebuilding its state from the tables.
    Recovering,
    Ok,
    /// It failed and will be restarted.
    Restarting {
        /// Clock time of the restart.
        at: Micros,
        /// The cause first, without the stage's name.
        why: String,
    },
    /// It ended: its input is processed, or it failed for good.
    Stopped,
}

/// Figures of one stage since the start of the process.
#[derive(Debug, Clone)]
pub struct StageStatus {
    pub stage: StageKind,
    pub state: StageState,
    /// Rows taken in.
    pub rows_in: u64,
    /// Rows committed.
    pub rows_out: u64,
    /// Rows taken in a second, over the last few seconds.
    pub in_per_second: f64,
    /// Rows committed a second, over the last few seconds.
    pub out_per_second: f64,
    /// Rows handed over by the previous stage and not yet processed.
    pub lag: u64,
    /// Version of its table.
    pub version: Option<u64>,
    /// Clock time of the last commit.
    pub last_commit: Option<Micros>,
    /// How long the last commit took.
    pub commit_time: Option<Duration>,
    /// Live data files of its table.
    pub files: usize,
    /// Bytes in them.
    pub bytes: u64,
    pub restarts: u32,
}

/// What can fail independently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    Source,
    Stage(StageKind),
    /// Maintenance of the table of this name.
    Maintenance(&'static str),
    /// Reading the tables that another process writes.
    Monitor,
    /// The run as a whole.
    Pipeline,
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("source"),
            Self::Stage(stage) => f.write_str(stage.label()),
            Self::Maintenance(table) => write!(f, "maintenance of {table}"),
            Self::Monitor => f.write_str("monitor"),
            Self::Pipeline => f.write_str("pipeline"),
        }
    }
}

/// A failure, which may be over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub component: Component,
    /// The cause first, without the component's name.
    pub why: String,
    /// Clock time of the last failure.
    pub at: Micros,
    /// Clock time at which the component worked again; none: it still fails.
    pub ended: Option<Micros>,
}

/// `silver: no space left on device (…)`
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.component, self.why)
    }
}

/// Sums since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records committed to bronze.
    pub records: u64,
    /// Ticks committed to silver.
    pub ticks: u64,
    /// Valid ticks dropped because silver has them.
    pub duplicates: u64,
    /// Rows committed to quarantine.
    pub rejected: u64,
    /// Candles closed.
    pub candles: u64,
    /// Candles recomputed for ticks that came late.
    pub restated: u64,
    /// Alerts logged.
    pub alerts: u64,
    /// Alerts held back by the cool-down.
    pub cooled_down: u64,
}

/// The newest price of a market and its still open candles.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    pub market: Arc<Market>,
    /// Ticker symbol, as the source gives it.
    pub symbol: Option<Arc<str>>,
    /// Newest price, by event time.
    pub price: f64,
    /// Its event time.
    pub event_time: Micros,
    /// Traded value of the last 24 hours as the source says, in quote currency.
    pub volume_24h: Option<f64>,
    /// Change over 24 hours, percent, that the source gave with this price.
    pub change_24h: Option<f64>,
    /// One-minute candles that are not yet in gold, oldest first.
    pub open: Vec<Candle>,
}

/// A market in its cool-down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cooling {
    pub market: Arc<Market>,
    /// Start of the first window that may alert again (event time).
    pub until: Micros,
}

/// Everything that the screen shows beside the answers of queries.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub role: Role,
    /// The source; none for a monitor.
    pub source: Option<SourceStatus>,
    /// In the order of [`StageKind::ALL`].
    pub stages: Vec<StageStatus>,
    pub totals: Totals,
    /// The markets with ticks in this process, ordered by market.
    pub live: Arc<Vec<Live>>,
    /// Markets whose alerts are held back.
    pub cooling: Arc<Vec<Cooling>>,
    /// Changes whenever gold or the alert log has changed: answers that were read from them before are stale.
    pub revision: u64,
    /// The newest failure that is not over, else the newest of those that are.
    pub last_error: Option<Failure>,
    /// Resident memory of the process in bytes, where it is known.
    pub memory: Option<u64>,
    /// Volatility above which a candle raises an alert, percent.
    pub alert_threshold: f64,
    /// Clock time of this snapshot.
    pub at: Micros,
}
