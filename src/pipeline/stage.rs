//! The loop that every stage runs: take a batch, commit it with its positions, hand it on; after any failure throw the state
//! away, rebuild it from the tables and take the batch again, which the positions make safe.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::meter::{Meters, now};
use super::status::{self, StageState};
use crate::lake::lock::Lock;
use crate::lake::maintenance::{Effort, Report, maintain, settle};
use crate::lake::table::{Change, Commit};
use crate::lake::{LakeError, Storage, Table, TableKind};
use crate::market::SECOND;
use crate::text::chain;

/// How often a stage that has nothing to do looks around.
const LOOK_AROUND: Duration = Duration::from_secs(1);
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Why a stage cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A table failed it. Tried again.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The stage behind it has ended. Final.
    #[error("the next stage has ended")]
    Closed,
    /// Another process feeds the storage now. Final.
    #[error("another process has taken over this storage")]
    Fenced,
    /// It was told to stop while it was failing. Final.
    #[error("stopped with rows that could not be committed")]
    Stopped(#[source] LakeError),
}

/// One step of the pipeline.
pub(super) trait Stage: Send {
    /// What it takes.
    type Input: Send;
    /// What it hands on.
    type Output: Send;

    /// Which one it is.
    const STAGE: status::Stage;

    /// Number of rows in a batch, for the figures.
    fn rows(input: &Self::Input) -> u64;

    /// Rebuilds the state from the tables and catches up with what the stage before has committed.
    async fn recover(&mut self, out: &mpsc::Sender<Self::Output>) -> Result<(), StageError>;

    /// Commits a batch with its positions and hands it on. After an error it is called again with the same batch, once
    /// [`Self::recover`] has succeeded.
    async fn take(&mut self, input: &mut Self::Input, out: &mpsc::Sender<Self::Output>) -> Result<(), StageError>;

    /// Keeps the stage's tables small.
    async fn maintain(&mut self, effort: Effort) -> Result<(), StageError>;

    /// Leaves the stage's tables tidy at its end.
    async fn settle(&mut self) -> Result<(), StageError>;

    /// Nothing waits: the time for work that the clock brings.
    async fn idle(&mut self, out: &mpsc::Sender<Self::Output>) -> Result<(), StageError>;

    /// The input has ended and all of it was taken.
    async fn finish(&mut self, out: &mpsc::Sender<Self::Output>) -> Result<(), StageError>;
}

/// What the supervisor gives every stage.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) storage: Storage,
    /// Commit once to every table before anything else, so that a writer from before the take-over can commit no more.
    pub(super) fence: bool,
    pub(super) meters: Arc<Meters>,
    /// Cancelled when there is no time left: a failing stage gives up then.
    pub(super) give_up: CancellationToken,
    /// Says whether this process still owns the storage.
    pub(super) ownership: Arc<Mutex<Lock>>,
}

/// App id of the commits that fence earlier writers.
const FENCE: &str = "take-over";

impl Context {
    /// Opens a table for writing, fencing earlier writers where that is asked for.
    pub(super) async fn open(&self, kind: TableKind) -> Result<Table, LakeError> {
        let mut table = Table::open_or_create(&self.storage, kind).await?;
        if self.fence {
            let txns = vec![(FENCE.to_owned(), table.txn(FENCE).unwrap_or(0) + 1)];
            table.commit(Commit { change: Change::Append, adds: Vec::new(), removes: Vec::new(), txns, facts: &[] }).await?;
        }
        Ok(table)
    }

    /// Leaves a table tidy at the end of a stage.
    pub(super) async fn settle(&self, stage: status::Stage, table: &mut Table) -> Result<(), LakeError> {
        self.maintain(stage, table, Effort::Due).await?;
        let report = settle(table).await;
        self.report(stage, table, report);
        Ok(())
    }

    /// Keeps a table small.
    pub(super) async fn maintain(&self, stage: status::Stage, table: &mut Table, effort: Effort) -> Result<(), LakeError> {
        let started = std::time::Instant::now();
        let report = maintain(table, effort).await?;
        if report != Report::default() {
            tracing::debug!(table = table.kind().label(), took_ms = started.elapsed().as_millis(), "maintenance");
        }
        self.report(stage, table, report);
        Ok(())
    }

