//! The commands: reads the command line, loads the settings, and runs the pipeline, the dashboard or a query.

pub mod args;
mod dashboard;
pub mod exit;
mod feed;
mod look;
pub mod refused;
mod signals;
mod wiring;

use std::ffi::OsString;
use std::future::Future;
use std::io::{BufWriter, Write};

use crate::config::{Invalid, Purpose, Settings};
use crate::source::record::Existing;
use crate::telemetry::{self, Destination};
use args::{Cli, Command};
use refused::{Parsed, Refused};

/// Fewest threads for the pipeline's tasks: a stage that computes must not delay the others.
const WORKERS: usize = 4;
/// Most threads for file operations: each one keeps its own memory, and more of them do not make a disk
/// faster.
const FILE_WORKERS: usize = 8;

/// Runs a command line whose first argument is the program's name.
///
/// # Errors
/// [`exit::Ending::of`] maps each to the process's messages and exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let cli = match Cli::read(args) {
        Ok(Parsed::Print(text)) => return print(text.as_bytes()),
        Ok(Parsed::Run(cli)) => cli,
        Err(Refused { mut errors, rest }) => {
            let settings =
                rest.map_or_else(|| Settings::load(None, Vec::new(), Purpose::Read), |cli| cli.settings());
            errors.extend(settings.err().into_iter().flat_map(|Invalid(errors)| errors));
            return Err(Invalid(errors).into());
        }
    };
    // Commands that print a result log only warnings, unless the user sets a level.
    let answering = || {
        let settings = cli.settings()?;
        let level = if settings.is_given("log.level") { &settings.log.level } else { "warn" };
        log_to_stderr(&settings, level)?;
        anyhow::Ok(settings)
    };
    match &cli.command {
        None if cli.no_tui => {
            let settings = cli.settings()?;
            log_to_stderr(&settings, &settings.log.level)?;
            on_runtime(feed::pipeline(&settings))
        }
        None => {
            let settings = cli.settings()?;
            dashboard::with_logs(&settings)?;
            on_runtime(dashboard::pipeline(&settings))
        }
        Some(Command::Monitor) => {
            let settings = cli.settings()?;
            dashboard::with_logs(&settings)?;
            on_runtime(dashboard::monitor(&settings))
        }
        Some(Command::Candles { coin, last, format }) => {
            on_runtime(look::candles(&answering()?, coin, *last, *format))
        }
        Some(Command::Query { sql, format }) => on_runtime(look::query(&answering()?, sql.clone(), *format)),
        Some(Command::Verify { layer }) => on_runtime(look::verify(&answering()?, *layer)),
        Some(Command::Compact) => on_runtime(feed::compact(&answering()?)),
        Some(Command::Record { file, force, append }) => {
            on_runtime(feed::record(&answering()?, file.clone(), existing(*force, *append)))
        }
        Some(Command::Screenshot { size, output }) => {
            on_runtime(look::screenshot(&answering()?, *size, output.as_deref()))
        }
        Some(Command::Config) => print(cli.settings()?.table().as_bytes()),
        Some(Command::Completions { shell }) => print(&Cli::completions(*shell)),
        Some(Command::Man) => print(&Cli::man()?),
    }
}

fn log_to_stderr(settings: &Settings, level: &str) -> anyhow::Result<()> {
    let (file, color) = (settings.log.file.clone(), !settings.dashboard.no_color);
    Ok(telemetry::init(level, &Destination::Stderr { file, color })?)
}

const fn existing(force: bool, append: bool) -> Existing {
    match (force, append) {
        (true, _) => Existing::Replace,
        (_, true) => Existing::Append,
        _ => Existing::Keep,
    }
}

fn on_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let workers = std::thread::available_parallelism().map_or(WORKERS, |cores| cores.get().max(WORKERS));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(FILE_WORKERS)
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(work);
    // All results are written by now; a thread that still blocks (reading standard input) must not delay the
    // exit.
    runtime.shutdown_background();
    outcome
}

/// Writes to stdout. A closed pipe is an error, with which the command exits with code 0.
fn print(bytes: &[u8]) -> anyhow::Result<()> {
    print_with(|out| out.write_all(bytes))
}

/// Writes to stdout through a buffer.
fn print_with(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> anyhow::Result<()> {
    let mut stdout = BufWriter::new(std::io::stdout().lock());
    write(&mut stdout)?;
    Ok(stdout.flush()?)
}
