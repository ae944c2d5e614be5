//! Where the gradient of a batch is taken: at the parameters themselves, or at perturbed ones.

mod awp;
mod noise;
pub mod pgd;
mod sam;

use crate::parameters::Parameters;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A perturbation of parameters and inputs before the gradient is taken; several act one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Adversary {
    /// `Ŵ = W + σ N(0, 1)`, with `relative` `W (1 + σ N(0, 1))`.
    Noise {
        /// Standard deviation.
        deviation: f64,
        /// Whether it is a fraction of each weight.
        #[serde(default)]
        relative: bool,
    },
    /// Sharpness-aware minimization: `Ŵ = W + ρ g / ‖g‖₂` (Foret et al., arXiv 2010.01412).
    Sam {
        /// Length of the step.
        rho: f64,
    },
    /// Adversarial weight perturbation: `Ŵᵏ = Wᵏ + γ ‖Wᵏ‖ gᵏ / ‖gᵏ‖` in every array (Wu et al., arXiv 2004.05884).
    Awp {
        /// Length of the step as a fraction of the norm of the array.
        gamma: f64,
    },
    /// Projected gradient ascent on the cross-entropy, one perturbation for each batch; steps alternate between weights and
    /// inputs when both have a radius.
    Pgd {
        /// Radius of weights and biases.
        #[serde(default)]
        radius: f64,
        /// Radius of the inputs, which stay in [0, 1].
        #[serde(default)]
        input_radius: f64,
        /// Number of steps.
        steps: usize,
    },
}

/// A loss whose gradients an adversary may ask for.
pub(crate) trait Landscape {
    /// Gradient of the training loss by the parameters.
    fn loss_gradient(&self, at: &Parameters, inputs: &[f32]) -> Parameters;
    /// Gradients of the cross-entropy by parameters and inputs.
    fn cross_entropy_gradients(&self, at: &Parameters, inputs: &[f32]) -> (Parameters, Vec<f32>);
}

impl Adversary {
    /// Where the gradient is to be taken, from `parameters` and `inputs` on.
    pub(crate) fn perturb(
        &self,
        landscape: &dyn Landscape,
        parameters: Parameters,
        inputs: Vec<f32>,
        rng: &mut ChaCha8Rng,
    ) -> (Parameters, Vec<f32>) {
        match *self {
            Adversary::Noise { deviation, relative } => {
                (noise::add(parameters, deviation, relative, rng), inputs)
            }
            Adversary::Sam { rho } => {
                let gradient = landscape.loss_gradient(&parameters, &inputs);
                (sam::climb(parameters, &gradient, rho), inputs)
            }
            Adversary::Awp { gamma } => {
                let gradient = landscape.loss_gradient(&parameters, &inputs);
                (awp::climb(parameters, &gradient, gamma), inputs)
            }
            Adversary::Pgd { radius, input_radius, steps } => {
                pgd::climb(landscape, &parameters, &inputs, (radius, input_radius), steps)
            }
        }
    }

    /// What is wrong with its numbers, if anything.
    pub(crate) fn defect(&self) -> Option<String> {
        let numbers = match *self {
            Adversary::Noise { deviation, .. } => [deviation, 0.0],
            Adversary::Sam { rho } => [rho, 0.0],
            Adversary::Awp { gamma } => [gamma, 0.0],
            Adversary::Pgd { radius, input_radius, .. } => [radius, input_radius],
        };
        let bad = numbers.into_iter().find(|v| !(v.is_finite() && *v >= 0.0));
        bad.map(|v| format!("expected finite numbers of at least 0, found {v}"))
    }
}
