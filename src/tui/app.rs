//! The dashboard's state. [`App::update`] is the only way that it changes: a message in, effects out. It does
//! no I/O and reads no clock; the time is a message too.

mod ask;
pub(super) mod chart;
pub(super) mod markets;
mod mouse;

use std::sync::Arc;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, MouseEvent};
use ratatui::layout::Size;
use tui_logger::{TuiWidgetEvent, TuiWidgetState};

use self::ask::Ask;
use self::chart::Chart;
use self::markets::{MarketEntry, Markets};
use crate::market::{Alert, Interval, Micros, printable};
use crate::pipeline::status::{Snapshot, SourceKind};
use crate::query::{CandleQuery, CandleSeries, MarketRow};
use crate::tui::format::Zone;
use crate::tui::input::{Action, Chord, KeyContext, lookup};
use crate::tui::theme::{Theme, ThemeKind};
use crate::tui::{DashboardSettings, view};

/// How many alerts are asked for.
const ALERTS: usize = 200;
/// Columns of the chart that a pan moves by, as a share of its width.
const PAN_SHARE: i64 = 4;
/// Most characters of the find line.
const MOST_FIND: usize = 40;

/// The panes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pane {
    /// The market table.
    Markets,
    /// The candles.
    Chart,
    /// The stages' health.
    Pipeline,
    /// The alert log.
    Alerts,
    /// The program's log.
    Logs,
}

impl Pane {
    /// All panes, in the order that `Tab` goes through them.
    pub const ALL: [Self; 5] = [Self::Markets, Self::Chart, Self::Pipeline, Self::Alerts, Self::Logs];
}

/// What lies over the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlay {
    /// Nothing.
    None,
    /// The help, scrolled down by so many lines.
    Help(u16),
    /// The find line.
    Find,
}

/// Whether the log pane has a place of its own where there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogPane {
    Shown,
    Hidden,
}

/// Something that happened.
#[derive(Debug)]
pub enum Message {
    /// A key was pressed.
    Key(KeyEvent),
    /// The mouse did something.
    Mouse(MouseEvent),
    /// The terminal has a new size.
    Resize(Size),
    /// Text was pasted.
    Paste(String),
    /// The pipeline published a snapshot.
    Snapshot(Arc<Snapshot>),
    /// A question for candles was answered, or failed with these words.
    Candles(CandleQuery, Result<CandleSeries, String>),
    /// The question for the market table was answered, or failed.
    Markets(Result<Vec<MarketRow>, String>),
    /// The question for alerts was answered, newest first, or failed.
    Alerts(Result<Vec<Alert>, String>),
    /// The clock says so.
    Tick(Micros),
    /// The terminal is ours again after a stop.
    Resumed,
}

impl Message {
    /// The message of a terminal event, if it has one.
    pub fn from_event(event: Event) -> Option<Self> {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => Some(Self::Key(key)),
            Event::Mouse(mouse) => Some(Self::Mouse(mouse)),
            Event::Resize(width, height) => Some(Self::Resize(Size::new(width, height))),
            Event::Paste(text) => Some(Self::Paste(text)),
            _ => None,
        }
    }
}

/// Something to do for the loop around the state.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ask for candles, answer with [`Message::Candles`].
    AskCandles(CandleQuery),
    /// Ask for the market table, answer with [`Message::Markets`].
    AskMarkets,
    /// Ask for so many alerts, answer with [`Message::Alerts`].
    AskAlerts(usize),
    /// This coin is selected now.
    Selected(Arc<str>),
    /// Stop the process, as the shell's Ctrl-Z does.
    Suspend,
    /// End the program.
    Quit,
}

/// What is frozen while the dashboard is paused.
#[derive(Debug)]
struct Paused {
    at: Micros,
    held: Option<Arc<Snapshot>>,
}

