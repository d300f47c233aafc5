//! Candles as one column of cells each. A cell is two halves, each empty, wick or body: nine states, nine
//! glyphs.
//!
//! ```text
//!   empty wick body   (upper half →)
//!    ' '   ╵    ╹      lower half empty
//!     ╷    │    ╿      lower half wick
//!     ╻    ╽    ┃      lower half body
//! ```
//!
//! Promises: the body lies within the wick, every candle has at least one half cell of body, a higher price is
//! never drawn lower, and no price (flat, tiny, huge) panics.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "cells are few; positions are clamped before they become integers"
)]

use std::ops::RangeInclusive;

use crate::market::Candle;

/// Prices are clamped to this: differences of larger ones overflow.
const HUGE: f64 = 1e300;

/// The range of prices that the rows of the chart cover.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    rows: u16,
}

impl Scale {
    /// A scale of `rows` rows for prices from `low` to `high`, with 4 % of the range above and below, and with
    /// a small range where both are equal.
    pub fn fitting(low: f64, high: f64, rows: u16) -> Self {
        let (low, high) =
            if low.is_finite() && high.is_finite() { (low.min(high), low.max(high)) } else { (0.0, 1.0) };
        let (low, high) = (low.clamp(-HUGE, HUGE), high.clamp(-HUGE, HUGE));
        let span = high - low;
        let least = (high.abs() * 1e-4).max(f64::MIN_POSITIVE * 1e6);
        let room = if span > least / 100.0 { span * 0.04 } else { least };
        Self { low: low - room, high: high + room, rows: rows.max(1) }
    }

    pub const fn low(&self) -> f64 {
        self.low
    }

    pub const fn high(&self) -> f64 {
        self.high
    }

    pub const fn rows(&self) -> u16 {
        self.rows
    }

    /// The step that `price` lies in, of `steps` equal steps from the bottom; prices outside the scale lie in
    /// the first or the last one.
    pub fn step(&self, price: f64, steps: u16) -> u16 {
        let share = (price - self.low) / (self.high - self.low);
        if share.is_nan() {
            return 0;
        }
        (share * f64::from(steps)).floor().clamp(0.0, f64::from(steps.saturating_sub(1))) as u16
    }

    /// The half cell of a price, 0 the lowest.
    pub fn half(&self, price: f64) -> u16 {
        self.step(price, self.rows.saturating_mul(2))
    }

    /// The row of a price, 0 the highest as on the screen.
    pub fn row(&self, price: f64) -> u16 {
        self.rows - 1 - self.half(price) / 2
    }

    /// The price in the middle of a row (0 the highest).
    pub fn price_at(&self, row: u16) -> f64 {
        let share = (f64::from(self.rows.saturating_sub(row)) - 0.5) / f64::from(self.rows);
        self.low + (self.high - self.low) * share
    }

    pub fn contains(&self, price: f64) -> bool {
        price >= self.low && price <= self.high
    }
}

/// The content of one half of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    Empty,
    /// The thin line from low to high.
    Wick,
    /// The thick line from open to close.
    Body,
}

/// A candle on a scale: the half cells of its wick and its body, 0 the lowest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub wick: RangeInclusive<u16>,
    pub body: RangeInclusive<u16>,
}

impl Shape {
    /// The shape of a candle. The wick includes the body even where low and high do not include open and
    /// close.
    pub fn new(candle: &Candle, scale: &Scale) -> Self {
        let (bottom, top) = (candle.open.min(candle.close), candle.open.max(candle.close));
        Self {
            wick: scale.half(candle.low.min(bottom))..=scale.half(candle.high.max(top)),
            body: scale.half(bottom)..=scale.half(top),
        }
    }

    /// The content of the half cell `at` (0 the lowest).
    pub fn half(&self, at: u16) -> Half {
        if self.body.contains(&at) {
            Half::Body
        } else if self.wick.contains(&at) {
            Half::Wick
        } else {
            Half::Empty
        }
    }

    /// The glyph in `row` (0 the highest) on a scale of `rows`.
    pub fn glyph(&self, row: u16, rows: u16) -> char {
        let lower = (rows - 1 - row) * 2;
        glyph(self.half(lower + 1), self.half(lower))
    }
}

