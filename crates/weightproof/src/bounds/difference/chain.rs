//! Networks of which hits move a chain of dense layers and ReLUs.

use crate::faults::HitSet;
use crate::kernels::Matrix;
use crate::network::{Activation, Affine, Layer, Network};

/// The most distributions of hits over layers that are looked at.
const MOST_DISTRIBUTIONS: u64 = 1000;

/// The nodes that hits move, from the first layer that is hit on: each reads the one before it.
pub(crate) struct Chain<'n> {
    pub(super) network: &'n Network,
    /// The first layer that is hit.
    pub(super) first: usize,
    /// The last layer that is hit.
    pub(super) last: usize,
    /// By node.
    magnitudes: Vec<Option<Magnitudes>>,
}

/// Magnitudes of the weights of a dense layer.
pub(super) struct Magnitudes {
    /// `|W|`.
    pub weight: Matrix<f64>,
    /// The ℓ1 norm of each row, rounded up.
    pub rows: Vec<f64>,
    /// The largest ℓ1 norm of a column, rounded up.
    pub column: f64,
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
        let is_link = |n: usize| {
            let is_known = match &nodes[n].layer {
                Layer::Dense(_) | Layer::Scale(_) | Layer::Reshape => true,
                Layer::Activation(f) => *f == Activation::Relu,
                Layer::Input
                | Layer::Conv(_)
                | Layer::DynamicQuantize(_)
                | Layer::MaxPool(_)
                | Layer::AveragePool(_)
                | Layer::Add
                | Layer::Gather(_) => false,
            };
            is_known && (n == first || nodes[n].inputs == [n - 1])
        };
        let is_free = |n: usize| nodes[n].layer.is_free();
        if distributions(hit.len() as u64, hits.words() as u64) > MOST_DISTRIBUTIONS
            || !(first..nodes.len()).all(is_link)
            || (0..first).any(is_free)
        {
            return None;
        }
        let of_node = |n: usize| match &nodes[n].layer {
            Layer::Dense(affine) if n > first => Some(Magnitudes::new(affine)),
            Layer::Dense(_)
            | Layer::Input
            | Layer::Conv(_)
            | Layer::Scale(_)
            | Layer::Activation(_)
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Add
            | Layer::Gather(_)
            | Layer::Reshape => None,
        };
        let magnitudes = (0..nodes.len()).map(of_node).collect();
        Some(Chain { network, first, last, magnitudes })
    }

    /// Of a dense layer behind the first one that is hit.
    pub(super) fn magnitudes(&self, node: usize) -> &Magnitudes {
        self.magnitudes[node].as_ref().expect("a dense layer of the chain")
    }
}

/// How many ways there are to hit `words` words in so many layers.
fn distributions(layers: u64, words: u64) -> u64 {
    (1..layers).fold(1_u64, |n, k| n.saturating_mul(words + k) / k)
}

impl Magnitudes {
    fn new(affine: &Affine) -> Self {
        let weight = affine.weight.map(f64::abs);
        let up = |sum: f64, terms: usize| sum * (1.0 + (terms + 4) as f64 * f64::EPSILON);
        let rows = (0..weight.rows()).map(|i| up(weight.row(i).iter().sum(), weight.cols())).collect();
        let mut columns = vec![0.0; weight.cols()];
        for i in 0..weight.rows() {
            columns.iter_mut().zip(weight.row(i)).for_each(|(sum, w)| *sum += w);
        }
        let column = up(columns.into_iter().fold(0.0, f64::max), weight.rows());
        Magnitudes { weight, rows, column }
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
