//! Rank correlations, and how sure they are.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 1000;
/// Share of the resamples outside of an interval, on each side.
const TAIL: f64 = 0.025;

/// Spearman's rank correlation, equal numbers at the mean of their ranks; NaN where one list is constant.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    // Centred: half the difference between how many are smaller and how many are larger.
    let ranks = |values: &[f64]| -> Vec<f64> {
        let count = |smaller: &dyn Fn(&f64) -> bool| values.iter().filter(|w| smaller(w)).count() as f64;
        values.iter().map(|v| 0.5 * (count(&|w| w < v) - count(&|w| w > v))).collect()
    };
    let (a, b) = (ranks(a), ranks(b));
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

/// Kendall's τ_b: concordant minus discordant pairs over the geometric mean of the pairs that are no ties in either list; NaN where
/// one list is constant.
pub fn kendall(pairs: &[(f64, f64)]) -> f64 {
    let (mut sum, mut untied) = (0.0, [0.0_f64; 2]);
    for (k, (a, b)) in pairs.iter().enumerate() {
        for (c, d) in &pairs[..k] {
            let sign = |x: f64, y: f64| f64::from(i8::from(x > y) - i8::from(x < y));
            let (first, second) = (sign(*a, *c), sign(*b, *d));
            sum += first * second;
            untied[0] += first.abs();
            untied[1] += second.abs();
        }
    }
    sum / (untied[0] * untied[1]).sqrt()
}

/// A correlation and the interval in which 95% of the resamples lie (percentile bootstrap over the pairs).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlation {
    /// τ_b.
    pub tau: f64,
    /// Ends of the interval.
    pub interval: (f64, f64),
    /// Number of pairs.
    pub count: usize,
}

impl Correlation {
    /// Of the pairs whose numbers are both finite.
    pub fn new(pairs: &[(f64, f64)], seed: u64) -> Correlation {
        let pairs: Vec<(f64, f64)> =
            pairs.iter().copied().filter(|(a, b)| a.is_finite() && b.is_finite()).collect();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = || {
            let resample: Vec<_> =
                (0..pairs.len()).map(|_| pairs[random.random_range(0..pairs.len())]).collect();
            kendall(&resample)
        };
        let count = if pairs.len() < 3 { 0 } else { RESAMPLES };
        let mut taus: Vec<f64> = (0..count).map(|_| draw()).filter(|tau| tau.is_finite()).collect();
        taus.sort_by(f64::total_cmp);
        let at = |p: f64| {
            let place = (p * taus.len().saturating_sub(1) as f64).round() as usize;
            taus.get(place).copied().unwrap_or(f64::NAN)
        };
        Correlation { tau: kendall(&pairs), interval: (at(TAIL), at(1.0 - TAIL)), count: pairs.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spearman_by_hand() {
        assert_eq!(spearman(&[1.0, 2.0, 5.0], &[10.0, 20.0, 21.0]), 1.0);
        assert_eq!(spearman(&[1.0, 2.0, 5.0], &[3.0, 2.0, 1.0]), -1.0);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0]), 0.5);
        // Ranks (1, 2.5, 2.5) and (1, 2, 3): 1.5 / √(1.5 · 2).
        let tied = spearman(&[1.0, 2.0, 2.0], &[1.0, 2.0, 3.0]);
        assert!((tied - 0.75f64.sqrt()).abs() < 1e-12, "{tied}");
        assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).is_nan());
    }

    #[test]
    fn kendall_by_hand() {
        let with = |b: [f64; 3]| [1.0, 2.0, 3.0].into_iter().zip(b).collect::<Vec<_>>();
        assert_eq!(kendall(&with([4.0, 5.0, 6.0])), 1.0);
        assert_eq!(kendall(&with([6.0, 5.0, 4.0])), -1.0);
        assert!((kendall(&with([4.0, 6.0, 5.0])) - 1.0 / 3.0).abs() < 1e-15);
        // Two of three pairs are no ties in b: 2 / √(3 · 2).
        assert!((kendall(&with([4.0, 5.0, 5.0])) - 2.0 / 6f64.sqrt()).abs() < 1e-15);
        assert!(kendall(&with([1.0; 3])).is_nan());
    }

    #[test]
    fn intervals_hold_the_correlation_and_shrink_with_more_pairs() {
        let pairs = |n: i32| -> Vec<(f64, f64)> {
            (0..n).map(|k| (f64::from(k), f64::from(k) + 3.0 * f64::from(k * 7 % 5))).collect()
        };
        let [few, many] = [10, 60].map(|n| Correlation::new(&pairs(n), 1));
        for c in [few, many] {
            assert!(c.interval.0 <= c.tau && c.tau <= c.interval.1, "{c:?}");
        }
        assert!(many.interval.1 - many.interval.0 < few.interval.1 - few.interval.0);
        assert_eq!(many, Correlation::new(&pairs(60), 1));
        assert_eq!(Correlation::new(&[(1.0, f64::NAN)], 1).count, 0);
    }
}
