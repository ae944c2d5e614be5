//! Linear maps whose coefficients are known up to an interval, as integers with an exponent for each row.
//!
//! ```text
//! p_o = Σ_(c, j) of o   w_rc z_j + b_r      r the row of output o,   low_rc ≤ w_rc ≤ high_rc   for the whole set
//! ```
//! For non-negative z, a positive multiple of `p_o` is least at `low`, a negative one at `high`: Lemma 1 of theory.md §3.

use crate::certificate::{LayerSet, WeightSet};
use crate::network::{Affine, Network, Node, Op, Window};
use crate::number::{Dyadic, FRACTION_BITS, Number, Sum, share};
use crate::set::Set;
use crate::state::Bounds;
use num_bigint::BigInt;

/// Bits of the coefficients of a row of a backward pass.
pub const COEFFICIENT_BITS: u32 = 57;

/// A linear map.
#[derive(Debug)]
pub struct Map {
    /// Number of inputs.
    pub inputs: usize,
    /// Number of coefficients of a row.
    columns: usize,
    /// Power of two of the coefficients of each row.
    pub exponent: Vec<i32>,
    low: Vec<i64>,
    high: Vec<i64>,
    /// Least and largest bias of each row; empty when there is none.
    pub bias: Vec<(Number, Number)>,
    uses: Uses,
    /// What a ball adds.
    pub ball: Ball,
}

/// A ball of weights, beside the box of the map.
#[derive(Clone, Debug)]
pub enum Ball {
    /// There is none.
    None,
    /// One for the whole matrix.
    Whole(Number),
    /// One for each row.
    Rows(Vec<Number>),
}

/// Where rows are used.
#[derive(Debug)]
enum Uses {
    /// Output o reads row o, column j meets input j.
    Dense,
    /// For each output its row, and the list of what it reads: `(column, input)`.
    Sparse { outputs: Vec<(usize, usize)>, lists: Vec<Vec<(usize, usize)>> },
}

/// The maps of a network, and which of its nodes move.
#[derive(Debug)]
pub struct Model {
    /// The network.
    pub network: Network,
    /// The set.
    pub set: Set,
    /// By node; `None` for what is not linear, and for sums.
    pub maps: Vec<Option<Map>>,
    /// By node, whether its value depends on the perturbation.
    pub moves: Vec<bool>,
    /// By node, whether it is a convolution whose weights move alike at all their uses.
    pub shares: Vec<bool>,
}

impl Model {
    /// Prepares a network and a set for all samples.
    pub fn new(network: Network, set: Set) -> Model {
        let mut moves: Vec<bool> = Vec::new();
        for (index, node) in network.nodes.iter().enumerate() {
            let own = match &node.op {
                Op::Input(_) => set.input_radius != Number::ZERO,
                Op::Activation(_) => set.activation_radius != Number::ZERO,
                Op::Affine(_) => set.layers[index].is_some(),
                Op::Scale { .. } | Op::MaxPool(_) | Op::AveragePool { .. } | Op::Sum => false,
            };
            moves.push(own || node.inputs.iter().any(|&i| moves[i]));
        }
        let maps = (0..network.nodes.len())
            .map(|node| Map::new(&network, node, set.layers[node].as_ref()))
            .collect();
        let shares = |(node, layer): (&Node, &Option<LayerSet>)| {
            let is_conv = matches!(&node.op, Op::Affine(affine) if affine.window.is_some());
            is_conv && layer.as_ref().is_some_and(|layer| !layer.per_use)
        };
        let shares = network.nodes.iter().zip(&set.layers).map(shares).collect();
        Model { network, set, maps, moves, shares }
    }
}

impl Map {
    fn new(network: &Network, index: usize, set: Option<&LayerSet>) -> Option<Map> {
        let inputs = network.read_by(index);
        let exact = |x: &Number| (Dyadic::from(*x), Dyadic::from(*x));
        match &network.nodes[index].op {
            Op::Affine(affine) => {
                let around = |x: Number, r: Dyadic| (Dyadic::from(x).minus(&r), Dyadic::from(x).plus(&r));
                let weight = |i: usize, j: usize| {
                    let radius = set.map_or_else(Dyadic::zero, |set| set.radius(affine, i, j));
                    around(affine.weight.0[i * affine.columns() + j], radius)
                };
                let bias =
                    |i: usize| around(affine.bias(i), set.map_or(Number::ZERO, |set| set.bias(i)).into());
                let ball = match set.map(|set| &set.weights) {
                    Some(WeightSet::Ball(r)) => Ball::Whole(*r),
                    Some(WeightSet::RowBalls(rows)) => Ball::Rows(rows.0.clone()),
                    _ => Ball::None,
                };
                Some(Map { ball, ..Map::between(affine, inputs, weight, bias) })
            }
            Op::Scale { scale, shift } => {
                let bias = shift.0.iter().map(|s| (*s, *s)).collect();
                Some(Map::of(
                    inputs,
                    1,
                    scale.0.iter().map(exact),
                    1,
                    (
                        bias,
                        Uses::Sparse {
                            outputs: (0..inputs).map(|j| (j, j)).collect(),
                            lists: (0..inputs).map(|j| vec![(0, j)]).collect(),
                        },
                    ),
                ))
            }
            Op::AveragePool { window, counts } => {
                let mean = |&count: &usize| {
                    let below = Dyadic::new(BigInt::from((1_i64 << 62) / count as i64), -62);
                    let rest = if count.is_power_of_two() { 0 } else { 1 };
                    (below.clone(), below.plus(&Dyadic::new(rest.into(), -62)))
                };
                let uses = Uses::windows(window, true);
                Some(Map::of(inputs, 1, counts.iter().map(mean), window.positions(), (vec![], uses)))
            }
            Op::Input(_) | Op::Activation(_) | Op::MaxPool(_) | Op::Sum => None,
        }
    }

