//! Results of `radius`: how far the weights of every sample may move, proved from below and attacked from above.

use crate::certify::{clean_cells, clean_parts, correct, fraction, label, mean};
use crate::column::{Cell, Column};
use crate::number::{exact, percent, percent_or_dash, value, value_or_dash};
use crate::report::{ListSide, Record};
use crate::table::{Side, Table};
use serde::{Deserialize, Serialize};
use weightproof::radius::SampleRadius;

/// Radii of one sample.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RadiusRecord {
    /// Index in the data set.
    pub index: usize,
    /// The given label.
    pub label: Option<u32>,
    /// Class with the largest output of the unperturbed network.
    pub predicted: u32,
    /// Margin of the unperturbed network; for deviations the tolerance.
    pub margin: f64,
    /// Largest radius that was certified; 0 if none was.
    pub certified_radius: f64,
    /// Smallest radius at which the attack broke the property; `null` when no attack ran or none succeeded.
    pub attacked_radius: Option<f64>,
    /// The same with one layer perturbed, in the order of [`RadiusSummary::layers`]; empty when that was not asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layer_certified_radius: Vec<f64>,
    /// As `attacked_radius`, for each layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layer_attacked_radius: Vec<Option<f64>>,
}

impl From<&SampleRadius> for RadiusRecord {
    fn from(r: &SampleRadius) -> Self {
        let (index, label, predicted, margin) = clean_parts(&r.clean);
        let (certified_radius, attacked_radius) = (r.certified_radius, r.attacked_radius);
        let (layer_certified_radius, layer_attacked_radius) = (Vec::new(), Vec::new());
        RadiusRecord {
            index,
            label,
            predicted,
            margin,
            certified_radius,
            attacked_radius,
            layer_certified_radius,
            layer_attacked_radius,
        }
    }
}

impl RadiusRecord {
    /// Adds the radii of the same sample with one layer perturbed, layer after layer.
    pub fn by_layer<'a>(mut self, layers: impl Iterator<Item = &'a SampleRadius>) -> Self {
        for radius in layers {
            self.layer_certified_radius.push(radius.certified_radius);
            self.layer_attacked_radius.push(radius.attacked_radius);
        }
        self
    }

    /// Number of the layer with the smallest certified radius, the first of several.
    fn limiting_layer(&self) -> Option<usize> {
        let radii = self.layer_certified_radius.iter().enumerate();
        radii.min_by(|a, b| a.1.total_cmp(b.1)).map(|(layer, _)| layer)
    }

    /// Whether the sample is certified at `radius`: sets grow with the radius, so a certificate covers all smaller ones.
    fn certified_at(&self, radius: f64) -> bool {
        self.certified_radius > 0.0 && self.certified_radius >= radius
    }

    /// Whether the sample is known to break at `radius`.
    fn broken_at(&self, radius: f64) -> bool {
        self.margin.is_nan()
            || self.margin <= 0.0
            || self.attacked_radius.is_some_and(|broken| broken <= radius)
    }
}

/// One point of the curve over radii, read off the radii of the samples: up to the width of the search below what
/// `certify` proves at this radius, and above what `attack` breaks.
#[derive(Clone, Debug, Serialize)]
pub struct CurvePoint {
    /// The radius.
    pub radius: f64,
    /// Fraction of samples with a certified radius of at least this.
    pub certified_accuracy: f64,
    /// Fraction of samples that were not broken at this radius or below; `null` without an attack.
    pub accuracy_under_attack: Option<f64>,
}

/// Numbers over all samples of `radius`.
#[derive(Clone, Debug, Serialize)]
pub struct RadiusSummary {
    /// Number of samples.
    pub samples: usize,
    /// Samples whose prediction is their label; `null` without labels.
    pub correct: Option<usize>,
    /// `correct / samples`.
    pub accuracy: Option<f64>,
    /// Median of `certified_radius` over all samples, the lower one of two.
    pub median_certified_radius: f64,
    /// Mean of `certified_radius` over all samples.
    pub mean_certified_radius: f64,
    /// Median of `attacked_radius`, where samples that were never broken count as infinite; `null` when it is.
    pub median_attacked_radius: Option<f64>,
    /// Certified accuracy and accuracy under attack over radii.
    pub curve: Vec<CurvePoint>,
    /// Radii with one layer perturbed; empty when that was not asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerSummary>,
}

/// Radii with the parameters of one layer perturbed; all others stay, and so do input and activations.
#[derive(Clone, Debug, Serialize)]
pub struct LayerSummary {
    /// Name of the layer.
    pub layer: String,
    /// Median of its certified radii, the lower one of two.
    pub median_certified_radius: f64,
    /// Median of its attacked radii, where samples that were never broken count as infinite; `null` when it is.
    pub median_attacked_radius: Option<f64>,
    /// Samples with a margin above zero whose smallest certified radius is that of this layer.
    pub limits: usize,
}

