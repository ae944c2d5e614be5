//! Certified and attacked radii (theory.md §5).

use std::time::Instant;
use weightproof::attack::{AttackKind, AttackOptions};
use weightproof::certify::CertifyOptions;
use weightproof::exact::{Budget, ExactCertifier, ExactOptions};
use weightproof::network::Activation;
use weightproof::property::Property;
use weightproof::radius::{RadiusOptions, RadiusSearch, SampleRadius};
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};
use weightproof::verdict::{Precision, Reason, Samples, Verdict};
use weightproof_testkit::networks::{Blueprint, Design, input, rng};
use weightproof_testkit::suite::certificates;

/// Rounding of f32 bounds, relative to the radius.
const ROUNDING: f64 = 1e-3;
/// Rounding of the lattice, as a factor.
const NEIGHBOURS: f64 = 1.0 + 1e-9;

fn options(method: &str, property: Property) -> RadiusOptions {
    let attack = AttackOptions::new(AttackKind::NeuronSpace, property);
    RadiusOptions::new(CertifyOptions::new(method, property), Some(attack))
}

fn search(
    blueprint: &Blueprint,
    unit: impl Fn(&weightproof::network::Network) -> PerturbationSet,
    method: &str,
    samples: usize,
) -> Vec<SampleRadius> {
    search_with(blueprint, unit, options(method, Property::Prediction), samples)
}

fn search_with(
    blueprint: &Blueprint,
    unit: impl Fn(&weightproof::network::Network) -> PerturbationSet,
    options: RadiusOptions,
    samples: usize,
) -> Vec<SampleRadius> {
    let network = blueprint.build();
    let mut random = rng(blueprint.seed);
    let inputs: Vec<f64> =
        (0..samples).flat_map(|_| input(network.input_width(), true, &mut random)).collect();
    let search = RadiusSearch::new(&network, &unit(&network), options).unwrap();
    search.search(Samples { first: 0, inputs: &inputs, labels: None }).unwrap()
}

/// The method linear, the attack, and branch and bound within `budget`.
fn exact(budget: Budget) -> RadiusOptions {
    let linear = options("linear", Property::Prediction);
    let exact = ExactOptions { budget, ..ExactOptions::new(linear.certify.clone()) };
    RadiusOptions { exact: Some(exact), ..linear }
}

fn absolute(network: &weightproof::network::Network) -> PerturbationSet {
    ThreatModel::new(Kind::Absolute, 1.0).resolve(network).unwrap()
}

/// One neuron, by hand: f = (relu(x), 0) with x = 1 and only the first weight (1) perturbed: the prediction changes when the
/// weight falls to 0, so every radius below 1 holds.
#[test]
fn a_radius_by_hand() {
    use weightproof::kernels::Matrix;
    use weightproof::network::NetworkBuilder;
    let mut builder = NetworkBuilder::new(vec![1]);
    let p = builder.dense("first", 0, Matrix::from_vec(1, 1, vec![1.0]), vec![0.0]).unwrap();
    let z = builder.activation("relu", p, Activation::Relu).unwrap();
    builder.dense("second", z, Matrix::from_vec(2, 1, vec![1.0, 0.0]), vec![0.0; 2]).unwrap();
    let network = builder.finish().unwrap();
    let mut threat = ThreatModel::new(Kind::Absolute, 1.0);
    threat.layers = Some(vec!["first".into()]);
    threat.bias_radius = Some(0.0);
    let set = threat.resolve(&network).unwrap();
    let options = RadiusOptions { attack: None, ..options("interval", Property::Prediction) };
    let width = options.relative_width;
    let search = RadiusSearch::new(&network, &set, options).unwrap();
    let found = search.search(Samples { first: 0, inputs: &[1.0], labels: None }).unwrap()[0];
    assert!(found.certified_radius < 1.0 && found.certified_radius > 1.0 - 1.5 * width, "{found:?}");
}

#[test]
fn certified_is_below_attacked_and_both_are_reproduced_by_single_runs() {
    let blueprint = Blueprint::new(&[4, 8, 8, 3], Activation::Relu, 11);
    let network = blueprint.build();
    let unit = ThreatModel::new(Kind::Absolute, 1.0).resolve(&network).unwrap();
    let found =
        search(&blueprint, |n| ThreatModel::new(Kind::Absolute, 1.0).resolve(n).unwrap(), "linear", 40);
    let mut random = rng(blueprint.seed);
    for sample in &found {
        let x = input(4, true, &mut random);
        let attacked = sample.attacked_radius.expect("a large enough radius breaks everything");
        assert!(sample.certified_radius < attacked, "{sample:?}");
        assert!(sample.certified_radius > 0.0 && attacked < 10.0, "{sample:?}");
        let certify = CertifyOptions {
            precision: Precision::F32,
            ..CertifyOptions::new("linear", Property::Prediction)
        };
        let at = |t: f64| certificates(&network, &unit.scaled(t), &x, 0, &certify).margin_lower;
        assert!(at(sample.certified_radius * (1.0 - ROUNDING)) > 0.0, "{sample:?}");
        assert!(at(attacked * (1.0 + ROUNDING)) <= 0.0, "{sample:?}");
    }
}

