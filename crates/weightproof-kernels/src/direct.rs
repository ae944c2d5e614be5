//! Direct convolutions of one image after the other: the channels of an output position are a vector, and a tile of positions
//! shares every load of weights. Images are padded first, so all positions have the same taps.
//!
//! ```text
//! p[o, at] = Σ_k w[o, k] z[first(at) + offset(k)]        k from the first to the last weight of a channel
//! ```
//! Sums go in the order of the weights, as in [`super::lanes`]: a result does not depend on how many images there are.

use super::conv::Plus;
use super::lanes::{SQUARE, add_product, pack, transposed_square};
use super::rows::vectorized;
use super::{Scalar, Window};
use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;

/// Channels of a full vector.
const CHANNELS: usize = 16;
/// Channels of a vector where few remain.
const FEW_CHANNELS: usize = 8;
/// Positions of a tile where a vector takes one register, so that enough sums are on their way.
const POSITIONS: usize = 8;
/// Positions where it takes two.
const FEW_POSITIONS: usize = 4;

/// Elements of a row that are copied together.
const PART: usize = 8;

/// How many times as large as an image the padded one may be: files may ask for any padding.
const MOST_PADDING: usize = 16;

/// Whether the channels of a group fill a vector, and an image can be padded.
pub(super) fn suits(window: &Window) -> bool {
    let plane = window.padded(0).zip(window.padded(1)).and_then(|(height, width)| height.checked_mul(width));
    window.group_outputs() > FEW_CHANNELS / 2
        && plane.is_some_and(|plane| plane / MOST_PADDING <= window.plane())
}

/// `out = W z` for rows of images, with what is added.
///
/// # Shapes
/// `z`: rows of the input width, `weight`: (channels, patch), `out`: rows of the output width.
pub(super) fn convolution<T: Scalar>(
    out: &mut [T],
    plus: Plus<'_, T>,
    z: &[T],
    weight: &[T],
    window: &Window,
) {
    let padded = Padded::new(window);
    let tiles = Tiles::new(weight, window);
    let mut image = (padded.size > window.input_width()).then(|| vec![T::zero(); padded.size]);
    for (z, out) in z.chunks_exact(window.input_width()).zip(out.chunks_exact_mut(window.output_width())) {
        let z = match &mut image {
            None => z,
            Some(image) => {
                vectorized!(|| padded.copy(image, z));
                image
            }
        };
        Arch::new().dispatch(Image { out, z, padded: &padded, tiles: &tiles, plus });
    }
}

/// An image with its padding.
struct Padded<'a> {
    window: &'a Window,
    /// Elements of a row and of a channel.
    row: usize,
    plane: usize,
    size: usize,
    /// The first element that each output position reads.
    first: Vec<usize>,
    /// How far from it the taps of a group of channels read, and one past the largest.
    offsets: Vec<usize>,
    reach: usize,
}

impl<'a> Padded<'a> {
    fn new(window: &'a Window) -> Self {
        let side = |axis: usize| window.padded(axis).expect("a window that suits");
        let (row, plane) = (side(1), side(0) * side(1));
        let mut first = Vec::with_capacity(window.positions());
        for y in 0..window.extent(0) {
            first.extend((0..window.extent(1)).map(|x| y * window.stride[0] * row + x * window.stride[1]));
        }
        let mut offsets = Vec::with_capacity(window.patch());
        for c in 0..window.group_inputs() {
            for y in 0..window.kernel[0] {
                let start = c * plane + y * window.dilation[0] * row;
                offsets.extend((0..window.kernel[1]).map(|x| start + x * window.dilation[1]));
            }
        }
        let reach = offsets.last().map_or(0, |last| last + 1);
        Padded { window, row, plane, size: window.input[0] * plane, first, offsets, reach }
    }

    /// Lays `z` into an image whose padding is zero.
    #[inline(always)]
    fn copy<T: Scalar>(&self, image: &mut [T], z: &[T]) {
        let [_, height, width] = self.window.input;
        let start = self.window.padding[0][0] * self.row + self.window.padding[1][0];
        for (image, z) in image.chunks_exact_mut(self.plane).zip(z.chunks_exact(height * width)) {
            for (image, z) in image[start..].chunks_mut(self.row).zip(z.chunks_exact(width)) {
                // Rows are short: a copy of a length that is not known would be a call.
                let (parts, rest) = z.as_chunks::<PART>();
                let (images, images_rest) = image[..width].as_chunks_mut::<PART>();
                for (image, z) in images.iter_mut().zip(parts) {
                    *image = *z;
                }
                for (image, &z) in images_rest.iter_mut().zip(rest) {
                    *image = z;
                }
            }
        }
    }
}

/// Channels of one group with their weights.
struct Tile<T, const L: usize> {
    channels: Range<usize>,
    /// One vector for each weight of a channel, zero beyond the last channel.
    weights: Vec<[T; L]>,
}

impl<T: Scalar, const L: usize> Tile<T, L> {
    fn new(weight: &[T], channels: Range<usize>, patch: usize) -> Self {
        let mut weights = vec![[T::zero(); L]; patch];
        vectorized!(|| pack(&mut weights, weight, channels.clone()));
        Tile { channels, weights }
    }
}

struct Tiles<T> {
    full: Vec<Tile<T, CHANNELS>>,
    few: Vec<Tile<T, FEW_CHANNELS>>,
}

