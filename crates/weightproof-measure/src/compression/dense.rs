//! A dense layer as a sum of `σ_r u_r v_rᵀ`: `t = σ₁`, `ξ_j = σ_{j+1}`, both exact (Eckart and Young 1936).

use super::{Decomposition, Kind};
use crate::error::Refusal;
use crate::norms::{Svd, svd};
use weightproof::kernels::{Matrix, product_transposed};

/// Singular values and vectors.
#[derive(Clone, Debug)]
pub struct Components(Svd);

impl Components {
    /// `Σ_{r<rank} σ_r u_r v_rᵀ`.
    pub fn partial_sum(&self, rank: usize) -> Matrix<f64> {
        let Svd { u, s, v } = &self.0;
        let rank = rank.min(s.len());
        let left = Matrix::from_fn(u.rows(), rank, |i, r| u[(i, r)] * s[r]);
        let right = Matrix::from_fn(v.rows(), rank, |j, r| v[(j, r)]);
        let mut sum = Matrix::default();
        product_transposed(&mut sum, &left, &right);
        sum
    }
}

pub(super) fn decompose(node: usize, weight: &Matrix<f64>) -> Result<Decomposition, Refusal> {
    let svd = svd(weight)?;
    let noise = svd.s.iter().copied().chain([0.0]).collect::<Vec<f64>>();
    let numbers = weight.rows() + weight.cols() + 1;
    Ok(Decomposition { node, factor: noise[0], noise, numbers, kind: Kind::Dense(Components(svd)) })
}
