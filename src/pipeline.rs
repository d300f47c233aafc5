//! The pipeline: one file a stage, the supervisor that owns all tasks, the status that the screen sees.
//!
//! A stage is one short loop, the same everywhere (`stage`): read from a position, apply a pure function,
//! commit with the position, hand on. Between the stages of one process batches go through bounded channels;
//! the tables are the truth, and whoever notices a gap in what was handed over reads it from them.

mod alerts;
mod bronze;
mod gold;
pub mod meter;
pub mod monitor;
mod publish;
mod silver;
mod stage;
pub mod status;
pub mod summary;
pub mod supervisor;

pub use stage::StageError;
