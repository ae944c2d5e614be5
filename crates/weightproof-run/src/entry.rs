//! Records that a journal keeps.

use crate::faults::FaultEntry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use weightproof::verdict::Reason;
use weightproof_report::{AttackRecord, CertifyRecord, ExactRecord, NoiseRecord};

/// Why a sample is left open that more time or memory may settle.
const LIMITS: [Reason; 4] = [Reason::TimeLimit, Reason::NodeLimit, Reason::MemoryLimit, Reason::Interrupted];

/// Whether more time or memory may settle a sample that is open for this reason.
pub fn is_limit(reason: Option<Reason>) -> bool {
    reason.is_some_and(|reason| LIMITS.contains(&reason))
}

/// A record that a journal keeps.
pub trait Entry: Clone + Serialize + DeserializeOwned {
    /// Index of the sample.
    fn index(&self) -> usize;

    /// Its label.
    fn label(&self) -> Option<u32>;

    /// The class that the unperturbed network gives it.
    fn predicted(&self) -> u32;

    /// Why it is open, if it is.
    fn reason(&self) -> Option<Reason>;

    /// Whether solving the sample again would give nothing new: no limit was hit.
    fn is_settled(&self) -> bool {
        !is_limit(self.reason())
    }
}

impl Entry for CertifyRecord {
    fn index(&self) -> usize {
        self.index
    }

    fn label(&self) -> Option<u32> {
        self.label
    }

    fn predicted(&self) -> u32 {
        self.predicted
    }

    fn reason(&self) -> Option<Reason> {
        self.reason
    }
}

impl Entry for NoiseRecord {
    fn index(&self) -> usize {
        self.certify.index
    }

    fn label(&self) -> Option<u32> {
        self.certify.label
    }

    fn predicted(&self) -> u32 {
        self.certify.predicted
    }

    fn reason(&self) -> Option<Reason> {
        self.certify.reason
    }
}

impl Entry for ExactRecord {
    fn index(&self) -> usize {
        self.certify.index
    }

    fn label(&self) -> Option<u32> {
        self.certify.label
    }

    fn predicted(&self) -> u32 {
        self.certify.predicted
    }

    fn reason(&self) -> Option<Reason> {
        self.certify.reason
    }
}

impl Entry for FaultEntry {
    fn index(&self) -> usize {
        self.record.index
    }

    fn label(&self) -> Option<u32> {
        self.record.label
    }

    fn predicted(&self) -> u32 {
        self.record.predicted
    }

    fn reason(&self) -> Option<Reason> {
        self.record.reason
    }
}

impl Entry for AttackRecord {
    fn index(&self) -> usize {
        self.index
    }

    fn label(&self) -> Option<u32> {
        self.label
    }

    fn predicted(&self) -> u32 {
        self.predicted
    }

    fn reason(&self) -> Option<Reason> {
        self.reason
    }
}
