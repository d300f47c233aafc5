//! The trades of one made-up coin: a random walk with jumps, clustering volatility and mean reversion. Uses
//! only `+ - * /` and `sqrt`, which give the same bits on every machine; logarithms and sines do not.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;

use crate::market::Micros;

/// Parameters of a coin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Profile {
    pub(super) id: &'static str,
    /// Price level in US dollars.
    level: f64,
    /// Decimals of its price on an exchange.
    decimals: u32,
    /// Standard deviation of a year's return, as a share.
    volatility: f64,
    /// Scale of a trade's amount in US dollars.
    trade: f64,
}

const fn profile(id: &'static str, level: f64, decimals: u32, volatility: f64, trade: f64) -> Profile {
    Profile { id, level, decimals, volatility, trade }
}

/// The program's ten default coins.
pub(super) const PROFILES: [Profile; 10] = [
    profile("bitcoin", 104_180.0, 1, 0.5, 2_000.0),
    profile("ethereum", 2_504.0, 2, 0.7, 1_500.0),
    profile("solana", 173.1, 2, 0.9, 800.0),
    profile("cardano", 0.805, 4, 0.95, 300.0),
    profile("ripple", 2.366, 4, 0.9, 500.0),
    profile("polkadot", 4.98, 3, 0.95, 250.0),
    profile("dogecoin", 0.2315, 5, 1.1, 400.0),
    profile("chainlink", 17.1, 3, 0.95, 300.0),
    profile("tron", 0.2638, 4, 0.6, 250.0),
    profile("avalanche-2", 24.78, 3, 1.0, 300.0),
];

/// Seconds of a year.
const YEAR: f64 = 31_536_000.0;
/// Weights of the last squared return and of the last variance in the next variance (GARCH(1,1)): their sum is
/// just below one, so that high volatility decays over thousands of ticks.
const RETURN_WEIGHT: f64 = 0.015;
const VARIANCE_WEIGHT: f64 = 0.9847;
/// Bounds of the variance, as multiples of its mean.
const LEAST_VARIANCE: f64 = 0.05;
const MOST_VARIANCE: f64 = 40.0;
/// Probability of a jump at a tick, in units of 1/65,536.
const JUMPS: u64 = 2;
/// Time constant of the price's reversion to its level, in seconds.
const REVERSION: f64 = 30.0 * 86_400.0;
/// Largest ratio of the price to its level, and of its level to the price.
const BOUND: f64 = 20.0;
/// Powers of ten, for scaling prices and sizes.
const POW10: [f64; 13] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12];

/// A decimal number: `units / 10^decimals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) units: u64,
    pub(super) decimals: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Trade {
    pub(super) price: Decimal,
    pub(super) size: Decimal,
    /// Time to the coin's next trade.
    pub(super) wait: Micros,
}

/// A coin's state.
#[derive(Debug, Clone)]
pub(super) struct Coin {
    random: Pcg64Mcg,
    /// In US dollars, like `level` and `trade`.
    price: f64,
    level: f64,
    /// Variance of the return of one tick.
    variance: f64,
    mean_variance: f64,
    /// Share of the price's distance from its level that one tick removes.
    reversion: f64,
    /// Standard deviation of a minute's return: the scale of jumps.
    minute: f64,
    decimals: u32,
    size_decimals: u32,
    trade: f64,
    /// Mean time between two trades in microseconds.
    tick: f64,
}

/// 2^-32 and 2^-24: they scale random bits to 0..1.
const BITS32: f64 = 1.0 / 4_294_967_296.0;
const BITS24: f64 = 1.0 / 16_777_216.0;

/// The high 32 bits as a number in 0..1.
fn high(bits: u64) -> f64 {
    f64::from(u32::try_from(bits >> 32).unwrap_or(u32::MAX)) * BITS32
}

/// The low 32 bits as a number in 0..1.
#[expect(clippy::cast_possible_truncation, reason = "only the low half is used")]
fn low(bits: u64) -> f64 {
    f64::from(bits as u32) * BITS32
}

/// An approximately normal number with mean 0 and variance 1: the sum of four uniformly distributed ones. The
/// fat tails of returns come from the clustering variance and from jumps.
#[expect(clippy::cast_precision_loss, reason = "below 2^18")]
fn normal(bits: u64) -> f64 {
    let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
    // Each has mean 32767.5 and variance (2^32 - 1) / 12.
    (sum as f64 - 131_070.0) * (1.0 / 37_837.226)
}

impl Coin {
    /// The coin `id` of the market `seed`, independent of all other coins, with `tick` seconds between its
    /// trades.
    pub(super) fn new(seed: u64, id: &str, tick: f64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(id.as_bytes());
        let mut state = [0; 16];
        state.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        let mut random = Pcg64Mcg::new(u128::from_le_bytes(state));
        let profile = PROFILES.into_iter().find(|p| p.id == id).unwrap_or_else(|| invented(&mut random));
        let per_second = profile.volatility * profile.volatility / YEAR;
        // It starts within 5 % of its level, with a random variance.
        let price = profile.level * (0.95 + 0.1 * high(random.next_u64()));
        let mean_variance = per_second * tick;
        Self {
            price,
            level: profile.level,
            variance: mean_variance * (0.3 + 1.4 * high(random.next_u64())),
            mean_variance,
            reversion: (tick / REVERSION).min(0.5),
            minute: (per_second * 60.0).sqrt(),
            decimals: profile.decimals,
            size_decimals: size_decimals(profile.level),
            trade: profile.trade,
            tick: tick * 1e6,
            random,
        }
    }

