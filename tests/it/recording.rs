//! Recordings as files: what `record` does to what is there, and what a replay makes of files that are
//! damaged.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::support::shared_data;

/// The program in a folder and an empty environment.
fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cryptostream"));
    command.args(args).current_dir(folder).env_clear();
    command
}

/// Exit code and stderr of a run.
fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    told(&program(folder, args).output().unwrap())
}

const SOURCE: [&str; 5] = ["--source", "simulator", "--rate", "max", "--events"];

/// Records so many made-up ticks.
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

/// The lines of a recording, plain or gzip, each of which must be whole.
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

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_mins(1), "{what} in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// A recorder that goes on until it is told to stop, when some of its records have been written out.
fn recorder(folder: &Path, args: &[&str]) -> Child {
    let args = [&["record"], args, &["--source", "simulator", "--rate", "500"]].concat();
    let child = program(folder, &args).stderr(Stdio::piped()).spawn().unwrap();
    let partial = folder.join(format!("{}.partial", args[1]));
    wait("waited for records", || fs::metadata(&partial).is_ok_and(|m| m.len() > 0));
    child
}

#[test]
fn a_recording_is_replaced_or_added_to_only_when_told() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.ndjson", "a.ndjson.gz"] {
        let path = folder.path().join(name);
        assert_eq!(record(folder.path(), &[name], "300").0, Some(0));
        assert_eq!(lines(&path), 300);
        let before = fs::read(&path).unwrap();
        let (code, words) = record(folder.path(), &[name], "100");
        assert_eq!(code, Some(2));
        assert!(
            words.contains("--append") && words.contains("--force") && words.lines().count() == 1,
            "{words}"
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
fn what_delivers_nothing_makes_no_recording() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    fs::write(folder.path().join("old.ndjson"), "{}\n").unwrap();
    for args in [&["record", "new.ndjson"][..], &["record", "old.ndjson", "--force"]] {
        let (code, words) = run(folder.path(), &[args, &["--input", "empty"]].concat());
        assert!(code == Some(0) && words.contains("nothing was recorded"), "{words}");
    }
    assert_eq!(names(folder.path()), ["empty", "old.ndjson"]);
    assert_eq!(fs::read(folder.path().join("old.ndjson")).unwrap(), b"{}\n");
}

#[test]
fn the_recording_that_is_read_is_never_written() {
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
                let (code, words) = told(&output);
                assert!(code == Some(2) && words.contains("is the recording that is read"), "{words}");
                assert_eq!(fs::read(&input).unwrap(), before);
            }
        }
    }
    let mut command = program(folder.path(), &["record", "-", "--speed", "max", "--input", "in.ndjson"]);
    let refused = command.stdout(File::options().append(true).open(&input).unwrap()).output().unwrap();
    assert_eq!((refused.status.code(), fs::read(&input).unwrap()), (Some(2), before));
}

#[test]
fn a_killed_recorder_destroys_nothing_and_leaves_what_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let (path, partial) = (folder.path().join("a.ndjson"), folder.path().join("a.ndjson.partial"));
    fs::write(&path, "{}\n").unwrap();
    let mut child = recorder(folder.path(), &["a.ndjson", "--force"]);
    let (code, words) = record(folder.path(), &["a.ndjson", "--force"], "10");
    assert!(code == Some(2) && words.contains("another recorder"), "{words}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"{}\n");
    let left = fs::read(&partial).unwrap();
    let (code, words) = record(folder.path(), &["a.ndjson", "--force"], "10");
    assert!(
        code == Some(2)
            && words.contains("a.ndjson.partial' holds what a recorder had written until it was killed"),
        "{words}"
    );
    assert!(!left.is_empty() && fs::read(&partial).unwrap() == left);
    // As those words say.
    fs::rename(&partial, folder.path().join("saved.ndjson")).unwrap();
    assert_eq!(record(folder.path(), &["a.ndjson", "--force"], "10").0, Some(0));
    assert_eq!(
        (lines(&path), names(folder.path())),
        (10, vec!["a.ndjson".to_owned(), "saved.ndjson".to_owned()])
    );
}

