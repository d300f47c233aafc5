//! The only integration binary: each further one would link all engines again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test that is skipped prints the reason")]
#![allow(clippy::cast_precision_loss, reason = "numbers in tests are small")]

mod bounds;
mod cli;
mod coingecko;
mod crash;
mod damage;
mod exact;
mod faults;
mod history;
mod layers;
mod log;
mod monitor;
mod readonly;
mod rebuild;
mod recording;
mod scenarios;
mod screen;
mod sql;
mod streams;
mod support;
mod takeover;
mod terminal;
