//! Convolutions of several rows at once: element j of `L` rows is one vector, so that strides, dilation, padding and groups
//! only choose which vectors meet, and no patches are laid out.
//!
//! ```text
//! forward      p[o, at] = Σ_tap w[o, tap] z[source(at, tap)]            a tile of R channels at a time
//! transposed   z[source(at, tap)] += Σ_o w[o, tap] a[o, at]             positions without coefficients cost nothing
//! ```

use super::product::count;
use super::rows::vectorized;
use super::{Scalar, Window};
use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;

/// Rows of a full vector: two registers of eight single precision numbers.
const ROWS: usize = 16;
/// Rows of a vector for the few that remain.
const FEW_ROWS: usize = 8;
/// Channels that share one load of an element: with two registers each, twelve of the sixteen that common processors have.
const CHANNELS: usize = 6;
/// Elements of a row that are copied together.
const STRIP: usize = 64;
/// Side of the squares that are transposed in registers.
pub(super) const SQUARE: usize = 4;

/// A convolution of rows, forward or transposed, on row-major numbers.
pub(super) struct Convolution<'a, T> {
    pub(super) out: &'a mut [T],
    pub(super) from: &'a [T],
    pub(super) weight: &'a [T],
    pub(super) window: &'a Window,
    pub(super) direction: Direction,
}

/// What a [`Convolution`] computes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// `out = W from`
    Forward,
    /// `out += W from`
    AddForward,
    /// `out += Wᵀ from`
    AddTransposed,
}

