//! The loop that every stage runs: take a batch, commit it with its positions, hand it on. After any failure
//! the state is dropped, rebuilt from the tables, and the batch taken again, which the positions make safe.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::meter::{Meters, locked};
use super::status::{self, Component, StageState};
use crate::backoff::{Backoff, jitter};
use crate::lake::lock::Lock;
use crate::lake::maintenance::{Effort, Maintenance, Report};
use crate::lake::table::{Change, Commit};
use crate::lake::{LakeError, Storage, Table, TableKind};
use crate::market::Micros;
use crate::market::time::{micros, now};
use crate::text::{cause_first, chain};

/// How often [`Stage::every_second`] runs, however much waits in the inbox.
const EVERY: Duration = Duration::from_secs(1);
/// Waits before a stage that failed is started again.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), cap: Duration::from_secs(30) };

/// Why a stage cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A table cannot be read or written. Tried again.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The next stage has ended. Final.
    #[error("the next stage has ended")]
    Closed,
    /// Another process feeds the storage now. Final.
    #[error("another process has taken over this storage")]
    Fenced,
    /// It kept failing for as long as a finite run retries. Final.
    #[error("gave up after {}", humantime::format_duration(*after))]
    GaveUp {
        /// Whole seconds.
        after: Duration,
        source: LakeError,
    },
    /// It was stopped while it was failing. Final.
    #[error("stopped with rows that could not be committed")]
    Stopped(#[source] LakeError),
}

/// A committed batch that a stage hands to the next one.
#[derive(Debug)]
pub(super) struct Handed<T> {
    pub(super) batch: T,
    /// The committing table's position in the stream before this batch: a stage that has not come that far
    /// reads the table first.
    pub(super) after: i64,
    /// Clock time at which bronze took its records in.
    pub(super) ingested_at: Micros,
    /// When the first of its records was received; none: the batch was read back from a table.
    pub(super) received: Option<Instant>,
}

/// One step of the pipeline: reads what the previous stage has committed, and commits the result with the
/// positions that it was read from. Its state follows from the tables alone.
pub(super) trait Stage: Send {
    type Input: Send;
    /// What the next stage gets.
    type Output: Send;
    type State: Send;

    const STAGE: status::StageKind;

    fn context(&self) -> &StageContext;

    /// Number of rows in a batch, for [`Meter`](super::meter::Meter).
    fn rows(input: &Self::Input) -> u64;

    /// Builds the state from the tables and processes what the previous stage has committed meanwhile.
    async fn recover(&mut self, out: &mpsc::Sender<Self::Output>) -> Result<Self::State, StageError>;

    /// Commits a batch with its positions and hands it on. After an error it is called again with the same
    /// batch and a rebuilt state.
    async fn take(
        &mut self,
        state: &mut Self::State,
        input: &mut Self::Input,
        out: &mpsc::Sender<Self::Output>,
    ) -> Result<(), StageError>;

    /// Compacts, checkpoints and cleans up the stage's tables where that is due.
    async fn maintain(&mut self, state: &mut Self::State, effort: Effort) -> Result<(), StageError>;

    /// The last maintenance of the stage's tables, at its end.
    async fn tidy(&mut self, state: &mut Self::State) -> Result<(), StageError>;

    /// Work that is due by the clock, whether batches wait or not.
    async fn every_second(
        &mut self,
        state: &mut Self::State,
        out: &mpsc::Sender<Self::Output>,
    ) -> Result<(), StageError>;

    /// Work at the end of the input, after all of it was taken.
    async fn finish(
        &mut self,
        state: &mut Self::State,
        out: &mpsc::Sender<Self::Output>,
    ) -> Result<(), StageError>;
}

