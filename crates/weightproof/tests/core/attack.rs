//! Attacks: what they report is reached by a perturbation in the set, and close to what is true where that is known.

use rand::Rng;
use weightproof::attack::{AttackKind, AttackOptions, Attacker, SampleAttack, UniversalAttack};
use weightproof::bounds::METHODS;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::network::{Activation, Network};
use weightproof::property::Property;
use weightproof::threat::{Distribution, Kind, Perturbation, PerturbationSet, ThreatModel};
use weightproof::verdict::{Precision, Reason, Samples, Verdict};
use weightproof_testkit::networks::{ACTIVATIONS, Blueprint, Design, input, rng};
use weightproof_testkit::oracle::{coordinate_search, margin, vertex_minimum};
use weightproof_testkit::products::{FORMS, ProductBlueprint};
use weightproof_testkit::threats::sets;

/// A witness gives the reported margin up to the rounding of f64.
const REPRODUCED: f64 = 1e-9;
/// Two ways to compute one minimum.
const EXACT: f64 = 1e-6;

const KINDS: [AttackKind; 7] = [
    AttackKind::NeuronSpace,
    AttackKind::WeightSpace,
    AttackKind::OneGradient,
    AttackKind::Fgsm,
    AttackKind::Pgd,
    AttackKind::Random(Distribution::Uniform),
    AttackKind::Random(Distribution::Vertex),
];

fn predicted(network: &Network, x: &[f64]) -> u32 {
    let f = network.forward(x);
    (0..f.len()).fold(0, |best, j| if f[j] > f[best] { j } else { best }) as u32
}

/// Inputs of `count` samples and the classes that the network predicts.
fn data(network: &Network, count: usize, pixels: bool, rng: &mut impl Rng) -> (Vec<f64>, Vec<u32>) {
    let samples: Vec<Vec<f64>> = (0..count).map(|_| input(network.input_width(), pixels, rng)).collect();
    let labels = samples.iter().map(|x| predicted(network, x)).collect();
    (samples.concat(), labels)
}

fn attack(
    network: &Network,
    set: &PerturbationSet,
    (inputs, labels): &(Vec<f64>, Vec<u32>),
    options: AttackOptions,
) -> Vec<SampleAttack> {
    let samples = Samples { first: 0, inputs, labels: Some(labels) };
    Attacker::new(network, set, options).attack(samples)
}

fn resolved(network: &Network, kind: Kind, radius: f64) -> PerturbationSet {
    ThreatModel::new(kind, radius).resolve(network).unwrap()
}

fn mean(found: &[SampleAttack]) -> f64 {
    found.iter().map(|s| s.worst_margin).sum::<f64>() / found.len() as f64
}

/// The witness lies in the set and its forward pass gives what was reported.
fn check_witness(
    network: &Network,
    set: &PerturbationSet,
    x: &[f64],
    found: &SampleAttack,
    property: Property,
    witness: &Perturbation,
) {
    set.contains(network, x, witness).unwrap();
    let (f, clean) = (network.forward_perturbed(x, witness), network.forward(x));
    let value = match property {
        Property::Label | Property::Prediction => margin(&f, found.clean.target),
        Property::Deviation => {
            found.clean.margin - f.iter().zip(&clean).map(|(f, c)| (f - c).abs()).fold(0.0, f64::max)
        }
    };
    let size = f.iter().fold(1.0, |size: f64, f| size.max(f.abs()));
    let difference = (value - found.worst_margin).abs();
    assert!(difference <= REPRODUCED * size, "{value} and {}", found.worst_margin);
}

#[test]
fn witnesses_reproduce_what_is_reported() {
    for (k, activation) in ACTIVATIONS.into_iter().enumerate() {
        let blueprint =
            Blueprint { decorated: k % 2 == 0, ..Blueprint::new(&[3, 5, 4, 3], activation, k as u64) };
        let network = blueprint.build();
        for (name, set) in sets(&network) {
            let data = data(&network, 3, set.input_range.is_some(), &mut rng(k as u64));
            for (kind, property) in
                KINDS.into_iter().flat_map(|kind| [(kind, Property::Label), (kind, Property::Deviation)])
            {
                let options = AttackOptions {
                    steps: 10,
                    restarts: 3,
                    tolerance: 0.01,
                    ..AttackOptions::new(kind, property)
                };
                let attacker = Attacker::new(&network, &set, options);
                let samples = Samples { first: 5, inputs: &data.0, labels: Some(&data.1) };
                for (s, found) in attacker.attack(samples).iter().enumerate() {
                    let x = &data.0[3 * s..3 * s + 3];
                    assert_eq!(found.clean.index, 5 + s);
                    assert!(found.worst_margin <= found.clean.margin, "{name} {}", kind.name());
                    if let Some(witness) = &found.witness {
                        let witness = attacker.witness(x, witness);
                        check_witness(&network, &set, x, found, property, &witness);
                    }
                    let broken = match property {
                        Property::Label | Property::Prediction => found.worst_margin <= 0.0,
                        Property::Deviation => found.worst_margin < 0.0,
                    };
                    assert_eq!(found.verdict == Verdict::Falsified, broken, "{name} {}", kind.name());
                }
            }
        }
    }
}

