//! Key presses: each is looked up in the key table and changes the state.

use crossterm::event::{KeyCode, KeyEvent};
use tui_logger::TuiWidgetEvent;

use super::chart::{Direction, Step};
use super::{App, Effect, Overlay, Paused};
use crate::tui::input::{Action, ChartAction, Chord, LogAction, lookup};
use crate::tui::layout::{HelpLayout, LogPane, Pane, has_room_for_logs};
use crate::tui::theme::Theme;

/// A pan moves by a quarter of the slots in view.
const PAN_SHARE: usize = 4;

impl App {
    /// Handles a key press; returns whether the key has a binding in the present context.
    pub(super) fn key(&mut self, event: KeyEvent, effects: &mut Vec<Effect>) -> bool {
        let Some(chord) = Chord::of(event) else { return false };
        if let Some(binding) = lookup(self.context(), chord) {
            self.perform(binding.action, chord, effects);
            return true;
        }
        match (self.overlay, chord) {
            (Overlay::Find, Chord { code: KeyCode::Char(c), ctrl: false }) => {
                self.find(|filter| filter.push(c));
                true
            }
            _ => false,
        }
    }

    fn perform(&mut self, action: Action, chord: Chord, effects: &mut Vec<Effect>) {
        match action {
            Action::Quit => effects.push(Effect::Quit),
            Action::Suspend => effects.push(Effect::Suspend),
            Action::NextCoin | Action::FindNext => self.markets.step(1),
            Action::PreviousCoin | Action::FindPrevious => self.markets.step(-1),
            Action::NthCoin => {
                if let KeyCode::Char(digit) = chord.code {
                    let at = digit.to_digit(10).map_or(0, |d| (d + 9) % 10);
                    self.markets.select(at as usize);
                }
            }
            Action::Chart(action) => self.perform_on_chart(action),
            Action::Sort => {
                self.markets.sort_next();
                self.markets.refresh(self.snapshot.as_deref());
            }
            Action::ReverseSort => {
                self.markets.reversed = !self.markets.reversed;
                self.markets.refresh(self.snapshot.as_deref());
            }
            Action::NextPane => self.step_focus(1),
            Action::PreviousPane => self.step_focus(Pane::ALL.len() - 1),
            Action::Expand => self.expanded = !self.expanded,
            Action::Pause => self.toggle_pause(),
            Action::Theme => {
                self.theme_kind = self.theme_kind.next();
                self.theme = Theme::new(self.theme_kind, self.red_up);
            }
            Action::Zone => self.zone = self.zone.toggled(),
            Action::Logs => self.toggle_logs(),
            Action::Help => self.overlay = Overlay::Help(0),
            Action::Escape => self.escape(),
            Action::AlertsUp => self.scroll_alerts(-1),
            Action::AlertsDown => self.scroll_alerts(1),
            Action::Log(action) => self.logs.transition(log_event(action)),
            Action::Find => self.overlay = Overlay::Find,
            Action::FindCancel => {
                self.overlay = Overlay::None;
                self.find(String::clear);
            }
            Action::FindErase => self.find(|filter| {
                filter.pop();
            }),
            Action::FindClear => self.find(String::clear),
            Action::FindAccept | Action::HelpClose => self.overlay = Overlay::None,
            Action::HelpUp => self.scroll_help(-1),
            Action::HelpDown => self.scroll_help(1),
        }
    }

    fn perform_on_chart(&mut self, action: ChartAction) {
        let pan = i64::try_from(self.plot.view.candles.len() / PAN_SHARE).unwrap_or(0) + 1;
        let chart = &mut self.chart;
        match action {
            ChartAction::CursorLeft => {
                chart.move_cursor(Step::Before, &self.plot.view);
                self.pan_to_cursor();
            }
            ChartAction::CursorRight => {
                chart.move_cursor(Step::After, &self.plot.view);
                self.pan_to_cursor();
            }
            ChartAction::ZoomIn => {
                chart.zoom(Direction::In, chart.cursor);
                self.pan_to_cursor();
            }
            ChartAction::ZoomOut => {
                chart.zoom(Direction::Out, chart.cursor);
                self.pan_to_cursor();
            }
            ChartAction::PanLeft => chart.pan(-pan),
            ChartAction::PanRight => chart.pan(pan),
            ChartAction::Narrower => chart.step_interval(-1),
            ChartAction::Wider => chart.step_interval(1),
            ChartAction::Reset => chart.reset(),
            ChartAction::Live => chart.go_live(),
            ChartAction::Volume => chart.toggle_volume(),
            ChartAction::Indicators => chart.next_indicators(),
        }
    }

    /// Pans until the crosshair is in view. Other prices may need a wider axis, which leaves fewer slots and
    /// makes another pan necessary; the axis grows by less than its width.
    fn pan_to_cursor(&mut self) {
        for _ in 0..self.plot.candles.width.max(1) {
            self.plot = self.chart.plot(self.layout.chart());
            if !self.chart.pan_to_cursor(&self.plot.view) {
                return;
            }
        }
    }

    fn step_focus(&mut self, by: usize) {
        let at = Pane::ALL.iter().position(|p| *p == self.focus).unwrap_or(0);
        self.focus = Pane::ALL[(at + by) % Pane::ALL.len()];
    }

    pub(super) fn scroll_help(&mut self, by: i16) {
        if let Overlay::Help(at) = self.overlay {
            let most = HelpLayout::new(self.size).most_scroll();
            self.overlay = Overlay::Help(at.saturating_add_signed(by).min(most));
        }
    }

    fn escape(&mut self) {
        if !self.markets.filter.is_empty() {
            self.find(String::clear);
        } else if self.chart.cursor.is_some() {
            self.chart.cursor = None;
            self.chart.hover = None;
        } else if self.expanded {
            self.expanded = false;
        } else {
            self.focus = Pane::Chart;
        }
    }

    /// Shows or hides the log pane where the terminal has room for it; else shows it in place of the chart, and
    /// the chart again.
    fn toggle_logs(&mut self) {
        if self.focus == Pane::Logs {
            self.focus = Pane::Chart;
        } else if has_room_for_logs(self.size) {
            self.log_pane = match self.log_pane {
                LogPane::Shown => LogPane::Hidden,
                LogPane::Hidden => LogPane::Shown,
            };
        } else {
            self.focus = Pane::Logs;
        }
    }

    fn toggle_pause(&mut self) {
        match self.paused.take() {
            None => self.paused = Some(Paused { at: self.now, held: None }),
            Some(Paused { held: Some(held), .. }) => {
                self.take_snapshot(held);
            }
            Some(Paused { held: None, .. }) => {}
        }
    }
}

const fn log_event(action: LogAction) -> TuiWidgetEvent {
    match action {
        LogAction::Up => TuiWidgetEvent::UpKey,
        LogAction::Down => TuiWidgetEvent::DownKey,
        LogAction::Less => TuiWidgetEvent::LeftKey,
        LogAction::More => TuiWidgetEvent::RightKey,
        LogAction::CaptureLess => TuiWidgetEvent::MinusKey,
        LogAction::CaptureMore => TuiWidgetEvent::PlusKey,
        LogAction::PageUp => TuiWidgetEvent::PrevPageKey,
        LogAction::PageDown => TuiWidgetEvent::NextPageKey,
        LogAction::Newest => TuiWidgetEvent::EscapeKey,
        LogAction::Focus => TuiWidgetEvent::FocusKey,
        LogAction::Hide => TuiWidgetEvent::HideKey,
    }
}
