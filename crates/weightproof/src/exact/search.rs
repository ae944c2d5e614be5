//! Branch and bound over the trees of a group of samples, many domains at a time.
//!
//! ```text
//! round    from every open sample the domains with the least bounds → both sides of their splits → bounds, in parallel
//!          what a relaxation takes for the worst case → tried as an attack → smaller found margin
//! ends     no domain is open (verified), a checked margin breaks the property (falsified), or a limit is reached (unknown)
//! ```

use super::cover::{Region, RowLower, Side};
use super::leaf::{self, Solution};
use super::program::Program;
use super::{Budget, ExactOptions};
use crate::attack::{Pointer, SampleAttack, Suggestions};
use crate::bounds::{Bounded, Branch, Domain, Domains, OpenRow, Prepared, Root, SubDomain};
use crate::certify::CleanBlock;
use crate::evidence::{DomainEvidence, SplitEvidence};
use crate::kernels::Scalar;
use crate::property::SpecRow;
use crate::verdict::{Reason, Verdict};
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// Most domains that a round splits, over all samples of a group.
const ROUND: usize = 64;
/// The same where the programs of all of them are solved: each takes as long as many bounds, and limits are looked at between rounds.
const PROGRAMS: usize = 16;
/// How far below its goal a bound may be, as a part of the unperturbed margin, for the program of its domain to be solved before it is
/// split. Farther away many splits are needed anyway, and bounds are cheaper.
const NEAR: f64 = 0.25;
/// Domains that a split makes.
const SIDES: usize = 2;
/// A found margin that is better by less than this part is not worth a check.
const WORTH_A_CHECK: f64 = 1e-3;

/// One sample to be settled.
pub(super) struct Question<T> {
    /// Rows of its specification.
    pub rows: Vec<SpecRow>,
    /// By row, the constant of the property, zero for classes: a row is proved when its lower bound plus this is above zero.
    pub offsets: Vec<T>,
    /// Proved lower bound of every row, from the method that came first.
    pub lower: Vec<T>,
    /// The worst margin that the attack found.
    pub found: SampleAttack,
    /// Where the search starts.
    pub start: Start<T>,
}

/// Where the search of a sample starts.
pub(super) enum Start<T> {
    /// From the whole set.
    Whole,
    /// From the domains that the search of a larger set left open.
    Paused(Paused<T>),
    /// From regions of the set; nothing is said about the others.
    Regions(Vec<Region>),
}

/// A search that was stopped: what it has proved, and the domains that are open. Both hold in every smaller set.
#[derive(Clone)]
pub(crate) struct Paused<T> {
    /// Proved lower bound of every row outside of the open domains.
    lower: Vec<T>,
    open: Vec<Domain<T>>,
}

/// The result of a search for one sample.
pub(super) struct Answer<T> {
    /// Proved lower bound of every row.
    pub lower: Vec<T>,
    /// The worst margin that was found.
    pub found: SampleAttack,
    /// Why the sample is not settled; `None` where it is.
    pub reason: Option<Reason>,
    /// Number of domains that were bounded.
    pub nodes: usize,
    /// Processor time: its share where domains of several samples were bounded together.
    pub time: Duration,
    /// Where it was stopped, if that was asked for and every part of the set is proved or in an open domain.
    pub left: Option<Paused<T>>,
    /// The proof as a tree of domains, if it was asked for; complete when no row is open.
    pub evidence: Vec<DomainEvidence>,
    /// The regions of all leaves, if they were asked for. Then `lower` is about those that are proved.
    pub regions: Vec<Region>,
}

/// What a search is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To settle samples.
    Settle,
    /// To settle them, and to tell where it was stopped: a smaller set goes on from there.
    Descend,
    /// To write down a proof of samples that are settled.
    Prove,
    /// To settle regions, and to tell which are open when it is stopped: other searches go on with them.
    Divide,
}

/// The branch and bound tree of one sample.
struct Tree<T> {
    /// Domains that are neither proved nor split.
    open: Vec<Domain<T>>,
    /// Bytes that they take.
    bytes: usize,
    offsets: Vec<T>,
    /// Whether the regions of leaves are told.
    divides: bool,
    answer: Answer<T>,
}

impl<T: Scalar> Tree<T> {
    /// The least lower bound of the open rows of a domain, offsets added. NaN counts as the least.
    fn value(&self, domain: &Domain<T>) -> T {
        let rows = domain.open.iter().map(|open| open.lower + self.offsets[open.k]);
        rows.fold(T::infinity(), |least, value| if value >= least { least } else { value })
    }

