//! Transports: how records get from a source to bronze.

pub mod direct;
