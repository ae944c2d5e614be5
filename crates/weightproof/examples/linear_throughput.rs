//! How much of the machine's matrix-product rate the linear method reaches on a wide network.
//!
//! ```text
//! cargo run --release -p weightproof --example linear_throughput [-- SAMPLES WIDTH HIDDEN_LAYERS]
//! ```
//! The rate of plain products (rows of one pass × width × width, all threads at once) and of the method are measured in one
//! run; operations are counted where products are made.

use rayon::prelude::*;
use std::time::Instant;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::kernels::{Matrix, multiply_adds, product};
use weightproof::network::{Activation, Network, NetworkBuilder};
use weightproof::property::Property;
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::Samples;

/// Rows that a backward pass multiplies at once.
const ROWS: usize = 512;

/// Uniform numbers in [−1, 1) from a counter, without a dependency.
fn noise(k: usize) -> f64 {
    let mut x = (k as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 32;
    (x >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

fn network(width: usize, hidden: usize) -> Network {
    let mut widths = vec![784];
    widths.extend(vec![width; hidden]);
    widths.push(10);
    let mut builder = NetworkBuilder::new(vec![784]);
    let mut last = 0;
    for (k, pair) in widths.windows(2).enumerate() {
        let spread = (6.0 / pair[0] as f64).sqrt();
        let weight = Matrix::from_fn(pair[1], pair[0], |i, j| spread * noise(k << 40 | i << 20 | j));
        last = builder.dense(&format!("dense{k}"), last, weight, vec![0.0; pair[1]]).expect("valid");
        if k < hidden {
            last = builder.activation(&format!("relu{k}"), last, Activation::Relu).expect("valid");
        }
    }
    builder.finish().expect("valid")
}

/// Multiply-adds per second of plain products on all threads, the best of several rounds.
fn product_rate(width: usize) -> f64 {
    let matrix = |rows: usize| Matrix::from_fn(rows, width, |i, j| noise(i << 20 | j) as f32);
    let (a, b) = (matrix(ROWS), matrix(width));
    let threads = rayon::current_num_threads();
    let round = || {
        let (before, start) = (multiply_adds(), Instant::now());
        (0..threads).into_par_iter().for_each(|_| {
            let mut out = Matrix::default();
            (0..16).for_each(|_| product(&mut out, &a, &b));
        });
        (multiply_adds() - before) as f64 / start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| round()).fold(0.0, f64::max)
}

fn main() {
    let argument = |k: usize, default: usize| {
        std::env::args().nth(k).map_or(default, |text| text.parse().expect("a positive number"))
    };
    let (samples, width, hidden) = (argument(1, 128), argument(2, 1024), argument(3, 3));
    let network = network(width, hidden);
    let set = ThreatModel::new(Kind::Absolute, 1e-5).resolve(&network).expect("valid");
    let inputs: Vec<f64> = (0..samples * 784).map(|k| noise(k).abs()).collect();
    let options = CertifyOptions::new("linear", Property::Prediction);
    let certifier = Certifier::new(&network, &[set], options).expect("a method");
    let peak = product_rate(width);
    let (before, start) = (multiply_adds(), Instant::now());
    let results = certifier.certify(Samples { first: 0, inputs: &inputs, labels: None });
    let seconds = start.elapsed().as_secs_f64();
    let rate = (multiply_adds() - before) as f64 / seconds;
    assert_eq!(results[0].len(), samples);
    println!("784-{width}x{hidden}-10, {samples} samples, {} threads, f32", rayon::current_num_threads());
    println!("linear method: {seconds:.2} s, {:.1} samples/s", samples as f64 / seconds);
    println!(
        "products {:.0} GFLOP/s, of a measured peak of {:.0}: {:.0}%",
        2e-9 * rate,
        2e-9 * peak,
        100.0 * rate / peak
    );
}
