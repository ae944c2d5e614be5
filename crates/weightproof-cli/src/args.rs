//! The command line, as clap reads it. Numbers whose errors need more than clap says stay text until `config`.

pub mod measure;
pub mod train;

use crate::command::experiment::ExperimentArgs;
use crate::command::merge::MergeArgs;
use crate::command::report::ReportArgs;
use crate::command::sweep::SweepArgs;
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;
use weightproof::attack::{AttackKind, KINDS};
use weightproof::bounds::{EXACT, METHODS};
use weightproof::faults::{Fault, PairLimits};
use weightproof_report::Format;
use weightproof_run::attack::description;

/// Proofs of what a neural network still does when its weights change.
///
/// Exit codes: 0 when the property holds for all samples (for `attack`: none was broken), 1 when it does not or is unknown,
/// 2 for bad usage or input, 130 when an interrupt (Ctrl-C) left samples out of the results.
#[derive(Debug, Parser)]
#[command(name = "weightproof", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show layers, shapes, parameters, norms, and what would be perturbed
    Inspect(Box<InspectArgs>),
    /// Say whether one network is a rounding of another, and which sets around the first hold the second
    Faithful(Box<FaithfulArgs>),
    /// Prove which samples keep their class for every perturbation of the weights
    Certify(Box<CertifyArgs>),
    /// Search perturbations of the weights that change the class of samples
    Attack(Box<AttackArgs>),
    /// Find how far the weights may move for each sample: proved from below, attacked from above
    Radius(Box<RadiusArgs>),
    /// Settle every single fault in the memory of the weights: which hits on which bits change which samples
    Faults(Box<FaultsArgs>),
    /// Say what theory and measurement tell about how the network generalizes, as it is and when its weights move
    Measure(Box<measure::MeasureArgs>),
    /// Join the parts of a run that --shard made: what one run would have given
    Merge(Box<MergeArgs>),
    /// Run a command for every combination of some settings: models, sets, radii, methods
    Sweep(Box<SweepArgs>),
    /// Train a network, plain or so that it withstands changes of its weights and can be proved
    Train(Box<train::TrainArgs>),
    /// Train and measure models: tables, plots and data of an experiment
    Experiment(Box<ExperimentArgs>),
    /// Show results as one page with figures, or what changed between two of them
    Report(Box<ReportArgs>),
    /// Measure how fast this machine proves, beside the plain matrix products that bounds are made of
    #[command(hide = true)]
    Bench(Box<BenchArgs>),
    /// Say what this installation has: version, features, instruction set, threads, memory, Python package
    Doctor,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page of weightproof, or of one of its commands
    Man {
        /// The command
        command: Option<String>,
    },
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub threat: ThreatArgs,
    /// Compare values with those of another program: an .npz file with the array input, and arrays named like nodes
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments of `faithful`.
#[derive(Debug, Args)]
pub struct FaithfulArgs {
    /// What was rounded: a network, .onnx or .safetensors with its architecture; or two files of tensors, .gguf or .safetensors, of any size
    #[arg(value_name = "FLOAT")]
    pub float: PathBuf,
    /// What it became
    #[arg(value_name = "QUANTIZED")]
    pub rounded: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Only networks whose name contains this
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// A part of the standard set, which takes seconds and says little
    #[arg(long)]
    pub quick: bool,
    /// Number of threads [default: all processors]
    #[arg(long, value_name = "T", value_parser = threads)]
    pub threads: Option<usize>,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments of `certify`.
#[derive(Debug, Args)]
pub struct CertifyArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub threat: ThreatArgs,
    #[command(flatten)]
    pub noise: NoiseArgs,
    #[command(flatten)]
    pub hits: HitArgs,
    #[command(flatten)]
    pub property: PropertyArgs,
    #[command(flatten)]
    pub method: MethodArgs,
    #[command(flatten)]
    pub exact: ExactArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub journal: JournalArgs,
    #[command(flatten)]
    pub certificate: CertificateArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments of `attack`.
#[derive(Debug, Args)]
pub struct AttackArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub threat: ThreatArgs,
    #[command(flatten)]
    pub draws: DrawsArgs,
    #[command(flatten)]
    pub hits: HitArgs,
    #[command(flatten)]
    pub property: PropertyArgs,
    /// What is searched
    #[arg(
        long,
        value_name = "KIND",
        default_value = "neuron-space",
        value_parser = attack_names(|_| true),
        help_heading = "Attack"
    )]
    pub attack: String,
    #[command(flatten)]
    pub search: SearchArgs,
    /// Folder for witnesses: one .safetensors file for each broken sample, or one for an attack on all samples at once
    #[arg(long, value_name = "FOLDER", help_heading = "Attack")]
    pub witness: Option<PathBuf>,
    /// Length of a step of the universal attack, as a fraction of the radius
    #[arg(
        long,
        value_name = "F",
        allow_hyphen_values = true,
        help_heading = "Attack",
        hide_short_help = true
    )]
    pub step_size: Option<String>,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub journal: JournalArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments of `radius`.
