//! The embedded dense network: its certificates are accepted, small and quick to check.
//!
//! `CHECK_IMAGES=1000 cargo test --release -p weightproof-check --test core embedded:: -- --nocapture` says how quick.

use crate::writer::format::Property;
use crate::writer::*;
use std::io::Read;
use std::path::Path;
use std::time::Instant;
use weightproof_check::check::Accepted;
use weightproof_check::number::Number;
use weightproof_check::run::{Opened, sha256};
use weightproof_check::{network, onnx};

fn float(x: &Number) -> f64 {
    x.value as f64 * 2_f64.powi(x.exponent)
}

#[test]
fn embedded_network() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
    let model = std::fs::read(assets.join("mnist-784-128-64-32-10.onnx")).unwrap();
    let mut net = Net::new(&[784]);
    for node in &onnx::read(&model).unwrap().nodes[1..] {
        net.then(match &node.op {
            network::Op::Affine(affine) => Op::Dense {
                rows: affine.rows,
                weight: affine.weight.0.iter().map(float).collect(),
                bias: affine.bias.as_ref().map(|bias| bias.0.iter().map(float).collect()),
            },
            network::Op::Activation(_) => Op::Relu,
            other => panic!("{other:?}"),
        });
    }
    let mut images = Vec::new();
    let file = std::fs::File::open(assets.join("mnist-test-1000-images.idx3-ubyte.gz")).unwrap();
    flate2::read::GzDecoder::new(file).read_to_end(&mut images).unwrap();
    let count = std::env::var("CHECK_IMAGES").map_or(20, |count| count.parse().unwrap());
    let threat = Threat::new(Kind::Absolute, 0.001);
    let bounder = Bounder::new(&net, &threat);
    let records: Vec<_> = images[16..]
        .chunks(784)
        .take(count)
        .enumerate()
        .map(|(sample, image)| {
            let pixels: Vec<f64> = image.iter().map(|p| f64::from(f32::from(*p) / 255.0)).collect();
            bounder.linear_record(sample, &pixels)
        })
        .collect();
    let mut header = header(&net, &threat, Property::Prediction);
    header.model_sha256 = sha256(&model);
    let whole = compressed(&lines(&header, &records));
    let size = (whole.len() - compressed(&lines(&header, &[])).len()) / count;
    assert!(size < 20_000, "{size} bytes for each sample");

    let start = Instant::now();
    let mut opened = Opened::new(&whole[..], &model).unwrap();
    let ready = start.elapsed();
    let mut verified = 0;
    let check = opened.check(2, |finding| match finding.result {
        Ok(Accepted::Verified(..)) => verified += 1,
        Ok(_) => {}
        Err(why) => panic!("sample {}: {why}", finding.sample),
    });
    check.unwrap();
    println!(
        "{verified} of {count} verified, {size} bytes each, {:?} of {ready:?} to read the header",
        start.elapsed()
    );
    assert!(verified * 10 > count * 8, "{verified} verified");
    if let Ok(path) = std::env::var("CHECK_WRITE") {
        std::fs::write(path, whole).unwrap();
    }
}
