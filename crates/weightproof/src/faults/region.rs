//! Inputs that move beside a hit: boxes of all values, and a bound of the margins without faults.
//!
//! # Guarantee
//! Rigorous: interval steps, cut with the boxes of proofs (theory.md §12b).

use super::FaultError;
use super::line::CleanPass;
use crate::bounds::{Block, Bounds, EXACT, Prepared, propagate_cut};
use crate::certify::CertifyOptions;
use crate::evidence::BoxEvidence;
use crate::exact::{Budget, ExactCertifier, ExactOptions};
use crate::model::{Model, Radii};
use crate::network::Network;
use crate::property::Property;
use crate::threat::{Kind, PerturbationSet, ThreatModel};
use crate::verdict::{Guarantee, Precision, Samples, Verdict};

/// Most domains of the proof without faults.
const NODES: usize = 200;

/// Boxes of inputs of one size.
pub(super) struct Region<'n> {
    certifier: ExactCertifier<'n>,
    model: Model<'n, f64>,
    radii: Radii<f64>,
}

impl<'n> Region<'n> {
    /// # Errors
    /// A radius that is not one.
    pub fn new(
        network: &'n Network,
        property: Property,
        radius: f64,
        range: Option<(f64, f64)>,
    ) -> Result<Self, FaultError> {
        let model = ThreatModel { input_radius: radius, ..ThreatModel::new(Kind::Absolute, 0.0) };
        let set = PerturbationSet { input_range: range, ..model.resolve(network)? };
        let certify =
            CertifyOptions { precision: Precision::F64, ..CertifyOptions::new(EXACT.name, property) };
        let options = ExactOptions {
            budget: Budget { nodes: Some(NODES), ..Budget::default() },
            ..ExactOptions::new(certify)
        };
        let radii = Radii::new(&set, network.nodes().len());
        let certifier = ExactCertifier::new(network, &[set], options);
        Ok(Region { certifier, model: Model::new(network), radii })
    }

    /// Boxes of all values while the input moves, and the bound of the margins; `None` when the property is not proved without faults.
    pub fn pass(&self, x: &[f64], index: usize, label: Option<u32>) -> Option<CleanPass> {
        let labels = label.map(|label| [label]);
        let samples = Samples { first: index, inputs: x, labels: labels.as_ref().map(|l| &l[..]) };
        let found = self.certifier.certify(samples).pop()?.pop()?;
        let margin = found.certificate.margin_lower;
        if found.certificate.verdict != Verdict::Verified || !(margin > 0.0) {
            return None;
        }
        let evidence = self.certifier.prove(0, None, samples, &[0]).pop().flatten();
        let boxes =
            evidence.and_then(|mut e| (!e.domains.is_empty()).then(|| e.domains.swap_remove(0).boxes));
        let prepared = &Prepared::new(&self.model, &self.radii, Guarantee::Rigorous);
        let values = &self.model.values_in_f64(x)[..];
        let fixed = &prepared.enclosed(values)[..];
        let states = propagate_cut(
            &Block { prepared, values, fixed, divided: false, quantiles: None },
            |node, bounds| boxes.iter().flatten().filter(|b| b.node == node).for_each(|b| cut(bounds, b)),
        );
        let halves = |node: usize| -> (Vec<f64>, Vec<f64>) {
            let (low, high) = (states.lower(node).row(0), states.upper(node).row(0));
            let mid: Vec<f64> = low.iter().zip(high).map(|(l, h)| 0.5 * (l + h)).collect();
            let off = |((l, h), m): ((&f64, &f64), &f64)| (h - m).max(m - l).next_up();
            let error = low.iter().zip(high).zip(&mid).map(off).collect();
            (mid, error)
        };
        let (centers, errors) = (0..values.len()).map(halves).unzip();
        states.void[0].is_none().then_some(CleanPass { values: centers, errors, margin: Some(margin) })
    }
}

/// Makes the box of one sample smaller by one that holds, too.
fn cut(Bounds { lower, upper }: &mut Bounds<f64>, known: &BoxEvidence) {
    let (lower, upper) = (lower.row_mut(0), upper.row_mut(0));
    for ((&j, &l), &h) in known.elements.iter().zip(&known.lower).zip(&known.upper) {
        (lower[j], upper[j]) = (lower[j].max(l), upper[j].min(h));
    }
}
