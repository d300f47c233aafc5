//! Alerts: applies the rule to every newly closed candle, once, and logs what it raises.
//!
//! A candle is judged as it was when it closed, not as a late tick restated it later. What was handed over in memory is that;
//! after a restart it is worked out again from silver, up to the tick that closed the candle.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant as Clock;

use tokio::sync::mpsc;

use super::gold::Closed;
use super::meter::now;
use super::stage::{Context, Stage, StageError};
use super::status::{self, Cooling};
use crate::alert::rule::{Judge, Rule, Verdict};
use crate::alert::store::Store;
use crate::lake::maintenance::Effort;
use crate::lake::{Table, TableKind, gold};
use crate::market::window::Row;

/// Versions of gold that may be judged without an alert before the progress is committed.
const NOTE_PROGRESS: i64 = 500;

struct State {
    gold: Table,
    store: Store,
    judge: Judge,
    /// Gold was judged up to this version.
    judged: i64,
    /// Whether the log does not say so yet.
    unnoted: bool,
    /// Gold's version at the last look at it.
    seen: i64,
}

impl State {
    fn gold_version(&self) -> i64 {
        i64::try_from(self.gold.version()).unwrap_or(i64::MAX)
    }
}

pub(super) struct Alerts {
    context: Context,
    rule: Rule,
    cooling: Arc<Mutex<Arc<Vec<Cooling>>>>,
    state: Option<State>,
}

impl Alerts {
    pub(super) fn new(context: Context, rule: Rule, cooling: Arc<Mutex<Arc<Vec<Cooling>>>>) -> Self {
        Self { context, rule, cooling, state: None }
    }

    fn state(&mut self) -> &mut State {
        self.state.as_mut().expect("recovered before it works")
    }

    /// Judges rows, in the order given, and commits what they raise with the version that was judged.
    async fn judge(&mut self, rows: &[Row], version: i64) -> Result<(), StageError> {
        let state = self.state.as_mut().expect("recovered");
        let (mut alerts, mut cooled_down) = (Vec::new(), 0);
        for row in rows {
            match state.judge.judge(row, now()) {
                Verdict::Quiet | Verdict::TooOld => {}
                Verdict::Cooling => cooled_down += 1,
                Verdict::Raised(alert) => alerts.push(*alert),
            }
        }
        state.judged = version;
        state.unnoted = true;
        if !alerts.is_empty() || version - state.store.judged() >= NOTE_PROGRESS {
            let started = Clock::now();
            state.store.append(&alerts, version).await?;
            state.unnoted = false;
            self.context.meters.of(Self::STAGE).commit(state.store.table(), alerts.len() as u64, started.elapsed());
        }
        if let Some(newest) = alerts.last() {
            tracing::info!(count = alerts.len(), newest = %newest.market, volatility = %format_args!("{:.3} %", newest.volatility), "alerts raised");
        }
        self.context.meters.count(|totals| {
            totals.alerts += alerts.len() as u64;
            totals.cooled_down += cooled_down;
        });
        let silent = state.judge.cooling().map(|(market, until)| Cooling { market: Arc::clone(market), until });
        *self.cooling.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(silent.collect());
        if !alerts.is_empty() {
            self.context.meters.revise();
        }
        Ok(())
    }

    /// Judges what gold has closed and nobody has judged.
    async fn catch_up(&mut self) -> Result<(), StageError> {
        let state = self.state();
        state.gold.refresh().await?;
        let rows = gold::closed_after(&state.gold, state.judged).await?;
        let version = state.gold_version();
        state.seen = version;
        if rows.is_empty() {
            state.judged = version;
            return Ok(());
        }
        let silver = Table::open_or_create(&self.context.storage, TableKind::Silver).await?;
        let rows = gold::as_closed(&silver, rows).await?;
        self.judge(&rows, version).await
    }
}

impl Stage for Alerts {
    type Input = Closed;
    type Output = ();

    const STAGE: status::Stage = status::Stage::Alerts;

    fn rows(input: &Closed) -> u64 {
        input.rows.len() as u64
    }

    async fn recover(&mut self, _: &mpsc::Sender<()>) -> Result<(), StageError> {
        self.state = None;
        drop(self.context.open(TableKind::Alerts).await?);
        let mut store = Store::open(&self.context.storage).await?;
        self.context.meters.of(Self::STAGE).table(store.table());
        let judge = Judge::new(self.rule.clone(), store.last_windows().await?);
        let judged = store.judged();
        let gold = Table::open_or_create(&self.context.storage, TableKind::Gold).await?;
        self.state = Some(State { gold, store, judge, judged, unnoted: false, seen: judged });
        self.catch_up().await
    }

    async fn take(&mut self, input: &mut Closed, _: &mpsc::Sender<()>) -> Result<(), StageError> {
        if self.state().judged < input.after {
            self.catch_up().await?;
        }
        if self.state().judged < input.version {
            self.judge(&input.rows, input.version).await?;
        }
        Ok(())
    }

    async fn maintain(&mut self, effort: Effort) -> Result<(), StageError> {
        let state = self.state.as_mut().expect("recovered");
        Ok(self.context.maintain(Self::STAGE, state.store.table(), effort).await?)
    }

    async fn settle(&mut self) -> Result<(), StageError> {
        let state = self.state.as_mut().expect("recovered");
        Ok(self.context.settle(Self::STAGE, state.store.table()).await?)
    }

    async fn look_around(&mut self, _: &mpsc::Sender<()>) -> Result<(), StageError> {
        let state = self.state();
        if state.judged < state.seen {
            return self.catch_up().await; // it was there at the last look and nobody has handed it on since
        }
        state.gold.refresh().await?;
        state.seen = state.gold_version();
        Ok(())
    }

    async fn finish(&mut self, _: &mpsc::Sender<()>) -> Result<(), StageError> {
        self.catch_up().await?;
        let state = self.state();
        if std::mem::take(&mut state.unnoted) {
            state.store.append(&[], state.judged).await?; // or the same candles are judged again at the next start
        }
        Ok(())
    }
}