    /// The number above which a bound, offset added, settles its row: zero, or as far below the worst margin found as the gap allows.
    fn level(&self, gap: Option<f64>) -> T {
        let found = self.answer.found.worst_margin;
        T::from_f64(match gap {
            Some(gap) if found > 0.0 => (found - gap).max(0.0),
            Some(gap) => found - gap,
            None => 0.0,
        })
    }

    /// The rows that bounds of the whole set do not prove; those of the others count for the tree.
    fn unproved(&mut self, (rows, lower): (&[SpecRow], &[T]), gap: Option<f64>) -> Vec<OpenRow<T>> {
        let level = self.level(gap);
        let mut unproved = Vec::new();
        for (k, (&row, &lower)) in rows.iter().zip(lower).enumerate() {
            if lower + self.offsets[k] > level {
                self.lower_to(k, lower);
            } else {
                unproved.push(OpenRow { k, row, lower });
            }
        }
        unproved
    }

    /// Lowers the bound of row `k` in the whole tree to `lower`, which holds in a part of it. NaN stays.
    fn lower_to(&mut self, k: usize, lower: T) {
        let least = &mut self.answer.lower[k];
        if !(lower >= *least) {
            *least = lower;
        }
    }

    /// Leaves a domain without splitting it further: its own bounds count for the tree.
    fn give_up(&mut self, domain: &Domain<T>) {
        domain.open.iter().for_each(|open| self.lower_to(open.k, open.lower));
    }

    /// Leaves a domain whose rows are all proved.
    fn settle(&mut self, domain: &Domain<T>) {
        self.give_up(domain);
        self.tell_proved(|| domain.sides.clone());
    }

    /// Leaves a domain in which nothing is left to split.
    fn exhaust(&mut self, domain: &Domain<T>) {
        self.leave(domain, true);
        self.answer.reason = Some(Reason::Incomplete);
    }

    /// Leaves a domain that is not proved: its bounds count for its region where regions are told, else for the tree.
    fn leave(&mut self, domain: &Domain<T>, exhausted: bool) {
        if !self.divides {
            return self.give_up(domain);
        }
        let open = domain.open.iter().map(|open| RowLower::new(open.k, open.lower.to_f64()));
        let (sides, open) = (domain.sides.clone(), Some(open.collect()));
        self.answer.regions.push(Region { sides, open, exhausted });
    }

    /// Tells of a region that is proved, where regions are told.
    fn tell_proved(&mut self, sides: impl FnOnce() -> Vec<Side>) {
        if self.divides {
            self.answer.regions.push(Region::proved(sides()));
        }
    }

    /// Ends the search for `reason`: open domains are left unsplit, and with `keep` handed on to the search of a smaller set.
    fn stop(&mut self, reason: Option<Reason>, keep: bool) {
        let (lower, open) = (self.answer.lower.clone(), std::mem::take(&mut self.open));
        let keep = keep && !open.is_empty() && self.answer.reason.is_none();
        for domain in &open {
            self.leave(domain, false);
            // Regions that are exhausted say so themselves.
            let before = self.answer.reason.filter(|_| !self.divides);
            self.answer.reason = before.or(reason);
        }
        if keep {
            self.answer.left = Some(Paused { lower, open });
        }
        self.bytes = 0;
    }

    fn push(&mut self, domain: Domain<T>) {
        self.bytes += domain.bytes();
        self.open.push(domain);
    }

    fn is_broken(&self) -> bool {
        self.answer.found.verdict == Verdict::Falsified
    }

    /// Adds the evidence of a domain to the proof; returns its number there.
    fn record(&mut self, origin: &Origin<T>, shown: DomainEvidence) -> usize {
        let evidence = &mut self.answer.evidence;
        let number = evidence.len();
        if let Some((Branch { node, element, value }, above)) = origin.side {
            let split = evidence[origin.record].split.get_or_insert(SplitEvidence {
                node,
                element,
                value: value.to_f64(),
                parts: [number; 2],
            });
            split.parts[usize::from(above)] = number;
        } else if number > 0 {
            // The same domain, bounded again.
            evidence[origin.record].rows.extend(shown.rows);
            return origin.record;
        }
        evidence.push(shown);
        number
    }
}

/// Where a domain that was bounded comes from.
struct Origin<T> {
    sample: usize,
    /// The number of its parent in the evidence of the tree.
    record: usize,
    /// The split of its parent, and whether it is the part above; of a root and of a domain that is bounded again there is none.
    side: Option<(Branch<T>, bool)>,
    /// Where it lies, if regions are told.
    sides: Vec<Side>,
}

