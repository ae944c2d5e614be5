//! Backward passes: lower bounds of linear functions of a node, in integers (theory.md §3, §4.3 and §12b).
//!
//! A row of coefficients `c` with one exponent moves from its node towards the input, while everything that it costs is added to
//! an offset: at every moment `function ≥ c·z + offset` for the whole set. A coefficient may be rounded to any integer near it,
//! because the line of each element is checked at the ends of its box; what that costs goes to the offset, rounded down. What hits on
//! words take is a list of its own ([`crate::damage`]).

use crate::certificate::WeightSet;
use crate::layer::{COEFFICIENT_BITS, Model};
use crate::network::{Node, Op};
use crate::number::{FRACTION_BITS, Interval, Number, share};
use crate::relax::{Bounds, State};

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

/// What a certificate chooses for one row, by node.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// Lower slopes of elements of ReLU nodes, from 0 to 1; without them the plain rule holds.
    pub slopes: Vec<Option<Vec<Option<Number>>>>,
    /// Multipliers of boxes.
    pub multipliers: Vec<Option<Vec<Number>>>,
}

/// What a pass has added to a bound.
#[derive(Clone, Debug)]
struct Paid {
    sum: Number,
    /// What hits may take, the largest first.
    damages: Vec<Number>,
}

impl Paid {
    const NOTHING: Paid = Paid { sum: Number::ZERO, damages: vec![] };
}

/// `Σ a_j 2^exponent z_j`.
#[derive(Clone, Debug)]
pub struct Row {
    /// By element.
    pub a: Vec<i64>,
    /// Power of two of all coefficients.
    pub exponent: i32,
}

impl Row {
    /// The coefficient of an element.
    pub fn number(&self, element: usize) -> Number {
        Number::new(self.a[element], self.exponent)
    }
}

