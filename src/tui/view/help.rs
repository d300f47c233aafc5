//! The help: the key table by context, in as many columns as fit.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Widget};

use super::{clear, put};
use crate::tui::app::App;
use crate::tui::input::{KEYS, KeyContext};
use crate::tui::layout::{HELP_COLUMN, HelpLayout, inner, row};
use crate::tui::theme::Theme;

/// Columns of the keys.
const KEY: usize = 11;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App, scroll: u16) {
    let theme = &app.theme;
    let HelpLayout { popup, lines: height, .. } = HelpLayout::new(app.size());
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
    for (at, line) in (0..).zip(lines(theme)) {
        let (column, line_at): (u16, u16) = (at / height, at % height);
        let Some(y) = line_at.checked_sub(scroll) else { continue };
        let x = column * HELP_COLUMN + 1;
        let place = row(inside, y);
        if x < place.width {
            put(
                buffer,
                Rect { x: place.x + x, width: (place.width - x).min(HELP_COLUMN - 1), ..place },
                &line,
            );
        }
    }
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