/// A row of a region; where it has no bound, −∞ is one.
fn open_row<T: Scalar>(open: &RowLower, rows: &[SpecRow]) -> OpenRow<T> {
    OpenRow { k: open.row, row: rows[open.row], lower: T::from_f64_down(open.number()) }
}

/// Variables of an attack.
type Units = Vec<Vec<f32>>;

/// A search over the trees of some samples.
pub(super) struct Search<'a, 'n, T> {
    domains: Domains<'a, T>,
    suggestions: Suggestions<'a, 'n, T>,
    options: &'a ExactOptions,
    purpose: Purpose,
    /// Whether the linear program of a domain is solved before it is split.
    programs_first: bool,
    trees: Vec<Tree<T>>,
}

impl<'a, 'n, T: Scalar> Search<'a, 'n, T> {
    /// `clean`: the unperturbed network on the samples of `questions`, which `suggestions` attacks.
    pub fn new(
        prepared: &'a Prepared<'a, T>,
        clean: &'a CleanBlock<T>,
        suggestions: Suggestions<'a, 'n, T>,
        options: &'a ExactOptions,
        (questions, purpose): (Vec<Question<T>>, Purpose),
    ) -> Self {
        let records = purpose == Purpose::Prove;
        let fixed = clean.enclosed(prepared);
        let domains = Domains::new(prepared, &clean.values, fixed, options.branching, records);
        let programs_first = !records && leaf::pays(prepared.model.network);
        let divides = purpose == Purpose::Divide;
        let mut search = Search { domains, suggestions, options, purpose, programs_first, trees: Vec::new() };
        let mut open = Vec::new();
        for (s, Question { rows, offsets, lower, found, start }) in questions.into_iter().enumerate() {
            let unknown = vec![T::infinity(); rows.len()];
            let answer = Answer {
                lower: unknown,
                found,
                reason: None,
                nodes: 0,
                time: Duration::ZERO,
                left: None,
                evidence: Vec::new(),
                regions: Vec::new(),
            };
            let mut tree = Tree { open: Vec::new(), bytes: 0, offsets, divides, answer };
            match start {
                Start::Whole => {
                    let unproved = tree.unproved((&rows, &lower), options.gap);
                    if !unproved.is_empty() {
                        open.push((s, unproved));
                    }
                }
                Start::Paused(Paused { lower, open }) => {
                    tree.answer.lower = lower;
                    let root = search.domains.roots(vec![(s, Vec::new())]).swap_remove(0);
                    search.domains.reopened(&root, open).into_iter().for_each(|domain| tree.push(domain));
                }
                Start::Regions(regions) => {
                    let root = search.domains.roots(vec![(s, Vec::new())]).swap_remove(0);
                    for region in regions {
                        let unproved = match &region.open {
                            None => tree.unproved((&rows, &lower), options.gap),
                            Some(open) => open.iter().map(|open| open_row(open, &rows)).collect(),
                        };
                        if unproved.is_empty() {
                            tree.tell_proved(|| region.sides);
                        } else {
                            tree.push(search.domains.within(&root, &region.sides, unproved));
                        }
                    }
                }
            }
            search.trees.push(tree);
        }
        search.plant(&open);
        search
    }

    /// Bounds the roots.
    fn plant(&mut self, open: &[Root<T>]) {
        let chunks: Vec<&[Root<T>]> = open.chunks(self.domains.together()).collect();
        let bounded = chunks
            .par_iter()
            .map(|chunk| {
                timed(|| {
                    let roots = self.domains.roots(chunk.to_vec());
                    let parts: Vec<SubDomain<'_, T>> =
                        roots.iter().map(|of| SubDomain { of, side: None }).collect();
                    self.domains.bound(&parts, |s, k| self.aim(s, k))
                })
            })
            .collect();
        let origins: Vec<Origin<T>> = open
            .iter()
            .map(|(s, _)| Origin { sample: *s, record: 0, side: None, sides: Vec::new() })
            .collect();
        self.take(bounded, &origins);
    }

