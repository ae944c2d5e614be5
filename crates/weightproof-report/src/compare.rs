//! What changed between two results about the same samples.

use crate::json::Fields;
use crate::reading::{Command, ResultAt, RunFile, Sample};
use crate::table::{Side, Table};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, Write};
use thiserror::Error;
use weightproof::verdict::Verdict;
use weightproof_figure::number::{exact, percent, value_or_dash};

/// Samples that are listed for people.
const LISTED: usize = 10;

/// Why two results cannot be compared.
#[derive(Debug, Error, PartialEq)]
pub enum CompareError {
    /// They are about other things.
    #[error("expected two results with the same {what}, found {a} in {file_a} and {b} in {file_b}")]
    Different {
        /// What must be the same.
        what: &'static str,
        /// In the first file.
        a: String,
        /// In the second file.
        b: String,
        /// The first file.
        file_a: String,
        /// The second file.
        file_b: String,
    },
}

/// What changed from one result to another.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The files.
    pub files: [String; 2],
    /// The command that wrote both.
    pub command: &'static str,
    /// What the proofs of each are worth.
    pub guarantees: [String; 2],
    /// What else differs: network, threat model, method.
    pub differences: Vec<Difference>,
    /// One for each pair of radii.
    pub results: Vec<Compared>,
}

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// What it is.
    pub what: &'static str,
    /// In both files.
    pub values: [String; 2],
}

/// Two results at a radius.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// The radii; `null` for `radius`.
    pub radii: [Option<f64>; 2],
    /// Samples in both.
    pub samples: usize,
    /// Samples in one only.
    pub only_in: [usize; 2],
    /// Samples that hold: verified, not broken, or with a certified radius.
    pub holds: [usize; 2],
    /// Samples by verdict in the first and in the second.
    pub transitions: Vec<Transition>,
    /// The number that is compared: `margin_lower`, `worst_margin` or `certified_radius`.
    pub quantity: &'static str,
    /// Least, median and greatest change of it, and the mean, over samples where both are known.
    pub change: Option<ChangeSummary>,
    /// Samples whose number is larger, the same and smaller in the second.
    pub moved: [usize; 3],
    /// Samples that hold in the second only.
    pub gained: Vec<Change>,
    /// Samples that hold in the first only.
    pub lost: Vec<Change>,
    /// All samples with another verdict or another number, largest loss first.
    pub changed: Vec<Change>,
}

/// Samples with these verdicts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// In the first.
    pub from: &'static str,
    /// In the second.
    pub to: &'static str,
    /// How many.
    pub samples: usize,
}

/// Changes of a number over samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ChangeSummary {
    /// Least.
    pub least: f64,
    /// Lower median.
    pub median: f64,
    /// Mean.
    pub mean: f64,
    /// Greatest.
    pub most: f64,
}

/// A sample in both results.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// Index in the data set.
    pub index: usize,
    /// The given label.
    pub label: Option<u32>,
    /// Verdicts.
    pub verdicts: [&'static str; 2],
    /// The number that is compared; `null` where there is none.
    pub values: [Option<f64>; 2],
}

impl Change {
    /// Second minus first.
    pub fn difference(&self) -> Option<f64> {
        Some(self.values[1]? - self.values[0]?).filter(|d| d.is_finite())
    }
}

