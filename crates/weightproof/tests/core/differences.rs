//! Bounds of several hits by the differences that they make, against enumeration: every set of hits, by the plain forward pass after it.

use rand::RngExt;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::faults::{FaultModel, HitSet, Memory};
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Network, NetworkBuilder, Scale};
use weightproof::property::Property;
use weightproof::threat::{Kind, LayerPerturbation, ThreatModel};
use weightproof::verdict::Samples;
use weightproof_testkit::networks::{Blueprint, Design, input, rng};

/// What the plain forward pass may lose on the networks of these tests.
const ROUNDING: f64 = 1e-9;

/// A change of one word: layer, row, column or bias, new value.
type Change = (usize, usize, Option<usize>, f64);

/// All changes of each word.
fn words(memory: &Memory) -> Vec<Vec<Change>> {
    let of_layer = |stored: &weightproof::faults::StoredLayer| {
        let of_word = |word: usize| {
            let (row, column) = stored.place(word);
            stored.hits_on(word).map(|(_, hit)| (stored.node, row, column, hit.after)).collect()
        };
        (0..stored.words()).map(of_word).collect::<Vec<Vec<Change>>>()
    };
    memory.layers().iter().flat_map(of_layer).collect()
}

fn least_margin(outputs: &[f64], target: usize) -> f64 {
    let rivals = (0..outputs.len()).filter(|k| *k != target);
    rivals.map(|k| outputs[target] - outputs[k]).fold(f64::INFINITY, f64::min)
}

/// The margin of the prediction after these changes.
fn margin_after(network: &Network, changes: &[Change], x: &[f64], target: usize) -> f64 {
    let mut nodes: Vec<usize> = changes.iter().map(|c| c.0).collect();
    nodes.dedup();
    let parameters = nodes.into_iter().map(|node| {
        let affine = network.nodes()[node].layer.affine().unwrap();
        let (mut weight, mut bias) = (affine.weight.clone(), affine.bias.clone());
        for &(_, row, column, after) in changes.iter().filter(|c| c.0 == node) {
            match column {
                Some(column) => weight[(row, column)] = after,
                None => bias[row] = after,
            }
        }
        LayerPerturbation { node, weight, bias }
    });
    least_margin(&network.with_parameters(&parameters.collect::<Vec<_>>()).forward(x), target)
}

/// The least margin after 1, 2, … `most` changes of different words, each with what was reached by fewer.
fn enumerated(memory: &Memory, x: &[f64], target: usize, most: usize) -> Vec<f64> {
    let all = words(memory);
    let mut least = vec![f64::INFINITY; most];
    let mut taken: Vec<Change> = Vec::new();
    fn extend(search: &mut dyn FnMut(&[Change]), all: &[Vec<Change>], taken: &mut Vec<Change>, most: usize) {
        for (k, of_word) in all.iter().enumerate() {
            for change in of_word {
                taken.push(*change);
                search(taken);
                if taken.len() < most {
                    extend(search, &all[k + 1..], taken, most);
                }
                taken.pop();
            }
        }
    }
    let mut see = |changes: &[Change]| {
        let margin = margin_after(memory.network(), changes, x, target);
        least[changes.len() - 1..].iter_mut().for_each(|m| *m = m.min(margin));
    };
    extend(&mut see, &all, &mut taken, most);
    least
}

/// The bound of the margin of the prediction with at most `words` hits.
fn bound(memory: &Memory, method: &str, words: usize, x: &[f64]) -> f64 {
    let set = ThreatModel::new(Kind::Absolute, 0.0).resolve(memory.network()).unwrap();
    let options = CertifyOptions::new(method, Property::Prediction);
    let certifier = Certifier::new(memory.network(), &[set], options).unwrap();
    let certifier = certifier.with_hits(HitSet::new(memory, words)).unwrap();
    certifier.certify(Samples { first: 0, inputs: x, labels: None })[0][0].margin_lower
}

fn low(storage: &str, bits: u32) -> FaultModel {
    FaultModel { storage: storage.parse().unwrap(), at: Some((0..bits).collect()), ..FaultModel::default() }
}

/// Compares bounds with enumeration; returns the parts of what hits take at worst and of what bounds pay, without differences and with.
fn compare(network: &Network, model: &FaultModel, most: usize, seed: u64) -> [f64; 3] {
    let memory = Memory::new(network, model).unwrap();
    let x = input(network.input_width(), true, &mut rng(seed));
    let outputs = memory.network().forward(&x);
    let target = (0..outputs.len()).max_by(|a, b| outputs[*a].total_cmp(&outputs[*b])).unwrap();
    let clean = least_margin(&outputs, target);
    let mut paid = [0.0; 3];
    for (k, least) in enumerated(&memory, &x, target, most).into_iter().enumerate() {
        let lower = bound(&memory, "linear", k + 1, &x);
        assert!(lower <= least + ROUNDING, "seed {seed}, {} hits: {lower} {least}", k + 1);
        let without = bound(&memory, "linear-interval", k + 1, &x);
        paid[0] += clean - least;
        paid[1] += clean - without;
        paid[2] += clean - lower;
    }
    paid
}

