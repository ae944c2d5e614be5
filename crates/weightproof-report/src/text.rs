//! Text for people: what was asked, a table with the guarantee of every number, the first samples that fail.

use crate::exact::BudgetReport;
use crate::field;
use crate::header::{
    DataReport, Environment, Header, MethodReport, ModelReport, NoiseReport, ScaleReport, ThreatReport,
};
use crate::report::{Record, Report, RunResult};
use crate::table::{Side, Table};
use std::io::{self, Write};
use weightproof::faults::{Encoding, Fault, FaultModel};
use weightproof::noise::{Compensation, NoiseKind};
use weightproof_figure::number::{exact, grouped, shape};

/// How many samples are listed.
const LISTED: usize = 5;

/// Writes a report.
pub(crate) fn report<R: Record>(report: &Report<R>, out: &mut impl Write) -> io::Result<()> {
    header(&report.header, out)?;
    writeln!(out, "\n{}", report.summary_table().to_string().trim_end())?;
    for result in &report.results {
        for (title, curve) in R::curves(&result.summary, report.header.guarantee) {
            let time = result.radius.filter(|_| report.header.threat.is_time());
            let at = time.map_or_else(String::new, |time| format!(", {}", report.header.threat.named(time)));
            writeln!(out, "\n{title}{at}\n{}", curve.trim_end())?;
        }
        failing(result, &report.header.threat, out)?;
    }
    if report.partial {
        writeln!(out, "\npartial: the run was interrupted before its last sample")?;
    }
    environment(&report.environment, out)
}

fn header(header: &Header, out: &mut impl Write) -> io::Result<()> {
    let data = &header.data;
    let from = if data.offset == 0 { String::new() } else { format!(" from number {}", data.offset) };
    let labels = if data.labelled { "" } else { ", without labels" };
    let mut table = Table::new([Side::Left, Side::Left]);
    table.push(["model".into(), model(&header.model)]);
    table.push([
        "data".into(),
        format!(
            "{} ({}), {} samples of {}{from}{labels}{}",
            data.description,
            data.format,
            data.samples,
            shape(&data.shape),
            data.shortfall()
        ),
    ]);
    shard(header).into_iter().for_each(|line| table.push([String::new(), line]));
    scale(data).into_iter().for_each(|line| table.push([String::new(), line]));
    let range =
        data.range.map(|[low, high]| format!("the network reads {low} to {high} in the first samples"));
    range.into_iter().for_each(|line| table.push([String::new(), line]));
    classes(data).into_iter().for_each(|line| table.push([String::new(), line]));
    for line in threat(&header.threat) {
        table.push(line);
    }
    table.push(["method".into(), method(&header.method)]);
    let assumptions = header.method.assumptions.iter();
    assumptions.for_each(|assumption| table.push([String::new(), format!("assumes: {assumption}")]));
    table.push(["property".into(), property(&header.method)]);
    for note in header.model.notes.iter().chain(&image_outputs(&header.model)).chain(&data.remarks) {
        table.push(["note", note]);
    }
    write!(out, "{table}")
}

/// Which part of the samples a result is about.
fn shard(header: &Header) -> Option<String> {
    let shard = header.shard.as_ref()?;
    Some(format!("shard {} of {}; `weightproof merge` joins them", shard.number, shard.of))
}

/// Which number each class has, of the first twenty.
fn classes(data: &DataReport) -> Option<String> {
    const SHOWN: usize = 20;
    let names: Vec<String> =
        data.classes.iter().take(SHOWN).enumerate().map(|(k, name)| format!("{k} = {name}")).collect();
    let rest = if data.classes.len() > SHOWN { ", …" } else { "" };
    (!names.is_empty()).then(|| format!("labels {}{rest}", names.join(", ")))
}

/// What the data were multiplied by.
pub(crate) fn scale(data: &DataReport) -> Option<String> {
    let ScaleReport { factor, bytes, reason } = data.scale.as_ref()?;
    let kind = if *bytes { "u8 data" } else { "data" };
    Some(format!("{kind} times {factor} ({reason})"))
}

/// What is said about the outputs where they are no list of classes.
pub(crate) fn image_outputs(m: &ModelReport) -> Option<String> {
    let shape = m.output_shape.as_deref()?;
    Some(format!(
        "the output has the shape {shape:?}: it is no list of classes, only --property deviation applies"
    ))
}

