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
//! Hardware that rounds to either neighbour ([`Rounding::Any`]) has twice the `u`, the `η` and the accumulator's `u` of rounding to nearest.
//!
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

/// The numbers of a format.
struct Numbers {
    /// Bits of the fraction.
    fraction: i32,
    /// Exponent of the smallest normal number.
    least: i32,
    /// The largest finite number.
    largest: f64,
}

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

    fn parameters(self) -> Numbers {
        let of = |fraction, least, largest| Numbers { fraction, least, largest };
        match self {
            NumberFormat::Fp32 => of(23, -126, f64::from(f32::MAX)),
            // Of the largest numbers all bits of the fraction are set.
            NumberFormat::Tf32 => of(10, -126, f64::from(f32::from_bits(0x7F7F_E000))),
            NumberFormat::Bf16 => of(7, -126, f64::from(f32::from_bits(0x7F7F_0000))),
            NumberFormat::Fp16 => of(10, -14, 65504.0),
            NumberFormat::Fp8E4M3 => of(3, -6, 448.0),
            NumberFormat::Fp8E5M2 => of(2, -14, 57344.0),
        }
    }

    /// Bits of the fraction and of the exponent; a sign is before them.
    pub(crate) fn fields(self) -> (u32, u32) {
        let Numbers { fraction, least, .. } = self.parameters();
        (fraction as u32, (2 - least).ilog2() + 1)
    }

    /// Unit roundoff `u`: `|fl(v) − v| ≤ u |v|` for normal numbers.
    pub fn unit_roundoff(self) -> f64 {
        2.0_f64.powi(-self.parameters().fraction - 1)
    }

    /// Smallest positive number.
    pub fn smallest_subnormal(self) -> f64 {
        self.lowest_bit(0)
    }

    /// What the lowest bit of a fraction stands for, given the bits of the exponent.
    pub(crate) fn lowest_bit(self, exponent: u32) -> f64 {
        let Numbers { fraction, least, .. } = self.parameters();
        let power = least - fraction + (exponent.max(1) - 1) as i32;
        // A power of two is its exponent alone; `powi` multiplies.
        f64::from_bits(((1023 + power) as u64) << 52)
    }

    /// Largest finite number.
    pub fn largest(self) -> f64 {
        self.parameters().largest
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

    /// The number of the format on the other side of `value` than `nearest`, which is [`NumberFormat::round`] of it; the same where the
    /// format has `value`.
    pub fn neighbour(self, value: f64, nearest: f64) -> f64 {
        if nearest == value || !value.is_finite() {
            return nearest;
        }
        let steps = value / self.quantum(value);
        let other = if nearest < value { steps.ceil() } else { steps.floor() };
        other * self.quantum(value)
    }

    /// The distance of neighbouring numbers of the format around `value`.
    pub(crate) fn quantum(self, value: f64) -> f64 {
        let Numbers { fraction, least, .. } = self.parameters();
        let exponent = (value.abs().log2().floor() as i32).clamp(least, 1023);
        // log2 may round up to the next integer just below a power of two; a finer quantum would then be wrong.
        let exponent =
            if 2.0_f64.powi(exponent) > value.abs() && exponent > least { exponent - 1 } else { exponent };
        2.0_f64.powi(exponent - fraction)
    }
}

/// How hardware rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest number of a format, as IEEE 754 does.
    #[default]
    Nearest,
    /// To either neighbour, another one each time: truncation, rounding up or down, stochastic rounding. Numbers of the format
    /// stay as they are.
    Any,
}

/// Inference in a number format. Written `format:bf16`, `format:bf16:any`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inference {
    /// Of weights and of the values that products and sums read.
    pub format: NumberFormat,
    /// Of every operation, those of the fp32 accumulators included.
    pub rounding: Rounding,
}

/// The word behind a format for [`Rounding::Any`].
const ANY: &str = "any";

impl Inference {
    /// Rounded to nearest.
    pub fn new(format: NumberFormat) -> Self {
        Inference { format, rounding: Rounding::Nearest }
    }

    /// How much further a result may be from the exact one than if it were rounded to nearest.
    fn further(self) -> f64 {
        match self.rounding {
            Rounding::Nearest => 1.0,
            Rounding::Any => 2.0,
        }
    }