    /// A layer with these parameters, exactly up to the rounding of integers.
    pub fn at(
        affine: &Affine,
        inputs: usize,
        weight: impl Fn(usize, usize) -> Dyadic,
        bias: impl Fn(usize) -> Dyadic,
    ) -> Map {
        let twice = |x: Dyadic| (x.clone(), x);
        Map::between(affine, inputs, |i, j| twice(weight(i, j)), |i| twice(bias(i)))
    }

    fn between(
        affine: &Affine,
        inputs: usize,
        weight: impl Fn(usize, usize) -> (Dyadic, Dyadic),
        bias: impl Fn(usize) -> (Dyadic, Dyadic),
    ) -> Map {
        let columns = affine.columns();
        let weights = (0..affine.rows * columns).map(|k| weight(k / columns, k % columns));
        let (uses, uses_of_weight) = match &affine.window {
            None => (Uses::Dense, 1),
            Some(window) => (Uses::windows(window, false), window.kernel[0] * window.kernel[1]),
        };
        let ends = |(low, high): (Dyadic, Dyadic)| (low.down(), high.up());
        let bias = (0..affine.rows).map(|i| ends(bias(i))).collect();
        Map::of(inputs, columns, weights, affine.rows * uses_of_weight, (bias, uses))
    }

    /// A map with these coefficients. At most `terms` of them meet one input, so that no sum of 128 bits overflows.
    fn of(
        inputs: usize,
        columns: usize,
        coefficients: impl Iterator<Item = (Dyadic, Dyadic)>,
        terms: usize,
        (bias, uses): (Vec<(Number, Number)>, Uses),
    ) -> Map {
        let all: Vec<(Dyadic, Dyadic)> = coefficients.collect();
        let bits = (124 - COEFFICIENT_BITS - (usize::BITS - terms.leading_zeros())).min(60);
        let size = |(low, high): &(Dyadic, Dyadic)| low.magnitude_bits().max(high.magnitude_bits());
        let size_of = |row: &[(Dyadic, Dyadic)]| row.iter().map(size).max().unwrap_or(0);
        let largest = size_of(&all);
        let (mut exponent, mut low, mut high) = (Vec::new(), Vec::new(), Vec::new());
        for row in all.chunks(columns) {
            // Rows of about the same size have the same exponent, which spares a conversion. A row of zeros has any.
            let own = size_of(row);
            let common = own > largest - 8 || own <= i64::from(i32::MIN);
            let size = if common { largest } else { own };
            let e = if size <= i64::from(i32::MIN) { 0 } else { size } - i64::from(bits);
            exponent.push(e as i32);
            let floor = |x: &Dyadic| i64::try_from(x.floor_at(e)).expect("coefficients fit");
            low.extend(row.iter().map(|(low, _)| floor(low)));
            high.extend(row.iter().map(|(_, high)| -floor(&high.negated())));
        }
        Map { inputs, columns, exponent, low, high, bias, uses, ball: Ball::None }
    }

    /// The row of an output.
    pub fn row(&self, output: usize) -> usize {
        match &self.uses {
            Uses::Dense => output,
            Uses::Sparse { outputs, .. } => outputs[output].0,
        }
    }

    /// Least sum of `a` times the outputs over all weights and biases, for an input `z` that is known up to `bounds`, where a
    /// weight is the same at all its uses: each weight has its worst value for the sum of what it meets.
    pub fn least(&self, a: &[i64], exponent: i32, bounds: &Bounds, sum: &mut Sum) {
        let (met, uses) = self.met(a, |_| exponent, bounds);
        for (k, ends) in met.into_iter().enumerate() {
            let end = |w: i64| Dyadic::new(w.into(), self.exponent[k / self.columns].into());
            add_corners(ends, [end(self.low[k]).down(), end(self.high[k]).up()], sum);
        }
        uses.into_iter().zip(&self.bias).for_each(|(ends, bias)| add_corners(ends, [bias.0, bias.1], sum));
    }

