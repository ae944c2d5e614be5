//! The end of a backward pass: the worst case of `a·v` over a set for which it is known in closed form.

use super::super::rounding::{Offsets, Roundings};
use super::propagate::{Backward, Coefficients, Row};
use crate::kernels::Scalar;
use crate::kernels::rows::{concretized, concretized_sized, squares, vectorized, weighted_l1};
use crate::model::Affine;
use crate::threat::WeightSet;

/// Adds the least value of every row over what is known of `node`.
///
/// ```text
/// box [l, u]:                            Σ a⁺ l + a⁻ u
/// ball p = Wz + b, z fixed:              a·p − r ‖a‖₂ ‖z‖₂ − |a|·e
/// noise, z fixed:                        the same, and Σ a_i² v_i to the variance
/// hits, z fixed:                         the same, and damages
/// convolution, z fixed, uses shared:     a·p − Σ_w E_w |S_w| − Σ_o e_o |Σ_p a_op|
/// ```
/// # Guarantee
/// Exact for each of these sets, but for what rounding is charged: all terms are parts of the box of `node`.
pub(super) fn concretize<T: Scalar>(
    pass: &Backward<'_, T>,
    c: &Coefficients<T>,
    node: usize,
    rows: &[Row],
    offset: &mut Offsets<T>,
) {
    let states = pass.states;
    let end = End::of_layer(pass, node).unwrap_or(End::Box);
    let (mut lower, mut upper) = (states.lower(node), states.upper(node));
    let (width, layer) = (c.a.cols(), pass.block.prepared.model.affine_of(node));
    let has_own = states.variances(node).is_some() || states.damages(node).is_some();
    if let Some(layer) = fixed_input_layer(pass, node).filter(|_| has_own) {
        match &layer.window {
            None => pass.add_variances(node, &c.a, rows, offset),
            Some(window) => pass.add_kernel_variances((node, window), &c.a, rows, offset),
        }
        match &layer.window {
            None => pass.add_damages(node, &c.a, rows, offset),
            Some(window) => pass.add_kernel_damages((node, window), &c.a, rows, offset),
        }
        let without = pass.without_own(node);
        (lower, upper) = (&without.lower, &without.upper);
    }
    let n = match (&end, layer) {
        (End::Shared(window), Some(layer)) => {
            let weights = layer.weight.as_slice().len();
            Roundings::of_row(width) + Roundings::of_uses(window.positions(), weights)
        }
        (End::Ball { .. }, Some(layer)) => Roundings::of_row(width + layer.weight.cols()),
        (End::Box | End::Ball { .. } | End::Shared(_), _) => Roundings::of_row(width),
    };
    let part = pass.block.prepared.arithmetic.gamma(n);
    vectorized!(|| {
        for (r, (s, _)) in rows.iter().enumerate() {
            let (a, lower, upper) = (c.a.row(r), lower.row(*s), upper.row(*s));
            let (at_ends, size) = concretized_sized(a, lower, upper);
            let mut constant = at_ends;
            if !matches!(end, End::Box) {
                let fixed = states.fixed(node);
                constant = concretized(a, fixed.lower.row(*s), fixed.upper.row(*s));
            }
            if let End::Ball { radius, length, bias } = &end {
                constant = constant - weighted_l1(a, bias) - *radius * squares(a).sqrt() * length[*s];
            }
            offset.add(r, constant);
            if part > T::zero() {
                offset.charge(r, part * size);
            }
        }
    });
    pass.charge_underflow(node, rows, offset);
    if let End::Shared(window) = end {
        pass.subtract_fixed_input(node, window, &c.a, rows, offset);
    }
}

/// The sets whose worst case is known.
pub(super) enum End<'a, T> {
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
                let z = pass.states.magnitude(pass.block.prepared.model.input_of(node));
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