#[derive(Debug, Args)]
pub struct RadiusArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub threat: ThreatArgs,
    #[command(flatten)]
    pub noise: NoiseRadiusArgs,
    #[command(flatten)]
    pub hits: HitArgs,
    #[command(flatten)]
    pub property: PropertyArgs,
    #[command(flatten)]
    pub method: MethodArgs,
    /// Distance of neighbouring radii of the search, relative to the radius
    #[arg(
        long,
        value_name = "F",
        default_value = "0.01",
        allow_hyphen_values = true,
        help_heading = "Method",
        hide_short_help = true
    )]
    pub width: String,
    /// Also with one layer perturbed: which one limits the certificate
    #[arg(long, help_heading = "Method")]
    pub by_layer: bool,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// What is searched
    #[arg(
        long,
        value_name = "KIND",
        default_value = "neuron-space",
        value_parser = attack_names(AttackKind::is_search),
        help_heading = "Attack"
    )]
    pub attack: String,
    #[command(flatten)]
    pub search: SearchArgs,
    /// Only certified radii
    #[arg(long, help_heading = "Attack", hide_short_help = true)]
    pub no_attack: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub journal: JournalArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments of `faults`.
#[derive(Debug, Args)]
pub struct FaultsArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub faults: FaultModelArgs,
    #[command(flatten)]
    pub property: PropertyArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// CSV file of all hits that break, repair or leave open a sample
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub critical: Option<PathBuf>,
    #[command(flatten)]
    pub journal: JournalArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Hits on stored words beside a threat model that leaves weights alone.
#[derive(Debug, Args)]
pub struct HitArgs {
    /// Fault model in TOML, as `faults` reads it: up to its number of words are hit; weights do not move otherwise
    ///
    /// certify has bounds by the methods interval, linear-interval and linear, beside an input radius. attack searches hits that break a
    /// sample, radius how many of them each sample withstands.
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Threat model",
        conflicts_with = "noise",
        hide_short_help = true
    )]
    pub faults: Option<PathBuf>,
}

