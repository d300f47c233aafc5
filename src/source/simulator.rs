//! A made-up market: seeded and deterministic. The same seed and coins give the same prices, sizes and trade
//! ids on every machine, independent of the rate and the batches, and at [`Rate::Max`] the same bytes until
//! virtual time reaches the clock.

mod coin;
mod generator;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use self::generator::Generator;
use super::{End, Outlet, SourceError, SourceState};
use crate::market::records::Delivery;
use crate::market::time::now;
use crate::market::{Micros, Records, SECOND};
use crate::text::max_or_positive;

/// Most ticks of a delivery.
const BATCH: usize = 4_096;
/// Shortest wait between two deliveries.
const TOGETHER: Duration = Duration::from_millis(5);
/// A simulator that is further behind its rate than this (the computer slept, the pipeline was slow) continues
/// from the current time instead of catching up.
const BEHIND: Micros = 5 * SECOND;
/// 2025-01-01T00:00:00Z: the default start of virtual time.
const START: Micros = 1_735_689_600 * SECOND;

/// How fast ticks are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// As fast as possible, with virtual time; in real time once virtual time has reached the clock.
    Max,
    /// Ticks per second over all coins, with the clock's time; finite and above zero.
    PerSecond(f64),
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.pad("max"),
            Self::PerSecond(rate) => rate.fmt(f),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(max_or_positive(text)?.map_or(Self::Max, Self::PerSecond))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct SimulatorSettings {
    pub seed: u64,
    /// Ids of the coins.
    pub coins: Vec<String>,
    pub rate: Rate,
    /// Number of ticks after which it ends; none: no end.
    pub events: Option<u64>,
    /// Start of virtual time ([`Rate::Max`] only).
    pub start: Micros,
    /// Mean time between two ticks of one coin, in virtual time.
    pub tick: Duration,
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        let rate = Rate::PerSecond(20.0);
        Self { seed: 1, coins: coins(10), rate, events: None, start: START, tick: Duration::from_millis(100) }
    }
}

/// Ids of `count` coins: the program's ten default coins, then `coin-0011` and so on.
pub fn coins(count: usize) -> Vec<String> {
    let known = coin::PROFILES.iter().map(|p| p.id.to_owned());
    known.chain((coin::PROFILES.len() + 1..).map(|n| format!("coin-{n:04}"))).take(count).collect()
}

#[derive(Debug)]
pub struct Simulator {
    settings: SimulatorSettings,
}

/// The linear map from virtual time to event time.
#[derive(Debug, Clone, Copy)]
struct Timeline {
    /// In virtual time.
    start: Micros,
    /// The event time of `start`.
    origin: Micros,
    /// Event time per virtual time; none: 1.
    stretch: Option<f64>,
}

impl Timeline {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "µs since the start: far below 2^53"
    )]
    fn event_time(&self, virtual_time: Micros) -> Micros {
        let since = virtual_time - self.start;
        self.origin + self.stretch.map_or(since, |stretch| (since as f64 * stretch) as Micros)
    }
}

impl Simulator {
    /// A simulator; nothing happens before [`Self::run`].
    pub const fn new(settings: SimulatorSettings) -> Self {
        Self { settings }
    }

    fn timeline(&self) -> Timeline {
        let SimulatorSettings { start, ref tick, ref coins, .. } = self.settings;
        match self.settings.rate {
            Rate::Max => Timeline { start, origin: start, stretch: None },
            Rate::PerSecond(rate) => {
                #[expect(clippy::cast_precision_loss, reason = "number of coins")]
                let natural = coins.len() as f64 / tick.as_secs_f64();
                Timeline { start, origin: now(), stretch: Some(natural / rate) }
            }
        }
    }

    /// Makes ticks until their number is reached or the run is cancelled.
    ///
    /// # Errors
    /// When there are no coins, or the time between ticks is zero.
    pub async fn run(self, outlet: Outlet) -> Result<End, SourceError> {
        if self.settings.coins.is_empty() || self.settings.tick.is_zero() {
            return Err(SourceError::Setting(
                "the simulator needs at least one coin and a time between ticks above zero".into(),
            ));
        }
        outlet.status.send_modify(|s| s.state = SourceState::Simulating);
        let mut timeline = self.timeline();
        let mut generator = Generator::new(&self.settings);
        let mut left = self.settings.events.unwrap_or(u64::MAX);
        while left > 0 {
            let clock = now();
            let due = timeline.event_time(generator.next_time());
            if due > clock {
                let wait = Duration::from_micros(due.abs_diff(clock)).max(TOGETHER);
                tokio::select! {
                    biased;
                    () = outlet.cancel.cancelled() => return Ok(End::Stopped),
                    () = tokio::time::sleep(wait) => continue,
                }
            }
            if timeline.stretch.is_some() && clock - due > BEHIND {
                timeline.origin += clock - due;
            }
            let mut records = Records::new();
            while records.len() < BATCH && left > 0 {
                let event_time = timeline.event_time(generator.next_time());
                if event_time > clock {
                    break;
                }
                generator.push(&mut records, event_time, clock);
                left -= 1;
            }
            if !outlet.deliver(Delivery { stream: None, records }).await {
                return Ok(End::Stopped);
            }
            // A batch takes about a millisecond: let other tasks on this thread run.
            tokio::task::yield_now().await;
        }
        outlet.status.send_modify(|s| s.state = SourceState::Finished);
        Ok(End::Finished)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, watch};
    use tokio_util::sync::CancellationToken;

