//! The part of `measure` about compression by tensor methods.

use crate::reading::nullable;
use crate::table::{Side, Table};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io::{self, Write};
use weightproof_figure::number::{percent, percent_or_dash, value_or_dash};

/// One layer as a sum of components.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LayerCompressionReport {
    /// Its name.
    pub name: String,
    /// Number of components: singular values, or rank-one tensors of a convolution.
    pub components: usize,
    /// Components that are kept; `null` for a layer that stays as it is.
    pub rank: Option<usize>,
    /// Bound of the norm of the layer, truncated or not.
    #[serde(deserialize_with = "nullable")]
    pub tensorization_factor: Option<f64>,
    /// Bound of the norm of what is cut off.
    #[serde(deserialize_with = "nullable")]
    pub noise_bound: Option<f64>,
    /// Least ratio of the norms of a sample behind and before the layer.
    #[serde(deserialize_with = "nullable")]
    pub cushion: Option<f64>,
}

/// The network with this share of the components of every layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShareReport {
    /// The share.
    pub share: f64,
    /// Its error on the samples; `null` without labels.
    #[serde(deserialize_with = "nullable")]
    pub error: Option<f64>,
}

/// A truncated network that was written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TruncationReport {
    /// The file.
    pub path: String,
    /// Error on the samples; `null` without labels.
    #[serde(deserialize_with = "nullable")]
    pub error: Option<f64>,
    /// No margin of the samples moves by more (real-arithmetic).
    #[serde(deserialize_with = "nullable")]
    pub moved_most: Option<f64>,
    /// How far a margin was seen to move (measured).
    #[serde(deserialize_with = "nullable")]
    pub moved_seen: Option<f64>,
    /// No output of any sample moves by more, for this and every other network within `|W_j − W|` of the original
    /// (by the bound method, with its guarantee); `null` when the bound is not finite.
    #[serde(deserialize_with = "nullable")]
    pub certified_deviation: Option<f64>,
    /// The same for the median sample.
    #[serde(deserialize_with = "nullable")]
    pub certified_deviation_median: Option<f64>,
    /// What these two are worth: the guarantee of the bound method; files of former versions do not say it.
    #[serde(default = "uncharged")]
    pub certified_guarantee: Cow<'static, str>,
}

fn uncharged() -> Cow<'static, str> {
    "real-arithmetic".into()
}

/// Compression of a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CompressionReport {
    /// How far margins may move; `null` when ranks are a share of the components.
    #[serde(deserialize_with = "nullable")]
    pub gamma: Option<f64>,
    /// `√(Σ rank (n_k + n_{k−1} + 1) / n)`.
    #[serde(deserialize_with = "nullable")]
    pub capacity: Option<f64>,
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
            Some(gamma) => format!("no margin moves by more than {}", value_or_dash(Some(gamma))),
            None => "a share of the components".into(),
        };
        let mut table = Table::new([vec![Side::Left], vec![Side::Right; 5]].concat());
        table.push(["layer", "components", "kept", "tensorization factor", "noise bound", "cushion"]);
        for layer in &self.layers {
            table.push([
                layer.name.clone(),
                layer.components.to_string(),
                layer.rank.map_or_else(|| "as it is".into(), |rank| rank.to_string()),
                value_or_dash(layer.tensorization_factor),
                value_or_dash(layer.noise_bound),
                value_or_dash(layer.cushion),
            ]);
        }
        let (capacity, table) = (value_or_dash(self.capacity), table.to_string());
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
        let (most, seen) = (value_or_dash(t.moved_most), value_or_dash(t.moved_seen));
        table.push([
            "margins of the samples".into(),
            format!("moved by at most {most} (real-arithmetic), seen {seen} (measured)"),
        ]);
        let guarantee = &t.certified_guarantee;
        let [most, median] = [t.certified_deviation, t.certified_deviation_median].map(value_or_dash);
        table.push([
            "outputs of the samples".into(),
            format!("certified to move by at most {most}, in the median {median} ({guarantee})"),
        ]);
        write!(out, "\n{table}")
    }
}
