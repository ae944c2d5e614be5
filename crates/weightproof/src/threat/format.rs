//! Number formats as relative weight perturbations (theory.md §9).
//!
//! ```text
//! p̂_i = Σ_j ŵ_ij ẑ_j (1+θ_ij) + b̂_i (1+θ_i)      |θ| ≤ γ_{n+1}, in any order of summation
//! ŵ = w(1+δ) + η,  ẑ = z(1+δ') + η'              |δ| ≤ u, |η| ≤ half the smallest subnormal
//! E_ij = ρ |w_ij| + (1+u)(1+γ) η                 ρ = (1+u)²(1+γ) − 1
//! e_i  = ρ_b |b_i| + (1+γ) η + η' Σ_j (|w_ij| + E_ij) + (n+1) η_acc
//! ```
//! Sums without parameters, residual additions and average pooling, read rounded values and accumulate in fp32, too:
//!
//! ```text
//! ẑ_i = Σ_j f ẑ_j (1+θ_ij)      relative (1+u)(1+γ_m) − 1, absolute (1+γ_m) η' Σ_j f + m η_acc
//! ```
//! with `f` = 1 and `m` = n for an addition of n values; pooling over n values multiplies by a rounded factor `f`: `m` = n + 2.
//! Every rounding of a convolution happens anew at each position, so its uses of a weight are charged independently.
//!
//! Assumptions, also printed with results: products are accumulated in fp32; activation functions return the correctly
//! rounded value of the format for their fp32 argument (exact for ReLU); that argument is an accumulator that was not rounded
//! to the format, and values are rounded where a product or a sum reads them, so that functions in a row (an activation, a
//! maximum, another activation) round once. ReLU, maxima and choices of elements commute with rounding, other activations do
//! not: a program that stores pre-activations in the format is outside of the set, and may differ at a sigmoid or a leaky
//! ReLU. The class is read off the fp32 accumulators;
//! subnormal numbers are kept; elementwise constants (a `Scale` node) act exactly and are rounded once, with the value;
//! no value leaves the range of the format, which is certified along with the margins.

use super::kind::{Family, Parameters};
use super::{Kind, SumRounding, ThreatError, WeightSet};
use crate::kernels::Matrix;
use crate::network::{Affine, Layer, Network};

/// A floating-point format for weights and activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberFormat {
    /// IEEE single precision, in any order of summation.
    Fp32,
    /// NVIDIA TensorFloat-32: 8 exponent bits, 10 fraction bits.
    Tf32,
    /// bfloat16: 8 exponent bits, 7 fraction bits.
    Bf16,
    /// IEEE half precision: 5 exponent bits, 10 fraction bits.
    Fp16,
    /// 4 exponent bits, 3 fraction bits, largest number 448.
    Fp8E4M3,
    /// 5 exponent bits, 2 fraction bits.
    Fp8E5M2,
}

/// Unit roundoff of the fp32 accumulator.
const ACCUMULATOR_ROUNDOFF: f64 = 1.0 / 16_777_216.0;
/// What the f64 arithmetic of this file may lose in a factor near 1, many times over.
const SLACK: f64 = 64.0 * f64::EPSILON;
/// Smallest positive fp32 number.
const ACCUMULATOR_SUBNORMAL: f64 = 1.401_298_464_324_817e-45;

impl NumberFormat {
    /// All formats.
    pub const ALL: [NumberFormat; 6] = [
        NumberFormat::Fp32,
        NumberFormat::Tf32,
        NumberFormat::Bf16,
        NumberFormat::Fp16,
        NumberFormat::Fp8E4M3,
        NumberFormat::Fp8E5M2,
    ];

