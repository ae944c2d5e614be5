//! What at most M hit words of the whole network take from a bound (theory.md §10): the M largest damages, beside the constant of
//! every row.
//!
//! ```text
//! hit d on weight (i, j)      damage of a row with coefficients A:   max −A_i d z_j    over d in its range, z_j in its box
//! hit d on a kernel weight w  max −d S_w,   S_w = Σ_positions A z                      one hit for all uses of the weight
//! hit d on bias i             max −d Σ_positions A_i
//! bound                       c·p ≥ o − (sum of the M largest damages)
//! ```
//! Boxes hold for all sets of at most M hits, by the same rule. Damages are in f64 whatever the engine, and their sum is rounded up.

use super::noise::inflated;
use super::{Block, Prepared, State, States};
use crate::faults::{HitSet, LayerHits};
use crate::kernels::Scalar;
use crate::kernels::rows::vectorized;

/// The largest of some numbers for each of several rows, from the largest on. Numbers below zero are left out; NaN counts as infinite.
#[derive(Clone, Debug)]
pub(crate) struct Largest {
    most: usize,
    /// (rows, most).
    values: Vec<f64>,
}

impl Largest {
    /// The `most` largest of none.
    pub fn new(rows: usize, most: usize) -> Self {
        Largest { most, values: vec![0.0; rows * most] }
    }

    /// The numbers of row `r`.
    pub fn row(&self, r: usize) -> &[f64] {
        &self.values[r * self.most..(r + 1) * self.most]
    }

    /// Adds a number to row `r`.
    #[inline(always)]
    pub fn add(&mut self, r: usize, value: f64) {
        let own = &mut self.values[r * self.most..(r + 1) * self.most];
        if own.last().is_none_or(|least| value <= *least) {
            return;
        }
        let value = if value.is_nan() { f64::INFINITY } else { value };
        let place = own.partition_point(|v| *v >= value);
        own[place..].rotate_right(1);
        own[place] = value;
    }

    /// The sum of the numbers of row `r`, each computed with a few roundings, rounded up.
    pub fn sum(&self, r: usize) -> f64 {
        self.sum_of(r, self.most)
    }

    /// The sum of the `count` largest numbers of row `r`, rounded up.
    pub fn sum_of(&self, r: usize, count: usize) -> f64 {
        inflated(self.row(r)[..count].iter().sum(), count)
    }
}

/// Products that are computed together before the largest are kept.
const CHUNK: usize = 64;

/// What single hits on the row of an element may add to it and take from it, the largest first; (samples × width).
pub(crate) struct Damages {
    pub up: Largest,
    pub down: Largest,
}

impl Damages {
    /// Of `words` hits, none of which is known yet.
    pub fn new(rows: usize, words: usize) -> Self {
        Damages { up: Largest::new(rows, words), down: Largest::new(rows, words) }
    }

    /// Adds hits on row `row` of a layer, whose columns read what is in the box `z`, to element `r`.
    pub fn add_row(&mut self, r: usize, hits: &LayerHits, row: usize, z: [&[f64]; 2]) {
        let ends = [hits.weight[0].row(row), hits.weight[1].row(row)];
        let bias = [hits.bias[0][row], hits.bias[1][row]];
        let (mut up, mut down) = ([0.0; CHUNK], [0.0; CHUNK]);
        for first in (0..z[0].len()).step_by(CHUNK) {
            let part = first..z[0].len().min(first + CHUNK);
            let (z, ends) = (z.map(|z| &z[part.clone()]), ends.map(|d| &d[part.clone()]));
            vectorized!(|| {
                for (j, (up, down)) in up.iter_mut().zip(&mut down).take(z[0].len()).enumerate() {
                    let (d, z) = ([ends[0][j], ends[1][j]], [z[0][j], z[1][j]]);
                    *up = largest_product(d, z);
                    *down = largest_product([-d[1], -d[0]], z);
                }
            });
            up[..part.len()].iter().for_each(|&v| self.up.add(r, v));
            down[..part.len()].iter().for_each(|&v| self.down.add(r, v));
        }
        self.up.add(r, bias[1]);
        self.down.add(r, -bias[0]);
    }
}