/// What may happen to stored words.
#[derive(Debug, Args)]
#[command(next_help_heading = "Faults")]
pub struct FaultModelArgs {
    /// A fault model in TOML; what the command line says takes precedence
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub faults: Option<PathBuf>,
    /// How parameters are stored: file, int8, int4:per-channel, bf16, … [default: file]
    ///
    /// All storages: file (integers where the file has them, else fp32), int2 to int16 with the settings of the threat models, fp32,
    /// bf16, fp16, fp8e4m3, fp8e5m2. The network that runs has the parameters that the words stand for.
    #[arg(long, value_name = "FORMAT")]
    pub storage: Option<String>,
    /// Most words of the whole network that are hit at once [default: 1]
    ///
    /// Single hits are settled, whatever M is. For 2 to M words each sample has a bound and an attack, for 2 words also a search that
    /// ends with an answer, within its limits.
    #[arg(long, value_name = "M")]
    pub words: Option<u32>,
    /// Most bits of a word that change [default: 1]
    #[arg(long, value_name = "N")]
    pub bits: Option<u32>,
    /// What happens to them [default: flip]
    #[arg(long, value_name = "WHAT", value_parser = fault_names())]
    pub fault: Option<String>,
    /// Positions that may change, 0 the lowest [default: all]
    #[arg(long, value_name = "B,…", value_delimiter = ',', hide_short_help = true)]
    pub at: Vec<u32>,
    /// Hit only the words of these layers [default: all with weights]
    #[arg(long, value_name = "A,B,…", hide_short_help = true)]
    pub layers: Option<String>,
    /// Leave the words of biases alone
    #[arg(long, hide_short_help = true)]
    pub no_biases: bool,
    /// Bits that are protected: 6,7, LAYER:7, LAYER:all, secded, parity-zero; several times for several layers
    ///
    /// Positions, and all, are stored three times and do not change. secded corrects one error of a word, after two the word reads as
    /// zero; parity-zero makes a word with an odd number of errors zero.
    #[arg(long, value_name = "WHAT")]
    pub protect: Vec<String>,
    /// Radius of a joint perturbation of the input, in the unit of the data
    #[arg(long, value_name = "R", allow_hyphen_values = true, hide_short_help = true)]
    pub input_radius: Option<String>,
    /// Most first hits of pairs that are looked at for one sample, 0 for no search
    #[arg(long, value_name = "N", default_value_t = PairLimits::NODES, hide_short_help = true)]
    pub max_nodes: usize,
    /// Most seconds of the search for pairs for one sample
    #[arg(long, value_name = "S", allow_hyphen_values = true, hide_short_help = true)]
    pub time_limit: Option<String>,
    /// Also print the smallest protection with which no single flip breaks a sample, one position after the other
    #[arg(long)]
    pub recommend: bool,
}

/// How perturbations are searched.
#[derive(Debug, Args)]
#[command(next_help_heading = "Attack")]
pub struct SearchArgs {
    /// Steps of the search
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = positive, hide_short_help = true)]
    pub steps: usize,
    /// Starts of the search, or draws of a random attack
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = positive, hide_short_help = true)]
    pub restarts: usize,
}

/// The network.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// Network: .onnx or .safetensors [default: the embedded one, without DATA]
    ///
    /// A .safetensors file needs an architecture file. Without MODEL and DATA, the embedded MNIST network is read.
    #[arg(value_name = "MODEL")]
    pub model: Option<PathBuf>,
    /// Architecture of a .safetensors network [default: the .toml beside it]
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub architecture: Option<PathBuf>,
    /// Batch normalization: fold it into the layer before or after it, or keep it separate and perturb its own parameters
    #[arg(long, value_name = "HOW", default_value = "fold", hide_short_help = true)]
    pub batch_norm: BatchNormArg,
    /// Outputs of an ONNX file, or other values in it, end to end when there are several [default: the first]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', hide_short_help = true)]
    pub output_name: Vec<String>,
    /// Input of an ONNX file that is a constant, with its value
    #[arg(long, value_name = "NAME=FILE.npy", value_parser = assigned, hide_short_help = true)]
    pub input: Vec<(String, String)>,
    /// Value of a dimension of an ONNX file that has a name
    #[arg(long, value_name = "NAME=N", value_parser = dimension, hide_short_help = true)]
    pub dim: Vec<(String, usize)>,
    /// Which step comes out of quantizers of activations: the nearest one (ties to even), or any beside it
    #[arg(long, value_name = "HOW", default_value = "nearest-even", hide_short_help = true)]
    pub rounding: RoundingArg,
}

/// `NAME=VALUE`.
fn assigned(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .ok_or("expected NAME=VALUE")?;
    Ok((name.into(), value.into()))
}

