//! Which layers move, and does it tell the generalization gap?
//!
//! Networks with five hidden layers of width 64, trained on n images of which a share of the labels is wrong. Of each layer: distance to
//! initialization, accuracy of a probe behind it, and the error when it and all later layers are set back. The gap is that of
//! [`crate::generalization_study`]: error on the distribution of the noisy labels minus training error.
//!
//! # Source
//! arXiv 2201.11939, reconstructed: the final layers' distance to initialization is said to correlate most with the gap.

use crate::generalization_study::with_wrong_labels;
use crate::lab::{Lab, Model, Presentation, Record, Subject, replicas};
use crate::rank::{Correlation, spearman};
use crate::recipe::{SIZES, plain};
use crate::table::{Cell, Column, Table, Unit};
use crate::{Experiment, ExperimentError, Needs, Options};
use serde_json::{Value, json};
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::Samples;
use weightproof::verdict::Worth;
use weightproof_figure::{Axis, Chart, Scale};
use weightproof_measure::Context;
use weightproof_measure::pac_bayes::error;
use weightproof_measure::utilization::Utilization;
use weightproof_train::{Labelled, Trainer};

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "layer-utilization",
    summary: "Distance to initialization, probes and layers that are set back, over training samples and wrong labels, against the generalization gap.",
    needs: Needs::Images,
    settings,
    train,
    present,
};

/// Hidden layers.
const HIDDEN: [usize; 5] = [64; 5];
/// Numbers that are kept of each layer: curve, head of a column.
const CURVES: [(&str, &str); 6] = [
    ("distance", "distance"),
    ("relative-distance", "relative distance"),
    ("probe-training", "probe, training"),
    ("probe-mislabelled", "probe, wrong labels"),
    ("probe-test", "probe, test"),
    ("reset-error", "error when set back"),
];

fn samples(options: &Options) -> &'static [usize] {
    options.pick(&[200, 400], &[500, 1000, 2000, 5000])
}

fn noise(options: &Options) -> &'static [f64] {
    options.pick(&[0.0, 0.2], &[0.0, 0.1, 0.2, 0.4])
}

fn epochs(options: &Options) -> usize {
    options.pick(30, 100)
}

fn settings(options: &Options) -> Value {
    json!({ "samples": samples(options), "noise": noise(options), "hidden": HIDDEN, "epochs": epochs(options) })
}

fn train(lab: &mut Lab<'_>) -> Result<(), ExperimentError> {
    let options = lab.options.clone();
    let classes = SIZES[SIZES.len() - 1];
    for seed in (options.seed..).take(options.seeds) {
        for &count in samples(&options) {
            for &noise in noise(&options) {
                let right = lab.training_samples(count);
                let wrong = with_wrong_labels(right.clone(), noise, classes as u32, seed);
                let mut config = plain(epochs(&options), 50, seed, 0);
                config.network.sizes = Some([&[SIZES[0]][..], &HIDDEN, &[classes]].concat());
                let model = Model {
                    name: format!("{count} samples, noise {noise}, seed {seed}"),
                    group: "five layers",
                    knobs: vec![("samples", count as f64), ("noise", noise)],
                    config,
                };
                lab.model_on(model, &wrong, None, |subject, record| {
                    measure(subject, &mislabelled(&right, &wrong), record)
                })?;
            }
        }
    }
    Ok(())
}

/// The samples whose labels are wrong, with these labels.
fn mislabelled(right: &Labelled, wrong: &Labelled) -> Labelled {
    let places: Vec<usize> = (0..wrong.len()).filter(|&s| right.labels[s] != wrong.labels[s]).collect();
    wrong.pick(&places)
}

