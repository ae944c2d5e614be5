//! `report`: results as one page with figures, and what changed between two of them.

use super::{Status, evidence, sweep};
use crate::error::Failure;
use crate::output;
use clap::{Args, ValueEnum};
use std::fs;
use std::path::{Path, PathBuf};
use weightproof_figure::features;
use weightproof_page::{Figure, Page, comparison, comparison_figures};
use weightproof_report::compare::{Comparison, compare};
use weightproof_report::reading::{self, Loaded, RunFile};
use weightproof_run::pages;

/// The largest result that is read.
const MOST_BYTES: u64 = 1 << 31;

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Results of certify, attack, radius, faults, train, experiment or measure, as JSON, or folders of `sweep`; those that ask the same question are shown together
    #[arg(value_name = "RESULT", required = true)]
    pub results: Vec<PathBuf>,
    /// Names of the results in figures, one for each [default: those of the files]
    #[arg(long = "name", value_name = "NAME,…", value_delimiter = ',')]
    pub names: Vec<String>,
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
    #[command(flatten)]
    pub config: crate::args::ConfigArgs,
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
    let mut files = Vec::new();
    for path in &args.results {
        if !path.is_dir() {
            files.push(read(path)?);
            continue;
        }
        if args.compare || args.evidence.is_some() {
            let message = format!("{}: expected a result, found a folder", path.display());
            return Err(Failure::new(message).hint("folders of `sweep` are shown, not compared"));
        }
        for (name, path) in sweep::results(path)? {
            let mut file = read(&path)?;
            file.set_name(&name);
            files.push(file);
        }
    }
    if !args.names.is_empty() && args.names.len() != files.len() {
        let (expected, found) = (files.len(), args.names.len());
        return Err(Failure::new(format!(
            "name: expected {expected} names, one for each result, found {found}"
        )));
    }
    files.iter_mut().zip(&args.names).for_each(|(file, name)| file.set_name(name));
    if let Some(archive) = &args.evidence {
        return evidence::run(args, archive, &files);
    }
    output::check(args.output.as_deref())?;
    if args.compare { comparing(args, &files) } else { showing(args, &files) }
}

fn showing(args: &ReportArgs, files: &[Loaded]) -> Result<Status, Failure> {
    let mut page = Page::new(files);
    if let (false, false, Some(misfit)) = (args.names.is_empty(), page.has_overlay(), page.misfits().first())
    {
        return Err(
            Failure::new(misfit.to_string()).hint("only results of the same question can be one figure")
        );
    }
    if !args.quiet {
        page.misfits().iter().for_each(|misfit| eprintln!("note: not in one figure: {misfit}"));
    }
    pages::add_pictures(&mut page, args.data.as_deref())?;
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
        Loaded::Faults(_) => "faults",
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
    if let (Err(missing), false) = (features::raster(), args.quiet) {
        eprintln!("note: {missing}; they are written as SVG only");
    }
    for (name, bytes) in pages::figure_files(&figures())? {
        output::write(Some(&folder.join(name)), |out| out.write_all(&bytes))?;
    }
    Ok(())
}
