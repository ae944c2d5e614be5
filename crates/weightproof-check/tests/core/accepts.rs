//! Certificates that are right are accepted, for every operation and set.

use crate::writer::format::{Domain, Header, Property, Record, Split, Verdict};
use crate::writer::*;
use weightproof_check::check::Accepted;
use weightproof_check::network::Window;
use weightproof_check::run::{Finding, Opened};

fn findings(net: &Net, header: &Header, records: &[Record]) -> Vec<Finding> {
    let file = compressed(&lines(header, records));
    let mut opened = Opened::new(&file[..], &net.onnx()).unwrap();
    let mut all = Vec::new();
    opened.check(2, |finding| all.push(finding)).unwrap();
    all
}

fn threats(radius: f64) -> Vec<Threat> {
    let kinds =
        [Kind::Absolute, Kind::Relative, Kind::PerChannel, Kind::Entries, Kind::Frobenius, Kind::RowBall];
    let mut all: Vec<Threat> = kinds.into_iter().map(|kind| Threat::new(kind, radius)).collect();
    all.push(Threat {
        input_radius: radius,
        activation_radius: radius,
        ..Threat::new(Kind::Absolute, radius)
    });
    all
}

#[test]
fn every_operation_and_set() {
    let mut verified = 0;
    for (name, net) in networks() {
        for threat in threats(0.004) {
            let bounder = Bounder::new(&net, &threat);
            let mut stream = Stream(11);
            let width = net.nodes[0].width;
            let inputs: Vec<Vec<f64>> = (0..6).map(|_| stream.many(width, 1.0)).collect();
            let records: Vec<Record> = inputs
                .iter()
                .enumerate()
                .map(|(sample, input)| bounder.linear_record(sample, input))
                .collect();
            let header = header(&net, &threat, Property::Prediction);
            for finding in findings(&net, &header, &records) {
                let result = finding
                    .result
                    .unwrap_or_else(|why| panic!("{name}, {:?}, sample {}: {why}", threat, finding.sample));
                verified += usize::from(matches!(result, Accepted::Verified(..)));
            }
        }
    }
    assert!(verified > 60, "{verified} samples are verified");
}

/// A proof without splits, whose set is divided far above the box of an element: the part above is empty, and divided once more.
fn with_an_empty_part(record: Record) -> Option<Record> {
    let Verdict::Verified(domains) = &record.verdict else { return None };
    let [whole] = domains.as_slice() else { return None };
    let split = |below, above| Some(Split { node: 1, element: 0, value: double(&[1e9]), below, above });
    let root = Domain { split: split(1, 2), rows: vec![], ..whole.clone() };
    let rest = Domain { boxes: vec![], ..whole.clone() };
    let empty = Domain { split: split(3, 4), ..Domain::default() };
    let domains = vec![root, rest, empty, Domain::default(), Domain::default()];
    Some(Record { verdict: Verdict::Verified(domains), ..record })
}

#[test]
fn trees() {
    let (mut split, mut verified) = (0, 0);
    for (name, net) in networks().into_iter().take(3) {
        let threat = Threat { input_radius: 0.08, ..Threat::new(Kind::Absolute, 0.02) };
        let bounder = Bounder::new(&net, &threat);
        let mut stream = Stream(13);
        let width = net.nodes[0].width;
        let inputs: Vec<Vec<f64>> = (0..40).map(|_| stream.many(width, 1.0)).collect();
        let record = |(sample, input): (usize, &Vec<f64>)| bounder.tree_record(sample, input, 400);
        let records: Vec<Record> = inputs.iter().enumerate().filter_map(record).collect();
        let header = header(&net, &threat, Property::Label);
        for finding in findings(&net, &header, &records) {
            let result = finding.result.unwrap_or_else(|why| panic!("{name}: {why}"));
            if let Accepted::Verified(_, domains) = result {
                verified += 1;
                split += usize::from(domains > 1);
            }
        }
        let divided: Vec<Record> = records.into_iter().filter_map(with_an_empty_part).collect();
        for finding in findings(&net, &header, &divided) {
            finding.result.unwrap_or_else(|why| panic!("{name}, divided: {why}"));
        }
    }
    assert!(split > 3 && verified > split, "{verified} verified, {split} of them in parts");
}

/// A certificate need not have what changes nothing, as a subtraction of zero; one with a factor is another network.
#[test]
fn what_changes_nothing_may_be_left_out() {
    for (factor, is_same) in [(1.0, true), (1.5, false)] {
        let mut stream = Stream(3);
        let own = Net::layers(&[4, 5, 3], &mut stream);
        let mut model = own.clone();
        let scale = Node {
            op: Op::Scale { scale: vec![factor; 4], shift: vec![0.0; 4] },
            inputs: vec![0],
            ..model.nodes[0].clone()
        };
        model.nodes[1..].iter_mut().flat_map(|node| &mut node.inputs).for_each(|input| *input += 1);
        model.nodes.insert(1, scale);
        let threat = Threat::new(Kind::Absolute, 0.004);
        let record = Bounder::new(&own, &threat).linear_record(0, &stream.many(4, 1.0));
        let model_sha256 = header(&model, &threat, Property::Prediction).model_sha256;
        let header = Header { model_sha256, ..header(&own, &threat, Property::Prediction) };
        let file = compressed(&lines(&header, &[record]));
        let opened = Opened::new(&file[..], &model.onnx());
        assert_eq!(opened.is_ok(), is_same, "factor {factor}");
    }
}

