//! The state of a running source: what is due, and what an answer means for the status and for what comes
//! next.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use tokio::time::Instant;

use super::super::{Fill, Outlet, SourceState};
use super::backfill::{Backlog, Range};
use super::client::{Failure, FailureKind, Reply};
use super::headers::clock_notice;
use super::quota::{CallKind, Quota};
use super::{CoinGecko, History, PAGE, answer};
use crate::backoff::jitter;
use crate::market::records::Delivery;
use crate::market::time::now;
use crate::market::{DAY, Micros, RecordRef, Records};

/// The source's name in records.
const SOURCE: &str = "coingecko";
/// Coins named at most in one notice.
const NAMED: usize = 10;
/// The longest `Retry-After` that is obeyed: one beyond it is taken for a mistake.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);
/// How long history waits once it was denied: a key or plan that does not cover it seldom changes.
const DENIED: Duration = Duration::from_hours(1);
/// A wait from here on is shown with its end.
const WORTH_A_TIME: Duration = Duration::from_mins(2);
/// A wait for nothing in particular.
const LONG: Duration = Duration::from_hours(1);

/// What came of a poll: the answers until one failed.
pub(super) struct Polled {
    pages: Vec<Reply>,
}

/// What came of asking for a stretch of history.
pub(super) struct Filled {
    range: Range,
    /// How far back the answer was to reach.
    since: Micros,
    reply: Reply,
}

/// Asks for the prices of all coins, page by page.
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

/// Asks for a stretch of history.
pub(super) async fn fill(source: &CoinGecko, range: Range) -> Filled {
    let asked_at = now();
    let days = if source.settings.history == History::Week && asked_at - range.from > DAY { 7 } else { 1 };
    let reply = source.client.market_chart(&range.coin_id, &source.settings.vs_currency, days).await;
    Filled { range, since: asked_at - Micros::from(days) * DAY, reply }
}

/// Everything that a run remembers.
pub(super) struct Session<'a> {
    source: &'a CoinGecko,
    outlet: &'a Outlet,
    started: Instant,
    quota: Quota,
    backlog: Backlog,
    poll: Duration,
    /// When the next poll is due, in time since the start.
    next_poll: Duration,
    /// No history is asked for before, in time since the start. Polls do not wait for it: prices come first.
    history_hold: Duration,
    /// Requests for history that were rate limited or denied in a row.
    history_holds: u32,
    /// Polls that failed in a row; none once one succeeded.
    failures: Option<u32>,
    /// Clock time of the last answer with prices, and the newest tick of each coin.
    last_prices: Option<Micros>,
    ticks: HashMap<String, Micros>,
    clock_notice: Option<String>,
    quota_notice: Option<String>,
    missing_notice: Option<String>,
    history_notice: Option<String>,
    /// Why there is no history of some coins, and of which.
    no_history: BTreeMap<String, Vec<Arc<str>>>,
}

