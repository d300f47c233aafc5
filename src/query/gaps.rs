//! Time ranges in which a coin has no candles, for a backfill to fetch.

use crate::market::{MINUTE, Micros};

/// The ranges in `from..to` that no one-minute window covers and that are longer than `longest`, oldest
/// first. `windows` are the starts of the existing windows, in any order; they may be outside the range.
pub fn gaps_between(windows: &[Micros], from: Micros, to: Micros, longest: Micros) -> Vec<(Micros, Micros)> {
    let mut starts = windows.to_vec();
    starts.sort_unstable();
    let mut gaps = Vec::new();
    let mut covered = from;
    for start in starts.into_iter().chain([to]) {
        let start = start.min(to);
        if start - covered > longest {
            gaps.push((covered, start));
        }
        covered = covered.max(start + MINUTE);
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gaps_are_found_before_between_and_after_windows() {
        let at = |minutes: &[i64]| minutes.iter().map(|m| m * MINUTE).collect::<Vec<_>>();
        assert_eq!(gaps_between(&[], 0, 60 * MINUTE, 15 * MINUTE), [(0, 60 * MINUTE)]);
        assert_eq!(gaps_between(&[], 0, 15 * MINUTE, 15 * MINUTE), []);
        assert_eq!(
            gaps_between(&at(&[20, 25, 50]), 0, 60 * MINUTE, 15 * MINUTE),
            [(0, 20 * MINUTE), (26 * MINUTE, 50 * MINUTE)]
        );
        assert_eq!(gaps_between(&at(&[-5, 70]), 0, 60 * MINUTE, 15 * MINUTE), [(0, 60 * MINUTE)]);
        assert_eq!(gaps_between(&at(&[0]), 10, 5, 0), []);
    }

    proptest! {
        /// Checked minute by minute: a minute is in a gap exactly if it is part of a long enough run of
        /// uncovered minutes.
        #[test]
        fn gaps_are_the_long_uncovered_runs(windows in prop::collection::vec(-20i64..140, 0..40), to in 0i64..120, longest in 0i64..20) {
            let found = gaps_between(&windows.iter().map(|m| m * MINUTE).collect::<Vec<_>>(), 0, to * MINUTE, longest * MINUTE);
            let mut expected = Vec::new();
            let mut start = None;
            for minute in 0..=to {
                let uncovered = minute < to && !windows.contains(&minute);
                match (uncovered, start) {
                    (true, None) => start = Some(minute),
                    (false, Some(first)) => {
                        if minute - first > longest {
                            expected.push((first * MINUTE, minute * MINUTE));
                        }
                        start = None;
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
