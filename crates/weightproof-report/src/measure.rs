//! Results of `measure`: what theory and measurement say about how a network generalizes.

use crate::header::{DataReport, Environment, ModelReport, ShardReport, ThreatReport};
use crate::table::{Side, Table};
use crate::written::Written;
use crate::{csv, json, text};
use std::io::{self, Write};
use weightproof_figure::number::{exact, grouped, percent, percent_or_dash, value, value_or_dash};

mod blocks;
mod compression;

pub use blocks::{
    EnsembleAt, EnsembleReport, ErrorReport, LayerCapacityReport, LayerUtilizationReport, MeasureRecord,
    MeasuresAt, RademacherReport, SplitReport, UtilizationReport,
};
pub use compression::{CompressionReport, LayerCompressionReport, ShareReport, TruncationReport};

/// All that `measure` says.
#[derive(Clone, Debug)]
pub struct MeasureReport {
    /// The network.
    pub model: ModelReport,
    /// The samples that are measured; held out when training samples are given.
    pub data: DataReport,
    /// Which part of the samples it is about, where it is not all of them.
    pub shard: Option<ShardReport>,
    /// The training samples.
    pub train_data: Option<DataReport>,
    /// The perturbation sets, when a radius is given.
    pub threat: Option<ThreatReport>,
    /// The bound method.
    pub method: String,
    /// Probability with which each bound may fail.
    pub delta: f64,
    /// Errors of the unperturbed network.
    pub errors: ErrorReport,
    /// Measures that have to do with no set.
    pub measures: Vec<MeasureRecord>,
    /// One for each set, the unperturbed network first.
    pub results: Vec<MeasuresAt>,
    /// What each layer contributes, when the network before training is given.
    pub utilization: Option<UtilizationReport>,
    /// Bias and variance, when there are more networks.
    pub ensemble: Option<EnsembleReport>,
    /// Compression by tensor methods.
    pub compression: Option<CompressionReport>,
    /// Why there is none.
    pub compression_refusal: Option<String>,
    /// Settings of the run.
    pub config: serde_json::Value,
    /// Whether measures are missing because of an interrupt.
    pub partial: bool,
    /// Time, memory and host.
    pub environment: Environment,
}

impl MeasureReport {
    /// Every number with the radius it is about; empty where it is about none.
    fn numbers(&self) -> impl Iterator<Item = (Option<f64>, &MeasureRecord)> {
        let plain = self.measures.iter().map(|m| (None, m));
        plain.chain(self.results.iter().flat_map(|at| at.measures.iter().map(|m| (at.radius, m))))
    }
}

impl Written for MeasureReport {
    const NO_PARQUET: &str = "measures have no Parquet form";

    fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let mut fields = json::Fields::open(out, 0)?;
        fields.field("schema", &"weightproof/measure/1")?;
        fields.field("partial", &self.partial)?;
        fields.field("model", &self.model)?;
        fields.field("data", &self.data)?;
        if let Some(shard) = &self.shard {
            fields.field("shard", shard)?;
        }
        fields.field("train_data", &self.train_data)?;
        fields.field("threat", &self.threat)?;
        fields.field("method", &self.method)?;
        fields.field("delta", &self.delta)?;
        fields.field("config", &self.config)?;
        fields.field("errors", &self.errors)?;
        fields.list("measures", &self.measures, json::compact)?;
        fields.list("results", &self.results, json::compact)?;
        fields.field("utilization", &self.utilization)?;
        fields.field("ensemble", &self.ensemble)?;
        fields.field("compression", &self.compression)?;
        if let Some(refusal) = &self.compression_refusal {
            fields.field("compression_refusal", refusal)?;
        }
        fields.field("environment", &self.environment)?;
        fields.close()?;
        writeln!(out)
    }

    fn csv(&self, out: &mut impl Write) -> io::Result<()> {
        let number = |v: Option<f64>| v.map_or_else(String::new, exact);
        let rows = self.numbers().map(|(radius, m)| {
            let words =
                [&m.guarantee, &m.direction, &m.quantity, &m.source].map(|word| word.clone().into_owned());
            let first = [number(radius), m.name.to_string(), number(m.value)];
            first.into_iter().chain(words).chain([m.refusal.clone().unwrap_or_default()]).collect()
        });
        let head = ["radius", "measure", "value", "guarantee", "direction", "quantity", "source", "refusal"];
        csv::table(out, head, rows)
    }

    fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let mut head = Table::new([Side::Left, Side::Left]);
        head.push(["model".into(), text::model(&self.model)]);
        let data =
            |d: &DataReport| format!("{} ({}), {} samples", d.description, d.format, grouped(d.samples));
        match &self.train_data {
            None => head.push([
                "data".into(),
                format!("{}, measured in place of training samples", data(&self.data)),
            ]),
            Some(train) => {
                head.push(["training data".into(), data(train)]);
                head.push(["held-out data".into(), data(&self.data)]);
            }
        }
        if let Some(ShardReport { number, of, first, .. }) = &self.shard {
            head.push(["part".into(), format!("{number}/{of}, from sample {first} on")]);
        }
        self.threat.iter().flat_map(text::threat).for_each(|line| head.push(line));
        head.push(["margins".into(), format!("bounded by {}", self.method)]);
        let [training, held_out, gap] =
            [self.errors.training, self.errors.held_out, self.errors.gap].map(percent_or_dash);
        head.push([
            "errors".into(),
            format!("training {training}, held out {held_out}, gap {gap} (measured)"),
        ]);
        let notes =
            self.model.notes.iter().chain(&text::image_outputs(&self.model)).cloned().collect::<Vec<_>>();
        notes.iter().for_each(|note| head.push(["note", note]));
        write!(out, "{head}")?;
        let mut table = Table::new([Side::Left, Side::Right, Side::Left, Side::Left]);
        table.push(["measure", "value", "guarantee", "direction"]);
        self.measures.iter().for_each(|m| table.push(cells(m)));
        write!(out, "\n{table}")?;
        self.bounds(out)?;
        self.by_radius(out)?;
        self.utilization.iter().try_for_each(|utilization| layers(utilization, out))?;
        self.ensemble.iter().try_for_each(|ensemble| ensemble.text(out))?;
        self.compression.iter().try_for_each(|compression| compression.text(out))?;
        let refused: Vec<String> = self
            .numbers()
            .filter_map(|(_, m)| refusal(m))
            .chain(self.compression_refusal.iter().map(|why| format!("compression: {why}")))
            .collect();
        for (k, line) in refused.iter().enumerate() {
            if !refused[..k].contains(line) {
                writeln!(out, "{}{line}", if k == 0 { "\n" } else { "" })?;
            }
        }
        if self.partial {
            writeln!(out, "\npartial: the run was interrupted before its last measure")?;
        }
        text::environment(&self.environment, out)
    }
}

impl MeasureReport {
    /// The Rademacher bounds and how the radii enlarge the layers.
    fn bounds(&self, out: &mut impl Write) -> io::Result<()> {
        let known: Vec<(&MeasuresAt, &RademacherReport)> =
            self.results.iter().filter_map(|at| Some((at, at.rademacher.as_ref()?))).collect();
        let Some((_, first)) = known.first() else { return Ok(()) };
        let mut table = Table::new([vec![Side::Right; 6], vec![Side::Left]].concat());
        table.push(["radius", "gamma", "margin <= gamma", "capacity", "confidence", "bound", "says"]);
        let proved = std::iter::repeat_n("rigorous", 4);
        table.push(["", ""].into_iter().chain(proved));
        for (at, r) in &known {
            let says = if r.vacuous { "vacuous" } else { "bound" };
            let numbers = [r.capacity, r.confidence, r.bound].map(value_or_dash);
            let cells = [name(at.radius), value_or_dash(r.gamma), percent(r.empirical)];
            table.push(cells.into_iter().chain(numbers).chain([says.to_owned()]));
        }
        let holds = percent(1.0 - self.delta);
        writeln!(
            out,
            "\nRademacher bound of the error of every perturbed network; holds with probability {holds} over the {} samples\n{}",
            grouped(first.samples),
            table.to_string().trim_end()
        )?;
        let mut table = Table::new([vec![Side::Left], vec![Side::Right; 1 + known.len()]].concat());
        let columns = known.iter().map(|(at, _)| format!("row l1 at {}", name(at.radius)));
        table.push(["layer".to_owned()].into_iter().chain(columns).chain(["class".to_owned()]));
        for (k, layer) in first.layers.iter().enumerate() {
            let reached = known.iter().map(|(_, r)| value(r.layers[k].row_norm_reached));
            let class = known.last().map_or(f64::NAN, |(_, r)| r.layers[k].class_row_norm);
            table.push([layer.name.clone()].into_iter().chain(reached).chain([value(class)]));
        }
        write!(
            out,
            "\nlargest row norms that the capacity multiplies, over the set, and rounded up at the last radius\n{table}"
        )
    }

