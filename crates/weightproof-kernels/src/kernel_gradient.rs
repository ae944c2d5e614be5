//! Gradients with respect to kernels that all rows share, sixteen rows at once as in [`super::lanes`].
//!
//! ```text
//! G[o, tap] += Σ over rows and positions of g[o, at] z[source(at, tap)]        a tile of channels and taps at a time
//! ```
//! Images are padded with zeros, so that every tap reads an element at every position.

use super::lanes::{add_product, pack};
use super::product::count;
use super::rows::{sum, vectorized};
use super::{Scalar, Window};
use pulp::{Arch, Simd, WithSimd};

/// Rows of a vector.
const ROWS: usize = 16;

/// Adds the gradient of `Σ g∘p` with respect to the kernels, where `p` are the convolutions of rows `z`.
///
/// # Shapes
/// `gradient`: (channels, patch), `g`: (rows, channels × positions), `z`: (rows, input width).
pub fn add_kernel_gradient<T: Scalar>(gradient: &mut [T], g: &[T], z: &[T], window: &Window) {
    T::add_kernel_gradient(gradient, g, z, window);
}

pub(crate) fn add_kernel_gradient_generic<T: Scalar>(gradient: &mut [T], g: &[T], z: &[T], window: &Window) {
    let rows = g.len() / window.output_width();
    count(rows * window.output_width() * window.patch());
    let padding = Padding::new(window);
    let mut packed_g = vec![[T::zero(); ROWS]; window.output_width()];
    let mut packed_z = vec![[T::zero(); ROWS]; window.input_width()];
    let mut padded = vec![[T::zero(); ROWS]; window.input[0] * padding.height * padding.width];
    let mut sums = vec![[T::zero(); ROWS]; gradient.len()];
    for first in (0..rows).step_by(ROWS) {
        let rows = first..rows.min(first + ROWS);
        vectorized!(|| pack(&mut packed_g, g, rows.clone()));
        vectorized!(|| pack(&mut packed_z, z, rows));
        padding.fill(&mut padded, &packed_z);
        Arch::new().dispatch(Block { sums: &mut sums, g: &packed_g, z: &padded, window, padding: &padding });
    }
    vectorized!(|| gradient.iter_mut().zip(&sums).for_each(|(to, lanes)| *to += sum(lanes)));
}

/// An image with its padding.
struct Padding<'a> {
    window: &'a Window,
    height: usize,
    width: usize,
    /// For each weight of a kernel, the element that it reads at the first position, counted from the first channel of its group.
    taps: Vec<usize>,
}

impl<'a> Padding<'a> {
    fn new(window: &'a Window) -> Self {
        let [height, width] =
            [0, 1].map(|axis| window.input[axis + 1] + window.padding[axis][0] + window.padding[axis][1]);
        let tap = |k: usize| {
            let (channel, tap) = (k / window.taps(), k % window.taps());
            let (y, x) = (tap / window.kernel[1], tap % window.kernel[1]);
            (channel * height + y * window.dilation[0]) * width + x * window.dilation[1]
        };
        Padding { window, height, width, taps: (0..window.patch()).map(tap).collect() }
    }

    /// Copies images into the middle of padded ones, whose padding is zero.
    fn fill<V: Copy>(&self, padded: &mut [V], images: &[V]) {
        let [_, height, width] = self.window.input;
        let [top, left] = self.window.padding.map(|[before, _]| before);
        let planes = padded.chunks_exact_mut(self.height * self.width);
        for (padded, image) in planes.zip(images.chunks_exact(height * width)) {
            let rows = padded.chunks_exact_mut(self.width).skip(top);
            rows.zip(image.chunks_exact(width)).for_each(|(to, from)| {
                to[left..left + width].copy_from_slice(from);
            });
        }
    }
}

