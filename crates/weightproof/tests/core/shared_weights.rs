//! One convolution whose weights are used at every position, against all vertices of its parameters (theory.md §4.3).

use weightproof::certify::CertifyOptions;
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};
use weightproof::verdict::Precision;
use weightproof_testkit::networks::{input, rng};
use weightproof_testkit::one_convolution::{least_margin, one_convolution, per_use, unstable_neurons};
use weightproof_testkit::oracle::{margin, vertex_minimum};
use weightproof_testkit::suite::certificates;

/// Rounding of f64 bounds on networks with numbers of size about one.
const ROUNDING: f64 = 1e-10;

fn linear(network: &Network, set: &PerturbationSet, x: &[f64]) -> f64 {
    let options =
        CertifyOptions { precision: Precision::F64, ..CertifyOptions::new("linear", Property::Label) };
    certificates(network, set, x, 0, &options).margin_lower
}

fn sets(network: &Network, radius: f64) -> [PerturbationSet; 4] {
    let resolve = |kind, radius, layers| {
        ThreatModel { layers, ..ThreatModel::new(kind, radius) }.resolve(network).expect("valid")
    };
    let first = || Some(vec!["conv".into()]);
    [
        resolve(Kind::Absolute, radius, first()),
        resolve(Kind::Absolute, radius, None),
        resolve(Kind::Relative, 2.0 * radius, first()),
        resolve(Kind::PerChannel, radius, None),
    ]
}

/// Independent uses ≤ shared uses ≤ vertices. Without unstable neurons the margin is affine in the convolution, and linear in
/// `z ≥ 0` for the worst dense layer (Lemma 1): there the shared bound *is* the least margin, whichever layers move.
#[test]
fn a_shared_bound_is_between_independent_uses_and_all_vertices() {
    let (mut stable, mut tighter, mut unstable) = (0, 0, 0);
    for seed in 0..60 {
        let network = one_convolution([4, 4], 2, [2, 2], 2 + seed as usize % 2, seed);
        let x = input(16, seed % 4 != 3, &mut rng(seed + 1000));
        for radius in [0.002, 0.01, 0.05] {
            for (k, set) in sets(&network, radius).iter().enumerate() {
                let least = least_margin(&network, set, &x, 0);
                let (shared, independent) = (linear(&network, set, &x), linear(&network, &per_use(set), &x));
                let name = format!("seed {seed} radius {radius} set {k}: {independent} {shared} {least}");
                assert!(independent <= shared + ROUNDING && shared <= least + ROUNDING, "{name}");
                tighter += usize::from(independent < shared - 1e-6);
                if unstable_neurons(&network, set, &x) > 0 {
                    unstable += 1;
                } else {
                    stable += 1;
                    assert!((shared - least).abs() <= ROUNDING, "{name}");
                }
            }
        }
    }
    assert!(stable >= 150 && unstable >= 150 && tighter >= 600, "{stable} {unstable} {tighter}");
}

/// The vertex of the dense layer that is not searched for is the worst of all.
#[test]
fn the_worst_dense_layer_is_known() {
    for seed in 0..10 {
        let network = one_convolution([2, 3], 1, [2, 2], 2, seed);
        let x = input(6, true, &mut rng(seed));
        for set in sets(&network, 0.05) {
            let found = least_margin(&network, &set, &x, 1);
            let all = vertex_minimum(&network, &set, &x, |f| margin(f, 1));
            assert!((found - all).abs() <= ROUNDING, "seed {seed}: {found} {all}");
        }
    }
}
