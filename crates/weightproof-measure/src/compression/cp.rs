//! A convolution as a sum of rank-one tensors: the CP decomposition by alternating least squares.
//!
//! ```text
//! W[o, c, y, x] ≈ Σ_r λ_r a_r[o] b_r[c] p_r[y] q_r[x]            factors of norm 1, λ ≥ 0 falling
//! ‖conv of a component‖ ≤ λ_r · max_ω |p̂_r(ω)| · max_ω |q̂_r(ω)|   spatial factors by their Fourier maxima
//! ‖conv of W‖           ≤ Σ_taps σ₁(W[:, :, tap])                  for the remainder of the fit
//! ```
//! A convolution with zero padding, strides and dilation is a part of the rows and columns of the one on the infinite grid, whose norm
//! the Fourier transform gives; its channels are mixed by `a_r b_rᵀ` of norm 1. So `t = Σ_r ‖component‖ + ‖remainder‖` and
//! `ξ_j = Σ_{r>j} ‖component‖ + ‖remainder‖` are upper bounds. Fourier maxima are taken over a grid of N points and divided by
//! `cos(πd/N)`, d the degree: then they are upper bounds, too (Ehlich and Zeller 1964). In a convolution with g groups the channels
//! c are those of one group, and the g blocks of `a_r b_rᵀ` have disjoint inputs and outputs, so the bound holds as it is.
//!
//! # Source
//! Carroll and Chang 1970; Kolda and Bader, SIAM Review 2009, section 3.4; arXiv 2001.05070 (Fourier maxima: reconstructed).

use super::{Decomposition, Kind};
use crate::error::Refusal;
use crate::norms::{euclidean, singular_values};
use weightproof::kernels::{Matrix, Window};

/// Most components.
const MOST: usize = 48;
/// Rounds of least squares of all components together.
const ROUNDS: usize = 20;
/// Rounds of least squares of one component.
const SINGLE_ROUNDS: usize = 10;
/// Added to the diagonal of the least squares, relative to its mean.
const RIDGE: f64 = 1e-3;
/// Points of the Fourier grid for each degree.
const POINTS: usize = 64;

/// Rank-one tensors, the largest first.
#[derive(Clone, Debug)]
pub struct Components {
    shape: [usize; 4],
    /// Four factors with one row for each component, (rank, side).
    factors: [Matrix<f64>; 4],
    scale: Vec<f64>,
}

impl Components {
    /// The kernels that the first `rank` components sum up to, (channels, patch).
    pub fn partial_sum(&self, rank: usize) -> Matrix<f64> {
        let [o, c, y, x] = self.shape;
        let mut sum = Matrix::zeros(o, c * y * x);
        for r in 0..rank.min(self.scale.len()) {
            let [a, b, p, q] = &self.factors;
            for i in 0..o {
                let row = sum.row_mut(i);
                for j in 0..c {
                    for k in 0..y {
                        let product = self.scale[r] * a[(r, i)] * b[(r, j)] * p[(r, k)];
                        (0..x).for_each(|l| row[(j * y + k) * x + l] += product * q[(r, l)]);
                    }
                }
            }
        }
        sum
    }
}

pub(super) fn decompose(
    node: usize,
    weight: &Matrix<f64>,
    window: &Window,
) -> Result<Decomposition, Refusal> {
    let shape = [window.channels, window.group_inputs(), window.kernel[0], window.kernel[1]];
    // The product of all sides but the longest is always enough.
    let longest = shape.iter().copied().max().unwrap_or(1);
    let rank = (shape.iter().product::<usize>() / longest).min(MOST);
    let components = fit(weight, shape, rank);
    let remainder = {
        let sum = components.partial_sum(rank);
        Matrix::from_fn(weight.rows(), weight.cols(), |i, j| weight[(i, j)] - sum[(i, j)])
    };
    let left = norm_bound(&remainder, shape)?;
    let norms = (0..rank).map(|r| {
        let [_, _, p, q] = &components.factors;
        components.scale[r] * fourier_maximum(p.row(r)) * fourier_maximum(q.row(r))
    });
    let norms: Vec<f64> = norms.collect();
    let noise: Vec<f64> = (0..=rank).map(|j| norms[j..].iter().sum::<f64>() + left).collect();
    let numbers = shape.iter().sum::<usize>() + 1;
    Ok(Decomposition { node, factor: noise[0], noise, numbers, kind: Kind::Cp(components) })
}

/// `Σ_taps σ₁(W[:, :, tap])`.
fn norm_bound(weight: &Matrix<f64>, [o, c, y, x]: [usize; 4]) -> Result<f64, Refusal> {
    let taps = y * x;
    let of = |tap: usize| {
        let matrix = Matrix::from_fn(o, c, |i, j| weight[(i, j * taps + tap)]);
        Ok(singular_values(&matrix)?.first().copied().unwrap_or(0.0))
    };
    (0..taps).map(of).sum()
}

