//! The Fisher–Rao norm: how fast the loss changes when all parameters grow by the same factor.
//!
//! ```text
//! ‖θ‖²_fr = (1/n) Σ_i ⟨θ, ∇_θ ℓ(f(x_i), y_i)⟩² = (1/n) Σ_i ⟨∂ℓ/∂f, Df·θ⟩²        ℓ: cross-entropy, ∂ℓ/∂f = softmax(f) − e_y
//! ```
//! `Df·θ` is one forward pass of derivatives along the parameters, so no gradient is needed and any graph will do. The derivative of a
//! layer `W z + b` along its parameters is its own value, `W z + b`, to which `W ż` is added. For ReLU networks without biases
//! `Df·θ = L f` with L layers on every path, which is how the source writes it. The samples' own labels are used (the empirical
//! Fisher matrix).
//!
//! # Source
//! Liang, Poggio, Rakhlin and Stokes, arXiv 1711.01530, definition 2 and theorem 3.1. Difference: biases and graphs.

use crate::context::{Context, log_sum_exp};
use crate::error::{Refusal, continuous};
use crate::measures::{Direction, Measure, Needs, Parts};
use rayon::prelude::*;
use weightproof::kernels::{Matrix, Window, average_pool, linear};
use weightproof::model::{Model, Step, gathered};
use weightproof::verdict::Worth;

/// Samples that one thread runs at once.
const BLOCK: usize = 128;

/// `‖θ‖_fr`.
pub const FISHER_RAO: Measure = Measure {
    name: "fisher-rao",
    quantity: "sqrt of the mean of <theta, gradient of the cross-entropy>^2",
    source: "Liang et al., arXiv 1711.01530",
    needs: Needs::LABELS,
    parts: Parts::RootMeanSquare,
    guarantee: Worth::Measured,
    direction: Direction::WorseLarger,
    value: |context| Ok(mean_square(context)?.sqrt()),
};

fn mean_square(context: &Context<'_>) -> Result<f64, Refusal> {
    let labels = context.labels()?;
    continuous(context.network)?;
    let model = Model::<f64>::new(context.network);
    let width = context.network.input_width();
    let blocks: Vec<f64> = context
        .train
        .inputs
        .par_chunks(BLOCK * width)
        .zip(labels.par_chunks(BLOCK))
        .map(|(inputs, labels)| {
            let values = model.forward(Matrix::from_vec(labels.len(), width, inputs.to_vec()));
            let along = derivatives(&model, &values);
            let (outputs, along) = (&values[values.len() - 1], &along);
            (0..labels.len()).map(|s| slope(outputs.row(s), along.row(s), labels[s] as usize).powi(2)).sum()
        })
        .collect();
    Ok(blocks.iter().sum::<f64>() / labels.len() as f64)
}

/// `⟨softmax(f) − e_y, ḟ⟩`.
fn slope(outputs: &[f64], along: &[f64], label: usize) -> f64 {
    let total = log_sum_exp(outputs);
    outputs.iter().zip(along).map(|(f, d)| (f - total).exp() * d).sum::<f64>() - along[label]
}

/// Derivatives of the outputs along the parameters, `Df·θ`, for a block with these values of all nodes.
fn derivatives(model: &Model<'_, f64>, values: &[Matrix<f64>]) -> Matrix<f64> {
    let samples = values[0].rows();
    let mut along: Vec<Matrix<f64>> = Vec::with_capacity(values.len());
    for (index, step) in model.steps.iter().enumerate() {
        let inputs: Vec<&Matrix<f64>> = model.inputs_of(index).iter().map(|&i| &along[i]).collect();
        along.push(match step {
            Step::Input => Matrix::zeros(samples, values[0].cols()),
            Step::Affine(affine) => {
                let mut out = Matrix::default();
                linear(&mut out, inputs[0], &affine.weight, affine.window.as_ref());
                out.add_assign(&values[index]);
                out
            }
            Step::Scale { scale, .. } => {
                Matrix::from_fn(samples, scale.len(), |s, k| scale[k] * inputs[0][(s, k)])
            }
            Step::Activation(f) => {
                let p = &values[model.input_of(index)];
                Matrix::from_fn(samples, p.cols(), |s, k| f.derivative(p[(s, k)]) * inputs[0][(s, k)])
            }
            // Refused: its derivative is zero or none.
            Step::DynamicQuantize(_) => Matrix::zeros(samples, inputs[0].cols()),
            Step::MaxPool(window) => of_maxima(window, &values[model.input_of(index)], inputs[0]),
            Step::AveragePool { window, factor } => average_pool(inputs[0], window, factor),
            Step::Add => {
                let mut sum = inputs[0].clone();
                inputs[1..].iter().for_each(|z| sum.add_assign(z));
                sum
            }
            Step::Multiply => {
                let of = |k: usize| &values[model.inputs_of(index)[k]];
                let (x, y) = (of(0), of(1));
                let at = |s: usize, k: usize| y[(s, k)] * inputs[0][(s, k)] + x[(s, k)] * inputs[1][(s, k)];
                Matrix::from_fn(samples, x.cols(), at)
            }
            Step::Gather(gather) => gathered(&inputs, gather, 0.0),
            Step::Reshape => inputs[0].clone(),
        });
    }
    along.pop().expect("a network has nodes")
}

