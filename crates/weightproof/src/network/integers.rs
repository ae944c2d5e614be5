//! Quantized networks run in integers, as the text of their operators has it (theory.md §16).
//!
//! ```text
//! p = Σ_j s (q_j − z) · s' k_j + t b         a sum of integers times steps, exact, then rounded once to single precision
//! ```
//! The forward pass in f64 rounds such sums, and says by how much ([`super::rounding`]); here nothing is lost. Every value between two
//! quantizers is a number of single precision, as runtimes have it, but no sum on the way is rounded.

use super::{Activation, Affine, AveragePool, Layer, Network};
use crate::kernels::{Matrix, Window};
use crate::threat::LayerPerturbation;

/// `n · 2^e`, exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Exact {
    n: i128,
    e: i32,
}

impl Exact {
    const ZERO: Exact = Exact { n: 0, e: 0 };

    /// A finite number with as few digits as it has.
    fn new(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        if value == 0.0 {
            return Some(Self::ZERO);
        }
        let bits = value.to_bits();
        let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
        let digits = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        let zeros = digits.trailing_zeros();
        let n = i128::from(digits >> zeros);
        Some(Exact { n: if value < 0.0 { -n } else { n }, e: exponent.max(1) - 1075 + zeros as i32 })
    }

    fn times(self, other: Self) -> Option<Self> {
        Some(Exact { n: self.n.checked_mul(other.n)?, e: self.e + other.e })
    }

    /// `None` where the digits of the sum are too many.
    fn plus(self, other: Self) -> Option<Self> {
        match (self.n, other.n) {
            (_, 0) => return Some(self),
            (0, _) => return Some(other),
            _ => {}
        }
        let e = self.e.min(other.e);
        let at = |x: Self| {
            let shift =
                u32::try_from(x.e - e).ok().filter(|shift| *shift < x.n.unsigned_abs().leading_zeros())?;
            Some(x.n << shift)
        };
        Some(Exact { n: at(self)?.checked_add(at(other)?)?, e })
    }

    /// The nearest number of single precision, ties to even; `None` where that is subnormal or infinite.
    fn single(self) -> Option<f64> {
        let size = self.n.unsigned_abs();
        let extra = (128 - size.leading_zeros()).saturating_sub(24);
        let (kept, half) = (size >> extra, (1_u128 << extra) / 2);
        let rest = size - (kept << extra);
        let up = rest > half || (rest == half && extra > 0 && kept % 2 == 1);
        let e = self.e + extra as i32;
        let value = (kept + u128::from(up)) as f64 * 2_f64.powi(e.clamp(-1000, 900));
        let is_single =
            value == 0.0 || (value >= f64::from(f32::MIN_POSITIVE) && value <= f64::from(f32::MAX));
        is_single.then_some(if self.n < 0 { -value } else { value })
    }
}

/// `factor · (Σ terms + constant)` in single precision.
fn sum(mut terms: impl Iterator<Item = (f64, f64)>, constant: f64, factor: f64) -> Option<f64> {
    let add = |sum: Exact, (a, b): (f64, f64)| sum.plus(Exact::new(a)?.times(Exact::new(b)?)?);
    terms.try_fold(Exact::new(constant)?, add)?.times(Exact::new(factor)?)?.single()
}

impl Network {
    /// Outputs of the network with other parameters in some layers, every sum in integers, by the text of its operators.
    ///
    /// # Guarantee
    /// Nothing is rounded but what the text rounds: each value that a quantizer reads, once, to single precision. `None` where the network is
    /// something else than affine layers, sums, averages, choices, maxima, piecewise linear activations and quantizers with constant steps;
    /// where a layer with parameters has no quantizer behind it; and where numbers have more digits than 127 bits hold.
    ///
    /// # Panics
    /// When the input has another length than the network's.
    pub fn forward_in_integers(&self, x: &[f64], layers: &[LayerPerturbation]) -> Option<Vec<f64>> {
        assert_eq!(x.len(), self.input_width(), "length of the input");
        let mut values: Vec<Vec<f64>> = Vec::with_capacity(self.nodes().len());
        // Whether a node's values are on the grid of a quantizer.
        let mut on_grid: Vec<bool> = Vec::with_capacity(self.nodes().len());
        for (index, node) in self.nodes().iter().enumerate() {
            let inputs: Vec<&[f64]> = node.inputs.iter().map(|&i| values[i].as_slice()).collect();
            let changed = layers.iter().find(|layer| layer.node == index);
            let own = |affine: &Affine, window: Option<&Window>| match changed {
                Some(layer) => affine_map((&layer.weight, &layer.bias), window, inputs[0]),
                None => affine_map((&affine.weight, &affine.bias), window, inputs[0]),
            };
            let (value, grid) = match &node.layer {
                Layer::Input => (x.to_vec(), false),
                Layer::Dense(affine) => (own(affine, None)?, false),
                Layer::Conv(conv) => (own(&conv.affine, Some(&conv.window))?, false),
                Layer::Add => {
                    let of = |k: usize| sum(inputs.iter().map(|z| (z[k], 1.0)), 0.0, 1.0);
                    ((0..node.width()).map(of).collect::<Option<_>>()?, false)
                }
                Layer::AveragePool(average) => (averages(average, inputs[0])?, false),
                Layer::Activation(Activation::Quantize(_)) => (node.layer.apply(&inputs, None), true),
                Layer::Activation(Activation::Relu | Activation::Clip { .. })
                | Layer::MaxPool(_)
                | Layer::Gather(_)
                | Layer::Reshape => {
                    (node.layer.apply(&inputs, None), node.inputs.iter().all(|&i| on_grid[i]))
                }
                Layer::Activation(_) | Layer::Scale(_) | Layer::DynamicQuantize(_) | Layer::Multiply => {
                    return None;
                }
            };
            values.push(value);
            on_grid.push(grid);
        }
        values.pop().filter(|_| on_grid.last() == Some(&true))
    }
}

