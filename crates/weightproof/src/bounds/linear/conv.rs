//! Steps through convolutions: a kernel weight is used at every position, and its uses move alike.
//!
//! ```text
//! S_w = Σ_positions a_p z_{p,w}                 what one weight w of a channel multiplies, linear in z
//! per use    a·p ≥ (aW)·z − Σ_w E_w Σ_p |a_p| |z_{p,w}| + …        every use on its own: sound, never exact for |a| > 1 use
//! shared     a·p ≥ (aW)·z − Σ_w E_w |S_w| + …                      exact; |S_w| ≤ s_w S_w + t_w by its chord on the box
//! ball       a·p ≥ (aW)·z − r ‖S‖₂ + …                             ‖S‖₂ ≤ ‖max |S|‖₂ on the box
//! bias       e_o |Σ_p a_p|                                         shared: a number, no relaxation
//! ```
//! The chord makes the shared loss linear again: it acts like the kernel `W − E∘s`, one for each row. With a fixed input `S` is
//! a number, and the shared bound is exact for the layer.
//!
//! # Guarantee
//! Both forms are sound; neither is always the better one, so methods take the better of two passes. Where the set lets every
//! use move on its own (rounding in a number format) only the first form is valid, and it is the one that is used.
//! # Source
//! theory.md §4.3.

use super::super::deviation::{largest_magnitude, patch_l2};
use super::super::noise::inflated;
use super::super::rounding::{Offsets, Roundings};
use super::propagate::{Backward, Coefficients, Row, Sharing};
use super::relax::{Slack, chord};
use crate::kernels::rows::{dot, l1, sum, vectorized, weighted_l1};
use crate::kernels::{
    ConvScratch, Factor, Matrix, Patches, Region, Scalar, Window, add_linear_transposed,
    add_window_sums_transposed, multiply,
};
use crate::threat::{LayerSet, WeightSet};
use std::ops::Range;

/// Most rows whose uses of weights are measured together.
const RUN: usize = 32;

