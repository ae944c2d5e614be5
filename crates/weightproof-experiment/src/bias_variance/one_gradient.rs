//! Attacks by the gradients that they need: those of `attack --attack one-gradient|fgsm|pgd` ([`weightproof::attack`]).
//!
//! They move an input, which stays in [0, 1], or all weights and biases, a Ŵ for each sample. Only samples count that the network is right
//! about.

use super::cell;
use crate::lab::{Record, mean};
use crate::measure::largest_change;
use crate::table::{Cell, Column, Table, Unit};
use weightproof::attack::{AttackKind, AttackOptions, Attacker, SampleAttack};
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};
use weightproof::verdict::{Verdict, Worth};
use weightproof_train::Labelled;

/// Radii of inputs and weights.
const INPUT: [f64; 2] = [0.02, 0.05];
const WEIGHT: [f64; 2] = [0.002, 0.005];

/// An attack: name, kind, and steps of PGD.
const ATTACKS: [(&str, AttackKind, usize); 4] = [
    ("one-gradient", AttackKind::OneGradient, 1),
    ("fgsm", AttackKind::Fgsm, 1),
    ("pgd-5", AttackKind::Pgd, 5),
    ("pgd-20", AttackKind::Pgd, 20),
];

fn key(what: &str, attack: &str, moved: &str, radius: f64) -> String {
    format!("{what}-{attack}-{moved}-{radius}")
}

/// Keeps the share of the samples that each attack breaks, the gradients it takes for one, and how far it goes.
pub(super) fn measure(network: &Network, samples: &Labelled, record: &mut Record) {
    let wide = samples.wide();
    for (moved, radii) in [("input", INPUT), ("weight", WEIGHT)] {
        for radius in radii {
            let (inputs, weights) = if moved == "input" { (radius, 0.0) } else { (0.0, radius) };
            let threat = ThreatModel { input_radius: inputs, ..ThreatModel::new(Kind::Absolute, weights) };
            let set = threat.resolve(network).expect("finite radii of all layers fit every network");
            let set = PerturbationSet { input_range: Some((0.0, 1.0)), ..set };
            for (name, kind, steps) in ATTACKS {
                let options = AttackOptions { steps, ..AttackOptions::new(kind, Property::Label) };
                let attacker = Attacker::new(network, &set, options);
                let found = attacker.attack(samples.samples(&wide));
                let right = found.iter().zip(wide.chunks_exact(samples.width));
                let right: Vec<_> = right.filter(|(found, _)| found.gradients != Some(0)).collect();
                let mean = |of: &dyn Fn(&SampleAttack, &[f64]) -> f64| {
                    right.iter().map(|(found, x)| of(found, x)).sum::<f64>() / right.len() as f64
                };
                let broken = |found: &SampleAttack, _: &[f64]| {
                    f64::from(u8::from(found.verdict == Verdict::Falsified))
                };
                let size = |found: &SampleAttack, x: &[f64]| {
                    let witness = found.witness.as_ref().map(|witness| attacker.witness(x, witness));
                    witness.map_or(0.0, |witness| largest_change(network, x, &witness) / radius)
                };
                record.set(&key("success", name, moved, radius), mean(&broken));
                record.set(
                    &key("gradients", name, moved, radius),
                    mean(&|found, _| found.gradients.unwrap_or(0) as f64),
                );
                record.set(&key("size", name, moved, radius), mean(&size));
            }
        }
    }
}

pub(super) fn table(kinds: &[Vec<&Record>]) -> Table {
    let number = |name: &str, head: &str| Column::new(name, head, Unit::Number, Worth::Measured);
    let columns = vec![
        Column::words("ensemble"),
        Column::words("attacked"),
        Column::setting("radius", "radius"),
        Column::words("attack"),
        Column::found("success", "broken"),
        number("gradients", "gradients for a sample"),
        number("size", "largest change / radius"),
    ];
    let caption = "One network of each ensemble: share of the samples it is right about that an attack breaks, and the gradients that it takes. Mean \
                   over seeds.";
    let mut table = Table::new("attacks", caption, columns);
    for kind in kinds {
        for (moved, radii) in [("input", INPUT), ("weight", WEIGHT)] {
            for radius in radii {
                for (name, ..) in ATTACKS {
                    let mut row =
                        vec![kind[0].group.as_str().into(), moved.into(), radius.into(), name.into()];
                    row.extend(
                        ["success", "gradients", "size"]
                            .map(|what| cell(kind, &key(what, name, moved, radius))),
                    );
                    table.push(row as Vec<Cell>);
                }
            }
        }
    }
    table
}

pub(super) fn finding(kinds: &[Vec<&Record>]) -> Vec<String> {
    let Some(wide) = kinds.iter().find(|kind| kind[0].group == "wide") else { return Vec::new() };
    [("input", INPUT[1]), ("weight", WEIGHT[1])]
        .map(|(moved, radius)| {
            let share = |attack: &str| 100.0 * mean(wide, &key("success", attack, moved, radius));
            let gradients = mean(wide, &key("gradients", "pgd-20", moved, radius));
            format!(
                "wide, {moved}s by {radius}: one gradient breaks {:.1}%, FGSM {:.1}%, PGD with {gradients:.1} gradients {:.1}%.",
                share("one-gradient"),
                share("fgsm"),
                share("pgd-20"),
            )
        })
        .into()
}
