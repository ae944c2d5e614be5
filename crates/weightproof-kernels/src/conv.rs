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
use super::product::{Factor, count, multiply_generic};
use super::rows::{add, vectorized};
use super::{Matrix, Scalar, Window, add_product, product_transposed};

/// Output positions `[from, to)` along height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Rows.
    pub y: (usize, usize),
    /// Columns.
    pub x: (usize, usize),
}

impl Region {
    /// All positions.
    pub fn all(window: &Window) -> Self {
        Region { y: (0, window.extent(0)), x: (0, window.extent(1)) }
    }

    /// The smallest region that holds every position where a channel of `a`, rows of coefficients, is not zero; `None` when
    /// there is none.
    pub fn support<T: Scalar>(window: &Window, a: &[T]) -> Option<Self> {
        let (height, width) = (window.extent(0), window.extent(1));
        let all = Region::all(window);
        let mut found: Option<Region> = None;
        for (k, row) in a.chunks_exact(width).enumerate() {
            if found == Some(all) {
                break;
            }
            let Some(first) = row.iter().position(|a| *a != T::zero()) else { continue };
            let last = row.iter().rposition(|a| *a != T::zero()).unwrap_or(first) + 1;
            let y = k % height;
            let region = found.get_or_insert(Region { y: (y, y + 1), x: (first, last) });
            region.y = (region.y.0.min(y), region.y.1.max(y + 1));
            region.x = (region.x.0.min(first), region.x.1.max(last));
        }
        found
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        (self.y.1 - self.y.0) * (self.x.1 - self.x.0)
    }

    /// The positions of this region in every channel of `a`, one after the other.
    pub fn crop<T: Scalar>(&self, window: &Window, a: &[T], out: &mut Vec<T>) {
        out.clear();
        let width = window.extent(1);
        for plane in a.chunks_exact(window.positions()) {
            for y in self.y.0..self.y.1 {
                out.extend_from_slice(&plane[y * width + self.x.0..y * width + self.x.1]);
            }
        }
    }
}

/// The patches of one group of one image, (patch, positions of a region), in scratch memory.
#[derive(Clone, Debug, Default)]
pub struct Patches<T> {
    data: Vec<T>,
}

impl<T: Scalar> Patches<T> {
    /// All entries, row after row.
    pub fn as_slice(&self) -> &[T] {
        &self.data
    }

    /// Lays out the patches of `group` of the image `z` at the positions of `region`.
    pub fn unfold(&mut self, window: &Window, group: usize, z: &[T], region: Region) {
        self.data.resize(window.patch() * region.positions(), T::zero());
        T::unfold(&mut self.data, window, group, z, region);
    }
}

/// Writes patches, (patch, positions of the region).
pub(crate) fn unfold<T: Scalar>(out: &mut [T], window: &Window, group: usize, z: &[T], region: Region) {
    let width = region.x.1 - region.x.0;
    let mut rows = out.chunks_exact_mut(region.positions().max(1));
    for c in group * window.group_inputs()..(group + 1) * window.group_inputs() {
        let plane = &z[c * window.plane()..(c + 1) * window.plane()];
        for ky in 0..window.kernel[0] {
            for kx in 0..window.kernel[1] {
                let (from, to) = clipped(window, 1, kx, region.x);
                let Some(out) = rows.next() else { return };
                for (y, out) in (region.y.0..region.y.1).zip(out.chunks_exact_mut(width)) {
                    let Some(source) = window.source_on(0, y, ky).filter(|_| from < to) else {
                        out.fill(T::zero());
                        continue;
                    };
                    let (left, rest) = out.split_at_mut(from - region.x.0);
                    let (middle, right) = rest.split_at_mut(to - from);
                    left.fill(T::zero());
                    right.fill(T::zero());
                    let start = source * window.input[2] + source_x(window, from, kx);
                    if window.stride[1] == 1 {
                        middle.copy_from_slice(&plane[start..start + middle.len()]);
                    } else {
                        let values = plane[start..].iter().step_by(window.stride[1]);
                        middle.iter_mut().zip(values).for_each(|(out, &z)| *out = z);
                    }
                }
            }
        }
    }
}

/// Output positions along a row of a region that read elements of one row of the image: a run of patches of one tap.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// First place among the patches of a channel, (taps, positions of the region).
    patch: usize,
    /// First element in the plane of a channel.
    element: usize,
    /// How many; elements are a stride apart.
    count: usize,
}

/// All runs of `region`, in the order of the patches.
fn runs(out: &mut Vec<Run>, window: &Window, region: Region) {
    out.clear();
    let width = region.x.1 - region.x.0;
    for tap in 0..window.taps() {
        let (ky, kx) = (tap / window.kernel[1], tap % window.kernel[1]);
        let (from, to) = clipped(window, 1, kx, region.x);
        for y in (region.y.0..region.y.1).filter(|_| from < to) {
            let Some(source) = window.source_on(0, y, ky) else { continue };
            let patch = tap * region.positions() + (y - region.y.0) * width + from - region.x.0;
            let element = source * window.input[2] + source_x(window, from, kx);
            out.push(Run { patch, element, count: to - from });
        }
    }
}

/// Adds the patches of some channels, (channels × taps, positions of a region), onto their planes: the transposed of [`unfold`].
fn fold<T: Scalar>(patches: &[T], of_channel: usize, runs: &[Run], planes: &mut [T], window: &Window) {
    let (plane, stride) = (window.plane(), window.stride[1]);
    vectorized!(|| {
        for (patches, plane) in patches.chunks_exact(of_channel).zip(planes.chunks_exact_mut(plane)) {
            for run in runs {
                let patches = &patches[run.patch..run.patch + run.count];
                let plane = &mut plane[run.element..];
                if stride == 1 {
                    add(&mut plane[..run.count], patches);
                } else {
                    for (k, &a) in patches.iter().enumerate() {
                        plane[k * stride] += a;
                    }
                }
            }
        }
    });
}

/// The positions of `range` whose tap reads inside of the image.
fn clipped(window: &Window, axis: usize, tap: usize, range: (usize, usize)) -> (usize, usize) {
    let covered = window.covered(axis, tap);
    let from = covered.start.clamp(range.0, range.1);
    (from, covered.end.clamp(from, range.1))
}

fn source_x(window: &Window, x: usize, kx: usize) -> usize {
    x * window.stride[1] + kx * window.dilation[1] - window.padding[1][0]
}

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
    Convolution { out, from: a, weight, window, direction: Direction::AddTransposed }.run();
}

/// Memory of convolutions of single images.
#[derive(Clone, Debug, Default)]
pub struct ConvScratch<T> {
    cropped: Vec<T>,
    pub(super) patches: Vec<T>,
    runs: Vec<Run>,
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
        self.patches.resize(patch * positions, T::zero());
        runs(&mut self.runs, window, region);
        for group in 0..window.groups {
            let rows = &weight[group * channels * patch..(group + 1) * channels * patch];
            let a = &a[group * channels * positions..(group + 1) * channels * positions];
            let shape = (patch, channels, positions);
            multiply_generic(&mut self.patches, false, Factor::Transposed(rows), Factor::Plain(a), shape);
            let inputs = window.group_inputs() * window.plane();
            let planes = &mut out[group * inputs..(group + 1) * inputs];
            fold(&self.patches, window.taps() * positions, &self.runs, planes, window);
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
