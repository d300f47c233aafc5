//! A source's notices are in the log, too: the program without a dashboard, against servers with unusual
//! answers.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::process::{Running, program, wait_for};
use crate::support::{shared_data, skip};

/// The log of a run against the server in this scenario, once it contains all of `texts`; none where the server
/// cannot be run.
fn log_until(scenario: &str, texts: &[&str]) -> Option<String> {
    let script = shared_data("data/faults/coingecko_scenarios.py")?;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut server = Command::new("python3");
    server.arg(script).arg(scenario).args([path("port"), path("requests")]).stdout(Stdio::null());
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
    wait_for("the texts in the log", || texts.iter().all(|text| read(&path("log")).contains(text)));
    running.signal("TERM");
    assert!(running.wait().status.success());
    Some(read(&path("log")))
}

#[test]
fn the_log_has_each_notice_once() {
    for (scenario, notice) in [
        ("ids", "not in the answer: bitcorn"),
        ("clock", "clock"),
        ("hist401", "history waits"),
        ("hist429", "history waits"),
    ] {
        let Some(log) = log_until(scenario, &[notice, "prices arrive"]) else { return };
        let lines =
            log.lines().filter(|line| line.contains(" WARN pipeline::publish: ") && line.contains(notice));
        // The notice that history waits changes when the wait becomes long enough to show its end.
        assert!((1..=2).contains(&lines.count()), "{scenario}: {log}");
    }
}
