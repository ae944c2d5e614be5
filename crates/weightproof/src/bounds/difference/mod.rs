//! What at most M hit words take from rows of a specification, against the network without hits (theory.md §10): for chains of dense
//! layers and ReLUs with a fixed input.
//!
//! ```text
//! one layer l with m_l hits, Σ m_l = M       a bound for each distribution of the hits over layers; the least counts
//! groups       all hits on a row move one element, by at most the m largest products d z of its words
//! c·δf         = Σ groups (gradient × move)  +  Σ ReLUs (gradient × excess),     excess = (ρ(p + δ) − ρ(p)) − ρ′(p) δ ≥ 0
//! excess       ≤ Σ groups (their part of δ − their share of |p|)⁺,               shares add up to 1
//! bound        c·f − Σ layers (the worst way to have m_l hits on its rows)
//! ```
//! Gradients are those of the network without hits, so nothing is paid for ReLUs that no hit can switch.
//!
//! # Guarantee
//! Rigorous: f64, sums and products rounded outward, forward passes with their errors.
//! # Source
//! theory.md §10.

mod chain;
mod gate;
mod gradient;
mod prefix;

pub(crate) use chain::Chain;

use super::{LowerBounds, Prepared};
use crate::faults::HitSet;
use crate::kernels::{Matrix, Scalar};
use crate::property::{SpecRow, Specification};
use crate::verdict::Reason;
use chain::{Clean, Link};
use gradient::Gradients;
use prefix::{Prefix, groups};

impl<T: Scalar> Prepared<'_, T> {
    /// Bounds of a block by the differences that hits make; `None` where hits are not all that moves, or move more than a chain.
    ///
    /// # Shapes
    /// `values`: (samples, width) of every node without hits.
    pub(crate) fn differences(&self, values: &[Matrix<f64>], spec: &Specification) -> Option<LowerBounds<T>> {
        let (hits, chain) = (self.hits?, self.chain?);
        let of_sample = |s: usize| {
            let values: Vec<&[f64]> = values.iter().map(|m| m.row(s)).collect();
            let errors = self.model.coarse_errors(&values, |_| true);
            let errors: Vec<Vec<f64>> = errors.into_iter().map(|e| e.expect("all are wanted")).collect();
            let clean = Clean { values: &values, errors: &errors };
            lower(chain, hits, &clean, &spec.rows[s * spec.count..(s + 1) * spec.count])
        };
        let lower: Vec<Vec<f64>> = (0..spec.samples()).map(of_sample).collect();
        let void =
            lower.iter().map(|l| l.iter().any(|l| !l.is_finite()).then_some(Reason::Overflow)).collect();
        let lower: Vec<T> = lower.into_iter().flatten().map(T::from_f64_down).collect();
        Some(LowerBounds {
            charge: vec![T::zero(); lower.len()],
            lower,
            variance: Vec::new(),
            ends: Vec::new(),
            void,
        })
    }
}

/// Lower bounds of `rows`, applied to the output, after any set of hits; −∞ where nothing is proved.
fn lower(chain: &Chain<'_>, hits: &HitSet, clean: &Clean<'_>, rows: &[SpecRow]) -> Vec<f64> {
    let nothing = || vec![f64::NEG_INFINITY; rows.len()];
    let gradients = Gradients::new(chain, clean, rows);
    let is_finite = |n: usize| clean.values[n].iter().chain(&clean.errors[n]).all(|v| v.is_finite());
    if !gradients.is_finite() || !(0..clean.values.len()).all(is_finite) {
        return nothing();
    }
    let lower =
        rows.iter().enumerate().map(|(r, row)| unperturbed(chain, clean, *row, r, &gradients)).collect();
    let first = chain.network.nodes()[chain.first].inputs[0];
    let mut search =
        Search { chain, hits, clean, gradients, unperturbed: lower, worst: vec![0.0; rows.len()] };
    if search.from(chain.first, Prefix::new(clean.values[first].len())).is_none() {
        return nothing();
    }
    let of = |(lower, worst): (&f64, &f64)| (lower - worst).next_down();
    search.unperturbed.iter().zip(&search.worst).map(of).collect()
}

