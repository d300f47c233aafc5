//! Gold: closes one-minute candles, restates those that get a late tick, and publishes the open ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant as Clock;

use tokio::sync::mpsc;

use super::follow::{self, Backlog};
use super::meter::{Seen, locked};
use super::stage::{Handed, Stage, StageContext, StageError};
use super::status::{self, Live};
use crate::lake::maintenance::{Effort, Maintenance};
use crate::lake::silver::TickBatch;
use crate::lake::table::{Change, Commit};
use crate::lake::{DataFile, LakeError, Table, TableKind, gold, silver};
use crate::market::time::now;
use crate::market::window::{ClosedCandle, Outcome, Windows};
use crate::market::{Market, Micros, Stream};

/// Candles that a commit closed, for the alert rule.
#[derive(Debug)]
pub(super) struct Closed {
    /// As they were when they closed, in the order of the rule.
    pub(super) rows: Vec<ClosedCandle>,
    /// The commit that wrote them.
    pub(super) version: i64,
    /// The version up to which closed candles were handed on before this; those of versions between are read
    /// from the table.
    pub(super) after: i64,
}

#[derive(Debug)]
pub(super) struct State {
    silver: Table,
    gold: Table,
    maintenance: Maintenance,
    windows: Windows,
    handed_on: i64,
    /// Silver's positions when they were read last.
    seen: Seen<Vec<(Stream, i64)>>,
    /// When bronze took in the newest batch that was processed: all earlier ticks are in the windows.
    taken: Option<Micros>,
}

pub(super) struct Gold {
    context: StageContext,
    live: Arc<Mutex<Arc<Vec<Live>>>>,
    /// Set when a finite source has delivered everything.
    source_finished: Arc<AtomicBool>,
    /// As [`Source::paced_since`](crate::source::Source::paced_since).
    paced_since: Option<Micros>,
}

impl Gold {
    pub(super) fn new(
        context: StageContext,
        live: Arc<Mutex<Arc<Vec<Live>>>>,
        source_finished: Arc<AtomicBool>,
        paced_since: Option<Micros>,
    ) -> Self {
        Self { context, live, source_finished, paced_since }
    }

    /// Processes what silver has committed and gold has not read.
    async fn catch_up(&self, state: &mut State, out: &mpsc::Sender<Closed>) -> Result<(), StageError> {
        state.silver.refresh().await?;
        let positions = state.silver.positions();
        state.seen = self.context.meters.of(Self::STAGE).seen(positions.clone());
        self.catch_up_to(state, positions, out).await
    }

    /// As [`Self::catch_up`], up to some positions.
    async fn catch_up_to(
        &self,
        state: &mut State,
        positions: Vec<(Stream, i64)>,
        out: &mpsc::Sender<Closed>,
    ) -> Result<(), StageError> {
        let mut backlog = Backlog::new(&mut state.windows, &state.gold, positions);
        while let Some(batch) = backlog.next(&state.silver).await? {
            self.process(state, &batch, out).await?;
        }
        Ok(())
    }

    async fn process(
        &self,
        state: &mut State,
        batch: &TickBatch,
        out: &mpsc::Sender<Closed>,
    ) -> Result<(), StageError> {
        let outcome = follow::add(&mut state.windows, &state.gold, batch).await?;
        self.commit(state, outcome, out).await
    }

