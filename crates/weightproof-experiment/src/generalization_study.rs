//! Which measures rank networks by their generalization gap?
//!
//! A family of networks: widths and depths with plain training, and objectives and adversaries at one architecture, all with several
//! shares of wrong labels. The gap of a network is the error on the distribution it was trained on minus its training error: labels
//! are replaced by a random class with probability ν, so a network that errs on a share e of the true test labels errs on
//! `(1 − ν) e + ν (1 − 1/K)` of that distribution.
//!
//! # Source
//! Jiang et al., arXiv 1912.02178 (measures against gaps by Kendall's τ); Zhang et al., arXiv 1611.03530 (random labels).

use crate::rank::Correlation;
use crate::recipe::{SIZES, plain, with_adversary, with_term, with_weight_decay, with_worst_case};
use crate::table::{Cell, Column, Table, Unit};
use crate::{Experiment, ExperimentError, Lab, Model, Needs, Options, Presentation, Record, Subject};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::Worth;
use weightproof_figure::{Axis, Chart, Scale};
use weightproof_measure::context::{cross_entropies, mean};
use weightproof_measure::distance::changes;
use weightproof_measure::measures::Direction;
use weightproof_measure::norms::euclidean;
use weightproof_measure::pac_bayes::error;
use weightproof_measure::{Context, Effort, MEASURES, Measure, take};
use weightproof_train::adversary::Adversary;
use weightproof_train::{Labelled, TrainConfig, Trainer};

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "generalization-study",
    summary: "Every measure of `measure` against the measured generalization gap, over widths, depths, wrong labels and ways to train.",
    needs: Needs::Images,
    settings,
    train,
    present,
};

/// Radius of the sets of the measures over perturbed weights.
const RADIUS: f64 = 0.001;
/// Shares of the labels that are replaced.
const NOISE: [f64; 4] = [0.0, 0.1, 0.2, 0.4];
/// Hidden widths and numbers of hidden layers of plain networks.
const WIDTHS: [usize; 3] = [16, 64, 256];
const DEPTHS: [usize; 3] = [1, 2, 4];
/// Shares of wrong labels for all widths and depths.
const FEW_NOISE: [f64; 3] = [0.0, 0.2, 0.4];
/// Hidden layers of the networks that are trained in other ways.
const HIDDEN: [usize; 2] = [64, 64];

/// Ways to train besides plain.
type Train = fn(TrainConfig) -> TrainConfig;
const WAYS: [(&str, Train); 7] = [
    ("weight-decay", |c| with_weight_decay(c, 0.3)),
    ("norms", |c| with_term(c, "norms", 0.001, 0.0)),
    ("robust-hinge", |c| with_term(c, "robust-hinge", 0.01, 0.005)),
    ("interval", |c| with_worst_case(c, "interval", 0.5, 0.003)),
    ("spectral-decoupling", |c| with_term(c, "spectral-decoupling", 0.01, 0.0)),
    ("sam", |c| with_adversary(c, Adversary::Sam { rho: 0.1 })),
    ("noise", |c| with_adversary(c, Adversary::Noise { deviation: 0.02, relative: false })),
];

/// Measures that are also plotted.
const PLOTTED: [&str; 6] = [
    "rademacher-capacity",
    "path-norm-l1",
    "spectral-margin",
    "pac-bayes-sharpness",
    "fisher-rao",
    "certified-sharpness-error",
];

fn samples(options: &Options) -> usize {
    options.pick(300, 2000)
}

fn effort(options: &Options) -> Effort {
    Effort { samples: options.pick(100, 500), draws: 4, passes: 10, seed: options.seed }
}

fn settings(options: &Options) -> Value {
    json!({ "training-samples": samples(options), "radius": RADIUS, "noise": NOISE, "effort": effort(options) })
}

/// Labels replaced by any class with probability `share`.
pub(crate) fn with_wrong_labels(mut train: Labelled, share: f64, classes: u32, seed: u64) -> Labelled {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for label in &mut train.labels {
        // Both numbers are always drawn, so that more noise keeps what less noise replaced.
        let (replaced, class) = (random.random::<f64>() < share, random.random_range(0..classes));
        if replaced {
            *label = class;
        }
    }
    train
}

/// One network of the family.
struct Member {
    /// Widths of the hidden layers.
    hidden: Vec<usize>,
    /// Name of the way to train.
    name: &'static str,
    way: Train,
    /// Share of wrong labels.
    noise: f64,
}

