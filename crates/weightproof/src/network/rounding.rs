//! How far a forward pass in f64 may be from the network in real arithmetic (theory.md §12).
//!
//! ```text
//! p = W z + b, z known up to e:     |W| e + γ_{n+2} (|W| |z| + |b|)         sums in any order, fused or not
//! z = ρ(p), p known up to e:        L e + what evaluating ρ loses           L a Lipschitz constant; of a quantizer the steps within e
//! ```
//! Underflow, flushed to zero or not, takes at most the smallest normal number from each operation.

use super::{Affine, DynamicQuantizer, Layer, Network};
use crate::kernels::definition::{affine_map, pool};
use crate::kernels::rows::{larger, squares, vectorized};
use crate::kernels::{Matrix, Window};

/// Unit roundoff of f64.
const UNIT: f64 = f64::EPSILON / 2.0;
/// Room for the rounding of the bounds themselves.
const OF_BOUNDS: f64 = 1.0 + 1.0 / 64.0;

/// Parameters of an affine layer, a window where it is a convolution, and what it reads: values and how far these may be off.
pub(crate) struct Read<'a> {
    pub weight: &'a Matrix<f64>,
    pub bias: &'a [f64],
    pub window: Option<&'a Window>,
    pub values: &'a [f64],
    pub errors: &'a [f64],
}

impl Read<'_> {
    fn terms(&self) -> f64 {
        self.weight.cols() as f64 + 2.0
    }

    /// The error by the definition, with `|W|`: one product.
    pub fn by_weights(&self) -> Vec<f64> {
        let part = gamma(self.terms());
        let moved: Vec<f64> = self.values.iter().zip(self.errors).map(|(z, e)| e + part * z.abs()).collect();
        let biases: Vec<f64> = self.bias.iter().map(|b| part * b.abs()).collect();
        let mut errors = affine_map(&self.weight.map(f64::abs), &biases, self.window, &moved);
        let positions = errors.len() / self.bias.len();
        let nothing_read = moved.iter().all(|m| *m == 0.0);
        for (k, error) in errors.iter_mut().enumerate() {
            let row = self.weight.row(k / positions);
            // A product of zeros does not underflow.
            if !(*error == 0.0 && (nothing_read || row.iter().all(|w| *w == 0.0))) {
                *error = *error * OF_BOUNDS + self.terms() * f64::MIN_POSITIVE;
            }
        }
        errors
    }

    /// A coarser bound without a product: Cauchy–Schwarz with the ℓ2 norms of the rows.
    pub fn by_norms(&self, rows: &[f64]) -> Vec<f64> {
        let part = gamma(self.terms());
        let length = |values: &[f64]| vectorized!(|| squares(values)).sqrt();
        // A length that underflows to zero is still at most this.
        let least = (self.values.len() as f64).sqrt() * f64::MIN_POSITIVE.sqrt();
        let read = length(self.errors) + part * length(self.values) + least * UNIT;
        let of_row = |(norm, b): (&f64, &f64)| {
            (norm * read + part * b.abs()) * OF_BOUNDS + self.terms() * f64::MIN_POSITIVE
        };
        let rows: Vec<f64> = rows.iter().zip(self.bias).map(of_row).collect();
        match self.window {
            None => rows,
            Some(window) => {
                rows.into_iter().flat_map(|row| std::iter::repeat_n(row, window.positions())).collect()
            }
        }
    }
}

