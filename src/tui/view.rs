//! The screen. [`draw`] turns the state into a frame and changes nothing.
//!
//! ```text
//!  status line                                                     at 150 columns x 40 rows and more
//! ╭ Markets ───────╮╭ Chart ──────────────────────────────────╮
//! │                ││                                         │   lower:    the alerts and logs go
//! │                ││                                         │   narrower: alerts below the markets, pipeline below the
//! ╰────────────────╯│                                         │             chart; then both go
//! ╭ Pipeline ──────╮╰─────────────────────────────────────────╯
//! │                │╭ Alerts ────────────╮╭ Logs ─────────────╮   A pane without a place of its own takes the chart's
//! ╰────────────────╯╰────────────────────╯╰───────────────────╯   while it has the focus.
//!  hints
//! ```

mod alerts;
mod chart;
mod footer;
mod help;
mod logs;
mod markets;
mod pipeline;
mod status;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Position, Rect, Size};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Paragraph, Widget, Wrap};

use super::app::{App, LogPane, Overlay, Pane};
use crate::market::Micros;

/// The smallest terminal that the dashboard is drawn in.
pub const LEAST: Size = Size::new(60, 16);
/// From here on every pane has a place.
const WIDE: u16 = 150;
/// From here on alerts and pipeline have one, if it is high enough.
const MEDIUM: u16 = 100;

/// Where everything goes.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    status: Rect,
    footer: Rect,
    /// The panes that are visible, each with its border.
    pub(super) panes: Vec<(Pane, Rect)>,
}

impl Layout {
    /// A pane's place, border and all.
    fn area(&self, pane: Pane) -> Option<Rect> {
        self.panes.iter().find(|(p, _)| *p == pane).map(|(_, area)| *area)
    }
}

/// The layout for the state's size.
pub(super) fn layout(app: &App) -> Layout {
    layout_in(app, Rect::from((Position::ORIGIN, app.size)))
}

fn layout_in(app: &App, area: Rect) -> Layout {
    if area.width < LEAST.width || area.height < LEAST.height {
        return Layout::default();
    }
    let status = Rect { height: 1, ..area };
    let footer = Rect { y: area.bottom() - 1, height: 1, ..area };
    let body = Rect { y: area.y + 1, height: area.height - 2, ..area };
    let mut panes = if app.expanded { vec![(app.focus, body)] } else { arrange(body, app.log_pane) };
    if !panes.iter().any(|(pane, _)| *pane == app.focus) {
        for (pane, _) in &mut panes {
            if *pane == Pane::Chart {
                *pane = app.focus;
            }
        }
    }
    Layout { status, footer, panes }
}

fn arrange(body: Rect, logs: LogPane) -> Vec<(Pane, Rect)> {
    let column = match body.width {
        w if w >= 200 => 70,
        w if w >= WIDE => 56,
        w if w >= MEDIUM => 44,
        w if w >= 76 => 30,
        _ => 22,
    };
    let (left, right) = split_left(body, column);
    if body.width >= WIDE {
        let mut panes = Vec::with_capacity(5);
        let (markets, pipeline) = if body.height >= 26 { split_bottom(left, 13) } else { (left, None) };
        panes.push((Pane::Markets, markets));
        let strip = (body.height / 4).clamp(9, 16);
        let (chart, below) = if body.height >= 34 { split_bottom(right, strip) } else { (right, None) };
        panes.push((Pane::Chart, chart));
        panes.extend(pipeline.map(|area| (Pane::Pipeline, area)));
        if let Some(below) = below {
            let (alerts, log) = match logs {
                LogPane::Shown => split_left(below, (below.width / 2).min(58)),
                LogPane::Hidden => (below, Rect::ZERO),
            };
            panes.push((Pane::Alerts, alerts));
            if !log.is_empty() {
                panes.push((Pane::Logs, log));
            }
        }
        return panes;
    }
    if body.width >= MEDIUM && body.height >= 26 {
        let (markets, alerts) = split_bottom(left, 12);
        let (chart, pipeline) = split_bottom(right, 12);
        let mut panes = vec![(Pane::Markets, markets), (Pane::Chart, chart)];
        panes.extend(pipeline.map(|area| (Pane::Pipeline, area)));
        panes.extend(alerts.map(|area| (Pane::Alerts, area)));
        return panes;
    }
    if body.height >= 30 {
        let (above, alerts) = split_bottom(body, 8);
        let (left, right) = split_left(above, column);
        let mut panes = vec![(Pane::Markets, left), (Pane::Chart, right)];
        panes.extend(alerts.map(|area| (Pane::Alerts, area)));
        return panes;
    }
    vec![(Pane::Markets, left), (Pane::Chart, right)]
}

