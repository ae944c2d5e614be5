//! Bias or variance: what of the loss grows under attack? And how far does one gradient go?
//!
//! Ensembles of networks that are trained on disjoint images. Their loss is split into bias and variance ([`weightproof_measure::ensemble`])
//! against the radius of attacks on inputs, and on weights. [`one_gradient`] compares attacks by the gradients that they need.
//!
//! # Source
//! arXiv 2008.00138, reconstructed; the attack with one gradient is our own stand-in for the paper's.

mod one_gradient;

use crate::lab::{Lab, Presentation, Record, replicas, spread};
use crate::measure::largest_weight;
use crate::recipe::{SIZES, plain, with_worst_case};
use crate::table::{Cell, Column, Table, Unit};
use crate::{Experiment, ExperimentError, Needs, Options};
use serde_json::{Value, json};
use weightproof::network::Network;
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::Worth;
use weightproof_figure::{Axis, Chart, Scale};
use weightproof_measure::Effort;
use weightproof_measure::ensemble::{BiasVariance, perturbed};
use weightproof_train::{Labelled, Silent, TrainConfig, Trainer};

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "bias-variance",
    summary: "Bias and variance of ensembles when inputs or weights are attacked, and attacks by the gradients that they need.",
    needs: Needs::Images,
    settings,
    train,
    present,
};

/// Radii of the inputs and of the weights.
const INPUT: [f64; 4] = [0.0, 0.02, 0.05, 0.1];
const WEIGHT: [f64; 4] = [0.0, 0.001, 0.002, 0.005];
/// Ways to train: name, hidden layers, radius of the worst case by intervals.
const ENSEMBLES: [(&str, &[usize], f64); 3] =
    [("narrow", &[32, 32], 0.0), ("wide", &[256, 256], 0.0), ("worst case by intervals", &[256, 256], 0.003)];
/// Hidden layers of all ensembles of a quick run.
const NARROW: &[usize] = &[32, 32];

/// Networks of an ensemble, images for each, test images of the splits.
fn size(options: &Options) -> [usize; 3] {
    options.pick([2, 300, 20], [4, 4000, 200])
}

fn settings(options: &Options) -> Value {
    let [networks, images, tested] = size(options);
    json!({ "input-radii": INPUT, "radii": WEIGHT, "networks": networks, "images": images, "tested": tested })
}