/// `NAME=N` with a number of at least 1.
fn dimension(text: &str) -> Result<(String, usize), String> {
    let (name, value) = assigned(text)?;
    let number = value.parse().ok().filter(|n| *n > 0);
    Ok((name, number.ok_or("expected a number of at least 1")?))
}

/// Which step comes out of quantizers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoundingArg {
    /// As the operator's text says
    NearestEven,
    /// That or a neighbouring step: kernels that requantize in fixed point
    Any,
}

/// What becomes of batch normalization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BatchNormArg {
    /// Part of the neighbouring weights, as deployed
    Fold,
    /// A layer of its own
    Separate,
}

/// The data.
#[derive(Debug, Args)]
#[command(next_help_heading = "Data")]
pub struct DataArgs {
    /// Data: a folder or file of IDX, CIFAR, pictures, .npz, .npy or .csv
    ///
    /// Without MODEL and DATA, the embedded MNIST sample is read; for another MODEL it is read by --data embedded only.
    #[arg(value_name = "DATA", help_heading = clap::builder::Resettable::Reset)]
    pub data: Option<PathBuf>,
    /// The embedded MNIST sample for a network of one's own
    #[arg(long = "data", value_name = "WHICH", conflicts_with = "data", hide_short_help = true)]
    pub embedded: Option<EmbeddedArg>,
    /// Labels: .npy, IDX, or text with one per line
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// The first column of a .csv is data, not the label
    #[arg(long, hide_short_help = true)]
    pub unlabelled_csv: bool,
    /// Whether the first row of a .csv names the columns; auto: it does when it starts with no number
    #[arg(long, value_name = "HOW", default_value = "auto", hide_short_help = true)]
    pub header: HeaderArg,
    /// What separates the fields of a .csv: one character, or tab [default: a comma, in a .tsv a tab]
    #[arg(long, value_name = "C", allow_hyphen_values = true, hide_short_help = true)]
    pub delimiter: Option<String>,
    /// Name of the column of a .csv with the labels [default: the first column]
    #[arg(long, value_name = "NAME", conflicts_with = "unlabelled_csv", hide_short_help = true)]
    pub label_column: Option<String>,
    /// Which part of a folder or archive that has both
    #[arg(long, value_name = "PART", default_value = "test", hide_short_help = true)]
    pub split: SplitArg,
    /// Number of samples to skip
    #[arg(long, value_name = "K", default_value_t = 0, hide_short_help = true)]
    pub offset: usize,
    /// Number of samples [default: all]
    #[arg(long, short = 'n', value_name = "N", value_parser = positive)]
    pub samples: Option<usize>,
    /// Part I of N of the samples, for N runs of which `weightproof merge` makes one result
    #[arg(long, value_name = "I/N", hide_short_help = true)]
    pub shard: Option<String>,
    /// Order of channels, height and width that the network wants [default: from the shapes]
    #[arg(long, value_name = "ORDER", hide_short_help = true)]
    pub layout: Option<LayoutArg>,
    /// Factor that multiplies the data: a number, or a ratio such as 1/255 [default: 1/255 for u8 data, 1 for others and where the
    /// network or --std divide by 255 themselves]
    #[arg(long, value_name = "S", allow_hyphen_values = true, hide_short_help = true)]
    pub scale: Option<String>,
    /// Mean to subtract from the data: one number, or one for each channel
    #[arg(long, value_name = "M,…", allow_hyphen_values = true, hide_short_help = true)]
    pub mean: Option<String>,
    /// Standard deviation to divide by: one number, or one for each channel
    #[arg(long, value_name = "S,…", allow_hyphen_values = true, hide_short_help = true)]
    pub std: Option<String>,
    /// Samples to read at once [default: adapts, at most 2048]
    #[arg(long, value_name = "B", value_parser = positive, hide_short_help = true)]
    pub batch: Option<usize>,
}

