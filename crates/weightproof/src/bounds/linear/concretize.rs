//! The end of a backward pass: the worst case of `a·v` over a set for which it is known in closed form.

use super::propagate::{Backward, Coefficients, Row};
use crate::kernels::Scalar;
use crate::kernels::rows::{centered, concretized, dot, squares, vectorized};
use crate::model::Affine;
use crate::threat::WeightSet;

/// Adds the least value of every row over what is known of `node`.
///
/// ```text
/// fixed v:                               a·v
/// box [l, u]:                            Σ a⁺ l + a⁻ u
/// ball p = Wz + b, z fixed:              a·p − r ‖a‖₂ ‖z‖₂ − |a|·e
/// convolution, z fixed, uses shared:     a·p − Σ_w E_w |S_w| − Σ_o e_o |Σ_p a_op|
/// ```
/// # Guarantee
/// Exact for each of these sets.
pub(super) fn concretize<T: Scalar>(
    pass: &Backward<'_, T>,
    c: &Coefficients<T>,
    node: usize,
    rows: &[Row],
    offset: &mut [T],
) {
    let states = pass.states;
    let end = match End::of_layer(pass, node) {
        Some(end) => end,
        None if states.is_fixed(node) => End::Fixed,
        None => End::Box,
    };
    vectorized!(|| {
        for (r, (s, _)) in rows.iter().enumerate() {
            let a = c.a.row(r);
            offset[r] += match &end {
                End::Fixed | End::Shared(_) => dot(a, states.value(node).row(*s)),
                End::Box => concretized(a, states.lower(node).row(*s), states.upper(node).row(*s)),
                End::Ball { radius, length, bias } => {
                    centered(a, states.value(node).row(*s), bias) - *radius * squares(a).sqrt() * length[*s]
                }
            };
        }
    });
    if let End::Shared(window) = end {
        pass.subtract_fixed_input(node, window, &c.a, rows, offset);
    }
}

/// The sets whose worst case is known.
pub(super) enum End<'a, T> {
    Fixed,
    Box,
    Ball { radius: T, length: Vec<T>, bias: &'a [T] },
    Shared(&'a crate::kernels::Window),
}

impl<'a, T: Scalar> End<'a, T> {
    /// The set of node `node` when it is a layer that moves and its input does not.
    pub(super) fn of_layer(pass: &Backward<'a, T>, node: usize) -> Option<Self> {
        let layer = fixed_input_layer(pass, node)?;
        (!pass.states.is_fixed(node)).then(|| End::of(pass, layer, node))
    }

    /// The set of an affine layer with a fixed input.
    fn of(pass: &Backward<'a, T>, layer: &'a Affine<T>, node: usize) -> Self {
        let radii = pass.block.prepared.radii.layer(node);
        if let Some(window) = &layer.window {
            return if radii.per_use { End::Box } else { End::Shared(window) };
        }
        match radii.weight {
            WeightSet::Ball(radius) => {
                let z = pass.states.value(pass.block.prepared.model.input_of(node));
                let length = (0..z.rows()).map(|s| squares(z.row(s)).sqrt()).collect();
                End::Ball { radius, length, bias: &radii.bias }
            }
            WeightSet::Fixed | WeightSet::Rows(_) | WeightSet::Entries(_) | WeightSet::RowBalls(_) => {
                End::Box
            }
        }
    }
}

/// The affine layer at `node`, when its input is fixed.
fn fixed_input_layer<'a, T: Scalar>(pass: &Backward<'a, T>, node: usize) -> Option<&'a Affine<T>> {
    let model = pass.block.prepared.model;
    model.affine_of(node).filter(|_| pass.states.is_fixed(model.input_of(node)))
}
