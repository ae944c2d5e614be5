//! Branch and bound: exact where theory.md §6 says so, and never beaten (theory.md §13).

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand::RngExt;
use weightproof::certify::CertifyOptions;
use weightproof::exact::{Budget, ExactCertificate, ExactCertifier, ExactOptions};
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Network, NetworkBuilder, StepRounding};
use weightproof::property::Property;
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};
use weightproof::verdict::{Precision, Reason, Samples};
use weightproof_testkit::images::{arbitrary_images, dynamic_quantizers};
use weightproof_testkit::networks::{Blueprint, Design, arbitrary, input, rng};
use weightproof_testkit::oracle::{Tried, margin, vertex_minimum};
use weightproof_testkit::products::{FORMS, ProductBlueprint};
use weightproof_testkit::suite::certificates;
use weightproof_testkit::threats::sets;

/// Rounding of f64 bounds on networks with numbers of size about one.
const ROUNDING: f64 = 1e-9;
/// What is left between bound and found margin.
const GAP: f64 = 1e-4;

fn options(precision: Precision) -> ExactOptions {
    let budget = Budget { nodes: Some(400), ..Budget::default() };
    let certify = CertifyOptions { precision, ..CertifyOptions::new("exact", Property::Label) };
    ExactOptions { budget, ..ExactOptions::new(certify) }
}

fn closing(gap: f64, nodes: usize) -> ExactOptions {
    let budget = Budget { nodes: Some(nodes), ..Budget::default() };
    ExactOptions { gap: Some(gap), budget, ..options(Precision::F64) }
}

fn settle(
    network: &Network,
    set: &PerturbationSet,
    x: &[f64],
    label: u32,
    options: ExactOptions,
) -> ExactCertificate {
    let certifier = ExactCertifier::new(network, std::slice::from_ref(set), options);
    certifier.certify(Samples { first: 0, inputs: x, labels: Some(&[label]) }).remove(0).remove(0)
}

