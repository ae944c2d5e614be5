//! What certification will need, before it is run: bytes and multiply-adds.
//!
//! ```text
//! bytes = parameters · c₁ + threads · (samples · Σ_nodes width · c₂ + coefficients)
//! ```
//! Data are streamed and results are small, so blocks in flight are what grows with the network.

use crate::bounds::COEFFICIENTS;
use crate::kernels::Scalar;
use crate::network::{Layer, Network};

/// Most samples of a block of images: a full vector of rows for the kernels of convolutions; larger blocks share nothing more,
/// and smaller ones keep more threads busy.
const IMAGES: usize = 16;
/// Most bytes that the samples of one block may take.
const BLOCK_BYTES: usize = 64 << 20;
/// Numbers kept for each parameter: the network, its casts to f64 and to the engine, a radius, and the sign splits of weights ± radius
/// (2 × 2); an f64 counts twice.
const PER_PARAMETER: usize = 10;
/// Numbers kept for each element of a node: its value, its box, and centre and radius of the box or the chord of its
/// magnitude.
const PER_ELEMENT: usize = 5;
/// Matrices of coefficients that a backward pass holds at once: of a node, of what it becomes, of its losses, and of a join.
pub(crate) const MATRICES: usize = 4;

/// Sizes of a network, for estimates.
#[derive(Clone, Debug)]
pub struct Estimate {
    scalar: usize,
    parameters: usize,
    per_sample: usize,
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

    /// Bytes for the network and its radii.
    pub fn bytes(&self) -> usize {
        self.scalar * self.parameters * PER_PARAMETER
    }

    /// Bytes for a block of `samples`, on each thread.
    pub fn bytes_per_thread(&self, samples: usize) -> usize {
        self.scalar * (samples * self.per_sample + MATRICES * COEFFICIENTS)
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

/// Multiply-adds of a layer of `width` elements.
pub(crate) fn work(layer: &Layer, width: usize) -> u64 {
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
