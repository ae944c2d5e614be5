//! Rigorous bounds against exact arithmetic (theory.md §12, §13).
//!
//! `WEIGHTPROOF_CASES=100000 cargo test -p weightproof --test core rounding:: -- --nocapture` runs as many cases as it says, and prints
//! how often bounds of `real-arithmetic` are wrong on them.

use num_traits::Signed;
use std::collections::BTreeMap;
use weightproof::attack::{AttackKind, AttackOptions, Attacker, CompactWitness};
use weightproof::bounds::METHODS;
use weightproof::certify::CertifyOptions;
use weightproof::exact::{Budget, ExactCertifier, ExactOptions};
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{Activation, Network, NetworkBuilder, Scale};
use weightproof::property::Property;
use weightproof::threat::{Kind, PerturbationSet, ThreatModel, WeightSet};
use weightproof::verdict::{Guarantee, Precision, Reason, Samples, Verdict};
use weightproof_testkit::cancelling::{Case, TRICKS, bias, case, margin, set, weight};
use weightproof_testkit::dyadic::{Dyadic, forward};
use weightproof_testkit::networks::{Blueprint, Design, input, rng};
use weightproof_testkit::reference::{Boxes, Number, Rational, Reference, near};
use weightproof_testkit::suite::certificates;
use weightproof_testkit::threats;

/// Cases of each trick when the environment does not say.
const CASES: u64 = 60;
/// Vertices of each set whose margin is computed exactly.
const VERTICES: usize = 3;

fn cases() -> u64 {
    let asked = std::env::var("WEIGHTPROOF_CASES").ok().map(|n| n.parse::<u64>().expect("a number"));
    asked.map_or(CASES, |n| n.div_ceil(TRICKS.len() as u64))
}

