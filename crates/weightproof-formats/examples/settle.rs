//! How many samples branch and bound settles within a budget, and how many a mixed-integer solver does:
//!
//! ```text
//! cargo run --release -p weightproof-formats --example settle -- MODEL DATA --radii R,… [OPTIONS]
//! ```
//! One table row for each radius, budget and solver. `open`: samples that linear bounds and the attack leave open, which is what
//! the solvers differ in; `settled`: verified or falsified, of all samples; `seconds`: wall time for all samples, bounds and
//! attack included. Misclassified samples are falsified. Sets are absolute boxes around weights and biases. No sample may be
//! verified in one row and falsified in another one of its radius: that is an error.
//!
//! The time of the search for a sample is its share of the wall time of the group that is searched on all threads; HiGHS has
//! one thread for each sample, with as many samples at once as there are threads.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};
use weightproof::attack::Attacker;
use weightproof::bounds::Branching;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::exact::{Budget, ExactCertifier, ExactOptions};
use weightproof::network::Network;
use weightproof::property::Property;
use weightproof::threat::{Kind, PerturbationSet, ThreatModel};
use weightproof::verdict::{Samples, Verdict};
use weightproof_formats::data::{Batch, DataOptions, DataSet};
use weightproof_formats::network::read_network;

const USAGE: &str = "\
usage: settle MODEL DATA --radii R,... [OPTIONS]
  --radii R,...         absolute radii of weights and biases
  --samples N           first samples of the data [100]
  --seconds S,...       budgets of time for each sample [1]
  --nodes N             one budget of domains for each sample, instead of --seconds
  --branching RULE,...  intercept, violation, area, width [intercept]
  --oracle              the same with HiGHS (features milp, milp-system; only with --seconds)";

/// What is compared.
struct Settings {
    model: PathBuf,
    data: PathBuf,
    radii: Vec<f64>,
    samples: usize,
    budgets: Vec<Limit>,
    rules: Vec<String>,
    oracle: bool,
}

/// What one sample may cost.
#[derive(Clone, Copy)]
enum Limit {
    Seconds(f64),
    Nodes(usize),
}

impl Limit {
    fn budget(self) -> Budget {
        match self {
            Limit::Seconds(s) => Budget { time: Some(Duration::from_secs_f64(s)), ..Budget::default() },
            Limit::Nodes(n) => Budget { nodes: Some(n), ..Budget::default() },
        }
    }

    fn text(self) -> String {
        match self {
            Limit::Seconds(s) => format!("{s} s"),
            Limit::Nodes(n) => format!("{n} nodes"),
        }
    }
}

impl Settings {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut paths, mut radii, mut samples) = (Vec::new(), Vec::new(), 100);
        let (mut seconds, mut nodes, mut oracle) = (vec![1.0], None, false);
        let mut rules = vec!["intercept".to_owned()];
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument}: expected a value"));
            match argument.as_str() {
                "--radii" => radii = list(&argument, &value()?)?,
                "--samples" => samples = one(&argument, &value()?)?,
                "--seconds" => seconds = list(&argument, &value()?)?,
                "--nodes" => nodes = Some(one(&argument, &value()?)?),
                "--branching" => rules = list(&argument, &value()?)?,
                "--oracle" => oracle = true,
                flag if flag.starts_with('-') => return Err(format!("unknown option: {flag}")),
                _ => paths.push(PathBuf::from(&argument)),
            }
        }
        let [model, data] = <[PathBuf; 2]>::try_from(paths).map_err(|_| "expected MODEL and DATA")?;
        if radii.is_empty() {
            return Err("--radii: expected at least one".into());
        }
        if let Some(s) = seconds.iter().find(|s| !(**s >= 0.0 && **s <= 1e6)) {
            return Err(format!("--seconds: expected 0 to 1000000, found {s}"));
        }
        rules.iter().try_for_each(|rule| branching(rule).map(drop))?;
        let budgets =
            nodes.map_or(seconds.into_iter().map(Limit::Seconds).collect(), |n| vec![Limit::Nodes(n)]);
        if oracle && nodes.is_some() {
            return Err("--oracle: HiGHS has no budget of nodes here, leave out --nodes".into());
        }
        if oracle && cfg!(not(feature = "milp")) {
            return Err("--oracle: built without HiGHS\nhint: cargo run --features milp".into());
        }
        Ok(Settings { model, data, radii, samples, budgets, rules, oracle })
    }
}

fn one<T: FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{name}: expected a number, found {text}"))
}

fn list<T: FromStr>(name: &str, text: &str) -> Result<Vec<T>, String> {
    text.split(',').map(|part| one(name, part)).collect()
}

fn branching(rule: &str) -> Result<Branching, String> {
    match rule {
        "intercept" => Ok(Branching::Intercept),
        "violation" => Ok(Branching::Violation),
        "area" => Ok(Branching::Area),
        "width" => Ok(Branching::Width),
        _ => Err(format!("--branching: expected intercept, violation, area or width, found {rule}")),
    }
}

/// Verdicts of all samples.
struct Tally {
    verdicts: Vec<Verdict>,
    nodes: Option<usize>,
}

impl Tally {
    fn count(&self, verdict: Verdict) -> usize {
        self.verdicts.iter().filter(|v| **v == verdict).count()
    }

    /// Adds what `other` knows about the same samples.
    fn agree(&mut self, other: &Tally) -> Result<(), String> {
        for (s, (known, &found)) in self.verdicts.iter_mut().zip(&other.verdicts).enumerate() {
            if *known == Verdict::Unknown {
                *known = found;
            } else if found != Verdict::Unknown && found != *known {
                return Err(format!("contradiction: sample {s} is {known:?} and {found:?}"));
            }
        }
        Ok(())
    }
}

