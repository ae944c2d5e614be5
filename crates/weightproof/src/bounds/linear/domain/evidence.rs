//! What the bounds of a domain are made of, as evidence.

use super::super::super::States;
use super::super::propagate::Backward;
use super::super::relax::Relaxed;
use super::super::slopes::FreeVariables;
use super::{Domains, SubDomain};
use crate::evidence::{BoxEvidence, DomainEvidence, NodeNumbers, RowEvidence};
use crate::kernels::{Matrix, Scalar};

impl<T: Scalar> Domains<'_, T> {
    /// The boxes of part `d` that do not follow from those of its parent: all of a root.
    pub(super) fn shown(
        &self,
        states: &States<'_, T>,
        parts: &[SubDomain<'_, T>],
        d: usize,
    ) -> DomainEvidence {
        let part = parts[d];
        let is_root = part.is_root();
        let mut boxes = Vec::new();
        let mut from = 0;
        for &node in &self.nodes {
            let known = self.restored(&parts[d..=d], node, from);
            from += 2 * self.prepared.model.width(node);
            if self.prepared.model.network.nodes()[node].layer.is_nonlinear() {
                continue;
            }
            let (lower, upper) = (states.lower(node).row(d), states.upper(node).row(d));
            let is_new =
                |&j: &usize| is_root || lower[j] != known.lower[(0, j)] || upper[j] != known.upper[(0, j)];
            let elements: Vec<usize> = (0..lower.len()).filter(is_new).collect();
            if !elements.is_empty() {
                let ends = |side: &[T]| elements.iter().map(|&j| side[j].to_f64()).collect();
                boxes.push(BoxEvidence { node, lower: ends(lower), upper: ends(upper), elements });
            }
        }
        DomainEvidence { boxes, ..DomainEvidence::default() }
    }
}

impl<T: Scalar> FreeVariables<T> {
    /// What row `k` of part `d` is proved with, whose row here is `r`.
    pub(super) fn evidence(&self, pass: &Backward<'_, T>, d: usize, k: usize, r: usize) -> RowEvidence {
        let slopes = |(node, slopes): (usize, &Option<Matrix<T>>)| {
            let (own, Some(Relaxed::Activation(relaxation))) = (slopes.as_ref()?.row(r), pass.relaxed(node))
            else {
                return None;
            };
            let (plain, hulls) = (relaxation.lines(d).lower_slope, pass.hulls(node, d));
            let is_own = |k: usize| hulls.map_or(own[k] != plain[k], |hulls| hulls[k].is_some());
            let numbers = own.iter().enumerate().map(|(k, own)| (Scalar::to_f64(*own), is_own(k)));
            NodeNumbers::chosen(node, numbers)
        };
        let multipliers = |(node, multipliers): (usize, &Option<Matrix<T>>)| {
            let own = multipliers.as_ref()?.row(r).iter();
            NodeNumbers::chosen(node, own.map(|&m| (Scalar::to_f64(m), m != T::zero())))
        };
        RowEvidence {
            row: k,
            slopes: self.slopes.iter().enumerate().filter_map(slopes).collect(),
            multipliers: self.multipliers.iter().enumerate().filter_map(multipliers).collect(),
        }
    }
}
