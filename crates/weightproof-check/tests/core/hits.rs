//! Hits on stored words: what is accepted meets the enumeration of hits, and bounds by hand.

use crate::accepts::{findings, stored};
use crate::writer::format::{BoxClaim, Domain, Header, HitWord, Place, Property, Record, Verdict, Witness};
use crate::writer::*;
use weightproof_check::check::{Accepted, root};
use weightproof_check::damage::Damages;
use weightproof_check::layer::Model;
use weightproof_check::network::{Network, Window};
use weightproof_check::number::Number;
use weightproof_check::pass::{Pass, Reach};
use weightproof_check::run::prepared;

/// What may happen: so many words, of each so many flips, of bits at these positions of weights and of biases.
#[derive(Clone, Debug)]
pub struct Faults {
    pub words: usize,
    pub flips: u32,
    pub weights: Vec<u32>,
    pub biases: Vec<u32>,
    /// The value that bits are stuck at; they flip without.
    pub stuck: Option<bool>,
}

impl Faults {
    pub fn new(words: usize, flips: u32, weights: &[u32], biases: &[u32]) -> Faults {
        Faults { words, flips, weights: weights.into(), biases: biases.into(), stuck: None }
    }

    /// The header of hits on all layers, beside inputs that move.
    pub fn header(&self, net: &Net, input_radius: f64) -> Header {
        let Faults { words, flips, weights, biases, stuck } = self;
        let layers = (0..net.nodes.len()).filter(|&k| net.parameters(k).is_some());
        let layers: Vec<_> = layers
            .map(|node| serde_json::json!({ "node": node, "weights": weights, "biases": biases }))
            .collect();
        let threat = Threat { input_radius, ..Threat::new(Kind::Entries, 0.0) };
        let mut header = header(net, &threat, Property::Prediction);
        header.set.clear();
        let fault = stuck.map_or("flip", |one| if one { "stuck-at-1" } else { "stuck-at-0" });
        let faults = serde_json::json!({ "words": words, "bits": flips, "fault": fault, "layers": layers });
        header.faults = Some(faults);
        header
    }

    /// What a word becomes when the bits of a mask are hit; `None` when it stays.
    fn hit(&self, word: i64, mask: i64) -> Option<i64> {
        let to = match self.stuck {
            None => word ^ mask,
            Some(true) => word | mask,
            Some(false) => word & !mask,
        };
        (to != word).then_some(to)
    }

    /// Every hit: the word, and the parameter that it stands for then.
    pub fn all(&self, net: &Net) -> Vec<(HitWord, f64)> {
        let masks = |bits: &[u32]| -> Vec<i64> {
            let mut one: Vec<i64> = bits.iter().map(|b| 1_i64 << b).collect();
            if self.flips == 2 {
                one = bits.iter().flat_map(|a| bits.iter().map(move |b| 1_i64 << a | 1_i64 << b)).collect();
            }
            one
        };
        let mut all = Vec::new();
        for (node, stored) in net.stored.iter().enumerate() {
            let Some(stored) = stored else { continue };
            let columns = stored.weights.len() / stored.steps.len();
            for (k, &word) in stored.weights.iter().enumerate() {
                // The highest bit of a byte is its sign.
                let mask_of = |mask: i64| i64::from(mask as i8);
                let to = |mask| self.hit(i64::from(word), mask_of(mask));
                for to in masks(&self.weights).into_iter().filter_map(to) {
                    let value = to as f64 * stored.steps[k / columns];
                    all.push((HitWord { node, word: Place::Weight(k), to }, value));
                }
            }
            for (i, &word) in stored.biases.iter().enumerate() {
                let to = |mask| self.hit(i64::from(word), i64::from(mask as i32));
                for to in masks(&self.biases).into_iter().filter_map(to) {
                    let value = to as f64 * stored.bias_steps[i];
                    all.push((HitWord { node, word: Place::Bias(i), to }, value));
                }
            }
        }
        all
    }
}

