//! Inputs and weights that move together: does training against one of them help against the other?
//!
//! Five models, a grid of radii, accuracy under a joint attack ([`crate::joint`]). The claim of arXiv 2102.11935: a model that is
//! trained against inputs alone stays vulnerable to weights, and the other way round.

use crate::joint;
use crate::recipe::{plain, with_adversary, with_term};
use crate::table::{Cell, Column, Table};
use crate::{Experiment, ExperimentError, Lab, Model, Needs, Options, Presentation, Record};
use serde_json::{Value, json};
use weightproof_figure::{Axis, Chart, Scale};
use weightproof_train::TrainConfig;
use weightproof_train::adversary::Adversary;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "non-singular",
    summary: "Accuracy when inputs and weights move together, for models trained against neither, one or both.",
    needs: Needs::Images,
    settings,
    train,
    present,
};

/// Radii of the inputs.
const INPUT: [f64; 3] = [0.0, 0.05, 0.1];
/// Radii of the weights.
const WEIGHT: [f64; 4] = [0.0, 0.002, 0.005, 0.01];
/// Radii that models are trained against: inputs, weights.
const TRAINED: (f64, f64) = (0.1, 0.005);
/// The same in a quick run, whose few steps do not learn against more.
const TRAINED_QUICKLY: (f64, f64) = (0.05, 0.002);
/// Weights of the regularizers of the joint model: inputs, weights.
const REGULARIZERS: (f64, f64) = (0.003, 0.01);

/// Models by group, in the order of the table.
const GROUPS: [&str; 5] =
    ["standard", "input-adversarial", "weight-adversarial", "joint-regularizer", "joint-adversarial"];

/// Accuracy that a model loses, at least, to be called vulnerable.
const VULNERABLE: f64 = 0.05;

fn trained(options: &Options) -> (f64, f64) {
    options.pick(TRAINED_QUICKLY, TRAINED)
}

fn steps(options: &Options) -> usize {
    options.pick(6, 12)
}

fn settings(options: &Options) -> Value {
    json!({
        "input-radii": INPUT, "radii": WEIGHT, "steps": steps(options), "batch": joint::BATCH,
        "trained-input-radius": trained(options).0, "trained-radius": trained(options).1,
    })
}

