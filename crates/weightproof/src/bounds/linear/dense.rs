//! Steps through dense layers.

use super::super::deviation::largest_magnitude;
use super::super::rounding::{Offsets, Roundings};
use super::propagate::{Backward, Coefficients, Row};
use crate::kernels::rows::{
    add, centered, centered_sized, each, squares, subtract, vectorized, weighted_squares,
};
use crate::kernels::{Matrix, Scalar, product};
use crate::model::Affine;
use crate::property::SpecRow;
use crate::threat::WeightSet;

impl<T: Scalar> Backward<'_, T> {
    /// First step through the dense node `start`: rows of specifications select rows of W.
    ///
    /// ```text
    /// (e_i − e_j)·p ≥ (W_i − W_j) z − (E_i + E_j)|z| + b_i − b_j − e_i − e_j
    /// ```
    pub(super) fn gather(&self, start: usize, rows: &[Row], offset: &mut Offsets<T>) -> Coefficients<T> {
        let Affine { weight, bias, .. } = self.block.prepared.model.affine(start);
        let input = self.block.prepared.model.input_of(start);
        let radii = self.block.prepared.radii.layer(start);
        let mut a = Matrix::zeros(rows.len(), weight.cols());
        vectorized!(|| {
            for (r, (_, row)) in rows.iter().enumerate() {
                let out = a.row_mut(r);
                if let Some(i) = row.plus {
                    out.copy_from_slice(weight.row(i));
                    offset.add(r, bias[i] - radii.bias[i]);
                }
                if let Some(i) = row.minus {
                    subtract(out, weight.row(i));
                    offset.add(r, -bias[i] - radii.bias[i]);
                }
            }
        });
        let ends = |row: &SpecRow| [row.plus, row.minus].into_iter().flatten();
        if let Some(variances) = self.states.variances(start) {
            for (r, (s, row)) in rows.iter().enumerate() {
                offset.add_variance(r, ends(row).map(|i| variances[(*s, i)]).sum());
            }
        }
        self.add_row_damages(start, rows, offset);
        if let Some(sums) = self.states.sums(start) {
            let part = self.block.prepared.arithmetic.gamma(Roundings::of_row(weight.cols()));
            for (r, (s, row)) in rows.iter().enumerate() {
                let terms: T = ends(row).map(|i| sums.terms[(*s, i)]).sum();
                offset.charge(r, part * terms + sums.underflow[*s]);
            }
        }
        match &radii.weight {
            WeightSet::Fixed => Coefficients::new(a),
            WeightSet::RowBalls(e) => {
                let factors: Vec<T> = rows.iter().map(|(_, row)| ends(row).map(|i| e[i]).sum()).collect();
                self.subtract_ball(&factors, input, rows, offset);
                Coefficients::new(a)
            }
            WeightSet::Rows(e) => {
                let g = rows.iter().map(|(_, row)| ends(row).map(|i| e[i]).sum()).collect();
                Coefficients::lossy(a, g, input)
            }
            WeightSet::Entries(e) => {
                let mut g = Matrix::zeros(rows.len(), e.cols());
                vectorized!(|| for (r, (_, row)) in rows.iter().enumerate() {
                    for i in ends(row) {
                        add(g.row_mut(r), e.row(i));
                    }
                });
                self.subtract_matrix(&mut a, &g, input, rows, offset);
                Coefficients::new(a)
            }
            // Two rows of one ball: ‖e_i − e_j‖₂ = √2.
            WeightSet::Ball(radius) => {
                let length = |row: &SpecRow| ends(row).map(|_| T::one()).sum::<T>().sqrt();
                let factors: Vec<T> = rows.iter().map(|(_, row)| *radius * length(row)).collect();
                self.subtract_ball(&factors, input, rows, offset);
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
        offset: &mut Offsets<T>,
    ) -> Coefficients<T> {
        let Affine { weight, bias, .. } = self.block.prepared.model.affine(node);
        let input = self.block.prepared.model.input_of(node);
        let radii = self.block.prepared.radii.layer(node);
        let a = c.a;
        let charged = self.states.sums(node).map(|sums| (sums, self.charged_part(node)));
        let factors: Vec<T> = vectorized!(|| {
            each(
                rows.len(),
                #[inline(always)]
                |r| {
                    let (a, s) = (a.row(r), rows[r].0);
                    if let Some((sums, part)) = charged {
                        let (value, size) = centered_sized(a, bias, &radii.bias, sums.terms.row(s));
                        offset.add(r, value);
                        offset.charge(r, part * size + sums.underflow[s]);
                    } else {
                        offset.add(r, centered(a, bias, &radii.bias));
                    }
                    radii.weight.factor(0, a)
                },
            )
        });
        self.add_variances(node, &a, rows, offset);
        self.add_damages(node, &a, rows, offset);
        let mut out = Matrix::default();
        product(&mut out, &a, weight);
        match &radii.weight {
            WeightSet::Fixed => Coefficients::new(out),
            WeightSet::Rows(_) => Coefficients::lossy(out, factors, input),
            WeightSet::Entries(e) => {
                let mut g = Matrix::default();
                product(&mut g, &a.map(|a| a.abs()), e);
                self.subtract_matrix(&mut out, &g, input, rows, offset);
                Coefficients::new(out)
            }
            WeightSet::Ball(_) | WeightSet::RowBalls(_) => {
                self.subtract_ball(&factors, input, rows, offset);
                Coefficients::new(out)
            }
        }
    }

    /// Adds what the noise of the dense node `node` adds to the variance of rows with the coefficients `a`: `Σ_i a_i² v_i`.
    pub(super) fn add_variances(&self, node: usize, a: &Matrix<T>, rows: &[Row], offset: &mut Offsets<T>) {
        let Some(variances) = self.states.variances(node) else { return };
        vectorized!(|| {
            for (r, (s, _)) in rows.iter().enumerate() {
                offset.add_variance(r, weighted_squares(a.row(r), variances.row(*s)));
            }
        });
    }

    /// Subtracts what a ball takes: [`WeightSet::factor`] of every row times `max ‖z‖₂`.
    fn subtract_ball(&self, factors: &[T], input: usize, rows: &[Row], offset: &mut Offsets<T>) {
        let z = largest_magnitude(self.states.lower(input), self.states.upper(input));
        let lengths: Vec<T> = (0..z.rows()).map(|s| squares(z.row(s)).sqrt()).collect();
        for (r, (s, _)) in rows.iter().enumerate() {
            offset.add(r, -(factors[r] * lengths[*s]));
        }
    }
}
