//! What random weights add to a bound (theory.md §14): a variance, beside the constant of every row.
//!
//! ```text
//! element i of a layer        v_i = Σ_j σ_ij² ζ_j² + σ_b²                    ζ_j ≥ |z_j| on the box of what the layer reads
//! row with coefficients Aᵏ    V   = Σ_k Σ_i (Aᵏ_i)² vᵏ_i
//! convolution                 V   = Σ_w σ_w² max |S_w|²,  S_w = Σ_positions a z     one draw for all uses of a weight
//! bound                       c·p ≥ o − q √V                                but for a tail at q
//! ```
//! `σ` are proxies: `E exp(λ Δ) ≤ exp(λ² σ² / 2)`. Variances are in f64 whatever the engine, and rounded up.

use super::deviation::{by_patch, patch_sums};
use super::linear::{Backward, Intermediate, Linear, Reach, Sharing, has_wide_output};
use super::step::propagate;
use super::{Block, LowerBounds, Prepared, State, States};
use crate::kernels::{Matrix, Scalar, add_by_row, linear};
use crate::model::Step;
use crate::noise::{Amounts, LayerNoise};
use crate::property::Specification;

/// What products of two numbers may lose by underflow, many times over.
const LEAST: f64 = 1e-300;

/// A sum of `terms` products of numbers ≥ 0 that was computed in f64, rounded up.
pub(super) fn inflated(sum: f64, terms: usize) -> f64 {
    sum * (1.0 + (terms + 16) as f64 * f64::EPSILON) + (terms + 1) as f64 * LEAST
}

/// `q √V`, rounded up.
pub(super) fn spread(quantile: f64, variance: f64) -> f64 {
    if variance == 0.0 { 0.0 } else { quantile * variance.sqrt() * (1.0 + 8.0 * f64::EPSILON) + LEAST }
}

/// `lower − q √V`, rounded down.
pub(crate) fn lowered<T: Scalar>(lower: T, quantile: f64, variance: f64) -> T {
    T::from_f64_down((Scalar::to_f64(lower) - spread(quantile, variance)).next_down())
}

impl<T> Prepared<'_, T> {
    /// Whether anything is random.
    pub(super) fn is_random(&self) -> bool {
        self.noise.is_some_and(|noise| !noise.layers().is_empty())
    }

    /// The noise of node `index`, where its parameters are random.
    pub(super) fn noise_of(&self, index: usize) -> Option<&LayerNoise> {
        self.noise.and_then(|noise| noise.layer(index))
    }
}

/// Variance proxies of all elements of node `index`, given the box of what it reads; `None` where it has no noise.
pub(super) fn variances<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    index: usize,
) -> Option<Matrix<f64>> {
    let noise = block.prepared.noise_of(index)?;
    block.quantiles?;
    let layer = block.prepared.model.affine(index);
    let square = |z: T| {
        let z = Scalar::to_f64(z);
        if z == 0.0 { 0.0 } else { z * z + f64::MIN_POSITIVE }
    };
    let z = states.magnitude(block.prepared.model.input_of(index)).map(square);
    let cols = layer.weight.cols();
    let mut variances = match &noise.squares {
        // One sum for each patch.
        Amounts::Rows(of_rows) => {
            by_patch(&patch_sums(&z, layer.window.as_ref()), of_rows, layer.positions())
        }
        Amounts::Entries(of_entries) => {
            let mut out = Matrix::default();
            linear(&mut out, &z, of_entries, layer.window.as_ref());
            out
        }
    };
    add_by_row(&mut variances, &noise.bias_squares);
    variances.as_mut_slice().iter_mut().for_each(|v| *v = inflated(*v, cols + 1));
    Some(variances)
}

/// Widens the box of node `index` by what its own noise may add at the quantile of each sample.
pub(super) fn widen<T: Scalar>(
    block: &Block<'_, T>,
    states: &States<'_, T>,
    index: usize,
    state: &mut State<T>,
) {
    let (Some(variances), Some(quantiles)) = (states.variances(index), block.quantiles) else { return };
    let State::Box(bounds) = state else { unreachable!("a random layer moves") };
    for (s, &quantile) in quantiles.iter().enumerate() {
        let ends = bounds.lower.row_mut(s).iter_mut().zip(bounds.upper.row_mut(s));
        for ((l, u), &variance) in ends.zip(variances.row(s)) {
            *l = lowered(*l, quantile, variance);
            *u = -lowered(-*u, quantile, variance);
        }
    }
}

