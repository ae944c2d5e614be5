//! Searches of regions of one sample, and what a cover of all of them proves (theory.md §6).

use super::cover::{Cover, CoverError, FoundPoint, Region, RowLower, Searched};
use super::search::{Answer, Purpose, Start};
use super::{Begin, Budget, Engine, EngineOf, ExactCertificate, ExactCertifier, ExactOptions, NEARLY};
use super::{FIRST, of_rows, searched};
use crate::attack::Suggestions;
use crate::bounds::{Prepared, method};
use crate::certify::CleanBlock;
use crate::gathered::Gathered;
use crate::kernels::Scalar;
use crate::verdict::{Samples, Verdict};
use std::time::Duration;

impl ExactCertifier<'_> {
    /// Searches `regions` of set `k` of one sample, as far as the limits go. A limit of nodes counts those beyond one for each region, so
    /// that every search splits something. Regions that f32 exhausts by so little that rounding may be the reason are searched again in f64.
    /// No gap is closed.
    ///
    /// # Guarantee
    /// That of [`ExactCertifier::certify`], within the regions.
    ///
    /// # Errors
    /// A region with a split that there cannot be in this network, or a row that the property does not have.
    ///
    /// # Panics
    /// As [`ExactCertifier::certify`].
    pub fn search_regions(
        &self,
        k: usize,
        sample: Samples<'_>,
        regions: &[Region],
    ) -> Result<Searched, CoverError> {
        let (f32, f64) = match &self.engine {
            Engine::F64(engine) => {
                return self.search_regions_in(engine, k, sample, regions).map(|(found, _)| found);
            }
            Engine::F32(engine, f64) => (engine, f64),
        };
        let (mut found, nearly) = self.search_regions_in(f32, k, sample, regions)?;
        if nearly.is_empty() || found.broken {
            return Ok(found);
        }
        let engine = f64.get_or_init(|| self.in_f64(f32));
        let nearly: Vec<Region> = nearly.into_iter().map(|place| found.regions[place].clone()).collect();
        let again = nearly.iter().map(|region| Region { exhausted: false, ..region.clone() });
        let (better, _) = self.search_regions_in(engine, k, sample, &again.collect::<Vec<_>>())?;
        found.regions.retain(|region| !nearly.contains(region));
        Ok(found.with(better))
    }

    /// The same in one precision, with the places of exhausted regions that rounding may have left open.
    fn search_regions_in<T: Scalar>(
        &self,
        engine: &EngineOf<'_, T>,
        k: usize,
        sample: Samples<'_>,
        regions: &[Region],
    ) -> Result<(Searched, Vec<usize>), CoverError> {
        let options = self.without_gap(regions.len());
        let prepared = Prepared::new(&engine.model, &engine.radii[k], options.certify.guarantee);
        let gathered = Gathered::new(sample, &[0], self.network.input_width());
        let clean = gathered.clean(&engine.model, &options.certify);
        check(&prepared, &clean, &options, regions)?;
        let mut bounds = clean.bounds(&prepared, method::<T>(FIRST).expect("the first method exists"));
        let suggestions = Suggestions::new(&self.attackers[k], &engine.problems[k], gathered.samples());
        let found = suggestions.unperturbed().swap_remove(0);
        let starts = (vec![Begin { found, start: Start::Regions(regions.to_vec()) }], Purpose::Divide);
        let (_, answer) =
            searched((&prepared, &clean), &mut bounds, suggestions, &options, starts).swap_remove(0);
        let Answer { lower, found, reason, nodes, time, regions: leaves, .. } = answer;
        let margin = |open: &RowLower| open.number() + clean.shift(0, open.row, options.certify.property);
        let least = -NEARLY * found.clean.margin.abs();
        let is_near = |region: &Region| {
            region.exhausted && region.open.iter().flatten().all(|open| margin(open) >= least)
        };
        let nearly = (0..leaves.len()).filter(|&place| is_near(&leaves[place])).collect();
        let lower = lower.iter().map(|&lower| Scalar::to_f64(lower)).enumerate();
        let point = |witness| (self.attackers[k].units(witness), found.worst_margin);
        let point = found.witness.as_ref().map(point).filter(|(_, margin)| margin.is_finite());
        let searched = Searched {
            asked: regions.to_vec(),
            reason: reason.filter(|_| leaves.iter().any(Region::is_open)),
            regions: leaves,
            // Infinite are those that no region proves.
            lower: lower.filter(|(_, l)| *l != f64::INFINITY).map(|(row, l)| RowLower::new(row, l)).collect(),
            found: point.map(|(units, margin)| FoundPoint { margin, units }),
            broken: found.verdict == Verdict::Falsified,
            nodes,
            seconds: time.as_secs_f64(),
        };
        Ok((searched, nearly))
    }

    /// The options of a search of so many regions.
    fn without_gap(&self, regions: usize) -> ExactOptions {
        let budget = self.options.budget;
        let nodes = budget.nodes.map(|nodes| nodes.saturating_add(regions));
        ExactOptions { gap: None, budget: Budget { nodes, ..budget }, ..self.options.clone() }
    }

    /// What is known of a sample when its regions are a cover of set `k`. The witness is checked once more.
    ///
    /// # Guarantee
    /// That of [`ExactCertifier::certify`]: the bound of a row is the least over regions that partition the set.
    ///
    /// # Errors
    /// A witness of another network.
    ///
    /// # Panics
    /// As [`ExactCertifier::certify`].
    pub fn conclude(
        &self,
        k: usize,
        sample: Samples<'_>,
        cover: &Cover,
    ) -> Result<ExactCertificate, CoverError> {
        match &self.engine {
            Engine::F64(engine) => self.conclude_in(engine, k, sample, cover),
            // Bounds of regions may be in f64.
            Engine::F32(engine, f64) => {
                self.conclude_in(f64.get_or_init(|| self.in_f64(engine)), k, sample, cover)
            }
        }
    }

    fn conclude_in(
        &self,
        engine: &EngineOf<'_, f64>,
        k: usize,
        sample: Samples<'_>,
        cover: &Cover,
    ) -> Result<ExactCertificate, CoverError> {
        let options = &self.options.certify;
        let gathered = Gathered::new(sample, &[0], self.network.input_width());
        let clean = gathered.clean(&engine.model, options);
        let bounds = of_rows((0..clean.spec.count).map(|row| cover.lower(row)).collect(), 1);
        let mut certificate = clean.verdict(&bounds, 0, options);
        certificate.reason = certificate.reason.map(|own| cover.reason().unwrap_or(own));
        let suggestions = Suggestions::new(&self.attackers[k], &engine.problems[k], gathered.samples());
        let found = match cover.found() {
            Some(point) if !suggestions.fits(&point.units) => return Err(CoverError::Witness),
            Some(point) => suggestions.check(0, point.units.clone()),
            None => suggestions.unperturbed().swap_remove(0),
        };
        let (nodes, time) = (cover.nodes(), Duration::from_secs_f64(cover.seconds().max(0.0)));
        let worst_margin = found.worst_margin;
        Ok(ExactCertificate { certificate, worst_margin, witness: None, nodes, time }.attacked(&found))
    }
}

/// An error when a region is not one of this network and property.
fn check<T: Scalar>(
    prepared: &Prepared<'_, T>,
    clean: &CleanBlock<T>,
    options: &ExactOptions,
    regions: &[Region],
) -> Result<(), CoverError> {
    let domains = crate::bounds::Domains::new(prepared, &clean.values, Vec::new(), options.branching, false);
    let is_own = |region: &Region| {
        region.sides.iter().all(|side| domains.can_split(side))
            && region.open.iter().flatten().all(|open| open.row < clean.spec.count)
    };
    match regions.iter().find(|region| !is_own(region)) {
        Some(region) => Err(CoverError::foreign(region)),
        None => Ok(()),
    }
}
