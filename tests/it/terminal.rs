//! The process and its terminal: stops and continuations, ends by signals, terminals that are none, streams
//! that nobody reads.

use std::process::{Command, Stdio};

use cryptostream::lake::TableKind;

use crate::support::process::{Running, commits, program, told, wait_for};
use crate::support::skip;

/// Runs a case of `terminal.py`.
fn on_a_terminal(case: &str) {
    let folder = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/terminal.py");
    let mut command = Command::new("python3");
    command.args([script, env!("CARGO_BIN_EXE_cryptostream"), case]).arg(folder.path().join("storage"));
    match command.output() {
        Ok(ended) => assert!(ended.status.success(), "{case}: {}", told(&ended)),
        Err(error) => skip(&format!("python3 cannot be run: {error}")),
    }
}

#[test]
fn a_stop_gives_the_terminal_back_and_a_continuation_takes_and_redraws_it() {
    for case in ["ctrl-z", "tstp", "stop"] {
        on_a_terminal(case);
    }
}

#[test]
fn every_signal_that_ends_it_restores_the_terminal() {
    for case in ["quit", "hup", "term"] {
        on_a_terminal(case);
    }
}

#[test]
fn a_terminal_that_cannot_place_text_is_refused_in_words() {
    for case in ["dumb", "unset"] {
        on_a_terminal(case);
    }
}

#[test]
fn output_that_is_no_terminal_is_refused_in_words() {
    for args in [&[][..], &["monitor"]] {
        let folder = tempfile::tempdir().unwrap();
        let storage = folder.path().join("storage");
        let ended = program(args, &storage).env("TERM", "xterm").output().unwrap();
        let text = told(&ended);
        assert_eq!(ended.status.code(), Some(1), "{text}");
        assert!(text.contains("stdout is none") && text.contains("--no-tui"), "{text}");
        assert!(!storage.exists(), "nothing was begun");
    }
}

#[test]
fn a_hang_up_that_nohup_ignores_stays_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let storage = folder.path().join("storage");
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap "" HUP; exec "$0" "$@""#, env!("CARGO_BIN_EXE_cryptostream")]);
    command.args(["--no-tui", "--source", "simulator", "--batch-latency", "50ms", "--storage"]).arg(&storage);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut pipeline = Running::start(command);
    wait_for("a commit", || commits(&storage, TableKind::Bronze) > 2);
    pipeline.signal("HUP");
    let before = commits(&storage, TableKind::Bronze);
    wait_for("commits after the hang-up", || commits(&storage, TableKind::Bronze) > before + 5);
    assert!(pipeline.is_running());
    pipeline.signal("TERM");
    assert_eq!(pipeline.wait().status.code(), Some(0));
}

#[test]
fn a_stream_that_nobody_reads_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = || Stdio::from(std::io::pipe().unwrap().1);
    let code = |args: &[&str], close: fn(&mut Command, Stdio)| {
        let mut command = program(args, folder.path());
        close(&mut command, nobody());
        command.status().unwrap().code()
    };
    let stderr = |command: &mut Command, nobody| _ = command.stderr(nobody);
    let stdout = |command: &mut Command, nobody| _ = command.stdout(nobody);
    assert_eq!(code(&["--no-such-flag"], stderr), Some(2));
    assert_eq!(code(&["candles", "bitcoin"], stderr), Some(1));
    assert_eq!(
        code(&["--no-tui", "--source", "simulator", "--events", "50", "--rate", "max"], stderr),
        Some(0)
    );
    assert_eq!(
        code(&["--no-tui", "--source", "simulator", "--events", "50", "--rate", "max"], stdout),
        Some(0)
    );
    for args in [&["--help"][..], &["config"], &["man"], &["query", "SELECT 1"], &["screenshot"]] {
        assert_eq!(code(args, stdout), Some(0), "{args:?}");
    }
    let closed = r#""$0" --no-such-flag 2>&-; [ $? = 2 ] && "$0" config >&-; [ $? != 101 ]"#;
    let ended =
        Command::new("sh").args(["-c", closed, env!("CARGO_BIN_EXE_cryptostream")]).env_clear().status();
    assert!(ended.unwrap().success());
}
