//! What the mouse does: a click selects, the wheel zooms or scrolls, a drag pans, hovering moves the
//! crosshair.

use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};
use tui_logger::TuiWidgetEvent;

use super::{App, Overlay, Pane};
use crate::tui::view;

impl App {
    /// Whether anything changed by it.
    pub(super) fn mouse(&mut self, event: MouseEvent) -> bool {
        if self.overlay != Overlay::None {
            match event.kind {
                MouseEventKind::ScrollUp => self.scroll_help(-3),
                MouseEventKind::ScrollDown => self.scroll_help(3),
                _ => return false,
            }
            return true;
        }
        let at = Position::new(event.column, event.row);
        let layout = view::layout(self);
        let Some((pane, area)) = layout.panes.iter().copied().find(|(_, area)| area.contains(at)) else {
            return self.leave_chart();
        };
        if pane != Pane::Chart && self.leave_chart() {
            self.changed = true;
        }
        match (event.kind, pane) {
            (MouseEventKind::Down(MouseButton::Left), Pane::Markets) => {
                self.focus = pane;
                if let Some(row) = view::row_at(self, area, at) {
                    self.markets.select(row);
                }
            }
            (MouseEventKind::Down(MouseButton::Left), _) => {
                self.focus = pane;
                self.drag = (pane == Pane::Chart).then_some(at.x);
            }
            (MouseEventKind::Up(_), _) => self.drag = None,
            (MouseEventKind::Moved, Pane::Chart) => return self.hover(area, at),
            (MouseEventKind::Drag(MouseButton::Left), Pane::Chart) => return self.drag_to(at.x),
            (MouseEventKind::ScrollUp | MouseEventKind::ScrollDown, Pane::Chart) => {
                let up = event.kind == MouseEventKind::ScrollUp;
                if event.modifiers.contains(KeyModifiers::SHIFT) {
                    self.chart.pan(if up { -3 } else { 3 });
                } else {
                    let anchor = view::time_at(self, area, at);
                    self.chart.zoom_by(up, anchor);
                    self.hover(area, at);
                }
            }
            (MouseEventKind::ScrollLeft, Pane::Chart) => self.chart.pan(-3),
            (MouseEventKind::ScrollRight, Pane::Chart) => self.chart.pan(3),
            (MouseEventKind::ScrollUp, Pane::Markets) => self.markets.step(-1),
            (MouseEventKind::ScrollDown, Pane::Markets) => self.markets.step(1),
            (MouseEventKind::ScrollUp, Pane::Alerts) => {
                self.alerts_offset = self.alerts_offset.saturating_sub(1);
            }
            (MouseEventKind::ScrollDown, Pane::Alerts) => {
                self.alerts_offset = (self.alerts_offset + 1).min(self.alerts.len().saturating_sub(1));
            }
            (MouseEventKind::ScrollUp, Pane::Logs) => self.logs.transition(TuiWidgetEvent::PrevPageKey),
            (MouseEventKind::ScrollDown, Pane::Logs) => self.logs.transition(TuiWidgetEvent::NextPageKey),
            _ => return false,
        }
        true
    }

    /// The mouse is over the chart: the crosshair goes to the nearest candle.
    fn hover(&mut self, area: Rect, at: Position) -> bool {
        let time = view::candle_at(self, area, at);
        let before = (self.chart.cursor, self.chart.hover);
        match time {
            Some(time) => {
                self.chart.cursor = Some(time);
                self.chart.hover = Some(at.y);
            }
            None => return self.leave_chart(),
        }
        before != (self.chart.cursor, self.chart.hover)
    }

    /// The mouse is no longer over the chart: its crosshair goes, the keys' stays.
    fn leave_chart(&mut self) -> bool {
        let hovered = self.chart.hover.take().is_some();
        if hovered {
            self.chart.cursor = None;
        }
        hovered
    }

    fn drag_to(&mut self, x: u16) -> bool {
        let Some(from) = self.drag else { return false };
        let slots = (i64::from(from) - i64::from(x)) / i64::from(self.chart.zoom.columns());
        if slots == 0 {
            return false;
        }
        self.drag = Some(x);
        self.chart.pan(slots);
        true
    }
}
