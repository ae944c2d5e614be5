//! Properties (theory.md §1): what must hold for every perturbed network, as rows of a specification.

use crate::kernels::Scalar;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use thiserror::Error;

/// What a certificate says about a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Property {
    /// The given label keeps the largest output.
    Label,
    /// The class that the unperturbed network predicts keeps the largest output.
    Prediction,
    /// No output moves by more than a tolerance.
    Deviation,
}

/// The property's name is not known.
#[derive(Debug, Error, PartialEq)]
#[error("property: expected label, prediction or deviation, found {found}")]
pub struct UnknownProperty {
    /// What was written.
    pub found: String,
}

impl Property {
    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Property::Label => "label",
            Property::Prediction => "prediction",
            Property::Deviation => "deviation",
        }
    }

    /// Number of specification rows of one sample.
    pub fn rows(self, outputs: usize) -> usize {
        match self {
            Property::Label | Property::Prediction => outputs - 1,
            Property::Deviation => 2 * outputs,
        }
    }
}

impl FromStr for Property {
    type Err = UnknownProperty;
    fn from_str(text: &str) -> Result<Property, UnknownProperty> {
        let all = [Property::Label, Property::Prediction, Property::Deviation];
        let found = || UnknownProperty { found: text.chars().take(60).collect() };
        all.into_iter().find(|p| p.name() == text).ok_or_else(found)
    }
}

/// A linear function of one vector of neurons: `v_plus − v_minus`, either part may be missing.
///
/// Margins (`f_y − f_j`), single outputs and single neurons, up and down, all have this form, which is what lets the
/// first step of a backward pass copy rows of a weight matrix instead of multiplying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecRow {
    /// Index that counts positively.
    pub plus: Option<usize>,
    /// Index that counts negatively.
    pub minus: Option<usize>,
}

impl SpecRow {
    /// `v_i`.
    pub fn lower(i: usize) -> Self {
        SpecRow { plus: Some(i), minus: None }
    }

    /// `−v_i`: a lower bound of it is minus an upper bound of `v_i`.
    pub fn upper(i: usize) -> Self {
        SpecRow { plus: None, minus: Some(i) }
    }

    /// `v_i − v_j`.
    pub fn difference(i: usize, j: usize) -> Self {
        SpecRow { plus: Some(i), minus: Some(j) }
    }

    /// What element `i` is multiplied with.
    pub fn coefficient<T: Scalar>(self, i: usize) -> T {
        let at = |place: Option<usize>| if place == Some(i) { T::one() } else { T::zero() };
        at(self.plus) - at(self.minus)
    }

    /// The value on a vector.
    pub fn apply<T: Scalar>(self, v: &[T]) -> T {
        self.plus.map_or(T::zero(), |i| v[i]) - self.minus.map_or(T::zero(), |j| v[j])
    }
}

/// The rows of a block of samples: `count` rows for each sample, sample after sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Specification {
    /// All rows.
    pub rows: Vec<SpecRow>,
    /// Rows of one sample.
    pub count: usize,
}

impl Specification {
    /// Margins of the target class of each sample against all others, in class order.
    pub fn margins(targets: &[usize], classes: usize) -> Self {
        let row = |&y: &usize| (0..classes).filter(move |&j| j != y).map(move |j| SpecRow::difference(y, j));
        Specification { rows: targets.iter().flat_map(row).collect(), count: classes - 1 }
    }

    /// Every output up and down: rows `+f_0, −f_0, +f_1, −f_1, …`.
    pub fn outputs(samples: usize, outputs: usize) -> Self {
        let row = |_| (0..outputs).flat_map(|j| [SpecRow::lower(j), SpecRow::upper(j)]);
        Specification { rows: (0..samples).flat_map(row).collect(), count: 2 * outputs }
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.rows.len() / self.count
    }

    /// Class that row `k` of a margin specification compares the target with.
    pub fn rival(target: usize, k: usize) -> usize {
        if k < target { k } else { k + 1 }
    }
}
