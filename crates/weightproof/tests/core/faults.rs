//! Single hits on stored words against brute force: every word, every change, by the plain forward pass of the network after it.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use weightproof::faults::{Fault, FaultModel, Memory, SingleHits, Tally};
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Network, NetworkBuilder};
use weightproof::property::Property;
use weightproof::verdict::{Reason, Samples, Verdict};
use weightproof_testkit::images::arbitrary_images;
use weightproof_testkit::integers::QuantizedBlueprint;
use weightproof_testkit::networks::{ACTIVATIONS, Blueprint, Design, input, rng};
use weightproof_testkit::products::{FORMS, ProductBlueprint};

/// Margins closer to zero than this are not compared: the plain forward pass rounds, too.
const TOO_CLOSE: f64 = 1e-9;

fn margin(outputs: &[f64], target: usize) -> f64 {
    let rivals = outputs.iter().enumerate().filter(|(k, _)| *k != target);
    rivals.map(|(_, f)| outputs[target] - f).fold(f64::INFINITY, f64::min)
}

/// Settles all hits on `network` for `draws` inputs and looks at each; returns how many hits break and repair.
fn compare(network: &Network, model: &FaultModel, draws: usize, seed: u64) -> (u64, u64) {
    let memory = Memory::new(network, model).unwrap();
    let hits = SingleHits::new(&memory, Property::Label);
    let (mut broken, mut repaired) = (0, 0);
    let mut rng = rng(seed);
    for draw in 0..draws {
        let x = input(network.input_width(), true, &mut rng);
        let outputs = memory.network().forward(&x);
        // Mostly the class that is predicted, so that the property holds.
        let best = (0..outputs.len()).max_by(|a, b| outputs[*a].total_cmp(&outputs[*b])).unwrap();
        let target = if draw % 3 == 2 { draw % outputs.len() } else { best };
        let clean = margin(&outputs, target);
        if clean.abs() < TOO_CLOSE {
            continue;
        }
        let tally = Tally::new(&memory);
        let samples = Samples { first: draw, inputs: &x, labels: Some(&[target as u32]) };
        let found = hits.settle(samples, &tally).pop().unwrap();
        let mut changed = 0;
        for count in tally.hits(&memory) {
            let told = (count.broken, count.repaired, count.undecided);
            if !count.hit.is_finite() {
                assert_eq!(told, (0, 0, 0));
                continue;
            }
            let moved = memory.parameters_after(count.layer, count.word, &count.hit);
            let after = memory.network().with_parameters(&[moved]).forward(&x);
            let after = margin(&after, target);
            if after.abs() < TOO_CLOSE {
                continue;
            }
            let expected = match (clean > 0.0, after > 0.0) {
                (true, false) => (1, 0, 0),
                (false, true) => (0, 1, 0),
                (true, true) | (false, false) => (0, 0, 0),
            };
            changed += u64::from(expected != (0, 0, 0));
            assert_eq!(
                told, expected,
                "{model:?} layer {} word {} {:?}: {after}",
                count.layer, count.word, count.hit
            );
        }
        assert!(found.breaking + found.repairing >= changed);
        let safe = clean > 0.0 && found.breaking + found.undecided + found.not_finite == 0;
        assert_eq!(found.verdict == Verdict::Verified, safe, "{found:?}");
        assert_eq!(found.reason == Some(Reason::Misclassified), clean < 0.0);
        if let Some(first) = found.first {
            assert!(first.margin < TOO_CLOSE, "{first:?}");
        }
        (broken, repaired) = (broken + found.breaking, repaired + found.repairing);
    }
    (broken, repaired)
}

fn model(storage: &str) -> FaultModel {
    FaultModel { storage: storage.parse().unwrap(), ..FaultModel::default() }
}

#[test]
fn every_flip_of_dense_networks_is_as_by_brute_force() {
    let (mut broken, mut repaired) = (0, 0);
    for seed in 0..6 {
        for storage in
            ["int8", "int4:per-channel", "int8:asymmetric:bias-own-step", "bf16", "fp16", "fp8e4m3", "fp32"]
        {
            let network = Blueprint::new(&[7, 6, 5, 3], Activation::Relu, seed).build();
            let found = compare(&network, &model(storage), 4, seed);
            (broken, repaired) = (broken + found.0, repaired + found.1);
        }
    }
    assert!(broken > 1000 && repaired > 300, "both happen: {broken} {repaired}");
}