    /// Name after `format:`.
    pub fn name(self) -> &'static str {
        match self {
            NumberFormat::Fp32 => "fp32",
            NumberFormat::Tf32 => "tf32",
            NumberFormat::Bf16 => "bf16",
            NumberFormat::Fp16 => "fp16",
            NumberFormat::Fp8E4M3 => "fp8e4m3",
            NumberFormat::Fp8E5M2 => "fp8e5m2",
        }
    }

    /// The format with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        NumberFormat::ALL.into_iter().find(|f| f.name() == name)
    }

    /// (fraction bits, exponent of the smallest normal number, largest finite number).
    fn parameters(self) -> (i32, i32, f64) {
        match self {
            NumberFormat::Fp32 => (23, -126, f64::from(f32::MAX)),
            // Of the largest numbers all bits of the fraction are set.
            NumberFormat::Tf32 => (10, -126, f64::from(f32::from_bits(0x7F7F_E000))),
            NumberFormat::Bf16 => (7, -126, f64::from(f32::from_bits(0x7F7F_0000))),
            NumberFormat::Fp16 => (10, -14, 65504.0),
            NumberFormat::Fp8E4M3 => (3, -6, 448.0),
            NumberFormat::Fp8E5M2 => (2, -14, 57344.0),
        }
    }

    /// Bits of the fraction and of the exponent; a sign is before them.
    pub(crate) fn fields(self) -> (u32, u32) {
        let (fraction, least, _) = self.parameters();
        (fraction as u32, (2 - least).ilog2() + 1)
    }

    /// Unit roundoff `u`: `|fl(v) − v| ≤ u |v|` for normal numbers.
    pub fn unit_roundoff(self) -> f64 {
        2.0_f64.powi(-self.parameters().0 - 1)
    }

    /// Smallest positive number.
    pub fn smallest_subnormal(self) -> f64 {
        self.lowest_bit(0)
    }

    /// What the lowest bit of a fraction stands for, given the bits of the exponent.
    pub(crate) fn lowest_bit(self, exponent: u32) -> f64 {
        let (fraction, least, _) = self.parameters();
        let power = least - fraction + (exponent.max(1) - 1) as i32;
        // A power of two is its exponent alone; `powi` multiplies.
        f64::from_bits(((1023 + power) as u64) << 52)
    }

    /// Largest finite number.
    pub fn largest(self) -> f64 {
        self.parameters().2
    }

    /// The nearest number of the format (ties to even); values beyond the range stay as they are, see
    /// [`NumberFormat::largest`].
    pub fn round(self, value: f64) -> f64 {
        if value == 0.0 || !value.is_finite() {
            return value;
        }
        let quantum = self.quantum(value);
        (value / quantum).round_ties_even() * quantum
    }

    /// The distance of neighbouring numbers of the format around `value`.
    pub(crate) fn quantum(self, value: f64) -> f64 {
        let (fraction, least, _) = self.parameters();
        let exponent = (value.abs().log2().floor() as i32).clamp(least, 1023);
        // log2 may round up to the next integer just below a power of two; a finer quantum would then be wrong.
        let exponent =
            if 2.0_f64.powi(exponent) > value.abs() && exponent > least { exponent - 1 } else { exponent };
        2.0_f64.powi(exponent - fraction)
    }
}

impl Family for NumberFormat {
    fn parse(text: &str) -> Option<Result<Kind, ThreatError>> {
        NumberFormat::from_name(text.strip_prefix("format:")?).map(|format| Ok(Kind::Format(format)))
    }

    fn forms() -> &'static str {
        "format:fp32, format:tf32, format:bf16, format:fp16, format:fp8e4m3, format:fp8e5m2"
    }

    fn written(&self) -> String {
        format!("format:{}", self.name())
    }

    fn unit(&self) -> &'static str {
        "multiple of the rounding error of the format"
    }

    fn parameters(&self, layer: &str, affine: &Affine, radii: &[f64]) -> Result<Parameters, ThreatError> {
        parameters(layer, affine, *self, radii[0])
    }

    fn has_own_radius(&self) -> bool {
        true
    }

    fn has_row_radii(&self) -> bool {
        false
    }

    fn assumptions(&self) -> &'static [&'static str] {
        &[
            "products are accumulated in fp32, in any order",
            "the class is read off the fp32 accumulators of the last layer",
            "inputs, weights and accumulators are rounded to nearest; hardware that truncates leaves the set",
            "activations act on fp32 values and return the correctly rounded value of the format (exact for ReLU)",
            "subnormal numbers are kept, and constants such as an input normalization are rounded once",
            "every value stays within the range of the format (certified along with the margins)",
        ]
    }

    fn format(&self) -> Option<NumberFormat> {
        Some(*self)
    }
}

