//! The dashboard, of a pipeline in the same process or of a storage that another process writes.

use anyhow::Context as _;

use super::signals;
use super::wiring;
use crate::config::Settings;
use crate::pipeline::{WhenHeld, supervisor};
use crate::telemetry::{self, Destination};
use crate::tui;

/// Sends the logs to the dashboard's pane and to a file.
///
/// # Errors
/// When stdout is not a terminal, or the log file cannot be opened.
pub(super) fn with_logs(settings: &Settings) -> anyhow::Result<()> {
    tui::terminal::check()?;
    let (file, default_file) =
        (settings.log.file.clone(), settings.storage.join("logs").join("cryptostream.log"));
    Ok(telemetry::init(&settings.log.level, &Destination::Dashboard { file, default_file })?)
}

/// Runs pipeline and dashboard in one process. The dashboard stays open when the pipeline ends (end of a
/// recording, failure); when the user quits, the pipeline commits what it has read.
pub(super) async fn pipeline(settings: &Settings) -> anyhow::Result<()> {
    let cancel = signals::cancel_on_signal()?;
    let pipeline = wiring::pipeline(settings, WhenHeld::Wait)?;
    let (connections, shown, select) = wiring::connections(supervisor::blank(&pipeline), cancel.clone());
    let backend = wiring::backend(settings)?;
    let running = tokio::spawn(supervisor::run(pipeline, connections));
    let options = tui::Options { settings: settings.dashboard.clone(), selected: Some(select) };
    let shown = tui::run(shown, backend, options, cancel.clone()).await;
    cancel.cancel();
    let ended = running.await.context("the pipeline ended by a panic")?;
    shown?;
    ended?;
    Ok(())
}

/// Runs the dashboard without a pipeline.
pub(super) async fn monitor(settings: &Settings) -> anyhow::Result<()> {
    let cancel = signals::cancel_on_signal()?;
    let pipeline = wiring::pipeline(settings, WhenHeld::Wait)?;
    let (connections, shown, _) = wiring::connections(supervisor::blank(&pipeline), cancel.clone());
    let backend = wiring::backend(settings)?;
    let watching = tokio::spawn(supervisor::monitor(pipeline.storage, pipeline.rule.threshold, connections));
    let options = tui::Options { settings: settings.dashboard.clone(), selected: None };
    let shown = tui::run(shown, backend, options, cancel.clone()).await;
    cancel.cancel();
    watching.await.context("the monitor ended by a panic")?;
    Ok(shown?)
}
