//! Networks of which hits move a chain of dense layers and ReLUs.

use crate::faults::HitSet;
use crate::kernels::Matrix;
use crate::network::{Activation, Affine, Layer, Network, Node};

/// The most distributions of hits over layers that are looked at.
const MOST_DISTRIBUTIONS: u64 = 1000;

/// The nodes that hits move, from the first layer that is hit on: each reads the one before it.
pub(crate) struct Chain<'n> {
    pub(super) network: &'n Network,
    /// The first layer that is hit.
    pub(super) first: usize,
    /// The last layer that is hit.
    pub(super) last: usize,
    /// By node, from the first on.
    links: Vec<Link<'n>>,
}

/// What a node of a chain does with the value of the node before it.
pub(super) enum Link<'n> {
    Dense(DenseLink<'n>),
    /// Each element by a factor of its own, and shifted, which differences do not see.
    Scale(&'n [f64]),
    Relu,
    /// The same elements in another shape.
    Reshape,
}

/// A dense layer, and how large its weights are.
pub(super) struct DenseLink<'n> {
    pub affine: &'n Affine,
    /// `|W|`.
    pub magnitudes: Matrix<f64>,
    /// The ℓ1 norm of each row, rounded up.
    pub row_norms: Vec<f64>,
    /// The largest ℓ1 norm of a column, rounded up.
    pub column_norm: f64,
}

/// The values of one sample without hits, by node, and how far each may be from real arithmetic.
pub(crate) struct Clean<'a> {
    pub values: &'a [&'a [f64]],
    pub errors: &'a [Vec<f64>],
}

impl<'n> Chain<'n> {
    /// The chain that `hits` move; `None` where other layers are behind the first one that is hit, or the distributions of hits over
    /// layers are too many.
    pub fn new(network: &'n Network, hits: &HitSet) -> Option<Self> {
        let nodes = network.nodes();
        let hit: Vec<usize> = (0..nodes.len()).filter(|&n| hits.layer(n).is_some()).collect();
        let (&first, &last) = (hit.first()?, hit.last()?);
        if distributions(hit.len() as u64, hits.words() as u64) > MOST_DISTRIBUTIONS
            || nodes[..first].iter().any(|node| node.layer.is_free())
        {
            return None;
        }
        let link = |n: usize| Link::new(&nodes[n]).filter(|_| n == first || nodes[n].inputs == [n - 1]);
        let links = (first..nodes.len()).map(link).collect::<Option<_>>()?;
        Some(Chain { network, first, last, links })
    }

    /// What a node does, from the first on.
    pub(super) fn link(&self, node: usize) -> &Link<'n> {
        &self.links[node - self.first]
    }
}

impl<'n> Link<'n> {
    fn new(node: &'n Node) -> Option<Self> {
        match &node.layer {
            Layer::Dense(affine) => Some(Link::Dense(DenseLink::new(affine))),
            Layer::Scale(scale) => Some(Link::Scale(&scale.scale)),
            Layer::Activation(f) => (*f == Activation::Relu).then_some(Link::Relu),
            Layer::Reshape => Some(Link::Reshape),
            Layer::Input
            | Layer::Conv(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::DynamicQuantize(_)
            | Layer::Add
            | Layer::Multiply
            | Layer::Gather(_) => None,
        }
    }
}

/// How many ways there are to hit `words` words in so many layers.
fn distributions(layers: u64, words: u64) -> u64 {
    (1..layers).fold(1_u64, |n, k| n.saturating_mul(words + k) / k)
}

impl<'n> DenseLink<'n> {
    fn new(affine: &'n Affine) -> Self {
        let magnitudes = affine.weight.map(f64::abs);
        let up = |sum: f64, terms: usize| sum * (1.0 + (terms + 4) as f64 * f64::EPSILON);
        let row_norms =
            (0..magnitudes.rows()).map(|i| up(magnitudes.row(i).iter().sum(), magnitudes.cols())).collect();
        let mut columns = vec![0.0; magnitudes.cols()];
        for i in 0..magnitudes.rows() {
            columns.iter_mut().zip(magnitudes.row(i)).for_each(|(sum, w)| *sum += w);
        }
        let column_norm = up(columns.into_iter().fold(0.0, f64::max), magnitudes.rows());
        DenseLink { affine, magnitudes, row_norms, column_norm }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_counted() {
        assert_eq!((distributions(4, 3), distributions(1, 9), distributions(2, 1)), (20, 1, 2));
        assert!(distributions(40, 40) > MOST_DISTRIBUTIONS);
    }
}
