//! Alerts: applies the rule to every newly closed candle, once, and logs what it raises.
//!
//! A candle is judged as it was when it closed, not as a late tick restated it. Candles that gold hands over are
//! in that state; after a restart it is computed again from silver, up to the tick that closed the candle.

use std::sync::{Arc, Mutex};
use std::time::Instant as Clock;

use tokio::sync::mpsc;

use super::gold::Closed;
use super::meter::{Seen, locked};
use super::stage::{Stage, StageContext, StageError};
use super::status::{self, Cooling};
use crate::alert::rule::{Judge, Rule, Verdict};
use crate::alert::store::Store;
use crate::lake::gold::{self, Slice};
use crate::lake::maintenance::{Effort, Maintenance};
use crate::lake::{Table, TableKind};
use crate::market::Alert;
use crate::market::time::now;
use crate::market::window::ClosedCandle;

/// Versions of gold that are judged without an alert before the progress is committed.
const COMMIT_PROGRESS: i64 = 500;
/// About how many ticks of unjudged candles are read back from silver at once: it bounds their memory.
const CATCH_UP: i64 = 200_000;

pub(super) struct State {
    gold: Table,
    store: Store,
    maintenance: Maintenance,
    judge: Judge,
    /// Gold was judged up to this version.
    judged: i64,
    /// Whether `judged` is not yet committed.
    uncommitted: bool,
    /// Gold's version when it was read last.
    seen: Seen<i64>,
}

impl State {
    fn gold_version(&self) -> i64 {
        i64::try_from(self.gold.version()).unwrap_or(i64::MAX)
    }
}

pub(super) struct Alerts {
    context: StageContext,
    rule: Rule,
    cooling: Arc<Mutex<Arc<Vec<Cooling>>>>,
    /// [`CATCH_UP`]; less in tests.
    catch_up: i64,
}

impl Alerts {
    pub(super) fn new(context: StageContext, rule: Rule, cooling: Arc<Mutex<Arc<Vec<Cooling>>>>) -> Self {
        Self { context, rule, cooling, catch_up: CATCH_UP }
    }

    /// Judges rows, in the order given, and commits what they raise with the version that was judged.
    async fn judge(&self, state: &mut State, rows: &[ClosedCandle], version: i64) -> Result<(), StageError> {
        let (mut alerts, mut cooled_down) = (Vec::new(), 0);
        for row in rows {
            match state.judge.judge(row, now()) {
                Verdict::Quiet | Verdict::TooOld => {}
                Verdict::Cooling => cooled_down += 1,
                Verdict::Raised(alert) => alerts.push(*alert),
            }
        }
        state.judged = version;
        state.uncommitted = true;
        if !alerts.is_empty() || version - state.store.judged() >= COMMIT_PROGRESS {
            self.append(state, &alerts).await?;
        }
        if let Some(newest) = alerts.last() {
            tracing::info!(count = alerts.len(), newest = %newest.market, volatility = %format_args!("{:.3} %", newest.volatility), "alerts raised");
        }
        self.context.meters.count(|totals| {
            totals.alerts += alerts.len() as u64;
            totals.cooled_down += cooled_down;
        });
        let silent =
            state.judge.cooling().map(|(market, until)| Cooling { market: Arc::clone(market), until });
        *locked(&self.cooling) = Arc::new(silent.collect());
        if !alerts.is_empty() {
            self.context.meters.revise();
        }
        Ok(())
    }

    /// Commits alerts with the version up to which gold was judged.
    async fn append(&self, state: &mut State, alerts: &[Alert]) -> Result<(), StageError> {
        let started = Clock::now();
        state.store.append(alerts, state.judged).await?;
        state.uncommitted = false;
        self.context.meters.of(Self::STAGE).commit(
            state.store.table(),
            alerts.len() as u64,
            started.elapsed(),
        );
        Ok(())
    }

    /// Refreshes gold; its version.
    async fn refresh(&self, state: &mut State) -> Result<i64, StageError> {
        state.gold.refresh().await?;
        let version = state.gold_version();
        state.seen = self.context.meters.of(Self::STAGE).seen(version);
        Ok(version)
    }