fn family(options: &Options) -> Vec<Member> {
    let member = |hidden: &[usize], name, way, noise| Member { hidden: hidden.to_vec(), name, way, noise };
    let plain = |hidden: &[usize], noise| member(hidden, "plain", |c| c, noise);
    let mut all: Vec<Member> = Vec::new();
    if options.quick {
        all.extend(
            [(16, 0.0), (16, 0.2), (48, 0.0), (48, 0.2)].map(|(width, noise)| plain(&[width; 2], noise)),
        );
        all.extend(WAYS[..2].iter().map(|&(name, way)| member(&[16; 2], name, way, 0.1)));
        return all;
    }
    for depth in DEPTHS {
        for width in WIDTHS {
            all.extend(FEW_NOISE.map(|noise| plain(&vec![width; depth], noise)));
        }
    }
    all.push(plain(&HIDDEN, 0.1));
    for (name, way) in WAYS {
        all.extend(NOISE.map(|noise| member(&HIDDEN, name, way, noise)));
    }
    all
}

fn train(lab: &mut Lab<'_>) -> Result<(), ExperimentError> {
    let options = lab.options.clone();
    let classes = SIZES[SIZES.len() - 1];
    for seed in 0..options.pick(1, options.seeds as u64) {
        let seed = options.seed + seed;
        for Member { hidden, name, way, noise } in family(&options) {
            let train =
                with_wrong_labels(lab.training_samples(samples(&options)), noise, classes as u32, seed);
            let mut config = plain(options.pick(25, 60), 50, seed, 0);
            config.network.sizes = Some([&[SIZES[0]], hidden.as_slice(), &[classes]].concat());
            let model = Model {
                name: format!("{name} {}x{} noise={noise} seed={seed}", hidden.len(), hidden[0]),
                group: name,
                knobs: vec![("noise", noise), ("width", hidden[0] as f64), ("depth", hidden.len() as f64)],
                config: way(config),
            };
            lab.model_on(model, &train, None, |subject, record| measure(&options, subject, record))?;
        }
    }
    Ok(())
}

fn measure(options: &Options, subject: &Subject<'_>, record: &mut Record) -> Result<(), ExperimentError> {
    let network = &subject.network;
    let fail = |detail: String| ExperimentError::Measure { model: record.model.clone(), detail };
    let initial = Trainer::new(subject.config.clone()).map_err(|e| fail(e.to_string()))?.network();
    let resolve = |radius| ThreatModel::new(Kind::Absolute, radius).resolve(network);
    let [still, moving] = [0.0, RADIUS].map(|r| resolve(r).expect("finite radii of all layers"));
    let wide = subject.train.wide();
    let samples = subject.train.samples(&wide);
    let (classes, noise) = (network.output_width() as f64, record.knob("noise"));
    let test = error(network, subject.test.samples(subject.wide));
    let fitted = error(network, samples);
    record.set("clean", 1.0 - test);
    record.set("train-error", fitted);
    let on_distribution = (1.0 - noise) * test + noise * (1.0 - 1.0 / classes);
    record.set("test-error", on_distribution);
    record.set("gap", on_distribution - fitted);
    for (set, at) in [(&still, ""), (&moving, AT)] {
        let mut context = Context::new(network, samples, set, "linear")
            .map_err(|e| ExperimentError::Measure { model: record.model.clone(), detail: e.to_string() })?;
        context.initial = Some(&initial);
        context.effort = effort(options);
        for m in MEASURES.iter().filter(|m| taken(m, at)) {
            record.set(&format!("{}{at}", m.name), take(m, &context).unwrap_or(f64::NAN));
        }
        if at.is_empty() {
            let losses = cross_entropies(context.outputs(), samples.labels.unwrap_or_default());
            record.set("train-loss", mean(losses.into_iter()));
        }
    }
    let moved = changes(network, &initial).unwrap_or_default();
    for (name, change) in [("distance-first-layer", moved.first()), ("distance-last-layer", moved.last())] {
        record.set(name, change.map_or(f64::NAN, |(w, _)| euclidean(w.as_slice())));
    }
    Ok(())
}

/// What is appended to the names of measures over the perturbation set.
const AT: &str = "-moved";

/// Whether a measure is taken of the unperturbed network (`at` empty), or over the set.
fn taken(m: &Measure, at: &str) -> bool {
    // What the test images say is what is to be predicted.
    let predicts = !m.needs.held_out;
    let still = !(m.needs.set && m.needs.search);
    predicts && if at.is_empty() { still } else { m.needs.set }
}

