//! The Gaussian law: its density and how much is below and above a point, without loss of digits in either tail.

use std::f64::consts::FRAC_1_SQRT_2;

/// `P[N ≤ x]`.
pub(super) fn below(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// `P[N ≥ x]`.
pub(super) fn above(x: f64) -> f64 {
    below(-x)
}

/// The density at `x`.
pub(super) fn density(x: f64) -> f64 {
    0.398_942_280_401_432_7 * (-0.5 * x * x).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_tables() {
        for (x, exact) in [(0.0, 0.5), (1.0, 0.841_344_746_068_543), (-3.0, 1.349_898_031_630_094_6e-3)] {
            assert!((below(x) - exact).abs() < 1e-14 * exact && (above(-x) - exact).abs() < 1e-14 * exact);
        }
        assert!((density(1.0) - 0.241_970_724_519_143_35).abs() < 1e-15);
    }
}