/// The network after hits.
fn after(net: &Net, hits: &[&(HitWord, f64)]) -> Net {
    let mut moved = net.clone();
    for (HitWord { node, word, .. }, value) in hits {
        let (Op::Dense { weight, bias: Some(bias), .. } | Op::Conv { weight, bias: Some(bias), .. }) =
            &mut moved.nodes[*node].op
        else {
            unreachable!("a layer")
        };
        match word {
            Place::Weight(k) => weight[*k] = *value,
            Place::Bias(i) => bias[*i] = *value,
        }
    }
    moved
}

fn forward(net: &Net, input: &[f64]) -> Vec<f64> {
    Bounder::new(net, &Threat::new(Kind::Absolute, 0.0)).forward(input)
}

/// The least margin over some inputs.
fn margin(net: &Net, class: usize, inputs: &[Vec<f64>]) -> f64 {
    let plain = Threat::new(Kind::Absolute, 0.0);
    let bounder = Bounder::new(net, &plain);
    let least = |input: &Vec<f64>| {
        let f = bounder.forward(input);
        (0..f.len()).filter(|j| *j != class).map(|j| f[class] - f[j]).fold(f64::MAX, f64::min)
    };
    inputs.iter().map(least).fold(f64::MAX, f64::min)
}

/// Sets of hits on different words: all of one, all of two, or some of three.
fn sets(all: &[(HitWord, f64)], words: usize, stream: &mut Stream) -> Vec<Vec<usize>> {
    let is_apart = |a: usize, b: usize| (all[a].0.node, all[a].0.word) != (all[b].0.node, all[b].0.word);
    let any = |stream: &mut Stream| (stream.next().abs() * all.len() as f64) as usize;
    match words {
        1 => (0..all.len()).map(|a| vec![a]).collect(),
        2 => (0..all.len())
            .flat_map(|a| (a + 1..all.len()).filter(move |&b| is_apart(a, b)).map(move |b| vec![a, b]))
            .collect(),
        _ => (0..2000)
            .map(|_| [0; 3].map(|_| any(stream)))
            .filter(|&[a, b, c]| is_apart(a, b) && is_apart(b, c) && is_apart(a, c))
            .map(Vec::from)
            .collect(),
    }
}

/// The least margin over sets of hits and, where they move, over corners of the inputs.
fn least_margin(net: &Net, faults: &Faults, input: &[f64], radius: f64) -> f64 {
    let (class, all) = (largest(&forward(net, input)), faults.all(net));
    let mut stream = Stream(17);
    let mut inputs = vec![input.to_vec()];
    for _ in 0..if radius > 0.0 { 6 } else { 0 } {
        inputs.push(input.iter().map(|x| x + radius * stream.next().signum()).collect());
    }
    let of_set = |set: Vec<usize>| {
        let hits: Vec<&(HitWord, f64)> = set.into_iter().map(|k| &all[k]).collect();
        margin(&after(net, &hits), class, &inputs)
    };
    sets(&all, faults.words, &mut stream).into_iter().map(of_set).fold(f64::MAX, f64::min)
}

fn record(net: &Net, (sample, input): (usize, &Vec<f64>), domains: Vec<Domain>) -> Record {
    let class = Some(largest(&forward(net, input)));
    Record { sample, class, input: double(input), verdict: Verdict::Verified(domains) }
}

fn f64_of(bound: Number) -> f64 {
    bound.value as f64 * 2_f64.powi(bound.exponent)
}

