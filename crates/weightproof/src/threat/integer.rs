//! Quantization of weights to integers: what a quantizer may write is a box around the weights (theory.md §2).
//!
//! ```text
//! q = clip(round(w / s), q_min, q_max)        ŵ = s q
//! ```
//! The step `s` is that of the tensor or of the output channel: its largest magnitude over the [divisor](Divisor), or its whole
//! range over all steps (`asymmetric`, with a zero point). Quantizers compute `s`, `w / s` and `s q` in fp32; the radii have room for
//! that.
//!
//! # Guarantee
//! Every quantizer with these settings stays in the box. Outside of it are quantizers that choose `s` otherwise: by minimising an
//! error, enlarged for tiny rows, or fixed beforehand.

use super::kind::{Family, Parameters};
use super::outward::product_up;
use super::{Kind, ThreatError, WeightSet};
use crate::kernels::Matrix;
use crate::network::Affine;

/// What shares one quantization step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Granularity {
    /// All weights of a layer.
    #[default]
    Tensor,
    /// The weights of one output channel (row).
    Channel,
}

/// Over how many steps the largest magnitude is divided; `b` bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Divisor {
    /// `2^(b−1) − 1` (127): the largest weight is a number of the grid. ONNX Runtime, TensorFlow Lite.
    #[default]
    Symmetric,
    /// `(2^b − 1) / 2` (127.5). PyTorch's default observers of weights.
    HalfRange,
    /// `2^(b−1)` (128): a largest weight that is positive is clipped.
    Full,
    /// `2^(b−2)` (64): one bit less, as ONNX Runtime's reduced range.
    Reduced,
    /// The smallest power of two that is at least the step of [`Divisor::Symmetric`].
    PowerOfTwo,
    /// The whole range from the smallest to the largest weight over `2^b − 1` steps, with a zero point.
    Asymmetric,
}

/// Which of the two neighbours on the grid a weight becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// The nearest: half a step.
    #[default]
    Nearest,
    /// Either of them (stochastic rounding, learned rounding, truncation): a whole step.
    Either,
}

/// How biases are quantized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BiasGrid {
    /// With the step of the weights of their layer, or of their row.
    #[default]
    Weights,
    /// As a tensor of their own with a step of its own.
    Own,
    /// Not at all.
    Float,
}

/// An integer quantizer of weights, rounding to a uniform grid.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantizer {
    /// Bits per weight, 2 to 16.
    pub bits: u32,
    /// One step per tensor or per output channel.
    pub granularity: Granularity,
    /// Which step.
    pub divisor: Divisor,
    /// Which neighbour.
    pub rule: Rule,
    /// Which biases.
    pub bias: BiasGrid,
}

/// Relative error of a few operations in fp32.
const SINGLE: f64 = 4.0 / 16_777_216.0;

/// Settings with the words that stand for them; the first of each group is the default and not written.
const GRANULARITIES: [(&str, Granularity); 2] =
    [("per-tensor", Granularity::Tensor), ("per-channel", Granularity::Channel)];
const DIVISORS: [(&str, Divisor); 6] = [
    ("symmetric", Divisor::Symmetric),
    ("half-range", Divisor::HalfRange),
    ("full-range", Divisor::Full),
    ("reduced-range", Divisor::Reduced),
    ("power-of-two", Divisor::PowerOfTwo),
    ("asymmetric", Divisor::Asymmetric),
];
const RULES: [(&str, Rule); 2] = [("nearest", Rule::Nearest), ("either", Rule::Either)];
const BIASES: [(&str, BiasGrid); 3] = [
    ("bias-like-weights", BiasGrid::Weights),
    ("bias-own-step", BiasGrid::Own),
    ("bias-float", BiasGrid::Float),
];

/// Takes over the setting that `word` stands for, if it is one of `words`.
fn take<S: Copy>(words: &[(&str, S)], word: &str, into: &mut S) -> bool {
    let found = words.iter().find(|(name, _)| *name == word);
    found.iter().for_each(|(_, setting)| *into = *setting);
    found.is_some()
}

