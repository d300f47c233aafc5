//! The chart's state: the candles that are loaded, the time range in view, and the crosshair.

mod zoom;

use std::sync::Arc;

use ratatui::layout::Rect;

use super::ask::Ask;
use crate::market::time::floor;
use crate::market::{Candle, Interval, Market, Micros, candle};
use crate::pipeline::status::Live;
use crate::query::{CandleQuery, CandleSeries, MarketFilter};
use crate::tui::plot::{Plot, View, Volume};
use crate::tui::series;

pub(in crate::tui) use zoom::{Direction, Zoom};

/// Candles are loaded for this many screens, so that panning rarely waits.
const SCREENS: usize = 3;
/// Length of the simple moving average, in candles.
pub(in crate::tui) const SMA: usize = 20;
/// Length of the exponential moving average, in candles.
pub(in crate::tui) const EMA: usize = 50;

/// The moving averages that are drawn over the candles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::tui) enum Indicators {
    #[default]
    Sma,
    Ema,
    Both,
    None,
}

impl Indicators {
    const fn next(self) -> Self {
        match self {
            Self::Sma => Self::Ema,
            Self::Ema => Self::Both,
            Self::Both => Self::None,
            Self::None => Self::Sma,
        }
    }

    pub(in crate::tui) const fn sma(self) -> bool {
        matches!(self, Self::Sma | Self::Both)
    }

    pub(in crate::tui) const fn ema(self) -> bool {
        matches!(self, Self::Ema | Self::Both)
    }
}

/// Where the crosshair goes from the candle that it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tui) enum Step {
    Before,
    After,
}

/// The last answer of gold.
#[derive(Debug)]
struct Loaded {
    candles: Vec<Candle>,
    /// Whether gold has no older candles.
    complete: bool,
    /// Candles of this market and interval in gold.
    total: u64,
    /// Start of the newest minute in gold.
    newest: Option<Micros>,
}

#[derive(Debug, Default)]
pub(in crate::tui) struct Chart {
    market: Option<Arc<Market>>,
    interval: Option<Interval>,
    /// Why the chart started with its interval, as text for the user, until another is chosen.
    pub(in crate::tui) note: Option<&'static str>,
    pub(in crate::tui) zoom: Zoom,
    /// Start of the last slot in view; none: the newest slot stays in view.
    right: Option<Micros>,
    /// Start of the candle under the crosshair.
    pub(in crate::tui) cursor: Option<Micros>,
    /// Row of the mouse on the screen, while the mouse moves the crosshair.
    pub(in crate::tui) hover: Option<u16>,
    pub(in crate::tui) volume: Volume,
    pub(in crate::tui) indicators: Indicators,
    loaded: Option<Loaded>,
    /// Start of the newest candle of the interval that an answer had.
    edge: Option<Micros>,
    /// Open minutes of the newest snapshot.
    open: Vec<Candle>,
    /// Minutes that are no longer open and not yet in an answer.
    leaving: Vec<Candle>,
    /// `loaded`, `leaving` and `open` merged into candles of the interval, oldest first.
    merged: Vec<Candle>,
    /// `merged`, grouped into slots.
    grouped: Vec<Candle>,
    pub(in crate::tui) ask: Ask<CandleQuery>,
}

impl Chart {
    /// The interval that was chosen; one minute before.
    pub(in crate::tui) fn interval(&self) -> Interval {
        self.interval.unwrap_or(Interval::Minute1)
    }

    /// Whether an interval was chosen, by the user or by the source.
    pub(in crate::tui) const fn has_interval(&self) -> bool {
        self.interval.is_some()
    }

    /// Chooses an interval. The time at the right edge of the view is kept.
    pub(in crate::tui) fn set_interval(&mut self, interval: Interval, note: Option<&'static str>) {
        self.note = note;
        if self.interval != Some(interval) {
            self.interval = Some(interval);
            self.loaded = None;
            self.edge = None;
            self.cursor = None;
            self.rebuild();
        }
    }

    /// Chooses the interval that is `by` steps wider (narrower, if negative).
    pub(in crate::tui) fn step_interval(&mut self, by: isize) {
        let at = Interval::ALL.iter().position(|i| *i == self.interval()).unwrap_or(0);
        let to = at.saturating_add_signed(by).min(Interval::ALL.len() - 1);
        self.set_interval(Interval::ALL[to], None);
    }

    /// Shows a market; does nothing if it is shown already.
    pub(in crate::tui) fn set_market(&mut self, market: Option<&Arc<Market>>) {
        if self.market.as_ref() != market {
            self.market = market.cloned();
            self.loaded = None;
            self.edge = None;
            self.right = None;
            self.cursor = None;
            self.open.clear();
            self.leaving.clear();
            self.rebuild();
        }
    }

    /// Takes over the open minutes of a snapshot. A minute that is no longer open is kept until an answer has
    /// it.
    pub(in crate::tui) fn set_live(&mut self, live: &[Live]) {
        let open =
            live.iter().find(|l| Some(&l.market) == self.market.as_ref()).map_or(&[][..], |l| &l.open[..]);
        if self.open == open {
            return;
        }
        let gone =
            self.open.drain(..).filter(|old| open.iter().all(|new| new.window_start != old.window_start));
        self.leaving.extend(gone);
        self.open = open.to_vec();
        let open = &self.open;
        self.leaving.retain(|old| open.iter().all(|new| new.window_start != old.window_start));
        self.rebuild();
    }

