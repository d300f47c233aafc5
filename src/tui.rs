//! The dashboard: market table, candlesticks, alert log, pipeline health, logs.
//!
//! It promises: the first frame is drawn at once, before any data is there; the pipeline never waits for the
//! dashboard nor the dashboard for it; a frame is drawn only when something changed, at most thirty times a
//! second; the terminal is restored afterwards, whatever happens.
//!
//! ```text
//!  terminal events ─┐
//!  snapshots ───────┼─► Message ─► App::update ─► Effect ─► questions to the lake, quit …
//!  answers ─────────┤                  │                              │
//!  clock ───────────┘                  ▼                              │
//!       ▲                           draw(&App)                        │
//!       └─────────────────────────────────────────────────────────────┘
//! ```
//!
//! [`app::App`] is the state and [`app::App::update`] the only way to change it; [`view`] draws the state and
//! changes nothing; `layout` and `plot` hold the geometry that both use; [`input`] is the one table of keys;
//! [`run`] is the loop around them.

pub mod app;
pub mod format;
pub mod input;
pub mod layout;
mod notice;
mod plot;
pub mod screenshot;
mod series;
pub mod terminal;
pub mod theme;
pub mod view;
pub mod widget;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{Event, EventStream};
use futures::{Stream, StreamExt};
use ratatui::layout::Size;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use self::app::{App, Effect, Message, Question};
use self::format::Zone;
use self::terminal::{Canvas, JobSignal, Screen, Suspended};
use crate::market::time::now;
use crate::market::{Alert, Interval};
use crate::pipeline::status::Snapshot;
use crate::query::{CandleQuery, CandleSeries, MarketRow};

/// The shortest time between two frames: thirty a second.
const FRAME: Duration = Duration::from_millis(33);
/// Time between two readings of the clock. A frame follows only when what it shows has changed.
const CLOCK: Duration = Duration::from_millis(250);

/// Answers the dashboard's questions. Errors are text for the user.
pub trait Backend: Clone + Send + Sync + 'static {
    fn candles(&self, query: CandleQuery) -> impl Future<Output = Result<CandleSeries, String>> + Send;
    fn markets(&self) -> impl Future<Output = Result<Vec<MarketRow>, String>> + Send;
    /// The newest alerts, newest first.
    fn alerts(&self, limit: usize) -> impl Future<Output = Result<Vec<Alert>, String>> + Send;
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DashboardSettings {
    pub theme: theme::ThemeKind,
    /// Rising prices are red, falling ones green.
    pub red_up: bool,
    /// `NO_COLOR` is set: no colours, whatever the theme.
    pub no_color: bool,
    pub zone: Zone,
    /// Interval of the candles at the start; none: chosen by the source.
    pub interval: Option<Interval>,
    /// The coin to select at the start; none: the first.
    pub coin: Option<Arc<str>>,
}

#[derive(Debug, Default)]
pub struct Options {
    pub settings: DashboardSettings,
    /// Receives the id of the selected coin.
    pub selected: Option<watch::Sender<Option<Arc<str>>>>,
}

