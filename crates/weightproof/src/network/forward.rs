//! The plain forward pass in f64: the reference that witnesses are checked with.

use super::{Dense, Layer, Network, Scale};
use crate::kernels::Matrix;

impl Network {
    /// Outputs `f(x)` of one sample, by the definition.
    ///
    /// # Shapes
    /// `x`: input width; returns the output width.
    ///
    /// # Panics
    /// When `x` has another length than the input.
    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        self.forward_all(x).pop().expect("a network has nodes")
    }

    /// Values of every node for one sample, in node order.
    pub fn forward_all(&self, x: &[f64]) -> Vec<Vec<f64>> {
        assert_eq!(x.len(), self.input_width(), "length of the input");
        let mut values: Vec<Vec<f64>> = Vec::with_capacity(self.nodes().len());
        for node in self.nodes() {
            let input = || values[node.inputs[0]].as_slice();
            let value = match &node.layer {
                Layer::Input => x.to_vec(),
                Layer::Dense(dense) => dense.apply(input()),
                Layer::Scale(Scale { scale, shift }) => {
                    input().iter().zip(scale.iter().zip(shift)).map(|(z, (s, t))| s * z + t).collect()
                }
                Layer::Activation(f) => input().iter().map(|&p| f.apply(p)).collect(),
                Layer::Reshape => input().to_vec(),
            };
            values.push(value);
        }
        values
    }
}

impl Dense {
    /// `W z + b`.
    pub fn apply(&self, z: &[f64]) -> Vec<f64> {
        affine(&self.weight, &self.bias, z)
    }
}

/// `W z + b`, by the definition.
pub(crate) fn affine(weight: &Matrix<f64>, bias: &[f64], z: &[f64]) -> Vec<f64> {
    let dot = |i: usize| weight.row(i).iter().zip(z).map(|(w, z)| w * z).sum::<f64>();
    (0..weight.rows()).map(|i| dot(i) + bias[i]).collect()
}
