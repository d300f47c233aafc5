//! Recordings as files: what `record` does to existing files, and the replay of damaged ones.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::support::process::{Running, wait_for};
use crate::support::shared_data;

/// The program in a folder and an empty environment.
fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cryptostream"));
    command.args(args).current_dir(folder).env_clear();
    command
}

/// Exit code and stderr of a run.
fn result(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    result(&program(folder, args).output().unwrap())
}

const SOURCE: [&str; 5] = ["--source", "simulator", "--rate", "max", "--events"];

/// Records this number of simulated ticks.
fn record(folder: &Path, args: &[&str], events: &str) -> (Option<i32>, String) {
    run(folder, &[&["record"], args, &SOURCE, &[events]].concat())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The number of lines of a recording, plain or gzip, each of which must be valid JSON.
fn lines(path: &Path) -> usize {
    let mut text = String::new();
    let mut file = File::open(path).unwrap();
    if path.extension().is_some_and(|e| e == "gz") {
        MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        file.read_to_string(&mut text).unwrap();
    }
    assert!(text.is_empty() || text.ends_with('\n'));
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    text.lines().count()
}

/// Starts to record an endless source.
fn start(folder: &Path, args: &[&str]) -> Running {
    let args = [&["record"], args, &["--source", "simulator", "--rate", "500"]].concat();
    let mut command = program(folder, &args);
    command.stderr(Stdio::piped());
    Running::start(command)
}

/// A recorder of an endless source that has flushed some of its records to a new file.
fn recorder(folder: &Path, args: &[&str]) -> Running {
    let running = start(folder, args);
    let partial = folder.join(format!("{}.partial", args[0]));
    wait_for("records", || fs::metadata(&partial).is_ok_and(|m| m.len() > 0));
    running
}

#[test]
fn a_recording_is_replaced_or_appended_to_only_with_a_flag() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.ndjson", "a.ndjson.gz"] {
        let path = folder.path().join(name);
        assert_eq!(record(folder.path(), &[name], "300").0, Some(0));
        assert_eq!(lines(&path), 300);
        let before = fs::read(&path).unwrap();
        let (code, message) = record(folder.path(), &[name], "100");
        assert_eq!(code, Some(2));
        assert!(
            message.contains("--append") && message.contains("--force") && message.lines().count() == 1,
            "{message}"
        );
        assert_eq!(record(folder.path(), &[name, "--force", "--append"], "100").0, Some(2));
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(record(folder.path(), &[name, "--append"], "100"), (Some(0), String::new()));
        assert!(fs::read(&path).unwrap().starts_with(&before));
        assert_eq!(lines(&path), 400);
        assert_eq!(record(folder.path(), &[name, "--force"], "50"), (Some(0), String::new()));
        assert_eq!(lines(&path), 50);
    }
    assert_eq!(names(folder.path()), ["a.ndjson", "a.ndjson.gz"]);
}

#[test]
fn a_source_without_records_makes_no_recording() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    fs::write(folder.path().join("old.ndjson"), "{}\n").unwrap();
    for args in [&["record", "new.ndjson"][..], &["record", "old.ndjson", "--force"]] {
        let (code, message) = run(folder.path(), &[args, &["--input", "empty"]].concat());
        assert!(code == Some(0) && message.contains("nothing was recorded"), "{message}");
    }
    assert_eq!(names(folder.path()), ["empty", "old.ndjson"]);
    assert_eq!(fs::read(folder.path().join("old.ndjson")).unwrap(), b"{}\n");
}

#[test]
fn the_recording_that_is_replayed_is_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.ndjson");
    fs::write(&input, "{\"a\":1}\n{\"a\":2}\n").unwrap();
    let before = fs::read(&input).unwrap();
    fs::hard_link(&input, folder.path().join("hard")).unwrap();
    std::os::unix::fs::symlink("in.ndjson", folder.path().join("soft")).unwrap();
    for output in ["in.ndjson", "./in.ndjson", "hard", "soft"] {
        for flag in [&[][..], &["--force"], &["--append"]] {
            for from in ["in.ndjson", "-"] {
                let mut command = program(
                    folder.path(),
                    &[&["record", output, "--speed", "max", "--input", from], flag].concat(),
                );
                let output = command.stdin(File::open(&input).unwrap()).output().unwrap();
                let (code, message) = result(&output);
                assert!(code == Some(2) && message.contains("is the recording that is read"), "{message}");
                assert_eq!(fs::read(&input).unwrap(), before);
            }
        }
    }
    let mut command = program(folder.path(), &["record", "-", "--speed", "max", "--input", "in.ndjson"]);
    let refused = command.stdout(File::options().append(true).open(&input).unwrap()).output().unwrap();
    assert_eq!((refused.status.code(), fs::read(&input).unwrap()), (Some(2), before));
}