/// Compares two results.
///
/// # Errors
/// When they have other data, another command, other properties, or no radius in common.
pub fn compare(a: &RunFile, b: &RunFile) -> Result<Comparison, CompareError> {
    let same = |what: &'static str, x: String, y: String| {
        if x == y {
            return Ok(());
        }
        let (file_a, file_b) = (a.file.clone(), b.file.clone());
        Err(CompareError::Different { what, a: x, b: y, file_a, file_b })
    };
    same("command", a.command.name().into(), b.command.name().into())?;
    let data = |run: &RunFile| {
        format!("{} (sha256 {})", run.data.description, run.data.sha256.get(..12).unwrap_or(&run.data.sha256))
    };
    if a.data.sha256 != b.data.sha256 {
        same("data", data(a), data(b))?;
    }
    same("property", a.property().into(), b.property().into())?;
    let pairs = pairs(a, b);
    if pairs.is_empty() {
        let radii = |run: &RunFile| {
            run.results.iter().filter_map(|r| r.radius).map(exact).collect::<Vec<_>>().join(",")
        };
        same("radius", radii(a), radii(b))?;
    }
    let compared: Vec<Compared> = pairs.into_iter().map(|(x, y)| compared(a.command, x, y)).collect();
    if compared.iter().all(|c| c.samples == 0) {
        let range = |run: &RunFile| format!("{} from number {}", run.data.samples, run.data.offset);
        same("samples", range(a), range(b))?;
    }
    Ok(Comparison {
        files: [a.file.clone(), b.file.clone()],
        command: a.command.name(),
        guarantees: [a.guarantee.clone(), b.guarantee.clone()],
        differences: differences(a, b),
        results: compared,
    })
}

/// Results at the same radius; with one radius each, those.
fn pairs<'a>(a: &'a RunFile, b: &'a RunFile) -> Vec<(&'a ResultAt, &'a ResultAt)> {
    if let ([x], [y]) = (a.results.as_slice(), b.results.as_slice()) {
        return vec![(x, y)];
    }
    let partner = |x: &'a ResultAt| Some((x, b.results.iter().find(|y| y.radius == x.radius)?));
    a.results.iter().filter_map(partner).collect()
}

