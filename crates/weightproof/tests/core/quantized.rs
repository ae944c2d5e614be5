//! Certificates of quantized networks against inference in integers (theory.md §16).
//!
//! `WEIGHTPROOF_INFERENCES=1000000 cargo test -p weightproof --test core quantized` carries out that many.

use weightproof::attack::{AttackKind, AttackOptions, Attacker, in_counts};
use weightproof::network::StepRounding;
use weightproof::property::Property;
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::{Samples, Verdict};
use weightproof_testkit::emulation::emulation;
use weightproof_testkit::images::dynamic_quantizers;
use weightproof_testkit::integers::{QuantizedBlueprint, contradiction};
use weightproof_testkit::networks::{Design, input, rng};
use weightproof_testkit::oracle::margin;
use weightproof_testkit::suite::{containment, zero_radius};

/// Inferences for each network without the variable.
const DRAWS: usize = 60;

fn designs() -> Vec<QuantizedBlueprint> {
    let mut designs = Vec::new();
    for seed in 0..12 {
        for convolutional in [false, true] {
            for rounding in [StepRounding::NearestEven, StepRounding::Any] {
                for dynamic in [false, true] {
                    designs.push(QuantizedBlueprint {
                        convolutional,
                        widths: vec![6, 5, 3],
                        per_channel: seed % 2 == 0,
                        signed: seed % 3 == 0,
                        dynamic,
                        rounding,
                        seed,
                    });
                }
            }
        }
    }
    designs
}

#[test]
fn integer_inference_never_contradicts_a_certificate() {
    let designs = designs();
    let asked = std::env::var("WEIGHTPROOF_INFERENCES").ok().and_then(|n| n.parse::<usize>().ok());
    let draws = asked.map_or(DRAWS, |n| n.div_ceil(designs.len()));
    for design in &designs {
        for counts in [0, 1] {
            assert_eq!(contradiction(design, counts, draws), Ok(()));
        }
    }
}

/// Witnesses by whole counts: in the set, on the grid of every weight, and breaking the class in integers; where the forward pass in f64
/// is enclosed, it gives the same outputs.
#[test]
fn witnesses_are_made_of_whole_counts() {
    let (mut broken, mut counted) = (0, 0);
    for design in designs().iter().filter(|design| !design.dynamic) {
        let network = design.build();
        let mut rng = rng(design.seed ^ 0xc0u64);
        let x = input(network.input_width(), false, &mut rng);
        for radius in [3.0, 12.0] {
            let set = ThreatModel::new(Kind::Lsb, radius).resolve(&network).unwrap();
            let options = AttackOptions::new(AttackKind::NeuronSpace, Property::Prediction);
            let attacker = Attacker::new(&network, &set, options);
            let found = attacker.attack(Samples { first: 0, inputs: &x, labels: None }).remove(0);
            let (Verdict::Falsified, Some(witness)) = (found.verdict, &found.witness) else { continue };
            broken += 1;
            let perturbation = attacker.witness(&x, witness);
            let target = found.clean.target;
            let Some(found) = in_counts(&network, &set, &x, target, &perturbation) else { continue };
            counted += 1;
            assert_eq!(set.contains(&network, &x, &found.perturbation), Ok(()));
            for layer in &found.perturbation.layers {
                let affine = network.nodes()[layer.node].layer.affine().unwrap();
                let stored = affine.stored.as_ref().unwrap();
                for (k, (w, clean)) in
                    layer.weight.as_slice().iter().zip(affine.weight.as_slice()).enumerate()
                {
                    let count = (w - clean) / stored.step(k);
                    assert!(count == count.round() && count.abs() <= radius, "{count}");
                    let q = (w / stored.step(k)).round() as i64 + stored.zeros[stored.group(k)];
                    assert!((stored.ends().0..=stored.ends().1).contains(&q), "{q}");
                }
            }
            let outputs = network.forward_in_integers(&x, &found.perturbation.layers).unwrap();
            assert!(margin(&outputs, target) == found.margin && found.margin <= 0.0);
            let rounded = network.forward_perturbed(&x, &found.perturbation);
            let same = outputs.iter().zip(&rounded).all(|(a, b)| (a - b).abs() < 1e-9);
            assert!(same, "{outputs:?} {rounded:?}");
        }
    }
    assert!(broken >= 20 && counted * 10 >= broken * 8, "{counted} of {broken}");
}

/// The suite on networks with quantizers whose steps follow from the data.
#[test]
fn dynamic_quantizers_pass_the_suite() {
    for seed in 0..12 {
        let any = seed % 4 == 3;
        let rounding = if any { StepRounding::Any } else { StepRounding::NearestEven };
        let design = dynamic_quantizers(rounding, seed);
        assert_eq!(containment(&design, 4), Ok(()), "{design:?}");
        assert_eq!(emulation(&design), Ok(()), "{design:?}");
        if !any {
            assert_eq!(zero_radius(&design), Ok(()), "{design:?}");
        }
    }
}
