//! What the tests share.

pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod reference;
pub(crate) mod stream;
pub(crate) mod tables;

use std::path::{Path, PathBuf};

/// Set where every test must run: what a test needs and does not find is a failure then, not a reason to skip
/// it.
pub(crate) const ALL: &str = "CRYPTOSTREAM_TEST_ALL";

/// A file of the recordings and tools beside the project, by its path there; none, in words, where it is
/// absent.
pub(crate) fn shared_data(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if !path.exists() {
        skip(&format!("{} is not there", path.display()));
        return None;
    }
    Some(path)
}

/// Says why a test is skipped; where every test must run, fails it.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os(ALL).is_none(), "{why}, and {ALL} is set");
    println!("skipped: {why}");
}
