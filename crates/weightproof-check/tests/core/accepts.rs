//! Certificates that are right are accepted, for every operation and set.

use crate::writer::format::{Domain, Header, Property, Record, Split, Verdict};
use crate::writer::*;
use weightproof_check::check::Accepted;
use weightproof_check::network::Window;
use weightproof_check::run::{Finding, Opened};

pub fn findings(net: &Net, header: &Header, records: &[Record]) -> Vec<Finding> {
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
