//! The step of adversarial weight perturbation.

use crate::parameters::{Parameters, squares};

/// `W + γ ‖W‖ g / ‖g‖` in every array on its own.
pub(super) fn climb(mut at: Parameters, gradient: &Parameters, gamma: f64) -> Parameters {
    for (weights, gradient) in at.arrays.iter_mut().zip(&gradient.arrays) {
        let (size, norm) = (squares(weights).sqrt(), squares(gradient).sqrt());
        let length = if norm > 0.0 { (gamma * size / norm) as f32 } else { 0.0 };
        weights.iter_mut().zip(gradient).for_each(|(w, g)| *w += length * g);
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_array_moves_by_its_own_norm() {
        let at = Parameters { arrays: vec![vec![3.0, 4.0], vec![0.0], vec![2.0]] };
        let gradient = Parameters { arrays: vec![vec![0.0, 7.0], vec![1.0], vec![0.0]] };
        assert_eq!(climb(at, &gradient, 0.1).arrays, [vec![3.0, 4.5], vec![0.0], vec![2.0]]);
    }
}
