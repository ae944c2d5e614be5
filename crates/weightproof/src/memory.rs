//! What certification will need, before it is run: bytes and multiply-adds.
//!
//! ```text
//! bytes = program + network + its casts + sets · (radii + what interval steps take of the weights)
//!         + threads · (samples · Σ_nodes width · c + matrices of coefficients)
//! ```
//! Data are streamed and results are small, so weights and blocks in flight are what grows with the network. The constants are counted
//! where the code holds them and fitted to measured peaks where a library does (`tests/cli/memory.rs` compares).

use crate::bounds::{COEFFICIENTS, ROWS};
use crate::kernels::Scalar;
use crate::network::{Layer, Network};
use crate::threat::{PerturbationSet, WeightSet};

/// Most samples of a block of images: a full vector of rows for the kernels of convolutions; larger blocks share nothing more,
/// and smaller ones keep more threads busy.
const IMAGES: usize = 16;
/// Most bytes that the samples of one block may take.
const BLOCK_BYTES: usize = 64 << 20;
/// Bytes of the program, its libraries and the embedded data.
const PROGRAM: usize = 30 << 20;
/// Bytes of a parameter of the network, in f64, and what is left of reading it.
const NETWORK: usize = 8 + 4;
/// Numbers for each parameter behind the first layer that moves, for each set: sign splits of weights ± radius (2 × 2), and `|W| + E`.
const SPLITS: usize = 5;
/// Bytes that `exact` adds for each parameter and set: the casts of its attack to f64 and f32, and gradients.
const EXACT: usize = 8 + 4 + 2;
/// Bytes of a radius of a single parameter in f64.
const RADIUS: usize = 8;
/// Numbers kept for each element of a node: its value, its box, and centre and radius of the box or the chord of its
/// magnitude.
const PER_ELEMENT: usize = 5;
/// Matrices of coefficients that a backward pass holds at once: of a node, of what it becomes, of its losses, and of a join.
pub(crate) const MATRICES: usize = 4;
/// Matrices of coefficients of a pass through a whole network, with those that products lay out for themselves.
const MATRICES_OF_A_PASS: usize = 10;

/// Sizes of a network, for estimates.
#[derive(Clone, Debug)]
pub struct Estimate {
    scalar: usize,
    parameters: usize,
    per_sample: usize,
    widest: usize,
    has_windows: bool,
    forward: u64,
    linear: u64,
}

impl Estimate {
    /// Measures `network` for an engine in `T`.
    pub fn new<T: Scalar>(network: &Network) -> Self {
        let (mut per_sample, mut forward, mut linear) = (0, 0_u64, 0_u64);
        for (index, node) in network.nodes().iter().enumerate() {
            let width = node.width();
            // Lines of a relaxation: two slopes and two offsets, of a maximum one slope for each tap.
            let lines = match &node.layer {
                // Of a product a slope for each factor, and of the planes two offsets and the magnitude.
                Layer::Multiply => 5 * width,
                Layer::Activation(_) | Layer::DynamicQuantize(_) => 4 * width,
                Layer::MaxPool(window) => (window.taps() + 2) * width,
                Layer::Input
                | Layer::Dense(_)
                | Layer::Conv(_)
                | Layer::Scale(_)
                | Layer::AveragePool(_)
                | Layer::Add
                | Layer::Gather(_)
                | Layer::Reshape => 0,
            };
            per_sample += PER_ELEMENT * width + lines;
            if feeds_nonlinearity(network, index) {
                linear += 2 * width as u64 * forward;
            }
            forward += work(&node.layer, width);
        }
        linear += network.output_width() as u64 * forward;
        Estimate {
            scalar: std::mem::size_of::<T>(),
            parameters: network.parameters(),
            per_sample,
            // A pass ends in front of an input that does not move.
            widest: network.nodes().iter().skip(1).map(|node| node.width()).max().unwrap_or(1),
            has_windows: network.nodes().iter().any(|node| matches!(node.layer, Layer::Conv(_))),
            forward,
            linear,
        }
    }

    /// The number of samples of a block: `most`, or fewer where the network is large.
    pub fn block(&self, most: usize) -> usize {
        let most = if self.has_windows { most.min(IMAGES) } else { most };
        (BLOCK_BYTES / (self.per_sample * self.scalar).max(1)).clamp(1, most.max(1))
    }

