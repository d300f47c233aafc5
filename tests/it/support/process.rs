//! The program in child processes with an empty environment: run, killed, paused and waited for.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cryptostream::lake::{TableKind, failpoint};

/// The program with these arguments on `storage`; stdout and stderr are captured.
pub(crate) fn program(args: &[&str], storage: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cryptostream"));
    command.args(args).arg("--storage").arg(storage).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A pipeline that replays a file at full speed in batches of `batch` records.
pub(crate) fn replaying(storage: &Path, input: &Path, batch: u32) -> Command {
    let mut command = program(&["--no-tui", "--speed", "max", "--log-level", "error"], storage);
    command.arg("--batch-records").arg(batch.to_string()).arg("--input").arg(input);
    command
}

/// A pipeline over the simulator: `events` ticks in virtual time, in batches of `batch` records. The ticks are
/// the same in every run.
pub(crate) fn simulating(storage: &Path, events: u32, batch: u32) -> Command {
    let mut command = program(
        &["--no-tui", "--source", "simulator", "--rate", "max", "--seed", "5", "--log-level", "warn"],
        storage,
    );
    command.args(["--start", "2025-05-12T00:00:00Z", "--tick", "2s"]);
    command.arg("--events").arg(events.to_string()).arg("--batch-records").arg(batch.to_string());
    command
}

/// The command line that runs a case of `terminal.py` on `storage`.
pub(crate) fn terminal_case(case: &str, storage: &Path) -> [String; 5] {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/terminal.py");
    let storage = storage.to_str().unwrap();
    ["python3", script, env!("CARGO_BIN_EXE_cryptostream"), case, storage].map(str::to_owned)
}

/// Runs a command to its end; it must exit with 0.
pub(crate) fn succeed(mut command: Command) -> Output {
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{}", stderr(&ended));
    ended
}

/// Runs a command that kills itself at a fail point of [`cryptostream::lake::failpoint`].
pub(crate) fn killed_at(place: &str, mut command: Command) {
    let ended = command.env(failpoint::VARIABLE, place).output().unwrap();
    let how = std::os::unix::process::ExitStatusExt::signal(&ended.status);
    assert!(how.is_some(), "nothing was killed at {place}: {}", stderr(&ended));
}

/// The stderr of an ended process, as text.
pub(crate) fn stderr(ended: &Output) -> String {
    String::from_utf8_lossy(&ended.stderr).into_owned()
}

/// A child process that is killed when this is dropped.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        Self(Some(command.spawn().unwrap()))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    /// Sends a signal: `TERM`, `STOP` …
    pub(crate) fn signal(&mut self, name: &str) {
        let id = self.child().id().to_string();
        assert!(Command::new("kill").args([format!("-{name}"), id]).status().unwrap().success());
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child().try_wait().unwrap().is_none()
    }

    pub(crate) fn wait(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill(); // it may have ended
            let _ = child.wait();
        }
    }
}

/// Waits until `holds` is true; panics after a minute.
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_mins(1), "timed out waiting for {what}");
        std::thread::yield_now();
    }
}

/// The number of commits in a table's log.
pub(crate) fn commits(storage: &Path, kind: TableKind) -> usize {
    std::fs::read_dir(storage.join(kind.path()).join("_delta_log")).map_or(0, |entries| {
        entries.flatten().filter(|e| e.path().extension().is_some_and(|x| x == "json")).count()
    })
}
