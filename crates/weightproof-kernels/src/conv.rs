//! Linear maps of rows, dense or by a window, and their transposed.
//!
//! ```text
//! forward      p = W z
//! transposed   Wᵀ a
//! ```
//! Rows share their weights in [`super::lanes`]. Where a single image has a kernel of its own, a convolution is a product over
//! its patches:
//!
//! ```text
//! patches X (patch, positions):  X[(c, tap), p] = z[c, source(p, tap)], 0 outside of the image
//! transposed   Wᵀ a  laid back onto the image   (patch, positions) → image
//! ```

use super::direct;
use super::lanes::{Convolution, Direction};
use super::patches::{Patches, source_x};
use super::product::{Factor, count, multiply_generic};
use super::{Matrix, Region, Scalar, Window, add_product, product_transposed};

/// `out = W z` for rows `z`, or their convolution.
///
/// # Shapes
/// `z`: (rows, n_in), `weight`: (channels, patch); `out` becomes (rows, channels × positions).
pub fn linear<T: Scalar>(out: &mut Matrix<T>, z: &Matrix<T>, weight: &Matrix<T>, window: Option<&Window>) {
    match window {
        None => product_transposed(out, z, weight),
        Some(window) => {
            out.reshape_scratch(z.rows(), window.output_width());
            convolution(out.as_mut_slice(), false, z.as_slice(), weight.as_slice(), window);
        }
    }
}

/// `out = W z + b` for rows `z`, or their convolution with a bias for each channel; shapes as in [`linear`].
pub fn affine<T: Scalar>(
    out: &mut Matrix<T>,
    z: &Matrix<T>,
    weight: &Matrix<T>,
    bias: &[T],
    window: Option<&Window>,
) {
    match window {
        None => {
            product_transposed(out, z, weight);
            add_by_row(out, bias);
        }
        Some(window) => {
            out.reshape_scratch(z.rows(), window.output_width());
            T::convolution(out.as_mut_slice(), Plus::Bias(bias), z.as_slice(), weight.as_slice(), window);
        }
    }
}

/// `out += Wᵀ a` for rows `a`: the gradient of [`linear`] with respect to its input. Positions at which no row of a vector
/// has coefficients cost nothing.
///
/// # Shapes
/// `a`: (rows, channels × positions), `weight`: (channels, patch), `out`: (rows, n_in).
pub fn add_linear_transposed<T: Scalar>(
    out: &mut Matrix<T>,
    a: &Matrix<T>,
    weight: &Matrix<T>,
    window: Option<&Window>,
) {
    match window {
        None => add_product(out, a, weight),
        Some(window) => {
            add_convolution_transposed(out.as_mut_slice(), a.as_slice(), weight.as_slice(), window);
        }
    }
}

/// `out = W z` for rows of images, or `out += W z` when `add`, on row-major numbers; shapes as in [`linear`].
pub fn convolution<T: Scalar>(out: &mut [T], add: bool, z: &[T], weight: &[T], window: &Window) {
    T::convolution(out, if add { Plus::Out } else { Plus::Nothing }, z, weight, window);
}

/// What is added to a convolution.
#[derive(Clone, Copy, Debug)]
pub enum Plus<'a, T> {
    /// Nothing.
    Nothing,
    /// What is there.
    Out,
    /// A number for each channel.
    Bias(&'a [T]),
}

pub(crate) fn convolution_generic<T: Scalar>(
    out: &mut [T],
    plus: Plus<'_, T>,
    z: &[T],
    weight: &[T],
    window: &Window,
) {
    assert_eq!(out.len() * window.input_width(), z.len() * window.output_width(), "rows of a convolution");
    if direct::suits(window) {
        count(out.len() * window.patch());
        direct::convolution(out, plus, z, weight, window);
        return;
    }
    let direction = if matches!(plus, Plus::Out) { Direction::AddForward } else { Direction::Forward };
    Convolution { out: &mut *out, from: z, weight, window, direction }.run();
    if let Plus::Bias(bias) = plus {
        add_bias(out, bias, window.positions());
    }
}

/// `out += Wᵀ a` for rows of coefficients, on row-major numbers; shapes as in [`add_linear_transposed`].
pub fn add_convolution_transposed<T: Scalar>(out: &mut [T], a: &[T], weight: &[T], window: &Window) {
    T::add_convolution_transposed(out, a, weight, window);
}

pub(crate) fn add_convolution_transposed_generic<T: Scalar>(
    out: &mut [T],
    a: &[T],
    weight: &[T],
    window: &Window,
) {
    if window.is_dense() {
        let (channels, patch) = (window.channels, window.patch());
        let shape = (a.len() / channels, channels, patch);
        multiply_generic(out, true, Factor::Plain(a), Factor::Plain(weight), shape);
        return;
    }
    Convolution { out, from: a, weight, window, direction: Direction::AddTransposed }.run();
}

