//! The circuit as stochastic differential equations with a delay.
//!
//! ```text
//! dh_i = (−h_i + g Σ_j J_ij φ(h_j(t−d)) + b w_i (x − x̂(t−d))) dt + σ dB_i      x̂ = N⁻¹ Σ_j w_j φ(h_j)      φ = tanh
//! ```
//! J_ij ~ N(0, 1/N), w_i = ±1 in turns. Heun's method: a step ahead, and again with the mean of both slopes. All circuits of a run have the
//! same J and the same noise, and are moved together, so that J is read once for all.

use std::collections::VecDeque;
use weightproof::kernels::{Matrix, product};
use weightproof_train::random::{Purpose, generator, normal};

/// One circuit of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Circuit {
    /// g: strength of the disorder.
    pub gain: f64,
    /// b: strength of the feedback.
    pub feedback: f64,
    /// σ of the noise.
    pub noise: f64,
}

/// Circuits that are simulated together.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// N.
    pub neurons: usize,
    /// Length of a step.
    pub step: f64,
    /// Steps that are not measured, and steps that are.
    pub steps: (usize, usize),
    /// d, in steps.
    pub delay: usize,
    /// x.
    pub input: f64,
    /// The circuits.
    pub circuits: Vec<Circuit>,
}

/// The readout x̂ of a circuit over the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Readout {
    /// Mean.
    pub mean: f64,
    /// Variance.
    pub variance: f64,
    /// Root of the mean of (x̂ − x)².
    pub error: f64,
}

/// What circuits tell each other: φ(h), (neurons, circuits), and the readouts.
#[derive(Clone)]
struct Signals {
    activity: Matrix<f64>,
    readouts: Vec<f64>,
}

/// +1 and −1 in turns.
fn sign(neuron: usize) -> f64 {
    if neuron.is_multiple_of(2) { 1.0 } else { -1.0 }
}

impl Run {
    fn signals(&self, state: &Matrix<f64>) -> Signals {
        let activity = state.map(f64::tanh);
        let mut readouts = vec![0.0; state.cols()];
        for i in 0..state.rows() {
            let row = activity.row(i).iter();
            readouts.iter_mut().zip(row).for_each(|(sum, z)| *sum += sign(i) * z);
        }
        readouts.iter_mut().for_each(|sum| *sum /= state.rows() as f64);
        Signals { activity, readouts }
    }

    /// dh/dt without noise, into `slopes`; `past` are the signals that arrive now.
    fn slopes(
        &self,
        state: &Matrix<f64>,
        past: &Signals,
        disorder: Option<&Matrix<f64>>,
        slopes: &mut Matrix<f64>,
    ) {
        match disorder {
            Some(weights) => product(slopes, weights, &past.activity),
            None => *slopes = Matrix::zeros(state.rows(), state.cols()),
        }
        for i in 0..state.rows() {
            let row = slopes.row_mut(i).iter_mut().zip(state.row(i));
            for ((slope, h), (circuit, readout)) in row.zip(self.circuits.iter().zip(&past.readouts)) {
                *slope = circuit.gain * *slope - h + circuit.feedback * sign(i) * (self.input - readout);
            }
        }
    }

