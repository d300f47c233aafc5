//! When each line of a recording is due: pure functions of the event times in the lines.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::market::decode::GENESIS;
use crate::market::{MINUTE, Micros};
use crate::text::max_or_positive;

/// How fast a recording is replayed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as possible.
    Max,
    /// Seconds of event time per second; finite and above zero.
    Times(f64),
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.pad("max"),
            Self::Times(factor) => factor.fmt(f),
        }
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(max_or_positive(text)?.map_or(Self::Max, Self::Times))
    }
}

/// A step forward in event time beyond this counts only when the next line with a time confirms it: one invalid
/// line with a time in the future must not delay the replay by years.
const STEP: Micros = 5 * MINUTE;

/// Turns the event times of lines into times to deliver them.
#[derive(Debug, Clone)]
pub struct Pacer {
    factor: f64,
    /// The newest confirmed event time, and when it is due.
    head: Option<(Micros, Duration)>,
    /// A time far ahead of the head that is not confirmed yet.
    suspect: Option<Micros>,
}

impl Pacer {
    /// A pacer of `factor` seconds of event time per second.
    pub const fn new(factor: f64) -> Self {
        Self { factor, head: None, suspect: None }
    }

    /// When a line with this event time is due, since the start of the replay: never before the line before it. A
    /// line without a time, or with one before the newest, is due with the line before it.
    pub fn due(&mut self, time: Option<Micros>) -> Duration {
        let head_due = self.head.map_or(Duration::ZERO, |(_, due)| due);
        let Some(time) = time.filter(|t| *t >= GENESIS) else { return head_due };
        let step = match self.head {
            Some((head, _)) if time <= head => return head_due,
            Some((head, _)) => time - head,
            None => self.suspect.map_or(0, |suspect| time.saturating_sub(suspect).max(0)),
        };
        let confirmed = self.suspect.is_some_and(|suspect| time.abs_diff(suspect) <= STEP.unsigned_abs());
        if !confirmed && (self.head.is_none() || step > STEP) {
            self.suspect = Some(time);
            return head_due;
        }
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53 µs")]
        let wait = Duration::try_from_secs_f64(step as f64 / 1e6 / self.factor).unwrap_or(Duration::MAX);
        let due = head_due.saturating_add(wait);
        self.head = Some((time, due));
        self.suspect = None;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{DAY, SECOND};
    use proptest::prelude::*;

    const T: Micros = 1_747_008_000 * SECOND;

    fn dues(factor: f64, times: &[Option<Micros>]) -> Vec<u64> {
        let mut pacer = Pacer::new(factor);
        times.iter().map(|t| u64::try_from(pacer.due(*t).as_millis()).expect("small")).collect()
    }

    #[test]
    fn lines_are_due_in_proportion_to_their_times() {
        let times =
            [Some(T), Some(T), Some(T + 10 * SECOND), None, Some(T + 5 * SECOND), Some(T + 60 * SECOND)];
        assert_eq!(dues(1.0, &times), [0, 0, 10_000, 10_000, 10_000, 60_000]);
        assert_eq!(dues(10.0, &times), [0, 0, 1_000, 1_000, 1_000, 6_000]);
    }

    #[test]
    fn a_single_time_in_the_future_causes_no_delay_but_a_gap_does() {
        let future = Some(T + 90 * 365 * DAY);
        assert_eq!(
            dues(1.0, &[Some(T), Some(T), future, Some(T + SECOND), future, Some(T + 2 * SECOND)]),
            [0, 0, 0, 1_000, 1_000, 2_000]
        );
        assert_eq!(
            dues(60.0, &[Some(T), Some(T), Some(T + 60 * MINUTE), Some(T + 61 * MINUTE)]),
            [0, 0, 0, 61_000]
        );
        assert_eq!(dues(1.0, &[Some(0), future, Some(T), Some(T), Some(T + SECOND)]), [0, 0, 0, 0, 1_000]);
    }

    proptest! {
        #[test]
        fn due_times_never_decrease(times in proptest::collection::vec(proptest::option::of(any::<i64>()), 0..60), factor in 1e-3f64..1e6) {
            let mut pacer = Pacer::new(factor);
            let mut last = Duration::ZERO;
            for time in times {
                let due = pacer.due(time);
                prop_assert!(due >= last);
                last = due;
            }
        }
    }

    #[test]
    fn speeds_are_numbers_above_zero_or_max() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        for text in ["", "0", "-1", "nan", "inf", "fast"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
        assert_eq!(Speed::Times(60.0).to_string(), "60");
    }
}
