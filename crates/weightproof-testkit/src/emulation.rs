//! Inference in a number format, carried out in software as `threat/format.rs` of weightproof assumes it (theory.md §13.7).
//!
//! Values are rounded to the format where a product or a sum reads them; parameters are rounded, too; products, sums and the
//! factors of average pooling are computed in fp32, one rounding for each operation: to nearest, or to a random one of both
//! neighbours.

use crate::networks::{Design, input, rng};
use crate::oracle::margin;
use crate::suite::{FORWARD_ROUNDING, certificates};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use weightproof::bounds::METHODS;
use weightproof::certify::CertifyOptions;
use weightproof::kernels::Window;
use weightproof::network::{Affine, Layer, Network};
use weightproof::property::Property;
use weightproof::threat::{Inference, Kind, NumberFormat, Rounding, ThreatModel};
use weightproof::verdict::{Precision, Verdict};

/// In which order the terms of a sum are added.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// From the first to the last; the bias is the last.
    Forward,
    /// From the last to the first.
    Backward,
    /// Halves on their own.
    Pairwise,
    /// Random, another one for every sum.
    Shuffled,
}

/// Every order.
pub const ORDERS: [Order; 4] = [Order::Forward, Order::Backward, Order::Pairwise, Order::Shuffled];

/// Emulated inference in every format and order is never below the margin that a method certifies, and no certified
/// prediction changes.
///
/// # Errors
/// The first violation, in words.
pub fn emulation(design: &impl Design) -> Result<(), String> {
    let mut rng = rng(design.seed() ^ 0xf00d);
    let network = design.build();
    let pixels = design.seed().is_multiple_of(2);
    let x = input(network.input_width(), pixels, &mut rng);
    contradiction(&network, &x, &mut rng)
}

/// [`emulation`] of one network at `x`.
///
/// # Errors
/// The first violation, in words.
pub fn contradiction(network: &Network, x: &[f64], rng: &mut impl Rng) -> Result<(), String> {
    for format in NumberFormat::ALL {
        let rounding = if rng.random() { Rounding::Any } else { Rounding::Nearest };
        let format = Inference { format, rounding };
        let set =
            ThreatModel::new(Kind::Format(format), None).resolve(network).expect("a valid threat model");
        let outputs = ORDERS.map(|order| inference(network, Hardware { format, order }, x, rng));
        for method in METHODS {
            let options = CertifyOptions::new(method.name, Property::Prediction);
            let options = CertifyOptions { precision: Precision::F64, ..options };
            let found = certificates(network, &set, x, 0, &options);
            for (order, f) in ORDERS.iter().zip(&outputs) {
                let emulated = margin(f, found.clean.target);
                let size = 1.0 + f.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
                let kept = found.verdict != Verdict::Verified || emulated > 0.0;
                if !(emulated >= found.margin_lower - size * FORWARD_ROUNDING && kept) {
                    let lower = found.margin_lower;
                    return Err(format!("{} {format:?} {order:?}: {emulated} < {lower}", method.name));
                }
            }
        }
    }
    Ok(())
}

/// What computes.
#[derive(Clone, Copy)]
pub struct Hardware {
    /// How numbers are rounded.
    pub format: Inference,
    /// In which order sums are taken.
    pub order: Order,
}

impl Hardware {
    /// One of the numbers between which `v` lies, as the hardware rounds.
    fn choice(self, [nearest, other]: [f64; 2], rng: &mut impl Rng) -> f64 {
        if self.format.rounding == Rounding::Any && rng.random() { other } else { nearest }
    }

    /// `v` in the format, which every fp32 holds.
    fn stored(self, v: f64, rng: &mut impl Rng) -> f32 {
        let nearest = self.format.format.round(v);
        self.choice([nearest, self.format.format.neighbour(v, nearest)], rng) as f32
    }

    /// The result `v` of an operation in fp32.
    fn single(self, v: f64, rng: &mut impl Rng) -> f32 {
        let nearest = v as f32;
        let other = match f64::from(nearest).partial_cmp(&v) {
            Some(std::cmp::Ordering::Less) => nearest.next_up(),
            Some(std::cmp::Ordering::Greater) => nearest.next_down(),
            Some(std::cmp::Ordering::Equal) | None => nearest,
        };
        self.choice([f64::from(nearest), f64::from(other)], rng) as f32
    }

    fn sum(self, mut terms: Vec<f32>, rng: &mut impl Rng) -> f32 {
        match self.order {
            Order::Forward => {}
            Order::Backward => terms.reverse(),
            Order::Pairwise => return self.halves(&terms, rng),
            Order::Shuffled => terms.shuffle(rng),
        }
        terms.into_iter().fold(0.0, |sum, term| self.added(sum, term, rng))
    }

