//! Linear maps whose coefficients are known up to an interval, as integers with an exponent for each row.
//!
//! ```text
//! p_o = Σ_(c, j) of o   w_rc z_j + b_r      r the row of output o,   low_rc ≤ w_rc ≤ high_rc   for the whole set
//! ```
//! For non-negative z, a positive multiple of `p_o` is least at `low`, a negative one at `high`: Lemma 1 of theory.md §3.

use crate::damage::Damages;
use crate::network::{Activation, Network, Op, Window};
use crate::number::{FRACTION, FRACTION_BITS, Interval, Number, share};
use crate::pass::Row;
use crate::set::{LayerSet, Set};

/// Bits of the coefficients of a row of a backward pass.
pub const COEFFICIENT_BITS: u32 = 57;

/// The maps of a network, and which of its nodes move.
#[derive(Debug)]
pub struct Model {
    /// The network.
    pub network: Network,
    /// The set.
    pub set: Set,
    /// By node; `None` for what is not linear, for sums and for choices of elements.
    pub maps: Vec<Option<Map>>,
    /// By node, whether its value depends on the perturbation.
    pub moves: Vec<bool>,
    /// By node, whether it is a convolution whose weights move alike at all their uses.
    pub shares: Vec<bool>,
    /// Hits on words that bounds pay for.
    pub damages: Option<Damages>,
}

impl Model {
    /// Prepares a network and a set for all samples.
    pub fn new(mut network: Network, set: Set) -> Model {
        for node in &mut network.nodes {
            if let Op::Activation(Activation::Quantize(q)) = &mut node.op {
                q.freedom = set.freedom;
            }
        }
        let (mut maps, mut moves, mut shares): (Vec<_>, Vec<bool>, Vec<_>) = Default::default();
        for ((node, layer), &sum) in network.nodes.iter().zip(&set.layers).zip(&set.sums) {
            let own = match &node.op {
                Op::Input(_) => set.input_radius,
                Op::Activation(Activation::Quantize(q)) if q.freedom > 0 => Number::ONE,
                Op::Activation(_) => set.activation_radius,
                Op::Sum | Op::AveragePool { .. } => sum[0].max(sum[1]),
                Op::Affine(_) | Op::Scale { .. } | Op::Divide(_) | Op::MaxPool(_) | Op::Gather { .. } => {
                    Number::ZERO
                }
            };
            moves.push(own.is_positive() || layer.is_some() || node.inputs.iter().any(|&i| moves[i]));
            let is_conv = matches!(&node.op, Op::Affine(affine) if affine.window.is_some());
            shares.push(is_conv && layer.as_ref().is_some_and(|layer| !layer.per_use));
            let inputs = node.inputs.first().map_or(0, |&input| network.nodes[input].width);
            maps.push(Map::new(&node.op, inputs, layer.as_ref(), sum));
        }
        Model { network, set, maps, moves, shares, damages: None }
    }

    /// The same while words are hit.
    #[must_use]
    pub fn with_hits(mut self, damages: Damages) -> Model {
        for (index, node) in self.network.nodes.iter().enumerate() {
            self.moves[index] |= damages.are_of(index) || node.inputs.iter().any(|&i| self.moves[i]);
        }
        Model { damages: Some(damages), ..self }
    }
}

/// A linear map.
#[derive(Debug, Default)]
pub struct Map {
    inputs: usize,
    /// Number of coefficients of a row.
    columns: usize,
    /// Power of two of the coefficients, by row.
    exponent: Vec<i32>,
    /// Coefficients, row by row.
    low: Vec<i64>,
    high: Vec<i64>,
    /// By row; empty when there is none.
    bias: Vec<Interval>,
    /// By output, its row, and which of the lists it reads.
    outputs: Vec<(usize, usize)>,
    /// What outputs read: `(column, input)`.
    lists: Vec<Vec<(usize, usize)>>,
}

