//! The source's notices for the user: a wrong clock, a quota that will not last, coins without prices, history
//! that is delayed or not available. Pure bookkeeping; one text for each subject, so that a change replaces it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use chrono::DateTime;

use super::headers::clock_notice;
use crate::market::Micros;

/// Most coins named in one notice.
const NAMED: usize = 10;

#[derive(Debug, Default)]
pub(super) struct Notices {
    clock: Option<String>,
    quota: Option<String>,
    missing: Option<String>,
    history: Option<String>,
    /// Coins that have no history, by the cause.
    no_history: BTreeMap<String, Vec<Arc<str>>>,
}

impl Notices {
    pub(super) fn new(quota: Option<String>) -> Self {
        Self { quota, ..Self::default() }
    }

    /// Compares the server's clock at an answer with ours.
    pub(super) fn clocks(&mut self, server: Micros, clock: Micros) {
        self.clock = clock_notice(clock, server);
    }

    /// Compares the coins that were requested with those in the answers.
    pub(super) fn coins(&mut self, requested: &[String], seen: &HashSet<String>) {
        self.missing = missing(requested, seen);
    }

    /// Notes that history is delayed, until a clock time if that is worth showing: a text that changed with
    /// each attempt would be a new notice each time.
    pub(super) fn history_waits(&mut self, until: Option<Micros>, why: &str) {
        let until = until.map(|at| {
            DateTime::from_timestamp_micros(at).unwrap_or_default().format(" until %H:%M UTC").to_string()
        });
        self.history = Some(format!("history waits{}: {why}", until.unwrap_or_default()));
    }

    /// Notes that history is no longer delayed.
    pub(super) fn history_resumes(&mut self) {
        self.history = None;
    }

    /// Notes that a coin has no history.
    pub(super) fn no_history(&mut self, coin: &Arc<str>, why: &str) {
        self.no_history.entry(why.to_owned()).or_default().push(Arc::clone(coin));
    }

    /// All texts that apply now.
    pub(super) fn texts(&self) -> Vec<String> {
        let single = [&self.clock, &self.quota, &self.missing, &self.history];
        let no_history =
            |(why, coins): (&String, &Vec<Arc<str>>)| format!("no history of {}: {why}", list(coins));
        single.into_iter().flatten().cloned().chain(self.no_history.iter().map(no_history)).collect()
    }
}

/// The notice for coins that were requested and are not in the answer.
fn missing(requested: &[String], seen: &HashSet<String>) -> Option<String> {
    let missing: Vec<&String> = requested.iter().filter(|id| !seen.contains(*id)).collect();
    let question = if missing.len() == 1 { "is the id right?" } else { "are the ids right?" };
    (!missing.is_empty()).then(|| format!("not in the answer: {} ({question})", list(&missing)))
}

/// `a, b and 4 more`.
fn list(coins: &[impl AsRef<str>]) -> String {
    let names = coins.iter().take(NAMED).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match coins.len().saturating_sub(NAMED) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_coins_are_listed() {
        let requested: Vec<String> = (0..14).map(|n| format!("c{n}")).collect();
        let seen: HashSet<String> = requested.iter().skip(1).cloned().collect();
        assert_eq!(missing(&requested, &seen).as_deref(), Some("not in the answer: c0 (is the id right?)"));
        assert_eq!(missing(&requested, &requested.iter().cloned().collect()), None);
        let all = missing(&requested, &HashSet::new()).expect("many");
        assert!(all.ends_with("c9 and 4 more (are the ids right?)"), "{all}");
    }
}
