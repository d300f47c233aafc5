//! Drawing: [`draw`] writes the state into a frame and changes nothing. The areas come from the state's layout
//! and plot.

mod alerts;
mod chart;
mod footer;
mod help;
mod logs;
mod markets;
mod notices;
mod pipeline;
mod status;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Paragraph, Widget, Wrap};

use unicode_width::UnicodeWidthStr;

use super::app::{App, Overlay};
use super::layout::{LEAST, Pane, is_large_enough};
use super::theme::Theme;

pub fn draw(frame: &mut Frame<'_>, app: &App) {
    let area = frame.area();
    render(frame.buffer_mut(), area, app);
}

/// Draws the dashboard into a buffer; does nothing where `area` has not the size of the state.
pub fn render(buffer: &mut Buffer, area: Rect, app: &App) {
    if area.as_size() != app.size() {
        return;
    }
    if !is_large_enough(app.size()) {
        return too_small(buffer, area, app);
    }
    let layout = &app.layout;
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
    notices::draw(buffer, layout.notices, app);
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

/// Draws a pane's border with its title, and `meta` at the right where it fits; returns the area inside.
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

/// Writes the attribution that `CoinGecko`'s terms require into the border of a pane that shows its data.
fn attribution(buffer: &mut Buffer, area: Rect, app: &App) {
    const TEXT: &str = " Data by CoinGecko ";
    let width = u16::try_from(TEXT.len()).unwrap_or(u16::MAX);
    let shown = app.markets.selected().is_some_and(|r| &*r.market.source == "coingecko");
    if shown && area.width >= width + 2 && area.height > 1 {
        buffer.set_stringn(
            area.right() - width - 1,
            area.bottom() - 1,
            TEXT,
            usize::from(width),
            app.theme.muted,
        );
    }
}

/// The name of a pane, as its title.
fn name(app: &App, text: &str) -> Line<'static> {
    Line::from(Span::styled(format!(" {text} "), app.theme.title))
}

/// Writes a line into the first row of an area, cut at its right edge.
fn put(buffer: &mut Buffer, area: Rect, line: &Line<'_>) {
    if !area.is_empty() {
        buffer.set_line(area.x, area.y, line, area.width);
    }
}

/// Writes a line at the right end of the first row of an area.
fn put_right(buffer: &mut Buffer, area: Rect, line: &Line<'_>) {
    let width = u16::try_from(line.width()).unwrap_or(u16::MAX).min(area.width);
    put(buffer, Rect { x: area.right() - width, width, ..area }, line);
}

/// Writes text in the middle of an area.
fn message(buffer: &mut Buffer, area: Rect, text: &str, style: Style) {
    let lines = u16::try_from(text.width()).unwrap_or(u16::MAX).div_ceil(area.width.max(1)).min(area.height);
    let top = area.height.saturating_sub(lines) / 2;
    let area = Rect { y: area.y + top, height: area.height - top, ..area };
    Paragraph::new(text.to_owned())
        .style(style)
        .alignment(Alignment::Center)
        .wrap(Wrap { trim: true })
        .render(area, buffer);
}

/// `label value`.
fn labelled(theme: &Theme, label: &str, value: String) -> Vec<Span<'static>> {
    vec![Span::styled(format!("{label} "), theme.muted), Span::styled(value, theme.text)]
}

/// A part of a line that is left out where there is no room: the part with the highest rank first.
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

/// The parts that fit into `width` columns with `gap` blanks between them. The first part always stays, even if
/// it is too wide.
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
