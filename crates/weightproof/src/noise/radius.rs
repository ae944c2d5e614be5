//! The largest noise at which each sample is certified, at one failure probability.
//!
//! All samples search one geometric lattice of multiples `t` of the noise; those at the same point are certified together. What is
//! reported was proved: a certificate at `t` covers less noise of the same law, whose variances are smaller.

use super::{NoiseCertifier, NoiseError};
use crate::gathered::Gathered;
use crate::radius::SampleRadius;
use crate::verdict::{Clean, Samples, Verdict};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Searches the noise that samples withstand.
pub struct NoiseRadius<'n> {
    unit: NoiseCertifier<'n>,
    lattice: Vec<f64>,
}

impl<'n> NoiseRadius<'n> {
    /// Multiples of the noise of `unit` from 1e-6 to 100, of which neighbours differ by the part `relative_width`.
    ///
    /// # Errors
    /// Stochastic rounding, which has no size.
    pub fn new(unit: NoiseCertifier<'n>, relative_width: f64) -> Result<Self, NoiseError> {
        const ENDS: (f64, f64) = (1e-6, 100.0);
        let ratio = relative_width.ln_1p();
        let steps = ((ENDS.1 / ENDS.0).ln() / ratio).ceil().max(0.0) as usize;
        unit.noise().scaled(unit.network(), 1.0)?;
        let lattice = (0..=steps).map(|k| ENDS.0 * (ratio * k as f64).exp()).collect();
        Ok(NoiseRadius { unit: unit.verdicts_only(), lattice })
    }

    /// For each sample the largest multiple that was certified, 0 where none was.
    ///
    /// # Errors
    /// As [`NoiseRadius::new`].
    ///
    /// # Panics
    /// As [`NoiseCertifier::certify`].
    pub fn search(&self, samples: Samples<'_>) -> Result<Vec<SampleRadius>, NoiseError> {
        let width = self.unit.network().input_width();
        // Points below the answer, points that may be, and what the unperturbed network says.
        let mut brackets: Vec<(usize, usize, Option<Clean>)> =
            vec![(0, self.lattice.len(), None); samples.count(width)];
        loop {
            let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (s, (low, high, _)) in brackets.iter().enumerate().filter(|(_, (low, high, _))| low < high) {
                groups.entry((low + high) / 2).or_default().push(s);
            }
            if groups.is_empty() {
                break;
            }
            let certify = |(&point, members): (&usize, &Vec<usize>)| {
                let certifier = self.unit.scaled(self.lattice[point])?;
                let found = certifier.certify(Gathered::new(samples, members, width).samples());
                Ok(members.iter().copied().zip(found).map(|(s, found)| (s, point, found)).collect::<Vec<_>>())
            };
            let found: Result<Vec<_>, NoiseError> = groups.par_iter().map(certify).collect();
            for (s, point, found) in found?.into_iter().flatten() {
                let (low, high, clean) = &mut brackets[s];
                *clean = Some(Clean { index: samples.first + s, ..found.certificate.clean });
                match found.certificate.verdict {
                    Verdict::Verified => *low = point + 1,
                    Verdict::Falsified => *high = *low,
                    Verdict::Unknown => *high = point,
                }
            }
        }
        let radius = |(low, _, clean): (usize, usize, Option<Clean>)| SampleRadius {
            clean: clean.expect("the lattice has points"),
            certified_radius: low.checked_sub(1).map_or(0.0, |k| self.lattice[k]),
            attacked_radius: None,
            reason: None,
        };
        Ok(brackets.into_iter().map(radius).collect())
    }
}
