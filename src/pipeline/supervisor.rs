//! The supervisor: owns the storage's lock and the tasks of a run, and ends them in order.
//!
//! Shutdown follows the data: the source stops, each stage commits what it holds and then sees its input end.
//! The first task that fails stops the source; its error is the run's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::meter::{Rates, locked};
use super::publish::{self, MonitorPublisher, Publisher, Shared, snapshot};
use super::stage::{StageContext, StageError};
use super::status::{Role, Snapshot};
use super::summary::Summary;
use super::{Connections, PipelineError, PipelineSettings, WhenHeld, intake, start_stages};
use crate::lake::lock::{Attempt, Lock};
use crate::lake::{Table, TableKind};
use crate::source::{End, Outlet, SourceStatus};
use crate::text::cause_first;

pub use super::publish::{monitor, picture};

/// How long the stages may take to commit what they hold once the source was told to stop.
const DRAIN: Duration = Duration::from_secs(20);
/// Deliveries between source and transport.
const DELIVERIES: usize = 4;

/// The first snapshot, before anything is known.
pub fn blank(settings: &PipelineSettings) -> Snapshot {
    snapshot(&Shared::default(), None, Role::Pipeline, &mut Rates::default(), settings.rule.threshold)
}

/// Runs source and stages until a finite source is drained, the run is cancelled, or something fails for
/// good. None: it was cancelled before it could begin.
///
/// # Errors
/// [`PipelineError`], after everything that could be committed was. The last snapshot has it, too.
pub async fn run(
    settings: PipelineSettings,
    connections: Connections,
) -> Result<Option<Summary>, PipelineError> {
    let snapshots = connections.snapshots.clone();
    let ended = supervise(settings, connections).await;
    if let Err(error) = &ended {
        publish::failed(&snapshots, cause_first(error));
    }
    ended
}

/// Waits for the storage's lock as its settings say; none: cancelled before it was free.
async fn acquire(
    settings: &PipelineSettings,
    connections: &Connections,
) -> Result<Option<Lock>, PipelineError> {
    let mut publisher = MonitorPublisher::new(settings.storage.clone(), settings.rule.threshold);
    loop {
        match Lock::attempt(&settings.storage, settings.when_held == WhenHeld::TakeOver)? {
            Attempt::Acquired(lock) => return Ok(Some(lock)),
            Attempt::Held if settings.when_held == WhenHeld::Wait => {}
            Attempt::Held => return Err(PipelineError::Held(settings.storage.root().to_owned())),
        }
        let role = Role::Monitor { why: "another process feeds this storage".to_owned(), takes_over: true };
        if publisher.publish(role, connections).await.is_break() {
            return Ok(None);
        }
    }
}

