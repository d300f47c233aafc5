//! The supervisor: owns the storage's lock, the source and the stages, publishes what the screen sees, and
//! ends it all in order.
//!
//! Shutdown runs with the data: the source stops, each stage commits what it holds and then sees its input
//! end.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::alerts::Alerts;
use super::bronze::Bronze;
use super::gold::Gold;
use super::meter::{Meters, Rates, locked};
use super::publish::{Looking, Notices, Onlooker, Shared, snapshot};
use super::silver::{self, SharedDecoder, Silver};
use super::stage::{self, StageContext, StageError};
use super::status::{Component, Failure, Role, Snapshot, StageKind, StageState};
use super::summary::Summary;
use super::{Connections, PipelineError, PipelineSettings, SourceSettings, WhenHeld};
use crate::lake::lock::{Attempt, Lock};
use crate::lake::{Storage, Table, TableKind};
use crate::market::Micros;
use crate::market::records::Delivery;
use crate::market::time::now;
use crate::query::Queries;
use crate::source::coingecko::{self, CoinGecko, History};
use crate::source::replay::{Replay, Speed};
use crate::source::simulator::{self, Simulator};
use crate::source::{self, End, Fill, Outlet, SourceError};
use crate::text::cause_first;
use crate::transport::direct::Batches;

pub use super::publish::{monitor, picture};

/// The shortest time between two snapshots.
const PUBLISH_EVERY: Duration = Duration::from_millis(50);
/// The longest.
const PUBLISH_AT_LEAST: Duration = Duration::from_millis(500);
/// How long the stages may take to commit what they hold once the source has stopped.
const DRAIN: Duration = Duration::from_secs(20);
/// Deliveries between source and bronze.
const DELIVERIES: usize = 4;
/// Batches between two stages.
const BATCHES: usize = 1;
/// A gap in a coin's candles that is worth a request.
const GAP: Micros = 15 * crate::market::MINUTE;

/// The first snapshot, before anything is known.
pub fn blank(settings: &PipelineSettings) -> Snapshot {
    snapshot(&Shared::default(), None, Role::Pipeline, &mut Rates::default(), settings.rule.threshold)
}

/// Waits for the storage's lock as its settings say; none: cancelled before it was free.
async fn acquire(
    settings: &PipelineSettings,
    connections: &Connections,
) -> Result<Option<Lock>, PipelineError> {
    let mut onlooker = Onlooker::new(settings.storage.clone(), settings.rule.threshold);
    loop {
        match Lock::attempt(&settings.storage, settings.when_held == WhenHeld::TakeOver)? {
            Attempt::Acquired(lock) => return Ok(Some(lock)),
            Attempt::Held if settings.when_held == WhenHeld::Wait => {}
            Attempt::Held => return Err(PipelineError::Held(settings.storage.root().to_owned())),
        }
        let role = Role::Monitor { why: "another process feeds this storage".to_owned(), takes_over: true };
        if onlooker.look(role, connections).await == Looking::Cancelled {
            return Ok(None);
        }
    }
}

/// Runs the source until it ends or is told to.
async fn run_source(
    settings: PipelineSettings,
    outlet: Outlet,
    selected: watch::Receiver<Option<Arc<str>>>,
) -> Result<(End, bool), PipelineError> {
    match settings.source {
        SourceSettings::CoinGecko(coingecko) => {
            let fills = fills(&settings.storage, &coingecko).await?;
            Ok((CoinGecko::new(*coingecko)?.run(outlet, fills, selected).await?, false))
        }
        SourceSettings::Replay { input, speed } => {
            let replay = tokio::task::spawn_blocking(move || Replay::open(&input, speed))
                .await
                .map_err(|_| PipelineError::Panicked("source"))??;
            let bronze = Table::open_or_create(&settings.storage, TableKind::Bronze).await?;
            let resume_after = bronze.position(replay.stream());
            let status = outlet.status.clone();
            let end = replay.run(outlet, resume_after).await?;
            let nothing_new = resume_after.is_some() && status.borrow().records == 0;
            Ok((end, nothing_new))
        }
        SourceSettings::Simulator(simulator) => Ok((Simulator::new(simulator).run(outlet).await?, false)),
    }
}

