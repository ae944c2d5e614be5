//! Two moons that a straight line separates by a small margin: how far do training points lie from the boundary of the network?

use super::{radii, radius_columns};
use crate::lab::{Lab, Model, Presentation, Record, mean, replicas, spread};
use crate::recipe::{binary, descent, unbuilt};
use crate::table::{Cell, Column, Table, Unit};
use crate::{ExperimentError, Options};
use serde_json::{Value, json};
use weightproof::network::{Activation, Network};
use weightproof::verdict::Worth;
use weightproof_figure::{Axis, Chart, Scale};
use weightproof_train::config::Term;
use weightproof_train::parameters::Initialization;
use weightproof_train::random::{Purpose, generator, normal};
use weightproof_train::schedule::Ramp;
use weightproof_train::{Labelled, TrainConfig};

/// Margin by which the first coordinate alone separates the classes.
const SHIFT: f64 = 0.1;
/// Standard deviation of the noise of the points.
const NOISE: f64 = 0.1;
/// Learning rate.
const RATE: f64 = 0.01;
/// Coefficient λ of λ · mean f².
const DECOUPLING: f64 = 0.003;
/// Sides of the square in which the boundary is looked for: −SIDE to SIDE.
const SIDE: f64 = 2.5;

/// Ways to train: name, weight decay, λ.
const WAYS: [(&str, f64, f64); 3] =
    [("plain", 0.0, 0.0), ("weight decay", 0.003, 0.0), ("spectral decoupling", 0.0, DECOUPLING)];

struct Size {
    samples: usize,
    hidden: usize,
    steps: usize,
    /// Cells on a side of the grid on which the boundary is found.
    cells: usize,
}

fn size(options: &Options) -> Size {
    let (quick, full) = (
        Size { samples: 60, hidden: 50, steps: 300, cells: 80 },
        Size { samples: 300, hidden: 500, steps: 10_000, cells: 400 },
    );
    options.pick(quick, full)
}

pub(super) fn settings(options: &Options) -> Value {
    let Size { samples, hidden, steps, cells } = size(options);
    json!({
        "samples": samples, "hidden": hidden, "steps": steps, "cells": cells, "shift": SHIFT, "noise": NOISE,
        "spectral-decoupling": DECOUPLING,
    })
}

/// The two moons, shifted so that the sign of the first coordinate is that of −y, and by `shift` apart from there.
///
/// ```text
/// outer moon, y = −1: (cos t, sin t)      inner moon, y = +1: (1 − cos t, ½ − sin t)      t ∈ [0, π], noise added
/// (a, b) ← (a − ½, b − 0.3 y − mean)      b ← −y |b| − y shift                             the point is (b, a)
/// ```
fn moons(samples: usize, shift: f64, seed: u64) -> Labelled {
    let mut random = generator(seed, Purpose::Data, 0, 0);
    let noise = normal(&mut random, 2 * samples);
    let half = samples / 2;
    let mut points: Vec<(f64, f64, f64)> = (0..samples)
        .map(|k| {
            let t = std::f64::consts::PI * (k % half) as f64 / (half - 1) as f64;
            let (a, b, y) =
                if k < half { (t.cos(), t.sin(), -1.0) } else { (1.0 - t.cos(), 0.5 - t.sin(), 1.0) };
            let [da, db] = [noise[2 * k], noise[2 * k + 1]].map(|n| NOISE * f64::from(n));
            (a + da - 0.5, b + db - 0.3 * y, y)
        })
        .collect();
    let middle = points.iter().map(|(_, b, _)| b).sum::<f64>() / samples as f64;
    for (_, b, y) in &mut points {
        *b = -*y * (*b - middle).abs() - *y * shift;
    }
    let inputs = points.iter().flat_map(|&(a, b, _)| [b as f32, a as f32]).collect();
    Labelled { width: 2, inputs, labels: points.iter().map(|p| u32::from(p.2 > 0.0)).collect() }
}

/// Least distance of a sample to the places where the margin of label 1 changes its sign, found on a grid with linear interpolation
/// between its points; NaN when it does not change.
fn distance(network: &Network, samples: &Labelled, cells: usize) -> f64 {
    let at = |k: usize| -SIDE + 2.0 * SIDE * k as f64 / cells as f64;
    let side = cells + 1;
    let margin = |x: f64, y: f64| {
        let logits = network.forward(&[x, y]);
        logits[1] - logits[0]
    };
    let values: Vec<f64> = (0..side * side).map(|k| margin(at(k / side), at(k % side))).collect();
    let value = |i: usize, j: usize| values[i * side + j];
    let crossing = |a: f64, b: f64| ((a < 0.0) != (b < 0.0)).then(|| 2.0 * SIDE / cells as f64 * a / (a - b));
    let mut boundary = Vec::new();
    for i in 0..side {
        for j in 0..cells {
            boundary.extend(crossing(value(i, j), value(i, j + 1)).map(|step| (at(i), at(j) + step)));
            boundary.extend(crossing(value(j, i), value(j + 1, i)).map(|step| (at(j) + step, at(i))));
        }
    }
    let points = samples.inputs.chunks_exact(2).map(|p| (f64::from(p[0]), f64::from(p[1])));
    let near =
        |(x, y): (f64, f64)| boundary.iter().map(|(a, b)| (x - a).hypot(y - b)).fold(f64::NAN, f64::min);
    points.map(near).fold(f64::NAN, f64::min)
}

