//! Arguments of `measure`.

use super::{ConfigArgs, DataArgs, EngineArgs, MethodArgs, ModelArgs, OutputArgs, ThreatArgs, positive};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `measure`.
#[derive(Debug, Args)]
pub struct MeasureArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub training: TrainingArgs,
    #[command(flatten)]
    pub threat: ThreatArgs,
    #[command(flatten)]
    pub method: MethodArgs,
    #[command(flatten)]
    pub compression: CompressionArgs,
    #[command(flatten)]
    pub search: MeasureSearchArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// What the network was trained on and from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Training")]
pub struct TrainingArgs {
    /// Samples that the network was trained on; DATA is then held out
    #[arg(long, value_name = "DATA")]
    pub train_data: Option<PathBuf>,
    /// Labels of the training samples: .npy, IDX, or text with one per line
    #[arg(long, value_name = "FILE", requires = "train_data", hide_short_help = true)]
    pub train_labels: Option<PathBuf>,
    /// Number of training samples [default: all]
    #[arg(long, value_name = "N", value_parser = positive, requires = "train_data", hide_short_help = true)]
    pub train_samples: Option<usize>,
    /// The network before training
    #[arg(long, value_name = "MODEL")]
    pub init: Option<PathBuf>,
    /// More networks for the same task: bias and variance of them all on DATA
    #[arg(long, value_name = "MODEL,…", value_delimiter = ',')]
    pub ensemble: Vec<PathBuf>,
    /// Probability with which a bound may fail
    #[arg(long, value_name = "P", default_value = "0.05", allow_hyphen_values = true)]
    pub delta: String,
}

/// How sharpness is searched.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sharpness")]
pub struct MeasureSearchArgs {
    /// Leave out everything that has to be searched
    #[arg(long)]
    pub no_search: bool,
    /// Samples that sharpness is searched on at most
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = positive, hide_short_help = true)]
    pub search_samples: usize,
    /// Random networks that an expectation over noise is the mean of
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive, hide_short_help = true)]
    pub draws: usize,
    /// Passes of the attack with one perturbation for all samples
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = positive, hide_short_help = true)]
    pub passes: usize,
}

/// How far the network is compressed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Compression")]
pub struct CompressionArgs {
    /// File for the network with truncated layers, .onnx or .safetensors
    #[arg(long, value_name = "FILE")]
    pub truncate: Option<PathBuf>,
    /// How far a margin of the samples may move [default: their 10% quantile]
    #[arg(long, value_name = "G", allow_hyphen_values = true, hide_short_help = true)]
    pub gamma: Option<String>,
    /// Keep this share of the components of every layer instead
    #[arg(
        long,
        value_name = "F",
        allow_hyphen_values = true,
        conflicts_with = "gamma",
        hide_short_help = true
    )]
    pub rank: Option<String>,
}