/// Bounds of every row of `spec` but for the noise of the row itself, with its variance: hidden boxes hold at the quantiles of
/// the block. `None` stands for intervals alone.
pub(crate) fn noisy_bounds<T: Scalar>(
    block: &Block<'_, T>,
    spec: &Specification,
    hidden: Option<Intermediate>,
) -> LowerBounds<T> {
    let Some(intermediate) = hidden else {
        let states = propagate(block);
        return Backward::new(block, &states, Reach::OneLayer, Sharing::PerUse).specification(spec);
    };
    Linear { intermediate }.bounds(block, spec)
}

/// Row by row the better of two bounds at the quantile of its sample. The choice depends on no draw, so only the chosen one must hold.
pub(super) fn better<T: Scalar>(a: LowerBounds<T>, b: &LowerBounds<T>, quantiles: &[f64]) -> LowerBounds<T> {
    let mut best = a;
    let count = best.lower.len() / quantiles.len().max(1);
    for r in 0..best.lower.len() {
        let q = quantiles[r / count];
        let at = |bounds: &LowerBounds<T>| lowered(bounds.lower[r], q, bounds.variance[r]);
        if at(b) > at(&best) || at(&best).is_nan() {
            (best.lower[r], best.charge[r], best.variance[r]) = (b.lower[r], b.charge[r], b.variance[r]);
        }
    }
    best.void = best.void.into_iter().zip(&b.void).map(|(a, b)| a.and(*b)).collect();
    best
}

/// How many ends of boxes a bound relies on, each with a tail of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoxEnds {
    /// Of random layers that read what is not random.
    pub first: usize,
    /// Of elements behind them.
    pub later: usize,
}

