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

use super::super::interval::{largest_magnitude, patch_l2};
use super::propagate::{Backward, Coefficients, Row, Sharing};
use super::relax::chord;
use crate::kernels::rows::{dot, l1, squares, vectorized};
use crate::kernels::{
    ConvScratch, Factor, Matrix, Patches, Region, Scalar, Window, add_linear_transposed,
    add_window_sums_transposed, multiply,
};
use crate::model::{LayerRadii, Radius};

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
        offset: &mut [T],
    ) -> Coefficients<T> {
        let layer = self.block.prepared.model.affine(node);
        let radii = self.block.prepared.radii.layer(node);
        let input = self.block.prepared.model.input_of(node);
        for r in 0..rows.len() {
            offset[r] += bias_term(c.a.row(r), &layer.bias, radii);
        }
        let mut out = Matrix::zeros(rows.len(), window.input_width());
        if self.sharing == Sharing::Shared && is_shared(radii) {
            self.shared(&c.a, (node, window), &mut out, rows, offset);
            return Coefficients::new(out);
        }
        add_linear_transposed(&mut out, &c.a, &layer.weight, Some(window));
        let loss = match &radii.weight {
            Radius::Zero => None,
            Radius::Uniform(e) => Some(row_losses(&c.a, &vec![*e; layer.bias.len()], window)),
            Radius::PerRow(e) => Some(row_losses(&c.a, e, window)),
            Radius::Dense(e) => {
                let mut g = Matrix::zeros(rows.len(), window.input_width());
                add_linear_transposed(&mut g, &c.a.map(|a| a.abs()), e, Some(window));
                Some(g)
            }
            Radius::Frobenius(e) => {
                self.subtract_patches(*e, &c.a, (input, window), rows, offset);
                None
            }
        };
        if let Some(g) = loss {
            self.subtract_matrix(&mut out, &g, input, rows, offset);
        }
        Coefficients::new(out)
    }

    /// The shared form, row by row.
    fn shared(
        &self,
        a: &Matrix<T>,
        (node, window): (usize, &Window),
        out: &mut Matrix<T>,
        rows: &[Row],
        offset: &mut [T],
    ) {
        let layer = self.block.prepared.model.affine(node);
        let radius = &self.block.prepared.radii.layer(node).weight;
        let (centre, width) = self.middle(self.block.prepared.model.input_of(node));
        let mut uses = Uses::default();
        let mut scratch = ConvScratch::default();
        let mut kernel = layer.weight.clone();
        for (r, (s, _)) in rows.iter().enumerate() {
            let a = a.row(r);
            let Some(region) = Region::support(window, a) else { continue };
            uses.measure(window, a, region, centre.row(*s), Some(width.row(*s)));
            if let Radius::Frobenius(e) = radius {
                let largest = |(m, d): (&T, &T)| m.abs() + *d;
                let reach: Vec<T> = uses.middle.iter().zip(&uses.radius).map(largest).collect();
                offset[r] -= *e * squares(&reach).sqrt();
                scratch.add_transposed(out.row_mut(r), a, layer.weight.as_slice(), window);
                continue;
            }
            let mut lost = T::zero();
            for i in 0..kernel.rows() {
                let n = kernel.cols();
                let (middle, half) = (&uses.middle[i * n..(i + 1) * n], &uses.radius[i * n..(i + 1) * n]);
                let weights = kernel.row_mut(i).iter_mut().zip(layer.weight.row(i));
                for (j, (k, &w)) in weights.enumerate() {
                    let e = radius_at(radius, i, j);
                    let (slope, height) = chord(middle[j] - half[j], middle[j] + half[j]);
                    *k = w - e * slope;
                    lost += e * height;
                }
            }
            offset[r] -= lost;
            scratch.add_transposed(out.row_mut(r), a, kernel.as_slice(), window);
        }
    }

    /// Subtracts `r Σ_p ‖a_p‖₂ max ‖z_p‖₂`: every position as a ball of its own.
    fn subtract_patches(
        &self,
        radius: T,
        a: &Matrix<T>,
        (input, window): (usize, &Window),
        rows: &[Row],
        offset: &mut [T],
    ) {
        let z = largest_magnitude(self.states.lower(input), self.states.upper(input));
        let patches = patch_l2(&z, Some(window));
        let positions = window.positions();
        for (r, (s, _)) in rows.iter().enumerate() {
            for (group, a) in a.row(r).chunks_exact(window.group_outputs() * positions).enumerate() {
                let patches = &patches.row(*s)[group * positions..(group + 1) * positions];
                for (p, &length) in patches.iter().enumerate() {
                    let norm: T = a.iter().skip(p).step_by(positions).map(|&a| a * a).sum();
                    offset[r] -= radius * norm.sqrt() * length;
                }
            }
        }
    }

    /// The worst case of `a·p` over the parameters of a convolution whose input is fixed, without `a·p` itself.
    pub(super) fn fixed_input_loss(&self, node: usize, window: &Window, a: &[T], s: usize) -> T {
        let radii = self.block.prepared.radii.layer(node);
        let z = self.states.value(self.block.prepared.model.input_of(node)).row(s);
        let Some(region) = Region::support(window, a) else { return T::zero() };
        let mut uses = Uses::default();
        uses.measure(window, a, region, z, None);
        let rows = || uses.middle.chunks_exact(window.patch());
        let weights = match &radii.weight {
            Radius::Zero => T::zero(),
            Radius::Uniform(e) => *e * l1(&uses.middle),
            Radius::PerRow(e) => rows().zip(e).map(|(uses, &e)| e * l1(uses)).sum(),
            Radius::Dense(e) => {
                let of_row = |(i, uses): (usize, &[T])| {
                    uses.iter().zip(e.row(i)).map(|(s, &e)| s.abs() * e).sum::<T>()
                };
                rows().enumerate().map(of_row).sum()
            }
            Radius::Frobenius(e) => *e * squares(&uses.middle).sqrt(),
        };
        let sums = a.chunks_exact(window.positions()).map(|a| a.iter().copied().sum::<T>());
        weights + sums.zip(&radii.bias).map(|(sum, &e)| sum.abs() * e).sum::<T>()
    }
}

