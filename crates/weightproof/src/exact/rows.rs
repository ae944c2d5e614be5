//! The sums and rectifiers of which programs are made, see [`super::program`] for the formulas.

use super::program::{Element, Program, Row};
use crate::bounds::{Arithmetic, Hull, Line};
use crate::network::Staircase;
use crate::verdict::Guarantee;
use std::collections::{HashMap, HashSet};

/// `weight · z`, which moves by up to `radius · |z|`.
pub(super) struct Term {
    pub z: Element,
    pub weight: f64,
    pub radius: f64,
}

/// A term that does not move on its own.
pub(super) fn still(z: Element, weight: f64) -> Term {
    Term { z, weight, radius: 0.0 }
}

/// A program in the making.
#[derive(Default)]
pub(super) struct Encoder {
    pub program: Program,
    /// `max(v, 0)` of variables of either sign.
    positive: HashMap<usize, usize>,
    /// Variables of dense layers that reach every value of their bounds, whatever the others are.
    pub independent: HashSet<usize>,
}

impl Encoder {
    /// An element within `Σ (weight · z ± radius · |z|) + constant ± slack`, and within `bounds`.
    pub fn sum(&mut self, terms: Vec<Term>, constant: f64, slack: f64, bounds: (f64, f64)) -> Element {
        let (mut low, mut high) = (constant - slack, constant + slack);
        let (mut center, mut spread) = (Vec::new(), Vec::new());
        let (count, mut size) = (terms.len() + 4, constant.abs() + slack);
        for Term { z, weight, radius } in terms {
            match z {
                Element::Constant(z) => {
                    low += weight * z - radius * z.abs();
                    high += weight * z + radius * z.abs();
                    size += (weight.abs() + radius) * z.abs();
                }
                Element::Variable(v) => {
                    let (lower, upper) = self.program.bounds[v];
                    size += (weight.abs() + 4.0 * radius) * lower.abs().max(upper.abs());
                    center.push((v, weight));
                    if radius != 0.0 {
                        let (sign, positive) = self.magnitude(v);
                        spread.push((v, sign * radius));
                        spread.extend(positive.map(|r| (r, 2.0 * radius)));
                    }
                }
            }
        }
        let arithmetic = Arithmetic::<f64>::new(Guarantee::Rigorous);
        let lost = arithmetic.gamma(4 * count) * size + arithmetic.underflow(4 * count);
        if center.is_empty() {
            // A box of one point is exact.
            if bounds.0 == bounds.1 {
                return Element::Constant(bounds.0);
            }
            return Element::Variable(self.variable((low - lost).max(bounds.0), (high + lost).min(bounds.1)));
        }
        let p = self.variable(bounds.0, bounds.1);
        // p − Σ weight · z + side · Σ radius · |z|
        let side = |side: f64| {
            let moved =
                center.iter().map(|&(v, w)| (v, -w)).chain(spread.iter().map(|&(v, e)| (v, side * e)));
            moved.chain([(p, 1.0)]).collect()
        };
        if low == high && spread.is_empty() {
            self.row(side(0.0), (low, high), lost);
        } else {
            let (above, below) = (side(1.0), side(-1.0));
            self.row(above, (low, f64::INFINITY), lost);
            self.row(below, (f64::NEG_INFINITY, high), lost);
        }
        Element::Variable(p)
    }

    /// `|v| = sign · v + 2 r`, where `r = max(v, 0)` is missing when the sign of `v` is known.
    fn magnitude(&mut self, v: usize) -> (f64, Option<usize>) {
        match self.rectified(Element::Variable(v)) {
            Element::Constant(_) => (-1.0, None),
            Element::Variable(r) if r == v => (1.0, None),
            Element::Variable(r) => (-1.0, Some(r)),
        }
    }

    /// `max(p, 0)`: zero, `p` itself, or a variable with a binary one.
    pub fn rectified(&mut self, p: Element) -> Element {
        let (l, u) = self.range(p);
        let p = match p {
            _ if u <= 0.0 => return Element::Constant(0.0),
            Element::Variable(p) if l < 0.0 => p,
            Element::Constant(_) | Element::Variable(_) => return p,
        };
        if let Some(&r) = self.positive.get(&p) {
            return Element::Variable(r);
        }
        let (r, d) = (self.variable(0.0, u), self.variable(0.0, 1.0));
        self.program.integer[d] = true;
        self.row(vec![(r, 1.0), (p, -1.0)], (0.0, f64::INFINITY), 0.0);
        self.row(vec![(r, 1.0), (p, -1.0), (d, -l)], (f64::NEG_INFINITY, -l), 0.0);
        self.row(vec![(r, 1.0), (d, -u)], (f64::NEG_INFINITY, 0.0), 0.0);
        self.positive.insert(p, r);
        Element::Variable(r)
    }

    /// The hull of what may come out of `q` for `p ∈ [l, u]`, which lies within `bounds`; of an element `p` that is free within its bounds and
    /// that nothing else reads (`is_only_reader`) the bounds alone.
    pub fn quantized(
        &mut self,
        q: &Staircase,
        (p, is_only_reader): (Element, bool),
        (l, u): (f64, f64),
        bounds: (f64, f64),
    ) -> Element {
        if bounds.0 == bounds.1 {
            return Element::Constant(bounds.0);
        }
        let z = self.variable(bounds.0, bounds.1);
        let Element::Variable(p) = p else { return Element::Variable(z) };
        if is_only_reader && self.independent.contains(&p) {
            self.program.hulls.insert(z, 0..0);
            return Element::Variable(z);
        }
        let first = self.program.rows.len();
        let [below, above] = Hull::new(q, l, u).edges();
        for Line { slope, offset } in below {
            self.row(vec![(z, 1.0), (p, -slope)], (offset, f64::INFINITY), 0.0);
        }
        for Line { slope, offset } in above {
            self.row(vec![(z, 1.0), (p, -slope)], (f64::NEG_INFINITY, offset), 0.0);
        }
        self.program.hulls.insert(z, first..self.program.rows.len());
        Element::Variable(z)
    }

    pub fn range(&self, element: Element) -> (f64, f64) {
        match element {
            Element::Constant(c) => (c, c),
            Element::Variable(v) => self.program.bounds[v],
        }
    }

    pub fn variable(&mut self, lower: f64, upper: f64) -> usize {
        self.program.bounds.push((lower, upper));
        self.program.integer.push(false);
        self.program.bounds.len() - 1
    }

    /// Adds a constraint, which rounding may have moved by `slack`; terms of one variable are added up.
    fn row(&mut self, mut terms: Vec<(usize, f64)>, (lower, upper): (f64, f64), slack: f64) {
        terms.sort_by_key(|term| term.0);
        terms.dedup_by(|next, term| {
            let same = next.0 == term.0;
            if same {
                term.1 += next.1;
            }
            same
        });
        terms.retain(|term| term.1 != 0.0);
        self.program.rows.push(Row { terms, lower, upper, slack });
    }
}
