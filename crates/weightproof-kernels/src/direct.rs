//! Direct convolutions of one image after the other: the channels of an output position are a vector, and a tile of positions
//! shares every load of weights. Images are padded first, so all positions have the same taps.
//!
//! ```text
//! p[o, at] = Σ_k w[o, k] z[first(at) + offset(k)]        k from the first to the last weight of a channel
//! ```
//! Sums go in the order of the weights, as in [`super::lanes`]: a result does not depend on how many images there are.

use super::conv::Plus;
use super::lanes::{SQUARE, pack, transposed_square};
use super::rows::vectorized;
use super::{Scalar, Window};
use pulp::bytemuck::{cast_slice, cast_slice_mut};
use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;

/// Channels of a tile.
const CHANNELS: usize = 16;
/// Those where few remain, or where more would not fit two registers.
const FEW_CHANNELS: usize = 8;
/// Positions whose sums are brought from channels into images together.
const STRIP: usize = 32;

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
    Arch::new().dispatch(Images { out, plus, z, weight, window });
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
    /// `is_few` says of how many channels at the end of a group a tile is one of few.
    fn new(weight: &[T], window: &Window, is_few: impl Fn(usize) -> bool) -> Self {
        let (group, patch) = (window.group_outputs(), window.patch());
        let mut tiles = Tiles { full: Vec::new(), few: Vec::new() };
        for end in (group..=window.channels).step_by(group) {
            let mut first = end - group;
            while first < end {
                let is_few = is_few(end - first);
                let channels = first..end.min(first + if is_few { FEW_CHANNELS } else { CHANNELS });
                first = channels.end;
                if is_few {
                    tiles.few.push(Tile::new(weight, channels, patch));
                } else {
                    tiles.full.push(Tile::new(weight, channels, patch));
                }
            }
        }
        tiles
    }
}

struct Images<'a, T> {
    out: &'a mut [T],
    plus: Plus<'a, T>,
    z: &'a [T],
    weight: &'a [T],
    window: &'a Window,
}

impl<T: Scalar> WithSimd for Images<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Images { out, plus, z, weight, window } = self;
        let register = size_of::<T::SimdVec<S>>() / size_of::<T>();
        let is_few =
            |channels: usize| 2 * register < CHANNELS || (register < CHANNELS && channels <= FEW_CHANNELS);
        let padded = Padded::new(window);
        let tiles = Tiles::new(weight, window, is_few);
        let mut image = (padded.size > window.input_width()).then(|| vec![T::zero(); padded.size]);
        for (z, out) in z.chunks_exact(window.input_width()).zip(out.chunks_exact_mut(window.output_width()))
        {
            let z = match &mut image {
                None => z,
                Some(image) => {
                    padded.copy(image, z);
                    image
                }
            };
            let image = Image { z, padded: &padded, plus };
            tiles.full.iter().for_each(|tile| image.convolve(simd, out, tile));
            tiles.few.iter().for_each(|tile| image.convolve(simd, out, tile));
        }
    }
}

/// A padded image.
struct Image<'a, T> {
    z: &'a [T],
    padded: &'a Padded<'a>,
    plus: Plus<'a, T>,
}

impl<T: Scalar> Image<'_, T> {
    /// The channels of a tile.
    #[inline(always)]
    fn convolve<S: Simd, const L: usize>(&self, simd: S, out: &mut [T], tile: &Tile<T, L>) {
        let (positions, window) = (self.padded.first.len(), self.padded.window);
        let group = tile.channels.start / window.group_outputs();
        let z = &self.z[group * window.group_inputs() * self.padded.plane..];
        let out = &mut out[tile.channels.start * positions..tile.channels.end * positions];
        let mut of_channels = [T::zero(); L];
        if let Plus::Bias(bias) = self.plus {
            of_channels[..tile.channels.len()].copy_from_slice(&bias[tile.channels.clone()]);
        }
        for start in (0..positions).step_by(STRIP) {
            let firsts = &self.padded.first[start..positions.min(start + STRIP)];
            let mut sums = [[T::zero(); L]; STRIP];
            if matches!(self.plus, Plus::Out) {
                for (l, out) in out.chunks_exact(positions).enumerate() {
                    for (sums, &out) in sums.iter_mut().zip(&out[start..start + firsts.len()]) {
                        sums[l] = out;
                    }
                }
            }
            // As many sums on their way as hide the time of one.
            let weights = &tile.weights;
            match L * size_of::<T>() / size_of::<T::SimdVec<S>>() {
                1 => self.padded.add_products::<S, T, L, 1, 8>(simd, &mut sums, z, firsts, weights),
                2 => self.padded.add_products::<S, T, L, 2, 4>(simd, &mut sums, z, firsts, weights),
                4 => self.padded.add_products::<S, T, L, 4, 2>(simd, &mut sums, z, firsts, weights),
                8 => self.padded.add_products::<S, T, L, 8, 1>(simd, &mut sums, z, firsts, weights),
                registers => unreachable!("a tile of {L} channels in {registers} registers"),
            }
            if matches!(self.plus, Plus::Bias(_)) {
                for sums in &mut sums[..firsts.len()] {
                    for l in 0..L {
                        sums[l] += of_channels[l];
                    }
                }
            }
            copy_channels(out, &sums[..firsts.len()], [start, positions]);
        }
    }
}