/// A network, samples and a set.
struct Case<'a> {
    network: &'a Network,
    batch: &'a Batch,
    set: &'a PerturbationSet,
}

impl Case<'_> {
    fn samples(&self) -> Samples<'_> {
        Samples { first: 0, inputs: &self.batch.inputs, labels: self.batch.labels.as_deref() }
    }

    /// Our own search.
    fn search(&self, budget: Budget, branching: Branching) -> Tally {
        let options = ExactOptions { branching, budget, ..exact() };
        let certifier = ExactCertifier::new(self.network, std::slice::from_ref(self.set), options);
        let found = certifier.certify(self.samples()).remove(0);
        Tally {
            verdicts: found.iter().map(|found| found.certificate.verdict).collect(),
            nodes: Some(found.iter().map(|found| found.nodes).sum()),
        }
    }

    /// Linear bounds and the attack that the search starts with.
    fn root(&self) -> Result<Tally, String> {
        let ExactOptions { certify, attack, .. } = exact();
        let certifier = Certifier::new(self.network, std::slice::from_ref(self.set), certify);
        let proved = certifier.map_err(|e| e.to_string())?.certify(self.samples()).remove(0);
        let mut verdicts: Vec<Verdict> = proved.iter().map(|proved| proved.verdict).collect();
        let attacked = Attacker::new(self.network, self.set, attack).attack(self.samples());
        for (verdict, attacked) in verdicts.iter_mut().zip(attacked) {
            if *verdict == Verdict::Unknown {
                *verdict = attacked.verdict;
            }
        }
        Ok(Tally { verdicts, nodes: None })
    }

    /// The solver, for what the root leaves open.
    #[cfg(feature = "milp")]
    fn oracle(&self, budget: Budget) -> Result<Tally, String> {
        use rayon::prelude::*;
        use weightproof::exact::oracle::{Judge, Judgement, OracleOptions};
        let options = OracleOptions { time: budget.time, ..OracleOptions::default() };
        let judge = Judge::new(self.network, self.set, Property::Label, options);
        let width = self.network.input_width();
        let settle = |(s, verdict): (usize, Verdict)| {
            if verdict != Verdict::Unknown {
                return Ok(verdict);
            }
            let label = self.batch.labels.as_ref().map(|labels| labels[s]);
            let judged = judge.settle(&self.batch.inputs[s * width..(s + 1) * width], label);
            match judged.map_err(|e| format!("sample {s}: {e}"))? {
                Judgement::Proved => Ok(Verdict::Verified),
                Judgement::Broken(_) => Ok(Verdict::Falsified),
                Judgement::Open => Ok(Verdict::Unknown),
            }
        };
        let root = self.root()?.verdicts.into_iter().enumerate().collect::<Vec<_>>();
        let verdicts: Result<Vec<Verdict>, String> =
            root.into_par_iter().with_max_len(1).map(settle).collect();
        Ok(Tally { verdicts: verdicts?, nodes: None })
    }

    #[cfg(not(feature = "milp"))]
    fn oracle(&self, _: Budget) -> Result<Tally, String> {
        unreachable!("the settings refuse it")
    }
}

fn exact() -> ExactOptions {
    ExactOptions::new(CertifyOptions::new("linear", Property::Label))
}

fn row(start: Instant, (radius, limit): (f64, Limit), solver: &str, open: usize, tally: &Tally) {
    let [verified, falsified, unknown] =
        [Verdict::Verified, Verdict::Falsified, Verdict::Unknown].map(|verdict| tally.count(verdict));
    let settled = 100.0 * (verified + falsified) as f64 / tally.verdicts.len() as f64;
    let nodes = tally.nodes.map_or(String::new(), |nodes| nodes.to_string());
    println!(
        "| {radius} | {} | {solver} | {open} | {verified} | {falsified} | {unknown} | {settled:.1}% | {nodes} | {:.1} |",
        limit.text(),
        start.elapsed().as_secs_f64()
    );
}

fn run(settings: &Settings) -> Result<(), String> {
    let read = read_network(&settings.model).map_err(|e| e.to_string())?;
    let network = &read.network;
    let mut data = DataSet::open(&DataOptions::new(&settings.data)).map_err(|e| e.to_string())?;
    let batch = data.next_batch(settings.samples).map_err(|e| e.to_string())?.ok_or("no samples")?;
    if batch.labels.is_none() || batch.inputs.len() != batch.count * network.input_width() {
        return Err(format!("expected labelled samples of {} values", network.input_width()));
    }
    batch.check_labels(network.output_width(), &settings.data).map_err(|e| e.to_string())?;
    let boxes = if settings.oracle { "; boxes of HiGHS: those of the root of the search" } else { "" };
    println!("{} samples{boxes}\n", batch.count);
    println!(
        "| radius | budget | solver | open | verified | falsified | unknown | settled | nodes | seconds |"
    );
    println!("|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|");
    for &radius in &settings.radii {
        let threat = ThreatModel::new(Kind::Absolute, radius);
        let set = threat.resolve(network).map_err(|e| e.to_string())?;
        let case = Case { network, batch: &batch, set: &set };
        let mut known = case.root()?;
        let open = known.count(Verdict::Unknown);
        for &limit in &settings.budgets {
            for rule in &settings.rules {
                let (start, branching) = (Instant::now(), branching(rule)?);
                let tally = case.search(limit.budget(), branching);
                row(start, (radius, limit), &format!("search, {rule}"), open, &tally);
                known.agree(&tally)?;
            }
            if settings.oracle {
                let start = Instant::now();
                let tally = case.oracle(limit.budget())?;
                row(start, (radius, limit), "HiGHS", open, &tally);
                known.agree(&tally)?;
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let settings = match Settings::parse(std::env::args().skip(1)) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("error: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
