//! The end of a backward pass: the worst case of `a·v` over a set for which it is known in closed form.

use super::propagate::{Backward, Coefficients};
use crate::kernels::Scalar;
use crate::kernels::rows::{centered, concretized, dot, squares, vectorized};
use crate::model::{Radius, Step};
use crate::property::SpecRow;

/// Adds the least value of every row over what is known of `node`.
///
/// ```text
/// fixed v:                         a·v
/// box [l, u]:                      Σ a⁺ l + a⁻ u
/// ball p = Wz + b, z fixed:        a·p − r ‖a‖₂ ‖z‖₂ − |a|·e
/// ```
/// # Guarantee
/// Exact for each of the three sets.
pub(super) fn concretize<T: Scalar>(
    pass: &Backward<'_, T>,
    c: &Coefficients<T>,
    node: usize,
    rows: &[(usize, SpecRow)],
    offset: &mut [T],
) {
    let (states, prepared) = (pass.states, pass.block.prepared);
    if let Some((radius, length)) = fixed_ball(pass, node) {
        let e = &prepared.radii.layer(node).bias;
        vectorized(|| {
            for (r, (s, _)) in rows.iter().enumerate() {
                let a = c.a.row(r);
                offset[r] +=
                    centered(a, states.value(node).row(*s), e) - radius * squares(a).sqrt() * length[*s];
            }
        });
        return;
    }
    vectorized(|| {
        for (r, (s, _)) in rows.iter().enumerate() {
            let a = c.a.row(r);
            offset[r] += if states.is_fixed(node) {
                dot(a, states.value(node).row(*s))
            } else {
                concretized(a, states.lower(node).row(*s), states.upper(node).row(*s))
            };
        }
    });
}

/// For a dense node with a fixed input and a Frobenius ball: the radius and `‖z‖₂` of every sample.
fn fixed_ball<T: Scalar>(pass: &Backward<'_, T>, node: usize) -> Option<(T, Vec<T>)> {
    let prepared = pass.block.prepared;
    if !matches!(prepared.model.steps[node], Step::Dense { .. }) {
        return None;
    }
    let input = prepared.model.input_of(node);
    match prepared.radii.layer(node).weight {
        Radius::Frobenius(radius) if pass.states.is_fixed(input) => {
            let z = pass.states.value(input);
            Some((radius, (0..z.rows()).map(|s| squares(z.row(s)).sqrt()).collect()))
        }
        Radius::Frobenius(_) | Radius::Zero | Radius::Uniform(_) | Radius::PerRow(_) | Radius::Dense(_) => {
            None
        }
    }
}
