//! The pipeline pane: the states of source and stages, totals since the start, sizes of the tables, and the
//! last failure.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Part, fit_parts, labelled, message, name, pane, put};
use crate::market::SECOND;
use crate::pipeline::status::{Role, Snapshot, SourceState, SourceStatus, StageState, StageStatus};
use crate::text::printable;
use crate::tui::app::App;
use crate::tui::format;
use crate::tui::layout::{Pane, indented, row};
use crate::tui::theme::Theme;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App) {
    let theme = &app.theme;
    let Some(snapshot) = &app.snapshot else {
        let inside = pane(buffer, area, app, Pane::Pipeline, name(app, "Pipeline"), Line::default());
        return message(buffer, inside, "the pipeline is starting…", theme.muted);
    };
    let ticks = format::compact_count(snapshot.totals.ticks);
    let meta = Line::from(Span::styled(format!(" {ticks} ticks "), theme.muted));
    let inside = pane(buffer, area, app, Pane::Pipeline, name(app, "Pipeline"), meta);
    let mut lines = Vec::new();
    let wide = inside.width >= 50;
    lines.push(headings(theme, wide));
    lines.push(source_line(snapshot, app, wide));
    lines.extend(snapshot.stages.iter().map(|s| stage_line(s, app, wide)));
    let width = usize::from(inside.width).saturating_sub(2);
    let last_error = last_error(snapshot, app, width);
    let height = usize::from(inside.height).saturating_sub(usize::from(last_error.is_some()));
    if lines.len() + 5 <= height {
        lines.push(Line::default());
    }
    // The failure is always shown, totals and sizes where there are rows left.
    let room = height.saturating_sub(lines.len());
    lines.extend(totals(snapshot, theme, width).into_iter().chain(sizes(snapshot, theme, wide)).take(room));
    lines.extend(last_error);
    for (at, line) in (0..).zip(&lines) {
        put(buffer, indented(row(inside, at)), line);
    }
}

/// A row of the table of stages. Every text of a column has room in its width, less one for the gap.
fn cells(wide: bool, texts: [(String, Style); 6]) -> Line<'static> {
    let widths = [7, 11, 6, if wide { 6 } else { 0 }, 6, 16];
    let mut line = Line::default();
    for (at, ((text, style), width)) in texts.into_iter().zip(widths).enumerate() {
        if width == 0 {
            continue;
        }
        let text = format::fit(&text, width - 1);
        let text = if at < 2 { format::pad(&text, width) } else { format::pad_left(&text, width) };
        line.push_span(Span::styled(text, style));
    }
    line
}

/// A figure without the blank before its unit.
fn dense(figure: &str) -> String {
    figure.replace(' ', "")
}

/// A rate of a stage; none once it has stopped, when the last one would stay on the screen.
fn rate(stage: &StageStatus, per_second: f64, theme: &Theme) -> (String, Style) {
    match stage.state {
        StageState::Stopped => ("–".to_owned(), theme.muted),
        _ => (dense(&format::rate(per_second)), theme.text),
    }
}

fn headings(theme: &Theme, wide: bool) -> Line<'static> {
    let m = theme.muted;
    let last = if wide { "last commit" } else { "commit" };
    cells(wide, ["stage", "state", "in/s", "out/s", "lag", last].map(|t| (t.to_owned(), m)))
}

fn source_line(snapshot: &Snapshot, app: &App, wide: bool) -> Line<'static> {
    let theme = &app.theme;
    let m = theme.muted;
    let dash = || ("–".to_owned(), m);
    let Some(source) = &snapshot.source else {
        let text = match &snapshot.role {
            Role::Monitor { takes_over: true, .. } => "standing by",
            Role::Monitor { takes_over: false, .. } => "read-only",
            Role::Pipeline => "starting",
        };
        return cells(
            wide,
            [
                ("source".to_owned(), theme.text),
                (text.to_owned(), theme.accent),
                dash(),
                dash(),
                dash(),
                dash(),
            ],
        );
    };
    let (state, style) = source_state(source, theme);
    let last = if let Some(next) = source.next_poll.filter(|_| source.state == SourceState::Live) {
        format!("poll in {}", format::age(format::seconds_up(next - app.now()) * SECOND))
    } else {
        source.last_delivery.map_or_else(|| "–".to_owned(), |t| format!("{} ago", format::age(app.now() - t)))
    };
    let first = snapshot.stages.first();
    let taken = first.map_or_else(dash, |stage| rate(stage, stage.in_per_second, theme));
    cells(
        wide,
        [("source".to_owned(), theme.text), (state.to_owned(), style), dash(), taken, dash(), (last, m)],
    )
}

