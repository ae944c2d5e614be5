//! Fused loops over one row. They are inlined into `vectorized!` blocks.

use crate::kernels::Scalar;
use crate::kernels::rows::{squares, sum3};
use crate::model::Step;

/// `‖z‖₂`.
#[inline(always)]
pub(super) fn length<T: Scalar>(z: &[T]) -> T {
    num_traits::Float::sqrt(squares(z))
}

/// `sign(z)`, zero for zero and NaN.
#[inline(always)]
pub(super) fn sign<T: Scalar>(z: T) -> T {
    let up = if z > T::zero() { T::one() } else { T::zero() };
    if z < T::zero() { -T::one() } else { up }
}

pub(super) use crate::kernels::rows::{add, clamp};

/// `out_i += t_i e_i`.
#[inline(always)]
pub(super) fn add_products<T: Scalar>(out: &mut [T], t: &[T], e: &[T]) {
    for ((out, &t), &e) in out.iter_mut().zip(t).zip(e) {
        *out += t * e;
    }
}

/// `out_i += factor t_i`.
#[inline(always)]
pub(super) fn add_scaled<T: Scalar>(out: &mut [T], t: &[T], factor: T) {
    for (out, &t) in out.iter_mut().zip(t) {
        *out += factor * t;
    }
}

/// `out_i += b_i + t_i (r_i norm + e_i)`.
#[inline(always)]
pub(super) fn add_shifted<T: Scalar>(out: &mut [T], b: &[T], t: &[T], e: &[T], r: &[T], norm: T) {
    for ((((out, &b), &t), &e), &r) in out.iter_mut().zip(b).zip(t).zip(e).zip(r) {
        *out += b + t * (r * norm + e);
    }
}

/// The derivative of `|z|`; at zero the one from the right, since what is zero mostly is an inactive neuron.
#[inline(always)]
fn side<T: Scalar>(z: T) -> T {
    if z < T::zero() { -T::one() } else { T::one() }
}

/// `out_j += factor d|z_j|/dz_j`.
#[inline(always)]
pub(super) fn add_signs<T: Scalar>(out: &mut [T], z: &[T], factor: T) {
    for (out, &z) in out.iter_mut().zip(z) {
        *out += factor * side(z);
    }
}

/// `out_j += a_j d|z_j|/dz_j`.
#[inline(always)]
pub(super) fn add_signed<T: Scalar>(out: &mut [T], z: &[T], a: &[T]) {
    for ((out, &z), &a) in out.iter_mut().zip(z).zip(a) {
        *out += a * side(z);
    }
}

/// `Σ a_i b_i c_i`.
#[inline(always)]
pub(super) fn dot3<T: Scalar>(a: &[T], b: &[T], c: &[T]) -> T {
    sum3(a, b, c, |a, b, c| a * b * c)
}

/// Mean of `|a_i − b_i|`.
#[inline(always)]
pub(super) fn mean_distance<T: Scalar>(a: &[T], b: &[T]) -> T {
    sum3(a, b, b, |a, b, _| num_traits::Float::abs(a - b)) / T::from_f64(a.len() as f64)
}

/// `z = l + (h − l)(u + 1)/2`, kept in `[l, h]` whatever the rounding.
#[inline(always)]
pub(super) fn interpolate<T: Scalar>(out: &mut [T], u: &[T], lower: &[T], upper: &[T]) {
    let half = T::from_f64(0.5);
    for (((out, &u), &l), &h) in out.iter_mut().zip(u).zip(lower).zip(upper) {
        *out = clamp(l + (h - l) * (half * u + half), l, h);
    }
}

/// One row through a layer that works on every element.
#[inline(always)]
pub(super) fn elementwise<T: Scalar>(out: &mut [T], z: &[T], step: &Step<T>) {
    match step {
        Step::Scale { scale, shift } => {
            for (((out, &z), &a), &b) in out.iter_mut().zip(z).zip(scale).zip(shift) {
                *out = a * z + b;
            }
        }
        Step::Activation(f) => f.apply_all(out, z),
        Step::DynamicQuantize(q) => q.apply_all(out, z),
        Step::Reshape => out.copy_from_slice(z),
        Step::Input
        | Step::Affine(_)
        | Step::MaxPool(_)
        | Step::AveragePool { .. }
        | Step::Add
        | Step::Multiply
        | Step::Gather(_) => unreachable!("not elementwise"),
    }
}

/// Adds what one row's gradient becomes in front of such a layer.
#[inline(always)]
pub(super) fn elementwise_backward<T: Scalar>(back: &mut [T], g: &[T], p: &[T], step: &Step<T>) {
    match step {
        Step::Scale { scale, .. } => add_products(back, g, scale),
        Step::Activation(f) => f.add_gradients(back, g, p),
        // As if nothing were rounded.
        Step::DynamicQuantize(_) | Step::Reshape => add(back, g),
        Step::Input
        | Step::Affine(_)
        | Step::MaxPool(_)
        | Step::AveragePool { .. }
        | Step::Add
        | Step::Multiply
        | Step::Gather(_) => unreachable!("not elementwise"),
    }
}