impl RadiusSummary {
    /// Counts `records`, with a curve over `radii`; `attacked` says whether an attack ran.
    pub fn new(records: &[RadiusRecord], radii: &[f64], attacked: bool) -> Self {
        let samples = records.len();
        let correct = correct(records.iter().map(|r| (r.label, r.predicted)));
        let point = |&radius: &f64| {
            let certified = records.iter().filter(|r| r.certified_at(radius)).count();
            let unbroken = records.iter().filter(|r| !r.broken_at(radius)).count();
            CurvePoint {
                radius,
                certified_accuracy: fraction(certified, samples),
                accuracy_under_attack: attacked.then(|| fraction(unbroken, samples)),
            }
        };
        let broken = records.iter().map(|r| r.attacked_radius.unwrap_or(f64::INFINITY));
        RadiusSummary {
            samples,
            correct,
            accuracy: correct.map(|n| fraction(n, samples)),
            median_certified_radius: median(records.iter().map(|r| r.certified_radius)).unwrap_or(f64::NAN),
            mean_certified_radius: mean(records.iter().map(|r| r.certified_radius)),
            median_attacked_radius: median(broken).filter(|m| attacked && m.is_finite()),
            curve: radii.iter().map(point).collect(),
            layers: Vec::new(),
        }
    }

    /// Adds the layers with these names, whose radii `records` have; `attacked` says whether an attack ran.
    pub fn by_layer(mut self, layers: &[String], records: &[RadiusRecord], attacked: bool) -> Self {
        let summary = |(k, layer): (usize, &String)| {
            let broken = records.iter().map(|r| r.layer_attacked_radius[k].unwrap_or(f64::INFINITY));
            let limited = |r: &&RadiusRecord| r.margin > 0.0 && r.limiting_layer() == Some(k);
            LayerSummary {
                layer: layer.clone(),
                median_certified_radius: median(records.iter().map(|r| r.layer_certified_radius[k]))
                    .unwrap_or(f64::NAN),
                median_attacked_radius: median(broken).filter(|m| attacked && m.is_finite()),
                limits: records.iter().filter(limited).count(),
            }
        };
        self.layers = layers.iter().enumerate().map(summary).collect();
        self
    }
}

/// The lower median.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// Radii 1, 2, 5, 10, … times a power of ten that cover the radii of `records`.
///
/// The least is the last one certified for 95% of the samples that are certified at all, the greatest the first beyond
/// 95% of all radii found, so that outliers do not stretch the curve.
pub fn curve_radii(records: &[RadiusRecord]) -> Vec<f64> {
    let mut certified: Vec<f64> = records.iter().map(|r| r.certified_radius).filter(|r| *r > 0.0).collect();
    let mut all: Vec<f64> = certified.clone();
    all.extend(records.iter().filter_map(|r| r.attacked_radius).filter(|r| *r > 0.0 && r.is_finite()));
    certified.sort_by(f64::total_cmp);
    all.sort_by(f64::total_cmp);
    // The position of a part of a sorted list.
    let place = |sorted: &[f64], part: f64| part * (sorted.len() as f64 - 1.0);
    let least = certified.get(place(&certified, 0.05).floor() as usize).copied();
    let most = all.get(place(&all, 0.95).ceil() as usize).copied();
    let (Some(least), Some(most)) = (least, most) else { return Vec::new() };
    let mut radii = Vec::new();
    for exponent in -12..=4 {
        // Read from text: the nearest number to 5e-4, which powers of ten in binary miss.
        radii.extend([1, 2, 5].map(|digit| format!("{digit}e{exponent}").parse::<f64>().unwrap_or(f64::NAN)));
    }
    let first = radii.partition_point(|r| *r <= least).saturating_sub(1);
    let last = radii.partition_point(|r| *r < most).min(radii.len() - 1);
    radii[first..=last.max(first)].to_vec()
}