/// The perturbation set.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Threat model")]
pub struct ThreatArgs {
    /// Radius of every weight, or several
    #[arg(long, short, value_name = "R,…", allow_hyphen_values = true)]
    pub radius: Option<String>,
    /// Radius of every bias, 0 for none [default: as the weights of the layer]
    #[arg(long, value_name = "R", allow_hyphen_values = true, hide_short_help = true)]
    pub bias_radius: Option<String>,
    /// A radius below 1 of integer or number formats is meant: a part of their own rounding
    #[arg(long, hide_short_help = true)]
    pub scale_radius: bool,
    /// absolute, relative, int8, format:bf16, …, or a .toml file [default: absolute]
    ///
    /// All kinds: absolute, relative, per-channel, frobenius, row-ball, int2 to int16, int8:per-channel, format:bf16, format:fp16,
    /// format:tf32, format:fp32, format:fp8e4m3, format:fp8e5m2, each also with :any for hardware that does not round to nearest.
    #[arg(long, short, value_name = "KIND")]
    pub threat: Option<String>,
    /// Perturb only these layers [default: all with weights]
    #[arg(long, value_name = "A,B,…", hide_short_help = true)]
    pub layers: Option<String>,
    /// Radius of a joint perturbation of the input, in the unit of the data
    #[arg(long, value_name = "R", allow_hyphen_values = true, hide_short_help = true)]
    pub input_radius: Option<String>,
    /// Radius of an error added to every activation
    #[arg(long, value_name = "R", allow_hyphen_values = true, hide_short_help = true)]
    pub activation_radius: Option<String>,
}

/// What is random.
#[derive(Debug, Args)]
#[command(next_help_heading = "Threat model")]
pub struct NoiseArgs {
    /// Random weights: gaussian-of-max:0.01, stochastic:int8, …, or a .toml file
    ///
    /// All kinds: gaussian, uniform, each also -relative (to every weight), -of-channel or -of-max (to the largest weight of the output
    /// channel or of the layer), with a deviation or half width; stochastic:int2 to int16, stochastic:int8:per-channel, stochastic:bf16,
    /// fp16, tf32, fp8e4m3, fp8e5m2; pcm, pairs of phase-change devices. A --threat or --radius beside it is chosen before the draw.
    #[arg(long, value_name = "KIND:SIGMA")]
    pub noise: Option<String>,
    /// Probability with which a verified sample may fail on a device [default: 1e-9]
    #[arg(long, value_name = "P", requires = "noise", allow_hyphen_values = true, hide_short_help = true)]
    pub failure_probability: Option<String>,
    #[command(flatten)]
    pub times: TimesArgs,
}

/// When.
#[derive(Debug, Args)]
pub struct TimesArgs {
    /// Times after the first reading, for weights that drift: 1s,1h,1d,1y
    #[arg(
        long,
        value_name = "TIMES",
        requires = "noise",
        allow_hyphen_values = true,
        hide_short_help = true
    )]
    pub time: Option<String>,
}

/// Noise whose size is searched.
#[derive(Debug, Args)]
#[command(next_help_heading = "Threat model")]
pub struct NoiseRadiusArgs {
    /// Search the largest noise instead of a radius: gaussian-of-max, gaussian, uniform-relative, …, or a .toml file, as certify has it;
    /// without an attack
    #[arg(long, value_name = "KIND", hide_short_help = true)]
    pub noise: Option<String>,
    /// Probability with which a certified sample may fail on a device [default: 1e-9]
    #[arg(long, value_name = "P", requires = "noise", allow_hyphen_values = true, hide_short_help = true)]
    pub failure_probability: Option<String>,
}

/// Devices that are drawn.
#[derive(Debug, Args)]
#[command(next_help_heading = "Threat model")]
pub struct DrawsArgs {
    /// Draw devices instead of searching: gaussian-of-max:0.01, …, or a .toml file, as certify has it
    #[arg(long, value_name = "KIND:SIGMA")]
    pub noise: Option<String>,
    /// Number of devices [default: 100]
    #[arg(long, value_name = "N", requires = "noise", value_parser = positive, hide_short_help = true)]
    pub draws: Option<usize>,
    #[command(flatten)]
    pub times: TimesArgs,
}

