//! The `cryptostream` binary: see the library's `cli` module.

use std::process::ExitCode;

use cryptostream::cli::{self, exit::Ending};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Huge pages under many threads' small heaps make a program of 50 MB one of 250 MB.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    Ending::of(&cli::run(std::env::args_os())).tell()
}