/// [`elementwise_backward`] of a function with slopes `below` and 1 on the two sides of zero, whose kink is spread over
/// `[−width, width]`: the slope at `p` is the mean slope of the function on `[p − width, p + width]`.
#[inline(always)]
pub(super) fn kink_backward<T: Scalar>(back: &mut [T], g: &[T], p: &[T], below: T, width: T) {
    let half = T::from_f64(0.5);
    let (factor, above) = (half / width, T::one() - below);
    for ((back, &g), &p) in back.iter_mut().zip(g).zip(p) {
        let share = clamp(half + p * factor, T::zero(), T::one());
        *back += g * (below + above * share);
    }
}

/// The same for a function with slope 1 between `low` and `high` and 0 elsewhere.
#[inline(always)]
pub(super) fn clip_backward<T: Scalar>(back: &mut [T], g: &[T], p: &[T], (low, high): (T, T), width: T) {
    let half = T::from_f64(0.5);
    let above = |p: T| clamp(half + p * (half / width), T::zero(), T::one());
    for ((back, &g), &p) in back.iter_mut().zip(g).zip(p) {
        *back += g * (above(p - low) - above(p - high));
    }
}

/// The same for a soft threshold: slope 0 between `−lambda` and `lambda` and 1 elsewhere.
#[inline(always)]
pub(super) fn threshold_backward<T: Scalar>(back: &mut [T], g: &[T], p: &[T], lambda: T, width: T) {
    add(back, g);
    let half = T::from_f64(0.5);
    let above = |p: T| clamp(half + p * (half / width), T::zero(), T::one());
    for ((back, &g), &p) in back.iter_mut().zip(g).zip(p) {
        *back -= g * (above(p + lambda) - above(p - lambda));
    }
}

/// Adds the gradient of elements that were picked from inputs laid end to end: the part of the input that begins at `start`.
#[inline(always)]
pub(super) fn scatter<T: Scalar>(back: &mut [T], g: &[T], source: &[Option<usize>], start: usize) {
    for (&g, source) in g.iter().zip(source) {
        if let Some(back) = source.and_then(|k| k.checked_sub(start)).and_then(|k| back.get_mut(k)) {
            *back += g;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_a_spread_kink_is_a_mean_slope() {
        let mut back = vec![0.0; 4];
        kink_backward(&mut back, &[1.0; 4], &[-3.0, -1.0, 0.0, 5.0], 0.2, 2.0);
        let expected = [0.2, 0.2 + 0.8 * 0.25, 0.2 + 0.8 * 0.5, 1.0];
        assert!(back.iter().zip(expected).all(|(b, e): (&f64, f64)| (b - e).abs() < 1e-12), "{back:?}");
    }

    #[test]
    fn the_slope_of_a_spread_threshold_is_a_mean_slope() {
        let mut back = vec![1.0; 4];
        threshold_backward(&mut back, &[2.0; 4], &[-3.0, -1.0, 0.0, 6.0], 1.0, 2.0);
        // Means of the slope of the soft threshold on p ± 2.
        assert_eq!(back, [1.0 + 2.0, 1.0 + 2.0 * 0.5, 1.0 + 2.0 * 0.5, 1.0 + 2.0]);
    }

    #[test]
    fn the_slope_of_a_spread_clip_is_a_mean_slope() {
        let slopes = |ends: (f64, f64)| {
            let mut back = vec![0.0; 4];
            clip_backward(&mut back, &[1.0; 4], &[-3.0, -1.0, 2.0, 6.0], ends, 2.0);
            back
        };
        assert_eq!(slopes((0.0, 5.0)), [0.0, 0.25, 0.75 + 0.25, 0.25]);
        assert_eq!(slopes((-1.0, 1.0)), [0.0, 0.5, 0.25, 0.0]);
        assert_eq!(slopes((0.0, f64::INFINITY)), [0.0, 0.25, 1.0, 1.0]);
        assert_eq!(slopes((f64::NEG_INFINITY, 1.0)), [1.0, 1.0, 0.25, 0.0]);
    }

    #[test]
    fn gradients_of_picked_elements_return_to_their_input() {
        let source = [Some(2), None, Some(0), Some(3), Some(2)];
        let (mut first, mut second) = (vec![0.0; 2], vec![0.0; 2]);
        scatter(&mut first, &[1.0, 2.0, 4.0, 8.0, 16.0], &source, 0);
        scatter(&mut second, &[1.0, 2.0, 4.0, 8.0, 16.0], &source, 2);
        assert_eq!((first, second), (vec![4.0, 0.0], vec![17.0, 8.0]));
    }

    #[test]
    fn interpolation_stays_in_the_interval_and_signs_ignore_nan() {
        let mut out = [0.0; 3];
        interpolate(&mut out, &[-1.0, 0.0, 1.0], &[0.1, 0.1, 0.1], &[0.3, 0.3, 0.3]);
        assert_eq!((out[0], out[2]), (0.1, 0.3));
        assert_eq!((sign(f64::NAN), sign(-0.0), sign(-2.0)), (0.0, 0.0, -1.0));
    }
}
