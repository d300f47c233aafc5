//! The chart's geometry: which slots of time are in view, where candles, volume and axes are, and which
//! prices the axis names. The state computes it once an update; drawing and the mouse read it.
//!
//! The x axis is proportional to time: a column (or a few of them) is a slot of fixed width, and a slot
//! without ticks is a gap.

use ratatui::layout::{Position, Rect};

use super::format;
use super::layout::row;
use super::widget::axis::{PriceTicks, price_ticks};
use super::widget::candlestick::Scale;
use crate::market::{Candle, Micros};

/// Columns of the price axis before its labels are known.
const USUAL_AXIS: u16 = 11;
/// Columns of the price axis at the most: fourteen characters, a mark, its line and a blank.
const MOST_AXIS: u16 = 18;
/// Rows between price ticks, at least, in a chart that is not low.
const ROWS_PER_TICK: u16 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Volume {
    #[default]
    Shown,
    Hidden,
}

/// The slots in view, oldest first.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// Start of the first slot.
    pub(super) start: Micros,
    /// Width of a slot in time.
    pub(super) width: Micros,
    /// Width of a slot in columns.
    pub(super) columns: u16,
    pub(super) candles: Vec<Option<Candle>>,
    /// The simple moving average at each slot, if drawn.
    pub(super) sma: Vec<Option<f64>>,
    /// The exponential moving average at each slot, if drawn.
    pub(super) ema: Vec<Option<f64>>,
}

impl View {
    /// The slot that a time lies in.
    pub(super) fn slot(&self, time: Micros) -> Option<usize> {
        usize::try_from(time.saturating_sub(self.start).div_euclid(self.width))
            .ok()
            .filter(|at| *at < self.candles.len())
    }

    /// Start of a slot.
    pub(super) fn time(&self, slot: usize) -> Micros {
        self.start.saturating_add(i64::try_from(slot).unwrap_or(0).saturating_mul(self.width))
    }

    /// The candle of the slot that a time lies in.
    pub(super) fn candle(&self, time: Micros) -> Option<&Candle> {
        self.candles[self.slot(time)?].as_ref()
    }

    /// The candle in view nearest to a time.
    pub(super) fn nearest(&self, time: Micros) -> Option<&Candle> {
        self.candles.iter().flatten().min_by_key(|c| c.window_start.abs_diff(time))
    }
}

/// Where the parts of the chart are, and what they show.
#[derive(Debug, Clone)]
pub(super) struct Plot {
    pub(super) header: Rect,
    pub(super) candles: Rect,
    pub(super) volume: Rect,
    pub(super) time: Rect,
    pub(super) footer: Rect,
    /// Columns of the price axis, right of candles and volume.
    pub(super) axis: u16,
    pub(super) view: View,
    pub(super) scale: Scale,
    pub(super) ticks: PriceTicks,
    pub(super) last_price: Option<f64>,
    pub(super) most_volume: f64,
}

impl Plot {
    /// The plot within a pane's inside. `view` gives the slots for a number of columns: how many there are
    /// depends on the width of the axis, and that on the prices in view.
    pub(super) fn new(
        inside: Rect,
        volume: Volume,
        last_price: Option<f64>,
        view: impl Fn(u16) -> View,
    ) -> Self {
        let with_axis = |axis| Self::with_axis(inside, axis, volume, last_price, &view);
        let mut axis = with_axis(USUAL_AXIS).axis_needed();
        loop {
            // A wider axis leaves fewer slots, whose labels may be shorter: then some room stays unused.
            let plot = with_axis(axis);
            let needed = plot.axis_needed();
            if needed <= axis {
                return plot;
            }
            axis = needed;
        }
    }

