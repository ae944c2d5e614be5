//! Curves of several results in one figure: whatever the network and the method, as long as the question is the same.

use super::curve::{self, Line};
use super::figure::Figure;
use super::grid::{Grid, GridCell, GridColumn};
use super::section::{Chapter, Section};
use super::study::{Study, radius_axis, scale_of};
use maud::html;
use thiserror::Error;
use weightproof_figure::number::{exact, grouped};
use weightproof_figure::{Axis, Chart, Ink, Scale, Series};
use weightproof_report::reading::{Loaded, RunFile};

/// Why results are not in one figure.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OverlayError {
    /// They do not fit together.
    #[error("{file}: expected the same {what} as {first}, {expected}, found {found}")]
    Different {
        /// The result that does not fit.
        file: String,
        /// The result that it does not fit to.
        first: String,
        /// What must be the same.
        what: &'static str,
        /// That of the first.
        expected: String,
        /// That of the other.
        found: String,
    },
    /// There is no curve.
    #[error("expected results of certify, attack or radius at 2 radii or more, found {found}")]
    NoCurve {
        /// What there is.
        found: String,
    },
}

/// Results whose curves lie in one figure.
pub(super) struct Overlay<'a> {
    runs: Vec<&'a RunFile>,
}

/// The curves of `files` as one chart, each named after its result.
///
/// # Errors
/// A file without curve; a file that does not fit to the first.
pub fn overlay(files: &[Loaded]) -> Result<Chart, OverlayError> {
    let mut runs = Vec::new();
    for file in files {
        match file {
            Loaded::Run(run) => runs.push(&**run),
            Loaded::Train(_) | Loaded::Experiment(_) | Loaded::Measure(_) | Loaded::Faults(_) => {
                let found = format!("{}, a result of {}", file.file(), file.command());
                return Err(OverlayError::NoCurve { found });
            }
        }
    }
    if let Some((first, others)) = runs.split_first() {
        others.iter().try_for_each(|other| fits(first, other))?;
    }
    Overlay { runs }.chart().ok_or(OverlayError::NoCurve { found: "fewer".into() })
}

impl<'a> Overlay<'a> {
    /// The results that are shown together, in the order in which they were given, and why others do not fit to the first of
    /// them.
    pub(super) fn group(runs: &[&'a RunFile]) -> (Vec<Overlay<'a>>, Vec<OverlayError>) {
        let mut all: Vec<Overlay<'a>> = Vec::new();
        let mut misfits = Vec::new();
        for &run in runs {
            match all.iter_mut().find(|overlay| fits(overlay.runs[0], run).is_ok()) {
                Some(overlay) => overlay.runs.push(run),
                None => {
                    misfits.extend(all.first().and_then(|first| fits(first.runs[0], run).err()));
                    all.push(Overlay { runs: vec![run] });
                }
            }
        }
        // The section of a study has one with its methods.
        let several = |overlay: &Overlay<'_>| {
            let named = overlay.runs.iter().any(|run| run.named);
            overlay.runs.len() > 1 && (named || Study::group(&overlay.runs).len() > 1)
        };
        all.retain(|overlay| several(overlay) && overlay.chart().is_some());
        (all, misfits)
    }

    /// The chapter of a page, with what is not in its figure.
    pub(super) fn chapter(&self, misfits: &[OverlayError]) -> Option<Chapter> {
        let (first, chart) = (self.runs[0], self.chart()?);
        let figure = Figure {
            name: chart.name.clone(),
            title: chart.title.clone(),
            caption: "Solid in the legend's order, what is proved: the share of the samples for which no perturbation within the radius breaks the \
                      property. Dotted in the same colour, an estimate: the share for which a search found none that does."
                .into(),
            drawing: chart.draw(),
            table: self.table(),
        };
        let lead = html! {
            "The same question about " strong { (self.runs.len()) " results" } ": " strong { (grouped(first.data.samples)) } " samples of "
            strong { (first.data.description) } " under " strong { (first.threat.kind) } " perturbations."
            @for misfit in misfits { p class="note" { "Not in this figure: " (misfit) "." } }
        };
        let blocks = vec![figure.into()];
        let section = Section { id: "together", title: "How far the weights may move", blocks };
        Some(Chapter { title: "Results together".into(), lead, sections: vec![section] })
    }

