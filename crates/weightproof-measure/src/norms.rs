//! Singular values of matrices, and norms of the linear maps that layers are.
//!
//! A convolution is a matrix, too: the unrolled one, which is never built. Its largest singular value is found by
//! Golub–Kahan–Lanczos bidiagonalisation with the core's products; both triangles of a dense layer go the same way.
//!
//! # Source
//! Golub and Kahan 1965; Golub and Van Loan, Matrix Computations, section 10.4.

use crate::error::Refusal;
use faer::{Mat, MatRef};
use weightproof::kernels::{Matrix, Window, add_linear_transposed, linear};
use weightproof::network::{Affine, Layer};

/// Most steps of the bidiagonalisation.
const STEPS: usize = 128;
/// Ratio to the largest number so far below which a vector counts as zero.
const ZERO: f64 = 1e-14;

/// `W = U diag(s) Vᵀ`, the singular values falling; `u`: (rows, k), `v`: (cols, k), k the smaller side.
#[derive(Clone, Debug)]
pub struct Svd {
    /// Left singular vectors, as columns.
    pub u: Matrix<f64>,
    /// Singular values.
    pub s: Vec<f64>,
    /// Right singular vectors, as columns.
    pub v: Matrix<f64>,
}

/// All singular values and vectors.
///
/// # Errors
/// When the iteration does not converge.
pub fn svd(w: &Matrix<f64>) -> Result<Svd, Refusal> {
    let view = MatRef::from_row_major_slice(w.as_slice(), w.rows(), w.cols());
    let found = view.thin_svd().map_err(|_| diverged())?;
    let own = |m: MatRef<'_, f64>| Matrix::from_fn(m.nrows(), m.ncols(), |i, j| m[(i, j)]);
    let s = found.S().column_vector();
    Ok(Svd { u: own(found.U()), s: (0..s.nrows()).map(|k| s[k]).collect(), v: own(found.V()) })
}

/// The singular values, falling.
///
/// # Errors
/// When the iteration does not converge.
pub fn singular_values(w: &Matrix<f64>) -> Result<Vec<f64>, Refusal> {
    let view = MatRef::from_row_major_slice(w.as_slice(), w.rows(), w.cols());
    view.singular_values().map_err(|_| diverged())
}

fn diverged() -> Refusal {
    Refusal::Undefined("singular values: the iteration does not converge".into())
}

/// Weights of a layer with parameters, with the window of a convolution.
pub fn parts(layer: &Layer) -> Option<(&Affine, Option<&Window>)> {
    layer.affine().map(|affine| (affine, layer.kernel_window()))
}

/// The largest singular value of a matrix, or of the matrix that a convolution is.
///
/// # Errors
/// When the singular values of the small bidiagonal matrix do not converge.
pub fn spectral_norm(weight: &Matrix<f64>, window: Option<&Window>) -> Result<f64, Refusal> {
    let n_in = window.map_or(weight.cols(), Window::input_width);
    let n_out = window.map_or(weight.rows(), Window::output_width);
    let row = |v: &[f64]| Matrix::from_vec(1, v.len(), v.to_vec());
    let forward = |v: &[f64]| {
        let mut out = Matrix::default();
        linear(&mut out, &row(v), weight, window);
        out.as_slice().to_vec()
    };
    let backward = |u: &[f64]| {
        let mut out = Matrix::zeros(1, n_in);
        add_linear_transposed(&mut out, &row(u), weight, window);
        out.as_slice().to_vec()
    };
    let mut rights: Vec<Vec<f64>> = Vec::new();
    let mut lefts: Vec<Vec<f64>> = Vec::new();
    let (mut diagonal, mut above) = (Vec::new(), Vec::new());
    // In the row space, which is exhausted after as many steps as the matrix has rank.
    let mut v =
        backward(&(0..n_out).map(|i| 1.0 + 0.5 * (i as f64 * 0.754_877_666).fract()).collect::<Vec<_>>());
    normalize(&mut v);
    let mut largest = 0.0_f64;
    for _ in 0..STEPS.min(n_in).min(n_out) {
        rights.push(v.clone());
        let mut u = forward(&v);
        project_out(&mut u, &lefts);
        let alpha = normalize(&mut u);
        largest = largest.max(alpha);
        diagonal.push(alpha);
        if !(alpha > ZERO * largest) {
            break;
        }
        v = backward(&u);
        lefts.push(u);
        project_out(&mut v, &rights);
        let beta = normalize(&mut v);
        largest = largest.max(beta);
        if !(beta > ZERO * largest) {
            break;
        }
        above.push(beta);
    }
    let k = diagonal.len();
    let entry = |i: usize, j: usize| match j {
        _ if i == j => diagonal[i],
        _ if j == i + 1 => above[i],
        _ => 0.0,
    };
    let values = Mat::from_fn(k, k, entry).singular_values().map_err(|_| diverged())?;
    Ok(values.first().copied().unwrap_or(0.0))
}

/// `‖W‖_F² / ‖W‖₂²` of a matrix, or of the matrix that a convolution is, whose largest singular value is `spectral`: between 1 and
/// the rank, small where few directions carry the weights. 0 of zeros.
///
/// # Source
/// Rudelson and Vershynin 2007, section 1.
pub fn stable_rank(weight: &Matrix<f64>, window: Option<&Window>, spectral: f64) -> f64 {
    let squares = sum_of_squares(weight, window);
    if squares > 0.0 { squares / (spectral * spectral) } else { 0.0 }
}

