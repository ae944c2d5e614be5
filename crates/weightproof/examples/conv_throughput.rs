//! Speed of a small residual network, shaped like resnet_2b of the VNN-COMP 2021 benchmarks, with random weights:
//!
//! ```text
//! cargo run --release -p weightproof --example conv_throughput [relative radius]
//! ```
//!
//! prints images per second of the forward pass at batch 64 on two threads, and samples per second of every bound method. The
//! script `benchsuite/onnxruntime_forward.py` measures ONNX Runtime on the real network.

use rayon::prelude::*;
use std::time::Instant;
use weightproof::bounds::METHODS;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::kernels::{Matrix, Window, multiply_adds};
use weightproof::model::Model;
use weightproof::network::{Activation, Network, NetworkBuilder};
use weightproof::property::Property;
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::Samples;

fn wave(k: usize) -> f64 {
    let k = k as f64;
    (k * 12.9898).sin() * (k * 78.233).cos()
}

struct Draft {
    builder: NetworkBuilder,
    count: usize,
}

impl Draft {
    fn weight(&mut self, rows: usize, cols: usize) -> Matrix<f64> {
        self.count += rows * cols;
        let (first, spread) = (self.count, 2.5 / (cols as f64).sqrt());
        Matrix::from_fn(rows, cols, |i, j| spread * wave(first + i * cols + j))
    }

    fn conv(&mut self, name: &str, input: usize, channels: usize, kernel: usize, stride: usize) -> usize {
        let shape = self.builder.shape(input);
        let input_shape = [shape[0], shape[1], shape[2]];
        let window = Window {
            stride: [stride; 2],
            padding: [[kernel / 2; 2]; 2],
            ..Window::new(input_shape, channels, [kernel; 2])
        };
        let weight = self.weight(channels, window.patch());
        self.builder.conv(name, input, weight, vec![0.01; channels], window).expect("valid")
    }

    fn relu(&mut self, name: &str, input: usize) -> usize {
        self.builder.activation(name, input, Activation::Relu).expect("valid")
    }
}

fn network() -> Network {
    let mut draft = Draft { builder: NetworkBuilder::new(vec![3, 32, 32]), count: 0 };
    let stem = draft.conv("stem", 0, 8, 3, 2);
    let stem = draft.relu("relu0", stem);
    let first = draft.conv("conv1", stem, 16, 3, 2);
    let first = draft.relu("relu1", first);
    let first = draft.conv("conv2", first, 16, 3, 1);
    let skip = draft.conv("skip", stem, 16, 1, 2);
    let joined = draft.builder.add("add1", vec![first, skip]).expect("valid");
    let joined = draft.relu("relu2", joined);
    let second = draft.conv("conv3", joined, 16, 3, 1);
    let second = draft.relu("relu3", second);
    let second = draft.conv("conv4", second, 16, 3, 1);
    let joined = draft.builder.add("add2", vec![second, joined]).expect("valid");
    let joined = draft.relu("relu4", joined);
    let weight = draft.weight(100, 1024);
    let hidden = draft.builder.dense("dense1", joined, weight, vec![0.0; 100]).expect("valid");
    let hidden = draft.relu("relu5", hidden);
    let weight = draft.weight(10, 100);
    draft.builder.dense("dense2", hidden, weight, vec![0.0; 10]).expect("valid");
    draft.builder.finish().expect("valid")
}

fn main() {
    let radius: f64 = std::env::args().nth(1).map_or(0.005, |r| r.parse().expect("a radius"));
    let network = network();
    let model = Model::<f32>::new(&network);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
    let batch = Matrix::from_fn(64, network.input_width(), |s, j| wave(s * 3072 + j).abs() as f32);
    let batches: Vec<usize> = (0..200).collect();
    let (before, start) = (multiply_adds(), Instant::now());
    let sum: f32 = pool.install(|| {
        let forward = |values: &mut Vec<Matrix<f32>>, _| {
            model.forward_from_input(values);
            values.last().expect("nodes")[(0, 0)]
        };
        batches.par_iter().map_init(|| vec![batch.clone()], forward).sum()
    });
    let seconds = start.elapsed().as_secs_f64();
    let rate = 2e-9 * (multiply_adds() - before) as f64 / seconds;
    println!(
        "forward: {:.0} images/s, {rate:.0} GFLOP/s (checksum {sum:.3})",
        64.0 * batches.len() as f64 / seconds
    );
    let set = ThreatModel::new(Kind::Relative, radius).resolve(&network).expect("a threat model");
    let inputs: Vec<f64> = (0..128 * network.input_width()).map(|k| wave(k).abs()).collect();
    for method in METHODS {
        let options = CertifyOptions::new(method.name, Property::Prediction);
        let certifier = Certifier::new(&network, std::slice::from_ref(&set), options).expect("a method");
        let (before, start) = (multiply_adds(), Instant::now());
        let found =
            pool.install(|| certifier.certify(Samples { first: 0, inputs: &inputs, labels: None })).remove(0);
        let seconds = start.elapsed().as_secs_f64();
        let rate = 2e-9 * (multiply_adds() - before) as f64 / seconds;
        let certified = found.iter().filter(|c| c.margin_lower > 0.0).count();
        println!(
            "{:16} {:.1} samples/s, {rate:.0} GFLOP/s, {certified} of 128 certified at relative radius {radius}",
            method.name,
            128.0 / seconds
        );
    }
}