fn differences(a: &RunFile, b: &RunFile) -> Vec<Difference> {
    let of = |what: &'static str, f: &dyn Fn(&RunFile) -> String| Difference { what, values: [f(a), f(b)] };
    let json = |value: Option<&Value>| {
        value
            .filter(|v| !v.is_null())
            .map_or_else(|| "none".into(), |v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
    };
    let all = [
        of("network", &|r| format!("{} (sha256 {})", r.model.name, r.model.sha256)),
        of("threat", &|r| r.threat.kind.clone()),
        of("perturbed layers", &|r| r.threat.perturbed_layers.join(", ")),
        of("bias radius", &|r| r.threat.bias_radius.map_or_else(|| "as the weights".into(), exact)),
        of("input radius", &|r| exact(r.threat.input_radius)),
        of("activation radius", &|r| exact(r.threat.activation_radius)),
        of("radii of single layers", &|r| format!("{:?}", r.threat.overrides)),
        of("radius", &|r| {
            r.results.iter().filter_map(|r| r.radius).map(exact).collect::<Vec<_>>().join(", ")
        }),
        of("method", &|r| r.method_name().into()),
        of("guarantee", &|r| r.guarantee.clone()),
        of("intermediate bounds", &|r| json(r.method.get("intermediate"))),
        of("precision", &|r| json(r.method.get("precision"))),
        of("attack", &|r| ["attack", "steps", "restarts", "draws"].map(|f| json(r.method.get(f))).join(", ")),
        of("width of the search", &|r| json(r.method.get("relative_width"))),
        of("tolerance", &|r| json(r.method.get("tolerance"))),
        of("seed", &|r| json(r.method.get("seed"))),
        of("labels", &|r| json(r.config.pointer("/data/labels"))),
        of("mean", &|r| json(r.config.pointer("/data/mean"))),
        of("std", &|r| json(r.config.pointer("/data/std"))),
        of("scale", &|r| r.data.scale.as_ref().map_or_else(|| "1".into(), |scale| scale.factor.clone())),
        of("header", &|r| json(r.config.pointer("/data/csv_header"))),
        of("layout", &|r| json(r.config.pointer("/data/layout"))),
        of("batch normalization of its own", &|r| json(r.config.pointer("/model/separate_batch_norm"))),
        of("version", &|r| json(r.environment.get("version"))),
    ];
    all.into_iter().filter(|d| d.values[0] != d.values[1]).collect()
}

fn compared(command: Command, a: &ResultAt, b: &ResultAt) -> Compared {
    let first: BTreeMap<usize, &Sample> = a.samples.iter().map(|s| (s.index, s)).collect();
    let both: Vec<(&Sample, &Sample)> =
        b.samples.iter().filter_map(|s| Some((*first.get(&s.index)?, s))).collect();
    let change = |&(x, y): &(&Sample, &Sample)| Change {
        index: x.index,
        label: x.label,
        verdicts: [verdict(command, x), verdict(command, y)],
        values: [number(command, x), number(command, y)],
    };
    let mut all: Vec<Change> = both.iter().map(change).collect();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    all.iter().for_each(|c| *counts.entry((c.verdicts[0], c.verdicts[1])).or_default() += 1);
    let transition = |((from, to), samples)| Transition { from, to, samples };
    let holds = |side: usize| both.iter().map(|&(x, y)| [x, y][side]).filter(|s| holds(command, s)).count();
    let held = |&(x, y): &(&Sample, &Sample)| (self::holds(command, x), self::holds(command, y));
    let those = |wanted: (bool, bool)| both.iter().filter(|pair| held(pair) == wanted).map(change).collect();
    let mut changes: Vec<f64> = all.iter().filter_map(Change::difference).collect();
    changes.sort_by(f64::total_cmp);
    let moved = |wanted: std::cmp::Ordering| {
        let order = |c: &Change| Some(c.values[1]?.total_cmp(&c.values[0]?));
        all.iter().filter(|c| order(c) == Some(wanted)).count()
    };
    let moved = [std::cmp::Ordering::Greater, std::cmp::Ordering::Equal, std::cmp::Ordering::Less].map(moved);
    all.retain(|c| c.verdicts[0] != c.verdicts[1] || c.values[0] != c.values[1]);
    all.sort_by(|x, y| {
        x.difference().unwrap_or(f64::NEG_INFINITY).total_cmp(&y.difference().unwrap_or(f64::NEG_INFINITY))
    });
    Compared {
        radii: [a.radius, b.radius],
        samples: both.len(),
        only_in: [a.samples.len() - both.len(), b.samples.len() - both.len()],
        holds: [holds(0), holds(1)],
        transitions: counts.into_iter().map(transition).collect(),
        quantity: quantity(command),
        change: summary(&changes),
        moved,
        gained: those((false, true)),
        lost: those((true, false)),
        changed: all,
    }
}

/// Of sorted numbers.
fn summary(sorted: &[f64]) -> Option<ChangeSummary> {
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
    Some(ChangeSummary { least, median: sorted[(sorted.len() - 1) / 2], mean, most })
}

fn quantity(command: Command) -> &'static str {
    match command {
        Command::Certify => "margin_lower",
        Command::Attack => "worst_margin",
        Command::Radius => "certified_radius",
    }
}

fn number(command: Command, sample: &Sample) -> Option<f64> {
    match command {
        Command::Certify => sample.margin_lower,
        Command::Attack => sample.worst_margin,
        Command::Radius => sample.certified_radius,
    }
}

fn holds(command: Command, sample: &Sample) -> bool {
    match command {
        Command::Certify => sample.verdict == Some(Verdict::Verified),
        Command::Attack => sample.verdict != Some(Verdict::Falsified),
        Command::Radius => sample.certified_radius.is_some_and(|r| r > 0.0),
    }
}

/// What is said about a sample in a word.
fn verdict(command: Command, sample: &Sample) -> &'static str {
    match (command, sample.verdict) {
        (Command::Radius, _) if holds(command, sample) => "certified",
        (Command::Radius, _) => "not certified",
        (Command::Certify | Command::Attack, Some(Verdict::Verified)) => "verified",
        (Command::Certify | Command::Attack, Some(Verdict::Falsified)) => "falsified",
        (Command::Certify | Command::Attack, Some(Verdict::Unknown) | None) => "unknown",
    }
}

