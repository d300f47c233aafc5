//! The first line: the state of the source, then figures that show whether data arrives.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

use super::{Part, fit_parts, labelled, put, put_right};
use crate::market::time::micros;
use crate::market::{Micros, SECOND};
use crate::pipeline::status::{Role, Snapshot, SourceState, SourceStatus, StageKind};
use crate::text::printable;
use crate::tui::app::App;
use crate::tui::format;
use crate::tui::layout::indented;

/// A live source is stale when its newest tick is older than this and than three polls.
const STALE: Micros = 90 * SECOND;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App) {
    let theme = &app.theme;
    let width = usize::from(area.width).saturating_sub(2);
    let clock = app.clock();
    let time = format!("{} {}", app.zone.write(clock, "%H:%M:%S"), app.zone.label(clock));
    let mut right = Vec::new();
    if let Some(source) = app.snapshot.as_ref().and_then(|s| s.source.as_ref()) {
        right.extend(source_figures(source, app));
    }
    right.push(Part::new(0, vec![Span::styled(time, theme.text)]));
    let mut left = vec![Part::new(3, vec![Span::styled("CryptoStream", theme.title)])];
    if app.is_paused() {
        left.push(Part::new(0, vec![Span::styled("‖ PAUSED", theme.warn.patch(theme.title))]));
    }
    let state = headline(app);
    left.push(Part::new(1, vec![Span::styled(format!("{} {}", state.glyph, state.name), state.style)]));
    if !state.text.is_empty() {
        left.push(Part::new(2, vec![Span::styled(state.text, theme.muted)]));
    }
    if let Some(snapshot) = &app.snapshot {
        left.extend(figures(snapshot, app));
    }
    // The clock has the lowest rank and stays; the state has 30 columns before the other figures get any.
    let right_room = width.saturating_sub(left.first().map_or(0, Part::width) + 30);
    let right = fit_parts(right, 2, right_room.max(9));
    let left = fit_parts(left, 2, width.saturating_sub(right.width() + 2));
    put(buffer, indented(area), &left);
    put_right(buffer, Rect { width: area.width.saturating_sub(1), ..area }, &right);
}

struct Headline {
    glyph: char,
    name: String,
    /// Details, where there is room for them.
    text: String,
    style: Style,
}

fn headline(app: &App) -> Headline {
    let theme = &app.theme;
    let of = |glyph, name: &str, text: String, style| Headline { glyph, name: name.to_owned(), text, style };
    let Some(snapshot) = &app.snapshot else { return of('○', "STARTING", String::new(), theme.muted) };
    let Some(source) = &snapshot.source else {
        return match &snapshot.role {
            Role::Monitor { why, .. } => of('◉', "MONITOR", printable(why), theme.accent),
            Role::Pipeline => of('○', "STARTING", String::new(), theme.muted),
        };
    };
    let label = source.kind.label().to_owned();
    match &source.state {
        SourceState::Starting => of('○', "STARTING", label, theme.muted),
        SourceState::Live if source.last_delivery.is_none() || snapshot.live.is_empty() => {
            of('○', "CONNECTING", format!("{label}: no price yet"), theme.muted)
        }
        SourceState::Live => stale(snapshot, source, app).map_or_else(
            || of('●', "LIVE", label.clone(), theme.good),
            |age| of('◐', &format!("STALE {}", format::age(age)), label.clone(), theme.warn),
        ),
        // The cause is shown above the footer.
        SourceState::Reconnecting { at, .. } => {
            of('↻', &format!("RECONNECTING in {}", format::age(at - app.now())), label, theme.bad)
        }
        SourceState::Replaying { done: Some(done) } => {
            of('▶', &format!("REPLAY {:.0} %", (done * 100.0).clamp(0.0, 100.0)), String::new(), theme.accent)
        }
        SourceState::Replaying { done: None } => of('▶', "REPLAY", String::new(), theme.accent),
        SourceState::Simulating => of('◆', "SIMULATED", "made-up prices".to_owned(), theme.warn),
        SourceState::Finished => of('■', "FINISHED", label, theme.accent),
    }
}

/// Age of the newest tick, if that is too old for a live source.
fn stale(snapshot: &Snapshot, source: &SourceStatus, app: &App) -> Option<Micros> {
    let age = tick_age(snapshot, app)?;
    let poll = source.poll.map_or(0, micros);
    (age > STALE.max(poll.saturating_mul(3))).then_some(age)
}

/// Age of the newest tick: by its event time for a live source, by the time of its delivery for a replay or the
/// simulator, whose event times are not those of the clock.
fn tick_age(snapshot: &Snapshot, app: &App) -> Option<Micros> {
    let source = snapshot.source.as_ref();
    let clocked = source.is_none_or(|s| {
        matches!(s.state, SourceState::Live | SourceState::Reconnecting { .. } | SourceState::Starting)
    });
    let newest = if clocked {
        snapshot.live.iter().map(|l| l.event_time).max()
    } else {
        source.and_then(|s| s.last_delivery)
    };
    newest.map(|t| app.now().saturating_sub(t))
}

fn figures(snapshot: &Snapshot, app: &App) -> Vec<Part> {
    let theme = &app.theme;
    let mut parts = Vec::new();
    let coins = app.markets.rows().len() + app.markets.hidden();
    if coins > 0 {
        parts.push(Part::new(
            8,
            vec![Span::styled(coins.to_string(), theme.text), Span::styled(" coins", theme.muted)],
        ));
    }
    if let Some(age) = tick_age(snapshot, app) {
        parts.push(Part::new(5, labelled(theme, "tick", format!("{} ago", format::age(age)))));
    }
    let lag: u64 = snapshot.stages.iter().map(|s| s.lag).sum();
    parts.push(Part::new(6, labelled(theme, "lag", format::count(lag))));
    if let Some(version) = snapshot.stages.iter().find(|s| s.stage == StageKind::Gold).and_then(|s| s.version)
    {
        parts.push(Part::new(9, labelled(theme, "gold", format!("v{version}"))));
    }
    parts
}

fn source_figures(source: &SourceStatus, app: &App) -> Vec<Part> {
    let theme = &app.theme;
    let mut parts = Vec::new();
    if let Some(next) = source.next_poll.filter(|_| source.state == SourceState::Live) {
        let wait = format!("{} s", format::seconds_up(next - app.now()));
        let every = source.poll.map(|p| format!(" of {} s", p.as_secs())).unwrap_or_default();
        parts.push(Part::new(2, labelled(theme, "poll in", format!("{wait}{every}"))));
    }
    if let Some(quota) = source.quota_left {
        let style = if quota < 0.1 { theme.warn } else { theme.text };
        let value = format!("{:.0} %", (quota * 100.0).clamp(0.0, 100.0));
        parts.push(Part::new(3, vec![Span::styled("quota ", theme.muted), Span::styled(value, style)]));
    }
    parts
}