/// `‖W‖_F²` of a matrix, or of the matrix that a convolution is, which has each weight once for every place that its tap reads.
fn sum_of_squares(weight: &Matrix<f64>, window: Option<&Window>) -> f64 {
    let Some(window) = window else { return weight.as_slice().iter().map(|w| w * w).sum() };
    let taps = window.taps();
    let reads = |t: usize| (0..window.positions()).filter(|&p| window.source(p, t).is_some()).count() as f64;
    let uses: Vec<f64> = (0..taps).map(reads).collect();
    let row = |o: usize| weight.row(o).iter().enumerate().map(|(c, w)| uses[c % taps] * w * w).sum::<f64>();
    (0..window.channels).map(row).sum()
}

/// Divides by the Euclidean norm, which is returned.
fn normalize(v: &mut [f64]) -> f64 {
    let norm = euclidean(v);
    if norm > 0.0 {
        v.iter_mut().for_each(|v| *v /= norm);
    }
    norm
}

/// Takes what lies along orthonormal `others` out of `v`; twice, so that rounding of the first time goes, too.
fn project_out(v: &mut [f64], others: &[Vec<f64>]) {
    for other in others.iter().chain(others) {
        let along: f64 = v.iter().zip(other).map(|(a, b)| a * b).sum();
        v.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
    }
}

/// `‖v‖₂`.
pub fn euclidean(v: &[f64]) -> f64 {
    v.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// `Σ_i ‖W_i‖₂` over the rows of a matrix, or of the matrix that a convolution is, whose rows at the border of the image are shorter.
pub fn sum_of_row_norms(weight: &Matrix<f64>, window: Option<&Window>) -> f64 {
    let Some(window) = window else { return (0..weight.rows()).map(|i| euclidean(weight.row(i))).sum() };
    let taps = window.taps();
    // Squares of the weights of each tap, over the channels.
    let squares = |o: usize| {
        let mut squares = vec![0.0; taps];
        weight.row(o).iter().enumerate().for_each(|(c, w)| squares[c % taps] += w * w);
        squares
    };
    let rows = (0..window.channels).map(squares);
    rows.map(|squares| {
        let at =
            |p: usize| (0..taps).filter(|&t| window.source(p, t).is_some()).map(|t| squares[t]).sum::<f64>();
        (0..window.positions()).map(|p| at(p).sqrt()).sum::<f64>()
    })
    .sum()
}

/// The matrix that a convolution is, (output width, input width); large.
pub fn unrolled(weight: &Matrix<f64>, window: &Window) -> Matrix<f64> {
    let mut identity = Matrix::zeros(window.input_width(), window.input_width());
    (0..window.input_width()).for_each(|j| identity[(j, j)] = 1.0);
    let mut out = Matrix::default();
    linear(&mut out, &identity, weight, Some(window));
    out.transposed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof_testkit::networks::{Design, rng};

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-9)
    }

    #[test]
    fn by_hand() {
        let w = Matrix::from_vec(2, 3, vec![3.0, 0.0, 0.0, 0.0, -4.0, 0.0]);
        assert!(near(spectral_norm(&w, None).unwrap(), 4.0));
        assert_eq!(sum_of_row_norms(&w, None), 7.0);
        assert_eq!(stable_rank(&w, None, 4.0), 25.0 / 16.0);
        assert_eq!(stable_rank(&Matrix::zeros(2, 3), None, 0.0), 0.0);
        assert_eq!(spectral_norm(&Matrix::zeros(2, 3), None).unwrap(), 0.0);
        let found = svd(&w).unwrap();
        assert!(near(found.s[0], 4.0) && near(found.s[1], 3.0));
        let back =
            |i: usize, j: usize| (0..2).map(|k| found.u[(i, k)] * found.s[k] * found.v[(j, k)]).sum::<f64>();
        (0..2).for_each(|i| (0..3).for_each(|j| assert!((back(i, j) - w[(i, j)]).abs() < 1e-12)));
    }

    #[test]
    fn dense_norms_are_the_largest_singular_values() {
        use rand::RngExt;
        let mut random = rng(3);
        for (rows, cols) in [(1, 1), (5, 3), (40, 60), (200, 170)] {
            let w = Matrix::from_fn(rows, cols, |_, _| random.random_range(-1.0..1.0));
            let expected = singular_values(&w).unwrap()[0];
            assert!(near(spectral_norm(&w, None).unwrap(), expected), "{rows} {cols}");
        }
    }

    #[test]
    fn norms_of_convolutions_are_those_of_the_unrolled_matrix() {
        use weightproof_testkit::images::{ImageBlueprint, Piece};
        let mut seen = 0;
        for seed in 0..60 {
            let pieces = vec![Piece::Conv, Piece::Activation, Piece::Grouped, Piece::Depthwise];
            let design = ImageBlueprint { input: [2, 5, 4], pieces, classes: 3, global_pool: false, seed };
            let network = design.build();
            for (_, node, _) in network.affine_layers() {
                let Some((affine, Some(window))) = parts(&node.layer) else { continue };
                let matrix = unrolled(&affine.weight, window);
                let expected = singular_values(&matrix).unwrap()[0];
                let found = spectral_norm(&affine.weight, Some(window)).unwrap();
                assert!(near(found, expected), "{}: {found} {expected}", node.name);
                let sums = [sum_of_row_norms(&affine.weight, Some(window)), sum_of_row_norms(&matrix, None)];
                assert!(near(sums[0], sums[1]), "{sums:?}");
                let ranks = [(&affine.weight, Some(window)), (&matrix, None)];
                let ranks = ranks.map(|(w, window)| stable_rank(w, window, expected));
                assert!(near(ranks[0], ranks[1]) && (expected == 0.0 || ranks[0] > 1.0 - 1e-9), "{ranks:?}");
                seen += 1;
            }
        }
        assert!(seen > 100, "{seen}");
    }
}
