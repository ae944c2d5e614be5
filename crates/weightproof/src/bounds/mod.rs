//! Lower bounds of a specification over a perturbation set: the ladder of theory.md §4.
//!
//! A method is one file and one line in [`METHODS`]. All share [`Block`]: a block of samples, the clean values of every
//! node, the model and the radii. Methods return lower bounds only, so the better of two is [`intersect`].

mod deviation;
mod difference;
mod enclosure;
mod hits;
mod intersect;
mod interval;
mod linear;
mod noise;
mod norm_product;
mod rounding;
mod state;
mod step;

pub(crate) use difference::Chain;
pub use intersect::intersect;
pub use interval::Interval;
pub(crate) use linear::RowBound;
pub(crate) use linear::{
    Bounded, Branch, Domain, Domains, HitTerms, Hull, Line, OpenRow, Root, SubDomain, is_quantizer,
};
pub use linear::{Branching, COEFFICIENTS, Intermediate, Linear, Optimized, ROWS};
pub(crate) use noise::{BoxEnds, Ends, NoisyMethod, lowered, noisy_bounds, wide};
pub use norm_product::NormProduct;
pub use rounding::Arithmetic;
pub use state::{Bounds, Norms, Prepared, Split, State, States};
pub(crate) use step::propagate_cut;

use crate::kernels::{Matrix, Scalar};
use crate::property::Specification;
use crate::verdict::{Guarantee, Reason};

/// A block of samples against one perturbation set.
#[derive(Clone, Copy)]
pub struct Block<'a, T> {
    /// Model, radii and what is derived from them.
    pub prepared: &'a Prepared<'a, T>,
    /// Clean values of every node, to the nearest number, (samples, width).
    pub values: &'a [Matrix<T>],
    /// By node: boxes around the clean values, from [`Prepared::enclosed`].
    pub fixed: &'a [Option<Bounds<T>>],
    /// Whether parts of the work may go to other threads. Not where its time is measured: a thread that waits for others may do
    /// something for another block meanwhile.
    pub divided: bool,
    /// Where weights are random as well (theory.md §14): for each sample how many deviations of a hidden element its box holds.
    pub quantiles: Option<&'a [f64]>,
}

/// Lower bounds of a block.
#[derive(Clone, Debug)]
pub struct LowerBounds<T> {
    /// One for each specification row; −∞ or NaN prove nothing.
    pub lower: Vec<T>,
    /// How much of each was taken for rounding.
    pub charge: Vec<T>,
    /// Where weights are random, the variance proxy of each row: it is below its bound by `q` roots of this with a probability of the
    /// tail at `q` (theory.md §14). Empty without noise.
    pub variance: Vec<f64>,
    /// Where weights are random, for each sample the ends of boxes that its bounds rely on. Empty without noise.
    pub(crate) ends: Vec<BoxEnds>,
    /// One for each sample: why its bounds are void, if they are.
    pub void: Vec<Option<Reason>>,
}

impl<T: Scalar> LowerBounds<T> {
    /// What `found` says of rows on the boxes of `states`; whether weights are random.
    pub(crate) fn of_rows(states: &States<'_, T>, found: Vec<RowBound<T>>, random: bool) -> Self {
        LowerBounds {
            lower: found.iter().map(|bound| bound.lower).collect(),
            charge: found.iter().map(|bound| bound.charge).collect(),
            variance: if random { found.iter().map(|bound| bound.variance).collect() } else { Vec::new() },
            ends: if random { states.ends.clone() } else { Vec::new() },
            void: states.void.clone(),
        }
    }
}

/// A way to bound.
pub trait BoundMethod<T: Scalar>: Sync {
    /// Sound lower bounds of every row of `spec`, applied to the output, over the block's perturbation set.
    fn lower_bounds(&self, block: &Block<'_, T>, spec: &Specification) -> LowerBounds<T>;
}

/// What users read about a method.
#[derive(Clone, Copy, Debug)]
pub struct MethodInfo {
    /// Name on the command line.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What its numbers guarantee.
    pub guarantee: &'static str,
    /// Products per layer and sample.
    pub cost: &'static str,
    /// Where it comes from.
    pub source: &'static str,
}

/// Every method, from cheap to tight. [`method`] gives the implementation.
pub const METHODS: &[MethodInfo] = &[
    MethodInfo {
        name: "norm-product",
        summary: "induced norms of the layers, in the l-infinity and the l1 form, the better of both",
        guarantee: Guarantee::Rigorous.name(),
        cost: "one forward pass and one interval pass",
        source: "theory.md §4.1; Tsai et al., arXiv 2103.02200",
    },
    MethodInfo {
        name: "interval",
        summary: "an interval for every neuron, exact for each neuron on its own",
        guarantee: Guarantee::Rigorous.name(),
        cost: "four products per layer",
        source: "theory.md §4.2",
    },
    MethodInfo {
        name: "linear-interval",
        summary: "backward linear bounds over intervals, intersected with `interval`",
        guarantee: Guarantee::Rigorous.name(),
        cost: "one backward pass over the specification",
        source: "theory.md §4.3; CROWN-IBP: Zhang et al., arXiv 1906.06316",
    },
    MethodInfo {
        name: "linear",
        summary: "backward linear bounds at every layer, intersected with `interval`",
        guarantee: Guarantee::Rigorous.name(),
        cost: "one backward pass over every unstable neuron",
        source: "theory.md §3, §4.3; CROWN: Zhang et al., arXiv 1811.00866",
    },
    MethodInfo {
        name: "optimized",
        summary: "`linear`, and where it decides nothing, ascent on the lower slopes of ReLUs for every bound",
        guarantee: Guarantee::Rigorous.name(),
        cost: "up to twenty times `linear`, for samples that it leaves open",
        source: "theory.md §4.4; Xu et al., arXiv 2011.13824",
    },
];

/// Complete verification, [`crate::exact`]: chosen where a method is, but no [`BoundMethod`].
pub const EXACT: MethodInfo = MethodInfo {
    name: "exact",
    summary: "every sample proved or broken: linear bounds, attack, then branch and bound",
    guarantee: Guarantee::Rigorous.name(),
    cost: "depends on the sample; see the budgets",
    source: "theory.md §6; Bunel et al. 2020 JMLR; Wang et al., arXiv 2103.06624",
};

/// The method of this name.
pub fn method<T: Scalar>(name: &str) -> Option<&'static dyn BoundMethod<T>> {
    match name {
        "norm-product" => Some(&NormProduct),
        "interval" => Some(&Interval),
        "linear-interval" => Some(&Linear { intermediate: Intermediate::Interval }),
        "linear" => Some(&Linear { intermediate: Intermediate::Linear }),
        "optimized" => Some(&Optimized::DEFAULT),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_method_exists() {
        for info in METHODS {
            assert!(
                method::<f32>(info.name).is_some() && method::<f64>(info.name).is_some(),
                "{}",
                info.name
            );
        }
        for name in ["crown", EXACT.name] {
            assert!(method::<f32>(name).is_none() && METHODS.iter().all(|info| info.name != name));
        }
    }
}