    fn halves(self, terms: &[f32], rng: &mut impl Rng) -> f32 {
        match terms {
            [] => 0.0,
            [one] => *one,
            more => {
                let (first, second) = more.split_at(more.len() / 2);
                let (first, second) = (self.halves(first, rng), self.halves(second, rng));
                self.added(first, second, rng)
            }
        }
    }

    fn added(self, a: f32, b: f32, rng: &mut impl Rng) -> f32 {
        self.single(f64::from(a) + f64::from(b), rng)
    }
}

/// Outputs of the network at `x`: the fp32 accumulators of its last layer.
pub fn inference(network: &Network, hardware: Hardware, x: &[f64], rng: &mut impl Rng) -> Vec<f64> {
    let mut values: Vec<Vec<f64>> = Vec::with_capacity(network.nodes().len());
    for node in network.nodes() {
        let read = |k: usize, rng: &mut _| -> Vec<f32> {
            values[node.inputs[k]].iter().map(|&z| hardware.stored(z, rng)).collect()
        };
        let value = match &node.layer {
            Layer::Input => x.to_vec(),
            Layer::Dense(affine) => {
                let z = read(0, rng);
                let of_row = |i| accumulated(affine, i, z.iter().copied().enumerate(), hardware, rng);
                (0..affine.bias.len()).map(of_row).collect()
            }
            Layer::Conv(conv) => {
                let (window, z) = (&conv.window, read(0, rng));
                let mut element = |k: usize| {
                    let (row, position) = (k / window.positions(), k % window.positions());
                    let first = row / window.group_outputs() * window.group_inputs();
                    let met = (0..window.patch()).filter_map(|j| {
                        let source = window.source(position, j % window.taps())?;
                        Some((j, z[(first + j / window.taps()) * window.plane() + source]))
                    });
                    accumulated(&conv.affine, row, met, hardware, rng)
                };
                (0..window.output_width()).map(&mut element).collect()
            }
            Layer::AveragePool(average) => {
                let z = read(0, rng);
                let of_window = |(k, terms): (usize, Vec<f32>)| {
                    let factor = average.factor[k % average.window.positions()] as f32;
                    let sum = hardware.sum(terms, rng);
                    f64::from(hardware.single(f64::from(sum) * f64::from(factor), rng))
                };
                windows(&average.window, &z).into_iter().enumerate().map(of_window).collect()
            }
            Layer::Add => {
                let z: Vec<Vec<f32>> = (0..node.inputs.len()).map(|k| read(k, rng)).collect();
                let of_element = |j: usize| f64::from(hardware.sum(z.iter().map(|z| z[j]).collect(), rng));
                (0..node.width()).map(of_element).collect()
            }
            // Comparisons, choices and elementwise functions, which act on the value before it is rounded.
            Layer::MaxPool(window) => windows(window, &values[node.inputs[0]])
                .into_iter()
                .map(|elements| elements.into_iter().fold(f64::NEG_INFINITY, f64::max))
                .collect(),
            Layer::Gather(gather) => {
                let all: Vec<f64> = node.inputs.iter().flat_map(|&i| values[i].iter().copied()).collect();
                gather.source.iter().map(|source| source.map_or(gather.constant, |k| all[k])).collect()
            }
            Layer::Activation(f) => values[node.inputs[0]].iter().map(|&p| f.apply(p)).collect(),
            Layer::DynamicQuantize(q) => q.apply(&values[node.inputs[0]]),
            Layer::Multiply => panic!("{}: number formats refuse products", node.name),
            Layer::Scale(s) => {
                let factors = s.scale.iter().zip(&s.shift);
                values[node.inputs[0]].iter().zip(factors).map(|(z, (a, b))| a * z + b).collect()
            }
            Layer::Reshape => values[node.inputs[0]].clone(),
        };
        values.push(value);
    }
    values.pop().expect("a network has nodes")
}

/// One output element of an affine layer: row `i` and the values that its columns meet.
fn accumulated(
    affine: &Affine,
    i: usize,
    met: impl Iterator<Item = (usize, f32)>,
    hardware: Hardware,
    rng: &mut impl Rng,
) -> f64 {
    let mut terms: Vec<f32> = met
        .map(|(j, z)| {
            let weight = hardware.stored(affine.weight[(i, j)], rng);
            hardware.single(f64::from(weight) * f64::from(z), rng)
        })
        .collect();
    terms.push(hardware.stored(affine.bias[i], rng));
    f64::from(hardware.sum(terms, rng))
}

/// The elements of every window of every channel.
fn windows<T: Copy>(window: &Window, z: &[T]) -> Vec<Vec<T>> {
    let elements = |(channel, position): (usize, usize)| {
        let inside = (0..window.taps()).filter_map(|tap| window.source(position, tap));
        inside.map(|k| z[channel * window.plane() + k]).collect()
    };
    let channels = window.input[0];
    (0..channels).flat_map(|c| (0..window.positions()).map(move |p| (c, p))).map(elements).collect()
}
