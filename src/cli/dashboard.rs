//! The dashboard, over a pipeline in the same process or over a storage that another one feeds.

use anyhow::Context as _;

use super::signals;
use super::wiring::{self, Backend};
use crate::config::Settings;
use crate::pipeline::{WhenHeld, supervisor};
use crate::telemetry::{self, Destination};
use crate::tui;

/// Refuses what is no terminal; sends the logs to the dashboard's pane and to a file.
pub(super) fn with_logs(settings: &Settings) -> anyhow::Result<()> {
    tui::terminal::check()?;
    let (file, default_file) =
        (settings.log.file.clone(), settings.storage.join("logs").join("cryptostream.log"));
    Ok(telemetry::init(&settings.log.level, &Destination::Dashboard { file, default_file })?)
}

/// Pipeline and dashboard in one process. The dashboard stays when the pipeline ends (a recording is over, a
/// failure is to be read); when the user leaves, the pipeline commits what it holds.
pub(super) async fn pipeline(settings: &Settings) -> anyhow::Result<()> {
    let cancel = signals::cancel_on_signal()?;
    let pipeline = wiring::pipeline(settings, WhenHeld::Wait)?;
    let (connections, shown, select) = wiring::connections(supervisor::blank(&pipeline), cancel.clone());
    let backend = Backend { queries: wiring::queries(settings)?, from: settings.from.clone() };
    let running = tokio::spawn(supervisor::run(pipeline, connections));
    let options = tui::Options { settings: settings.dashboard.clone(), selected: Some(select) };
    let shown = tui::run(shown, backend, options, cancel.clone()).await;
    cancel.cancel();
    let ended = running.await.context("the pipeline ended by a panic")?;
    shown?;
    ended?;
    Ok(())
}

/// The dashboard alone.
pub(super) async fn monitor(settings: &Settings) -> anyhow::Result<()> {
    let cancel = signals::cancel_on_signal()?;
    let pipeline = wiring::pipeline(settings, WhenHeld::Wait)?;
    let (connections, shown, _) = wiring::connections(supervisor::blank(&pipeline), cancel.clone());
    let backend = Backend { queries: wiring::queries(settings)?, from: settings.from.clone() };
    let looking = tokio::spawn(supervisor::monitor(pipeline.storage, pipeline.rule.threshold, connections));
    let options = tui::Options { settings: settings.dashboard.clone(), selected: None };
    let shown = tui::run(shown, backend, options, cancel.clone()).await;
    cancel.cancel();
    looking.await.context("the monitor ended by a panic")?;
    Ok(shown?)
}
