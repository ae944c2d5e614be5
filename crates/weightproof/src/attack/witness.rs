//! Witnesses: kept as one number for each variable of neuron space, turned into weights when they are needed.

use super::kernels::{interpolate, sign};
use super::space::{NodeSlots, Point, Space};
use crate::kernels::Matrix;
use crate::network::{Affine, Network};
use crate::threat::{
    ActivationOffsets, LayerPerturbation, LayerSet, Perturbation, PerturbationSet, WeightSet,
};

/// A perturbation of one sample in compact form; [`Attacker::witness`](super::Attacker::witness) gives the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct CompactWitness {
    /// Which parameters, where they are not the sample's own.
    pub(super) parameters: Source,
    /// Values of the variables, slot by slot.
    pub(super) units: Vec<Vec<f32>>,
}

/// Where the parameters of a witness come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// From the variables.
    Variables,
    /// From the random draw of this number.
    Draw(usize),
    /// From the universal perturbation.
    Universal,
}

/// The variables in f64, pulled back into their balls where rounding to f32 left them.
pub(super) fn unpack(space: &Space, units: &[&[Vec<f32>]]) -> Point<f64> {
    let slot = |k: usize| {
        let width = space.slots[k].width;
        let mut values =
            Matrix::from_fn(units.len(), width, |row, i| f64::from(units[row][k][i]).clamp(-1.0, 1.0));
        (0..values.rows()).for_each(|row| space.slots[k].geometry.project(values.row_mut(row), false));
        values
    };
    Point((0..space.slots.len()).map(slot).collect())
}

/// The perturbation that `units` stand for, at the input `x`:
///
/// ```text
/// neurons   box    Δ_ij = t_i E_ij sign(z_j),  δ_i = t_i e_i          ball    Δ = r d zᵀ/‖z‖₂,  δ = e∘t
///           rows   Δ_i = t_i r_i z/‖z‖₂,  δ_i = t_i e_i
/// weights   box    Δ = E∘u,  δ = e∘v                                  ball    Δ = r u,  δ = e∘v
/// ```
///
/// with `z` the perturbed activations in front of the layer. Its forward pass gives the pre-activations of the search up to
/// rounding.
pub(super) fn materialize(
    network: &Network,
    set: &PerturbationSet,
    space: &Space,
    units: &[Vec<f32>],
    x: &[f64],
) -> Perturbation {
    let point = unpack(space, &[units]);
    let of = |slot: Option<usize>| slot.map(|slot| point.0[slot].row(0));
    let mut perturbation = Perturbation::default();
    let mut values: Vec<Vec<f64>> = Vec::with_capacity(network.nodes().len());
    for (index, node) in network.nodes().iter().enumerate() {
        let slots = space.nodes[index];
        if node.inputs.is_empty() {
            perturbation.input = of(slots.values).map(|u| moved_input(set, x, u));
            values.push(perturbation.input.clone().unwrap_or_else(|| x.to_vec()));
            continue;
        }
        let inputs: Vec<&[f64]> = node.inputs.iter().map(|&input| values[input].as_slice()).collect();
        let moved = node.layer.affine().filter(|_| slots != NodeSlots::default()).map(|affine| {
            let layer = set.layer(index).expect("every layer with parameters has a set");
            let weight = match (of(slots.neurons), of(slots.weights)) {
                (Some(t), _) => moved_by_neurons(&layer.weight, &affine.weight, t, inputs[0]),
                (None, Some(u)) => moved_by_weights(&layer.weight, &affine.weight, u),
                (None, None) => affine.weight.clone(),
            };
            let bias = moved_bias(layer, affine, of(slots.bias).or(of(slots.neurons)));
            LayerPerturbation { node: index, weight, bias }
        });
        let parameters = moved.as_ref().map(|moved| (&moved.weight, moved.bias.as_slice()));
        let mut value = node.layer.apply(&inputs, parameters);
        perturbation.layers.extend(moved);
        if let Some(u) = of(slots.values) {
            let offset: Vec<f64> = u.iter().map(|u| u * set.activation_radius).collect();
            value.iter_mut().zip(&offset).for_each(|(z, d)| *z += d);
            perturbation.activations.push(ActivationOffsets { node: index, offset });
        }
        values.push(value);
    }
    perturbation
}

