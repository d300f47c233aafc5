//! The one integration binary: each more would link the whole engine again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]
#![allow(clippy::cast_precision_loss, reason = "made-up numbers are small")]

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
mod support;
mod takeover;
mod terminal;
