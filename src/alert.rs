//! Alerts: [`rule`] judges newly closed candles, [`store`] keeps the alerts in their table. Nothing is sent to
//! other systems.

pub mod rule;
pub mod store;