/// The network in one line.
pub(crate) fn model(m: &ModelReport) -> String {
    let widths = m.layers.iter().map(|l| l.shape[0].to_string());
    let widths: Vec<String> = std::iter::once(shape(&m.input_shape)).chain(widths).collect();
    let (parameters, sha256) = (grouped(m.parameters), m.sha256.get(..12).unwrap_or(&m.sha256));
    format!("{} ({}), {}, {parameters} parameters, sha256 {sha256}", m.name, m.format, widths.join("-"))
}

/// The threat model, one pair of cells for each line.
pub(crate) fn threat(t: &ThreatReport) -> Vec<[String; 2]> {
    if let Some(model) = &t.faults {
        return faults(model, t);
    }
    let noise = t.noise.as_ref().map(noise).unwrap_or_default();
    if t.kind.starts_with("noise:") {
        return noise;
    }
    let mut lines = noise;
    lines.push(["threat".into(), format!("{}; unit of the radius: {}", t.kind, t.unit)]);
    let mut more = |text: String| lines.push([String::new(), text]);
    more(match t.perturbed_layers.as_slice() {
        [] => "no layer is perturbed".into(),
        layers => format!("perturbed layers: {}", layers.join(", ")),
    });
    match t.bias_radius {
        None => more("biases move like the weights of their layer".into()),
        Some(0.0) => more("biases do not move".into()),
        Some(radius) => more(format!("radius of biases {}", exact(radius))),
    }
    if t.input_radius > 0.0 {
        let range = t.input_range.map_or_else(String::new, |(a, b)| format!(" within {a} to {b}"));
        more(format!("input radius {}{range}", exact(t.input_radius)));
    }
    if t.activation_radius > 0.0 {
        more(format!("activation radius {}", exact(t.activation_radius)));
    }
    for (name, own) in &t.overrides {
        let of = if own.radius.is_some() { "radii" } else { "a radius of biases" };
        more(format!("layer {name} has {of} of its own"));
    }
    if let Some(reference) = t.reference_radius {
        more(format!(
            "all radii of weights are scaled together: radius / {} is their multiple",
            exact(reference)
        ));
    }
    for assumption in &t.assumptions {
        more(format!("assumes: {assumption}"));
    }
    lines
}

/// What is random, one pair of cells for each line.
fn noise(report: &NoiseReport) -> Vec<[String; 2]> {
    let NoiseReport { model, unit, random_layers } = report;
    let mut lines = vec![[
        "noise".into(),
        match model.sigma {
            Some(sigma) => format!("{}, {} ({unit})", model.kind, exact(sigma)),
            None => model.kind.to_string(),
        },
    ]];
    let mut more = |text: String| lines.push([String::new(), text]);
    let what = if model.biases { "weights and biases" } else { "weights" };
    more(match random_layers.as_slice() {
        [] => "nothing is random".into(),
        layers => format!("{what} of {}, each on its own, drawn once for all samples", layers.join(", ")),
    });
    for (name, own) in &model.layer {
        more(format!("layer {name} has {}", exact(own.sigma)));
    }
    if let Some(drift) = &model.drift {
        let high = drift.high.map_or_else(String::new, |high| format!(" to {}", exact(high)));
        more(format!(
            "they drift by (1 + t / {} s)^-ν, ν Gaussian with mean {} and deviation {}, clipped from {}{high}; {}",
            exact(drift.reference_time),
            exact(drift.mean),
            exact(drift.spread),
            exact(drift.low),
            compensation(drift.compensation)
        ));
    }
    if model.kind == NoiseKind::Devices {
        let devices = model.pcm.clone().unwrap_or_default();
        more(format!(
            "pairs of devices of {} to {} microsiemens, the largest weight of {} at the top; {}",
            exact(devices.g_min),
            exact(devices.g_max),
            if devices.per_channel { "each output channel" } else { "each layer" },
            compensation(devices.compensation)
        ));
    }
    lines
}

fn compensation(what: Compensation) -> &'static str {
    match what {
        Compensation::None => "not compensated",
        Compensation::Mean => "the mean of every layer is scaled back",
    }
}