    /// Runs until every sample is settled or a limit is reached.
    pub fn run(mut self) -> Vec<Answer<T>> {
        loop {
            self.check_limits();
            let (picked, leaves) = self.pick();
            if picked.is_empty() && leaves.is_empty() {
                return self.trees.into_iter().map(|tree| tree.answer).collect();
            }
            self.solve(leaves);
            let parts: Vec<SubDomain<'_, T>> = picked
                .iter()
                .flat_map(|of| match of.branch {
                    Some(branch) => vec![
                        SubDomain { of, side: Some((branch, false)) },
                        SubDomain { of, side: Some((branch, true)) },
                    ],
                    None => vec![SubDomain { of, side: None }],
                })
                .collect();
            let chunks: Vec<&[SubDomain<'_, T>]> = parts.chunks(self.domains.together()).collect();
            let bounded = chunks
                .par_iter()
                .map(|chunk| timed(|| self.domains.bound(chunk, |s, k| self.aim(s, k))))
                .collect();
            let origin = |part: &SubDomain<'_, T>| Origin {
                sample: part.of.sample,
                record: part.of.record,
                side: part.side,
                sides: if self.purpose == Purpose::Divide { part.sides() } else { Vec::new() },
            };
            let origins: Vec<Origin<T>> = parts.iter().map(origin).collect();
            self.take(bounded, &origins);
        }
    }

    /// The bound above which row `k` of sample `s` is proved.
    fn aim(&self, s: usize, k: usize) -> T {
        let tree = &self.trees[s];
        tree.level(self.options.gap) - tree.offsets[k]
    }

    /// Stops the trees that are settled or at a limit.
    fn check_limits(&mut self) {
        let Budget { time, nodes, bytes, .. } = self.options.budget;
        let (ended, keep) = (self.options.ended(), self.purpose == Purpose::Descend);
        let share = bytes.map(|bytes| bytes / rayon::current_num_threads().max(1));
        for tree in &mut self.trees {
            if tree.is_broken() && self.options.gap.is_none() {
                tree.stop(None, keep);
            } else if ended.is_some() {
                tree.stop(ended, false);
            } else if time.is_some_and(|time| tree.answer.time >= time) {
                tree.stop(Some(Reason::TimeLimit), keep);
            } else if nodes.is_some_and(|nodes| tree.answer.nodes + SIDES > nodes) {
                tree.stop(Some(Reason::NodeLimit), keep);
            }
        }
        // The largest trees go until the others fit.
        while share.is_some_and(|share| self.trees.iter().map(|tree| tree.bytes).sum::<usize>() > share) {
            let largest = self.trees.iter_mut().reduce(|a, b| if b.bytes > a.bytes { b } else { a });
            largest.expect("a tree takes memory").stop(Some(Reason::MemoryLimit), false);
        }
    }

    /// Takes the domains with the least bounds from every open tree: those to be bounded again, and those that no split or
    /// ascent improves.
    fn pick(&mut self) -> (Vec<Domain<T>>, Vec<Domain<T>>) {
        let open = self.trees.iter().filter(|tree| !tree.open.is_empty()).count();
        let round = if self.programs_first { PROGRAMS } else { ROUND };
        let each = (round / open.max(1)).max(1);
        let most = self.options.budget.nodes.unwrap_or(usize::MAX);
        let (mut picked, mut leaves) = (Vec::new(), Vec::new());
        for tree in &mut self.trees {
            let mut open: Vec<(T, Domain<T>)> = std::mem::take(&mut tree.open)
                .into_iter()
                .map(|domain| (tree.value(&domain), domain))
                .collect();
            open.sort_by(|a, b| b.0.to_f64().total_cmp(&a.0.to_f64()));
            let level = tree.level(self.options.gap);
            let mut taken = 0;
            let each = each.min(most.saturating_sub(tree.answer.nodes) / SIDES);
            while taken < each {
                let Some((value, domain)) = open.pop() else { break };
                tree.bytes -= domain.bytes();
                // A smaller margin that was found since lowers the level.
                if value > level {
                    tree.settle(&domain);
                    continue;
                }
                taken += 1;
                let is_leaf = domain.branch.is_none() && domain.converged;
                let is_near = (level - value).to_f64() <= NEAR * tree.answer.found.clean.margin;
                if !domain.solved && (is_leaf || (self.programs_first && is_near && domain.branch.is_some()))
                {
                    leaves.push(domain);
                } else {
                    picked.push(domain);
                }
            }
            tree.open = open.into_iter().map(|(_, domain)| domain).collect();
        }
        (picked, leaves)
    }

