//! Results as one page that needs nothing else: no network, no fonts, no other files.
//!
//! ```text
//! files → Studies (same network, data, samples, property, threat) → sections → page.html, figures
//! ```
//! A section is a file of this folder: it takes a study and gives words, tables and figures. Numbers come from the files, or are
//! counts of their samples; every number says what it is worth. The page works without scripts; a script adds values under the
//! pointer, series that can be hidden, and tables that can be sorted.

mod answer;
mod classes;
mod compare;
mod curve;
mod evidence;
mod experiment;
mod failing;
mod faults;
mod figure;
mod grid;
mod headline;
mod layers;
mod measure;
mod overlay;
mod page;
mod pictures;
mod radii;
mod random;
mod section;
mod settings;
mod study;
#[cfg(test)]
mod tests;
mod training;

pub use compare::{comparison, comparison_figures};
pub use evidence::{Checked, Enclosed, evidence};
pub use figure::Figure;
pub use overlay::{OverlayError, overlay};
pub use pictures::{Layout, Picture, Pictures};

use maud::html;
use overlay::Overlay;
use section::{Chapter, Section};
use serde_json::Value;
use study::Study;
use weightproof_report::DataReport;
use weightproof_report::reading::{Loaded, RunFile};

/// A page about results.
pub struct Page<'a> {
    overlays: Vec<Overlay<'a>>,
    misfits: Vec<OverlayError>,
    studies: Vec<Study<'a>>,
    others: Vec<&'a Loaded>,
    pictures: Vec<Pictures>,
}

/// The images that a study would show.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// What the data are.
    pub data: &'a DataReport,
    /// The settings of the run, with the path of the data.
    pub config: &'a Value,
    /// Shape that the network wants, where that of the data is flat.
    pub input_shape: &'a [usize],
    /// Indices of samples, ascending.
    pub indices: Vec<usize>,
}

impl<'a> Page<'a> {
    /// Puts results together that ask the same question.
    pub fn new(files: &'a [Loaded]) -> Self {
        let mut runs: Vec<&RunFile> = Vec::new();
        let mut others = Vec::new();
        for file in files {
            match file {
                Loaded::Run(run) => runs.push(run),
                Loaded::Train(_) | Loaded::Experiment(_) | Loaded::Measure(_) | Loaded::Faults(_) => {
                    others.push(file);
                }
            }
        }
        let studies = Study::group(&runs);
        let pictures = studies.iter().map(|_| Pictures::default()).collect();
        let (overlays, misfits) = Overlay::group(&runs);
        Page { overlays, misfits, studies, others, pictures }
    }

    /// Why results are not in one figure with the first one; empty where nobody would expect them there: no others are in one
    /// figure, and none was named for it.
    pub fn misfits(&self) -> &[OverlayError] {
        let named = || self.studies.iter().any(|study| study.runs.iter().any(|run| run.named));
        if self.overlays.is_empty() && !named() { &[] } else { &self.misfits }
    }

    /// Whether results are in one figure because they ask the same question.
    pub fn has_overlay(&self) -> bool {
        !self.overlays.is_empty()
    }

    /// The images that would be shown, one entry for each study.
    pub fn wanted(&self) -> Vec<Wanted<'a>> {
        let wanted = |study: &Study<'a>| Wanted {
            data: &study.first().data,
            config: &study.first().config,
            input_shape: &study.first().model.input_shape,
            indices: failing::pictured(study),
        };
        self.studies.iter().map(wanted).collect()
    }

    /// Sets the images of a study.
    pub fn set_pictures(&mut self, study: usize, pictures: Pictures) {
        self.pictures[study] = pictures;
    }

    fn chapters(&self) -> Vec<Chapter> {
        let mut chapters: Vec<Chapter> =
            self.overlays.iter().filter_map(|overlay| overlay.chapter(&self.misfits)).collect();
        for (study, pictures) in self.studies.iter().zip(&self.pictures) {
            // What is proved or broken at one radius says something about others.
            let is_ordered = !study.has_times() && !study.has_devices();
            let ordered = |section: &dyn Fn() -> Option<Section>| if is_ordered { section() } else { None };
            let sections: Vec<Option<Section>> = vec![
                ordered(&|| Some(answer::section(study))),
                random::section(study),
                ordered(&|| curve::section(study)),
                ordered(&|| radii::section(study)),
                ordered(&|| classes::section(study)),
                layers::section(study),
                ordered(&|| failing::section(study, pictures)),
                Some(headline::section(study)),
                Some(settings::section(study)),
            ];
            let (title, lead) = headline::title(study);
            chapters.push(Chapter { title, lead, sections: sections.into_iter().flatten().collect() });
        }
        for file in &self.others {
            match file {
                Loaded::Train(train) => chapters.push(training::chapter(train)),
                Loaded::Experiment(experiment) => chapters.push(experiment::chapter(experiment)),
                Loaded::Measure(measured) => chapters.push(measure::chapter(measured)),
                Loaded::Faults(found) => chapters.push(faults::chapter(found)),
                Loaded::Run(_) => {}
            }
        }
        chapters
    }

    /// The page.
    pub fn html(&self) -> String {
        let chapters = self.chapters();
        let kicker = match chapters.len() {
            1 => "weightproof report".to_owned(),
            n => format!("weightproof report, {n} parts"),
        };
        page::html(&kicker, chapters, &html! { (section::words()) })
    }

    /// The figures of the page, with names that differ.
    pub fn figures(&self) -> Vec<Figure> {
        section::figures(self.chapters())
    }
}
