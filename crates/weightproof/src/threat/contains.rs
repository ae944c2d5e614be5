//! Membership: whether a concrete perturbation lies in a set. Witnesses pass here before they are reported.

use super::{Perturbation, PerturbationSet, WeightSet};
use crate::kernels::Matrix;
use crate::network::Network;
use thiserror::Error;

/// Where a perturbation leaves the set.
#[derive(Debug, Error, PartialEq)]
#[error("{node}: {what} moved by {found}, allowed {allowed}")]
pub struct Violation {
    /// Name of the node.
    pub node: String,
    /// Which number.
    pub what: String,
    /// How far it moved.
    pub found: f64,
    /// How far it may move.
    pub allowed: f64,
}

/// How far the parameters that share a ball moved.
struct PartNorm {
    part: String,
    /// Their Euclidean norm.
    found: f64,
    /// The largest norm that is allowed, which has room for the rounding of a sum of squares.
    allowed: f64,
}

impl WeightSet {
    /// Of a ball: what moves together, and how far `delta` moves it.
    fn norms(&self, delta: &Matrix<f64>) -> Vec<PartNorm> {
        let norm = |part: &[f64]| part.iter().map(|d| d * d).sum::<f64>().sqrt();
        let allowed = |radius: f64, n: usize| radius * (1.0 + 2.0 * f64::EPSILON * n as f64);
        match self {
            WeightSet::Fixed | WeightSet::Rows(_) | WeightSet::Entries(_) => Vec::new(),
            WeightSet::Ball(radius) => {
                let all = delta.as_slice();
                vec![PartNorm {
                    part: "the weight matrix".into(),
                    found: norm(all),
                    allowed: allowed(*radius, all.len()),
                }]
            }
            WeightSet::RowBalls(radii) => {
                let of_row = |(i, &radius): (usize, &f64)| {
                    let row = delta.row(i);
                    PartNorm {
                        part: format!("row {i} of the weights"),
                        found: norm(row),
                        allowed: allowed(radius, row.len()),
                    }
                };
                radii.iter().enumerate().map(of_row).collect()
            }
        }
    }
}

impl PerturbationSet {
    /// Whether `perturbation` of `network` at the input `x` lies in the set, compared in f64 without tolerance (but for
    /// the sums of squares of balls).
    ///
    /// # Errors
    /// The first number that leaves the set.
    pub fn contains(
        &self,
        network: &Network,
        x: &[f64],
        perturbation: &Perturbation,
    ) -> Result<(), Violation> {
        for layer in &perturbation.layers {
            let node = &network.nodes()[layer.node];
            let dense = node.layer.affine().expect("a layer with parameters");
            let set = self.layer(layer.node).expect("every dense layer has a set");
            let check = |what: &dyn Fn() -> String, moved: f64, allowed: f64| {
                if moved.abs() <= allowed {
                    return Ok(());
                }
                Err(Violation { node: node.name.clone(), what: what(), found: moved.abs(), allowed })
            };
            let mut moved_by = Matrix::zeros(dense.weight.rows(), dense.weight.cols());
            for i in 0..dense.weight.rows() {
                for j in 0..dense.weight.cols() {
                    let moved = layer.weight[(i, j)] - dense.weight[(i, j)];
                    moved_by[(i, j)] = moved;
                    check(&|| format!("weight [{i}, {j}]"), moved, set.weight.at(i, j))?;
                }
                check(&|| format!("bias [{i}]"), layer.bias[i] - dense.bias[i], set.bias[i])?;
            }
            for PartNorm { part, found, allowed } in set.weight.norms(&moved_by) {
                check(&|| part.clone(), found, allowed)?;
            }
        }
        for (j, moved) in perturbation.input.iter().flatten().enumerate() {
            let (lower, upper) = self.input_interval(x[j]);
            if !(*moved >= lower && *moved <= upper) {
                let (found, allowed) = ((moved - x[j]).abs(), self.input_radius);
                return Err(Violation { node: "input".into(), what: format!("element {j}"), found, allowed });
            }
        }
        for added in &perturbation.activations {
            if let Some(j) = added.offset.iter().position(|d| !(d.abs() <= self.activation_radius)) {
                return Err(Violation {
                    node: network.nodes()[added.node].name.clone(),
                    what: format!("activation {j}"),
                    found: added.offset[j].abs(),
                    allowed: self.activation_radius,
                });
            }
        }
        Ok(())
    }
}

/// The number in `[centre − radius, centre + radius]` nearest to `value`, such that the *rounded* difference to the centre
/// is within the radius, as [`PerturbationSet::contains`] checks it.
pub(crate) fn clamp_into(value: f64, centre: f64, radius: f64) -> f64 {
    let mut clamped = value.clamp(centre - radius, centre + radius);
    while (clamped - centre).abs() > radius {
        clamped = if clamped > centre { clamped.next_down() } else { clamped.next_up() };
    }
    clamped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clamping_survives_rounding() {
        for k in 1..5000 {
            let (centre, radius) = ((f64::from(k) * 0.7).sin(), 1e-3 * f64::from(k % 17 + 1) / 3.0);
            for value in [centre + radius, centre - radius, centre + 2.0 * radius, centre] {
                assert!((clamp_into(value, centre, radius) - centre).abs() <= radius);
            }
        }
        assert_eq!(clamp_into(0.7, 0.5, 0.0), 0.5);
    }
}
