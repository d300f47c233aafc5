//! The process and its terminal: job control, exit by signals, log files, output that is no usable terminal,
//! closed streams.

use std::process::{Command, Stdio};

use cryptostream::lake::TableKind;

use crate::support::process::{Running, commits, program, stderr, terminal_case, wait_for};
use crate::support::skip;

/// Runs a case of `terminal.py` on a new storage.
fn on_a_terminal(case: &str) {
    let folder = tempfile::tempdir().unwrap();
    let [python, args @ ..] = terminal_case(case, &folder.path().join("storage"));
    match Command::new(python).args(args).output() {
        Ok(ended) => assert!(ended.status.success(), "{case}: {}", stderr(&ended)),
        Err(error) => skip(&format!("python3 cannot be run: {error}")),
    }
}

#[test]
fn a_stop_restores_the_terminal_and_a_continuation_takes_and_redraws_it() {
    for case in ["ctrl-z", "tstp", "stop"] {
        on_a_terminal(case);
    }
}

#[test]
fn every_signal_that_ends_the_program_restores_the_terminal() {
    for case in ["quit", "hup", "term"] {
        on_a_terminal(case);
    }
}

#[test]
fn a_terminal_that_cannot_place_text_is_refused_with_the_reason() {
    for case in ["dumb", "unset"] {
        on_a_terminal(case);
    }
}

#[test]
fn a_log_file_that_the_user_named_and_that_cannot_be_opened_is_an_error() {
    for case in ["log-file", "monitor-log-file"] {
        on_a_terminal(case);
    }
}

#[test]
fn a_default_log_file_that_cannot_be_opened_is_a_warning() {
    on_a_terminal("default-log-file");
}

#[test]
fn output_that_is_no_terminal_is_refused_with_the_reason() {
    for args in [&[][..], &["monitor"]] {
        let folder = tempfile::tempdir().unwrap();
        let storage = folder.path().join("storage");
        let ended = program(args, &storage).env("TERM", "xterm").output().unwrap();
        let text = stderr(&ended);
        assert_eq!(ended.status.code(), Some(1), "{text}");
        assert!(text.contains("stdout is none") && text.contains("--no-tui"), "{text}");
        assert!(!storage.exists(), "no storage is created");
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
fn a_closed_stream_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let without_reader = || Stdio::from(std::io::pipe().unwrap().1);
    let code = |args: &[&str], redirect: fn(&mut Command, Stdio)| {
        let mut command = program(args, folder.path());
        redirect(&mut command, without_reader());
        command.status().unwrap().code()
    };
    let stderr = |command: &mut Command, to| _ = command.stderr(to);
    let stdout = |command: &mut Command, to| _ = command.stdout(to);
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
