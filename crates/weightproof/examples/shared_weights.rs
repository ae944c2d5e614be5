//! How much of the gap between "every use of a kernel weight moves on its own" and "all uses move alike" the linear bound closes:
//!
//! ```text
//! cargo run --release -p weightproof --example shared_weights [networks]
//! ```
//!
//! Random networks convolution → ReLU → dense on images of 5 × 5 pixels; two kernels of 2 × 3 weights and a bias, each used at
//! 12 positions: 14 parameters, all of whose 2¹⁴ vertices are visited (those of the dense layer need no search). For every
//! network three numbers on the least margin of class 0, in f64:
//!
//! ```text
//! independent ≤ shared ≤ least margin of the set ≤ vertices        closed = (shared − independent) / (vertices − independent)
//! ```
//! The last two are equal where no neuron of the convolution can change its sign. Elsewhere the vertices are above the least
//! margin by an unknown amount, so `closed` is an estimate from below of how much of the true gap is closed. `exact` counts the
//! networks whose shared bound is what the vertices give. Networks without a gap are among them and left out of `closed`.

use rayon::prelude::*;
use weightproof::certify::CertifyOptions;
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};
use weightproof::verdict::Precision;
use weightproof_testkit::networks::{input, rng};
use weightproof_testkit::one_convolution::{least_margin, one_convolution, per_use, unstable_neurons};
use weightproof_testkit::suite::certificates;

const IMAGE: [usize; 2] = [5, 5];
const RADII: [f64; 4] = [0.001, 0.01, 0.03, 0.1];
/// Gaps below this are rounding.
const ROUNDING: f64 = 1e-9;

/// What was found for one network.
struct Case {
    stable: bool,
    independent: f64,
    shared: f64,
    vertices: f64,
}

impl Case {
    fn new(seed: u64, radius: f64, layers: Option<Vec<String>>) -> Self {
        let network = one_convolution(IMAGE, 2, [2, 3], 2 + seed as usize % 2, seed);
        let x = input(network.input_width(), true, &mut rng(seed + 1_000_000));
        let threat = ThreatModel { layers, ..ThreatModel::new(Kind::Absolute, radius) };
        let set = threat.resolve(&network).expect("a threat model");
        Case {
            stable: unstable_neurons(&network, &set, &x) == 0,
            independent: linear(&network, &per_use(&set), &x),
            shared: linear(&network, &set, &x),
            vertices: least_margin(&network, &set, &x, 0),
        }
    }

    /// Whether vertices and the shared bound are in the order that proofs say.
    fn is_in_order(&self) -> bool {
        self.independent <= self.shared + ROUNDING && self.shared <= self.vertices + ROUNDING
    }

    fn is_exact(&self) -> bool {
        self.vertices - self.shared < ROUNDING
    }

    /// The fraction of the gap that is closed, where there is one.
    fn closed(&self) -> Option<f64> {
        let gap = self.vertices - self.independent;
        (gap >= ROUNDING).then(|| (self.shared - self.independent) / gap)
    }
}

fn linear(network: &Network, set: &PerturbationSet, x: &[f64]) -> f64 {
    let options =
        CertifyOptions { precision: Precision::F64, ..CertifyOptions::new("linear", Property::Label) };
    certificates(network, set, x, 0, &options).margin_lower
}

fn row(name: &str, radius: f64, cases: &[&Case]) {
    let mut closed: Vec<f64> = cases.iter().filter_map(|case| case.closed()).collect();
    if closed.is_empty() {
        return;
    }
    closed.sort_by(f64::total_cmp);
    let exact = cases.iter().filter(|case| case.is_exact()).count();
    let mean = closed.iter().sum::<f64>() / closed.len() as f64;
    let (least, median) = (closed[0], closed[closed.len() / 2]);
    let [mean, median, least] = [mean, median, least].map(|part| format!("{:.1}%", 100.0 * part.max(0.0)));
    println!("| {name} | {radius} | {} | {exact} | {mean} | {median} | {least} |", cases.len());
}

fn main() {
    let count: u64 = std::env::args().nth(1).map_or(200, |n| n.parse().expect("a number of networks"));
    println!("| perturbed, neurons | radius | networks | exact | closed, mean | median | least |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (name, layers) in [("convolution", Some(vec!["conv".to_owned()])), ("all layers", None)] {
        for radius in RADII {
            let cases: Vec<Case> =
                (0..count).into_par_iter().map(|seed| Case::new(seed, radius, layers.clone())).collect();
            assert!(cases.iter().all(Case::is_in_order), "a bound is above a vertex");
            for (stable, neurons) in [(true, "all stable"), (false, "some unstable")] {
                let some: Vec<&Case> = cases.iter().filter(|case| case.stable == stable).collect();
                row(&format!("{name}, {neurons}"), radius, &some);
            }
        }
    }
}