/// Networks whose parameters are integers: dense, with quantizers, convolutional.
pub fn stored(seed: u64) -> Vec<Net> {
    let stream = &mut Stream(seed);
    let dense = Net::layers(&[5, 8, 6, 3], stream);
    let mut steps = Net::new(&[5]);
    steps.dense(8, stream);
    steps.then(Op::Quantize(f64::from(0.02_f32), [0, 255]));
    steps.dense(6, stream);
    steps.then(Op::Quantize(f64::from(0.03_f32), [-128, 127]));
    steps.dense(3, stream);
    let mut images = Net::new(&[1, 3, 3]);
    images.conv(Window { padding: [[1, 0]; 2], ..window([1, 3, 3], 2, [2, 2]) }, stream);
    images.then(Op::Relu);
    images.then(Op::Reshape(vec![18]));
    images.dense(3, stream);
    [dense, steps, images].map(Net::stored).to_vec()
}

#[test]
fn steps_of_stored_integers() {
    let mut verified = 0;
    for net in stored(3) {
        let threat = Threat::new(Kind::Lsb, 1.0);
        let mut stream = Stream(11);
        let bounder = Bounder::new(&net, &threat);
        let width = net.nodes[0].width;
        let records: Vec<Record> =
            (0..6).map(|s| bounder.linear_record(s, &stream.many(width, 1.0))).collect();
        for finding in findings(&net, &header(&net, &threat, Property::Prediction), &records) {
            verified += usize::from(matches!(finding.result.unwrap(), Accepted::Verified(..)));
        }
    }
    assert!(verified > 8, "{verified} samples are verified");
}

/// The header of single hits on all layers, whose words have these positions that may flip.
pub fn hits(net: &Net, flips: u32, weights: &[u32], biases: &[u32]) -> Header {
    let layers = (0..net.nodes.len()).filter(|&k| net.parameters(k).is_some());
    let layers: Vec<_> = layers
        .map(|node| serde_json::json!({ "node": node, "weights": weights, "biases": biases }))
        .collect();
    let mut header = header(net, &Threat::new(Kind::Entries, 0.0), Property::Prediction);
    header.set.clear();
    header.faults = Some(serde_json::json!({ "bits": flips, "layers": layers }));
    header
}

/// The least margin after a flip of one or, beside it, of another of the bits, by trying all of them.
fn least_margin(net: &Net, input: &[f64], flips: u32, weights: &[u32], biases: &[u32]) -> f64 {
    let plain = Threat::new(Kind::Absolute, 0.0);
    let class = largest(&Bounder::new(net, &plain).forward(input));
    let masks = |bits: &[u32]| -> Vec<i64> {
        let one = bits.iter().map(|b| 1_i64 << b);
        let two = bits.iter().flat_map(|a| bits.iter().map(move |b| 1_i64 << a | 1_i64 << b));
        if flips == 1 { one.collect() } else { two.collect() }
    };
    let (of_weights, of_biases) = (masks(weights), masks(biases));
    let mut least = f64::MAX;
    for node in 0..net.nodes.len() {
        let Some(Some(stored)) = net.stored.get(node) else { continue };
        let words = stored.weights.len() + stored.biases.len();
        for word in 0..words {
            let (is_weight, i) = (word < stored.weights.len(), word % stored.weights.len());
            for &mask in if is_weight { &of_weights } else { &of_biases } {
                let mut moved = net.clone();
                let (Op::Dense { weight, bias: Some(bias), .. } | Op::Conv { weight, bias: Some(bias), .. }) =
                    &mut moved.nodes[node].op
                else {
                    unreachable!("a layer")
                };
                if is_weight {
                    let row = i / (stored.weights.len() / stored.steps.len());
                    weight[i] = f64::from(stored.weights[i] ^ mask as i8) * stored.steps[row];
                } else {
                    let i = word - stored.weights.len();
                    bias[i] = f64::from(stored.biases[i] ^ mask as i32) * stored.bias_steps[i];
                }
                let f = Bounder::new(&moved, &plain).forward(input);
                let margins = (0..f.len()).filter(|j| *j != class).map(|j| f[class] - f[j]);
                least = margins.fold(least, f64::min);
            }
        }
    }
    least
}

#[test]
fn single_hits_are_accepted_where_none_breaks_a_sample() {
    let mut found = [0; 2];
    for (round, net) in (0..4).flat_map(stored).enumerate() {
        let weights: Vec<u32> =
            [[0, 1, 2, 3], [1, 2, 4, 5], [3, 6, 7, 7]][round % 3][..4 - round % 3 / 2].into();
        let biases: Vec<u32> = vec![0, 3, 6, [7, 12, 15, 31][round % 4]];
        let flips = 1 + round as u32 / 2 % 2;
        let mut stream = Stream(round as u64);
        let width = net.nodes[0].width;
        let inputs: Vec<Vec<f64>> = (0..4).map(|_| stream.many(width, 1.0)).collect();
        let plain = Threat::new(Kind::Absolute, 0.0);
        let record = |(sample, input): (usize, &Vec<f64>)| Record {
            sample,
            class: Some(largest(&Bounder::new(&net, &plain).forward(input))),
            input: double(input),
            verdict: Verdict::Verified(vec![]),
        };
        let records: Vec<Record> = inputs.iter().enumerate().map(record).collect();
        let header = hits(&net, flips, &weights, &biases);
        for (finding, input) in findings(&net, &header, &records).into_iter().zip(&inputs) {
            let least = least_margin(&net, input, flips, &weights, &biases);
            match finding.result {
                Ok(Accepted::Verified(bound, _)) => {
                    let bound = bound.value as f64 * 2_f64.powi(bound.exponent);
                    assert!(least > 0.0 && bound <= least + 1e-9, "round {round}: {bound} {least}");
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
