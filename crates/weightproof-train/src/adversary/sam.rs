//! The step of sharpness-aware minimization.

use crate::parameters::Parameters;

/// `W + ρ g / ‖g‖₂` over all parameters; `W` when the gradient is zero.
pub(super) fn climb(at: Parameters, gradient: &Parameters, rho: f64) -> Parameters {
    let norm = gradient.norm();
    let length = if norm > 0.0 { (rho / norm) as f32 } else { 0.0 };
    at.zip(gradient, |w, g| w + length * g)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_has_its_length() {
        let at = Parameters { arrays: vec![vec![1.0], vec![2.0]] };
        let gradient = Parameters { arrays: vec![vec![30.0], vec![-40.0]] };
        let there = climb(at.clone(), &gradient, 0.5);
        assert!((there.arrays[0][0] - 1.3).abs() < 1e-6 && (there.arrays[1][0] - 1.6).abs() < 1e-6);
        assert_eq!(climb(at.clone(), &at.zeros(), 0.5), at);
    }
}
