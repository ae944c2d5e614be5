//! Invariant risk minimisation on coloured digits: a penalty on what a change of the scale of f would gain in one half of the images.
//!
//! ```text
//! Σ_e [ nll_e(f) + P (d/ds nll_e(s f) at s = 1)² ] / 2 + λ ‖θ‖²      nll_e the mean of log(1 + exp f) − y f over half e,   P = 1 at first
//! ```
//! divided by P where P > 1, so that the gradients keep their size. Every step has all images; the halves differ by how well their colours
//! tell the label.
//!
//! # Source
//! Arjovsky et al., arXiv 1907.02893; the numbers are those of their search, as the code of arXiv 2011.09468 runs it.

use super::coloured::PIXELS;
use crate::ExperimentError;
use crate::recipe::{binary, unbuilt};
use weightproof::network::{Activation, Network};
use weightproof_train::Labelled;
use weightproof_train::graph::{Graph, Tape, Var, Weights};
use weightproof_train::optimizer::{Optimizer, Rule};
use weightproof_train::parameters::{Initialization, Parameters};

const SIZES: [usize; 4] = [PIXELS, 390, 390, 1];
/// Steps of a whole run.
pub(super) const STEPS: usize = 501;
/// P, after this share of the steps: 190 of 501.
pub(super) const PENALTY: f64 = 91_257.186_131_159_03;
const ANNEALED: f64 = 190.0 / 501.0;
/// λ.
const SQUARES: f64 = 0.001_107_945_68;
const RATE: f64 = 0.000_489_853_656_654_683_4;

/// The mean nll of some outputs f, (samples, 1), and its derivative by a factor of f.
fn risk<'t>(f: Var<'t>, labels: Var<'t>) -> [Var<'t>; 2] {
    let nll = (f.activation(Activation::Softplus) - labels * f).mean();
    [nll, ((f.activation(Activation::Sigmoid) - labels) * f).mean()]
}

/// The sum over both halves, divided by `penalty`, without squares of weights.
fn loss<'t>(
    graph: &'t Graph,
    weights: &Weights<'t>,
    tape: &'t Tape<'t>,
    halves: &'t [Labelled; 2],
    penalty: f64,
) -> Var<'t> {
    let [first, second] = halves.each_ref().map(|half| {
        let logits = graph.forward(weights, graph.batch(tape, &half.inputs));
        let f = logits.block(&vec![1; half.len()], 1).scale(2.0);
        let labels = tape.constant(half.labels.iter().map(|&label| label as f32), [half.len(), 1]);
        let [nll, slope] = risk(f, labels);
        nll.scale(0.5 / penalty) + slope.square().scale(0.5)
    });
    first + second
}

/// Trains on images of which every other one is of the same half.
pub(super) fn train(
    images: &Labelled,
    seed: u64,
    steps: usize,
    interrupted: &dyn Fn() -> bool,
) -> Result<Network, ExperimentError> {
    let network = binary(&SIZES, Activation::Relu).map_err(unbuilt("coloured"))?;
    let halves = [0, 1].map(|half| images.pick(&(half..images.len()).step_by(2).collect::<Vec<_>>()));
    let graph = Graph::new(&network);
    let mut at = Parameters::random(&network, Initialization::LecunNormal, 1.0, seed);
    let mut optimizer = Optimizer::new(&Rule::adam(), &at);
    for step in 0..steps {
        if interrupted() {
            return Err(ExperimentError::Interrupted);
        }
        let penalty = if (step as f64) < ANNEALED * steps as f64 { 1.0 } else { PENALTY };
        let gradient = {
            let tape = graph.tape();
            let weights = graph.track(&tape, &at);
            tape.backward(loss(&graph, &weights, &tape, &halves, penalty), 1.0);
            graph.gradient(&weights)
        };
        let shrink = (2.0 * SQUARES / penalty) as f32;
        let gradient = gradient.zip(&at, |g, w| g + shrink * w);
        optimizer.step(RATE, &mut at, &gradient);
    }
    Ok(at.install(&network))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof_train::tape::Pool;

    /// The derivative by the factor is that of differences, and the loss is the logistic one.
    #[test]
    fn the_penalty_is_the_slope_of_the_risk() {
        let at = |factor: f32| {
            let pool = std::sync::Arc::<Pool<f32>>::default();
            let tape = Tape::new(&pool);
            let f = tape.constant([0.3_f32, -1.2, 2.0, -0.4].iter().map(|f| f * factor), [4, 1]);
            let labels = tape.constant([1.0_f32, 0.0, 0.0, 1.0].into_iter(), [4, 1]);
            risk(f, labels).map(|value| value.numbers()[0])
        };
        let [nll, slope] = at(1.0);
        let expected = [(0.3, 1.0), (-1.2, 0.0), (2.0, 0.0), (-0.4, 1.0)]
            .map(|(f, y): (f32, f32)| if y > 0.5 { (-f).exp().ln_1p() } else { f.exp().ln_1p() });
        assert!((nll - expected.iter().sum::<f32>() / 4.0).abs() < 1e-6);
        let difference = (at(1.01)[0] - at(0.99)[0]) / 0.02;
        assert!((difference - slope).abs() < 1e-3, "{difference}, {slope}");
    }

    /// What moves the weights is the gradient of the loss: differences of it along random directions.
    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let network = binary(&[3, 5, 1], Activation::Softplus).unwrap();
        let graph = Graph::new(&network);
        let at = Parameters::random(&network, Initialization::LecunNormal, 1.0, 3);
        let half = |shift: usize| Labelled {
            width: 3,
            inputs: (0..30).map(|k| ((k * 7 + shift) % 11) as f32 / 5.0 - 1.0).collect(),
            labels: (0..10).map(|k| u32::from((k + shift).is_multiple_of(3))).collect(),
        };
        let halves = [half(0), half(4)];
        for penalty in [1.0, 50.0] {
            let value = |at: &Parameters| {
                let tape = graph.tape();
                let weights = graph.track(&tape, at);
                let value = loss(&graph, &weights, &tape, &halves, penalty).numbers()[0];
                f64::from(value)
            };
            let tape = graph.tape();
            let weights = graph.track(&tape, &at);
            tape.backward(loss(&graph, &weights, &tape, &halves, penalty), 1.0);
            let gradient = graph.gradient(&weights);
            for seed in 0..5 {
                let direction = Parameters::random(&network, Initialization::LecunNormal, 1.0, 10 + seed);
                let step = 1e-2_f32;
                let along = |sign: f32| value(&at.zip(&direction, |w, d| w + sign * step * d));
                let difference = (along(1.0) - along(-1.0)) / (2.0 * f64::from(step));
                let product = gradient.zip(&direction, |g, d| g * d);
                let slope: f64 = product.arrays.iter().flatten().map(|v| f64::from(*v)).sum();
                assert!((difference - slope).abs() < 1e-3, "{penalty}: {difference}, {slope}");
            }
        }
    }
}
