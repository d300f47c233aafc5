//! The volatility rule: pure, judged once for each closed candle, in the order (closing commit, market,
//! window).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::market::window::ClosedCandle;
use crate::market::{Alert, MINUTE, Market, Micros, SECOND};

/// Name of the rule, part of every alert's identity.
pub const VOLATILITY: &str = "volatility";

/// When a candle raises an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Percent that the volatility must exceed.
    pub threshold: f64,
    /// Thresholds of single coins, by coin id.
    pub overrides: BTreeMap<String, f64>,
    /// After an alert a market is silent for windows that start sooner than this after the alerted one.
    pub cooldown: Micros,
    /// A candle that was closed later than this after its end is too old.
    pub max_age: Micros,
}

impl Default for Rule {
    fn default() -> Self {
        Self { threshold: 0.02, overrides: BTreeMap::new(), cooldown: 5 * MINUTE, max_age: 300 * SECOND }
    }
}

impl Rule {
    /// The threshold of a coin, percent.
    pub fn threshold(&self, coin_id: &str) -> f64 {
        self.overrides.get(coin_id).copied().unwrap_or(self.threshold)
    }

    fn is_too_old(&self, row: &ClosedCandle) -> bool {
        row.closed_at - row.candle.window_end > self.max_age
    }

    /// Whether a candle of gold may have raised an alert when it closed. Late ticks, which restate a candle, only
    /// widen the range of its prices: its volatility was not above the present one.
    pub fn may_raise(&self, row: &ClosedCandle) -> bool {
        !self.is_too_old(row) && row.candle.volatility_pct() > self.threshold(&row.market.coin_id)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The volatility is not above the threshold.
    Quiet,
    /// Above the threshold, but closed later than [`Rule::max_age`] after its end.
    TooOld,
    /// Above the threshold while its market cools down.
    Cooling,
    Raised(Box<Alert>),
}

/// Applies the rule, and remembers the last alerted window of each market.
#[derive(Debug)]
pub struct Judge {
    rule: Rule,
    last: HashMap<Arc<Market>, Micros>,
}

impl Judge {
    /// `last` holds the start of the last alerted window of each market.
    pub fn new(rule: Rule, last: HashMap<Arc<Market>, Micros>) -> Self {
        Self { rule, last }
    }

    /// Judges a candle as it was when it closed; `now` becomes the alert's timestamp.
    pub fn judge(&mut self, row: &ClosedCandle, now: Micros) -> Verdict {
        let candle = &row.candle;
        let threshold = self.rule.threshold(&row.market.coin_id);
        let volatility = candle.volatility_pct();
        if volatility <= threshold {
            return Verdict::Quiet;
        }
        if self.rule.is_too_old(row) {
            return Verdict::TooOld;
        }
        if self.last.get(&row.market).is_some_and(|last| candle.window_start - last < self.rule.cooldown) {
            return Verdict::Cooling;
        }
        self.last.insert(Arc::clone(&row.market), candle.window_start);
        Verdict::Raised(Box::new(Alert {
            alert_id: Alert::id(VOLATILITY, &row.market, candle.window_start),
            rule: VOLATILITY.to_owned(),
            market: (*row.market).clone(),
            window_start: candle.window_start,
            window_end: candle.window_end,
            avg_price: candle.avg,
            min_price: candle.low,
            max_price: candle.high,
            volatility,
            threshold,
            timestamp: now,
        }))
    }