impl BoxEnds {
    /// Both ends of every element whose box is bounded by more than the boxes that it is computed from. The box of the output is
    /// used by no row that starts there.
    pub fn of<T: Scalar>(prepared: &Prepared<'_, T>) -> Self {
        let model = prepared.model;
        let nodes = model.network.nodes();
        let mut ends = BoxEnds::default();
        let mut random = Vec::with_capacity(nodes.len());
        for (index, step) in model.steps.iter().enumerate() {
            let is_own = prepared.noise_of(index).is_some();
            let reads = model.inputs_of(index).iter().any(|&i| random[i]);
            random.push(is_own || reads);
            if !random[index] || (index + 1 == nodes.len() && !has_wide_output(model)) {
                continue;
            }
            let mut readers = nodes.iter().filter(|node| node.inputs.contains(&index));
            let is_relaxed = readers.any(|node| node.layer.is_nonlinear());
            let of_node = 2 * model.width(index);
            match step {
                Step::Affine(_) if !reads => ends.first += of_node,
                Step::Affine(_) if is_own => ends.later += of_node,
                Step::Affine(_)
                | Step::Input
                | Step::Scale { .. }
                | Step::AveragePool { .. }
                | Step::Add
                | Step::Gather(_)
                | Step::Reshape => ends.later += if is_relaxed { of_node } else { 0 },
                Step::Activation(_) | Step::DynamicQuantize(_) | Step::MaxPool(_) => {}
            }
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::Bounds;
    use crate::model::{Model, Radii};
    use crate::network::{Activation, Network, NetworkBuilder};
    use crate::noise::{LayerNoiseModel, NoiseModel, NoiseSet, Tail};
    use crate::threat::{Kind, ThreatModel};
    use crate::verdict::Guarantee;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Three layers, of which the first two have neurons far from their kinks and a few that are not.
    fn network() -> Network {
        let wave = |k: usize, phase: f64| (k as f64 * 1.7 + phase).sin();
        let mut builder = NetworkBuilder::new(vec![3]);
        let mut last = 0;
        for (k, (rows, cols)) in [(4, 3), (3, 4), (2, 3)].into_iter().enumerate() {
            let weight = Matrix::from_fn(rows, cols, |i, j| 0.6 + 0.8 * wave(i * cols + j, k as f64));
            let bias = (0..rows).map(|i| if i == 0 { -0.8 } else { 0.9 }).collect();
            last = builder.dense(&format!("dense{k}"), last, weight, bias).unwrap();
            if k < 2 {
                last = builder.activation(&format!("relu{k}"), last, Activation::Relu).unwrap();
            }
        }
        builder.finish().unwrap()
    }

    fn noise(network: &Network, sigmas: [f64; 3]) -> NoiseSet {
        let mut model: NoiseModel = "gaussian:0".parse().unwrap();
        for (k, sigma) in sigmas.into_iter().enumerate() {
            model.layer.insert(format!("dense{k}"), LayerNoiseModel { sigma });
        }
        model.resolve(network).unwrap()
    }

    /// Runs `f` with the states of a block of one sample whose boxes hold at `quantile`.
    fn with_boxes(
        network: &Network,
        noise: &NoiseSet,
        quantile: f64,
        f: impl FnOnce(&[Bounds<f64>], BoxEnds),
    ) {
        let set = ThreatModel::new(Kind::Absolute, 0.0).resolve(network).unwrap();
        let (model, radii) = (Model::<f64>::new(network), Radii::new(&set, network.nodes().len()));
        let prepared = Prepared::new(&model, &radii, Guarantee::Rigorous).with_noise(noise);
        let values = model.values_in_f64(&X);
        let (fixed, quantiles) = (prepared.enclosed(&values), [quantile]);
        let (prepared, values, fixed) = (&prepared, &values[..], &fixed[..]);
        let block = Block { prepared, values, fixed, divided: false, quantiles: Some(&quantiles) };
        let (states, _) = Linear { intermediate: Intermediate::Linear }.analysis(&block);
        let boxes = |n: usize| Bounds { lower: states.lower(n).clone(), upper: states.upper(n).clone() };
        f(&(0..network.nodes().len()).map(boxes).collect::<Vec<_>>(), BoxEnds::of(prepared));
    }

    const X: [f64; 3] = [0.9, 0.4, 0.7];

    /// Every end of every box is left as rarely as the tail says; those of the first layer as often, for they are exact. Each of the 88
    /// counts of 30,000 draws is allowed 7 standard deviations: the test errs with a probability below 1e-9.
    #[test]
    fn boxes_hold_as_often_as_they_must() {
        const DRAWS: usize = 30_000;
        let network = network();
        let q = 1.5;
        let mut later = Vec::new();
        for sigmas in [[0.06, 0.0, 0.0], [0.0, 0.06, 0.0], [0.04, 0.04, 0.04], [0.01, 0.01, 0.05]] {
            let noise = noise(&network, sigmas);
            with_boxes(&network, &noise, q, |boxes, _| {
                let mut rng = ChaCha8Rng::seed_from_u64(24);
                let affine: Vec<usize> = network.affine_layers().map(|(index, ..)| index).collect();
                let mut left: Vec<Vec<[usize; 2]>> =
                    affine.iter().map(|&n| vec![[0; 2]; network.nodes()[n].width()]).collect();
                for _ in 0..DRAWS {
                    let device = noise.draw(&network, &mut rng);
                    let values = Model::<f64>::new(&device).values_in_f64(&X);
                    for (&n, left) in affine.iter().zip(&mut left) {
                        let mut all_hold = true;
                        for (i, left) in left.iter_mut().enumerate() {
                            let (p, bounds) = (values[n][(0, i)], &boxes[n]);
                            let out = [p < bounds.lower[(0, i)], p > bounds.upper[(0, i)]];
                            left.iter_mut().zip(out).for_each(|(count, out)| *count += usize::from(out));
                            all_hold &= !out[0] && !out[1];
                        }
                        // What is behind a box that does not hold is not claimed.
                        if !all_hold {
                            break;
                        }
                    }
                }
                let deviation = |p: f64| 7.0 * (p * (1.0 - p) / DRAWS as f64).sqrt();
                for (k, left) in left.iter().enumerate() {
                    for &count in left.iter().flatten() {
                        let share = count as f64 / DRAWS as f64;
                        let tail = if k == 0 { Tail::Gaussian } else { Tail::Reflected }.at(q);
                        assert!(share < tail + deviation(tail), "{sigmas:?} layer {k}: {share} of {tail}");
                        if k == 0 && sigmas[0] > 0.0 {
                            assert!(share > tail - deviation(tail), "{sigmas:?}: {share} of {tail}");
                        }
                        later.extend((k > 0).then_some(share / tail));
                    }
                }
            });
        }
        // The bound is not that loose that a wrong variance would not be seen.
        assert!(later.iter().any(|share| *share > 0.3), "{later:?}");
    }

    #[test]
    fn both_ends_of_every_box_are_counted() {
        let network = network();
        for (sigmas, first, later) in
            [([0.1; 3], 8, 6), ([0.0, 0.1, 0.1], 6, 0), ([0.1, 0.0, 0.0], 8, 6), ([0.0, 0.0, 0.1], 0, 0)]
        {
            let noise = noise(&network, sigmas);
            with_boxes(&network, &noise, 1.0, |_, ends| {
                assert_eq!(ends, BoxEnds { first, later }, "{sigmas:?}");
            });
        }
    }
}
