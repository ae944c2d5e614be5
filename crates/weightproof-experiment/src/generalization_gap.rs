//! Train and test error against the radius of training, λ and μ, with the bound of [`weightproof_measure::rademacher`] beside them.
//!
//! Networks have no biases here, as in the paper.

use crate::lab::{mean, replicas, spread};
use crate::measure::{Bench, Effort, largest_weight};
use crate::rank::spearman;
use crate::recipe::{SIZES, plain, unbuilt, with_term};
use crate::table::{Cell, Column, Table, Unit};
use crate::{Experiment, ExperimentError, Lab, Model, Needs, Options, Presentation, Record, Subject};
use serde_json::{Value, json};
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Network, NetworkBuilder};
use weightproof::threat::Kind;
use weightproof::verdict::Worth;
use weightproof_figure::{Axis, Chart, Scale};
use weightproof_measure::RademacherBound;
use weightproof_measure::capacity::Inputs;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "generalization-gap",
    summary: "Train and test error against the radius of training, λ and μ on few training images, with the generalization bound.",
    needs: Needs::Images,
    settings,
    train,
    present,
};

/// Probability with which the bound may fail.
const DELTA: f64 = 0.05;
/// Radius of the set that the bound is about.
const RADIUS: f64 = 0.001;
const EFFORT: Effort = Effort { passes: 8, steps: 10, draws: 1 };

/// What is varied: name, and (λ, μ, radius of training).
type Sweep = (&'static str, &'static [(f64, f64, f64)]);
const SWEEPS: [Sweep; 3] = [
    (
        "radius",
        &[(0.1, 0.0, 0.0), (0.1, 0.0, 0.0005), (0.1, 0.0, 0.001), (0.1, 0.0, 0.002), (0.1, 0.0, 0.005)],
    ),
    ("lambda", &[(0.0, 0.0, 0.002), (0.02, 0.0, 0.002), (0.5, 0.0, 0.002), (2.0, 0.0, 0.002)]),
    ("mu", &[(0.0, 0.0, 0.0), (0.0, 0.001, 0.0), (0.0, 0.01, 0.0), (0.0, 0.1, 0.0)]),
];

fn samples(options: &Options) -> usize {
    options.pick(500, 1000)
}

fn settings(options: &Options) -> Value {
    json!({ "training-samples": samples(options), "delta": DELTA, "radius": RADIUS })
}

/// The paper's network without biases, parameters zero.
fn without_biases() -> Result<Network, ExperimentError> {
    let mut builder = NetworkBuilder::new(vec![SIZES[0]]);
    let fail = unbuilt("chain");
    for (k, pair) in SIZES.windows(2).enumerate() {
        let (name, before) = (format!("fc{}", k + 1), builder.last());
        let layer =
            builder.dense(&name, before, Matrix::zeros(pair[1], pair[0]), Vec::new()).map_err(&fail)?;
        if k + 2 < SIZES.len() {
            builder.activation(&format!("relu{}", k + 1), layer, Activation::Relu).map_err(&fail)?;
        }
    }
    builder.finish().map_err(fail)
}

fn train(lab: &mut Lab<'_>) -> Result<(), ExperimentError> {
    let options = lab.options.clone();
    let network = without_biases()?;
    for seed in (options.seed..).take(options.seeds) {
        // A gap depends on the images that are trained on, so each seed has its own.
        let train = lab.training_block(seed, samples(&options));
        for (sweep, grid) in SWEEPS {
            let few = [0, grid.len() / 2];
            let chosen: Vec<usize> = if options.quick { few.to_vec() } else { (0..grid.len()).collect() };
            for (lambda, mu, radius) in chosen.into_iter().map(|k| grid[k]) {
                let config = plain(options.pick(15, 30), 32, seed, 0);
                let config =
                    with_term(with_term(config, "robust-hinge", lambda, radius), "norms", mu, radius);
                let model = Model {
                    name: format!("{sweep}: λ={lambda} μ={mu} r={radius}, seed {seed}"),
                    group: sweep,
                    knobs: vec![("lambda", lambda), ("mu", mu), ("radius", radius)],
                    config,
                };
                lab.model_on(model, &train, Some(&network), measure)?;
            }
        }
    }
    Ok(())
}

fn measure(subject: &Subject<'_>, record: &mut Record) -> Result<(), ExperimentError> {
    let network = &subject.network;
    let wide = subject.train.wide();
    let train = Bench::new(network, subject.train, &wide, subject.seed, EFFORT);
    let test = Bench::new(network, subject.test, subject.wide, subject.seed, EFFORT);
    let (fitted, clean) = (train.clean(), test.clean());
    record.set("clean", clean);
    record.set("train-error", 1.0 - fitted);
    record.set("test-error", 1.0 - clean);
    record.set("gap", fitted - clean);
    record.set("certified", test.certified("linear", Kind::Absolute, &[RADIUS])[0]);
    record.set("largest-weight", largest_weight(network));
    let margins = train.margins("linear", Kind::Absolute, &[RADIUS]).swap_remove(0);
    let inputs = Inputs::new(&wide, network.input_width());
    let bound = RademacherBound::new(network, &train.set(Kind::Absolute, RADIUS), &margins, inputs, DELTA);
    let bound = bound.map_err(|refusal| ExperimentError::Measure {
        model: record.model.clone(),
        detail: format!("generalization bound: {refusal}"),
    })?;
    record.set("gamma", bound.gamma);
    record.set("empirical", bound.empirical);
    record.set("capacity", bound.capacity);
    record.set("confidence", bound.confidence);
    record.set("complexity", bound.complexity);
    record.set("bound", bound.total());
    Ok(())
}