/// A number that is compared with the gap.
struct Predictor {
    name: String,
    guarantee: Worth,
    direction: Direction,
}

fn predictors() -> Vec<Predictor> {
    let mut all = Vec::new();
    for at in ["", AT] {
        all.extend(MEASURES.iter().filter(|m| taken(m, at)).map(|m| Predictor {
            name: format!("{}{at}", m.name),
            guarantee: m.guarantee,
            direction: m.direction,
        }));
    }
    for name in ["distance-first-layer", "distance-last-layer", "train-loss"] {
        let direction = if name == "train-loss" { Direction::BetterLarger } else { Direction::WorseLarger };
        all.push(Predictor { name: name.into(), guarantee: Worth::Measured, direction });
    }
    all
}

/// τ of a predictor with the gap over some models, positive when the predictor goes the way it is meant to.
fn correlation(p: &Predictor, records: &[&Record]) -> Correlation {
    let sign = match p.direction {
        Direction::WorseLarger => 1.0,
        Direction::BetterLarger => -1.0,
    };
    let pairs: Vec<(f64, f64)> = records.iter().map(|r| (sign * r.value(&p.name), r.value("gap"))).collect();
    Correlation::new(&pairs, 1)
}

/// The mean of τ over models with equal shares of wrong labels.
fn within_noise(p: &Predictor, records: &[&Record]) -> f64 {
    let taus: Vec<f64> = NOISE
        .iter()
        .map(|&noise| records.iter().copied().filter(|r| r.knob("noise") == noise).collect::<Vec<_>>())
        .filter(|group| group.len() > 2)
        .map(|group| correlation(p, &group).tau)
        .filter(|tau| tau.is_finite())
        .collect();
    mean(taus.into_iter())
}

fn present(_: &Options, records: &[Record]) -> Presentation {
    let trained: Vec<&Record> = records.iter().filter(|r| r.failure.is_none()).collect();
    let mut rows: Vec<(Predictor, Correlation, f64, f64)> = predictors()
        .into_iter()
        .map(|p| {
            let clean: Vec<&Record> = trained.iter().copied().filter(|r| r.knob("noise") == 0.0).collect();
            let (all, within, clean) =
                (correlation(&p, &trained), within_noise(&p, &trained), correlation(&p, &clean).tau);
            (p, all, within, clean)
        })
        .collect();
    // What has no correlation comes last.
    let order = |tau: f64| if tau.is_nan() { f64::NEG_INFINITY } else { tau };
    rows.sort_by(|a, b| order(b.1.tau).total_cmp(&order(a.1.tau)));
    let tau = |name: &str, head: &str| Column::new(name, head, Unit::Number, Worth::Measured);
    let columns = vec![
        Column::words("measure"),
        Column::words("worth"),
        Column::setting("models", "models"),
        tau("tau", "τ with the gap"),
        tau("low", "95% from"),
        tau("high", "to"),
        tau("within", "mean τ at equal label noise"),
        tau("clean-tau", "τ without label noise"),
    ];
    let caption = format!(
        "Kendall's τ_b of each measure with the measured gap, positive when it goes the way the measure is meant to; intervals by bootstrap over the \
         models. Names with {AT} are over all Ŵ within {RADIUS} of W; \"worth\" says what the measure itself is worth."
    );
    let mut table = Table::new("correlations", caption, columns);
    for (p, all, within, clean) in &rows {
        let numbers = [all.tau, all.interval.0, all.interval.1, *within, *clean];
        let mut row = vec![Cell::from(p.name.as_str()), p.guarantee.name().into(), (all.count as f64).into()];
        row.extend(numbers.map(Cell::from));
        table.push(row);
    }
    let plots = plots(&trained);
    Presentation { tables: vec![table, all_models(records)], plots, findings: findings(&trained, &rows) }
}

/// Every number of every model, for CSV.
fn all_models(records: &[Record]) -> Table {
    let number = |name: &str| Column::new(name, name, Unit::Number, Worth::Measured);
    let mut columns = vec![Column::words("model")];
    columns.extend(["noise", "width", "depth"].map(|knob| Column::setting(knob, knob)));
    columns.extend(["clean", "train-error", "test-error", "gap"].map(|name| Column::measured(name, name)));
    let predictors = predictors();
    columns.extend(predictors.iter().map(|p| Column { guarantee: p.guarantee, ..number(&p.name) }));
    let mut table = Table::new("models", "Every model.", columns);
    table.data_only = true;
    for r in records {
        let mut row = vec![Cell::from(r.model.as_str())];
        row.extend(["noise", "width", "depth"].map(|knob| Cell::from(r.knob(knob))));
        row.extend(["clean", "train-error", "test-error", "gap"].map(|name| Cell::from(r.value(name))));
        row.extend(predictors.iter().map(|p| Cell::from(r.value(&p.name))));
        table.push(row);
    }
    table
}