#[test]
fn single_hits_are_accepted_where_none_breaks_a_sample() {
    let mut found = [0; 2];
    for (round, net) in (0..4).flat_map(stored).enumerate() {
        let weights = &[[0, 1, 2, 3], [1, 2, 4, 5], [3, 6, 7, 7]][round % 3][..4 - round % 3 / 2];
        let faults =
            Faults::new(1, 1 + round as u32 / 2 % 2, weights, &[0, 3, 6, [7, 12, 15, 31][round % 4]]);
        let faults = Faults { stuck: [None, Some(false), None, Some(true)][round / 3 % 4], ..faults };
        let mut stream = Stream(round as u64);
        let width = net.nodes[0].width;
        let inputs: Vec<Vec<f64>> = (0..4).map(|_| stream.many(width, 1.0)).collect();
        let records: Vec<Record> =
            inputs.iter().enumerate().map(|sample| record(&net, sample, vec![])).collect();
        for (finding, input) in findings(&net, &faults.header(&net, 0.0), &records).into_iter().zip(&inputs) {
            let least = least_margin(&net, &faults, input, 0.0);
            match finding.result {
                Ok(Accepted::Verified(bound, _)) => {
                    assert!(least > 0.0 && f64_of(bound) <= least + 1e-9, "round {round}: {bound} {least}");
                    found[0] += 1;
                }
                result => {
                    assert!(least < 1e-9, "round {round}: {least}, but {result:?}");
                    found[1] += 1;
                }
            }
        }
    }
    assert!(found.iter().all(|count| *count > 5), "accepted and rejected: {found:?}");
}

/// Small networks whose parameters are integers: one layer, dense, with quantizers, convolutional, residual.
fn tiny(seed: u64) -> Vec<Net> {
    let stream = &mut Stream(seed);
    let one = Net::layers(&[4, 3], stream);
    let dense = Net::layers(&[3, 4, 3], stream);
    let mut steps = Net::new(&[3]);
    steps.dense(4, stream);
    steps.then(Op::Quantize(f64::from(0.02_f32), [-128, 127]));
    steps.dense(3, stream);
    let mut images = Net::new(&[1, 2, 3]);
    images.conv(Window { padding: [[1, 0], [0, 0]], ..window([1, 2, 3], 2, [2, 2]) }, stream);
    images.then(Op::Relu);
    images.then(Op::Reshape(vec![8]));
    images.dense(2, stream);
    let mut residual = Net::new(&[3]);
    residual.dense(3, stream);
    let first = residual.then(Op::Relu);
    let second = residual.dense(3, stream);
    residual.push(Op::Add, &[second, first]);
    residual.then(Op::Relu);
    residual.dense(2, stream);
    [one, dense, steps, images, residual].map(Net::stored).to_vec()
}

#[test]
fn sets_of_hits_are_accepted_where_none_breaks_a_sample() {
    let mut found = [[0; 2]; 3];
    for (round, net) in (0..6).flat_map(tiny).enumerate() {
        let (words, radius) = [(2, 0.0), (1, 0.02), (3, 0.0), (2, 0.01)][round % 4];
        let top = [3, 5, 4][round % 3];
        let faults = Faults::new(words, 1 + round as u32 % 2, &[1, top], &[2, top + 5]);
        let faults = Faults { stuck: [None, Some(true), None, None, Some(false)][round / 5 % 5], ..faults };
        let mut stream = Stream(round as u64);
        let width = net.nodes[0].width;
        let inputs: Vec<Vec<f64>> = (0..4).map(|_| stream.many(width, 1.0)).collect();
        let records: Vec<Record> =
            inputs.iter().enumerate().map(|sample| record(&net, sample, vec![Domain::default()])).collect();
        let header = faults.header(&net, radius);
        for (finding, input) in findings(&net, &header, &records).into_iter().zip(&inputs) {
            let least = least_margin(&net, &faults, input, radius);
            let is_accepted = match finding.result {
                Ok(Accepted::Verified(bound, _)) => {
                    assert!(least > 0.0 && f64_of(bound) <= least + 1e-9, "round {round}: {bound} {least}");
                    true
                }
                _ => false,
            };
            // Of one layer and a fixed input the bound is exact.
            let is_exact = net.nodes.len() == 2 && radius == 0.0 && words < 3;
            assert!(is_accepted || !is_exact || least < 1e-9, "round {round}: {least}");
            found[words - 1][usize::from(is_accepted)] += 1;
        }
    }
    assert!(found.iter().flatten().all(|count| *count > 3), "rejected and accepted, by words: {found:?}");
}

