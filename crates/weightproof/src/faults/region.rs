//! Inputs that move beside a hit, in dense networks: boxes of all values, and a bound of the margins without faults.
//!
//! # Guarantee
//! Rigorous: interval steps rounded outward, cut with the boxes of proofs (theory.md §12b).

use super::FaultError;
use super::line::{CleanPass, UNIT};
use crate::bounds::EXACT;
use crate::certify::CertifyOptions;
use crate::evidence::BoxEvidence;
use crate::exact::{Budget, ExactCertifier, ExactOptions};
use crate::network::{Affine, Layer, Network};
use crate::property::Property;
use crate::threat::{Kind, PerturbationSet, ThreatModel};
use crate::verdict::{Precision, Samples, Verdict};

/// Most domains of the proof without faults.
const NODES: usize = 200;

/// Boxes of inputs of one size.
pub(super) struct Region<'n> {
    network: &'n Network,
    certifier: ExactCertifier<'n>,
    radius: f64,
    range: Option<(f64, f64)>,
}

impl<'n> Region<'n> {
    /// # Errors
    /// A network that is not dense.
    pub fn new(
        network: &'n Network,
        property: Property,
        radius: f64,
        range: Option<(f64, f64)>,
    ) -> Result<Self, FaultError> {
        for node in network.nodes() {
            match &node.layer {
                Layer::Input | Layer::Dense(_) | Layer::Scale(_) | Layer::Activation(_) | Layer::Reshape => {}
                Layer::Conv(_)
                | Layer::DynamicQuantize(_)
                | Layer::MaxPool(_)
                | Layer::AveragePool(_)
                | Layer::Add
                | Layer::Gather(_) => {
                    return Err(FaultError::InputRadius { node: node.name.clone(), kind: node.layer.kind() });
                }
            }
        }
        let model = ThreatModel { input_radius: radius, ..ThreatModel::new(Kind::Absolute, 0.0) };
        let set = PerturbationSet { input_range: range, ..model.resolve(network)? };
        let certify =
            CertifyOptions { precision: Precision::F64, ..CertifyOptions::new(EXACT.name, property) };
        let options = ExactOptions {
            budget: Budget { nodes: Some(NODES), ..Budget::default() },
            ..ExactOptions::new(certify)
        };
        Ok(Region { network, certifier: ExactCertifier::new(network, &[set], options), radius, range })
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
        let evidence = self.certifier.prove(0, samples, &[0]).pop().flatten();
        let boxes =
            evidence.and_then(|mut e| (!e.domains.is_empty()).then(|| e.domains.swap_remove(0).boxes));
        let mut ends: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
        for (k, node) in self.network.nodes().iter().enumerate() {
            let mut own =
                node.inputs.first().map_or_else(|| self.inputs(x), |&i| step(&node.layer, &ends[i]));
            boxes.iter().flatten().filter(|b| b.node == k).for_each(|b| cut(&mut own, b));
            ends.push(own);
        }
        let halves = |(low, high): &(Vec<f64>, Vec<f64>)| -> (Vec<f64>, Vec<f64>) {
            let mid: Vec<f64> = low.iter().zip(high).map(|(l, h)| 0.5 * (l + h)).collect();
            let off = |((l, h), m): ((&f64, &f64), &f64)| (h - m).max(m - l).next_up();
            let error = low.iter().zip(high).zip(&mid).map(off).collect();
            (mid, error)
        };
        let (values, errors) = ends.iter().map(halves).unzip();
        Some(CleanPass { values, errors, margin: Some(margin) })
    }

    fn inputs(&self, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (least, most) = self.range.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        let low = x.iter().map(|x| (x - self.radius).next_down().max(least).min(*x));
        let high = x.iter().map(|x| (x + self.radius).next_up().min(most).max(*x));
        (low.collect(), high.collect())
    }
}

/// Makes a box smaller by one that holds, too.
fn cut((low, high): &mut (Vec<f64>, Vec<f64>), known: &BoxEvidence) {
    for ((&j, &l), &h) in known.elements.iter().zip(&known.lower).zip(&known.upper) {
        (low[j], high[j]) = (low[j].max(l), high[j].min(h));
    }
}

/// An interval step of a layer with one input.
fn step(layer: &Layer, (low, high): &(Vec<f64>, Vec<f64>)) -> (Vec<f64>, Vec<f64>) {
    let each = |f: &dyn Fn(usize) -> (f64, f64)| (0..low.len()).map(f).unzip();
    match layer {
        Layer::Dense(affine) => dense(affine, low, high),
        Layer::Scale(scale) => each(&|j| {
            let (a, b) = (scale.scale[j] * low[j], scale.scale[j] * high[j]);
            let off = 8.0 * UNIT * (a.abs() + b.abs() + scale.shift[j].abs()) + f64::MIN_POSITIVE;
            (a.min(b) + scale.shift[j] - off, a.max(b) + scale.shift[j] + off)
        }),
        Layer::Activation(f) => each(&|j| f.enclosed_range(low[j], high[j])),
        Layer::Reshape => (low.clone(), high.clone()),
        Layer::Input
        | Layer::Conv(_)
        | Layer::DynamicQuantize(_)
        | Layer::MaxPool(_)
        | Layer::AveragePool(_)
        | Layer::Add
        | Layer::Gather(_) => unreachable!("networks with such layers are refused"),
    }
}

fn dense(affine: &Affine, low: &[f64], high: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let part = (low.len() as f64 + 2.0) * 2.0 * UNIT;
    let row = |i: usize| {
        let (mut below, mut above, mut sizes) = (0.0, 0.0, affine.bias[i].abs());
        for ((w, l), h) in affine.weight.row(i).iter().zip(low).zip(high) {
            let (a, b) = (w * l, w * h);
            below += a.min(b);
            above += a.max(b);
            sizes += a.abs().max(b.abs());
        }
        let off = part * sizes + (low.len() as f64 + 2.0) * f64::MIN_POSITIVE;
        (below + affine.bias[i] - off, above + affine.bias[i] + off)
    };
    (0..affine.bias.len()).map(row).unzip()
}
