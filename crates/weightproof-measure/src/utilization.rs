//! What each layer contributes, measured against the network before training.
//!
//! ```text
//! distance   ‖Wᵏ − W⁰ᵏ‖_F, also divided by ‖W⁰ᵏ‖_F
//! probe      accuracy of the nearest class mean on zᵏ, the input of layer k+1 (the outputs for the last layer)
//! reset      error with layers k, k+1, … set back to W⁰, the nearest class mean on the outputs refitted
//! rewind     error at W⁰ + a (W − W⁰), all parameters, a from 0 to 1
//! ```
//! Class means are those of the training samples.
//!
//! # Source
//! arXiv 2201.11939 (layer utilization), reconstructed; Zhang, Bengio and Singer, arXiv 1902.01996 (layers set back).

use crate::context::{Context, mean, outputs};
use crate::distance::changes;
use crate::error::Refusal;
use crate::norms::euclidean;
use crate::pac_bayes::error;
use weightproof::kernels::Matrix;
use weightproof::model::{ForwardPass, Model};
use weightproof::network::Network;
use weightproof::threat::LayerPerturbation;
use weightproof::verdict::Samples;

/// Steps from the network before training to the trained one.
pub const REWIND: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
/// Samples that are run at once.
const BLOCK: usize = 128;

/// What one layer contributes.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerUtilization {
    /// Its name.
    pub name: String,
    /// `‖Wᵏ − W⁰ᵏ‖_F`.
    pub distance: f64,
    /// The same divided by `‖W⁰ᵏ‖_F`; `null` when that is zero.
    pub relative_distance: Option<f64>,
    /// Accuracy of the nearest class mean behind the layer, training samples.
    pub probe_training: f64,
    /// The same on held-out samples.
    pub probe_held_out: Option<f64>,
    /// Training error of the nearest class mean on the outputs with this and all later layers set back.
    pub reset_error: f64,
}

/// What all layers contribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Utilization {
    /// Layer after layer.
    pub layers: Vec<LayerUtilization>,
    /// `(a, training error)` on the way from the network before training.
    pub rewind: Vec<(f64, f64)>,
}

impl Utilization {
    /// Of the network, samples and the network before training in `context`.
    ///
    /// # Errors
    /// Without labels or the network before training, or when its layers differ.
    pub fn of(context: &Context<'_>) -> Result<Utilization, Refusal> {
        let (network, labels) = (context.network, context.labels()?);
        let initial = context.initial.ok_or(Refusal::Missing("the network before training"))?;
        let changes = changes(network, initial)?;
        let probes = Probes::new(network, context.train, labels);
        let held_out = context.held_out.and_then(|s| Some((s, s.labels?)));
        let held_out = held_out.map(|(samples, labels)| probes.accuracies(network, samples, labels));
        let training = probes.accuracies(network, context.train, labels);
        let before: Vec<f64> =
            initial.affine_layers().map(|(_, _, a)| euclidean(a.weight.as_slice())).collect();
        let reset = |k: usize| {
            let back = mixed(network, initial, |layer| f64::from(u8::from(layer < k)));
            let values = outputs(&back, context.train.inputs);
            1.0 - nearest(&values, &class_means(&values, labels, network.output_width()), labels)
        };
        let layer = |(k, (_, node, _)): (usize, (usize, &weightproof::network::Node, _))| {
            let distance = euclidean(changes[k].0.as_slice());
            LayerUtilization {
                name: node.name.clone(),
                distance,
                relative_distance: Some(distance / before[k]).filter(|d| d.is_finite()),
                probe_training: training[k],
                probe_held_out: held_out.as_ref().map(|accuracies| accuracies[k]),
                reset_error: reset(k),
            }
        };
        let layers = network.affine_layers().enumerate().map(layer).collect();
        let at = |a: f64| (a, error(&mixed(network, initial, |_| a), context.train));
        Ok(Utilization { layers, rewind: REWIND.map(at).into() })
    }
}

/// `W⁰ + a_k (W − W⁰)`, biases likewise; `share` gives a_k.
fn mixed(network: &Network, initial: &Network, share: impl Fn(usize) -> f64) -> Network {
    let layers = network.affine_layers().zip(initial.affine_layers()).enumerate();
    let parameters: Vec<_> = layers
        .map(|(k, ((node, _, after), (_, _, before)))| {
            let mix = |a: f64, b: f64| match share(k) {
                1.0 => a,
                share => b + share * (a - b),
            };
            let weight = Matrix::from_fn(after.weight.rows(), after.weight.cols(), |i, j| {
                mix(after.weight[(i, j)], before.weight[(i, j)])
            });
            let bias = after.bias.iter().zip(&before.bias).map(|(&a, &b)| mix(a, b)).collect();
            LayerPerturbation { node, weight, bias }
        })
        .collect();
    network.with_parameters(&parameters)
}

/// Class means behind every layer.
struct Probes {
    nodes: Vec<usize>,
    means: Vec<Matrix<f64>>,
}