    /// Commits closed and restated candles together, and hands the closed ones to the rule.
    async fn commit(
        &self,
        state: &mut State,
        mut outcome: Outcome,
        out: &mpsc::Sender<Closed>,
    ) -> Result<(), StageError> {
        if !outcome.is_empty() {
            let started = Clock::now();
            let version = i64::try_from(state.gold.version() + 1).unwrap_or(i64::MAX);
            outcome.closed.iter_mut().for_each(|row| row.closed_in = version);
            let plan = state.plan(&outcome, version).await?;
            if !plan.is_empty() {
                let (fresh, restated) = (plan.fresh.len() as u64, plan.restated);
                state.write(plan).await?;
                let meters = &self.context.meters;
                meters.of(Self::STAGE).commit(&state.gold, fresh + restated, started.elapsed());
                meters.count(|totals| {
                    totals.candles += fresh;
                    totals.restated += restated;
                });
                if fresh > 0 {
                    let mut rows = outcome.closed;
                    rows.sort_by(|a, b| {
                        (&a.market, a.candle.window_start).cmp(&(&b.market, b.candle.window_start))
                    });
                    let after = std::mem::replace(&mut state.handed_on, version);
                    meters
                        .of(status::StageKind::Alerts)
                        .offered
                        .fetch_add(rows.len() as u64, Ordering::Relaxed);
                    out.send(Closed { rows, version, after }).await.map_err(|_| StageError::Closed)?;
                }
            }
        }
        // After the commit that may have closed some of them.
        *locked(&self.live) = Arc::new(follow::live(&state.windows));
        self.context.meters.revise();
        Ok(())
    }

    /// Closes the windows of silent markets by the clock. While batches wait, which may have ticks of any market,
    /// the time of the newest processed batch counts instead.
    async fn close_silent(&self, state: &mut State, out: &mpsc::Sender<Closed>) -> Result<(), StageError> {
        let caught_up_at = now();
        let clock =
            if self.context.meters.is_caught_up(Self::STAGE) { Some(caught_up_at) } else { state.taken };
        let Some((clock, since)) = clock.zip(self.paced_since) else { return Ok(()) };
        let outcome = state.windows.idle(clock, since);
        if outcome.is_empty() { Ok(()) } else { self.commit(state, outcome, out).await }
    }
}

/// What one commit writes.
struct CommitPlan {
    /// Rows of new windows.
    fresh: Vec<ClosedCandle>,
    /// Files to replace, each with all of its rows after the change.
    replaced: Vec<(Arc<DataFile>, Vec<ClosedCandle>)>,
    /// Rows in them that change.
    restated: u64,
}

impl CommitPlan {
    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.restated == 0
    }
}

impl State {
    async fn plan(&mut self, outcome: &Outcome, version: i64) -> Result<CommitPlan, LakeError> {
        let mut fresh: BTreeMap<(Arc<Market>, Micros), ClosedCandle> =
            outcome.closed.iter().map(|row| (row.key(), row.clone())).collect();
        let mut plan = CommitPlan { fresh: Vec::new(), replaced: Vec::new(), restated: 0 };
        if !outcome.late.is_empty() {
            self.silver.refresh().await?;
            let wanted: BTreeSet<_> = outcome.late.keys().cloned().collect();
            let sums = silver::aggregate(&self.silver, &wanted).await?.windows();
            let mut late = HashMap::new();
            for (key, closed_at) in &outcome.late {
                let Some(window) = sums.get(key) else {
                    return Err(LakeError::Corrupt {
                        table: TableKind::Silver,
                        what: format!("no ticks of {} where there were some", key.0),
                    });
                };
                let row = window.row(&key.0, *closed_at, version);
                match fresh.get_mut(key) {
                    Some(closing) => {
                        closing.clone_from(&ClosedCandle { closed_at: closing.closed_at, ..row });
                    }
                    None => drop(late.insert(key.clone(), row)),
                }
            }
            for (file, mut rows) in gold::files_with(&self.gold, &outcome.late).await? {
                let mut changed = 0;
                for row in &mut rows {
                    if let Some(new) = late.remove(&row.key())
                        && !row.same_sums(&new)
                    {
                        *row = ClosedCandle { closed_at: row.closed_at, closed_in: row.closed_in, ..new };
                        changed += 1;
                    }
                }
                if changed > 0 {
                    plan.restated += changed;
                    plan.replaced.push((file, rows));
                }
            }
            fresh.extend(late);
        }
        plan.fresh = fresh.into_values().collect();
        Ok(plan)
    }