impl Map {
    /// `sum` is what a mean may be off by, of each summand as a part of itself and in all.
    fn new(op: &Op, inputs: usize, set: Option<&LayerSet>, sum: [Number; 2]) -> Option<Map> {
        let mut map = Map { inputs, columns: 1, ..Map::default() };
        // Lower bounds of a number that moves by `r`, and of its opposite.
        let ends = |x: Number, r: Number| [x - r, -x - r];
        let coefficients: Vec<[Number; 2]> = match op {
            Op::Input(_) | Op::Activation(_) | Op::MaxPool(_) | Op::Gather { .. } | Op::Sum => return None,
            Op::Affine(affine) => {
                map.columns = affine.columns();
                match &affine.window {
                    Some(window) => map.slide(window, false),
                    None => {
                        map.outputs = (0..affine.rows).map(|o| (o, 0)).collect();
                        map.lists = vec![(0..inputs).map(|j| (j, j)).collect()];
                    }
                }
                let bias = |i: usize| {
                    Interval::point(affine.bias(i)).widened(set.map_or(Number::ZERO, |set| set.bias(i)))
                };
                map.bias = (0..affine.rows).map(bias).collect();
                let in_box = set.filter(|set| !set.is_ball());
                let radius = |k: usize| in_box.map_or(Number::ZERO, |set| set.radius(affine, k));
                affine.weight.0.iter().enumerate().map(|(k, &w)| ends(w, radius(k))).collect()
            }
            Op::Scale { scale, shift } => {
                map.each();
                map.bias = shift.0.iter().copied().map(Interval::point).collect();
                scale.0.iter().map(|&s| ends(s, Number::ZERO)).collect()
            }
            Op::Divide(divisor) => {
                map.each();
                divisor.0.iter().map(|&d| [d.inverse_down(), (-d).inverse_down()]).collect()
            }
            Op::AveragePool { window, counts } => {
                map.slide(window, true);
                map.bias = vec![Interval::point(Number::ZERO).widened(sum[1]); counts.len()];
                let mean = |&n: &usize| {
                    let part = |one: i64| Number::new(one.div_euclid(n as i64), -60);
                    let off = (part(-FRACTION) * sum[0]).down();
                    [part(FRACTION) + off, part(-FRACTION) + off]
                };
                counts.iter().map(mean).collect()
            }
        };
        map.round(&coefficients);
        Some(map)
    }

    /// A row of one coefficient for each element.
    fn each(&mut self) {
        self.outputs = (0..self.inputs).map(|j| (j, j)).collect();
        self.lists = (0..self.inputs).map(|j| vec![(0, j)]).collect();
    }

    /// Where a convolution reads, or pooling, which has a row of one coefficient for each position.
    fn slide(&mut self, window: &Window, pools: bool) {
        let positions = window.positions();
        for group in 0..window.groups {
            let taps =
                |p| window.taps(group, p).into_iter().map(|(column, j)| (if pools { 0 } else { column }, j));
            self.lists.extend((0..positions).map(|p| taps(p).collect()));
        }
        for channel in 0..window.channels {
            let first = channel / (window.channels / window.groups) * positions;
            self.outputs.extend((0..positions).map(|p| (if pools { p } else { channel }, first + p)));
        }
    }

    /// Coefficients as integers, of so few bits that no sum of products of 128 bits overflows.
    fn round(&mut self, coefficients: &[[Number; 2]]) {
        let mut meet = vec![0_usize; self.inputs];
        self.outputs.iter().for_each(|&(_, list)| self.lists[list].iter().for_each(|&(_, j)| meet[j] += 1));
        let terms = usize::BITS - meet.into_iter().max().unwrap_or(0).leading_zeros();
        let bits = (124 - COEFFICIENT_BITS - terms).min(60) as i32;
        for row in coefficients.chunks(self.columns) {
            let ends = row.iter().flatten().filter(|end| end.value != 0);
            let exponent = ends.map(|end| end.magnitude_bits()).max().unwrap_or(0) - bits;
            let floor = |x: Number| i64::try_from(x.floor(exponent)).expect("coefficients fit");
            self.exponent.push(exponent);
            self.low.extend(row.iter().map(|ends| floor(ends[0])));
            self.high.extend(row.iter().map(|ends| -floor(ends[1])));
        }
    }

    /// Power of two of the coefficients of an output.
    pub fn exponent(&self, output: usize) -> i32 {
        self.exponent[self.outputs[output].0]
    }

    /// Powers of two, by row, of coefficients of outputs that are in units of [`Map::exponent`].
    pub fn units(&self, exponent: i32) -> impl Fn(usize) -> i32 {
        move |row| exponent - self.exponent[row]
    }

    /// At least the sum of the magnitudes of all terms that an output is the sum of.
    pub fn size(&self, output: usize, bounds: &[Interval]) -> Number {
        let (row, list) = self.outputs[output];
        let term = |sum: Number, &(column, input): &(usize, usize)| {
            let k = row * self.columns + column;
            let most = self.low[k].abs().max(self.high[k].abs());
            sum - Number::new(most, self.exponent[row]) * bounds[input].size()
        };
        let bias = self.bias.get(row).map_or(Number::ZERO, |bias| bias.size());
        -self.lists[list].iter().fold(-bias, term)
    }