impl<T: Scalar> Backward<'_, T> {
    /// One step through a perturbed convolution.
    ///
    /// # Shapes
    /// `c.a`: (rows, channels × positions) becomes (rows, channels × plane of the input).
    pub(super) fn through_conv(
        &self,
        c: Coefficients<T>,
        node: usize,
        window: &Window,
        rows: &[Row],
        offset: &mut Offsets<T>,
    ) -> Coefficients<T> {
        let layer = self.block.prepared.model.affine(node);
        let radii = self.block.prepared.radii.layer(node);
        let input = self.block.prepared.model.input_of(node);
        vectorized!(|| for r in 0..rows.len() {
            offset.add(r, bias_term(c.a.row(r), &layer.bias, radii));
        });
        if self.states.variances(node).is_some() {
            self.add_kernel_variances((node, window), &c.a, rows, offset);
        }
        self.add_kernel_damages((node, window), &c.a, rows, offset);
        let mut out = Matrix::zeros(rows.len(), window.input_width());
        if self.sharing == Sharing::Shared && is_shared(radii) {
            self.shared(&c.a, (node, window), &mut out, rows, offset);
            return Coefficients::new(out);
        }
        add_linear_transposed(&mut out, &c.a, &layer.weight, Some(window));
        let loss = match &radii.weight {
            WeightSet::Fixed => None,
            WeightSet::Rows(e) => Some(row_losses(&c.a, e, window)),
            WeightSet::Entries(e) => {
                let mut g = Matrix::zeros(rows.len(), window.input_width());
                add_linear_transposed(&mut g, &c.a.map(|a| a.abs()), e, Some(window));
                Some(g)
            }
            WeightSet::Ball(_) | WeightSet::RowBalls(_) => {
                self.subtract_patches(&radii.weight, &c.a, (input, window), rows, offset);
                None
            }
        };
        if let Some(g) = loss {
            self.subtract_matrix(&mut out, &g, input, rows, offset);
        }
        Coefficients::new(out)
    }

    /// The shared form. Uses of weights are measured for runs of rows of one sample, which read the same patches.
    fn shared(
        &self,
        a: &Matrix<T>,
        (node, window): (usize, &Window),
        out: &mut Matrix<T>,
        rows: &[Row],
        offset: &mut Offsets<T>,
    ) {
        let weight = &self.block.prepared.model.affine(node).weight;
        let set = &self.block.prepared.radii.layer(node).weight;
        let e = set.box_matrix(weight.rows(), weight.cols());
        let (centre, width) = self.middle(self.block.prepared.model.input_of(node));
        let mut uses = Uses::default();
        let mut scratch = ConvScratch::default();
        let mut kernel = vec![T::zero(); weight.as_slice().len()];
        let slack = Slack::new(self.block.prepared.arithmetic);
        let one_channel = Window { channels: 1, ..window.clone() };
        // Rows of single elements, where passes begin, meet a channel each; a ball is over all channels.
        let is_divisible = window.groups == 1 && !set.is_ball();
        let channel = |r: usize| single_channel(a.row(r), window).filter(|_| is_divisible);
        let channels: Vec<Option<usize>> = (0..rows.len()).map(channel).collect();
        let mut alone = Vec::new();
        for (s, run) in runs(rows).flat_map(|(s, run)| alike(run, &channels).map(move |run| (s, run))) {
            let of_run = a.row_range(run.start, run.end);
            let Some(region) = Region::support(window, of_run) else { continue };
            let (window, of_run) = if channels[run.start].is_some() {
                let positions = window.positions();
                let own = |r: usize| {
                    channels[r].into_iter().flat_map(move |c| &a.row(r)[c * positions..(c + 1) * positions])
                };
                alone.clear();
                alone.extend(run.clone().flat_map(own).copied());
                (&one_channel, &alone[..])
            } else {
                (window, of_run)
            };
            uses.measure(window, of_run, region, centre.row(s), Some(width.row(s)));
            let size = window.channels * window.patch();
            let of_rows = uses.middle.chunks_exact(size).zip(uses.radius.chunks_exact(size));
            let of_rows = of_rows.zip(of_run.chunks_exact(window.output_width()));
            for (r, ((middle, half), a)) in run.zip(of_rows) {
                if set.is_ball() {
                    let largest = |(m, d): (&T, &T)| m.abs() + *d;
                    let reach: Vec<T> = middle.iter().zip(half).map(largest).collect();
                    offset.add(r, -(set.support(&reach)));
                    scratch.add_transposed(out.row_mut(r), a, weight.as_slice(), window);
                    continue;
                }
                let first = channels[r].map_or(0, |channel| channel * size);
                let weight = &weight.as_slice()[first..first + size];
                let lines = (middle, half, &e.as_slice()[first..first + size]);
                let kernel = &mut kernel[..size];
                let lost = vectorized!(|| kernel_of_chords(kernel, weight, lines, slack));
                offset.add(r, -lost);
                scratch.add_transposed(out.row_mut(r), a, kernel, window);
            }
        }
    }

    /// Subtracts [`WeightSet::factor`] times `max ‖z_p‖₂`, summed over the positions: every position as a ball of its own.
    fn subtract_patches(
        &self,
        set: &WeightSet<T>,
        a: &Matrix<T>,
        (input, window): (usize, &Window),
        rows: &[Row],
        offset: &mut Offsets<T>,
    ) {
        let z = largest_magnitude(self.states.lower(input), self.states.upper(input));
        let patches = patch_l2(&z, Some(window));
        let positions = window.positions();
        let mut channels: Vec<T> = Vec::new();
        for (r, (s, _)) in rows.iter().enumerate() {
            for (group, a) in a.row(r).chunks_exact(window.group_outputs() * positions).enumerate() {
                let patches = &patches.row(*s)[group * positions..(group + 1) * positions];
                for (p, &length) in patches.iter().enumerate() {
                    channels.clear();
                    channels.extend(a.iter().skip(p).step_by(positions));
                    offset.add(r, -(set.factor(group * window.group_outputs(), &channels) * length));
                }
            }
        }
    }

    /// Adds what the noise of a convolution adds to the variance of rows with the coefficients `a`: a draw is one for all uses.
    ///
    /// ```text
    /// V = Σ_w σ_w² max |S_w|² + Σ_o σ_o² (Σ_p a_op)²
    /// ```
    /// # Guarantee
    /// Rounded up: what the sums over positions may lose is at most a part of `‖a_o‖₁ max |z|`, which is added to their magnitudes.
    pub(super) fn add_kernel_variances(
        &self,
        (node, window): (usize, &Window),
        a: &Matrix<T>,
        rows: &[Row],
        offset: &mut Offsets<T>,
    ) {
        let Some(noise) = self.block.prepared.noise_of(node) else { return };
        let positions = window.positions();
        let part = Scalar::to_f64(self.block.prepared.arithmetic.gamma(Roundings::of_uses(positions, 0)));
        let patch = window.patch();
        self.measured_uses((node, window), a, rows, |r, largest, (middle, half)| {
            let of_channels = a.row(r).chunks_exact(positions);
            let mut variance = 0.0;
            for (o, a) in of_channels.enumerate() {
                let length: f64 = a.iter().map(|&a| Scalar::to_f64(a).abs()).sum();
                if length == 0.0 {
                    continue;
                }
                let lost = part * length * largest;
                let taps = o * patch..(o + 1) * patch;
                let magnitudes = middle[taps.clone()].iter().zip(&half[taps]);
                let sums = magnitudes.map(|(&m, &h)| Scalar::to_f64(m).abs() + Scalar::to_f64(h) + lost);
                variance += noise.squares.of_row(o, sums);
                let sum: f64 = a.iter().map(|&a| Scalar::to_f64(a)).sum();
                let sum = sum.abs() + (positions as f64 * f64::EPSILON) * length;
                variance += noise.bias_squares[o] * sum * sum;
            }
            offset.add_variance(r, inflated(variance, middle.len() + noise.bias_squares.len()));
        });
    }

    /// Measures what each weight of the convolution `node` is multiplied with, `S_w = Σ_positions a z`, and tells of each row with any
    /// coefficients: the largest `|z|` of its sample, and the middle and the radius of all `S_w` on the box of `z`.
    pub(super) fn measured_uses(
        &self,
        (node, window): (usize, &Window),
        a: &Matrix<T>,
        rows: &[Row],
        mut each: impl FnMut(usize, f64, (&[T], &[T])),
    ) {
        let input = self.block.prepared.model.input_of(node);
        let (centre, width) = self.middle(input);
        let size = self.block.prepared.model.affine(node).weight.as_slice().len();
        let mut uses = Uses::default();
        for (s, run) in runs(rows) {
            let of_run = a.row_range(run.start, run.end);
            let Some(region) = Region::support(window, of_run) else { continue };
            uses.measure(window, of_run, region, centre.row(s), Some(width.row(s)));
            let ends = self.states.lower(input).row(s).iter().chain(self.states.upper(input).row(s));
            let largest = ends.fold(0.0, |most: f64, &z| most.max(Scalar::to_f64(z).abs()));
            let of_rows = uses.middle.chunks_exact(size).zip(uses.radius.chunks_exact(size));
            run.zip(of_rows).for_each(|(r, uses)| each(r, largest, uses));
        }
    }

    /// Subtracts from `a·p` what the parameters of a convolution with a fixed input can take: exact, for `S` is a number.
    pub(super) fn subtract_fixed_input(
        &self,
        node: usize,
        window: &Window,
        a: &Matrix<T>,
        rows: &[Row],
        offset: &mut Offsets<T>,
    ) {
        let radii = self.block.prepared.radii.layer(node);
        let input = self.block.prepared.model.input_of(node);
        // The input of the network is known up to its cast, which is charged; other values up to the error of a forward pass.
        let (z, error) = match input {
            0 => (self.states.value(0), None),
            _ => {
                let (centre, width) = self.middle(input);
                (centre, Some(width))
            }
        };
        let size = radii.bias.len() * window.patch();
        let mut uses = Uses::default();
        for (s, run) in runs(rows) {
            let of_run = a.row_range(run.start, run.end);
            let Some(region) = Region::support(window, of_run) else { continue };
            uses.measure(window, of_run, region, z.row(s), error.map(|error| error.row(s)));
            if error.is_some() {
                uses.middle.iter_mut().zip(&uses.radius).for_each(|(m, &d)| *m = m.abs() + d);
            }
            for (r, uses) in run.zip(uses.middle.chunks_exact(size)) {
                let weights = radii.weight.support(uses);
                let sums = a.row(r).chunks_exact(window.positions()).map(sum);
                offset.add(r, -(weights + sums.zip(&radii.bias).map(|(sum, &e)| sum.abs() * e).sum::<T>()));
            }
        }
    }
}