/// Every set of up to three hits on networks with one and two hidden layers: no bound is above the least margin, and none pays much more.
#[test]
fn no_set_of_hits_takes_more_than_is_paid() {
    let mut paid = [0.0; 3];
    for seed in 0..60 {
        let (widths, most) =
            [(&[2, 3, 2][..], 3), (&[2, 3, 2, 2][..], 2), (&[2, 2, 2, 2][..], 3)][seed as usize % 3];
        let blueprint =
            Blueprint { decorated: seed % 4 == 1, ..Blueprint::new(widths, Activation::Relu, 700 + seed) };
        let faults =
            [low("int4", 2), low("int5", 4), low("int4:per-channel", 4)][seed as usize / 3 % 3].clone();
        let faults = FaultModel { biases: seed % 2 == 0, ..faults };
        // Changes of one bit each: the two that move a word furthest are enough.
        let faults = FaultModel { at: faults.at.map(|at| at[at.len() - 2..].to_vec()), ..faults };
        let found = compare(&blueprint.build(), &faults, most, seed);
        (0..3).for_each(|k| paid[k] += found[k]);
    }
    let [least, without, with] = paid;
    assert!(with < 1.6 * least && with < 0.8 * without, "{least} {without} {with}");
}

/// A network of two inputs whose ReLUs are far from where they switch, so that hits on one layer act to first order.
#[test]
fn hits_on_one_layer_that_switch_no_neuron_are_bounded_exactly() {
    for seed in 0..10 {
        let mut rng = rng(seed);
        let mut weight =
            |rows: usize, cols: usize| Matrix::from_fn(rows, cols, |_, _| rng.random_range(-0.2..0.2));
        let mut builder = NetworkBuilder::new(vec![2]);
        let first = builder.dense("first", 0, weight(3, 2), vec![4.0, -4.0, 4.0]).unwrap();
        let factor = Scale::new(vec![-1.5, -1.0, 0.5], vec![12.0, 0.0, 0.0]);
        let scaled = builder.scale("scale", first, factor).unwrap();
        let relu = builder.activation("relu", scaled, Activation::Relu).unwrap();
        let second = builder.dense("second", relu, weight(2, 3), vec![7.0, 7.0]).unwrap();
        let relu = builder.activation("relu2", second, Activation::Relu).unwrap();
        builder.dense("third", relu, weight(2, 2), vec![3.0, -3.0]).unwrap();
        let network = builder.finish().unwrap();
        for layer in ["first", "second", "third"] {
            let faults =
                FaultModel { layers: Some(vec![layer.into()]), biases: false, ..low("int6:bias-float", 3) };
            let memory = Memory::new(&network, &faults).unwrap();
            let x = input(2, true, &mut rng_of(seed));
            let least = enumerated(&memory, &x, 0, 2);
            for (k, least) in least.into_iter().enumerate() {
                let lower = bound(&memory, "linear", k + 1, &x);
                assert!(
                    lower <= least + ROUNDING && lower > least - 1e-5,
                    "{layer} {}: {lower} {least}",
                    k + 1
                );
            }
        }
    }
}

/// What a flip of bit 6 of an int8 word moves it by, where the largest weight of its layer is 1.
const FLIP: f64 = 64.0 / 127.0;

/// A network of one input of 1 with dense layers of these weights and biases, ReLUs between them. Words of the first layer are hit in bit 6; its
/// last row, which nobody reads, has the largest weight.
fn by_hand(first: &[u8], layers: &[(&[&[f64]], &[f64])]) -> Memory {
    let column: Vec<f64> = first.iter().chain(&[127]).map(|code| f64::from(*code) / 127.0).collect();
    let mut builder = NetworkBuilder::new(vec![1]);
    let weight = Matrix::from_vec(column.len(), 1, column);
    let mut last = builder.dense("first", 0, weight, vec![0.0; first.len() + 1]).unwrap();
    for (k, (rows, bias)) in layers.iter().enumerate() {
        last = builder.activation(&format!("relu{k}"), last, Activation::Relu).unwrap();
        let weight = Matrix::from_vec(rows.len(), rows[0].len(), rows.concat());
        last = builder.dense(&format!("dense{k}"), last, weight, bias.to_vec()).unwrap();
    }
    let faults = FaultModel {
        storage: "int8:bias-float".parse().unwrap(),
        layers: Some(vec!["first".into()]),
        biases: false,
        at: Some(vec![6]),
        ..FaultModel::default()
    };
    Memory::new(&builder.finish().unwrap(), &faults).unwrap()
}