fn affine_map(
    (weight, bias): (&Matrix<f64>, &[f64]),
    window: Option<&Window>,
    z: &[f64],
) -> Option<Vec<f64>> {
    let positions = window.map_or(1, Window::positions);
    let element = |k: usize| {
        let (i, position) = (k / positions, k % positions);
        let source = |j: usize| window.map_or(Some(j), |window| window.element(i, j, position));
        let met = (0..weight.cols()).filter_map(|j| Some((weight[(i, j)], z[source(j)?])));
        sum(met.filter(|(w, z)| *w != 0.0 && *z != 0.0), bias[i], 1.0)
    };
    (0..weight.rows() * positions).map(element).collect()
}

fn averages(average: &AveragePool, z: &[f64]) -> Option<Vec<f64>> {
    let window = &average.window;
    let element = |k: usize| {
        let (channel, position) = (k / window.positions(), k % window.positions());
        let inside = (0..window.taps()).filter_map(|tap| window.source(position, tap));
        sum(inside.map(|at| (z[channel * window.plane() + at], 1.0)), 0.0, average.factor[position])
    };
    (0..window.output_width()).map(element).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Jumps, NetworkBuilder, Staircase, StepRounding};

    #[test]
    fn sums_are_exact_until_they_are_rounded_once() {
        // 2^60 + 1 − 2^60: nothing is lost on the way.
        let big = 2_f64.powi(60);
        assert_eq!(sum([(big, 1.0), (1.0, 1.0), (-big, 1.0)].into_iter(), 0.0, 1.0), Some(1.0));
        // The nearest number of 24 digits: ties to even, and a tie that is none by a digit far below, which f64 does not have.
        let one_half = 1.0 + 2_f64.powi(-24);
        assert_eq!(sum([(one_half, 1.0)].into_iter(), 0.0, 1.0), Some(1.0));
        let above = [(one_half, 1.0), (2_f64.powi(-70), 1.0)];
        assert_eq!(sum(above.into_iter(), 0.0, 1.0), Some(1.0 + 2_f64.powi(-23)));
        assert_eq!(sum(above.map(|(a, b)| (-a, b)).into_iter(), 0.0, 1.0), Some(-1.0 - 2_f64.powi(-23)));
        assert_eq!(sum([(3.0, 0.25), (-0.5, 1.5)].into_iter(), 0.0, 7.0), Some(0.0));
        // Too many digits, no numbers, and what single precision does not hold.
        assert_eq!(sum([(2_f64.powi(100), 1.0), (2_f64.powi(-100), 1.0)].into_iter(), 0.0, 1.0), None);
        assert_eq!(sum([(f64::NAN, 1.0)].into_iter(), 0.0, 1.0), None);
        assert_eq!(sum([(1e300, 1.0)].into_iter(), 0.0, 1.0), None);
        assert_eq!(sum([(1e-300, 1.0)].into_iter(), 0.0, 1.0), None);
    }

    /// One layer between quantizers, whose sum lies beside a jump by less than f64 tells.
    #[test]
    fn a_jump_that_rounding_would_miss() {
        let quantizer = |step: f64| {
            let (zero, rounding, jumps) = (0, StepRounding::NearestEven, Jumps::HalfWay);
            Activation::Quantize(Staircase { step, zero, low: -128, high: 127, rounding, jumps })
        };
        let mut builder = NetworkBuilder::new(vec![3]);
        let x = builder.activation("x", 0, quantizer(1.0)).unwrap();
        let big = 2_f64.powi(60);
        let p = builder.dense("p", x, Matrix::from_vec(1, 3, vec![big, 1.5, -big]), vec![0.0]).unwrap();
        builder.activation("q", p, quantizer(1.0)).unwrap();
        let network = builder.finish().unwrap();
        assert_eq!(network.forward_in_integers(&[1.0, 1.0, 1.0], &[]), Some(vec![2.0]));
        // In f64 the middle term vanishes beside the first.
        assert_eq!(network.forward(&[1.0, 1.0, 1.0]), [0.0]);
        let changed = LayerPerturbation {
            node: p,
            weight: Matrix::from_vec(1, 3, vec![0.0, 3.0, 0.0]),
            bias: vec![0.5],
        };
        assert_eq!(network.forward_in_integers(&[1.0, 1.0, 1.0], &[changed]), Some(vec![4.0]));
    }

    #[test]
    fn what_is_no_network_of_integers_is_not_run() {
        let mut builder = NetworkBuilder::new(vec![1]);
        builder.dense("p", 0, Matrix::from_vec(1, 1, vec![2.0]), vec![0.0]).unwrap();
        assert_eq!(
            builder.finish().unwrap().forward_in_integers(&[1.0], &[]),
            None,
            "no quantizer behind it"
        );
    }
}