/// The margin of class 0 at a point of the set, in exact arithmetic: at its centre for `pick` 0, else at a random vertex of its
/// boxes, or with one weight of a ball at its end.
fn exact_at(network: &Network, set: &PerturbationSet, x: &[f64], pick: usize, seed: u64) -> Dyadic {
    let sign = |node: usize, i: usize, j: usize| {
        let mixed = (seed ^ 0x9e37_79b9)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add((node as u64) << 40 ^ (i as u64) << 20 ^ j as u64 ^ (pick as u64) << 56);
        if (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 63 == 0 { 1.0 } else { -1.0 }
    };
    let moved = |value: Dyadic, radius: f64, sign: f64| {
        if pick == 0 { value } else { &value + &(&Dyadic::new(radius) * &Dyadic::new(sign)) }
    };
    let outputs = forward(
        network,
        x,
        |n, i, j| {
            let layer = set.layer(n).expect("a set of the layer");
            let radius = match &layer.weight {
                WeightSet::Ball(r) if (i, j) == (0, 0) => *r,
                WeightSet::RowBalls(rows)
                    if j == i % network.nodes()[n].layer.affine().expect("affine").weight.cols() =>
                {
                    rows[i]
                }
                WeightSet::Ball(_) | WeightSet::RowBalls(_) | WeightSet::Fixed => 0.0,
                WeightSet::Rows(_) | WeightSet::Entries(_) => layer.weight.box_radius(i, j),
            };
            moved(weight(network, n, i, j), radius, sign(n, i, j))
        },
        |n, i| {
            moved(bias(network, n, i), set.layer(n).expect("a set of the layer").bias[i], sign(n, i, 1 << 19))
        },
    );
    margin(&outputs)
}

/// No bound of any method and precision is above the margin in exact arithmetic, at the centre of the set or at its vertices.
#[test]
fn no_bound_is_above_an_exact_margin() {
    let mut wrong: BTreeMap<String, usize> = BTreeMap::new();
    let (mut checked, mut verified) = (0, 0);
    for trick in TRICKS {
        for seed in 0..cases() {
            let Case { network, x } = case(trick, seed);
            let set = set(trick, &network, seed);
            let margins: Vec<Dyadic> =
                (0..=VERTICES).map(|pick| exact_at(&network, &set, &x, pick, seed)).collect();
            let least = margins.into_iter().min().expect("a margin");
            for info in METHODS {
                for precision in [Precision::F32, Precision::F64] {
                    for guarantee in [Guarantee::Rigorous, Guarantee::RealArithmetic] {
                        let options = CertifyOptions {
                            precision,
                            guarantee,
                            ..CertifyOptions::new(info.name, Property::Label)
                        };
                        let found = certificates(&network, &set, &x, 0, &options);
                        let bound = found.margin_lower;
                        assert!(!bound.is_nan() && bound < f64::INFINITY, "{trick:?} {seed} {}", info.name);
                        let is_above = bound > f64::NEG_INFINITY && Dyadic::new(bound) > least;
                        let is_false =
                            found.verdict == Verdict::Verified && (least.is_negative() || least.is_zero());
                        if guarantee == Guarantee::RealArithmetic {
                            let name = format!("{trick:?} {}", precision.name());
                            *wrong.entry(name).or_default() += usize::from(is_false);
                            continue;
                        }
                        checked += 1;
                        verified += usize::from(found.verdict == Verdict::Verified);
                        assert!(
                            !is_above && !is_false,
                            "{trick:?} {seed} {} {}: bound {bound} above the exact margin {}, {:?}",
                            info.name,
                            precision.name(),
                            least.near(),
                            found.verdict
                        );
                        let misclassified = found.reason == Some(Reason::Misclassified);
                        let clean = exact_at(&network, &set, &x, 0, seed);
                        assert!(
                            !misclassified || clean.is_negative() || clean.is_zero(),
                            "{trick:?} {seed}: misclassified with margin {}",
                            clean.near()
                        );
                    }
                }
            }
        }
    }
    println!("{checked} rigorous bounds, {verified} of them verified, none wrong");
    println!("false `verified` of real-arithmetic: {wrong:?}");
    assert!(wrong.values().sum::<usize>() > 0, "the cases fool bounds that neglect rounding");
}

/// The same bound without any rounding, in fractions: rigorous ones are not above it, and not far below.
#[test]
fn rigorous_bounds_are_the_exact_ones_but_for_their_charge() {
    let mut below: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for seed in 0..cases().div_ceil(15) {
        let network = Blueprint::new(&[4, 7, 6, 6, 3], Activation::Relu, seed).build();
        let x: Vec<f64> = input(4, seed % 2 == 0, &mut rng(seed));
        for (name, set) in threats::sets(&network) {
            let moves = set.input_radius > 0.0 || set.activation_radius > 0.0;
            // Layers that stay let a pass end earlier than the definition does.
            if moves || set.layers.iter().any(|l| l.weight.is_ball() || l.is_zero()) {
                continue;
            }
            let intervals = Reference::<Rational>::new(&network, &set, &x, Boxes::Interval);
            let exact = [
                ("norm-product", intervals.norm_margin(1)),
                ("interval", intervals.interval_margin(1)),
                ("linear-interval", intervals.margin_lower(1)),
                ("linear", Reference::<Rational>::new(&network, &set, &x, Boxes::Linear).margin_lower(1)),
            ];
            for (method, exact) in exact {
                for precision in [Precision::F32, Precision::F64] {
                    let options =
                        CertifyOptions { precision, ..CertifyOptions::new(method, Property::Label) };
                    let found = certificates(&network, &set, &x, 1, &options).margin_lower;
                    let gap = &exact - <Rational as Number>::new(found);
                    let (is_above, gap) = (gap.is_negative(), near(&gap));
                    assert!(
                        !is_above,
                        "{method} {name} {seed} {}: above the exact bound by {}",
                        precision.name(),
                        -gap
                    );
                    below
                        .entry((method, precision.name()))
                        .or_default()
                        .push(gap / (1.0 + near(&exact).abs()));
                }
            }
        }
    }
    for ((method, precision), mut gaps) in below {
        gaps.sort_by(f64::total_cmp);
        let (median, largest) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
        println!(
            "{method} {precision}: below the exact bound by {median:.1e} of 1 + its size in the median, at most {largest:.1e}"
        );
        assert!(largest < if precision == "f32" { 2e-4 } else { 1e-12 }, "{method} {precision}: {largest}");
    }
}

/// What branch and bound says holds in exact arithmetic: bounds, and the margins of witnesses.
#[test]
fn no_verdict_of_a_search_is_wrong_in_exact_arithmetic() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for trick in TRICKS {
        for seed in 0..cases().div_ceil(4) {
            let Case { network, x } = case(trick, seed);
            let mut set = set(trick, &network, seed);
            if set.layers.iter().any(|layer| layer.weight.is_ball()) {
                set = ThreatModel::new(Kind::Relative, 1e-9).resolve(&network).expect("a set");
            }
            for precision in [Precision::F32, Precision::F64] {
                let certify = CertifyOptions { precision, ..CertifyOptions::new("linear", Property::Label) };
                let budget = Budget { nodes: Some(60), ..Budget::default() };
                let options = ExactOptions { budget, ..ExactOptions::new(certify) };
                let certifier = ExactCertifier::new(&network, std::slice::from_ref(&set), options);
                let samples = Samples { first: 0, inputs: &x, labels: Some(&[0]) };
                let found = certifier.certify(samples).remove(0).remove(0);
                let least = (0..=VERTICES)
                    .map(|pick| exact_at(&network, &set, &x, pick, seed))
                    .min()
                    .expect("a margin");
                let clean = exact_at(&network, &set, &x, 0, seed);
                let options = AttackOptions {
                    steps: 4,
                    ..AttackOptions::new(AttackKind::NeuronSpace, Property::Label)
                };
                let attacked = Attacker::new(&network, &set, options).attack(samples).remove(0);
                assert!(
                    attacked.reason != Some(Reason::Misclassified) || clean.is_negative() || clean.is_zero(),
                    "{trick:?} {seed}: misclassified with margin {}",
                    clean.near()
                );
                let bound = found.certificate.margin_lower;
                *counts
                    .entry(match found.certificate.verdict {
                        Verdict::Verified => "verified",
                        Verdict::Falsified => "falsified",
                        Verdict::Unknown => "unknown",
                    })
                    .or_default() += 1;
                assert!(
                    bound == f64::NEG_INFINITY || Dyadic::new(bound) <= least,
                    "{trick:?} {seed}: bound {bound} above {}",
                    least.near()
                );
                let attacked = found.certificate.reason == Some(Reason::Attacked);
                if let (true, Some(witness)) = (attacked, &found.witness) {
                    let worst = witnessed(&certifier, &network, &x, witness);
                    assert!(
                        worst.is_negative() || worst.is_zero(),
                        "{trick:?} {seed}: the witness has margin {}",
                        worst.near()
                    );
                }
            }
        }
    }
    println!("{counts:?}");
}