#[test]
fn every_activation_is_as_by_brute_force() {
    for (seed, activation) in ACTIVATIONS.into_iter().enumerate() {
        let blueprint = Blueprint::new(&[6, 5, 4, 3], activation, seed as u64);
        for decorated in [false, true] {
            let network = Blueprint { decorated, ..blueprint.clone() }.build();
            compare(&network, &model("int6"), 3, seed as u64);
        }
    }
}

#[test]
fn every_flip_of_products_is_as_by_brute_force() {
    for form in FORMS {
        let network = ProductBlueprint { form, seed: 2 }.build();
        compare(&network, &model("int6"), 3, 2);
    }
}

#[test]
fn every_kind_of_fault_is_as_by_brute_force() {
    for seed in 0..4 {
        let network = Blueprint::new(&[5, 4, 3], Activation::Relu, seed).build();
        for fault in [Fault::Flip, Fault::StuckAt0, Fault::StuckAt1, Fault::Replace] {
            for bits in [1, 2, 6] {
                compare(&network, &FaultModel { fault, bits, ..model("int6") }, 3, seed);
            }
        }
        for protect in ["secded", "parity-zero", "4,5"] {
            let protect = vec![protect.parse().unwrap()];
            compare(&network, &FaultModel { bits: 2, protect, ..model("int6") }, 3, seed);
        }
    }
}

/// Convolutions, pooling and residual connections.
#[test]
fn every_flip_of_images_is_as_by_brute_force() {
    let mut runner = TestRunner::deterministic();
    let mut broken = 0;
    for seed in 0..25 {
        let design = arbitrary_images().new_tree(&mut runner).unwrap().current();
        let network = design.build();
        broken += compare(&network, &model(if seed % 2 == 0 { "int8" } else { "bf16" }), 2, seed).0;
    }
    assert!(broken > 100, "{broken}");
}

/// Settles all hits on `network` while inputs move by `radius`: what is certified holds for sampled inputs and corners, and hits that break the
/// sample where it is are never certified. Returns how many are harmless, open and breaking.
fn compare_with_boxes(network: &Network, radius: f64, seed: u64) -> [u32; 3] {
    let memory = Memory::new(network, &model("int6")).unwrap();
    let hits = SingleHits::new(&memory, Property::Prediction).with_inputs(radius, Some((0.0, 1.0))).unwrap();
    let plain = SingleHits::new(&memory, Property::Prediction);
    let (mut rng, [mut harmless, mut open, mut broken]) = (rng(seed), [0; 3]);
    for draw in 0..4 {
        let x = input(network.input_width(), true, &mut rng);
        let (tally, there) = (Tally::new(&memory), Tally::new(&memory));
        let samples = Samples { first: draw, inputs: &x, labels: None };
        let found = hits.settle(samples, &tally).pop().unwrap();
        plain.settle(samples, &there);
        if found.reason == Some(Reason::BoundTooLoose) && found.undecided == 0 {
            continue;
        }
        for (count, there) in tally.hits(&memory).zip(there.hits(&memory)) {
            assert_eq!(count.broken, there.broken, "{:?}", count.hit);
            broken += count.broken;
            open += count.undecided;
            if count.broken + count.undecided > 0 {
                continue;
            }
            harmless += 1;
            let moved = memory.parameters_after(count.layer, count.word, &count.hit);
            let after = memory.network().with_parameters(&[moved]);
            for corner in [-radius, radius, 0.0] {
                let moved = |(j, x): (usize, &f64)| {
                    let step = match corner == 0.0 {
                        true => radius * ((j as f64) * 2.7 + f64::from(harmless % 97)).sin(),
                        false => corner,
                    };
                    (x + step).clamp(0.0, 1.0)
                };
                let moved: Vec<f64> = x.iter().enumerate().map(moved).collect();
                let margin = margin(&after.forward(&moved), found.clean.target);
                assert!(margin > 0.0, "{:?}: {margin}", count.hit);
            }
        }
    }
    [harmless, open, broken]
}

