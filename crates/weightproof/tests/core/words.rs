//! Hits on several words at once against enumeration: every set of hits, by the plain forward pass of the network after it.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rand::RngExt;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::faults::{
    Fault, FaultModel, HitSet, Memory, PairLimits, SampleWords, SeveralHits, SingleHits, Tally, WordHit,
};
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{Activation, Network, NetworkBuilder};
use weightproof::property::Property;
use weightproof::threat::{Kind, LayerPerturbation, ThreatModel};
use weightproof::verdict::{Samples, Verdict};
use weightproof_testkit::images::arbitrary_images;
use weightproof_testkit::networks::{ACTIVATIONS, Blueprint, Design, input, rng};

/// Margins closer to zero than this are not compared: the plain forward pass rounds, too.
const TOO_CLOSE: f64 = 1e-9;

/// Margins of the target against all other classes.
fn margins(outputs: &[f64], target: usize) -> Vec<f64> {
    (0..outputs.len()).filter(|k| *k != target).map(|k| outputs[target] - outputs[k]).collect()
}

fn least(margins: &[f64]) -> f64 {
    margins.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The network that is stored after these hits.
fn after(memory: &Memory, hits: &[WordHit]) -> Network {
    let mut network = memory.network().clone();
    for h in hits {
        let stored = &memory.layers()[h.layer];
        let affine = network.nodes()[stored.node].layer.affine().unwrap();
        let (mut weight, mut bias) = (affine.weight.clone(), affine.bias.clone());
        match stored.place(h.word) {
            (i, Some(j)) => weight[(i, j)] = h.hit.after,
            (i, None) => bias[i] = h.hit.after,
        }
        network = network.with_parameters(&[LayerPerturbation { node: stored.node, weight, bias }]);
    }
    network
}

/// All hits, by word.
fn words(memory: &Memory) -> Vec<Vec<WordHit>> {
    let of_layer = |(layer, stored): (usize, &weightproof::faults::StoredLayer)| {
        let of_word =
            |word: usize| stored.hits_on(word).map(|(_, hit)| WordHit { layer, word, hit }).collect();
        (0..stored.words()).map(of_word).collect::<Vec<Vec<WordHit>>>()
    };
    memory.layers().iter().enumerate().flat_map(of_layer).collect()
}

/// What is found for one input, with its target; `None` where its margin is too close to zero.
fn settle(memory: &Memory, x: &[f64], most: u32, limits: PairLimits) -> Option<(SampleWords, usize)> {
    let outputs = memory.network().forward(x);
    let target = (0..outputs.len()).max_by(|a, b| outputs[*a].total_cmp(&outputs[*b])).unwrap();
    if least(&margins(&outputs, target)) < TOO_CLOSE {
        return None;
    }
    let singles = SingleHits::new(memory, Property::Label);
    let several = SeveralHits::new(memory, &singles, most, (0.0, None)).unwrap().limited(limits);
    let samples = Samples { first: 0, inputs: x, labels: Some(&[target as u32]) };
    let single = singles.settle(samples, &Tally::new(memory));
    let found = several.settle(samples, &single).pop().unwrap();
    check_witness(memory, x, target, &found);
    Some((found, target))
}

/// Hits that are said to break a sample are on different words, and do.
fn check_witness(memory: &Memory, x: &[f64], target: usize, found: &SampleWords) {
    let Some(broken) = found.broken.filter(|broken| *broken > 0) else { return };
    assert!(broken > found.certified, "{found:?}");
    assert_eq!(found.hits.len(), broken as usize);
    let places: std::collections::BTreeSet<_> = found.hits.iter().map(|h| (h.layer, h.word)).collect();
    assert_eq!(places.len(), found.hits.len(), "different words: {found:?}");
    let all = words(memory);
    assert!(found.hits.iter().all(|h| all.iter().any(|hits| hits.contains(h))));
    let margin = least(&margins(&after(memory, &found.hits).forward(x), target));
    assert!(margin < TOO_CLOSE && (margin - found.margin.unwrap()).abs() < TOO_CLOSE, "{found:?} {margin}");
}

/// The smallest margins after single hits and after pairs of hits.
fn smallest(memory: &Memory, x: &[f64], target: usize) -> (f64, f64) {
    let all = words(memory);
    let margin = |hits: &[WordHit]| least(&margins(&after(memory, hits).forward(x), target));
    let one = all.iter().flatten().map(|h| margin(&[*h])).fold(f64::INFINITY, f64::min);
    let mut two = one;
    for (k, first) in all.iter().enumerate() {
        for (a, b) in first.iter().flat_map(|a| all[k + 1..].iter().flatten().map(move |b| (a, b))) {
            two = two.min(margin(&[*a, *b]));
        }
    }
    (one, two)
}

fn model(storage: &str) -> FaultModel {
    FaultModel { storage: storage.parse().unwrap(), ..FaultModel::default() }
}

/// Flips of the lowest bits only, which break less.
fn low(storage: &str, bits: u32) -> FaultModel {
    FaultModel { at: Some((0..bits).collect()), ..model(storage) }
}

const NO_SEARCH: PairLimits = PairLimits { nodes: 0, time: None };

/// Every pair of hits on tiny networks: the search always has an answer, and it is that of the enumeration; bounds prove some.
#[test]
fn every_pair_of_hits_is_as_by_enumeration() {
    let (mut proved, mut by_search, mut broken) = (0, 0, 0);
    for seed in 0..21 {
        let activation = if seed % 4 == 3 { ACTIVATIONS[seed as usize] } else { Activation::Relu };
        let network = Blueprint::new(&[3, 3, 2], activation, 60 + seed).build();
        let faults = [low("int4:per-channel", 3), low("int5", 3), low("int4", 2)][seed as usize % 3].clone();
        let memory = Memory::new(&network, &faults).unwrap();
        let mut rng = rng(seed);
        for _ in 0..4 {
            let x = input(3, true, &mut rng);
            let Some((found, target)) = settle(&memory, &x, 2, PairLimits::default()) else { continue };
            let (one, two) = smallest(&memory, &x, target);
            if one.abs() < TOO_CLOSE || two.abs() < TOO_CLOSE {
                continue;
            }
            let expected = match (one > 0.0, two > 0.0) {
                (true, true) => (2, None),
                (true, false) => (1, Some(2)),
                (false, _) => (0, Some(1)),
            };
            assert_eq!((found.certified, found.broken), expected, "{seed} {found:?}: {one} {two}");
            let (bounded, _) = settle(&memory, &x, 2, NO_SEARCH).unwrap();
            assert!(bounded.certified <= expected.0 && bounded.broken.is_none_or(|b| Some(b) >= expected.1));
            proved += u32::from(bounded.certified == 2);
            by_search += u32::from(found.certified == 2 && bounded.certified < 2);
            broken += u32::from(found.broken == Some(2));
        }
    }
    assert!(proved > 10 && by_search > 2 && broken > 3, "all happen: {proved} {by_search} {broken}");
}

/// Where only the last layer is hit, the margin is linear in the hits: the sum of the two largest damages is what the worst pair does.
#[test]
fn two_hits_on_the_last_layer_are_bounded_exactly() {
    let (mut holds, mut breaks) = (0, 0);
    for seed in 0..20 {
        let network = Blueprint::new(&[3, 4, 3], Activation::Relu, 90 + seed).build();
        let last = network.affine_layers().last().unwrap().1.name.clone();
        let memory =
            Memory::new(&network, &FaultModel { layers: Some(vec![last]), ..low("int6", 4) }).unwrap();
        let x = input(3, true, &mut rng(seed));
        let Some((found, target)) = settle(&memory, &x, 2, NO_SEARCH) else { continue };
        let (_, two) = smallest(&memory, &x, target);
        if two.abs() > 1e-4 {
            assert_eq!(found.certified == 2, two > 0.0, "{seed} {found:?} {two}");
            assert_eq!(found.broken.is_some(), two < 0.0, "the attack finds it: {seed} {found:?} {two}");
        }
        (holds, breaks) = (holds + u32::from(two > 0.0), breaks + u32::from(two < 0.0));
    }
    assert!(holds > 3 && breaks > 3, "{holds} {breaks}");
}

/// Sets of hits that were drawn, of those that move most and of any, never break what is certified.
fn attack_certificates(network: &Network, model: &FaultModel, most: u32, seed: u64) -> (u32, u32) {
    let memory = Memory::new(network, model).unwrap();
    let all = words(&memory);
    let mut rng = rng(seed);
    let x = input(network.input_width(), true, &mut rng);
    let Some((found, target)) = settle(&memory, &x, most, PairLimits { nodes: 20, time: None }) else {
        return (0, 0);
    };
    if found.certified < 2 {
        return (0, u32::from(found.broken.is_some()));
    }
    let mut largest: Vec<&Vec<WordHit>> = all.iter().collect();
    let reach = |hits: &[WordHit]| hits.iter().map(|h| h.hit.moved().abs()).fold(0.0, f64::max);
    largest.sort_by(|a, b| reach(b).total_cmp(&reach(a)));
    for draw in 0..60 {
        let among = if draw % 2 == 0 { largest.len() } else { largest.len().min(12) };
        let mut hits: Vec<WordHit> = Vec::new();
        while hits.len() < (found.certified as usize).min(among) {
            let of_word = largest[rng.random_range(0..among)];
            if of_word.is_empty() {
                return (found.certified, 0);
            }
            let h = of_word[of_word.len() - 1 - rng.random_range(0..of_word.len().min(2))];
            if !hits.iter().any(|other| (other.layer, other.word) == (h.layer, h.word)) {
                hits.push(h);
            }
        }
        let margin = least(&margins(&after(&memory, &hits).forward(&x), target));
        assert!(margin > 0.0, "{seed} {found:?} {hits:?}: {margin}");
    }
    (found.certified, 0)
}

#[test]
fn certificates_of_dense_networks_withstand_drawn_hits() {
    let (mut certified, mut broken) = (0, 0);
    for seed in 0..40 {
        let activation = if seed % 3 == 2 { ACTIVATIONS[seed as usize % 20] } else { Activation::Relu };
        let blueprint =
            Blueprint { decorated: seed % 5 == 4, ..Blueprint::new(&[5, 6, 5, 3], activation, seed) };
        let found = attack_certificates(&blueprint.build(), &low("int6", 2 + seed as u32 % 4), 3, seed);
        (certified, broken) = (certified + u32::from(found.0 > 1), broken + found.1);
    }
    assert!(certified > 3 && broken > 3, "{certified} {broken}");
}

/// Convolutions, pooling and residual connections: a hit on a kernel is one for all positions.
#[test]
fn certificates_of_images_withstand_drawn_hits() {
    let mut runner = TestRunner::deterministic();
    let (mut certified, mut broken) = (0, 0);
    for seed in 0..60 {
        let network = arbitrary_images().new_tree(&mut runner).unwrap().current().build();
        let fault = [Fault::Flip, Fault::StuckAt1, Fault::StuckAt0][seed as usize % 3];
        let model = FaultModel { fault, ..low("int8", 3 + seed as u32 % 5) };
        let found = attack_certificates(&network, &model, 3, seed);
        (certified, broken) = (certified + u32::from(found.0 > 1), broken + found.1);
    }
    assert!(certified > 3 && broken > 3, "{certified} {broken}");
}

/// The highest bit of an exponent makes an infinity or NaN of a bf16 word between 1 and 2: nothing is proved where it may flip, although no hit
/// leaves another number.
#[test]
fn nothing_is_proved_where_a_hit_leaves_no_number() {
    let mut builder = NetworkBuilder::new(vec![2]);
    let weight = Matrix::from_vec(2, 2, vec![1.5, -1.25, -1.0, 1.75]);
    builder.dense("d", 0, weight, Vec::new()).unwrap();
    let network = builder.finish().unwrap();
    let certifier = |method: &str, bit: u32| {
        let memory = Memory::new(&network, &FaultModel { at: Some(vec![bit]), ..model("bf16") }).unwrap();
        let set = ThreatModel::new(Kind::Absolute, 0.0).resolve(&network).unwrap();
        let options = CertifyOptions::new(method, Property::Prediction);
        Certifier::new(&network, &[set], options).unwrap().with_hits(HitSet::new(&memory, 1))
    };
    for (bit, expected) in [(14, Verdict::Unknown), (0, Verdict::Verified)] {
        let samples = Samples { first: 0, inputs: &[0.9, 0.1], labels: None };
        let found = certifier("linear", bit).unwrap().certify(samples);
        assert_eq!(found[0][0].verdict, expected, "bit {bit}");
    }
    let error = certifier("norm-product", 0).map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with("method: expected interval, linear-interval or linear for faults"), "{error}");
}