/// The value of a row without hits, rounded down, less what ReLUs whose slope is not known for sure may take.
fn unperturbed(chain: &Chain<'_>, clean: &Clean<'_>, row: SpecRow, r: usize, gradients: &Gradients) -> f64 {
    let output = clean.values.len() - 1;
    let error = |k: Option<usize>| k.map_or(0.0, |k| clean.errors[output][k]);
    let mut off = error(row.plus) + error(row.minus);
    for (n, node) in chain.network.nodes().iter().enumerate().skip(chain.first) {
        if let Link::Relu = chain.link(n) {
            let (p, errors) = (clean.values[node.inputs[0]], &clean.errors[node.inputs[0]]);
            let uncertain = p.iter().zip(errors).enumerate().filter(|(_, (p, e))| p.abs() <= **e);
            off += uncertain
                .map(|(k, (_, e))| e * (gradients.of(n)[(r, k)].abs() + gradients.error(n, r)))
                .sum::<f64>();
        }
    }
    (row.apply(clean.values[output]).next_down() - off * (1.0 + 1.0 / 64.0)).next_down()
}

/// Distributions of hits over layers, one after the other.
struct Search<'a> {
    chain: &'a Chain<'a>,
    hits: &'a HitSet,
    clean: &'a Clean<'a>,
    gradients: Gradients,
    unperturbed: Vec<f64>,
    /// The most that hits of any distribution so far take from each row.
    worst: Vec<f64>,
}