/// No sampled, vertex or searched perturbation beats the bound or a verdict, whatever the network and the set.
fn is_sound(design: &impl Design) -> Result<(), String> {
    let network = design.build();
    let mut rng = rng(design.seed() ^ 0x5eed);
    for (name, set) in sets(&network) {
        let Tried { x, label, worst, size, .. } = Tried::new(&network, &set, 6, &mut rng);
        for (precision, slack) in [(Precision::F64, 1e-11), (Precision::F32, 2e-5)] {
            let options = ExactOptions {
                budget: Budget { nodes: Some(40), ..Budget::default() },
                ..options(precision)
            };
            for gap in [None, Some(0.01)] {
                let options = ExactOptions { gap, ..options.clone() };
                let found = settle(&network, &set, &x, label as u32, options.clone());
                let bound = found.certificate.margin_lower;
                if !(bound <= worst + slack * size && bound <= found.worst_margin + slack * size) {
                    return Err(format!(
                        "{precision:?} {name}: bound {bound} > {worst} or {}",
                        found.worst_margin
                    ));
                }
                let attacked = found.certificate.reason == Some(Reason::Attacked);
                if attacked {
                    let witness = found.witness.as_ref().ok_or("no witness")?;
                    let certifier = ExactCertifier::new(&network, std::slice::from_ref(&set), options);
                    let point = certifier.witness(0, &x, witness);
                    set.contains(&network, &x, &point).map_err(|e| format!("{name}: {e}"))?;
                    let reached = margin(&network.forward_perturbed(&x, &point), label);
                    if !(reached <= 0.0 && (reached - found.worst_margin).abs() <= 1e-9 * size) {
                        return Err(format!("{name}: witness reaches {reached}, not {}", found.worst_margin));
                    }
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, rng_seed: RngSeed::Fixed(2103), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_beats_a_verdict(blueprint in arbitrary()) {
        prop_assert_eq!(is_sound(&blueprint), Ok(()));
    }

    #[test]
    fn nothing_beats_a_verdict_of_a_convolutional_network(blueprint in arbitrary_images()) {
        prop_assert_eq!(is_sound(&blueprint), Ok(()));
    }
}

/// The search is sound where values are multiplied, although it rarely ends.
#[test]
fn nothing_beats_a_verdict_of_products() {
    for (seed, form) in (20..).zip(FORMS) {
        assert_eq!(is_sound(&ProductBlueprint { form, seed }), Ok(()), "{form:?}");
    }
}

/// Boxes of every shape, with inputs and activations that move, too.
fn boxes(network: &Network) -> Vec<(&'static str, PerturbationSet)> {
    let absolute = |radius| ThreatModel::new(Kind::Absolute, radius);
    let threats = [
        ("absolute", absolute(0.15)),
        ("relative", ThreatModel::new(Kind::Relative, 0.3)),
        ("per-channel", ThreatModel::new(Kind::PerChannel, 0.15)),
        ("own bias radius", ThreatModel { bias_radius: Some(0.2), ..absolute(0.1) }),
        ("joint input", ThreatModel { input_radius: 0.1, ..absolute(0.1) }),
        ("activations", ThreatModel { activation_radius: 0.03, ..absolute(0.1) }),
        ("everything", ThreatModel { input_radius: 0.05, activation_radius: 0.02, ..absolute(0.1) }),
    ];
    threats.into_iter().map(|(name, threat)| (name, threat.resolve(network).unwrap())).collect()
}

/// Bound and found margin meet on every piecewise linear network and box, within the gap that is asked for; neither is on the
/// wrong side of what the ladder and enumeration say.
#[test]
fn gaps_close() {
    let designs = [
        (Activation::Relu, [2, 4, 3, 2], 24),
        (Activation::LeakyRelu { slope: 0.1 }, [3, 3, 3, 3], 24),
        (Activation::SoftThreshold { lambda: 0.2 }, [2, 4, 3, 2], 8),
    ];
    for (activation, widths, seeds) in designs {
        for seed in 0..seeds {
            let network = Blueprint::new(&widths, activation, seed).build();
            let x = input(widths[0], true, &mut rng(seed));
            for (name, set) in boxes(&network) {
                let found = settle(&network, &set, &x, 0, closing(GAP, 4000));
                let (bound, worst) = (found.certificate.margin_lower, found.worst_margin);
                assert!(
                    bound <= worst + ROUNDING,
                    "{activation:?} {seed} {name}: bound {bound} above {worst}"
                );
                assert!(
                    worst - bound <= GAP + ROUNDING,
                    "{activation:?} {seed} {name}: gap {bound} .. {worst}"
                );
                for method in ["linear", "optimized"] {
                    let options = CertifyOptions::new(method, Property::Label);
                    let options = CertifyOptions { precision: Precision::F64, ..options };
                    let lower = certificates(&network, &set, &x, 0, &options).margin_lower;
                    assert!(bound >= lower - GAP - ROUNDING, "{seed} {name}: {method} {lower} above {bound}");
                }
            }
        }
    }
}

/// With one hidden layer margins are least at vertices.
#[test]
fn one_hidden_layer_is_as_bad_as_its_worst_vertex() {
    for seed in 0..12 {
        let network = Blueprint::new(&[1, 3, 2], Activation::Relu, seed).build();
        let x = input(1, true, &mut rng(seed));
        for (name, set) in boxes(&network).into_iter().take(4) {
            let found = settle(&network, &set, &x, 0, closing(GAP, 4000));
            let vertices = vertex_minimum(&network, &set, &x, |f| margin(f, 0));
            let (bound, worst) = (found.certificate.margin_lower, found.worst_margin);
            assert!(bound <= vertices + ROUNDING && vertices <= bound + GAP + ROUNDING, "{seed} {name}");
            // What is found is kept in f32.
            assert!((worst - vertices).abs() <= GAP, "{seed} {name}: {worst} {vertices}");
        }
    }
}

/// Sets without a linear program end, too: balls when no split promises anything, smooth activations at their limit.
#[test]
fn what_is_not_piecewise_linear_ends() {
    for seed in 0..6 {
        let x = input(3, true, &mut rng(seed));
        let ball = Blueprint::new(&[3, 5, 4, 2], Activation::Relu, seed).build();
        let set = ThreatModel::new(Kind::Frobenius, 0.4).resolve(&ball).unwrap();
        let smooth = Blueprint::new(&[3, 4, 4, 2], Activation::Tanh, seed).build();
        let boxed = ThreatModel::new(Kind::Absolute, 0.1).resolve(&smooth).unwrap();
        for (network, set) in [(&ball, &set), (&smooth, &boxed)] {
            let found = settle(network, set, &x, 0, closing(GAP, 300));
            let linear = CertifyOptions {
                precision: Precision::F64,
                ..CertifyOptions::new("linear", Property::Label)
            };
            let linear = certificates(network, set, &x, 0, &linear).margin_lower;
            assert!(found.certificate.margin_lower >= linear - ROUNDING);
            assert!(found.certificate.margin_lower <= found.worst_margin + ROUNDING);
        }
    }
}

/// A network computes the same when neurons change places, and, with relative radii, when a neuron's weights grow and those
/// that read it shrink.
#[test]
fn permuted_and_rescaled_neurons_have_the_same_margin() {
    for seed in 0..8 {
        let plain = parameters(seed);
        let x = input(2, true, &mut rng(seed));
        let order = [2, 0, 3, 1];
        let factor = [0.5, 2.0, 4.0, 1.0];
        let moved = |by: &dyn Fn(usize) -> (usize, f64)| {
            let (w, b, v) = plain.clone();
            let w2 = Matrix::from_fn(4, 2, |i, j| w[(by(i).0, j)] * by(i).1);
            let b2 = (0..4).map(|i| b[by(i).0] * by(i).1).collect();
            build((w2, b2, Matrix::from_fn(3, 4, |i, j| v[(i, by(j).0)] / by(j).1)))
        };
        let networks = [build(plain.clone()), moved(&|i| (order[i], 1.0)), moved(&|i| (i, factor[i]))];
        let margins = networks.map(|network| {
            let set = ThreatModel::new(Kind::Relative, 0.2).resolve(&network).unwrap();
            let found = settle(&network, &set, &x, 0, closing(GAP, 4000));
            (found.certificate.margin_lower, found.worst_margin)
        });
        for (lower, upper) in margins {
            assert!(
                lower <= margins[0].1 + ROUNDING && upper >= margins[0].0 - ROUNDING,
                "{seed}: {margins:?}"
            );
            assert!(upper - lower <= GAP + ROUNDING);
        }
    }
}

type Parameters = (Matrix<f64>, Vec<f64>, Matrix<f64>);

/// Weights and biases of four neurons of two inputs, and what reads them.
fn parameters(seed: u64) -> Parameters {
    let mut rng = rng(seed);
    let mut draw = || rng.random_range(-1.0..1.0);
    let w = Matrix::from_fn(4, 2, |_, _| draw());
    let b = (0..4).map(|_| 0.3 * draw()).collect();
    (w, b, Matrix::from_fn(3, 4, |_, _| draw()))
}

/// `2 → 4 → 3 → 3 → 2`, the first two layers as given.
fn build((w, b, v): Parameters) -> Network {
    let mut builder = NetworkBuilder::new(vec![2]);
    let p = builder.dense("first", 0, w, b).unwrap();
    let z = builder.activation("relu1", p, Activation::Relu).unwrap();
    let p = builder.dense("second", z, v, vec![0.1, -0.1, 0.0]).unwrap();
    let z = builder.activation("relu2", p, Activation::Relu).unwrap();
    let u = Matrix::from_fn(2, 3, |i, j| [[1.0, -0.7, 0.4], [-0.5, 0.8, 0.3]][i][j]);
    builder.dense("third", z, u, vec![0.5, 0.0]).unwrap();
    builder.finish().unwrap()
}

/// Linear programs hold quantizers whose steps follow from the data, and no split is at their steps.
#[test]
fn dynamic_quantizers_are_never_beaten() {
    for seed in 0..6 {
        assert_eq!(is_sound(&dynamic_quantizers(StepRounding::NearestEven, seed)), Ok(()));
    }
}