    /// Simulates all circuits from random states; `None` when `interrupted` says so.
    pub fn simulate(&self, seed: u64, interrupted: &dyn Fn() -> bool) -> Option<Vec<Readout>> {
        let (n, count) = (self.neurons, self.circuits.len());
        let mut random = generator(seed, Purpose::Data, 0, 0);
        let deviation = 1.0 / (n as f64).sqrt();
        let disordered = self.circuits.iter().any(|c| c.gain != 0.0);
        let disorder = disordered.then(|| {
            let numbers = normal(&mut random, n * n);
            Matrix::from_vec(n, n, numbers.iter().map(|&z| deviation * f64::from(z)).collect())
        });
        let start = normal(&mut random, n);
        let mut state = Matrix::from_fn(n, count, |i, _| f64::from(start[i]));
        let mut history: VecDeque<Signals> = vec![self.signals(&state); self.delay + 1].into();
        let mut ahead = state.clone();
        let (mut first, mut second) = (Matrix::zeros(n, count), Matrix::zeros(n, count));
        let mut sums = vec![[0.0; 3]; count];
        for step in 0..self.steps.0 + self.steps.1 {
            if step % 100 == 0 && interrupted() {
                return None;
            }
            let kicks: Vec<f64> =
                normal(&mut random, n).iter().map(|&z| self.step.sqrt() * f64::from(z)).collect();
            self.slopes(&state, &history[0], disorder.as_ref(), &mut first);
            let moved = |state: &mut Matrix<f64>, slopes: &dyn Fn(usize, usize) -> f64| {
                for (i, kick) in kicks.iter().enumerate() {
                    let row = state.row_mut(i).iter_mut().zip(&self.circuits).enumerate();
                    row.for_each(|(c, (h, circuit))| *h += self.step * slopes(i, c) + circuit.noise * kick);
                }
            };
            ahead.copy_from(&state);
            moved(&mut ahead, &|i, c| first[(i, c)]);
            // Without a delay what arrives after the step is what the step ahead says.
            let arriving = match history.get(1) {
                Some(next) => next.clone(),
                None => self.signals(&ahead),
            };
            self.slopes(&ahead, &arriving, disorder.as_ref(), &mut second);
            moved(&mut state, &|i, c| 0.5 * (first[(i, c)] + second[(i, c)]));
            history.pop_front();
            history.push_back(self.signals(&state));
            if step >= self.steps.0 {
                let readouts = &history[self.delay].readouts;
                for (sum, readout) in sums.iter_mut().zip(readouts) {
                    let error = readout - self.input;
                    sum[0] += error;
                    sum[1] += error * error;
                }
            }
        }
        let steps = self.steps.1 as f64;
        Some(sums.iter().map(|sum| readout(self.input, sum[0] / steps, sum[1] / steps)).collect())
    }
}

/// From the means of x̂ − x and of its square.
fn readout(input: f64, mean: f64, square: f64) -> Readout {
    Readout { mean: input + mean, variance: (square - mean * mean).max(0.0), error: square.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predictive_coding::mean_field;

    fn run(circuits: Vec<Circuit>, delay: usize, step: f64) -> Vec<Readout> {
        let run = Run { neurons: 400, step, steps: (400, 1200), delay, input: 0.2, circuits };
        run.simulate(1, &|| false).unwrap()
    }

    #[test]
    fn the_bias_is_that_of_the_mean_field() {
        let noisy = |feedback| Circuit { gain: 0.0, feedback, noise: 0.75 };
        let feedbacks = [1.0, 4.0, 16.0];
        let found = run(feedbacks.map(noisy).to_vec(), 0, 0.04);
        for (b, found) in feedbacks.into_iter().zip(found) {
            let expected = mean_field::bias(0.2, 0.75, b);
            assert!((0.2 - found.mean - expected).abs() < 0.05 * expected, "b = {b}: {found:?}, {expected}");
        }
    }

    #[test]
    fn nothing_moves_without_noise_and_disorder() {
        // h_i = b w_i (x − x̂) and x̂ = tanh(b (x − x̂)): the mean field without noise.
        let found = run(vec![Circuit { gain: 0.0, feedback: 2.0, noise: 0.0 }], 0, 0.05);
        assert!((0.2 - found[0].mean - mean_field::bias(0.2, 0.0, 2.0)).abs() < 1e-6, "{found:?}");
        assert!(found[0].variance < 1e-12);
    }

    #[test]
    fn a_late_feedback_oscillates_when_it_is_strong() {
        let critical = mean_field::critical_feedback(0.2, 0.75, 0.1).unwrap();
        let at = |factor: f64| Circuit { gain: 0.0, feedback: factor * critical, noise: 0.75 };
        let found = run(vec![at(0.7), at(1.3)], 10, 0.01);
        assert!(found[1].variance > 20.0 * found[0].variance, "{found:?}");
    }
}
