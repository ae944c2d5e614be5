//! Convolutions of one image with kernels of its own, and gradients with respect to kernels.
//!
//! ```text
//! forward      p = W X                                                        (channels, positions)
//! gradient     Σ g∘p has the gradient g Xᵀ with respect to W                  (channels, patch)
//! ```
//!
//! with `X` the patches of the image. Several kernels on one image are the rows of one product.

use super::Region;
use super::conv::{ConvScratch, each_tap};
use super::product::{Factor, multiply_generic};
use super::{Scalar, Window};

impl<T: Scalar> ConvScratch<T> {
    /// `out = W z` of one image for each of the kernels.
    ///
    /// # Shapes
    /// `z`: input width, `kernels`: (count × channels, patch), `out`: (count × channels, positions).
    pub fn convolve(&mut self, out: &mut [T], z: &[T], kernels: &[T], window: &Window) {
        T::convolve_image(self, out, z, kernels, window);
    }

    pub(crate) fn convolve_generic(&mut self, out: &mut [T], z: &[T], kernels: &[T], window: &Window) {
        if is_depthwise(window) {
            out.fill(T::zero());
            let sizes = (window.output_width(), window.channels * window.taps());
            for (out, kernel) in out.chunks_exact_mut(sizes.0).zip(kernels.chunks_exact(sizes.1)) {
                for c in 0..window.channels {
                    each_tap(window, c, |tap, from, to, count| {
                        let w = kernel[c * window.taps() + tap];
                        let values = z[from..].iter().step_by(window.stride[1]);
                        out[to..to + count].iter_mut().zip(values).for_each(|(out, &z)| *out += w * z);
                    });
                }
            }
            return;
        }
        let (patch, positions) = (window.patch(), window.positions());
        self.each_group(z, kernels.len() / patch, window, |patches, rows, chunk| {
            let out = &mut out[chunk.start * positions..chunk.end * positions];
            let kernels = &kernels[chunk.start * patch..chunk.end * patch];
            let shape = (rows, patch, positions);
            multiply_generic(out, false, Factor::Plain(kernels), Factor::Plain(patches), shape);
        });
    }

    /// Adds the gradient of `Σ g∘p`, `p` the convolutions of one image, with respect to each of the kernels.
    ///
    /// # Shapes
    /// `gradient`: (count × channels, patch), `g`: (count × channels, positions), `z`: input width.
    pub fn add_kernel_gradient(&mut self, gradient: &mut [T], g: &[T], z: &[T], window: &Window) {
        T::add_image_kernel_gradient(self, gradient, g, z, window);
    }

    pub(crate) fn add_kernel_gradient_generic(
        &mut self,
        gradient: &mut [T],
        g: &[T],
        z: &[T],
        window: &Window,
    ) {
        if is_depthwise(window) {
            let sizes = (window.output_width(), window.channels * window.taps());
            for (g, gradient) in g.chunks_exact(sizes.0).zip(gradient.chunks_exact_mut(sizes.1)) {
                for c in 0..window.channels {
                    each_tap(window, c, |tap, from, to, count| {
                        let values = z[from..].iter().step_by(window.stride[1]);
                        let products = g[to..to + count].iter().zip(values).map(|(&g, &z)| g * z);
                        gradient[c * window.taps() + tap] += products.sum::<T>();
                    });
                }
            }
            return;
        }
        let (patch, positions) = (window.patch(), window.positions());
        self.each_group(z, g.len() / positions, window, |patches, rows, chunk| {
            let gradient = &mut gradient[chunk.start * patch..chunk.end * patch];
            let g = &g[chunk.start * positions..chunk.end * positions];
            let shape = (rows, positions, patch);
            multiply_generic(gradient, true, Factor::Plain(g), Factor::Transposed(patches), shape);
        });
    }

    /// `f(patches, number, range)` for all runs of `rows` rows of kernels that meet the same patches of `z`.
    fn each_group(
        &mut self,
        z: &[T],
        rows: usize,
        window: &Window,
        mut f: impl FnMut(&[T], usize, std::ops::Range<usize>),
    ) {
        for group in 0..window.groups {
            self.patches.unfold_generic(window, group, z, Region::all(window));
            // Without groups, the rows of all kernels are one run.
            let run = if window.groups == 1 { rows } else { window.group_outputs() };
            for kernel in (0..rows).step_by((run * window.groups).max(1)) {
                let first = kernel + group * run;
                f(self.patches.as_slice(), run, first..first + run);
            }
        }
    }
}

fn is_depthwise(window: &Window) -> bool {
    window.group_inputs() == 1 && window.group_outputs() == 1
}

#[cfg(test)]
mod tests {
    use super::super::conv::tests::{wave, windows};
    use super::*;
    use crate::Matrix;
    use crate::definition::affine_map;

    const TOLERANCE: f64 = 1e-12;
    const COUNT: usize = 3;

    #[test]
    fn kernels_of_their_own_match_the_definition() {
        for window in windows() {
            let z = wave(1, window.input_width(), 0.9);
            let kernels = wave(COUNT * window.channels, window.patch(), 0.3);
            let mut out = vec![f64::NAN; COUNT * window.output_width()];
            ConvScratch::default().convolve(&mut out, z.as_slice(), kernels.as_slice(), &window);
            for (k, out) in out.chunks_exact(window.output_width()).enumerate() {
                let own = kernels.row_range(k * window.channels, (k + 1) * window.channels);
                let own = Matrix::from_vec(window.channels, window.patch(), own.to_vec());
                let expected = affine_map(&own, &vec![0.0; window.channels], Some(&window), z.as_slice());
                assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < TOLERANCE), "{window:?}");
            }
        }
    }

    /// `Σ g∘(W X) = Σ (g Xᵀ)∘W` for every `W`.
    #[test]
    fn kernel_gradients_are_adjoint() {
        for window in windows() {
            let z = wave(1, window.input_width(), 0.9);
            let kernels = wave(COUNT * window.channels, window.patch(), 0.3);
            let g = wave(COUNT, window.output_width(), 1.7);
            let mut scratch = ConvScratch::default();
            let mut out = vec![0.0; COUNT * window.output_width()];
            scratch.convolve(&mut out, z.as_slice(), kernels.as_slice(), &window);
            let mut gradient = vec![1.0; kernels.as_slice().len()];
            scratch.add_kernel_gradient(&mut gradient, g.as_slice(), z.as_slice(), &window);
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let size = window.channels * window.patch();
            for k in 0..COUNT {
                let own = k * size..(k + 1) * size;
                let kernel = &kernels.as_slice()[own.clone()];
                let right = dot(&gradient[own], kernel) - kernel.iter().sum::<f64>();
                let left = dot(g.row(k), &out[k * window.output_width()..(k + 1) * window.output_width()]);
                assert!((left - right).abs() < TOLERANCE * (1.0 + left.abs()), "{window:?}: {left} {right}");
            }
        }
    }
}
