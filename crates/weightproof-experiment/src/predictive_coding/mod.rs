//! Balanced predictive coding: how exactly does a circuit read its input when its weights are disordered, noisy and late?
//!
//! The circuit ([`simulation`]) beside what large circuits do in the mean ([`mean_field`]): bias against feedback, exponents of the variance,
//! error against the strength of the disorder, and the feedback from which on a delay makes it oscillate. The disorder is a random
//! perturbation of weights, so the last part proves how far it can move the readout of the first steps ([`unrolled`]).
//!
//! # Source
//! Kadmon, Timcheck and Ganguli, arXiv 2006.14178 (reconstruction of the equations; the numbers of the mean field are our own).

mod mean_field;
mod simulation;
mod unrolled;

use crate::lab::{Lab, Presentation, Record, along, average, mean, replicas, spread};
use crate::measure::{deviation, drawn_deviation};
use crate::recipe::unbuilt;
use crate::table::{Cell, Column, Table, Unit};
use crate::{Experiment, ExperimentError, Needs, Options};
use serde_json::{Value, json};
use simulation::{Circuit, Readout, Run};
use unrolled::Unrolled;
use weightproof::verdict::Worth;
use weightproof_figure::{Axis, Chart, Scale};

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "predictive-coding",
    summary: "A circuit that reads its input by feedback: noise, disordered weights and delays, by simulation, mean field and certified bounds.",
    needs: Needs::Nothing,
    settings,
    train,
    present,
};

/// The input x.
const INPUT: f64 = 0.2;
/// σ, where there is noise.
const NOISE: f64 = 0.75;
/// Feedbacks of the tables.
const FEEDBACKS: [f64; 6] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
/// Feedback from which on the variance is taken for a power of b.
const ASYMPTOTIC: f64 = 4.0;
/// Strength of the disorder that makes chaos.
const CHAOTIC: f64 = 1.6;
/// Strengths of the disorder of the error.
const GAINS: [f64; 7] = [0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4];
/// Feedbacks of the error.
const FEW_FEEDBACKS: [f64; 2] = [2.0, 16.0];
/// d of the delayed circuits.
const DELAY: f64 = 0.1;
/// Feedbacks of the delayed circuits, as parts of the critical one.
const PARTS: [f64; 6] = [0.6, 0.8, 0.9, 1.1, 1.2, 1.4];
/// Radius of every J_ij of the certified circuits, as a part of its standard deviation 1/√N.
const PART: f64 = 0.08;
/// Steps and feedbacks of the certified circuits.
const UNROLLED: [usize; 4] = [2, 4, 8, 12];
const CERTIFIED_FEEDBACKS: [f64; 3] = [1.0, 4.0, 8.0];
/// Draws of disorder beside bounds and attack.
const DRAWS: usize = 100;

/// N of circuits with noise, and of those with disorder.
fn neurons(options: &Options) -> [usize; 2] {
    options.pick([200, 100], [1400, 1400])
}

/// N of certified circuits: the first with all feedbacks and steps, the others with the least and the largest feedback and the most steps.
fn certified_neurons(options: &Options) -> &'static [usize] {
    options.pick(&[6, 12], &[16, 64, 256])
}

/// Spans of a simulation, in units of the decay.
struct Times {
    step: f64,
    /// What passes before anything is measured.
    settle: f64,
    /// What is measured.
    measured: f64,
}

fn times(options: &Options) -> Times {
    options.pick(
        Times { step: 0.05, settle: 10.0, measured: 30.0 },
        Times { step: 0.02, settle: 20.0, measured: 200.0 },
    )
}

fn settings(options: &Options) -> Value {
    let [noisy, disordered] = neurons(options);
    let Times { step, settle, measured } = times(options);
    json!({
        "input": INPUT, "noise": NOISE, "chaotic-gain": CHAOTIC, "delay": DELAY, "neurons": noisy, "disordered-neurons": disordered,
        "certified-neurons": certified_neurons(options), "step": step, "settle": settle, "time": measured, "part": PART, "draws": DRAWS,
    })
}

fn run(options: &Options, neurons: usize, (step, delay): (f64, usize), circuits: Vec<Circuit>) -> Run {
    let Times { settle, measured, .. } = times(options);
    let count = |time: f64| (time / step).round() as usize;
    Run { neurons, step, steps: (count(settle), count(measured)), delay, input: INPUT, circuits }
}

