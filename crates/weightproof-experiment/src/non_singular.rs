//! Inputs and weights that move together: does training against one of them help against the other?
//!
//! Five models, a grid of radii, accuracy under a joint attack ([`crate::joint`]). The claim of arXiv 2102.11935: a model that is
//! trained against inputs alone stays vulnerable to weights, and the other way round.

use crate::joint;
use crate::lab::{along, average, replicas};
use crate::recipe::{plain, with_adversary, with_term};
use crate::table::{Cell, Column, Table, Unit};
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
    let options = lab.options.clone();
    for seed in (options.seed..).take(options.seeds) {
        for group in GROUPS {
            let config = config(&options, group, seed);
            let model = Model { name: format!("{group}, seed {seed}"), group, knobs: Vec::new(), config };
            lab.model(model, |subject, record| {
                let grid = joint::grid(&subject.network, subject.test, (&INPUT, &WEIGHT), steps(&options));
                record.set("clean", grid[0][0]);
                for (radius, row) in INPUT.iter().zip(grid) {
                    record.curves.insert(curve(*radius), row);
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn config(options: &Options, group: &str, seed: u64) -> TrainConfig {
    let base = plain(options.pick(12, 6), options.pick(32, 128), seed, options.pick(100, 1000));
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
    let mut columns = vec![
        Column::words("model"),
        Column::setting("seeds", "seeds"),
        Column::setting("input-radius", "ε_x"),
    ];
    columns.extend(WEIGHT.iter().map(|r| Column::found(format!("accuracy-at-{r}"), format!("ε_W = {r}"))));
    let caption = "Accuracy under the joint attack on inputs (radius ε_x, unit of the pixels, which are in [0, 1]) and weights \
                   (radius ε_W, absolute), one Ŵ for each batch of test images: mean over seeds.";
    let mut table = Table::new("grid", caption, columns);
    let kinds = replicas(records);
    for kind in &kinds {
        for radius in INPUT {
            let mut row =
                vec![Cell::from(kind[0].group.as_str()), Cell::from(kind.len() as f64), Cell::from(radius)];
            row.extend((0..WEIGHT.len()).map(|j| Cell::spread(&along(kind, &curve(radius), j))));
            table.push(row);
        }
    }
    let plots = INPUT.iter().enumerate().map(|(i, radius)| {
        let x = Axis::new("radius of the weights, absolute", Scale::Linear);
        let y = Axis::new("accuracy on test images", Scale::Percent);
        let title = format!("Accuracy under the joint attack, inputs move by {radius}");
        let lines = kinds.iter().map(|kind| line(kind, &curve(*radius)));
        Chart::of_lines(&format!("input-radius-{i}"), title, (x, y), lines)
    });
    Presentation { tables: vec![table], plots: plots.collect(), findings: findings(trained(options), &kinds) }
}

fn line(kind: &[&Record], curve: &str) -> (String, Vec<(f64, f64)>) {
    let points = WEIGHT.iter().enumerate().map(|(j, radius)| (*radius, average(&along(kind, curve, j))));
    (kind[0].group.clone(), points.collect())
}

/// Whether the claim holds for the models at the radii that they were trained against.
fn findings((ex, ew): (f64, f64), kinds: &[Vec<&Record>]) -> Vec<String> {
    let find = |group: &str| kinds.iter().find(|kind| kind[0].group == group);
    let at = |kind: &[&Record], input: f64, weight: f64| {
        let column = WEIGHT.iter().position(|r| *r == weight).unwrap_or(0);
        along(kind, &curve(input), column)
    };
    let (Some(standard), Some(input), Some(weight)) =
        (find("standard"), find("input-adversarial"), find("weight-adversarial"))
    else {
        return Vec::new();
    };
    let percent = |values: &[f64]| Cell::spread(values).text(Unit::Fraction);
    let verdict = |holds: bool| if holds { "holds" } else { "does not hold" };
    // Models of one kind have the same seeds in the same order.
    let drops = |kind: &[&Record], x: f64, w: f64| -> bool {
        let lost = at(kind, 0.0, 0.0).into_iter().zip(at(kind, x, w)).map(|(clean, left)| clean - left);
        lost.fold(f64::INFINITY, f64::min) >= VULNERABLE
    };
    let other = WEIGHT[WEIGHT.len() - 1];
    let mut text = vec![
        format!(
            "Trained against inputs alone, weights that move by {other} take the accuracy from {} to {} (standard training: from {} to {}): \
             the claim that it stays vulnerable (loses at least {} points with every seed) {}.",
            percent(&at(input, 0.0, 0.0)),
            percent(&at(input, 0.0, other)),
            percent(&at(standard, 0.0, 0.0)),
            percent(&at(standard, 0.0, other)),
            100.0 * VULNERABLE,
            verdict(drops(input, 0.0, other)),
        ),
        format!(
            "Trained against weights alone, inputs that move by {ex} take the accuracy from {} to {} (standard training: from {} to {}): \
             the claim that it stays vulnerable {}.",
            percent(&at(weight, 0.0, 0.0)),
            percent(&at(weight, ex, 0.0)),
            percent(&at(standard, 0.0, 0.0)),
            percent(&at(standard, ex, 0.0)),
            verdict(drops(weight, ex, 0.0)),
        ),
    ];
    let best = kinds
        .iter()
        .max_by(|a, b| average(&at(a, ex, ew)).total_cmp(&average(&at(b, ex, ew))))
        .map(|kind| (&kind[0].group, at(kind, ex, ew)));
    text.extend(best.map(|(name, found)| {
        format!(
            "Under both at the radii of training (ε_x = {ex}, ε_W = {ew}) {name} is best, with {}.",
            percent(&found)
        )
    }));
    text
}
