//! How the nodes of a network become variables and rows, see [`super::program`] for the formulas.

use super::program::{Element, Program, ProgramError};
use super::rows::{Encoder, Term, still};
use crate::kernels::Window;
use crate::network::{Activation, Affine, AveragePool, DynamicQuantizer, Gather, Layer, Node};
use crate::property::SpecRow;
use crate::threat::{PerturbationSet, SumRounding};

/// A node of the network.
pub(super) struct Place<'a> {
    pub index: usize,
    pub node: &'a Node,
    /// Whether it alone reads what it reads.
    pub is_only_reader: bool,
    pub set: &'a PerturbationSet,
}

impl Place<'_> {
    fn unsupported(&self, reason: &str) -> ProgramError {
        ProgramError::Unsupported { node: self.node.name.clone(), reason: reason.into() }
    }

    /// The rounding of a sum without parameters.
    fn rounding(&self) -> SumRounding {
        let found = self.set.roundings.iter().find(|r| r.node == self.index);
        found.copied().unwrap_or(SumRounding { node: self.index, relative: 0.0, absolute: 0.0 })
    }
}

impl Encoder {
    /// Adds the next node.
    pub fn add(
        &mut self,
        place: &Place<'_>,
        x: &[f64],
        bounds: impl Fn(usize) -> (f64, f64),
    ) -> Result<(), ProgramError> {
        let elements = self.node(place, x, bounds)?;
        let bounded = |e: &Element| {
            let (lower, upper) = self.range(*e);
            lower.is_finite() && upper.is_finite()
        };
        if let Some(element) = elements.iter().position(|e| !bounded(e)) {
            return Err(ProgramError::Unbounded { node: place.node.name.clone(), element });
        }
        self.program.elements.push(elements);
        Ok(())
    }

    /// The program that minimises `row` on the node added last.
    pub fn minimising(mut self, row: SpecRow) -> Program {
        let Program { elements, objective, constant, bounds, .. } = &mut self.program;
        objective.resize(bounds.len(), 0.0);
        let output = elements.last().map_or(&[][..], Vec::as_slice);
        for (k, sign) in row.plus.map(|k| (k, 1.0)).into_iter().chain(row.minus.map(|k| (k, -1.0))) {
            match output[k] {
                Element::Constant(c) => *constant += sign * c,
                Element::Variable(v) => objective[v] += sign,
            }
        }
        self.program
    }

    /// The elements of a node.
    fn node(
        &mut self,
        place: &Place<'_>,
        x: &[f64],
        bounds: impl Fn(usize) -> (f64, f64),
    ) -> Result<Vec<Element>, ProgramError> {
        let read: Vec<Element> =
            place.node.inputs.iter().flat_map(|&i| self.program.elements[i].iter().copied()).collect();
        let width = place.node.width();
        Ok(match &place.node.layer {
            Layer::Input => x.iter().enumerate().map(|(k, &x)| self.input(x, place.set, bounds(k))).collect(),
            Layer::Dense(affine) => self.affine(place, affine, None, &read, bounds)?,
            Layer::Conv(conv) => self.affine(place, &conv.affine, Some(&conv.window), &read, bounds)?,
            Layer::Scale(s) => {
                let sum = |k: usize| self.sum(vec![still(read[k], s.scale[k])], s.shift[k], 0.0, bounds(k));
                (0..width).map(sum).collect()
            }
            Layer::Activation(f) => {
                let apply = |k: usize| self.activation(place, *f, read[k], bounds(k));
                (0..width).map(apply).collect::<Result<_, _>>()?
            }
            Layer::DynamicQuantize(q) => self.around(*q, &read, bounds),
            Layer::AveragePool(average) => self.average(place.rounding(), average, &read, bounds),
            Layer::Add => {
                let SumRounding { relative, absolute, .. } = place.rounding();
                let term = |&z| Term { z, weight: 1.0, radius: relative };
                let mut sum = |k: usize| {
                    let terms = read[k..].iter().step_by(width).map(term).collect();
                    self.sum(terms, 0.0, absolute, bounds(k))
                };
                (0..width).map(&mut sum).collect()
            }
            Layer::Gather(Gather { source, constant }) => {
                source.iter().map(|source| source.map_or(Element::Constant(*constant), |k| read[k])).collect()
            }
            Layer::Reshape => read,
            Layer::MaxPool(_) => return Err(place.unsupported("max pooling")),
            Layer::Multiply => return Err(place.unsupported("a product of two values")),
        })
    }

    fn input(&mut self, x: f64, set: &PerturbationSet, bounds: (f64, f64)) -> Element {
        if set.input_radius == 0.0 {
            return Element::Constant(x);
        }
        let (lower, upper) = set.input_enclosure(x);
        // NaN stays, to be refused.
        let lower = if bounds.0 > lower { bounds.0 } else { lower };
        let upper = if bounds.1 < upper { bounds.1 } else { upper };
        if lower == upper { Element::Constant(lower) } else { Element::Variable(self.variable(lower, upper)) }
    }

