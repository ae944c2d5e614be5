//! Outcomes for samples: what was proved, what was broken, and why something stayed open.

use crate::property::Property;
use serde::{Deserialize, Serialize, Serializer};

/// Floating-point type in which bounds and attacks are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Single precision: fast, the default.
    #[default]
    F32,
    /// Double precision.
    F64,
}

impl Precision {
    /// Name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F64 => "f64",
        }
    }
}

/// What a proved number rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// It holds although it was computed in floating point: everything that rounding may have taken is charged to it.
    #[default]
    Rigorous,
    /// It holds if floating point were exact. For comparisons.
    RealArithmetic,
}

impl Guarantee {
    /// Name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Guarantee::Rigorous => "rigorous",
            Guarantee::RealArithmetic => "real-arithmetic",
        }
    }
}

/// What a number in a report is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// A setting of the run.
    Setting,
    /// Computed from the network as it is, or counted on the samples.
    Measured,
    /// Found by a search, or the mean over random draws: it proves nothing about what was not found.
    Estimate,
    /// Proved.
    Proved(Guarantee),
}

impl Worth {
    /// Proved, although it was computed in floating point.
    pub const RIGOROUS: Worth = Worth::Proved(Guarantee::Rigorous);

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Worth::Setting => "setting",
            Worth::Measured => "measured",
            Worth::Estimate => "estimate",
            Worth::Proved(guarantee) => guarantee.name(),
        }
    }
}

impl Serialize for Worth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Answer for one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The property holds for every perturbation in the set (with the guarantee of the report).
    Verified,
    /// A perturbation in the set breaks the property: a witness was found, or the unperturbed network breaks it.
    Falsified,
    /// Neither.
    Unknown,
}

/// Why a sample is not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The unperturbed network already breaks the property.
    Misclassified,
    /// The bound is not above zero; the property may still hold.
    BoundTooLoose,
    /// Bounds left the range of the floating-point type.
    Overflow,
    /// A value may leave the range of the number format of the threat model.
    FormatRange,
    /// Too close to call: the margin that was found is smaller than what rounding in f64 may have done to it.
    Precision,
    /// The attack found a witness.
    Attacked,
    /// The attack found no witness, which proves nothing.
    NotBroken,
    /// The time for the sample, or for the whole run, was over.
    TimeLimit,
    /// As many domains as allowed were bounded.
    NodeLimit,
    /// The open domains took as much memory as allowed.
    MemoryLimit,
    /// The user ended the run.
    Interrupted,
    /// Nothing was left to split: the bounds are not exact for this network or perturbation set, or the smallest margin is
    /// too close to zero for the precision.
    Incomplete,
}

impl Reason {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Misclassified => "misclassified",
            Reason::BoundTooLoose => "bound-too-loose",
            Reason::Overflow => "overflow",
            Reason::FormatRange => "format-range",
            Reason::Precision => "precision",
            Reason::Attacked => "attacked",
            Reason::NotBroken => "not-broken",
            Reason::TimeLimit => "time-limit",
            Reason::NodeLimit => "node-limit",
            Reason::MemoryLimit => "memory-limit",
            Reason::Interrupted => "interrupted",
            Reason::Incomplete => "incomplete",
        }
    }
}

/// A batch of samples, as readers deliver them.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// Index of the first sample in its data set.
    pub first: usize,
    /// (count, input width), row after row.
    pub inputs: &'a [f64],
    /// One label for each sample.
    pub labels: Option<&'a [u32]>,
}

impl Samples<'_> {
    /// Number of samples for inputs of `width` elements.
    pub fn count(&self, width: usize) -> usize {
        self.inputs.len() / width
    }
}

/// What the unperturbed network says about a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clean {
    /// Index in the data set.
    pub index: usize,
    /// The given label.
    pub label: Option<usize>,
    /// Class with the largest output (the first of several).
    pub predicted: usize,
    /// Class whose output the property protects: the label, or the prediction.
    pub target: usize,
    /// `min over j ≠ target of f_target − f_j`; for deviations the tolerance.
    pub margin: f64,
}

/// What a bound says about a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleCertificate {
    /// The unperturbed network.
    pub clean: Clean,
    /// Proved lower bound of the margin over the whole set; `-inf` when there is none.
    pub margin_lower: f64,
    /// Class (deviation: output) where the bound is smallest.
    pub runner_up: usize,
    /// For deviations: proved upper bound of `max_j |f̂_j − f_j|`.
    pub deviation_upper: Option<f64>,
    /// Verified, falsified (already unperturbed) or unknown.
    pub verdict: Verdict,
    /// Why it is not verified.
    pub reason: Option<Reason>,
}

impl Clean {
    /// Reads the clean result off the outputs of the unperturbed network.
    ///
    /// # Panics
    /// When the property is [`Property::Label`] and there is no label: callers check their data first.
    pub fn of(
        outputs: &[f64],
        index: usize,
        label: Option<u32>,
        property: Property,
        tolerance: f64,
    ) -> Clean {
        let mut predicted = 0;
        for (j, &f) in outputs.iter().enumerate() {
            if f > outputs[predicted] {
                predicted = j;
            }
        }
        let label = label.map(|l| l as usize);
        let target = match property {
            Property::Label => label.expect("the property needs labels"),
            Property::Prediction | Property::Deviation => predicted,
        };
        let margin = match property {
            Property::Label | Property::Prediction => {
                let rivals = (0..outputs.len()).filter(|&j| j != target);
                rivals.fold(f64::INFINITY, |m, j| nan_min(m, outputs[target] - outputs[j]))
            }
            Property::Deviation => tolerance,
        };
        Clean { index, label, predicted, target, margin }
    }
}

/// The smaller of two numbers; NaN when one is NaN, so that NaN never certifies.
pub(crate) fn nan_min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if b < a {
        b
    } else {
        a
    }
}
