//! Commands that write: the pipeline without a dashboard, `record`, `compact`.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::{mpsc, watch};

use super::exit::Usage;
use super::{print, signals, wiring};
use crate::config::Settings;
use crate::lake::lock::{Attempt, Lock};
use crate::lake::maintenance::{Effort, Maintenance, Report};
use crate::lake::{LakeError, Storage, Table, TableKind};
use crate::pipeline::status::{Snapshot, SourceState};
use crate::pipeline::{WhenHeld, supervisor};
use crate::source::record::{self, Existing, Recorder};
use crate::source::{NothingStored, Outlet, Source, SourceError, SourceStatus};
use crate::text::chain;

/// Runs the pipeline without a dashboard and prints a summary on stdout at its end.
pub(super) async fn pipeline(settings: &Settings) -> anyhow::Result<()> {
    let cancel = signals::cancel_on_signal()?;
    let pipeline = wiring::pipeline(settings, WhenHeld::Fail)?;
    let (connections, shown, _select) = wiring::connections(supervisor::blank(&pipeline), cancel);
    let progress = tokio::spawn(progress(shown));
    let ended = supervisor::run(pipeline, connections).await;
    progress.abort();
    let _ = progress.await; // the bar is cleared before anything else is printed
    match ended? {
        Some(summary) => print(summary.to_string().as_bytes()),
        None => Ok(()),
    }
}

/// Draws a progress bar on stderr while a recording is read, if stderr is a terminal.
async fn progress(mut shown: watch::Receiver<Arc<Snapshot>>) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(1000).with_style(style).with_finish(indicatif::ProgressFinish::AndClear);
    while shown.changed().await.is_ok() {
        let snapshot = shown.borrow_and_update().clone();
        let Some(SourceState::Replaying { done: Some(done) }) =
            snapshot.source.as_ref().map(|source| source.state.clone())
        else {
            continue;
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 1000")]
        bar.set_position((done * 1000.0) as u64);
        bar.set_message(format!("{} ticks, {} candles", snapshot.totals.ticks, snapshot.totals.candles));
    }
}

/// Writes what the source delivers to a file that can be replayed.
pub(super) async fn record(settings: &Settings, file: PathBuf, existing: Existing) -> anyhow::Result<()> {
    let cancel = signals::cancel_on_signal()?;
    let source = settings.source();
    if let Source::Replay(replay) = &source {
        record::refuse_input(&file, &replay.input).map_err(usage)?;
    }
    let name = file.display().to_string();
    let created = tokio::task::spawn_blocking(move || Recorder::create(&file, existing)).await;
    let recorder = created.context("the recorder ended by a panic")?.map_err(usage)?;
    let (deliveries, inbox) = mpsc::channel(8);
    let (status, _watched) = watch::channel(SourceStatus::starting(source.kind(), source.coins()));
    let (_select, selected) = watch::channel(None);
    let outlet = Outlet { deliveries, status, cancel: cancel.child_token() };
    let recording = tokio::spawn(recorder.run(inbox, cancel));
    // Whether the source fails or not, what it has delivered is recorded.
    let delivered = source.run(outlet, NothingStored, selected).await;
    match recording.await.context("the recorder ended by a panic")?? {
        0 => tracing::warn!(file = name, "nothing was delivered, so nothing was recorded"),
        records => tracing::info!(records, file = name, "recorded"),
    }
    delivered?;
    Ok(())
}

/// A refusal is an error of the command line: exit code 2.
fn usage(error: SourceError) -> anyhow::Error {
    match error {
        SourceError::Refused(message) => Usage(message).into(),
        error => error.into(),
    }
}

/// Compacts, checkpoints and cleans up all tables. A failure of one table does not stop the others.
pub(super) async fn compact(settings: &Settings) -> anyhow::Result<()> {
    let storage = wiring::existing_storage(settings)?;
    let Attempt::Acquired(_lock) = Lock::attempt(&storage, false)? else {
        bail!("a pipeline feeds {}: it compacts its tables by itself", storage.root().display());
    };
    let bar =
        if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.enable_steady_tick(Duration::from_millis(100));
    let (mut lines, mut problems) = (String::new(), Vec::new());
    for kind in TableKind::ALL {
        bar.set_message(kind.label());
        match compact_table(&storage, kind).await {
            Ok(None) => {}
            Ok(Some((line, report))) => {
                lines += &line;
                problems.extend(
                    report.problems.into_iter().map(|problem| format!("{}: {problem}", kind.label())),
                );
            }
            Err(error) => problems.push(chain(&error)),
        }
    }
    bar.finish_and_clear();
    print(lines.as_bytes())?;
    if problems.is_empty() { Ok(()) } else { bail!("not everything could be done: {}", problems.join("; ")) }
}

/// Maintains one table; gives a line of output and the report, or none where the table does not exist.
async fn compact_table(storage: &Storage, kind: TableKind) -> Result<Option<(String, Report)>, LakeError> {
    let Some(mut table) = Table::open(storage, kind).await? else { return Ok(None) };
    let before = table.files().len();
    let report = Maintenance::new().maintain(&mut table, Effort::All).await?;
    let (name, after, Report { vacuumed, log_entries, .. }) = (kind.label(), table.files().len(), &report);
    let line = format!(
        "{name:<11} {before:>6} files -> {after:<6} {vacuumed} unreferenced files and {log_entries} log entries removed\n"
    );
    Ok(Some((line, report)))
}