impl<T: Scalar> Convolution<'_, T> {
    /// Runs it; `out` has its shape.
    pub(super) fn run(mut self) {
        let (input, output) = (self.window.input_width(), self.window.output_width());
        let (from, out) =
            if self.direction == Direction::AddTransposed { (output, input) } else { (input, output) };
        let rows = self.from.len() / from;
        assert_eq!(self.out.len(), rows * out, "rows of a convolution");
        count(rows * output * self.window.patch());
        let full = if rows % ROWS > FEW_ROWS { rows } else { rows - rows % ROWS };
        if self.window.group_outputs() == 1 {
            self.vectors::<ROWS, 1>(0..full, [from, out]);
            self.vectors::<FEW_ROWS, 1>(full..rows, [from, out]);
        } else {
            self.vectors::<ROWS, CHANNELS>(0..full, [from, out]);
            self.vectors::<FEW_ROWS, CHANNELS>(full..rows, [from, out]);
        }
    }

    fn vectors<const L: usize, const R: usize>(&mut self, rows: Range<usize>, widths: [usize; 2]) {
        if rows.is_empty() {
            return;
        }
        let vectors = &Vectors::<T, R>::new(self.weight, self.window);
        let [mut from, mut out] = widths.map(|width| vec![[T::zero(); L]; width]);
        for first in rows.clone().step_by(L) {
            let rows = first..rows.end.min(first + L);
            vectorized!(|| pack(&mut from, self.from, rows.clone()));
            if self.direction != Direction::Forward {
                vectorized!(|| pack(&mut out, self.out, rows.clone()));
            }
            if self.direction == Direction::AddTransposed {
                Arch::new().dispatch(Transposed { out: &mut out, a: &from, vectors });
            } else {
                let add = self.direction == Direction::AddForward;
                Arch::new().dispatch(Forward { out: &mut out, z: &from, vectors, add });
            }
            vectorized!(|| unpack(self.out, &out, rows));
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
    fn new(weight: &[T], window: &Window) -> Self {
        let (group, patch) = (window.group_outputs(), window.patch());
        let of_group = |g: usize| {
            let end = (g + 1) * group;
            (g * group..end).step_by(R).map(move |first| first..end.min(first + R))
        };
        let channels: Vec<Range<usize>> = (0..window.groups).flat_map(of_group).collect();
        let tile = |range: &Range<usize>| {
            let range = range.clone();
            (0..patch).map(move |k| {
                std::array::from_fn(|r| {
                    if range.start + r < range.end {
                        weight[(range.start + r) * patch + k]
                    } else {
                        T::zero()
                    }
                })
            })
        };
        Tiles { weights: channels.iter().flat_map(tile).collect(), channels }
    }
}

/// The transposed of a square, written out so that the compiler sees shuffles of registers.
#[inline(always)]
pub(super) fn transposed_square<T: Scalar>([a, b, c, d]: [[T; SQUARE]; SQUARE]) -> [[T; SQUARE]; SQUARE] {
    [[a[0], b[0], c[0], d[0]], [a[1], b[1], c[1], d[1]], [a[2], b[2], c[2], d[2]], [a[3], b[3], c[3], d[3]]]
}

/// Transposes rows into vectors; rows that are missing are zero.
#[inline(always)]
pub(super) fn pack<T: Scalar, const L: usize>(out: &mut [[T; L]], from: &[T], rows: Range<usize>) {
    let (missing, width) = ([T::zero(); SQUARE], out.len());
    for (k, out) in out.chunks_mut(STRIP).enumerate() {
        for first in (0..L).step_by(SQUARE) {
            let row = |l: usize| {
                let row = rows.start + first + l;
                if row < rows.end { &from[row * width + k * STRIP..][..out.len()] } else { &[] }
            };
            let rows = [row(0), row(1), row(2), row(3)];
            let (squares, rest) = out.as_chunks_mut::<SQUARE>();
            for (j, square) in squares.iter_mut().enumerate() {
                let part = |row: &[T]| row.as_chunks().0.get(j).copied().unwrap_or(missing);
                let columns = transposed_square([part(rows[0]), part(rows[1]), part(rows[2]), part(rows[3])]);
                for (out, column) in square.iter_mut().zip(columns) {
                    out[first..first + SQUARE].copy_from_slice(&column);
                }
            }
            let done = squares.len() * SQUARE;
            for (j, out) in rest.iter_mut().enumerate() {
                for l in 0..SQUARE {
                    out[first + l] = rows[l].get(done + j).copied().unwrap_or(T::zero());
                }
            }
        }
    }
}

/// Transposes vectors into rows.
#[inline(always)]
fn unpack<T: Scalar, const L: usize>(out: &mut [T], from: &[[T; L]], rows: Range<usize>) {
    let width = from.len();
    for (k, from) in from.chunks(STRIP).enumerate() {
        for first in rows.clone().step_by(SQUARE) {
            let l = first - rows.start;
            let (squares, rest) = from.as_chunks::<SQUARE>();
            for (j, square) in squares.iter().enumerate() {
                let part = |v: &[T; L]| [v[l], v[l + 1], v[l + 2], v[l + 3]];
                let columns = transposed_square([
                    part(&square[0]),
                    part(&square[1]),
                    part(&square[2]),
                    part(&square[3]),
                ]);
                for (row, column) in (first..rows.end).zip(columns) {
                    out[row * width + k * STRIP + j * SQUARE..][..SQUARE].copy_from_slice(&column);
                }
            }
            let done = k * STRIP + squares.len() * SQUARE;
            for (j, from) in rest.iter().enumerate() {
                for row in first..rows.end.min(first + SQUARE) {
                    out[row * width + done + j] = from[row - rows.start];
                }
            }
        }
    }
}

/// What the output positions of a window read along one axis: the taps inside of the image, and the coordinate of the first.
struct Axis {
    taps: Vec<(Range<usize>, usize)>,
}

impl Axis {
    fn new(window: &Window, axis: usize) -> Self {
        let at = |at: usize| {
            let taps = window.taps_inside(axis, at);
            let first = at * window.stride[axis] + taps.start * window.dilation[axis];
            (taps, first.saturating_sub(window.padding[axis][0]))
        };
        Axis { taps: (0..window.extent(axis)).map(at).collect() }
    }
}

/// `sum += w v` for one vector: fused where the machine has the instruction.
#[inline(always)]
pub(super) fn add_product<S: Simd, T: Scalar, const L: usize>(sum: &mut [T; L], w: T, v: &[T; L]) {
    for l in 0..L {
        sum[l] = if S::IS_SCALAR { sum[l] + w * v[l] } else { w.mul_add(v[l], sum[l]) };
    }
}

/// A convolution of vectors, with tiles of `R` channels.
struct Vectors<'a, T, const R: usize> {
    tiles: Tiles<T, R>,
    window: &'a Window,
    rows: Axis,
    columns: Axis,
}

impl<'a, T: Scalar, const R: usize> Vectors<'a, T, R> {
    fn new(weight: &[T], window: &'a Window) -> Self {
        let axis = |axis| Axis::new(window, axis);
        Vectors { tiles: Tiles::new(weight, window), window, rows: axis(0), columns: axis(1) }
    }

