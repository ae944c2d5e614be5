//! Gradients of rows of a specification with respect to the values of a chain of nodes, without hits.

use super::chain::{Chain, Clean};
use crate::bounds::rounding::Arithmetic;
use crate::kernels::{Matrix, add_linear_transposed};
use crate::network::Layer;
use crate::property::SpecRow;
use crate::verdict::Guarantee;

/// Gradients by node, from the first node of a chain on.
///
/// # Guarantee
/// Each stored coefficient is within the error of its row and node of the gradient in real arithmetic that has the same slopes of ReLUs:
/// 1 where the computed pre-activation is above zero.
pub(super) struct Gradients {
    first: usize,
    /// (rows, width) each.
    values: Vec<Matrix<f64>>,
    /// One for each row.
    errors: Vec<Vec<f64>>,
}

impl Gradients {
    /// Of `rows` applied to the output of the chain.
    pub fn new(chain: &Chain<'_>, clean: &Clean<'_>, rows: &[SpecRow]) -> Self {
        let nodes = chain.network.nodes();
        let arithmetic = Arithmetic::<f64>::new(Guarantee::Rigorous);
        let (first, last) = (chain.first, nodes.len() - 1);
        let width = nodes[last].width();
        let mut values = vec![Matrix::from_fn(rows.len(), width, |r, k| rows[r].coefficient(k))];
        let mut errors = vec![vec![0.0; rows.len()]];
        for node in (first + 1..=last).rev() {
            let (a, error) = (&values[values.len() - 1], &errors[errors.len() - 1]);
            let input = nodes[node].inputs[0];
            let largest = |r: usize| a.row(r).iter().fold(0.0_f64, |m: f64, a: &f64| m.max(a.abs()));
            let (next, lost): (Matrix<f64>, Vec<f64>) = match &nodes[node].layer {
                Layer::Dense(affine) => {
                    let mut next = Matrix::zeros(rows.len(), affine.weight.cols());
                    add_linear_transposed(&mut next, a, &affine.weight, None);
                    let part = arithmetic.gamma(affine.weight.rows() + 1);
                    let column = chain.magnitudes(node).column;
                    let lost =
                        |r: usize| ((error[r] + part * largest(r)) * column).next_up() + f64::MIN_POSITIVE;
                    (next, (0..rows.len()).map(lost).collect())
                }
                Layer::Scale(scale) => {
                    let most = scale.scale.iter().fold(0.0_f64, |m, s| m.max(s.abs()));
                    let part = arithmetic.gamma(3);
                    let lost =
                        |r: usize| ((error[r] + part * largest(r)) * most).next_up() + f64::MIN_POSITIVE;
                    let next = Matrix::from_fn(rows.len(), a.cols(), |r, k| a[(r, k)] * scale.scale[k]);
                    (next, (0..rows.len()).map(lost).collect())
                }
                Layer::Activation(_) => {
                    let p = clean.values[input];
                    let next =
                        Matrix::from_fn(
                            rows.len(),
                            a.cols(),
                            |r, k| if p[k] > 0.0 { a[(r, k)] } else { 0.0 },
                        );
                    (next, error.clone())
                }
                Layer::Reshape => (a.clone(), error.clone()),
                Layer::Input
                | Layer::Conv(_)
                | Layer::DynamicQuantize(_)
                | Layer::MaxPool(_)
                | Layer::AveragePool(_)
                | Layer::Add
                | Layer::Gather(_) => unreachable!("no node of a chain"),
            };
            values.push(next);
            errors.push(lost);
        }
        values.reverse();
        errors.reverse();
        Gradients { first, values, errors }
    }

    /// Gradients with respect to the value of `node`, (rows, width).
    pub fn of(&self, node: usize) -> &Matrix<f64> {
        &self.values[node - self.first]
    }

    /// How far those of row `r` may be off.
    pub fn error(&self, node: usize, r: usize) -> f64 {
        self.errors[node - self.first][r]
    }

    /// Whether all are numbers.
    pub fn is_finite(&self) -> bool {
        let finite = |m: &Matrix<f64>| m.as_slice().iter().all(|a| a.is_finite());
        self.values.iter().all(finite) && self.errors.iter().flatten().all(|e| e.is_finite())
    }
}
