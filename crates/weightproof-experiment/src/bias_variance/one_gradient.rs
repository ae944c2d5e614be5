//! Attacks by the gradients that they need.
//!
//! ```text
//! m = f_y − f_j, j the runner-up      g = ∇m
//! one gradient     v − min(ε, 1.02 m / ‖g‖₁) sign g       as far as a linear m needs, and a little more; ‖g‖₁ of what can move
//! FGSM             v − ε sign g
//! PGD, k steps     v ← clip(v − (2.5 ε / k) sign g, v₀ ± ε), until the sample is broken
//! ```
//! v: an input, which stays in [0, 1], or all weights and biases, a Ŵ for each sample. Only samples count that the network is right about.

use super::cell;
use crate::lab::{Record, mean};
use crate::table::{Cell, Column, Table, Unit};
use weightproof::network::Network;
use weightproof::verdict::Worth;
use weightproof_train::Labelled;
use weightproof_train::graph::Graph;
use weightproof_train::parameters::Parameters;

/// How far beyond the place where a linear margin is zero.
const BEYOND: f32 = 1.02;
/// The steps of PGD together, as a multiple of the radius.
const REACH: f32 = 2.5;
/// Radii of inputs and weights.
const INPUT: [f64; 2] = [0.02, 0.05];
const WEIGHT: [f64; 2] = [0.002, 0.005];

/// An attack: name, and steps of PGD; 0 for one step of the full radius, none for one that is as long as it must be.
const ATTACKS: [(&str, Option<usize>); 4] =
    [("one-gradient", None), ("fgsm", Some(0)), ("pgd-5", Some(5)), ("pgd-20", Some(20))];

/// The margin of a sample against its runner-up, and its gradients.
struct Slope {
    margin: f32,
    parameters: Parameters,
    input: Vec<f32>,
}

/// The margin alone.
fn margin(graph: &Graph, at: &Parameters, input: &[f32], label: u32) -> f32 {
    let tape = graph.tape();
    let (weights, x) = (graph.track(&tape, at), graph.batch(&tape, input));
    let logits = graph.forward(&weights, x).numbers();
    logits[label as usize] - logits[runner_up(&logits, label)]
}

fn runner_up(logits: &[f32], label: u32) -> usize {
    let rivals = (0..logits.len()).filter(|&j| j != label as usize);
    rivals.max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap_or(0)
}

fn slope(graph: &Graph, at: &Parameters, input: &[f32], label: u32) -> Slope {
    let rival = {
        let tape = graph.tape();
        let (weights, x) = (graph.track(&tape, at), graph.batch(&tape, input));
        [runner_up(&graph.forward(&weights, x).numbers(), label) as u32]
    };
    let own = [label];
    let tape = graph.tape();
    let (weights, x) = (graph.track(&tape, at), graph.tracked_batch(&tape, input));
    let logits = graph.forward(&weights, x);
    let margin = (logits.block(&own, 1) - logits.block(&rival, 1)).mean();
    tape.backward(margin, 1.0);
    Slope { margin: margin.numbers()[0], parameters: graph.gradient(&weights), input: x.gradient() }
}

/// What an attack did to a sample.
struct Outcome {
    broken: bool,
    gradients: usize,
    /// Largest change of a variable, as a part of the radius.
    size: f32,
}

fn sign(g: f32) -> f32 {
    f32::from(i8::from(g > 0.0) - i8::from(g < 0.0))
}