    /// `u`: a rounded normal number is off by at most this part of it.
    fn unit_roundoff(self) -> f64 {
        self.further() * self.format.unit_roundoff()
    }

    /// A rounded subnormal number is off by at most this.
    fn underflow(self) -> f64 {
        0.5 * self.further() * self.format.smallest_subnormal()
    }

    /// `γ_n = nu / (1 − nu)` of the fp32 accumulator.
    fn accumulated(self, layer: &str, terms: usize) -> Result<f64, ThreatError> {
        let spent = terms as f64 * self.further() * ACCUMULATOR_ROUNDOFF;
        if spent >= 0.5 {
            return Err(ThreatError::TooManyTerms { layer: layer.into(), terms });
        }
        Ok(spent / (1.0 - spent))
    }

    /// Whether `value` may be rounded to an infinity.
    fn overflows(self, value: f64) -> bool {
        let stored = match self.rounding {
            Rounding::Nearest => self.format.round(value),
            Rounding::Any => value,
        };
        !(stored.abs() <= self.format.largest())
    }
}

impl Family for Inference {
    fn parse(text: &str) -> Option<Result<Kind, ThreatError>> {
        let name = text.strip_prefix("format:")?;
        let (name, rounding) = match name.strip_suffix(ANY).and_then(|name| name.strip_suffix(':')) {
            Some(name) => (name, Rounding::Any),
            None => (name, Rounding::Nearest),
        };
        NumberFormat::from_name(name).map(|format| Ok(Kind::Format(Inference { format, rounding })))
    }

    fn forms() -> &'static str {
        "format:fp32, format:tf32, format:bf16, format:fp16, format:fp8e4m3, format:fp8e5m2 (also format:bf16:any)"
    }

    fn written(&self) -> String {
        let name = self.format.name();
        match self.rounding {
            Rounding::Nearest => format!("format:{name}"),
            Rounding::Any => format!("format:{name}:{ANY}"),
        }
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
        match self.rounding {
            Rounding::Nearest => &[
                "products are accumulated in fp32, in any order",
                "the class is read off the fp32 accumulators of the last layer",
                "inputs, weights and accumulators are rounded to nearest; hardware that truncates leaves the set",
                "activations act on fp32 values and return the correctly rounded value of the format (exact for ReLU)",
                "subnormal numbers are kept, and constants such as an input normalization are rounded once",
                "every value stays within the range of the format (certified along with the margins)",
            ],
            Rounding::Any => &[
                "products are accumulated in fp32, in any order",
                "the class is read off the fp32 accumulators of the last layer",
                "inputs, weights and accumulators become either neighbour when they are rounded",
                "activations act on fp32 values and return either neighbour of the exact value (exact for ReLU)",
                "subnormal numbers are kept, and constants such as an input normalization are rounded once",
                "every value stays within the range of the format (certified along with the margins)",
            ],
        }
    }

    fn format(&self) -> Option<Inference> {
        Some(*self)
    }
}

/// Where the parameters of a layer move in inference, radii times `multiplier`.
fn parameters(
    layer: &str,
    dense: &Affine,
    inference: Inference,
    multiplier: f64,
) -> Result<Parameters, ThreatError> {
    let format = inference.format;
    let (rows, cols) = (dense.weight.rows(), dense.weight.cols());
    let too_large = |v: &&f64| inference.overflows(**v);
    if let Some(&found) = dense.weight.as_slice().iter().chain(&dense.bias).find(too_large) {
        let (format, limit) = (format.name(), format.largest());
        return Err(ThreatError::OutOfRange { layer: layer.into(), format, limit, found });
    }
    let terms = cols + 1;
    let gamma = inference.accumulated(layer, terms)?;
    let (u, underflow) = (inference.unit_roundoff(), inference.underflow());
    // Parameters that the format represents are stored without error.
    let stored = |v: f64| if format.round(v) == v { (0.0, 0.0) } else { (u, underflow) };
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
        let sum = own + underflow * (1.0 + gamma) * l1 + terms as f64 * ACCUMULATOR_SUBNORMAL;
        multiplier * sum * (1.0 + terms as f64 * SLACK)
    });
    let bias = bias.collect();
    Ok(Parameters { weight: WeightSet::entries(weight), bias })
}

