//! Convolutions of several rows at once: element j of `L` rows is one vector, so that strides, dilation, padding and groups
//! only choose which vectors meet, and no patches are laid out.
//!
//! ```text
//! forward      p[o, at] = Σ_tap w[o, tap] z[source(at, tap)]            a tile of R channels at a time
//! transposed   z[source(at, tap)] += Σ_o w[o, tap] a[o, at]             positions without coefficients cost nothing
//! ```

use super::product::count;
use super::{Matrix, Scalar, Window};
use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;

/// Rows of a full vector: two registers of eight single precision numbers.
const ROWS: usize = 16;
/// Rows of a vector for the few that remain.
const FEW_ROWS: usize = 8;
/// Channels that share one load of an element: with two registers each, half of the sixteen that common processors have.
const CHANNELS: usize = 4;
/// Elements of a row that are copied together, few enough for the cache that is nearest.
const STRIP: usize = 64;

/// A convolution of rows, forward or transposed.
pub(super) struct Convolution<'a, T> {
    pub(super) out: &'a mut Matrix<T>,
    pub(super) from: &'a Matrix<T>,
    pub(super) weight: &'a Matrix<T>,
    pub(super) window: &'a Window,
    /// `out += Wᵀ from` instead of `out = W from`.
    pub(super) transposed: bool,
}

impl<T: Scalar> Convolution<'_, T> {
    /// Runs it; `out` has its shape.
    pub(super) fn run(mut self) {
        let rows = self.from.rows();
        count(rows * self.window.output_width() * self.window.patch());
        let full = if rows % ROWS > FEW_ROWS { rows } else { rows - rows % ROWS };
        if self.window.group_outputs() == 1 {
            self.vectors::<ROWS, 1>(0..full);
            self.vectors::<FEW_ROWS, 1>(full..rows);
        } else {
            self.vectors::<ROWS, CHANNELS>(0..full);
            self.vectors::<FEW_ROWS, CHANNELS>(full..rows);
        }
    }

    fn vectors<const L: usize, const R: usize>(&mut self, rows: Range<usize>) {
        if rows.is_empty() {
            return;
        }
        let (window, tiles) = (self.window, &Tiles::<T, R>::new(self.weight, self.window));
        let mut from = vec![[T::zero(); L]; self.from.cols()];
        let mut out = vec![[T::zero(); L]; self.out.cols()];
        for first in rows.clone().step_by(L) {
            let rows = first..rows.end.min(first + L);
            pack(&mut from, self.from, rows.clone());
            if self.transposed {
                pack(&mut out, self.out, rows.clone());
                Arch::new().dispatch(Transposed { out: &mut out, a: &from, tiles, window });
            } else {
                Arch::new().dispatch(Forward { out: &mut out, z: &from, tiles, window });
            }
            unpack(self.out, &out, rows);
        }
    }
}

/// Weights in tiles of `R` channels of a group, zero beyond its last channel.
struct Tiles<T, const R: usize> {
    /// (tiles, patch).
    weights: Vec<[T; R]>,
    /// The channels of each tile.
    channels: Vec<Range<usize>>,
}

impl<T: Scalar, const R: usize> Tiles<T, R> {
    fn new(weight: &Matrix<T>, window: &Window) -> Self {
        let group = window.group_outputs();
        let of_group = |g: usize| {
            let end = (g + 1) * group;
            (g * group..end).step_by(R).map(move |first| first..end.min(first + R))
        };
        let channels: Vec<Range<usize>> = (0..window.groups).flat_map(of_group).collect();
        let tile = |range: &Range<usize>| {
            let range = range.clone();
            (0..weight.cols()).map(move |k| {
                std::array::from_fn(|r| {
                    if range.start + r < range.end { weight[(range.start + r, k)] } else { T::zero() }
                })
            })
        };
        Tiles { weights: channels.iter().flat_map(tile).collect(), channels }
    }
}

/// Transposes rows into vectors; rows that are missing are zero.
fn pack<T: Scalar, const L: usize>(out: &mut [[T; L]], from: &Matrix<T>, rows: Range<usize>) {
    for (strip, out) in out.chunks_mut(STRIP).enumerate() {
        for l in 0..L {
            if rows.start + l < rows.end {
                let values = &from.row(rows.start + l)[strip * STRIP..strip * STRIP + out.len()];
                out.iter_mut().zip(values).for_each(|(out, &v)| out[l] = v);
            } else {
                out.iter_mut().for_each(|out| out[l] = T::zero());
            }
        }
    }
}