/// Where the parameters of a layer move in inference in `format`, radii times `multiplier`.
fn parameters(
    layer: &str,
    dense: &Affine,
    format: NumberFormat,
    multiplier: f64,
) -> Result<Parameters, ThreatError> {
    let (rows, cols) = (dense.weight.rows(), dense.weight.cols());
    let too_large = |v: &&f64| format.round(**v).abs() > format.largest();
    if let Some(&found) = dense.weight.as_slice().iter().chain(&dense.bias).find(too_large) {
        let (format, limit) = (format.name(), format.largest());
        return Err(ThreatError::OutOfRange { layer: layer.into(), format, limit, found });
    }
    let terms = cols + 1;
    let gamma = accumulated(layer, terms)?;
    let u = format.unit_roundoff();
    let half_subnormal = 0.5 * format.smallest_subnormal();
    // Parameters that the format represents are stored without error.
    let stored = |v: f64| if format.round(v) == v { (0.0, 0.0) } else { (u, half_subnormal) };
    let weight = Matrix::from_fn(rows, cols, |i, j| {
        let w = dense.weight[(i, j)];
        let (u_w, eta) = stored(w);
        multiplier
            * (((1.0 + u_w) * (1.0 + u) * (1.0 + gamma) - 1.0 + SLACK) * w.abs()
                + (1.0 + u) * (1.0 + gamma) * eta)
            * (1.0 + SLACK)
    });
    let bias = (0..rows).map(|i| {
        let (u_b, eta) = stored(dense.bias[i]);
        let own = ((1.0 + u_b) * (1.0 + gamma) - 1.0 + SLACK) * dense.bias[i].abs() + (1.0 + gamma) * eta;
        let l1: f64 = dense.weight.row(i).iter().zip(weight.row(i)).map(|(w, e)| w.abs() + e).sum();
        let sum = own + half_subnormal * (1.0 + gamma) * l1 + terms as f64 * ACCUMULATOR_SUBNORMAL;
        multiplier * sum * (1.0 + terms as f64 * SLACK)
    });
    let bias = bias.collect();
    Ok(Parameters { weight: WeightSet::entries(weight), bias })
}

/// `γ_n = nu / (1 − nu)` of the fp32 accumulator.
fn accumulated(layer: &str, terms: usize) -> Result<f64, ThreatError> {
    let spent = terms as f64 * ACCUMULATOR_ROUNDOFF;
    if spent >= 0.5 {
        return Err(ThreatError::TooManyTerms { layer: layer.into(), terms });
    }
    Ok(spent / (1.0 - spent))
}