    /// Takes over an answer, if it is for the market and the interval that are shown.
    pub(in crate::tui) fn answer(&mut self, query: &CandleQuery, series: CandleSeries) {
        let same = self.market.as_ref().is_some_and(|m| filter(m) == query.market)
            && query.interval == self.interval();
        if !same {
            return;
        }
        let mut candles = series.candles;
        candles.retain(is_sane);
        self.loaded = Some(Loaded {
            complete: query.last.is_none_or(|last| candles.len() < last),
            candles,
            total: series.total,
            newest: series.newest,
        });
        if query.before.is_none() {
            self.edge = self.loaded.as_ref().and_then(|l| l.candles.last()).map(|c| c.window_start);
        }
        self.rebuild();
    }

    /// Merges gold's candles with the minutes that it does not have.
    fn rebuild(&mut self) {
        let gold = self.loaded.as_ref().map_or(&[][..], |l| &l.candles[..]);
        let newest = self.loaded.as_ref().and_then(|l| l.newest);
        self.leaving.retain(|minute| newest.is_none_or(|newest| minute.window_start > newest));
        let minutes = self.leaving.iter().chain(&self.open);
        let open: Vec<Candle> = minutes.filter(|c| is_sane(c)).cloned().collect();
        self.merged = candle::with_open(gold, newest, &open, self.interval());
        self.grouped = if self.zoom.candles() == 1 {
            self.merged.clone()
        } else {
            series::group(&self.merged, self.slot_width())
        };
    }

    /// The question for the candles that a view of this many columns needs.
    pub(in crate::tui) fn wanted(&self, columns: u16) -> Option<CandleQuery> {
        let market = self.market.as_ref()?;
        let slots = usize::from(columns / self.zoom.columns()).max(1);
        let screen = slots * usize::from(self.zoom.candles());
        let before = self.right.and_then(|right| {
            let ahead = i64::try_from(slots).unwrap_or(0) * self.slot_width();
            let before = right.saturating_add(self.slot_width()).saturating_add(ahead);
            self.newest().is_some_and(|newest| newest > before).then_some(before)
        });
        let last = screen * SCREENS + EMA * usize::from(self.zoom.candles());
        Some(CandleQuery { market: filter(market), interval: self.interval(), last: Some(last), before })
    }

    /// Whether the answer to a question is enough for a view of this many columns.
    pub(in crate::tui) fn covered(&self, answered: &CandleQuery, columns: u16) -> bool {
        let Some(loaded) = &self.loaded else { return false };
        let same = self.market.as_ref().is_some_and(|m| filter(m) == answered.market)
            && answered.interval == self.interval();
        let right = self.right.or_else(|| self.newest()).unwrap_or(0);
        let slots = i64::from(columns / self.zoom.columns());
        let left = right.saturating_sub(slots * self.slot_width());
        let reaches_back = loaded.complete || loaded.candles.first().is_some_and(|c| c.window_start <= left);
        let reaches_on = answered.before.is_none_or(|before| self.right.is_some_and(|right| right < before));
        same && reaches_back && reaches_on
    }

    /// Time that a slot covers.
    pub(in crate::tui) fn slot_width(&self) -> Micros {
        self.interval().micros() * i64::from(self.zoom.candles())
    }

    fn bucket(&self, time: Micros) -> Micros {
        floor(time, self.slot_width())
    }

    /// Start of the newest slot with a candle.
    fn newest(&self) -> Option<Micros> {
        let open = self.open.last().map(|c| c.window_start);
        self.grouped.last().map(|c| c.window_start).max(open.max(self.edge).map(|t| self.bucket(t)))
    }

    /// The newest candle.
    pub(in crate::tui) fn last(&self) -> Option<&Candle> {
        self.merged.last()
    }

    /// Candles of this market and interval in gold; none before the first answer.
    pub(in crate::tui) fn total(&self) -> Option<u64> {
        self.loaded.as_ref().map(|l| l.total)
    }

    /// Whether the newest candle stays in view.
    pub(in crate::tui) const fn follows(&self) -> bool {
        self.right.is_none()
    }

    /// The geometry of the chart in the area inside its pane's border.
    pub(in crate::tui) fn plot(&self, inside: Rect) -> Plot {
        Plot::new(inside, self.volume, self.last().map(|c| c.close), |columns| self.view(columns))
    }