/// The state of the dashboard.
pub struct App {
    pub(super) theme_kind: ThemeKind,
    pub(super) theme: Theme,
    red_up: bool,
    pub(super) zone: Zone,
    now: Micros,
    pub(super) size: Size,
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) markets: Markets,
    pub(super) chart: Chart,
    pub(super) alerts: Vec<Alert>,
    pub(super) alerts_offset: usize,
    pub(super) focus: Pane,
    pub(super) expanded: bool,
    pub(super) log_pane: LogPane,
    pub(super) overlay: Overlay,
    pub(super) logs: TuiWidgetState,
    pub(super) ask_markets: Ask<()>,
    pub(super) ask_alerts: Ask<()>,
    fixed_interval: Option<Interval>,
    paused: Option<Paused>,
    announced: Option<Arc<str>>,
    drag: Option<u16>,
    changed: bool,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("size", &self.size)
            .field("focus", &self.focus)
            .field("overlay", &self.overlay)
            .finish_non_exhaustive()
    }
}

impl App {
    /// The state before anything is known, for a terminal of `size` at the clock time `now`.
    pub fn new(settings: &DashboardSettings, size: Size, now: Micros) -> Self {
        let kind = if settings.no_color { ThemeKind::Mono } else { settings.theme };
        Self {
            theme_kind: kind,
            theme: Theme::new(kind, settings.red_up),
            red_up: settings.red_up,
            zone: settings.zone,
            now,
            size,
            snapshot: None,
            markets: Markets::preferring(settings.coin.clone()),
            chart: Chart::default(),
            alerts: Vec::new(),
            alerts_offset: 0,
            focus: Pane::Chart,
            expanded: false,
            log_pane: LogPane::Shown,
            overlay: Overlay::None,
            logs: TuiWidgetState::new(),
            ask_markets: Ask::default(),
            ask_alerts: Ask::default(),
            fixed_interval: settings.interval,
            paused: None,
            announced: None,
            drag: None,
            changed: true,
        }
    }

    /// The clock that everything shown is seen by: it stands still while paused.
    pub(super) fn now(&self) -> Micros {
        self.paused.as_ref().map_or(self.now, |p| p.at)
    }

    /// The clock itself.
    pub(super) const fn clock(&self) -> Micros {
        self.now
    }

    /// Whether what is shown is frozen.
    pub(super) const fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Where keys have their meaning now.
    pub(super) const fn context(&self) -> KeyContext {
        match (self.overlay, self.focus) {
            (Overlay::Help(_), _) => KeyContext::Help,
            (Overlay::Find, _) => KeyContext::Find,
            (Overlay::None, Pane::Alerts) => KeyContext::Alerts,
            (Overlay::None, Pane::Logs) => KeyContext::Logs,
            (Overlay::None, _) => KeyContext::Main,
        }
    }

    /// The newest price's volatility is worth a mark.
    pub(super) fn is_hot(&self, row: &MarketEntry) -> bool {
        self.snapshot.as_ref().zip(row.volatility_1m).is_some_and(|(s, v)| v > s.alert_threshold)
    }

