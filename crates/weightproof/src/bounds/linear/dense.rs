//! Steps through dense layers.

use super::super::interval::largest_magnitude;
use super::propagate::{Backward, Coefficients, Row};
use crate::kernels::rows::{centered, l1, squares, vectorized, weighted_l1};
use crate::kernels::{Matrix, Scalar, product};
use crate::model::{Affine, Radius};
use crate::property::SpecRow;

impl<T: Scalar> Backward<'_, T> {
    /// First step through the dense node `start`: rows of specifications select rows of W.
    ///
    /// ```text
    /// (e_i − e_j)·p ≥ (W_i − W_j) z − (E_i + E_j)|z| + b_i − b_j − e_i − e_j
    /// ```
    pub(super) fn gather(&self, start: usize, rows: &[Row], offset: &mut [T]) -> Coefficients<T> {
        let Affine { weight, bias, .. } = self.block.prepared.model.affine(start);
        let input = self.block.prepared.model.input_of(start);
        let radii = self.block.prepared.radii.layer(start);
        let mut a = Matrix::zeros(rows.len(), weight.cols());
        vectorized!(|| {
            for (r, (_, row)) in rows.iter().enumerate() {
                let out = a.row_mut(r);
                if let Some(i) = row.plus {
                    out.copy_from_slice(weight.row(i));
                    offset[r] += bias[i] - radii.bias[i];
                }
                if let Some(i) = row.minus {
                    out.iter_mut().zip(weight.row(i)).for_each(|(a, &w)| *a -= w);
                    offset[r] += -bias[i] - radii.bias[i];
                }
            }
        });
        let ends = |row: &SpecRow| [row.plus, row.minus].into_iter().flatten();
        match &radii.weight {
            Radius::Zero => Coefficients::new(a),
            Radius::Uniform(e) => {
                let g = rows.iter().map(|(_, row)| ends(row).map(|_| *e).sum()).collect();
                Coefficients::lossy(a, g, input)
            }
            Radius::PerRow(e) => {
                let g = rows.iter().map(|(_, row)| ends(row).map(|i| e[i]).sum()).collect();
                Coefficients::lossy(a, g, input)
            }
            Radius::Dense(e) => {
                let g =
                    Matrix::from_fn(rows.len(), e.cols(), |r, j| ends(&rows[r].1).map(|i| e[(i, j)]).sum());
                self.subtract_matrix(&mut a, &g, input, rows, offset);
                Coefficients::new(a)
            }
            Radius::Frobenius(radius) => {
                let norms: Vec<T> =
                    rows.iter().map(|(_, row)| ends(row).map(|_| T::one()).sum::<T>().sqrt()).collect();
                self.subtract_ball(*radius, &norms, input, rows, offset);
                Coefficients::new(a)
            }
        }
    }

    /// One step through a perturbed dense layer (Lemma 1).
    ///
    /// ```text
    /// a·p ≥ (a W − |a| E)·|z| part + a·b − |a|·e
    /// ```
    /// # Shapes
    /// `c.a`: (rows, n_out) becomes (rows, n_in).
    /// # Guarantee
    /// Exact for `z ≥ 0`; for mixed signs up to the chord of |z|.
    /// # Source
    /// theory.md §3, §4.3. Difference to CROWN on weights: no weight × activation relaxation.
    pub(super) fn through_dense(
        &self,
        c: Coefficients<T>,
        node: usize,
        rows: &[Row],
        offset: &mut [T],
    ) -> Coefficients<T> {
        let Affine { weight, bias, .. } = self.block.prepared.model.affine(node);
        let input = self.block.prepared.model.input_of(node);
        let radii = self.block.prepared.radii.layer(node);
        let a = c.a;
        let norms: Vec<T> = vectorized!(|| {
            (0..a.rows())
                .map(|r| {
                    offset[r] += centered(a.row(r), bias, &radii.bias);
                    match &radii.weight {
                        Radius::Zero | Radius::Dense(_) => T::zero(),
                        Radius::Uniform(e) => *e * l1(a.row(r)),
                        Radius::PerRow(e) => weighted_l1(a.row(r), e),
                        Radius::Frobenius(_) => squares(a.row(r)).sqrt(),
                    }
                })
                .collect()
        });
        let mut out = Matrix::default();
        product(&mut out, &a, weight);
        match &radii.weight {
            Radius::Zero => Coefficients::new(out),
            Radius::Uniform(_) | Radius::PerRow(_) => Coefficients::lossy(out, norms, input),
            Radius::Dense(e) => {
                let mut g = Matrix::default();
                product(&mut g, &a.map(|a| a.abs()), e);
                self.subtract_matrix(&mut out, &g, input, rows, offset);
                Coefficients::new(out)
            }
            Radius::Frobenius(radius) => {
                self.subtract_ball(*radius, &norms, input, rows, offset);
                Coefficients::new(out)
            }
        }
    }

    /// Subtracts `r ‖a‖₂ max ‖z‖₂` for a Frobenius ball; `norms` holds `‖a‖₂` of every row.
    fn subtract_ball(&self, radius: T, norms: &[T], input: usize, rows: &[Row], offset: &mut [T]) {
        let z = largest_magnitude(self.states.lower(input), self.states.upper(input));
        let lengths: Vec<T> = (0..z.rows()).map(|s| squares(z.row(s)).sqrt()).collect();
        for (r, (s, _)) in rows.iter().enumerate() {
            offset[r] -= radius * norms[r] * lengths[*s];
        }
    }
}