fn config(options: &Options, (decay, decoupling): (f64, f64), seed: u64) -> TrainConfig {
    let Size { samples, hidden, steps, .. } = size(options);
    let mut config = descent(&[2, hidden, 1], (steps, samples), seed, (RATE, decay));
    config.network.initialization = Initialization::Uniform;
    if decoupling > 0.0 {
        // The mean square of the logits (−f/2, f/2) is f²/4.
        let weight = Ramp::Constant(4.0 * decoupling);
        config.terms.push(Term { objective: "spectral-decoupling".into(), weight });
    }
    config
}

pub(super) fn train(lab: &mut Lab<'_>) -> Result<(), ExperimentError> {
    let options = lab.options.clone();
    let Size { samples, hidden, cells, .. } = size(&options);
    let network = binary(&[2, hidden, 1], Activation::Relu).map_err(unbuilt("moons"))?;
    for (name, decay, decoupling) in WAYS {
        for seed in (options.seed..).take(options.seeds) {
            let train = moons(samples, SHIFT, seed);
            let model = Model {
                name: format!("moons, {name}, seed {seed}"),
                group: "moons",
                knobs: vec![("weight-decay", decay), ("spectral-decoupling", decoupling)],
                config: config(&options, (decay, decoupling), seed),
            };
            lab.model_on(model, &train, Some(&network), |subject, record| {
                let right = train.inputs.chunks_exact(2).zip(&train.labels).filter(|(x, label)| {
                    let logits = subject.network.forward(&[f64::from(x[0]), f64::from(x[1])]);
                    weightproof_train::data::right(&logits, **label as usize)
                });
                record.set("clean", right.count() as f64 / train.len() as f64);
                record.set("distance", distance(&subject.network, &train, cells));
                radii(&subject.network, &train, (subject.seed, samples), record);
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// The name of a way.
fn name(record: &Record) -> &'static str {
    let same = |(_, decay, decoupling): &&(&str, f64, f64)| {
        record.knob("weight-decay") == *decay && record.knob("spectral-decoupling") == *decoupling
    };
    WAYS.iter().find(same).map_or("?", |way| way.0)
}

pub(super) fn present(records: &[Record]) -> Presentation {
    let kinds: Vec<_> = replicas(records).into_iter().filter(|kind| kind[0].group == "moons").collect();
    let mut columns = vec![
        Column::words("training"),
        Column::setting("seeds", "seeds"),
        Column::measured("clean", "right on the training points"),
        Column::new("distance", "least distance to the boundary", Unit::Number, Worth::Measured),
    ];
    columns.extend(radius_columns());
    let caption = format!(
        "Two moons that a straight line separates by {SHIFT}: mean over seeds. The distance is that of the training point \
         nearest to the boundary."
    );
    let names: Vec<String> = columns[2..].iter().map(|c| c.name.clone()).collect();
    let mut table = Table::new("moons", caption, columns);
    for kind in &kinds {
        let mut row = vec![Cell::from(name(kind[0])), Cell::from(kind.len() as f64)];
        row.extend(names.iter().map(|value| spread(kind, value)));
        table.push(row);
    }
    let lines = kinds.iter().map(|kind| {
        let points = kind.iter().map(|r| (r.value("distance"), r.value("median-certified-radius")));
        (name(kind[0]).to_owned(), points.collect())
    });
    let axes = (
        Axis::new("least distance of a training point to the boundary", Scale::Linear),
        Axis::new("median certified radius of the weights", Scale::Linear),
    );
    let title = "Two moons: distance in the input and certified radius of the weights, each seed".into();
    let plot = Chart { joined: false, ..Chart::of_lines("moons", title, axes, lines) };
    let find = |way: &str| kinds.iter().find(|kind| name(kind[0]) == way).map(|kind| mean(kind, "distance"));
    let findings = match (find("plain"), find("weight decay"), find("spectral decoupling")) {
        (Some(plain), Some(decay), Some(decoupling)) => vec![format!(
            "Two moons: the least distance to the boundary is {plain:.3} for plain training, {decay:.3} with weight decay and \
             {decoupling:.3} with spectral decoupling, {:.1} times that of plain training.",
            decoupling / plain
        )],
        _ => Vec::new(),
    };
    Presentation { tables: vec![table], plots: vec![plot], findings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::kernels::Matrix;
    use weightproof::threat::LayerPerturbation;

    #[test]
    fn a_line_separates_the_moons_by_the_shift() {
        let moons = moons(100, SHIFT, 3);
        for (point, label) in moons.inputs.chunks_exact(2).zip(&moons.labels) {
            let y = if *label == 1 { 1.0 } else { -1.0 };
            assert!(-y * f64::from(point[0]) >= SHIFT - 1e-6, "{point:?}");
        }
        assert_eq!(moons.labels.iter().filter(|&&label| label == 1).count(), 50);
    }

    #[test]
    fn the_distance_to_a_line_is_known() {
        // f = relu(x) − relu(−x) + y: the boundary is x + y = 0.
        let network = binary(&[2, 3, 1], Activation::Relu).unwrap();
        let first = Matrix::from_vec(3, 2, vec![1.0, 0.0, -1.0, 0.0, 0.0, 1.0]);
        let last = Matrix::from_vec(1, 3, vec![1.0, -1.0, 1.0]);
        let network = network.with_parameters(&[
            LayerPerturbation { node: 1, weight: first, bias: vec![0.0, 0.0, 10.0] },
            LayerPerturbation { node: 3, weight: last, bias: vec![-10.0] },
        ]);
        let samples = Labelled { width: 2, inputs: vec![1.0, 0.5, -1.0, -1.0], labels: vec![1, 0] };
        assert!((distance(&network, &samples, 200) - 1.5 / 2.0_f64.sqrt()).abs() < 1e-3);
    }
}