    /// Bytes for the program and the network.
    pub fn bytes(&self) -> usize {
        PROGRAM + (NETWORK + self.scalar) * self.parameters
    }

    /// Bytes for a set of perturbations of `network`, which is the one that was measured.
    pub fn bytes_of_set(&self, network: &Network, set: &PerturbationSet) -> usize {
        let (mut moves, mut numbers, mut radii) = (Vec::new(), 0, 0);
        for (index, node) in network.nodes().iter().enumerate() {
            let is_pushed = node.inputs.iter().any(|&input| moves[input]);
            let own = set.layer(index);
            if let Some(affine) = node.layer.affine() {
                let parameters = affine.weight.as_slice().len();
                numbers += if is_pushed { SPLITS * parameters } else { 0 };
                let has_entries = own.is_some_and(|own| matches!(own.weight, WeightSet::Entries(_)));
                radii += if has_entries { parameters } else { 0 };
            }
            let is_input = index == 0 && set.input_radius > 0.0;
            moves.push(is_pushed || is_input || own.is_some_and(|own| !own.is_zero()));
        }
        self.scalar * numbers + (RADIUS + self.scalar) * radii
    }

    /// Bytes that samples take which f32 leaves open by rounding, and f64 may not: the casts of the network and of a set, and what steps
    /// take of the weights, once more.
    pub fn bytes_of_f64(&self, network: &Network, set: &PerturbationSet) -> usize {
        let double = Estimate { scalar: 8, ..self.clone() };
        8 * self.parameters + double.bytes_of_set(network, set)
    }

    /// Bytes that `exact` adds for each set.
    pub fn bytes_of_exact(&self) -> usize {
        EXACT * self.parameters
    }

    /// Bytes for a block of `samples`, on each thread.
    pub fn bytes_per_thread(&self, samples: usize) -> usize {
        let coefficients = MATRICES_OF_A_PASS * COEFFICIENTS.min(ROWS * self.widest);
        self.scalar * (samples * self.per_sample + coefficients)
    }

    /// Multiply-adds of one sample's forward pass.
    pub fn forward_work(&self) -> u64 {
        self.forward
    }

    /// Multiply-adds of one sample's linear bound with linear intermediates, were every neuron unstable.
    pub fn linear_work(&self) -> u64 {
        self.linear
    }
}

/// What a product of two values costs, and the copies, functions and sums around it, in multiply-adds of large products: coefficients of many
/// elements go through memory.
const OF_PRODUCT: u64 = 32;

/// Multiply-adds of a layer of `width` elements.
pub(crate) fn work(layer: &Layer, width: usize) -> u64 {
    if *layer == Layer::Multiply {
        return OF_PRODUCT * width as u64;
    }
    layer.affine().map_or(0, |affine| (width * affine.weight.cols()) as u64)
}

fn feeds_nonlinearity(network: &Network, index: usize) -> bool {
    let readers = network.nodes()[index + 1..].iter();
    readers.filter(|n| n.inputs.contains(&index)).any(|n| n.layer.is_nonlinear())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Matrix, Window};
    use crate::network::{Activation, NetworkBuilder};

    #[test]
    fn work_and_blocks_by_hand() {
        let mut builder = NetworkBuilder::new(vec![1, 4, 4]);
        let window = Window::new([1, 4, 4], 2, [3, 3]);
        let p = builder.conv("c", 0, Matrix::zeros(2, 9), Vec::new(), window).unwrap();
        let z = builder.activation("r", p, Activation::Relu).unwrap();
        builder.dense("d", z, Matrix::zeros(3, 8), Vec::new()).unwrap();
        let estimate = Estimate::new::<f32>(&builder.finish().unwrap());
        assert_eq!(estimate.forward_work(), 8 * 9 + 3 * 8);
        assert_eq!(estimate.linear_work(), 3 * (8 * 9 + 3 * 8));
        assert_eq!(estimate.per_sample, 5 * (16 + 8 + 8 + 3) + 4 * 8);
        assert_eq!(estimate.block(64), IMAGES);
        assert_eq!(estimate.block(3), 3);
    }
}
