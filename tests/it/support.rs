//! What the tests share.

pub(crate) mod http;
pub(crate) mod stream;
pub(crate) mod tables;