#[test]
fn radii_depend_neither_on_threads_nor_on_other_samples() {
    let network = Blueprint::new(&[4, 16, 16, 3], Activation::Relu, 11).build();
    let mut random = rng(3);
    let inputs: Vec<f64> = (0..5).flat_map(|_| input(4, true, &mut random)).collect();
    for method in ["linear", "optimized"] {
        let search =
            RadiusSearch::new(&network, &absolute(&network), options(method, Property::Prediction)).unwrap();
        let run = |threads: usize, inputs: &[f64], first: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| search.search(Samples { first, inputs, labels: None }).unwrap())
        };
        let all = run(1, &inputs, 0);
        assert!(all.iter().all(|found| found.attacked_radius.is_some()), "{all:?}");
        for threads in [2, 3, 8] {
            assert_eq!(run(threads, &inputs, 0), all, "{method}, {threads} threads");
            for s in 0..all.len() {
                let one = run(threads, &inputs[4 * s..4 * (s + 1)], s);
                assert_eq!(one, all[s..s + 1], "{method}, {threads} threads, sample {s}");
            }
        }
    }
}

#[test]
fn tighter_methods_certify_larger_radii() {
    let blueprint = Blueprint::new(&[4, 10, 10, 3], Activation::Relu, 12);
    let unit = |n: &weightproof::network::Network| ThreatModel::new(Kind::Relative, 1.0).resolve(n).unwrap();
    let mean = |method| {
        let found = search(&blueprint, unit, method, 30);
        found.iter().map(|s| s.certified_radius).sum::<f64>()
    };
    let (norms, interval, linear) = (mean("norm-product"), mean("interval"), mean("linear"));
    assert!(norms < interval && interval < linear, "{norms} {interval} {linear}");
}

/// A bias radius that the user fixed does not shrink with t: when it alone breaks the bound, nothing is certified.
#[test]
fn fixed_parts_of_a_set_do_not_scale() {
    let blueprint = Blueprint::new(&[4, 6, 3], Activation::Relu, 13);
    let unit = |n: &weightproof::network::Network| {
        let threat = ThreatModel { bias_radius: Some(100.0), ..ThreatModel::new(Kind::Absolute, 1.0) };
        threat.resolve(n).unwrap()
    };
    assert!(search(&blueprint, unit, "linear", 5).iter().all(|s| s.certified_radius == 0.0));
}

/// The certified radius does not shrink and the attacked one does not grow.
fn within(closed: &SampleRadius, open: &SampleRadius) -> bool {
    let ends = |s: &SampleRadius| (s.certified_radius, s.attacked_radius.unwrap_or(f64::INFINITY));
    let ((certified, attacked), (least, most)) = (ends(closed), ends(open));
    least <= certified && certified < attacked && attacked <= most
}

#[test]
fn branch_and_bound_closes_every_interval() {
    let mut open = 0;
    for seed in 20..26 {
        let blueprint = Blueprint::new(&[4, 8, 8, 3], Activation::Relu, seed);
        let linear = search(&blueprint, absolute, "linear", 8);
        let closed = search_with(&blueprint, absolute, exact(Budget::default()), 8);
        let width = exact(Budget::default()).relative_width;
        for (closed, linear) in closed.iter().zip(&linear) {
            let attacked = closed.attacked_radius.expect("a large enough radius breaks everything");
            assert!(within(closed, linear) && closed.reason.is_none(), "{closed:?} {linear:?}");
            assert!(attacked <= closed.certified_radius * (1.0 + width) * NEIGHBOURS, "{closed:?}");
            open += usize::from(linear.attacked_radius > Some(linear.certified_radius * (1.0 + 2.0 * width)));
        }
    }
    assert!(open > 10, "{open}");
}

/// Trees go on from one radius to the next; searches that start at the root must say the same about where they end.
#[test]
fn closed_radii_are_those_of_single_searches() {
    for seed in 30..36 {
        let blueprint = Blueprint::new(&[6, 12, 10, 10, 3], Activation::Relu, seed);
        let network = blueprint.build();
        let unit = absolute(&network);
        // An attack that finds little, so that witnesses come from branch and bound and lead to lower radii.
        let weak = |options: AttackOptions| AttackOptions { steps: 1, restarts: 1, ..options };
        let options = exact(Budget::default());
        let options = RadiusOptions { attack: options.attack.map(weak), ..options };
        let mut random = rng(blueprint.seed);
        let samples = 6;
        for found in search_with(&blueprint, absolute, options.clone(), samples) {
            let x = input(network.input_width(), true, &mut random);
            let attacked = found.attacked_radius.expect("a large enough radius breaks everything");
            let sets = [found.certified_radius, attacked].map(|t| unit.scaled(t));
            let certifier = ExactCertifier::new(&network, &sets, ExactOptions::new(options.certify.clone()));
            let verdicts: Vec<Verdict> = certifier
                .certify(Samples { first: 0, inputs: &x, labels: None })
                .iter()
                .map(|of_set| of_set[0].certificate.verdict)
                .collect();
            assert_eq!(verdicts, [Verdict::Verified, Verdict::Falsified], "{found:?}");
            assert!(found.reason.is_none(), "{found:?}");
        }
    }
}

#[test]
fn limits_leave_intervals_open_and_say_why() {
    let blueprint = Blueprint::new(&[4, 8, 8, 3], Activation::Relu, 21);
    let linear = search(&blueprint, absolute, "linear", 20);
    let one_node = Budget { nodes: Some(1), ..Budget::default() };
    let found = search_with(&blueprint, absolute, exact(one_node), 20);
    assert!(found.iter().zip(&linear).all(|(found, linear)| within(found, linear)), "{found:?}");
    let open: Vec<_> = found.iter().filter_map(|found| found.reason).collect();
    assert!(!open.is_empty() && open.iter().all(|reason| *reason == Reason::NodeLimit), "{open:?}");
    let late = Budget { deadline: Some(Instant::now()), ..Budget::default() };
    let found = search_with(&blueprint, absolute, exact(late), 20);
    let nothing = |s: &SampleRadius| (s.certified_radius, s.attacked_radius, s.reason);
    assert!(found.iter().all(|s| nothing(s) == (0.0, None, Some(Reason::TimeLimit))), "{found:?}");
}
