//! The calls that a plan allows and how many are left. Pure functions of times since the source's start.

use std::collections::VecDeque;
use std::time::Duration;

use super::Plan;

const MINUTE: Duration = Duration::from_mins(1);
const MONTH: Duration = Duration::from_hours(30 * 24);

/// The calls that `CoinGecko` allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Calls in any 60 seconds.
    pub per_minute: u32,
    /// Calls a month.
    pub per_month: Option<u32>,
}

impl Allowance {
    /// The allowance of calls to `host` with a key of this plan, or without a key; none on hosts that are not
    /// `CoinGecko`'s. Keyless calls are limited to 5 to 15 a minute, depending on `CoinGecko`'s load.
    pub fn of(host: &str, key: Option<Plan>) -> Option<Self> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if host != "coingecko.com" && !host.ends_with(".coingecko.com") {
            return None;
        }
        Some(match key {
            None => Self { per_minute: 10, per_month: None },
            Some(Plan::Demo) => Self { per_minute: 30, per_month: Some(10_000) },
            Some(Plan::Pro) => Self { per_minute: 500, per_month: None },
        })
    }

    /// The time between polls of `pages` calls: `requested`, or longer so that at least one call a minute is
    /// left for history.
    pub fn poll(&self, requested: Duration, pages: u32) -> Duration {
        let calls = self.per_minute.saturating_sub(1).max(1);
        let least = match calls / pages.max(1) {
            0 => MINUTE * pages / calls,
            polls => Duration::from_millis(60_000_u64.div_ceil(polls.into())),
        };
        requested.max(least)
    }

    /// A notice for a poll interval that uses up the month's calls before its end.
    pub fn month_notice(&self, poll: Duration, pages: u32) -> Option<String> {
        let calls = self.per_month?;
        let lasts = poll * (calls / pages.max(1));
        if lasts >= MONTH || poll.is_zero() {
            return None;
        }
        // A twentieth of the month is kept for history, retries and restarts.
        let enough = (MONTH * pages).as_secs().div_ceil(u64::from(calls) * 19 / 20).next_multiple_of(10);
        let days = lasts.as_secs_f64() / 86_400.0;
        Some(format!(
            "a poll every {} uses up the key's {calls} calls a month in {days:.1} days: --poll {enough}s lasts the month",
            duration_text(poll)
        ))
    }

    /// Calls per minute that polls leave for history: at least one.
    fn for_history(&self, poll: Duration, pages: u32) -> usize {
        let polls = u32::try_from(MINUTE.as_millis().div_ceil(poll.as_millis().max(1))).unwrap_or(u32::MAX);
        self.per_minute.saturating_sub(polls.saturating_mul(pages)).max(1) as usize
    }
}

/// What a call was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// Live prices.
    Poll,
    /// A range of history.
    History,
}

/// Counts calls.
#[derive(Debug, Clone)]
pub struct Quota {
    allowance: Option<Allowance>,
    /// The calls of the last minute, oldest first.
    recent: VecDeque<(Duration, CallKind)>,
    /// All calls of this run.
    spent: u64,
}

impl Quota {
    /// No calls yet; without an allowance nothing is limited.
    pub const fn new(allowance: Option<Allowance>) -> Self {
        Self { allowance, recent: VecDeque::new(), spent: 0 }
    }

    /// Counts a call made `now`, which must not be before the last one.
    pub fn spend(&mut self, now: Duration, kind: CallKind) {
        if self.allowance.is_some() {
            self.recent.push_back((now, kind));
        }
        self.spent += 1;
        while self.recent.front().is_some_and(|(at, _)| *at + MINUTE <= now) {
            self.recent.pop_front();
        }
    }

    /// The earliest time for a poll of `pages` calls, `now` or later.
    pub fn poll_at(&self, now: Duration, pages: u32) -> Duration {
        let Some(allowance) = self.allowance else { return now };
        let allowed = allowance.per_minute.saturating_sub(pages) as usize;
        free_at(now, allowed, self.recent.iter().map(|(at, _)| *at))
    }

    /// The earliest time for a history request, `now` or later, with polls of `pages` calls every `poll`.
    pub fn history_at(&self, now: Duration, poll: Duration, pages: u32) -> Duration {
        let Some(allowance) = self.allowance else { return now };
        let history = self.recent.iter().filter(|(_, kind)| *kind == CallKind::History).map(|(at, _)| *at);
        free_at(now, allowance.for_history(poll, pages) - 1, history).max(self.poll_at(now, 1))
    }

    /// Share (0..=1) of the calls left: of the month's, where only calls of this run count as used, or of the
    /// last minute's for plans without a monthly limit.
    pub fn left(&self, now: Duration) -> Option<f64> {
        let allowance = self.allowance?;
        #[expect(clippy::cast_precision_loss, reason = "a share for the screen")]
        let (used, all) = match allowance.per_month {
            Some(month) => (self.spent as f64, f64::from(month)),
            None => (
                self.recent.iter().filter(|(at, _)| *at + MINUTE > now).count() as f64,
                f64::from(allowance.per_minute),
            ),
        };
        Some((1.0 - used / all).clamp(0.0, 1.0))
    }
}

