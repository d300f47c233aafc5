//! The dashboard's state. [`App::update`] is the only way to change it: a message in, effects out. It does no
//! I/O and reads no clock; the time is a message, too.

mod ask;
pub(super) mod chart;
mod keys;
pub(super) mod markets;
mod mouse;

use std::sync::Arc;

use crossterm::event::{Event, KeyEvent, KeyEventKind, MouseEvent};
use ratatui::layout::Size;
use tui_logger::TuiWidgetState;

use self::ask::Ask;
use self::chart::Chart;
use self::markets::{MarketEntry, Markets};
use crate::market::time::floor;
use crate::market::{Alert, Interval, Micros, SECOND};
use crate::pipeline::status::{Snapshot, SourceKind};
use crate::query::{CandleQuery, CandleSeries, MarketRow};
use crate::text::printable;
use crate::tui::DashboardSettings;
use crate::tui::format::Zone;
use crate::tui::input::KeyContext;
use crate::tui::layout::{Arrangement, Layout, LogPane, Pane};
use crate::tui::notice::{self, NoticeLine};
use crate::tui::plot::Plot;
use crate::tui::theme::{Theme, ThemeKind};

/// How many alerts are asked for.
const ALERTS: usize = 200;
/// Most characters of the find line.
const MOST_FIND: usize = 40;

/// What is drawn over the dashboard and gets the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlay {
    None,
    /// The help, scrolled down by this many lines.
    Help(u16),
    Find,
}

#[derive(Debug)]
pub enum Message {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Resize(Size),
    Paste(String),
    Snapshot(Arc<Snapshot>),
    /// An answer, or why the question failed, as text for the user.
    Candles(CandleQuery, Result<CandleSeries, String>),
    Markets(Result<Vec<MarketRow>, String>),
    /// Newest first.
    Alerts(Result<Vec<Alert>, String>),
    /// The time of the clock.
    Tick(Micros),
    /// The terminal was taken over again after a stop: it must be drawn anew.
    Resumed,
}

impl Message {
    /// The message for a terminal event; none for events without effect.
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

/// What the loop around the state has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Ask(Question),
    /// A coin was selected: its id.
    Selected(Arc<str>),
    /// Stop the job, as the terminal's Ctrl-Z does.
    Suspend,
    Quit,
}

/// A question to the lake; the message of the same name answers it.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    Candles(CandleQuery),
    Markets,
    /// The newest alerts, at most this many.
    Alerts(usize),
}

#[derive(Debug)]
struct Paused {
    /// The time that is shown while paused.
    at: Micros,
    /// The newest snapshot that arrived meanwhile, to be shown afterwards.
    held: Option<Arc<Snapshot>>,
}

pub struct App {
    pub(super) theme_kind: ThemeKind,
    pub(super) theme: Theme,
    red_up: bool,
    pub(super) zone: Zone,
    now: Micros,
    size: Size,
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
    /// The coin of the last [`Effect::Selected`].
    announced: Option<Arc<str>>,
    /// Column of the mouse while it drags the chart.
    drag: Option<u16>,
    // Derived from the fields above after each change.
    pub(super) notices: Vec<NoticeLine>,
    pub(super) layout: Layout,
    pub(super) plot: Plot,
    /// Whether a frame would differ from the last one.
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
    /// The state before the first snapshot, for a terminal of `size` at the clock time `now`.
    pub fn new(settings: &DashboardSettings, size: Size, now: Micros) -> Self {
        let kind = if settings.no_color { ThemeKind::Mono } else { settings.theme };
        let chart = Chart::default();
        let mut app = Self {
            theme_kind: kind,
            theme: Theme::new(kind, settings.red_up),
            red_up: settings.red_up,
            zone: settings.zone,
            now,
            size,
            snapshot: None,
            markets: Markets::preferring(settings.coin.clone()),
            plot: chart.plot(Layout::default().chart()),
            chart,
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
            notices: Vec::new(),
            layout: Layout::default(),
            changed: true,
        };
        app.arrange();
        app
    }

    /// The time for ages and countdowns: it stands still while paused.
    pub(super) fn now(&self) -> Micros {
        self.paused.as_ref().map_or(self.now, |p| p.at)
    }