impl Search<'_> {
    /// All distributions that begin with `prefix` in front of node `first`; `None` where something is no number.
    fn from(&mut self, first: usize, mut prefix: Prefix) -> Option<()> {
        let nodes = self.chain.network.nodes();
        for (n, node) in nodes.iter().enumerate().skip(first) {
            match self.chain.link(n) {
                Link::Dense(dense) => {
                    let before = prefix.moves.clone();
                    let input = node.inputs[0];
                    prefix.through_dense(dense, input, &self.gradients);
                    let left = self.hits.words() - prefix.used;
                    if let Some(own) = self.hits.layer(n).filter(|_| left > 0) {
                        let clean = (self.clean.values[input], &self.clean.errors[input][..]);
                        let rows = dense.affine.weight.rows();
                        let groups = groups(own, clean, &before, (rows, left));
                        // Hits that are left over do nothing, wherever they are.
                        let least = if n == self.chain.last { left } else { 0 };
                        for hits in least..=left {
                            let mut next = prefix.clone();
                            next.hit(hits, &groups, rows, self.unperturbed.len());
                            next.is_finite().then_some(())?;
                            self.from(n + 1, next)?;
                        }
                        return Some(());
                    }
                }
                Link::Scale(scale) => prefix.through_scale(scale),
                Link::Relu => {
                    prefix.through_relu(self.clean, &self.gradients, (n, node.inputs[0]));
                }
                Link::Reshape => {}
            }
            if !prefix.is_finite() {
                return None;
            }
        }
        let damages = prefix.damages(&self.gradients, nodes.len() - 1);
        for (worst, damage) in self.worst.iter_mut().zip(damages) {
            if !(damage <= *worst) {
                *worst = if damage.is_nan() { f64::INFINITY } else { damage };
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{FaultModel, Memory};
    use crate::network::{Activation, DynamicQuantizer, Layer, Network, NetworkBuilder, StepRounding};

    /// So large that f64 loses every 1 that is added to it.
    const LARGE: f64 = 1e18;
    const TERMS: usize = 4000;

    /// x ↦ relu(x), then `TERMS` times the same, then their sum, the first of them `LARGE` times.
    fn network() -> Network {
        let mut builder = NetworkBuilder::new(vec![1]);
        let one = |rows: usize| Matrix::from_fn(rows, 1, |_, _| 1.0);
        let first = builder.dense("first", 0, one(1), Vec::new()).unwrap();
        let relu = builder.activation("relu", first, Activation::Relu).unwrap();
        let all = builder.dense("all", relu, one(TERMS), Vec::new()).unwrap();
        let relu = builder.activation("relus", all, Activation::Relu).unwrap();
        let sum = Matrix::from_fn(1, TERMS, |_, j| if j == 0 { LARGE } else { 1.0 });
        builder.dense("sum", relu, sum, Vec::new()).unwrap();
        builder.finish().unwrap()
    }

    #[test]
    fn what_sums_lose_is_within_the_errors_of_gradients_and_reaches() {
        let network = network();
        let layers = Some(vec!["first".to_owned()]);
        // The lowest bit only: no ReLU is switched, so that all that is left are roundings.
        let model = FaultModel { layers, at: Some(vec![0]), ..FaultModel::default() };
        let memory = Memory::new(&network, &model).unwrap();
        let hits = HitSet::new(&memory, 1);
        let chain = Chain::new(&network, &hits).unwrap();
        let values = network.forward_all(&[1.0]);
        let values: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
        let errors: Vec<Vec<f64>> = values.iter().map(|v| vec![0.0; v.len()]).collect();
        let clean = Clean { values: &values, errors: &errors };
        let exact = LARGE as i128 + TERMS as i128 - 1;
        let gradients = Gradients::new(&chain, &clean, &[SpecRow::lower(0)]);
        // With respect to what the second layer reads.
        let (found, error) = (gradients.of(2)[(0, 0)], gradients.error(2, 0));
        let off = (found as i128 - exact).abs();
        assert!(off > 0 && off as f64 <= error && error < 1e10, "{off} {error}");
        let mut prefix = Prefix::new(1);
        prefix.hit(1, &groups(hits.layer(1).unwrap(), (&[1.0], &[0.0]), &prefix.moves, (1, 1)), 1, 1);
        for n in 2..network.nodes().len() {
            if let Link::Dense(dense) = chain.link(n) {
                prefix.through_dense(dense, n - 1, &gradients);
            } else {
                prefix.through_relu(&clean, &gradients, (n, n - 1));
            }
        }
        let (middle, radius) = prefix.reach();
        let off = (middle as i128 - exact).abs();
        assert!(off > 0 && off as f64 <= radius && radius < 1e10, "{off} {radius}");
    }

    #[test]
    fn what_is_no_chain_has_no_bound() {
        let hits = |network: &Network, words: usize| {
            HitSet::new(&Memory::new(network, &FaultModel::default()).unwrap(), words)
        };
        let network = network();
        assert!(Chain::new(&network, &hits(&network, 3)).is_some());
        // No hits, and too many ways to distribute them.
        assert!(Chain::new(&network, &hits(&network, 0)).is_none());
        assert!(Chain::new(&network, &hits(&network, 60)).is_none());
        for activation in [Activation::Tanh, Activation::LeakyRelu { slope: -0.5 }] {
            let mut builder = NetworkBuilder::new(vec![1]);
            let first = builder.dense("first", 0, Matrix::from_fn(1, 1, |_, _| 1.0), Vec::new()).unwrap();
            builder.activation("curve", first, activation).unwrap();
            let network = builder.finish().unwrap();
            assert!(Chain::new(&network, &hits(&network, 1)).is_none());
        }
        // In front of the hits nothing moves, but where any step may come out.
        for (rounding, is_chain) in [(StepRounding::NearestEven, true), (StepRounding::Any, false)] {
            let mut builder = NetworkBuilder::new(vec![1]);
            let quantizer = Layer::DynamicQuantize(DynamicQuantizer { rounding });
            let read = builder.push("quantize", quantizer, vec![0], vec![1]).unwrap();
            builder.dense("first", read, Matrix::from_fn(1, 1, |_, _| 1.0), Vec::new()).unwrap();
            let network = builder.finish().unwrap();
            assert_eq!(Chain::new(&network, &hits(&network, 1)).is_some(), is_chain);
        }
    }
}
