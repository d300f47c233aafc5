//! A storage that may only be read: everything that looks at it works.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::process::{program, simulating, succeed, told};
use crate::support::skip;

/// Mounts the storage over itself so that it may only be read, proves it, and runs the rest of the arguments.
const READ_ONLY: &str = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || exit 99
    if touch "$0/probe" 2>/dev/null; then exit 99; fi
    exec "$@""#;

/// Runs a command that sees `storage` on a mount for reading; none, in words, where that cannot be made.
fn on_read_only(storage: &Path, command: &[&str]) -> Option<Output> {
    let ended = Command::new("unshare")
        .args(["-rm", "sh", "-c", READ_ONLY])
        .arg(storage)
        .args(command)
        .env("TERM", "xterm-256color")
        .output();
    match ended {
        Ok(ended) if ended.status.code() != Some(99) && !told(&ended).starts_with("unshare:") => Some(ended),
        _ => {
            skip("nothing can be mounted for reading only");
            None
        }
    }
}

#[test]
fn a_storage_that_may_only_be_read_can_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let storage = folder.path().join("storage");
    succeed(simulating(&storage, 3000, 500));
    let at = storage.to_str().unwrap();
    let binary = program(&[], &storage).get_program().to_str().unwrap().to_owned();
    for words in
        [&["candles", "bitcoin"][..], &["query", "SELECT count(*) FROM gold"], &["verify"], &["screenshot"]]
    {
        let command = [&[binary.as_str()], words, &["--storage", at]].concat();
        let Some(ended) = on_read_only(&storage, &command) else { return };
        assert!(ended.status.success() && !ended.stdout.is_empty(), "{words:?}: {}", told(&ended));
    }
    // The dashboard, in a terminal of its own, until TERM ends it; a missing log file would end it at once
    // with an error. `timeout` answers 124 where it had to end it.
    let monitor = format!("timeout --foreground -s TERM 3 '{binary}' monitor --storage '{at}'");
    let Some(ended) = on_read_only(&storage, &["script", "-qec", &monitor, "/dev/null"]) else { return };
    let shown = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(124), "{shown}");
    assert!(shown.contains("\u{1b}[?1049h") && !shown.contains("cannot be written:"), "{shown}");
}