/// Memory of convolutions of single images.
#[derive(Clone, Debug, Default)]
pub struct ConvScratch<T> {
    cropped: Vec<T>,
    pub(super) patches: Patches<T>,
}

impl<T: Scalar> ConvScratch<T> {
    /// `out += Wᵀ a` for one row; `weight` has shape (channels, patch).
    pub fn add_transposed(&mut self, out: &mut [T], a: &[T], weight: &[T], window: &Window) {
        T::add_image_transposed(self, out, a, weight, window);
    }

    pub(crate) fn add_transposed_generic(&mut self, out: &mut [T], a: &[T], weight: &[T], window: &Window) {
        let Some(region) = Region::support(window, a) else { return };
        if window.group_inputs() == 1 && window.group_outputs() == 1 {
            for c in 0..window.channels {
                each_tap(window, c, |tap, from, to, step| {
                    let w = weight[c * window.taps() + tap];
                    let values = out[from..].iter_mut().step_by(window.stride[1]);
                    values.zip(&a[to..to + step]).for_each(|(out, &a)| *out += w * a);
                });
            }
            return;
        }
        let positions = region.positions();
        let (patch, channels) = (window.patch(), window.group_outputs());
        let whole = positions == window.positions();
        if !whole {
            region.crop(window, a, &mut self.cropped);
        }
        let a = if whole { a } else { &self.cropped };
        self.patches.resize(patch * positions);
        for group in 0..window.groups {
            let rows = &weight[group * channels * patch..(group + 1) * channels * patch];
            let a = &a[group * channels * positions..(group + 1) * channels * positions];
            let shape = (patch, channels, positions);
            let patches = self.patches.as_mut_slice();
            multiply_generic(patches, false, Factor::Transposed(rows), Factor::Plain(a), shape);
            let inputs = window.group_inputs() * window.plane();
            self.patches.fold(&mut out[group * inputs..(group + 1) * inputs], window, region);
        }
    }
}

/// `f(tap, first input element, first output element, number)` for every run of output positions of channel `c` that one tap
/// of a depthwise window feeds.
pub(super) fn each_tap(window: &Window, c: usize, mut f: impl FnMut(usize, usize, usize, usize)) {
    for ky in 0..window.kernel[0] {
        for kx in 0..window.kernel[1] {
            let covered = window.covered(1, kx);
            if covered.is_empty() {
                continue;
            }
            for y in window.covered(0, ky) {
                let Some(source) = window.source_on(0, y, ky) else { continue };
                let from =
                    c * window.plane() + source * window.input[2] + source_x(window, covered.start, kx);
                let to = c * window.positions() + y * window.extent(1) + covered.start;
                f(ky * window.kernel[1] + kx, from, to, covered.len());
            }
        }
    }
}

/// Adds `bias_i` to every element that row `i` of a layer gives, in each row of `out`.
pub fn add_by_row<T: Scalar>(out: &mut Matrix<T>, bias: &[T]) {
    T::add_by_row(out, bias);
}

pub(crate) fn add_by_row_generic<T: Scalar>(out: &mut Matrix<T>, bias: &[T]) {
    let positions = out.cols() / bias.len().max(1);
    add_bias(out.as_mut_slice(), bias, positions);
}

