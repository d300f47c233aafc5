//! Processes that are killed at every step, and steps that fail: the tables end up the same as without.

use std::path::Path;

use cryptostream::lake::{TableKind, failpoint};

use crate::support::process::{
    Running, commits, killed_at, program, replaying, simulating, stderr, succeed, wait_for,
};
use crate::support::stream::{StreamProfile, random, text};
use crate::support::tables::{assert_rows, assert_same, assert_sound, columns_without, replay, rows, values};

/// The fail points of a pipeline's commits. Each run is killed at one of them and gets further than the one
/// before.
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

/// The fail points of maintenance, in the order in which `compact` passes them.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_process_killed_at_every_step_leaves_the_tables_of_an_undisturbed_run() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("stream.ndjson");
    std::fs::write(&input, text(&random(7, 6_000))).unwrap();
    let undisturbed = folder.path().join("undisturbed");
    replay(&undisturbed, &input, 50_000).await.unwrap();
    let storage = folder.path().join("killed");
    for place in COMMITS {
        killed_at(place, replaying(&storage, &input, 50));
    }
    succeed(replaying(&storage, &input, 50));
    assert_same(&undisturbed, &storage, "after kills at every commit").await;
    assert_sound(&storage, "after kills at every commit").await;

    // The files so far may be compacted already: add small files for maintenance to work on.
    let more = folder.path().join("more.ndjson");
    std::fs::write(&more, text(&random(8, 300))).unwrap();
    replay(&undisturbed, &more, 50).await.unwrap();
    succeed(replaying(&storage, &more, 100));
    for place in MAINTENANCE {
        killed_at(place, program(&["compact"], &storage));
        assert_sound(&storage, place).await;
    }
    succeed(program(&["compact"], &storage));
    assert_same(&undisturbed, &storage, "after kills in maintenance").await;
    succeed(replaying(&storage, &input, 50));
    assert_same(&undisturbed, &storage, "after all of it").await;
}

/// Fail points at which processes with two streams are killed.
const SOME: [&str; 5] = [
    "bronze.commit.after@2",
    "silver.commit.before@2",
    "quarantine.commit.after",
    "gold.commit.after@2",
    "alerts.commit.after",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_streams_one_after_the_other_survive_kills() {
    let folder = tempfile::tempdir().unwrap();
    // The second begins within the first, with markets of its own and the first one's.
    let own = StreamProfile { source: "other", count: 400, ..StreamProfile::HOURS }.stream(52);
    let shared =
        StreamProfile { start: StreamProfile::HOURS.start + 600_000_000, count: 400, ..StreamProfile::HOURS }
            .stream(53);
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    std::fs::write(&first, text(&random(51, 800))).unwrap();
    std::fs::write(&second, text(&own) + &text(&shared)).unwrap();
    let (undisturbed, storage) = (folder.path().join("undisturbed"), folder.path().join("killed"));
    for input in [first, second] {
        replay(&undisturbed, &input, 50_000).await.unwrap();
        for place in SOME {
            killed_at(place, replaying(&storage, &input, 40));
        }
        succeed(replaying(&storage, &input, 40));
    }
    assert_same(&undisturbed, &storage, "after kills in both streams").await;
    assert_sound(&storage, "after kills in both streams").await;
}

/// The end of the second stream closes the open candles of the first one, too; later ticks of the first
/// restate them. So only the alerts may differ.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_that_goes_on_after_another_one_survives_kills() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["one", "two"].map(|source| {
        let input = folder.path().join(source);
        std::fs::write(
            &input,
            text(&StreamProfile { source, count: 800, ..StreamProfile::HOURS }.stream(54)),
        )
        .unwrap();
        input
    });
    let (undisturbed, storage) = (folder.path().join("undisturbed"), folder.path().join("killed"));
    for input in [&first, &second] {
        replay(&undisturbed, input, 50_000).await.unwrap();
    }
    killed_at("silver.commit.after@9", replaying(&storage, &first, 40));
    for place in SOME {
        killed_at(place, replaying(&storage, &second, 40));
    }
    succeed(replaying(&storage, &second, 40));
    succeed(replaying(&storage, &first, 40));
    let same = async |when: &str| {
        for kind in [TableKind::Bronze, TableKind::Quarantine, TableKind::Silver, TableKind::Gold] {
            let columns = columns_without(kind, &[]);
            assert_rows(
                &rows(&storage, kind, &columns).await,
                &rows(&undisturbed, kind, &columns).await,
                &format!("{when}: {kind}"),
            );
        }
        assert_sound(&storage, when).await;
    };
    same("after kills in both streams").await;
    for lost in [TableKind::Silver, TableKind::Quarantine, TableKind::Gold, TableKind::Alerts] {
        std::fs::remove_dir_all(storage.join(lost.path())).unwrap();
    }
    succeed(replaying(&storage, &first, 40));
    same("rebuilt").await;
}

/// Runs one process per fail point, all at once, each with a storage of that name; the step fails at its
/// second pass.
fn failing_at(places: &[&str], folder: &Path, pipeline: impl Fn(&Path) -> std::process::Command) {
    let running: Vec<_> = places
        .iter()
        .map(|place| {
            let mut command = pipeline(&folder.join(place));
            command.env(failpoint::VARIABLE, format!("{place}@2=error"));
            (place, Running::start(command))
        })
        .collect();
    for (place, process) in running {
        let ended = process.wait();
        let stderr = stderr(&ended);
        assert!(ended.status.success(), "{place}: {stderr}");
        assert!(stderr.contains("fail point"), "{place} was not reached: {stderr}");
    }
}