/// The derivative of the first of the largest elements of every window.
fn of_maxima(window: &Window, z: &Matrix<f64>, along: &Matrix<f64>) -> Matrix<f64> {
    let (positions, plane) = (window.positions(), window.plane());
    Matrix::from_fn(z.rows(), window.output_width(), |s, k| {
        let (first, position) = (k / positions * plane, k % positions);
        let elements = (0..window.taps()).filter_map(|tap| window.source(position, tap)).map(|j| first + j);
        let most = elements.reduce(|a, b| if z[(s, b)] > z[(s, a)] { b } else { a });
        most.map_or(f64::NAN, |j| along[(s, j)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::network::{Activation, Affine, Network, Node};
    use weightproof::threat::LayerPerturbation;
    use weightproof_testkit::images::{ImageBlueprint, PIECES};
    use weightproof_testkit::networks::{Blueprint, Design, input, rng};

    fn scaled(network: &Network, factor: f64) -> Network {
        let parameters: Vec<_> = network
            .affine_layers()
            .map(|(node, _, a)| LayerPerturbation {
                node,
                weight: a.weight.map(|w| factor * w),
                bias: a.bias.iter().map(|b| factor * b).collect(),
            })
            .collect();
        network.with_parameters(&parameters)
    }

    #[test]
    fn derivatives_are_those_of_scaling_all_parameters() {
        let step = 1e-6;
        let mut refused = 0;
        for seed in 0..40 {
            let design = ImageBlueprint {
                input: [2, 4, 4],
                pieces: PIECES.to_vec(),
                classes: 3,
                global_pool: false,
                seed,
            };
            let networks = [Blueprint::new(&[4, 5, 3], Activation::Tanh, seed).build(), design.build()];
            for network in networks {
                if continuous(&network).is_err() {
                    refused += 1;
                    continue;
                }
                let x = input(network.input_width(), false, &mut rng(seed));
                let model = Model::<f64>::new(&network);
                let values = model.forward(Matrix::from_vec(1, x.len(), x.clone()));
                let found = derivatives(&model, &values);
                let (up, down) =
                    (scaled(&network, 1.0 + step).forward(&x), scaled(&network, 1.0 - step).forward(&x));
                for j in 0..found.cols() {
                    let expected = (up[j] - down[j]) / (2.0 * step);
                    // A kink within the step is unlikely, not impossible: the seeds are fixed.
                    assert!((found[(0, j)] - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{seed} {j}");
                }
            }
        }
        assert!(refused < 20, "{refused} of 80 networks have quantizers");
    }

    /// Theorem 3.1 of the source: `Df·θ = L f` for ReLU networks of L layers without biases.
    #[test]
    fn euler_s_identity_without_biases() {
        let network = Blueprint::new(&[3, 6, 5, 2], Activation::Relu, 1).build();
        let without = |(node, _, a): (usize, &Node, &Affine)| LayerPerturbation {
            node,
            weight: a.weight.clone(),
            bias: vec![0.0; a.bias.len()],
        };
        let parameters: Vec<_> = network.affine_layers().map(without).collect();
        let network = network.with_parameters(&parameters);
        let model = Model::<f64>::new(&network);
        let x = input(15, false, &mut rng(5));
        let values = model.forward(Matrix::from_vec(5, 3, x));
        let found = derivatives(&model, &values);
        let outputs = &values[values.len() - 1];
        for (d, f) in found.as_slice().iter().zip(outputs.as_slice()) {
            assert!((d - 3.0 * f).abs() < 1e-12);
        }
    }
}
