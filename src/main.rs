//! The `cryptostream` binary: see the library's `cli` module.

fn main() {}