/// Integers of a layer, with steps of a half and biases in quarters.
fn of_integers(mut net: Net, op: Op, weights: Vec<i8>) -> Net {
    net.push(op, &[0]);
    let Some((rows, weight, _)) = net.parameters(1) else { panic!("a layer") };
    assert!(weight.iter().zip(&weights).all(|(w, q)| *w == 0.5 * f64::from(*q)));
    let (steps, bias_steps, biases) = (vec![0.5; rows], vec![0.25; rows], vec![0; rows]);
    net.stored = vec![None, Some(Stored { steps, bias_steps, weights, biases, is_rounded: false })];
    net
}

#[test]
fn bounds_by_hand() {
    let bound = |net: &Net, words: usize, biases: &[u32], row: &[(usize, i64)], input: &[f64]| {
        let header = Faults::new(words, 1, &[0, 1], biases).header(net, 0.0);
        let header = serde_json::from_str(&serde_json::to_string(&header).unwrap()).unwrap();
        let own = weightproof_check::onnx::read(&net.onnx()).unwrap();
        let (model, _) = prepared(&header, own).unwrap();
        let network = Network { head: None, ..model.network };
        let damages = Damages::new(header.faults.as_ref().unwrap(), &network).unwrap();
        let model = Model::new(network, model.set).with_hits(damages);
        let input: Vec<Number> = input.iter().map(|x| Number::from_double(x.to_bits()).unwrap()).collect();
        let state = root(&model, &input).unwrap();
        let output = model.network.output();
        f64_of(Pass { model: &model, state: &state, reach: Reach::PerUse }.bound(output, row, None))
    };
    // W = (1 2; 3 −1) as the integers 2 4 6 −2, z = (3, 4): p = (11, 5). Flips of two bits may take 3, 0, 1.5 and 2 from p_0 − p_1.
    let weight = vec![1.0, 2.0, 3.0, -1.0];
    let dense = Op::Dense { rows: 2, weight, bias: Some(vec![0.0; 2]) };
    let net = of_integers(Net::new(&[2]), dense, vec![2, 4, 6, -2]);
    for (words, biases, expected) in
        [(1, &[][..], 3.0), (2, &[], 1.0), (3, &[], -0.5), (4, &[], -0.5), (3, &[3], -1.0)]
    {
        let found = bound(&net, words, biases, &[(0, 1), (1, -1)], &[3.0, 4.0]);
        assert!((found - expected).abs() < 1e-12 && found <= expected, "{words}: {found}");
    }
    // Four times p_0 less twice p_1: 12, 3 and 4 of 34.
    let mut scaled = net;
    scaled.then(Op::Scale { scale: vec![4.0, 2.0], shift: vec![0.0; 2] });
    for (words, expected) in [(1, 22.0), (2, 18.0), (3, 15.0)] {
        let found = bound(&scaled, words, &[], &[(0, 1), (1, -1)], &[3.0, 4.0]);
        assert!((found - expected).abs() < 1e-12 && found <= expected, "{words}: {found}");
    }
    // Kernels of one weight, 1 and 2, at the inputs 3 and 4: a hit on the first moves both positions.
    let window = window([1, 1, 2], 2, [1, 1]);
    let kernels = Op::Conv { window, weight: vec![1.0, 2.0], bias: Some(vec![0.0; 2]) };
    let net = of_integers(Net::new(&[1, 1, 2]), kernels, vec![2, 4]);
    for (words, biases, row, expected) in [
        (1, &[][..], [(0, 1), (1, 1)], 7.0 - 7.0),
        (1, &[], [(0, 1), (1, -1)], -1.0 - 0.5),
        (2, &[], [(0, -1), (2, -1)], -9.0 - 1.5 - 3.0),
        (1, &[3], [(2, -1), (3, -1)], -14.0 - 7.0),
        (2, &[3], [(2, -1), (3, -1)], -14.0 - 7.0 - 4.0),
    ] {
        let found = bound(&net, words, biases, &row, &[3.0, 4.0]);
        assert!((found - expected).abs() < 1e-12 && found <= expected, "{row:?}: {found}");
    }
}