fn bounded_exactly(memory: &Memory, least: &[f64]) {
    let found = enumerated(memory, &[1.0], 0, least.len());
    for (k, (found, least)) in found.into_iter().zip(least).enumerate() {
        let lower = bound(memory, "linear", k + 1, &[1.0]);
        // Biases are stored in fp32.
        assert!((found - least).abs() < 1e-6, "{} hits: {found} {least}", k + 1);
        assert!(lower <= found + ROUNDING && lower > found - 1e-6, "{} hits: {lower} {found}", k + 1);
    }
}

/// A ReLU that is off by 1¼ flips: one hit does nothing, two switch it on.
#[test]
fn hits_on_two_rows_switch_a_neuron_together() {
    let off = -20.0 / 127.0 - 1.25 * FLIP;
    let memory = by_hand(&[10, 10], &[(&[&[1.0, 1.0, 0.0]], &[off]), (&[&[-1.0], &[0.0]], &[1.0, 0.0])]);
    bounded_exactly(&memory, &[1.0, 1.0 - 0.75 * FLIP]);
}

/// One hit switches a ReLU on, and what is beyond its kink the next one: half of the flip, less a quarter.
#[test]
fn what_passes_a_neuron_that_is_switched_on_switches_the_next() {
    let off = -10.0 / 127.0 - 0.5 * FLIP;
    let memory = by_hand(
        &[10],
        &[(&[&[1.0, 0.0]], &[off]), (&[&[1.0]], &[-0.25 * FLIP]), (&[&[-1.0], &[0.0]], &[1.0, 0.0])],
    );
    bounded_exactly(&memory, &[1.0 - 0.25 * FLIP]);
}

/// A flip down passes one neuron half, as that is switched off, and another one whole: their difference, which was constant, switches the next.
#[test]
fn what_passes_a_neuron_that_is_switched_off_is_less_than_what_passes_another() {
    let before = 74.0 / 127.0;
    let biases = [0.5 * FLIP - before, 1.0];
    let off = -0.25 * FLIP - (0.5 * FLIP - (before + 1.0));
    let memory = by_hand(
        &[74],
        &[
            (&[&[1.0, 0.0], &[1.0, 0.0]], &biases),
            (&[&[1.0, -1.0]], &[off]),
            (&[&[-1.0], &[0.0]], &[1.0, 0.0]),
        ],
    );
    bounded_exactly(&memory, &[1.0 - 0.25 * FLIP]);
}

/// A neuron that stays off passes nothing on, however much would come through it.
#[test]
fn a_neuron_that_stays_off_takes_and_gives_nothing() {
    let memory = by_hand(
        &[10],
        &[(&[&[1.0, 0.0], &[1.0, 0.0]], &[-5.0, 1.0]), (&[&[1.0, -1.0], &[0.0, 0.0]], &[2.0, 0.0])],
    );
    bounded_exactly(&memory, &[1.0 - 10.0 / 127.0 - FLIP]);
}

fn rng_of(seed: u64) -> rand_chacha::ChaCha8Rng {
    rng(seed + 1000)
}

/// Wider networks and more hits: sets of the furthest hits, drawn, do not break a bound.
#[test]
fn drawn_sets_of_hits_take_no_more_than_is_paid() {
    for seed in 0..24 {
        let blueprint = Blueprint {
            decorated: seed % 3 == 1,
            ..Blueprint::new(&[4, 8, 6, 5, 3], Activation::Relu, seed)
        };
        let memory = Memory::new(&blueprint.build(), &low("int8", 6 + seed as u32 % 3)).unwrap();
        let mut rng = rng(seed);
        let x = input(4, true, &mut rng);
        let outputs = memory.network().forward(&x);
        let target = (0..outputs.len()).max_by(|a, b| outputs[*a].total_cmp(&outputs[*b])).unwrap();
        let all = words(&memory);
        for most in [2, 4] {
            let lower = bound(&memory, "linear", most, &x);
            for _ in 0..150 {
                let mut chosen: Vec<usize> = (0..most).map(|_| rng.random_range(0..all.len())).collect();
                chosen.sort_unstable();
                chosen.dedup();
                let changes: Vec<Change> = chosen.iter().map(|&k| all[k][all[k].len() - 1]).collect();
                let margin = margin_after(memory.network(), &changes, &x, target);
                assert!(lower <= margin + ROUNDING, "seed {seed}, {most} hits: {lower} {margin}");
            }
        }
    }
}