/// The stretches without candles that history can fill.
async fn fills(
    storage: &Storage,
    coingecko: &coingecko::CoinGeckoSettings,
) -> Result<Vec<Fill>, PipelineError> {
    let reach = match coingecko.history {
        History::Off => return Ok(Vec::new()),
        History::Day => crate::market::DAY,
        History::Week => 7 * crate::market::DAY,
    };
    let queries = Queries::open(storage.clone(), None).map_err(PipelineError::Query)?;
    let coins: Vec<Arc<str>> = coingecko.coins.iter().map(|coin| coin.as_str().into()).collect();
    let (from, to) = (now() - reach, now());
    let quote = coingecko.vs_currency.as_str().into();
    let gaps =
        queries.gaps("coingecko".into(), quote, coins, from, to, GAP).await.map_err(PipelineError::Query)?;
    let fill = |(coin_id, gaps): (Arc<str>, Vec<(Micros, Micros)>)| {
        // The gap that reaches to now ends where live ticks begin, which only the first answer tells.
        gaps.into_iter().map(move |(from, end)| Fill {
            coin_id: Arc::clone(&coin_id),
            from,
            to: (end < to).then_some(end),
        })
    };
    Ok(gaps.into_iter().flat_map(fill).collect())
}

type StageTask = (&'static str, JoinHandle<Result<(), StageError>>);

fn start_stages(
    context: &StageContext,
    shared: &Shared,
    settings: &PipelineSettings,
    deliveries: mpsc::Receiver<Delivery>,
    finished: &Arc<AtomicBool>,
) -> Vec<StageTask> {
    let (to_bronze, bronze_inbox) = mpsc::channel(BATCHES);
    let (to_decoder, decoder_inbox) = mpsc::channel(1);
    let (to_silver, silver_inbox) = mpsc::channel(1);
    let (to_gold, gold_inbox) = mpsc::channel(BATCHES);
    let (to_alerts, alerts_inbox) = mpsc::channel(64);
    let (to_nobody, _) = mpsc::channel(1);
    let mut batches = Batches::new(deliveries, settings.limits);
    let meters = Arc::clone(&context.meters);
    let transport = tokio::spawn(async move {
        while let Some(batch) = batches.next().await {
            meters
                .of(StageKind::Bronze)
                .offered
                .fetch_add(batch.delivery.records.len() as u64, Ordering::Relaxed);
            if to_bronze.send(batch).await.is_err() {
                break;
            }
        }
        Ok(())
    });
    let decoder = SharedDecoder::default();
    let decoding = silver::decode(decoder.clone(), decoder_inbox, to_silver);
    let gold = Gold::new(
        context.clone(),
        Arc::clone(&shared.live),
        Arc::clone(finished),
        paced_since(&settings.source),
    );
    let alerts = Alerts::new(context.clone(), settings.rule.clone(), Arc::clone(&shared.cooling));
    vec![
        ("transport", transport),
        (
            "bronze",
            tokio::spawn(stage::run(Bronze::new(context.clone()), bronze_inbox, to_decoder, context.clone())),
        ),
        (
            "decoder",
            tokio::spawn(async {
                let _: () = decoding.await;
                Ok(())
            }),
        ),
        (
            "silver",
            tokio::spawn(stage::run(
                Silver::new(context.clone(), decoder),
                silver_inbox,
                to_gold,
                context.clone(),
            )),
        ),
        ("gold", tokio::spawn(stage::run(gold, gold_inbox, to_alerts, context.clone()))),
        ("alerts", tokio::spawn(stage::run(alerts, alerts_inbox, to_nobody, context.clone()))),
    ]
}

/// From when on the source keeps the clock's pace; none: it runs as fast as it is taken, and the clock says
/// nothing of its markets.
fn paced_since(source: &SourceSettings) -> Option<Micros> {
    match source {
        SourceSettings::Replay { input, speed } if input != Path::new("-") && input.is_file() => {
            (*speed != Speed::Max).then(now) // while nobody read it, its records waited
        }
        SourceSettings::Simulator(simulator)
            if simulator.rate == simulator::Rate::Max && simulator.events.is_some() =>
        {
            None
        }
        SourceSettings::CoinGecko(_) | SourceSettings::Replay { .. } | SourceSettings::Simulator(_) => {
            Some(Micros::MIN)
        }
    }
}

fn source_kind(settings: &SourceSettings) -> (source::SourceKind, usize) {
    match settings {
        SourceSettings::CoinGecko(settings) => (source::SourceKind::Coingecko, settings.coins.len()),
        SourceSettings::Replay { .. } => (source::SourceKind::Replay, 0),
        SourceSettings::Simulator(settings) => (source::SourceKind::Simulator, settings.coins.len()),
    }
}

/// Runs source and stages until a finite source is drained, the run is cancelled, or something fails for
/// good. None: it was cancelled before it could begin.
///
/// # Errors
/// [`PipelineError`], after everything that could be committed was. The last snapshot tells it, too.
pub async fn run(
    settings: PipelineSettings,
    connections: Connections,
) -> Result<Option<Summary>, PipelineError> {
    let snapshots = connections.snapshots.clone();
    let ended = feed(settings, connections).await;
    if let Err(error) = &ended {
        snapshots.send_modify(|last| {
            let mut snapshot = Snapshot::clone(last);
            snapshot.last_error = Some(Failure {
                component: Component::Pipeline,
                why: cause_first(error),
                at: now(),
                ended: None,
            });
            snapshot.stages.iter_mut().for_each(|stage| stage.state = StageState::Stopped);
            *last = Arc::new(snapshot);
        });
    }
    ended
}

/// Runs the source, and says that it has finished before the stages see the end of their input.
async fn until_its_end(
    run: impl Future<Output = Result<(End, bool), PipelineError>>,
    finished: Arc<AtomicBool>,
    meters: Arc<Meters>,
) -> Result<(End, bool), PipelineError> {
    let end = run.await;
    let is_finished = match &end {
        Ok((End::Finished, _)) => true,
        Ok((End::Stopped, _)) => false,
        Err(error) => {
            meters.failed(Component::Source, cause_first(error));
            // All of a damaged recording that can be read has been delivered: that is its end.
            matches!(error, PipelineError::Source(SourceError::Damaged { .. }))
        }
    };
    if is_finished {
        finished.store(true, Ordering::Release);
    }
    end
}

async fn feed(
    settings: PipelineSettings,
    connections: Connections,
) -> Result<Option<Summary>, PipelineError> {
    let Some(lock) = acquire(&settings, &connections).await? else { return Ok(None) };
    // One after the other, before anything runs: tables are made once, and a storage that cannot be used is
    // told at once.
    for kind in TableKind::ALL {
        Table::open_or_create(&settings.storage, kind).await?;
    }
    let (started, shared, finished) = (Instant::now(), Shared::default(), Arc::new(AtomicBool::new(false)));
    let ownership = Arc::new(Mutex::new(lock));
    let context = StageContext {
        storage: settings.storage.clone(),
        fence: settings.when_held == WhenHeld::TakeOver,
        meters: Arc::clone(&shared.meters),
        give_up: CancellationToken::new(),
        give_up_after: settings.give_up_after,
        ownership: Arc::clone(&ownership),
    };
    let (kind, coins) = source_kind(&settings.source);
    let (status, source_status) = watch::channel(source::SourceStatus::starting(kind, coins));
    let (deliveries, inbox) = mpsc::channel(DELIVERIES);
    let mut stages = start_stages(&context, &shared, &settings, inbox, &finished);
    let outlet = Outlet { deliveries, status, cancel: connections.cancel.child_token() };
    let (stop_source, meters) = (outlet.cancel.clone(), Arc::clone(&shared.meters));
    let run = run_source(settings.clone(), outlet, connections.selected.clone());
    let source = tokio::spawn(until_its_end(run, Arc::clone(&finished), meters));

    let (mut rates, mut notices) = (Rates::default(), Notices::default());
    let mut deadline = None;
    let mut failure = None;
    while !stages.is_empty() {
        let source = source_status.borrow().clone();
        notices.log(&source);
        let now = snapshot(&shared, Some(source), Role::Pipeline, &mut rates, settings.rule.threshold);
        connections.snapshots.send_replace(Arc::new(now));
        let changed = async {
            tokio::time::sleep(PUBLISH_EVERY).await;
            shared.meters.changed.notified().await;
        };
        let _ = tokio::time::timeout(PUBLISH_AT_LEAST, changed).await;
        locked(&ownership).acquire_file_lock();
        if stop_source.is_cancelled() && deadline.is_none() {
            deadline = Some(Instant::now() + DRAIN);
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            context.give_up.cancel();
        }
        let mut running = Vec::new();
        for (name, task) in stages {
            if !task.is_finished() {
                running.push((name, task));
                continue;
            }
            let ended = task
                .await
                .map_err(|_| PipelineError::Panicked(name))
                .and_then(|end| end.map_err(|source| PipelineError::Stage { stage: name, source }));
            if let Err(error) = ended {
                stop_source.cancel();
                // A stage that failed only because the next one ended is not the cause.
                let follows = |error: &PipelineError| {
                    matches!(error, PipelineError::Stage { source: StageError::Closed, .. })
                };
                if failure.as_ref().is_none_or(follows) {
                    failure = Some(error);
                }
            }
        }
        stages = running;
    }
    let source_end = source.await.map_err(|_| PipelineError::Panicked("source"))?;
    let last_status = source_status.borrow().clone();
    notices.log(&last_status);
    let last = snapshot(&shared, Some(last_status), Role::Pipeline, &mut rates, settings.rule.threshold);
    connections.snapshots.send_replace(Arc::new(last));
    if let Some(failure) = failure {
        return Err(failure);
    }
    let (end, resumed) = source_end?;
    Ok(Some(Summary::new(&shared.meters, started.elapsed(), end == End::Finished, resumed)))
}