/// A convolution of a fixed input is linear in hits, and each hit is one for all positions: its bound is exact, too.
#[test]
fn two_hits_on_the_kernels_of_a_convolution_are_bounded_exactly() {
    let (mut holds, mut breaks) = (0, 0);
    for seed in 0..24_u32 {
        let mut builder = NetworkBuilder::new(vec![1, 2, 3]);
        let wave = |k: usize| ((k as f64 + f64::from(seed) * 5.3) * 2.1).sin();
        let weight = Matrix::from_fn(2, 4, |i, j| wave(4 * i + j));
        let conv =
            builder.conv("conv", 0, weight, vec![0.1, 0.0], Window::new([1, 2, 3], 2, [2, 2])).unwrap();
        builder.reshape("flat", conv, vec![4]).unwrap();
        let network = builder.finish().unwrap();
        let fault = [Fault::StuckAt0, Fault::StuckAt1, Fault::Flip][seed as usize % 3];
        let memory = Memory::new(&network, &FaultModel { fault, ..low("int6", 2 + seed % 4) }).unwrap();
        let x = input(6, true, &mut rng(u64::from(seed)));
        let Some((found, target)) = settle(&memory, &x, 2, NO_SEARCH) else { continue };
        let (_, two) = smallest(&memory, &x, target);
        if two.abs() > 1e-4 {
            assert_eq!(found.certified == 2, two > 0.0, "{seed} {found:?} {two}");
        }
        (holds, breaks) = (holds + u32::from(two > 0.0), breaks + u32::from(two < 0.0));
    }
    assert!(holds > 3 && breaks > 3, "{holds} {breaks}");
}

