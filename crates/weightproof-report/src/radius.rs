//! Results of `radius`: how far the weights of every sample may move, proved from below and attacked from above.

use crate::certify::{CleanParts, clean_fields, fraction};
use crate::count::{Counter, Mean, Predicted, counted};
use crate::field::{Field, Total};
use crate::report::Record;
use crate::table::{Side, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use weightproof::radius::SampleRadius;
use weightproof_figure::number::{exact, percent, percent_or_dash, value, value_or_dash};

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
        let CleanParts { index, label, predicted, margin } = CleanParts::from(&r.clean);
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

    /// The least radius at which the sample is known to break; minus infinity where it does without perturbation.
    fn broken_from(&self) -> f64 {
        match self.margin > 0.0 {
            true => self.attacked_radius.unwrap_or(f64::INFINITY),
            false => f64::NEG_INFINITY,
        }
    }
}

/// One point of the curve over radii, read off the radii of the samples: up to the width of the search below what
/// `certify` proves at this radius, and above what `attack` breaks.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LayerSummary {
    /// Name of the layer.
    pub layer: String,
    /// Median of its certified radii, the lower one of two; `null` without samples.
    pub median_certified_radius: Option<f64>,
    /// Median of its attacked radii, where samples that were never broken count as infinite; `null` when it is.
    pub median_attacked_radius: Option<f64>,
    /// Samples with a margin above zero whose smallest certified radius is that of this layer.
    pub limits: usize,
}

/// How often each number occurs, in their order. Radii lie on a lattice, so there are few of them however many samples there are.
#[derive(Clone, Debug, Default)]
struct Occurrences {
    /// By the key of a number, see [`Occurrences::add`].
    counts: BTreeMap<u64, (f64, usize)>,
    total: usize,
}

impl Occurrences {
    fn add(&mut self, value: f64) {
        // The order of `total_cmp`.
        let bits = value.to_bits();
        let key = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
        self.counts.entry(key).or_insert((value, 0)).1 += 1;
        self.total += 1;
    }

    /// The number at this place of the sorted list.
    fn at(&self, place: usize) -> Option<f64> {
        let mut below = 0;
        let found = self.counts.values().find(|(_, n)| {
            below += n;
            below > place
        });
        found.map(|(value, _)| *value)
    }

    /// The lower median.
    fn median(&self) -> Option<f64> {
        self.at(self.total.saturating_sub(1) / 2)
    }

    fn count(&self, wanted: impl Fn(f64) -> bool) -> usize {
        self.counts.values().filter(|(value, _)| wanted(*value)).map(|(_, n)| n).sum()
    }

    /// Those of `all` that are `wanted`.
    fn filtered<'o>(all: impl IntoIterator<Item = &'o Self>, wanted: impl Fn(f64) -> bool) -> Self {
        let mut found = Occurrences::default();
        for (key, (value, n)) in all.into_iter().flat_map(|o| &o.counts).filter(|(_, (v, _))| wanted(*v)) {
            found.counts.entry(*key).or_insert((*value, 0)).1 += n;
            found.total += n;
        }
        found
    }
}

/// Counts radii.
#[derive(Clone, Debug)]
pub struct RadiusCounter {
    /// Of the curve; those that [`curve_radii`] chooses where none are given.
    radii: Vec<f64>,
    attacked: bool,
    predicted: Predicted,
    mean: Mean,
    certified: Occurrences,
    /// Infinite where a sample was never broken.
    broken: Occurrences,
    /// The least radius at which a sample is known to break, minus infinity where it does without perturbation.
    broken_from: Occurrences,
    layers: Vec<LayerCounter>,
}

#[derive(Clone, Debug)]
struct LayerCounter {
    layer: String,
    certified: Occurrences,
    broken: Occurrences,
    limits: usize,
}

impl RadiusCounter {
    /// With a curve over `radii`, chosen where there are none, and these layers; `attacked` says whether an attack ran.
    pub fn new(radii: &[f64], layers: &[String], attacked: bool) -> Self {
        let layer = |layer: &String| LayerCounter {
            layer: layer.clone(),
            certified: Occurrences::default(),
            broken: Occurrences::default(),
            limits: 0,
        };
        RadiusCounter {
            radii: radii.to_vec(),
            attacked,
            predicted: Predicted::default(),
            mean: Mean::default(),
            certified: Occurrences::default(),
            broken: Occurrences::default(),
            broken_from: Occurrences::default(),
            layers: layers.iter().map(layer).collect(),
        }
    }

    fn curve(&self) -> Vec<CurvePoint> {
        let chosen = self.radii.is_empty().then(|| curve_radii(&self.certified, &self.broken));
        let samples = self.predicted.samples;
        let point = |&radius: &f64| {
            // Sets grow with the radius, so a certificate covers all smaller ones.
            let certified = self.certified.count(|r| r > 0.0 && r >= radius);
            let unbroken = self.broken_from.count(|broken| !(broken <= radius));
            CurvePoint {
                radius,
                certified_accuracy: fraction(certified, samples),
                accuracy_under_attack: self.attacked.then(|| fraction(unbroken, samples)),
            }
        };
        chosen.as_ref().unwrap_or(&self.radii).iter().map(point).collect()
    }
}

