//! Sums that depend on what is added, never on the order: the exact sum of the terms, rounded once at the end.
//!
//! Shewchuk's algorithm as Python's `math.fsum` has it: non-overlapping partial sums, lowest first, and a last rounding that
//! looks at the remainder so that ties go to even.

/// The exact sum of finite numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExactSum {
    partials: Vec<f64>,
}

impl ExactSum {
    /// Adds one finite term.
    pub fn add(&mut self, term: f64) {
        let (mut x, mut kept) = (term, 0);
        for i in 0..self.partials.len() {
            let mut y = self.partials[i];
            if x.abs() < y.abs() {
                std::mem::swap(&mut x, &mut y);
            }
            let high = x + y;
            let low = y - (high - x);
            if low != 0.0 {
                self.partials[kept] = low;
                kept += 1;
            }
            x = high;
        }
        self.partials.truncate(kept);
        self.partials.push(x);
    }

    /// The sum, correctly rounded; infinite where it leaves the range of `f64`.
    #[must_use]
    pub fn value(&self) -> f64 {
        let mut rest = self.partials.iter().rev().copied();
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
        // `low` is exactly half a unit in the last place and more of its sign lies below: the tie is none.
        if rest.next().is_some_and(|below| (low < 0.0 && below < 0.0) || (low > 0.0 && below > 0.0)) {
            let (twice, x) = (low * 2.0, high + low * 2.0);
            #[expect(clippy::float_cmp, reason = "exactness is the point")]
            if twice == x - high {
                high = x;
            }
        }
        high
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(terms: &[f64]) -> f64 {
        let mut sum = ExactSum::default();
        terms.iter().for_each(|&t| sum.add(t));
        sum.value()
    }

    #[test]
    fn known_sums_are_exact() {
        assert_eq!(sum(&[]), 0.0);
        assert_eq!(sum(&[0.1; 10]), 1.0);
        assert_eq!(sum(&[1e16, 1.0, 1e-16]), 10_000_000_000_000_002.0); // the tie is broken by what lies below
        assert_eq!(sum(&[1e100, 1.0, -1e100]), 1.0);
    }

    proptest! {
        #[test]
        fn order_does_not_matter(mut terms in prop::collection::vec(-1e12f64..1e12, 0..60), seed in any::<u64>()) {
            let before = sum(&terms);
            let len = terms.len().max(1);
            for i in 0..terms.len() { terms.swap(i, (seed as usize).wrapping_mul(i + 7) % len); }
            prop_assert_eq!(before.to_bits(), sum(&terms).to_bits());
        }

        #[test]
        fn whole_numbers_sum_like_integers(terms in prop::collection::vec(-1_000_000_000i64..1_000_000_000, 0..100)) {
            let floats: Vec<f64> = terms.iter().map(|&t| t as f64).collect();
            prop_assert_eq!(sum(&floats), terms.iter().sum::<i64>() as f64);
        }
    }
}
