//! Gradient starvation: does the penalty of spectral decoupling keep a network from living on its easiest feature?
//!
//! Three parts: two features whose responses are known exactly ([`two_features`]), two moons that a straight line separates
//! ([`moons`]), and digits whose colour tells more than their shape, but not in the test ([`coloured`]). Certified weight radii of the
//! trained models are the bridge to the subject of this tool.
//!
//! # Source
//! Pezeshki et al., arXiv 2011.09468, and the code that goes with it.

mod coloured;
mod invariant;
mod moons;
mod two_features;

use crate::measure::{Bench, Effort, largest_weight};
use crate::table::{Column, Unit};
use crate::{Experiment, ExperimentError, Lab, Needs, Options, Presentation, Record};
use serde_json::{Value, json};
use weightproof::network::Network;
use weightproof::verdict::Worth;
use weightproof_train::Labelled;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "gradient-starvation",
    summary: "Spectral decoupling against plain training and weight decay: two features, two moons, coloured digits, and certified radii.",
    needs: Needs::Images,
    settings,
    train,
    present,
};

/// Nothing is attacked here.
const EFFORT: Effort = Effort { passes: 1, steps: 1, draws: 1 };

fn settings(options: &Options) -> Value {
    json!({ "moons": moons::settings(options), "coloured": coloured::settings(options) })
}

fn train(lab: &mut Lab<'_>) -> Result<(), ExperimentError> {
    two_features::compute(lab)?;
    moons::train(lab)?;
    coloured::train(lab)
}

fn present(_: &Options, records: &[Record]) -> Presentation {
    let mut all = Presentation::default();
    for part in [two_features::present, moons::present, coloured::present] {
        let part = part(records);
        all.tables.extend(part.tables);
        all.plots.extend(part.plots);
        all.findings.extend(part.findings);
    }
    all
}

/// Median certified weight radius on some samples, and the largest weight that it is to be read with.
fn radii(network: &Network, samples: &Labelled, (seed, most): (u64, usize), record: &mut Record) {
    let wide = samples.wide();
    let radius = Bench::new(network, samples, &wide, seed, EFFORT).median_certified_radius(most);
    record.set("median-certified-radius", radius);
    record.set("largest-weight", largest_weight(network));
    record.set("radius-by-weight", (radius / largest_weight(network)).next_down());
}

fn radius_columns() -> [Column; 3] {
    let weight = |name: &str, head: &str, guarantee| Column::new(name, head, Unit::Weight, guarantee);
    [
        weight("median-certified-radius", "median certified radius", Worth::RIGOROUS),
        weight("largest-weight", "largest weight", Worth::Measured),
        weight("radius-by-weight", "radius / largest weight", Worth::RIGOROUS),
    ]
}