    /// Coefficients of the inputs, twice as large, for weights that are the same at all their uses, and their biases. With S the
    /// sum that a weight meets, `c S − r |S|` is concave in S: a line that is below at both ends of S is below. Rows of outputs
    /// have the power of two `exponent` with their weights.
    pub fn add_shared(&self, a: &[i64], exponent: i32, bounds: &Bounds, sum: &mut Sum) -> Vec<i128> {
        let (met, uses) = self.met(a, |row| exponent - self.exponent[row], bounds);
        let line = |(k, [low, high]): (usize, [Number; 2])| {
            let (twice, r) = (self.low[k] + self.high[k], self.high[k] - self.low[k]);
            let (below, above) = (low.negated().max(Number::ZERO), high.max(Number::ZERO));
            // From −r, where S is positive, to r, where it is negative.
            let slope = r - ((i128::from(share(above, below)) * 2 * i128::from(r)) >> FRACTION_BITS) as i64;
            let e = self.exponent[k / self.columns] - 1;
            let at = |s: Number| {
                let factor = if s.is_negative() { r - slope } else { -r - slope };
                (i128::from(factor) * i128::from(s.mantissa), e + s.exponent)
            };
            sum.add_least([at(low), at(high)].into_iter());
            twice + slope
        };
        let kernels: Vec<i64> = met.into_iter().enumerate().map(line).collect();
        uses.into_iter().zip(&self.bias).for_each(|(ends, bias)| add_corners(ends, [bias.0, bias.1], sum));
        let mut sums = vec![0; self.inputs];
        for (output, &a) in a.iter().enumerate().filter(|(_, a)| **a != 0) {
            self.add_side(a, output, &kernels, &mut sums);
        }
        sums
    }

    /// Ends of the sums of `a` times the inputs that each weight meets, and of `a` alone, which each bias meets.
    fn met(
        &self,
        a: &[i64],
        exponent: impl Fn(usize) -> i32,
        bounds: &Bounds,
    ) -> (Vec<[Number; 2]>, Vec<[Number; 2]>) {
        let Uses::Sparse { outputs, lists } = &self.uses else {
            unreachable!("dense layers use a weight once")
        };
        // Lower bounds of the sums and of their opposites.
        let mut met = vec![[Sum::default(); 2]; self.low.len()];
        let mut uses = vec![[Sum::default(); 2]; self.bias.len()];
        let one = Number::new(1, 0);
        for (&a, &(row, list)) in a.iter().zip(outputs).filter(|(a, _)| **a != 0) {
            for (side, a) in [a, -a].into_iter().enumerate() {
                uses[row][side].add_product(a, exponent(row), one);
                for &(column, input) in &lists[list] {
                    let end = if a > 0 { bounds.lower[input] } else { bounds.upper[input] };
                    met[row * self.columns + column][side].add_product(a, exponent(row), end);
                }
            }
        }
        let ends = |[low, high]: [Sum; 2]| [low.total().down(), high.total().down().negated()];
        (met.into_iter().map(ends).collect(), uses.into_iter().map(ends).collect())
    }

    /// Adds `a` times an output to coefficients of the inputs: `least` where the inputs are not negative, `most` where they are
    /// not positive.
    pub fn add(&self, a: i64, output: usize, least: &mut [i128], most: Option<&mut [i128]>) {
        let (small, large) = if a > 0 { (&self.low, &self.high) } else { (&self.high, &self.low) };
        self.add_side(a, output, small, least);
        if let Some(most) = most {
            self.add_side(a, output, large, most);
        }
    }

    fn add_side(&self, a: i64, output: usize, side: &[i64], sums: &mut [i128]) {
        let row = &side[self.row(output) * self.columns..][..self.columns];
        // A product of 64 bits by 64 bits fits into 128; sums are checked.
        let product = |w: i64| i128::from(a).wrapping_mul(i128::from(w));
        match &self.uses {
            Uses::Dense => sums.iter_mut().zip(row).for_each(|(sum, &w)| *sum += product(w)),
            Uses::Sparse { outputs, lists } => {
                lists[outputs[output].1]
                    .iter()
                    .for_each(|&(column, input)| sums[input] += product(row[column]));
            }
        }
    }
}

/// Adds the least product of two numbers that lie between ends.
fn add_corners(x: [Number; 2], y: [Number; 2], sum: &mut Sum) {
    let corner =
        |x: Number, y: Number| (i128::from(x.mantissa) * i128::from(y.mantissa), x.exponent + y.exponent);
    sum.add_least(x.into_iter().flat_map(|x| y.map(|y| corner(x, y))));
}

impl Uses {
    /// Of a convolution, or of pooling, which has a row of one coefficient for each position.
    fn windows(window: &Window, pools: bool) -> Uses {
        let (groups, positions) = (window.groups, window.positions());
        let list = |k: usize| {
            let taps = window.taps(k / positions, k % positions).into_iter();
            taps.map(|(column, input)| (if pools { 0 } else { column }, input)).collect()
        };
        let output = |o: usize| {
            let (channel, position) = (o / positions, o % positions);
            let group = channel / (window.channels / groups);
            (if pools { position } else { channel }, group * positions + position)
        };
        let outputs = (0..window.channels * positions).map(output).collect();
        Uses::Sparse { outputs, lists: (0..groups * positions).map(list).collect() }
    }
}
