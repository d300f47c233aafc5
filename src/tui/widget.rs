//! Geometry of what the chart is made of. Pure functions from numbers to cells; painting is the views'
//! affair.

pub mod axis;
pub mod bars;
pub mod candlestick;