/// Rounding of all sums without parameters, times `multiplier`.
pub(super) fn sum_roundings(
    network: &Network,
    format: NumberFormat,
    multiplier: f64,
) -> Result<Vec<SumRounding>, ThreatError> {
    let (u, half_subnormal) = (format.unit_roundoff(), 0.5 * format.smallest_subnormal());
    let mut roundings = Vec::new();
    for (node, n) in network.nodes().iter().enumerate() {
        // (m, Σ_j f)
        let (terms, factors) = match &n.layer {
            Layer::Add => (n.inputs.len(), n.inputs.len() as f64),
            Layer::AveragePool(average) => {
                let taps = average.window.taps();
                (taps + 2, taps as f64 * average.factor.iter().copied().fold(0.0, f64::max))
            }
            Layer::Input
            | Layer::Dense(_)
            | Layer::Conv(_)
            | Layer::Scale(_)
            | Layer::Activation(_)
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::Gather(_)
            | Layer::Reshape => continue,
        };
        let gamma = accumulated(&n.name, terms)?;
        roundings.push(SumRounding {
            node,
            relative: multiplier * ((1.0 + u) * (1.0 + gamma) - 1.0 + SLACK) * (1.0 + SLACK),
            absolute: multiplier
                * (1.0 + SLACK)
                * ((1.0 + gamma) * half_subnormal * factors + terms as f64 * ACCUMULATOR_SUBNORMAL),
        });
    }
    Ok(roundings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_agrees_with_hardware_for_fp32() {
        for k in 1..2000 {
            let v = (f64::from(k) * 0.37).sin() * 10.0_f64.powi(k % 60 - 40);
            assert_eq!(NumberFormat::Fp32.round(v), f64::from(v as f32), "{v}");
        }
    }

    #[test]
    fn rounding_error_is_within_the_model() {
        for format in NumberFormat::ALL {
            let (u, eta) = (format.unit_roundoff(), format.smallest_subnormal());
            for k in 1..4000 {
                let v = (f64::from(k) * 0.61).cos() * 2.0_f64.powi(k % 24 - 18);
                let error = (format.round(v) - v).abs();
                assert!(error <= u * v.abs() + 0.5 * eta, "{format:?} {v}");
                assert_eq!(format.round(format.round(v)), format.round(v), "{format:?} {v}");
            }
        }
    }

    #[test]
    fn known_values() {
        assert_eq!(NumberFormat::Fp8E4M3.round(0.3), 0.3125);
        assert_eq!(NumberFormat::Fp8E4M3.round(0.001), 0.001_953_125);
        assert_eq!(NumberFormat::Fp8E4M3.round(0.0009), 0.0);
        assert_eq!(NumberFormat::Bf16.round(1.0 + 1.0 / 256.0), 1.0);
        assert_eq!(NumberFormat::Fp16.smallest_subnormal(), 2.0_f64.powi(-24));
        assert_eq!(NumberFormat::Fp8E4M3.unit_roundoff(), 0.0625);
    }

    #[test]
    fn represented_weights_are_not_charged_for_storage() {
        let dense = Affine {
            weight: Matrix::from_vec(1, 1, vec![0.5]),
            bias: vec![0.0],
            has_bias: true,
            stored: None,
        };
        let Parameters { weight, .. } = parameters("d", &dense, NumberFormat::Bf16, 1.0).unwrap();
        let rho = weight.at(0, 0) / 0.5;
        let u = NumberFormat::Bf16.unit_roundoff();
        assert!(rho > u && rho < u * 1.001, "{rho}");
    }

    /// Whatever a format makes of a weight and of the activation beside it lies in the set.
    #[test]
    fn rounded_weights_and_activations_are_covered() {
        let weight =
            Matrix::from_fn(20, 20, |i, j| ((i * 20 + j) as f64 * 0.83).sin() * 2.0_f64.powi(-(j as i32)));
        let dense = Affine {
            weight,
            bias: (0..20).map(|i| (f64::from(i) * 0.31).cos()).collect(),
            has_bias: true,
            stored: None,
        };
        for format in NumberFormat::ALL {
            let Parameters { weight, bias } = parameters("d", &dense, format, 1.0).unwrap();
            let u = format.unit_roundoff();
            for i in 0..20 {
                assert!((format.round(dense.bias[i]) - dense.bias[i]).abs() <= bias[i], "{format:?}");
                for j in 0..20 {
                    let w = dense.weight[(i, j)];
                    for error in [-u, u] {
                        let effective = format.round(w) * (1.0 + error);
                        assert!((effective - w).abs() <= weight.at(i, j), "{format:?} {w}");
                    }
                }
            }
        }
    }
}
