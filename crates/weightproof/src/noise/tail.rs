//! How likely a sum of noise is to exceed `q` deviations (theory.md §14).
//!
//! ```text
//! any noise                              P[Σ ξ ≥ q √V] ≤ exp(−q²/2)                Chernoff
//! Gaussian, one random layer             P[Σ ξ ≥ q √V] = erfc(q/√2) / 2            the sum is Gaussian
//! Gaussian, several                      P[Σ ξ ≥ q √V] ≤ erfc(q/√2)                a Brownian motion, stopped before V
//! ```
//! # Guarantee
//! Rounded up, given `erfc` and `exp` within two units of the last place.
//! # Source
//! The last line is ours: given the layers before it, what a layer adds is Gaussian and its variance depends on those layers only, so the
//! sum is a Brownian motion at a stopping time of at most V. By the reflection principle its maximum up to V is above `q √V` with twice
//! the probability of its end.

/// Which of the tails holds for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Sub-Gaussian noise.
    Chernoff,
    /// Gaussian noise of one layer, which reads what is not random.
    Gaussian,
    /// Gaussian noise of several layers.
    Reflected,
}

/// A probability that is smaller is given as this one.
const LEAST: f64 = 1e-300;
/// Roundings of an argument, and errors of a function.
const SLACK: f64 = 8.0 * f64::EPSILON;

impl Tail {
    /// An upper bound of the probability that the noise of a row exceeds `q` roots of its variance proxy; 1 for `q` ≤ 0 and NaN.
    pub fn at(self, q: f64) -> f64 {
        if !(q > 0.0) {
            return 1.0;
        }
        let probability = match self {
            Tail::Chernoff => (-(q * q * 0.5 * (1.0 - SLACK))).exp(),
            Tail::Gaussian => 0.5 * erfc_of(q),
            Tail::Reflected => erfc_of(q),
        };
        (probability * (1.0 + SLACK)).clamp(LEAST, 1.0)
    }
}

/// `erfc(q/√2)`, from an argument that is rounded down.
fn erfc_of(q: f64) -> f64 {
    libm::erfc(q * std::f64::consts::FRAC_1_SQRT_2 * (1.0 - SLACK))
}

/// The largest `q` that is looked at: all tails there are below every probability of interest.
pub(super) const MOST: f64 = 38.0;

/// The smallest `q`, nearly, with `total(q) ≤ probability`, for a sum of tails; `None` where there is none up to [`MOST`].
pub(super) fn quantile(probability: f64, total: impl Fn(f64) -> f64) -> Option<f64> {
    let (mut low, mut high) = (0.0, MOST);
    if !(total(high) <= probability) {
        return None;
    }
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if total(middle) <= probability { high = middle } else { low = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_tables() {
        // P[N ≥ 3], P[N ≥ 6], exp(−8).
        for (tail, q, exact) in [
            (Tail::Gaussian, 3.0, 1.349_898_031_630_094_6e-3),
            (Tail::Gaussian, 6.0, 9.865_876_450_376_98e-10),
            (Tail::Reflected, 6.0, 2.0 * 9.865_876_450_376_98e-10),
            (Tail::Chernoff, 4.0, 3.354_626_279_025_118_5e-4),
        ] {
            let found = tail.at(q);
            assert!(found >= exact * (1.0 - 1e-15) && found < exact * (1.0 + 1e-12), "{tail:?} {q} {found}");
        }
        for tail in [Tail::Chernoff, Tail::Gaussian, Tail::Reflected] {
            assert_eq!((tail.at(0.0), tail.at(-1.0), tail.at(f64::NAN)), (1.0, 1.0, 1.0));
            assert!(tail.at(1e9) == LEAST && tail.at(f64::INFINITY) == LEAST);
        }
    }

    #[test]
    fn quantiles_are_where_the_tail_is_small_enough_and_no_earlier() {
        for probability in [1e-2, 1e-6, 1e-9, 1e-200] {
            let total = |q: f64| 100.0 * Tail::Chernoff.at(q);
            let q = quantile(probability, total).unwrap();
            assert!(total(q) <= probability && total(q - 1e-6) > probability, "{probability}");
        }
        assert_eq!(quantile(f64::NAN, |q| Tail::Gaussian.at(q)), None);
        assert_eq!(quantile(1e-320, |q| Tail::Gaussian.at(q)), None);
    }
}
