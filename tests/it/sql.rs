//! `query` as a user meets it: output that other programs read, and bounds on time and memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::shared_data;

fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cryptostream"));
    command.args(args).current_dir(folder).env_clear().env("TMPDIR", folder.join("temporary"));
    command
}

/// A folder with a storage of one candle and an empty folder for temporary files.
fn storage() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("temporary")).unwrap();
    let line = |second: u32| {
        format!("{{\"coin_id\":\"bitcoin\",\"price\":{second},\"event_time\":{}}}\n", 1_747_008_000 + second)
    };
    fs::write(folder.path().join("in.ndjson"), (1..=3).map(line).collect::<String>()).unwrap();
    assert!(
        program(folder.path(), &["--no-tui", "--input", "in.ndjson", "--speed", "max"])
            .output()
            .unwrap()
            .status
            .success()
    );
    folder
}

fn query(folder: &Path, sql: &str, format: &str) -> String {
    let output = program(folder, &["query", sql, "--format", format]).output().unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Strict JSON, in which no key of an object comes twice: a map alone would not show it.
fn strict(text: &str, columns: usize) -> Value {
    let rows: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(rows.as_array().unwrap().iter().all(|row| row.as_object().unwrap().len() == columns), "{text}");
    rows
}

#[test]
fn json_is_strict_and_loses_nothing() {
    let folder = storage();
    for (sql, columns, expected) in [
        (
            "select [1.0::double, 'nan'::double, '-infinity'::double] as l",
            1,
            json!([{"l": [1.0, "NaN", "-Infinity"]}]),
        ),
        (
            "select {'a': 'nan'::double, 'b': ['inf'::float]} as s",
            1,
            json!([{"s": {"a": "NaN", "b": ["Infinity"]}}]),
        ),
        (
            "select json_object('foo', 0.0/0.0) as j, '[1,]'::json as k",
            2,
            json!([{"j": {"foo": "NaN"}, "k": [1]}]),
        ),
        (
            "select 'nan'::double as x, 'inf'::double as x, 3 as x_1",
            3,
            json!([{"x": "NaN", "x_2": "Infinity", "x_1": 3}]),
        ),
        (
            "select s.coin_id, g.coin_id from silver s join gold g using (source) limit 1",
            2,
            json!([{"coin_id": "bitcoin", "coin_id_1": "bitcoin"}]),
        ),
        ("select [1, 2]; -- a list", 1, json!([{"list_value(1, 2)": [1, 2]}])),
        (
            "select 18446744073709551615 as u, [9007199254740993] as l",
            2,
            json!([{"u": 18_446_744_073_709_551_615_u64, "l": [9_007_199_254_740_993_u64]}]),
        ),
        (
            "select name, column_names[1] as first, ['a'] as l from (show all tables) where name = 'gold'",
            3,
            json!([{"name": "gold", "first": "window_start", "l": ["a"]}]),
        ),
    ] {
        assert_eq!(strict(&query(folder.path(), sql, "json"), columns), expected, "{sql}");
    }
    let tables = strict(&query(folder.path(), "show all tables", "json"), 6);
    assert!(tables[0]["column_names"].is_array(), "{tables}");
    let candles =
        program(folder.path(), &["candles", "bitcoin", "--format", "json"]).output().unwrap().stdout;
    assert_eq!(strict(&String::from_utf8(candles).unwrap(), 13)[0]["high"], json!(3.0));
}

/// Records of an RFC 4180 text: fields, and whether each was quoted.
fn csv(text: &str) -> Vec<Vec<(String, bool)>> {
    let (mut records, mut fields, mut field, mut was_quoted, mut is_inside) =
        (vec![], vec![], String::new(), false, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if is_inside && rest.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => (is_inside, was_quoted) = (!is_inside, true),
            ',' | '\n' if !is_inside => {
                fields.push((std::mem::take(&mut field), std::mem::take(&mut was_quoted)));
                if c == '\n' {
                    records.push(std::mem::take(&mut fields));
                }
            }
            c => field.push(c),
        }
    }
    assert!(fields.is_empty() && field.is_empty(), "the last line ends: {text:?}");
    records
}

#[test]
fn csv_tells_null_from_the_empty_text_and_has_no_blank_line() {
    let folder = storage();
    let out = query(folder.path(), "select * from (values (NULL), ('x'), (''), ('NULL')) t(v)", "csv");
    assert!(out.lines().all(|line| !line.is_empty()), "{out:?}");
    let fields = |name: &str, is_quoted| vec![(name.to_owned(), is_quoted)];
    assert_eq!(
        csv(&out),
        [
            fields("v", false),
            fields("NULL", false),
            fields("x", false),
            fields("", true),
            fields("NULL", true)
        ]
    );
    let out = query(folder.path(), "select NULL as a, '' as b, [NULL, 'nan'::double] as c", "csv");
    assert_eq!(
        csv(&out)[1],
        [(String::new(), false), (String::new(), true), ("[null,\"NaN\"]".to_owned(), true)]
    );
    let candles = program(folder.path(), &["candles", "bitcoin", "--format", "csv"]).output().unwrap().stdout;
    let candles = csv(&String::from_utf8(candles).unwrap());
    assert!(candles.len() == 2 && candles[0].len() == candles[1].len(), "{candles:?}");
}

