//! Sums that do not depend on the order of their terms: the exact sum, rounded once at the end.
//!
//! Shewchuk's algorithm as in Python's `math.fsum`: non-overlapping partial sums, lowest first, and a last
//! rounding that looks at the remainder so that ties go to even. Terms so large that a partial sum could
//! leave the range of `f64` are kept apart, scaled down by a power of two, which is exact.

/// 2^512: terms from here on are summed separately, scaled. Fewer than 2^88 of the other terms sum up to less
/// than [`UNIT`].
const LARGE: f64 = f64::from_bits((1023 + 512) << 52);
/// 2^600: the unit of the partial sums of large terms.
const UNIT: f64 = f64::from_bits((1023 + 600) << 52);
/// 2^-400: where a sum is large, partial sums below this are too small to be scaled and only break ties.
const SMALL: f64 = f64::from_bits((1023 - 400) << 52);

/// The exact sum of finite numbers.
#[derive(Debug, Clone, Default)]
pub struct ExactSum {
    partials: Vec<f64>,
    /// In multiples of [`UNIT`].
    large: Vec<f64>,
}

impl ExactSum {
    /// Adds one finite term.
    pub fn add(&mut self, term: f64) {
        if term.abs() < LARGE {
            grow(&mut self.partials, term);
        } else {
            grow(&mut self.large, term / UNIT);
        }
    }

    /// The sum, correctly rounded; infinite where it leaves the range of `f64`.
    pub fn value(&self) -> f64 {
        let (sum, unit) = self.scaled();
        sum * unit
    }

    /// The rounded sum divided by `count`: within the range of `f64` where the mean is, even if the sum is
    /// not.
    pub fn mean(&self, count: i64) -> f64 {
        let (sum, unit) = self.scaled();
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let mean = sum / count as f64;
        mean * unit
    }

    /// The rounded sum, divided by the second number, a power of two.
    fn scaled(&self) -> (f64, f64) {
        if self.large.is_empty() {
            return (rounded(&self.partials), 1.0);
        }
        if rounded(&self.large).abs() < 1.0 {
            let mut all = self.partials.clone();
            self.large.iter().for_each(|partial| grow(&mut all, partial * UNIT));
            return (rounded(&all), 1.0);
        }
        // The small terms cannot cancel the large ones. Those too small to be scaled exactly are less than
        // the last bit of the rest: only their sign, that of the largest of them, can matter.
        let mut all = self.large.clone();
        let mut rest = 0.0;
        for &partial in &self.partials {
            if partial.abs() >= SMALL {
                grow(&mut all, partial / UNIT);
            } else if partial != 0.0 {
                rest = f64::from_bits(1).copysign(partial);
            }
        }
        grow(&mut all, rest);
        (rounded(&all), UNIT)
    }
}

/// Adds a term to non-overlapping partial sums, lowest first.
fn grow(partials: &mut Vec<f64>, term: f64) {
    let (mut x, mut kept) = (term, 0);
    for i in 0..partials.len() {
        let mut y = partials[i];
        if x.abs() < y.abs() {
            std::mem::swap(&mut x, &mut y);
        }
        let high = x + y;
        let low = y - (high - x);
        if low != 0.0 {
            partials[kept] = low;
            kept += 1;
        }
        x = high;
    }
    partials.truncate(kept);
    partials.push(x);
}

