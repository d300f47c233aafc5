//! The commands, and where their parts are put together.

pub mod args;
pub mod exit;

use std::ffi::OsString;
use std::io::Write;

use anyhow::bail;

use crate::config::Settings;
use args::{Cli, Command, Parsed};

/// Runs what a command line asks for, the program's name first.
///
/// # Errors
/// [`exit::Ending::of`] says what each means for the process.
pub fn run(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let cli = match Cli::read(args)? {
        Parsed::Print(text) => return print(text.as_bytes()),
        Parsed::Run(cli) => cli,
    };
    match &cli.command {
        Some(Command::Completions { shell }) => return print(&Cli::completions(*shell)),
        Some(Command::Man) => return print(&Cli::man()?),
        _ => {}
    }
    let settings = Settings::load(cli.common.config.as_deref(), cli.common.overrides(), cli.purpose())?;
    match &cli.command {
        Some(Command::Config) => print(settings.table().as_bytes()),
        _ => bail!("this command is not there yet"),
    }
}

/// To stdout; a reader that hung up is an error that ends the command quietly.
fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}