fn measure(
    subject: &Subject<'_>,
    mislabelled: &Labelled,
    record: &mut Record,
) -> Result<(), ExperimentError> {
    let name = record.model.clone();
    let fail = |detail: String| ExperimentError::Measure { model: name.clone(), detail };
    let network = &subject.network;
    let initial = Trainer::new(subject.config.clone()).map_err(|e| fail(e.to_string()))?.network();
    let set =
        ThreatModel::new(Kind::Absolute, 0.0).resolve(network).expect("a radius of zero fits every network");
    let (wide, few) = (subject.train.wide(), mislabelled.wide());
    let training = subject.train.samples(&wide);
    let (test, fitted) = (error(network, subject.test.samples(subject.wide)), error(network, training));
    let (classes, noise) = (network.output_width() as f64, record.knob("noise"));
    record.set("clean", 1.0 - test);
    record.set("train-error", fitted);
    record.set("gap", (1.0 - noise) * test + noise * (1.0 - 1.0 / classes) - fitted);
    let of = |held_out: Samples<'_>| -> Result<Utilization, ExperimentError> {
        let mut context = Context::new(network, training, &set, "linear").map_err(|e| fail(e.to_string()))?;
        (context.initial, context.held_out) = (Some(&initial), Some(held_out));
        Utilization::of(&context).map_err(|e| fail(e.to_string()))
    };
    let found = of(subject.test.samples(subject.wide))?;
    let wrong = if mislabelled.is_empty() { None } else { Some(of(mislabelled.samples(&few))?) };
    let layers = &found.layers;
    let mut keep = |curve: &str, values: Vec<f64>| record.curves.insert(curve.into(), values);
    keep("distance", layers.iter().map(|l| l.distance).collect());
    keep("relative-distance", layers.iter().map(|l| l.relative_distance.unwrap_or(0.0)).collect());
    keep("probe-training", layers.iter().map(|l| l.probe_training).collect());
    keep("probe-test", layers.iter().map(|l| l.probe_held_out.unwrap_or(0.0)).collect());
    keep("reset-error", layers.iter().map(|l| l.reset_error).collect());
    if let Some(wrong) = wrong {
        keep("probe-mislabelled", wrong.layers.iter().map(|l| l.probe_held_out.unwrap_or(0.0)).collect());
    }
    Ok(())
}

/// Number of layers with weights.
const LAYERS: usize = HIDDEN.len() + 1;

/// A number of layer `k` and the gap, for each model.
fn pairs(records: &[Record], curve: &str, k: usize) -> Vec<(f64, f64)> {
    let finite = records.iter().filter(|r| r.failure.is_none());
    finite.filter_map(|r| Some((*r.curve(curve).get(k)?, r.value("gap")))).collect()
}

fn rank(records: &[Record], curve: &str, k: usize) -> f64 {
    let (values, gaps): (Vec<f64>, Vec<f64>) = pairs(records, curve, k).into_iter().unzip();
    spearman(&values, &gaps)
}

