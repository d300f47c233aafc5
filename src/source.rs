//! Where records come from. A source delivers records as they are and says, in a typed [`SourceStatus`], how
//! it fares; it interprets nothing but what it needs to poll well.

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

/// The closed set of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SourceKind {
    /// Polls `CoinGecko`'s `/coins/markets`.
    Coingecko,
    /// Reads a recording: NDJSON, plain or gzip.
    Replay,
    /// Makes a market up from a seed.
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

    /// Number of coins asked for; 0: whatever the recording holds.
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

    /// From when on its records come in as they happen, so that a market without records is silent; none:
    /// they come in as fast as they are taken.
    pub fn paced_since(&self) -> Option<Micros> {
        match self {
            // A file's records waited while it was not read.
            Self::Replay(ReplaySettings { input, speed }) if input != Path::new("-") && input.is_file() => {
                (*speed != Speed::Max).then(now)
            }
            Self::Simulator(SimulatorSettings { rate: Rate::Max, events: Some(_), .. }) => None,
            Self::CoinGecko(_) | Self::Replay(_) | Self::Simulator(_) => Some(Micros::MIN),
        }
    }

    /// Runs it until it ends or is told to: what the storage already holds is left out. History of the
    /// `selected` coin is fetched first.
    ///
    /// # Errors
    /// When it cannot start or cannot go on; passing failures are a [`SourceState`] instead.
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

/// Stretches of time, each from its start (inclusive) to its end (exclusive).
pub type Stretches = Vec<(Micros, Micros)>;

type StoredError = Box<dyn Error + Send + Sync>;

/// What a storage holds of a source.
pub trait Stored: Send {
    /// The offset of the last record of a stream; none: it has none of them.
    fn position(&self, stream: &Stream) -> impl Future<Output = Result<Option<i64>, StoredError>> + Send;

    /// The stretches within `from..to`, each longer than `longest`, in which coins of a source have no
    /// candles in a currency.
    fn gaps(
        &self,
        source: SourceKind,
        quote: &str,
        coins: &[String],
        range: (Micros, Micros),
        longest: Micros,
    ) -> impl Future<Output = Result<Vec<(Arc<str>, Stretches)>, StoredError>> + Send;
}

/// No storage: everything is delivered, and nothing is known to be missing.
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
    ) -> Result<Vec<(Arc<str>, Stretches)>, StoredError> {
        Ok(Vec::new())
    }
}

/// How a source's run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A finite source has delivered everything.
    Finished,
    /// A finite source had nothing to deliver: the storage has all of it.
    NothingNew,
    /// It was told to stop, or nobody takes its records any more.
    Stopped,
}

/// What a running source is connected to.
#[derive(Debug, Clone)]
pub struct Outlet {
    /// Where deliveries go; bounded, so a slow pipeline slows the source.
    pub deliveries: mpsc::Sender<Delivery>,
    /// Where it says how it fares.
    pub status: watch::Sender<SourceStatus>,
    /// Ends the run.
    pub cancel: CancellationToken,
}

impl Outlet {
    /// Hands a delivery over, waiting for room. `false`: stop, nobody wants it.
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

/// A stretch of a coin's history to fetch: a first start, or a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct Fill {
    /// The coin.
    pub coin_id: Arc<str>,
    /// Start of the range, inclusive.
    pub from: Micros,
    /// End of the range, exclusive; none: up to the coin's first live tick.
    pub to: Option<Micros>,
}
