//! Arguments of `train`.

use super::{ConfigArgs, EmbeddedArg, HeaderArg, LayoutArg, SplitArg, positive, threads};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Data: a folder or file of IDX, CIFAR .bin, .npz, .npy or .csv
    #[arg(value_name = "DATA")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Folder for the network, the history, the checkpoint and the result
    #[arg(long, short, value_name = "FOLDER")]
    pub output: PathBuf,
    /// Go on from the checkpoint in the folder, if there is one
    #[arg(long)]
    pub resume: bool,
    #[command(flatten)]
    pub samples: TrainDataArgs,
    #[command(flatten)]
    pub network: NetworkArgs,
    #[command(flatten)]
    pub loss: LossArgs,
    #[command(flatten)]
    pub descent: DescentArgs,
    /// Number of threads [default: all processors]
    #[arg(long, value_name = "T", value_parser = threads)]
    pub threads: Option<usize>,
    /// Neither progress nor remarks
    #[arg(long, short)]
    pub quiet: bool,
}

/// What is trained on.
#[derive(Debug, Args)]
#[command(next_help_heading = "Data")]
pub struct TrainDataArgs {
    /// Train on the 1,000 embedded images of MNIST's test set, for a first try
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
    /// Factor that multiplies the data: a number, or a ratio such as 1/255 [default: 1/255 for u8 data, 1 for others and where --std
    /// divides by 255]
    #[arg(long, value_name = "S", allow_hyphen_values = true, hide_short_help = true)]
    pub scale: Option<String>,
    /// Which part of a folder or archive that has both
    #[arg(long, value_name = "PART", default_value = "train", hide_short_help = true)]
    pub split: SplitArg,
    /// Number of samples to skip
    #[arg(long, value_name = "K", default_value_t = 0, hide_short_help = true)]
    pub offset: usize,
    /// Number of samples [default: all]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub samples: Option<usize>,
    /// Samples at the end of the data that are held out [default: 1000, at most a fifth]
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub validation: Option<usize>,
    /// Bound method of the certified accuracy on them [default: interval]
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub validation_method: Option<String>,
    /// Order of channels, height and width that the network wants [default: from the shapes]
    #[arg(long, value_name = "ORDER", hide_short_help = true)]
    pub layout: Option<LayoutArg>,
    /// Mean to subtract from the data: one number, or one for each channel
    #[arg(long, value_name = "M,…", allow_hyphen_values = true, hide_short_help = true)]
    pub mean: Option<String>,
    /// Standard deviation to divide by: one number, or one for each channel
    #[arg(long, value_name = "S,…", allow_hyphen_values = true, hide_short_help = true)]
    pub std: Option<String>,
}

/// The network.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// Sizes of dense layers with ReLU between them, input first [default: 784,128,64,32,10]
    #[arg(long, value_name = "N,…")]
    pub sizes: Option<String>,
    /// Factor on the random weights at the start
    #[arg(long, value_name = "F", allow_hyphen_values = true, hide_short_help = true)]
    pub gain: Option<String>,
}

/// What is minimised.
#[derive(Debug, Args)]
#[command(next_help_heading = "Loss")]
pub struct LossArgs {
    /// A term NAME, NAME=WEIGHT, or NAME=FROM:TO:START:END with epochs; may be given several times: cross-entropy,
    /// hinge, robust-hinge, robust-softplus, norms, interval, linear, input-sensitivity, weight-sensitivity, spectral-decoupling
    /// [default: cross-entropy]
    #[arg(long = "objective", value_name = "TERM")]
    pub objectives: Vec<String>,
    /// Where gradients are taken: noise=DEVIATION, sam=RHO, awp=GAMMA, pgd=RADIUS or input-pgd=RADIUS; may be given several
    /// times
    #[arg(long = "adversary", value_name = "KIND=X")]
    pub adversaries: Vec<String>,
    /// Radius of every weight that bounds guard against
    #[arg(long, value_name = "R", allow_hyphen_values = true)]
    pub radius: Option<String>,
    /// Radius of every bias, 0 for none [default: as the weights]
    #[arg(long, value_name = "R", allow_hyphen_values = true, hide_short_help = true)]
    pub bias_radius: Option<String>,
    /// Radius of the inputs
    #[arg(long, value_name = "R", allow_hyphen_values = true)]
    pub input_radius: Option<String>,
    /// Radii are fractions of the magnitude of each weight
    #[arg(long)]
    pub relative: bool,
    /// Epochs over which radii, and weights of objectives built on bounds, rise from 0 where no line is given; 0 for none [default:
    /// half of the epochs]
    #[arg(long, value_name = "E", allow_hyphen_values = true, hide_short_help = true)]
    pub radius_epochs: Option<String>,
}

/// How it is minimised.
#[derive(Debug, Args)]
#[command(next_help_heading = "Optimiser")]
pub struct DescentArgs {
    /// Passes over the data [default: 10]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub epochs: Option<usize>,
    /// Samples in one step [default: 128]
    #[arg(long, value_name = "B", value_parser = positive)]
    pub batch: Option<usize>,
    /// sgd, adam or adamw [default: adam]
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub optimizer: Option<String>,
    /// Learning rate [default: 0.001]
    #[arg(long, value_name = "R", allow_hyphen_values = true)]
    pub learning_rate: Option<String>,
    /// Momentum of sgd [default: 0]
    #[arg(long, value_name = "F", allow_hyphen_values = true, hide_short_help = true)]
    pub momentum: Option<String>,
    /// Weight decay [default: 0]
    #[arg(long, value_name = "F", allow_hyphen_values = true, hide_short_help = true)]
    pub weight_decay: Option<String>,
    /// Epochs over which the learning rate rises from 0 [default: 0]
    #[arg(long, value_name = "E", allow_hyphen_values = true, hide_short_help = true)]
    pub warm_up: Option<String>,
    /// How the learning rate falls: constant, cosine, or step:FACTOR:EPOCH,… [default: cosine]
    #[arg(long, value_name = "HOW", hide_short_help = true)]
    pub decay: Option<String>,
    /// Largest Euclidean norm of a gradient [default: none]
    #[arg(long, value_name = "F", allow_hyphen_values = true, hide_short_help = true)]
    pub gradient_clip: Option<String>,
    /// Largest magnitude of a weight, kept after every step [default: none]
    #[arg(long, value_name = "F", allow_hyphen_values = true, hide_short_help = true)]
    pub weight_limit: Option<String>,
    /// Seed of everything random [default: 0]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
}