impl<'a> Session<'a> {
    pub(super) fn new(source: &'a CoinGecko, outlet: &'a Outlet, fills: Vec<Fill>) -> Self {
        let (asked, pages) = (source.settings.poll, source.pages());
        let poll = source.allowance.map_or(asked, |allowance| allowance.poll(asked, pages));
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
            clock_notice: None,
            quota_notice: source.allowance.and_then(|allowance| allowance.month_notice(poll, pages)),
            missing_notice: None,
            history_notice: None,
            no_history: BTreeMap::new(),
        };
        session.show();
        session
    }

    fn since_start(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether a poll is to be started now; then it counts.
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

    /// The stretch of history to ask for now, if any; then it counts. None while polls fail.
    pub(super) fn start_fill(&mut self, preferred: Option<&str>) -> Option<Range> {
        let now = self.since_start();
        if self.failures.is_some() || self.history_at(now) > now {
            return None;
        }
        let range = self.backlog.next(now, preferred)?;
        self.quota.spend(now, CallKind::History);
        Some(range)
    }

    /// When history may be asked for.
    fn history_at(&self, now: Duration) -> Duration {
        self.quota.history_at(now, self.poll, self.source.pages()).max(self.history_hold)
    }

    /// When something may be due.
    pub(super) fn wake(&self, polling: bool, filling: bool) -> Instant {
        let (now, pages) = (self.since_start(), self.source.pages());
        let poll = (!polling).then(|| self.next_poll.max(self.quota.poll_at(now, pages)));
        let due = self.backlog.due().filter(|_| !filling && self.failures.is_none());
        let fill = due.map(|due| due.max(self.history_at(now)));
        self.started + poll.into_iter().chain(fill).min().unwrap_or(now + LONG)
    }

    /// Delivers what a poll gave. `false`: stop.
    pub(super) async fn polled(&mut self, polled: Polled) -> bool {
        let settings = &self.source.settings;
        let currency = &settings.vs_currency;
        let headers = (currency != "usd").then(|| serde_json::json!({ "quote": currency }).to_string());
        let (mut records, mut seen, mut failure) = (Records::new(), HashSet::new(), None);
        let (produced_at, took) = (now(), polled.pages.iter().map(|page| page.took).sum::<Duration>());
        let after_gap = self.is_gap(produced_at);
        for page in &polled.pages {
            if let Some((server, clock)) = page.clocks {
                self.clock_notice = clock_notice(clock, server);
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
                self.missing_notice = missing(&settings.coins, &seen);
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

    /// Whether prices were away for so long that history is to fill the gap. The clock counts: timers stop in
    /// sleep.
    fn is_gap(&self, now: Micros) -> bool {
        let gap = self.source.settings.gap.max(2 * self.poll);
        let away = self.last_prices.map_or(0, |last| now.saturating_sub(last));
        self.source.settings.history != History::Off
            && u128::from(away.max(0).unsigned_abs()) > gap.as_micros()
    }

    /// Takes note of a coin's tick.
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

    /// Delivers what a history answer gave. `false`: stop.
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
                self.history_goes_on();
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
                self.no_history.entry(failure.why.clone()).or_default().push(Arc::clone(coin));
                self.history_goes_on();
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

    /// The notice says the end of a long wait only: a text that changes with each attempt is a new notice.
    fn history_waits(&mut self, wait: Duration, why: &str) {
        let until = if wait < WORTH_A_TIME {
            String::new()
        } else {
            let at = DateTime::from_timestamp_micros(self.clock_at(self.since_start() + wait));
            at.unwrap_or_default().format(" until %H:%M UTC").to_string()
        };
        self.history_notice = Some(format!("history waits{until}: {why}"));
    }

    /// Takes the notice back once no failed stretch is left.
    fn history_goes_on(&mut self) {
        if !self.backlog.is_failing() {
            self.history_notice = None;
        }
    }

    /// How long to wait after a failure.
    fn wait(&mut self, attempt: u32, failure: &Failure) -> Duration {
        let attempt = match failure.kind {
            // What is refused now will be refused in a second: no hurry.
            FailureKind::Refused | FailureKind::Denied => u32::MAX,
            FailureKind::RateLimited | FailureKind::Passing => attempt,
        };
        let wait = self.source.settings.backoff.delay(attempt, jitter());
        wait.max(failure.retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))
    }

    fn clock_at(&self, since_start: Duration) -> Micros {
        let left = since_start.saturating_sub(self.since_start());
        now() + Micros::try_from(left.as_micros()).unwrap_or(Micros::MAX / 2)
    }

    /// Brings the status up to date but for its state.
    fn show(&self) {
        let single = [&self.clock_notice, &self.quota_notice, &self.missing_notice, &self.history_notice];
        let no_history =
            |(why, coins): (&String, &Vec<Arc<str>>)| format!("no history of {}: {why}", named(coins));
        let notices =
            single.into_iter().flatten().cloned().chain(self.no_history.iter().map(no_history)).collect();
        let (next_poll, quota_left) = (self.clock_at(self.next_poll), self.quota.left(self.since_start()));
        self.outlet.status.send_modify(|s| {
            s.next_poll = Some(next_poll);
            s.poll = Some(self.poll);
            s.quota_left = quota_left;
            s.notices = notices;
        });
    }
}

/// Words for coins that were asked for and are not in the answer.
fn missing(asked: &[String], seen: &HashSet<String>) -> Option<String> {
    let missing: Vec<&String> = asked.iter().filter(|id| !seen.contains(*id)).collect();
    let question = if missing.len() == 1 { "is the id right?" } else { "are the ids right?" };
    (!missing.is_empty()).then(|| format!("not in the answer: {} ({question})", named(&missing)))
}

/// `a, b and 4 more`.
fn named(coins: &[impl AsRef<str>]) -> String {
    let names = coins.iter().take(NAMED).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match coins.len().saturating_sub(NAMED) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coins_that_are_missing_are_named() {
        let asked: Vec<String> = (0..14).map(|n| format!("c{n}")).collect();
        let seen: HashSet<String> = asked.iter().skip(1).cloned().collect();
        assert_eq!(missing(&asked, &seen).as_deref(), Some("not in the answer: c0 (is the id right?)"));
        assert_eq!(missing(&asked, &asked.iter().cloned().collect()), None);
        assert!(
            missing(&asked, &HashSet::new()).expect("many").ends_with("c9 and 4 more (are the ids right?)")
        );
    }
}
