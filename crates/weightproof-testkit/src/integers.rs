//! Quantized networks, and their inference in integers, as kernels carry it out (theory.md §16).
//!
//! Weights are the stored integers, moved by whole counts; products are summed exactly; quantizers give the step of the operator's
//! text, or one beside it.

use crate::networks::{Design, input, rng};
use crate::oracle::margin;
use crate::suite::certificates;
use rand::{Rng, RngExt};
use weightproof::bounds::METHODS;
use weightproof::certify::CertifyOptions;
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{
    Activation, Affine, Conv, DynamicQuantizer, Jumps, Layer, Network, NetworkBuilder, Staircase,
    StepRounding, StoredIntegers,
};
use weightproof::property::Property;
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::{Precision, Verdict};

/// Rounding of the step of an accumulator and of bounds at radius zero, as a part of the outputs.
const ROUNDING: f64 = 1e-11;

/// How a random quantized network looks: an optional convolution of a 2 × 3 × 3 image, then dense layers, a quantizer in front of each
/// and behind the last one.
#[derive(Clone, Debug)]
pub struct QuantizedBlueprint {
    /// Whether a convolution is the first layer.
    pub convolutional: bool,
    /// Widths of the dense layers, the output last.
    pub widths: Vec<usize>,
    /// One step for each row of weights, or one for all.
    pub per_channel: bool,
    /// Whether values are kept in `[−128, 127]` or `[0, 255]`.
    pub signed: bool,
    /// Whether the steps of quantizers in front of layers follow from the range of each sample; nothing is quantized behind the last one.
    pub dynamic: bool,
    /// Which step comes out of quantizers.
    pub rounding: StepRounding,
    /// Seed of the parameters.
    pub seed: u64,
}

impl QuantizedBlueprint {
    fn quantizer(&self, step: f64, zero: i32) -> Activation {
        let step = f64::from(step as f32);
        let (low, high) = if self.signed { (-128, 127) } else { (0, 255) };
        let (rounding, jumps) = (self.rounding, Jumps::HalfWay);
        Activation::Quantize(Staircase { step, zero: low + zero, low, high, rounding, jumps })
    }

    /// Adds a quantizer with this step, or one whose step follows from the sample.
    fn quantize(
        &self,
        builder: &mut NetworkBuilder,
        name: &str,
        input: usize,
        (step, zero): (f64, i32),
    ) -> usize {
        if self.dynamic {
            let layer = Layer::DynamicQuantize(DynamicQuantizer { rounding: self.rounding });
            let shape = builder.shape(input).to_vec();
            return builder.push(name, layer, vec![input], shape).expect("valid");
        }
        builder.activation(name, input, self.quantizer(step, zero)).expect("valid")
    }

    fn affine(&self, rows: usize, cols: usize, input_step: f64, rng: &mut impl Rng) -> Affine {
        let size = 1.7 / (cols as f64).sqrt() / 127.0;
        let count = if self.per_channel { rows } else { 1 };
        let steps: Vec<f64> =
            (0..count).map(|_| f64::from((size * rng.random_range(0.5..1.0)) as f32)).collect();
        let zeros: Vec<i64> =
            (0..count).map(|_| if self.signed { 0 } else { rng.random_range(100..150) }).collect();
        let group = |i: usize| if self.per_channel { i } else { 0 };
        let low = if self.signed { -127 } else { 0 };
        let weight = Matrix::from_fn(rows, cols, |i, _| {
            let q: i64 = rng.random_range(low..low + 254);
            steps[group(i)] * (q - zeros[group(i)]) as f64
        });
        let bias_steps: Vec<f64> = (0..rows).map(|i| input_step * steps[group(i)]).collect();
        let bias = bias_steps
            .iter()
            .map(|s| s * f64::from((0.3 * rng.random_range(-1.0..1.0) / s) as i32))
            .collect();
        // Where the step of the input follows from the sample, biases are floating-point numbers.
        let bias_steps = if self.dynamic { vec![] } else { bias_steps };
        let groups =
            if self.per_channel { (0..rows * cols).map(|k| (k / cols) as u32).collect() } else { vec![] };
        let stored = StoredIntegers { bits: 8, signed: self.signed, steps, zeros, groups, bias_steps };
        Affine { weight, bias, has_bias: true, stored: Some(stored) }
    }
}