/// A network whose parameters are integers of 8 bits that those of `net` were rounded to, the largest weight of a row to `largest` if it is one.
fn rounded(net: &Net, largest: f64) -> Net {
    let mut rounded = net.clone();
    for node in &mut rounded.nodes {
        let (Op::Dense { weight, bias: Some(bias), .. } | Op::Conv { weight, bias: Some(bias), .. }) =
            &mut node.op
        else {
            rounded.stored.push(None);
            continue;
        };
        let columns = weight.len() / bias.len();
        let most = |row: &[f64]| row.iter().fold(0.0, |most: f64, w| most.max(w.abs()));
        let steps: Vec<f64> =
            weight.chunks(columns).map(|row| f64::from((most(row) / largest) as f32)).collect();
        let word = |x: f64, row: usize| (x / steps[row]).round_ties_even().clamp(-127.0, 127.0);
        let weights: Vec<i8> = weight.iter().enumerate().map(|(k, w)| word(*w, k / columns) as i8).collect();
        let biases: Vec<i32> = bias.iter().enumerate().map(|(i, b)| word(*b, i) as i32).collect();
        *weight = weights.iter().enumerate().map(|(k, q)| f64::from(*q) * steps[k / columns]).collect();
        *bias = biases.iter().zip(&steps).map(|(q, step)| f64::from(*q) * step).collect();
        rounded.stored.push(Some(Stored {
            bias_steps: steps.clone(),
            steps,
            weights,
            biases,
            is_rounded: true,
        }));
    }
    rounded
}

/// Hits on words of a network that was rounded: its own parameters, the header, records that say that no set of hits breaks a sample.
pub fn of_rounded(seed: u64, faults: &Faults) -> (Net, Header, Vec<Record>) {
    let mut net = Net::layers(&[3, 4, 3], &mut Stream(seed));
    let Op::Dense { bias: Some(bias), .. } = &mut net.nodes[1].op else { panic!("a layer") };
    // Beyond the last integer of its row.
    bias[0] = -3.0;
    let stored = rounded(&net, 120.0);
    let model_sha256 = header(&net, &Threat::new(Kind::Absolute, 0.0), Property::Prediction).model_sha256;
    let header = Header { model_sha256, ..faults.header(&stored, 0.0) };
    let mut stream = Stream(seed);
    let domains = if faults.words == 1 { vec![] } else { vec![Domain::default()] };
    let one = |sample| record(&stored, (sample, &stream.many(3, 1.0)), domains.clone());
    let records = (0..6).map(one).collect();
    (net, header, records)
}

/// What is accepted is right for the rounded network, not for that of the file.
#[test]
fn rounded_networks_are_accepted_where_no_hits_break_a_sample() {
    let mut found = [0; 2];
    for seed in 0..12 {
        let faults = Faults::new(1 + seed as usize % 2, 1, &[1, 4], &[2, 5]);
        let (net, header, records) = of_rounded(seed, &faults);
        let stored = rounded(&net, 120.0);
        for (finding, record) in findings(&net, &header, &records).into_iter().zip(&records) {
            let digits = record.input.as_bytes()[1..].chunks(16);
            let number = |digits| u64::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
            let input: Vec<f64> = digits.map(|digits| f64::from_bits(number(digits))).collect();
            let least = least_margin(&stored, &faults, &input, 0.0);
            let is_accepted = match finding.result {
                Ok(Accepted::Verified(bound, _)) => {
                    assert!(least > 0.0 && f64_of(bound) <= least + 1e-9, "seed {seed}: {bound} {least}");
                    true
                }
                _ => false,
            };
            assert!(is_accepted || faults.words > 1 || least < 1e-9, "seed {seed}: {least}");
            found[usize::from(is_accepted)] += 1;
        }
    }
    assert!(found.iter().all(|count| *count > 5), "rejected and accepted: {found:?}");
}

/// Steps so short that weights are cut off are no rounding; half a step more than the last integer is.
#[test]
fn rounding_that_cuts_weights_off_is_refused() {
    for (largest, is_taken) in [(120.0, true), (127.9, true), (128.5, false), (200.0, false)] {
        let net = Net::layers(&[3, 4, 3], &mut Stream(4));
        let header = Faults::new(1, 1, &[1], &[2]).header(&rounded(&net, largest), 0.0);
        let header = serde_json::from_str(&serde_json::to_string(&header).unwrap()).unwrap();
        let found = prepared(&header, weightproof_check::onnx::read(&net.onnx()).unwrap());
        assert_eq!(found.is_ok(), is_taken, "{largest}: {:?}", found.err());
    }
}