impl Counter<RadiusRecord> for RadiusCounter {
    fn add(&mut self, record: &RadiusRecord) {
        self.predicted.add(record.label, record.predicted);
        self.mean.add(record.certified_radius);
        self.certified.add(record.certified_radius);
        self.broken.add(record.attacked_radius.unwrap_or(f64::INFINITY));
        self.broken_from.add(record.broken_from());
        let limiting = record.limiting_layer().filter(|_| record.margin > 0.0);
        let radii = record.layer_certified_radius.iter().zip(&record.layer_attacked_radius);
        for (k, (layer, (certified, broken))) in self.layers.iter_mut().zip(radii).enumerate() {
            layer.certified.add(*certified);
            layer.broken.add(broken.unwrap_or(f64::INFINITY));
            layer.limits += usize::from(limiting == Some(k));
        }
    }

    fn finish(self) -> RadiusSummary {
        let median_broken = |of: &Occurrences| of.median().filter(|m| self.attacked && m.is_finite());
        let layer = |layer: &LayerCounter| LayerSummary {
            layer: layer.layer.clone(),
            median_certified_radius: layer.certified.median(),
            median_attacked_radius: median_broken(&layer.broken),
            limits: layer.limits,
        };
        RadiusSummary {
            samples: self.predicted.samples,
            correct: self.predicted.correct,
            accuracy: self.predicted.accuracy(),
            median_certified_radius: self.certified.median().unwrap_or(f64::NAN),
            mean_certified_radius: self.mean.value(),
            median_attacked_radius: median_broken(&self.broken),
            curve: self.curve(),
            layers: self.layers.iter().map(layer).collect(),
        }
    }
}

impl RadiusSummary {
    /// Counts `records`, with a curve over `radii`, chosen where there are none, and the layers of these names, whose radii the records
    /// have; `attacked` says whether an attack ran.
    pub fn new(records: &[RadiusRecord], radii: &[f64], layers: &[String], attacked: bool) -> Self {
        counted(RadiusCounter::new(radii, layers, attacked), records)
    }
}

/// Radii 1, 2, 5, 10, … times a power of ten that cover certified radii, and those at which samples were broken.
///
/// The least is the last one certified for 95% of the samples that are certified at all, the greatest the first beyond
/// 95% of all radii found, so that outliers do not stretch the curve.
fn curve_radii(certified: &Occurrences, broken: &Occurrences) -> Vec<f64> {
    let found = |r: f64| r > 0.0 && r.is_finite();
    let certified = Occurrences::filtered([certified], |r| r > 0.0);
    let all = Occurrences::filtered([&certified, &Occurrences::filtered([broken], found)], |_| true);
    // The place of a part of a sorted list.
    let place = |sorted: &Occurrences, part: f64| part * (sorted.total as f64 - 1.0);
    let least = certified.at(place(&certified, 0.05).floor() as usize);
    let most = all.at(place(&all, 0.95).ceil() as usize);
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

    fn holds(&self) -> bool {
        self.certified_radius > 0.0
    }

    fn fields(summary: Option<&RadiusSummary>) -> Vec<Field<Self>> {
        let mut fields = clean_fields!(Self);
        fields.extend([
            Field::number("certified_radius", |r: &Self| Some(r.certified_radius)).listed("certified radius"),
            Field::number("attacked_radius", |r: &Self| r.attacked_radius).listed("attacked radius"),
        ]);
        for (k, of) in summary.iter().flat_map(|summary| &summary.layers).enumerate() {
            let name = |radius: &str| format!("{radius}:{}", of.layer);
            fields.extend([
                Field::number(name("certified_radius"), move |r: &Self| {
                    r.layer_certified_radius.get(k).copied()
                }),
                Field::number(name("attacked_radius"), move |r: &Self| {
                    r.layer_attacked_radius.get(k).copied().flatten()
                }),
            ]);
        }
        fields
    }

    fn totals() -> Vec<Total<RadiusSummary>> {
        vec![
            Total::new("samples", "", |s: &RadiusSummary| s.samples.to_string()),
            Total::new("accuracy", "measured", |s: &RadiusSummary| percent_or_dash(s.accuracy)),
            Total::by_method("median certified radius", |s: &RadiusSummary| value(s.median_certified_radius)),
            Total::by_method("mean certified radius", |s: &RadiusSummary| value(s.mean_certified_radius)),
            Total::new("median attacked radius", "estimate", |s: &RadiusSummary| {
                value_or_dash(s.median_attacked_radius)
            }),
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
                let radii =
                    [value_or_dash(l.median_certified_radius), value_or_dash(l.median_attacked_radius)];
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
        let summary = RadiusSummary::new(&records, &[0.0, 0.001, 0.005], &[], true);
        let certified: Vec<f64> = summary.curve.iter().map(|p| p.certified_accuracy).collect();
        let attacked: Vec<f64> = summary.curve.iter().filter_map(|p| p.accuracy_under_attack).collect();
        assert_eq!((certified, attacked), (vec![0.5, 0.25, 0.0], vec![0.75, 0.5, 0.25]));
        assert_eq!(summary.median_certified_radius, 0.0);
        assert_eq!(summary.median_attacked_radius, Some(0.001));
        assert_eq!(RadiusSummary::new(&records, &[0.1], &[], false).curve[0].accuracy_under_attack, None);
    }

    #[test]
    fn automatic_radii_cover_what_was_found() {
        let records = [record(0, 1.0, 0.0007, Some(0.0034)), record(1, 1.0, 0.0, None)];
        let radii = |records: &[RadiusRecord]| -> Vec<f64> {
            RadiusSummary::new(records, &[], &[], true).curve.iter().map(|point| point.radius).collect()
        };
        assert_eq!(radii(&records), [0.0005, 0.001, 0.002, 0.005]);
        assert!(radii(&records[1..]).is_empty());
    }
}
