//! What the screen says of a source is in the log, too: the program without a screen, against servers with
//! odd habits.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::process::{Running, program, wait_for};
use crate::support::{shared_data, skip};

/// The log of a run against a server of this habit, once it has some words; none where the server cannot be
/// run.
fn log_until(habit: &str, words: &[&str]) -> Option<String> {
    let script = shared_data("data/faults/coingecko_scenarios.py")?;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut server = Command::new("python3");
    server.arg(script).arg(habit).args([path("port"), path("requests")]).stdout(Stdio::null());
    if Command::new("python3").arg("--version").output().is_err() {
        skip("python3 cannot be run");
        return None;
    }
    let _server = Running::start(server);
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    wait_for("the server's port", || read(&path("port")).parse::<u16>().is_ok());
    let url = format!("http://127.0.0.1:{}/api/v3", read(&path("port")));
    let mut command = program(&["--no-tui", "--poll", "1s", "--coins", "bitcoin,bitcorn"], &path("storage"));
    command.env("COINGECKO_BASE_URL", url).stderr(std::fs::File::create(path("log")).unwrap());
    let mut running = Running::start(command);
    wait_for("the words in the log", || words.iter().all(|word| read(&path("log")).contains(word)));
    running.signal("TERM");
    assert!(running.wait().status.success());
    Some(read(&path("log")))
}

#[test]
fn the_log_has_each_notice_once() {
    for (habit, notice) in [
        ("ids", "not in the answer: bitcorn"),
        ("clock", "clock"),
        ("hist401", "history waits"),
        ("hist429", "history waits"),
    ] {
        let Some(log) = log_until(habit, &[notice, "prices arrive"]) else { return };
        let lines =
            log.lines().filter(|line| line.contains(" WARN pipeline::publish: ") && line.contains(notice));
        // That history waits is said again when the wait becomes a long one.
        assert!((1..=2).contains(&lines.count()), "{habit}: {log}");
    }
}