    /// The time of the clock, paused or not.
    pub(super) const fn clock(&self) -> Micros {
        self.now
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    pub(super) const fn context(&self) -> KeyContext {
        match (self.overlay, self.focus) {
            (Overlay::Help(_), _) => KeyContext::Help,
            (Overlay::Find, _) => KeyContext::Find,
            (Overlay::None, Pane::Alerts) => KeyContext::Alerts,
            (Overlay::None, Pane::Logs) => KeyContext::Logs,
            (Overlay::None, _) => KeyContext::Main,
        }
    }

    /// Whether the volatility of the last closed minute is above the alert threshold.
    pub(super) fn is_hot(&self, row: &MarketEntry) -> bool {
        self.snapshot.as_ref().zip(row.volatility_1m).is_some_and(|(s, v)| v > s.alert_threshold)
    }

    /// Whether something that a frame shows has changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(super) const fn size(&self) -> Size {
        self.size
    }

    /// Folds a message into the state.
    pub fn update(&mut self, message: Message) -> Vec<Effect> {
        let mut effects = Vec::new();
        let changed = match message {
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
        if changed {
            self.changed = true;
            self.select(&mut effects);
            self.arrange();
        }
        self.ask(&mut effects);
        effects
    }

    /// Gives the chart the selected market and its open candles; announces a new selection.
    fn select(&mut self, effects: &mut Vec<Effect>) {
        let market = self.markets.selected().map(|r| r.market.clone());
        if market.is_some() {
            self.chart.set_market(market.as_ref());
        }
        if let Some(market) = market.filter(|m| self.announced.as_ref() != Some(&m.coin_id)) {
            self.announced = Some(market.coin_id.clone());
            effects.push(Effect::Selected(market.coin_id.clone()));
        }
        if let Some(snapshot) = self.snapshot.as_ref().filter(|_| self.paused.is_none()) {
            self.chart.set_live(&snapshot.live);
        }
    }

    /// Derives the lines of notices, the layout and the chart's geometry from the rest of the state.
    fn arrange(&mut self) {
        let width = usize::from(self.size.width).saturating_sub(2);
        let most = usize::from(self.size.height / 5).min(5);
        let snapshot = self.snapshot.as_ref();
        self.notices = snapshot.map_or_else(Vec::new, |s| notice::lines(s, self.now(), width, most));
        self.layout = Layout::new(Arrangement {
            size: self.size,
            focus: self.focus,
            expanded: self.expanded,
            logs: self.log_pane,
            notices: self.notices.len(),
        });
        self.markets.scroll(self.layout.table().height.into());
        self.plot = self.chart.plot(self.layout.chart());
        self.chart.snap_cursor(&self.plot.view);
    }

    /// Asks for what was never answered, or only for an older revision.
    fn ask(&mut self, effects: &mut Vec<Effect>) {
        let Some(revision) = self.snapshot.as_ref().map(|s| s.revision) else { return };
        if !self.is_paused() {
            if self.ask_markets.next(self.now, &(), revision, |()| true).is_some() {
                effects.push(Effect::Ask(Question::Markets));
            }
            if self.ask_alerts.next(self.now, &(), revision, |()| true).is_some() {
                effects.push(Effect::Ask(Question::Alerts(ALERTS)));
            }
        }
        let columns = self.plot.candles.width;
        if let Some(wanted) = self.chart.wanted(columns).filter(|_| self.chart.has_interval()) {
            let mut ask = std::mem::take(&mut self.chart.ask);
            let query =
                ask.next(self.now, &wanted, revision, |answered| self.chart.covered(answered, columns));
            effects.extend(query.map(|query| Effect::Ask(Question::Candles(query))));
            self.chart.ask = ask;
        }
    }

    fn tick(&mut self, now: Micros) -> bool {
        let before = std::mem::replace(&mut self.now, now);
        floor(before, SECOND) != floor(now, SECOND)
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

    /// Sets the interval to start with: the one in the settings, else five minutes for `CoinGecko`, whose prices
    /// change too slowly for one-minute candles, else one minute.
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
                if self.chart.ask.answered(query) {
                    self.chart.answer(query, series);
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
                self.scroll_alerts(0);
            }
            Err(why) => self.ask_alerts.failed(&(), printable(&why)),
        }
        true
    }

    /// Scrolls the alert log down by `by` lines (up, if negative), at most to its last line.
    fn scroll_alerts(&mut self, by: isize) {
        let last = self.alerts.len().saturating_sub(1);
        self.alerts_offset = self.alerts_offset.saturating_add_signed(by).min(last);
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
}

#[cfg(test)]
mod tests;