#[test]
fn the_queries_that_went_wrong_once() {
    let Some(path) = shared_data("data/faults/query-output.sql") else { return };
    let text = fs::read_to_string(path).unwrap();
    let folder = storage();
    for sql in text.lines().filter(|line| !line.starts_with("--") && !line.trim().is_empty()) {
        let rows: Value = serde_json::from_str(&query(folder.path(), sql, "json"))
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        let out = query(folder.path(), sql, "csv");
        assert!(out.lines().all(|line| !line.is_empty()), "{sql}: {out:?}");
        let records = csv(&out);
        assert_eq!(records.len() - 1, rows.as_array().unwrap().len(), "{sql}");
        assert!(
            rows.as_array().unwrap().iter().all(|row| row.as_object().unwrap().len() == records[0].len()),
            "{sql}: {rows}"
        );
    }
}

fn start(folder: &Path, sql: &str) -> Child {
    program(folder, &["query", sql, "--format", "csv"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for the end of a process; its peak of resident memory in MB, as far as it was seen.
fn peak(child: &mut Child) -> u64 {
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = peak.max(
            line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0)
                >> 10,
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    peak
}

#[test]
fn a_query_that_needs_many_gigabytes_ends_in_words_within_its_bound() {
    let folder = storage();
    for (sql, words, most) in [
        // The rows of the answer.
        (
            "select repeat('x', 5000 + i::int % 7) from range(1000000) t(i)",
            "the answer is larger than 256 MB",
            1_000,
        ),
        // What the engine keeps to compute it.
        (
            "select len(list(i)) from range(2000000000) t(i)",
            "the query needs more than 512MB of memory",
            1_000,
        ),
        // One vector of rows.
        (
            "select sum(length(repeat('x', 30000000 + i::int))) from range(2000) t(i)",
            "the query needs more than 512MB of memory",
            1_600,
        ),
    ] {
        let mut child = start(folder.path(), sql);
        let peak = peak(&mut child);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(1) && stderr.contains(words),
            "{sql}: {:?} {stderr}",
            output.status
        );
        assert!(
            stderr.lines().count() == 1 && !stderr.contains("SET "),
            "no advice that cannot be followed: {stderr}"
        );
        assert!(peak < most, "{sql}: {peak} MB");
    }
    assert_eq!(fs::read_dir(folder.path().join("temporary")).unwrap().count(), 0);
}

/// Far more than fits in memory: what it spills shows that it runs.
const SPILLING: &str =
    "select count(*) from (select i, md5(i::varchar) h from range(2000000000) t(i) order by h)";

fn wait_for_spill(child: &mut Child, temporary: &Path) {
    let started = Instant::now();
    while names(temporary).is_empty() {
        assert!(
            started.elapsed() < Duration::from_mins(1) && child.try_wait().unwrap().is_none(),
            "it spills"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn temporary_files_of_a_killed_query_go_with_the_next_one() {
    let folder = storage();
    let temporary = folder.path().join("temporary");
    let mut child = start(folder.path(), SPILLING);
    wait_for_spill(&mut child, &temporary);
    query(folder.path(), "select 1", "csv");
    assert!(!names(&temporary).is_empty(), "those of a running query stay");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!names(&temporary).is_empty());
    query(folder.path(), "select 1", "csv");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn without_a_place_for_temporary_files_a_query_says_so() {
    let folder = storage();
    let sql = "select count(*) from (select i, md5(i::varchar) h from range(16000000) t(i) order by h)";
    let output = program(folder.path(), &["query", sql])
        .env("TMPDIR", folder.path().join("nowhere"))
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && stderr.contains("the query needs temporary files"),
        "{stderr}"
    );
}

#[test]
fn a_query_may_begin_with_a_comment_and_takes_no_parameters() {
    let folder = storage();
    assert_eq!(query(folder.path(), "-- a comment\nselect 1 as x", "csv"), "x\n1\n");
    for sql in ["select ?", "describe select $1", "explain select $name"] {
        let output = program(folder.path(), &["query", sql]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            stderr, "error: a query takes no parameters: write the values instead of ?, $1 or $name\n",
            "{sql}"
        );
    }
}

#[test]
fn the_largest_answers_are_written_whole() {
    let folder = storage();
    for (sql, format, length) in [
        ("select repeat('x', 250000000) as v", "table", 2 + 750_000_001 + 250_000_001 + 6),
        ("select repeat('\"', 250000000) as v", "csv", 2 + 500_000_003),
        ("select repeat(chr(1), 200000000) as v", "json", 4 + 6 + 1_200_000_002 + 4),
    ] {
        let mut child = program(folder.path(), &["query", sql, "--format", format])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let written = std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
        assert!(child.wait().unwrap().success(), "{sql}");
        assert_eq!(written, length, "{sql}");
    }
}

#[test]
fn a_signal_ends_a_long_query_at_once_and_its_temporary_files_with_it() {
    let folder = storage();
    let temporary = folder.path().join("temporary");
    let before = names(&folder.path().join("storage"));
    for signal in ["-INT", "-TERM"] {
        let mut child = start(folder.path(), SPILLING);
        wait_for_spill(&mut child, &temporary);
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let signalled = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(130), &b""[..]));
        assert!(signalled.elapsed() < Duration::from_secs(10), "{:?}", signalled.elapsed());
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    }
    assert_eq!(names(&folder.path().join("storage")), before, "the storage is only read");
}

/// Every file below a folder; what goes away or gets another name meanwhile is none.
fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        if entry.path().is_dir() {
            names.extend(self::names(&entry.path()));
        } else {
            names.push(entry.path());
        }
    }
    names.sort();
    names
}
