//! Results of `radius --method exact`: records of `radius` with the reason why an interval is open.

use crate::count::{Counter, counted};
use crate::field::{Field, Total};
use crate::radius::{RadiusCounter, RadiusRecord, RadiusSummary};
use crate::report::Record;
use serde::{Deserialize, Serialize};
use weightproof::radius::SampleRadius;
use weightproof::verdict::Reason;

/// Radii of one sample, neighbours unless there is a reason.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExactRadiusRecord {
    /// The radii.
    #[serde(flatten)]
    pub radius: RadiusRecord,
    /// Why branch and bound left radii open between the two; `null` when it left none.
    pub reason: Option<Reason>,
}

impl From<&SampleRadius> for ExactRadiusRecord {
    fn from(r: &SampleRadius) -> Self {
        ExactRadiusRecord { radius: RadiusRecord::from(r), reason: r.reason }
    }
}

impl ExactRadiusRecord {
    /// Whether the two radii are neighbours of the search, or the unperturbed network breaks the property.
    fn is_closed(&self) -> bool {
        self.reason.is_none() && self.radius.attacked_radius.is_some()
    }
}

/// Numbers over all samples of `radius --method exact`.
#[derive(Clone, Debug, Serialize)]
pub struct ExactRadiusSummary {
    /// Those of every method.
    #[serde(flatten)]
    pub radius: RadiusSummary,
    /// Samples whose certified and attacked radius are neighbours of the search, or that the unperturbed network breaks.
    pub closed: usize,
}

/// Counts radii, and intervals that are closed.
#[derive(Clone, Debug)]
pub struct ExactRadiusCounter {
    radius: RadiusCounter,
    closed: usize,
}

impl ExactRadiusCounter {
    /// Beside what `radius` counts.
    pub fn new(radius: RadiusCounter) -> Self {
        ExactRadiusCounter { radius, closed: 0 }
    }
}

impl Counter<ExactRadiusRecord> for ExactRadiusCounter {
    fn add(&mut self, record: &ExactRadiusRecord) {
        self.radius.add(&record.radius);
        self.closed += usize::from(record.is_closed());
    }

    fn finish(self) -> ExactRadiusSummary {
        ExactRadiusSummary { radius: self.radius.finish(), closed: self.closed }
    }
}

impl ExactRadiusSummary {
    /// Counts `records`, see [`RadiusSummary::new`].
    pub fn new(records: &[ExactRadiusRecord], radii: &[f64], layers: &[String], attacked: bool) -> Self {
        counted(ExactRadiusCounter::new(RadiusCounter::new(radii, layers, attacked)), records)
    }
}

impl Record for ExactRadiusRecord {
    type Summary = ExactRadiusSummary;
    const COMMAND: &'static str = RadiusRecord::COMMAND;
    const FAILING: &'static str = "not closed";

    fn holds(&self) -> bool {
        self.is_closed()
    }

    fn fields(summary: Option<&ExactRadiusSummary>) -> Vec<Field<Self>> {
        let mut fields: Vec<_> = RadiusRecord::fields(summary.map(|s| &s.radius))
            .into_iter()
            .map(|field| field.of(|r: &Self| &r.radius))
            .collect();
        let reason = Field::text("reason", |r: &Self| r.reason.map(Reason::name)).listed("reason");
        // Before the radii of single layers.
        fields.insert(RadiusRecord::fields(None).len(), reason);
        fields
    }

    fn totals() -> Vec<Total<ExactRadiusSummary>> {
        let radius =
            RadiusRecord::totals().into_iter().map(|total| total.of(|s: &ExactRadiusSummary| &s.radius));
        radius.chain([Total::new("closed", "", |s: &ExactRadiusSummary| s.closed.to_string())]).collect()
    }

    fn curves(summary: &ExactRadiusSummary, guarantee: &'static str) -> Vec<(String, String)> {
        RadiusRecord::curves(&summary.radius, guarantee)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Cell;

    #[test]
    fn only_neighbours_and_misclassified_samples_are_closed() {
        let record = |certified_radius, attacked_radius, reason| ExactRadiusRecord {
            radius: RadiusRecord {
                index: 0,
                label: Some(1),
                predicted: 1,
                margin: 1.0,
                certified_radius,
                attacked_radius,
                layer_certified_radius: Vec::new(),
                layer_attacked_radius: Vec::new(),
            },
            reason,
        };
        let records = [
            record(0.001, Some(0.00101), None),
            record(0.0, Some(0.0), None),
            record(0.001, Some(0.002), Some(Reason::NodeLimit)),
            // Certified wherever the search looked: no interval.
            record(1000.0, None, None),
        ];
        let summary = ExactRadiusSummary::new(&records, &[], &[], true);
        assert_eq!((summary.closed, summary.radius.samples), (2, 4));
        let fields = ExactRadiusRecord::fields(None);
        let reason = fields.last().unwrap();
        assert_eq!(
            (reason.name(), reason.cell(&records[2])),
            ("reason", Cell::Text(Some("node-limit".into())))
        );
        let of_radius = RadiusRecord::fields(None);
        assert!(fields.iter().zip(&of_radius).all(|(field, of)| field.name() == of.name()));
    }
}
