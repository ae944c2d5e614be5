//! Pooling of rows of images.

use super::conv::each_tap;
use super::{Matrix, Scalar, Window};

/// The largest element of every window; NaN when one is NaN.
///
/// # Shapes
/// `z`: (rows, input width); returns (rows, output width).
pub fn max_pool<T: Scalar>(z: &Matrix<T>, window: &Window) -> Matrix<T> {
    let mut out = Matrix::zeros(z.rows(), window.output_width());
    for s in 0..z.rows() {
        max_pool_row(out.row_mut(s), z.row(s), window);
    }
    out
}

/// [`max_pool`] of one row.
pub fn max_pool_row<T: Scalar>(out: &mut [T], z: &[T], window: &Window) {
    T::max_pool_row(out, z, window);
}

pub(crate) fn max_pool_row_generic<T: Scalar>(out: &mut [T], z: &[T], window: &Window) {
    out.fill(-T::infinity());
    for c in 0..window.channels {
        each_tap(window, c, |_, from, to, count| {
            let values = z[from..].iter().step_by(window.stride[1]);
            for (out, &z) in out[to..to + count].iter_mut().zip(values) {
                *out = if out.is_nan() || *out >= z { *out } else { z };
            }
        });
    }
}

/// Adds the gradient `g` of `most`, which is [`max_pool`] of `z`, to the first largest element of every window: the first NaN
/// where there is one. Uses `g` up.
pub fn add_max_pool_gradient<T: Scalar>(back: &mut [T], g: &mut [T], z: &[T], most: &[T], window: &Window) {
    T::add_max_pool_gradient(back, g, z, most, window);
}

pub(crate) fn add_max_pool_gradient_generic<T: Scalar>(
    back: &mut [T],
    g: &mut [T],
    z: &[T],
    most: &[T],
    window: &Window,
) {
    for c in 0..window.channels {
        each_tap(window, c, |_, from, to, count| {
            let values = back[from..].iter_mut().zip(&z[from..]).step_by(window.stride[1]);
            let windows = g[to..to + count].iter_mut().zip(&most[to..to + count]);
            for ((back, z), (g, most)) in values.zip(windows) {
                if z == most || (z.is_nan() && most.is_nan()) {
                    *back += std::mem::replace(g, T::zero());
                }
            }
        });
    }
}

/// The sum of every window.
///
/// # Shapes
/// `z`: (rows, input width); returns (rows, output width).
pub fn window_sums<T: Scalar>(z: &Matrix<T>, window: &Window) -> Matrix<T> {
    let mut out = Matrix::zeros(z.rows(), window.output_width());
    for s in 0..z.rows() {
        add_window_sums(out.row_mut(s), z.row(s), window);
    }
    out
}

/// `out += ` [`window_sums`] of one row.
pub fn add_window_sums<T: Scalar>(out: &mut [T], z: &[T], window: &Window) {
    T::add_window_sums(out, z, window);
}

pub(crate) fn add_window_sums_generic<T: Scalar>(out: &mut [T], z: &[T], window: &Window) {
    for c in 0..window.channels {
        each_tap(window, c, |_, from, to, count| {
            let values = z[from..].iter().step_by(window.stride[1]);
            out[to..to + count].iter_mut().zip(values).for_each(|(out, &z)| *out += z);
        });
    }
}

/// `out += ` the transposed of [`window_sums`], for one row.
pub fn add_window_sums_transposed<T: Scalar>(out: &mut [T], a: &[T], window: &Window) {
    T::add_window_sums_transposed(out, a, window);
}

pub(crate) fn add_window_sums_transposed_generic<T: Scalar>(out: &mut [T], a: &[T], window: &Window) {
    for c in 0..window.channels {
        each_tap(window, c, |_, from, to, count| {
            let values = out[from..].iter_mut().step_by(window.stride[1]);
            values.zip(&a[to..to + count]).for_each(|(out, &a)| *out += a);
        });
    }
}

/// The sum of every window times the factor of its position.
///
/// # Shapes
/// `z`: (rows, input width), `factor`: positions; returns (rows, output width).
pub fn average_pool<T: Scalar>(z: &Matrix<T>, window: &Window, factor: &[T]) -> Matrix<T> {
    let mut out = window_sums(z, window);
    for s in 0..out.rows() {
        out.row_mut(s).chunks_exact_mut(factor.len()).for_each(|plane| multiply_by(plane, factor));
    }
    out
}