    fn with_axis(
        inside: Rect,
        axis: u16,
        volume: Volume,
        last_price: Option<f64>,
        view: impl Fn(u16) -> View,
    ) -> Self {
        let axis = axis.min(inside.width.saturating_sub(2));
        let footer_rows = u16::from(inside.height >= 12);
        let time_rows = if inside.height >= 10 { 2 } else { 1 };
        let body = inside.height.saturating_sub(1 + footer_rows + time_rows);
        let width = inside.width.saturating_sub(axis + 1);
        let view = view(width);
        let most_volume = view.candles.iter().flatten().filter_map(|c| c.volume).fold(0.0, f64::max);
        let has_volume = most_volume > 0.0 && volume == Volume::Shown && body >= 10;
        let volume_rows = if has_volume { (body / 6).clamp(2, 7) } else { 0 };
        let candles = Rect { x: inside.x + 1, y: inside.y + 1, width, height: body - volume_rows };
        let volume = Rect { y: candles.bottom(), height: volume_rows, ..candles };
        let time = Rect { y: volume.bottom(), height: time_rows, ..candles };
        let footer = if footer_rows > 0 { row(inside, inside.height - 1) } else { Rect::ZERO };
        let low = view.candles.iter().flatten().map(|c| c.low).fold(f64::INFINITY, f64::min);
        let high = view.candles.iter().flatten().map(|c| c.high).fold(f64::NEG_INFINITY, f64::max);
        let scale = Scale::fitting(low, high, candles.height);
        let ticks = price_ticks(
            scale.low(),
            scale.high(),
            usize::from(candles.height / if candles.height < 16 { 3 } else { ROWS_PER_TICK }).max(2),
        );
        Self {
            header: row(inside, 0),
            candles,
            volume,
            time,
            footer,
            axis,
            view,
            scale,
            ticks,
            last_price,
            most_volume,
        }
    }

    /// Decimals of labels that are not ticks: enough to tell them from the ticks.
    pub(super) fn decimals(&self) -> usize {
        let finer = if self.ticks.decimals > 0 { self.ticks.decimals + 1 } else { 0 };
        let usual = self.last_price.map_or(0, |p| {
            if p >= 1000.0 { format::price_decimals(p).min(1) } else { format::price_decimals(p) }
        });
        usual.max(finer)
    }

    fn axis_needed(&self) -> u16 {
        let ticks = self.ticks.values.iter().map(|v| format::price_with(*v, self.ticks.decimals).len());
        let last = self.last_price.map(|p| format::price_with(p, self.decimals()).len());
        let widest = ticks.chain(last).max().unwrap_or(6).max(6);
        u16::try_from(widest).unwrap_or(u16::MAX).saturating_add(4).min(MOST_AXIS)
    }

    pub(super) fn has_candles(&self) -> bool {
        self.view.candles.iter().any(Option::is_some)
    }

    /// First column of the first slot: the newest slot touches the axis.
    fn left(&self) -> u16 {
        let slots = u16::try_from(self.view.candles.len()).unwrap_or(u16::MAX);
        self.candles.x + self.candles.width.saturating_sub(slots.saturating_mul(self.view.columns))
    }

    /// The column in the middle of a slot.
    pub(super) fn column(&self, slot: usize) -> u16 {
        self.left() + u16::try_from(slot).unwrap_or(0) * self.view.columns + (self.view.columns - 1) / 2
    }

    /// The time at a place on the screen; none beside candles and volume.
    pub(super) fn time_at(&self, at: Position) -> Option<Micros> {
        let slot = usize::from(at.x.saturating_sub(self.left()) / self.view.columns);
        let last = self.view.candles.len().checked_sub(1)?;
        self.candles.union(self.volume).contains(at).then(|| self.view.time(slot.min(last)))
    }

    pub(super) const fn axis_area(&self, y: u16) -> Rect {
        Rect { x: self.candles.x + self.candles.width, y, width: self.axis, height: 1 }
    }

    /// Where the axis has its labels: right of its line, a blank before the border.
    pub(super) const fn label_area(&self, y: u16) -> Rect {
        let area = self.axis_area(y);
        Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area }
    }
}
