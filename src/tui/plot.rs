//! The chart's geometry: the slots of time in view, the areas of candles, volume and axes, and the ticks of the
//! price axis. The state computes it once per update; drawing and the mouse read it.
//!
//! The x axis is proportional to time: a slot is one or more columns wide and covers a fixed time, and a slot
//! without ticks is a gap.

use ratatui::layout::{Position, Rect};

use super::format;
use super::layout::row;
use super::widget::axis::{PriceTicks, price_ticks};
use super::widget::candlestick::Scale;
use crate::market::{Candle, Micros};

/// Columns of the price axis before its labels are known.
const USUAL_AXIS: u16 = 11;
/// Most columns of the price axis: a label of fourteen characters, its mark, the line and blanks.
const MOST_AXIS: u16 = 18;
/// Least rows between price ticks, in a chart of 16 rows or more.
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
    /// Time that a slot covers.
    pub(super) width: Micros,
    /// Columns of a slot.
    pub(super) columns: u16,
    /// One per slot; none: a gap.
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

    /// Start time of a slot.
    pub(super) fn time(&self, slot: usize) -> Micros {
        self.start.saturating_add(i64::try_from(slot).unwrap_or(0).saturating_mul(self.width))
    }

    /// The candle of the slot that a time lies in.
    pub(super) fn candle(&self, time: Micros) -> Option<&Candle> {
        self.candles[self.slot(time)?].as_ref()
    }

    /// The candle whose start is nearest to a time.
    pub(super) fn nearest(&self, time: Micros) -> Option<&Candle> {
        self.candles.iter().flatten().min_by_key(|c| c.window_start.abs_diff(time))
    }
}

/// The areas of the chart on the screen, and the data that they show.
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
    /// Close of the newest candle, in view or not.
    pub(super) last_price: Option<f64>,
    /// The largest volume in view, in coins.
    pub(super) most_volume: f64,
}

impl Plot {
    /// The plot in the area `inside` a pane's border. `view` returns the slots for a number of columns, which
    /// depends on the width of the axis, which in turn depends on the prices in view.
    pub(super) fn new(
        inside: Rect,
        volume: Volume,
        last_price: Option<f64>,
        view: impl Fn(u16) -> View,
    ) -> Self {
        let with_axis = |axis| Self::with_axis(inside, axis, volume, last_price, &view);
        let mut axis = with_axis(USUAL_AXIS).axis_needed();
        loop {
            // A wider axis leaves fewer slots, whose labels may be shorter: then some columns stay unused.
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

    /// Decimals of the labels of last price and crosshair: more than those of the ticks.
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

    /// Start time of the slot at a place on the screen; none outside candles and volume.
    pub(super) fn time_at(&self, at: Position) -> Option<Micros> {
        let slot = usize::from(at.x.saturating_sub(self.left()) / self.view.columns);
        let last = self.view.candles.len().checked_sub(1)?;
        self.candles.union(self.volume).contains(at).then(|| self.view.time(slot.min(last)))
    }

    /// The price axis in the row `y` of the screen, its line included.
    pub(super) const fn axis_area(&self, y: u16) -> Rect {
        Rect { x: self.candles.x + self.candles.width, y, width: self.axis, height: 1 }
    }

    /// The label of the price axis in the row `y`: without the line and the blank before the border.
    pub(super) const fn label_area(&self, y: u16) -> Rect {
        let area = self.axis_area(y);
        Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area }
    }
}