fn present(options: &Options, records: &[Record]) -> Presentation {
    let number = |name: &str, head: &str, guarantee| Column::new(name, head, Unit::Number, guarantee);
    let columns = vec![
        Column::words("sweep"),
        Column::setting("lambda", "λ"),
        Column::setting("mu", "μ"),
        Column::setting("radius", "training radius"),
        Column::setting("seeds", "seeds"),
        Column::measured("train-error", "train error"),
        Column::measured("test-error", "test error"),
        Column::measured("gap", "gap"),
        Column::proved("certified", format!("certified at {RADIUS} (test)")),
        number("gamma", "bound: γ", Worth::RIGOROUS),
        Column::proved("empirical", "bound: margin ≤ γ"),
        number("capacity", "bound: capacity", Worth::RIGOROUS),
        number("confidence", "bound: confidence", Worth::RIGOROUS),
        number("bound", "bound: sum", Worth::RIGOROUS),
        Column::new("says", "says", Unit::Plain, Worth::RIGOROUS),
    ];
    let caption = format!(
        "Mean over seeds, each with {} training images of its own; networks without biases. The bound is about the error of every Ŵ within {RADIUS} of W, holds with probability {} over \
         the training images, whatever γ and norms come out.",
        samples(options),
        1.0 - DELTA
    );
    let mut table = Table::new("gap", caption, columns);
    let kinds = replicas(records);
    for kind in &kinds {
        let vacuous = kind.iter().filter(|r| !(r.value("bound") <= 1.0)).count();
        let says = match vacuous {
            0 => "bound".into(),
            all if all == kind.len() => "vacuous".into(),
            some => format!("vacuous for {some} of {}", kind.len()),
        };
        let mut row = vec![Cell::from(kind[0].group.as_str())];
        row.extend(["lambda", "mu", "radius"].map(|knob| Cell::from(kind[0].knob(knob))));
        row.push((kind.len() as f64).into());
        let values = [
            "train-error",
            "test-error",
            "gap",
            "certified",
            "gamma",
            "empirical",
            "capacity",
            "confidence",
            "bound",
        ];
        row.extend(values.map(|value| spread(kind, value)));
        row.push(Cell::Text(says));
        table.push(row);
    }
    let plots = SWEEPS.iter().flat_map(|(sweep, _)| plots(sweep, &kinds)).collect();
    Presentation { tables: vec![table], plots, findings: findings(records) }
}

/// Means over seeds along a sweep.
fn plots(sweep: &str, kinds: &[Vec<&Record>]) -> [Chart; 2] {
    let of = |value: &str, name: &str| {
        let models = kinds.iter().filter(|kind| kind[0].group == sweep);
        (name.to_owned(), models.map(|kind| (kind[0].knob(sweep), mean(kind, value))).collect::<Vec<_>>())
    };
    let label = match sweep {
        "radius" => "radius of training, absolute (λ = 0.1)",
        "lambda" => "λ, weight of robust-hinge (radius 0.002)",
        _ => "μ, weight of norms",
    };
    let x = Axis::new(label, Scale::Linear);
    let errors = [of("train-error", "train error"), of("test-error", "test error"), of("gap", "gap")];
    let terms = [
        of("bound", "sum"),
        of("capacity", "capacity"),
        of("empirical", "margin ≤ γ"),
        of("confidence", "confidence"),
        of("test-error", "test error (measured)"),
    ];
    let share = Axis::new("share of images", Scale::Percent);
    let bounded = Axis::new("probability of an error, bounded", Scale::Logarithmic);
    let title = format!("The bound and its terms against {sweep}; above 1 it is vacuous");
    [
        Chart::of_lines(
            &format!("errors-{sweep}"),
            format!("Errors against {sweep}"),
            (x.clone(), share),
            errors,
        ),
        Chart::of_lines(&format!("bound-{sweep}"), title, (x, bounded), terms),
    ]
}

fn findings(records: &[Record]) -> Vec<String> {
    let finite: Vec<&Record> = records.iter().filter(|r| r.failure.is_none()).collect();
    let vacuous = finite.iter().filter(|r| !(r.value("bound") <= 1.0)).count();
    let mut text = vec![format!("The bound is vacuous (above 1) for {vacuous} of {} models.", finite.len())];
    let [gap, error] = ["gap", "test-error"].map(|what| rankings(&finite, what));
    if !gap.is_empty() && !error.is_empty() {
        text.push(format!(
            "As a ranking: Spearman correlation of the bound over the models of a seed with the measured gap {}, with the test error {}.",
            Cell::spread(&gap).text(Unit::Number),
            Cell::spread(&error).text(Unit::Number)
        ));
    }
    text
}

/// For each seed Spearman's correlation of the bound with a number, over its models.
fn rankings(records: &[&Record], what: &str) -> Vec<f64> {
    let mut seeds: Vec<_> = records.iter().map(|r| r.seed()).collect();
    seeds.dedup();
    let of = |seed| {
        let models = || records.iter().filter(move |r| r.seed() == seed);
        let values = |name: &str| models().map(|r| r.value(name)).collect::<Vec<f64>>();
        spearman(&values("bound"), &values(what))
    };
    seeds.into_iter().map(of).filter(|correlation| correlation.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_has_the_paper_s_sizes_and_no_biases() {
        let network = without_biases().unwrap();
        assert_eq!(network.parameters(), SIZES.windows(2).map(|p| p[0] * p[1]).sum::<usize>());
    }
}