fn train(lab: &mut Lab<'_>) -> Result<(), ExperimentError> {
    let options = lab.options.clone();
    let [networks, images, tested] = size(&options);
    let all = lab.training_samples(usize::MAX);
    let test = lab.test_samples(tested);
    for seed in (options.seed..).take(options.seeds) {
        for (name, hidden, radius) in ENSEMBLES {
            let hidden = options.pick(NARROW, hidden);
            let title = format!("{name}, seed {seed}");
            let knobs = [("radius", radius), ("width", hidden[0] as f64)];
            lab.record(title.clone(), name, &knobs, |record, interrupted| {
                let mut ensemble = Vec::new();
                for member in 0..networks {
                    if interrupted() {
                        return Err(ExperimentError::Interrupted);
                    }
                    let config = config(&options, hidden, radius, seed + 1000 * member as u64);
                    let places: Vec<usize> = (0..images).map(|k| (member * images + k) % all.len()).collect();
                    let named = |source| ExperimentError::Train { model: title.clone(), source };
                    let mut trainer = Trainer::new(config).map_err(named)?;
                    trainer.run(&all.pick(&places), &mut Silent).map_err(named)?;
                    ensemble.push(trainer.network());
                }
                split(&ensemble, &test, seed, record);
                one_gradient::measure(&ensemble[0], &test, record);
                record.set("largest-weight", ensemble.iter().map(largest_weight).fold(0.0, f64::max));
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn config(options: &Options, hidden: &[usize], radius: f64, seed: u64) -> TrainConfig {
    let mut config = plain(options.pick(10, 20), 50, seed, 0);
    config.network.sizes = Some([&[SIZES[0]], hidden, &[SIZES[SIZES.len() - 1]]].concat());
    if radius > 0.0 { with_worst_case(config, "interval", 0.5, radius) } else { config }
}

/// Keeps bias and variance of the cross-entropy along both grids of radii.
fn split(ensemble: &[Network], test: &Labelled, seed: u64, record: &mut Record) {
    let wide = test.wide();
    let effort = Effort { seed, ..Effort::default() };
    for (moved, radii) in [("input", INPUT), ("weight", WEIGHT)] {
        let splits = radii.map(|radius| {
            let outputs = ensemble.iter().map(|network| {
                let threat = if moved == "input" {
                    ThreatModel { input_radius: radius, ..ThreatModel::new(Kind::Absolute, 0.0) }
                } else {
                    ThreatModel::new(Kind::Absolute, radius)
                };
                let set = threat.resolve(network).expect("finite radii of all layers fit every network");
                perturbed(network, &set, test.samples(&wide), effort)
            });
            BiasVariance::new(&outputs.collect::<Vec<_>>(), &test.labels).cross_entropy
        });
        record.curves.insert(format!("{moved}-loss"), splits.iter().map(|s| s.loss).collect());
        record.curves.insert(format!("{moved}-bias"), splits.iter().map(|s| s.bias).collect());
        record.curves.insert(format!("{moved}-variance"), splits.iter().map(|s| s.variance).collect());
    }
}

fn present(_: &Options, records: &[Record]) -> Presentation {
    let kinds = replicas(records);
    let number = |name: &str, head: &str| Column::new(name, head, Unit::Number, Worth::Estimate);
    let columns = vec![
        Column::words("ensemble"),
        Column::words("attacked"),
        Column::setting("radius", "radius"),
        number("loss", "loss"),
        number("bias", "bias"),
        number("variance", "variance"),
        Column::found("share", "variance / loss"),
    ];
    let caption = "Cross-entropy of ensembles, split into bias and variance, when inputs (each on its own) or weights (one Ŵ for all images) are \
                   attacked: mean over seeds.";
    let mut table = Table::new("splits", caption, columns);
    for kind in &kinds {
        for (moved, radii) in [("input", INPUT), ("weight", WEIGHT)] {
            for (k, radius) in radii.into_iter().enumerate() {
                let of = |part: &str| -> Vec<f64> {
                    kind.iter().filter_map(|r| r.curve(&format!("{moved}-{part}")).get(k).copied()).collect()
                };
                let (loss, variance) = (of("loss"), of("variance"));
                let shares: Vec<f64> = variance.iter().zip(&loss).map(|(v, l)| v / l).collect();
                let cells = [loss, of("bias"), variance, shares].map(|values| Cell::spread(&values));
                let mut row = vec![Cell::from(kind[0].group.as_str()), Cell::from(moved), Cell::from(radius)];
                row.extend(cells);
                table.push(row);
            }
        }
    }
    let plot = |moved: &str, radii: [f64; 4]| {
        let line = |kind: &Vec<&Record>, part: &str| {
            let at = |k: usize| {
                let values = kind.iter().filter_map(|r| r.curve(&format!("{moved}-{part}")).get(k));
                values.sum::<f64>() / kind.len() as f64
            };
            let points = radii.iter().enumerate().map(|(k, &r)| (r, at(k))).collect::<Vec<_>>();
            (format!("{}: {part}", kind[0].group), points)
        };
        let lines = kinds.iter().flat_map(|kind| [line(kind, "bias"), line(kind, "variance")]);
        let axes = (
            Axis::new(format!("radius of the {moved}s, absolute"), Scale::Linear),
            Axis::new("part of the cross-entropy", Scale::Linear),
        );
        Chart::of_lines(moved, format!("Bias and variance when {moved}s are attacked"), axes, lines)
    };
    let mut tables = vec![table];
    tables.push(one_gradient::table(&kinds));
    let findings = findings(&kinds);
    Presentation { tables, plots: vec![plot("input", INPUT), plot("weight", WEIGHT)], findings }
}

fn findings(kinds: &[Vec<&Record>]) -> Vec<String> {
    let mut text = Vec::new();
    for kind in kinds {
        for (moved, radii) in [("input", INPUT), ("weight", WEIGHT)] {
            let at = |part: &str, k: usize| {
                let values = kind.iter().filter_map(|r| r.curve(&format!("{moved}-{part}")).get(k));
                values.sum::<f64>() / kind.len() as f64
            };
            let last = radii.len() - 1;
            let (bias, variance) =
                (at("bias", last) - at("bias", 0), at("variance", last) - at("variance", 0));
            text.push(format!(
                "{}, {moved}s that move by {}: bias grows by {bias:.2}, variance by {variance:.2}.",
                kind[0].group, radii[last]
            ));
        }
    }
    text.extend(one_gradient::finding(kinds));
    text
}

/// A number of some records as a cell.
fn cell(kind: &[&Record], name: &str) -> Cell {
    spread(kind, name)
}
