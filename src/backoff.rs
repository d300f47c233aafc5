//! How long to wait after consecutive failures: exponential, capped, with jitter. Pure, except [`jitter`].

use std::time::Duration;

/// The largest share of a wait that jitter subtracts.
const JITTER: f64 = 0.25;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub cap: Duration,
}

impl Backoff {
    /// The wait after failure number `attempt` (from 1), shortened by up to a quarter in proportion to `jitter`
    /// (0..=1, see [`jitter`]).
    pub fn delay(&self, attempt: u32, jitter: f64) -> Duration {
        let doubled = 2u32.checked_pow(attempt.saturating_sub(1)).and_then(|n| self.first.checked_mul(n));
        doubled.unwrap_or(self.cap).min(self.cap).mul_f64(1.0 - JITTER * jitter.clamp(0.0, 1.0))
    }
}

/// A random number in 0..=1.
pub fn jitter() -> f64 {
    let [a, b, c, d, ..] = *uuid::Uuid::new_v4().as_bytes();
    f64::from(u32::from_le_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let backoff = Backoff { first: Duration::from_secs(1), cap: Duration::from_mins(1) };
        let seconds: Vec<u64> = (1..9).map(|n| backoff.delay(n, 0.0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.delay(1, 1.0), Duration::from_millis(750));
        assert!((0.0..=1.0).contains(&jitter()));
    }

    proptest! {
        #[test]
        fn waits_are_bounded_and_grow(
            first in 1u64..10_000, cap in 1u64..100_000, attempt in any::<u32>(), jitter in 0.0f64..=1.0,
        ) {
            let backoff = Backoff { first: Duration::from_millis(first), cap: Duration::from_millis(cap) };
            let wait = backoff.delay(attempt, jitter);
            prop_assert!(wait <= backoff.cap);
            prop_assert!(wait >= backoff.first.min(backoff.cap).mul_f64(0.749));
            prop_assert!(backoff.delay(attempt.saturating_add(1), jitter) >= wait);
        }
    }
}
