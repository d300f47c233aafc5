//! Alerts: the rule that judges newly closed candles, and the table that keeps what it raised.
//!
//! Delivery to the outside joins here, beside [`rule`] and [`store`].

pub mod rule;
pub mod store;
