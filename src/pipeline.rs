//! The pipeline: `start_stages` is the flow from top to bottom; each stage has a file of its own.
//!
//! A stage is one loop, the same for all (`stage`): read from a position, apply a pure function, commit with
//! the position, hand on. Within one process batches go from stage to stage through bounded channels. The
//! tables are the truth: a stage that finds a gap in what was handed to it reads the missing rows from them.
//! The `supervisor` owns the tasks, `intake` runs the source, `publish` makes the snapshots that the screen
//! shows, and `monitor` makes the same from the tables alone.

mod alerts;
mod bronze;
mod follow;
mod gold;
mod intake;
pub mod meter;
pub mod monitor;
mod publish;
mod silver;
mod stage;
pub mod status;
pub mod summary;
pub mod supervisor;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::alerts::Alerts;
use self::bronze::Bronze;
use self::gold::Gold;
use self::publish::Shared;
use self::silver::{SharedDecoder, Silver};
use self::stage::StageContext;
use self::status::Snapshot;
use self::supervisor::Tasks;
use crate::alert::rule::Rule;
use crate::lake::{LakeError, Storage};
use crate::market::records::Delivery;
use crate::source::{Source, SourceError};
use crate::transport::direct::{BatchLimits, Batches};

pub use stage::StageError;

/// What to do while another process feeds the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenHeld {
    /// Give up.
    Fail,
    /// Show the storage read-only and take its place when it ends.
    Wait,
    /// Take its place now.
    TakeOver,
}

#[derive(Debug, Clone)]
pub struct PipelineSettings {
    pub storage: Storage,
    pub source: Source,
    pub limits: BatchLimits,
    pub rule: Rule,
    pub when_held: WhenHeld,
    /// How long a failing stage is restarted before the run ends with the cause; none: for ever. Set for finite
    /// sources, so that their runs end.
    pub give_up_after: Option<Duration>,
}

/// Why the pipeline ended early.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error("another process feeds {}; stop it, or take its place with --take-over", .0.display())]
    Held(PathBuf),
    #[error("the source failed")]
    Source(#[from] SourceError),
    #[error("stage {stage} failed")]
    Stage {
        stage: &'static str,
        #[source]
        source: StageError,
    },
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// A task panicked: a defect of this program.
    #[error("{0} ended by a panic")]
    Panicked(&'static str),
}

/// The channels between a pipeline and its screen.
#[derive(Debug, Clone)]
pub struct Connections {
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    /// The coin that is selected on the screen: its history is fetched first.
    pub selected: watch::Receiver<Option<Arc<str>>>,
    /// Ends the run after what was delivered is committed.
    pub cancel: CancellationToken,
}

/// Batches between two stages.
const BATCHES: usize = 1;
/// Commits of gold whose closed candles wait for the rule.
const CLOSED: usize = 64;

/// Starts the stages. Each ends when its input has ended and everything in it is committed.
fn start_stages(
    tasks: &mut Tasks,
    context: &StageContext,
    shared: &Shared,
    settings: &PipelineSettings,
    deliveries: mpsc::Receiver<Delivery>,
    finished: &Arc<AtomicBool>,
) {
    let (to_bronze, batches) = mpsc::channel(BATCHES);
    let (to_decoder, raw) = mpsc::channel(BATCHES);
    let (to_silver, decoded) = mpsc::channel(BATCHES);
    let (to_gold, refined) = mpsc::channel(BATCHES);
    let (to_alerts, closed) = mpsc::channel(CLOSED);
    let (to_nobody, _) = mpsc::channel(1);

    let batching = Batches::new(deliveries, settings.limits);
    tasks.stage("transport", intake::transport(batching, to_bronze, Arc::clone(&context.meters)));

    let bronze = Bronze::new(context.clone());
    tasks.stage("bronze", stage::run(bronze, batches, to_decoder));

    let decoder = SharedDecoder::default();
    tasks.stage("decoder", silver::decode(decoder.clone(), raw, to_silver));

    let silver = Silver::new(context.clone(), decoder);
    tasks.stage("silver", stage::run(silver, decoded, to_gold));

    let (live, paced_since) = (Arc::clone(&shared.live), settings.source.paced_since());
    let gold = Gold::new(context.clone(), live, Arc::clone(finished), paced_since);
    tasks.stage("gold", stage::run(gold, refined, to_alerts));

    let alerts = Alerts::new(context.clone(), settings.rule.clone(), Arc::clone(&shared.cooling));
    tasks.stage("alerts", stage::run(alerts, closed, to_nobody));
}