impl Design for QuantizedBlueprint {
    fn seed(&self) -> u64 {
        self.seed
    }

    fn build(&self) -> Network {
        let mut rng = rng(self.seed);
        let shape = if self.convolutional { vec![2, 3, 3] } else { vec![5] };
        let mut builder = NetworkBuilder::new(shape.clone());
        // Inputs in [0, 1]; hidden values above zero, of size about one; outputs of both signs.
        let mut step = f64::from((1.0 / 255.0) as f32);
        let mut last = self.quantize(&mut builder, "input.quantize", 0, (step, 0));
        if self.convolutional {
            let window = Window { padding: [[1, 1]; 2], ..Window::new([2, 3, 3], 3, [2, 2]) };
            let affine = self.affine(3, window.patch(), step, &mut rng);
            let shape = window.output().to_vec();
            last =
                builder.push("conv", Layer::Conv(Conv { affine, window }), vec![last], shape).expect("valid");
            step = f64::from(0.012_f32);
            last = self.quantize(&mut builder, "conv.quantize", last, (step, 0));
        }
        for (k, &width) in self.widths.iter().enumerate() {
            let inputs = builder.shape(last).iter().product();
            let affine = self.affine(width, inputs, step, &mut rng);
            last = builder
                .push(&format!("dense{k}"), Layer::Dense(affine), vec![last], vec![width])
                .expect("valid");
            let is_output = k + 1 == self.widths.len();
            if self.dynamic && is_output {
                break;
            }
            step = f64::from(if is_output { 0.02_f32 } else { 0.008_f32 });
            let zero = if is_output { 128 } else { 0 };
            last = self.quantize(&mut builder, &format!("quantize{k}"), last, (step, zero));
        }
        builder.finish().expect("valid").with_float64(true)
    }
}

/// Emulated integer inferences with weights and biases moved by up to `counts` are never below the margin that a method certifies,
/// and no certified prediction changes.
///
/// # Errors
/// The first violation, in words.
pub fn contradiction(design: &QuantizedBlueprint, counts: i64, draws: usize) -> Result<(), String> {
    let network = design.build();
    let mut rng = rng(design.seed ^ 0x1e7);
    let x = input(network.input_width(), true, &mut rng);
    let set = ThreatModel::new(Kind::Lsb, counts as f64).resolve(&network).expect("stored integers");
    let mut least = f64::INFINITY;
    let mut target = None;
    for method in METHODS {
        let options = CertifyOptions::new(method.name, Property::Prediction);
        let options = CertifyOptions { precision: Precision::F64, ..options };
        let found = certificates(&network, &set, &x, 0, &options);
        if target.is_none() {
            target = Some(found.clean.target);
            for _ in 0..draws {
                least = least.min(margin(&inference(&network, counts, &x, &mut rng), found.clean.target));
            }
        }
        let kept = found.verdict != Verdict::Verified || least > 0.0;
        if !(least >= found.margin_lower - ROUNDING && kept) {
            return Err(format!("{} {design:?}: {least} < {}", method.name, found.margin_lower));
        }
    }
    Ok(())
}

/// Values of a node: integers with their step, or numbers.
enum Value {
    Levels(Vec<i64>, f64),
    Numbers(Vec<f64>),
}

