//! The plain forward pass in f64: the reference that witnesses are checked with.

use super::{Affine, Layer, Network, Scale};
use crate::kernels::definition::{affine_map, pool};
use crate::kernels::{Matrix, Window};

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
        self.evaluate(x, |_| None, |_, _| {})
    }

    /// Values of every node for one sample, with the parameters of a node replaced by what `parameters` gives, and its value
    /// changed by `adjust`.
    pub(crate) fn evaluate<'p>(
        &self,
        x: &[f64],
        parameters: impl Fn(usize) -> Option<(&'p Matrix<f64>, &'p [f64])>,
        mut adjust: impl FnMut(usize, &mut Vec<f64>),
    ) -> Vec<Vec<f64>> {
        assert_eq!(x.len(), self.input_width(), "length of the input");
        let mut values: Vec<Vec<f64>> = Vec::with_capacity(self.nodes().len());
        for (index, node) in self.nodes().iter().enumerate() {
            let inputs: Vec<&[f64]> = node.inputs.iter().map(|&i| values[i].as_slice()).collect();
            let mut value = if node.inputs.is_empty() {
                x.to_vec()
            } else {
                node.layer.apply(&inputs, parameters(index))
            };
            adjust(index, &mut value);
            values.push(value);
        }
        values
    }
}

impl Layer {
    /// The value of the layer, by its definition; `parameters` replaces weights and biases.
    ///
    /// # Panics
    /// For [`Layer::Input`], whose value comes from outside.
    pub(crate) fn apply(&self, inputs: &[&[f64]], parameters: Option<(&Matrix<f64>, &[f64])>) -> Vec<f64> {
        let own = |affine: &Affine, window: Option<&Window>| match parameters {
            Some((weight, bias)) => affine_map(weight, bias, window, inputs[0]),
            None => affine_map(&affine.weight, &affine.bias, window, inputs[0]),
        };
        match self {
            Layer::Input => panic!("the value of the input comes from outside"),
            Layer::Dense(affine) => own(affine, None),
            Layer::Conv(conv) => own(&conv.affine, Some(&conv.window)),
            Layer::Scale(Scale { scale, shift, .. }) => {
                inputs[0].iter().zip(scale.iter().zip(shift)).map(|(z, (s, t))| s * z + t).collect()
            }
            Layer::Activation(f) => inputs[0].iter().map(|&p| f.apply(p)).collect(),
            Layer::DynamicQuantize(q) => q.apply(inputs[0]),
            Layer::MaxPool(window) => {
                // NaN must stay: f64::max would drop it.
                let larger = |a: f64, b: f64| if a.is_nan() || a >= b { a } else { b };
                pool(window, inputs[0], |_, elements| elements.fold(f64::NEG_INFINITY, larger))
            }
            Layer::AveragePool(average) => pool(&average.window, inputs[0], |position, elements| {
                elements.sum::<f64>() * average.factor[position]
            }),
            Layer::Add => (0..inputs[0].len()).map(|k| inputs.iter().map(|z| z[k]).sum()).collect(),
            Layer::Multiply => inputs[0].iter().zip(inputs[1]).map(|(x, y)| x * y).collect(),
            Layer::Gather(gather) => {
                let all: Vec<f64> = inputs.concat();
                gather.source.iter().map(|source| source.map_or(gather.constant, |k| all[k])).collect()
            }
            Layer::Reshape => inputs[0].to_vec(),
        }
    }
}

impl Affine {
    /// `W z + b` of a dense layer.
    pub fn apply(&self, z: &[f64]) -> Vec<f64> {
        affine_map(&self.weight, &self.bias, None, z)
    }
}
