//! The commands, and where their parts are put together.

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

/// Threads that run the pipeline's tasks, at least: a stage that computes must not hold up the others.
const WORKERS: usize = 4;
/// Threads for file operations at most: each keeps memory of its own, and a disk does not get faster by more
/// of them.
const FILE_WORKERS: usize = 8;

/// Runs what a command line asks for, the program's name first.
///
/// # Errors
/// [`exit::Ending::of`] says what each means for the process.
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
    // Commands that print an answer: only warnings are logged beside it, unless a level is given.
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
    // Nothing that matters is left: what blocks (a read of standard input) must not hold up the end.
    runtime.shutdown_background();
    outcome
}

/// To stdout; a reader that hung up is an error that ends the command quietly.
fn print(bytes: &[u8]) -> anyhow::Result<()> {
    print_with(|out| out.write_all(bytes))
}

/// To stdout, piece by piece.
fn print_with(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> anyhow::Result<()> {
    let mut stdout = BufWriter::new(std::io::stdout().lock());
    write(&mut stdout)?;
    Ok(stdout.flush()?)
}