/// `out += ` the transposed of [`average_pool`] applied to rows `a`.
pub fn add_average_pool_transposed<T: Scalar>(
    out: &mut Matrix<T>,
    a: &Matrix<T>,
    window: &Window,
    factor: &[T],
) {
    let mut scaled = Vec::new();
    for r in 0..a.rows() {
        scaled.clear();
        scaled.extend_from_slice(a.row(r));
        scaled.chunks_exact_mut(factor.len()).for_each(|plane| multiply_by(plane, factor));
        add_window_sums_transposed(out.row_mut(r), &scaled, window);
    }
}

fn multiply_by<T: Scalar>(plane: &mut [T], factor: &[T]) {
    plane.iter_mut().zip(factor).for_each(|(out, &f)| *out *= f);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{wave, windows};
    use crate::definition::pool;

    #[test]
    fn pooling_matches_the_definition_and_its_transposed_is_adjoint() {
        for window in windows() {
            let reads_something = |p| (0..window.taps()).any(|tap| window.source(p, tap).is_some());
            if !(0..window.positions()).all(reads_something) {
                continue;
            }
            let pooling = Window { groups: window.input[0], channels: window.input[0], ..window };
            let z = wave(3, pooling.input_width(), 0.4);
            for count_padding in [false, true] {
                let inside = |p| (0..pooling.taps()).filter(|&tap| pooling.source(p, tap).is_some()).count();
                let counted = |p| if count_padding { pooling.taps() } else { inside(p) };
                let factor: Vec<f64> = (0..pooling.positions()).map(|p| 1.0 / counted(p) as f64).collect();
                let (mean, most) = (average_pool(&z, &pooling, &factor), max_pool(&z, &pooling));
                let a = wave(3, pooling.output_width(), 0.8);
                let mut back = Matrix::zeros(3, pooling.input_width());
                add_average_pool_transposed(&mut back, &a, &pooling, &factor);
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                for s in 0..3 {
                    let same = |a: &[f64], b: Vec<f64>| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
                    assert!(
                        same(mean.row(s), pool(&pooling, z.row(s), |p, all| all.sum::<f64>() * factor[p])),
                        "{pooling:?}"
                    );
                    assert!(
                        same(
                            most.row(s),
                            pool(&pooling, z.row(s), |_, all| all.fold(f64::NEG_INFINITY, f64::max))
                        ),
                        "{pooling:?}"
                    );
                    let (left, right) = (dot(a.row(s), mean.row(s)), dot(back.row(s), z.row(s)));
                    assert!((left - right).abs() < 1e-12, "{pooling:?}");
                }
            }
        }
    }

    #[test]
    fn the_gradient_of_a_maximum_goes_to_one_element_of_every_window() {
        let window = Window { stride: [1, 2], ..Window::pooling([1, 1, 5], [1, 3]) };
        let gradient = |z: [f64; 5]| {
            let (mut back, mut most) = (vec![0.0; 5], vec![0.0; 2]);
            max_pool_row(&mut most, &z, &window);
            add_max_pool_gradient(&mut back, &mut [1.0, 10.0], &z, &most, &window);
            back
        };
        assert_eq!(gradient([1.0, 2.0, 3.0, 0.0, 1.0]), [0.0, 0.0, 11.0, 0.0, 0.0]);
        assert_eq!(gradient([2.0; 5]), [1.0, 0.0, 10.0, 0.0, 0.0]);
        assert_eq!(gradient([1.0, f64::NAN, 3.0, f64::NAN, f64::NAN]), [0.0, 1.0, 0.0, 10.0, 0.0]);
    }

    #[test]
    fn nan_survives_the_maximum() {
        let window = Window::pooling([1, 1, 3], [1, 3]);
        for k in 0..3 {
            let mut z = Matrix::from_vec(1, 3, vec![1.0, 2.0, 3.0]);
            z[(0, k)] = f64::NAN;
            assert!(max_pool(&z, &window)[(0, 0)].is_nan());
        }
    }
}