/// Transposes vectors into rows.
fn unpack<T: Scalar, const L: usize>(out: &mut Matrix<T>, from: &[[T; L]], rows: Range<usize>) {
    for (strip, from) in from.chunks(STRIP).enumerate() {
        for (l, row) in rows.clone().enumerate() {
            let values = &mut out.row_mut(row)[strip * STRIP..strip * STRIP + from.len()];
            values.iter_mut().zip(from).for_each(|(v, from)| *v = from[l]);
        }
    }
}

/// The taps of one output position that read inside of the image.
struct Taps<'w> {
    window: &'w Window,
    /// The first input channel.
    channel: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    top: usize,
    left: usize,
}

impl<'w> Taps<'w> {
    #[inline(always)]
    fn new(window: &'w Window, group: usize, y: usize, x: usize) -> Self {
        let (rows, columns) = (window.taps_inside(0, y), window.taps_inside(1, x));
        let first = |axis: usize, at: usize, taps: &Range<usize>| {
            (at * window.stride[axis] + taps.start * window.dilation[axis])
                .saturating_sub(window.padding[axis][0])
        };
        let (top, left) = (first(0, y, &rows), first(1, x, &columns));
        Taps { window, channel: group * window.group_inputs(), rows, columns, top, left }
    }

    /// The first element and the first weight of the taps of input channel `c` of the group in kernel row `ky`.
    #[inline(always)]
    fn start(&self, c: usize, ky: usize) -> (usize, usize) {
        let window = self.window;
        let row = self.top + (ky - self.rows.start) * window.dilation[0];
        let element = ((self.channel + c) * window.input[1] + row) * window.input[2] + self.left;
        (element, (c * window.kernel[0] + ky) * window.kernel[1] + self.columns.start)
    }
}

/// `a b + c` for one vector: fused where the machine has the instruction.
#[inline(always)]
fn add_product<S: Simd, T: Scalar, const L: usize>(sum: &mut [T; L], w: T, z: &[T; L]) {
    for l in 0..L {
        sum[l] = if S::IS_SCALAR { sum[l] + w * z[l] } else { w.mul_add(z[l], sum[l]) };
    }
}

struct Forward<'a, T, const L: usize, const R: usize> {
    out: &'a mut [[T; L]],
    z: &'a [[T; L]],
    tiles: &'a Tiles<T, R>,
    window: &'a Window,
}

impl<T: Scalar, const L: usize, const R: usize> WithSimd for Forward<'_, T, L, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { out, z, tiles, window } = self;
        let (height, width, dilation) = (window.extent(0), window.extent(1), window.dilation[1]);
        for (channels, weights) in tiles.channels.iter().zip(tiles.weights.chunks_exact(window.patch())) {
            let group = channels.start / window.group_outputs();
            for y in 0..height {
                for x in 0..width {
                    let taps = Taps::new(window, group, y, x);
                    let count = taps.columns.len();
                    let mut sums = [[T::zero(); L]; R];
                    for c in 0..window.group_inputs() {
                        for ky in taps.rows.clone() {
                            let (element, weight) = taps.start(c, ky);
                            for k in 0..count {
                                let (w, z) = (&weights[weight + k], &z[element + k * dilation]);
                                for r in 0..R {
                                    add_product::<S, T, L>(&mut sums[r], w[r], z);
                                }
                            }
                        }
                    }
                    for r in 0..channels.len() {
                        out[((channels.start + r) * height + y) * width + x] = sums[r];
                    }
                }
            }
        }
    }
}

struct Transposed<'a, T, const L: usize, const R: usize> {
    out: &'a mut [[T; L]],
    a: &'a [[T; L]],
    tiles: &'a Tiles<T, R>,
    window: &'a Window,
}

impl<T: Scalar, const L: usize, const R: usize> WithSimd for Transposed<'_, T, L, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { out, a, tiles, window } = self;
        let (height, width, dilation) = (window.extent(0), window.extent(1), window.dilation[1]);
        for (channels, weights) in tiles.channels.iter().zip(tiles.weights.chunks_exact(window.patch())) {
            let group = channels.start / window.group_outputs();
            for y in 0..height {
                for x in 0..width {
                    let mut coefficients = [[T::zero(); L]; R];
                    let mut zero = true;
                    for r in 0..channels.len() {
                        coefficients[r] = a[((channels.start + r) * height + y) * width + x];
                        for l in 0..L {
                            zero &= coefficients[r][l] == T::zero();
                        }
                    }
                    if zero {
                        continue;
                    }
                    let taps = Taps::new(window, group, y, x);
                    let count = taps.columns.len();
                    for c in 0..window.group_inputs() {
                        for ky in taps.rows.clone() {
                            let (element, weight) = taps.start(c, ky);
                            for k in 0..count {
                                let (w, out) = (&weights[weight + k], &mut out[element + k * dilation]);
                                for r in 0..R {
                                    add_product::<S, T, L>(out, w[r], &coefficients[r]);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
