//! When to ask the lake: at most one question of a kind is under way, the newest question is asked next,
//! failed questions are repeated later.

use crate::market::{Micros, SECOND};

/// The shortest time between two questions that only a new revision makes necessary: a replay at full speed
/// commits many times a second.
const LEAST_BETWEEN: Micros = SECOND / 4;
/// Time until a failed question is asked again.
const RETRY: Micros = 2 * SECOND;

#[derive(Debug, Clone, PartialEq)]
struct Asked<Q> {
    query: Q,
    revision: u64,
}

#[derive(Debug)]
pub(in crate::tui) struct Ask<Q> {
    flying: Option<Asked<Q>>,
    answered: Option<Asked<Q>>,
    failed: Option<(Asked<Q>, String)>,
    at: Option<Micros>,
}

impl<Q> Default for Ask<Q> {
    fn default() -> Self {
        Self { flying: None, answered: None, failed: None, at: None }
    }
}

impl<Q: Clone + PartialEq> Ask<Q> {
    /// The question to ask now: `wanted`, unless a question is under way, or an answer of this revision covers
    /// it (`covered` gets the answered question).
    pub(in crate::tui) fn next(
        &mut self,
        now: Micros,
        wanted: &Q,
        revision: u64,
        covered: impl Fn(&Q) -> bool,
    ) -> Option<Q> {
        if self.flying.is_some() {
            return None;
        }
        let since_last = self.at.map_or(Micros::MAX, |at| now.saturating_sub(at).saturating_abs());
        if self.failed.as_ref().is_some_and(|(f, _)| f.query == *wanted) && since_last < RETRY {
            return None;
        }
        let covers = self.answered.as_ref().is_some_and(|a| covered(&a.query));
        let current = self.answered.as_ref().is_some_and(|a| a.revision == revision);
        if covers && (current || since_last < LEAST_BETWEEN) {
            return None;
        }
        self.flying = Some(Asked { query: wanted.clone(), revision });
        self.at = Some(now);
        Some(wanted.clone())
    }

    /// Takes note of an answer; returns whether it answers the question under way.
    pub(in crate::tui) fn answered(&mut self, query: &Q) -> bool {
        let Some(asked) = self.flying.take_if(|a| a.query == *query) else { return false };
        self.answered = Some(asked);
        self.failed = None;
        true
    }

    /// Takes note that the question under way failed.
    pub(in crate::tui) fn failed(&mut self, query: &Q, why: String) {
        if let Some(asked) = self.flying.take_if(|a| a.query == *query) {
            self.failed = Some((asked, why));
        }
    }

    /// Why the last question failed, as text for the user, until one is answered.
    pub(in crate::tui) fn failure(&self) -> Option<&str> {
        self.failed.as_ref().map(|(_, why)| why.as_str())
    }

    /// Whether any question was ever answered.
    pub(in crate::tui) const fn has_answer(&self) -> bool {
        self.answered.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_is_under_way_and_the_newest_is_next() {
        let mut ask = Ask::default();
        let same = |wanted: u32| move |q: &u32| *q == wanted;
        assert_eq!(ask.next(0, &1, 7, same(1)), Some(1));
        assert_eq!(ask.next(0, &2, 7, same(2)), None, "one is under way");
        assert!(!ask.answered(&2), "it was not asked");
        assert!(ask.answered(&1));
        assert_eq!(ask.next(0, &3, 7, same(3)), Some(3), "another question does not wait");
        ask.answered(&3);
        assert_eq!(ask.next(0, &3, 7, same(3)), None, "it is answered");
        assert_eq!(ask.next(0, &3, 8, same(3)), None, "too soon for a new revision");
        assert_eq!(ask.next(SECOND, &3, 8, same(3)), Some(3));
    }

    #[test]
    fn failed_questions_are_repeated_later() {
        let mut ask = Ask::default();
        ask.next(0, &1, 7, |_| false);
        ask.failed(&1, "no file".to_owned());
        assert_eq!(ask.failure(), Some("no file"));
        assert_eq!(ask.next(SECOND, &1, 7, |_| false), None);
        assert_eq!(ask.next(SECOND, &2, 7, |_| false), Some(2), "another question is asked at once");
        ask.failed(&2, "no file".to_owned());
        assert_eq!(ask.next(4 * SECOND, &2, 7, |_| false), Some(2));
        ask.answered(&2);
        assert_eq!(ask.failure(), None);
    }
}