fn split_left(area: Rect, width: u16) -> (Rect, Rect) {
    let width = width.min(area.width);
    (Rect { width, ..area }, Rect { x: area.x + width, width: area.width - width, ..area })
}

fn split_bottom(area: Rect, height: u16) -> (Rect, Option<Rect>) {
    let height = height.min(area.height);
    (Rect { height: area.height - height, ..area }, Some(Rect { y: area.bottom() - height, height, ..area }))
}

/// Whether the logs have a place of their own in a terminal of this size.
pub(super) fn has_room_for_logs(size: Size) -> bool {
    size.width >= WIDE && size.height >= 36
}

/// A pane without its border.
fn inner(area: Rect) -> Rect {
    Rect {
        x: area.x + 1,
        y: area.y + 1,
        width: area.width.saturating_sub(2),
        height: area.height.saturating_sub(2),
    }
}

/// Columns of the chart's plot; those of the last place that a chart has, where another pane took it.
pub(super) fn chart_columns(layout: &Layout) -> u16 {
    let area =
        layout.area(Pane::Chart).or_else(|| layout.panes.last().map(|(_, area)| *area)).unwrap_or_default();
    chart::columns(inner(area))
}

/// Rows of the market table.
pub(super) fn table_rows(layout: &Layout) -> usize {
    layout.area(Pane::Markets).map_or(0, |area| markets::rows(inner(area)))
}

/// The market's row under a place on the screen.
pub(super) fn row_at(app: &App, area: Rect, at: Position) -> Option<usize> {
    markets::row_at(app, inner(area), at)
}

/// The start of the candle nearest to a place in the chart's plot.
pub(super) fn candle_at(app: &App, area: Rect, at: Position) -> Option<Micros> {
    chart::candle_at(app, inner(area), at)
}

/// The time at a place in the chart's plot.
pub(super) fn time_at(app: &App, area: Rect, at: Position) -> Option<Micros> {
    chart::time_at(app, inner(area), at)
}

/// How far the help can be scrolled in a terminal of this size.
pub(super) fn help_scroll(size: Size) -> u16 {
    help::most_scroll(size)
}

/// Draws the dashboard.
pub fn draw(frame: &mut Frame<'_>, app: &App) {
    let area = frame.area();
    render(frame.buffer_mut(), area, app);
}

/// Draws the dashboard into a buffer.
pub fn render(buffer: &mut Buffer, area: Rect, app: &App) {
    if area.width < LEAST.width || area.height < LEAST.height {
        return too_small(buffer, area, app);
    }
    let layout = layout_in(app, area);
    status::draw(buffer, layout.status, app);
    for (pane, area) in &layout.panes {
        match pane {
            Pane::Markets => markets::draw(buffer, *area, app),
            Pane::Chart => chart::draw(buffer, *area, app),
            Pane::Pipeline => pipeline::draw(buffer, *area, app),
            Pane::Alerts => alerts::draw(buffer, *area, app),
            Pane::Logs => logs::draw(buffer, *area, app),
        }
    }
    let prices = layout.area(Pane::Markets).or_else(|| layout.area(Pane::Chart));
    attribution(buffer, prices.unwrap_or_default(), app);
    footer::draw(buffer, layout.footer, app);
    if let Overlay::Help(scroll) = app.overlay {
        help::draw(buffer, area, app, scroll);
    }
}

fn too_small(buffer: &mut Buffer, area: Rect, app: &App) {
    let text = format!(
        "CryptoStream needs {}x{}, this is {}x{} · q quits",
        LEAST.width, LEAST.height, area.width, area.height
    );
    Paragraph::new(text).style(app.theme.text).wrap(Wrap { trim: true }).render(area, buffer);
}

