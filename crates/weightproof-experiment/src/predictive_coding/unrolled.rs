//! Some steps of the circuit as a network of this tool: how far can other disorder move the readout?
//!
//! ```text
//! h_{t+1} = (1 − τ) h_t + τ (g J φ(h_t) − b w x̂_t + b w x)      x̂_t = wᵀ φ(h_t) / N      h_0 = 0
//! ```
//! Every step has its own copy of τ g J, which is what moves; feedback, input and readout are fixed. The bounds hold for disorder that
//! changes from step to step, so for one that does not, too.

use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Network, NetworkBuilder, NetworkError, Scale};
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};
use weightproof_train::random::{Purpose, generator, normal};

/// Length of a step, τ; times the feedback it must stay below 1, or the steps overshoot.
pub const STEP: f64 = 0.1;

/// What is unrolled.
#[derive(Clone, Copy, Debug)]
pub struct Unrolled {
    /// N.
    pub neurons: usize,
    /// g.
    pub gain: f64,
    /// b.
    pub feedback: f64,
    /// Steps.
    pub steps: usize,
}

impl Unrolled {
    fn sign(neuron: usize) -> f64 {
        if neuron.is_multiple_of(2) { 1.0 } else { -1.0 }
    }

    /// The network from x to the readout after the last step.
    ///
    /// # Errors
    /// When there are no neurons.
    pub fn network(&self, seed: u64) -> Result<Network, NetworkError> {
        let n = self.neurons;
        let numbers = normal(&mut generator(seed, Purpose::Data, 0, 0), n * n);
        let size = STEP * self.gain / (n as f64).sqrt();
        let disorder = Matrix::from_vec(n, n, numbers.iter().map(|&z| size * f64::from(z)).collect());
        let strength = STEP * self.feedback;
        let feedback = Matrix::from_fn(n, n, |i, j| -strength / n as f64 * Self::sign(i) * Self::sign(j));
        let mut builder = NetworkBuilder::new(vec![1]);
        let drive = Matrix::from_fn(n, 1, |i, _| strength * Self::sign(i));
        let drive = builder.dense("drive", 0, drive, Vec::new())?;
        let mut state = drive;
        for t in 1..self.steps {
            let activity = builder.activation(&format!("tanh{t}"), state, Activation::Tanh)?;
            let leak = Scale::new(vec![1.0 - STEP; n], vec![0.0; n]);
            let kept = builder.scale(&format!("leak{t}"), state, leak)?;
            let inner = builder.dense(&disorder_name(t), activity, disorder.clone(), Vec::new())?;
            let outer = builder.dense(&format!("feedback{t}"), activity, feedback.clone(), Vec::new())?;
            state = builder.add(&format!("state{t}"), vec![kept, inner, outer, drive])?;
        }
        let activity = builder.activation("tanh", state, Activation::Tanh)?;
        let readout = Matrix::from_fn(1, n, |_, j| Self::sign(j) / n as f64);
        builder.dense("readout", activity, readout, Vec::new())?;
        builder.finish()
    }

    /// Every J_ij of every step within `radius`.
    pub fn set(&self, network: &Network, radius: f64) -> PerturbationSet {
        let layers = (1..self.steps).map(disorder_name).collect();
        let model = ThreatModel {
            layers: Some(layers),
            ..ThreatModel::new(Kind::Absolute, STEP * self.gain * radius)
        };
        model.resolve(network).expect("layers of the network and a finite radius")
    }
}

fn disorder_name(step: usize) -> String {
    format!("disorder{step}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::deviation;

    #[test]
    fn the_network_takes_the_steps_of_the_circuit() {
        let circuit = Unrolled { neurons: 6, gain: 1.3, feedback: 2.0, steps: 4 };
        let network = circuit.network(5).unwrap();
        let (_, _, disorder) = network.affine_layers().find(|(_, node, _)| node.name == "disorder1").unwrap();
        let (n, x) = (6, 0.3);
        let mut h = vec![0.0; n];
        let readout = |h: &[f64]| {
            h.iter().enumerate().map(|(i, h)| Unrolled::sign(i) * h.tanh()).sum::<f64>() / n as f64
        };
        for _ in 0..circuit.steps {
            let error = x - readout(&h);
            let next = |i: usize| {
                let inner: f64 = disorder.weight.row(i).iter().zip(&h).map(|(w, h)| w * h.tanh()).sum();
                (1.0 - STEP) * h[i] + inner + STEP * circuit.feedback * Unrolled::sign(i) * error
            };
            h = (0..n).map(next).collect();
        }
        assert!((network.forward(&[x])[0] - readout(&h)).abs() < 1e-12);
    }

    #[test]
    fn proved_deviations_hold_what_is_found() {
        let circuit = Unrolled { neurons: 6, gain: 1.0, feedback: 1.0, steps: 3 };
        let network = circuit.network(2).unwrap();
        let found = deviation(&network, &circuit.set(&network, 0.05), &[0.2], 20, 0);
        assert!(
            found.found > 0.0 && found.found <= found.proved && found.proved < 5.0 * found.found,
            "{found:?}"
        );
    }
}