/// An upper bound of `max_ω |Σ_k v_k e^{ikω}|`.
fn fourier_maximum(v: &[f64]) -> f64 {
    let degree = v.len() - 1;
    if degree == 0 {
        return v[0].abs();
    }
    let points = POINTS * degree;
    let at = |n: usize| {
        let angle = |k: usize| std::f64::consts::TAU * (k * n % points) as f64 / points as f64;
        let part = |f: fn(f64) -> f64| v.iter().enumerate().map(|(k, v)| v * f(angle(k))).sum::<f64>();
        part(f64::cos).hypot(part(f64::sin))
    };
    (0..points).map(at).fold(0.0, f64::max) / (std::f64::consts::PI * degree as f64 / points as f64).cos()
}

/// Alternating least squares for all components together, from the components that are best one after the other. The ridge keeps
/// components from growing against each other, which the best fit of a tensor may do without end.
fn fit(weight: &Matrix<f64>, shape: [usize; 4], rank: usize) -> Components {
    let mut factors = one_after_the_other(weight, shape, rank);
    for _ in 0..ROUNDS {
        for side in 0..4 {
            balance(&mut factors);
            let (matched, gram) = normal_equations(weight, shape, &factors, side);
            factors[side] = solve(gram, matched);
        }
    }
    sorted(factors, shape)
}

/// Each component is the best for what the ones before leave (or nearly: least squares of one component, from a fixed start).
fn one_after_the_other(weight: &Matrix<f64>, shape: [usize; 4], rank: usize) -> [Matrix<f64>; 4] {
    let mut all = shape.map(|side| Matrix::zeros(0, side));
    let mut left = weight.clone();
    for r in 0..rank {
        // Waves that differ from component to component: any start in general position does.
        let wave = |side: usize, i: usize| 0.1 + ((r * 7 + i * 13 + side * 5) as f64 * 0.618).sin();
        let mut one = [0, 1, 2, 3].map(|side| Matrix::from_fn(1, shape[side], |_, i| wave(side, i)));
        for _ in 0..SINGLE_ROUNDS {
            for side in 0..4 {
                balance(&mut one);
                let (matched, gram) = normal_equations(&left, shape, &one, side);
                one[side] = solve(gram, matched);
            }
        }
        let sum = Components { shape, factors: one.clone(), scale: vec![1.0] }.partial_sum(1);
        left.as_mut_slice().iter_mut().zip(sum.as_slice()).for_each(|(left, sum)| *left -= sum);
        all.iter_mut().zip(&one).for_each(|(all, one)| all.append(one));
    }
    all
}

/// Gives the four factors of each component the same norm.
fn balance(factors: &mut [Matrix<f64>; 4]) {
    for r in 0..factors[0].rows() {
        let norms = factors.each_ref().map(|f| euclidean(f.row(r)));
        let common = norms.iter().product::<f64>().powf(0.25);
        for (factor, norm) in factors.iter_mut().zip(norms) {
            if norm > 0.0 {
                factor.row_mut(r).iter_mut().for_each(|v| *v *= common / norm);
            }
        }
    }
}

/// Factors of norm 1 in the order of their scales.
fn sorted(factors: [Matrix<f64>; 4], shape: [usize; 4]) -> Components {
    let rank = factors[0].rows();
    let norms = |r: usize| factors.each_ref().map(|f| euclidean(f.row(r)));
    let scale: Vec<f64> = (0..rank).map(|r| norms(r).iter().product()).collect();
    let mut order: Vec<usize> = (0..rank).collect();
    order.sort_by(|&a, &b| scale[b].total_cmp(&scale[a]));
    let unit = |side: usize| {
        Matrix::from_fn(rank, shape[side], |r, i| {
            let norm = euclidean(factors[side].row(order[r]));
            if norm > 0.0 { factors[side][(order[r], i)] / norm } else { 0.0 }
        })
    };
    Components { shape, factors: [0, 1, 2, 3].map(unit), scale: order.iter().map(|&r| scale[r]).collect() }
}

/// For the factor of one side, the others fixed: `(rank, side)` inner products with the tensor, and the Gram matrix of the products
/// of the others, `(rank, rank)`.
fn normal_equations(
    weight: &Matrix<f64>,
    shape: [usize; 4],
    factors: &[Matrix<f64>; 4],
    side: usize,
) -> (Matrix<f64>, Matrix<f64>) {
    let rank = factors[0].rows();
    let mut matched = Matrix::zeros(rank, shape[side]);
    let [_, c, y, x] = shape;
    for i in 0..weight.rows() {
        for (at, &w) in weight.row(i).iter().enumerate() {
            let place = [i, at / (y * x), at / x % y, at % x];
            debug_assert!(place[1] < c);
            for r in 0..rank {
                let others =
                    (0..4).filter(|&s| s != side).map(|s| factors[s][(r, place[s])]).product::<f64>();
                matched[(r, place[side])] += w * others;
            }
        }
    }
    let dot = |s: usize, r: usize, q: usize| {
        factors[s].row(r).iter().zip(factors[s].row(q)).map(|(a, b)| a * b).sum::<f64>()
    };
    let entry = |r: usize, q: usize| (0..4).filter(|&s| s != side).map(|s| dot(s, r, q)).product::<f64>();
    (matched, Matrix::from_fn(rank, rank, entry))
}