fn train(lab: &mut Lab<'_>) -> Result<(), ExperimentError> {
    let options = lab.options.clone();
    let [noisy, disordered] = neurons(&options);
    let step = times(&options).step;
    let critical = mean_field::critical_feedback(INPUT, NOISE, DELAY).expect("a delay");
    let sizes = certified_neurons(&options);
    for seed in (options.seed..).take(options.seeds) {
        for feedback in CERTIFIED_FEEDBACKS {
            for steps in UNROLLED {
                certify(lab, Unrolled { neurons: sizes[0], gain: 1.0, feedback, steps }, seed)?;
            }
        }
        for &neurons in &sizes[1..] {
            for feedback in [CERTIFIED_FEEDBACKS[0], CERTIFIED_FEEDBACKS[2]] {
                certify(lab, Unrolled { neurons, gain: 1.0, feedback, steps: UNROLLED[3] }, seed)?;
            }
        }
    }
    for seed in (options.seed..).take(options.seeds) {
        let with_noise = |feedback| Circuit { gain: 0.0, feedback, noise: NOISE };
        let run_noisy = run(&options, noisy, (step, 0), FEEDBACKS.map(with_noise).to_vec());
        simulate(lab, "noise", &run_noisy, seed)?;

        let quiet = |gain: f64| move |feedback| Circuit { gain, feedback, noise: 0.0 };
        let mut circuits = FEEDBACKS.map(quiet(CHAOTIC)).to_vec();
        circuits.extend(FEW_FEEDBACKS.iter().flat_map(|&b| GAINS.map(|g| quiet(g)(b))));
        simulate(lab, "disorder", &run(&options, disordered, (step, 0), circuits), seed)?;

        // Ten steps of the delay are enough for its phase.
        let late = run(&options, noisy, (DELAY / 10.0, 10), PARTS.map(|p| with_noise(p * critical)).to_vec());
        simulate(lab, "delay", &late, seed)?;
    }
    Ok(())
}

/// Keeps what a run reads as curves over its circuits.
fn simulate(lab: &mut Lab<'_>, group: &'static str, run: &Run, seed: u64) -> Result<(), ExperimentError> {
    lab.record(format!("{group}, seed {seed}"), group, &[], |record, interrupted| {
        let found = run.simulate(seed, interrupted).ok_or(ExperimentError::Interrupted)?;
        let mut keep = |name: &str, of: fn((&Circuit, &Readout)) -> f64| {
            let values = run.circuits.iter().zip(&found).map(of).collect();
            record.curves.insert(name.into(), values);
        };
        keep("feedback", |(circuit, _)| circuit.feedback);
        keep("gain", |(circuit, _)| circuit.gain);
        keep("bias", |(_, readout)| INPUT - readout.mean);
        keep("variance", |(_, readout)| readout.variance);
        keep("error", |(_, readout)| readout.error);
        if run.circuits.iter().all(|circuit| circuit.gain == 0.0) {
            keep("mean-field", |(circuit, _)| mean_field::bias(INPUT, circuit.noise, circuit.feedback));
        }
        Ok(())
    })?;
    Ok(())
}

fn certify(lab: &mut Lab<'_>, circuit: Unrolled, seed: u64) -> Result<(), ExperimentError> {
    let Unrolled { neurons, feedback, steps, .. } = circuit;
    let knobs = [
        ("neurons", neurons as f64),
        ("feedback", feedback),
        ("steps", steps as f64),
        ("step", unrolled::STEP),
    ];
    let name = format!("certified, N = {neurons}, b = {feedback}, {steps} steps, seed {seed}");
    lab.record(name.clone(), "certified", &knobs, |record, _| {
        let network = circuit.network(seed).map_err(unbuilt(&name))?;
        let set = circuit.set(&network, PART / (neurons as f64).sqrt());
        let found = deviation(&network, &set, &[INPUT], 50, seed);
        record.set("readout", network.forward(&[INPUT])[0]);
        record.set("proved", found.proved);
        record.set("found", found.found);
        record.set("random", drawn_deviation(&network, &set, &[INPUT], DRAWS, seed));
        Ok(())
    })?;
    Ok(())
}

/// Records of a group.
fn of<'a>(records: &'a [Record], group: &str) -> Vec<&'a Record> {
    records.iter().filter(|r| r.group == group).collect()
}