impl Padded<'_> {
    /// `sums[p] += Σ_k w[k] z[first(p) + offset(k)]`, `P` positions at a time, whose channels take `R` registers. The vectors are
    /// explicit: what a compiler makes of loops over numbers here depends on what becomes of the sums.
    #[inline(always)]
    fn add_products<S: Simd, T: Scalar, const L: usize, const R: usize, const P: usize>(
        &self,
        simd: S,
        sums: &mut [[T; L]; STRIP],
        z: &[T],
        firsts: &[usize],
        weights: &[[T; L]],
    ) {
        let simd = T::simd_ctx(simd);
        let sums = cast_slice_mut::<T, T::SimdVec<S>>(sums.as_flattened_mut()).as_chunks_mut::<R>().0;
        let weights = cast_slice::<T, T::SimdVec<S>>(weights.as_flattened()).as_chunks::<R>().0;
        for (sums, firsts) in sums.as_chunks_mut::<P>().0.iter_mut().zip(firsts.chunks(P)) {
            // Positions that do not exist read what the last one does, and are not copied out.
            let read: [&[T]; P] =
                std::array::from_fn(|p| &z[firsts[p.min(firsts.len() - 1)]..][..self.reach]);
            let mut own = *sums;
            for (w, &offset) in weights.iter().zip(&self.offsets) {
                for p in 0..P {
                    let z = T::simd_splat(&simd, &read[p][offset]);
                    for r in 0..R {
                        own[p][r] = T::simd_mul_add(&simd, z, w[r], own[p][r]);
                    }
                }
            }
            *sums = own;
        }
    }
}

/// Copies the sums of positions, by channel, into the planes of channels from position `start` on.
///
/// `lanes` transposes vectors into rows likewise, in another order: with that of either the other takes 10% to 20% more time.
#[inline(always)]
fn copy_channels<T: Scalar, const L: usize>(out: &mut [T], sums: &[[T; L]], [start, positions]: [usize; 2]) {
    let (squares, rest) = sums.as_chunks::<SQUARE>();
    for (k, square) in squares.iter().enumerate() {
        let mut planes = [[T::zero(); SQUARE]; L];
        transpose(&mut planes, square);
        for (plane, own) in out.chunks_exact_mut(positions).zip(&planes) {
            plane[start + k * SQUARE..][..SQUARE].copy_from_slice(own);
        }
    }
    for (p, sums) in rest.iter().enumerate() {
        for (plane, &sum) in out.chunks_exact_mut(positions).zip(sums) {
            plane[start + squares.len() * SQUARE + p] = sum;
        }
    }
}

/// `out` becomes the transposed of `from`, square by square.
#[inline(always)]
fn transpose<T: Scalar, const L: usize>(out: &mut [[T; SQUARE]; L], [a, b, c, d]: &[[T; L]; SQUARE]) {
    for l in (0..L).step_by(SQUARE) {
        let part = |of: &[T; L]| [of[l], of[l + 1], of[l + 2], of[l + 3]];
        let square = transposed_square([part(a), part(b), part(c), part(d)]);
        out[l..l + SQUARE].copy_from_slice(&square);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Matrix;
    use crate::conv::tests::{wave, windows};
    use crate::definition::affine_map;
    use pulp::{Scalar128b, Scalar256b, Scalar512b};

    /// Registers of every width, whatever this machine has.
    #[test]
    fn registers_of_every_width_match_the_definition() {
        fn check<T: Scalar, S: Simd>(simd: S, tolerance: f64) {
            for window in windows().iter().filter(|window| suits(window)) {
                let weight = wave(window.channels, window.patch(), 0.3);
                let bias: Vec<f64> = (0..window.channels).map(|o| o as f64 / 8.0).collect();
                let (z, rows) = (wave(2, window.input_width(), 0.9), 2);
                let cast = |numbers: &[f64]| numbers.iter().map(|&v| T::from_f64(v)).collect::<Vec<T>>();
                let (weights, biases, images) = (cast(weight.as_slice()), cast(&bias), cast(z.as_slice()));
                let mut out = vec![T::zero(); rows * window.output_width()];
                let images =
                    Images { out: &mut out, plus: Plus::Bias(&biases), z: &images, weight: &weights, window };
                images.with_simd(simd);
                let out = Matrix::from_vec(rows, window.output_width(), out);
                for s in 0..rows {
                    let expected = affine_map(&weight, &bias, Some(window), z.row(s));
                    for (found, expected) in out.row(s).iter().zip(expected) {
                        assert!((Scalar::to_f64(*found) - expected).abs() < tolerance, "{window:?}");
                    }
                }
            }
        }
        check::<f32, _>(pulp::Scalar, 1e-5);
        check::<f32, _>(Scalar128b, 1e-5);
        check::<f32, _>(Scalar256b, 1e-5);
        check::<f32, _>(Scalar512b, 1e-5);
        check::<f64, _>(pulp::Scalar, 1e-12);
        check::<f64, _>(Scalar128b, 1e-12);
        check::<f64, _>(Scalar256b, 1e-12);
        check::<f64, _>(Scalar512b, 1e-12);
    }
}
