//! What random weights add to a bound (theory.md §14): a variance, beside the constant of every row.
//!
//! ```text
//! element i of a layer        v_i = Σ_j σ_ij² ζ_j² + σ_b²                    ζ_j ≥ |z_j| on the box of what the layer reads
//! row with coefficients Aᵏ    V   = Σ_k Σ_i (Aᵏ_i)² vᵏ_i
//! convolution                 V   = Σ_w σ_w² max |S_w|²,  S_w = Σ_positions a z     one draw for all uses of a weight
//! bound                       c·p ≥ o − q √V                                but for a tail at q
//! ```
//! `σ` are proxies: `E exp(λ Δ) ≤ exp(λ² σ² / 2)`. Variances are in f64 whatever the engine, and rounded up. Where `σ_ij = σ_i`, `Σ_j ζ_j²` may
//! be a bound of `Σ_j z_j²` that is found for all elements together ([`super::linear`], `length.rs`).

mod ends;

pub(super) use ends::held;
pub(crate) use ends::{BoxEnds, Ends, wide};

use super::deviation::{by_patch, patch_sums};
use super::linear::{Backward, Intermediate, Linear, Optimized, Reach, Sharing};
use super::step::propagate;
use super::{Block, LowerBounds, Prepared, States};
use crate::kernels::{Matrix, Scalar, add_by_row, linear};
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
    let input = block.prepared.model.input_of(index);
    let z = states.magnitude(input).map(square);
    let cols = layer.weight.cols();
    let mut variances = match &noise.squares {
        // One sum for each patch.
        Amounts::Rows(of_rows) => {
            let mut sums = patch_sums(&z, layer.window.as_ref());
            if let (None, Some(lengths)) = (&layer.window, states.length(input)) {
                shorten(&mut sums, lengths);
            }
            by_patch(&sums, of_rows, layer.positions())
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

/// Takes the better of `Σ_j ζ_j²` and a bound of `Σ_j z_j²`, of each sample.
fn shorten(sums: &mut Matrix<f64>, lengths: &[f64]) {
    let better = |(sum, &length): (&mut f64, &f64)| *sum = if length < *sum { length } else { *sum };
    sums.as_mut_slice().iter_mut().zip(lengths).for_each(better);
}

/// How bounds are found where weights are random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoisyMethod {
    /// Boxes alone.
    Interval,
    /// Backward passes.
    Linear(Intermediate),
    /// Backward passes with slopes that ascend against `q √V`.
    Optimized,
}

/// Bounds of every row of `spec` but for the noise of the row itself, with its variance: hidden boxes hold at the quantiles of
/// the block.
pub(crate) fn noisy_bounds<T: Scalar>(
    block: &Block<'_, T>,
    spec: &Specification,
    method: NoisyMethod,
) -> LowerBounds<T> {
    match method {
        NoisyMethod::Interval => {
            let states = propagate(block);
            Backward::new(block, &states, Reach::OneLayer, Sharing::PerUse).specification(spec)
        }
        NoisyMethod::Linear(intermediate) => Linear { intermediate }.bounds(block, spec),
        NoisyMethod::Optimized => Optimized::DEFAULT.random_bounds(block, spec),
    }
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

#[cfg(test)]
mod tests {
    use super::super::linear::RowBound;
    use super::*;
    use crate::bounds::{Bounds, State};
    use crate::model::{Model, Radii};
    use crate::network::{Activation, Network, NetworkBuilder};
    use crate::noise::{LayerNoiseModel, NoiseModel, NoiseSet, Tail};
    use crate::property::SpecRow;
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
    fn with_states(network: &Network, noise: &NoiseSet, quantile: f64, f: impl FnOnce(&States<'_, f64>)) {
        let set = ThreatModel::new(Kind::Absolute, 0.0).resolve(network).unwrap();
        let (model, radii) = (Model::<f64>::new(network), Radii::new(&set, network.nodes().len()));
        let prepared = Prepared::new(&model, &radii, Guarantee::Rigorous).with_noise(noise);
        let values = model.values_in_f64(&X);
        let (fixed, quantiles) = (prepared.enclosed(&values), [quantile]);
        let (prepared, values, fixed) = (&prepared, &values[..], &fixed[..]);
        let block = Block { prepared, values, fixed, divided: false, quantiles: Some(&quantiles) };
        let (states, _) = Linear { intermediate: Intermediate::Linear }.analysis(&block);
        f(&states);
    }

    const X: [f64; 3] = [0.9, 0.4, 0.7];

    /// Every end of every box is left as rarely as the tail at its quantile says, those of a decided neuron of the first layer at the wide one;
    /// ends of the first layer as often, for they are exact. Some box or length fails no more often than all ends together may. Each of the
    /// 96 counts of 30,000 draws is allowed 7 standard deviations: the test errs with a probability below 1e-9.
    #[test]
    fn boxes_hold_as_often_as_they_must() {
        const DRAWS: usize = 30_000;
        let network = network();
        let q = 1.5;
        let (mut later, mut lengths) = (Vec::new(), Vec::new());
        for sigmas in [[0.06, 0.0, 0.0], [0.0, 0.06, 0.0], [0.04, 0.04, 0.04], [0.01, 0.01, 0.05]] {
            let noise = noise(&network, sigmas);
            with_states(&network, &noise, q, |states| {
                let mut rng = ChaCha8Rng::seed_from_u64(24);
                let affine: Vec<usize> = network.affine_layers().map(|(index, ..)| index).collect();
                let mut left: Vec<Vec<[usize; 2]>> =
                    affine.iter().map(|&n| vec![[0; 2]; network.nodes()[n].width()]).collect();
                let (mut longer, mut failed) = (vec![0; affine.len()], 0);
                for _ in 0..DRAWS {
                    let device = noise.draw(&network, &mut rng);
                    let values = Model::<f64>::new(&device).values_in_f64(&X);
                    let mut all_hold = true;
                    for ((&n, left), longer) in affine.iter().zip(&mut left).zip(&mut longer) {
                        // The length of what the layer reads comes before its box.
                        let input = n - 1;
                        let length: f64 = values[input].row(0).iter().map(|z| z * z).sum();
                        let is_longer = states.length(input).is_some_and(|most| length > most[0]);
                        *longer += usize::from(is_longer);
                        all_hold &= !is_longer;
                        // What is behind a box that does not hold is not claimed, and the box of the output is not relied on.
                        if !all_hold || n + 1 == network.nodes().len() {
                            break;
                        }
                        for (i, left) in left.iter_mut().enumerate() {
                            let (p, l, u) =
                                (values[n][(0, i)], states.lower(n)[(0, i)], states.upper(n)[(0, i)]);
                            let out = [p < l, p > u];
                            left.iter_mut().zip(out).for_each(|(count, out)| *count += usize::from(out));
                            all_hold &= !out[0] && !out[1];
                        }
                        if !all_hold {
                            break;
                        }
                    }
                    failed += usize::from(!all_hold);
                }
                let deviation = |p: f64| 7.0 * (p * (1.0 - p) / DRAWS as f64).sqrt();
                let shares = |count: usize| count as f64 / DRAWS as f64;
                for (k, (left, &n)) in left.iter().zip(&affine).enumerate() {
                    for (i, ends) in left.iter().enumerate() {
                        let is_decided = states.lower(n)[(0, i)] >= 0.0 || states.upper(n)[(0, i)] <= 0.0;
                        let at = if k == 0 && is_decided { wide(q) } else { q };
                        let tail = if k == 0 { Tail::Gaussian } else { Tail::Reflected }.at(at);
                        for share in ends.map(shares) {
                            assert!(
                                share < tail + deviation(tail),
                                "{sigmas:?} layer {k}: {share} of {tail}"
                            );
                            if k == 0 && sigmas[0] > 0.0 {
                                assert!(share > tail - deviation(tail), "{sigmas:?}: {share} of {tail}");
                            }
                            // Behind the first layer, some decided ends are narrow, too.
                            let at = if is_decided { wide(q) } else { q };
                            later.extend((k > 0).then_some(share / Tail::Reflected.at(at)));
                        }
                    }
                }
                for count in longer {
                    let (share, tail) = (shares(count), Tail::Reflected.at(q));
                    assert!(share < tail + deviation(tail), "{sigmas:?}: longer {share} of {tail}");
                    lengths.push(share / tail);
                }
                let BoxEnds { first, later } = states.ends[0];
                let of = |ends: Ends, tail: Tail| {
                    ends.narrow as f64 * tail.at(q) + ends.wide as f64 * tail.at(wide(q))
                };
                let most = (of(first, Tail::Gaussian) + of(later, Tail::Reflected)).min(1.0);
                assert!(shares(failed) <= most + deviation(most), "{sigmas:?}: {failed} of {most}");
            });
        }
        // The bounds are not that loose that a wrong variance would not be seen.
        assert!(later.iter().any(|share| *share > 0.3), "{later:?}");
        assert!(lengths.iter().any(|share| *share > 0.1), "{lengths:?}");
    }

    /// One layer of active neurons, whose length is a sum of squares of known mean and deviation: the row is its linear part.
    #[test]
    fn a_length_is_a_linear_row() {
        let q = 2.0;
        let network = network();
        let noise = noise(&network, [0.05, 0.01, 0.01]);
        with_states(&network, &noise, q, |states| {
            let (input, p) = (2, 1);
            let (lower, upper) = (states.lower(p).row(0), states.upper(p).row(0));
            let value = states.value(p).row(0);
            let deviation = 0.05 * (X.iter().map(|x| x * x).sum::<f64>() + 1.0).sqrt();
            let (mut mean, mut variance) = (0.0, 0.0);
            for ((&l, &u), &v) in lower.iter().zip(upper).zip(value) {
                // z ≤ λ p + μ, and z² ≤ (l⁺ + u⁺) z − l⁺ u⁺.
                let (slope, shift) = match (l >= 0.0, u <= 0.0) {
                    (true, _) => (1.0, 0.0),
                    (_, true) => (0.0, 0.0),
                    _ => (u / (u - l), -u * l / (u - l)),
                };
                let (l, u) = (l.max(0.0), u.max(0.0));
                mean += (l + u) * (slope * v + shift) - l * u;
                variance += ((l + u) * slope * deviation).powi(2);
            }
            let (exact, found) = (mean + q * variance.sqrt(), states.length(input).unwrap()[0]);
            assert!(found >= exact && found < exact * (1.0 + 1e-9), "{found} {exact}");
            let by_boxes: f64 = upper.iter().map(|u| u.max(0.0).powi(2)).sum();
            assert!(found < 0.9 * by_boxes, "{found} {by_boxes}");
        });
    }

    /// A row that decides its neuron is taken at the wide quantile and counted there, one that does not at the narrow one.
    #[test]
    fn rows_hold_at_the_quantile_that_they_are_counted_at() {
        let (q, node) = (2.0, 3);
        let network = network();
        let noise = noise(&network, [0.05, 0.05, 0.05]);
        with_states(&network, &noise, q, |states| {
            let mean = || {
                let (lower, upper) = (Matrix::zeros(1, 3), Matrix::zeros(1, 3));
                State::Box(Bounds { lower: lower.map(|_: f64| -9.0), upper: upper.map(|_: f64| 9.0) })
            };
            // Lower ends 1 − 0.1 q and 0.25 − 0.1 q: above zero at the wide quantile, at the narrow one only.
            let rows = |_: &Bounds<f64>| {
                let bound = |lower: f64| RowBound { lower, charge: 0.0, variance: 0.01 };
                vec![
                    ((0, SpecRow::lower(0)), bound(1.0)),
                    ((0, SpecRow::upper(0)), bound(-8.0)),
                    ((0, SpecRow::lower(1)), bound(0.25)),
                ]
            };
            let block = states.block();
            let (found, ends) = held(block, states, node, mean(), rows);
            let State::Box(found) = found else { panic!("a box") };
            let at = |i: usize, exact: f64| {
                let l = found.lower[(0, i)];
                assert!(l <= exact && l > exact - 1e-9, "{i}: {l} {exact}");
            };
            at(0, 1.0 - 0.1 * wide(q));
            at(1, 0.25 - 0.1 * q);
            assert!((found.upper[(0, 0)] - (8.0 + 0.1 * wide(q))).abs() < 1e-9);
            // The third element is undecided, too, by its own noise alone.
            let own = states.variances(node).unwrap()[(0, 2)].sqrt();
            at(2, -9.0 - q * own);
            assert_eq!(ends[0], BoxEnds { later: Ends { narrow: 4, wide: 2 }, ..BoxEnds::default() });
        });
    }

    /// Both ends of every element of a random layer, one for each length that a random layer reads.
    #[test]
    fn both_ends_of_every_box_are_counted() {
        let network = network();
        for (sigmas, first, lengths) in
            [([0.1; 3], 8, 2), ([0.0, 0.1, 0.1], 6, 1), ([0.1, 0.0, 0.0], 8, 0), ([0.0, 0.0, 0.1], 0, 0)]
        {
            let noise = noise(&network, sigmas);
            with_states(&network, &noise, 1.0, |states| {
                let ends = states.ends[0];
                assert_eq!(ends.first.narrow + ends.first.wide, first, "{sigmas:?}");
                let all = if sigmas[1] > 0.0 && sigmas[0] > 0.0 { 6 } else { 0 };
                let later = ends.later.narrow + ends.later.wide;
                match sigmas {
                    // Without noise of its own, an end counts where a pass bounds it.
                    [_, 0.0, 0.0] => assert!(later <= 6 && later.is_multiple_of(2), "{ends:?}"),
                    _ => assert_eq!(later, all + lengths, "{sigmas:?}"),
                }
                assert!(ends.later.narrow >= lengths, "{ends:?}");
                // What the box decides has the wide quantile.
                let undecided = |n: usize| {
                    states
                        .lower(n)
                        .row(0)
                        .iter()
                        .zip(states.upper(n).row(0))
                        .filter(|(l, u)| **l < 0.0 && **u > 0.0)
                        .count()
                };
                assert!(
                    ends.first.narrow >= 2 * undecided(if sigmas[0] > 0.0 { 1 } else { 3 }) || first == 0
                );
            });
        }
    }
}
