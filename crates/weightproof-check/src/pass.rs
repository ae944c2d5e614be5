//! Backward passes: lower bounds of linear functions of a node, in integers (theory.md §3, §4.3 and §12b).
//!
//! A row of coefficients `c` with one exponent moves from its node towards the input, while everything that it costs is added to
//! an offset: at every moment `function ≥ c·z + offset` for the whole set. A coefficient may be rounded to any integer near it,
//! because the line of each element is checked at the ends of its box; what that costs goes to the offset, rounded down.

use crate::layer::{Ball, COEFFICIENT_BITS, Map, Model};
use crate::network::Op;
use crate::number::{Dyadic, FRACTION_BITS, Number, Sum, share};
use crate::relax::Relaxation;
use crate::state::{Bounds, State};
use num_bigint::BigInt;

/// A pass through the nodes that have a state.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// The network and the set.
    pub model: &'a Model,
    /// Boxes of all nodes before the one that a pass starts at; with more than one coefficient also its own.
    pub state: &'a State,
    /// How far it goes.
    pub reach: Reach,
}

/// How far a pass goes, and what it pays for the weights of convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Through one layer with parameters: the interval bound.
    Near,
    /// To the input; each use of a weight is charged on its own.
    PerUse,
    /// To the input; all uses of a weight are charged together, where they move alike.
    Shared,
}

/// What a certificate chooses for one row.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// Lower slopes of elements of ReLU nodes, fractions.
    pub slopes: Vec<Option<Vec<Option<i64>>>>,
    /// Multipliers of boxes.
    pub multipliers: Vec<Option<Vec<Number>>>,
}

/// `Σ a_j 2^exponent z_j`.
#[derive(Clone, Debug)]
struct Row {
    exponent: i32,
    a: Vec<i64>,
    /// Whether a layer with parameters was crossed.
    crossed: bool,
}

/// Coefficients of 128 bits: `least` where an element is not negative, `most` where it is not positive.
struct Wide {
    least: Vec<i128>,
    most: Option<Vec<i128>>,
    exponent: i32,
}