/// The box of the first layer after two hits, with claims of it, for a sample that two hits do not break.
pub fn several() -> (Net, Header, Vec<Record>) {
    let faults = Faults::new(2, 1, &[0, 1], &[0, 1]);
    let net = tiny(5).swap_remove(1);
    let mut stream = Stream(3);
    let of_sample = |sample: usize| {
        let input = stream.many(3, 1.0);
        let clean = {
            let first = Net { nodes: net.nodes[..2].to_vec(), ..Net::default() };
            forward(&first, &input)
        };
        let mut moves = [[0.0_f64; 4]; 4];
        for word in (0..12).map(Place::Weight).chain((0..4).map(Place::Bias)) {
            let of_word = faults.all(&net).into_iter().filter(|(hit, _)| hit.node == 1 && hit.word == word);
            let mut ends = [0.0_f64; 2];
            let row = match word {
                Place::Weight(k) => k / 3,
                Place::Bias(i) => i,
            };
            for hit in of_word {
                let first = Net { nodes: after(&net, &[&hit]).nodes[..2].to_vec(), ..Net::default() };
                let moved = forward(&first, &input)[row] - clean[row];
                ends = [ends[0].min(moved), ends[1].max(moved)];
            }
            // The two largest of each direction.
            let own = &mut moves[row];
            for (place, value) in [(0, -ends[0]), (2, ends[1])] {
                let other = own[place + 1].max(value.min(own[place]));
                (own[place], own[place + 1]) = (own[place].max(value), other);
            }
        }
        let end = |i: usize, sign: f64| {
            let reach = if sign < 0.0 { moves[i][0] + moves[i][1] } else { moves[i][2] + moves[i][3] };
            clean[i] + sign * (reach + WIDENING)
        };
        let side = |sign: f64| double(&(0..4).map(|i| end(i, sign)).collect::<Vec<_>>());
        let claim = BoxClaim { node: 1, elements: None, lower: side(-1.0), upper: side(1.0) };
        record(&net, (sample, &input), vec![Domain { boxes: vec![claim], ..Domain::default() }])
    };
    let header = faults.header(&net, 0.0);
    let records: Vec<Record> = (0..8).map(of_sample).collect();
    let accepted = findings(&net, &header, &records);
    let is_accepted = |record: &Record| accepted[record.sample].result.is_ok();
    (net, header, records.into_iter().filter(is_accepted).collect())
}

/// Two hits that break a sample, while no single one does.
pub fn broken() -> (Net, Header, Vec<Record>) {
    let faults = Faults::new(2, 1, &[2, 5], &[2, 10]);
    for (seed, place) in (0..40).map(|seed| (seed, seed as usize % 5)) {
        let net = tiny(seed).swap_remove(place);
        let input = Stream(seed).many(net.nodes[0].width, 1.0);
        let class = largest(&forward(&net, &input));
        let all = faults.all(&net);
        let hits = |set: &[usize]| set.iter().map(|&k| &all[k]).collect::<Vec<_>>();
        let least = |set: &[usize]| margin(&after(&net, &hits(set)), class, std::slice::from_ref(&input));
        let stream = &mut Stream(0);
        let is_broken = |words: usize, stream: &mut Stream| {
            sets(&all, words, stream).into_iter().find(|set| least(set) < -1e-3)
        };
        let (None, Some(pair)) = (is_broken(1, stream), is_broken(2, stream)) else { continue };
        let row = largest(&forward(&after(&net, &hits(&pair)), &input));
        let hits = pair.iter().map(|&k| all[k].0.clone()).collect();
        let verdict = Verdict::Falsified(Witness { row, input: None, layers: vec![], hits });
        let record = Record { sample: 0, class: Some(class), input: double(&input), verdict };
        return (net.clone(), faults.header(&net, 0.0), vec![record]);
    }
    panic!("no pair breaks a sample")
}