fn source_state(source: &SourceStatus, theme: &Theme) -> (&'static str, Style) {
    match &source.state {
        SourceState::Starting => ("○ starting", theme.muted),
        SourceState::Live => ("● ok", theme.good),
        SourceState::Reconnecting { .. } => ("↻ retrying", theme.bad),
        SourceState::Replaying { .. } => ("▶ replay", theme.good),
        SourceState::Simulating => ("◆ made up", theme.warn),
        SourceState::Finished => ("■ finished", theme.muted),
    }
}

fn stage_line(stage: &StageStatus, app: &App, wide: bool) -> Line<'static> {
    let theme = &app.theme;
    let (text, style) = match &stage.state {
        StageState::Recovering => ("◌ recovers".to_owned(), theme.warn),
        StageState::Ok => ("● ok".to_owned(), theme.good),
        StageState::Restarting { at, .. } => (format!("↻ in {}", format::age(at - app.now())), theme.bad),
        StageState::Stopped => ("■ stopped".to_owned(), theme.muted),
    };
    let commit = match (stage.version, stage.commit_time) {
        (Some(version), Some(time)) if wide => format!("v{version} {:>4} ms", time.as_millis()),
        (Some(version), _) => format!("v{version}"),
        _ => "–".to_owned(),
    };
    let lag = if stage.lag > 0 { theme.text } else { theme.muted };
    cells(
        wide,
        [
            (stage.stage.label().to_owned(), theme.text),
            (text, style),
            rate(stage, stage.in_per_second, theme),
            rate(stage, stage.out_per_second, theme),
            (dense(&format::compact_count(stage.lag)), lag),
            (commit, theme.muted),
        ],
    )
}

/// A count with its name. `warns`: every other count than zero is a problem.
fn figure(theme: &Theme, rank: u8, name: &str, n: u64, warns: bool) -> Part {
    let style = match (n, warns) {
        (0, _) => theme.muted,
        (_, true) => theme.warn,
        _ => theme.text,
    };
    let value = if n < 100_000 { format::count(n) } else { format::compact_count(n) };
    Part::new(rank, vec![Span::styled(format!("{name} "), theme.muted), Span::styled(value, style)])
}

/// Totals since the start of the process.
fn totals(snapshot: &Snapshot, theme: &Theme, width: usize) -> [Line<'static>; 2] {
    let t = snapshot.totals;
    let restarts = snapshot.stages.iter().map(|s| u64::from(s.restarts)).sum();
    let first = vec![
        figure(theme, 1, "dupes", t.duplicates, false),
        figure(theme, 0, "rejected", t.rejected, true),
        figure(theme, 2, "restated", t.restated, false),
        figure(theme, 3, "restarts", restarts, true),
    ];
    let mut second = vec![
        figure(theme, 1, "candles", t.candles, false),
        figure(theme, 0, "alerts", t.alerts, false),
        figure(theme, 2, "cooled", t.cooled_down, false),
    ];
    let memory = snapshot.memory.map(format::bytes);
    second.extend(memory.map(|memory| Part::new(3, labelled(theme, "memory", memory))));
    [fit_parts(first, 2, width), fit_parts(second, 2, width)]
}

/// Live data files and bytes of each stage's table, a column per stage.
fn sizes(snapshot: &Snapshot, theme: &Theme, wide: bool) -> [Line<'static>; 2] {
    let mut files = Line::from(Span::styled("files", theme.muted));
    let mut bytes = Line::from(Span::styled("size ", theme.muted));
    for stage in &snapshot.stages {
        let label = if wide { stage.stage.label() } else { "   " };
        let width = label.len() + 4;
        files.push_span(Span::styled(format!("  {label} "), theme.muted));
        files.push_span(Span::styled(format!("{:>3}", stage.files), theme.text));
        let size = dense(&format::bytes(stage.bytes));
        bytes.push_span(Span::styled(format!("  {size:>width$}"), theme.text));
    }
    [files, bytes]
}

/// The last failure, however old and over or not. The lines above the footer show only what fails now.
fn last_error(snapshot: &Snapshot, app: &App, width: usize) -> Option<Line<'static>> {
    let failure = snapshot.last_error.as_ref()?;
    let clock = |time| app.zone.write(time, "%H:%M");
    let (mark, until, style) = match failure.ended {
        Some(ended) => ('✓', format!(" until {}", clock(ended)), app.theme.muted),
        None => ('!', String::new(), app.theme.bad),
    };
    let text = format!("{mark} {}{until} {}", clock(failure.at), printable(&failure.to_string()));
    Some(Line::from(Span::styled(format::fit(&text, width), style)))
}
