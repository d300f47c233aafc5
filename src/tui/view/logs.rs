//! The log pane: tui-logger's widget, with its list of targets when the pane is focused and wide.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{BorderType, Widget};
use tui_logger::{TuiLoggerLevelOutput, TuiLoggerSmartWidget, TuiLoggerWidget};

use super::{name, pane};
use crate::tui::app::App;
use crate::tui::layout::{Pane, indented};

/// Columns from which on the targets are shown beside the lines.
const SMART: u16 = 110;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App) {
    let theme = &app.theme;
    let time = Some("%H:%M:%S".to_owned());
    if area.width >= SMART && app.focus == Pane::Logs {
        TuiLoggerSmartWidget::default()
            .style(theme.text)
            .border_style(theme.focus)
            .border_type(BorderType::Rounded)
            .highlight_style(theme.tag)
            .style_error(theme.bad)
            .style_warn(theme.warn)
            .style_info(theme.text)
            .style_debug(theme.muted)
            .style_trace(theme.faint)
            .output_timestamp(time)
            .output_level(Some(TuiLoggerLevelOutput::Long))
            .output_separator(' ')
            .output_target(true)
            .output_file(false)
            .output_line(false)
            .title_target(" Targets ")
            .title_log(" Logs ")
            .state(&app.logs)
            .render(area, buffer);
        return;
    }
    let meta = Line::from(Span::styled(
        if app.focus == Pane::Logs { " z for all targets " } else { "" },
        theme.muted,
    ));
    let inside = pane(buffer, area, app, Pane::Logs, name(app, "Logs"), meta);
    if inside.is_empty() {
        return;
    }
    TuiLoggerWidget::default()
        .style(theme.text)
        .style_error(theme.bad)
        .style_warn(theme.warn)
        .style_info(theme.text)
        .style_debug(theme.muted)
        .style_trace(theme.faint)
        .output_timestamp(time)
        .output_level(Some(TuiLoggerLevelOutput::Long))
        .output_separator(' ')
        .output_target(false)
        .output_file(false)
        .output_line(false)
        .state(&app.logs)
        .render(indented(inside), buffer);
}
