//! One sample searched in regions, by several machines (theory.md §6).
//!
//! ```text
//! whole set → search within limits → regions that partition it: proved, open or exhausted
//!             open regions → searches of their own, anywhere → regions that partition each of them → …
//! ```
//! A region is where some neurons lie on given sides of given values. Every value `v` has `v ≤ t` or `v ≥ t`, so the leaves of a tree of
//! such splits cover the whole set, wherever they were searched.
//!
//! # Guarantee
//! A [`Cover`] takes answers only when all of its regions are the leaves of one tree. The bound of a row is the least over all regions,
//! so it holds for the whole set, with the guarantee of the searches.

use crate::verdict::Reason;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use thiserror::Error;

/// One side of a split: `v ≤ value` of an element of a node, or `v ≥ value` above it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Index of the node.
    pub node: usize,
    /// The element of its value.
    pub element: usize,
    /// Where it is split, in the unit of the element.
    pub value: f64,
    /// Which side this is.
    pub above: bool,
}

impl Side {
    /// What orders sides: those of one split are neighbours.
    fn key(&self) -> (usize, usize, u64, bool) {
        (self.node, self.element, self.value.to_bits(), self.above)
    }

    /// Whether both are sides of the same split.
    fn shares_split(&self, other: &Side) -> bool {
        Side { above: other.above, ..*self }.key() == other.key()
    }
}

/// Lower bound of a row of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowLower {
    /// Its place among the rows of its sample.
    pub row: usize,
    /// The bound; `None` where there is none (−∞).
    pub lower: Option<f64>,
}

impl RowLower {
    /// The bound `lower` of row `row`; NaN is none.
    pub(super) fn new(row: usize, lower: f64) -> Self {
        RowLower { row, lower: Some(lower).filter(|lower| lower.is_finite()) }
    }

    /// The bound as a number.
    pub(super) fn number(&self) -> f64 {
        self.lower.unwrap_or(f64::NEG_INFINITY)
    }
}

/// A part of a sample's perturbation set: where all of its sides hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// From the first split on; none of the whole set.
    pub sides: Vec<Side>,
    /// Rows that are not proved in it, with their bounds there; `None` where nothing is known yet.
    pub open: Option<Vec<RowLower>>,
    /// Whether nothing is left to split.
    pub exhausted: bool,
}

impl Region {
    /// The whole set, of which nothing is known.
    pub fn whole() -> Self {
        Region { sides: Vec::new(), open: None, exhausted: false }
    }

    /// A region in which all rows are proved.
    pub(super) fn proved(sides: Vec<Side>) -> Self {
        Region { sides, open: Some(Vec::new()), exhausted: false }
    }

    /// Whether all rows are proved in it.
    pub fn is_proved(&self) -> bool {
        self.open.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether a search may prove more of it.
    pub fn is_open(&self) -> bool {
        !self.exhausted && !self.is_proved()
    }

    /// The least bound of its open rows.
    fn worst(&self) -> f64 {
        let open = self.open.iter().flatten().map(RowLower::number);
        open.fold(if self.open.is_none() { f64::NEG_INFINITY } else { f64::INFINITY }, f64::min)
    }

    fn key(&self) -> Vec<(usize, usize, u64, bool)> {
        self.sides.iter().map(Side::key).collect()
    }

    /// Whether `other` is a part of this region.
    fn contains(&self, other: &Region) -> bool {
        other.sides.len() >= self.sides.len()
            && self.sides.iter().zip(&other.sides).all(|(own, other)| own.key() == other.key())
    }
}

/// Variables of the neuron-space attack that lower the margin, and the margin that they reach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundPoint {
    /// In f64, checked where it breaks the property.
    pub margin: f64,
    /// One list for each slot of the attack.
    pub units: Vec<Vec<f32>>,
}

/// What a search of regions found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Searched {
    /// The regions that were searched, as they were given.
    pub asked: Vec<Region>,
    /// Regions that partition them.
    pub regions: Vec<Region>,
    /// By row the least bound of the regions where it is proved; a row that is not listed was proved in none.
    pub lower: Vec<RowLower>,
    /// The worst point that was found.
    pub found: Option<FoundPoint>,
    /// Whether it breaks the property.
    pub broken: bool,
    /// The limit that ended the search; `None` when no region is left open.
    pub reason: Option<Reason>,
    /// Domains that were bounded.
    pub nodes: usize,
    /// Processor time.
    pub seconds: f64,
}

/// Why answers are not taken: their regions are not a partition of the set.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum CoverError {
    /// No answer has this region.
    #[error("cover: expected an answer for every region, found none for {0}")]
    Lost(String),
    /// Two answers have it, or one has a part of it.
    #[error("cover: expected every region once, found {0} twice")]
    Twice(String),
    /// It is of another sample, set or network, or of another round.
    #[error("cover: expected regions of this sample and round, found the foreign {0}")]
    Foreign(String),
    /// An answer calls a row proved, and has no bound of it.
    #[error("cover: expected a bound of row {row}, found none in the answer for {region}")]
    Unbounded {
        /// The row.
        row: usize,
        /// The region.
        region: String,
    },
    /// The point that is said to break the property is not of this network.
    #[error("cover: expected a witness of this network, found one of another")]
    Witness,
}

