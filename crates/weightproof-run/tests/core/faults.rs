//! Single hits on the embedded network against injections: forward passes from the hit word on.
//!
//! `WEIGHTPROOF_INJECTIONS=1000000 cargo test --release -p weightproof-run --test core faults::` makes that many, `WEIGHTPROOF_INJECTIONS=all`
//! every one of three images.

use rand::RngExt;
use weightproof::faults::{FaultModel, Memory, SingleHits, Tally};
use weightproof::network::{Affine, Network};
use weightproof::property::Property;
use weightproof::verdict::Samples;
use weightproof_run::config::ModelConfig;
use weightproof_run::source::{embedded_images, load_model};
use weightproof_testkit::networks::rng;

/// Injections without the variable.
const INJECTIONS: usize = 30_000;
/// Images that they are shared among.
const IMAGES: usize = 6;
/// Images whose every hit is injected, where all are asked for.
const WHOLE_IMAGES: usize = 3;
/// Margins closer to zero are not compared.
const TOO_CLOSE: f64 = 1e-9;

/// A dense network of ReLUs.
struct Dense<'n> {
    layers: Vec<&'n Affine>,
}

impl<'n> Dense<'n> {
    fn new(network: &'n Network) -> Self {
        Dense { layers: network.affine_layers().map(|(_, _, affine)| affine).collect() }
    }

    /// Inputs of all layers, the outputs last.
    fn pass(&self, x: &[f64]) -> Vec<Vec<f64>> {
        let mut values = vec![x.to_vec()];
        for (k, layer) in self.layers.iter().enumerate() {
            let mut p = layer.apply(values.last().unwrap());
            if k + 1 < self.layers.len() {
                p.iter_mut().for_each(|p| *p = p.max(0.0));
            }
            values.push(p);
        }
        values
    }

    /// Outputs when weight (row, column) of `layer`, or its bias, is `value`.
    fn inject(
        &self,
        values: &[Vec<f64>],
        layer: usize,
        (row, column): (usize, Option<usize>),
        value: f64,
    ) -> Vec<f64> {
        let own = self.layers[layer];
        let weight = |j: usize| if column == Some(j) { value } else { own.weight[(row, j)] };
        let bias = if column.is_none() { value } else { own.bias[row] };
        let p = values[layer].iter().enumerate().map(|(j, z)| weight(j) * z).sum::<f64>() + bias;
        let last = layer + 1 == self.layers.len();
        let mut z = values[layer + 1].clone();
        z[row] = if last { p } else { p.max(0.0) };
        for (k, layer) in self.layers.iter().enumerate().skip(layer + 1) {
            z = layer.apply(&z);
            if k + 1 < self.layers.len() {
                z.iter_mut().for_each(|z| *z = z.max(0.0));
            }
        }
        z
    }
}

#[test]
fn no_injection_contradicts_the_table() {
    let asked = std::env::var("WEIGHTPROOF_INJECTIONS").ok();
    let every = asked.as_deref() == Some("all");
    let injections = asked.and_then(|n| n.parse::<usize>().ok()).unwrap_or(INJECTIONS);
    let (network, _) = load_model(&ModelConfig::default()).unwrap();
    let batch = embedded_images().unwrap().next_batch(40).unwrap().unwrap();
    let mut random = rng(0);
    let mut broken = 0;
    for storage in ["int8", "bf16"] {
        let model = FaultModel { storage: storage.parse().unwrap(), ..FaultModel::default() };
        let memory = Memory::new(&network, &model).unwrap();
        let dense = Dense::new(memory.network());
        let hits = SingleHits::new(&memory, Property::Prediction);
        for image in 0..if every { WHOLE_IMAGES } else { IMAGES } {
            let x = &batch.inputs[784 * (6 * image)..784 * (6 * image + 1)];
            let tally = Tally::new(&memory);
            let found = hits.settle(Samples { first: 0, inputs: x, labels: None }, &tally).pop().unwrap();
            let all: Vec<_> = tally.hits(&memory).collect();
            let values = dense.pass(x);
            let target = found.clean.target;
            let breaking: Vec<usize> = (0..all.len()).filter(|n| all[*n].broken > 0).collect();
            for draw in 0..if every { all.len() } else { injections / IMAGES / 2 } {
                // Every tenth is one that is said to break.
                let n = match draw % 10 {
                    _ if every => draw,
                    0 if !breaking.is_empty() => breaking[random.random_range(0..breaking.len())],
                    _ => random.random_range(0..all.len()),
                };
                let count = &all[n];
                if !count.hit.is_finite() {
                    continue;
                }
                let place = memory.layers()[count.layer].place(count.word);
                let outputs = dense.inject(&values, count.layer, place, count.hit.after);
                let rivals = outputs.iter().enumerate().filter(|(k, _)| *k != target);
                let margin = rivals.map(|(_, f)| outputs[target] - f).fold(f64::INFINITY, f64::min);
                if margin.abs() > TOO_CLOSE {
                    let told = (count.broken, count.undecided);
                    assert_eq!(told, (u32::from(margin < 0.0), 0), "{storage} {image} {count:?}: {margin}");
                    broken += u64::from(margin < 0.0);
                }
            }
        }
    }
    assert!(every || broken > injections as u64 / 40, "{broken}");
    println!("{broken} hits broke a sample, as told");
}
