//! Gaussian noise on weights and biases.

use crate::parameters::Parameters;
use crate::random;
use rand_chacha::ChaCha8Rng;

/// `w + σ n`, or `w (1 + σ n)`.
pub(super) fn add(mut at: Parameters, deviation: f64, relative: bool, rng: &mut ChaCha8Rng) -> Parameters {
    let deviation = deviation as f32;
    for array in &mut at.arrays {
        let noise = random::normal(rng, array.len());
        array.iter_mut().zip(noise).for_each(|(w, n)| *w += deviation * n * if relative { *w } else { 1.0 });
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::squares;
    use crate::random::{Purpose, generator};

    #[test]
    fn noise_has_its_deviation() {
        let weights = Parameters { arrays: vec![vec![2.0; 10_000]] };
        for (relative, expected) in [(false, 0.1), (true, 0.2)] {
            let noisy = add(weights.clone(), 0.1, relative, &mut generator(1, Purpose::Perturbation, 0, 0));
            let difference = noisy.zip(&weights, |a, b| a - b);
            let deviation = (squares(&difference.arrays[0]) / 10_000.0).sqrt();
            assert!((deviation / expected - 1.0).abs() < 0.03, "{deviation}");
        }
    }
}
