//! Where records come from. A source delivers records unchanged and reports its state in a [`SourceStatus`]; of
//! the records it parses only what it needs to schedule its work (ids, times, prices).

pub mod coingecko;
mod error;
mod peek;
pub mod record;
pub mod replay;
pub mod simulator;
mod status;

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::coingecko::{CoinGecko, CoinGeckoSettings};
use self::replay::{Replay, ReplaySettings, Speed};
use self::simulator::{Rate, Simulator, SimulatorSettings};
use crate::market::records::Delivery;
use crate::market::time::now;
use crate::market::{Micros, Stream};

pub use self::error::SourceError;
pub use self::status::{SourceState, SourceStatus};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SourceKind {
    /// Polls `CoinGecko`'s `/coins/markets`.
    Coingecko,
    /// Reads a recording: NDJSON, plain or gzip.
    Replay,
    /// Generates a market from a seed.
    Simulator,
}

impl SourceKind {
    /// `coingecko`, `replay`, `simulator`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Coingecko => "coingecko",
            Self::Replay => "replay",
            Self::Simulator => "simulator",
        }
    }
}

/// A source with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    CoinGecko(Box<CoinGeckoSettings>),
    Replay(ReplaySettings),
    Simulator(SimulatorSettings),
}

impl Source {
    pub const fn kind(&self) -> SourceKind {
        match self {
            Self::CoinGecko(_) => SourceKind::Coingecko,
            Self::Replay(_) => SourceKind::Replay,
            Self::Simulator(_) => SourceKind::Simulator,
        }
    }

    /// Number of coins requested; 0 for a replay, which has those of its recording.
    pub const fn coins(&self) -> usize {
        match self {
            Self::CoinGecko(settings) => settings.coins.len(),
            Self::Replay(_) => 0,
            Self::Simulator(settings) => settings.coins.len(),
        }
    }

    /// Whether it ends by itself.
    pub const fn is_finite(&self) -> bool {
        match self {
            Self::CoinGecko(_) => false,
            Self::Replay(_) => true,
            Self::Simulator(settings) => settings.events.is_some(),
        }
    }

    /// The time from which records arrive when they happen, so that a market without records is silent; none
    /// for a source whose records arrive as fast as they are read.
    pub fn paced_since(&self) -> Option<Micros> {
        match self {
            // The records of a file are paced from the start of the replay on.
            Self::Replay(ReplaySettings { input, speed }) if input != Path::new("-") && input.is_file() => {
                (*speed != Speed::Max).then(now)
            }
            Self::Simulator(SimulatorSettings { rate: Rate::Max, events: Some(_), .. }) => None,
            Self::CoinGecko(_) | Self::Replay(_) | Self::Simulator(_) => Some(Micros::MIN),
        }
    }

    /// Runs it until it ends or is cancelled. Records that the storage already holds are left out; history of
    /// the `selected` coin is fetched first.
    ///
    /// # Errors
    /// When it cannot start or cannot continue; temporary failures are a [`SourceState`] instead.
    pub async fn run(
        self,
        outlet: Outlet,
        stored: impl Stored,
        selected: watch::Receiver<Option<Arc<str>>>,
    ) -> Result<End, SourceError> {
        match self {
            Self::CoinGecko(settings) => {
                let fills = coingecko::backfill::fills(&settings, stored).await?;
                CoinGecko::new(*settings)?.run(outlet, fills, selected).await
            }
            Self::Replay(ReplaySettings { input, speed }) => {
                let opened = tokio::task::spawn_blocking(move || Replay::open(&input, speed)).await;
                let replay = opened.map_err(|_| SourceError::Reader)??;
                let resume_after = stored.position(replay.stream()).await.map_err(SourceError::Resume)?;
                replay.run(outlet, resume_after).await
            }
            Self::Simulator(settings) => Simulator::new(settings).run(outlet).await,
        }
    }
}

/// Ranges of time, each from its start (inclusive) to its end (exclusive).
pub type Ranges = Vec<(Micros, Micros)>;

type StoredError = Box<dyn Error + Send + Sync>;

/// What a storage holds of a source.
pub trait Stored: Send {
    /// The offset of the last record of a stream; none where the storage has no record of it.
    fn position(&self, stream: &Stream) -> impl Future<Output = Result<Option<i64>, StoredError>> + Send;

    /// The gaps of each coin within `range`: the ranges longer than `longest` without candles in the currency
    /// `quote`.
    fn gaps(
        &self,
        source: SourceKind,
        quote: &str,
        coins: &[String],
        range: (Micros, Micros),
        longest: Micros,
    ) -> impl Future<Output = Result<Vec<(Arc<str>, Ranges)>, StoredError>> + Send;
}

/// No storage: everything is delivered, and there are no gaps.
#[derive(Debug, Clone, Copy)]
pub struct NothingStored;

impl Stored for NothingStored {
    async fn position(&self, _: &Stream) -> Result<Option<i64>, StoredError> {
        Ok(None)
    }

    async fn gaps(
        &self,
        _: SourceKind,
        _: &str,
        _: &[String],
        _: (Micros, Micros),
        _: Micros,
    ) -> Result<Vec<(Arc<str>, Ranges)>, StoredError> {
        Ok(Vec::new())
    }
}

/// How a source's run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A finite source has delivered everything.
    Finished,
    /// A finite source had nothing to deliver, because the storage has all of its records.
    NothingNew,
    /// It was cancelled, or the receiver of its records is gone.
    Stopped,
}

/// What a running source is connected to.
#[derive(Debug, Clone)]
pub struct Outlet {
    /// Bounded, so that a slow pipeline slows the source.
    pub deliveries: mpsc::Sender<Delivery>,
    pub status: watch::Sender<SourceStatus>,
    /// Ends the run.
    pub cancel: CancellationToken,
}

impl Outlet {
    /// Sends a delivery, waiting for room in the channel. Returns `false` when the run must stop: it was
    /// cancelled, or the receiver is gone.
    pub async fn deliver(&self, delivery: Delivery) -> bool {
        let count = delivery.records.len() as u64;
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => false,
            sent = self.deliveries.send(delivery) => {
                if sent.is_ok() {
                    self.status.send_modify(|s| {
                        s.records += count;
                        s.last_delivery = Some(now());
                    });
                }
                sent.is_ok()
            }
        }
    }
}

/// A range of a coin's history to fetch.
#[derive(Debug, Clone, PartialEq)]
pub struct Fill {
    pub coin_id: Arc<str>,
    /// Inclusive.
    pub from: Micros,
    /// Exclusive; none: up to the coin's first live tick.
    pub to: Option<Micros>,
}
