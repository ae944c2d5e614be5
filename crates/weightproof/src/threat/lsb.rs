//! Steps of stored integers: `|Ŵ_ij − W_ij| ≤ r s`, where the file stores `W_ij = s (q_ij − z)`. An integer radius is that many counts
//! of the integer, up or down.

use super::absolute::of_rows;
use super::kind::{Family, Parameters, named};
use super::outward::product_up;
use super::{Kind, ThreatError, WeightSet};
use crate::kernels::Matrix;
use crate::network::{Affine, StoredIntegers};

pub(super) struct Lsb;

/// Steps of all biases; zero where they are not stored as integers.
fn bias_steps(affine: &Affine, stored: &StoredIntegers) -> Vec<f64> {
    if stored.bias_steps.is_empty() { vec![0.0; affine.bias.len()] } else { stored.bias_steps.clone() }
}

impl Family for Lsb {
    fn parse(text: &str) -> Option<Result<Kind, ThreatError>> {
        named(text, Self::forms(), Kind::Lsb)
    }

    fn forms() -> &'static str {
        "lsb"
    }

    fn written(&self) -> String {
        Self::forms().into()
    }

    fn unit(&self) -> &'static str {
        "steps of the stored integers"
    }

    /// Biases that are stored as integers move by the radius of their row in their own steps.
    fn parameters(&self, layer: &str, affine: &Affine, radii: &[f64]) -> Result<Parameters, ThreatError> {
        let Some(stored) = &affine.stored else {
            return Err(ThreatError::NotStored { layer: layer.into() });
        };
        let (rows, cols) = (affine.weight.rows(), affine.weight.cols());
        let radii = of_rows(radii, affine);
        let of_row = |i: usize| {
            let first = stored.group(i * cols);
            (i * cols..(i + 1) * cols).all(|k| stored.group(k) == first)
        };
        let weight = if (0..rows).all(of_row) {
            WeightSet::rows((0..rows).map(|i| product_up(radii[i], stored.step(i * cols))).collect())
        } else {
            WeightSet::entries(Matrix::from_fn(rows, cols, |i, j| {
                product_up(radii[i], stored.step(i * cols + j))
            }))
        };
        let steps = bias_steps(affine, stored);
        Ok(Parameters { weight, bias: steps.iter().zip(&radii).map(|(&s, &r)| product_up(r, s)).collect() })
    }

    fn biases(&self, affine: &Affine, radius: f64) -> Vec<f64> {
        let steps = affine.stored.as_ref().map(|stored| bias_steps(affine, stored)).unwrap_or_default();
        steps.into_iter().map(|s| product_up(radius, s)).collect()
    }

    fn assumptions(&self) -> &'static [&'static str] {
        &["steps and zero points do not move; integers may leave their range by the radius"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn affine(groups: Vec<u32>) -> Affine {
        let steps = vec![0.5, 0.25];
        let stored = StoredIntegers {
            bits: 8,
            signed: true,
            steps,
            zeros: vec![0; 2],
            groups,
            bias_steps: vec![0.125; 2],
        };
        let weight = Matrix::from_vec(2, 2, vec![1.0, -0.5, 0.25, 0.0]);
        Affine { weight, bias: vec![0.0; 2], has_bias: true, stored: Some(stored) }
    }

    #[test]
    fn radii_are_steps_of_the_group_of_each_weight() {
        let channels = Lsb.parameters("d", &affine(vec![0, 0, 1, 1]), &[2.0]).unwrap();
        let WeightSet::Rows(rows) = channels.weight else { panic!("rows share a step") };
        assert_eq!((rows, channels.bias), (vec![1.0, 0.5], vec![0.25; 2]));
        let blocks = Lsb.parameters("d", &affine(vec![0, 1, 1, 0]), &[2.0]).unwrap();
        assert_eq!([0, 1, 2, 3].map(|k| blocks.weight.at(k / 2, k % 2)), [1.0, 0.5, 0.5, 1.0]);
    }

    #[test]
    fn weights_without_integers_are_refused_by_name() {
        let plain = Affine { stored: None, ..affine(vec![]) };
        let Err(error) = Lsb.parameters("dense1", &plain, &[1.0]) else { panic!("no integers") };
        assert_eq!(error, ThreatError::NotStored { layer: "dense1".into() });
    }
}