/// Draws a pane's border with its titles, and returns what is inside.
fn pane(buffer: &mut Buffer, area: Rect, app: &App, pane: Pane, title: Line<'_>, meta: Line<'_>) -> Rect {
    let border = if app.focus == pane { app.theme.focus } else { app.theme.border };
    let room = usize::from(area.width).saturating_sub(4);
    let mut block = Block::bordered().border_type(BorderType::Rounded).border_style(border);
    let fits = title.width() + meta.width() < room;
    block = block.title_top(title);
    if fits && meta.width() > 0 {
        block = block.title_top(meta.alignment(Alignment::Right));
    }
    let inside = block.inner(area);
    block.render(area, buffer);
    inside
}

/// Whose data it is, as its licence asks for: said in the border of a pane that shows it.
fn attribution(buffer: &mut Buffer, area: Rect, app: &App) {
    const WORDS: &str = " Data by CoinGecko ";
    let width = u16::try_from(WORDS.len()).unwrap_or(u16::MAX);
    let shown = app.markets.selected().is_some_and(|r| &*r.market.source == "coingecko");
    if shown && area.width >= width + 2 && area.height > 1 {
        buffer.set_stringn(
            area.right() - width - 1,
            area.bottom() - 1,
            WORDS,
            usize::from(width),
            app.theme.muted,
        );
    }
}

/// A pane's name as its title.
fn name(app: &App, text: &str) -> Line<'static> {
    Line::from(Span::styled(format!(" {text} "), app.theme.title))
}

/// One row of an area.
fn row(area: Rect, at: u16) -> Rect {
    if at >= area.height {
        return Rect::ZERO;
    }
    Rect { y: area.y + at, height: 1, ..area }
}

/// Writes a line into an area's first row, cut at its right edge.
fn put(buffer: &mut Buffer, area: Rect, line: &Line<'_>) {
    if !area.is_empty() {
        buffer.set_line(area.x, area.y, line, area.width);
    }
}

/// Writes a line at the right end of an area's first row.
fn put_right(buffer: &mut Buffer, area: Rect, line: &Line<'_>) {
    let width = u16::try_from(line.width()).unwrap_or(u16::MAX).min(area.width);
    put(buffer, Rect { x: area.right() - width, width, ..area }, line);
}

/// Words in the middle of an area.
fn message(buffer: &mut Buffer, area: Rect, text: &str, style: Style) {
    let lines =
        u16::try_from(text.chars().count()).unwrap_or(u16::MAX).div_ceil(area.width.max(1)).min(area.height);
    let top = area.height.saturating_sub(lines) / 2;
    let area = Rect { y: area.y + top, height: area.height - top, ..area };
    Paragraph::new(text.to_owned())
        .style(style)
        .alignment(Alignment::Center)
        .wrap(Wrap { trim: true })
        .render(area, buffer);
}

/// A piece of a line that may be left out: the higher the number, the sooner.
struct Part {
    rank: u8,
    spans: Vec<Span<'static>>,
}

impl Part {
    fn new(rank: u8, spans: Vec<Span<'static>>) -> Self {
        Self { rank, spans }
    }

    fn width(&self) -> usize {
        self.spans.iter().map(Span::width).sum()
    }
}

/// The parts that fit into `width` with `gap` blanks between them, the least important left out.
fn fit_parts(mut parts: Vec<Part>, gap: usize, width: usize) -> Line<'static> {
    let total = |parts: &[Part]| parts.iter().map(|p| p.width() + gap).sum::<usize>().saturating_sub(gap);
    while total(&parts) > width && parts.len() > 1 {
        let last = parts.iter().enumerate().max_by_key(|(_, p)| p.rank).map(|(at, _)| at);
        parts.remove(last.unwrap_or(0));
    }
    let mut line = Line::default();
    for (at, part) in parts.into_iter().enumerate() {
        if at > 0 {
            line.push_span(Span::raw(" ".repeat(gap)));
        }
        line.spans.extend(part.spans);
    }
    line
}

/// Blanks an area before something is drawn over it.
fn clear(buffer: &mut Buffer, area: Rect) {
    Clear.render(area, buffer);
}

#[cfg(test)]
mod tests;