/// The margin of a witness in exact arithmetic.
fn witnessed(
    certifier: &ExactCertifier<'_>,
    network: &Network,
    x: &[f64],
    witness: &CompactWitness,
) -> Dyadic {
    let found = certifier.witness(0, x, witness);
    let layer = |n: usize| found.layers.iter().find(|layer| layer.node == n);
    let outputs = forward(
        network,
        found.input.as_deref().unwrap_or(x),
        |n, i, j| layer(n).map_or_else(|| weight(network, n, i, j), |l| Dyadic::new(l.weight[(i, j)])),
        |n, i| layer(n).map_or_else(|| bias(network, n, i), |l| Dyadic::new(l.bias[i])),
    );
    margin(&outputs)
}

/// What a convolution reads is fixed, but only known up to what a scaling in f64 lost: its weight moves far, and takes that from the
/// bound, too.
#[test]
fn what_a_fixed_node_lost_is_charged_to_the_weights_that_meet_it() {
    let mut random = rng(5);
    let mut is_tight = 0;
    for _ in 0..40 {
        let x = input(4, false, &mut random);
        let factor: Vec<f64> = input(4, false, &mut random).iter().map(|v| 1e9 * (1.0 + v)).collect();
        let shift = factor.iter().zip(&x).map(|(f, x)| 0.5 - f * x).collect();
        let mut builder = NetworkBuilder::new(vec![1, 2, 2]);
        let scaled = builder.scale("scaled", 0, Scale::new(factor, shift)).expect("valid");
        let window = Window::new([1, 2, 2], 1, [1, 1]);
        let kernel = Matrix::from_vec(1, 1, vec![0.01]);
        let conv = builder.conv("conv", scaled, kernel, Vec::new(), window).expect("valid");
        let flat = builder.reshape("flat", conv, vec![4]).expect("valid");
        let last = Matrix::from_vec(2, 4, input(8, false, &mut random));
        let last = builder.dense("last", flat, last, Vec::new()).expect("valid");
        builder.activation("identity", last, Activation::LeakyRelu { slope: 1.0 }).expect("valid");
        let network = builder.finish().expect("valid");
        let mut threat = ThreatModel::new(Kind::Absolute, 10.0);
        threat.layers = Some(vec!["conv".into()]);
        let set = threat.resolve(&network).expect("a set");
        let at = |moved: f64| {
            let own = |n, i, j| &weight(&network, n, i, j) + &Dyadic::new(if n == 2 { moved } else { 0.0 });
            margin(&forward(&network, &x, own, |n, i| bias(&network, n, i)))
        };
        let least = at(10.0).min(at(-10.0));
        for method in ["interval", "linear"] {
            let options =
                CertifyOptions { precision: Precision::F64, ..CertifyOptions::new(method, Property::Label) };
            let bound = certificates(&network, &set, &x, 0, &options).margin_lower;
            assert!(Dyadic::new(bound) <= least, "{method}: {bound} above {}", least.near());
            is_tight += usize::from(bound > least.near() - 1e-4);
        }
    }
    assert!(is_tight >= 40, "bounds of one method are exact but for charges: {is_tight}");
}

/// Products of 3e38 stay in the range of fp32 and cancel, but accumulators hold their sums on the way.
#[test]
fn partial_sums_of_a_number_format_stay_in_the_range_of_its_accumulators() {
    let network = |large: f64| {
        let mut builder = NetworkBuilder::new(vec![4]);
        let weight = Matrix::from_vec(2, 4, vec![large, large, -large, -large, 1.0, 0.0, 0.0, 0.0]);
        let dense = builder.dense("dense", 0, weight, Vec::new()).expect("valid");
        builder.activation("relu", dense, Activation::Relu).expect("valid");
        builder.finish().expect("valid")
    };
    let reason = |large: f64| {
        let network = network(large);
        let threat = ThreatModel::new("format:bf16".parse::<Kind>().expect("a kind"), None);
        let set = threat.resolve(&network).expect("a set");
        let options =
            CertifyOptions { precision: Precision::F64, ..CertifyOptions::new("linear", Property::Label) };
        certificates(&network, &set, &[1.0; 4], 1, &options).reason
    };
    assert_eq!(reason(3e38), Some(Reason::FormatRange));
    assert_eq!(reason(3e30), Some(Reason::BoundTooLoose));
}
