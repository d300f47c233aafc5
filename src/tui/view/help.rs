//! The help: the key table, by context, in as many columns as fit.

use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Widget};

use super::{clear, inner, put, row};
use crate::tui::app::App;
use crate::tui::input::{KEYS, KeyContext};
use crate::tui::theme::Theme;

/// Width of a column of the help.
const COLUMN: u16 = 50;
/// Width of the keys in it.
const KEY: usize = 11;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App, scroll: u16) {
    let theme = &app.theme;
    let popup = popup(area);
    buffer.set_style(area, Modifier::DIM);
    clear(buffer, popup);
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(theme.focus)
        .title_top(Line::from(Span::styled(" Keys ", theme.title)))
        .title_bottom(Line::from(Span::styled(
            " mouse: click a coin, wheel zooms, drag pans, hover points ",
            theme.muted,
        )))
        .render(popup, buffer);
    let inside = inner(popup);
    let columns = usize::from(column_count(popup));
    let lines = lines(theme);
    let height = lines.len().div_ceil(columns);
    for (at, line) in lines.iter().enumerate() {
        let (column, line_at) = (at / height, at % height);
        let Some(y) = u16::try_from(line_at).ok().and_then(|y| y.checked_sub(scroll)) else { continue };
        let x = u16::try_from(column).unwrap_or(0) * COLUMN + 1;
        let place = row(inside, y);
        if x < place.width {
            put(buffer, Rect { x: place.x + x, width: (place.width - x).min(COLUMN - 1), ..place }, line);
        }
    }
}

/// How far the help can be scrolled.
pub(super) fn most_scroll(size: Size) -> u16 {
    let popup = popup(Rect::new(0, 0, size.width, size.height));
    let height = lines(&Theme::new(crate::tui::theme::ThemeKind::Mono, false))
        .len()
        .div_ceil(usize::from(column_count(popup)));
    u16::try_from(height).unwrap_or(u16::MAX).saturating_sub(popup.height.saturating_sub(2))
}

fn column_count(popup: Rect) -> u16 {
    ((popup.width.saturating_sub(2)) / COLUMN).clamp(1, 3)
}

fn popup(area: Rect) -> Rect {
    let width = if area.width >= 3 * COLUMN + 6 {
        3 * COLUMN + 4
    } else if area.width >= 2 * COLUMN + 4 {
        2 * COLUMN + 3
    } else {
        area.width.min(COLUMN + 14)
    };
    let lines = KEYS.len() + 2 * KeyContext::ALL.len();
    let columns = usize::from(((width.saturating_sub(2)) / COLUMN).clamp(1, 3));
    let height = u16::try_from(lines.div_ceil(columns) + 2).unwrap_or(u16::MAX).min(area.height);
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height }
}

fn lines(theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for context in KeyContext::ALL {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.push(Line::from(Span::styled(context.heading(), theme.title)));
        for binding in KEYS.iter().filter(|b| b.context == context) {
            lines.push(Line::from(vec![
                Span::styled(format!("{:<KEY$}", binding.label), theme.key),
                Span::styled(binding.help, theme.text),
            ]));
        }
    }
    lines
}