impl CoverError {
    /// The region is of another sample, set or network.
    pub(super) fn foreign(region: &Region) -> Self {
        CoverError::Foreign(shown(&region.sides))
    }
}

/// Sides for a message: the last few.
fn shown(sides: &[Side]) -> String {
    const LAST: usize = 3;
    if sides.is_empty() {
        return "whole set".into();
    }
    let more = if sides.len() > LAST { "…, " } else { "" };
    let side = |s: &Side| {
        let sign = if s.above { "≥" } else { "≤" };
        format!("element {} of node {} {sign} {}", s.element, s.node, s.value)
    };
    let last: Vec<String> = sides[sides.len().saturating_sub(LAST)..].iter().map(side).collect();
    format!("region {more}{}", last.join(", "))
}

/// What is known of one sample whose set is searched in regions.
#[derive(Clone, Debug, PartialEq)]
pub struct Cover {
    /// A partition of the whole set.
    regions: Vec<Region>,
    /// By row the least bound of the regions where it is proved.
    lower: BTreeMap<usize, f64>,
    found: Option<FoundPoint>,
    broken: bool,
    reason: Option<Reason>,
    nodes: usize,
    seconds: f64,
}

impl Default for Cover {
    /// The whole set, of which nothing is known.
    fn default() -> Self {
        Cover {
            regions: vec![Region::whole()],
            lower: BTreeMap::new(),
            found: None,
            broken: false,
            reason: None,
            nodes: 0,
            seconds: 0.0,
        }
    }
}

impl Cover {
    /// Whether no search would change the verdict: the property is broken, or no region is open.
    pub fn is_settled(&self) -> bool {
        self.broken || !self.regions.iter().any(Region::is_open)
    }

    /// The open regions in at most `most` groups, each for one search: those with the least bounds are dealt out first, so that groups are
    /// alike. It depends on the regions alone.
    pub fn groups(&self, most: usize) -> Vec<Vec<Region>> {
        let mut open: Vec<&Region> = self.regions.iter().filter(|region| region.is_open()).collect();
        open.sort_by(|a, b| a.worst().total_cmp(&b.worst()));
        let count = open.len().min(most.max(1));
        (0..count)
            .map(|k| open.iter().skip(k).step_by(count).map(|region| (*region).clone()).collect())
            .collect()
    }

    /// Puts the regions of all answers of a round in the place of those that were asked for.
    ///
    /// # Errors
    /// A region that is lost, that comes twice or that is foreign; then nothing is taken.
    pub fn take(&mut self, answers: Vec<Searched>) -> Result<(), CoverError> {
        let (open, mut regions): (Vec<Region>, Vec<Region>) =
            self.regions.iter().cloned().partition(Region::is_open);
        let asked: HashMap<_, &Region> = open.iter().map(|region| (region.key(), region)).collect();
        for answer in &answers {
            // Its rows are those of this round.
            let own = |region: &&Region| asked.get(&region.key()) == Some(region);
            if let Some(other) = answer.asked.iter().find(|region| !own(region)) {
                return Err(CoverError::foreign(other));
            }
            answer.check_rows()?;
        }
        regions.extend(answers.iter().flat_map(|answer| answer.regions.iter().cloned()));
        self.regions = partitioned(regions)?;
        self.reason = None;
        for answer in answers {
            for bound in &answer.lower {
                let least = self.lower.entry(bound.row).or_insert(f64::INFINITY);
                *least = least.min(bound.number());
            }
            self.found = worse(self.found.take(), answer.found);
            self.broken |= answer.broken;
            self.reason = one_of(self.reason, answer.reason);
            self.nodes += answer.nodes;
            self.seconds += answer.seconds;
        }
        Ok(())
    }

    /// The bound of row `k` over the whole set; −∞ where no region has one.
    pub(super) fn lower(&self, k: usize) -> f64 {
        let of_region = |region: &Region| match &region.open {
            None => f64::NEG_INFINITY,
            Some(open) => open.iter().find(|open| open.row == k).map_or(f64::INFINITY, RowLower::number),
        };
        let proved = self.lower.get(&k).copied().unwrap_or(f64::INFINITY);
        let least = self.regions.iter().map(of_region).fold(proved, f64::min);
        if least < f64::INFINITY { least } else { f64::NEG_INFINITY }
    }

    /// Why the sample is not settled: a limit, or regions in which nothing is left to split.
    pub(super) fn reason(&self) -> Option<Reason> {
        let exhausted = self.regions.iter().any(|region| region.exhausted);
        let open = self.regions.iter().any(Region::is_open);
        self.reason.filter(|_| open).or(exhausted.then_some(Reason::Incomplete))
    }

    /// The worst point that was found.
    pub(super) fn found(&self) -> Option<&FoundPoint> {
        self.found.as_ref()
    }

    /// Domains that were bounded.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Processor time of all searches.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }
}