fn train(lab: &mut Lab<'_>) -> Result<(), ExperimentError> {
    let steps = steps(lab.options);
    for group in GROUPS {
        let config = config(lab.options, group);
        let model = Model { name: group.into(), group, knobs: Vec::new(), config };
        lab.model(model, |subject, record| {
            let grid = joint::grid(&subject.network, subject.test, (&INPUT, &WEIGHT), steps);
            record.set("clean", grid[0][0]);
            for (radius, row) in INPUT.iter().zip(grid) {
                record.curves.insert(curve(*radius), row);
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn config(options: &Options, group: &str) -> TrainConfig {
    let base = plain(options.pick(12, 6), options.pick(32, 128), options.seed, options.pick(100, 1000));
    let (input_radius, radius) = trained(options);
    let steps = options.pick(4, 6);
    match group {
        "input-adversarial" => {
            with_adversary(base, Adversary::Pgd { radius: 0.0, input_radius, steps: steps / 2 })
        }
        "weight-adversarial" => {
            with_adversary(base, Adversary::Pgd { radius, input_radius: 0.0, steps: steps / 2 })
        }
        "joint-adversarial" => with_adversary(base, Adversary::Pgd { radius, input_radius, steps }),
        "joint-regularizer" => {
            let config = with_term(base, "input-sensitivity", REGULARIZERS.0, radius);
            let mut config = with_term(config, "weight-sensitivity", REGULARIZERS.1, radius);
            config.threat.input_radius = input_radius;
            config
        }
        _ => base,
    }
}

fn curve(input_radius: f64) -> String {
    format!("accuracy-at-input-radius-{input_radius}")
}

fn present(options: &Options, records: &[Record]) -> Presentation {
    let mut columns = vec![Column::words("model"), Column::setting("input-radius", "ε_x")];
    columns.extend(WEIGHT.iter().map(|r| Column::found(format!("accuracy-at-{r}"), format!("ε_W = {r}"))));
    let caption = "Accuracy under the joint attack on inputs (radius ε_x, unit of the pixels, which are in [0, 1]) and weights \
                   (radius ε_W, absolute), one Ŵ for each batch of test images.";
    let mut table = Table::new("grid", caption, columns);
    for record in records {
        for radius in INPUT {
            let mut row = vec![Cell::from(record.model.as_str()), Cell::from(radius)];
            row.extend((0..WEIGHT.len()).map(|j| Cell::from(record.curve(&curve(radius)).get(j).copied())));
            table.push(row);
        }
    }
    let plots = INPUT.iter().enumerate().map(|(i, radius)| {
        let x = Axis::new("radius of the weights, absolute", Scale::Linear);
        let y = Axis::new("accuracy on test images", Scale::Percent);
        let title = format!("Accuracy under the joint attack, inputs move by {radius}");
        let lines = records.iter().map(|r| line(r, &curve(*radius)));
        Chart::of_lines(&format!("input-radius-{i}"), title, (x, y), lines)
    });
    Presentation {
        tables: vec![table],
        plots: plots.collect(),
        findings: findings(trained(options), records),
    }
}

fn line(record: &Record, curve: &str) -> (String, Vec<(f64, f64)>) {
    let points = WEIGHT.iter().copied().zip(record.curve(curve).iter().copied());
    (record.model.clone(), points.collect())
}

/// Whether the claim holds for the models at the radii that they were trained against.
fn findings((ex, ew): (f64, f64), records: &[Record]) -> Vec<String> {
    let find = |group: &str| records.iter().find(|r| r.group == group && r.failure.is_none());
    let at = |record: &Record, input: f64, weight: f64| {
        let column = WEIGHT.iter().position(|r| *r == weight).unwrap_or(0);
        record.curve(&curve(input)).get(column).copied().unwrap_or(f64::NAN)
    };
    let (Some(standard), Some(input), Some(weight)) =
        (find("standard"), find("input-adversarial"), find("weight-adversarial"))
    else {
        return Vec::new();
    };
    let percent = |v: f64| format!("{:.1}%", 100.0 * v);
    let verdict = |holds: bool| if holds { "holds" } else { "does not hold" };
    let lost = |record: &Record, x: f64, w: f64| at(record, 0.0, 0.0) - at(record, x, w);
    let other = WEIGHT[WEIGHT.len() - 1];
    let first = lost(input, 0.0, other) >= VULNERABLE;
    let second = lost(weight, ex, 0.0) >= VULNERABLE;
    let mut text = vec![
        format!(
            "Trained against inputs alone, weights that move by {other} take the accuracy from {} to {} (standard training: from {} to {}): \
             the claim that it stays vulnerable (loses at least {} points) {}.",
            percent(at(input, 0.0, 0.0)),
            percent(at(input, 0.0, other)),
            percent(at(standard, 0.0, 0.0)),
            percent(at(standard, 0.0, other)),
            100.0 * VULNERABLE,
            verdict(first),
        ),
        format!(
            "Trained against weights alone, inputs that move by {ex} take the accuracy from {} to {} (standard training: from {} to {}): \
             the claim that it stays vulnerable {}.",
            percent(at(weight, 0.0, 0.0)),
            percent(at(weight, ex, 0.0)),
            percent(at(standard, 0.0, 0.0)),
            percent(at(standard, ex, 0.0)),
            verdict(second),
        ),
    ];
    let best =
        records.iter().filter(|r| r.failure.is_none()).max_by(|a, b| at(a, ex, ew).total_cmp(&at(b, ex, ew)));
    text.extend(best.map(|best| {
        format!(
            "Under both at the radii of training (ε_x = {ex}, ε_W = {ew}) {} is best, with {}.",
            best.model,
            percent(at(best, ex, ew))
        )
    }));
    text
}
