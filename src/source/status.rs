//! What a running source reports of itself.

use std::time::Duration;

use super::SourceKind;
use crate::market::Micros;

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
