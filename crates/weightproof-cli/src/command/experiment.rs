//! `experiment`: trains and measures models, writes tables and plots.

use super::Status;
use crate::args;
use crate::error::Failure;
use crate::{interrupt, output, source};
use clap::Args;
use clap::builder::PossibleValuesParser;
use std::io::Write;
use std::path::{Path, PathBuf};
use weightproof_experiment::{Data, DataSource, EXPERIMENTS, ExperimentError, Needs, Options, Watch};
use weightproof_formats::data::{DataOptions, DataSet, Split};
use weightproof_train::Labelled;

/// Samples of the test set that are measured.
const TEST: usize = 2500;
/// Samples of a quick run: training, test.
const QUICK: [usize; 2] = [800, 200];

/// Arguments of `experiment`.
#[derive(Debug, Args)]
pub struct ExperimentArgs {
    /// What is asked
    #[arg(value_name = "NAME", value_parser = names())]
    pub name: String,
    /// Complete MNIST: a folder with its IDX files, training and test; --quick goes without, and so do experiments that draw their samples
    #[arg(value_name = "DATA")]
    pub data: Option<PathBuf>,
    /// Tiny grids on few images, the embedded ones without DATA: tests that everything works, says little
    #[arg(long)]
    pub quick: bool,
    /// Folder for the results; they are in a folder with the name of the experiment
    #[arg(long, short, value_name = "FOLDER", default_value = "results")]
    pub output: PathBuf,
    /// Seed of everything random
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Seeds of each model, where the experiment takes several [default: 3, with --quick 1]
    #[arg(long, value_name = "N", value_parser = args::positive)]
    pub seeds: Option<usize>,
    /// Number of threads [default: all processors]
    #[arg(long, value_name = "T", value_parser = args::threads)]
    pub threads: Option<usize>,
    /// No remarks on standard error
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub config: args::ConfigArgs,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(EXPERIMENTS.iter().map(|experiment| experiment.name))
}

/// Runs the command.
pub fn run(args: &ExperimentArgs) -> Result<Status, Failure> {
    let fail = |error: ExperimentError| Failure::new(error.to_string());
    let experiment = weightproof_experiment::find(&args.name).map_err(fail)?;
    let seeds = args.seeds.unwrap_or(if args.quick { 1 } else { 3 });
    let options = Options { quick: args.quick, seed: args.seed, seeds };
    let data = match (experiment.needs, &args.data, args.quick) {
        (Needs::Nothing, None, _) => Data::default(),
        (Needs::Nothing, Some(folder), _) => {
            let text = format!("data: {} draws its samples from the seed and expects none", experiment.name);
            return Err(Failure::new(format!("{text}, found {}", folder.display())));
        }
        (Needs::Images, Some(folder), _) => read(folder, args.quick)?,
        (Needs::Images, None, true) => embedded()?,
        (Needs::Images, None, false) => {
            return Err(Failure::new("data: expected a folder with complete MNIST, found none")
                .hint("name the folder with its IDX files, or try --quick on embedded images"));
        }
    };
    interrupt::watch()?;
    let pool = crate::run::pool(args.threads)?;
    let folder = args.output.join(experiment.name);
    let mut watch = Progress { quiet: args.quiet };
    let report =
        pool.install(|| weightproof_experiment::run(experiment, &options, &data, &folder, &mut watch));
    let report = report.map_err(fail)?;
    output::write(None, |out| out.write_all(report.markdown().as_bytes()))?;
    watch.remark(&format!("written to {}", folder.display()));
    Ok(Status::Holds.unless(report.partial))
}

/// Remarks on standard error, interrupts by Ctrl-C.
struct Progress {
    quiet: bool,
}

impl Watch for Progress {
    fn remark(&mut self, text: &str) {
        if !self.quiet {
            // Nothing can be done when standard error is closed.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    fn interrupted(&self) -> bool {
        interrupt::requested()
    }
}

/// Training and test images of a folder. A whole run measures test images at equal distances, so that easy and hard parts of the
/// file have the same weight.
fn read(folder: &Path, quick: bool) -> Result<Data, Failure> {
    let part = |split, samples: Option<usize>| -> Result<(Labelled, DataSet), Failure> {
        let mut set = DataSet::open(&DataOptions { split, samples, ..DataOptions::new(folder) })?;
        let all = Labelled::read(&mut set)?;
        if all.is_empty() {
            return Err(Failure::new(format!(
                "{}: expected images with labels, found none",
                folder.display()
            ))
            .hint("name a folder with train-images-idx3-ubyte, t10k-images-idx3-ubyte and their labels"));
        }
        Ok((all, set))
    };
    let most = |k: usize| quick.then_some(QUICK[k]);
    let ((train, from), (test, to)) = (part(Split::Train, most(0))?, part(Split::Test, most(1))?);
    let step = (test.len() / TEST).max(1);
    let test = test.pick(&(0..test.len()).step_by(step).collect::<Vec<_>>());
    let sources = vec![describe("train", &from, train.len())?, describe("test", &to, test.len())?];
    Ok(Data { train, test, sources })
}

/// The embedded images, the last of them for the test.
fn embedded() -> Result<Data, Failure> {
    let mut set = source::embedded_images()?;
    let (train, test) = Labelled::read(&mut set)?.split(QUICK[1]);
    let sources = vec![describe("train", &set, train.len())?, describe("test", &set, test.len())?];
    Ok(Data { train, test, sources })
}

fn describe(part: &str, set: &DataSet, samples: usize) -> Result<DataSource, Failure> {
    let (description, sha256) = (set.info().description.clone(), set.sha256()?);
    Ok(DataSource { part: part.into(), description, samples, sha256 })
}