impl<T: Scalar> Tiles<T> {
    fn new(weight: &[T], window: &Window) -> Self {
        let (group, patch) = (window.group_outputs(), window.patch());
        let mut tiles = Tiles { full: Vec::new(), few: Vec::new() };
        for end in (group..=window.channels).step_by(group) {
            let mut first = end - group;
            while first < end {
                if end - first > FEW_CHANNELS {
                    let channels = first..end.min(first + CHANNELS);
                    first = channels.end;
                    tiles.full.push(Tile::new(weight, channels, patch));
                } else {
                    tiles.few.push(Tile::new(weight, first..end, patch));
                    first = end;
                }
            }
        }
        tiles
    }
}

struct Image<'a, T> {
    out: &'a mut [T],
    z: &'a [T],
    padded: &'a Padded<'a>,
    tiles: &'a Tiles<T>,
    plus: Plus<'a, T>,
}

impl<T: Scalar> Image<'_, T> {
    /// Tiles of `P` positions by the channels of each tile; the last tile of positions goes back where it would be short.
    #[inline(always)]
    fn convolve<S: Simd, const L: usize, const P: usize>(&mut self, tiles: &[Tile<T, L>]) {
        let (window, positions) = (self.padded.window, self.padded.first.len());
        let step = window.group_inputs() * self.padded.plane;
        for tile in tiles {
            let z = &self.z[tile.channels.start / window.group_outputs() * step..];
            let out = &mut self.out[tile.channels.start * positions..tile.channels.end * positions];
            let plus = match self.plus {
                Plus::Bias(bias) => Plus::Bias(&bias[tile.channels.clone()]),
                Plus::Nothing | Plus::Out => self.plus,
            };
            let mut done = 0;
            while done < positions {
                let start = done.min(positions.saturating_sub(P));
                self.padded.tile::<S, T, L, P>(out, z, &tile.weights, start..done, plus);
                done = start + P;
            }
        }
    }
}

impl<T: Scalar> WithSimd for Image<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        let tiles = self.tiles;
        if size_of::<S::f32s>() >= CHANNELS * size_of::<T>() {
            self.convolve::<S, CHANNELS, POSITIONS>(&tiles.full);
            self.convolve::<S, FEW_CHANNELS, POSITIONS>(&tiles.few);
        } else if size_of::<S::f32s>() >= FEW_CHANNELS * size_of::<T>() {
            self.convolve::<S, CHANNELS, FEW_POSITIONS>(&tiles.full);
            self.convolve::<S, FEW_CHANNELS, POSITIONS>(&tiles.few);
        } else {
            self.convolve::<S, CHANNELS, FEW_POSITIONS>(&tiles.full);
            self.convolve::<S, FEW_CHANNELS, FEW_POSITIONS>(&tiles.few);
        }
    }
}

impl Padded<'_> {
    /// Positions from `done.start` on, of which those in `done` and those that do not exist are not written.
    #[inline(always)]
    fn tile<S: Simd, T: Scalar, const L: usize, const P: usize>(
        &self,
        out: &mut [T],
        z: &[T],
        weights: &[[T; L]],
        done: Range<usize>,
        plus: Plus<'_, T>,
    ) {
        let start = done.start;
        let positions = self.first.len();
        let mut read = [&z[..self.reach]; P];
        for p in 0..P {
            read[p] = &z[self.first[(start + p).min(positions - 1)]..][..self.reach];
        }
        let fresh = done.len()..P.min(positions - start);
        // By channel in memory, by position in registers.
        let mut planes = [[T::zero(); P]; L];
        if matches!(plus, Plus::Out) {
            for (plane, out) in planes.iter_mut().zip(out.chunks_exact(positions)) {
                plane[fresh.clone()].copy_from_slice(&out[start..][fresh.clone()]);
            }
        }
        let mut before = [[T::zero(); L]; P];
        transpose(&mut before, &planes);
        // Its address is never taken, so that it stays in registers.
        let mut sums = before;
        for (w, &offset) in weights.iter().zip(&self.offsets) {
            for p in 0..P {
                add_product::<S, T, L>(&mut sums[p], read[p][offset], w);
            }
        }
        let after = sums;
        transpose(&mut planes, &after);
        if let Plus::Bias(bias) = plus {
            for (plane, &b) in planes.iter_mut().zip(bias) {
                for p in 0..P {
                    plane[p] += b;
                }
            }
        }
        let outs = planes.iter().zip(out.chunks_exact_mut(positions));
        if fresh.len() == P {
            for (plane, out) in outs {
                out[start..start + P].copy_from_slice(plane);
            }
        } else {
            for (plane, out) in outs {
                out[start..][fresh.clone()].copy_from_slice(&plane[fresh.clone()]);
            }
        }
    }
}

/// `out` becomes the transposed of `from`, square by square.
#[inline(always)]
fn transpose<T: Scalar, const M: usize, const N: usize>(out: &mut [[T; M]; N], from: &[[T; N]; M]) {
    for m in (0..M).step_by(SQUARE) {
        for n in (0..N).step_by(SQUARE) {
            let mut square = [[T::zero(); SQUARE]; SQUARE];
            for k in 0..SQUARE {
                square[k].copy_from_slice(&from[m + k][n..n + SQUARE]);
            }
            let square = transposed_square(square);
            for k in 0..SQUARE {
                out[n + k][m..m + SQUARE].copy_from_slice(&square[k]);
            }
        }
    }
}
