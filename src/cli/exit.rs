//! Exit codes and error messages: 0 on success (a closed stdout included), 2 with a line for each error in
//! flags, files and settings, 1 with one line of causes for any other error, 130 when interrupted.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use crate::config::Invalid;
use crate::text::{chain, printable};

/// A command line that cannot be carried out: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(
    /// One line, without the prefix `error: `.
    pub String,
);

/// The command (`verify`) has already printed its errors: exit code 1 without another message.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
pub struct AlreadyReported;

/// The user ended the command by a signal: exit code 130, which shells use for SIGINT.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// What the process prints on stderr at its end, and its exit code.
#[derive(Debug, PartialEq, Eq)]
pub struct Ending {
    /// Lines for stderr, without line breaks.
    pub lines: Vec<String>,
    /// 0, 1, 2 or 130.
    pub code: u8,
}

impl Ending {
    /// The ending for the outcome of a command.
    pub fn of(outcome: &anyhow::Result<()>) -> Self {
        let Err(error) = outcome else { return Self { lines: Vec::new(), code: 0 } };
        if error
            .chain()
            .any(|e| e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe))
        {
            return Self { lines: Vec::new(), code: 0 };
        }
        if error.is::<AlreadyReported>() {
            return Self { lines: Vec::new(), code: 1 };
        }
        if error.is::<Interrupted>() {
            return Self { lines: Vec::new(), code: 130 };
        }
        if let Some(Invalid(errors)) = error.downcast_ref() {
            return Self {
                lines: errors.iter().map(|e| format!("error: {}", printable(e))).collect(),
                code: 2,
            };
        }
        let code = if error.is::<Usage>() { 2 } else { 1 };
        Self { lines: vec![format!("error: {}", chain(error.as_ref()))], code }
    }

    /// Prints the lines and returns the exit code. Failures to write to stderr are ignored.
    pub fn print(self) -> ExitCode {
        for line in self.lines {
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
        self.code.into()
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    fn ending(error: anyhow::Error) -> (Vec<String>, u8) {
        let Ending { lines, code } = Ending::of(&Err(error));
        (lines, code)
    }

    #[test]
    fn repeated_causes_are_printed_once() {
        let error = anyhow!("disk full").context("writing x: disk full").context("gold");
        assert_eq!(ending(error), (vec!["error: gold: writing x: disk full".to_owned()], 1));
    }

    #[test]
    fn all_errors_of_settings_are_printed_with_exit_code_2() {
        let invalid = Invalid(vec!["--poll: too short".to_owned(), "x.toml line 3: y\u{1b}[31m".to_owned()]);
        assert_eq!(
            ending(invalid.into()),
            (vec!["error: --poll: too short".to_owned(), "error: x.toml line 3: y[31m".to_owned()], 2)
        );
        assert_eq!(ending(Usage("no".to_owned()).into()), (vec!["error: no".to_owned()], 2));
    }

    #[test]
    fn a_closed_stdout_is_no_failure() {
        let closed = Err::<(), _>(std::io::Error::from(ErrorKind::BrokenPipe)).context("writing candles");
        assert_eq!(ending(closed.expect_err("it failed")), (Vec::new(), 0));
        assert_eq!(ending(AlreadyReported.into()), (Vec::new(), 1));
        assert_eq!(ending(Interrupted.into()), (Vec::new(), 130));
        assert_eq!(Ending::of(&Ok(())), Ending { lines: Vec::new(), code: 0 });
    }
}
