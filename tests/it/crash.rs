//! Processes that are killed at every step, fenced, refused: the tables end as if nothing had happened.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::stream::{random, text};
use crate::support::tables::{assert_same, assert_sound, replay};

fn pipeline(storage: &Path, input: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cryptostream"));
    command.args(["--no-tui", "--speed", "max", "--batch-records", "50", "--log-level", "error", "--storage"]).arg(storage);
    command.arg("--input").arg(input).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_clear();
    command
}

/// The places of a pipeline's commits; each run is ended at one of them and gets a little further than the one before.
const COMMITS: [&str; 22] = [
    "bronze.write.before",
    "bronze.write.after",
    "bronze.commit.before",
    "bronze.commit.after",
    "quarantine.write.before",
    "quarantine.write.after",
    "quarantine.commit.before",
    "quarantine.commit.after",
    "silver.write.before",
    "silver.write.after",
    "silver.commit.before",
    "silver.commit.after",
    "gold.write.before",
    "gold.write.after",
    "gold.commit.before",
    "gold.commit.after",
    "alerts.write.before",
    "alerts.write.after",
    "alerts.commit.before",
    "alerts.commit.after",
    "silver.commit.after@7",
    "gold.commit.after@5",
];

/// The places of maintenance, in the order in which `compact` comes to them.
const MAINTENANCE: [&str; 14] = [
    "bronze.compact.before",
    "bronze.compact.after",
    "bronze.checkpoint.before",
    "bronze.checkpoint.after",
    "bronze.vacuum.before",
    "bronze.vacuum.after",
    "quarantine.cleanup.after",
    "quarantine.vacuum.before",
    "silver.compact.before",
    "silver.compact.after",
    "silver.checkpoint.before",
    "silver.checkpoint.after",
    "gold.checkpoint.before",
    "gold.cleanup.after",
];

fn killed_at(place: &str, mut command: Command) {
    let ended = command.env("FAIL_POINT", place).output().unwrap();
    let how = std::os::unix::process::ExitStatusExt::signal(&ended.status);
    assert!(how.is_some(), "nothing was killed at {place}: {}", String::from_utf8_lossy(&ended.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_process_killed_at_every_step_leaves_the_tables_of_an_undisturbed_run() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("stream.ndjson");
    std::fs::write(&input, text(&random(7, 6_000))).unwrap();
    let undisturbed = folder.path().join("undisturbed");
    replay(&undisturbed, &input, 50_000).await.unwrap();
    let storage = folder.path().join("killed");
    for place in COMMITS {
        killed_at(place, pipeline(&storage, &input));
    }
    let ended = pipeline(&storage, &input).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_same(&undisturbed, &storage, "after kills at every commit").await;
    assert_sound(&storage, "after kills at every commit").await;

    // What was done so far may be compacted already: a few small files more, for maintenance to work on.
    let more = folder.path().join("more.ndjson");
    std::fs::write(&more, text(&random(8, 300))).unwrap();
    replay(&undisturbed, &more, 50).await.unwrap();
    replay(&storage, &more, 100).await.unwrap();
    let compact = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cryptostream"));
        command.args(["compact", "--storage"]).arg(&storage).env_clear();
        command
    };
    for place in MAINTENANCE {
        killed_at(place, compact());
        assert_sound(&storage, place).await;
    }
    assert!(compact().status().unwrap().success());
    assert_same(&undisturbed, &storage, "after kills in maintenance").await;
    assert!(pipeline(&storage, &input).output().unwrap().status.success());
    assert_same(&undisturbed, &storage, "after all of it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_step_that_fails_is_taken_again_and_nothing_is_doubled() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("stream.ndjson");
    std::fs::write(&input, text(&random(11, 600))).unwrap();
    let undisturbed = folder.path().join("undisturbed");
    replay(&undisturbed, &input, 50_000).await.unwrap();
    for place in [
        "bronze.write.before",
        "bronze.commit.after",
        "quarantine.commit.after",
        "silver.commit.before",
        "silver.commit.after",
        "gold.commit.after",
        "alerts.commit.after",
    ] {
        let storage = folder.path().join(place);
        let ended = pipeline(&storage, &input).env("FAIL_POINT", format!("{place}@2=error")).output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{place}: {told}");
        assert!(told.contains("fail point"), "{place} was not reached: {told}");
        assert_same(&undisturbed, &storage, place).await;
    }
}

/// Waits until something holds; a test that waits for longer has failed.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_mins(1), "waited in vain for {what}");
        std::thread::yield_now();
    }
}

fn commits(storage: &Path) -> usize {
    std::fs::read_dir(storage.join("silver/crypto_transformed/_delta_log"))
        .map_or(0, |entries| entries.flatten().filter(|e| e.path().extension().is_some_and(|x| x == "json")).count())
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_paused_pipeline_that_was_replaced_commits_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("stream.ndjson");
    std::fs::write(&input, text(&random(13, 6_000))).unwrap();
    let undisturbed = folder.path().join("undisturbed");
    replay(&undisturbed, &input, 50_000).await.unwrap();
    let storage = folder.path().join("storage");
    let mut first = pipeline(&storage, &input).spawn().unwrap();
    wait_for("the first pipeline's commits", || commits(&storage) > 10);
    signal(&first, "STOP");

    let refused = pipeline(&storage, &input).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another process feeds"), "{}", String::from_utf8_lossy(&refused.stderr));

    let second = pipeline(&storage, &input).arg("--take-over").output().unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    signal(&first, "CONT");
    assert_eq!(first.wait().unwrap().code(), Some(1));
    let mut told = String::new();
    first.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.contains("another process has taken over"), "{told}");
    assert_same(&undisturbed, &storage, "after a take-over").await;
    assert_sound(&storage, "after a take-over").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pipeline_that_is_told_to_stop_commits_what_it_holds_and_goes_on_later() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("stream.ndjson");
    std::fs::write(&input, text(&random(17, 6_000))).unwrap();
    let undisturbed = folder.path().join("undisturbed");
    replay(&undisturbed, &input, 50_000).await.unwrap();
    let storage = folder.path().join("storage");
    let stopped = pipeline(&storage, &input).spawn().unwrap();
    wait_for("some commits", || commits(&storage) > 5);
    signal(&stopped, "TERM");
    let stopped = stopped.wait_with_output().unwrap();
    assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
    assert!(String::from_utf8_lossy(&stopped.stdout).contains("records"));
    assert_sound(&storage, "after SIGTERM").await;
    assert!(pipeline(&storage, &input).output().unwrap().status.success());
    assert_same(&undisturbed, &storage, "after SIGTERM and a second run").await;
}
