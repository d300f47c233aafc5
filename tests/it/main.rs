//! The integration tests: one binary, because each would link DuckDB again.

mod cli;
mod layers;
