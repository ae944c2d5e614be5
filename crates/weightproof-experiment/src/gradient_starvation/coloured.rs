//! Coloured digits: the colour tells the label better than the shape does, but in the test it tells the opposite.
//!
//! ```text
//! label   1 for digits 0 to 4, else 0; turned over with probability ¼
//! colour  the label, turned over with probability 0.2 (every other training image), 0.1 (the rest), 0.9 (test)
//! image   every other row and column, in the channel of the colour; the other channel is zero
//! ```
//! Images come in another order for every seed. The file's own will not do: in the training set of MNIST every other image is a tenth
//! brighter (its two sources seem to take turns), which would tell the halves apart.
//!
//! Every step has all images. That matters: once cross-entropy has lost its weight, gradients are small beside those of the steps before,
//! by whose squares Adam divides, and the noise of smaller batches would stay in there for thousands of steps.
//!
//! Differences from the paper's code: normal instead of uniform random weights at the start, and other random numbers.

use super::{invariant, radii, radius_columns};
use crate::lab::{Lab, Model, Presentation, Record, mean, replicas, spread};
use crate::recipe::{binary, unbuilt};
use crate::table::{Cell, Column, Table};
use crate::{ExperimentError, Options};
use rand::RngExt;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use weightproof::network::{Activation, Network};
use weightproof_figure::{Axis, Chart, Scale};
use weightproof_train::config::Term;
use weightproof_train::data::right;
use weightproof_train::parameters::Initialization;
use weightproof_train::random::{Purpose, generator};
use weightproof_train::schedule::{Decay, LearningRate, Ramp};
use weightproof_train::{Labelled, TrainConfig};

/// Name of its records.
const GROUP: &str = "coloured";
/// Height and width of an image, and of what is kept of it.
const SIDE: usize = 28;
const KEPT: usize = SIDE / 2;
/// Elements of a coloured image.
pub(super) const PIXELS: usize = 2 * KEPT * KEPT;
const SIZES: [usize; 4] = [PIXELS, 300, 300, 1];
/// Probability that a label is turned over.
const WRONG_LABEL: f64 = 0.25;
/// The same for colours, in the two halves of the training images and in the test.
const WRONG_COLOUR: [f64; 3] = [0.2, 0.1, 0.9];
/// Of 60,000 training images, one of so many is kept for the test.
const TEST: usize = 6;
/// Coefficient of the mean square of f; from `FREED` on cross-entropy has no more weight than that.
const DECOUPLING: f64 = 2e-5;
/// Share of the steps after which cross-entropy loses its weight: 450 of 2,001.
const FREED: f64 = 450.0 / 2001.0;
const RATE: f64 = 1e-4;

