//! Results of weightproof as text, JSON and CSV.
//!
//! ```text
//! certificates → records → Report → text | JSON | CSV
//! ```
//! The structures here are apart from the types of the library, so that the library can change while a report keeps its
//! schema. Field names are stable within a schema version; fields may be added. Two runs of the same work differ only in the
//! block `environment` (time, memory, threads and host) and in the `seconds` of the samples of `certify --method exact`.
//! Numbers that are not finite are `null` in JSON and empty in CSV.

mod attack;
mod certify;
mod csv;
mod exact;
mod exact_radius;
mod header;
mod inspect;
mod json;
mod number;
mod radius;
mod report;
mod table;
mod text;
mod train;

pub use attack::{AttackRecord, AttackSummary};
pub use certify::{CertifyRecord, CertifySummary};
pub use exact::{BudgetReport, ExactRecord, ExactSummary, OracleRecord, OracleSummary};
pub use exact_radius::{ExactRadiusRecord, ExactRadiusSummary};
pub use header::{
    DataReport, Environment, Header, LayerReport, MethodReport, ModelReport, OverrideReport, ThreatReport,
};
pub use inspect::{EstimateReport, InspectReport, NodeReport, NormReport, RadiusReport};
pub use radius::{CurvePoint, RadiusRecord, RadiusSummary, curve_radii};
pub use report::{Format, ListSide, Record, Report, RunResult};
pub use train::{EpochReport, TrainReport, history_csv};
