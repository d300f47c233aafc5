//! The lines of failures and notices, above the footer.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use crate::tui::app::App;
use crate::tui::layout::row;
use crate::tui::notice::Severity;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App) {
    for (at, line) in (0..).zip(&app.notices) {
        let style = match line.severity {
            Severity::Failure => app.theme.bad,
            Severity::Notice => app.theme.warn,
        };
        put(buffer, row(area, at), &Line::from(Span::styled(format!(" {}", line.text), style)));
    }
}