#[test]
fn hits_that_are_harmless_for_a_box_of_inputs_are_so_for_its_points() {
    let mut sums = [0; 3];
    for seed in 0..5 {
        let activation = if seed == 4 { Activation::Sigmoid } else { Activation::Relu };
        let network = Blueprint::new(&[6, 7, 6, 3], activation, 40 + seed).build();
        let found = compare_with_boxes(&network, 0.03, seed);
        sums.iter_mut().zip(found).for_each(|(sum, n)| *sum += n);
    }
    let [harmless, open, broken] = sums;
    assert!(harmless > 3000 && open > 20 && broken > 20, "{harmless} {open} {broken}");
}

/// Convolutions, pooling and residual connections beside a box of inputs.
#[test]
fn hits_on_images_that_are_harmless_for_a_box_of_inputs_are_so_for_its_points() {
    let mut runner = TestRunner::deterministic();
    let mut sums = [0; 3];
    for seed in 0..12 {
        let network = arbitrary_images().new_tree(&mut runner).unwrap().current().build();
        let found = compare_with_boxes(&network, 0.01, seed);
        sums.iter_mut().zip(found).for_each(|(sum, n)| *sum += n);
    }
    let [harmless, open, broken] = sums;
    assert!(harmless > 1000 && open > 10 && broken > 10, "{harmless} {open} {broken}");
}

/// An input of zero meets words that do nothing until it moves.
#[test]
fn hits_on_words_that_meet_zero_count_where_the_input_moves() {
    let mut builder = NetworkBuilder::new(vec![1]);
    builder.dense("only", 0, Matrix::from_vec(2, 1, vec![0.2, 0.0]), vec![0.2, 0.0]).unwrap();
    let memory =
        Memory::new(&builder.finish().unwrap(), &FaultModel { biases: false, ..model("int8") }).unwrap();
    let samples = Samples { first: 0, inputs: &[0.0], labels: None };
    // The margin is 0.2 + 0.2 x, and 0.2 + 0.4 x after the highest bit of the second weight.
    for (radius, verdict) in [(0.1, Verdict::Verified), (0.6, Verdict::Unknown)] {
        let hits = SingleHits::new(&memory, Property::Prediction).with_inputs(radius, None).unwrap();
        let found = hits.settle(samples, &Tally::new(&memory)).pop().unwrap();
        assert_eq!(found.verdict, verdict, "{radius}: {found:?}");
    }
}

/// Integers and quantizers as a file has them.
#[test]
fn every_flip_of_stored_integers_is_as_by_brute_force() {
    for seed in 0..6 {
        let design = QuantizedBlueprint {
            convolutional: seed % 2 == 0,
            widths: vec![6, 5, 3],
            per_channel: seed % 3 == 0,
            signed: seed % 3 != 1,
            dynamic: seed == 5,
            rounding: weightproof::network::StepRounding::NearestEven,
            seed,
        };
        let network = design.build();
        compare(&network, &model("file"), 4, seed);
    }
}

#[test]
fn weights_that_two_layers_share_are_refused() {
    let mut builder = NetworkBuilder::new(vec![2]);
    let weight = Matrix::from_vec(2, 2, vec![1.0, -0.5, 0.25, 2.0]);
    let first = builder.dense("first", 0, weight.clone(), vec![0.0; 2]).unwrap();
    let relu = builder.activation("relu", first, Activation::Relu).unwrap();
    let second = builder.dense("second", relu, weight.transposed(), vec![0.0; 2]).unwrap();
    builder.dense("third", second, weight.map(|w| w + 1.0), vec![0.0; 2]).unwrap();
    let network = builder.finish().unwrap();
    let of = |layers: Option<&str>| {
        let layers = layers.map(|name| vec![name.to_owned()]);
        Memory::new(&network, &FaultModel { layers, ..FaultModel::default() }).map(|memory| memory.words())
    };
    for layers in [None, Some("first"), Some("second")] {
        let error = of(layers).unwrap_err().to_string();
        assert!(error.starts_with("the layers first and second have the same weights"), "{error}");
    }
    assert!(of(Some("third")).unwrap() > 0);
}