/// Runs of at most [`RUN`] rows of one sample.
fn runs(rows: &[Row]) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut first = 0;
    rows.chunk_by(|a, b| a.0 == b.0).flat_map(|of_sample| of_sample.chunks(RUN)).map(move |run| {
        first += run.len();
        (run[0].0, first - run.len()..first)
    })
}

/// The parts of a run whose rows have one channel each, and those of the others: what is done to a row follows from it alone.
fn alike(run: Range<usize>, channels: &[Option<usize>]) -> impl Iterator<Item = Range<usize>> {
    let mut first = run.start;
    channels[run].chunk_by(|a, b| a.is_some() == b.is_some()).map(move |part| {
        first += part.len();
        first - part.len()..first
    })
}

/// The channel of a row of coefficients, (channels × positions), where only one has any.
fn single_channel<T: Scalar>(row: &[T], window: &Window) -> Option<usize> {
    let has_some = |of: &[T]| of.iter().any(|a| *a != T::zero());
    let channels = row.chunks_exact(window.positions()).enumerate();
    let mut active = channels.filter(|(_, of)| has_some(of)).map(|(channel, _)| channel);
    active.next().filter(|_| active.next().is_none())
}

/// Whether all uses of a weight move alike, and weights move at all.
pub(in super::super) fn is_shared<T: Scalar>(radii: &LayerSet<T>) -> bool {
    !radii.per_use && !radii.weight.is_zero()
}