/// Whether all uses of a weight move alike, and weights move at all.
pub(super) fn is_shared<T>(radii: &LayerRadii<T>) -> bool {
    !radii.per_use && !matches!(radii.weight, Radius::Zero)
}

fn radius_at<T: Scalar>(radius: &Radius<T>, i: usize, j: usize) -> T {
    match radius {
        Radius::Zero | Radius::Frobenius(_) => T::zero(),
        Radius::Uniform(e) => *e,
        Radius::PerRow(e) => e[i],
        Radius::Dense(e) => e[(i, j)],
    }
}

/// `Σ_o b_o Σ_p a_op − e_o |Σ_p a_op|`, or `− e_o Σ_p |a_op|` where every use moves on its own.
fn bias_term<T: Scalar>(a: &[T], bias: &[T], radii: &LayerRadii<T>) -> T {
    let positions = a.len() / bias.len();
    let channel = |((a, &b), &e): ((&[T], &T), &T)| {
        let sum: T = a.iter().copied().sum();
        b * sum - e * if radii.per_use { l1(a) } else { sum.abs() }
    };
    a.chunks_exact(positions).zip(bias).zip(&radii.bias).map(channel).sum()
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
        at.resize(window.groups * positions, T::zero());
        for (o, a) in a.row(r).chunks_exact(positions).enumerate() {
            let first = o / window.group_outputs() * positions;
            at[first..first + positions].iter_mut().zip(a).for_each(|(at, a)| *at += e[o] * a.abs());
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

/// `S_w` of every weight of a convolution, for one row of coefficients: its middle and its radius on a box.
#[derive(Default)]
struct Uses<T> {
    /// (channels, patch).
    middle: Vec<T>,
    /// (channels, patch).
    radius: Vec<T>,
    cropped: Vec<T>,
    magnitude: Vec<T>,
    patches: Patches<T>,
}

impl<T: Scalar> Uses<T> {
    /// Measures on the box `centre ± width` (a point without `width`) of the input.
    fn measure(&mut self, window: &Window, a: &[T], region: Region, centre: &[T], width: Option<&[T]>) {
        let n = window.channels * window.patch();
        region.crop(window, a, &mut self.cropped);
        self.middle.resize(n, T::zero());
        accumulate(&mut self.middle, &mut self.patches, window, &self.cropped, region, centre);
        if let Some(width) = width {
            self.radius.resize(n, T::zero());
            self.magnitude.clear();
            self.magnitude.extend(self.cropped.iter().map(|a| a.abs()));
            accumulate(&mut self.radius, &mut self.patches, window, &self.magnitude, region, width);
        }
    }
}

/// `out = A Xᵀ` group by group, with the patches X of `z` at the positions of `region`.
fn accumulate<T: Scalar>(
    out: &mut [T],
    patches: &mut Patches<T>,
    window: &Window,
    a: &[T],
    region: Region,
    z: &[T],
) {
    let (channels, patch, positions) = (window.group_outputs(), window.patch(), region.positions());
    for group in 0..window.groups {
        patches.unfold(window, group, z, region);
        let a = &a[group * channels * positions..(group + 1) * channels * positions];
        let out = &mut out[group * channels * patch..(group + 1) * channels * patch];
        let shape = (channels, positions, patch);
        multiply(out, false, Factor::Plain(a), Factor::Transposed(patches.as_slice()), shape);
    }
}

/// `a·v` of the value `v` of a convolution whose input is fixed, less the worst case over its parameters.
pub(super) fn fixed_input<T: Scalar>(
    pass: &Backward<'_, T>,
    node: usize,
    window: &Window,
    a: &[T],
    s: usize,
) -> T {
    let value = vectorized(|| dot(a, pass.states.value(node).row(s)));
    value - pass.fixed_input_loss(node, window, a, s)
}