/// Fail points of steps that fail. A commit that fails "after" has landed although it reports an error.
const STEPS: [&str; 9] = [
    "bronze.write.before",
    "bronze.write.after",
    "bronze.commit.before",
    "bronze.commit.after",
    "quarantine.commit.after",
    "silver.commit.before",
    "silver.commit.after",
    "gold.commit.after",
    "alerts.commit.after",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failed_step_is_retried_and_nothing_is_duplicated() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("stream.ndjson");
    std::fs::write(&input, text(&random(11, 600))).unwrap();
    let undisturbed = folder.path().join("undisturbed");
    replay(&undisturbed, &input, 50_000).await.unwrap();
    failing_at(&STEPS, folder.path(), |storage| replaying(storage, &input, 50));
    for place in STEPS {
        assert_same(&undisturbed, &folder.path().join(place), place).await;
    }
}

/// A compaction that reports an error, landed or not, must not affect the batches after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_compaction_that_fails_drops_no_batch() {
    let folder = tempfile::tempdir().unwrap();
    let undisturbed = folder.path().join("undisturbed");
    succeed(simulating(&undisturbed, 2_000, 50_000));
    let running: Vec<_> = ["bronze.compact.before", "bronze.compact.after", "silver.compact.after"]
        .into_iter()
        .map(|place| {
            let mut command = simulating(&folder.path().join(place), 2_000, 20);
            command.env(failpoint::VARIABLE, format!("{place}=error"));
            (place, Running::start(command))
        })
        .collect();
    for (place, process) in running {
        let ended = process.wait();
        assert!(
            ended.status.success() && stderr(&ended).contains("fail point"),
            "{place}: {}",
            stderr(&ended)
        );
        let storage = folder.path().join(place);
        assert!(
            values(&storage).await == values(&undisturbed).await,
            "{place}: bronze does not hold the records that were delivered"
        );
        assert_same(&undisturbed, &storage, place).await;
        assert_sound(&storage, place).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn records_without_a_position_are_there_once_after_a_step_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let undisturbed = folder.path().join("undisturbed");
    succeed(simulating(&undisturbed, 1_000, 50_000));
    let places: Vec<_> = STEPS.into_iter().filter(|place| !place.starts_with("quarantine")).collect();
    failing_at(&places, folder.path(), |storage| simulating(storage, 1_000, 100));
    let all = values(&undisturbed).await;
    assert!(all.iter().map(|(offset, _)| *offset).eq(0..1_000));
    for place in places {
        let storage = folder.path().join(place);
        let left = values(&storage).await;
        assert!(left == all, "{place}: {} of 1,000 records in bronze, or not those delivered", left.len());
        assert_same(&undisturbed, &storage, place).await;
        assert_sound(&storage, place).await;
    }
}

/// The simulator starts again with each process and numbers nothing: bronze holds what each process delivered
/// until it was killed, one after the other; silver holds each tick once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn records_without_a_position_are_there_once_after_kills() {
    const EVENTS: u32 = 4_000;
    let folder = tempfile::tempdir().unwrap();
    let (undisturbed, storage) = (folder.path().join("undisturbed"), folder.path().join("killed"));
    succeed(simulating(&undisturbed, EVENTS, 50_000));
    let delivered: Vec<String> = values(&undisturbed).await.into_iter().map(|(_, value)| value).collect();
    let mut before = Vec::new();
    let places =
        COMMITS.iter().filter(|place| !place.starts_with("quarantine") && !place.ends_with("write.after"));
    for place in places.map(|place| Some(*place)).chain([None]) {
        match place {
            Some(place) => killed_at(place, simulating(&storage, EVENTS, 50)),
            None => drop(succeed(simulating(&storage, EVENTS, 50))),
        }
        let place = place.unwrap_or("the end");
        let now = values(&storage).await;
        assert!(
            now.iter().map(|(offset, _)| *offset).eq(0..i64::try_from(now.len()).unwrap()),
            "{place}: offsets with gaps"
        );
        assert!(now.starts_with(&before), "{place}: committed records are missing");
        let new: Vec<_> = now[before.len()..].iter().map(|(_, value)| value.clone()).collect();
        assert!(
            delivered.starts_with(&new),
            "{place}: records lost, duplicated or out of order among {}",
            new.len()
        );
        if place == "the end" {
            assert_eq!(new.len(), delivered.len());
        }
        before = now;
    }
    // The offset of a tick depends on when the processes were killed.
    for kind in [TableKind::Silver, TableKind::Gold, TableKind::Alerts] {
        let columns = columns_without(kind, &["offset"]);
        assert_rows(
            &rows(&storage, kind, &columns).await,
            &rows(&undisturbed, kind, &columns).await,
            kind.label(),
        );
    }
    assert_sound(&storage, "after kills").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_terminated_pipeline_commits_what_it_holds_and_continues_later() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("stream.ndjson");
    std::fs::write(&input, text(&random(17, 6_000))).unwrap();
    let undisturbed = folder.path().join("undisturbed");
    replay(&undisturbed, &input, 50_000).await.unwrap();
    let storage = folder.path().join("storage");
    let mut stopped = Running::start(replaying(&storage, &input, 50));
    wait_for("some commits", || commits(&storage, TableKind::Silver) > 5);
    stopped.signal("TERM");
    let stopped = stopped.wait();
    assert!(stopped.status.success(), "{}", stderr(&stopped));
    assert!(String::from_utf8_lossy(&stopped.stdout).contains("records"));
    assert_sound(&storage, "after SIGTERM").await;
    succeed(replaying(&storage, &input, 50));
    assert_same(&undisturbed, &storage, "after SIGTERM and a second run").await;
}