/// The gap against single measures, one colour for each share of wrong labels.
fn plots(records: &[&Record]) -> Vec<Chart> {
    let names = PLOTTED.map(|name| match MEASURES.iter().find(|m| m.name == name) {
        Some(m) if m.needs.set => format!("{name}{AT}"),
        _ => name.to_owned(),
    });
    let plot = |name: &String| {
        let positive = records.iter().all(|r| !(r.value(name) <= 0.0));
        let logarithmic = positive && !name.starts_with("rademacher-capacity");
        let points = |noise: f64| -> Vec<(f64, f64)> {
            let at = records.iter().filter(|r| r.knob("noise") == noise);
            at.map(|r| (r.value(name), r.value("gap"))).collect()
        };
        let line = |&noise: &f64| (format!("{}% wrong labels", 100.0 * noise), points(noise));
        let lines = NOISE.iter().map(line).filter(|(_, points)| !points.is_empty());
        let x = Axis::new(name, if logarithmic { Scale::Logarithmic } else { Scale::Linear });
        let y = Axis::new("test error minus training error", Scale::Percent);
        let title = format!("Generalization gap against {name}");
        Chart { joined: false, ..Chart::of_lines(name, title, (x, y), lines) }
    };
    names.iter().map(plot).collect()
}

fn findings(records: &[&Record], rows: &[(Predictor, Correlation, f64, f64)]) -> Vec<String> {
    let gaps: Vec<f64> = records.iter().map(|r| r.value("gap")).collect();
    let (least, most) =
        gaps.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), g| (l.min(*g), h.max(*g)));
    let mut text = vec![format!(
        "{} networks, gaps from {:.1} to {:.1} points.",
        records.len(),
        100.0 * least,
        100.0 * most
    )];
    let list = |names: Vec<&str>| if names.is_empty() { "none".into() } else { names.join(", ") };
    let sure = |good: bool| {
        let holds = |c: &Correlation| if good { c.interval.0 > 0.0 } else { c.interval.1 < 0.0 };
        list(rows.iter().filter(|(_, c, _, _)| holds(c)).map(|(p, ..)| p.name.as_str()).collect())
    };
    text.push(format!("Rank the gap the way they are meant to, interval above 0: {}.", sure(true)));
    text.push(format!("Rank it the other way round, interval below 0: {}.", sure(false)));
    let mut within: Vec<_> = rows.iter().filter(|row| row.2.is_finite()).collect();
    within.sort_by(|a, b| b.2.total_cmp(&a.2));
    let best: Vec<String> =
        within.iter().take(3).map(|(p, _, tau, _)| format!("{} ({tau:.2})", p.name)).collect();
    text.push(format!("Best at equal label noise: {}.", list(best.iter().map(String::as_str).collect())));
    let vacuous = records.iter().filter(|r| !(r.value("rademacher-bound") <= 1.0)).count();
    text.push(format!("The Rademacher bound is vacuous for {vacuous} of {} networks.", records.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_labels_are_a_share_and_nested() {
        let train = Labelled { width: 1, inputs: vec![0.0; 4000], labels: vec![3; 4000] };
        let wrong = |share| with_wrong_labels(train.clone(), share, 10, 7).labels;
        let count = |labels: &[u32]| labels.iter().filter(|&&l| l != 3).count() as f64 / 4000.0;
        let (few, many) = (wrong(0.2), wrong(0.4));
        assert_eq!(count(&wrong(0.0)), 0.0);
        assert!((count(&few) - 0.18).abs() < 0.02 && (count(&many) - 0.36).abs() < 0.02);
        assert!(few.iter().zip(&many).all(|(a, b)| *a == 3 || a == b));
    }

    #[test]
    fn families_have_every_noise_and_names_of_their_own() {
        let options = Options { quick: false, seed: 0, seeds: 1 };
        let all = family(&options);
        assert_eq!(all.len(), 27 + 1 + 28);
        for noise in NOISE {
            assert!(all.iter().filter(|member| member.noise == noise).count() >= 8);
        }
    }
}