impl Pass<'_> {
    /// A lower bound of `Σ ±z_j` of node `start`.
    pub fn bound(&self, start: usize, row: &[(usize, i64)], chosen: Option<&Chosen>) -> Number {
        let nodes = &self.model.network.nodes;
        // With all bits, because slopes are multiplied to them.
        let bits = COEFFICIENT_BITS as i32 - 2;
        let mut first = Row { a: vec![0; nodes[start].width], exponent: -bits };
        row.iter().for_each(|&(j, sign)| first.a[j] += sign << bits);
        let mut work: Vec<Option<Row>> = vec![None; start + 1];
        work[start] = Some(first);
        let (mut paid, mut crossed) = (Paid::NOTHING, false);
        for node in (0..=start).rev() {
            let Some(mut row) = work[node].take() else { continue };
            if let Some(Some(multipliers)) = chosen.map(|chosen| &chosen.multipliers[node]) {
                row = self.with_multipliers(&row, node, multipliers, &mut paid.sum);
            }
            if node != start && self.ends_at(node, crossed) {
                paid.sum += self.least(&row, node);
                continue;
            }
            crossed |= matches!(nodes[node].op, Op::Affine(_));
            let slopes = chosen.and_then(|chosen| chosen.slopes[node].as_deref());
            for (place, &input) in nodes[node].inputs.iter().enumerate() {
                let moved = self.through(&row, (node, place), slopes, &mut paid);
                work[input] = Some(match work[input].take() {
                    None => moved,
                    Some(other) => self.joined(input, &other, |j| moved.number(j), &mut paid.sum),
                });
            }
        }
        paid.damages.into_iter().fold(paid.sum, |sum, damage| sum - damage)
    }

    /// Whether the worst case over the box of a node is taken there.
    fn ends_at(&self, node: usize, crossed: bool) -> bool {
        let near = self.reach == Reach::Near;
        !self.model.moves[node]
            || match &self.model.network.nodes[node].op {
                Op::Input(_) => true,
                Op::Affine(_) => (near && crossed) || self.is_free(node),
                Op::Activation(_) => near || self.is_free(node),
                Op::Scale { .. } => self.is_free(node),
                Op::MaxPool(_) => near,
                Op::Divide(_) | Op::AveragePool { .. } | Op::Gather { .. } | Op::Sum => false,
            }
    }

    /// Whether all that a node reaches is a box: a layer whose input is fixed, but for one ball of the whole matrix, and hits; and what
    /// activations make of one without shared weights, element by element, where nothing else reads it.
    fn is_free(&self, node: usize) -> bool {
        let Node { op, inputs, .. } = &self.model.network.nodes[node];
        let is_fixed = |&i: &usize| !self.model.moves[i];
        if let Op::Affine(_) = op {
            let damages = &self.model.damages;
            let is_hit = damages.as_ref().is_some_and(|damages| damages.are_of(node));
            return !(is_hit || self.model.set.is_one_ball(node)) && inputs.iter().all(is_fixed);
        }
        let nodes = &self.model.network.nodes;
        let is_only = |i: usize| nodes.iter().filter(|other| other.inputs.contains(&i)).count() == 1;
        let reaches_all =
            |&i: &usize| is_fixed(&i) || (!self.model.shares[i] && self.is_free(i) && is_only(i));
        matches!(op, Op::Activation(_) | Op::Scale { .. }) && inputs.iter().all(reaches_all)
    }

    /// The least value of a row on the box of a node; of a convolution also of its kernels on the box of its input.
    fn least(&self, row: &Row, node: usize) -> Number {
        let least = |row: &Row, node: usize, mut sum: Number| {
            for (&a, z) in row.a.iter().zip(&*self.state.boxes[node]).filter(|(a, _)| **a != 0) {
                sum += Number::new(a, row.exponent) * z.worst(a > 0);
            }
            sum
        };
        let on_box = least(row, node, Number::ZERO);
        if !self.model.shares[node] {
            return on_box;
        }
        let mut paid = Paid::NOTHING;
        let kernels = Pass { reach: Reach::Shared, ..*self }.through(row, (node, 0), None, &mut paid);
        on_box.max(least(&kernels, self.model.network.nodes[node].inputs[0], paid.sum))
    }

    /// From the outputs of a node to one of its inputs, by its place. What all inputs share is paid at the first.
    fn through(
        &self,
        row: &Row,
        (node, place): (usize, usize),
        slopes: Option<&[Option<Number>]>,
        Paid { sum, damages }: &mut Paid,
    ) -> Row {
        let Node { op, inputs, .. } = &self.model.network.nodes[node];
        let Some(&input) = inputs.get(place) else { return row.clone() };
        let bounds = &self.state.boxes[input];
        if let Op::Gather { source, constant } = op {
            let first: usize = inputs[..place].iter().map(|&i| self.model.network.nodes[i].width).sum();
            let mut wide = vec![0_i128; bounds.len()];
            for (&a, source) in row.a.iter().zip(source) {
                match source {
                    Some(k) => {
                        let own = k.checked_sub(first).and_then(|j| wide.get_mut(j));
                        own.into_iter().for_each(|sum| *sum += i128::from(a));
                    }
                    None if place == 0 => *sum += Number::new(a, row.exponent) * *constant,
                    None => {}
                }
            }
            let wide = wide.into_iter().map(|c| Number::new(c, row.exponent));
            return self.settled(wide.map(|c| [c, -c]).collect(), input, sum);
        }
        if let Some(map) = &self.model.maps[node] {
            let in_units = |(o, &a): (usize, &i64)| Number::new(a, row.exponent + map.exponent(o));
            let scaled = row.a.iter().enumerate().map(in_units).map(|a| [a, -a]).collect();
            let scaled = self.settled(scaled, node, sum);
            // The coefficients as they are from here on.
            let exponent = map.units(scaled.exponent);
            self.pay_balls((&scaled.a, &exponent), node, bounds, sum);
            if let Some(hits) = &self.model.damages {
                let of_rows = self.state.damages[node].as_deref();
                hits.add(node, (map, &scaled.a, &exponent), (of_rows, bounds), damages);
            }
            let shared = self.model.shares[node] && self.reach == Reach::Shared;
            let wide = map.transposed(&scaled, bounds, shared, sum);
            return self.settled(wide, input, sum);
        }
        if let (Op::Sum, [relative, absolute]) = (op, self.model.set.sums[node]) {
            if !absolute.is_positive() {
                return row.clone();
            }
            let number = |a: &i64| Number::new(*a, row.exponent);
            if place == 0 {
                row.a.iter().for_each(|a| *sum += -number(a).magnitude() * absolute);
            }
            let off = |a: &i64| (-number(a).magnitude() * relative).down();
            let wide = row.a.iter().map(|a| [number(a) + off(a), -number(a) + off(a)]);
            return self.settled(wide.collect(), input, sum);
        }
        let relaxation = self.state.relaxed[node].as_ref().expect("nonlinear nodes have lines");
        if let Op::Activation(_) = op {
            let radius = self.model.set.activation_radius;
            row.a.iter().for_each(|a| *sum += Number::new(-a.abs(), row.exponent) * radius);
        }
        self.settled(relaxation.relax(row, slopes, sum), input, sum)
    }

    /// Subtracts what balls of weights take: `r ‖a‖ ‖z‖` for a whole matrix, `Σ_i r_i |a_i| ‖z‖` for its rows, and for kernels the
    /// same with `‖S‖` for `‖a‖ ‖z‖`, where S is what each of their weights meets at all positions. The powers of two of `a` are by row.
    fn pay_balls(
        &self,
        (a, exponent): (&[i64], &dyn Fn(usize) -> i32),
        node: usize,
        bounds: &Bounds,
        sum: &mut Number,
    ) {
        let radii = match self.model.set.layers[node].as_ref().map(|layer| &layer.weights) {
            Some(WeightSet::Ball(r)) => std::slice::from_ref(r),
            Some(WeightSet::RowBalls(r)) => &r.0[..],
            _ => return,
        };
        let length = |terms: &[Number]| (-terms.iter().fold(Number::ZERO, |sum, &x| sum - x * x)).root_up();
        let kernels = self.model.maps[node].as_ref().filter(|_| self.model.shares[node]);
        let (terms, of_all): (Vec<Number>, _) = match kernels {
            Some(map) => {
                let met = map.met(a, exponent, bounds).into_iter();
                (met.map(|[least, opposite]| Interval::around(least, opposite).size()).collect(), Number::ONE)
            }
            None => {
                let size = |(i, a): (usize, &i64)| Number::new(a.abs(), exponent(i));
                let of_all = length(&bounds.iter().map(|z| z.size()).collect::<Vec<_>>());
                (a.iter().enumerate().map(size).collect(), of_all)
            }
        };
        let of_rows = terms.chunks(terms.len() / radii.len()).zip(radii);
        let paid = of_rows.fold(Number::ZERO, |sum, (terms, &r)| sum - length(terms) * r);
        *sum += paid.down() * of_all;
    }

    /// Adds `m z` and subtracts the most that it can be: `m z ≤ max(m l, m u)`.
    fn with_multipliers(&self, row: &Row, node: usize, multipliers: &[Number], sum: &mut Number) -> Row {
        for (&m, z) in multipliers.iter().zip(&*self.state.boxes[node]) {
            *sum += -m * z.worst(m.is_negative());
        }
        self.joined(node, row, |j| multipliers[j], sum)
    }

    /// The sum of a row and of other coefficients of a node.
    fn joined(&self, node: usize, row: &Row, other: impl Fn(usize) -> Number, sum: &mut Number) -> Row {
        let wide = (0..row.a.len()).map(|j| [row.number(j) + other(j), -row.number(j) - other(j)]);
        self.settled(wide.collect(), node, sum)
    }

    /// Coefficients of [`COEFFICIENT_BITS`] bits, one line below the function of each element on its box. The function has the
    /// first slope where z is positive, and the opposite of the second one where it is negative; the first is not the larger one.
    fn settled(&self, wide: Vec<[Number; 2]>, node: usize, sum: &mut Number) -> Row {
        let size = wide.iter().flatten().map(|c| c.magnitude_bits()).max().unwrap_or(0);
        let exponent = size - COEFFICIENT_BITS as i32;
        let settle = |(j, [least, most]): (usize, [Number; 2])| {
            let (floor, ceil) = (least.floor(exponent), -most.floor(exponent));
            // A node that a pass starts at may have no box, but then there is one coefficient, which fits.
            let z = || -> Interval { self.state.boxes[node][j] };
            let c = if floor == ceil || !z().low.is_negative() {
                floor
            } else if !z().high.is_positive() {
                ceil
            } else {
                // min(floor z, ceil z) is concave: a line that is below at both ends is below.
                let share = share(z().high, -z().low);
                let c = ceil + (((floor - ceil) * i128::from(share)) >> FRACTION_BITS);
                let at = |slope: i128, z: Number| Number::new((slope - c) as i64, exponent) * z;
                *sum += at(ceil, z().low).min(at(floor, z().high));
                c
            };
            i64::try_from(c).expect("coefficients fit")
        };
        let a = wide.into_iter().enumerate().map(settle).collect();
        Row { a, exponent }
    }
}
