//! Reproducible randomness: one stream for each purpose, epoch and batch, so that a resumed run draws the same numbers.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What random numbers are for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Parameters at the start.
    Initialization = 1,
    /// Order of the samples.
    Order,
    /// Perturbations of weights and inputs.
    Perturbation,
    /// Synthetic data.
    Data,
}

/// The generator of a purpose at a batch of an epoch.
pub fn generator(seed: u64, purpose: Purpose, epoch: usize, batch: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(
        (purpose as u64) << 60 | (epoch as u64 & 0x3fff_ffff) << 30 | (batch as u64 & 0x3fff_ffff),
    );
    rng
}

/// Standard normal numbers (Box and Muller 1958).
pub fn normal(rng: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(count + 1);
    while numbers.len() < count {
        let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
        let (radius, angle) = ((-2.0 * u.ln()).sqrt(), std::f64::consts::TAU * v);
        numbers.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
    }
    numbers.truncate(count);
    numbers
}

/// The numbers below `count` in random order (Fisher and Yates).
pub fn permutation(rng: &mut ChaCha8Rng, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, rng.random_range(0..=last));
    }
    order
}