#[test]
fn one_that_replaces_and_one_that_adds_exclude_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    fs::write(&path, "{}\n").unwrap();
    let refused = |flag: &str| {
        let (code, words) = record(folder.path(), &["a.ndjson", flag], "10");
        assert!(code == Some(2) && words.contains("another recorder writes 'a.ndjson'"), "{words}");
    };
    let mut replacing = recorder(folder.path(), &["a.ndjson", "--force"]);
    refused("--append");
    signal(&replacing, "-INT");
    assert!(replacing.wait().unwrap().success());
    let before = lines(&path);
    let args = ["record", "a.ndjson", "--append", "--source", "simulator", "--rate", "500"];
    let mut adding = program(folder.path(), &args).stderr(Stdio::piped()).spawn().unwrap();
    let length = fs::metadata(&path).unwrap().len();
    wait("waited for records", || fs::metadata(&path).unwrap().len() > length);
    refused("--force");
    refused("--append");
    signal(&adding, "-INT");
    assert!(adding.wait().unwrap().success());
    assert!(lines(&path) > before);
    assert_eq!(names(folder.path()), ["a.ndjson"]);
}

#[test]
fn a_file_that_appears_meanwhile_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    for flags in [&[][..], &["--append"]] {
        let child = recorder(folder.path(), &[&["a.ndjson"], flags].concat());
        fs::write(folder.path().join("a.ndjson"), "appeared\n").unwrap();
        signal(&child, "-INT");
        let (code, words) = told(&child.wait_with_output().unwrap());
        assert_eq!(code, Some(1));
        assert!(
            words.contains("appeared while it was being recorded") && words.contains("'a.ndjson.partial'"),
            "{words}"
        );
        assert_eq!(fs::read(folder.path().join("a.ndjson")).unwrap(), b"appeared\n");
        assert!(lines(&folder.path().join("a.ndjson.partial")) > 0);
        names(folder.path()).iter().for_each(|name| fs::remove_file(folder.path().join(name)).unwrap());
    }
}

#[test]
fn a_link_to_nothing_stays_a_link() {
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
fn a_recorder_that_is_told_to_stop_ends_its_recording() {
    let folder = tempfile::tempdir().unwrap();
    for (name, stop) in [("a.ndjson", "-INT"), ("b.ndjson.gz", "-TERM")] {
        let mut child = recorder(folder.path(), &[name]);
        signal(&child, stop);
        assert!(child.wait().unwrap().success());
        assert!(lines(&folder.path().join(name)) > 0);
    }
    assert_eq!(names(folder.path()), ["a.ndjson", "b.ndjson.gz"]);
}

#[test]
fn a_write_that_fails_leaves_the_old_file_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.ndjson", "a.svg"] {
        fs::write(folder.path().join(name), "old\n").unwrap();
    }
    // No file may grow beyond so many blocks: what a full disk does, too.
    let limited = |args: &[&str]| {
        let script = "trap '' XFSZ; ulimit -f 2; exec \"$0\" \"$@\"";
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_cryptostream")])
            .args(args)
            .current_dir(folder.path())
            .env_clear();
        told(&command.output().unwrap())
    };
    for args in [&["record", "a.ndjson", "--force"][..], &["record", "a.ndjson", "--append"]] {
        let (code, words) = limited(&[args, &SOURCE, &["5000"]].concat());
        assert!(code == Some(1) && words.contains("cannot write the recording 'a.ndjson'"), "{words}");
        assert_eq!(fs::read(folder.path().join("a.ndjson")).unwrap(), b"old\n");
    }
    let (code, words) = limited(&["screenshot", "-o", "a.svg"]);
    assert!(code == Some(1) && words.contains("cannot write a.svg"), "{words}");
    assert_eq!(fs::read(folder.path().join("a.svg")).unwrap(), b"old\n");
    assert_eq!(names(folder.path()), ["a.ndjson", "a.svg"]);
    assert_eq!(run(folder.path(), &["screenshot", "-o", "a.svg"]).0, Some(0));
    assert!(fs::read_to_string(folder.path().join("a.svg")).unwrap().contains("</svg>"));
}

