//! Where records come from. A source delivers records as they are and says, in a typed [`SourceStatus`], how
//! it fares; it interprets nothing but what it needs to poll well.

pub mod coingecko;
mod peek;
pub mod record;
pub mod replay;
pub mod simulator;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::market::Micros;
use crate::market::records::Delivery;
use crate::market::time::now;

/// The closed set of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
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

/// How a source fares, in the words of its kind.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceState {
    /// Nothing has arrived yet.
    Starting,
    /// Answers come.
    Live,
    /// The last attempt failed; the next one is due at the given clock time.
    Reconnecting {
        /// Clock time of the next attempt.
        at: Micros,
        /// How many attempts in a row have failed.
        attempt: u32,
        /// Why, in words: `429 rate limited`, `connection refused` …
        why: String,
    },
    /// A recording is being read; `done` of 0..=1 where its length is known.
    Replaying {
        /// Share of the lines delivered.
        done: Option<f64>,
    },
    /// A made-up market.
    Simulating,
    /// A finite source has delivered everything.
    Finished,
}

/// What the screen knows of the source.
#[derive(Debug, Clone)]
pub struct SourceStatus {
    /// Which source.
    pub kind: SourceKind,
    /// How it fares.
    pub state: SourceState,
    /// Number of coins asked for (0: whatever the recording holds).
    pub coins: usize,
    /// Records delivered since the start.
    pub records: u64,
    /// Clock time of the last delivery.
    pub last_delivery: Option<Micros>,
    /// Clock time of the next poll.
    pub next_poll: Option<Micros>,
    /// Time between polls in force (may be longer than asked for, to keep within a quota).
    pub poll: Option<Duration>,
    /// How long the last answer took.
    pub round_trip: Option<Duration>,
    /// Share of the plan's calls still left, 0..=1, where a quota binds.
    pub quota_left: Option<f64>,
    /// Things the user should know, in words: a clock that is off, a coin that the source does not know …
    pub notices: Vec<String>,
    /// The last failure, in words.
    pub last_error: Option<String>,
}

impl SourceStatus {
    /// The status before the first delivery.
    pub fn starting(kind: SourceKind, coins: usize) -> Self {
        Self {
            kind,
            state: SourceState::Starting,
            coins,
            records: 0,
            last_delivery: None,
            next_poll: None,
            poll: None,
            round_trip: None,
            quota_left: None,
            notices: Vec::new(),
            last_error: None,
        }
    }
}

/// How a source's run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A finite source has delivered everything.
    Finished,
    /// It was told to stop, or nobody takes its records any more.
    Stopped,
}

/// Why a source cannot be started or goes no further. What it gets over by itself is a [`SourceState`], not
/// an error.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The recording cannot be opened.
    #[error("cannot open the recording '{name}'")]
    Open {
        /// The file as the user named it.
        name: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The recording is a directory.
    #[error(
        "'{name}' is a directory, not a recording: name a file of JSON lines, plain or gzip, or - for standard input"
    )]
    Directory {
        /// The file as the user named it.
        name: String,
    },
    /// Reading failed on the way.
    #[error("cannot read the recording '{name}' beyond line {line}")]
    Read {
        /// The file as the user named it.
        name: String,
        /// Lines read until then.
        line: u64,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The compressed data is cut off or corrupt.
    #[error("the recording '{name}' is damaged {}", behind(*.line))]
    Damaged {
        /// The file as the user named it.
        name: String,
        /// Whole lines before the damage.
        line: u64,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The text begins as UTF-16 or UTF-32 does.
    #[error(
        "the recording '{name}' is UTF-16 or UTF-32 text: convert it to UTF-8 first, as 'iconv -f UTF-16 -t UTF-8' does"
    )]
    Encoding {
        /// The file as the user named it.
        name: String,
    },
    /// One line is longer than any record can be.
    #[error(
        "line {line} of the recording '{name}' is longer than {limit} bytes: is it a recording of one record a line?"
    )]
    LongLine {
        /// The file as the user named it.
        name: String,
        /// The line, counted from 1.
        line: u64,
        /// The most bytes a line may have.
        limit: usize,
    },
    /// The file is not what it was when the replay began.
    #[error(
        "the recording '{name}' changed while it was being replayed (after line {line}); start again to replay it as it is now"
    )]
    Changed {
        /// The file as the user named it.
        name: String,
        /// Lines delivered until then.
        line: u64,
    },
    /// A recording would destroy something, or nothing could read it: what is there stays as it is.
    #[error("{0}")]
    Refused(String),
    /// A recording cannot be written.
    #[error("cannot write the recording '{name}'{kept}")]
    Write {
        /// The file as the user named it.
        name: String,
        /// What has become of the records before, in words behind the name.
        kept: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The source cannot work as it is set up.
    #[error("{0}")]
    Setting(String),
    /// A thread of the source ended without a word.
    #[error("the source's reader stopped unexpectedly")]
    Reader,
}

impl SourceError {
    /// Whether starting the source again may help without the user doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
                )
            }
            Self::Reader => true,
            _ => false,
        }
    }
}

/// Where a recording is damaged.
fn behind(line: u64) -> String {
    if line == 0 { "within its first line".into() } else { format!("behind line {line}, the last good one") }
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