    /// `f(position, channels, weights, taps)` for every output position and tile.
    #[inline(always)]
    fn each_position(&self, mut f: impl FnMut(usize, &Range<usize>, &[[T; R]], Runs<'_>)) {
        let window = self.window;
        let tiles = self.tiles.channels.iter().zip(self.tiles.weights.chunks_exact(window.patch()));
        for (channels, weights) in tiles {
            let group = channels.start / window.group_outputs();
            for (y, (rows, top)) in self.rows.taps.iter().enumerate() {
                for (x, (columns, left)) in self.columns.taps.iter().enumerate() {
                    let position = y * self.columns.taps.len() + x;
                    f(
                        position,
                        channels,
                        weights,
                        Runs { window, group, rows, columns, top: *top, left: *left },
                    );
                }
            }
        }
    }
}

/// The taps of one output position that read inside of the image, in runs along the width.
struct Runs<'a> {
    window: &'a Window,
    group: usize,
    rows: &'a Range<usize>,
    columns: &'a Range<usize>,
    top: usize,
    left: usize,
}

impl Runs<'_> {
    /// `f(element, weights)` for every run: its first element and its weights, whose elements are a dilation apart.
    #[inline(always)]
    fn each<'w, W>(&self, weights: &'w [W], mut f: impl FnMut(usize, &'w [W])) {
        let window = self.window;
        let [_, height, width] = window.input;
        if self.columns.is_empty() {
            return;
        }
        for c in 0..window.group_inputs() {
            let channel = self.group * window.group_inputs() + c;
            let mut element = (channel * height + self.top) * width + self.left;
            let mut weight = (c * window.kernel[0] + self.rows.start) * window.kernel[1];
            for _ in self.rows.clone() {
                f(element, &weights[weight + self.columns.start..weight + self.columns.end]);
                element += window.dilation[0] * width;
                weight += window.kernel[1];
            }
        }
    }
}

struct Forward<'a, T, const L: usize, const R: usize> {
    out: &'a mut [[T; L]],
    z: &'a [[T; L]],
    vectors: &'a Vectors<'a, T, R>,
    /// Instead of replacing `out`.
    add: bool,
}

impl<T: Scalar, const L: usize, const R: usize> WithSimd for Forward<'_, T, L, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { out, z, vectors, add } = self;
        let (positions, dilation) = (vectors.window.positions(), vectors.window.dilation[1]);
        vectors.each_position(
            #[inline(always)]
            |position, channels, weights, runs| {
                let mut sums = [[T::zero(); L]; R];
                if add {
                    for r in 0..channels.len() {
                        sums[r] = out[(channels.start + r) * positions + position];
                    }
                }
                runs.each(
                    weights,
                    #[inline(always)]
                    |element, weights| {
                        for (w, z) in weights.iter().zip(z[element..].iter().step_by(dilation)) {
                            for r in 0..R {
                                add_product::<S, T, L>(&mut sums[r], w[r], z);
                            }
                        }
                    },
                );
                for r in 0..channels.len() {
                    out[(channels.start + r) * positions + position] = sums[r];
                }
            },
        );
    }
}

struct Transposed<'a, T, const L: usize, const R: usize> {
    out: &'a mut [[T; L]],
    a: &'a [[T; L]],
    vectors: &'a Vectors<'a, T, R>,
}

impl<T: Scalar, const L: usize, const R: usize> WithSimd for Transposed<'_, T, L, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { out, a, vectors } = self;
        let (positions, dilation) = (vectors.window.positions(), vectors.window.dilation[1]);
        vectors.each_position(
            #[inline(always)]
            |position, channels, weights, runs| {
                let mut coefficients = [[T::zero(); L]; R];
                for r in 0..channels.len() {
                    coefficients[r] = a[(channels.start + r) * positions + position];
                }
                if coefficients.iter().flatten().all(|a| *a == T::zero()) {
                    return;
                }
                runs.each(
                    weights,
                    #[inline(always)]
                    |element, weights| {
                        for (k, w) in weights.iter().enumerate() {
                            let out = &mut out[element + k * dilation];
                            let mut sum = *out;
                            for r in 0..R {
                                add_product::<S, T, L>(&mut sum, w[r], &coefficients[r]);
                            }
                            *out = sum;
                        }
                    },
                );
            },
        );
    }
}
