//! Results of `radius --method exact`: records of `radius` with the reason why an interval is open.

use crate::certify::reason;
use crate::column::{Cell, Column};
use crate::count::{Counter, counted};
use crate::radius::{RadiusCounter, RadiusRecord, RadiusSummary};
use crate::report::{ListSide, Record};
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
    const COLUMNS: &'static [Column] = &[
        Column::integer("index"),
        Column::class("label"),
        Column::class("predicted"),
        Column::number("margin"),
        Column::number("certified_radius"),
        Column::number("attacked_radius"),
        Column::text("reason"),
    ];
    const LIST: &'static [(&'static str, ListSide)] = &[
        ("index", ListSide::Right),
        ("label", ListSide::Right),
        ("predicted", ListSide::Right),
        ("margin", ListSide::Right),
        ("certified radius", ListSide::Right),
        ("attacked radius", ListSide::Right),
        ("reason", ListSide::Left),
    ];

    fn holds(&self) -> bool {
        self.is_closed()
    }

    fn more_columns(summary: &ExactRadiusSummary) -> Vec<String> {
        RadiusRecord::more_columns(&summary.radius)
    }

    fn more_cells(&self) -> Vec<Option<f64>> {
        self.radius.more_cells()
    }

    fn cells(&self) -> Vec<Cell> {
        let mut row = self.radius.cells();
        row.push(Cell::text(reason(self.reason)));
        row
    }

    fn list_row(&self) -> Vec<String> {
        let mut row = self.radius.list_row();
        row.push(reason(self.reason).into());
        row
    }

    fn summary_head(guarantee: &'static str) -> Vec<(&'static str, &'static str)> {
        let mut head = RadiusRecord::summary_head(guarantee);
        head.push(("closed", ""));
        head
    }

    fn summary_row(summary: &ExactRadiusSummary) -> Vec<String> {
        let mut row = RadiusRecord::summary_row(&summary.radius);
        row.push(summary.closed.to_string());
        row
    }

    fn curves(summary: &ExactRadiusSummary, guarantee: &'static str) -> Vec<(String, String)> {
        RadiusRecord::curves(&summary.radius, guarantee)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(records[2].cells().last(), Some(&Cell::text("node-limit")));
        assert_eq!(ExactRadiusRecord::COLUMNS[..6], *RadiusRecord::COLUMNS);
        assert_eq!(ExactRadiusRecord::LIST[..6], *RadiusRecord::LIST);
    }
}