/// Rows of a table, by the program's own query.
fn count(folder: &Path, storage: &str, table: &str) -> String {
    let sql = format!("SELECT count(*) FROM {table}");
    let output = program(folder, &["query", &sql, "--format", "csv", "--storage", storage]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().nth(1).unwrap().to_owned()
}

/// Replays a file by name and through standard input, each into a storage of its own, and the file once more.
fn replays(folder: &Path, input: &Path, check: impl Fn(&str, Option<i32>, &str)) {
    let stem = input.file_name().unwrap().to_str().unwrap();
    for (name, from) in
        [("file", input.to_str().unwrap()), ("again", input.to_str().unwrap()), ("stdin", "-")]
    {
        let storage = format!("{stem}-{}", name.replace("again", "file"));
        let mut command =
            program(folder, &["--no-tui", "--speed", "max", "--input", from, "--storage", &storage]);
        let (code, words) = told(&command.stdin(File::open(input).unwrap()).output().unwrap());
        check(&storage, code, &words);
        let (code, words) = run(folder, &["verify", "--storage", &storage]);
        assert_eq!(code, Some(0), "{storage}: {words}");
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
    replays(folder.path(), &input, |storage, code, words| {
        assert_eq!(code, Some(1), "{words}");
        assert!(
            words.contains(&format!(
                "is damaged behind line {good}, the last good one: its gzip data is cut off"
            )),
            "{words}"
        );
        assert_eq!(count(folder.path(), storage, "bronze"), good.to_string());
        assert_eq!(count(folder.path(), storage, "silver"), good.to_string());
    });
    // The repaired file is a new replay, of which silver drops what it has.
    fs::write(&input, &whole).unwrap();
    let storage = "half.ndjson.gz-file";
    let (code, words) = run(
        folder.path(),
        &["--no-tui", "--speed", "max", "--input", "half.ndjson.gz", "--storage", storage],
    );
    assert_eq!(code, Some(0), "{words}");
    assert_eq!(count(folder.path(), storage, "bronze"), (good + 30_000).to_string());
    assert_eq!(count(folder.path(), storage, "silver"), "30000");
    // And what can be read of a damaged one can be saved.
    fs::write(&input, half).unwrap();
    let (code, words) =
        run(folder.path(), &["record", "saved.ndjson", "--input", "half.ndjson.gz", "--speed", "max"]);
    assert!(code == Some(1) && words.contains("is damaged behind line"), "{words}");
    assert_eq!(lines(&folder.path().join("saved.ndjson")), good);
}

#[test]
fn a_paced_replay_of_a_damaged_recording_keeps_its_pace_and_ends_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let whole = gzip(&(0..20).map(tick).collect::<String>());
    fs::write(folder.path().join("a.gz"), &whole[..whole.len() - 4]).unwrap();
    let started = Instant::now();
    let (code, words) =
        run(folder.path(), &["--no-tui", "--speed", "40", "--input", "a.gz", "--storage", "s"]);
    assert!(code == Some(1) && words.contains("is damaged behind line 20"), "{words}");
    assert!(started.elapsed() >= Duration::from_millis(400));
    assert_eq!(count(folder.path(), "s", "silver"), "20");
}

#[test]
fn the_damaged_recordings_that_went_wrong_once() {
    let folder = tempfile::tempdir().unwrap();
    for (name, lines, is_damaged) in [
        ("h22-cut.ndjson.gz", "1198", true),
        ("h22-zero-padded.ndjson.gz", "1200", false),
        ("h08-bom.ndjson", "3", false),
    ] {
        let Some(input) = shared_data(&format!("data/faults/{name}")) else { continue };
        replays(folder.path(), &input, |storage, code, words| {
            assert_eq!(code, Some(i32::from(is_damaged)), "{words}");
            assert_eq!(
                words.contains("is damaged behind line 1198, the last good one"),
                is_damaged,
                "{words}"
            );
            assert_eq!(count(folder.path(), storage, "bronze"), lines, "{storage}");
            assert_eq!(count(folder.path(), storage, "silver"), lines, "{storage}");
        });
    }
}