impl Network {
    /// For every node in `wanted`, bounds on how far `values` are from the network in real arithmetic. `affine` bounds the error
    /// of an affine layer; `adjusted` tells at which nodes something was added to the value afterwards.
    ///
    /// # Shapes
    /// `values`: one sample, by node.
    ///
    /// # Guarantee
    /// For values that were computed in f64, whatever the order of sums, with a mathematical library whose results are within
    /// two units of the last place. What a node reads must be wanted, too.
    pub(crate) fn errors(
        &self,
        values: &[&[f64]],
        wanted: impl Fn(usize) -> bool,
        affine: impl Fn(usize, &Affine, Option<&Window>, (&[f64], &[f64])) -> Vec<f64>,
        adjusted: impl Fn(usize) -> bool,
    ) -> Vec<Option<Vec<f64>>> {
        let mut errors: Vec<Option<Vec<f64>>> = Vec::with_capacity(self.nodes().len());
        for (index, node) in self.nodes().iter().enumerate() {
            if !wanted(index) {
                errors.push(None);
                continue;
            }
            let read: Vec<(&[f64], &[f64])> = node
                .inputs
                .iter()
                .map(|&i| (values[i], errors[i].as_deref().expect("what a node reads is wanted")))
                .collect();
            let mut found = match &node.layer {
                Layer::Dense(own) => affine(index, own, None, read[0]),
                Layer::Conv(conv) => affine(index, &conv.affine, Some(&conv.window), read[0]),
                layer @ (Layer::Input
                | Layer::Scale(_)
                | Layer::Activation(_)
                | Layer::DynamicQuantize(_)
                | Layer::MaxPool(_)
                | Layer::AveragePool(_)
                | Layer::Add
                | Layer::Multiply
                | Layer::Gather(_)
                | Layer::Reshape) => layer.error(&read, values[index]),
            };
            if adjusted(index) {
                found.iter_mut().zip(values[index]).for_each(|(e, z)| *e = (*e + UNIT * z.abs()) * OF_BOUNDS);
            }
            errors.push(Some(found));
        }
        errors
    }
}

impl Network {
    /// How far any of the outputs of a sample may be from those in real arithmetic, with the parameters that `parameters` gives
    /// instead of a node's own; otherwise as [`Network::errors`].
    pub(crate) fn output_error<'p>(
        &self,
        values: &[&[f64]],
        parameters: impl Fn(usize) -> Option<(&'p Matrix<f64>, &'p [f64])>,
        adjusted: impl Fn(usize) -> bool,
    ) -> f64 {
        let by_weights =
            |n: usize, own: &Affine, window: Option<&Window>, (values, errors): (&[f64], &[f64])| {
                let (weight, bias) = parameters(n).unwrap_or((&own.weight, &own.bias));
                Read { weight, bias, window, values, errors }.by_weights()
            };
        largest_error(self.errors(values, |_| true, by_weights, adjusted))
    }
}

/// The largest error of the last node; NaN when one is NaN.
pub(crate) fn largest_error(mut errors: Vec<Option<Vec<f64>>>) -> f64 {
    let of_output = errors.pop().flatten().unwrap_or_default();
    of_output.into_iter().fold(0.0, |most, e| if e <= most { most } else { e })
}

