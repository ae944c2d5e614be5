//! Quantization of weights to integers: what a quantizer may write is a box around the weights (theory.md §2).
//!
//! ```text
//! q = clip(round(w / s), q_min, q_max)        ŵ = s q
//! ```
//! The step `s` is that of the tensor or of the output channel: its largest magnitude over the [divisor](Divisor), or its whole
//! range over all steps (`asymmetric`, with a zero point); where weights are clipped, a percentile of the magnitudes stands for the largest.
//! Quantizers compute `s`, `w / s` and `s q` in fp32; the radii have room for
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
    /// Either of them (stochastic rounding, learned rounding): a whole step.
    Either,
    /// The one below, or the one towards zero (integer casts, shifts): a whole step. The box is that of [`Rule::Either`], although
    /// a weight moves to one side only, because boxes have the weights in the middle.
    Truncate,
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

/// Which magnitude of a group of weights takes the place of the largest; larger ones are clipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// The percentile, above 50 and at most 100, which is the largest.
    pub percent: f64,
}

impl Default for Clip {
    fn default() -> Self {
        Clip { percent: 100.0 }
    }
}

impl Clip {
    /// What settings begin with that say so: `clip-99.9`.
    const WORD: &str = "clip-";

    fn parse(word: &str) -> Option<Clip> {
        let percent: f64 = word.strip_prefix(Clip::WORD)?.parse().ok()?;
        (percent > 50.0 && percent <= 100.0).then_some(Clip { percent })
    }

    fn is_off(self) -> bool {
        self.percent == 100.0
    }

    /// Between which two magnitudes the percentile lies. Programs define percentiles differently: the place in the sorted list
    /// varies by less than one around `(n − 1) p / 100`, and is rounded or interpolated.
    fn magnitudes(self, values: &[f64]) -> [f64; 2] {
        let mut sorted: Vec<f64> = values.iter().map(|v| v.abs()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return [0.0; 2] };
        let place = last as f64 * self.percent / 100.0;
        let (below, above) = ((place - 1.0).floor().max(0.0), (place + 1.0).ceil());
        [below, above].map(|place| sorted[(place as usize).min(last)])
    }
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
    /// Whether large weights are clipped.
    pub clip: Clip,
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
const RULES: [(&str, Rule); 3] =
    [("nearest", Rule::Nearest), ("either", Rule::Either), ("truncate", Rule::Truncate)];
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

    /// The grid of a group of weights of `layer`; `None` when all are zero.
    fn grid_of(&self, layer: &str, values: &[f64]) -> Result<Option<Grid>, ThreatError> {
        let (least, most) = extremes(values.iter());
        if self.clip.is_off() || (least, most) == (0.0, 0.0) {
            return Ok(self.grid(least, most));
        }
        // The largest step, and of the ends the nearest.
        match self.clip.magnitudes(values).map(|magnitude| self.grid(-magnitude, magnitude)) {
            [Some(Grid { low, high, .. }), Some(grid)] => Ok(Some(Grid { low, high, ..grid })),
            // A quantizer may take any step then.
            _ => Err(ThreatError::ClippedAway { layer: layer.into(), percent: self.clip.percent }),
        }
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
        let of = |step: f64, low: f64, high: f64| {
            Some(Grid { step, low: step * low, high: step * high, largest: step * (low.max(high) + 1.0) })
        };
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
                let (low, high) = (-least - 0.5 * step, most - 0.5 * step);
                Some(Grid { step, low, high, largest: low.max(high) + step })
            }
        }
    }

    /// The integers with which this quantizer stores numbers between the extremes `least` ≤ 0 ≤ `most`. A group of zeros has the step 1.
    pub(crate) fn integers(&self, least: f64, most: f64) -> Integers {
        let half = 1_i64 << (self.bits - 1);
        let all = Integers { step: 1.0, zero: 0, lowest: -half, highest: half - 1 };
        let Some(Grid { step, low, high, .. }) = self.grid(least, most) else { return all };
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
        let Some(Grid { step, low, high, largest }) = grid else { return 0.0 };
        let rounded = match self.rule {
            Rule::Nearest => 0.5 * step,
            Rule::Either | Rule::Truncate => step,
        };
        let clipped = (value - high).max(-value - low);
        (rounded.max(clipped) + SINGLE * largest).next_up()
    }
}

