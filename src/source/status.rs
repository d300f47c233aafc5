//! What a running source reports: its state, its progress, and notices for the user.

use std::time::Duration;

use super::SourceKind;
use crate::market::Micros;

#[derive(Debug, Clone, PartialEq)]
pub enum SourceState {
    /// Nothing has been received yet.
    Starting,
    /// The last poll succeeded.
    Live,
    /// The last attempt failed and will be repeated.
    Reconnecting {
        /// Clock time of the next attempt.
        at: Micros,
        /// Number of failed attempts in a row.
        attempt: u32,
        /// The cause: `429 rate limited`, `connection refused by …`
        why: String,
    },
    /// A recording is being read.
    Replaying {
        /// Share of its lines that are delivered (0..=1); none where their number is not known.
        done: Option<f64>,
    },
    Simulating,
    /// A finite source has delivered everything.
    Finished,
}

/// What a source reports to the dashboard.
#[derive(Debug, Clone)]
pub struct SourceStatus {
    pub kind: SourceKind,
    pub state: SourceState,
    /// Number of coins requested; 0 for a replay.
    pub coins: usize,
    /// Records delivered since the start.
    pub records: u64,
    /// Clock time of the last delivery.
    pub last_delivery: Option<Micros>,
    /// Clock time of the next poll.
    pub next_poll: Option<Micros>,
    /// Time between polls in force, which a quota may make longer than the setting.
    pub poll: Option<Duration>,
    /// Duration of the last poll's calls.
    pub round_trip: Option<Duration>,
    /// Share of the plan's calls that is left (0..=1); none without a quota.
    pub quota_left: Option<f64>,
    /// Messages that apply now: the clock is wrong, a coin is not known …
    pub notices: Vec<String>,
    /// The cause of the last failure.
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