/// The fault model, one pair of cells for each line.
fn faults(model: &FaultModel, t: &ThreatReport) -> Vec<[String; 2]> {
    let of = |n: u32, what: &str| if n == 1 { format!("one {what}") } else { format!("up to {n} {what}s") };
    let what = match model.fault {
        Fault::Flip => format!("{} flip", of(model.bits, "bit")),
        Fault::StuckAt0 => format!("{} read as 0", of(model.bits, "bit")),
        Fault::StuckAt1 => format!("{} read as 1", of(model.bits, "bit")),
        Fault::Replace => "all bits are any others".into(),
    };
    let at = model.at.as_ref().map_or_else(String::new, |bits| format!(", of the bits {}", list(bits)));
    let mut lines = vec![[
        "faults".into(),
        format!("storage {}; in {} of the network {what}{at}", model.storage, of(model.words, "word")),
    ]];
    let mut more = |text: String| lines.push([String::new(), text]);
    let biases = if model.biases { "weights and biases" } else { "weights" };
    more(format!("{biases} of {}", t.perturbed_layers.join(", ")));
    if t.input_radius > 0.0 {
        let range = t.input_range.map_or_else(String::new, |(a, b)| format!(" within {a} to {b}"));
        more(format!("input radius {}{range}", exact(t.input_radius)));
    }
    for protection in &model.protect {
        let layers = protection.layers.as_ref().map_or_else(|| "all layers".into(), |names| names.join(", "));
        let bits =
            protection.bits.as_ref().map_or_else(|| "all bits".into(), |bits| format!("bits {}", list(bits)));
        let by = match protection.by {
            Encoding::Triple => "stored three times",
            Encoding::ParityZero => "with parity, and zero where it fails",
            Encoding::Secded => "with single error correction, and zero after two errors",
        };
        more(format!("protected: {bits} of {layers}, {by}"));
    }
    t.assumptions.iter().for_each(|assumption| more(format!("assumes: {assumption}")));
    lines
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

fn method(m: &MethodReport) -> String {
    let mut text = m.name.clone();
    let mut add = |part: Option<String>| text.extend(part.map(|part| format!(", {part}")));
    add(m.intermediate.as_ref().map(|i| format!("intermediate bounds {i}")));
    add(m.attack.as_ref().map(|a| format!("attack {a}")));
    add(m.steps.map(|n| format!("{n} steps")));
    add(m.restarts.map(|n| format!("{n} restarts")));
    // The words begin with the draws.
    let of = |n: usize, what: &str| format!("{n} {what}");
    add(m.draws.map(|n| m.distribution.as_deref().map_or_else(|| format!("{n} draws"), |what| of(n, what))));
    add(m.universal.and_then(|u| u.then(|| "one perturbation for all samples".into())));
    add(m.failure_probability.map(|p| format!("failure probability {}", exact(p))));
    add(m.relative_width.map(|w| format!("bisection to {}", weightproof_figure::number::percent(w))));
    m.budget.iter().flat_map(BudgetReport::parts).for_each(|part| add(Some(part)));
    add(m.seed.map(|s| format!("seed {s}")));
    add(Some(m.precision.to_string()));
    text
}

fn property(m: &MethodReport) -> String {
    let what = match &*m.property {
        "label" => "the given label keeps the largest output".into(),
        "prediction" => "the prediction of the unperturbed network does not change".into(),
        _ => {
            let before = m.logits_before.as_ref();
            let logits =
                before.map_or_else(String::new, |head| format!(", before {head}: a logit, not an output"));
            format!("{}{logits}", deviation(m.tolerance))
        }
    };
    format!("{}: {what}", m.property)
}

/// The property deviation in words.
pub fn deviation(tolerance: Option<f64>) -> String {
    match tolerance {
        Some(tolerance) => format!("no output moves by more than {}", exact(tolerance)),
        None => "how far an output moves at most".into(),
    }
}

/// The first samples that do not hold.
fn failing<R: Record>(result: &RunResult<R>, threat: &ThreatReport, out: &mut impl Write) -> io::Result<()> {
    let failing = || result.samples.iter().filter(|r| !r.holds());
    let count = failing().count();
    if count == 0 {
        return Ok(());
    }
    let word = if threat.is_time() { "" } else { "at " };
    let at = result.radius.map_or_else(String::new, |r| format!(" {word}{}", threat.named(r)));
    let listed = if count > LISTED { format!(", the first {LISTED}") } else { String::new() };
    writeln!(out, "\n{}{at}: {count} of {}{listed}", R::FAILING, result.samples.len())?;
    let table = field::list(&R::fields(Some(&result.summary)), failing().take(LISTED));
    write!(out, "{table}")
}

/// Time and memory on one line that starts with `time`.
pub(crate) fn environment(e: &Environment, out: &mut impl Write) -> io::Result<()> {
    let memory =
        e.peak_memory_bytes.map_or_else(String::new, |b| format!(", peak memory {} MB", b / 1_000_000));
    let threads = if e.threads == 1 { "1 thread".into() } else { format!("{} threads", e.threads) };
    let (version, date) = (e.version, e.provenance.minute());
    writeln!(out, "\ntime {:.3} s on {threads}{memory}, weightproof {version}, {date}", e.seconds)
}
