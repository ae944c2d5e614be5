//! Results of weightproof as text, JSON, CSV and Parquet, and read back.
//!
//! ```text
//! certificates → records → Report → text | JSON | CSV | Parquet
//!                                          JSON → reading → compare
//! ```
//! The structures here are apart from the types of the library, so that the library can change while a report keeps its
//! schema. Field names are stable within a schema version; fields may be added. Two runs of the same work differ only in the
//! block `environment` (time, memory, threads and host) and in the `seconds` of the samples of `certify --method exact`.
//! Numbers that are not finite are `null` in JSON and empty in CSV.

mod against;
mod attack;
pub mod bench;
mod certify;
pub mod compare;
mod count;
mod csv;
mod draws;
mod exact;
mod exact_radius;
mod faithful;
mod faults;
pub mod features;
mod field;
mod header;
mod hit;
mod inspect;
mod json;
mod measure;
mod noise;
#[cfg(feature = "parquet")]
mod parquet;
pub mod provenance;
mod radius;
pub mod reading;
mod report;
mod table;
mod text;
mod train;
mod written;

pub use against::{ComparisonReport, Difference, NodeComparison};
pub use attack::{AttackCounter, AttackRecord, AttackSummary};
pub use certify::{CertifyCounter, CertifyRecord, CertifySummary};
pub use count::Counter;
pub use draws::{DeviceCounts, DevicesReport, DrawsCounter, DrawsRecord, DrawsSummary, FailureInterval};
pub use exact::{BudgetReport, ExactCounter, ExactRecord, ExactSummary, OracleRecord, OracleSummary};
pub use exact_radius::{ExactRadiusCounter, ExactRadiusRecord, ExactRadiusSummary};
pub use faithful::{FaithfulFile, FaithfulLayer, FaithfulReport, RoundingRule, SmallestSet, TensorsReport};
pub use faults::{
    BitReport, FaultCounter, FaultRecord, FaultSummary, ProtectionReport, WordReport, WordsReport,
};
pub use field::{Cell, Field, Kind, Total};
pub use header::{
    CertificateReport, DataReport, Environment, Header, LayerReport, MethodReport, ModelReport, NoiseReport,
    OverrideReport, RandomWeights, ScaleReport, ShardReport, ThreatReport, reference_radius,
};
pub use hit::{HitReport, write_counted_hits, write_hits};
pub use inspect::{
    EstimateReport, InspectReport, NodeReport, NormReport, QuantizerReport, RadiusReport, StoredReport,
};
pub use measure::{
    CompressionReport, EnsembleAt, EnsembleReport, ErrorReport, LayerCapacityReport, LayerCompressionReport,
    LayerUtilizationReport, MeasureRecord, MeasureReport, MeasuresAt, RademacherReport, ShareReport,
    SplitReport, TruncationReport, UtilizationReport,
};
pub use noise::{JointReport, NoiseCounter, NoiseRecord, NoiseSummary, with_probability};
pub use radius::{CurvePoint, LayerSummary, RadiusCounter, RadiusRecord, RadiusSummary};
pub use report::{Format, Record, Report, RunResult, SampleSource};
pub use table::set_width;
pub use text::deviation;

/// The schema that the first line of a journal names.
pub const JOURNAL: &str = "weightproof/journal/1";
/// What the line behind the samples of a journal begins with, that has the header of a part which is done.
pub const JOURNAL_REPORT: &str = "{\"report\":";
pub use train::{AtChanceReport, EpochReport, TrainReport, history_csv};
pub use written::Written;