impl Pass<'_> {
    /// A lower bound of `Σ ±z_j` of node `start`.
    pub fn bound(&self, start: usize, row: &[(usize, i64)], chosen: Option<&Chosen>) -> Dyadic {
        let nodes = &self.model.network.nodes;
        let mut a = vec![0; nodes[start].width];
        // With all bits, because slopes are multiplied to them.
        let bits = COEFFICIENT_BITS as i32 - 2;
        row.iter().for_each(|&(j, sign)| a[j] += sign << bits);
        let mut work: Vec<Option<Row>> = vec![None; start + 1];
        work[start] = Some(Row { exponent: -bits, a, crossed: false });
        let mut offset = Dyadic::zero();
        for node in (0..=start).rev() {
            let Some(mut row) = work[node].take() else { continue };
            let mut sum = Sum::default();
            if let Some(Some(multipliers)) = chosen.and_then(|chosen| chosen.multipliers.get(node)) {
                row = self.with_multipliers(row, node, multipliers, &mut sum);
            }
            if node != start && self.ends_at(node, row.crossed) {
                let mut ends = sum;
                concretize(&row, &self.state.boxes[node], &mut ends);
                let mut least = ends.total();
                if let (true, Some(map)) = (self.model.shares[node], &self.model.maps[node]) {
                    let input = &self.state.boxes[nodes[node].inputs[0]];
                    map.least(&row.a, row.exponent, input, &mut sum);
                    least = least.max(sum.total());
                }
                offset = offset.plus(&least);
                continue;
            }
            let inputs = &nodes[node].inputs;
            let moved = match (&nodes[node].op, &self.model.maps[node]) {
                (_, Some(map)) => self.through_map(&row, node, map, &mut sum, &mut offset),
                (Op::Sum, None) => row,
                (_, None) => self.through_nonlinear(&row, node, chosen, &mut sum),
            };
            for &input in inputs {
                let other = work[input].take();
                let joined = match other {
                    None => moved.clone(),
                    Some(other) => joined(&other, &moved, &self.state.boxes[input], &mut sum),
                };
                work[input] = Some(joined);
            }
            offset = offset.plus(&sum.total());
        }
        offset
    }

    /// Whether the worst case over the box of a node is taken there.
    fn ends_at(&self, node: usize, crossed: bool) -> bool {
        let this = &self.model.network.nodes[node];
        let input_moves = || self.model.moves[this.inputs[0]];
        let is_box = || matches!(&self.model.maps[node], Some(Map { ball: Ball::None | Ball::Rows(_), .. }));
        !self.model.moves[node]
            || match &this.op {
                Op::Input(_) => true,
                // Where the input is fixed, the set of a layer is a box.
                Op::Affine(_) => (!input_moves() && is_box()) || (self.reach == Reach::Near && crossed),
                Op::Activation(_) | Op::MaxPool(_) => self.reach == Reach::Near,
                Op::Scale { .. } | Op::AveragePool { .. } | Op::Sum => false,
            }
    }

    /// `p = W z + b`.
    fn through_map(&self, row: &Row, node: usize, map: &Map, sum: &mut Sum, offset: &mut Dyadic) -> Row {
        let bounds = &self.state.boxes[self.model.network.nodes[node].inputs[0]];
        let (scaled, exponent) = self.scaled(row, node, map, sum);
        let crossed = row.crossed || matches!(self.model.network.nodes[node].op, Op::Affine(_));
        if self.model.shares[node] && self.reach == Reach::Shared {
            let least = map.add_shared(&scaled, row.exponent + exponent, bounds, sum);
            let wide = Wide { least, most: None, exponent: row.exponent + exponent - 1 };
            return Row { crossed, ..wide.settled(bounds, sum) };
        }
        let signed = bounds.lower.iter().any(|l| l.is_negative());
        let mut wide = Wide {
            least: vec![0; map.inputs],
            most: signed.then(|| vec![0; map.inputs]),
            exponent: row.exponent + exponent,
        };
        for (output, &a) in scaled.iter().enumerate().filter(|(_, a)| **a != 0) {
            if let Some(&(low, high)) = map.bias.get(map.row(output)) {
                let bias = if a > 0 { low } else { high };
                sum.add_product(a, wide.exponent - map.exponent[map.row(output)], bias);
            }
            map.add(a, output, &mut wide.least, wide.most.as_deref_mut());
        }
        let length = match &map.ball {
            Ball::None => None,
            Ball::Whole(r) => {
                let squares = row.a.iter().map(|&a| BigInt::from(a).pow(2)).sum::<BigInt>();
                Some(Dyadic::new(squares, 2 * i64::from(row.exponent)).root_up().times(&(*r).into()))
            }
            Ball::Rows(rows) => {
                let radius = |(output, &a): (usize, &i64)| {
                    Dyadic::new(a.abs().into(), row.exponent.into()).times(&rows[map.row(output)].into())
                };
                Some(row.a.iter().enumerate().map(radius).fold(Dyadic::zero(), |sum, r| sum.plus(&r)))
            }
        };
        if let Some(length) = length {
            *offset = offset.minus(&length.times(&norm(bounds)));
        }
        Row {
            crossed: row.crossed || matches!(self.model.network.nodes[node].op, Op::Affine(_)),
            ..wide.settled(bounds, sum)
        }
    }

    /// Coefficients of `p_o / 2^e_o`, where the rows of a map have the exponents `e_o`, and their exponent.
    fn scaled(&self, row: &Row, node: usize, map: &Map, sum: &mut Sum) -> (Vec<i64>, i32) {
        let moving = || row.a.iter().enumerate().filter(|(_, a)| **a != 0);
        let e = |output: usize| map.exponent[map.row(output)];
        let first = moving().next().map_or(0, |(output, _)| e(output));
        if moving().all(|(output, _)| e(output) == first) {
            return (row.a.clone(), first);
        }
        let size =
            |(output, a): (usize, &i64)| (u64::BITS - a.unsigned_abs().leading_zeros()) as i32 + e(output);
        let top = moving().map(size).max().unwrap_or(0) - COEFFICIENT_BITS as i32;
        let bounds = &self.state.boxes[node];
        let mut scaled = row.a.clone();
        for (output, a) in scaled.iter_mut().enumerate().filter(|(_, a)| **a != 0) {
            let shift = e(output) - top;
            if shift >= 0 {
                *a <<= shift;
            } else if shift > -62 {
                let rest = *a - ((*a >> -shift) << -shift);
                // The rest is not negative: its product is least at the lower end.
                sum.add_product(rest, row.exponent, bounds.lower[output]);
                *a >>= -shift;
            } else {
                let end = if *a > 0 { bounds.lower[output] } else { bounds.upper[output] };
                sum.add_product(*a, row.exponent, end);
                *a = 0;
            }
        }
        (scaled, top)
    }

    fn through_nonlinear(&self, row: &Row, node: usize, chosen: Option<&Chosen>, sum: &mut Sum) -> Row {
        let input = &self.state.boxes[self.model.network.nodes[node].inputs[0]];
        match &*self.state.relaxed[node].as_ref().expect("a nonlinear node is relaxed").1 {
            Relaxation::Activation(lines) => {
                let slopes = chosen.and_then(|chosen| chosen.slopes.get(node)).and_then(Option::as_ref);
                let radius = self.model.set.activation_radius;
                let a = row.a.iter().zip(lines).enumerate().map(|(j, (&a, line))| match a {
                    0 => 0,
                    a => {
                        sum.add_product(-a.abs(), row.exponent, radius);
                        line.relax(a, slopes.and_then(|s| s[j]), row.exponent, sum)
                    }
                });
                Row { a: a.collect(), ..*row }
            }
            Relaxation::Maximum(windows) => {
                let mut least = vec![0; input.lower.len()];
                for (&a, window) in row.a.iter().zip(windows).filter(|(a, _)| **a != 0) {
                    window.relax(a, (&mut least, row.exponent), input, sum);
                }
                let wide = Wide { least, most: None, exponent: row.exponent };
                Row { crossed: row.crossed, ..wide.settled(input, sum) }
            }
        }
    }

    /// Adds `m z` and subtracts the most that it can be: `m z ≤ max(m l, m u)`.
    fn with_multipliers(&self, row: Row, node: usize, multipliers: &[Number], sum: &mut Sum) -> Row {
        let bounds = &self.state.boxes[node];
        let Some(top) = multipliers.iter().filter(|m| **m != Number::ZERO).map(|m| m.exponent).max() else {
            return row;
        };
        // Multipliers are choices: any rounding will do.
        let exponent = top - 4;
        let integer = |m: &Number| {
            if *m == Number::ZERO || m.exponent < exponent - 63 {
                0
            } else {
                (i128::from(m.mantissa) << 4 >> (top - m.exponent).min(100)) as i64
            }
        };
        let a: Vec<i64> = multipliers.iter().map(integer).collect();
        for (j, &m) in a.iter().enumerate() {
            sum.add_product(-m, exponent, if m > 0 { bounds.upper[j] } else { bounds.lower[j] });
        }
        joined(&row, &Row { exponent, a, crossed: row.crossed }, bounds, sum)
    }
}