    /// Coefficients of the inputs of `a` times the outputs, for inputs in `bounds`: where they are not negative, and where they are
    /// not positive. The `a` are in units of [`Map::exponent`]. What the biases cost goes to `sum`.
    ///
    /// A weight has its worst value at each of its uses, or, when they are `shared`, for the sum S of what it meets: with the middle c
    /// and the radius r of the weight, `c S − r |S|` is concave in S, and a line that is below at both ends of S is below.
    pub fn transposed(
        &self,
        of: &Row,
        bounds: &[Interval],
        shared: bool,
        sum: &mut Number,
    ) -> Vec<[Number; 2]> {
        let (a, exponent) = (&of.a, of.exponent);
        let signed = !shared && bounds.iter().any(|z| z.low.is_negative());
        let halves = shared.then(|| self.shared(a, exponent, bounds, sum));
        let (low, high) = halves.as_ref().map_or((&self.low, &self.high), |lines| (lines, lines));
        let exponent_of_sums = exponent - i32::from(shared);
        let mut least = vec![0; self.inputs];
        let mut most = vec![0; if signed { self.inputs } else { 0 }];
        for (output, &a) in a.iter().enumerate().filter(|(_, a)| **a != 0) {
            let (row, list) = self.outputs[output];
            if let (false, Some(bias)) = (shared, self.bias.get(row)) {
                *sum += Number::new(a, exponent - self.exponent[row]) * bias.worst(a > 0);
            }
            let add = |side: &[i64], sums: &mut [i128]| {
                let row = &side[row * self.columns..][..self.columns];
                // A product of 64 bits by 64 bits fits into 128; sums are checked.
                let product = |column: usize| i128::from(a).wrapping_mul(i128::from(row[column]));
                self.lists[list].iter().for_each(|&(column, input)| sums[input] += product(column));
            };
            add(if a > 0 { low } else { high }, &mut least);
            if signed {
                add(if a > 0 { high } else { low }, &mut most);
            }
        }
        let both = |j: usize| {
            [least[j], -if signed { most[j] } else { least[j] }].map(|v| Number::new(v, exponent_of_sums))
        };
        (0..self.inputs).map(both).collect()
    }

    /// Lower bounds of the sum that each weight meets, and of its opposite, where outputs with the coefficients `a` use it together.
    pub fn met(&self, a: &[i64], exponent: impl Fn(usize) -> i32, bounds: &[Interval]) -> Vec<[Number; 2]> {
        let mut met = vec![[Number::ZERO; 2]; self.low.len()];
        for (output, &a) in a.iter().enumerate().filter(|(_, a)| **a != 0) {
            let (row, list) = self.outputs[output];
            for &(column, input) in &self.lists[list] {
                for (sum, a) in met[row * self.columns + column].iter_mut().zip([a, -a]) {
                    *sum += Number::new(a, exponent(row)) * bounds[input].worst(a > 0);
                }
            }
        }
        met
    }

    /// Lower bounds of the sum of the coefficients `a` of the outputs of each row, and of its opposite: of what its bias meets.
    pub fn uses(&self, a: &[i64], exponent: impl Fn(usize) -> i32) -> Vec<[Number; 2]> {
        let mut uses = vec![[Number::ZERO; 2]; self.bias.len()];
        for (&a, &(row, _)) in a.iter().zip(&self.outputs).filter(|(a, _)| **a != 0) {
            for (uses, a) in uses[row].iter_mut().zip([a, -a]) {
                *uses += Number::new(a, exponent(row));
            }
        }
        uses
    }

    /// Twice the slopes of the lines for weights that are the same at all their uses; offsets, and what their biases cost, go to `sum`.
    fn shared(&self, a: &[i64], exponent: i32, bounds: &[Interval], sum: &mut Number) -> Vec<i64> {
        let met = self.met(a, |_| exponent, bounds);
        for ([least, opposite], bias) in self.uses(a, self.units(exponent)).into_iter().zip(&self.bias) {
            *sum += Interval::around(least, opposite).times(*bias).low;
        }
        let line = |(k, [least, opposite]): (usize, [Number; 2])| {
            let s = Interval::around(least, opposite);
            let (twice, r) = (self.low[k] + self.high[k], self.high[k] - self.low[k]);
            // From −r, where S is positive, to r, where it is negative.
            let positive = share(s.high, -s.low);
            let slope = r - ((i128::from(positive) * 2 * i128::from(r)) >> FRACTION_BITS) as i64;
            let over = |s: Number| Number::new(if s.is_negative() { r - slope } else { -r - slope }, -1) * s;
            *sum += over(s.low).min(over(s.high));
            twice + slope
        };
        met.into_iter().enumerate().map(line).collect()
    }
}