#[test]
fn neuron_space_finds_the_worst_vertex_of_tiny_networks() {
    let (mut cases, mut exact) = (0, 0);
    for seed in 0..40 {
        let network = Blueprint::new(&[2, 3, 2], Activation::Relu, seed).build();
        let mut radii = vec![
            resolved(&network, Kind::Absolute, 0.2),
            resolved(&network, Kind::Relative, 0.3),
            resolved(&network, Kind::PerChannel, 0.25),
        ];
        // Biases would double the number of vertices four times.
        radii.iter_mut().flat_map(|set| &mut set.layers).for_each(|layer| layer.bias.fill(0.0));
        let data = data(&network, 1, false, &mut rng(seed));
        for set in &radii {
            let least = vertex_minimum(&network, set, &data.0, |f| margin(f, data.1[0] as usize));
            let options = AttackOptions::new(AttackKind::NeuronSpace, Property::Label);
            let found = attack(&network, set, &data, options)[0].worst_margin;
            // One hidden layer: the margin is a sum of convex or concave functions of single weights' directions.
            assert!(found >= least - EXACT, "seed {seed}: {found} beats all vertices, {least}");
            cases += 1;
            exact += usize::from(found <= least + EXACT);
        }
    }
    assert!(exact * 100 >= 95 * cases, "exact in {exact} of {cases} cases");
}

#[test]
fn neuron_space_is_rarely_beaten_by_a_search_over_single_weights() {
    let (mut cases, mut beaten) = (0, 0);
    for seed in 0..12 {
        let network = Blueprint::new(&[4, 6, 5, 3], Activation::Relu, seed).build();
        for kind in [Kind::Absolute, Kind::Relative] {
            let set = resolved(&network, kind, 0.1);
            let data = data(&network, 1, true, &mut rng(seed));
            let least =
                coordinate_search(&network, &set, &data.0, |f| margin(f, data.1[0] as usize), &mut rng(seed));
            let options = AttackOptions::new(AttackKind::NeuronSpace, Property::Label);
            cases += 1;
            beaten += usize::from(attack(&network, &set, &data, options)[0].worst_margin > least + EXACT);
        }
    }
    assert!(beaten * 20 <= cases, "beaten in {beaten} of {cases} cases");
}

#[test]
fn neuron_space_is_at_least_as_strong_as_weight_space_and_random() {
    for (kind, radius) in
        [(Kind::Absolute, 0.03), (Kind::Relative, 0.1), (Kind::Frobenius, 0.3), (Kind::RowBall, 0.1)]
    {
        let network = Blueprint::new(&[20, 24, 16, 5], Activation::Relu, 3).build();
        let set = resolved(&network, kind, radius);
        let data = data(&network, 64, true, &mut rng(1));
        let run = |kind| {
            let options = AttackOptions { steps: 40, ..AttackOptions::new(kind, Property::Label) };
            attack(&network, &set, &data, options)
        };
        let neurons = run(AttackKind::NeuronSpace);
        let weights = run(AttackKind::WeightSpace);
        let random = run(AttackKind::Random(Distribution::Vertex));
        let weaker = |others: &[SampleAttack]| {
            neurons.iter().zip(others).filter(|(n, o)| n.worst_margin > o.worst_margin + EXACT).count()
        };
        assert!(weaker(&weights) <= 3, "{kind}: weaker than weight space {} times", weaker(&weights));
        assert_eq!(weaker(&random), 0, "{kind}: weaker than random vertices");
        assert!(mean(&neurons) < mean(&weights), "{kind}");
        assert!(mean(&weights) < mean(&random), "{kind}");
    }
}

