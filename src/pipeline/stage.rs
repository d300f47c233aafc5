//! The loop that every stage runs: take a batch, commit it with its positions, hand it on; after any failure
//! throw the state away, rebuild it from the tables and take the batch again, which the positions make safe.

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
use crate::market::time::now;
use crate::market::{Micros, SECOND};
use crate::text::{cause_first, chain};

/// How long after one look around the next one is due, however much waits in the inbox.
const LOOK_AROUND: Duration = Duration::from_secs(1);
/// Waits before a stage that failed is started again.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), cap: Duration::from_secs(30) };

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
    /// It failed for as long as a finite run tries. Final.
    #[error("gave up after {}", humantime::format_duration(*after))]
    GaveUp {
        /// How long it had tried, in whole seconds.
        after: Duration,
        /// What it failed with last.
        source: LakeError,
    },
    /// It was told to stop while it was failing. Final.
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

/// One step of the pipeline: reads what the stage before has committed, and commits what it makes of it with
/// the positions that it came from. Its state follows from the tables alone.
pub(super) trait Stage: Send {
    type Input: Send;
    /// What it hands on to the next stage.
    type Output: Send;
    type State: Send;

    const STAGE: status::StageKind;

    fn context(&self) -> &StageContext;

    /// Number of rows in a batch, for the figures.
    fn rows(input: &Self::Input) -> u64;

    /// Builds the state from the tables and catches up with what the stage before has committed.
    async fn recover(&mut self, out: &mpsc::Sender<Self::Output>) -> Result<Self::State, StageError>;

    /// Commits a batch with its positions and hands it on. After an error it is called again with the same
    /// batch and a state that was built anew.
    async fn take(
        &mut self,
        state: &mut Self::State,
        input: &mut Self::Input,
        out: &mpsc::Sender<Self::Output>,
    ) -> Result<(), StageError>;

    /// Keeps the stage's tables small.
    async fn maintain(&mut self, state: &mut Self::State, effort: Effort) -> Result<(), StageError>;

    /// Leaves the stage's tables tidy at its end.
    async fn tidy(&mut self, state: &mut Self::State) -> Result<(), StageError>;

    /// The work that the clock brings: once a second, whether batches wait or not.
    async fn look_around(
        &mut self,
        state: &mut Self::State,
        out: &mpsc::Sender<Self::Output>,
    ) -> Result<(), StageError>;

    /// The input has ended and all of it was taken.
    async fn finish(
        &mut self,
        state: &mut Self::State,
        out: &mpsc::Sender<Self::Output>,
    ) -> Result<(), StageError>;
}

/// What the supervisor gives every stage.
#[derive(Debug, Clone)]
pub(super) struct StageContext {
    pub(super) storage: Storage,
    /// Commit once to every table before anything else, so that a writer from before the take-over can commit
    /// no more.
    pub(super) fence: bool,
    pub(super) meters: Arc<Meters>,
    /// Cancelled when there is no time left: a failing stage gives up then.
    pub(super) give_up: CancellationToken,
    /// How long a stage that keeps failing is started again; none: for ever.
    pub(super) give_up_after: Option<Duration>,
    /// Says whether this process still owns the storage.
    pub(super) ownership: Arc<Mutex<Lock>>,
}

/// App id of the commits that fence earlier writers.
const FENCE: &str = "take-over";

impl StageContext {
    /// Opens a table for writing, fencing earlier writers where that is asked for.
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

    /// Leaves a table tidy at the end of a stage.
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

    /// For a stage that a test runs by itself.
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

    /// Keeps a table small.
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

    /// Reports what maintenance did. What it could not do is tried again later: it is no failure of the
    /// stage.
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
    /// A batch with its number of rows, as it was handed over: a stage may take rows out of it.
    Batch(I, u64),
    LookAround,
    Finish,
}

/// Failures in a row, with no commit and no batch worked off between them. That the state could be rebuilt
/// does not end the row: the step that failed is still to be done.
struct Trouble {
    since: Instant,
    failures: u32,
    /// Commits of the stage before the first of them.
    commits: u64,
}

impl Trouble {
    /// How long to wait before the stage that failed is started again.
    ///
    /// # Errors
    /// [`StageError`] where `give_up_after` has passed, or where no time can help a run that is to end.
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
            backoff = backoff.min(limit.saturating_sub(tried)); // one last try when the time is up
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
    let mut trouble: Option<Trouble> = None;
    let mut look_around_at = Instant::now() + LOOK_AROUND;
    loop {
        let done = if let Some(state) = &mut state {
            let mut next = if let Some(failed) = work.take() {
                failed
            } else {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(look_around_at) => Work::LookAround,
                    batch = inbox.recv() => batch.map_or(Work::Finish, |batch| {
                        let rows = S::rows(&batch);
                        Work::Batch(batch, rows)
                    }),
                }
            };
            let mut done = match &mut next {
                Work::Batch(batch, _) => stage.take(state, batch, &out).await,
                Work::LookAround => stage.look_around(state, &out).await,
                Work::Finish => stage.finish(state, &out).await,
            };
            match (&done, &next) {
                (Ok(()), Work::Batch(_, rows)) => {
                    meter.taken.fetch_add(*rows, Ordering::Relaxed);
                }
                (Ok(()), Work::Finish) => {
                    if let Err(error) = stage.tidy(state).await {
                        tracing::warn!(stage = name, error = %chain(&error), "not tidied up"); // all rows are committed
                    }
                    meter.drained();
                    tracing::debug!(stage = name, "drained");
                    return Ok(());
                }
                // From here on: what it does may take longer than the time between two.
                (Ok(()), Work::LookAround) => look_around_at = Instant::now() + LOOK_AROUND,
                (Err(_), _) => work = Some(next),
            }
            if done.is_ok() {
                done =
                    stage.maintain(state, if inbox.is_empty() { Effort::Due } else { Effort::Behind }).await;
            }
            if done.is_ok() && trouble.take().is_some() {
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
        let trouble = match &mut trouble {
            Some(trouble) if trouble.commits == commits => trouble,
            _ => trouble.insert(Trouble { since: Instant::now(), failures: 0, commits }),
        };
        let (backoff, error) =
            trouble.fail(error, context.give_up_after).inspect_err(|_| meter.state(StageState::Stopped))?;
        let why = cause_first(&error);
        tracing::error!(stage = name, error = %why, "stage failed, starts again in {backoff:?}");
        context.meters.failed(Component::Stage(S::STAGE), why.clone());
        meter.state(StageState::Restarting {
            at: now() + i64::try_from(backoff.as_micros()).unwrap_or(SECOND),
            why,
        });
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
