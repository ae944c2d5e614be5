//! Branch and bound against the mixed-integer oracle (theory.md §13.4): two solvers that share the question, and no bound, box or
//! row, give one minimum.
#![cfg(feature = "milp")]

use std::time::Duration;
use weightproof::certify::CertifyOptions;
use weightproof::exact::oracle::{Judge, Judgement, OracleOptions, Outcome, minimum};
use weightproof::exact::{Budget, ExactCertifier, ExactOptions};
use weightproof::network::{Activation, Network};
use weightproof::property::{Property, SpecRow};
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};
use weightproof::verdict::{Precision, Samples, Verdict};
use weightproof_testkit::networks::{Blueprint, Design, input, rng};

/// What is left between bound and found margin.
const GAP: f64 = 1e-4;
/// What the solver's tolerances make of a margin.
const SOLVER: f64 = 1e-6;

fn boxes(network: &Network) -> Vec<(&'static str, PerturbationSet)> {
    let threats = [
        ("absolute", ThreatModel::new(Kind::Absolute, 0.15)),
        ("relative", ThreatModel::new(Kind::Relative, 0.3)),
        ("per-channel", ThreatModel::new(Kind::PerChannel, 0.15)),
        ("own bias radius", ThreatModel { bias_radius: Some(0.2), ..ThreatModel::new(Kind::Absolute, 0.1) }),
        ("joint input", ThreatModel { input_radius: 0.1, ..ThreatModel::new(Kind::Absolute, 0.1) }),
        ("activations", ThreatModel { activation_radius: 0.03, ..ThreatModel::new(Kind::Absolute, 0.1) }),
    ];
    threats.into_iter().map(|(name, threat)| (name, threat.resolve(network).unwrap())).collect()
}

#[test]
fn branch_and_bound_is_the_oracle() {
    for seed in 0..40 {
        let network = Blueprint::new(&[2, 4, 3, 2], Activation::Relu, seed).build();
        let x = input(2, true, &mut rng(seed));
        for (name, set) in boxes(&network) {
            let certify =
                CertifyOptions { precision: Precision::F64, ..CertifyOptions::new("exact", Property::Label) };
            let budget = Budget { nodes: Some(4000), ..Budget::default() };
            let options = ExactOptions { gap: Some(GAP), budget, ..ExactOptions::new(certify) };
            let certifier = ExactCertifier::new(&network, std::slice::from_ref(&set), options);
            let found =
                certifier.certify(Samples { first: 0, inputs: &x, labels: Some(&[0]) }).remove(0).remove(0);
            let (bound, worst) = (found.certificate.margin_lower, found.worst_margin);
            let answer =
                minimum(&network, &set, &x, SpecRow::difference(0, 1), &OracleOptions::default()).unwrap();
            assert_eq!(answer.outcome, Outcome::Optimal);
            let told = format!("{seed} {name}: bound {bound}, found {worst}, oracle {}", answer.lower);
            assert!(bound <= answer.lower + SOLVER, "{told}");
            assert!(worst >= answer.lower - SOLVER, "{told}");
            assert!(worst - bound <= GAP + SOLVER, "{told}");
        }
    }
}

/// The judge sees the sign of the oracle's minimum, whatever breaks the property is checked, and no time is no answer.
#[test]
fn the_judge_sees_the_sign() {
    let (mut proved, mut broken) = (0, 0);
    for seed in 0..40 {
        let network = Blueprint::new(&[2, 4, 3, 2], Activation::Relu, seed).build();
        let x = input(2, true, &mut rng(seed));
        let clean = network.forward(&x);
        let target = usize::from(clean[1] > clean[0]);
        for (name, set) in boxes(&network) {
            let row = SpecRow::difference(target, 1 - target);
            let least = minimum(&network, &set, &x, row, &OracleOptions::default()).unwrap().upper;
            let judge = |time| {
                let options = OracleOptions { time, ..OracleOptions::default() };
                Judge::new(&network, &set, Property::Label, options).settle(&x, Some(target as u32)).unwrap()
            };
            match judge(None) {
                Judgement::Proved => assert!(least > -1e-6, "{seed} {name} {least}"),
                Judgement::Broken(found) => {
                    assert!(least < 1e-6 && found.worst_margin <= 0.0, "{seed} {name} {least}");
                    broken += 1;
                    assert_eq!(judge(Some(Duration::ZERO)), Judgement::Open);
                }
                Judgement::Open => assert!(least.abs() < 1e-4, "{seed} {name} {least}"),
            }
            proved += usize::from(least > 1e-4);
        }
    }
    assert!(proved > 20 && broken > 20, "both verdicts occur: {proved} {broken}");
}

/// What the search proves the judge does not break, and what it breaks the judge does not prove. The judge sees every rival and
/// takes nothing from the search, so this alone notices a linear bound that is too high.
#[test]
fn the_judge_contradicts_no_search() {
    let (mut proved, mut broken) = (0, 0);
    for seed in 0..40 {
        let network = Blueprint::new(&[2, 4, 3, 3], Activation::Relu, seed).build();
        let x = input(2, true, &mut rng(seed));
        for (name, set) in boxes(&network) {
            let options = ExactOptions::new(CertifyOptions::new("exact", Property::Prediction));
            let certifier = ExactCertifier::new(&network, std::slice::from_ref(&set), options);
            let found = certifier.certify(Samples { first: 0, inputs: &x, labels: None }).remove(0).remove(0);
            let judge = Judge::new(&network, &set, Property::Prediction, OracleOptions::default());
            let told = format!(
                "{seed} {name}: margin from {} to {}",
                found.certificate.margin_lower, found.worst_margin
            );
            match (found.certificate.verdict, judge.settle(&x, None).unwrap()) {
                (Verdict::Verified, judged) => {
                    assert!(!matches!(judged, Judgement::Broken(_)), "{told}");
                    proved += usize::from(judged == Judgement::Proved);
                }
                (Verdict::Falsified, judged) => {
                    assert!(judged != Judgement::Proved, "{told}");
                    broken += usize::from(judged != Judgement::Open);
                }
                (Verdict::Unknown, _) => {}
            }
        }
    }
    assert!(proved > 20 && broken > 20, "both verdicts occur: {proved} {broken}");
}
