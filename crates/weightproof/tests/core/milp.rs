//! The mixed-integer oracle against enumeration, sampled and attacked points, and every bound (theory.md §13).
#![cfg(feature = "milp")]

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::time::Duration;
use weightproof::attack::{AttackKind, AttackOptions, Attacker};
use weightproof::bounds::METHODS;
use weightproof::certify::CertifyOptions;
use weightproof::exact::oracle::{Answer, OracleError, OracleOptions, Outcome, minimum};
use weightproof::network::{Activation, Layer, Network};
use weightproof::property::{Property, SpecRow};
use weightproof::threat::{
    ActivationOffsets, Kind, LayerPerturbation, Perturbation, PerturbationSet, ThreatModel, WeightSet,
};
use weightproof::verdict::{Precision, Samples};
use weightproof_testkit::images::{ImageBlueprint, PIECES};
use weightproof_testkit::networks::{Blueprint, Design, arbitrary, input, rng};
use weightproof_testkit::one_convolution::per_use;
use weightproof_testkit::oracle::{coordinate_search, margin, sampled_outputs, vertex_minimum};
use weightproof_testkit::suite::certificates;
use weightproof_testkit::threats::sets;

/// What the solver's tolerances make of a margin, relative to the size of the outputs.
const SOLVER: f64 = 1e-6;

/// Activations that programs describe.
const PIECEWISE_LINEAR: [Activation; 5] = [
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.1 },
    Activation::LeakyRelu { slope: 1.5 },
    Activation::Clip { low: 0.0, high: 0.6 },
    Activation::SoftThreshold { lambda: 0.2 },
];

const EXACT: OracleOptions = OracleOptions { time: None, relaxed: false, seed: 0 };

/// Whether every layer moves in a box.
fn is_box(set: &PerturbationSet) -> bool {
    !set.layers.iter().any(|l| l.weight.is_ball())
}

