//! Mouse events: a click selects, the wheel zooms or scrolls, a drag pans, hovering moves the crosshair.

use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;
use tui_logger::TuiWidgetEvent;

use super::chart::Direction;
use super::{App, Overlay, Pane};

impl App {
    /// Handles a mouse event; returns whether the state changed.
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
        let pane = self.layout.panes.iter().find(|(_, area)| area.contains(at)).map(|(pane, _)| *pane);
        let left = pane != Some(Pane::Chart) && self.leave_chart();
        pane.is_some_and(|pane| self.mouse_over(pane, event, at)) || left
    }

    fn mouse_over(&mut self, pane: Pane, event: MouseEvent, at: Position) -> bool {
        match (event.kind, pane) {
            (MouseEventKind::Down(MouseButton::Left), Pane::Markets) => {
                self.focus = pane;
                let table = self.layout.table();
                if table.contains(at) {
                    self.markets.select(self.markets.offset + usize::from(at.y - table.y));
                }
            }
            (MouseEventKind::Down(MouseButton::Left), _) => {
                self.focus = pane;
                self.drag = (pane == Pane::Chart).then_some(at.x);
            }
            (MouseEventKind::Up(_), _) => self.drag = None,
            (MouseEventKind::Moved, Pane::Chart) => return self.hover(at),
            (MouseEventKind::Drag(MouseButton::Left), Pane::Chart) => return self.drag_to(at.x),
            (MouseEventKind::ScrollUp | MouseEventKind::ScrollDown, Pane::Chart) => {
                let up = event.kind == MouseEventKind::ScrollUp;
                if event.modifiers.contains(KeyModifiers::SHIFT) {
                    self.chart.pan(if up { -3 } else { 3 });
                } else {
                    let direction = if up { Direction::In } else { Direction::Out };
                    self.chart.zoom(direction, self.plot.time_at(at));
                    self.plot = self.chart.plot(self.layout.chart());
                    self.hover(at);
                }
            }
            (MouseEventKind::ScrollLeft, Pane::Chart) => self.chart.pan(-3),
            (MouseEventKind::ScrollRight, Pane::Chart) => self.chart.pan(3),
            (MouseEventKind::ScrollUp, Pane::Markets) => self.markets.step(-1),
            (MouseEventKind::ScrollDown, Pane::Markets) => self.markets.step(1),
            (MouseEventKind::ScrollUp, Pane::Alerts) => self.scroll_alerts(-1),
            (MouseEventKind::ScrollDown, Pane::Alerts) => self.scroll_alerts(1),
            (MouseEventKind::ScrollUp, Pane::Logs) => self.logs.transition(TuiWidgetEvent::PrevPageKey),
            (MouseEventKind::ScrollDown, Pane::Logs) => self.logs.transition(TuiWidgetEvent::NextPageKey),
            _ => return false,
        }
        true
    }

    /// Moves the crosshair to the candle nearest to the mouse.
    fn hover(&mut self, at: Position) -> bool {
        let candle = self.plot.time_at(at).and_then(|time| self.plot.view.nearest(time));
        let Some(candle) = candle else { return self.leave_chart() };
        let pointed = (Some(candle.window_start), Some(at.y));
        let before = (self.chart.cursor, self.chart.hover);
        (self.chart.cursor, self.chart.hover) = pointed;
        before != pointed
    }

    /// Removes the crosshair if the mouse had set it; one that was set by keys stays.
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