/// One sample under one attack on inputs, or on weights.
fn attack(
    (graph, start): (&Graph, &Parameters),
    (input, label): (&[f32], u32),
    (weights, radius): (bool, f32),
    steps: Option<usize>,
) -> Outcome {
    let (mut at, mut x) = (start.clone(), input.to_vec());
    let count = steps.unwrap_or(1).max(1);
    for step in 1..=count {
        let slope = slope(graph, &at, &x, label);
        let gradient: f32 = if weights {
            slope.parameters.arrays.iter().flatten().map(|g| g.abs()).sum()
        } else {
            // Pixels at an end of their range move one way only.
            let moves = |x: f32, g: f32| if g > 0.0 { x > 0.0 } else { x < 1.0 };
            slope.input.iter().zip(&x).filter(|(g, x)| moves(**x, **g)).map(|(g, _)| g.abs()).sum()
        };
        let length = match steps {
            None => radius.min(BEYOND * slope.margin / gradient),
            Some(0) => radius,
            Some(steps) => REACH * radius / steps as f32,
        };
        if weights {
            at = at.zip(&slope.parameters, |w, g| w - length * sign(g));
            at = at.zip(start, |w, center| w.clamp(center - radius, center + radius));
        } else {
            for ((x, g), center) in x.iter_mut().zip(&slope.input).zip(input) {
                *x = (*x - length * sign(*g)).clamp(center - radius, center + radius).clamp(0.0, 1.0);
            }
        }
        let broken = !(margin(graph, &at, &x, label) > 0.0);
        if broken || step == count {
            let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let moved =
                at.arrays.iter().zip(&start.arrays).map(|(a, b)| far(a, b)).fold(far(&x, input), f32::max);
            return Outcome { broken, gradients: step, size: moved / radius };
        }
    }
    unreachable!("there is a last step")
}

fn key(what: &str, attack: &str, moved: &str, radius: f64) -> String {
    format!("{what}-{attack}-{moved}-{radius}")
}

/// Keeps the share of the samples that each attack breaks, the gradients it takes for one, and how far it goes.
pub(super) fn measure(network: &Network, samples: &Labelled, record: &mut Record) {
    let (graph, start) = (Graph::new(network), Parameters::of(network));
    let rows = samples.inputs.chunks_exact(samples.width).zip(samples.labels.iter().copied());
    let right: Vec<(&[f32], u32)> =
        rows.filter(|(x, label)| margin(&graph, &start, x, *label) > 0.0).collect();
    for (moved, radii) in [("input", INPUT), ("weight", WEIGHT)] {
        for radius in radii {
            for (name, steps) in ATTACKS {
                let outcomes: Vec<Outcome> = right
                    .iter()
                    .map(|&sample| {
                        attack((&graph, &start), sample, (moved == "weight", radius as f32), steps)
                    })
                    .collect();
                let mean =
                    |of: fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>() / outcomes.len() as f64;
                record.set(&key("success", name, moved, radius), mean(|o| f64::from(u8::from(o.broken))));
                record.set(&key("gradients", name, moved, radius), mean(|o| o.gradients as f64));
                record.set(&key("size", name, moved, radius), mean(|o| f64::from(o.size)));
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
                   (least–largest) over seeds.";
    let mut table = Table::new("attacks", caption, columns);
    for kind in kinds {
        for (moved, radii) in [("input", INPUT), ("weight", WEIGHT)] {
            for radius in radii {
                for (name, _) in ATTACKS {
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

#[cfg(test)]
mod tests {
    use super::*;
    use weightproof::kernels::Matrix;
    use weightproof::network::NetworkBuilder;

    /// f = (x₁ + 2 x₂, 0): the margin is linear, so one gradient needs no more than it takes.
    #[test]
    fn one_gradient_breaks_a_linear_network_with_the_least_change() {
        let mut builder = NetworkBuilder::new(vec![2]);
        builder.dense("a", 0, Matrix::from_vec(2, 2, vec![1.0, 2.0, 0.0, 0.0]), Vec::new()).unwrap();
        let network = builder.finish().unwrap();
        let (graph, start) = (Graph::new(&network), Parameters::of(&network));
        let sample = (&[0.5_f32, 0.5][..], 0);
        let at =
            |weights: bool, radius: f32, steps| attack((&graph, &start), sample, (weights, radius), steps);
        // m = 1.5 and ‖g‖₁ = 3: the step is 0.51.
        assert!(!at(false, 0.4, None).broken);
        let found = at(false, 0.6, None);
        assert!(!found.broken || found.size < 1.0);
        let found = at(true, 1.0, None);
        // The gradient by the weights is x for one row and −x for the other, ‖g‖₁ = 2: the step is 0.765, and 1.5 − 0.765 · 2 < 0.
        assert!(found.broken && (found.size - 0.765).abs() < 1e-5 && found.gradients == 1);
        let found = at(true, 1.0, Some(0));
        assert!(found.broken && found.size == 1.0);
        let found = at(true, 1.0, Some(5));
        assert!(found.broken && found.gradients == 2, "{}", found.gradients);
    }
}