/// What must hold.
#[derive(Debug, Args)]
#[command(next_help_heading = "Property")]
pub struct PropertyArgs {
    /// What must hold
    ///
    /// By default the label where there are labels, else the prediction.
    #[arg(long, value_name = "P")]
    pub property: Option<PropertyArg>,
    /// Largest allowed change of an output, for the property deviation; without it, certify bounds the largest change
    #[arg(long, value_name = "T", allow_hyphen_values = true, hide_short_help = true)]
    pub tolerance: Option<String>,
    /// What the output is compared with, for the property positive [default: 0.5 behind a sigmoid, else 0]
    #[arg(long, value_name = "T", allow_hyphen_values = true, hide_short_help = true)]
    pub threshold: Option<String>,
    /// What all outputs stay above, for the property within
    #[arg(long, value_name = "L", allow_hyphen_values = true, hide_short_help = true)]
    pub lower: Option<String>,
    /// What all outputs stay below, for the property within
    #[arg(long, value_name = "U", allow_hyphen_values = true, hide_short_help = true)]
    pub upper: Option<String>,
    /// Deviations are those of the outputs before the last Softmax or LogSoftmax, which is left out
    #[arg(long, hide_short_help = true)]
    pub logits: bool,
}

/// How bounds are computed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Method")]
pub struct MethodArgs {
    /// Bounds, or exact
    ///
    /// A method proves lower bounds; exact proves or breaks every sample, within its limits.
    #[arg(long, value_name = "NAME", default_value = "linear", value_parser = method_names())]
    pub method: String,
    /// Bounds of hidden neurons that the method linear starts from [default: linear]
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub intermediate: Option<IntermediateArg>,
    /// What bounds rest on
    #[arg(long, value_name = "WORD", default_value = "rigorous", hide_short_help = true)]
    pub guarantee: GuaranteeArg,
}

/// Limits of complete verification.
#[derive(Debug, Args)]
#[command(next_help_heading = "Exact")]
pub struct LimitArgs {
    /// Most time for each sample at each radius
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub time_limit: Option<String>,
    /// Most time for the whole run; what is left is unknown
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true, hide_short_help = true)]
    pub time_limit_total: Option<String>,
    /// Most domains that are bounded for each sample at each radius
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = positive, hide_short_help = true)]
    pub max_nodes: Option<usize>,
    /// Most memory for open domains: bytes, or with K, M, G; 4G if not given
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, hide_short_help = true)]
    pub max_memory: Option<String>,
}

/// What only complete verification takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Exact")]
pub struct ExactArgs {
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Close the smallest margin to this width, instead of stopping at its sign
    #[arg(long, value_name = "G", allow_hyphen_values = true, hide_short_help = true)]
    pub gap: Option<String>,
    /// Folder for witnesses: one .safetensors file for each falsified sample
    #[arg(long, value_name = "FOLDER")]
    pub witness: Option<PathBuf>,
    /// Settle every sample a second time by this solver, and compare
    #[arg(long, value_name = "SOLVER", hide_short_help = true)]
    pub oracle: Option<OracleArg>,
}

/// Values of `--oracle`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum OracleArg {
    /// A mixed-integer linear program for each sample and class, solved by HiGHS; only in builds with the feature milp
    Milp,
}

/// Threads, numbers, seeds.
#[derive(Debug, Args)]
#[command(next_help_heading = "Computation")]
pub struct EngineArgs {
    /// Number of threads [default: all processors]
    #[arg(long, value_name = "T", value_parser = threads, hide_short_help = true)]
    pub threads: Option<usize>,
    /// Seed of everything random
    #[arg(long, value_name = "S", default_value_t = 0, hide_short_help = true)]
    pub seed: u64,
    /// Floating-point type [default: f32, or f64 where the network is in float64]
    #[arg(long, value_name = "TYPE", hide_short_help = true)]
    pub precision: Option<PrecisionArg>,
}