fn present(options: &Options, records: &[Record]) -> Presentation {
    let number = |name: &str, head: &str| Column::new(name, head, Unit::Number, Worth::Measured);
    let mut columns = vec![Column::setting("layer", "layer")];
    for (name, head) in &CURVES[..2] {
        columns.push(number(&format!("spearman-{name}"), &format!("Spearman, {head}")));
        columns.push(number(&format!("kendall-{name}"), &format!("Kendall, {head}")));
        columns.push(number(&format!("low-{name}"), "from"));
        columns.push(number(&format!("high-{name}"), "to"));
    }
    let caption = "Rank correlation with the generalization gap over all models; 95% of the bootstrap resamples are between from and to.";
    let mut correlations = Table::new("correlations", caption, columns);
    for k in 0..LAYERS {
        let mut row = vec![Cell::from((k + 1) as f64)];
        for (curve, _) in &CURVES[..2] {
            let kendall = Correlation::new(&pairs(records, curve, k), options.seed);
            row.extend(
                [rank(records, curve, k), kendall.tau, kendall.interval.0, kendall.interval.1]
                    .map(Cell::from),
            );
        }
        correlations.push(row);
    }
    let mut columns = vec![
        Column::setting("samples", "samples"),
        Column::setting("noise", "wrong labels"),
        Column::setting("layer", "layer"),
        Column::measured("gap", "gap"),
    ];
    columns.extend(CURVES.iter().map(|(name, head)| {
        if name.contains("distance") { number(name, head) } else { Column::measured(*name, *head) }
    }));
    let caption = "Of each layer, mean over seeds: Frobenius distance to initialization, accuracy of the nearest class mean behind \
                   it, and training error when it and all later layers are set back.";
    let mut layers = Table::new("layers", caption, columns);
    let kinds = replicas(records);
    for kind in &kinds {
        for k in 0..LAYERS {
            let gaps: Vec<f64> = kind.iter().map(|r| r.value("gap")).collect();
            let mut row =
                vec![kind[0].knob("samples").into(), kind[0].knob("noise").into(), ((k + 1) as f64).into()];
            row.push(Cell::spread(&gaps));
            row.extend(CURVES.iter().map(|(curve, _)| {
                let values: Vec<f64> = kind.iter().filter_map(|r| r.curve(curve).get(k).copied()).collect();
                Cell::spread(&values)
            }));
            layers.push(row);
        }
    }
    layers.data_only = !options.quick;
    let findings = findings(records);
    Presentation { tables: vec![correlations, layers], plots: plots(records, &kinds), findings }
}

fn plots(records: &[Record], kinds: &[Vec<&Record>]) -> Vec<Chart> {
    let layer = || Axis::new("layer", Scale::Count);
    let correlation = CURVES[..2].iter().map(|(curve, head)| {
        (
            (*head).to_owned(),
            (0..LAYERS).map(|k| ((k + 1) as f64, rank(records, curve, k))).collect::<Vec<_>>(),
        )
    });
    let ranks = Chart::of_lines(
        "correlations",
        "Rank correlation of a layer's distance to initialization with the gap".into(),
        (layer(), Axis::new("Spearman correlation", Scale::Linear)),
        correlation,
    );
    // One line for each share of wrong labels, at the largest number of samples.
    let most = kinds.iter().map(|kind| kind[0].knob("samples")).fold(0.0, f64::max);
    let curves = |curve: &'static str, title: &str, y: &str| {
        let shown = kinds.iter().filter(|kind| kind[0].knob("samples") == most);
        let lines = shown.map(|kind| {
            let at =
                |k: usize| kind.iter().filter_map(|r| r.curve(curve).get(k)).sum::<f64>() / kind.len() as f64;
            let points = (0..LAYERS).map(|k| ((k + 1) as f64, at(k))).collect::<Vec<_>>();
            (format!("wrong labels: {}", kind[0].knob("noise")), points)
        });
        let axes = (layer(), Axis::new(y, Scale::Percent));
        Chart::of_lines(curve, format!("{title}, {most} samples"), axes, lines)
    };
    vec![
        ranks,
        curves("probe-test", "Probes behind each layer", "accuracy on test images"),
        curves("reset-error", "Layers from here on are set back", "training error"),
    ]
}

fn findings(records: &[Record]) -> Vec<String> {
    let ranks: Vec<f64> = (0..LAYERS).map(|k| rank(records, "distance", k)).collect();
    let best = (0..LAYERS).filter(|&k| ranks[k].is_finite()).max_by(|&a, &b| ranks[a].total_cmp(&ranks[b]));
    best.map(|best| {
        let verdict = if best + 1 == LAYERS { "holds" } else { "does not hold" };
        format!(
            "The distance of layer {} ranks the gaps best (Spearman {:.2}; last layer {:.2}, first layer {:.2}): the claim that the last layer's \
             ranks them best {verdict} here.",
            best + 1,
            ranks[best],
            ranks[LAYERS - 1],
            ranks[0]
        )
    })
    .into_iter()
    .collect()
}