/// Slope of the straight line through (ln x, ln y), by least squares.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let logarithms: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logarithms.len() as f64;
    let (mx, my) = logarithms.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / count, b + y / count));
    let (cross, square) =
        logarithms.iter().fold((0.0, 0.0), |(c, s), (x, y)| (c + (x - mx) * (y - my), s + (x - mx).powi(2)));
    cross / square
}

/// Exponent of the variance in b, from the asymptotic feedbacks of the first circuits of the runs.
fn variance_exponent(runs: &[&Record]) -> f64 {
    let points: Vec<(f64, f64)> = FEEDBACKS
        .iter()
        .enumerate()
        .filter(|(_, b)| **b >= ASYMPTOTIC)
        .map(|(k, b)| (*b, average(&along(runs, "variance", k))))
        .collect();
    exponent(&points)
}

fn present(_: &Options, records: &[Record]) -> Presentation {
    let [noise, disorder, delay] = ["noise", "disorder", "delay"].map(|group| of(records, group));
    let certified: Vec<_> =
        replicas(records).into_iter().filter(|kind| kind[0].group == "certified").collect();
    let tables = vec![
        feedback_table(&noise, &disorder),
        gain_table(&disorder),
        delay_table(&delay),
        certified_table(&certified),
    ];
    let plots = vec![variance_plot(&noise, &disorder), gain_plot(&disorder), certified_plot(&certified)];
    let mut findings = Vec::new();
    if !noise.is_empty() && !disorder.is_empty() {
        let off = (0..FEEDBACKS.len()).map(|k| {
            (average(&along(&noise, "bias", k)) / average(&along(&noise, "mean-field", k)) - 1.0).abs()
        });
        findings.push(format!(
            "The bias of the simulation is within {:.1}% of the mean field at every feedback.",
            100.0 * off.fold(0.0, f64::max)
        ));
        findings.push(format!(
            "From b = {ASYMPTOTIC} on the variance of the readout goes as b to the power {:.2} under noise, and {:.2} in chaos (g = {CHAOTIC}).",
            variance_exponent(&noise),
            variance_exponent(&disorder),
        ));
    }
    if !delay.is_empty() {
        let critical = average(&along(&delay, "feedback", 0)) / PARTS[0];
        let [below, above] = [2, 3].map(|k| average(&along(&delay, "variance", k)).sqrt());
        findings.push(format!(
            "With a delay of {DELAY} the mean field is unstable from b = {critical:.1} on; the readout moves by {below:.4} at {} of that and by \
             {above:.4} at {}.",
            PARTS[2], PARTS[3]
        ));
    }
    Presentation { tables, plots, findings }
}

fn number(name: &str, head: &str) -> Column {
    Column::new(name, head, Unit::Number, Worth::Measured)
}

fn feedback_table(noise: &[&Record], disorder: &[&Record]) -> Table {
    let columns = vec![
        Column::setting("feedback", "b"),
        number("mean-field", "bias, mean field"),
        number("bias", "bias, noise"),
        number("noise-variance", "variance, noise"),
        number("chaos-bias", "bias, chaos"),
        number("chaos-variance", "variance, chaos"),
    ];
    let caption = format!(
        "Bias x − ⟨x̂⟩ and variance of the readout for x = {INPUT} against the feedback: noise of σ = {NOISE} without disorder, and chaos (g = \
         {CHAOTIC}) without noise. Mean over seeds."
    );
    let mut table = Table::new("feedback", caption, columns);
    for (k, &b) in FEEDBACKS.iter().enumerate() {
        let cell = |runs: &[&Record], curve: &str| Cell::spread(&along(runs, curve, k));
        table.push(vec![
            b.into(),
            average(&along(noise, "mean-field", k)).into(),
            cell(noise, "bias"),
            cell(noise, "variance"),
            cell(disorder, "bias"),
            cell(disorder, "variance"),
        ]);
    }
    table
}

/// Place of a circuit of the error among those of the disorder.
fn place(feedback: usize, gain: usize) -> usize {
    FEEDBACKS.len() + feedback * GAINS.len() + gain
}

fn gain_table(disorder: &[&Record]) -> Table {
    let mut columns = vec![Column::setting("gain", "g")];
    columns.extend(FEW_FEEDBACKS.map(|b| number(&format!("error-{b}"), &format!("error at b = {b}"))));
    let caption = "Error of the readout, √mean (x̂ − x)², against the strength of the disorder of the weights, without noise.";
    let mut table = Table::new("disorder", caption, columns);
    for (k, &gain) in GAINS.iter().enumerate() {
        let mut row = vec![Cell::from(gain)];
        row.extend((0..FEW_FEEDBACKS.len()).map(|f| Cell::spread(&along(disorder, "error", place(f, k)))));
        table.push(row);
    }
    table
}