/// What [`ROWS`] rows add.
struct Block<'a, T> {
    /// (channels, patch)
    sums: &'a mut [[T; ROWS]],
    g: &'a [[T; ROWS]],
    z: &'a [[T; ROWS]],
    window: &'a Window,
    padding: &'a Padding<'a>,
}

impl<T: Scalar> WithSimd for Block<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // The sums of a tile stay in registers: one for sixteen single precision numbers of AVX-512, two of AVX2.
        if S::REGISTER_COUNT > 16 { self.tiles::<S, 4, 4>() } else { self.tiles::<S, 2, 3>() }
    }
}

impl<T: Scalar> Block<'_, T> {
    #[inline(always)]
    fn tiles<S: Simd, const R: usize, const K: usize>(self) {
        let Self { sums, g, z, window, padding } = self;
        let (positions, columns, patch) = (window.positions(), window.extent(1), window.patch());
        let (down, right) = (window.stride[0] * padding.width, window.stride[1]);
        for channel in 0..window.channels {
            let group = channel / window.group_outputs();
            if !(channel - group * window.group_outputs()).is_multiple_of(R) {
                continue;
            }
            let channels = R.min((group + 1) * window.group_outputs() - channel);
            let start = group * window.group_inputs() * padding.height * padding.width;
            for first in (0..patch).step_by(K) {
                let taps = K.min(patch - first);
                // Beyond the last channel and tap the last ones once more, which is not stored.
                let g: [&[[T; ROWS]]; R] = std::array::from_fn(|r| {
                    let channel = channel + r.min(channels - 1);
                    &g[channel * positions..(channel + 1) * positions]
                });
                let z: [&[[T; ROWS]]; K] =
                    std::array::from_fn(|k| &z[start + padding.taps[first + k.min(taps - 1)]..]);
                let mut tile = [[[T::zero(); ROWS]; K]; R];
                for y in 0..positions / columns {
                    for x in 0..columns {
                        let (at, element) = (y * columns + x, y * down + x * right);
                        for r in 0..R {
                            for k in 0..K {
                                multiply_add::<S, T>(&mut tile[r][k], &g[r][at], &z[k][element]);
                            }
                        }
                    }
                }
                for r in 0..channels {
                    for k in 0..taps {
                        let sum = &mut sums[(channel + r) * patch + first + k];
                        add_product::<S, T, ROWS>(sum, T::one(), &tile[r][k]);
                    }
                }
            }
        }
    }
}

/// `sum += a b`: fused where the machine has the instruction.
#[inline(always)]
fn multiply_add<S: Simd, T: Scalar>(sum: &mut [T; ROWS], a: &[T; ROWS], b: &[T; ROWS]) {
    for l in 0..ROWS {
        sum[l] = if S::IS_SCALAR { sum[l] + a[l] * b[l] } else { a[l].mul_add(b[l], sum[l]) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{wave, windows};
    use crate::{ConvScratch, Matrix};

    const TOLERANCE: f64 = 1e-12;

    /// The gradient of all rows is the sum of those of single images.
    #[test]
    fn gradients_of_shared_kernels_are_sums() {
        for window in windows() {
            for rows in [1, 16, 21, 35] {
                let z = wave(rows, window.input_width(), 0.9);
                let g = wave(rows, window.output_width(), 1.7);
                let mut expected = Matrix::from_fn(window.channels, window.patch(), |_, _| 1.0);
                let mut found = expected.clone();
                let mut scratch = ConvScratch::default();
                for s in 0..rows {
                    scratch.add_kernel_gradient(expected.as_mut_slice(), g.row(s), z.row(s), &window);
                }
                add_kernel_gradient(found.as_mut_slice(), g.as_slice(), z.as_slice(), &window);
                let close = |(a, b): (&f64, &f64)| (a - b).abs() < TOLERANCE * (1.0 + a.abs()) * rows as f64;
                assert!(
                    found.as_slice().iter().zip(expected.as_slice()).all(close),
                    "{window:?}, {rows} rows"
                );
            }
        }
    }
}
