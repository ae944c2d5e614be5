//! Published networks, trained by others, certified on real data. Skipped where `../shared` is absent.

use std::path::{Path, PathBuf};
use weightproof::attack::{AttackKind, AttackOptions, Attacker};
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};
use weightproof::verdict::{SampleCertificate, Samples, Verdict};
use weightproof_formats::data::{DataOptions, DataSet};
use weightproof_formats::network::read_network;

fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(path);
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

fn network(name: &str) -> Option<Network> {
    let path = shared("models")?.join(format!("{name}.onnx"));
    Some(read_network(&path).expect("a supported network").network)
}

/// The first `count` MNIST test images.
fn mnist(count: usize) -> Option<(Vec<f64>, Vec<u32>)> {
    let mut data = DataSet::open(&DataOptions::new(shared("data/mnist")?)).expect("readable");
    let batch = data.next_batch(count).expect("readable").expect("images");
    Some((batch.inputs, batch.labels.expect("labels")))
}

fn set(network: &Network, radius: f64) -> PerturbationSet {
    let threat = ThreatModel { bias_radius: Some(0.0), ..ThreatModel::new(Kind::Absolute, radius) };
    threat.resolve(network).expect("valid")
}

fn certify(network: &Network, method: &str, radius: f64, samples: Samples<'_>) -> Vec<SampleCertificate> {
    let property = if samples.labels.is_some() { Property::Label } else { Property::Prediction };
    let sets = [set(network, radius)];
    let certifier = Certifier::new(network, &sets, CertifyOptions::new(method, property)).expect("a method");
    certifier.certify(samples).remove(0)
}

fn verified(found: &[SampleCertificate]) -> usize {
    found.iter().filter(|c| c.verdict == Verdict::Verified).count()
}

/// How many of the first 200 MNIST test images another implementation of linear bounds certified, and how many an attack
/// left, on the same networks and radii (absolute, biases fixed).
const REFERENCE: [(&str, f64, usize, usize); 10] = [
    ("mnist-net_256x2", 0.001, 196, 196),
    ("mnist-net_256x2", 0.002, 194, 195),
    ("mnist-net_256x2", 0.003, 189, 193),
    ("mnist-net_256x2", 0.004, 186, 190),
    ("mnist-net_256x2", 0.006, 176, 184),
    ("mnist-net_256x4", 0.001, 196, 196),
    ("mnist-net_256x4", 0.002, 191, 195),
    ("mnist-net_256x4", 0.003, 180, 190),
    ("mnist-net_256x4", 0.004, 156, 187),
    ("mnist-net_256x4", 0.006, 72, 173),
];

#[test]
fn linear_bounds_certify_at_least_the_reference_and_never_more_than_an_attack_leaves() {
    let Some((inputs, labels)) = mnist(200) else { return };
    for (name, radius, certified, left) in REFERENCE {
        let Some(network) = network(name) else { return };
        let samples = Samples { first: 0, inputs: &inputs, labels: Some(&labels) };
        let found = verified(&certify(&network, "linear", radius, samples));
        assert!((certified..=left).contains(&found), "{name} at {radius}: {found}");
    }
}

/// Bound below attack, sample by sample, for every kind of set, on networks that others trained.
#[test]
fn no_attack_is_below_a_bound() {
    let Some((inputs, labels)) = mnist(16) else { return };
    let samples = Samples { first: 0, inputs: &inputs, labels: Some(&labels) };
    for (name, scale) in [("mnist-net_256x2", 1.0), ("ffnnSIGMOID__Point_6x200", 0.3)] {
        let Some(network) = network(name) else { return };
        for (kind, radius) in
            [("absolute", 0.004), ("relative", 0.05), ("per-channel", 0.01), ("frobenius", 0.05)]
        {
            let mut threat = ThreatModel::new(kind.parse().expect("a kind"), scale * radius);
            threat.input_radius = 0.002;
            let set = threat.resolve(&network).expect("valid");
            let options = CertifyOptions::new("linear", Property::Label);
            let certifier = Certifier::new(&network, std::slice::from_ref(&set), options).expect("a method");
            let proved = certifier.certify(samples).remove(0);
            let attack =
                AttackOptions { steps: 30, ..AttackOptions::new(AttackKind::NeuronSpace, Property::Label) };
            let found = Attacker::new(&network, &set, attack).attack(samples);
            for (proof, witness) in proved.iter().zip(&found) {
                let slack = 1e-4 * (1.0 + witness.worst_margin.abs());
                assert!(
                    proof.margin_lower <= witness.worst_margin + slack,
                    "{name} {kind} sample {}: {} > {}",
                    proof.clean.index,
                    proof.margin_lower,
                    witness.worst_margin
                );
            }
        }
    }
}

/// The same for convolutional and residual networks, on inputs in the range of the data.
#[test]
fn no_attack_is_below_a_bound_of_a_convolutional_network() {
    for name in ["resnet_2b", "cifar_base_kw", "cifar10_small", "Convnet_maxpool"] {
        let Some(network) = network(name) else { return };
        let width = network.input_width();
        let inputs: Vec<f64> = (0..3 * width).map(|k| 0.5 + 0.5 * (k as f64 * 0.37).sin()).collect();
        let samples = Samples { first: 0, inputs: &inputs, labels: None };
        for (kind, radius) in [("absolute", 0.0005), ("relative", 0.003), ("frobenius", 0.005)] {
            let set =
                ThreatModel::new(kind.parse().expect("a kind"), radius).resolve(&network).expect("valid");
            let attack = AttackOptions {
                steps: 20,
                restarts: 1,
                ..AttackOptions::new(AttackKind::NeuronSpace, Property::Prediction)
            };
            let found = Attacker::new(&network, &set, attack).attack(samples);
            for method in ["norm-product", "interval", "linear"] {
                let options = CertifyOptions::new(method, Property::Prediction);
                let certifier =
                    Certifier::new(&network, std::slice::from_ref(&set), options).expect("a method");
                for (proof, witness) in certifier.certify(samples).remove(0).iter().zip(&found) {
                    let slack = 1e-4 * (1.0 + witness.worst_margin.abs());
                    let (lower, worst) = (proof.margin_lower, witness.worst_margin);
                    assert!(lower <= worst + slack, "{name} {kind} {method}: {lower} > {worst}");
                }
            }
        }
    }
}

#[test]
fn deep_and_sigmoid_networks_certify_at_a_small_radius() {
    let Some((inputs, labels)) = mnist(60) else { return };
    for (name, radius, least) in [("mnist_relu_9_200", 0.0001, 50), ("ffnnSIGMOID__Point_6x200", 0.0003, 50)]
    {
        let Some(network) = network(name) else { return };
        let samples = Samples { first: 0, inputs: &inputs, labels: Some(&labels) };
        let found = verified(&certify(&network, "linear", radius, samples));
        assert!(found >= least, "{name}: {found}");
    }
}

/// The collision-avoidance network has no labels: its own prediction must not change.
#[test]
fn the_prediction_of_acas_xu_is_certified_without_labels() {
    let Some(network) = network("ACASXU_run2a_1_1_batch_2000") else { return };
    let wave = |k: usize| 0.5 * ((k as f64) * 1.7).sin();
    let inputs: Vec<f64> = (0..100 * network.input_width()).map(wave).collect();
    let found = certify(&network, "linear", 1e-4, Samples { first: 0, inputs: &inputs, labels: None });
    assert!(verified(&found) >= 50, "{}", verified(&found));
}
