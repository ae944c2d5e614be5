//! The hits on a layer with the values that its words meet: how far they move it.

use super::StoredLayer;
use super::line::UNIT;
use crate::kernels::lines::extent_of_products;
use crate::kernels::{Patches, Region, Window};

/// Of each word of a kernel so many of the furthest hits, at most, are left out when all others are bounded together.
pub(super) const SET_APART: usize = 4;

/// Bounds of the hits on a layer that hold for all samples.
#[derive(Clone, Debug)]
pub(super) struct LayerBounds {
    /// Largest magnitude of a word before a hit.
    pub before: f64,
    /// Of kernels, least and largest change of each word by all hits but the furthest one, two, …, with zero; (words, `SET_APART`).
    nearer: Vec<[[f64; 2]; SET_APART]>,
}

impl LayerBounds {
    pub fn new(layer: &StoredLayer, is_kernel: bool) -> Self {
        let nearer = |word: usize| {
            let mut nearer = [[0.0_f64; 2]; SET_APART];
            for (k, (_, hit)) in layer.furthest_first(word).enumerate() {
                for [low, high] in &mut nearer[..k.min(SET_APART)] {
                    (*low, *high) = (low.min(hit.moved()), high.max(hit.moved()));
                }
            }
            nearer
        };
        let words = 0..layer.words();
        let value = |word: usize| {
            let (bits, code) = layer.word(word);
            code.decode(bits).abs()
        };
        LayerBounds {
            before: words.clone().map(value).fold(0.0, f64::max),
            nearer: words.filter(|_| is_kernel).map(nearer).collect(),
        }
    }

    /// Least and largest change of a word of a kernel by all hits but so many of the furthest ones, with zero.
    fn ends(&self, layer: &StoredLayer, word: usize, apart: usize) -> [f64; 2] {
        apart.checked_sub(1).map_or_else(|| layer.ends(word), |k| self.nearer[word][k])
    }
}

/// The hits on a layer, with the values that its words meet.
pub(super) struct Met<'s> {
    /// Number of the layer in [`super::Memory::layers`].
    pub number: usize,
    pub layer: &'s StoredLayer,
    /// The input, and how far it may be off.
    pub x: &'s [f64],
    pub errors: &'s [f64],
    /// Largest input, and largest error of one.
    pub most: (f64, f64),
    /// The inputs less and plus their errors.
    ends: [Vec<f64>; 2],
    /// Inputs that are not known to be zero.
    moving: Vec<usize>,
    pub bounds: &'s LayerBounds,
}

impl<'s> Met<'s> {
    pub fn new(
        number: usize,
        layer: &'s StoredLayer,
        (x, errors): (&'s [f64], &'s [f64]),
        bounds: &'s LayerBounds,
    ) -> Self {
        let largest = |values: &[f64]| values.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let most = (largest(x), largest(errors));
        let ends = [-1.0, 1.0].map(|sign| x.iter().zip(errors).map(|(x, e)| x + sign * e).collect());
        let moving = (0..x.len()).filter(|&j| x[j] != 0.0 || errors[j] != 0.0).collect();
        Met { number, layer, x, errors, most, ends, moving, bounds }
    }

    /// How far a change `d` moves what its word is multiplied into, by an input `x` known up to `error`; and how far that may be off:
    /// the change is the difference of two values of at most `before + |d|`. It grows with `|d|`.
    pub fn moved(&self, d: f64, (x, error): (f64, f64)) -> (f64, f64) {
        if x == 0.0 && error == 0.0 {
            return (0.0, 0.0);
        }
        let value = self.bounds.before + d.abs();
        let off = d.abs() * error * (1.0 + 8.0 * UNIT)
            + 4.0 * UNIT * (value * (x.abs() + error) + (d * x).abs())
            + f64::MIN_POSITIVE;
        (d * x, off)
    }