impl Record for RadiusRecord {
    type Summary = RadiusSummary;
    const COMMAND: &'static str = "radius";
    const FAILING: &'static str = "not certified at any radius";
    const COLUMNS: &'static [Column] = &[
        Column::integer("index"),
        Column::class("label"),
        Column::class("predicted"),
        Column::number("margin"),
        Column::number("certified_radius"),
        Column::number("attacked_radius"),
    ];
    const LIST: &'static [(&'static str, ListSide)] = &[
        ("index", ListSide::Right),
        ("label", ListSide::Right),
        ("predicted", ListSide::Right),
        ("margin", ListSide::Right),
        ("certified radius", ListSide::Right),
        ("attacked radius", ListSide::Right),
    ];

    fn holds(&self) -> bool {
        self.certified_radius > 0.0
    }

    fn cells(&self) -> Vec<Cell> {
        let mut row = clean_cells(self.index, self.label, self.predicted, self.margin);
        row.extend([Cell::number(self.certified_radius), Cell::number(self.attacked_radius)]);
        row
    }

    fn more_columns(summary: &RadiusSummary) -> Vec<String> {
        let names =
            |l: &LayerSummary| ["certified_radius", "attacked_radius"].map(|n| format!("{n}:{}", l.layer));
        summary.layers.iter().flat_map(names).collect()
    }

    fn more_cells(&self) -> Vec<Option<f64>> {
        let pairs = self.layer_certified_radius.iter().zip(&self.layer_attacked_radius);
        pairs.flat_map(|(certified, attacked)| [Some(*certified), *attacked]).collect()
    }

    fn list_row(&self) -> Vec<String> {
        vec![
            self.index.to_string(),
            label(self.label),
            self.predicted.to_string(),
            value(self.margin),
            value(self.certified_radius),
            value_or_dash(self.attacked_radius),
        ]
    }

    fn summary_head(guarantee: &'static str) -> Vec<(&'static str, &'static str)> {
        vec![
            ("samples", ""),
            ("accuracy", "measured"),
            ("median certified radius", guarantee),
            ("mean certified radius", guarantee),
            ("median attacked radius", "estimate"),
        ]
    }

    fn summary_row(s: &RadiusSummary) -> Vec<String> {
        vec![
            s.samples.to_string(),
            percent_or_dash(s.accuracy),
            value(s.median_certified_radius),
            value(s.mean_certified_radius),
            value_or_dash(s.median_attacked_radius),
        ]
    }

    fn curves(summary: &RadiusSummary, guarantee: &'static str) -> Vec<(String, String)> {
        let mut table = Table::new([Side::Right; 3]);
        table.push(["radius", "certified accuracy", "accuracy under attack"]);
        table.push(["", guarantee, "estimate"]);
        for p in &summary.curve {
            let row = [percent(p.certified_accuracy), percent_or_dash(p.accuracy_under_attack)];
            table.push(std::iter::once(exact(p.radius)).chain(row));
        }
        let mut curves = vec![("curve".into(), table.to_string())];
        if !summary.layers.is_empty() {
            let mut table = Table::new([Side::Left, Side::Right, Side::Right, Side::Right]);
            table.push(["layer", "median certified radius", "median attacked radius", "limits samples"]);
            table.push(["", guarantee, "estimate", ""]);
            for l in &summary.layers {
                let radii = [value(l.median_certified_radius), value_or_dash(l.median_attacked_radius)];
                table.push(std::iter::once(l.layer.clone()).chain(radii).chain([l.limits.to_string()]));
            }
            curves.push(("radii with one layer perturbed".into(), table.to_string()));
        }
        curves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(
        index: usize,
        margin: f64,
        certified_radius: f64,
        attacked_radius: Option<f64>,
    ) -> RadiusRecord {
        RadiusRecord {
            index,
            label: Some(1),
            predicted: 1,
            margin,
            certified_radius,
            attacked_radius,
            layer_certified_radius: Vec::new(),
            layer_attacked_radius: Vec::new(),
        }
    }

    #[test]
    fn the_curve_counts_only_what_was_shown() {
        let records = [
            record(0, 1.0, 0.002, Some(0.004)),
            record(1, 1.0, 0.0005, None),
            record(2, -1.0, 0.0, Some(0.0)),
            // Never certified: no proof at radius 0 either, where other perturbations may remain.
            record(3, 1.0, 0.0, Some(0.001)),
        ];
        let summary = RadiusSummary::new(&records, &[0.0, 0.001, 0.005], true);
        let certified: Vec<f64> = summary.curve.iter().map(|p| p.certified_accuracy).collect();
        let attacked: Vec<f64> = summary.curve.iter().filter_map(|p| p.accuracy_under_attack).collect();
        assert_eq!((certified, attacked), (vec![0.5, 0.25, 0.0], vec![0.75, 0.5, 0.25]));
        assert_eq!(summary.median_certified_radius, 0.0);
        assert_eq!(summary.median_attacked_radius, Some(0.001));
        assert_eq!(RadiusSummary::new(&records, &[0.1], false).curve[0].accuracy_under_attack, None);
    }

    #[test]
    fn automatic_radii_cover_what_was_found() {
        let records = [record(0, 1.0, 0.0007, Some(0.0034)), record(1, 1.0, 0.0, None)];
        assert_eq!(curve_radii(&records), [0.0005, 0.001, 0.002, 0.005]);
        assert!(curve_radii(&records[1..]).is_empty());
    }
}