/// Rounding of all sums without parameters, times `multiplier`.
pub(super) fn sum_roundings(
    network: &Network,
    inference: Inference,
    multiplier: f64,
) -> Result<Vec<SumRounding>, ThreatError> {
    let (u, underflow) = (inference.unit_roundoff(), inference.underflow());
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
            Layer::Multiply => {
                return Err(ThreatError::ProductRounded {
                    node: n.name.clone(),
                    format: inference.format.name(),
                });
            }
        };
        let gamma = inference.accumulated(&n.name, terms)?;
        roundings.push(SumRounding {
            node,
            relative: multiplier * ((1.0 + u) * (1.0 + gamma) - 1.0 + SLACK) * (1.0 + SLACK),
            absolute: multiplier
                * (1.0 + SLACK)
                * ((1.0 + gamma) * underflow * factors + terms as f64 * ACCUMULATOR_SUBNORMAL),
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
        for (rounding, factor) in [(Rounding::Nearest, 1.0), (Rounding::Any, 2.0)] {
            let inference = Inference { format: NumberFormat::Bf16, rounding };
            let Parameters { weight, .. } = parameters("d", &dense, inference, 1.0).unwrap();
            let rho = weight.at(0, 0) / 0.5;
            let u = factor * NumberFormat::Bf16.unit_roundoff();
            assert!(rho > u && rho < u * 1.001, "{rho}");
        }
    }

    /// What hardware may make of `v`.
    fn rounded(Inference { format, rounding }: Inference, v: f64) -> Vec<f64> {
        let nearest = format.round(v);
        match rounding {
            Rounding::Nearest => vec![nearest],
            Rounding::Any => vec![nearest, format.neighbour(v, nearest)],
        }
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
        let roundings = [Rounding::Nearest, Rounding::Any];
        let all = NumberFormat::ALL.map(|format| roundings.map(|rounding| Inference { format, rounding }));
        for inference in all.into_iter().flatten() {
            let Parameters { weight, bias } = parameters("d", &dense, inference, 1.0).unwrap();
            let u = inference.unit_roundoff();
            for i in 0..20 {
                for stored in rounded(inference, dense.bias[i]) {
                    assert!((stored - dense.bias[i]).abs() <= bias[i], "{inference:?}");
                }
                for j in 0..20 {
                    let w = dense.weight[(i, j)];
                    for (stored, error) in rounded(inference, w).into_iter().flat_map(|w| [(w, -u), (w, u)]) {
                        let effective = stored * (1.0 + error);
                        assert!((effective - w).abs() <= weight.at(i, j), "{inference:?} {w}");
                    }
                }
            }
        }
    }

    /// Terms of half a unit of the last place of the sum so far are lost one after the other.
    #[test]
    fn what_a_sum_in_single_precision_loses_is_covered() {
        const TERMS: usize = 1000;
        let small = 2.0_f64.powi(-25);
        let weight = Matrix::from_fn(1, TERMS, |_, j| if j == 0 { 1.0 } else { small });
        let exact: f64 = weight.as_slice().iter().sum();
        let computed = weight.as_slice().iter().fold(0.0_f32, |sum, w| sum + *w as f32);
        let dense = Affine { weight, bias: vec![0.0], has_bias: true, stored: None };
        for rounding in [Rounding::Nearest, Rounding::Any] {
            let inference = Inference { format: NumberFormat::Fp32, rounding };
            let Parameters { weight, bias } = parameters("d", &dense, inference, 1.0).unwrap();
            // Every value that the layer reads is 1.
            let covered: f64 = (0..TERMS).map(|j| weight.at(0, j)).sum::<f64>() + bias[0];
            let lost = exact - f64::from(computed);
            assert!(lost > 400.0 * small && lost <= covered, "{lost} {covered}");
        }
    }

    /// A number above the largest one is rounded to nearest downward, and by other hardware perhaps to an infinity.
    #[test]
    fn what_may_overflow_is_refused() {
        let slightly_above = NumberFormat::Fp8E4M3.largest() + 1.0;
        for (rounding, overflows) in [(Rounding::Nearest, false), (Rounding::Any, true)] {
            let inference = Inference { format: NumberFormat::Fp8E4M3, rounding };
            assert_eq!(inference.overflows(slightly_above), overflows);
            assert!(!inference.overflows(NumberFormat::Fp8E4M3.largest()) && inference.overflows(f64::NAN));
        }
    }
}