/// A way to train: name, steps of a whole run, published accuracies (training, test) in percent.
type Way = (&'static str, usize, [f64; 2]);
const PLAIN: Way = ("plain", 1001, [91.08, 23.70]);
const DECOUPLED: Way = ("spectral decoupling", 2001, [70.04, 68.40]);
const INVARIANT: Way = ("invariant risk", invariant::STEPS, [70.54, 67.08]);

pub(super) fn settings(options: &Options) -> Value {
    let steps = [PLAIN, DECOUPLED, INVARIANT].map(|way| steps(options, way));
    json!({
        "order": "random", "wrong-labels": WRONG_LABEL, "wrong-colours": WRONG_COLOUR, "spectral-decoupling": DECOUPLING,
        "steps": steps,
    })
}

fn steps(options: &Options, way: Way) -> usize {
    options.pick(way.1 / 20, way.1)
}

/// The images in a random order.
fn shuffled(images: &Labelled, seed: u64) -> Labelled {
    let mut order: Vec<usize> = (0..images.len()).collect();
    order.shuffle(&mut generator(seed, Purpose::Order, 0, 0));
    images.pick(&order)
}

/// Images with colours of which the share `wrong(k)` of image k is not that of the label; random numbers of `stream`.
fn coloured(images: &Labelled, wrong: impl Fn(usize) -> f64, (seed, stream): (u64, usize)) -> Labelled {
    let mut random = generator(seed, Purpose::Data, stream, 0);
    let mut all = Labelled { width: SIZES[0], ..Labelled::default() };
    for (k, (image, digit)) in images.inputs.chunks_exact(images.width).zip(&images.labels).enumerate() {
        let label = (*digit < 5) != (random.random::<f64>() < WRONG_LABEL);
        let colour = label != (random.random::<f64>() < wrong(k));
        for channel in [false, true] {
            let kept = (0..KEPT * KEPT).map(|at| image[2 * (at / KEPT) * SIDE + 2 * (at % KEPT)]);
            all.inputs.extend(kept.map(|pixel| if channel == colour { pixel } else { 0.0 }));
        }
        all.labels.push(u32::from(label));
    }
    all
}

fn accuracy(network: &Network, samples: &Labelled) -> f64 {
    let wide = samples.wide();
    let rows = wide.chunks_exact(samples.width).zip(&samples.labels);
    rows.filter(|(x, label)| right(&network.forward(x), **label as usize)).count() as f64
        / samples.len() as f64
}

fn config(decoupling: f64, steps: usize, samples: usize, seed: u64) -> TrainConfig {
    let mut config = TrainConfig::plain(&SIZES, steps);
    config.batch = samples;
    config.seed = seed;
    config.validation.samples = 0;
    config.network.initialization = Initialization::LecunNormal;
    config.learning_rate = LearningRate { rate: RATE, warm_up: 0.0, decay: Decay::Constant };
    if decoupling > 0.0 {
        let freed = (FREED * steps as f64).round();
        config.terms[0].weight = Ramp::linear(1.0, decoupling, freed, freed);
        // The mean square of the logits (−f/2, f/2) is f²/4.
        let weight = Ramp::Constant(4.0 * decoupling);
        config.terms.push(Term { objective: "spectral-decoupling".into(), weight });
    }
    config
}

pub(super) fn train(lab: &mut Lab<'_>) -> Result<(), ExperimentError> {
    let options = lab.options.clone();
    let images = lab.training_samples(usize::MAX);
    let held_out = images.len() / TEST;
    let network = binary(&SIZES, Activation::Relu).map_err(unbuilt("coloured"))?;
    for seed in (options.seed..).take(options.seeds) {
        let (first, last) = shuffled(&images, seed).split(held_out);
        let train = coloured(&first, |k| WRONG_COLOUR[k % 2], (seed, 0));
        let test = coloured(&last, |_| WRONG_COLOUR[2], (seed, 1));
        let most = options.pick(40, 300);
        let measure = |network: &Network, record: &mut Record| {
            let fitted = accuracy(network, &train);
            record.set("clean", fitted);
            record.set("train-accuracy", fitted);
            record.set("test-accuracy", accuracy(network, &test));
            radii(network, &train, (options.seed, most), record);
        };
        for (way, decoupling) in [(PLAIN, 0.0), (DECOUPLED, DECOUPLING)] {
            let model = Model {
                name: title(way, seed),
                group: GROUP,
                knobs: vec![("spectral-decoupling", decoupling)],
                config: config(decoupling, steps(&options, way), train.len(), seed),
            };
            lab.model_on(model, &train, Some(&network), |subject, record| {
                measure(&subject.network, record);
                Ok(())
            })?;
        }
        let knobs = [("penalty", invariant::PENALTY)];
        lab.record(title(INVARIANT, seed), GROUP, &knobs, |record, interrupted| {
            measure(&invariant::train(&train, seed, steps(&options, INVARIANT), interrupted)?, record);
            Ok(())
        })?;
    }
    Ok(())
}

fn title(way: Way, seed: u64) -> String {
    format!("coloured, {}, seed {seed}", way.0)
}

fn way(record: &Record) -> Way {
    match (record.knob("penalty"), record.knob("spectral-decoupling")) {
        (0.0, 0.0) => PLAIN,
        (0.0, _) => DECOUPLED,
        _ => INVARIANT,
    }
}

pub(super) fn present(records: &[Record]) -> Presentation {
    let kinds: Vec<_> = replicas(records).into_iter().filter(|kind| kind[0].group == GROUP).collect();
    let mut columns = vec![
        Column::words("training"),
        Column::setting("seeds", "seeds"),
        Column::measured("train-accuracy", "training accuracy"),
        Column::measured("test-accuracy", "test accuracy"),
    ];
    columns.extend(radius_columns());
    let names: Vec<String> = columns[2..].iter().map(|c| c.name.clone()).collect();
    columns.insert(4, Column::setting("published", "published (training, test)"));
    let caption = "Coloured digits: mean over seeds; the radius is that of training images. No more than 75% can be right by \
                   the shape alone. Published: means of ten runs.";
    let mut table = Table::new("coloured", caption, columns);
    for kind in &kinds {
        let (name, _, published) = way(kind[0]);
        let mut row = vec![Cell::from(name), Cell::from(kind.len() as f64)];
        row.extend(names.iter().map(|value| spread(kind, value)));
        let text = format!("{:.2}%, {:.2}%", published[0], published[1]);
        row.insert(4, Cell::from(text.as_str()));
        table.push(row);
    }
    let lines = kinds.iter().map(|kind| {
        let points = kind.iter().map(|r| (r.value("train-accuracy"), r.value("test-accuracy")));
        (way(kind[0]).0.to_owned(), points.collect())
    });
    let axes = (
        Axis::new("accuracy on training images", Scale::Percent),
        Axis::new("accuracy where colours tell the opposite", Scale::Percent),
    );
    let title = "Coloured digits: training and test, each seed".into();
    let plot = Chart { joined: false, ..Chart::of_lines("coloured", title, axes, lines) };
    let percent = |kind: &[&Record], value: &str| format!("{:.1}%", 100.0 * mean(kind, value));
    let findings = kinds.iter().map(|kind| {
        let [fitted, test] = ["train-accuracy", "test-accuracy"].map(|value| percent(kind, value));
        format!(
            "Coloured digits, {}: {test} of the test images are right, {fitted} of the training images.",
            way(kind[0]).0
        )
    });
    let findings = findings.collect();
    Presentation { tables: vec![table], plots: vec![plot], findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_tell_labels_and_shapes_stay() {
        let width = SIDE * SIDE;
        let inputs: Vec<f32> = (0..400 * width).map(|k| (k % width) as f32 / width as f32).collect();
        let images = Labelled { width, inputs, labels: (0..400).map(|k| k % 10).collect() };
        let made = coloured(&images, |k| WRONG_COLOUR[k % 2], (5, 0));
        let (mut same, mut kept) = (0, 0);
        for (k, (image, &label)) in made.inputs.chunks_exact(SIZES[0]).zip(&made.labels).enumerate() {
            let (first, second) = image.split_at(KEPT * KEPT);
            let colour = u32::from(second.iter().any(|&p| p > 0.0));
            let (shown, hidden) = if colour == 1 { (second, first) } else { (first, second) };
            assert!(hidden.iter().all(|&p| p == 0.0));
            assert_eq!(shown[KEPT + 1], (2 * SIDE + 2) as f32 / width as f32);
            same += usize::from(colour == label);
            kept += usize::from(label == u32::from(images.labels[k] < 5));
        }
        // 85% and 75% of 400, within four standard deviations.
        assert!((311..=369).contains(&same) && (265..=335).contains(&kept), "{same} {kept}");
    }

    /// What takes turns in the file does not do so in the halves.
    #[test]
    fn the_order_of_the_file_does_not_tell_the_halves_apart() {
        let images = Labelled { width: 1, inputs: vec![0.0; 400], labels: (0..400).map(|k| k % 2).collect() };
        let made = shuffled(&images, 5);
        let odd = |first: usize| made.labels.iter().skip(first).step_by(2).sum::<u32>();
        assert_eq!(odd(0) + odd(1), 200);
        // 100, within five standard deviations.
        assert!((75..=125).contains(&odd(0)), "{}", odd(0));
        assert_ne!(shuffled(&images, 6).labels, made.labels);
    }
}
