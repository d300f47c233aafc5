//! Alerts: applies the rule to every newly closed candle, once, and logs what it raises.
//!
//! A candle is judged as it was when it closed, not as a late tick restated it later. What was handed over in memory is that;
//! after a restart it is worked out again from silver, up to the tick that closed the candle.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::lake::{LakeError, Table, TableKind, gold, silver};
use crate::market::window::{GRACE, Row, Window, window_start};
use crate::market::{Market, Micros};

/// Versions of gold that may be judged without an alert before the progress is committed.
const NOTE_PROGRESS: i64 = 500;

struct State {
    store: Store,
    judge: Judge,
    /// Gold was judged up to this version.
    judged: i64,
    /// Whether the log does not say so yet.
    unnoted: bool,
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
        let gold = Table::open_or_create(&self.context.storage, TableKind::Gold).await?;
        let rows = gold::closed_after(&gold, self.state().judged).await?;
        let version = i64::try_from(gold.version()).unwrap_or(i64::MAX);
        if rows.is_empty() {
            self.state().judged = version;
            return Ok(());
        }
        let silver = Table::open_or_create(&self.context.storage, TableKind::Silver).await?;
        let rows = as_closed(&silver, rows).await?;
        self.judge(&rows, version).await
    }
}

/// The rows as they were when they closed: of each window the ticks before the tick that closed it. A window that had none by
/// then (its first tick came late) is left out: one tick has no volatility.
async fn as_closed(silver: &Table, rows: Vec<Row>) -> Result<Vec<Row>, LakeError> {
    let closed_by_tick = |row: &Row| row.closed_at >= row.candle.window_end + GRACE;
    let mut wanted: BTreeSet<(Arc<Market>, Micros)> = BTreeSet::new();
    for row in rows.iter().filter(|row| closed_by_tick(row)) {
        wanted.insert(row.key());
        wanted.insert((Arc::clone(&row.market), window_start(row.closed_at)));
    }
    let mut ticks: BTreeMap<(Arc<Market>, Micros), Vec<silver::Row>> = BTreeMap::new();
    silver::scan(silver, &wanted, |tick| {
        ticks.entry((Arc::clone(&tick.market), window_start(tick.tick.event_time))).or_default().push(tick);
    })
    .await?;
    let none = Vec::new();
    let as_closed = |row: Row| {
        if !closed_by_tick(&row) {
            return Some(row);
        }
        let closing = ticks.get(&(Arc::clone(&row.market), window_start(row.closed_at))).unwrap_or(&none);
        let closing = closing.iter().filter(|tick| tick.tick.event_time == row.closed_at);
        let Some(closing) = closing.map(|tick| (&tick.place.stream, tick.tick.offset, tick.tick.index)).min() else {
            return Some(row); // the clock closed it
        };
        let mut window: Option<Window> = None;
        for tick in ticks.get(&row.key()).unwrap_or(&none) {
            let before = tick.place.stream != *closing.0 || (tick.tick.offset, tick.tick.index) < (closing.1, closing.2);
            if before {
                match &mut window {
                    Some(window) => window.add(tick.place.clone(), tick.tick.price, tick.tick.size),
                    None => window = Some(Window::new(tick.place.clone(), tick.tick.price, tick.tick.size)),
                }
            }
        }
        Some(window?.row(&row.market, row.closed_at, row.closed_in))
    };
    Ok(rows.into_iter().filter_map(as_closed).collect())
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
        self.state = Some(State { store, judge, judged, unnoted: false });
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

    async fn idle(&mut self, _: &mpsc::Sender<()>) -> Result<(), StageError> {
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