/// The word of a setting, unless it is the default.
fn word_of<S: Copy + PartialEq>(words: &[(&'static str, S)], setting: S) -> Option<&'static str> {
    words[1..].iter().find(|(_, s)| *s == setting).map(|(name, _)| *name)
}

impl Quantizer {
    /// Symmetric, to nearest, one step per tensor.
    pub fn new(bits: u32) -> Self {
        Quantizer { bits, ..Quantizer::default() }
    }

    /// The step of a group of weights whose extremes with zero are `least` ≤ 0 ≤ `most`, and the largest numbers of the grid on
    /// either side; `None` when all are zero.
    fn grid(&self, least: f64, most: f64) -> Option<Grid> {
        let magnitude = most.max(-least);
        if magnitude == 0.0 {
            return None;
        }
        let half = 2.0_f64.powi(self.bits as i32 - 1);
        let symmetric = magnitude / (half - 1.0);
        let of = |step: f64, low: f64, high: f64| Some(Grid { step, low: step * low, high: step * high });
        match self.divisor {
            Divisor::Symmetric => of(symmetric, half - 1.0, half - 1.0),
            Divisor::HalfRange => of(magnitude / (half - 0.5), half, half - 1.0),
            Divisor::Full => of(magnitude / half, half, half - 1.0),
            Divisor::Reduced => of(magnitude / (half / 2.0), half / 2.0, half / 2.0),
            // The next one where fp32 may round the step beyond a power of two.
            Divisor::PowerOfTwo => {
                let exponent = (symmetric * (1.0 + SINGLE)).log2().ceil();
                of(2.0_f64.powi(exponent as i32), half - 1.0, half - 1.0)
            }
            // The zero point is rounded, so that the grid may end half a step early.
            Divisor::Asymmetric => {
                let step = (most - least) / (2.0 * half - 1.0);
                Some(Grid { step, low: -least - 0.5 * step, high: most - 0.5 * step })
            }
        }
    }

    /// The integers with which this quantizer stores numbers between the extremes `least` ≤ 0 ≤ `most`. A group of zeros has the step 1.
    pub(crate) fn integers(&self, least: f64, most: f64) -> Integers {
        let half = 1_i64 << (self.bits - 1);
        let all = Integers { step: 1.0, zero: 0, lowest: -half, highest: half - 1 };
        let Some(Grid { step, low, high }) = self.grid(least, most) else { return all };
        // Where fp32 has no such number the step stays as it is.
        let single = f64::from(step as f32);
        let stored = if single > 0.0 && single.is_finite() { single } else { step };
        match self.divisor {
            Divisor::Asymmetric => {
                let zero = (-half as f64 - least / stored).round_ties_even() as i64;
                Integers { step: stored, zero, ..all }
            }
            Divisor::Symmetric
            | Divisor::HalfRange
            | Divisor::Full
            | Divisor::Reduced
            | Divisor::PowerOfTwo => {
                let (lowest, highest) = (-(low / step).round() as i64, (high / step).round() as i64);
                Integers { step: stored, zero: 0, lowest, highest }
            }
        }
    }

    /// How far the weight or bias `value` may move on `grid`.
    fn radius(&self, grid: Option<Grid>, value: f64) -> f64 {
        let Some(Grid { step, low, high }) = grid else { return 0.0 };
        let rounded = match self.rule {
            Rule::Nearest => 0.5 * step,
            Rule::Either => step,
        };
        let clipped = (value - high).max(-value - low);
        let largest = low.max(high) + step;
        (rounded.max(clipped) + SINGLE * largest).next_up()
    }
}

/// Numbers from `−low` to `high`, a step apart.
#[derive(Clone, Copy)]
struct Grid {
    step: f64,
    low: f64,
    high: f64,
}

/// Stored integers q, which mean `step (q − zero)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Integers {
    /// A number of fp32.
    pub step: f64,
    pub zero: i64,
    /// The least q.
    pub lowest: i64,
    /// The largest q.
    pub highest: i64,
}

/// The extremes of numbers and zero.
pub(crate) fn extremes<'v>(values: impl Iterator<Item = &'v f64>) -> (f64, f64) {
    values.fold((0.0, 0.0), |(least, most), &v| (v.min(least), v.max(most)))
}

impl Family for Quantizer {
    fn parse(text: &str) -> Option<Result<Kind, ThreatError>> {
        let mut words = text.strip_prefix("int")?.split(':');
        let bits: u32 = words.next()?.parse().ok()?;
        if !(2..=16).contains(&bits) {
            return Some(Err(ThreatError::Bits { found: bits }));
        }
        let mut q = Quantizer::new(bits);
        for word in words {
            let known = take(&GRANULARITIES, word, &mut q.granularity)
                || take(&DIVISORS, word, &mut q.divisor)
                || take(&RULES, word, &mut q.rule)
                || take(&BIASES, word, &mut q.bias);
            if !known {
                let names = |words: &[&'static str]| words.join(", ");
                let known = [
                    names(&GRANULARITIES.map(|w| w.0)),
                    names(&DIVISORS.map(|w| w.0)),
                    names(&RULES.map(|w| w.0)),
                    names(&BIASES.map(|w| w.0)),
                ];
                let found = word.chars().take(60).collect();
                return Some(Err(ThreatError::UnknownSetting { found, known: known.join(", ") }));
            }
        }
        Some(Ok(Kind::Integer(q)))
    }

    fn forms() -> &'static str {
        "int2 to int16 (also int8:per-channel, int8:asymmetric)"
    }

    fn written(&self) -> String {
        let words = [
            word_of(&GRANULARITIES, self.granularity),
            word_of(&DIVISORS, self.divisor),
            word_of(&RULES, self.rule),
            word_of(&BIASES, self.bias),
        ];
        words.into_iter().flatten().fold(format!("int{}", self.bits), |name, word| format!("{name}:{word}"))
    }

    fn unit(&self) -> &'static str {
        match self.rule {
            Rule::Nearest => "multiple of half a quantization step",
            Rule::Either => "multiple of a quantization step",
        }
    }

    fn parameters(&self, _: &str, affine: &Affine, radii: &[f64]) -> Result<Parameters, ThreatError> {
        let (rows, multiplier) = (affine.bias.len(), radii[0]);
        let grids: Vec<Option<Grid>> = match self.granularity {
            Granularity::Tensor => {
                let (least, most) = extremes(affine.weight.as_slice().iter());
                vec![self.grid(least, most); rows]
            }
            Granularity::Channel => (0..rows)
                .map(|i| {
                    let (least, most) = extremes(affine.weight.row(i).iter());
                    self.grid(least, most)
                })
                .collect(),
        };
        let of = |grid: Option<Grid>, value: f64| product_up(multiplier, self.radius(grid, value));
        // Inside of the grid all weights of a row move alike.
        let inner: Vec<f64> = grids.iter().map(|&grid| of(grid, 0.0)).collect();
        let radius = |i: usize, j: usize| of(grids[i], affine.weight[(i, j)]);
        let clips = |i: usize| {
            let (least, most) = extremes(affine.weight.row(i).iter());
            of(grids[i], least) > inner[i] || of(grids[i], most) > inner[i]
        };
        let weight = if (0..rows).any(clips) {
            WeightSet::entries(Matrix::from_fn(rows, affine.weight.cols(), radius))
        } else {
            WeightSet::rows(inner.clone())
        };
        let bias = match self.bias {
            BiasGrid::Weights => inner,
            BiasGrid::Float => vec![0.0; rows],
            BiasGrid::Own => {
                let (least, most) = extremes(affine.bias.iter());
                let grid = self.grid(least, most);
                affine.bias.iter().map(|&b| of(grid, b)).collect()
            }
        };
        Ok(Parameters { weight, bias })
    }

    fn has_own_radius(&self) -> bool {
        true
    }

    fn has_row_radii(&self) -> bool {
        false
    }

    fn assumptions(&self) -> &'static [&'static str] {
        match self.rule {
            Rule::Nearest => {
                &["weights are rounded to the nearest number of the grid; activations stay in floating point"]
            }
            Rule::Either => &[
                "weights become one of their two neighbours on the grid; activations stay in floating point",
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn affine(shift: f64) -> Affine {
        let weight =
            Matrix::from_fn(4, 7, |i, j| (1.7 * i as f64 + 0.9 * j as f64 + shift).sin() + 0.3 * shift);
        let bias = (0..4).map(|i| (0.4 * f64::from(i) + shift).cos()).collect();
        Affine { weight, bias, has_bias: true, stored: None }
    }

    /// A quantizer as toolkits write them, in fp32.
    fn quantize(q: &Quantizer, weights: &[f64], up: bool) -> Vec<f64> {
        let (least, most) = extremes(weights.iter());
        let half = 2.0_f32.powi(q.bits as i32 - 1);
        let magnitude = most.max(-least) as f32;
        let (step, low, high) = match q.divisor {
            Divisor::Symmetric => (magnitude / (half - 1.0), -(half - 1.0), half - 1.0),
            Divisor::HalfRange => (magnitude / ((2.0 * half - 1.0) / 2.0), -half, half - 1.0),
            Divisor::Full => (magnitude / half, -half, half - 1.0),
            Divisor::Reduced => (2.0 * magnitude / half, -half / 2.0, half / 2.0),
            Divisor::PowerOfTwo => {
                ((magnitude / (half - 1.0)).log2().ceil().exp2(), -(half - 1.0), half - 1.0)
            }
            Divisor::Asymmetric => ((most as f32 - least as f32) / (2.0 * half - 1.0), -half, half - 1.0),
        };
        let zero = match q.divisor {
            Divisor::Asymmetric => (low - least as f32 / step).round_ties_even(),
            Divisor::Symmetric
            | Divisor::HalfRange
            | Divisor::Full
            | Divisor::Reduced
            | Divisor::PowerOfTwo => 0.0,
        };
        let one = |w: &f64| {
            let scaled = *w as f32 / step;
            let rounded = match (q.rule, up) {
                (Rule::Nearest, _) => scaled.round_ties_even(),
                (Rule::Either, true) => scaled.ceil(),
                (Rule::Either, false) => scaled.floor(),
            };
            f64::from(((rounded + zero).clamp(low, high) - zero) * step)
        };
        weights.iter().map(one).collect()
    }

    #[test]
    fn what_quantizers_write_is_in_the_box() {
        for bits in [2, 3, 4, 8, 12] {
            for (_, granularity) in GRANULARITIES {
                for (_, divisor) in DIVISORS {
                    for (_, rule) in RULES {
                        for shift in [-1.0, 0.0, 0.4, 2.0] {
                            let q = Quantizer { bits, granularity, divisor, rule, bias: BiasGrid::Own };
                            contains(&q, &affine(shift));
                        }
                    }
                }
            }
        }
    }

    fn contains(q: &Quantizer, affine: &Affine) {
        let Parameters { weight, bias } = q.parameters("d", affine, &[1.0]).unwrap();
        for up in [false, true] {
            let written: Vec<f64> = match q.granularity {
                Granularity::Tensor => quantize(q, affine.weight.as_slice(), up),
                Granularity::Channel => (0..4).flat_map(|i| quantize(q, affine.weight.row(i), up)).collect(),
            };
            let cols = affine.weight.cols();
            for (k, (after, before)) in written.iter().zip(affine.weight.as_slice()).enumerate() {
                let radius = weight.at(k / cols, k % cols);
                assert!((after - before).abs() <= radius, "{q:?} {before} {after} {radius}");
            }
            for (i, after) in quantize(q, &affine.bias, up).iter().enumerate() {
                assert!((after - affine.bias[i]).abs() <= bias[i], "{q:?} bias {i}");
            }
        }
    }

    /// The default: half a step of the symmetric grid, and nearly nothing more.
    #[test]
    fn the_box_is_half_a_step() {
        let affine = affine(0.0);
        let Parameters { weight, bias } = Quantizer::new(8).parameters("d", &affine, &[1.0]).unwrap();
        let half = 0.5 * affine.weight.as_slice().iter().fold(0.0_f64, |m, w| m.max(w.abs())) / 127.0;
        let WeightSet::Rows(rows) = weight else { panic!("one radius for each row") };
        assert!(rows.iter().all(|r| *r >= half && *r <= half * 1.0001), "{rows:?} {half}");
        assert_eq!(rows, bias);
    }

    #[test]
    fn settings_are_read_as_they_are_written() {
        for text in [
            "int8",
            "int4:per-channel",
            "int8:per-channel:half-range:either:bias-own-step",
            "int5:asymmetric",
            "int8:power-of-two:bias-float",
        ] {
            assert_eq!(text.parse::<Kind>().unwrap().to_string(), text);
        }
        assert_eq!("int8:per-tensor:nearest".parse::<Kind>().unwrap().to_string(), "int8");
        assert_eq!("int8:either:per-channel".parse::<Kind>().unwrap().to_string(), "int8:per-channel:either");
        assert_eq!("int1".parse::<Kind>(), Err(ThreatError::Bits { found: 1 }));
        let error = "int8:perchannel".parse::<Kind>().unwrap_err().to_string();
        assert!(error.contains("per-channel") && error.contains("perchannel"), "{error}");
    }
}