/// What lets a run that was killed go on.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct JournalArgs {
    /// File of settled samples, from which a killed run goes on
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
}

/// What lets a stranger repeat the proofs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct CertificateArgs {
    /// File of proofs and witnesses for weightproof-check
    ///
    /// It has the proof or the witness of every sample, which weightproof-check repeats in exact arithmetic.
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
}

/// Settings in a file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct ConfigArgs {
    /// Settings of this command in TOML; what the command line says takes precedence
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub config: Option<PathBuf>,
    /// Print the settings as such a file, and do nothing else
    #[arg(long, hide_short_help = true)]
    pub print_config: bool,
}

/// Where results go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Format
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    pub format: FormatArg,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// File for the results [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Neither progress nor remarks on standard error
    #[arg(long, short, hide_short_help = true)]
    pub quiet: bool,
}

/// Values of `--data`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum EmbeddedArg {
    /// 1,000 images of the test set of MNIST
    Embedded,
}

/// Values of `--split`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SplitArg {
    /// The test set
    Test,
    /// The training set
    Train,
}

/// Values of `--header`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum HeaderArg {
    /// When it starts with no number; numbers that may count columns are an error
    Auto,
    /// It names the columns
    Yes,
    /// It is a sample
    No,
}

/// Values of `--layout`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LayoutArg {
    /// Channels first
    Nchw,
    /// Channels last
    Nhwc,
}

/// Values of `--property`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PropertyArg {
    /// The given label keeps the largest output
    Label,
    /// The prediction of the unperturbed network does not change
    Prediction,
    /// No output moves by more than the tolerance
    Deviation,
    /// One output stays above the threshold, or not above it, as labels of 1 and 0 say or as it is without perturbation
    Positive,
    /// All outputs stay between --lower and --upper
    Within,
}

/// Values of `--intermediate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IntermediateArg {
    /// Tight
    Linear,
    /// Cheap
    Interval,
}

/// Values of `--guarantee`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum GuaranteeArg {
    /// They hold although they are computed in floating point
    Rigorous,
    /// They hold if floating point were exact; for comparisons
    RealArithmetic,
}

/// Values of `--precision`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PrecisionArg {
    /// Single precision
    F32,
    /// Double precision
    F64,
}

/// Values of `--format`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum FormatArg {
    /// Tables
    Text,
    /// One object
    Json,
    /// One row for each sample and radius
    Csv,
    /// The same rows with types, for --output
    Parquet,
}

/// The names of some attacks.
fn attack_names(named: fn(AttackKind) -> bool) -> PossibleValuesParser {
    let kinds = KINDS.into_iter().filter(|kind| named(*kind));
    PossibleValuesParser::new(kinds.map(|kind| PossibleValue::new(kind.name()).help(description(kind))))
}

/// The names of all faults.
fn fault_names() -> PossibleValuesParser {
    PossibleValuesParser::new(Fault::NAMES.map(|(name, _)| name))
}

/// The names of all methods.
fn method_names() -> PossibleValuesParser {
    PossibleValuesParser::new(METHODS.iter().chain([&EXACT]).map(|m| m.name))
}

/// An integer of at least 1.
pub fn positive(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| *n > 0);
    number.ok_or_else(|| "expected an integer of at least 1".into())
}

/// The most threads that are started.
const MOST_THREADS: usize = 1024;

pub fn threads(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (1..=MOST_THREADS).contains(n));
    number.ok_or_else(|| format!("expected an integer from 1 to {MOST_THREADS}"))
}

impl OutputArgs {
    /// The format, as reports name it.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format.into() }
    }
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Format {
        match format {
            FormatArg::Text => Format::Text,
            FormatArg::Json => Format::Json,
            FormatArg::Csv => Format::Csv,
            FormatArg::Parquet => Format::Parquet,
        }
    }
}
