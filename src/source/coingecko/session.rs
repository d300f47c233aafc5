//! The state of a running source: when the next calls are due, and how their results change the status, the
//! notices and the schedule. All times are since the source's start unless they are [`Micros`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Fill, Outlet, SourceState};
use super::backfill::{Backlog, Range};
use super::client::{Failure, FailureKind, Reply};
use super::notices::Notices;
use super::quota::{CallKind, Quota};
use super::{CoinGecko, History, PAGE, answer};
use crate::backoff::jitter;
use crate::market::records::Delivery;
use crate::market::time::{micros, now};
use crate::market::{DAY, Micros, RecordRef, Records};

/// The source's name in records.
const SOURCE: &str = "coingecko";
/// Longest `Retry-After` that is respected: a longer one is assumed to be a mistake.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);
/// Shortest wait of history after it was denied: a key or plan that does not include it seldom changes.
const DENIED: Duration = Duration::from_hours(1);
/// Shortest wait whose end is shown.
const LONG_WAIT: Duration = Duration::from_mins(2);
/// Time to the next check when nothing is due.
const IDLE: Duration = Duration::from_hours(1);

/// The result of a poll: the replies up to the first failure.
pub(super) struct Polled {
    pages: Vec<Reply>,
}

/// The result of a history request.
pub(super) struct Filled {
    range: Range,
    /// Start of the time that the request covered.
    since: Micros,
    reply: Reply,
}

/// Requests the prices of all coins, page by page.
pub(super) async fn poll(source: &CoinGecko) -> Polled {
    let mut pages = Vec::new();
    for ids in source.settings.coins.chunks(PAGE) {
        let reply = source.client.markets(&source.settings.vs_currency, ids).await;
        let failed = reply.body.is_err();
        pages.push(reply);
        if failed {
            break;
        }
    }
    Polled { pages }
}

/// Requests a range of history.
pub(super) async fn fill(source: &CoinGecko, range: Range) -> Filled {
    let sent_at = now();
    let days = if source.settings.history == History::Week && sent_at - range.from > DAY { 7 } else { 1 };
    let reply = source.client.market_chart(&range.coin_id, &source.settings.vs_currency, days).await;
    Filled { range, since: sent_at - Micros::from(days) * DAY, reply }
}

pub(super) struct Session<'a> {
    source: &'a CoinGecko,
    outlet: &'a Outlet,
    started: Instant,
    quota: Quota,
    backlog: Backlog,
    /// Time between polls in force.
    poll: Duration,
    next_poll: Duration,
    /// Earliest time of the next history request. Polls do not wait for it: prices have priority.
    history_hold: Duration,
    /// Consecutive history requests that were rate limited or denied.
    history_holds: u32,
    /// Consecutive polls that failed: `Some(0)` before the first poll, none while polls succeed.
    failures: Option<u32>,
    /// Clock time of the last answer with prices.
    last_prices: Option<Micros>,
    /// Time of the newest tick of each coin.
    ticks: HashMap<String, Micros>,
    notices: Notices,
}

impl<'a> Session<'a> {
    pub(super) fn new(source: &'a CoinGecko, outlet: &'a Outlet, fills: Vec<Fill>) -> Self {
        let (requested, pages) = (source.settings.poll, source.pages());
        let poll = source.allowance.map_or(requested, |allowance| allowance.poll(requested, pages));
        let fills = if source.settings.history == History::Off { Vec::new() } else { fills };
        let session = Self {
            source,
            outlet,
            started: Instant::now(),
            quota: Quota::new(source.allowance),
            backlog: Backlog::new(fills),
            poll,
            next_poll: Duration::ZERO,
            history_hold: Duration::ZERO,
            history_holds: 0,
            failures: Some(0),
            last_prices: None,
            ticks: HashMap::new(),
            notices: Notices::new(source.allowance.and_then(|allowance| allowance.month_notice(poll, pages))),
        };
        session.show();
        session
    }