    /// Tells what maintenance came to. What it could not do is told and tried again later: it is no failure of the stage.
    fn report(&self, stage: status::Stage, table: &Table, report: Report) {
        let label = table.kind().label();
        let Report { compacted, into, checkpoint, log_entries, vacuumed, problems } = report;
        if compacted + log_entries + vacuumed > 0 || checkpoint {
            self.meters.of(stage).table(table);
            tracing::info!(table = label, compacted, into, checkpoint, log_entries, vacuumed, "table maintained");
        }
        for problem in problems {
            tracing::warn!(table = label, problem, "maintenance left something undone");
            self.meters.error(format!("maintenance of {label}: {problem}"));
        }
    }
}

enum Work<I> {
    Batch(I),
    LookAround,
    Finish,
}

/// Runs a stage until its input ends.
pub(super) async fn run<S: Stage>(
    mut stage: S,
    mut inbox: mpsc::Receiver<S::Input>,
    out: mpsc::Sender<S::Output>,
    context: Context,
) -> Result<(), StageError> {
    let (name, meter) = (S::STAGE.label(), context.meters.of(S::STAGE));
    let mut work = None;
    let mut recovered = false;
    let mut failures = 0;
    loop {
        let done = if recovered {
            let mut next = match work.take() {
                Some(work) => work,
                None => match tokio::time::timeout(LOOK_AROUND, inbox.recv()).await {
                    Ok(Some(batch)) => Work::Batch(batch),
                    Ok(None) => Work::Finish,
                    Err(_) => Work::LookAround,
                },
            };
            let rows = if let Work::Batch(batch) = &next { S::rows(batch) } else { 0 };
            let done = match &mut next {
                Work::Batch(batch) => stage.take(batch, &out).await,
                Work::LookAround => stage.idle(&out).await,
                Work::Finish => stage.finish(&out).await,
            };
            match (&done, &next) {
                (Ok(()), Work::Batch(_)) => {
                    meter.taken.fetch_add(rows, Ordering::Relaxed);
                }
                (Ok(()), Work::Finish) => {
                    if let Err(error) = stage.settle().await {
                        tracing::warn!(stage = name, error = %chain(&error), "not tidied up"); // all rows are committed
                    }
                    meter.state(StageState::Stopped);
                    tracing::debug!(stage = name, "drained");
                    return Ok(());
                }
                (Ok(()), Work::LookAround) => {}
                (Err(_), _) => work = Some(next),
            }
            match done {
                Ok(()) => stage.maintain(if inbox.is_empty() { Effort::Due } else { Effort::Behind }).await,
                failed => failed,
            }
        } else {
            let done = stage.recover(&out).await;
            if done.is_ok() {
                recovered = true;
                meter.state(StageState::Ok);
                context.meters.changed.notify_one();
            }
            done
        };
        let error = match done {
            Ok(()) => {
                failures = 0;
                continue;
            }
            Err(StageError::Lake(error)) => error,
            Err(StageError::Closed) if context.give_up.is_cancelled() => return Ok(()),
            Err(error) => {
                meter.state(StageState::Stopped);
                return Err(error);
            }
        };
        recovered = false;
        if !context.ownership.lock().unwrap_or_else(PoisonError::into_inner).is_mine() {
            meter.state(StageState::Stopped);
            return Err(StageError::Fenced);
        }
        let backoff = backoff(failures, rand::rng().random());
        failures += 1;
        let why = chain(&error);
        tracing::error!(stage = name, error = %why, "stage failed, starts again in {backoff:?}");
        context.meters.error(format!("{name}: {why}"));
        meter.state(StageState::Restarting { at: now() + i64::try_from(backoff.as_micros()).unwrap_or(SECOND), why });
        tokio::select! {
            () = tokio::time::sleep(backoff) => {}
            () = context.give_up.cancelled() => {
                meter.state(StageState::Stopped);
                return Err(StageError::Stopped(error));
            }
        }
        meter.state(StageState::Recovering);
    }
}

/// Time before the restart that follows `failures` earlier ones in a row: doubling, capped, with `jitter` of 0..1 spread over its upper half.
fn backoff(failures: u32, jitter: f64) -> Duration {
    let full = FIRST_BACKOFF.saturating_mul(1 << failures.min(10)).min(MAX_BACKOFF);
    full.mul_f64(0.5 + jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn backoff_grows_to_its_cap_and_never_beyond(failures in 0u32..1000, jitter in 0.0f64..1.0) {
            let time = backoff(failures, jitter);
            prop_assert!(time <= MAX_BACKOFF && time >= FIRST_BACKOFF / 2);
            prop_assert!(failures < 6 || time >= MAX_BACKOFF / 2);
        }
    }
}