    use super::super::{SourceKind, SourceStatus};
    use super::*;
    use crate::market::coins;

    async fn run(settings: SimulatorSettings) -> (Vec<Vec<u8>>, SourceStatus) {
        let (deliveries, mut received) = mpsc::channel(1);
        let (status, seen) =
            watch::channel(SourceStatus::starting(SourceKind::Simulator, settings.coins.len()));
        let task = tokio::spawn(Simulator::new(settings).run(Outlet {
            deliveries,
            status,
            cancel: CancellationToken::new(),
        }));
        let mut values = Vec::new();
        while let Some(delivery) = received.recv().await {
            assert_eq!(delivery.stream, None);
            values.extend(delivery.records.iter().map(|r| {
                assert_eq!(r.source, "simulator");
                r.value.to_vec()
            }));
        }
        assert_eq!(task.await.expect("joined").expect("ran"), End::Finished);
        let status = seen.borrow().clone();
        (values, status)
    }

    #[tokio::test]
    async fn it_ends_after_the_number_of_ticks_in_its_settings() {
        let settings =
            SimulatorSettings { rate: Rate::Max, events: Some(10_000), ..SimulatorSettings::default() };
        let (values, status) = run(settings.clone()).await;
        assert_eq!(values.len(), 10_000);
        assert_eq!((status.state, status.records), (SourceState::Finished, 10_000));
        assert_eq!(run(settings).await.0, values, "the same seed makes the same market");
    }

    #[tokio::test]
    async fn at_a_rate_ticks_have_the_clocks_time_and_the_same_prices() {
        let max = SimulatorSettings { rate: Rate::Max, events: Some(500), ..SimulatorSettings::default() };
        let paced = SimulatorSettings { rate: Rate::PerSecond(50_000.0), ..max.clone() };
        let (before, (paced, _), after) = (now(), run(paced).await, now());
        let field = |value: &[u8], name: &str| {
            serde_json::from_slice::<serde_json::Value>(value).expect("JSON")[name].clone()
        };
        for (paced, max) in paced.iter().zip(run(max).await.0) {
            for name in ["coin_id", "price", "size", "trade_id"] {
                assert_eq!(field(paced, name), field(&max, name));
            }
            let time = field(paced, "event_time").as_i64().expect("a number") * 1_000;
            assert!((before - 1_000..=after).contains(&time), "{before} {time} {after}");
        }
    }

    #[tokio::test]
    async fn it_stops_when_cancelled_while_it_waits() {
        let (deliveries, received) = mpsc::channel(1);
        let (status, _seen) = watch::channel(SourceStatus::starting(SourceKind::Simulator, 1));
        let cancel = CancellationToken::new();
        let settings = SimulatorSettings { rate: Rate::PerSecond(0.001), ..SimulatorSettings::default() };
        let task =
            tokio::spawn(Simulator::new(settings).run(Outlet { deliveries, status, cancel: cancel.clone() }));
        cancel.cancel();
        assert_eq!(task.await.expect("joined").expect("ran"), End::Stopped);
        drop(received);
    }

    #[test]
    fn coins_after_the_default_ones_are_numbered() {
        let coins = coins(1_000);
        assert_eq!(
            (coins[0].as_str(), coins[10].as_str(), coins[999].as_str()),
            ("bitcoin", "coin-0011", "coin-1000")
        );
    }

    #[test]
    fn the_first_coins_are_the_programs_default() {
        assert_eq!(coins(10), coins::default_ids().collect::<Vec<_>>());
    }

    #[test]
    fn rates_are_numbers_above_zero_or_max() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("2.5".parse(), Ok(Rate::PerSecond(2.5)));
        assert!("0".parse::<Rate>().is_err() && "many".parse::<Rate>().is_err());
    }
}