    /// The words of a row of a dense layer that may move it: each with its least and largest change, and the input that it meets.
    pub fn of_row(&self, row: usize) -> impl Iterator<Item = (usize, [f64; 2], (f64, f64))> {
        let (layer, first) = (self.layer, row * self.layer.cols);
        let ends = [0, 1].map(|k| layer.weight_ends[k].row(row));
        let weight = move |&j: &usize| (first + j, ends.map(|ends| ends[j]), (self.x[j], self.errors[j]));
        let bias = self.words(row).nth(layer.cols).map(|word| (word, layer.ends(word), (1.0, 0.0)));
        self.moving.iter().map(weight).chain(bias)
    }

    /// Words of a row or channel: its weights, then its bias where it is stored.
    pub fn words(&self, row: usize) -> impl Iterator<Item = usize> + use<> {
        let (cols, weights) = (self.layer.cols, self.layer.rows * self.layer.cols);
        let bias = (self.layer.words() > weights).then_some(weights + row);
        (row * cols..(row + 1) * cols).chain(bias)
    }

    /// How far hits on the words of a row of a dense layer move it, with zero and rounded outward; `None` when they do not.
    pub fn extent(&self, row: usize) -> Option<(f64, f64)> {
        let ends = |k: usize| self.layer.weight_ends[k].row(row);
        let (mut least, mut furthest) = (0.0_f64, 0.0_f64);
        let mut see = |x: &[f64]| {
            let (below, above) = extent_of_products(x, ends(0), ends(1));
            (least, furthest) = (least.min(below), furthest.max(above));
        };
        if self.most.1 == 0.0 {
            see(self.x);
        } else {
            self.ends.iter().for_each(|x| see(x));
        }
        if let (Some(&low), Some(&high)) =
            (self.layer.bias_ends[0].get(row), self.layer.bias_ends[1].get(row))
        {
            (least, furthest) = (least.min(low), furthest.max(high));
        }
        if least == 0.0 && furthest == 0.0 && self.most.1 == 0.0 {
            return None;
        }
        // As `Met::moved` says; what the error of an input does is in the product already.
        let sizes = self.bounds.before * (self.most.0 + self.most.1 + 1.0);
        let off = |t: f64| 32.0 * UNIT * (t.abs() + sizes) + f64::MIN_POSITIVE;
        Some((least - off(least), furthest + off(furthest)))
    }
}

/// A group of channels of a convolution, with what their weights meet at each position: (columns, positions), zero in the padding.
pub(super) struct Kernels<'s> {
    pub met: &'s Met<'s>,
    pub positions: usize,
    x: Patches<f64>,
    errors: Patches<f64>,
}

impl<'s> Kernels<'s> {
    pub fn new(met: &'s Met<'s>, window: &Window, group: usize) -> Self {
        let [mut x, mut errors] = [Patches::default(), Patches::default()];
        x.unfold(window, group, met.x, Region::all(window));
        errors.unfold(window, group, met.errors, Region::all(window));
        Kernels { met, positions: window.positions(), x, errors }
    }

    /// What a word meets at each position, and how far that may be off.
    pub fn inputs(&self, word: usize) -> impl Iterator<Item = (f64, f64)> {
        let (_, column) = self.met.layer.place(word);
        let own = column.map_or(0..0, |j| j * self.positions..(j + 1) * self.positions);
        let of_bias = self.positions - own.len();
        let [x, errors] = [&self.x, &self.errors].map(|patches| &patches.as_slice()[own.clone()]);
        let weights = x.iter().copied().zip(errors.iter().copied());
        weights.chain(std::iter::repeat_n((1.0, 0.0), of_bias))
    }

    /// How far each element of a channel is moved, with zero, by any hit on one of its words but so many of the furthest ones.
    pub fn hull(&self, channel: usize, apart: usize) -> Vec<(f64, f64)> {
        let mut hull = vec![(0.0_f64, 0.0_f64); self.positions];
        for word in self.met.words(channel) {
            let ends = self.met.bounds.ends(self.met.layer, word, apart);
            for (input, own) in self.inputs(word).zip(&mut hull) {
                for (t, off) in ends.map(|d| self.met.moved(d, input)) {
                    *own = (own.0.min(t - off), own.1.max(t + off));
                }
            }
        }
        hull
    }
}
