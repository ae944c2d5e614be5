//! What large circuits without disorder do, in the mean.
//!
//! ```text
//! m = E φ(b (x − m) + √(σ²/2) z)      z ~ N(0, 1)      the bias is x − m
//! ```
//! A delay d makes the readout oscillate from the feedback b on at which b κ = √(1 + ω²), with κ = E φ'(…) and ω d + arctan ω = π: there the
//! linear equation δ' = −δ − b κ δ(t − d) has an undamped solution.

/// Points and range of the sum that stands for the mean over z.
const POINTS: usize = 2001;
const RANGE: f64 = 9.0;
/// Halvings of an interval, beyond the last digit.
const HALVINGS: usize = 55;

/// Mean of f over a standard normal number, by the trapezoidal rule.
fn expectation(f: impl Fn(f64) -> f64) -> f64 {
    let width = 2.0 * RANGE / (POINTS - 1) as f64;
    let density = |z: f64| (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
    (0..POINTS).map(|k| -RANGE + width * k as f64).map(|z| width * density(z) * f(z)).sum()
}

/// The place in [`low`, `high`] at which a falling function is zero.
fn zero(low: f64, high: f64, falling: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (low, high);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if falling(middle) > 0.0 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// x − ⟨x̂⟩ for an input x, noise σ and feedback b.
pub fn bias(input: f64, noise: f64, feedback: f64) -> f64 {
    let spread = noise / 2.0_f64.sqrt();
    let beyond = |m: f64| expectation(|z| (feedback * (input - m) + spread * z).tanh()) - m;
    input - zero(-1.0, 1.0, beyond)
}

/// κ: the mean slope of φ.
fn slope(input: f64, noise: f64, feedback: f64) -> f64 {
    let (middle, spread) = (feedback * bias(input, noise, feedback), noise / 2.0_f64.sqrt());
    expectation(|z| 1.0 - (middle + spread * z).tanh().powi(2))
}

/// The feedback from which on a delay makes the readout oscillate; `None` without a delay.
pub fn critical_feedback(input: f64, noise: f64, delay: f64) -> Option<f64> {
    if !(delay > 0.0) {
        return None;
    }
    let pi = std::f64::consts::PI;
    let frequency = zero(0.0, pi / delay, |w| pi - w * delay - w.atan());
    let needed = (1.0 + frequency * frequency).sqrt();
    // b κ(b) rises with b: κ changes little.
    Some(zero(0.0, 10.0 * needed, |b| needed - b * slope(input, noise, b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_of_the_table() {
        let cases =
            [(1.0, 0.1105), (2.0, 0.0765), (4.0, 0.0474), (8.0, 0.0269), (16.0, 0.0144), (32.0, 0.0075)];
        for (b, expected) in cases {
            assert!((bias(0.2, 0.75, b) - expected).abs() < 1e-4, "b = {b}: {}", bias(0.2, 0.75, b));
        }
    }

    #[test]
    fn without_noise_the_mean_field_is_one_equation() {
        let bias = bias(0.2, 0.0, 3.0);
        assert!((0.2 - bias - (3.0 * bias).tanh()).abs() < 1e-9);
    }

    #[test]
    fn the_delay_of_a_tenth_is_unstable_from_21_on() {
        let critical = critical_feedback(0.2, 0.75, 0.1).unwrap();
        assert!((critical - 20.8).abs() < 0.1, "{critical}");
        assert_eq!(critical_feedback(0.2, 0.75, 0.0), None);
    }
}