impl Comparison {
    /// Writes one JSON object with the schema `weightproof/compare/1`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn json(&self, mut out: impl Write) -> io::Result<()> {
        let out = &mut out;
        let mut fields = Fields::open(out, 0)?;
        fields.field("schema", &"weightproof/compare/1")?;
        fields.field("files", &self.files)?;
        fields.field("command", &self.command)?;
        fields.field("guarantees", &self.guarantees)?;
        fields.field("differences", &self.differences)?;
        fields.list("results", &self.results, crate::json::compact)?;
        fields.close()?;
        writeln!(out)?;
        out.flush()
    }

    /// Writes tables for people.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn text(&self, mut out: impl Write) -> io::Result<()> {
        let mut head = Table::new([Side::Left, Side::Left]);
        head.push(["A", &self.files[0]]);
        head.push(["B", &self.files[1]]);
        write!(out, "{head}")?;
        if !self.differences.is_empty() {
            let mut table = Table::new([Side::Left, Side::Left, Side::Left]);
            table.push(["differs", "A", "B"]);
            self.differences.iter().for_each(|d| table.push([d.what, &d.values[0], &d.values[1]]));
            write!(out, "\n{table}")?;
        }
        self.results.iter().try_for_each(|result| self.result_text(result, &mut out))?;
        out.flush()
    }

    fn result_text(&self, result: &Compared, out: &mut impl Write) -> io::Result<()> {
        let at = match result.radii {
            [Some(a), Some(b)] if a == b => format!("radius {}, ", exact(a)),
            [Some(a), Some(b)] => format!("radius {} and {}, ", exact(a), exact(b)),
            [_, _] => String::new(),
        };
        let [a, b] = result.only_in;
        let only = if a + b == 0 { String::new() } else { format!(" ({a} in A only, {b} in B only)") };
        writeln!(out, "\n{at}{} samples in both{only}", result.samples)?;
        let share = |n: usize| format!("{n} ({})", percent(n as f64 / result.samples.max(1) as f64));
        let word = self.word();
        writeln!(
            out,
            "{word}: {} in A, {} in B; {} gained, {} lost",
            share(result.holds[0]),
            share(result.holds[1]),
            result.gained.len(),
            result.lost.len()
        )?;
        let mut table = Table::new([Side::Left, Side::Left, Side::Right]);
        table.push(["A", "B", "samples"]);
        result
            .transitions
            .iter()
            .for_each(|t| table.push([t.from.to_owned(), t.to.into(), t.samples.to_string()]));
        write!(out, "{table}")?;
        if let Some(c) = result.change {
            let number = |v: f64| value_or_dash(Some(v));
            let [larger, same, smaller] = result.moved;
            writeln!(
                out,
                "{} ({}): {larger} larger, {same} the same, {smaller} smaller in B; change {} to {}, median {}, mean {}",
                result.quantity,
                self.worth(),
                number(c.least),
                number(c.most),
                number(c.median),
                number(c.mean)
            )?;
        }
        for (title, changes) in [("lost", &result.lost), ("gained", &result.gained)] {
            if changes.is_empty() {
                continue;
            }
            let first = if changes.len() > LISTED { format!(", the first {LISTED}") } else { String::new() };
            writeln!(out, "{title}: {}{first}", changes.len())?;
            let mut table =
                Table::new([Side::Right, Side::Right, Side::Left, Side::Left, Side::Right, Side::Right]);
            let name = |side: &str| format!("{} {side}", result.quantity);
            table.push(["index".to_owned(), "label".into(), "A".into(), "B".into(), name("A"), name("B")]);
            for c in changes.iter().take(LISTED) {
                let label = c.label.map_or_else(|| "-".into(), |l| l.to_string());
                let [x, y] = c.values.map(value_or_dash);
                table.push([c.index.to_string(), label, c.verdicts[0].into(), c.verdicts[1].into(), x, y]);
            }
            write!(out, "{table}")?;
        }
        Ok(())
    }

    /// What samples that hold are called.
    pub fn word(&self) -> &'static str {
        match self.command {
            "attack" => "not broken",
            _ => "certified",
        }
    }

    /// What the compared numbers are worth: the weaker guarantee of both.
    pub fn worth(&self) -> &str {
        self.guarantees.iter().find(|g| *g != "rigorous").unwrap_or(&self.guarantees[0])
    }
}