/// The sum of non-overlapping partial sums, lowest first, correctly rounded.
fn rounded(partials: &[f64]) -> f64 {
    let mut rest = partials.iter().rev().copied();
    let Some(mut high) = rest.next() else { return 0.0 };
    let mut low = 0.0;
    for y in rest.by_ref() {
        let x = high;
        high = x + y;
        low = y - (high - x);
        if low != 0.0 {
            break;
        }
    }
    // `low` is exactly half a unit in the last place and a part below it has the same sign: this is not a
    // tie.
    if rest.next().is_some_and(|below| (low < 0.0 && below < 0.0) || (low > 0.0 && below > 0.0)) {
        let (twice, x) = (low * 2.0, high + low * 2.0);
        #[expect(clippy::float_cmp, reason = "the comparison must be exact")]
        if twice == x - high {
            high = x;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn power_of_two(exponent: i32) -> f64 {
        2f64.powi(exponent)
    }

    fn exact(terms: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        terms.iter().for_each(|&t| sum.add(t));
        sum
    }

    fn sum(terms: &[f64]) -> f64 {
        exact(terms).value()
    }

    fn shuffle(terms: &mut [f64], seed: u64) {
        let len = terms.len().max(1);
        for i in 0..terms.len() {
            terms.swap(i, (seed as usize).wrapping_mul(i + 7) % len);
        }
    }

    #[test]
    fn known_sums_are_exact() {
        assert_eq!(sum(&[]), 0.0);
        assert_eq!(sum(&[0.1; 10]), 1.0);
        assert_eq!(sum(&[1e16, 1.0, 1e-16]), 10_000_000_000_000_002.0); // the smallest term breaks the tie
        assert_eq!(sum(&[1e100, 1.0, -1e100]), 1.0);
    }

    #[test]
    fn intermediate_sums_beyond_the_range_stay_exact() {
        assert_eq!(sum(&[1.7e308, 1.7e308]), f64::INFINITY);
        assert_eq!(sum(&[-1.7e308, -1.7e308, 1.0]), f64::NEG_INFINITY);
        assert_eq!(sum(&[1.7e308, 1.7e308, -1.7e308, -1.7e308, 5e-324]), 5e-324);
        assert_eq!(sum(&[f64::MAX, 1.0, -f64::MAX]), 1.0);
        let half = power_of_two(970); // of MAX's last bit
        assert_eq!([sum(&[f64::MAX, half]), sum(&[f64::MAX, half, -5e-324])], [f64::INFINITY, f64::MAX]);
        let (large, below) = (power_of_two(1000), power_of_two(947));
        assert_eq!(sum(&[large, below]), large);
        for tiny in [5e-324, 1.0, power_of_two(-400), power_of_two(500)] {
            assert_eq!(
                [sum(&[large, below, tiny]), sum(&[large, below, -tiny])],
                [large + 2.0 * below, large],
                "{tiny}"
            );
            assert_eq!(
                sum(&[large, below, tiny, -power_of_two(-1000)]) > large,
                tiny > power_of_two(-1000),
                "{tiny}"
            );
        }
        // Many terms below `LARGE` may cancel one above it.
        let mut terms = vec![-power_of_two(511); 1 << 10];
        terms.extend([power_of_two(521), 0.5]);
        assert_eq!(sum(&terms), 0.5);
    }

    #[test]
    fn a_mean_stays_in_the_range_of_its_terms() {
        let mean = |terms: &[f64]| exact(terms).mean(i64::try_from(terms.len()).unwrap());
        assert_eq!(mean(&[f64::MAX; 7]), f64::MAX);
        assert_eq!(mean(&[1.5e308, 1.7e308, 1.6e308]), 1.6e308);
        assert_eq!(mean(&[5e-324; 3]), 5e-324);
        assert_eq!(mean(&[0.1, 0.2, 0.4]), sum(&[0.1, 0.2, 0.4]) / 3.0);
    }

    proptest! {
        #[test]
        fn order_does_not_matter(mut terms in prop::collection::vec(-1e12f64..1e12, 0..60), seed in any::<u64>()) {
            let before = sum(&terms);
            shuffle(&mut terms, seed);
            prop_assert_eq!(before.to_bits(), sum(&terms).to_bits());
        }

        #[test]
        fn order_does_not_matter_for_terms_of_any_size(mut terms in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO, 1..60), huge in 0usize..20, seed in any::<u64>()) {
            for term in terms.iter_mut().take(huge) {
                *term = (f64::MAX / 2.0 + term.abs() / 2.0).copysign(*term);
            }
            let (value, mean) = (sum(&terms), exact(&terms).mean(terms.len() as i64));
            prop_assert!(!value.is_nan() && mean.is_finite());
            shuffle(&mut terms, seed);
            prop_assert_eq!((value.to_bits(), mean.to_bits()), (sum(&terms).to_bits(), exact(&terms).mean(terms.len() as i64).to_bits()));
        }

        /// Scaling all terms by a power of two scales the sum: compares sums with large terms to sums
        /// without.
        #[test]
        fn large_sums_are_scaled_small_ones(terms in prop::collection::vec((-1.0f64..1.0, -400i32..400), 0..40)) {
            let terms: Vec<f64> = terms.into_iter().map(|(digits, exponent)| digits * power_of_two(exponent)).collect();
            let scaled: Vec<f64> = terms.iter().map(|term| term * power_of_two(550)).collect();
            prop_assert_eq!(sum(&scaled).to_bits(), (sum(&terms) * power_of_two(550)).to_bits());
        }

        #[test]
        fn whole_numbers_sum_like_integers(terms in prop::collection::vec(-1_000_000_000i64..1_000_000_000, 0..100)) {
            let floats: Vec<f64> = terms.iter().map(|&t| t as f64).collect();
            prop_assert_eq!(sum(&floats), terms.iter().sum::<i64>() as f64);
        }

        #[test]
        fn huge_numbers_sum_like_integers(terms in prop::collection::vec(any::<i64>(), 0..100)) {
            let unit = power_of_two(950);
            let floats: Vec<f64> = terms.iter().map(|&t| t as f64).collect();
            let whole: i128 = floats.iter().map(|&t| t as i128).sum();
            let floats: Vec<f64> = floats.into_iter().map(|t| t * unit).collect();
            prop_assert_eq!(sum(&floats), whole as f64 * unit);
        }
    }
}