    /// The figure's lines; none where all are at one radius.
    fn chart(&self) -> Option<Chart> {
        let names = self.names();
        let lines: Vec<Vec<Line>> =
            self.runs.iter().map(|&run| curve::lines(&Study { runs: vec![run] })).collect();
        let scale = scale_of(lines.iter().flatten().flat_map(|line| &line.points).map(|p| p.0))?;
        let mut series = Vec::new();
        for (k, (name, lines)) in names.iter().zip(lines).enumerate() {
            let guarantee = self.runs[k].guarantee.as_str();
            for line in lines {
                let (what, ink) = match line.proved {
                    true if guarantee == "rigorous" => ("proved".to_owned(), Ink::of(k)),
                    true => (format!("proved ({guarantee})"), Ink::of(k)),
                    false => ("under attack".to_owned(), Ink::Under(k)),
                };
                series.push(Series { name: format!("{name}: {what}"), ink, points: line.points });
            }
        }
        Some(Chart {
            name: "together".into(),
            title: "Accuracy over the radius".into(),
            x: Axis::new(radius_axis(self.runs[0]), scale),
            y: Axis::new("share of samples", Scale::Percent),
            series,
            joined: true,
            bands: Vec::new(),
        })
    }

    /// What each is called: its name, or its whole path where names repeat.
    fn names(&self) -> Vec<String> {
        let repeats = |run: &&&RunFile| self.runs.iter().filter(|other| other.name == run.name).count() > 1;
        let name = |run: &&RunFile| if repeats(&run) { run.file.clone() } else { run.name.clone() };
        self.runs.iter().map(name).collect()
    }

    fn table(&self) -> Grid {
        let columns = vec![
            GridColumn::words("name"),
            GridColumn::words("network"),
            GridColumn::words("method"),
            GridColumn::words("worth of the proofs"),
            GridColumn::number("radius", "", "curve.radius"),
            GridColumn::number("certified accuracy", "", "curve.certified_accuracy"),
            GridColumn::number("accuracy under attack", "estimate", "curve.accuracy_under_attack"),
        ];
        let mut rows = Vec::new();
        for (run, name) in self.runs.iter().zip(self.names()) {
            for numbers in run.results.iter().flat_map(|result| curve::rows(run, result)) {
                let words = [name.as_str(), &run.model.name, run.method_name(), &run.guarantee];
                rows.push(words.map(GridCell::words).into_iter().chain(numbers).collect());
            }
        }
        Grid { caption: "Accuracy over the radius".into(), columns, rows }
    }
}

/// Whether `other` asks the question of `first`, about whatever network.
fn fits(first: &RunFile, other: &RunFile) -> Result<(), OverlayError> {
    let same = |what: &'static str, expected: String, found: String| match expected == found {
        true => Ok(()),
        false => {
            let (file, first) = (other.file.clone(), first.file.clone());
            Err(OverlayError::Different { file, first, what, expected, found })
        }
    };
    let of = |what, f: &dyn Fn(&RunFile) -> String| same(what, f(first), f(other));
    let short = |sha256: &str| sha256.get(..12).unwrap_or(sha256).to_owned();
    of("data", &|r| format!("{} (sha256 {})", r.data.description, short(&r.data.sha256)))?;
    of("samples", &|r| format!("{} from number {}", r.data.samples, r.data.offset))?;
    of("labels", &|r| r.data.labels_sha256.as_deref().map_or_else(|| "none".into(), short))?;
    of("property", &|r| {
        let tolerance = r.method.get("tolerance").and_then(serde_json::Value::as_f64);
        tolerance.map_or_else(|| r.property().into(), |t| format!("{} of {}", r.property(), exact(t)))
    })?;
    of("kind of set", &|r| r.threat.kind.clone())?;
    of("unit of the radius", &|r| r.threat.unit.to_string())?;
    of("perturbed layers", &|r| match r.threat.perturbed_layers.len() == r.model.layers.len() {
        true => "all".into(),
        false => r.threat.perturbed_layers.join(", "),
    })?;
    of("radius of biases", &|r| r.threat.bias_radius.map_or_else(|| "as the weights".into(), exact))?;
    of("input radius", &|r| exact(r.threat.input_radius))?;
    of("activation radius", &|r| exact(r.threat.activation_radius))?;
    of("radii of single layers", &|r| match r.threat.overrides.is_empty() {
        true => "none".into(),
        false => format!("{:?}", r.threat.overrides),
    })
}
