//! The part of `measure` about compression by tensor methods.

use crate::table::{Side, Table};
use serde::Serialize;
use std::io::{self, Write};
use weightproof::network::Network;
use weightproof_figure::number::{percent, percent_or_dash, value, value_or_dash};
use weightproof_measure::compression::LayerCompression;

/// One layer as a sum of components.
#[derive(Clone, Debug, Serialize)]
pub struct LayerCompressionReport {
    /// Its name.
    pub name: String,
    /// Number of components: singular values, or rank-one tensors of a convolution.
    pub components: usize,
    /// Components that are kept; `null` for a layer that stays as it is.
    pub rank: Option<usize>,
    /// Bound of the norm of the layer, truncated or not.
    pub tensorization_factor: f64,
    /// Bound of the norm of what is cut off.
    pub noise_bound: f64,
    /// Least ratio of the norms of a sample behind and before the layer.
    pub cushion: Option<f64>,
}

impl LayerCompressionReport {
    /// Describes layers of `network`.
    pub fn all(layers: &[LayerCompression], network: &Network) -> Vec<Self> {
        let report = |layer: &LayerCompression| LayerCompressionReport {
            name: network.nodes()[layer.node].name.clone(),
            components: layer.components,
            rank: layer.rank,
            tensorization_factor: layer.factor,
            noise_bound: layer.noise,
            cushion: Some(layer.cushion).filter(|c| c.is_finite()),
        };
        layers.iter().map(report).collect()
    }
}

/// The network with this share of the components of every layer.
#[derive(Clone, Debug, Serialize)]
pub struct ShareReport {
    /// The share.
    pub share: f64,
    /// Its error on the samples; `null` without labels.
    pub error: Option<f64>,
}

/// A truncated network that was written.
#[derive(Clone, Debug, Serialize)]
pub struct TruncationReport {
    /// The file.
    pub path: String,
    /// Error on the samples; `null` without labels.
    pub error: Option<f64>,
    /// No margin of the samples moves by more (real-arithmetic).
    pub moved_most: f64,
    /// How far a margin was seen to move (measured).
    pub moved_seen: f64,
    /// No output of any sample moves by more, for this and every other network within `|W_j − W|` of the original
    /// (by the bound method, with its guarantee); `null` when the bound is not finite.
    pub certified_deviation: Option<f64>,
    /// The same for the median sample.
    pub certified_deviation_median: Option<f64>,
    /// What these two are worth: the guarantee of the bound method.
    pub certified_guarantee: &'static str,
}

/// Compression of a network.
#[derive(Clone, Debug, Serialize)]
pub struct CompressionReport {
    /// How far margins may move; `null` when ranks are a share of the components.
    pub gamma: Option<f64>,
    /// `√(Σ rank (n_k + n_{k−1} + 1) / n)`.
    pub capacity: f64,
    /// Layer after layer.
    pub layers: Vec<LayerCompressionReport>,
    /// Errors with fewer components.
    pub shares: Vec<ShareReport>,
    /// The network that was written.
    pub truncation: Option<TruncationReport>,
}

impl CompressionReport {
    pub(crate) fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let allowed = match self.gamma {
            Some(gamma) => format!("no margin moves by more than {}", value(gamma)),
            None => "a share of the components".into(),
        };
        let mut table = Table::new([vec![Side::Left], vec![Side::Right; 5]].concat());
        table.push(["layer", "components", "kept", "tensorization factor", "noise bound", "cushion"]);
        for layer in &self.layers {
            table.push([
                layer.name.clone(),
                layer.components.to_string(),
                layer.rank.map_or_else(|| "as it is".into(), |rank| rank.to_string()),
                value(layer.tensorization_factor),
                value(layer.noise_bound),
                value_or_dash(layer.cushion),
            ]);
        }
        let (capacity, table) = (value(self.capacity), table.to_string());
        writeln!(out, "\ncompression: {allowed}; capacity {capacity}\n{}", table.trim_end())?;
        let shares: Vec<String> = self
            .shares
            .iter()
            .map(|s| format!("{} at {}", percent_or_dash(s.error), percent(s.share)))
            .collect();
        writeln!(out, "error with a share of the components: {} (measured)", shares.join(", "))?;
        let Some(t) = &self.truncation else { return Ok(()) };
        let mut table = Table::new([Side::Left, Side::Left]);
        table.push(["truncated network", t.path.as_str()]);
        table.push(["error".into(), format!("{} (measured)", percent_or_dash(t.error))]);
        let (most, seen) = (value(t.moved_most), value(t.moved_seen));
        table.push([
            "margins of the samples".into(),
            format!("moved by at most {most} (real-arithmetic), seen {seen} (measured)"),
        ]);
        let guarantee = t.certified_guarantee;
        let [most, median] = [t.certified_deviation, t.certified_deviation_median].map(value_or_dash);
        table.push([
            "outputs of the samples".into(),
            format!("certified to move by at most {most}, in the median {median} ({guarantee})"),
        ]);
        write!(out, "\n{table}")
    }
}