/// The input at `u ∈ [−1, 1]` in its box.
fn moved_input(set: &PerturbationSet, x: &[f64], u: &[f64]) -> Vec<f64> {
    let (mut lower, mut upper) = (Vec::new(), Vec::new());
    for &x in x {
        let (l, u) = set.input_interval(x);
        lower.push(l);
        upper.push(u);
    }
    let mut moved = vec![0.0; x.len()];
    interpolate(&mut moved, u, &lower, &upper);
    moved
}

/// `W + Δ` for the neurons `t` of a layer at the activations `z`.
fn moved_by_neurons(set: &WeightSet, weight: &Matrix<f64>, t: &[f64], z: &[f64]) -> Matrix<f64> {
    if let WeightSet::Ball(r) = set {
        let norm = z.iter().map(|z| z * z).sum::<f64>().sqrt();
        let factor = if norm > 0.0 { r * inside(*r, weight.as_slice()) / norm } else { 0.0 };
        return Matrix::from_fn(weight.rows(), weight.cols(), |i, j| weight[(i, j)] + t[i] * factor * z[j]);
    }
    if let WeightSet::RowBalls(rows) = set {
        let norm = z.iter().map(|z| z * z).sum::<f64>().sqrt();
        let factor =
            |i: usize| if norm > 0.0 { rows[i] * inside(rows[i], weight.row(i)) / norm } else { 0.0 };
        let factors: Vec<f64> = (0..rows.len()).map(|i| t[i] * factor(i)).collect();
        return Matrix::from_fn(weight.rows(), weight.cols(), |i, j| weight[(i, j)] + factors[i] * z[j]);
    }
    let signs: Vec<f64> = z.iter().map(|&z| sign(z)).collect();
    moved_in_box(set, weight, |i, j| t[i] * signs[j])
}

/// `W + Δ` for the single weights `u`.
fn moved_by_weights(set: &WeightSet, weight: &Matrix<f64>, u: &[f64]) -> Matrix<f64> {
    let cols = weight.cols();
    if let WeightSet::Ball(r) = set {
        let factor = r * inside(*r, weight.as_slice());
        return Matrix::from_fn(weight.rows(), cols, |i, j| weight[(i, j)] + factor * u[i * cols + j]);
    }
    if let WeightSet::RowBalls(rows) = set {
        let factors: Vec<f64> = (0..rows.len()).map(|i| rows[i] * inside(rows[i], weight.row(i))).collect();
        return Matrix::from_fn(weight.rows(), cols, |i, j| weight[(i, j)] + factors[i] * u[i * cols + j]);
    }
    moved_in_box(set, weight, |i, j| u[i * cols + j])
}

/// `W + Δ` with `Δ_ij = unit(i, j) E_ij`, for a box.
fn moved_in_box(set: &WeightSet, weight: &Matrix<f64>, unit: impl Fn(usize, usize) -> f64) -> Matrix<f64> {
    let mut moved = weight.clone();
    for i in 0..weight.rows() {
        let row = moved.row_mut(i).iter_mut().enumerate();
        row.for_each(|(j, w)| {
            let e = set.box_radius(i, j);
            *w = into_box(*w + unit(i, j) * e, *w, e);
        });
    }
    moved
}

fn moved_bias(layer: &LayerSet, affine: &Affine, v: Option<&[f64]>) -> Vec<f64> {
    let Some(v) = v else { return affine.bias.clone() };
    let bias = affine.bias.iter().zip(&layer.bias).zip(v);
    bias.map(|((&b, &e), &v)| into_box(b + v * e, b, e)).collect()
}

/// `value`, which is in `[centre − radius, centre + radius]` but for rounding, moved so that the rounded difference to the
/// centre is within the radius, as the check of membership computes it.
#[inline(always)]
fn into_box(mut value: f64, centre: f64, radius: f64) -> f64 {
    while (value - centre).abs() > radius {
        if value.is_infinite() {
            return centre;
        }
        value = if value > centre { value.next_down() } else { value.next_up() };
    }
    value
}

/// Factor that keeps `W + Δ` in a ball of `radius` although it is rounded to the precision of `W`; 0 for a radius of 0.
pub(super) fn inside(radius: f64, weight: &[f64]) -> f64 {
    let norm = weight.iter().map(|w| w * w).sum::<f64>().sqrt();
    (1.0 - 1e-12 - 4.0 * f64::EPSILON * norm / radius).max(0.0)
}
