//! How long to wait after failures: a pure function, doubling, capped and jittered.

use std::time::Duration;

/// Longest `Retry-After` that is obeyed: beyond it the header is taken for a mistake.
const LONGEST: Duration = Duration::from_hours(1);
/// Share of a wait that jitter may take off.
const JITTER: f64 = 0.25;

/// Waits between attempts that fail one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// At most.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), cap: Duration::from_mins(1) }
    }
}

impl Backoff {
    /// The wait after failure number `attempt` (from 1), up to a quarter less by `jitter` of 0..=1; never less than what
    /// the server asks for (an hour at most).
    #[must_use]
    pub fn delay(&self, attempt: u32, jitter: f64, retry_after: Option<Duration>) -> Duration {
        let doubled = 2u32.checked_pow(attempt.saturating_sub(1)).and_then(|n| self.first.checked_mul(n));
        let wait = doubled.unwrap_or(self.cap).min(self.cap).mul_f64(1.0 - JITTER * jitter.clamp(0.0, 1.0));
        wait.max(retry_after.unwrap_or_default().min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let seconds: Vec<u64> = (1..9).map(|n| Backoff::default().delay(n, 0.0, None).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    proptest! {
        #[test]
        fn waits_are_bounded_grow_and_obey(
            first in 1u64..10_000, cap in 1u64..100_000, attempt in any::<u32>(), jitter in 0.0f64..=1.0,
            retry_after in proptest::option::of(any::<u64>().prop_map(Duration::from_secs)),
        ) {
            let backoff = Backoff { first: Duration::from_millis(first), cap: Duration::from_millis(cap) };
            let wait = backoff.delay(attempt, jitter, None);
            prop_assert!(wait <= backoff.cap);
            prop_assert!(wait >= backoff.first.min(backoff.cap).mul_f64(0.749));
            prop_assert!(backoff.delay(attempt.saturating_add(1), jitter, None) >= wait);
            let obeyed = backoff.delay(attempt, jitter, retry_after);
            prop_assert!(obeyed >= retry_after.unwrap_or_default().min(LONGEST));
            prop_assert!(obeyed <= LONGEST.max(backoff.cap));
        }
    }
}