/// Outputs at `x` of one inference whose integers are moved by up to `counts` at random.
pub fn inference(network: &Network, counts: i64, x: &[f64], rng: &mut impl Rng) -> Vec<f64> {
    let mut values: Vec<Value> = vec![Value::Numbers(x.to_vec())];
    for node in &network.nodes()[1..] {
        let read = &values[node.inputs[0]];
        let value = match (&node.layer, read) {
            (Layer::Activation(Activation::Quantize(q)), Value::Numbers(p)) => {
                Value::Levels(p.iter().map(|&p| level(q, p, rng)).collect(), q.step)
            }
            (Layer::DynamicQuantize(q), Value::Numbers(p)) => by_range(p, q.rounding, rng),
            (Layer::Dense(affine), Value::Levels(z, step)) => {
                let all = |_: usize| z.iter().copied().enumerate().collect::<Vec<_>>();
                let moved = Moved::new(affine, counts, rng);
                Value::Numbers((0..affine.bias.len()).map(|i| moved.sum(i, &all(i), *step)).collect())
            }
            (Layer::Conv(conv), Value::Levels(z, step)) => {
                let (window, moved) = (&conv.window, Moved::new(&conv.affine, counts, rng));
                let element = |k: usize| {
                    let (row, position) = (k / window.positions(), k % window.positions());
                    let first = row / window.group_outputs() * window.group_inputs();
                    let met = (0..window.patch()).filter_map(|j| {
                        let source = window.source(position, j % window.taps())?;
                        Some((j, z[(first + j / window.taps()) * window.plane() + source]))
                    });
                    moved.sum(row, &met.collect::<Vec<_>>(), *step)
                };
                Value::Numbers((0..window.output_width()).map(element).collect())
            }
            (other, _) => panic!("{}: not carried out in integers", other.kind()),
        };
        values.push(value);
    }
    match values.pop() {
        Some(Value::Levels(levels, step)) => levels.iter().map(|&k| k as f64 * step).collect(),
        Some(Value::Numbers(numbers)) => numbers,
        None => Vec::new(),
    }
}

/// What comes out of a quantizer of 8 bits whose range is that of its values, as the text of DynamicQuantizeLinear has it.
fn by_range(p: &[f64], rounding: StepRounding, rng: &mut impl Rng) -> Value {
    let p: Vec<f32> = p.iter().map(|&p| p as f32).collect();
    let least = p.iter().fold(0.0_f32, |m, &v| m.min(v));
    let most = p.iter().fold(0.0_f32, |m, &v| m.max(v));
    let step = if most == least { 1.0 } else { (most - least) / 255.0 };
    let zero = (-least / step).round_ties_even().clamp(0.0, 255.0) as i64;
    let integer = |p: f32| {
        let beside = if rounding == StepRounding::Any && most > least { rng.random_range(-1..=1) } else { 0 };
        ((p / step).round_ties_even() as i64 + zero + beside).clamp(0, 255) - zero
    };
    Value::Levels(p.into_iter().map(integer).collect(), f64::from(step))
}

/// What comes out of a quantizer.
fn level(q: &Staircase, p: f64, rng: &mut impl Rng) -> i64 {
    let (bottom, top) = q.ends();
    let level = q.level(p);
    let beside = if q.rounding == StepRounding::Any { f64::from(rng.random_range(-1..=1)) } else { 0.0 };
    (level + beside).clamp(bottom, top) as i64
}

/// The integers of a layer, less their zero points, some counts away.
struct Moved<'a> {
    affine: &'a Affine,
    weight: Vec<i64>,
    bias: Vec<i64>,
}

impl<'a> Moved<'a> {
    fn new(affine: &'a Affine, counts: i64, rng: &mut impl Rng) -> Self {
        let stored = affine.stored.as_ref().expect("stored integers");
        let mut count = || rng.random_range(-counts..=counts);
        let weights = affine.weight.as_slice().iter().enumerate();
        let weight = weights.map(|(k, w)| (w / stored.step(k)).round() as i64 + count()).collect();
        let biases = affine.bias.iter().zip(&stored.bias_steps);
        let bias = biases.map(|(b, s)| (b / s).round() as i64 + count()).collect();
        // Without steps of their own they stay, and are added as they are.
        Moved { affine, weight, bias }
    }

    /// An accumulator times its step.
    fn sum(&self, row: usize, met: &[(usize, i64)], step: f64) -> f64 {
        let cols = self.affine.weight.cols();
        let products = met.iter().map(|(j, z)| self.weight[row * cols + j] * z);
        let accumulator = products.sum::<i64>() + self.bias.get(row).copied().unwrap_or(0);
        let stored = self.affine.stored.as_ref().expect("stored integers");
        let bias = if self.bias.is_empty() { self.affine.bias[row] } else { 0.0 };
        accumulator as f64 * (step * stored.step(row * cols)) + bias
    }
}