impl Layer {
    /// The error of a layer without parameters, whose value was computed as `value`.
    fn error(&self, read: &[(&[f64], &[f64])], value: &[f64]) -> Vec<f64> {
        let summed = |terms: f64| {
            let part = gamma(terms);
            move |(z, e): (f64, f64)| e + part * z.abs()
        };
        match self {
            Layer::Input => vec![0.0; value.len()],
            Layer::Scale(scale) => {
                // The inverse of a divisor is rounded, too.
                let of = |((z, e), (s, t)): ((&f64, &f64), (&f64, &f64))| {
                    let lost = (s.abs() * e * (1.0 + gamma(1.0)) + gamma(3.0) * ((s * z).abs() + t.abs()))
                        * OF_BOUNDS;
                    if *z == 0.0 && *e == 0.0 { lost } else { lost + 2.0 * f64::MIN_POSITIVE }
                };
                let (values, errors) = read[0];
                values.iter().zip(errors).zip(scale.scale.iter().zip(&scale.shift)).map(of).collect()
            }
            Layer::Activation(f) => {
                let (inputs, errors) = read[0];
                let mut found = vec![0.0; value.len()];
                f.by_kind(
                    #[inline(always)]
                    |f| {
                        let read = inputs.iter().zip(errors).zip(value);
                        for (found, ((&p, &e), &z)) in found.iter_mut().zip(read) {
                            *found = f.error(p, e, z) * OF_BOUNDS;
                        }
                    },
                );
                found
            }
            Layer::DynamicQuantize(_) => {
                let (inputs, errors) = read[0];
                let end = |sign: f64| -> Vec<f64> {
                    let moved = |(p, e): (&f64, &f64)| {
                        if sign < 0.0 { (p - e).next_down() } else { (p + e).next_up() }
                    };
                    let at = |(p, e): (&f64, &f64)| if *e == 0.0 { *p } else { moved((p, e)) };
                    inputs.iter().zip(errors).map(at).collect()
                };
                let (low, high) = DynamicQuantizer::default().enclose(&end(-1.0), &end(1.0));
                let ends = low.iter().zip(&high);
                value.iter().zip(ends).map(|(z, (low, high))| larger(z - low, high - z)).collect()
            }
            Layer::MaxPool(window) => pool(window, read[0].1, |_, elements| elements.fold(0.0, f64::max)),
            Layer::AveragePool(average) => {
                let of = summed(average.window.taps() as f64 + 2.0);
                let (values, errors) = read[0];
                let parts: Vec<f64> = values.iter().zip(errors).map(|(&z, &e)| of((z, e))).collect();
                pool(&average.window, &parts, |position, elements| {
                    elements.sum::<f64>() * average.factor[position].abs() * OF_BOUNDS + f64::MIN_POSITIVE
                })
            }
            Layer::Add => {
                let of = summed(read.len() as f64);
                let sum = |k: usize| read.iter().map(|(z, e)| of((z[k], e[k]))).sum::<f64>() * OF_BOUNDS;
                (0..value.len()).map(sum).collect()
            }
            Layer::Multiply => {
                // |x̂ŷ − xy| ≤ |x| e_y + |y| e_x + e_x e_y, and one rounding.
                let ((xs, x_errors), (ys, y_errors)) = (read[0], read[1]);
                let of = |k: usize| {
                    let (x, y, ex, ey) = (xs[k].abs(), ys[k].abs(), x_errors[k], y_errors[k]);
                    let lost = (x * ey + y * ex + ex * ey + gamma(1.0) * x * y) * OF_BOUNDS;
                    let is_exact = (x == 0.0 && ex == 0.0) || (y == 0.0 && ey == 0.0);
                    if is_exact && lost == 0.0 { 0.0 } else { lost + 4.0 * f64::MIN_POSITIVE }
                };
                (0..value.len()).map(of).collect()
            }
            Layer::Gather(gather) => {
                let all: Vec<f64> = read.iter().flat_map(|(_, errors)| errors.iter().copied()).collect();
                gather.source.iter().map(|source| source.map_or(0.0, |k| all[k])).collect()
            }
            Layer::Reshape => read[0].1.to_vec(),
            Layer::Dense(_) | Layer::Conv(_) => {
                unreachable!("layers with parameters are bounded by the caller")
            }
        }
    }
}

