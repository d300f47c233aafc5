//! The integration tests: one binary, because each would link DuckDB again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli;
mod layers;