    /// Rows of a dense layer, or of a convolution at every position.
    fn affine(
        &mut self,
        place: &Place<'_>,
        affine: &Affine,
        window: Option<&Window>,
        z: &[Element],
        bounds: impl Fn(usize) -> (f64, f64),
    ) -> Result<Vec<Element>, ProgramError> {
        let set = place.set.layer(place.index).expect("`ProgramError::check` looks for it");
        if set.weight.is_ball() {
            return Err(place.unsupported("a ball of weights"));
        }
        let positions = window.map_or(1, Window::positions);
        let mut element = |k: usize| {
            let (i, position) = (k / positions, k % positions);
            let met = (0..affine.weight.cols()).filter_map(|j| Some((j, source(window, i, j, position)?)));
            let term = |(j, at): (usize, usize)| Term {
                z: z[at],
                weight: affine.weight[(i, j)],
                radius: set.weight.at(i, j),
            };
            let rows = self.program.rows.len();
            let p = self.sum(met.map(term).collect(), affine.bias[i], set.bias[i], bounds(k));
            match p {
                // Nothing that moves is read.
                Element::Variable(v) if window.is_none() && rows == self.program.rows.len() => {
                    self.independent.insert(v);
                }
                Element::Variable(_) | Element::Constant(_) => {}
            }
            p
        };
        Ok((0..place.node.width()).map(&mut element).collect())
    }

    fn average(
        &mut self,
        rounding: SumRounding,
        average: &AveragePool,
        z: &[Element],
        bounds: impl Fn(usize) -> (f64, f64),
    ) -> Vec<Element> {
        let window = &average.window;
        let mut element = |k: usize| {
            let (channel, position) = (k / window.positions(), k % window.positions());
            let factor = average.factor[position];
            let inside = (0..window.taps()).filter_map(|tap| window.source(position, tap));
            let term = |at| {
                let z = z[channel * window.plane() + at];
                Term { z, weight: factor, radius: factor.abs() * rounding.relative }
            };
            self.sum(inside.map(term).collect(), 0.0, rounding.absolute, bounds(k))
        };
        (0..window.output_width()).map(&mut element).collect()
    }

    /// `p + δ` with `|δ|` at most half of the largest step: what a quantizer gives whose step follows from all elements, and more.
    fn around(
        &mut self,
        q: DynamicQuantizer,
        read: &[Element],
        bounds: impl Fn(usize) -> (f64, f64),
    ) -> Vec<Element> {
        let (lower, upper): (Vec<f64>, Vec<f64>) = read.iter().map(|&p| self.range(p)).unzip();
        let reach = q.reach(&lower, &upper);
        let of = |(k, &p): (usize, &Element)| self.sum(vec![still(p, 1.0)], 0.0, reach, bounds(k));
        read.iter().enumerate().map(of).collect()
    }

    /// `ρ(p) + δ`, `|δ| ≤ activation_radius`.
    fn activation(
        &mut self,
        place: &Place<'_>,
        f: Activation,
        p: Element,
        bounds: (f64, f64),
    ) -> Result<Element, ProgramError> {
        let (l, u) = self.range(p);
        let radius = place.set.activation_radius;
        let (low, high) = f.enclosed_range(l, u);
        // A split of the activation's sign is in its box.
        let range = if radius == 0.0 { (low.max(bounds.0), high.min(bounds.1)) } else { (low, high) };
        let clean = match f {
            Activation::Relu => self.rectified(p),
            // ρ(p) = s p + (1 − s) max(p, 0)
            Activation::LeakyRelu { slope } => {
                let r = self.rectified(p);
                self.sum(vec![still(p, slope), still(r, 1.0 - slope)], 0.0, 0.0, range)
            }
            // ρ(p) = low + max(p − low, 0) − max(p − high, 0)
            Activation::Clip { low, high } => {
                let mut above = |end: f64| {
                    let range = ((l - end).next_down(), (u - end).next_up());
                    let shifted = self.sum(vec![still(p, 1.0)], -end, 0.0, range);
                    self.rectified(shifted)
                };
                let (base, first) = if low.is_finite() { (low, above(low)) } else { (0.0, p) };
                let second = if high.is_finite() { above(high) } else { Element::Constant(0.0) };
                self.sum(vec![still(first, 1.0), still(second, -1.0)], base, 0.0, range)
            }
            // ρ(p) = max(p − λ, 0) − max(−p − λ, 0)
            Activation::SoftThreshold { lambda } => {
                let mut beyond = |sign: f64, (l, u): (f64, f64)| {
                    let range = ((l - lambda).next_down(), (u - lambda).next_up());
                    let shifted = self.sum(vec![still(p, sign)], -lambda, 0.0, range);
                    self.rectified(shifted)
                };
                let (above, below) = (beyond(1.0, (l, u)), beyond(-1.0, (-u, -l)));
                self.sum(vec![still(above, 1.0), still(below, -1.0)], 0.0, 0.0, range)
            }
            Activation::Sigmoid
            | Activation::Tanh
            | Activation::Softplus
            | Activation::Gelu
            | Activation::GeluTanh
            | Activation::Elu { .. }
            | Activation::Silu
            | Activation::Mish
            | Activation::HardSwish
            | Activation::Softsign
            | Activation::Atan
            | Activation::Square
            | Activation::Exp
            | Activation::Reciprocal
            | Activation::Power { .. } => return Err(place.unsupported(f.name())),
            Activation::Quantize(q) => self.quantized(&q, (p, place.is_only_reader), (l, u), range),
        };
        Ok(if radius == 0.0 { clean } else { self.sum(vec![still(clean, 1.0)], 0.0, radius, bounds) })
    }
}

/// The input element that column `j` of row `i` meets at an output position, if any.
fn source(window: Option<&Window>, i: usize, j: usize, position: usize) -> Option<usize> {
    let Some(window) = window else { return Some(j) };
    let channel = i / window.group_outputs() * window.group_inputs() + j / window.taps();
    window.source(position, j % window.taps()).map(|source| channel * window.plane() + source)
}
