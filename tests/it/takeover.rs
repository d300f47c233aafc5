//! Two processes with one storage: the second one is refused, monitors, or takes over; after a take-over the
//! first one changes nothing.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use cryptostream::lake::TableKind;
use cryptostream::pipeline::status::{Role, Snapshot};
use cryptostream::pipeline::{Connections, PipelineSettings, WhenHeld, supervisor};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::process::{Running, commits, program, replaying, simulating, stderr, succeed, wait_for};
use crate::support::stream::{random, text};
use crate::support::tables::{self, assert_same, assert_sound, dump, replay, values};

/// Asserts that a command is refused with one line that starts with `words`.
fn refused(mut command: Command, words: &str) {
    let refused = command.output().unwrap();
    let stderr = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with(words) && stderr.lines().count() == 1, "{stderr}");
}

/// Pauses a pipeline, lets another take over, and resumes it: it must give up and change nothing.
async fn replaced(first: Command, second: impl Fn() -> Command, storage: &Path) {
    let mut first = Running::start(first);
    wait_for("the first pipeline's commits", || commits(storage, TableKind::Silver) > 10);
    first.signal("STOP");
    refused(second(), &format!("error: another process feeds {}; stop it", storage.display()));
    let mut second = second();
    second.arg("--take-over");
    succeed(second);
    let left = dump(storage).await;
    first.signal("CONT");
    let first = first.wait();
    assert_eq!(first.status.code(), Some(1));
    assert!(stderr(&first).contains("another process has taken over"), "{}", stderr(&first));
    assert!(left == dump(storage).await, "the first pipeline has changed what its successor had left");
    assert_sound(storage, "after a take-over").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_paused_pipeline_that_was_replaced_commits_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("stream.ndjson");
    std::fs::write(&input, text(&random(13, 6_000))).unwrap();
    let (undisturbed, storage) = (folder.path().join("undisturbed"), folder.path().join("storage"));
    replay(&undisturbed, &input, 50_000).await.unwrap();
    replaced(replaying(&storage, &input, 50), || replaying(&storage, &input, 50), &storage).await;
    assert_same(&undisturbed, &storage, "after a take-over").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_paused_pipeline_without_positions_that_was_replaced_commits_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let storage = folder.path().join("storage");
    replaced(simulating(&storage, 1_000_000, 100), || simulating(&storage, 1_000, 100), &storage).await;
    let offsets = values(&storage).await;
    assert!(offsets.iter().map(|(offset, _)| *offset).eq(0..i64::try_from(offsets.len()).unwrap()));
}

/// A pipeline that feeds a storage until it is stopped.
fn endless(storage: &Path) -> Running {
    let arguments = [
        "--no-tui",
        "--source",
        "simulator",
        "--rate",
        "50",
        "--batch-latency",
        "50ms",
        "--log-level",
        "error",
    ];
    let running = Running::start(program(&arguments, storage));
    wait_for("the pipeline's commits", || commits(storage, TableKind::Silver) > 2);
    running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn beside_a_pipeline_a_second_one_and_compact_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("stream.ndjson");
    std::fs::write(&input, text(&random(14, 10))).unwrap();
    let storage = folder.path().join("storage");
    let mut pipeline = endless(&storage);
    refused(program(&["compact"], &storage), &format!("error: a pipeline feeds {}", storage.display()));
    refused(
        replaying(&storage, &input, 50),
        &format!("error: another process feeds {}; stop it", storage.display()),
    );
    pipeline.signal("TERM");
    assert!(pipeline.wait().status.success());
    succeed(program(&["compact"], &storage));
    assert_sound(&storage, "after a refusal").await;
}

/// The connections of a pipeline in this process, and the receiver of its snapshots.
fn connections(
    settings: &PipelineSettings,
    selected: watch::Receiver<Option<Arc<str>>>,
) -> (Connections, watch::Receiver<Arc<Snapshot>>) {
    let (snapshots, shown) = watch::channel(Arc::new(supervisor::blank(settings)));
    (Connections { snapshots, selected, cancel: CancellationToken::new() }, shown)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_second_dashboard_monitors_and_takes_over_when_the_first_one_ends_or_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("stream.ndjson");
    std::fs::write(&input, text(&random(15, 300))).unwrap();
    for signal in ["TERM", "KILL"] {
        let storage = folder.path().join(signal);
        let mut first = endless(&storage);
        let settings =
            PipelineSettings { when_held: WhenHeld::Wait, ..tables::replaying(&storage, &input, 50) };
        let (_select, selected) = watch::channel(None);
        let (connections, mut shown) = connections(&settings, selected);
        let second = tokio::spawn(supervisor::run(settings, connections));
        shown.wait_for(|s| s.role != Role::Pipeline && !s.live.is_empty()).await.unwrap();
        let role = shown.borrow().role.clone();
        assert!(
            matches!(&role, Role::Monitor { takes_over: true, why } if why.contains("another process")),
            "{role:?}"
        );
        assert!(first.is_running());
        first.signal(signal);
        assert_eq!(first.wait().status.success(), signal == "TERM");
        shown.wait_for(|s| s.role == Role::Pipeline).await.unwrap();
        let summary = second.await.unwrap().unwrap().expect("it took over");
        assert!(summary.finished && summary.totals.records > 0);
        assert_sound(&storage, signal).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_second_dashboard_that_is_closed_before_it_takes_over_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (input, storage) = (folder.path().join("stream.ndjson"), folder.path().join("storage"));
    std::fs::write(&input, text(&random(16, 50))).unwrap();
    let mut first = endless(&storage);
    let settings = PipelineSettings { when_held: WhenHeld::Wait, ..tables::replaying(&storage, &input, 50) };
    let (_select, selected) = watch::channel(None);
    let (connections, mut shown) = connections(&settings, selected);
    let cancel = connections.cancel.clone();
    let second = tokio::spawn(supervisor::run(settings, connections));
    shown.wait_for(|s| s.role != Role::Pipeline).await.unwrap();
    cancel.cancel();
    assert!(second.await.unwrap().unwrap().is_none());
    first.signal("TERM");
    assert!(first.wait().status.success());
    let topics = tables::rows(&storage, TableKind::Bronze, &["topic"]).await;
    assert!(topics.iter().all(|row| row[0] == "direct"));
}
