//! The way from a source to bronze.

pub mod direct;