impl<'m, T> Prepared<'m, T> {
    /// Hits on the parameters of node `index`, where there may be some.
    pub(super) fn hits_of(&self, index: usize) -> Option<&'m LayerHits> {
        self.hits.and_then(|hits| hits.layer(index))
    }

    /// The most words that are hit.
    pub(super) fn hit_words(&self) -> usize {
        self.hits.map_or(0, HitSet::words)
    }
}

/// Largest value of `d z` for `d` and `z` between their ends, where zero is a `d`.
#[inline(always)]
pub(super) fn largest_product(d: [f64; 2], z: [f64; 2]) -> f64 {
    let (a, b) = (d[1] * z[1], d[0] * z[0]);
    // NaN must stay.
    if a >= b || a.is_nan() { a } else { b }
}

/// The damages of node `index`, given the box of what it reads; `None` where no word of it may be hit.
pub(super) fn damages<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    index: usize,
) -> Option<Damages> {
    let hits = block.prepared.hits_of(index)?;
    let layer = block.prepared.model.affine(index);
    let input = block.prepared.model.input_of(index);
    let (width, words) = (block.prepared.model.width(index), block.prepared.hit_words());
    let (samples, positions) = (states.samples(), layer.positions());
    let mut found = Damages::new(samples * width, words);
    let in_f64 = |row: &[T]| row.iter().map(|&z| Scalar::to_f64(z)).collect::<Vec<f64>>();
    let cols = layer.weight.cols();
    let (mut low, mut high) = (vec![0.0; cols], vec![0.0; cols]);
    for s in 0..samples {
        let z = [in_f64(states.lower(input).row(s)), in_f64(states.upper(input).row(s))];
        for element in 0..width {
            let (row, position) = (element / positions, element % positions);
            let (l, u) = match &layer.window {
                None => (&z[0], &z[1]),
                Some(window) => {
                    for (column, (l, u)) in low.iter_mut().zip(&mut high).enumerate() {
                        (*l, *u) =
                            window.element(row, column, position).map_or((0.0, 0.0), |k| (z[0][k], z[1][k]));
                    }
                    (&low, &high)
                }
            };
            found.add_row(s * width + element, hits, row, [l, u]);
        }
    }
    Some(found)
}

/// Widens the box of node `index` by the largest damages of hits on it.
pub(super) fn widen<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    index: usize,
    state: &mut State<T>,
) {
    let Some(damages) = states.damages(index) else { return };
    let State::Box(bounds) = state else { unreachable!("a layer that is hit moves") };
    let width = block.prepared.model.width(index);
    for s in 0..states.samples() {
        let ends = bounds.lower.row_mut(s).iter_mut().zip(bounds.upper.row_mut(s));
        for (i, (l, u)) in ends.enumerate() {
            let r = s * width + i;
            *l = lowered(*l, damages.down.sum(r));
            *u = -lowered(-*u, damages.up.sum(r));
        }
    }
}

/// `value − damage`, rounded down.
pub(super) fn lowered<T: Scalar>(value: T, damage: f64) -> T {
    T::from_f64_down((Scalar::to_f64(value) - damage).next_down())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept_in_order() {
        let mut largest = Largest::new(2, 3);
        for value in [0.5, -1.0, 2.0, 0.25, 1.0, 0.75] {
            largest.add(1, value);
        }
        assert_eq!((largest.row(0), largest.row(1)), (&[0.0; 3][..], &[2.0, 1.0, 0.75][..]));
        assert!(largest.sum(1) >= 3.75 && largest.sum(1) < 3.75 + 1e-12);
        largest.add(0, f64::NAN);
        (0..3).for_each(|_| largest.add(0, 1.0));
        assert_eq!(largest.sum(0), f64::INFINITY);
    }
}