/// With bits that can only be set, the weight of the rival's channel takes most; with bits that can only be cleared, that of the class's own: of a
/// convolution, and of a dense layer.
#[test]
fn hits_keep_their_sign() {
    const STEP: f64 = 1.0 / 31.0;
    let cases = [
        (Fault::StuckAt1, [12.0, 8.0], [3.0 * STEP, 1.0]),
        (Fault::StuckAt0, [15.0, 11.0], [1.0, 3.0 * STEP]),
    ];
    for (fault, codes, heads) in cases {
        // Both channels see 3.5; a third one, which nobody reads, has the largest weight. The worst hit moves a weight by two steps.
        let sums = [0, 1].map(|k: usize| 3.5 * codes[k] * STEP * heads[k]);
        let worst = 3.5 * 2.0 * STEP;
        let both = [&[1.5, 2.0][..], &[3.5]].map(|x| [0.65, 1.35].map(|part| (x, part * worst)));
        for (x, margin) in both.into_iter().flatten() {
            let weights = Matrix::from_vec(3, 1, vec![codes[0] * STEP, codes[1] * STEP, 1.0]);
            let positions = x.len();
            let mut builder = NetworkBuilder::new(vec![1, 1, positions]);
            let read = if positions > 1 {
                let window = Window::new([1, 1, positions], 3, [1, 1]);
                let conv = builder.conv("hit", 0, weights, vec![0.0; 3], window).unwrap();
                builder.reshape("flat", conv, vec![3 * positions]).unwrap()
            } else {
                let flat = builder.reshape("flat", 0, vec![1]).unwrap();
                builder.dense("hit", flat, weights, vec![0.0; 3]).unwrap()
            };
            let head =
                Matrix::from_fn(2, 3 * positions, |i, j| if j / positions == i { heads[i] } else { 0.0 });
            let half = 0.5 * (margin - sums[0] + sums[1]);
            builder.dense("head", read, head, vec![half, -half]).unwrap();
            let network = builder.finish().unwrap();
            let layers = Some(vec!["hit".to_owned()]);
            let model = FaultModel { fault, layers, biases: false, ..low("int6", 2) };
            let memory = Memory::new(&network, &model).unwrap();
            // Biases are stored in steps, too.
            let clean = margins(&memory.network().forward(x), 0)[0];
            let (one, _) = smallest(&memory, x, 0);
            assert!(clean > 0.0 && (one - (clean - worst)).abs() < 1e-6, "{clean} {one}");
            assert_eq!(one > 0.0, margin > worst, "{fault:?}");
            let set = ThreatModel::new(Kind::Absolute, 0.0).resolve(memory.network()).unwrap();
            for method in ["linear", "linear-interval"] {
                let options = CertifyOptions::new(method, Property::Prediction);
                let certifier =
                    Certifier::new(memory.network(), std::slice::from_ref(&set), options).unwrap();
                let certifier = certifier.with_hits(HitSet::new(&memory, 1)).unwrap();
                let found = certifier.certify(Samples { first: 0, inputs: x, labels: None })[0][0].verdict;
                let expected = if one > 0.0 { Verdict::Verified } else { Verdict::Unknown };
                assert_eq!(found, expected, "{method}, {fault:?}, margin {margin}");
            }
        }
    }
}