fn delay_table(delay: &[&Record]) -> Table {
    let columns = vec![
        Column::setting("part", "b / critical b"),
        number("feedback", "b"),
        number("deviation", "standard deviation of the readout"),
    ];
    let caption = format!("A feedback that arrives {DELAY} late, with noise of σ = {NOISE}.");
    let mut table = Table::new("delay", caption, columns);
    for (k, &part) in PARTS.iter().enumerate() {
        let deviations: Vec<f64> = along(delay, "variance", k).into_iter().map(f64::sqrt).collect();
        table.push(vec![
            part.into(),
            average(&along(delay, "feedback", k)).into(),
            Cell::spread(&deviations),
        ]);
    }
    table
}

fn certified_table(kinds: &[Vec<&Record>]) -> Table {
    let columns = vec![
        Column::setting("neurons", "N"),
        Column::setting("feedback", "b"),
        Column::setting("steps", "steps"),
        number("readout", "readout"),
        Column::new("random", "change, random", Unit::Number, Worth::Estimate),
        Column::new("found", "change found by attack", Unit::Number, Worth::Estimate),
        Column::new("proved", "change proved", Unit::Number, Worth::RIGOROUS),
    ];
    let caption = format!(
        "Change of the readout after some steps of {} when every weight J_ij moves by at most {PART}/√N (g = 1), in each step on its own: linear \
         bounds, the attack of neuron space, and the largest of {DRAWS} uniform draws.",
        unrolled::STEP
    );
    let mut table = Table::new("certified", caption, columns);
    for kind in kinds {
        let mut row: Vec<Cell> =
            ["neurons", "feedback", "steps"].map(|knob| kind[0].knob(knob).into()).to_vec();
        row.extend(["readout", "random", "found", "proved"].map(|value| spread(kind, value)));
        table.push(row);
    }
    table
}

fn variance_plot(noise: &[&Record], disorder: &[&Record]) -> Chart {
    let line = |name: &str, runs: &[&Record]| {
        let points = FEEDBACKS.iter().enumerate().map(|(k, b)| (*b, average(&along(runs, "variance", k))));
        (name.to_owned(), points.collect::<Vec<_>>())
    };
    let axes = (
        Axis::new("feedback b", Scale::Logarithmic),
        Axis::new("variance of the readout", Scale::Logarithmic),
    );
    let title = "Noise and chaos: variance of the readout against the feedback".into();
    Chart::of_lines("variance", title, axes, [line("noise", noise), line("chaos", disorder)])
}

fn gain_plot(disorder: &[&Record]) -> Chart {
    let line = |f: usize| {
        let points =
            GAINS.iter().enumerate().map(|(k, g)| (*g, average(&along(disorder, "error", place(f, k)))));
        (format!("b = {}", FEW_FEEDBACKS[f]), points.collect::<Vec<_>>())
    };
    let axes = (
        Axis::new("strength g of the disorder", Scale::Linear),
        Axis::new("error of the readout", Scale::Logarithmic),
    );
    let title = "Disordered weights: error of the readout".into();
    Chart::of_lines("disorder", title, axes, (0..FEW_FEEDBACKS.len()).map(line))
}

fn certified_plot(kinds: &[Vec<&Record>]) -> Chart {
    let line = |b: f64, value: &str, name: &str| {
        let first = kinds.first().map_or(0.0, |kind| kind[0].knob("neurons"));
        let of = kinds.iter().filter(|k| k[0].knob("feedback") == b && k[0].knob("neurons") == first);
        let points = of.map(|kind| (kind[0].knob("steps"), mean(kind, value))).collect::<Vec<_>>();
        (format!("b = {b}: {name}"), points)
    };
    let lines =
        CERTIFIED_FEEDBACKS.iter().flat_map(|&b| [line(b, "proved", "proved"), line(b, "found", "found")]);
    let axes = (Axis::new("steps", Scale::Count), Axis::new("change of the readout", Scale::Logarithmic));
    Chart::of_lines("certified", format!("Every J_ij moves by {PART}/√N: change of the readout"), axes, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_have_their_exponents() {
        let points = [1.0, 2.0, 8.0].map(|x: f64| (x, 3.0 * x.powf(-1.5)));
        assert!((exponent(&points) + 1.5).abs() < 1e-12);
    }
}
