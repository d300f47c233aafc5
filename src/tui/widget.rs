//! Geometry of the chart's elements: pure functions from numbers to glyphs and positions. The views write them
//! into the buffer.

pub mod axis;
pub mod bars;
pub mod candlestick;