pub const fn glyph(upper: Half, lower: Half) -> char {
    match (upper, lower) {
        (Half::Empty, Half::Empty) => ' ',
        (Half::Wick, Half::Wick) => '│',
        (Half::Body, Half::Body) => '┃',
        (Half::Empty, Half::Wick) => '╷',
        (Half::Wick, Half::Empty) => '╵',
        (Half::Empty, Half::Body) => '╻',
        (Half::Body, Half::Empty) => '╹',
        (Half::Wick, Half::Body) => '╽',
        (Half::Body, Half::Wick) => '╿',
    }
}

/// The braille glyph of a curve in a cell, from the quarters (0 the lowest) that it passes at the left and at
/// the right; none: it does not pass the cell there.
pub fn curve(left: Option<u16>, right: Option<u16>) -> char {
    const LEFT: [u32; 4] = [0x40, 0x04, 0x02, 0x01];
    const RIGHT: [u32; 4] = [0x80, 0x20, 0x10, 0x08];
    let dots =
        left.map_or(0, |q| LEFT[usize::from(q.min(3))]) | right.map_or(0, |q| RIGHT[usize::from(q.min(3))]);
    char::from_u32(0x2800 + dots).unwrap_or(' ')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::market::MINUTE;

    fn candle(open: f64, high: f64, low: f64, close: f64) -> Candle {
        Candle { open, high, low, ..Candle::of_tick(0, MINUTE, close) }
    }

    #[test]
    fn the_nine_states_of_a_cell_have_different_glyphs() {
        let halves = [Half::Empty, Half::Wick, Half::Body];
        let mut glyphs: Vec<char> =
            halves.iter().flat_map(|u| halves.iter().map(|l| glyph(*u, *l))).collect();
        glyphs.sort_unstable();
        let mut expected: Vec<char> = " │┃╷╵╻╹╽╿".chars().collect();
        expected.sort_unstable();
        assert_eq!(glyphs, expected);
    }

    #[test]
    fn a_candle_is_a_body_between_wicks() {
        let scale = Scale { low: 0.0, high: 8.0, rows: 4 };
        let shape = Shape::new(&candle(2.5, 6.5, 0.5, 5.5), &scale);
        let column: String = (0..4).map(|row| shape.glyph(row, 4)).collect();
        assert_eq!(column, "╷┃┃│");
    }

    #[test]
    fn a_flat_candle_on_a_flat_scale_is_half_a_cell_in_the_middle() {
        let scale = Scale::fitting(5.0, 5.0, 11);
        let shape = Shape::new(&candle(5.0, 5.0, 5.0, 5.0), &scale);
        assert_eq!(shape.body.clone().count(), 1);
        assert!((4..=6).contains(&scale.row(5.0)));
    }

    fn any_price() -> impl Strategy<Value = f64> {
        prop_oneof![
            (-300.0..300.0f64).prop_map(|e| 10f64.powf(e)),
            99.0..101.0f64,
            Just(f64::MIN_POSITIVE),
            Just(f64::MAX),
            Just(1.0),
        ]
    }

    proptest! {
        #[test]
        fn the_body_lies_within_the_wick_and_is_visible(a in any_price(), b in any_price(), c in any_price(), d in any_price(), rows in 1u16..80) {
            let (low, high) = (a.min(b).min(c).min(d), a.max(b).max(c).max(d));
            let scale = Scale::fitting(low, high, rows);
            let shape = Shape::new(&candle(a, high, low, b), &scale);
            prop_assert!(shape.wick.start() <= shape.body.start() && shape.body.end() <= shape.wick.end());
            prop_assert!(*shape.wick.end() < rows * 2);
            let column: String = (0..rows).map(|row| shape.glyph(row, rows)).collect();
            prop_assert!(column.chars().any(|g| "┃╻╹╽╿".contains(g)), "{column:?}");
            prop_assert!(column.chars().all(|g| " │┃╷╵╻╹╽╿".contains(g)));
        }

        #[test]
        fn a_higher_price_is_never_drawn_lower(a in any_price(), b in any_price(), low in any_price(), high in any_price(), rows in 1u16..80) {
            let scale = Scale::fitting(low, high, rows);
            let (less, more) = (a.min(b), a.max(b));
            prop_assert!(scale.half(less) <= scale.half(more));
            prop_assert!(scale.row(less) >= scale.row(more));
        }

        #[test]
        fn a_row_and_its_price_agree(low in 1.0..1000.0f64, span in 0.001..1000.0f64, rows in 1u16..80, row in 0u16..80) {
            let scale = Scale::fitting(low, low + span, rows);
            let row = row.min(rows - 1);
            prop_assert_eq!(scale.row(scale.price_at(row)), row);
        }
    }
}