/// What all stages share.
#[derive(Debug, Clone)]
pub(super) struct StageContext {
    pub(super) storage: Storage,
    /// After a take-over: commit once to every table before anything else, so that the previous writer cannot
    /// commit any more.
    pub(super) fence: bool,
    pub(super) meters: Arc<Meters>,
    /// Cancelled when the time for shutdown is over: a failing stage gives up then.
    pub(super) give_up: CancellationToken,
    /// How long a failing stage is restarted; none: for ever.
    pub(super) give_up_after: Option<Duration>,
    /// Whether this process still owns the storage.
    pub(super) ownership: Arc<Mutex<Lock>>,
}

/// App id of the commits that fence earlier writers.
const FENCE: &str = "take-over";

impl StageContext {
    /// Opens a table for writing, and fences earlier writers after a take-over.
    pub(super) async fn open(&self, kind: TableKind) -> Result<Table, LakeError> {
        let mut table = Table::open_or_create(&self.storage, kind).await?;
        if self.fence {
            let txns = vec![(FENCE.to_owned(), table.txn(FENCE).unwrap_or(0) + 1)];
            table
                .commit(Commit {
                    change: Change::Append,
                    adds: Vec::new(),
                    removes: Vec::new(),
                    txns,
                    facts: &[],
                })
                .await?;
        }
        Ok(table)
    }

    /// The last maintenance of a table, at the end of its stage.
    pub(super) async fn tidy(
        &self,
        stage: status::StageKind,
        table: &mut Table,
        maintenance: &mut Maintenance,
    ) -> Result<(), LakeError> {
        self.maintain(stage, table, maintenance, Effort::Due).await?;
        let report = maintenance.finish().await;
        self.report(stage, table, report);
        Ok(())
    }

    /// For a test of a single stage.
    #[cfg(test)]
    pub(super) fn alone(folder: &std::path::Path) -> Self {
        let storage = Storage::new(folder).unwrap();
        let crate::lake::lock::Attempt::Acquired(lock) = Lock::attempt(&storage, false).unwrap() else {
            panic!("held")
        };
        Self {
            storage,
            fence: false,
            meters: Arc::default(),
            give_up: CancellationToken::new(),
            give_up_after: None,
            ownership: Arc::new(Mutex::new(lock)),
        }
    }

    /// Maintains a table where that is due, and reports it.
    pub(super) async fn maintain(
        &self,
        stage: status::StageKind,
        table: &mut Table,
        maintenance: &mut Maintenance,
        effort: Effort,
    ) -> Result<(), LakeError> {
        let report = maintenance.maintain(table, effort).await?;
        self.report(stage, table, report);
        Ok(())
    }

    /// Logs what maintenance did. What it could not do is tried again later and does not fail the stage.
    fn report(&self, stage: status::StageKind, table: &Table, report: Report) {
        let label = table.kind().label();
        let Report { compacted, into, checkpoint, log_entries, vacuumed, problems } = report;
        if compacted + log_entries + vacuumed > 0 || checkpoint {
            self.meters.of(stage).table(table);
            tracing::info!(
                table = label,
                compacted,
                into,
                checkpoint,
                log_entries,
                vacuumed,
                "table maintained"
            );
        }
        let component = Component::Maintenance(label);
        match problems[..] {
            [] if compacted + log_entries + vacuumed > 0 || checkpoint => self.meters.works(component),
            [] => {}
            [..] => problems.into_iter().for_each(|problem| {
                tracing::warn!(table = label, problem, "maintenance left something undone");
                self.meters.failed(component, problem);
            }),
        }
    }
}

enum Work<I> {
    /// A batch with its number of rows when it was handed over: a stage may take rows out of it.
    Batch(I, u64),
    EverySecond,
    Finish,
}

/// Failures with no commit and no finished batch between them. A rebuilt state alone does not end the streak:
/// the step that failed is still to be done.
struct FailureStreak {
    since: Instant,
    failures: u32,
    /// The stage's commits before the first failure.
    commits: u64,
}