    /// Solves the linear programs of domains that no split improves. They are proved, or a neuron is found where the program
    /// leaves the network, or its minimum is a point of the network. What has no program is given up.
    fn solve(&mut self, leaves: Vec<Domain<T>>) {
        let solved: Vec<(Domain<T>, Option<Units>, Duration)> = leaves
            .into_par_iter()
            .map(|mut domain| {
                let (units, time) = timed(|| self.solve_one(&mut domain));
                domain.solved = true;
                (domain, units, time)
            })
            .collect();
        for (domain, units, time) in solved {
            let s = domain.sample;
            self.trees[s].answer.time += time;
            let Some(units) = units else {
                if domain.branch.is_some() {
                    self.trees[s].push(domain);
                    continue;
                }
                self.trees[s].exhaust(&domain);
                continue;
            };
            let found = self.suggestions.check(s, units);
            let tree = &mut self.trees[s];
            if found.worst_margin < tree.answer.found.worst_margin {
                tree.answer.found = found;
            }
            let level = tree.level(self.options.gap);
            if tree.value(&domain) > level {
                tree.settle(&domain);
            } else if tree.is_broken() && self.options.gap.is_none() {
                // The search ends here, and what it leaves has this domain.
                tree.push(domain);
            } else if domain.branch.is_none() {
                tree.exhaust(&domain);
            } else {
                tree.push(domain);
            }
        }
    }

    /// Raises the bounds of a domain to the minima of its programs, and finds its split and the point of the least one.
    fn solve_one(&self, domain: &mut Domain<T>) -> Option<Units> {
        let prepared = self.domains.prepared();
        let boxes = self.domains.boxes_of(domain);
        let ends = |node: usize, k: usize| (boxes[node].0[k].to_f64(), boxes[node].1[k].to_f64());
        let x = self.suggestions.input(domain.sample);
        let mut least: Option<Solution> = None;
        for open in &mut domain.open {
            let program =
                Program::new(prepared.model.network, &prepared.radii.set, x, ends, open.row).ok()?;
            let solution = leaf::solve(&program)?;
            let proved = T::from_f64_down(solution.lower);
            // The multipliers of a program are no evidence: the domain is split.
            if proved > open.lower && self.purpose != Purpose::Prove {
                open.lower = proved;
            }
            if least.as_ref().is_none_or(|least| solution.lower < least.lower) {
                least = Some(solution);
            }
        }
        let Solution { mut values, worth, .. } = least?;
        self.domains.lead_to(&boxes, &mut values);
        domain.branch = self.domains.violated(&boxes, &values, &worth).or(domain.branch);
        Some(self.suggestions.towards(domain.sample, &values))
    }

    /// Takes what a round gave, and the time of each of its pieces, into the trees; `origins` are those of all parts that were
    /// bounded.
    fn take(&mut self, bounded: Vec<(Bounded<T>, Duration)>, origins: &[Origin<T>]) {
        for (origins, (mut bounded, time)) in origins.chunks(self.domains.together()).zip(bounded) {
            for origin in origins {
                let answer = &mut self.trees[origin.sample].answer;
                answer.nodes += 1;
                answer.time += time / origins.len() as u32;
            }
            // Evidence is recorded of every part, or of none.
            let shown = std::mem::take(&mut bounded.evidence).into_iter().zip(origins);
            let records: Vec<usize> =
                shown.map(|(shown, origin)| self.trees[origin.sample].record(origin, shown)).collect();
            for (domain, part) in bounded.open.iter_mut().zip(&bounded.parts) {
                domain.record = records.get(*part).copied().unwrap_or(0);
            }
            for &(s, k, lower) in &bounded.proved {
                self.trees[s].lower_to(k, lower);
            }
            for (_, origin) in origins.iter().enumerate().filter(|(part, _)| !bounded.parts.contains(part)) {
                self.trees[origin.sample].tell_proved(|| origin.sides.clone());
            }
            self.attack(&bounded);
            for domain in bounded.open {
                self.trees[domain.sample].push(domain);
            }
        }
    }

    /// Tries the worst cases of the relaxations.
    fn attack(&mut self, bounded: &Bounded<T>) {
        let pointer =
            |(d, &row): (&Domain<T>, &usize)| Pointer { sample: d.sample, row, goal: d.worst().row };
        let of: Vec<Pointer> = bounded.open.iter().zip(&bounded.worst).map(pointer).collect();
        if of.is_empty() {
            return;
        }
        for (tried, Pointer { sample: s, .. }) in
            self.suggestions.follow(&bounded.tape, &of).into_iter().zip(of)
        {
            let tree = &mut self.trees[s];
            let (margin, best) = (tried.margin.to_f64(), tree.answer.found.worst_margin);
            let better = self.options.gap.is_some() && margin < best - WORTH_A_CHECK * best.abs();
            if better || (tried.broken && !tree.is_broken()) {
                let found = self.suggestions.check(s, tried.units);
                if found.worst_margin < best {
                    tree.answer.found = found;
                }
            }
        }
    }
}

/// What `work` gives, and how long it took. Around work of one thread only: a thread that waits for others may do
/// something for another sample meanwhile.
fn timed<R>(work: impl FnOnce() -> R) -> (R, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}
