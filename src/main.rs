//! The `cryptostream` binary: see the library's `cli` module.

use std::process::ExitCode;

use cryptostream::cli::{self, exit::Ending};

fn main() -> ExitCode {
    Ending::of(&cli::run(std::env::args_os())).print()
}
