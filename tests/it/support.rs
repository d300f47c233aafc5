//! Shared by the integration tests.

pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod reference;
pub(crate) mod stream;
pub(crate) mod tables;

use std::path::{Path, PathBuf};

/// The environment variable that forbids skipping: a test that lacks a tool or a file then fails.
pub(crate) const ALL: &str = "CRYPTOSTREAM_TEST_ALL";

/// The file at `path` in the folder `shared` beside the project; none, with the reason printed, where it does
/// not exist.
pub(crate) fn shared_data(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if !path.exists() {
        skip(&format!("{} does not exist", path.display()));
        return None;
    }
    Some(path)
}

/// Prints why a test is skipped; fails it if [`ALL`] is set.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os(ALL).is_none(), "{why}, and {ALL} is set");
    println!("skipped: {why}");
}