/// Adds a number of each channel to its positions, for every row.
fn add_bias<T: Scalar>(out: &mut [T], bias: &[T], positions: usize) {
    for row in out.chunks_exact_mut((bias.len() * positions).max(1)) {
        if positions == 1 {
            row.iter_mut().zip(bias).for_each(|(p, &b)| *p += b);
            continue;
        }
        for (out, &b) in row.chunks_exact_mut(positions).zip(bias) {
            out.iter_mut().for_each(|p| *p += b);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::definition::affine_map;

    const TOLERANCE: f64 = 1e-12;
    const ROWS: usize = 21;

    /// Windows of every shape: groups, depthwise, strides, dilation, uneven padding, one dimension.
    pub(crate) fn windows() -> Vec<Window> {
        let plain = Window::new([4, 5, 6], 6, [3, 2]);
        vec![
            plain.clone(),
            Window { padding: [[1, 1]; 2], ..plain.clone() },
            Window { stride: [2, 3], padding: [[2, 0], [0, 1]], ..plain.clone() },
            Window { groups: 2, dilation: [2, 1], padding: [[1, 2], [1, 0]], ..plain.clone() },
            Window { groups: 4, channels: 4, padding: [[1, 1]; 2], ..plain.clone() },
            Window { groups: 4, channels: 8, stride: [1, 2], ..plain.clone() },
            Window { padding: [[0, 0], [4, 4]], stride: [1, 2], ..Window::new([3, 1, 7], 2, [1, 3]) },
            Window { padding: [[7, 7]; 2], ..Window::new([1, 2, 2], 3, [3, 3]) },
            Window::new([5, 1, 1], 7, [1, 1]),
            // Channels that fill vectors, and what remains of them.
            Window { padding: [[1, 1]; 2], ..Window::new([3, 5, 4], 21, [3, 3]) },
            Window {
                groups: 2,
                stride: [2, 1],
                dilation: [1, 2],
                padding: [[0, 2], [3, 1]],
                ..Window::new([4, 6, 5], 26, [2, 3])
            },
        ]
    }

    pub(crate) fn wave(rows: usize, cols: usize, phase: f64) -> Matrix<f64> {
        Matrix::from_fn(rows, cols, |i, j| (1.3 * i as f64 + 0.7 * j as f64 + phase).sin())
    }

    #[test]
    fn convolutions_match_the_definition() {
        for window in windows() {
            assert_eq!(window.defect(), None, "{window:?}");
            let weight = wave(window.channels, window.patch(), 0.3);
            let bias = vec![0.25; window.channels];
            // Full vectors, and every kind of rest.
            let close = |(a, b): (&f64, &f64)| (a - b).abs() < TOLERANCE;
            for rows in [1, 16, 22, 43] {
                let z = wave(rows, window.input_width(), 0.9);
                let mut out = Matrix::default();
                affine(&mut out, &z, &weight, &bias, Some(&window));
                for s in 0..rows {
                    let expected = affine_map(&weight, &bias, Some(&window), z.row(s));
                    assert!(out.row(s).iter().zip(&expected).all(close), "{window:?}, row {s} of {rows}");
                }
                let (mut plain, mut sum) = (Matrix::default(), out.clone());
                linear(&mut plain, &z, &weight, Some(&window));
                convolution(sum.as_mut_slice(), true, z.as_slice(), weight.as_slice(), &window);
                out.add_assign(&plain);
                assert!(sum.as_slice().iter().zip(out.as_slice()).all(close), "{window:?}, {rows} rows");
            }
        }
    }

    /// `a·(W z) = (Wᵀa)·z` for every `z`, also where only some positions have coefficients.
    #[test]
    fn transposed_convolutions_are_adjoint() {
        for window in windows() {
            let weight = wave(window.channels, window.patch(), 0.3);
            let z = wave(ROWS, window.input_width(), 0.9);
            let mut a = wave(ROWS, window.output_width(), 1.7);
            for r in 1..ROWS {
                let (kept, positions) = (r * 3 % window.positions(), window.positions());
                let row = a.row_mut(r).iter_mut().enumerate();
                row.filter(|(k, _)| k % positions != kept).for_each(|(_, a)| *a = 0.0);
            }
            let (mut forward, mut back) = (Matrix::default(), Matrix::zeros(ROWS, window.input_width()));
            linear(&mut forward, &z, &weight, Some(&window));
            add_linear_transposed(&mut back, &a, &weight, Some(&window));
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            for r in 0..ROWS {
                let (left, right) = (dot(a.row(r), forward.row(r)), dot(back.row(r), z.row(r)));
                assert!((left - right).abs() < TOLERANCE * (1.0 + left.abs()), "{window:?}: {left} {right}");
            }
        }
    }

    #[test]
    fn images_with_padding_that_no_memory_holds() {
        let window = Window::new([2, 3, 2], 9, [2, 2]);
        let window = Window { padding: [[0, 0], [0, 1 << 40]], stride: [1, 1 << 39], ..window };
        assert_eq!(window.defect(), None);
        let (weight, z) = (wave(9, window.patch(), 0.3), wave(3, window.input_width(), 0.9));
        let mut out = Matrix::default();
        linear(&mut out, &z, &weight, Some(&window));
        let expected = affine_map(&weight, &[0.0; 9], Some(&window), z.row(2));
        assert!(out.row(2).iter().zip(&expected).all(|(a, b)| (a - b).abs() < TOLERANCE));
    }

    #[test]
    fn the_support_of_nothing_is_nothing() {
        let window = Window::new([1, 4, 5], 2, [2, 2]);
        let mut a = vec![0.0; window.output_width()];
        assert_eq!(Region::support(&window, &a), None);
        (a[5], a[window.positions() + 2]) = (1.0, f64::NAN);
        assert_eq!(Region::support(&window, &a), Some(Region { y: (0, 2), x: (1, 3) }));
    }
}