async fn supervise(
    settings: PipelineSettings,
    connections: Connections,
) -> Result<Option<Summary>, PipelineError> {
    let Some(lock) = acquire(&settings, &connections).await? else { return Ok(None) };
    // One after the other, before anything runs: tables are created once, and a storage that cannot be used
    // is reported at once.
    for kind in TableKind::ALL {
        Table::open_or_create(&settings.storage, kind).await?;
    }
    let (started, shared, source) = (Instant::now(), Shared::default(), settings.source.clone());
    let (ownership, finished) = (Arc::new(Mutex::new(lock)), Arc::default());
    let context = StageContext {
        storage: settings.storage.clone(),
        fence: settings.when_held == WhenHeld::TakeOver,
        meters: Arc::clone(&shared.meters),
        give_up: CancellationToken::new(),
        give_up_after: settings.give_up_after,
        ownership: Arc::clone(&ownership),
    };
    let (deliveries, inbox) = mpsc::channel(DELIVERIES);
    let (status, source_status) = watch::channel(SourceStatus::starting(source.kind(), source.coins()));
    let stop_source = connections.cancel.child_token();
    let outlet = Outlet { deliveries, status, cancel: stop_source.clone() };

    let mut tasks = Tasks::default();
    start_stages(&mut tasks, &context, &shared, &settings, inbox, &finished);
    let meters = Arc::clone(&shared.meters);
    let intake = intake::run(source, settings.storage, outlet, connections.selected, finished, meters);
    tasks.spawn("source", async move { Ok(Some(intake.await?)) });

    let mut publisher =
        Publisher::new(shared.clone(), source_status, connections.snapshots, settings.rule.threshold);
    let mut time_is_up = std::pin::pin!(async {
        stop_source.cancelled().await;
        tokio::time::sleep(DRAIN).await;
        context.give_up.cancel();
    });
    let (mut end, mut failure) = (End::Stopped, None);
    loop {
        publisher.publish();
        locked(&ownership).acquire_file_lock();
        let ended = tokio::select! {
            ended = tasks.next() => ended,
            () = publisher.due() => continue,
            () = &mut time_is_up, if !context.give_up.is_cancelled() => continue,
        };
        match ended {
            None => break,
            Some(Ok(of_source)) => end = of_source.unwrap_or(end),
            Some(Err(error)) => {
                if !matches!(error, PipelineError::Source(_)) {
                    stop_source.cancel();
                }
                failure = Some(cause(failure, error));
            }
        }
    }
    publisher.publish();
    match failure {
        Some(failure) => Err(failure),
        None => Ok(Some(Summary::new(&shared.meters, started.elapsed(), end))),
    }
}

/// The error of a run in which several tasks failed: the first one, except that a stage that failed because the
/// next one had ended is not the cause.
fn cause(first: Option<PipelineError>, next: PipelineError) -> PipelineError {
    match first {
        None | Some(PipelineError::Stage { source: StageError::Closed, .. }) => next,
        Some(first) => first,
    }
}

/// The tasks of a run, by name.
#[derive(Default)]
pub(super) struct Tasks {
    set: JoinSet<Result<Option<End>, PipelineError>>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// Starts a task; the source's gives how it ended.
    fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<Option<End>, PipelineError>> + Send + 'static,
    ) {
        self.names.insert(self.set.spawn(task).id(), name);
    }

    /// Starts the task of a stage.
    pub(super) fn stage(
        &mut self,
        stage: &'static str,
        task: impl Future<Output = Result<(), StageError>> + Send + 'static,
    ) {
        self.spawn(stage, async move {
            task.await.map(|()| None).map_err(|source| PipelineError::Stage { stage, source })
        });
    }

    /// What the next task that ends gives; none when all have ended.
    async fn next(&mut self) -> Option<Result<Option<End>, PipelineError>> {
        let ended = self.set.join_next().await?;
        Some(ended.unwrap_or_else(|error| {
            Err(PipelineError::Panicked(self.names.get(&error.id()).copied().unwrap_or("a task")))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_that_follows_from_no_other_is_the_cause() {
        let ended = |names: &[&'static str]| {
            let errors = names.iter().map(|name| match *name {
                "silver" => PipelineError::Stage { stage: "silver", source: StageError::Closed },
                "gold" => PipelineError::Stage { stage: "gold", source: StageError::Fenced },
                name => PipelineError::Panicked(name),
            });
            errors.fold(None, |first, next| Some(cause(first, next))).unwrap().to_string()
        };
        assert_eq!(ended(&["silver"]), "stage silver failed");
        assert_eq!(ended(&["silver", "gold", "source"]), "stage gold failed");
        assert_eq!(ended(&["gold", "silver"]), "stage gold failed");
        assert_eq!(ended(&["source", "gold"]), "source ended by a panic");
    }

    #[tokio::test]
    async fn a_task_that_panics_is_named() {
        let mut tasks = Tasks::default();
        tasks.stage("gold", async { panic!("for this test") });
        tasks.stage("silver", std::future::ready(Ok(())));
        let mut ended = Vec::new();
        while let Some(end) = tasks.next().await {
            ended.push(end.map_err(|error| error.to_string()));
        }
        ended.sort_by_key(Result::is_err);
        assert_eq!(ended, [Ok(None), Err("gold ended by a panic".to_owned())]);
    }
}
