//! The one integration binary: each more would link the whole engine again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli;
mod coingecko;
mod crash;
mod damage;
mod exact;
mod layers;
mod support;
