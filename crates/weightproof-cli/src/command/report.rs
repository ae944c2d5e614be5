//! `report`: results as one page with figures, and what changed between two of them.

use super::{Status, evidence};
use crate::error::Failure;
use crate::{output, pictures};
use clap::{Args, ValueEnum};
use std::fs;
use std::path::{Path, PathBuf};
use weightproof_report::compare::{Comparison, compare};
use weightproof_report::features;
use weightproof_report::figure::png;
use weightproof_report::html::{Figure, Page, comparison, comparison_figures};
use weightproof_report::reading::{self, Loaded, RunFile};

/// The largest result that is read.
const MOST_BYTES: u64 = 1 << 31;
/// Pixels of a PNG for one of the SVG.
const PNG_SCALE: f32 = 2.0;

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Results of certify, attack, radius, train, experiment or measure, as JSON; those that ask the same question are shown together
    #[arg(value_name = "RESULT", required = true)]
    pub results: Vec<PathBuf>,
    /// File for the page [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Folder for every figure as SVG, and as PNG where the build has the feature raster
    #[arg(long, value_name = "FOLDER")]
    pub figures: Option<PathBuf>,
    /// Data with the images of the samples [default: where the result says, when they are still the same]
    #[arg(long, value_name = "DATA")]
    pub data: Option<PathBuf>,
    /// Show what changed from the first result to the second, sample by sample
    #[arg(long)]
    pub compare: bool,
    /// Archive of one result of certify with its certificate, what the checker says, hashes, and a page that says what was proved
    #[arg(long, value_name = "FILE", conflicts_with_all = ["compare", "figures", "output"])]
    pub evidence: Option<PathBuf>,
    /// The certificate of the result, for --evidence
    #[arg(long, value_name = "FILE", requires = "evidence")]
    pub certificate: Option<PathBuf>,
    /// The program weightproof-check, for --evidence [default: beside this program, else on the search path]
    #[arg(long, value_name = "PROGRAM", requires = "certificate")]
    pub checker: Option<PathBuf>,
    /// Format; text and json only with --compare [default: html, with --compare and without --output text]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<ReportFormat>,
    /// No remarks on standard error
    #[arg(long, short)]
    pub quiet: bool,
}

/// Values of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// One page
    Html,
    /// Tables
    Text,
    /// One object
    Json,
}

/// Runs the command.
pub fn run(args: &ReportArgs) -> Result<Status, Failure> {
    if let Some(format) = args.format.filter(|f| *f != ReportFormat::Html && !args.compare) {
        let found = if format == ReportFormat::Text { "text" } else { "json" };
        let message = format!("format: expected html without --compare, found {found}");
        return Err(
            Failure::new(message).hint("the results are JSON; `certify`, `attack` and `radius` write text")
        );
    }
    let files = args.results.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    if let Some(archive) = &args.evidence {
        return evidence::run(args, archive, &files);
    }
    output::check(args.output.as_deref())?;
    if args.compare { comparing(args, &files) } else { showing(args, &files) }
}

fn showing(args: &ReportArgs, files: &[Loaded]) -> Result<Status, Failure> {
    let mut page = Page::new(files);
    for (study, wanted) in page.wanted().into_iter().enumerate() {
        page.set_pictures(study, pictures::load(&wanted, args.data.as_deref())?);
    }
    write_figures(args, || page.figures())?;
    write_page(args, &page.html())
}

fn comparing(args: &ReportArgs, files: &[Loaded]) -> Result<Status, Failure> {
    let [a, b] = files else {
        let message = format!("compare: expected 2 results, found {}", files.len());
        return Err(Failure::new(message).hint("weightproof report --compare A.json B.json"));
    };
    let (a, b) = (with_samples(a, &args.results[0])?, with_samples(b, &args.results[1])?);
    let found = compare(a, b).map_err(|error| {
        Failure::new(error.to_string())
            .hint("a comparison is sample by sample, of the same question about the same data")
    })?;
    remark_differences(args, &found);
    write_figures(args, || comparison_figures(&found))?;
    let format =
        args.format.unwrap_or(if args.output.is_none() { ReportFormat::Text } else { ReportFormat::Html });
    match format {
        ReportFormat::Html => write_page(args, &comparison(&found)),
        ReportFormat::Text => {
            output::write(args.output.as_deref(), |out| found.text(out)).map(|()| Status::Holds)
        }
        ReportFormat::Json => {
            output::write(args.output.as_deref(), |out| found.json(out)).map(|()| Status::Holds)
        }
    }
}

/// What could explain a change must not be overlooked.
fn remark_differences(args: &ReportArgs, found: &Comparison) {
    let names: Vec<&str> = found.differences.iter().map(|d| d.what).collect();
    if !names.is_empty() && !args.quiet {
        eprintln!("the results differ in more than their samples: {}", names.join(", "));
    }
}

fn with_samples<'a>(file: &'a Loaded, path: &Path) -> Result<&'a RunFile, Failure> {
    let found = match file {
        Loaded::Run(run) => return Ok(run),
        Loaded::Train(_) => "train",
        Loaded::Experiment(_) => "experiment",
        Loaded::Measure(_) => "measure",
    };
    let message = format!(
        "{}: expected a result of certify, attack or radius to compare, found {found}",
        path.display()
    );
    Err(Failure::new(message))
}

fn read(path: &Path) -> Result<Loaded, Failure> {
    let size = fs::metadata(path).map_err(Failure::io(path))?.len();
    if size > MOST_BYTES {
        return Err(Failure::new(format!(
            "{}: expected at most {MOST_BYTES} bytes, found {size}",
            path.display()
        )));
    }
    let bytes = fs::read(path).map_err(Failure::io(path))?;
    reading::read(&path.display().to_string(), &bytes).map_err(|error| {
        let failure = Failure::new(error.to_string());
        error.hint().into_iter().fold(failure, Failure::hint)
    })
}

fn write_page(args: &ReportArgs, page: &str) -> Result<Status, Failure> {
    output::write(args.output.as_deref(), |out| out.write_all(page.as_bytes()))?;
    Ok(Status::Holds)
}

/// Each figure as SVG, and as PNG where this build has the renderer.
fn write_figures(args: &ReportArgs, figures: impl FnOnce() -> Vec<Figure>) -> Result<(), Failure> {
    let Some(folder) = &args.figures else { return Ok(()) };
    fs::create_dir_all(folder).map_err(Failure::io(folder))?;
    let raster = features::raster();
    if let (Err(missing), false) = (raster, args.quiet) {
        eprintln!("note: {missing}; they are written as SVG only");
    }
    for figure in figures() {
        let (stem, svg) = (file_name(&figure.name), figure.svg());
        output::write(Some(&folder.join(format!("{stem}.svg"))), |out| out.write_all(svg.as_bytes()))?;
        if raster.is_ok() {
            let png = png(&svg, PNG_SCALE).map_err(|error| Failure::new(error.to_string()))?;
            output::write(Some(&folder.join(format!("{stem}.png"))), |out| out.write_all(&png))?;
        }
    }
    Ok(())
}

/// A name of letters, digits, points and dashes: results come from outside, and their names must stay in the folder.
fn file_name(name: &str) -> String {
    const MOST: usize = 80;
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '-' };
    let name: String = name.chars().take(MOST).map(plain).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "figure".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_figures_stay_in_their_folder() {
        for (name, file) in
            [("curve", "curve"), ("../../etc/passwd", "-..-etc-passwd"), ("..", "figure"), ("a b", "a-b")]
        {
            assert_eq!(file_name(name), file);
        }
    }
}