/// `γ_n = n u / (1 − n u)`, rounded up.
fn gamma(n: f64) -> f64 {
    n * UNIT / (1.0 - n * UNIT) * OF_BOUNDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Activation, NetworkBuilder};

    /// Weights that cancel: the exact output is 1, f64 gives 0.
    #[test]
    fn what_cancellation_takes_is_within_the_error() {
        let mut builder = NetworkBuilder::new(vec![3]);
        let weight = Matrix::from_vec(1, 3, vec![1e20, 1.0, -1e20]);
        let sum = builder.dense("sum", 0, weight, vec![0.0]).unwrap();
        builder.activation("relu", sum, Activation::Relu).unwrap();
        let network = builder.finish().unwrap();
        let values = network.forward_all(&[1.0; 3]);
        let rows: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
        let affine = |_: usize, own: &Affine, window: Option<&Window>, (values, errors): (&[f64], &[f64])| {
            let read = Read { weight: &own.weight, bias: &own.bias, window, values, errors };
            let (close, coarse) = (read.by_weights(), read.by_norms(&[2e20]));
            assert!(close[0] <= coarse[0], "{close:?} {coarse:?}");
            close
        };
        let errors = network.errors(&rows, |_| true, affine, |_| false);
        let error = errors[1].as_ref().unwrap()[0];
        assert!((values[1][0] - 1.0).abs() <= error && error < 1e6, "{error}");
    }

    /// Both factors are 1 in exact arithmetic, f64 gives 0 for one of them.
    #[test]
    fn a_product_passes_on_the_errors_of_its_factors() {
        for (x, y) in [([1e20, 1.0], [0.0, 3.0]), ([0.0, 3.0], [1e20, 1.0]), ([1e20, 1.0], [1e20, 1.0])] {
            let mut builder = NetworkBuilder::new(vec![3]);
            let sum = |builder: &mut NetworkBuilder, name: &str, [large, own]: [f64; 2]| {
                let weight = Matrix::from_vec(1, 3, vec![large, own, -large]);
                builder.dense(name, 0, weight, vec![0.0]).unwrap()
            };
            let factors = [sum(&mut builder, "x", x), sum(&mut builder, "y", y)];
            builder.multiply("product", factors).unwrap();
            let network = builder.finish().unwrap();
            let values = network.forward_all(&[1.0; 3]);
            let rows: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
            let error = network.output_error(&rows, |_| None, |_| false);
            let exact = x[1] * y[1];
            assert!((values[3][0] - exact).abs() <= error && error.is_finite(), "{exact}: {error}");
        }
    }

    /// The exact sum is 1, f64 gives 0: a step that follows from it is 1/255, not 0.
    #[test]
    fn a_dynamic_quantizer_passes_on_the_errors_of_what_it_reads() {
        let mut builder = NetworkBuilder::new(vec![3]);
        let weight = Matrix::from_vec(1, 3, vec![1e20, 1.0, -1e20]);
        let sum = builder.dense("sum", 0, weight, vec![0.0]).unwrap();
        let layer = Layer::DynamicQuantize(DynamicQuantizer::default());
        builder.push("quantize", layer, vec![sum], vec![1]).unwrap();
        let network = builder.finish().unwrap();
        let values = network.forward_all(&[1.0; 3]);
        let rows: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
        let error = network.output_error(&rows, |_| None, |_| false);
        assert!((values[2][0] - 1.0).abs() <= error && error < 1e6, "{error}");
        // What is known exactly gives one step.
        let mut builder = NetworkBuilder::new(vec![3]);
        let layer = Layer::DynamicQuantize(DynamicQuantizer::default());
        builder.push("quantize", layer, vec![0], vec![3]).unwrap();
        builder.dense("one", 1, Matrix::from_vec(1, 3, vec![0.0, 0.0, 0.0]), vec![0.0]).unwrap();
        let network = builder.finish().unwrap();
        let values = network.forward_all(&[0.3, -0.7, 0.1]);
        let layer = &network.nodes()[1].layer;
        assert_eq!(layer.error(&[(&values[0], &[0.0; 3])], &values[1]), [0.0; 3]);
    }

    #[test]
    fn zeros_have_no_error() {
        let mut builder = NetworkBuilder::new(vec![2]);
        let dense = builder.dense("zero", 0, Matrix::zeros(2, 2), vec![0.0; 2]).unwrap();
        builder.activation("relu", dense, Activation::Relu).unwrap();
        let network = builder.finish().unwrap();
        let values = network.forward_all(&[0.3, -0.7]);
        let rows: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
        let affine = |_: usize, own: &Affine, window: Option<&Window>, (values, errors): (&[f64], &[f64])| {
            Read { weight: &own.weight, bias: &own.bias, window, values, errors }.by_weights()
        };
        let errors = network.errors(&rows, |_| true, affine, |_| false);
        assert_eq!(errors.last().unwrap().as_deref(), Some(&[0.0; 2][..]));
    }
}
