//! The pipeline: one file a stage, the supervisor that owns all tasks, the status that the screen sees.

pub mod status;
