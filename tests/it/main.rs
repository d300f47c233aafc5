//! The one integration binary: each more would link the whole engine again.

mod coingecko;
mod support;
