//! Hits on several words at once, or beside inputs that move: what they take from a bound (theory.md §10 and §12b).
//!
//! ```text
//! p = W z + b + Σ_w d_w z_(j(w)) e_(i(w))     at most M words w of the whole network, d_w a change of w
//! c·p ≥ c·(W z + b) − (the M largest D_w)     D_w = max −d_w S_w,   S_w = Σ c_(i(w)) z_(j(w)) over all uses of w; of a bias Σ c_i
//! ```
//! Changes are between their ends, zero among them, and z is in its box, which holds for all sets of at most M hits. Damages of all layers
//! that a bound passes are in one list.

use crate::certificate::{Faults, Place};
use crate::faults::words;
use crate::layer::Map;
use crate::network::Network;
use crate::number::{Interval, Number};

/// The words that may be hit, as bounds have them.
#[derive(Debug)]
pub struct Damages {
    /// What may happen to them.
    pub faults: Faults,
    /// By node, where there are some.
    layers: Vec<Option<Changes>>,
}

/// Least and largest change of each word of a layer, with zero.
#[derive(Debug)]
struct Changes {
    is_dense: bool,
    weights: Vec<Interval>,
    /// By row.
    biases: Vec<Interval>,
}

/// For each row of a dense layer the largest damages to a coefficient of 1 and of −1.
pub type RowDamages = Vec<[Vec<Number>; 2]>;

/// The largest value of `−d s`, rounded up, where d is between ends around zero.
fn damage(d: Interval, s: Interval) -> Number {
    -(d.low * s.high).min(d.high * s.low).down()
}

impl Damages {
    /// The words that a header names.
    ///
    /// # Errors
    /// When there are no such words.
    pub fn new(faults: &Faults, network: &Network) -> Result<Damages, String> {
        let mut layers: Vec<Option<Changes>> = network.nodes.iter().map(|_| None).collect();
        for layer in words(faults, network)? {
            let nothing = Interval::point(Number::ZERO);
            let ends = |place: Place| {
                let all = layer.at(place)?.changes(faults)?.into_iter().fold(nothing, Interval::hull);
                Ok::<_, String>(Interval::around(all.low, -all.high))
            };
            let affine = layer.affine;
            let bias = |i| if layer.has_biases() { ends(Place::Bias(i)) } else { Ok(nothing) };
            layers[layer.node()] = Some(Changes {
                is_dense: affine.window.is_none(),
                weights: (0..affine.weight.0.len())
                    .map(|k| ends(Place::Weight(k)))
                    .collect::<Result<_, _>>()?,
                biases: (0..affine.rows).map(bias).collect::<Result<_, _>>()?,
            });
        }
        Ok(Damages { faults: faults.clone(), layers })
    }

    /// Whether words of a node may be hit.
    pub fn are_of(&self, node: usize) -> bool {
        self.layers[node].is_some()
    }

    /// What hits on a dense layer take from its rows, when it reads what is in `z`; `None` of other nodes.
    pub fn of_rows(&self, node: usize, z: &[Interval]) -> Option<RowDamages> {
        let Changes { weights, biases, .. } = self.layers[node].as_ref().filter(|layer| layer.is_dense)?;
        let of_row = |(row, &bias): (&[Interval], &Interval)| {
            let mut largest = [vec![], vec![]];
            let uses = row.iter().copied().zip(z.iter().copied());
            for (d, s) in uses.chain([(bias, Interval::point(Number::ONE))]) {
                self.keep(&mut largest[0], damage(d, s));
                self.keep(&mut largest[1], damage(d, -s));
            }
            largest
        };
        Some(weights.chunks(z.len()).zip(biases).map(of_row).collect())
    }

    /// Keeps in `largest` what hits on a node take from the coefficients `a` of its outputs, whose powers of two are known by row: a hit on
    /// a kernel is one for all uses of its weight. `rows` is [`Damages::of_rows`] of the node.
    pub fn add(
        &self,
        node: usize,
        (map, a, exponent): (&Map, &[i64], &dyn Fn(usize) -> i32),
        (rows, z): (Option<&RowDamages>, &[Interval]),
        largest: &mut Vec<Number>,
    ) {
        let Some(Changes { weights, biases, .. }) = &self.layers[node] else { return };
        if let Some(rows) = rows {
            for (i, &a) in a.iter().enumerate().filter(|(_, a)| **a != 0) {
                let size = Number::new(a.abs(), exponent(i));
                rows[i][usize::from(a < 0)].iter().for_each(|&d| self.keep(largest, size * d));
            }
            return;
        }
        let met = map.met(a, exponent, z).into_iter().chain(map.uses(a, exponent));
        let words = weights.iter().chain(biases).zip(met);
        for (&d, [least, opposite]) in words.filter(|(_, ends)| ends.iter().any(|end| end.value != 0)) {
            self.keep(largest, damage(d, Interval::around(least, opposite)));
        }
    }

    /// Keeps a number when it is among the largest ones, which are in falling order.
    fn keep(&self, largest: &mut Vec<Number>, value: Number) {
        if largest.len() < self.faults.words || largest.last().is_some_and(|least| value > *least) {
            largest.insert(largest.partition_point(|other| *other >= value), value);
            largest.truncate(self.faults.words);
        }
    }
}