/// The earliest time from `now` on at which at most `allowed` of the calls at `times` (oldest first) lie within
/// the last minute.
fn free_at(now: Duration, allowed: usize, times: impl Iterator<Item = Duration>) -> Duration {
    let times: Vec<Duration> = times.filter(|at| *at + MINUTE > now).collect();
    match times.len().checked_sub(allowed + 1) {
        Some(last_to_expire) => times[last_to_expire] + MINUTE,
        None => now,
    }
}

/// `15s`, `1m 30s`: to the millisecond.
fn duration_text(time: Duration) -> String {
    humantime::format_duration(Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
        .to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYLESS: Allowance = Allowance { per_minute: 10, per_month: None };

    #[test]
    fn allowances_apply_to_hosts_of_coingecko_only() {
        assert_eq!(Allowance::of("api.coingecko.com", None), Some(KEYLESS));
        assert_eq!(Allowance::of("API.CoinGecko.com", Some(Plan::Demo)).map(|p| p.per_minute), Some(30));
        assert_eq!(Allowance::of("pro-api.coingecko.com", Some(Plan::Pro)).map(|p| p.per_minute), Some(500));
        for host in ["localhost", "127.0.0.1", "notcoingecko.com", "coingecko.com.example"] {
            assert_eq!(Allowance::of(host, Some(Plan::Demo)), None, "{host}");
        }
    }

    #[test]
    fn poll_intervals_are_lengthened_to_what_the_plan_allows() {
        assert_eq!(KEYLESS.poll(Duration::from_secs(15), 1), Duration::from_secs(15));
        assert_eq!(KEYLESS.poll(Duration::from_secs(1), 1).as_millis(), 6_667);
        assert_eq!(KEYLESS.poll(Duration::from_secs(15), 18), 2 * MINUTE);
    }

    #[test]
    fn polls_that_use_up_the_month_give_a_notice() {
        let demo = Allowance { per_minute: 30, per_month: Some(10_000) };
        let notice = demo.month_notice(Duration::from_secs(15), 1).expect("too fast");
        assert_eq!(
            notice,
            "a poll every 15s uses up the key's 10000 calls a month in 1.7 days: --poll 280s lasts the month"
        );
        assert_eq!(demo.month_notice(Duration::from_secs(280), 1), None);
        assert_eq!(KEYLESS.month_notice(Duration::from_secs(1), 1), None);
    }

    #[test]
    fn history_uses_only_the_calls_that_polls_leave() {
        let mut quota = Quota::new(Some(KEYLESS));
        let (mut now, poll) = (Duration::ZERO, Duration::from_secs(15));
        for _ in 0..6 {
            assert_eq!(quota.history_at(now, poll, 1), now);
            quota.spend(now, CallKind::History);
            now += Duration::from_secs(1);
        }
        assert_eq!(quota.history_at(now, poll, 1), MINUTE);
        assert_eq!(quota.poll_at(now, 1), now);
        assert!((quota.left(now).expect("an allowance") - 0.4).abs() < 1e-9);
        assert_eq!(Quota::new(None).history_at(now, poll, 1), now);
    }

    proptest! {
        #[test]
        fn history_never_delays_a_poll(
            per_minute in 5u32..40, pages in 1u32..4, asked in 1u64..120, steps in proptest::collection::vec(0u64..3_000, 0..300),
        ) {
            let allowance = Allowance { per_minute, per_month: None };
            let poll = allowance.poll(Duration::from_secs(asked), pages);
            let (mut quota, mut now, mut next_poll) = (Quota::new(Some(allowance)), Duration::ZERO, Duration::ZERO);
            for step in steps {
                now += Duration::from_millis(step);
                while next_poll <= now {
                    prop_assert_eq!(quota.poll_at(next_poll, pages), next_poll);
                    (0..pages).for_each(|_| quota.spend(next_poll, CallKind::Poll));
                    next_poll += poll;
                }
                // As often as allowed.
                if quota.history_at(now, poll, pages) == now {
                    quota.spend(now, CallKind::History);
                }
            }
        }

        #[test]
        fn no_minute_has_more_calls_than_allowed(
            steps in proptest::collection::vec((0u64..20_000, any::<bool>()), 0..200), pages in 1u32..4, per_minute in 5u32..40,
        ) {
            let mut quota = Quota::new(Some(Allowance { per_minute, per_month: None }));
            let (mut now, mut calls) = (Duration::ZERO, Vec::new());
            for (step, history) in steps {
                now += Duration::from_millis(step);
                let (at, count) = if history { (quota.history_at(now, Duration::from_secs(15), pages), 1) } else { (quota.poll_at(now, pages), pages) };
                prop_assert!(at >= now && at <= now + MINUTE);
                now = at;
                for _ in 0..count {
                    quota.spend(now, if history { CallKind::History } else { CallKind::Poll });
                    calls.push(now);
                }
            }
            for (i, first) in calls.iter().enumerate() {
                let within = calls[i..].iter().filter(|at| **at < *first + MINUTE).count();
                prop_assert!(within <= per_minute as usize, "{within}");
            }
        }
    }
}