#[test]
fn no_attack_beats_a_bound() {
    let chains = [(1, Activation::Relu), (2, Activation::Tanh), (3, Activation::GeluTanh)]
        .map(|(seed, activation)| (seed, Blueprint::new(&[4, 6, 5, 3], activation, seed).build()));
    let products = FORMS.map(|form| (4, ProductBlueprint { form, seed: 4 }.build()));
    for (seed, network) in chains.into_iter().chain(products) {
        for (name, set) in sets(&network) {
            let data = data(&network, 4, set.input_range.is_some(), &mut rng(seed));
            let samples = Samples { first: 0, inputs: &data.0, labels: Some(&data.1) };
            let options =
                AttackOptions { steps: 30, ..AttackOptions::new(AttackKind::NeuronSpace, Property::Label) };
            let found = attack(&network, &set, &data, options);
            for method in METHODS {
                let options = CertifyOptions {
                    precision: Precision::F64,
                    ..CertifyOptions::new(method.name, Property::Label)
                };
                let certifier = Certifier::new(&network, std::slice::from_ref(&set), options).unwrap();
                for (bound, found) in certifier.certify(samples)[0].iter().zip(&found) {
                    let rounding = REPRODUCED * (1.0 + found.worst_margin.abs());
                    assert!(bound.margin_lower <= found.worst_margin + rounding, "{} {name}", method.name);
                }
            }
        }
    }
}

#[test]
fn the_universal_perturbation_is_one_point_of_the_set_and_hurts_more_than_random() {
    for (kind, radius) in
        [(Kind::Absolute, 0.05), (Kind::Relative, 0.1), (Kind::Frobenius, 0.4), (Kind::RowBall, 0.15)]
    {
        for joint in [false, true] {
            let network = Blueprint::new(&[10, 16, 12, 4], Activation::Relu, 5).build();
            let model = ThreatModel {
                input_radius: if joint { 0.02 } else { 0.0 },
                activation_radius: if joint { 0.01 } else { 0.0 },
                ..ThreatModel::new(kind, radius)
            };
            let set = model.resolve(&network).unwrap();
            let data = data(&network, 200, true, &mut rng(2));
            let samples = Samples { first: 0, inputs: &data.0, labels: Some(&data.1) };
            let options = AttackOptions {
                batch: 50,
                steps: 20,
                restarts: 2,
                ..AttackOptions::new(AttackKind::Universal, Property::Label)
            };
            let mut universal = UniversalAttack::new(&network, &set, options.clone());
            let losses: Vec<f64> = (0..8)
                .map(|_| {
                    universal.observe(samples);
                    universal.finish_epoch()
                })
                .collect();
            assert!(losses[7] > losses[0], "{kind}: {losses:?}");
            set.contains(&network, &data.0[..10], &universal.perturbation()).unwrap();
            let found = universal.evaluate(samples);
            for (s, found) in found.iter().enumerate().filter(|(_, f)| f.witness.is_some()) {
                let x = &data.0[10 * s..10 * s + 10];
                let witness = universal.witness(x, found.witness.as_ref().unwrap());
                assert_eq!(witness.layers, universal.perturbation().layers);
                check_witness(&network, &set, x, found, Property::Label, &witness);
            }
            let kind = AttackKind::Random(Distribution::Uniform);
            let random = attack(&network, &set, &data, AttackOptions { kind, ..options.clone() });
            let kind = AttackKind::NeuronSpace;
            let own = attack(&network, &set, &data, AttackOptions { kind, ..options });
            assert!(mean(&found) < mean(&random) && mean(&own) < mean(&found));
        }
    }
}

#[test]
fn results_depend_neither_on_threads_nor_on_blocks() {
    let network = Blueprint::new(&[6, 9, 7, 4], Activation::Relu, 9).build();
    let set = resolved(&network, Kind::Absolute, 0.05);
    let data = data(&network, 70, true, &mut rng(4));
    for kind in KINDS.into_iter().chain([AttackKind::Universal]) {
        let run = |threads: usize, block: usize| {
            let options = AttackOptions { steps: 15, block, ..AttackOptions::new(kind, Property::Label) };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| attack(&network, &set, &data, options))
        };
        // All descents of few samples are searched side by side, those of many in turn.
        let one = run(1, 64);
        for (threads, block) in [(1, 3), (2, 16), (3, 64), (8, 64)] {
            assert_eq!(run(threads, block), one, "{}: {threads}, {block}", kind.name());
        }
    }
}