#[test]
fn a_killed_recorder_loses_nothing_and_leaves_its_flushed_records() {
    let folder = tempfile::tempdir().unwrap();
    let (path, partial) = (folder.path().join("a.ndjson"), folder.path().join("a.ndjson.partial"));
    fs::write(&path, "{}\n").unwrap();
    let running = recorder(folder.path(), &["a.ndjson", "--force"]);
    let (code, message) = record(folder.path(), &["a.ndjson", "--force"], "10");
    assert!(code == Some(2) && message.contains("another recorder"), "{message}");
    drop(running); // kills it
    assert_eq!(fs::read(&path).unwrap(), b"{}\n");
    let left = fs::read(&partial).unwrap();
    let (code, message) = record(folder.path(), &["a.ndjson", "--force"], "10");
    assert!(
        code == Some(2)
            && message.contains("a.ndjson.partial' holds the records of a recorder that was killed"),
        "{message}"
    );
    assert!(!left.is_empty() && fs::read(&partial).unwrap() == left);
    // As the message says.
    fs::rename(&partial, folder.path().join("saved.ndjson")).unwrap();
    assert_eq!(record(folder.path(), &["a.ndjson", "--force"], "10").0, Some(0));
    assert_eq!(
        (lines(&path), names(folder.path())),
        (10, vec!["a.ndjson".to_owned(), "saved.ndjson".to_owned()])
    );
}

#[test]
fn a_recorder_that_replaces_and_one_that_appends_exclude_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    fs::write(&path, "{}\n").unwrap();
    let refused = |flag: &str| {
        let (code, message) = record(folder.path(), &["a.ndjson", flag], "10");
        assert!(code == Some(2) && message.contains("another recorder writes 'a.ndjson'"), "{message}");
    };
    let mut replacing = recorder(folder.path(), &["a.ndjson", "--force"]);
    refused("--append");
    replacing.signal("INT");
    assert!(replacing.wait().status.success());
    let before = lines(&path);
    let length = fs::metadata(&path).unwrap().len();
    let mut appending = start(folder.path(), &["a.ndjson", "--append"]);
    wait_for("records", || fs::metadata(&path).unwrap().len() > length);
    refused("--force");
    refused("--append");
    appending.signal("INT");
    assert!(appending.wait().status.success());
    assert!(lines(&path) > before);
    assert_eq!(names(folder.path()), ["a.ndjson"]);
}

#[test]
fn a_file_that_appears_meanwhile_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    for flags in [&[][..], &["--append"]] {
        let mut running = recorder(folder.path(), &[&["a.ndjson"], flags].concat());
        fs::write(folder.path().join("a.ndjson"), "appeared\n").unwrap();
        running.signal("INT");
        let (code, message) = result(&running.wait());
        assert_eq!(code, Some(1));
        assert!(
            message.contains("appeared while it was being recorded")
                && message.contains("'a.ndjson.partial'"),
            "{message}"
        );
        assert_eq!(fs::read(folder.path().join("a.ndjson")).unwrap(), b"appeared\n");
        assert!(lines(&folder.path().join("a.ndjson.partial")) > 0);
        names(folder.path()).iter().for_each(|name| fs::remove_file(folder.path().join(name)).unwrap());
    }
}

#[test]
fn a_dangling_link_stays_a_link() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("disk")).unwrap();
    std::os::unix::fs::symlink("disk/day.ndjson", folder.path().join("a.ndjson")).unwrap();
    assert_eq!(record(folder.path(), &["a.ndjson"], "10"), (Some(0), String::new()));
    assert!(fs::symlink_metadata(folder.path().join("a.ndjson")).unwrap().is_symlink());
    assert_eq!(
        (lines(&folder.path().join("disk/day.ndjson")), names(&folder.path().join("disk"))),
        (10, vec!["day.ndjson".to_owned()])
    );
}

#[test]
fn a_recorder_completes_its_recording_on_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    for (name, signal) in [("a.ndjson", "INT"), ("b.ndjson.gz", "TERM")] {
        let mut running = recorder(folder.path(), &[name]);
        running.signal(signal);
        assert!(running.wait().status.success());
        assert!(lines(&folder.path().join(name)) > 0);
    }
    assert_eq!(names(folder.path()), ["a.ndjson", "b.ndjson.gz"]);
}

#[test]
fn a_failed_write_leaves_the_old_file_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.ndjson", "a.svg"] {
        fs::write(folder.path().join(name), "old\n").unwrap();
    }
    // No file may grow beyond two blocks: a write fails as on a full disk.
    let limited = |args: &[&str]| {
        let script = "trap '' XFSZ; ulimit -f 2; exec \"$0\" \"$@\"";
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_cryptostream")])
            .args(args)
            .current_dir(folder.path())
            .env_clear();
        result(&command.output().unwrap())
    };
    for args in [&["record", "a.ndjson", "--force"][..], &["record", "a.ndjson", "--append"]] {
        let (code, message) = limited(&[args, &SOURCE, &["5000"]].concat());
        assert!(code == Some(1) && message.contains("cannot write the recording 'a.ndjson'"), "{message}");
        assert_eq!(fs::read(folder.path().join("a.ndjson")).unwrap(), b"old\n");
    }
    let (code, message) = limited(&["screenshot", "-o", "a.svg"]);
    assert!(code == Some(1) && message.contains("cannot write a.svg"), "{message}");
    assert_eq!(fs::read(folder.path().join("a.svg")).unwrap(), b"old\n");
    assert_eq!(names(folder.path()), ["a.ndjson", "a.svg"]);
    assert_eq!(run(folder.path(), &["screenshot", "-o", "a.svg"]).0, Some(0));
    assert!(fs::read_to_string(folder.path().join("a.svg")).unwrap().contains("</svg>"));
}

