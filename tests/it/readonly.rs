//! A storage on a read-only mount: every command that reads it works.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::process::{program, simulating, stderr, succeed, terminal_case};
use crate::support::skip;

/// Mounts the storage over itself read-only, checks that it is, and runs the rest of the arguments.
const READ_ONLY: &str = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || exit 99
    if touch "$0/probe" 2>/dev/null; then exit 99; fi
    exec "$@""#;

/// Runs a command in a mount namespace where `storage` is read-only; none, with the reason printed, where that
/// cannot be set up.
fn on_read_only(storage: &Path, command: &[&str]) -> Option<Output> {
    let ended = Command::new("unshare")
        .args(["-rm", "sh", "-c", READ_ONLY])
        .arg(storage)
        .args(command)
        .env("TERM", "xterm-256color")
        .output();
    match ended {
        Ok(ended) if ended.status.code() != Some(99) && !stderr(&ended).starts_with("unshare:") => {
            Some(ended)
        }
        _ => {
            skip("nothing can be mounted read-only");
            None
        }
    }
}

#[test]
fn every_command_that_reads_works_on_a_read_only_storage() {
    let folder = tempfile::tempdir().unwrap();
    let storage = folder.path().join("storage");
    succeed(simulating(&storage, 3000, 500));
    let at = storage.to_str().unwrap();
    let binary = program(&[], &storage).get_program().to_str().unwrap().to_owned();
    for args in
        [&["candles", "bitcoin"][..], &["query", "SELECT count(*) FROM gold"], &["verify"], &["screenshot"]]
    {
        let command = [&[binary.as_str()], args, &["--storage", at]].concat();
        let Some(ended) = on_read_only(&storage, &command) else { return };
        assert!(ended.status.success() && !ended.stdout.is_empty(), "{args:?}: {}", stderr(&ended));
    }
    // The dashboard on a terminal, with the warning that its log file cannot be written.
    let command = terminal_case("monitor-read-only", &storage);
    if let Err(error) = Command::new(&command[0]).arg("--version").output() {
        return skip(&format!("python3 cannot be run: {error}"));
    }
    let Some(ended) = on_read_only(&storage, &command.each_ref().map(String::as_str)) else { return };
    assert!(ended.status.success(), "{}", stderr(&ended));
}