/// `‖z‖₂` on a box, rounded up.
fn norm(bounds: &Bounds) -> Dyadic {
    let largest = |(l, u): (&Number, &Number)| Dyadic::from(l.magnitude().max(u.magnitude()));
    let squares = bounds.lower.iter().zip(&bounds.upper).map(largest).map(|z| z.times(&z));
    squares.fold(Dyadic::zero(), |sum, square| sum.plus(&square)).root_up()
}

/// Adds the least value on a box.
fn concretize(row: &Row, bounds: &Bounds, sum: &mut Sum) {
    for (j, &a) in row.a.iter().enumerate().filter(|(_, a)| **a != 0) {
        sum.add_product(a, row.exponent, if a > 0 { bounds.lower[j] } else { bounds.upper[j] });
    }
}

/// The sum of two rows of one node.
fn joined(a: &Row, b: &Row, bounds: &Bounds, sum: &mut Sum) -> Row {
    let (high, low) = if a.exponent >= b.exponent { (a, b) } else { (b, a) };
    if low.a.iter().all(|a| *a == 0) || high.a.iter().all(|a| *a == 0) {
        let other = if low.a.iter().all(|a| *a == 0) { high } else { low };
        return Row { crossed: a.crossed || b.crossed, ..other.clone() };
    }
    let (apart, most_apart) = (high.exponent - low.exponent, 60);
    let (up, down) = (apart.min(most_apart), (apart - most_apart).clamp(0, 127));
    let sum_of = |round: fn(i128, i32) -> i128| {
        let pairs = high.a.iter().zip(&low.a);
        pairs.map(|(&h, &l)| (i128::from(h) << up) + round(i128::from(l), down)).collect()
    };
    let wide = Wide {
        least: sum_of(|a, down| a >> down),
        most: (down > 0).then(|| sum_of(|a, down| -(-a >> down))),
        exponent: high.exponent - up,
    };
    Row { crossed: a.crossed || b.crossed, ..wide.settled(bounds, sum) }
}

impl Wide {
    /// Coefficients of [`COEFFICIENT_BITS`] bits, one line below the function of each element on its box.
    fn settled(self, bounds: &Bounds, sum: &mut Sum) -> Row {
        let all = self.least.iter().chain(self.most.iter().flatten());
        let bits = i128::BITS - all.fold(0, |bits, v| bits | v.unsigned_abs()).leading_zeros();
        let shift = bits.saturating_sub(COEFFICIENT_BITS);
        let exponent = self.exponent + shift as i32;
        let most = self.most.as_ref().unwrap_or(&self.least);
        let mut a = Vec::with_capacity(self.least.len());
        for (j, (least, most)) in self.least.iter().zip(most).enumerate() {
            let (floor, ceil) = (least >> shift, -(-most >> shift));
            let (l, u) = (bounds.lower[j], bounds.upper[j]);
            let c = if !l.is_negative() || floor == ceil {
                floor
            } else if !u.is_positive() {
                ceil
            } else {
                // min(floor z, ceil z) is concave: a line that is below at both ends is below.
                let c = ceil + (((floor - ceil) * i128::from(share(u, l.negated()))) >> FRACTION_BITS);
                let at =
                    |slope: i128, z: Number| ((slope - c) * i128::from(z.mantissa), exponent + z.exponent);
                sum.add_least([at(ceil, l), at(floor, u)].into_iter());
                c
            };
            a.push(c as i64);
        }
        Row { exponent, a, crossed: false }
    }
}
