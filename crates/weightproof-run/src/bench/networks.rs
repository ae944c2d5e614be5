//! Networks of the standard set: as large as wanted, with random weights, so that nothing needs to be at hand.

use weightproof::kernels::{Matrix, Window};
use weightproof::network::{Activation, Network, NetworkBuilder, NetworkError};

/// Inputs of a dense network.
const PIXELS: usize = 784;
/// Classes.
const CLASSES: usize = 10;

/// A number in [−1, 1) for each counter: the same on every machine.
pub(super) fn noise(k: usize) -> f64 {
    let mut x = (k as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 32;
    (x >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// Weights that keep the size of what goes through them.
fn weight(first: usize, rows: usize, cols: usize) -> Matrix<f64> {
    let spread = (6.0 / cols as f64).sqrt();
    Matrix::from_fn(rows, cols, |i, j| spread * noise(first << 40 | i << 20 | j))
}

/// 784-`width`-…-10 with `hidden` hidden layers.
pub(super) fn dense(width: usize, hidden: usize) -> Result<Network, NetworkError> {
    let mut builder = NetworkBuilder::new(vec![PIXELS]);
    let (mut last, mut inputs) = (0, PIXELS);
    for k in 0..hidden {
        last = builder.dense(&format!("dense{k}"), last, weight(k, width, inputs), vec![0.0; width])?;
        last = builder.activation(&format!("relu{k}"), last, Activation::Relu)?;
        inputs = width;
    }
    builder.dense("out", last, weight(hidden, CLASSES, inputs), vec![0.0; CLASSES])?;
    builder.finish()
}

/// Residual, with the shapes of resnet_2b (VNN-COMP 2021, CIFAR-10).
pub(super) fn residual() -> Result<Network, NetworkError> {
    let mut draft = Draft { builder: NetworkBuilder::new(vec![3, 32, 32]), layers: 0 };
    let stem = draft.conv(0, 8, 3, 2)?;
    let stem = draft.relu(stem)?;
    let first = draft.conv(stem, 16, 3, 2)?;
    let first = draft.relu(first)?;
    let first = draft.conv(first, 16, 3, 1)?;
    let skip = draft.conv(stem, 16, 1, 2)?;
    let joined = draft.join(first, skip)?;
    let second = draft.conv(joined, 16, 3, 1)?;
    let second = draft.relu(second)?;
    let second = draft.conv(second, 16, 3, 1)?;
    let joined = draft.join(second, joined)?;
    let hidden = draft.dense(joined, 100)?;
    let hidden = draft.relu(hidden)?;
    draft.dense(hidden, CLASSES)?;
    draft.builder.finish()
}

struct Draft {
    builder: NetworkBuilder,
    layers: usize,
}

impl Draft {
    fn next(&mut self) -> String {
        self.layers += 1;
        format!("node{}", self.layers)
    }

    fn conv(
        &mut self,
        input: usize,
        channels: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<usize, NetworkError> {
        let name = self.next();
        let shape = self.builder.shape(input);
        let window = Window {
            stride: [stride; 2],
            padding: [[kernel / 2; 2]; 2],
            ..Window::new([shape[0], shape[1], shape[2]], channels, [kernel; 2])
        };
        let weight = weight(self.layers, channels, window.patch());
        self.builder.conv(&name, input, weight, vec![0.0; channels], window)
    }

    fn dense(&mut self, input: usize, outputs: usize) -> Result<usize, NetworkError> {
        let name = self.next();
        let inputs = self.builder.shape(input).iter().product();
        self.builder.dense(&name, input, weight(self.layers, outputs, inputs), vec![0.0; outputs])
    }

    fn relu(&mut self, input: usize) -> Result<usize, NetworkError> {
        let name = self.next();
        self.builder.activation(&name, input, Activation::Relu)
    }

    fn join(&mut self, a: usize, b: usize) -> Result<usize, NetworkError> {
        let name = self.next();
        let sum = self.builder.add(&name, vec![a, b])?;
        self.relu(sum)
    }
}