/// `gram⁻¹ right`, gram positive semidefinite, by Cholesky decomposition with a small ridge.
fn solve(mut gram: Matrix<f64>, mut right: Matrix<f64>) -> Matrix<f64> {
    let n = gram.rows();
    let trace: f64 = (0..n).map(|r| gram[(r, r)]).sum();
    let ridge = (RIDGE * trace / n as f64).max(f64::MIN_POSITIVE);
    for k in 0..n {
        let known: f64 = (0..k).map(|j| gram[(k, j)].powi(2)).sum();
        let pivot = (gram[(k, k)] + ridge - known).max(ridge).sqrt();
        gram[(k, k)] = pivot;
        for i in k + 1..n {
            let known: f64 = (0..k).map(|j| gram[(i, j)] * gram[(k, j)]).sum();
            gram[(i, k)] = (gram[(i, k)] - known) / pivot;
        }
    }
    for column in 0..right.cols() {
        for i in 0..n {
            let known: f64 = (0..i).map(|j| gram[(i, j)] * right[(j, column)]).sum();
            right[(i, column)] = (right[(i, column)] - known) / gram[(i, i)];
        }
        for i in (0..n).rev() {
            let known: f64 = (i + 1..n).map(|j| gram[(j, i)] * right[(j, column)]).sum();
            right[(i, column)] = (right[(i, column)] - known) / gram[(i, i)];
        }
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::norms::spectral_norm;
    use rand::RngExt;
    use weightproof_testkit::networks::rng;

    #[test]
    fn fourier_maxima_by_hand() {
        // |1 + e^{iω}| ≤ 2 at ω = 0; |1 − e^{iω}| ≤ 2 at ω = π; |1 + e^{iω} − e^{2iω}| ≤ √5 at ω = π/2.
        for (v, expected) in
            [(vec![1.0, 1.0], 2.0), (vec![1.0, -1.0], 2.0), (vec![1.0, 1.0, -1.0], 5f64.sqrt())]
        {
            let found = fourier_maximum(&v);
            assert!(found >= expected - 1e-12 && found < 1.002 * expected, "{found} {expected}");
        }
    }

    #[test]
    fn a_sum_of_two_rank_one_tensors_is_found() {
        let mut random = rng(4);
        let mut draw = |n: usize| (0..n).map(|_| random.random_range(-1.0..1.0)).collect::<Vec<f64>>();
        let parts: Vec<[Vec<f64>; 4]> = (0..2).map(|_| [draw(4), draw(3), draw(3), draw(2)]).collect();
        let entry = |i: usize, at: usize| {
            parts.iter().map(|[a, b, p, q]| a[i] * b[at / 6] * p[at / 2 % 3] * q[at % 2]).sum::<f64>()
        };
        let weight = Matrix::from_fn(4, 18, entry);
        let found = fit(&weight, [4, 3, 3, 2], 2).partial_sum(2);
        let error: f64 =
            weight.as_slice().iter().zip(found.as_slice()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(error < 1e-2, "{error}");
    }

    #[test]
    fn factors_and_noise_bound_the_norms_of_sums_and_remainders() {
        let mut random = rng(5);
        for (groups, stride) in [(1, 1), (2, 1), (1, 2)] {
            let window = Window {
                groups,
                stride: [stride; 2],
                padding: [[1, 1], [0, 1]],
                ..Window::new([4, 6, 5], 6, [3, 2])
            };
            let weight = Matrix::from_fn(6, window.patch(), |_, _| random.random_range(-1.0..1.0));
            let found = decompose(0, &weight, &window).unwrap();
            for rank in [0, 1, 3, found.components()] {
                let sum = found.partial_sum(rank);
                let rest = Matrix::from_fn(6, weight.cols(), |i, j| weight[(i, j)] - sum[(i, j)]);
                let norm = |w: &Matrix<f64>| spectral_norm(w, Some(&window)).unwrap();
                assert!(norm(&rest) <= found.noise[rank] * (1.0 + 1e-9), "{groups} {stride} {rank}");
                assert!(norm(&sum) <= found.factor * (1.0 + 1e-9));
            }
            assert!(found.noise.windows(2).all(|pair| pair[1] <= pair[0]));
            assert!(found.noise[found.components()] < 0.2 * found.noise[0], "{:?}", found.noise);
        }
    }
}