/// The point with the smaller margin.
fn worse(a: Option<FoundPoint>, b: Option<FoundPoint>) -> Option<FoundPoint> {
    let margin = |found: &Option<FoundPoint>| found.as_ref().map_or(f64::INFINITY, |found| found.margin);
    if margin(&b) < margin(&a) { b } else { a }
}

/// One of two reasons, whichever comes first.
fn one_of(a: Option<Reason>, b: Option<Reason>) -> Option<Reason> {
    a.into_iter().chain(b).min_by_key(|reason| reason.name())
}

impl Searched {
    /// The same with what a search of some of its regions found, which are no longer in it.
    pub(super) fn with(self, more: Searched) -> Self {
        Searched {
            asked: self.asked,
            regions: [self.regions, more.regions].concat(),
            lower: [self.lower, more.lower].concat(),
            found: worse(self.found, more.found),
            broken: self.broken || more.broken,
            reason: one_of(self.reason, more.reason),
            nodes: self.nodes + more.nodes,
            seconds: self.seconds + more.seconds,
        }
    }

    /// An error when a region is in none of those that were asked for, or has a row that was asked for, is not open and has no bound.
    fn check_rows(&self) -> Result<(), CoverError> {
        let bounded: HashSet<usize> = self.lower.iter().map(|bound| bound.row).collect();
        let mut asked: Vec<&Region> = self.asked.iter().collect();
        asked.sort_by_key(|region| region.key());
        for region in &self.regions {
            // The last that is not behind it: regions that are asked for do not overlap.
            let place = asked.partition_point(|asked| asked.key() <= region.key());
            let own = place.checked_sub(1).map(|place| asked[place]).filter(|own| own.contains(region));
            let Some(own) = own else { return Err(CoverError::foreign(region)) };
            let open: HashSet<usize> = region.open.iter().flatten().map(|open| open.row).collect();
            let rows = own.open.iter().flatten().filter(|_| region.open.is_some()).map(|open| open.row);
            if let Some(row) = rows.into_iter().find(|row| !open.contains(row) && !bounded.contains(row)) {
                return Err(CoverError::Unbounded { row, region: shown(&region.sides) });
            }
        }
        Ok(())
    }
}

/// The same regions in the order of their tree; both sides of a split that are proved become one region.
///
/// # Errors
/// Regions that are not the leaves of one tree of splits.
fn partitioned(mut regions: Vec<Region>) -> Result<Vec<Region>, CoverError> {
    regions.sort_by_cached_key(Region::key);
    if let Some(pair) = regions.windows(2).find(|pair| pair[0].contains(&pair[1])) {
        return Err(CoverError::Twice(shown(&pair[0].sides)));
    }
    // Subtrees that are whole: their sides, and where their leaves begin.
    let mut whole: Vec<(Vec<Side>, usize)> = Vec::new();
    let mut leaves: Vec<Region> = Vec::new();
    for region in regions {
        whole.push((region.sides.clone(), leaves.len()));
        leaves.push(region);
        while let [.., (below, first), (above, second)] = whole.as_slice() {
            if !are_siblings(below, above) {
                break;
            }
            let (parent, first, second) = (below[..below.len() - 1].to_vec(), *first, *second);
            let is_leaf = second == first + 1 && leaves.len() == second + 1;
            if is_leaf && leaves[first..].iter().all(Region::is_proved) {
                leaves.truncate(first);
                leaves.push(Region::proved(parent.clone()));
            }
            whole.truncate(whole.len() - 2);
            whole.push((parent, first));
        }
    }
    match whole.as_slice() {
        [(sides, _)] if sides.is_empty() => Ok(leaves),
        subtrees => Err(hole(subtrees)),
    }
}

/// Whether these are the sides of both parts of one split.
fn are_siblings(below: &[Side], above: &[Side]) -> bool {
    match (below.split_last(), above.split_last()) {
        (Some((low, parent)), Some((high, other))) => {
            !low.above
                && high.above
                && low.shares_split(high)
                && parent.len() == other.len()
                && parent.iter().zip(other).all(|(a, b)| a.key() == b.key())
        }
        (None, _) | (_, None) => false,
    }
}

/// What is wrong with whole subtrees that do not make one tree.
fn hole(subtrees: &[(Vec<Side>, usize)]) -> CoverError {
    let foreign = subtrees.windows(2).find_map(|pair| {
        let (a, b) = (&pair[0].0, &pair[1].0);
        let (own, other) = a.iter().zip(b).find(|(a, b)| a.key() != b.key())?;
        (!own.shares_split(other)).then(|| CoverError::Foreign(shown(b)))
    });
    foreign.unwrap_or_else(|| {
        // The sibling of the deepest subtree: a part of it would be as deep.
        let deepest = subtrees.iter().map(|(sides, _)| sides).max_by_key(|sides| sides.len());
        let mut sides = deepest.cloned().unwrap_or_default();
        if let Some(last) = sides.last_mut() {
            last.above = !last.above;
        }
        CoverError::Lost(shown(&sides))
    })
}

#[cfg(test)]
mod tests;
