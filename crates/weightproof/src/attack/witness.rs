//! Witnesses: kept as one number for each neuron, turned into weights when they are needed.

use super::kernels::{interpolate, sign};
use super::space::{Geometry, Point, Space};
use crate::kernels::Matrix;
use crate::network::{Layer, Network, Scale};
use crate::threat::{ActivationOffsets, LayerPerturbation, Perturbation, PerturbationSet, WeightRadius};

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
        if space.slots[k].geometry == Geometry::Ball {
            for row in 0..values.rows() {
                let norm = values.row(row).iter().map(|u| u * u).sum::<f64>().sqrt();
                values.row_mut(row).iter_mut().for_each(|u| *u /= norm.max(1.0));
            }
        }
        values
    };
    Point((0..space.slots.len()).map(slot).collect())
}

/// The perturbation that `units` stand for, at the input `x`:
///
/// ```text
/// box    Δ_ij = t_i E_ij sign(z_j),  δ_i = t_i e_i          ball    Δ = r d zᵀ/‖z‖₂,  δ = e∘t
/// ```
///
/// with `z` the perturbed activations in front of the layer. Its forward pass gives the pre-activations of neuron space up
/// to rounding.
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
        let input = || values[node.inputs[0]].as_slice();
        let value = match &node.layer {
            Layer::Input => {
                perturbation.input = of(slots.values).map(|u| moved_input(set, x, u));
                perturbation.input.clone().unwrap_or_else(|| x.to_vec())
            }
            Layer::Dense(dense) => {
                if slots.weights.is_none() && slots.bias.is_none() {
                    dense.apply(input())
                } else {
                    let (z, layer) = (input(), set.layer(index).expect("every dense layer has a set"));
                    let (t, v) = (of(slots.weights), of(slots.bias).or(of(slots.weights)));
                    let weight = moved_weight(&layer.weight, &dense.weight, t, z);
                    let bias = dense.bias.iter().zip(&layer.bias).enumerate();
                    let bias =
                        bias.map(|(i, (&b, &e))| into_box(b + v.map_or(0.0, |v| v[i]) * e, b, e)).collect();
                    let moved = LayerPerturbation { node: index, weight, bias };
                    let value = apply(&moved, z);
                    perturbation.layers.push(moved);
                    value
                }
            }
            Layer::Scale(Scale { scale, shift }) => {
                input().iter().zip(scale.iter().zip(shift)).map(|(z, (s, t))| s * z + t).collect()
            }
            Layer::Activation(f) => {
                let mut z: Vec<f64> = input().iter().map(|&p| f.apply(p)).collect();
                if let Some(u) = of(slots.values) {
                    let offset: Vec<f64> = u.iter().map(|u| u * set.activation_radius).collect();
                    z.iter_mut().zip(&offset).for_each(|(z, d)| *z += d);
                    perturbation.activations.push(ActivationOffsets { node: index, offset });
                }
                z
            }
            Layer::Reshape => input().to_vec(),
        };
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

/// `W + Δ` for the units `t` of a layer at the activations `z`.
fn moved_weight(radius: &WeightRadius, weight: &Matrix<f64>, t: Option<&[f64]>, z: &[f64]) -> Matrix<f64> {
    let mut moved = weight.clone();
    let Some(t) = t else { return moved };
    let signs: Vec<f64> = z.iter().map(|&z| sign(z)).collect();
    let norm = z.iter().map(|z| z * z).sum::<f64>().sqrt();
    let shrink = if let WeightRadius::Frobenius(r) = radius { inside(*r, weight) } else { 1.0 };
    for i in 0..weight.rows() {
        let row = moved.row_mut(i).iter_mut().zip(&signs);
        match radius {
            WeightRadius::Zero => {}
            WeightRadius::Uniform(_) | WeightRadius::PerRow(_) => {
                let e = radius.at(i, 0);
                row.for_each(|(w, sign)| *w = into_box(*w + t[i] * e * sign, *w, e));
            }
            WeightRadius::Dense { unit, scale } => {
                let e = unit.row(i).iter().map(|unit| scale * unit);
                row.zip(e).for_each(|((w, sign), e)| *w = into_box(*w + t[i] * e * sign, *w, e));
            }
            WeightRadius::Frobenius(r) if norm > 0.0 => {
                let factor = t[i] * (r * shrink) / norm;
                moved.row_mut(i).iter_mut().zip(z).for_each(|(w, z)| *w += factor * z);
            }
            WeightRadius::Frobenius(_) => {}
        }
    }
    moved
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

/// Factor that keeps `W + Δ` in a Frobenius ball of `radius` although it is rounded to the precision of `W`.
pub(super) fn inside(radius: f64, weight: &Matrix<f64>) -> f64 {
    let norm = weight.as_slice().iter().map(|w| w * w).sum::<f64>().sqrt();
    (1.0 - 1e-12 - 4.0 * f64::EPSILON * norm / radius).max(0.0)
}

fn apply(layer: &LayerPerturbation, z: &[f64]) -> Vec<f64> {
    let dot = |i: usize| layer.weight.row(i).iter().zip(z).map(|(w, z)| w * z).sum::<f64>();
    (0..layer.weight.rows()).map(|i| dot(i) + layer.bias[i]).collect()
}