/// `k_w = w − e_w s_w` with the chords `|S_w| ≤ s_w S_w + t_w` on `middle ± half`; returns `Σ e_w t_w`.
#[inline(always)]
fn kernel_of_chords<T: Scalar>(
    kernel: &mut [T],
    weight: &[T],
    (middle, half, e): (&[T], &[T], &[T]),
    slack: Slack<T>,
) -> T {
    const LANES: usize = 16;
    let one = |k: &mut T, w: T, m: T, h: T, e: T| {
        let (slope, height) = chord(m - h, m + h, slack);
        *k = w - e * slope;
        e * height
    };
    let (k, tail_k) = kernel.as_chunks_mut::<LANES>();
    let (w, tail_w) = weight.as_chunks::<LANES>();
    let (m, tail_m) = middle.as_chunks::<LANES>();
    let (h, tail_h) = half.as_chunks::<LANES>();
    let (e, tail_e) = e.as_chunks::<LANES>();
    let mut lost = [T::zero(); LANES];
    for ((((k, w), m), h), e) in k.iter_mut().zip(w).zip(m).zip(h).zip(e) {
        for i in 0..LANES {
            lost[i] += one(&mut k[i], w[i], m[i], h[i], e[i]);
        }
    }
    let tail = tail_k.iter_mut().zip(tail_w).zip(tail_m).zip(tail_h).zip(tail_e);
    let tail: T = tail.map(|((((k, &w), &m), &h), &e)| one(k, w, m, h, e)).sum();
    lost.into_iter().sum::<T>() + tail
}

/// `Σ_o b_o Σ_p a_op − e_o |Σ_p a_op|`, or `− e_o Σ_p |a_op|` where every use moves on its own.
#[inline(always)]
fn bias_term<T: Scalar>(a: &[T], bias: &[T], radii: &LayerSet<T>) -> T {
    let positions = a.len() / bias.len();
    if positions == 1 {
        return dot(a, bias) - weighted_l1(a, &radii.bias);
    }
    let mut total = T::zero();
    for ((a, &b), &e) in a.chunks_exact(positions).zip(bias).zip(&radii.bias) {
        let sum = sum(a);
        total += b * sum - e * if radii.per_use { l1(a) } else { sum.abs() };
    }
    total
}