    /// Time to the first trade: uniform within one mean wait, so that coins do not trade at the same times.
    #[expect(clippy::cast_possible_truncation, reason = "at most a tick")]
    pub(super) fn first_wait(&mut self) -> Micros {
        (self.tick * high(self.random.next_u64())) as Micros
    }

    /// The next trade.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and bounded")]
    pub(super) fn trade(&mut self) -> Trade {
        let (first, second, third) = (self.random.next_u64(), self.random.next_u64(), self.random.next_u64());
        // The mean of the factor is 1, because the product of two uniform numbers has mean 1/4.
        let wait = self.tick * (0.2 + 3.2 * share24(first) * share24(first >> 24));
        let mut change = self.variance.sqrt() * normal(second);
        if first >> 48 < JUMPS {
            let jump = self.minute * (2.0 + 4.0 * low(third));
            change += if second & 1 == 0 { jump } else { -jump };
        }
        let next = self.mean_variance * (1.0 - RETURN_WEIGHT - VARIANCE_WEIGHT)
            + RETURN_WEIGHT * change * change
            + VARIANCE_WEIGHT * self.variance;
        self.variance = next.clamp(self.mean_variance * LEAST_VARIANCE, self.mean_variance * MOST_VARIANCE);
        let next = self.price * (1.0 + change.clamp(-0.3, 0.3)) + self.reversion * (self.level - self.price);
        self.price = next.clamp(self.level / BOUND, self.level * BOUND);
        let units = ((self.price * POW10[self.decimals as usize] + 0.5) as u64).max(1);
        // Most trades are small, a few are large.
        let amount = self.trade * high(third) * low(third) / (0.02 + share24(second >> 20));
        let size = ((amount / self.price * POW10[self.size_decimals as usize] + 0.5) as u64).max(1);
        Trade {
            price: Decimal { units, decimals: self.decimals },
            size: Decimal { units: size, decimals: self.size_decimals },
            wait: (wait as Micros).max(1),
        }
    }
}

/// The low 24 bits as a number in 0..1.
fn share24(bits: u64) -> f64 {
    f64::from((bits & 0xff_ffff) as u32) * BITS24
}

/// A random profile, with a price level between a hundredth of a cent and a thousand dollars.
fn invented(random: &mut Pcg64Mcg) -> Profile {
    let magnitude =
        [1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0][usize::try_from(random.next_u64() % 7).unwrap_or(0)];
    let level: f64 = magnitude * (1.0 + 9.0 * high(random.next_u64()));
    let decimals = price_decimals(level);
    profile("", level, decimals, 0.8 + high(random.next_u64()), 50.0 + 250.0 * high(random.next_u64()))
}

/// Decimals with which a price has about five significant digits.
fn price_decimals(level: f64) -> u32 {
    let whole = (0u32..10).find(|n| level < POW10[*n as usize]).unwrap_or(10);
    let zeros = (0u32..8).find(|n| level * POW10[*n as usize] >= 0.1).unwrap_or(8);
    if whole > 0 { 5u32.saturating_sub(whole).max(1) } else { 5 + zeros }
}

/// Decimals with which a step in size is worth about a dime.
fn size_decimals(level: f64) -> u32 {
    (0u32..7).find(|n| level * 10.0 <= POW10[*n as usize]).unwrap_or(6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn prices(seed: u64, id: &str, count: usize) -> Vec<f64> {
        let mut coin = Coin::new(seed, id, 0.1);
        (0..count).map(|_| coin.trade().price).map(|p| p.units as f64 / POW10[p.decimals as usize]).collect()
    }

    #[test]
    fn prices_stay_near_their_level_and_move() {
        for profile in PROFILES {
            let prices = prices(7, profile.id, 100_000);
            let (low, high) = prices.iter().fold((f64::MAX, 0f64), |(l, h), p| (l.min(*p), h.max(*p)));
            assert!(low > profile.level * 0.5 && high < profile.level * 2.0, "{}: {low}..{high}", profile.id);
            assert!(high / low > 1.002, "{}: {low}..{high}", profile.id);
        }
    }

    #[test]
    fn volatility_clusters_and_returns_have_fat_tails() {
        let prices: Vec<f64> = prices(3, "bitcoin", 600_000).into_iter().step_by(50).collect();
        let squares: Vec<f64> = prices.windows(2).map(|w| (w[1] / w[0] - 1.0).powi(2)).collect();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (all, lagged) = (mean(&squares), squares.windows(2).map(|w| w[0] * w[1]).collect::<Vec<_>>());
        let fourth = mean(&squares.iter().map(|s| s * s).collect::<Vec<_>>());
        assert!(fourth / (all * all) > 4.0, "kurtosis {}", fourth / (all * all));
        assert!(mean(&lagged) / (all * all) > 1.2, "clustering {}", mean(&lagged) / (all * all));
    }

    #[test]
    fn waits_have_the_mean_asked_for() {
        let mut coin = Coin::new(1, "bitcoin", 0.1);
        let total: Micros = (0..100_000).map(|_| coin.trade().wait).sum();
        assert!((9_900_000_000..10_100_000_000).contains(&total), "{total}");
    }

    #[test]
    fn a_price_has_about_five_digits() {
        let levels = [(104_180.0, 1), (2_500.0, 1), (173.0, 2), (2.3, 4), (0.8, 5), (0.05, 6), (0.000_2, 8)];
        for (level, decimals) in levels {
            assert_eq!(price_decimals(level), decimals, "{level}");
        }
        assert_eq!((size_decimals(104_180.0), size_decimals(17.1), size_decimals(0.8)), (6, 3, 1));
    }
}