#[test]
fn stopping_early_changes_no_verdict_for_the_worse() {
    let network = Blueprint::new(&[6, 9, 7, 4], Activation::Relu, 9).build();
    let set = resolved(&network, Kind::Absolute, 0.015);
    let data = data(&network, 70, true, &mut rng(4));
    for kind in [AttackKind::NeuronSpace, AttackKind::WeightSpace] {
        let options = AttackOptions::new(kind, Property::Label);
        let whole = attack(&network, &set, &data, options.clone());
        let early = attack(&network, &set, &data, AttackOptions { stop_when_broken: true, ..options });
        let broken =
            |found: &[SampleAttack]| found.iter().filter(|f| f.verdict == Verdict::Falsified).count();
        assert!(broken(&whole) > 10 && broken(&whole) < 60, "{}", broken(&whole));
        assert_eq!(broken(&whole), broken(&early), "{}", kind.name());
        assert!(mean(&whole) < mean(&early));
    }
}

#[test]
fn nothing_moves_at_radius_zero() {
    let network = Blueprint::new(&[4, 6, 3], Activation::Relu, 1).build();
    let set = resolved(&network, Kind::Absolute, 0.0);
    let data = data(&network, 5, true, &mut rng(1));
    for kind in KINDS.into_iter().chain([AttackKind::Universal]) {
        for found in attack(&network, &set, &data, AttackOptions::new(kind, Property::Label)) {
            assert_eq!(found.worst_margin, found.clean.margin, "{}", kind.name());
            assert_eq!((found.verdict, found.reason), (Verdict::Unknown, Some(Reason::NotBroken)));
        }
    }
}

#[test]
fn a_wrong_label_is_falsified_by_the_unperturbed_network() {
    let network = Blueprint::new(&[4, 6, 3], Activation::Relu, 1).build();
    let set = resolved(&network, Kind::Absolute, 0.01);
    let (inputs, labels) = data(&network, 5, true, &mut rng(1));
    let wrong = (inputs, labels.iter().map(|l| (l + 1) % 3).collect());
    for found in attack(&network, &set, &wrong, AttackOptions::new(AttackKind::NeuronSpace, Property::Label))
    {
        assert_eq!((found.verdict, found.reason), (Verdict::Falsified, Some(Reason::Misclassified)));
        assert!(found.worst_margin < found.clean.margin);
    }
}

#[test]
fn radii_that_overflow_give_no_information_and_no_panic() {
    let network = Blueprint::new(&[4, 6, 5, 3], Activation::Relu, 1).build();
    let data = data(&network, 3, true, &mut rng(1));
    for (kind, radius) in
        [(Kind::Absolute, 1e30), (Kind::Absolute, 1e200), (Kind::Frobenius, 1e300), (Kind::RowBall, 1e300)]
    {
        let set = resolved(&network, kind, radius);
        for kind in KINDS.into_iter().chain([AttackKind::Universal]) {
            for precision in [Precision::F32, Precision::F64] {
                let options =
                    AttackOptions { steps: 8, precision, ..AttackOptions::new(kind, Property::Label) };
                for found in attack(&network, &set, &data, options) {
                    assert!(found.worst_margin <= found.clean.margin, "{}", kind.name());
                    assert_eq!(found.verdict == Verdict::Falsified, found.worst_margin <= 0.0);
                }
            }
        }
    }
}

#[test]
fn one_output_can_deviate_but_has_no_rivals() {
    let network = Blueprint::new(&[3, 4, 1], Activation::Tanh, 1).build();
    let set = resolved(&network, Kind::Absolute, 0.1);
    let data = (vec![0.1, 0.5, 0.9], vec![0]);
    for kind in KINDS {
        let found = attack(&network, &set, &data, AttackOptions::new(kind, Property::Label));
        assert_eq!((found[0].worst_margin, found[0].verdict), (f64::INFINITY, Verdict::Unknown));
        let options = AttackOptions { tolerance: 0.01, ..AttackOptions::new(kind, Property::Deviation) };
        let found = attack(&network, &set, &data, options);
        assert!(found[0].deviation.unwrap() > 0.0 && found[0].runner_up == 0, "{}", kind.name());
    }
}

#[test]
fn names_are_read_as_they_are_written() {
    for kind in KINDS.into_iter().chain([AttackKind::Universal, AttackKind::Random(Distribution::Gaussian)]) {
        assert_eq!(kind.name().parse::<AttackKind>(), Ok(kind));
    }
    assert!("pgd-5".parse::<AttackKind>().is_err());
}