/// The answer of the rival with the least margin, and the rival; `None` where a number format overflows.
fn least(
    network: &Network,
    set: &PerturbationSet,
    x: &[f64],
    target: usize,
    options: &OracleOptions,
) -> Result<Option<(Answer, usize)>, OracleError> {
    let mut least: Option<(Answer, usize)> = None;
    for rival in (0..network.output_width()).filter(|&j| j != target) {
        match minimum(network, set, x, SpecRow::difference(target, rival), options) {
            Ok(answer) if least.as_ref().is_some_and(|(best, _)| best.lower <= answer.lower) => {}
            Ok(answer) => least = Some((answer, rival)),
            Err(OracleError::Void(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(least)
}

/// The perturbation that takes a dense network to the values of a point: t_i of theory.md §7 from
/// `p_i = W_i z + b_i + t_i (E_i |z| + e_i)`, then `Δ_ij = t_i E_ij sign(z_j)`.
fn realised(network: &Network, set: &PerturbationSet, point: &[Vec<f64>]) -> Perturbation {
    let layers = network.affine_layers().map(|(node, place, dense)| {
        let (z, radii) = (&point[place.inputs[0]], set.layer(node).unwrap());
        let (mut weight, mut bias) = (dense.weight.clone(), dense.bias.clone());
        for (i, p) in point[node].iter().enumerate() {
            let reach = z.iter().enumerate().map(|(j, z)| radii.weight.at(i, j) * z.abs()).sum::<f64>()
                + radii.bias[i];
            let moved = p - dense.apply(z)[i];
            assert!(moved.abs() <= reach + SOLVER, "neuron {i} of {}: {moved} {reach}", place.name);
            let t = if reach > 0.0 { (moved / reach).clamp(-1.0, 1.0) } else { 0.0 };
            bias[i] += t * radii.bias[i];
            for (j, z) in z.iter().enumerate() {
                weight[(i, j)] += t * radii.weight.at(i, j) * if *z < 0.0 { -1.0 } else { 1.0 };
            }
        }
        LayerPerturbation { node, weight, bias }
    });
    let mut perturbation =
        Perturbation { layers: layers.collect(), input: Some(point[0].clone()), activations: Vec::new() };
    for (node, place) in network.nodes().iter().enumerate() {
        if let Layer::Activation(f) = place.layer {
            let radius = set.activation_radius;
            let values = point[node].iter().zip(&point[place.inputs[0]]);
            let offset = values.map(|(z, p)| (z - f.apply(*p)).clamp(-radius, radius)).collect();
            perturbation.activations.push(ActivationOffsets { node, offset });
        }
    }
    perturbation
}

/// The oracle is below every point that is found, above every bound, and its own point exists when `dense`.
fn contradiction(network: &Network, set: &PerturbationSet, x: &[f64], dense: bool) -> Result<usize, String> {
    let mut random = rng(9);
    let clean = network.forward(x);
    let target = (0..clean.len()).max_by(|&a, &b| clean[a].total_cmp(&clean[b])).unwrap();
    let (answer, rival) = match least(network, set, x, target, &EXACT) {
        Ok(Some(found)) => found,
        Ok(None) | Err(OracleError::Program(_)) => return Ok(0),
        Err(error) => return Err(error.to_string()),
    };
    let outputs = sampled_outputs(network, set, x, 20, &mut random);
    let size = 1.0 + clean.iter().chain(outputs.iter().flatten()).fold(0.0, |m: f64, v| m.max(v.abs()));
    let slack = SOLVER * size;
    if !(answer.outcome == Outcome::Optimal && (answer.upper - answer.lower).abs() < slack) {
        return Err(format!("not solved: {:?} {} {}", answer.outcome, answer.lower, answer.upper));
    }
    let attack = AttackOptions {
        steps: 20,
        restarts: 2,
        precision: Precision::F64,
        ..AttackOptions::new(AttackKind::NeuronSpace, Property::Label)
    };
    let labels = [target as u32];
    let attacked =
        Attacker::new(network, set, attack).attack(Samples { first: 0, inputs: x, labels: Some(&labels) })[0]
            .worst_margin;
    let searched = coordinate_search(network, set, x, |f| margin(f, target), &mut random);
    let found = outputs.iter().map(|f| margin(f, target)).fold(searched.min(attacked), f64::min);
    if !(answer.lower <= found + slack) {
        return Err(format!("oracle {} > found {found}", answer.lower));
    }
    for method in METHODS {
        let options =
            CertifyOptions { precision: Precision::F64, ..CertifyOptions::new(method.name, Property::Label) };
        let bound = certificates(network, set, x, labels[0], &options).margin_lower;
        if !(bound <= answer.upper + slack) {
            return Err(format!("{} {bound} > oracle {}", method.name, answer.upper));
        }
    }
    let (relaxed, _) = least(network, set, x, target, &OracleOptions { relaxed: true, ..EXACT })
        .map_err(|e| e.to_string())?
        .ok_or("void")?;
    if !(relaxed.lower <= answer.upper + slack) {
        return Err(format!("relaxed {} > {}", relaxed.lower, answer.upper));
    }
    let point = answer.point.ok_or("an optimum without a point")?;
    if dense {
        let reached = network.forward_perturbed(x, &realised(network, set, &point));
        let reached = reached[target] - reached[rival];
        if !((reached - answer.upper).abs() < slack) {
            return Err(format!("the point of {} reaches {reached}", answer.upper));
        }
    }
    Ok(1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, rng_seed: RngSeed::Fixed(2103), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_oracle_lies_between_bounds_and_points(mut blueprint in arbitrary()) {
        for (k, f) in blueprint.activations.iter_mut().enumerate() {
            if !PIECEWISE_LINEAR.contains(f) {
                *f = PIECEWISE_LINEAR[k % 2];
            }
        }
        let network = blueprint.build();
        for (name, set) in sets(&network).into_iter().filter(|(_, set)| is_box(set)) {
            let pixels = set.input_range.is_some();
            let x = input(network.input_width(), pixels, &mut rng(blueprint.seed));
            let found = contradiction(&network, &set, &x, true);
            prop_assert!(found.is_ok(), "{}: {:?}", name, found);
        }
    }
}

/// Weights, biases, inputs and activations at once, on networks with several unstable neurons in each layer.
#[test]
fn everything_moves_at_once() {
    for seed in 0..12 {
        let network = Blueprint::new(&[4, 6, 5, 3], PIECEWISE_LINEAR[seed as usize % 2], seed).build();
        for kind in [Kind::Absolute, Kind::Relative, Kind::PerChannel] {
            let threat = ThreatModel {
                bias_radius: Some(0.1),
                input_radius: 0.2,
                activation_radius: 0.03,
                ..ThreatModel::new(kind, 0.1)
            };
            let set = threat.resolve(&network).unwrap();
            let x = input(4, seed % 3 == 0, &mut rng(seed));
            assert_eq!(contradiction(&network, &set, &x, true), Ok(1), "{kind} seed {seed}");
        }
    }
}

/// One hidden layer has its least margin at a vertex: all are visited.
#[test]
fn the_oracle_equals_the_enumeration_of_vertices() {
    for seed in 0..20 {
        for activation in PIECEWISE_LINEAR {
            let network = Blueprint::new(&[2, 2, 2], activation, seed).build();
            let x = input(2, seed % 2 == 0, &mut rng(seed));
            for (kind, radius) in [(Kind::Absolute, 0.2), (Kind::Relative, 0.5), (Kind::PerChannel, 0.2)] {
                let set = ThreatModel::new(kind, radius).resolve(&network).unwrap();
                let row = SpecRow::difference(0, 1);
                let enumerated = vertex_minimum(&network, &set, &x, |f| row.apply(f));
                let found = minimum(&network, &set, &x, row, &EXACT).unwrap();
                assert!(
                    (found.lower - enumerated).abs() < SOLVER,
                    "{activation:?} {kind} {seed}: {} {enumerated}",
                    found.lower
                );
            }
        }
    }
}

/// Convolutions, pooling, residual sums and rearrangements. Methods that know that uses of a kernel move alike may
/// be above the oracle, so they are asked about the set in which each use moves on its own.
#[test]
fn convolutional_networks() {
    let mut compared = 0;
    for seed in 0..24 {
        let at = |k: usize| PIECES[(seed as usize + k) % PIECES.len()];
        let network = ImageBlueprint {
            input: [2, 3, 3],
            pieces: vec![at(0), at(3)],
            classes: 3,
            global_pool: seed % 3 == 0,
            seed,
        }
        .build();
        for kind in ["absolute", "format:fp8e4m3"] {
            let kind: Kind = kind.parse().unwrap();
            let set =
                ThreatModel::new(kind, (!kind.has_own_radius()).then_some(0.02)).resolve(&network).unwrap();
            let x = input(18, seed % 2 == 0, &mut rng(seed));
            let found = contradiction(&network, &per_use(&set), &x, false);
            compared += found.unwrap_or_else(|e| panic!("{kind} seed {seed}: {e}"));
        }
    }
    assert!(compared > 24, "most networks are piecewise linear, found {compared} of 48");
}

/// Single outputs, up and down, at radius zero and at a radius that rounding swallows.
#[test]
fn nothing_moves() {
    let network = Blueprint::new(&[3, 4, 2], Activation::Relu, 1).build();
    let x = input(3, true, &mut rng(1));
    let clean = network.forward(&x);
    for radius in [0.0, 1e-17] {
        let set = ThreatModel::new(Kind::Absolute, radius).resolve(&network).unwrap();
        for row in [SpecRow::lower(1), SpecRow::upper(0), SpecRow::difference(0, 1)] {
            let found = minimum(&network, &set, &x, row, &EXACT).unwrap();
            assert_eq!(found.outcome, Outcome::Optimal);
            assert!((found.lower - row.apply(&clean)).abs() < SOLVER);
            assert!((found.upper - row.apply(&clean)).abs() < SOLVER);
        }
    }
}

/// Running out of time leaves bounds, and is no error.
#[test]
fn time_limits_leave_bounds() {
    let network = Blueprint::new(&[8, 40, 40, 3], Activation::Relu, 2).build();
    let set = ThreatModel::new(Kind::Absolute, 0.1).resolve(&network).unwrap();
    let x = input(8, true, &mut rng(2));
    let options = OracleOptions { time: Some(Duration::ZERO), ..EXACT };
    let found = minimum(&network, &set, &x, SpecRow::difference(0, 1), &options).unwrap();
    assert_eq!(found.outcome, Outcome::TimeLimit);
    assert!(found.lower <= found.upper);
}