    /// Whether something changed that a frame shows since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Folds a message into the state.
    pub fn update(&mut self, message: Message) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.changed |= match message {
            Message::Key(key) => self.key(key, &mut effects),
            Message::Mouse(mouse) => self.mouse(mouse),
            Message::Resize(size) => std::mem::replace(&mut self.size, size) != size,
            Message::Paste(text) => self.paste(&text),
            Message::Snapshot(snapshot) => self.take_snapshot(snapshot),
            Message::Candles(query, answer) => self.take_candles(&query, answer),
            Message::Markets(answer) => self.take_markets(answer),
            Message::Alerts(answer) => self.take_alerts(answer),
            Message::Tick(now) => self.tick(now),
            Message::Resumed => true,
        };
        self.derive_effects(&mut effects);
        effects
    }

    /// What follows from any change: the selection is announced, the chart shows it, questions are asked.
    fn derive_effects(&mut self, effects: &mut Vec<Effect>) {
        let layout = view::layout(self);
        self.markets.scroll(view::table_rows(&layout));
        let market = self.markets.selected().map(|r| r.market.clone());
        if market.is_some() {
            self.chart.set_market(market.as_ref());
        }
        if let Some(market) = market.filter(|m| self.announced.as_ref() != Some(&m.coin_id)) {
            self.announced = Some(market.coin_id.clone());
            effects.push(Effect::Selected(market.coin_id.clone()));
        }
        let Some(snapshot) = self.snapshot.clone() else { return };
        if !self.is_paused() {
            self.chart.set_live(&snapshot.live);
            if self.ask_markets.next(self.now, &(), snapshot.revision, |()| true).is_some() {
                effects.push(Effect::AskMarkets);
            }
            if self.ask_alerts.next(self.now, &(), snapshot.revision, |()| true).is_some() {
                effects.push(Effect::AskAlerts(ALERTS));
            }
        }
        let columns = view::chart_columns(&layout);
        if let Some(wanted) = self.chart.wanted(columns).filter(|_| self.chart.has_interval()) {
            let mut ask = std::mem::take(&mut self.chart.ask);
            if let Some(query) = ask
                .next(self.now, &wanted, snapshot.revision, |answered| self.chart.covered(answered, columns))
            {
                effects.push(Effect::AskCandles(query));
            }
            self.chart.ask = ask;
        }
    }

    fn tick(&mut self, now: Micros) -> bool {
        let second = |t: Micros| t.div_euclid(crate::market::SECOND);
        let before = std::mem::replace(&mut self.now, now);
        second(before) != second(now)
    }

    fn take_snapshot(&mut self, snapshot: Arc<Snapshot>) -> bool {
        if let Some(paused) = &mut self.paused {
            paused.held = Some(snapshot);
            return false;
        }
        if !self.chart.has_interval() {
            self.choose_interval(&snapshot);
        }
        self.snapshot = Some(snapshot);
        self.markets.refresh(self.snapshot.as_deref());
        true
    }

    /// The interval to start with: what was asked for, else what the source's pace makes readable.
    fn choose_interval(&mut self, snapshot: &Snapshot) {
        let kind = snapshot.source.as_ref().map(|s| s.kind);
        let slow = kind == Some(SourceKind::Coingecko)
            || kind.is_none()
                && self
                    .markets
                    .selected()
                    .is_some_and(|r| &*r.market.source == SourceKind::Coingecko.label());
        match self.fixed_interval {
            Some(interval) => self.chart.set_interval(interval, None),
            None if slow => self.chart.set_interval(
                Interval::Minute5,
                Some("5m: CoinGecko's free prices move about once a minute"),
            ),
            None if kind.is_some() || self.markets.selected().is_some() => {
                self.chart.set_interval(Interval::Minute1, None);
            }
            None => {}
        }
    }

    fn take_candles(&mut self, query: &CandleQuery, answer: Result<CandleSeries, String>) -> bool {
        match answer {
            Ok(series) => {
                if let Some(revision) = self.chart.ask.answered(query) {
                    let current = self.snapshot.as_ref().is_none_or(|s| s.revision == revision);
                    self.chart.answer(query, series, current);
                }
            }
            Err(why) => self.chart.ask.failed(query, printable(&why)),
        }
        true
    }

    fn take_markets(&mut self, answer: Result<Vec<MarketRow>, String>) -> bool {
        match answer {
            Ok(rows) => {
                self.ask_markets.answered(&());
                self.markets.answer(rows);
                self.markets.refresh(self.snapshot.as_deref());
                if let Some(snapshot) = self.snapshot.clone().filter(|_| !self.chart.has_interval()) {
                    self.choose_interval(&snapshot);
                }
            }
            Err(why) => self.ask_markets.failed(&(), printable(&why)),
        }
        true
    }

    fn take_alerts(&mut self, answer: Result<Vec<Alert>, String>) -> bool {
        match answer {
            Ok(alerts) => {
                self.ask_alerts.answered(&());
                self.alerts = alerts;
                self.alerts_offset = self.alerts_offset.min(self.alerts.len().saturating_sub(1));
            }
            Err(why) => self.ask_alerts.failed(&(), printable(&why)),
        }
        true
    }

    fn paste(&mut self, text: &str) -> bool {
        if self.overlay != Overlay::Find {
            return false;
        }
        let text = printable(text);
        self.find(|filter| filter.push_str(text.trim()));
        true
    }

    fn find(&mut self, change: impl FnOnce(&mut String)) {
        change(&mut self.markets.filter);
        self.markets.filter = self.markets.filter.chars().take(MOST_FIND).collect();
        self.markets.refresh(self.snapshot.as_deref());
    }

    fn key(&mut self, event: KeyEvent, effects: &mut Vec<Effect>) -> bool {
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
            Action::Sort => self.markets.sort_next(),
            Action::ReverseSort => self.markets.reversed = !self.markets.reversed,
            Action::Find => self.overlay = Overlay::Find,
            Action::FindCancel => {
                self.overlay = Overlay::None;
                self.find(String::clear);
            }
            Action::FindErase => self.find(|filter| {
                filter.pop();
            }),
            Action::FindClear => self.find(String::clear),
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
            Action::FindAccept | Action::HelpClose => self.overlay = Overlay::None,
            Action::HelpUp => self.scroll_help(-1),
            Action::HelpDown => self.scroll_help(1),
            Action::Escape => self.escape(),
            Action::AlertsUp => self.alerts_offset = self.alerts_offset.saturating_sub(1),
            Action::AlertsDown => {
                self.alerts_offset = (self.alerts_offset + 1).min(self.alerts.len().saturating_sub(1));
            }
            _ => self.perform_on_chart(action),
        }
        if matches!(action, Action::Sort | Action::ReverseSort) {
            self.markets.refresh(self.snapshot.as_deref());
        }
    }

    fn perform_on_chart(&mut self, action: Action) {
        let columns = view::chart_columns(&view::layout(self));
        let chart = &mut self.chart;
        let pan = i64::from((columns / chart.zoom.columns()).max(1)) / PAN_SHARE + 1;
        match action {
            Action::CursorLeft => chart.move_cursor(false, columns),
            Action::CursorRight => chart.move_cursor(true, columns),
            Action::PanLeft => chart.pan(-pan),
            Action::PanRight => chart.pan(pan),
            Action::ZoomIn => chart.zoom_by(true, chart.cursor),
            Action::ZoomOut => chart.zoom_by(false, chart.cursor),
            Action::Narrower => chart.step_interval(-1),
            Action::Wider => chart.step_interval(1),
            Action::Reset => chart.reset(),
            Action::Live => chart.go_live(),
            Action::Volume => chart.toggle_volume(),
            Action::Indicators => chart.next_indicators(),
            _ => self.perform_on_logs(action),
        }
    }

    fn perform_on_logs(&self, action: Action) {
        let event = match action {
            Action::LogUp => TuiWidgetEvent::UpKey,
            Action::LogDown => TuiWidgetEvent::DownKey,
            Action::LogLess => TuiWidgetEvent::LeftKey,
            Action::LogMore => TuiWidgetEvent::RightKey,
            Action::LogCaptureLess => TuiWidgetEvent::MinusKey,
            Action::LogCaptureMore => TuiWidgetEvent::PlusKey,
            Action::LogPageUp => TuiWidgetEvent::PrevPageKey,
            Action::LogPageDown => TuiWidgetEvent::NextPageKey,
            Action::LogNewest => TuiWidgetEvent::EscapeKey,
            Action::LogFocus => TuiWidgetEvent::FocusKey,
            Action::LogHide => TuiWidgetEvent::HideKey,
            _ => return,
        };
        self.logs.transition(event);
    }

    fn step_focus(&mut self, by: usize) {
        let at = Pane::ALL.iter().position(|p| *p == self.focus).unwrap_or(0);
        self.focus = Pane::ALL[(at + by) % Pane::ALL.len()];
    }

    fn scroll_help(&mut self, by: i16) {
        if let Overlay::Help(at) = self.overlay {
            self.overlay = Overlay::Help(at.saturating_add_signed(by).min(view::help_scroll(self.size)));
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

    /// Where the logs have a place, they are shown or hidden; where not, they take the chart's and give it
    /// back.
    fn toggle_logs(&mut self) {
        if self.focus == Pane::Logs {
            self.focus = Pane::Chart;
        } else if view::has_room_for_logs(self.size) {
            self.log_pane = if self.log_pane == LogPane::Shown { LogPane::Hidden } else { LogPane::Shown };
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
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
