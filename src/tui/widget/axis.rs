//! Round ticks for the price axis and the time axis.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "ticks are few; exponents of doubles fit every integer"
)]

use crate::market::{DAY, HOUR, MINUTE, Micros};
use crate::tui::format::Zone;

/// Ticks of a price axis.
#[derive(Debug, Clone, PartialEq)]
pub struct PriceTicks {
    /// Round prices, lowest first.
    pub values: Vec<f64>,
    /// Decimals with which all values have different labels.
    pub decimals: usize,
}

/// Multiples of 1, 2, 2.5 or 5 x 10^n within `low..=high`, for the smallest step that gives at most `most` of
/// them.
pub fn price_ticks(low: f64, high: f64, most: usize) -> PriceTicks {
    let span = high - low;
    if !(span > 0.0 && span.is_finite()) || most == 0 {
        return PriceTicks { values: Vec::new(), decimals: 2 };
    }
    let least = span / most as f64;
    let mut exponent = least.log10().floor() as i32;
    // In tenths, so that 2.5 is whole.
    let mut mantissas = [10u32, 20, 25, 50].into_iter().cycle();
    for _ in 0..16 {
        let mantissa = mantissas.next().unwrap_or(10);
        let step = f64::from(mantissa) / 10.0 * 10f64.powi(exponent);
        if step >= least * (1.0 - 1e-9) {
            let values = multiples(step, low, high, most);
            if values.len() <= most {
                let decimals = (-exponent + i32::from(mantissa == 25)).max(0) as usize;
                return PriceTicks { values, decimals };
            }
        }
        if mantissa == 50 {
            exponent += 1;
        }
    }
    PriceTicks { values: Vec::new(), decimals: 2 }
}

/// The multiples of `step` within the range, at most `most + 1` of them; none where doubles can no longer
/// represent each.
fn multiples(step: f64, low: f64, high: f64, most: usize) -> Vec<f64> {
    let first = (low / step - 1e-9).ceil();
    if !first.is_finite() || first.abs() > 1e15 {
        return Vec::new();
    }
    (0..=most).map(|i| (first + i as f64) * step).take_while(|v| *v <= high).collect()
}

/// Steps between the labels of the time axis.
const TIME_STEPS: [Micros; 20] = [
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    4 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    5 * DAY,
    10 * DAY,
    20 * DAY,
    50 * DAY,
    100 * DAY,
    200 * DAY,
];

/// The smallest round step that is at least `least` wide.
pub fn time_step(least: Micros) -> Micros {
    TIME_STEPS.into_iter().find(|s| *s >= least).unwrap_or_else(|| {
        let widest = TIME_STEPS[TIME_STEPS.len() - 1];
        (least / widest + 1) * widest
    })
}

/// Whether a round time of the given step lies in the slot `start..start + width`, and which.
pub fn time_tick(start: Micros, width: Micros, step: Micros, zone: Zone) -> Option<Micros> {
    let offset = zone.offset(start);
    let local = start.checked_add(offset)?;
    let next = local.checked_add(step - 1)?.div_euclid(step) * step;
    (next < local + width).then_some(next - offset)
}

/// A tick's label: the time of day, or the date at midnight and for steps of days.
pub fn time_label(time: Micros, step: Micros, zone: Zone) -> String {
    if step >= DAY || zone.is_midnight(time) { zone.write(time, "%-d %b") } else { zone.write(time, "%H:%M") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tui::format::price_with;

    fn labels(low: f64, high: f64, most: usize) -> Vec<String> {
        let ticks = price_ticks(low, high, most);
        ticks.values.iter().map(|v| price_with(*v, ticks.decimals)).collect()
    }

    #[test]
    fn ticks_are_round_and_have_different_labels() {
        assert_eq!(
            labels(103_550.0, 104_710.0, 6),
            ["103,600", "103,800", "104,000", "104,200", "104,400", "104,600"]
        );
        assert_eq!(
            labels(0.000_012_30, 0.000_012_39, 4),
            ["0.000012300", "0.000012325", "0.000012350", "0.000012375"]
        );
        assert_eq!(labels(2.60, 2.70, 5), ["2.600", "2.625", "2.650", "2.675", "2.700"]);
        assert_eq!(labels(1.0, 1.0, 5), Vec::<String>::new());
    }

    #[test]
    fn times_are_round_in_the_zone_that_is_shown() {
        assert_eq!(time_step(7 * MINUTE), 10 * MINUTE);
        assert_eq!(time_step(3000 * DAY), 3000 * DAY + 200 * DAY - 3000 * DAY % (200 * DAY));
        assert_eq!(time_tick(14 * MINUTE, MINUTE, 15 * MINUTE, Zone::Utc), None);
        assert_eq!(time_tick(15 * MINUTE, MINUTE, 15 * MINUTE, Zone::Utc), Some(15 * MINUTE));
        assert_eq!(time_tick(10 * MINUTE, 10 * MINUTE, 15 * MINUTE, Zone::Utc), Some(15 * MINUTE));
        assert_eq!(time_label(15 * MINUTE, MINUTE, Zone::Utc), "00:15");
        assert_eq!(time_label(DAY, HOUR, Zone::Utc), "2 Jan");
    }

    proptest! {
        #[test]
        fn ticks_lie_on_the_axis_rise_and_are_not_too_many(exponent in -12.0..12.0f64, share in 0.0001..1.0f64, most in 1usize..20) {
            let low = 10f64.powf(exponent);
            let high = low * (1.0 + share);
            let ticks = price_ticks(low, high, most);
            prop_assert!(ticks.values.len() <= most);
            prop_assert!(ticks.values.iter().all(|v| *v >= low * (1.0 - 1e-9) && *v <= high * (1.0 + 1e-9)));
            prop_assert!(ticks.values.windows(2).all(|w| w[0] < w[1]));
            if most >= 3 {
                prop_assert!(!ticks.values.is_empty());
            }
            let labels: Vec<String> = ticks.values.iter().map(|v| price_with(*v, ticks.decimals)).collect();
            prop_assert!(labels.windows(2).all(|w| w[0] != w[1]), "{labels:?}");
        }

        #[test]
        fn odd_ranges_do_not_panic(low in any::<f64>(), high in any::<f64>(), most in 0usize..50) {
            prop_assert!(price_ticks(low, high, most).values.len() <= most);
        }
    }
}
