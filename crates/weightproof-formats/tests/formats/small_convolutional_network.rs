//! The convolutional network of `assets`, certified on the MNIST images beside it: needs no file from outside.

use std::path::{Path, PathBuf};
use weightproof::attack::{AttackKind, AttackOptions, Attacker};
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};
use weightproof::verdict::{SampleCertificate, Samples, Verdict};
use weightproof_formats::data::{DataOptions, DataSet};
use weightproof_formats::network::read_network;

/// Rounding of f32 bounds on margins of this size.
const ROUNDING: f64 = 1e-4;
/// What rigorous bounds in f32 may charge for rounding, on margins of this size.
const CHARGE: f64 = 1e-2;

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets").join(name)
}

fn network() -> Network {
    read_network(&asset("mnist-conv-8-16-10.onnx")).expect("a supported network").network
}

/// The first `count` MNIST test images.
fn images(count: usize) -> (Vec<f64>, Vec<u32>) {
    let options = DataOptions {
        labels: Some(asset("mnist-test-1000-labels.idx1-ubyte.gz")),
        ..DataOptions::new(asset("mnist-test-1000-images.idx3-ubyte.gz"))
    };
    let batch = DataSet::open(&options).expect("readable").next_batch(count).expect("readable");
    let batch = batch.expect("images");
    (batch.inputs, batch.labels.expect("labels"))
}

fn set(network: &Network, kind: Kind, radius: f64) -> PerturbationSet {
    ThreatModel::new(kind, radius).resolve(network).expect("valid")
}

fn certify(
    network: &Network,
    set: &PerturbationSet,
    method: &str,
    samples: Samples<'_>,
) -> Vec<SampleCertificate> {
    let options = CertifyOptions::new(method, Property::Label);
    let certifier = Certifier::new(network, std::slice::from_ref(set), options).expect("a method");
    certifier.certify(samples).remove(0)
}

fn verified(found: &[SampleCertificate]) -> usize {
    found.iter().filter(|c| c.verdict == Verdict::Verified).count()
}

#[test]
fn layers_and_shapes_are_what_the_file_says() {
    let network = network();
    assert_eq!((network.input_shape(), network.output_width()), (&[1, 28, 28][..], 10));
    let layers: Vec<(&str, usize)> =
        network.affine_layers().map(|(_, node, a)| (&*node.name, a.weight.as_slice().len())).collect();
    assert_eq!(layers, [("conv1", 8 * 16), ("conv2", 16 * 8 * 16), ("dense1", 10 * 784)]);
}

/// Bound below attack on every image, and as many images certified as the margins of this network allow.
#[test]
fn the_linear_bound_certifies_most_images_and_no_attack_is_below_a_bound() {
    let network = network();
    let (inputs, labels) = images(100);
    let samples = Samples { first: 0, inputs: &inputs, labels: Some(&labels) };
    for (radius, least) in [(0.01, 95), (0.03, 70)] {
        let set = set(&network, Kind::Relative, radius);
        let attack = AttackOptions {
            steps: 20,
            restarts: 1,
            ..AttackOptions::new(AttackKind::NeuronSpace, Property::Label)
        };
        let attacked = Attacker::new(&network, &set, attack).attack(samples);
        let [norms, intervals, cheap, linear] = ["norm-product", "interval", "linear-interval", "linear"]
            .map(|method| certify(&network, &set, method, samples));
        for (k, witness) in attacked.iter().enumerate() {
            for proof in [&norms[k], &intervals[k], &cheap[k], &linear[k]] {
                let (lower, worst) = (proof.margin_lower, witness.worst_margin);
                assert!(lower <= worst + ROUNDING * (1.0 + worst.abs()), "{radius} {k}: {lower} > {worst}");
            }
            // The linear methods are intersected with intervals on boxes that are never wider.
            for tight in [&cheap[k], &linear[k]] {
                let (loose, tight) = (intervals[k].margin_lower, tight.margin_lower);
                assert!(loose <= tight + ROUNDING * (1.0 + tight.abs()), "{radius} {k}: {loose} > {tight}");
            }
        }
        let left = attacked.iter().filter(|witness| witness.worst_margin > 0.0).count();
        let counts = [&norms, &intervals, &cheap, &linear].map(|found| verified(found));
        assert!(counts[3] >= least && counts[3] <= left, "{radius}: {counts:?} {left}");
    }
}

#[test]
fn radius_zero_is_the_forward_pass() {
    let network = network();
    let (inputs, labels) = images(10);
    let samples = Samples { first: 0, inputs: &inputs, labels: Some(&labels) };
    for method in ["norm-product", "interval", "linear-interval", "linear"] {
        for point in certify(&network, &set(&network, Kind::Relative, 0.0), method, samples) {
            // Below it by what is charged for rounding.
            let charge = point.clean.margin - point.margin_lower;
            assert!(
                charge >= 0.0 && charge <= CHARGE * (1.0 + point.clean.margin.abs()),
                "{method} {charge}"
            );
        }
    }
}
