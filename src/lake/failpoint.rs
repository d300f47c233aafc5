//! Fail points before and after every step that changes a table, where a test can end the process.
//!
//! `CRYPTOSTREAM_TEST_FAIL_POINT=silver.commit.after@3` ends the process at the third pass of that point, as
//! a power cut would: no destructor runs, nothing is flushed. With `=error` appended, the step fails there,
//! once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable that names the fail point to trigger.
pub const VARIABLE: &str = "CRYPTOSTREAM_TEST_FAIL_POINT";

struct Armed {
    name: String,
    pass: u64,
    error: bool,
    seen: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

fn parse(text: &str) -> Armed {
    let (text, error) = text.strip_suffix("=error").map_or((text, false), |t| (t, true));
    let (name, pass) = text.split_once('@').map_or((text, 1), |(n, p)| (n, p.parse().unwrap_or(1)));
    Armed { name: name.to_owned(), pass, error, seen: AtomicU64::new(0) }
}

/// The fail point `<table>.<step>`; does nothing unless a test has named it.
///
/// # Errors
/// Where a test asked for an error.
pub(crate) fn pass(table: &str, step: &str) -> Result<(), std::io::Error> {
    let Some(armed) = ARMED.get_or_init(|| std::env::var(VARIABLE).ok().map(|text| parse(&text))) else {
        return Ok(());
    };
    let here = armed.name.strip_prefix(table).and_then(|rest| rest.strip_prefix('.')) == Some(step);
    if here && armed.seen.fetch_add(1, Ordering::Relaxed) + 1 == armed.pass {
        if armed.error {
            return Err(std::io::Error::other(format!("fail point {table}.{step}")));
        }
        std::process::abort();
    }
    Ok(())
}