/// The number of rows of a table, by the program's own query.
fn count(folder: &Path, storage: &str, table: &str) -> String {
    let sql = format!("SELECT count(*) FROM {table}");
    let output = program(folder, &["query", &sql, "--format", "csv", "--storage", storage]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().nth(1).unwrap().to_owned()
}

/// Replays a file twice by its name into one storage, and once through standard input into another; calls
/// `check` with storage, exit code and stderr.
fn replays(folder: &Path, input: &Path, check: impl Fn(&str, Option<i32>, &str)) {
    let stem = input.file_name().unwrap().to_str().unwrap();
    for (name, from) in
        [("file", input.to_str().unwrap()), ("again", input.to_str().unwrap()), ("stdin", "-")]
    {
        let storage = format!("{stem}-{}", name.replace("again", "file"));
        let mut command =
            program(folder, &["--no-tui", "--speed", "max", "--input", from, "--storage", &storage]);
        let (code, message) = result(&command.stdin(File::open(input).unwrap()).output().unwrap());
        check(&storage, code, &message);
        let (code, message) = run(folder, &["verify", "--storage", &storage]);
        assert_eq!(code, Some(0), "{storage}: {message}");
    }
}

fn tick(n: usize) -> String {
    format!("{{\"coin_id\":\"c{}\",\"price\":{},\"event_time\":{}}}\n", n % 3, n + 1, 1_747_008_000 + n)
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn all_whole_lines_of_a_damaged_recording_are_committed_before_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..30_000).map(tick).collect();
    let whole = gzip(&text);
    let input = folder.path().join("half.ndjson.gz");
    let half = &whole[..whole.len() / 2];
    fs::write(&input, half).unwrap();
    let mut read = Vec::new();
    flate2::read::GzDecoder::new(half).read_to_end(&mut read).unwrap_err();
    let good = memchr::memchr_iter(b'\n', &read).count();
    assert!((10_000..20_000).contains(&good));
    replays(folder.path(), &input, |storage, code, message| {
        assert_eq!(code, Some(1), "{message}");
        assert!(
            message.contains(&format!(
                "is damaged after line {good}, the last good one: its gzip data is cut off"
            )),
            "{message}"
        );
        assert_eq!(count(folder.path(), storage, "bronze"), good.to_string());
        assert_eq!(count(folder.path(), storage, "silver"), good.to_string());
    });
    // The repaired file is a new stream; silver drops the ticks that it already has.
    fs::write(&input, &whole).unwrap();
    let storage = "half.ndjson.gz-file";
    let (code, message) = run(
        folder.path(),
        &["--no-tui", "--speed", "max", "--input", "half.ndjson.gz", "--storage", storage],
    );
    assert_eq!(code, Some(0), "{message}");
    assert_eq!(count(folder.path(), storage, "bronze"), (good + 30_000).to_string());
    assert_eq!(count(folder.path(), storage, "silver"), "30000");
    // The lines that can be read of a damaged file can be recorded.
    fs::write(&input, half).unwrap();
    let (code, message) =
        run(folder.path(), &["record", "saved.ndjson", "--input", "half.ndjson.gz", "--speed", "max"]);
    assert!(code == Some(1) && message.contains("is damaged after line"), "{message}");
    assert_eq!(lines(&folder.path().join("saved.ndjson")), good);
}

#[test]
fn a_paced_replay_of_a_damaged_recording_keeps_its_pace_before_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let whole = gzip(&(0..20).map(tick).collect::<String>());
    fs::write(folder.path().join("a.gz"), &whole[..whole.len() - 4]).unwrap();
    let started = Instant::now();
    let (code, message) =
        run(folder.path(), &["--no-tui", "--speed", "40", "--input", "a.gz", "--storage", "s"]);
    assert!(code == Some(1) && message.contains("is damaged after line 20"), "{message}");
    assert!(started.elapsed() >= Duration::from_millis(400));
    assert_eq!(count(folder.path(), "s", "silver"), "20");
}

#[test]
fn damaged_recordings_that_once_failed_are_replayed() {
    let folder = tempfile::tempdir().unwrap();
    for (name, lines, is_damaged) in [
        ("h22-cut.ndjson.gz", "1198", true),
        ("h22-zero-padded.ndjson.gz", "1200", false),
        ("h08-bom.ndjson", "3", false),
    ] {
        let Some(input) = shared_data(&format!("data/faults/{name}")) else { continue };
        replays(folder.path(), &input, |storage, code, message| {
            assert_eq!(code, Some(i32::from(is_damaged)), "{message}");
            assert_eq!(
                message.contains("is damaged after line 1198, the last good one"),
                is_damaged,
                "{message}"
            );
            assert_eq!(count(folder.path(), storage, "bronze"), lines, "{storage}");
            assert_eq!(count(folder.path(), storage, "silver"), lines, "{storage}");
        });
    }
}
