//! Results that ask the same question: same network, data, samples, property and threat model, at whatever radius and by
//! whatever method.

use std::collections::BTreeMap;
use weightproof::verdict::Verdict;
use weightproof_figure::Scale;
use weightproof_report::ThreatReport;
use weightproof_report::reading::{Command, ResultAt, RunFile, Sample};

/// Results that can be shown together.
pub(super) struct Study<'a> {
    pub(super) runs: Vec<&'a RunFile>,
}

/// What all results together say about a sample. Perturbation sets grow with the radius: a proof covers all smaller radii, a
/// witness all larger ones.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) index: usize,
    pub(super) label: Option<u32>,
    pub(super) predicted: u32,
    /// Of the unperturbed network.
    pub(super) margin: Option<f64>,
    /// Whether the unperturbed network breaks the property.
    pub(super) wrong: bool,
    /// Largest radius with a proof.
    pub(super) certified: Option<f64>,
    /// Smallest radius with a witness.
    pub(super) broken: Option<f64>,
    /// Best bound at the smallest radius without a proof.
    pub(super) open: Option<(f64, Option<f64>)>,
    /// Class of that bound, or of the worst margin found.
    pub(super) runner_up: Option<u32>,
}

impl<'a> Study<'a> {
    /// Puts results together, in the order in which they were given.
    pub(super) fn group(runs: &[&'a RunFile]) -> Vec<Study<'a>> {
        let mut studies: Vec<(String, Study<'a>)> = Vec::new();
        for &run in runs {
            let key = question(run);
            match studies.iter_mut().find(|(known, _)| *known == key) {
                Some((_, study)) => study.runs.push(run),
                None => studies.push((key, Study { runs: vec![run] })),
            }
        }
        studies.into_iter().map(|(_, study)| study).collect()
    }

    /// One of the results; what they have in common can be read from it.
    pub(super) fn first(&self) -> &'a RunFile {
        self.runs[0]
    }

    /// All results at a radius, with the file that they are from.
    pub(super) fn results(&self) -> impl Iterator<Item = (&'a RunFile, &'a ResultAt)> + '_ {
        self.runs.iter().flat_map(|&run| run.results.iter().map(move |result| (run, result)))
    }

    /// The first result of this command.
    pub(super) fn of(&self, command: Command) -> Option<&'a RunFile> {
        self.runs.iter().copied().find(|run| run.command == command)
    }

    /// The name of the radius on axes.
    pub(super) fn radius_label(&self) -> String {
        radius_axis(self.first())
    }

    /// Whether radii are searched or several were tried.
    pub(super) fn has_radii(&self) -> bool {
        self.results().any(|(_, r)| r.radius.is_some()) || self.of(Command::Radius).is_some()
    }

    /// One for each sample, by index.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let mut all: BTreeMap<usize, Standing> = BTreeMap::new();
        for (run, result) in self.results() {
            for sample in &result.samples {
                let standing = all.entry(sample.index).or_insert_with(|| Standing::new(sample));
                standing.add(run.command, result.radius, sample);
            }
        }
        all.into_values().collect()
    }

    /// What the proofs are worth: the weakest guarantee of all.
    pub(super) fn guarantee(&self) -> &'a str {
        let proofs = || self.runs.iter().filter(|run| run.command != Command::Attack);
        let weakest = proofs().find(|run| run.guarantee != "rigorous").or(proofs().next());
        weakest.map_or("estimate", |run| run.guarantee.as_str())
    }
}

/// All that results must share to be shown together.
fn question(run: &RunFile) -> String {
    let mut threat =
        ThreatReport { radius: None, radii: Vec::new(), reference_radius: None, ..run.threat.clone() };
    // Where noise is alone, its size is the radius.
    if let Some(noise) = threat.noise.as_mut().filter(|_| run.threat.kind.starts_with("noise:")) {
        noise.model.sigma = None;
    }
    let indices = run.results.first().map(|r| {
        let ends = (r.samples.first().map(|s| s.index), r.samples.last().map(|s| s.index));
        (r.samples.len(), ends)
    });
    let settings = |name: &str| run.config.get("data").and_then(|data| data.get(name)).cloned();
    let model = |name: &str| run.config.get("model").and_then(|model| model.get(name)).cloned();
    format!(
        "{:?}",
        (
            (&run.model.sha256, model("architecture"), model("separate_batch_norm")),
            (
                &run.data.sha256,
                &run.data.labels_sha256,
                settings("mean"),
                settings("std"),
                settings("layout"),
                settings("labels")
            ),
            (indices, run.property(), run.method.get("tolerance"), threat),
        )
    )
}

impl Standing {
    fn new(sample: &Sample) -> Self {
        Standing {
            index: sample.index,
            label: sample.label,
            predicted: sample.predicted,
            margin: sample.margin,
            wrong: false,
            certified: None,
            broken: None,
            open: None,
            runner_up: None,
        }
    }

    fn add(&mut self, command: Command, radius: Option<f64>, sample: &Sample) {
        self.wrong |= sample.is_wrong();
        // A threat model without a radius is one radius.
        let radius = radius.unwrap_or(1.0);
        if command == Command::Radius {
            self.prove(sample.certified_radius.filter(|r| *r > 0.0));
            self.break_at(sample.attacked_radius);
            return;
        }
        match sample.verdict {
            Some(Verdict::Verified) => self.prove(Some(radius)),
            Some(Verdict::Falsified) => self.break_at(Some(if sample.is_wrong() { 0.0 } else { radius })),
            Some(Verdict::Unknown) | None => {}
        }
        if command == Command::Certify && sample.verdict != Some(Verdict::Verified) {
            let better = match self.open {
                None => true,
                Some((at, bound)) => radius < at || radius == at && sample.margin_lower > bound,
            };
            if better {
                self.open = Some((radius, sample.margin_lower));
                self.runner_up = sample.runner_up;
            }
        }
        self.runner_up = self.runner_up.or(sample.runner_up);
    }

    fn prove(&mut self, radius: Option<f64>) {
        self.certified = self.certified.into_iter().chain(radius).reduce(f64::max);
    }

    fn break_at(&mut self, radius: Option<f64>) {
        self.broken = self.broken.into_iter().chain(radius).reduce(f64::min);
    }
}

/// The name of the radius of a result on axes.
pub(super) fn radius_axis(run: &RunFile) -> String {
    format!("radius [{}]", run.threat.unit)
}

/// The least and the largest finite radius.
pub(super) fn ends(radii: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = radii.filter(|r| r.is_finite());
    finite.fold((f64::INFINITY, 0.0), |(a, b): (f64, f64), r| (a.min(r), b.max(r)))
}

/// How radii lie on an axis; none where there are no two.
pub(super) fn scale_of(radii: impl Iterator<Item = f64>) -> Option<Scale> {
    let (least, most) = ends(radii);
    let logarithmic = least > 0.0 && most >= 4.0 * least;
    (most > least).then_some(if logarithmic { Scale::Logarithmic } else { Scale::Linear })
}

/// Whether a sample of `certify` is proved, or one of `attack` was not broken.
pub(super) fn holds(sample: &Sample) -> bool {
    match sample.verdict {
        Some(Verdict::Verified) => true,
        Some(Verdict::Falsified) | None => false,
        Some(Verdict::Unknown) => sample.reason.as_deref() == Some("not-broken"),
    }
}

/// A number of samples in words.
pub(super) fn samples(n: usize) -> String {
    format!("{} sample{}", weightproof_figure::number::grouped(n), if n == 1 { "" } else { "s" })
}