    /// Judges the candles that gold has closed since, some commits at a time, and commits the progress after each
    /// part.
    async fn catch_up(&self, state: &mut State) -> Result<(), StageError> {
        let version = self.refresh(state).await?;
        if state.judged == version {
            return Ok(());
        }
        let silver = Table::open_or_create(&self.context.storage, TableKind::Silver).await?;
        while state.judged < version {
            let mut any = false;
            let may_raise = |row: &ClosedCandle| {
                any = true;
                self.rule.may_raise(row)
            };
            let Slice { mut rows, upto } =
                gold::slice_after(&state.gold, state.judged, self.catch_up, may_raise).await?;
            if !any {
                state.judged = upto; // commits that closed nothing: not worth a commit
                continue;
            }
            if !rows.is_empty() {
                rows = gold::as_closed(&silver, rows).await?;
            }
            self.judge(state, &rows, upto).await?;
            if state.uncommitted {
                self.append(state, &[]).await?;
            }
        }
        Ok(())
    }
}

impl Stage for Alerts {
    type Input = Closed;
    type Output = ();
    type State = State;

    const STAGE: status::StageKind = status::StageKind::Alerts;

    fn context(&self) -> &StageContext {
        &self.context
    }

    fn rows(input: &Closed) -> u64 {
        input.rows.len() as u64
    }

    async fn recover(&mut self, _: &mpsc::Sender<()>) -> Result<State, StageError> {
        drop(self.context.open(TableKind::Alerts).await?);
        let mut store = Store::open(&self.context.storage).await?;
        self.context.meters.of(Self::STAGE).table(store.table());
        let judge = Judge::new(self.rule.clone(), store.last_windows().await?);
        let judged = store.judged();
        let gold = Table::open_or_create(&self.context.storage, TableKind::Gold).await?;
        let seen = self.context.meters.of(Self::STAGE).seen(judged);
        let maintenance = Maintenance::new();
        let mut state = State { gold, store, maintenance, judge, judged, uncommitted: false, seen };
        self.catch_up(&mut state).await?;
        Ok(state)
    }

    async fn take(
        &mut self,
        state: &mut State,
        input: &mut Closed,
        _: &mpsc::Sender<()>,
    ) -> Result<(), StageError> {
        if state.judged < input.after {
            self.catch_up(state).await?;
        }
        if state.judged < input.version {
            self.judge(state, &input.rows, input.version).await?;
        }
        Ok(())
    }

    async fn maintain(&mut self, state: &mut State, effort: Effort) -> Result<(), StageError> {
        Ok(self.context.maintain(Self::STAGE, state.store.table(), &mut state.maintenance, effort).await?)
    }

    async fn tidy(&mut self, state: &mut State) -> Result<(), StageError> {
        Ok(self.context.tidy(Self::STAGE, state.store.table(), &mut state.maintenance).await?)
    }

    async fn every_second(&mut self, state: &mut State, _: &mpsc::Sender<()>) -> Result<(), StageError> {
        if !self.context.meters.of(Self::STAGE).has_taken(&state.seen) {
            return Ok(()); // what was in gold then is still in the channel
        }
        if state.judged < state.seen.upto {
            return self.catch_up(state).await; // it was in gold then and was not handed over
        }
        self.refresh(state).await?;
        Ok(())
    }