/// Numbers from `−low` to `high`, a step apart; where the step is not known, the largest possible one, and the least possible ends.
#[derive(Clone, Copy)]
struct Grid {
    step: f64,
    low: f64,
    high: f64,
    /// No number on it is larger.
    largest: f64,
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
            if let Some(clip) = Clip::parse(word) {
                q.clip = clip;
                continue;
            }
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
                    "clip-99.9 (a percentile above 50)".into(),
                ];
                let found = word.chars().take(60).collect();
                return Some(Err(ThreatError::UnknownSetting { found, known: known.join(", ") }));
            }
        }
        if q.divisor == Divisor::Asymmetric && !q.clip.is_off() {
            let (found, known) = (text.chars().take(60).collect(), "clip or asymmetric, not both".into());
            return Some(Err(ThreatError::UnknownSetting { found, known }));
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
        let clip = (!self.clip.is_off()).then(|| format!("{}{}", Clip::WORD, self.clip.percent));
        let words = words.into_iter().flatten().map(str::to_owned).chain(clip);
        words.fold(format!("int{}", self.bits), |name, word| format!("{name}:{word}"))
    }

    fn unit(&self) -> &'static str {
        match self.rule {
            Rule::Nearest => "multiple of half a quantization step",
            Rule::Either | Rule::Truncate => "multiple of a quantization step",
        }
    }

    fn parameters(&self, layer: &str, affine: &Affine, radii: &[f64]) -> Result<Parameters, ThreatError> {
        let (rows, multiplier) = (affine.bias.len(), radii[0]);
        let grids: Vec<Option<Grid>> = match self.granularity {
            Granularity::Tensor => vec![self.grid_of(layer, affine.weight.as_slice())?; rows],
            Granularity::Channel => {
                (0..rows).map(|i| self.grid_of(layer, affine.weight.row(i))).collect::<Result<_, _>>()?
            }
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
                let grid = self.grid_of(layer, &affine.bias)?;
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
            Rule::Truncate => &[
                "weights are rounded down or towards zero to a number of the grid, a step at most (the set has both \
                 directions); activations stay in floating point",
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

    /// Percentiles of magnitudes as programs define them: interpolated, rounded down and up, and of a longer list.
    fn percentiles(q: &Quantizer, weights: &[f64]) -> Vec<f64> {
        let mut sorted: Vec<f64> = weights.iter().map(|w| w.abs()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (last, p) = (sorted.len() - 1, q.clip.percent / 100.0);
        let at = |place: f64| {
            let place = place.clamp(0.0, last as f64);
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        let place = last as f64 * p;
        let longer = (last + 2) as f64 * p - 1.0;
        let mut all = vec![at(place), at(place.floor()), at(place.ceil()), at(longer), at(longer.ceil())];
        all.dedup();
        all
    }

    /// A quantizer as toolkits write them, in fp32, of weights whose largest magnitude is taken to be this.
    fn quantize(q: &Quantizer, weights: &[f64], up: bool, magnitude: f64) -> Vec<f64> {
        let (least, most) = extremes(weights.iter());
        let half = 2.0_f32.powi(q.bits as i32 - 1);
        let magnitude = magnitude as f32;
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
                // Down, and towards zero.
                (Rule::Truncate, true) => scaled.trunc(),
                (Rule::Truncate, false) => scaled.floor(),
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
                        for (shift, percent) in [
                            (-1.0, 100.0),
                            (0.0, 100.0),
                            (0.4, 100.0),
                            (2.0, 100.0),
                            (0.4, 90.0),
                            (-1.0, 60.0),
                        ] {
                            let clip = Clip { percent };
                            let q = Quantizer { bits, granularity, divisor, rule, bias: BiasGrid::Own, clip };
                            if clip.is_off() || divisor != Divisor::Asymmetric {
                                contains(&q, &affine(shift));
                            }
                        }
                    }
                }
            }
        }
    }

    fn contains(q: &Quantizer, affine: &Affine) {
        let Parameters { weight, bias } = q.parameters("d", affine, &[1.0]).unwrap();
        let inside = |group: &[f64], radius: &dyn Fn(usize) -> f64| {
            for (magnitude, up) in percentiles(q, group).into_iter().flat_map(|m| [(m, false), (m, true)]) {
                for (k, after) in quantize(q, group, up, magnitude).iter().enumerate() {
                    let (before, radius) = (group[k], radius(k));
                    assert!((after - before).abs() <= radius, "{q:?} {before} {after} {radius}");
                }
            }
        };
        let cols = affine.weight.cols();
        match q.granularity {
            Granularity::Tensor => inside(affine.weight.as_slice(), &|k| weight.at(k / cols, k % cols)),
            Granularity::Channel => {
                (0..4).for_each(|i| inside(affine.weight.row(i), &|j| weight.at(i, j)));
            }
        }
        inside(&affine.bias, &|i| bias[i]);
    }

    /// Where most weights are zero a percentile gives no step.
    #[test]
    fn weights_that_are_clipped_away_are_refused() {
        let mut affine = affine(0.0);
        affine.weight = Matrix::from_fn(4, 7, |i, j| if i == 0 && j < 2 { 1.0 } else { 0.0 });
        let q = Quantizer { clip: Clip { percent: 90.0 }, ..Quantizer::new(8) };
        let error = q.parameters("d", &affine, &[1.0]).err().unwrap();
        assert_eq!(error, ThreatError::ClippedAway { layer: "d".into(), percent: 90.0 });
        affine.weight = Matrix::zeros(4, 7);
        assert!(q.parameters("d", &affine, &[1.0]).unwrap().weight.is_zero());
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
            "int8:per-channel:clip-99.9",
            "int8:per-channel:truncate",
        ] {
            assert_eq!(text.parse::<Kind>().unwrap().to_string(), text);
        }
        assert_eq!("int8:per-tensor:nearest".parse::<Kind>().unwrap().to_string(), "int8");
        assert_eq!("int8:either:per-channel".parse::<Kind>().unwrap().to_string(), "int8:per-channel:either");
        assert_eq!("int8:clip-100".parse::<Kind>().unwrap().to_string(), "int8");
        for text in ["int8:clip-50", "int8:clip-nan", "int8:clip-101", "int8:asymmetric:clip-99"] {
            assert!(text.parse::<Kind>().is_err(), "{text}");
        }
        assert_eq!("int1".parse::<Kind>(), Err(ThreatError::Bits { found: 1 }));
        let error = "int8:perchannel".parse::<Kind>().unwrap_err().to_string();
        assert!(error.contains("per-channel") && error.contains("perchannel"), "{error}");
    }
}