    fn since_start(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether a poll is to be started now; if so, its calls are counted.
    pub(super) fn start_poll(&mut self) -> bool {
        let (now, pages) = (self.since_start(), self.source.pages());
        if self.next_poll.max(self.quota.poll_at(now, pages)) > now {
            return false;
        }
        for _ in 0..pages {
            self.quota.spend(now, CallKind::Poll);
        }
        self.next_poll = now + self.poll;
        true
    }

    /// The range of history to request now, if any; the call is counted. None while polls fail.
    pub(super) fn start_fill(&mut self, preferred: Option<&str>) -> Option<Range> {
        let now = self.since_start();
        if self.failures.is_some() || self.history_at(now) > now {
            return None;
        }
        let range = self.backlog.next(now, preferred)?;
        self.quota.spend(now, CallKind::History);
        Some(range)
    }

    /// The earliest time for a history request.
    fn history_at(&self, now: Duration) -> Duration {
        self.quota.history_at(now, self.poll, self.source.pages()).max(self.history_hold)
    }

    /// When the next call may be due, without a poll or a history request while one is running.
    pub(super) fn wake(&self, polling: bool, filling: bool) -> Instant {
        let (now, pages) = (self.since_start(), self.source.pages());
        let poll = (!polling).then(|| self.next_poll.max(self.quota.poll_at(now, pages)));
        let due = self.backlog.due().filter(|_| !filling && self.failures.is_none());
        let fill = due.map(|due| due.max(self.history_at(now)));
        self.started + poll.into_iter().chain(fill).min().unwrap_or(now + IDLE)
    }

    /// Delivers the records of a poll and schedules the next one. Returns `false` when the run must stop.
    pub(super) async fn polled(&mut self, polled: Polled) -> bool {
        let settings = &self.source.settings;
        let currency = &settings.vs_currency;
        let headers = (currency != "usd").then(|| serde_json::json!({ "quote": currency }).to_string());
        let (mut records, mut seen, mut failure) = (Records::new(), HashSet::new(), None);
        let (produced_at, took) = (now(), polled.pages.iter().map(|page| page.took).sum::<Duration>());
        let after_gap = self.is_gap(produced_at);
        for page in &polled.pages {
            if let Some((server, clock)) = page.clocks {
                self.notices.clocks(server, clock);
            }
            let elements = match &page.body {
                Ok(body) => answer::elements(body).map_err(Failure::passing),
                Err(failure) => Err(failure.clone()),
            };
            match elements {
                Ok(elements) => {
                    for element in elements {
                        let (key, value) = (element.id.as_deref(), element.text.as_bytes());
                        records.push(RecordRef {
                            offset: 0,
                            key,
                            value,
                            source: SOURCE,
                            headers: headers.as_deref(),
                            produced_at,
                        });
                        if let (Some(id), Some(time)) = (&element.id, element.tick) {
                            self.tick(id, time, after_gap);
                        }
                        seen.extend(element.id);
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        if failure.is_none() {
            if records.is_empty() {
                failure =
                    Some(Failure::passing("an empty list: the server knows none of the coins asked for"));
            } else {
                self.notices.coins(&settings.coins, &seen);
            }
        }
        if !records.is_empty() {
            self.last_prices = Some(produced_at);
        }
        if !records.is_empty() && !self.outlet.deliver(Delivery { stream: None, records }).await {
            return false;
        }
        self.outlet.status.send_modify(|s| s.round_trip = Some(took));
        match failure {
            Some(failure) => self.poll_failed(failure),
            None => self.poll_succeeded(),
        }
        true
    }

    /// Whether the time without prices is a gap to fill from history. Measured by the clock, because timers stop
    /// while the computer sleeps.
    fn is_gap(&self, now: Micros) -> bool {
        let gap = self.source.settings.gap.max(2 * self.poll);
        let without = self.last_prices.map_or(0, |last| now.saturating_sub(last));
        self.source.settings.history != History::Off
            && u128::from(without.max(0).unsigned_abs()) > gap.as_micros()
    }

    /// Notes a coin's tick; after a gap, adds the range since the coin's last tick to the backlog.
    fn tick(&mut self, id: &str, time: Micros, after_gap: bool) {
        self.backlog.live(id, time);
        if let Some(last) = self.ticks.insert(id.to_owned(), time)
            && after_gap
        {
            self.backlog.add(Fill { coin_id: id.into(), from: last + 1, to: Some(time) });
        }
    }

    fn poll_succeeded(&mut self) {
        match self.failures.take() {
            Some(0) => tracing::info!("prices arrive"),
            Some(failures) => tracing::info!(failures, "prices arrive again"),
            None => {}
        }
        self.outlet.status.send_modify(|s| s.state = SourceState::Live);
        self.show();
    }

    fn poll_failed(&mut self, failure: Failure) {
        let attempt = self.failures.unwrap_or(0).saturating_add(1);
        self.failures = Some(attempt);
        let wait = self.wait(attempt, &failure);
        let now = self.since_start();
        self.next_poll = (now + wait).max(self.quota.poll_at(now + wait, self.source.pages()));
        tracing::warn!(attempt, why = failure.why, wait_s = wait.as_secs_f64(), "poll failed");
        let at = self.clock_at(self.next_poll);
        self.outlet.status.send_modify(|s| {
            s.last_error = Some(failure.why.clone());
            s.state = SourceState::Reconnecting { at, attempt, why: failure.why };
        });
        self.show();
    }

    /// Delivers a history answer, or schedules the next attempt. Returns `false` when the run must stop.
    pub(super) async fn filled(&mut self, Filled { range, since, reply }: Filled) -> bool {
        let checked = reply.body.and_then(|body| match answer::history(&body) {
            Ok(()) => Ok(body),
            Err(why) => Err(Failure::passing(why)),
        });
        let failure = match checked {
            Ok(body) => {
                self.backlog.done(range.id);
                self.history_holds = 0;
                let also = self.backlog.take(&range.coin_id, since);
                let (quote, produced_at, mut records) =
                    (&self.source.settings.vs_currency, now(), Records::new());
                for Range { coin_id, from, to, .. } in [range].into_iter().chain(also) {
                    let headers =
                        serde_json::json!({ "fill_from": from, "fill_to": to, "quote": quote }).to_string();
                    let (key, headers) = (Some(&*coin_id), Some(headers.as_str()));
                    records.push(RecordRef {
                        offset: 0,
                        key,
                        value: &body,
                        source: SOURCE,
                        headers,
                        produced_at,
                    });
                }
                self.history_resumes();
                self.show();
                return self.outlet.deliver(Delivery { stream: None, records }).await;
            }
            Err(failure) => failure,
        };
        let coin: &Arc<str> = &range.coin_id;
        let attempt = self.backlog.failed(range.id);
        tracing::warn!(coin = &**coin, attempt, why = failure.why, "history failed");
        match failure.kind {
            FailureKind::Refused => {
                self.backlog.give_up(coin);
                self.notices.no_history(coin, &failure.why);
                self.history_resumes();
            }
            FailureKind::Passing => {
                let wait = self.wait(attempt, &failure);
                self.backlog.postpone(range.id, self.since_start() + wait);
                self.history_waits(wait, &failure.why);
            }
            FailureKind::RateLimited | FailureKind::Denied => {
                self.history_holds += 1;
                let least = if failure.kind == FailureKind::Denied { DENIED } else { Duration::ZERO };
                let wait = self.wait(self.history_holds, &failure).max(least);
                self.history_hold = self.since_start() + wait;
                self.history_waits(wait, &failure.why);
            }
        }
        self.outlet
            .status
            .send_modify(|s| s.last_error = Some(format!("history of {coin}: {}", failure.why)));
        self.show();
        true
    }

    fn history_waits(&mut self, wait: Duration, why: &str) {
        let until = (wait >= LONG_WAIT).then(|| self.clock_at(self.since_start() + wait));
        self.notices.history_waits(until, why);
    }

    /// Removes the notice that history waits once no failed range is left.
    fn history_resumes(&mut self) {
        if !self.backlog.is_failing() {
            self.notices.history_resumes();
        }
    }

    /// How long to wait after the failure number `attempt` in a row, counted from 1.
    fn wait(&mut self, attempt: u32, failure: &Failure) -> Duration {
        let attempt = match failure.kind {
            // A retry soon would be refused again: wait for the longest time at once.
            FailureKind::Refused | FailureKind::Denied => u32::MAX,
            FailureKind::RateLimited | FailureKind::Passing => attempt,
        };
        let wait = self.source.settings.backoff.delay(attempt, jitter());
        wait.max(failure.retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))
    }

    /// The clock time of a time since the start.
    fn clock_at(&self, since_start: Duration) -> Micros {
        let left = since_start.saturating_sub(self.since_start());
        now().saturating_add(micros(left))
    }

    /// Updates schedule, quota and notices in the status.
    fn show(&self) {
        let notices = self.notices.texts();
        let (next_poll, quota_left) = (self.clock_at(self.next_poll), self.quota.left(self.since_start()));
        self.outlet.status.send_modify(|s| {
            s.next_poll = Some(next_poll);
            s.poll = Some(self.poll);
            s.quota_left = quota_left;
            s.notices = notices;
        });
    }
}