    async fn write(&mut self, plan: CommitPlan) -> Result<(), LakeError> {
        let mut adds = gold::write(&self.gold, &plan.fresh).await?;
        let mut removes = Vec::new();
        for (file, rows) in plan.replaced {
            adds.extend(gold::write(&self.gold, &rows).await?);
            removes.push(file);
        }
        let txns = self
            .windows
            .positions()
            .into_iter()
            .map(|(stream, offset)| (self.gold.app_id(&stream), offset))
            .collect();
        let change = if removes.is_empty() { Change::Append } else { Change::Restate };
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let facts = [("candles", count(plan.fresh.len() as u64)), ("restated", count(plan.restated))];
        self.gold.commit(Commit { change, adds, removes, txns, facts: &facts }).await?;
        Ok(())
    }
}

impl Stage for Gold {
    type Input = Handed<TickBatch>;
    type Output = Closed;
    type State = State;

    const STAGE: status::StageKind = status::StageKind::Gold;

    fn context(&self) -> &StageContext {
        &self.context
    }

    fn rows(input: &Handed<TickBatch>) -> u64 {
        input.batch.ticks.ticks.len() as u64
    }

    async fn recover(&mut self, out: &mpsc::Sender<Closed>) -> Result<State, StageError> {
        let silver = Table::open_or_create(&self.context.storage, TableKind::Silver).await?;
        let gold = self.context.open(TableKind::Gold).await?;
        self.context.meters.of(Self::STAGE).table(&gold);
        let handed_on = i64::try_from(gold.version()).unwrap_or(i64::MAX);
        let seen = self.context.meters.of(Self::STAGE).seen(Vec::new());
        let mut state = State {
            silver,
            gold,
            maintenance: Maintenance::new(),
            windows: Windows::default(),
            handed_on,
            seen,
            taken: None,
        };
        self.catch_up(&mut state, out).await?;
        Ok(state)
    }

    async fn take(
        &mut self,
        state: &mut State,
        input: &mut Handed<TickBatch>,
        out: &mpsc::Sender<Closed>,
    ) -> Result<(), StageError> {
        let stream = &input.batch.stream;
        if input.after > state.windows.read_to(stream).unwrap_or(-1) {
            self.catch_up(state, out).await?;
        }
        if input.batch.last > state.windows.read_to(stream).unwrap_or(-1) {
            self.process(state, &input.batch, out).await?;
        }
        state.taken = Some(input.ingested_at);
        if let Some(received) = input.received {
            self.context.meters.latency.note(received.elapsed());
        }
        Ok(())
    }

    async fn tidy(&mut self, state: &mut State) -> Result<(), StageError> {
        Ok(self.context.tidy(Self::STAGE, &mut state.gold, &mut state.maintenance).await?)
    }

    async fn every_second(
        &mut self,
        state: &mut State,
        out: &mpsc::Sender<Closed>,
    ) -> Result<(), StageError> {
        let meter = self.context.meters.of(Self::STAGE);
        if meter.has_taken(&state.seen) {
            state.silver.refresh().await?;
            let seen = std::mem::replace(&mut state.seen, meter.seen(state.silver.positions()));
            self.catch_up_to(state, seen.upto, out).await?;
        }
        self.close_silent(state, out).await
    }

    async fn maintain(&mut self, state: &mut State, effort: Effort) -> Result<(), StageError> {
        Ok(self.context.maintain(Self::STAGE, &mut state.gold, &mut state.maintenance, effort).await?)
    }

    async fn finish(&mut self, state: &mut State, out: &mpsc::Sender<Closed>) -> Result<(), StageError> {
        self.catch_up(state, out).await?;
        // Where a previous stage failed, ticks are missing that the next run will deliver.
        if self.source_finished.load(Ordering::Acquire) && self.context.meters.is_drained_before(Self::STAGE)
        {
            let outcome = state.windows.finish();
            self.commit(state, outcome, out).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
