//! The last line: hints for the keys of the present context, after the find line if that is open.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::put;
use crate::tui::app::{App, Overlay};
use crate::tui::input::hints;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App) {
    let theme = &app.theme;
    let mut line = Line::from(" ");
    if app.overlay == Overlay::Find {
        line.push_span(Span::styled("/ ", theme.key));
        line.push_span(Span::styled(app.markets.filter.clone(), theme.title));
        line.push_span(Span::styled("▏", theme.cursor));
        let found = app.markets.rows().len();
        line.push_span(Span::styled(
            format!("  {found} of {}   ", found + app.markets.hidden()),
            theme.muted,
        ));
    }
    let width = usize::from(area.width);
    let all: Vec<_> = hints(app.context()).collect();
    // The last two hints, usually help and quit, are always kept.
    let keep = all.len().saturating_sub(2);
    let tail: usize = all[keep..].iter().map(|(k, w)| k.width() + w.width() + 3).sum();
    for (at, (keys, word)) in all.iter().enumerate() {
        let needed = keys.width() + word.width() + 3;
        if at < keep && line.width() + needed + tail > width {
            continue;
        }
        line.push_span(Span::styled(*keys, theme.key));
        line.push_span(Span::styled(format!(" {word}  "), theme.muted));
    }
    put(buffer, area, &line);
}