impl FailureStreak {
    /// How long to wait before the stage is restarted.
    ///
    /// # Errors
    /// [`StageError`] where `give_up_after` has passed, or where a finite run meets an error that does not pass.
    fn fail(
        &mut self,
        error: LakeError,
        give_up_after: Option<Duration>,
    ) -> Result<(Duration, LakeError), StageError> {
        self.failures += 1;
        let mut backoff = BACKOFF.delay(self.failures, jitter());
        if let Some(limit) = give_up_after {
            let tried = self.since.elapsed();
            if !error.is_transient() {
                return Err(error.into());
            }
            if tried >= limit {
                return Err(StageError::GaveUp {
                    after: Duration::from_secs(tried.as_secs()),
                    source: error,
                });
            }
            backoff = backoff.min(limit.saturating_sub(tried)); // one last attempt at the limit
        }
        Ok((backoff, error))
    }
}

/// Runs a stage until its input ends.
pub(super) async fn run<S: Stage>(
    mut stage: S,
    mut inbox: mpsc::Receiver<S::Input>,
    out: mpsc::Sender<S::Output>,
) -> Result<(), StageError> {
    let context = stage.context().clone();
    let (name, meter) = (S::STAGE.label(), context.meters.of(S::STAGE));
    let mut work = None;
    let mut state: Option<S::State> = None;
    let mut streak: Option<FailureStreak> = None;
    let mut clock_at = Instant::now() + EVERY;
    loop {
        let done = if let Some(state) = &mut state {
            let mut next = if let Some(failed) = work.take() {
                failed
            } else {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(clock_at) => Work::EverySecond,
                    batch = inbox.recv() => batch.map_or(Work::Finish, |batch| {
                        let rows = S::rows(&batch);
                        Work::Batch(batch, rows)
                    }),
                }
            };
            let mut done = match &mut next {
                Work::Batch(batch, _) => stage.take(state, batch, &out).await,
                Work::EverySecond => stage.every_second(state, &out).await,
                Work::Finish => stage.finish(state, &out).await,
            };
            match (&done, &next) {
                (Ok(()), Work::Batch(_, rows)) => {
                    meter.taken.fetch_add(*rows, Ordering::Relaxed);
                }
                (Ok(()), Work::Finish) => {
                    if let Err(error) = stage.tidy(state).await {
                        tracing::warn!(stage = name, error = %chain(&error), "last maintenance failed"); // all rows are committed
                    }
                    meter.drained();
                    tracing::debug!(stage = name, "drained");
                    return Ok(());
                }
                // Counted from its end: it may take longer than the interval.
                (Ok(()), Work::EverySecond) => clock_at = Instant::now() + EVERY,
                (Err(_), _) => work = Some(next),
            }
            if done.is_ok() {
                done =
                    stage.maintain(state, if inbox.is_empty() { Effort::Due } else { Effort::Behind }).await;
            }
            if done.is_ok() && streak.take().is_some() {
                context.meters.works(Component::Stage(S::STAGE));
            }
            done
        } else {
            stage.recover(&out).await.map(|recovered| {
                state = Some(recovered);
                meter.state(StageState::Ok);
                context.meters.changed.notify_one();
            })
        };
        let error = match done {
            Ok(()) => continue,
            Err(StageError::Lake(error)) => error,
            Err(StageError::Closed) if context.give_up.is_cancelled() => return Ok(()),
            Err(error) => {
                meter.state(StageState::Stopped);
                return Err(error);
            }
        };
        state = None;
        if !locked(&context.ownership).is_mine() {
            meter.state(StageState::Stopped);
            return Err(StageError::Fenced);
        }
        let commits = meter.commits.count();
        let streak = match &mut streak {
            Some(streak) if streak.commits == commits => streak,
            _ => streak.insert(FailureStreak { since: Instant::now(), failures: 0, commits }),
        };
        let (backoff, error) =
            streak.fail(error, context.give_up_after).inspect_err(|_| meter.state(StageState::Stopped))?;
        let why = cause_first(&error);
        tracing::error!(stage = name, error = %why, "stage failed, restarts in {backoff:?}");
        context.meters.failed(Component::Stage(S::STAGE), why.clone());
        meter.state(StageState::Restarting { at: now() + micros(backoff), why });
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

#[cfg(test)]
mod tests;
