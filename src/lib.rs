//! `CryptoStream`: a live crypto market monitor in the terminal, on top of a real lakehouse.
//!
//! ```text
//!  source ─► transport ─► bronze ──► silver ──► gold ──► DuckDB ──► terminal · CLI
//! CoinGecko   direct    raw bytes   typed,     1-minute     │
//! replay                and         deduped    candles       └──► alert rule ──► alert log
//! simulator             positions
//! ```
//!
//! Modules, lowest layer first; a module imports only from lines above its own (`tests/it/layers.rs` holds
//! that):
//!
//! | layer | modules | what |
//! |---|---|---|
//! | 0 | [`text`], [`secret`], [`backoff`], [`staged`] | what is printable, errors with their causes; text that must not be shown; waits after failures; files that replace others when complete |
//! | 1 | [`market`] | domain types and the pure functions on them: decoding, deduplication, aggregation |
//! | 2 | [`source`], [`transport`], [`lake`] | where records come from, the way to bronze, the Delta tables |
//! | 3 | [`query`], [`alert`] | DuckDB on its thread; the volatility rule |
//! | 4 | [`pipeline`] | the flow (`start_stages`) with a file for each stage; `intake` runs the source, `supervisor` owns the tasks, `publish` and `monitor` make the `status` that the screen shows |
//! | 5 | [`tui`] | the dashboard: `layout` and `plot` below state (`app`) and drawing (`view`); sees `market`, the pipeline's status and the query handle |
//! | 6 | [`cli`], [`config`], [`telemetry`] | commands, settings, logs: the composition root |

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        clippy::float_cmp,
        reason = "tests compare exactly, with small numbers"
    )
)]

// Files that the unit tests share with benchmarks name the library as those must.
#[cfg(test)]
extern crate self as cryptostream;

pub mod alert;
pub mod backoff;
pub mod cli;
pub mod config;
pub mod lake;
pub mod market;
pub mod pipeline;
pub mod query;
pub mod secret;
pub mod source;
pub mod staged;
pub mod telemetry;
pub mod text;
pub mod transport;
pub mod tui;
