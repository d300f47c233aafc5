//! The lines above the footer: failures with their causes first, then the source's notices. A cause comes
//! first in its line and is not cut while two lines have room for it; notices that do not all fit are shown in
//! turns.

use crate::market::{Micros, SECOND};
use crate::pipeline::status::{Snapshot, SourceState, StageState};
use crate::text::printable;
use crate::tui::format;

/// A failure that lasts is shown for this long after it was last reported.
const ERROR_SHOWN: Micros = 300 * SECOND;
/// How long each notice is shown first while there is no room for all.
const TURN: Micros = 4 * SECOND;
/// Most lines of one failure or notice.
const LINES: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    Failure,
    Notice,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoticeLine {
    pub(super) severity: Severity,
    pub(super) text: String,
}

/// At most `most` lines of `width` columns for the failures and notices of a snapshot at the time `now`.
pub(super) fn lines(snapshot: &Snapshot, now: Micros, width: usize, most: usize) -> Vec<NoticeLine> {
    let mut lines: Vec<NoticeLine> = failures(snapshot, now)
        .into_iter()
        .flat_map(|(text, end)| marked(Severity::Failure, &text, &end, width))
        .take(most)
        .collect();
    let notices: Vec<Vec<NoticeLine>> = snapshot
        .source
        .iter()
        .flat_map(|source| &source.notices)
        .map(|text| marked(Severity::Notice, &printable(text), "", width))
        .collect();
    let room = most - lines.len();
    let all: usize = notices.iter().map(Vec::len).sum();
    let turn = usize::try_from(now.div_euclid(TURN)).unwrap_or(0);
    let first = if all > room { turn % notices.len() } else { 0 };
    lines.extend(notices.iter().cycle().skip(first).take(notices.len()).flatten().take(room).cloned());
    lines
}

/// Each failure that lasts: its text, and an end that is kept when the text is cut.
fn failures(snapshot: &Snapshot, now: Micros) -> Vec<(String, String)> {
    let mut failures = Vec::new();
    let again = |at: Micros| format!(" · again in {}", format::age(at - now));
    if let Some(source) = &snapshot.source
        && let SourceState::Reconnecting { at, attempt, why } = &source.state
    {
        let attempts = if *attempt > 1 { format!(", try {attempt}") } else { String::new() };
        let text = format!("{}: {}", source.kind.label(), printable(why));
        failures.push((text, format!("{}{attempts}", again(*at))));
    }
    let mut down = snapshot.stages.iter().filter_map(|stage| match &stage.state {
        StageState::Restarting { at, why } => Some((stage.stage.label(), at, why)),
        StageState::Recovering | StageState::Ok | StageState::Stopped => None,
    });
    if let Some((first, at, why)) = down.next() {
        // Usually one cause stops several stages, with different details after it.
        let labels: Vec<&str> = std::iter::once(first).chain(down.map(|(label, ..)| label)).collect();
        failures.push((format!("{}: {}", labels.join(", "), printable(why)), again(*at)));
    }
    let recent = snapshot.last_error.as_ref().filter(|f| f.ended.is_none() && now - f.at < ERROR_SHOWN);
    if let Some(failure) = recent.filter(|_| failures.is_empty()) {
        failures.push((printable(&failure.to_string()), String::new()));
    }
    failures
}

/// The text wrapped into lines, the first of which begins with the mark of the severity.
fn marked(severity: Severity, text: &str, end: &str, width: usize) -> Vec<NoticeLine> {
    let mark = match severity {
        Severity::Failure => '!',
        Severity::Notice => '·',
    };
    format::wrap(text, end, width.saturating_sub(2), LINES)
        .into_iter()
        .enumerate()
        .map(|(at, line)| {
            let mark = if at == 0 { mark } else { ' ' };
            NoticeLine { severity, text: format!("{mark} {line}") }
        })
        .collect()
}