    /// The slots that are in view when there are this many columns.
    pub(in crate::tui) fn view(&self, columns: u16) -> View {
        let width = self.slot_width();
        let slots = usize::from((columns / self.zoom.columns()).max(1));
        let right = self.bucket(self.right.or_else(|| self.newest()).unwrap_or(0));
        let start = right.saturating_sub((i64::try_from(slots).unwrap_or(1) - 1).saturating_mul(width));
        let from = self.grouped.partition_point(|c| c.window_start < start);
        let to = self.grouped.partition_point(|c| c.window_start <= right);
        let mut view = View {
            start,
            width,
            columns: self.zoom.columns(),
            candles: vec![None; slots],
            sma: vec![None; slots],
            ema: vec![None; slots],
        };
        let context = from.saturating_sub(EMA * 3);
        let known = &self.grouped[context..to];
        let sma = if self.indicators.sma() { series::sma(known, SMA) } else { Vec::new() };
        let ema = if self.indicators.ema() { series::ema(known, EMA) } else { Vec::new() };
        for (at, candle) in known.iter().enumerate().skip(from - context) {
            if let Some(slot) = view.slot(candle.window_start) {
                view.candles[slot] = Some(candle.clone());
                view.sma[slot] = sma.get(at).copied().flatten();
                view.ema[slot] = ema.get(at).copied().flatten();
            }
        }
        view
    }

    /// Pans by this many slots (negative: to older ones), within the range of the candles.
    pub(in crate::tui) fn pan(&mut self, slots: i64) {
        let Some(newest) = self.newest() else { return };
        let right = self.right.unwrap_or(newest).saturating_add(slots.saturating_mul(self.slot_width()));
        let oldest = self.grouped.first().map_or(newest, |c| c.window_start);
        let right = if self.loaded.as_ref().is_some_and(|l| l.complete) { right.max(oldest) } else { right };
        self.right = (right < newest).then_some(self.bucket(right));
    }

    /// Zooms in or out. The time `anchor` stays at its place on the screen; none: the right edge does.
    pub(in crate::tui) fn zoom(&mut self, direction: Direction, anchor: Option<Micros>) {
        let zoom = self.zoom.stepped(direction);
        if zoom == self.zoom {
            return;
        }
        let scale = |c: &Self| (c.slot_width(), i64::from(c.zoom.columns()));
        let (old_width, old_columns) = scale(self);
        let right = self.right.or_else(|| self.newest());
        self.zoom = zoom;
        let (new_width, new_columns) = scale(self);
        if let (Some(right), Some(anchor), false) = (right, anchor, self.follows()) {
            let columns = right.saturating_sub(anchor) / old_width * old_columns;
            self.right = Some(anchor.saturating_add(columns / new_columns * new_width));
        }
        self.cursor = self.cursor.map(|c| self.bucket(c));
        self.rebuild();
        self.right = self.right.map(|r| self.bucket(r));
        self.pan(0);
    }

    /// Pans to the newest candle, keeps it in view, and removes the crosshair.
    pub(in crate::tui) fn go_live(&mut self) {
        self.right = None;
        self.cursor = None;
        self.hover = None;
    }

    /// Resets zoom, pan and crosshair.
    pub(in crate::tui) fn reset(&mut self) {
        self.zoom = Zoom::default();
        self.go_live();
        self.rebuild();
    }

    pub(in crate::tui) fn next_indicators(&mut self) {
        self.indicators = self.indicators.next();
    }

    pub(in crate::tui) fn toggle_volume(&mut self) {
        self.volume = if self.volume == Volume::Shown { Volume::Hidden } else { Volume::Shown };
    }

    /// Moves the crosshair to the candle before or after; where there was none, to the newest candle in view.
    pub(in crate::tui) fn move_cursor(&mut self, step: Step, view: &View) {
        self.hover = None;
        let Some(cursor) = self.cursor else {
            self.cursor = view.candles.iter().flatten().last().map(|c| c.window_start);
            return;
        };
        let at = self.grouped.partition_point(|c| c.window_start < cursor);
        let to = match step {
            Step::Before => self.grouped[..at].last(),
            Step::After => self.grouped[at..].iter().find(|c| c.window_start > cursor),
        };
        self.cursor = to.map(|c| c.window_start).or(self.cursor);
    }

    /// Pans until the crosshair is in `view`; returns whether that was necessary.
    pub(in crate::tui) fn pan_to_cursor(&mut self, view: &View) -> bool {
        let Some(cursor) = self.cursor else { return false };
        let end = view.time(view.candles.len().saturating_sub(1));
        let before = self.right;
        if cursor < view.start {
            self.pan((cursor - view.start).div_euclid(view.width));
        } else if cursor > end {
            self.pan((cursor - end + view.width - 1) / view.width);
        }
        before != self.right
    }

    /// Moves a crosshair that is on no candle of `view` to the nearest one.
    pub(in crate::tui) fn snap_cursor(&mut self, view: &View) {
        if let Some(cursor) = self.cursor.filter(|cursor| view.candle(*cursor).is_none()) {
            self.cursor = view.nearest(cursor).map(|c| c.window_start);
        }
    }
}

fn filter(market: &Market) -> MarketFilter {
    MarketFilter {
        coin_id: market.coin_id.clone(),
        source: Some(market.source.clone()),
        quote: market.quote.clone(),
    }
}

/// Whether a candle can be drawn.
fn is_sane(candle: &Candle) -> bool {
    [candle.open, candle.high, candle.low, candle.close].iter().all(|p| p.is_finite()) && candle.ticks > 0
}

#[cfg(test)]
mod tests;