#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    #[error("cannot open the terminal")]
    Open(#[source] io::Error),
    #[error("the terminal failed")]
    Terminal(#[source] io::Error),
}

/// Runs the dashboard on the terminal until the user quits or `cancel` is cancelled. The terminal is restored
/// when this returns, when its task is dropped or panics, and while the job is stopped.
pub async fn run(
    snapshots: watch::Receiver<Arc<Snapshot>>,
    backend: impl Backend,
    options: Options,
    cancel: CancellationToken,
) -> Result<(), TuiError> {
    let jobs = terminal::job_signals().map_err(TuiError::Open)?;
    let screen = Screen::open().map_err(TuiError::Open)?;
    drive(screen, Inputs { events: EventStream::new(), jobs }, snapshots, backend, options, cancel).await
}

/// The dashboard as an SVG document of `size` (columns, rows), after every question that it asks was answered.
pub async fn picture(
    snapshot: Snapshot,
    backend: impl Backend,
    settings: &DashboardSettings,
    size: (u16, u16),
) -> String {
    let mut app = App::new(settings, Size::new(size.0, size.1), now());
    let mut questions: JoinSet<Message> = JoinSet::new();
    let mut next = Some(Message::Snapshot(Arc::new(snapshot)));
    while let Some(message) = next {
        for effect in app.update(message) {
            match effect {
                Effect::Ask(question) => ask(&mut questions, &backend, question),
                Effect::Selected(_) | Effect::Suspend | Effect::Quit => {}
            }
        }
        next = questions.join_next().await.and_then(Result::ok);
    }
    screenshot::svg(&app, size.0, size.1)
}

/// Events of the terminal, and signals of the shell's job control.
pub struct Inputs<E, J> {
    pub events: E,
    pub jobs: J,
}

/// The loop behind [`run`], on any canvas with any inputs.
pub async fn drive(
    mut canvas: impl Canvas,
    mut inputs: Inputs<impl Stream<Item = io::Result<Event>> + Unpin, impl Stream<Item = JobSignal> + Unpin>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    backend: impl Backend,
    options: Options,
    cancel: CancellationToken,
) -> Result<(), TuiError> {
    let size = canvas.size().map_err(TuiError::Terminal)?;
    let mut app = App::new(&options.settings, size, now());
    app.take_changed();
    canvas.draw(&app).map_err(TuiError::Terminal)?;

    let mut questions: JoinSet<Message> = JoinSet::new();
    let mut clock = interval(CLOCK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut next_frame = Instant::now() + FRAME;
    let mut pending = false;
    let mut published = true;
    // While the job is stopped, the shell uses the terminal: nothing is drawn.
    let mut suspended = Suspended::No;
    let mut first = Some(Message::Snapshot(snapshots.borrow_and_update().clone()));
    loop {
        let message = if let Some(message) = first.take() {
            message
        } else {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                Some(job) = inputs.jobs.next() => match job {
                    JobSignal::Stop => {
                        suspended = canvas.suspend().map_err(TuiError::Terminal)?;
                        continue;
                    }
                    JobSignal::Continue => {
                        suspended = Suspended::No;
                        canvas.resume().map_err(TuiError::Terminal)?;
                        Message::Resumed
                    }
                },
                event = inputs.events.next() => match event.transpose().map_err(TuiError::Terminal)? {
                    Some(event) => match Message::from_event(event) {
                        Some(message) => message,
                        None => continue,
                    },
                    // The terminal is gone, as after a hang-up.
                    None => return Ok(()),
                },
                changed = snapshots.changed(), if published => {
                    published = changed.is_ok();
                    Message::Snapshot(snapshots.borrow_and_update().clone())
                }
                Some(answer) = questions.join_next(), if !questions.is_empty() => match answer {
                    Ok(message) => message,
                    Err(error) => { tracing::error!(%error, "the task of a question panicked"); continue }
                },
                () = sleep_until(next_frame), if pending && suspended == Suspended::No => {
                    let size = canvas.size().map_err(TuiError::Terminal)?;
                    if size == app.size() {
                        canvas.draw(&app).map_err(TuiError::Terminal)?;
                        pending = false;
                        next_frame = Instant::now() + FRAME;
                        continue;
                    }
                    // The resize event has not arrived yet.
                    Message::Resize(size)
                }
                _ = clock.tick() => Message::Tick(now()),
            }
        };
        let effects = terminal::in_dashboard(|| {
            let mut effects = app.update(Message::Tick(now()));
            effects.extend(app.update(message));
            effects
        });
        for effect in effects {
            match effect {
                Effect::Quit => return Ok(()),
                // SIGTSTP comes back as a job signal, as one from another process does.
                Effect::Suspend => terminal::stop_job().map_err(TuiError::Terminal)?,
                Effect::Selected(coin) => {
                    if let Some(selected) = &options.selected {
                        selected.send_replace(Some(coin));
                    }
                }
                Effect::Ask(question) => ask(&mut questions, &backend, question),
            }
        }
        pending |= app.take_changed();
    }
}

/// Asks a question in a new task, whose result is the message with the answer.
fn ask(questions: &mut JoinSet<Message>, backend: &impl Backend, question: Question) {
    let backend = backend.clone();
    match question {
        Question::Candles(query) => {
            questions.spawn(async move { Message::Candles(query.clone(), backend.candles(query).await) });
        }
        Question::Markets => {
            questions.spawn(async move { Message::Markets(backend.markets().await) });
        }
        Question::Alerts(limit) => {
            questions.spawn(async move { Message::Alerts(backend.alerts(limit).await) });
        }
    }
}

/// Shared with the benchmark.
#[cfg(test)]
#[path = "../benches/fixture/dashboard.rs"]
pub(crate) mod fixture;

#[cfg(test)]
mod tests;