impl Probes {
    fn new(network: &Network, samples: Samples<'_>, labels: &[u32]) -> Probes {
        let model = Model::<f64>::new(network);
        let affine = network.affine_layers().map(|(node, _, _)| model.input_of(node)).skip(1);
        let nodes: Vec<usize> = affine.chain([network.output()]).collect();
        let classes = network.output_width();
        let mut probes = Probes { means: vec![Matrix::default(); nodes.len()], nodes };
        let mut sums: Vec<Matrix<f64>> =
            probes.nodes.iter().map(|&node| Matrix::zeros(classes, network.nodes()[node].width())).collect();
        probes.run(network, samples, labels, |k, z, label| {
            sums[k].row_mut(label).iter_mut().zip(z).for_each(|(sum, z)| *sum += z);
        });
        let count = |class: usize| labels.iter().filter(|&&l| l as usize == class).count() as f64;
        for sum in &mut sums {
            for class in 0..classes {
                // A class without samples has no mean, and NaN is near to nothing.
                sum.row_mut(class).iter_mut().for_each(|v| *v /= count(class));
            }
        }
        probes.means = sums;
        probes
    }

    /// Calls `f(layer, z, label)` for the values behind every layer of every sample.
    fn run(
        &self,
        network: &Network,
        samples: Samples<'_>,
        labels: &[u32],
        mut f: impl FnMut(usize, &[f64], usize),
    ) {
        let (pass, width) = (ForwardPass::<f64>::new(network), network.input_width());
        for (inputs, labels) in samples.inputs.chunks(BLOCK * width).zip(labels.chunks(BLOCK)) {
            let values = pass.run(Matrix::from_vec(labels.len(), width, inputs.to_vec()));
            for (k, &node) in self.nodes.iter().enumerate() {
                labels.iter().enumerate().for_each(|(s, &label)| f(k, values[node].row(s), label as usize));
            }
        }
    }

    fn accuracies(&self, network: &Network, samples: Samples<'_>, labels: &[u32]) -> Vec<f64> {
        let mut right = vec![0_usize; self.nodes.len()];
        self.run(network, samples, labels, |k, z, label| {
            right[k] += usize::from(closest(z, &self.means[k]) == Some(label));
        });
        right.iter().map(|&count| count as f64 / labels.len() as f64).collect()
    }
}

/// The mean of the rows of each class.
fn class_means(values: &Matrix<f64>, labels: &[u32], classes: usize) -> Matrix<f64> {
    Matrix::from_fn(classes, values.cols(), |class, j| {
        let of: Vec<f64> =
            (0..values.rows()).filter(|&s| labels[s] as usize == class).map(|s| values[(s, j)]).collect();
        mean(of.into_iter())
    })
}

/// Share of the rows that are closest to the mean of their class.
fn nearest(values: &Matrix<f64>, means: &Matrix<f64>, labels: &[u32]) -> f64 {
    let right = (0..values.rows()).filter(|&s| closest(values.row(s), means) == Some(labels[s] as usize));
    right.count() as f64 / labels.len() as f64
}

/// The first of the closest means; those that are NaN are left out.
fn closest(z: &[f64], means: &Matrix<f64>) -> Option<usize> {
    let distance = |class: usize| means.row(class).iter().zip(z).map(|(m, z)| (m - z).powi(2)).sum::<f64>();
    let known = (0..means.rows()).map(|class| (class, distance(class))).filter(|(_, d)| !d.is_nan());
    known.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(class, _)| class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::network::{Activation, NetworkBuilder};
    use weightproof::threat::{Kind, ThreatModel};

    /// f(x) = V relu(w x) on one input; classes are the sides of a threshold.
    fn network(w: f64, v: [f64; 2]) -> Network {
        let mut builder = NetworkBuilder::new(vec![1]);
        let p = builder.dense("a", 0, Matrix::from_vec(1, 1, vec![w]), vec![0.0]).unwrap();
        let z = builder.activation("r", p, Activation::Relu).unwrap();
        builder.dense("b", z, Matrix::from_vec(2, 1, v.to_vec()), vec![0.5, 0.0]).unwrap();
        builder.finish().unwrap()
    }

    #[test]
    fn by_hand() {
        // Trained: f = (0.5, x): class 1 above 0.5. Before: dead first layer.
        let (after, before) = (network(1.0, [0.0, 1.0]), network(-1.0, [0.0, 2.0]));
        let x = [0.0, 0.1, 0.9, 1.0];
        let samples = Samples { first: 0, inputs: &x, labels: Some(&[0, 0, 1, 1]) };
        let set = ThreatModel::new(Kind::Absolute, 0.0).resolve(&after).unwrap();
        let mut context = Context::new(&after, samples, &set, "linear").unwrap();
        assert!(Utilization::of(&context).is_err());
        context.initial = Some(&before);
        context.held_out = Some(samples);
        let found = Utilization::of(&context).unwrap();
        let [a, b] = &found.layers[..] else { panic!("two layers") };
        assert_eq!((a.distance, a.relative_distance), (2.0, Some(2.0)));
        assert_eq!((b.distance, b.relative_distance), (1.0, Some(0.5)));
        assert_eq!((a.probe_training, a.probe_held_out), (1.0, Some(1.0)));
        assert_eq!(b.probe_training, 1.0);
        // Without the first layer all outputs are equal: the probe takes the first class. Without the last one nothing is lost.
        assert_eq!((a.reset_error, b.reset_error), (0.5, 0.0));
        assert_eq!(found.rewind[0], (0.0, 0.5));
        assert_eq!(found.rewind[4], (1.0, 0.0));
    }
}