    async fn finish(&mut self, state: &mut State, _: &mpsc::Sender<()>) -> Result<(), StageError> {
        self.catch_up(state).await?;
        if state.uncommitted {
            self.append(state, &[]).await?; // else the same candles are judged again at the next start
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::rule::VOLATILITY;
    use crate::lake::silver;
    use crate::lake::table::{Change, Commit};
    use crate::market::window::{GRACE, Place, Window};
    use crate::market::{MINUTE, Market, Micros, SECOND, Stream, Tick, Ticks};

    const MINUTES: i64 = 24;

    /// Two ticks a minute of each of two markets: 1 % apart in every third minute. A later tick makes it 3 %
    /// in every other one.
    async fn tables(context: &StageContext) {
        let markets = Arc::new(["a", "b"].map(|coin| Arc::new(Market::new("s", coin, "usd"))).to_vec());
        let stream = Arc::new(Stream::direct());
        let mut ticks = Ticks { markets: Arc::clone(&markets), ticks: Vec::new() };
        let mut add = |market: u32, event_time: Micros, came_in: Micros, price: f64| {
            let offset = i64::try_from(ticks.ticks.len()).unwrap();
            let tick = Tick {
                market,
                index: 0,
                offset,
                event_time,
                price,
                size: None,
                trade_id: None,
                details: None,
                ingested_at: came_in,
            };
            ticks.ticks.push(tick);
        };
        let closes = |minute: i64| (minute + 1) * MINUTE + GRACE;
        for minute in 0..MINUTES {
            for market in 0..2 {
                let start = minute * MINUTE;
                add(market, start, start, 100.0);
                add(market, start + SECOND, start + SECOND, if minute % 3 == 0 { 101.0 } else { 100.0 });
                add(market, start + GRACE, start + GRACE, 100.0);
            }
        }
        let late = MINUTES * MINUTE + MINUTE;
        (0..MINUTES).step_by(2).for_each(|minute| add(0, minute * MINUTE + 2 * SECOND, late, 103.0));
        let mut silver = Table::open_or_create(&context.storage, TableKind::Silver).await.unwrap();
        let adds = silver::write(&silver, &stream, &ticks).await.unwrap();
        silver
            .commit(Commit { change: Change::Append, adds, removes: vec![], txns: vec![], facts: &[] })
            .await
            .unwrap();
        let mut gold = Table::open_or_create(&context.storage, TableKind::Gold).await.unwrap();
        for minute in 0..MINUTES {
            let closed_in = i64::try_from(gold.version() + 1).unwrap();
            let mut rows = Vec::new();
            for (id, market) in (0..).zip(markets.iter()) {
                let mut inside = ticks
                    .ticks
                    .iter()
                    .filter(|tick| tick.market == id && tick.event_time.div_euclid(MINUTE) == minute);
                let first = inside.next().unwrap();
                let mut window = Window::new(Place::of(&stream, first), first.price, None);
                inside.for_each(|tick| window.add(Place::of(&stream, tick), tick.price, None));
                // The ninth minute of one market closed too late for an alert.
                let closed_at = if (id, minute) == (1, 9) { late + 10 * MINUTE } else { closes(minute) };
                rows.push(window.row(market, closed_at, closed_in));
            }
            let adds = gold::write(&gold, &rows).await.unwrap();
            gold.commit(Commit { change: Change::Append, adds, removes: vec![], txns: vec![], facts: &[] })
                .await
                .unwrap();
        }
    }

    /// The log after a start that catches up in slices of so many ticks, and how many commits that took.
    async fn caught_up(slice: i64, cooldown: Micros) -> (Vec<(String, Micros, u64)>, i64, u64) {
        let folder = tempfile::tempdir().unwrap();
        let context = StageContext::alone(folder.path());
        tables(&context).await;
        let rule = Rule { threshold: 0.5, cooldown, ..Rule::default() };
        let mut alerts = Alerts { catch_up: slice, ..Alerts::new(context, rule, Arc::default()) };
        let mut state = alerts.recover(&mpsc::channel(1).0).await.unwrap();
        let commits = alerts.context.meters.of(Alerts::STAGE).commits.count();
        assert!(!state.uncommitted && state.judged == state.gold_version());
        let judged = state.store.judged();
        let mut log = Vec::new();
        let mut files: Vec<_> = state.store.table().files().cloned().collect();
        files.sort_by_key(|file| file.times("window_start"));
        for file in files {
            for alert in crate::lake::alerts::read(state.store.table(), &file).await.unwrap() {
                assert_eq!(alert.alert_id, Alert::id(VOLATILITY, &alert.market, alert.window_start));
                log.push((
                    alert.market.coin_id.to_string(),
                    alert.window_start / MINUTE,
                    alert.volatility.to_bits(),
                ));
            }
        }
        (log, judged, commits)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_start_judges_the_same_in_slices_of_any_size() {
        for cooldown in [0, 5 * MINUTE] {
            let (whole, judged, commits) = caught_up(CATCH_UP, cooldown).await;
            assert_eq!(commits, 1);
            let minutes = |coin: &str| {
                whole.iter().filter(|(of, ..)| of == coin).map(|(_, minute, _)| *minute).collect::<Vec<_>>()
            };
            let (every, fifth) = (vec![0, 3, 6, 9, 12, 15, 18, 21], vec![0, 6, 12, 18]);
            assert_eq!(minutes("a"), if cooldown == 0 { every.clone() } else { fifth.clone() });
            assert_eq!(
                minutes("b"),
                if cooldown == 0 { every.into_iter().filter(|minute| *minute != 9).collect() } else { fifth }
            );
            assert!(
                whole.iter().all(|(_, _, volatility)| *volatility == 1.0_f64.to_bits()),
                "as they closed: {whole:?}"
            );
            for slice in [1, 7, 20, 50] {
                let (log, upto, commits) = caught_up(slice, cooldown).await;
                assert_eq!((log, upto), (whole.clone(), judged), "slices of {slice}");
                assert!(commits > 1, "the progress is committed after each of the slices of {slice}");
            }
        }
    }
}