/// What `|z|` loses to weights that move by the radius of their channel: `Σ_o e_o |a_op|` at every position of a group, laid
/// back onto the elements that its windows read.
///
/// # Shapes
/// `a`: (rows, channels × positions), `e`: channels; returns (rows, input width).
fn row_losses<T: Scalar>(a: &Matrix<T>, e: &[T], window: &Window) -> Matrix<T> {
    let (positions, plane) = (window.positions(), window.plane());
    let [_, height, columns] = window.input;
    let groups =
        Window { input: [window.groups, height, columns], channels: window.groups, ..window.clone() };
    let mut out = Matrix::zeros(a.rows(), window.input_width());
    let (mut at, mut onto) = (Vec::new(), Vec::new());
    for r in 0..a.rows() {
        at.clear();
        if positions == 1 {
            let of_groups =
                a.row(r).chunks_exact(window.group_outputs()).zip(e.chunks_exact(window.group_outputs()));
            at.extend(of_groups.map(|(a, e)| weighted_l1(a, e)));
        } else {
            at.resize(window.groups * positions, T::zero());
            for (o, a) in a.row(r).chunks_exact(positions).enumerate() {
                let first = o / window.group_outputs() * positions;
                at[first..first + positions].iter_mut().zip(a).for_each(|(at, a)| *at += e[o] * a.abs());
            }
        }
        onto.clear();
        onto.resize(window.groups * plane, T::zero());
        add_window_sums_transposed(&mut onto, &at, &groups);
        for (c, out) in out.row_mut(r).chunks_exact_mut(plane).enumerate() {
            let first = c / window.group_inputs() * plane;
            out.copy_from_slice(&onto[first..first + plane]);
        }
    }
    out
}

/// `S_w` of every weight of a convolution, for rows of coefficients: its middle and its radius on a box.
#[derive(Default)]
struct Uses<T> {
    /// (rows × channels, patch).
    middle: Vec<T>,
    /// (rows × channels, patch).
    radius: Vec<T>,
    cropped: Vec<T>,
    patches: Patches<T>,
}

impl<T: Scalar> Uses<T> {
    /// Measures rows of coefficients `a`, which are zero outside of `region`, on the box `centre ± width` (a point without
    /// `width`) of the input.
    fn measure(&mut self, window: &Window, a: &[T], region: Region, centre: &[T], width: Option<&[T]>) {
        let n = a.len() / window.positions() * window.patch();
        region.crop(window, a, &mut self.cropped);
        self.middle.resize(n, T::zero());
        accumulate(&mut self.middle, &mut self.patches, window, &self.cropped, region, centre);
        if let Some(width) = width {
            self.radius.resize(n, T::zero());
            self.cropped.iter_mut().for_each(|a| *a = a.abs());
            accumulate(&mut self.radius, &mut self.patches, window, &self.cropped, region, width);
        }
    }
}

/// `out = A Xᵀ` group by group, with the patches X of `z` at the positions of `region`, for rows of coefficients A.
fn accumulate<T: Scalar>(
    out: &mut [T],
    patches: &mut Patches<T>,
    window: &Window,
    a: &[T],
    region: Region,
    z: &[T],
) {
    let (patch, positions) = (window.patch(), region.positions());
    // Without groups, the channels of all rows are the rows of one product.
    let channels = if window.groups == 1 { a.len() / positions } else { window.group_outputs() };
    let shape = (channels, positions, patch);
    for group in 0..window.groups {
        patches.unfold(window, group, z, region);
        let of_group = a.chunks_exact(channels * positions).zip(out.chunks_exact_mut(channels * patch));
        for (a, out) in of_group.skip(group).step_by(window.groups) {
            multiply(out, false, Factor::Plain(a), Factor::Transposed(patches.as_slice()), shape);
        }
    }
}