    /// Measures of sets, one column for each.
    fn by_radius(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(first) = self.results.first() else { return Ok(()) };
        let mut table =
            Table::new([vec![Side::Left], vec![Side::Right; self.results.len()], vec![Side::Left]].concat());
        let radii = self.results.iter().map(|at| name(at.radius));
        table.push(["radius".to_owned()].into_iter().chain(radii).chain(["guarantee".to_owned()]));
        for (k, measure) in first.measures.iter().enumerate() {
            let numbers =
                self.results.iter().map(|at| value_or_dash(at.measures.get(k).and_then(|m| m.value)));
            let cells = [measure.name.to_string()].into_iter().chain(numbers);
            table.push(cells.chain([measure.guarantee.to_string()]));
        }
        write!(out, "\n{table}")
    }
}

impl EnsembleReport {
    fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let mut table = Table::new(vec![Side::Right; 7]);
        let parts = ["loss", "bias", "variance"];
        table.push(["radius"].into_iter().chain(parts).chain(parts));
        let names = [["cross-entropy"; 3], ["squared"; 3]].concat();
        table.push([""].into_iter().chain(names));
        for at in &self.results {
            let of = |s: SplitReport| [s.loss, s.bias, s.variance].map(value_or_dash);
            let cells = [of(at.cross_entropy), of(at.squared)].concat();
            table.push([name(at.radius)].into_iter().chain(cells));
        }
        writeln!(
            out,
            "\nbias and variance of {} networks on {} samples, each at the worst that was found for it (estimate)\n{}",
            self.members,
            grouped(self.samples),
            table.to_string().trim_end()
        )
    }
}

/// What each layer contributes.
fn layers(utilization: &UtilizationReport, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new([vec![Side::Left], vec![Side::Right; 5]].concat());
    let probes = ["probe, training", "probe, held out", "error when set back from here"];
    table.push(["layer", "distance", "relative"].into_iter().chain(probes));
    for layer in &utilization.layers {
        table.push([
            layer.name.clone(),
            value(layer.distance),
            value_or_dash(layer.relative_distance),
            percent(layer.probe_training),
            percent_or_dash(layer.probe_held_out),
            percent(layer.reset_error),
        ]);
    }
    let rewind: Vec<String> =
        utilization.rewind.iter().map(|&(a, error)| format!("{} at {a}", percent(error))).collect();
    writeln!(
        out,
        "\nlayers against the network before training (measured)\n{}",
        table.to_string().trim_end()
    )?;
    writeln!(out, "error on the straight way from it: {}", rewind.join(", "))
}

fn cells(m: &MeasureRecord) -> [String; 4] {
    // Counts have no digits after the point.
    let whole = m.value.filter(|v| v.fract() == 0.0 && (1.0..1e15).contains(v)).map(|v| grouped(v as usize));
    let number = whole.unwrap_or_else(|| value_or_dash(m.value));
    [m.name.to_string(), number, m.guarantee.to_string(), m.direction.to_string()]
}

fn refusal(m: &MeasureRecord) -> Option<String> {
    m.refusal.as_ref().map(|why| format!("{}: {why}", m.name))
}

/// A radius for people.
fn name(radius: Option<f64>) -> String {
    match radius {
        None => "of the file".into(),
        Some(0.0) => "0 (unperturbed)".into(),
        Some(r) => exact(r),
    }
}