    /// Every market that was alerted, with the start of the first window that may raise an alert again.
    pub fn cooling(&self) -> impl Iterator<Item = (&Arc<Market>, Micros)> {
        self.last.iter().map(|(market, last)| (market, last + self.rule.cooldown))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::market::Candle;

    fn row(minute: i64, high: f64, closed_after: Micros) -> ClosedCandle {
        let (window_start, window_end) = (minute * MINUTE, (minute + 1) * MINUTE);
        let candle = Candle { high, ticks: 2, closed: true, ..Candle::of_tick(window_start, MINUTE, 100.0) };
        let market = Arc::new(Market::new("s", "bitcoin", "usd"));
        ClosedCandle {
            market,
            candle,
            first_event_time: window_start,
            last_event_time: window_start,
            closed_at: window_end + closed_after,
            closed_in: 1,
        }
    }

    fn raised(judge: &mut Judge, row: &ClosedCandle) -> bool {
        matches!(judge.judge(row, 0), Verdict::Raised(_))
    }

    #[test]
    fn only_strictly_above_the_threshold() {
        let mut judge = Judge::new(Rule { threshold: 1.0, ..Rule::default() }, HashMap::new());
        assert_eq!(judge.judge(&row(0, 101.0, 0), 0), Verdict::Quiet);
        assert!(raised(&mut judge, &row(1, 101.001, 0)));
    }

    #[test]
    fn a_market_cools_down_by_window_time() {
        let mut judge = Judge::new(Rule::default(), HashMap::new());
        let verdicts: Vec<bool> = (0..12).map(|minute| raised(&mut judge, &row(minute, 101.0, 0))).collect();
        assert_eq!(
            verdicts.iter().enumerate().filter(|(_, r)| **r).map(|(i, _)| i).collect::<Vec<_>>(),
            [0, 5, 10]
        );
        assert_eq!(judge.judge(&row(3, 101.0, 0), 0), Verdict::Cooling);
        let mut eager = Judge::new(Rule { cooldown: 0, ..Rule::default() }, HashMap::new());
        assert!((0..12).all(|minute| raised(&mut eager, &row(minute, 101.0, 0))));
    }

    #[test]
    fn an_old_candle_raises_nothing_and_starts_no_cool_down() {
        let mut judge = Judge::new(Rule::default(), HashMap::new());
        assert_eq!(judge.judge(&row(0, 101.0, 300 * SECOND + 1), 0), Verdict::TooOld);
        assert!(raised(&mut judge, &row(1, 101.0, 300 * SECOND)));
    }

    proptest! {
        #[test]
        fn may_raise_holds_after_late_ticks_for_every_alerted_candle(
            low in 1e-9..1e9_f64, widths in [0.0..0.1_f64, 0.0..0.1, 0.0..0.1], threshold in 0.0..10.0_f64, seconds in 298..303_i64,
        ) {
            let rule = Rule { threshold, ..Rule::default() };
            let restated = |low: f64, high: f64| {
                let row = row(0, high, seconds * SECOND);
                ClosedCandle { candle: Candle { low, ..row.candle.clone() }, ..row }
            };
            let [below, inside, above] = widths.map(|width| 1.0 + width);
            let closed = restated(low * below, low * below * inside);
            let now = restated(low, low * below * inside * above);
            if raised(&mut Judge::new(rule.clone(), HashMap::new()), &closed) {
                prop_assert!(rule.may_raise(&closed) && rule.may_raise(&now));
            }
            prop_assert!(seconds <= 300 || !rule.may_raise(&now));
        }
    }

    #[test]
    fn a_coin_may_have_its_own_threshold() {
        let rule = Rule { overrides: BTreeMap::from([("bitcoin".to_owned(), 5.0)]), ..Rule::default() };
        assert_eq!(Judge::new(rule, HashMap::new()).judge(&row(0, 104.0, 0), 0), Verdict::Quiet);
    }

    /// A candle as the reference sees it: the commit that closed it, market, minute, percent of volatility,
    /// seconds from its end to its close.
    type Closed = (i64, usize, i64, u32, i64);

    fn market(n: usize) -> Arc<Market> {
        Arc::new(
            [("s", "bitcoin", "usd"), ("s", "bitcoin", "eur"), ("t", "bitcoin", "usd")]
                .map(|(s, c, q)| Market::new(s, c, q))[n]
                .clone(),
        )
    }

    fn judged((closed_in, n, minute, percent, seconds): Closed) -> ClosedCandle {
        ClosedCandle {
            market: market(n),
            closed_in,
            ..row(minute, 100.0 + f64::from(percent), seconds * SECOND)
        }
    }

    prop_compose! {
        /// Candles of a few markets, each minute once, in the order in which they are judged: of (closing
        /// commit, market, window).
        fn candles()(
            closed in prop::collection::btree_map((0..3_usize, 0..25_i64), (0..6_i64, 0..4_u32, 298..303_i64), 0..60),
        ) -> Vec<Closed> {
            let mut closed: Vec<Closed> =
                closed.into_iter().map(|((n, minute), (commit, percent, seconds))| (commit, n, minute, percent, seconds)).collect();
            closed.sort_by_key(|candle| (candle.0, market(candle.1), candle.2));
            closed
        }
    }

    /// The rule in one sentence: above the threshold, in time, and no alert of the market less than the
    /// cool-down before.
    fn reference(closed: &[Closed], threshold: u32, cooldown: i64) -> Vec<Closed> {
        let mut raised: Vec<Closed> = Vec::new();
        for candle in closed {
            let (_, n, minute, percent, seconds) = *candle;
            let newest = raised.iter().filter(|alert| alert.1 == n).map(|alert| alert.2).max();
            if percent > threshold
                && seconds <= 300
                && newest.is_none_or(|newest| minute - newest >= cooldown)
            {
                raised.push(*candle);
            }
        }
        raised
    }

    proptest! {
        #[test]
        fn it_raises_what_the_reference_raises_also_after_a_restart(
            closed in candles(), threshold in 0..3_u32, cooldown in 0..8_i64, restart in 0..60_usize,
        ) {
            let rule = Rule { threshold: f64::from(threshold), cooldown: cooldown * MINUTE, ..Rule::default() };
            let mut judge = Judge::new(rule.clone(), HashMap::new());
            let mut log: Vec<Alert> = Vec::new();
            for (n, candle) in closed.iter().enumerate() {
                if n == restart {
                    // The newest alerted window of each market, as the log has it.
                    let mut last = HashMap::new();
                    for alert in &log {
                        let newest = last.entry(Arc::new(alert.market.clone())).or_insert(alert.window_start);
                        *newest = alert.window_start.max(*newest);
                    }
                    judge = Judge::new(rule.clone(), last);
                }
                let row = judged(*candle);
                if let Verdict::Raised(alert) = judge.judge(&row, 7) {
                    prop_assert_eq!(alert.alert_id.as_str(), Alert::id(VOLATILITY, &row.market, row.candle.window_start));
                    prop_assert_eq!((alert.volatility, alert.threshold), (f64::from(candle.3), f64::from(threshold)));
                    log.push(*alert);
                }
            }
            let raised: Vec<_> = log.iter().map(|alert| (alert.market.clone(), alert.window_start)).collect();
            let wanted: Vec<_> = reference(&closed, threshold, cooldown).into_iter().map(judged).collect();
            prop_assert_eq!(raised, wanted.iter().map(|row| ((*row.market).clone(), row.candle.window_start)).collect::<Vec<_>>());
        }

        #[test]
        fn markets_are_judged_apart(closed in candles(), only in 0..3_usize) {
            let verdicts = |closed: &mut dyn Iterator<Item = &Closed>| -> Vec<(Closed, Verdict)> {
                let mut judge = Judge::new(Rule { threshold: 0.5, ..Rule::default() }, HashMap::new());
                closed.map(|candle| (*candle, judge.judge(&judged(*candle), 7))).collect()
            };
            let mut of_all = verdicts(&mut closed.iter());
            of_all.retain(|(candle, _)| candle.1 == only);
            prop_assert_eq!(of_all, verdicts(&mut closed.iter().filter(|candle| candle.1 == only)));
        }
    }

    #[test]
    fn the_identity_is_stable() {
        let id = Alert::id(VOLATILITY, &Market::new("binance", "bitcoin", "usd"), 1_747_008_000_000_000);
        assert_eq!(id.len(), 32);
        assert_eq!(
            id,
            Alert::id(VOLATILITY, &Market::new("binance", "bitcoin", "usd"), 1_747_008_000_000_000)
        );
        assert_ne!(
            id,
            Alert::id(VOLATILITY, &Market::new("binance", "bitcoin", "eur"), 1_747_008_000_000_000)
        );
    }
}
