//! Every hit on one word, settled for every sample (theory.md §10).
//!
//! ```text
//! dense row i:     p_i + t,          t = d z_j for every hit d on weight (i, j), t = d for its bias
//! kernel weight:   p_c + d (z at its tap, position by position)
//! ```
//! Hits that move a node along one ray are settled together. Bounds on pieces of the ray say where the property holds and where it does
//! not; hits on pieces that say neither are sorted, and bounded in halves down to single ones.
//!
//! # Guarantee
//! Rigorous. What rounding in f64 leaves open at a single hit is counted as undecided.

use super::injection::{WordHit, margin};
use super::line::{CleanPass, Line, Lines, UNIT};
use super::region::Region;
use super::{Effects, FaultError, Hit, Memory, StoredLayer, Tally};
use crate::kernels::Window;
use crate::kernels::lines::extent_of_products;
use crate::network::{Affine, Network, Read};
use crate::progress::Progress;
use crate::property::Property;
use crate::stop::Stop;
use crate::threat::LayerPerturbation;
use crate::verdict::{Clean, Reason, Samples, Verdict};
use rayon::prelude::*;
use std::collections::HashSet;

/// How often pieces of a ray are halved before single hits are looked at.
const HALVINGS: usize = 3;

/// What single hits do to one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleFaults {
    /// The network that runs, without faults.
    pub clean: Clean,
    /// Verified when no hit breaks the property.
    pub verdict: Verdict,
    /// Why it is not verified. `FormatRange`: a hit leaves no finite number.
    pub reason: Option<Reason>,
    /// Hits that break the property.
    pub breaking: u64,
    /// Hits with which the property holds, where it does not without faults.
    pub repairing: u64,
    /// Hits that are too close to call.
    pub undecided: u64,
    /// Hits that leave an infinity or NaN, which are not among the others.
    pub not_finite: u64,
    /// The first hit that breaks it, in the order of the layers and words.
    pub first: Option<BreakingHit>,
}

/// A hit that breaks a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakingHit {
    /// Number of the layer in [`Memory::layers`].
    pub layer: usize,
    /// Number of the word.
    pub word: usize,
    /// What happens to it.
    pub hit: Hit,
    /// The margin after it, by the plain forward pass.
    pub margin: f64,
}

/// Settles all hits on one word.
pub struct SingleHits<'m> {
    memory: &'m Memory,
    lines: Lines<'m>,
    property: Property,
    /// Largest magnitude of a value before a hit, and before or after it; by layer.
    largest: Vec<(f64, f64)>,
    /// How far each change moves any weight, or bias, and leaves it finite; by layer.
    reach: Vec<[Vec<f64>; 2]>,
    not_finite: u64,
    /// Where inputs move.
    region: Option<Region<'m>>,
    progress: Progress,
    stop: Stop,
}

impl<'m> SingleHits<'m> {
    /// For a property of classes.
    ///
    /// # Panics
    /// For [`Property::Deviation`].
    pub fn new(memory: &'m Memory, property: Property) -> Self {
        assert!(property != Property::Deviation, "hits are settled for properties of classes");
        let (mut largest, mut reach, mut not_finite) = (Vec::new(), Vec::new(), 0);
        for layer in memory.layers() {
            let (mut before, mut most) = (0.0_f64, 0.0_f64);
            let mut moves = [Vec::new(), Vec::new()];
            for word in 0..layer.words() {
                let (_, count) = layer.numbers_of(word);
                let of_word: &mut Vec<f64> = &mut moves[usize::from(layer.is_bias(word))];
                of_word.resize(count, 0.0);
                for (c, hit) in layer.hits_by(word, 0..count) {
                    before = before.max(hit.before.abs());
                    if hit.is_finite() {
                        most = most.max(hit.before.abs()).max(hit.after.abs());
                        of_word[c] = of_word[c].max(hit.moved().abs());
                    } else {
                        not_finite += 1;
                    }
                }
            }
            largest.push((before, most));
            reach.push(moves);
        }
        let lines = Lines::new(memory.network());
        let (progress, stop) = (Progress::default(), Stop::default());
        SingleHits { memory, lines, property, largest, reach, not_finite, region: None, progress, stop }
    }

    /// With inputs that move by at most `radius` and stay in `range`, beside the hit. Hits that break the sample where it is count as
    /// breaking, others that are not proved harmless for all of these inputs as undecided. Hits that repair are not counted.
    ///
    /// # Errors
    /// A network that is not dense.
    pub fn with_inputs(self, radius: f64, range: Option<(f64, f64)>) -> Result<Self, FaultError> {
        let region = Region::new(self.memory.network(), self.property, radius, range)?;
        Ok(SingleHits { region: Some(region), ..self })
    }

    /// Tells of every sample that is settled, and ends early: what is returned after `stop` was set must not be used.
    #[must_use]
    pub fn watched(self, progress: Progress, stop: Stop) -> Self {
        SingleHits { progress, stop, ..self }
    }

    /// The words.
    pub(super) fn memory(&self) -> &Memory {
        self.memory
    }

    /// What must hold.
    pub(super) fn property(&self) -> Property {
        self.property
    }

    /// What ends the work early.
    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Settles a batch, and adds it to `tally`.
    ///
    /// # Panics
    /// When the property is about labels and there are none.
    pub fn settle(&self, samples: Samples<'_>, tally: &Tally) -> Vec<SampleFaults> {
        let found = self.settle_each(samples).into_iter();
        found.inspect(|(_, effects)| tally.add(effects)).map(|(found, _)| found).collect()
    }

    /// Settles a batch, and tells what each hit does.
    ///
    /// # Panics
    /// When the property is about labels and there are none.
    pub fn settle_each(&self, samples: Samples<'_>) -> Vec<(SampleFaults, Effects)> {
        let width = self.memory.network().input_width();
        let inputs: Vec<&[f64]> = samples.inputs.chunks_exact(width).collect();
        let settle = |(k, x): (usize, &&[f64])| {
            let label = samples.labels.map(|labels| labels[k]);
            let found = self.sample(x, samples.first + k, label);
            self.progress.settled();
            found
        };
        inputs.par_iter().enumerate().map(settle).collect()
    }

    fn sample(&self, x: &[f64], index: usize, label: Option<u32>) -> (SampleFaults, Effects) {
        let network = self.memory.network();
        let clean_pass = clean_pass(network, x);
        let moved = self.region.as_ref().map(|region| region.pass(x, index, label));
        let outputs = &clean_pass.values[network.output()];
        let clean = Clean::of(outputs, index, label, self.property, 0.0);
        let there = self.search(&clean_pass, clean.target, HashSet::new());
        let effects = match moved {
            None => there,
            // Where it is, then everywhere.
            Some(Some(moved)) if there.holds == Some(true) => {
                self.search(&moved, clean.target, there.broken.into_iter().collect())
            }
            // Without faults it is not certified: no hit is settled.
            Some(_) => Effects { holds: there.holds.filter(|holds| !holds), ..Effects::default() },
        };
        let verdict = effects.holds;
        let first = effects.broken.iter().min().filter(|_| verdict == Some(true));
        let first = first.map(|n| self.re_run(*n, x, clean.target));
        let (verdict, reason) = match verdict {
            Some(false) => (Verdict::Falsified, Some(Reason::Misclassified)),
            None => (Verdict::Unknown, Some(self.open())),
            Some(true) if !effects.broken.is_empty() => (Verdict::Falsified, Some(Reason::Attacked)),
            Some(true) if self.not_finite > 0 => (Verdict::Falsified, Some(Reason::FormatRange)),
            Some(true) if !effects.undecided.is_empty() => (Verdict::Unknown, Some(self.open())),
            Some(true) => (Verdict::Verified, None),
        };
        let [breaking, repairing, undecided] =
            [&effects.broken, &effects.repaired, &effects.undecided].map(|hits| hits.len() as u64);
        let not_finite = self.not_finite;
        let found =
            SampleFaults { clean, verdict, reason, breaking, repairing, undecided, not_finite, first };
        (found, effects)
    }

    /// Whether the property holds without faults, and what hits do; those in `broken` are known to break it.
    fn search(&self, clean: &CleanPass, target: usize, broken: HashSet<usize>) -> Effects {
        let (scratch, found) = (self.lines.scratch(), Effects::default());
        let mut search = Search { hits: self, clean, target, scratch, holds: true, found, broken };
        let verdict = search.judge_line(self.memory.network().output());
        search.holds = verdict == Some(true);
        if verdict.is_some() {
            for layer in 0..self.memory.layers().len() {
                if !self.stop.is_set() {
                    search.layer(layer);
                }
            }
        }
        Effects { holds: verdict, ..search.found }
    }

    /// Why something is undecided.
    fn open(&self) -> Reason {
        if self.region.is_some() { Reason::BoundTooLoose } else { Reason::Precision }
    }

    /// The hit with this number, and the margin that the plain forward pass finds after it.
    fn re_run(&self, number: usize, x: &[f64], target: usize) -> BreakingHit {
        let WordHit { layer, word, hit } = self.memory.find(number).expect("the number of a hit");
        let LayerPerturbation { node, weight, bias } = self.memory.parameters_after(layer, word, &hit);
        let network = self.memory.network();
        let replaced = |n: usize| (n == node).then_some((&weight, bias.as_slice()));
        let outputs = network.evaluate(x, replaced, |_, _| {}).pop().expect("a network has nodes");
        BreakingHit { layer, word, hit, margin: margin(&outputs, target) }
    }

    /// The margin of `target` after hits on different words, by the plain forward pass of the network that is stored then, when it is
    /// proved not to be above zero.
    pub(super) fn broken_by(&self, hits: &[WordHit], x: &[f64], target: usize) -> Option<f64> {
        let network = self.memory.network_after(hits);
        let after = clean_pass(&network, x);
        let (_, upper) = self.lines.margin(&after, network.output(), target, &mut self.lines.scratch());
        (upper <= 0.0).then(|| margin(&after.values[network.output()], target))
    }

    /// Whether no hit on the memory `after` a first one breaks a sample, and one that does where there is one; `None` where that is too
    /// close to call.
    pub(super) fn second(&self, after: &Memory, x: &[f64], target: usize) -> Option<Option<WordHit>> {
        let hits = SingleHits {
            memory: after,
            lines: Lines::new(after.network()),
            property: self.property,
            // Of all words, the one that is hit included.
            largest: self.largest.clone(),
            reach: self.reach.clone(),
            not_finite: self.not_finite,
            region: None,
            progress: Progress::default(),
            stop: self.stop.clone(),
        };
        let clean = clean_pass(after.network(), x);
        let found = hits.search(&clean, target, HashSet::new());
        match (found.holds, found.broken.iter().min()) {
            (Some(true), Some(&number)) => after.find(number).map(Some),
            (Some(true), None) if found.undecided.is_empty() && !self.stop.is_set() => Some(None),
            _ => None,
        }
    }
}

/// The forward pass and its errors.
pub(super) fn clean_pass(network: &Network, x: &[f64]) -> CleanPass {
    let values = network.forward_all(x);
    let rows: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
    let by_weights = |_: usize, own: &Affine, window: Option<&Window>, (values, errors): (&[f64], &[f64])| {
        Read { weight: &own.weight, bias: &own.bias, window, values, errors }.by_weights()
    };
    let errors = network.errors(&rows, |_| true, by_weights, |_| false);
    let errors = errors.into_iter().map(|e| e.expect("all are wanted")).collect();
    CleanPass { errors, values, margin: None }
}

/// A direction in which hits move a node: elements with their coefficients, and how far these may be off.
struct Ray<'a> {
    node: usize,
    entries: &'a [(usize, f64, f64)],
}

/// A hit on a ray: how far it goes, and how far that may be off.
#[derive(Clone, Copy)]
struct Point {
    t: f64,
    error: f64,
    number: usize,
    bit: u32,
}

/// A piece of a ray, and whether the property holds on it.
struct Piece {
    from: f64,
    to: f64,
    holds: Option<bool>,
}

/// The search for one sample.
struct Search<'s, 'm> {
    hits: &'s SingleHits<'m>,
    clean: &'s CleanPass,
    target: usize,
    scratch: Vec<Line>,
    /// Whether the property holds without faults.
    holds: bool,
    found: Effects,
    /// Hits that are known to break it.
    broken: HashSet<usize>,
}

impl Search<'_, '_> {
    /// Whether the property holds while `node` moves along its line in the scratch memory.
    fn judge_line(&mut self, node: usize) -> Option<bool> {
        let (lower, upper) = self.hits.lines.margin(self.clean, node, self.target, &mut self.scratch);
        if lower > 0.0 {
            Some(true)
        } else if upper <= 0.0 {
            Some(false)
        } else {
            None
        }
    }

    /// Whether the property holds on a piece of a ray.
    fn judge(&mut self, ray: &Ray<'_>, from: f64, to: f64) -> Option<bool> {
        let line = &mut self.scratch[ray.node];
        let (mid, half) = (0.5 * (from + to), 0.5 * (to - from));
        for &(k, coefficient, off) in ray.entries {
            line.mid[k] = mid * coefficient;
            line.slope[k] = half * coefficient;
            let size = mid.abs() + half.abs();
            line.error[k] = size * off + 8.0 * UNIT * size * coefficient.abs() + f64::MIN_POSITIVE;
        }
        let holds = self.judge_line(ray.node);
        let line = &mut self.scratch[ray.node];
        for &(k, _, _) in ray.entries {
            (line.mid[k], line.slope[k], line.error[k]) = (0.0, 0.0, 0.0);
        }
        holds
    }

    /// Settles all hits on a layer.
    fn layer(&mut self, number: usize) {
        let layer = &self.hits.memory.layers()[number];
        let node = &self.hits.memory.network().nodes()[layer.node];
        let (x, errors) = (&self.clean.values[node.inputs[0]], &self.clean.errors[node.inputs[0]]);
        // Lines of layers before this one went through it.
        self.scratch[layer.node].reset(node.width());
        match node.layer.kernel_window() {
            Some(window) => {
                for channel in 0..layer.rows {
                    self.channel(number, layer, window, (x, errors), channel);
                }
            }
            None => {
                let largest = |values: &[f64]| values.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
                let most = (largest(x), largest(errors));
                for row in 0..layer.rows {
                    self.row(number, layer, (x, errors), most, row);
                }
            }
        }
    }

    /// Settles all hits on a row of a dense layer; `most` are the largest input and the largest error of one.
    fn row(
        &mut self,
        number: usize,
        layer: &StoredLayer,
        (x, errors): (&[f64], &[f64]),
        most: (f64, f64),
        row: usize,
    ) {
        let ends = |k: usize| layer.weight_ends[k].row(row);
        let (mut least, mut largest) = extent_of_products(x, ends(0), ends(1));
        // Rounding is charged below.
        let inputs_move = self.clean.margin.is_some();
        for sign in [-1.0, 1.0].into_iter().filter(|_| inputs_move) {
            let x: Vec<f64> = x.iter().zip(errors).map(|(x, e)| x + sign * e).collect();
            let (below, above) = extent_of_products(&x, ends(0), ends(1));
            (least, largest) = (least.min(below), largest.max(above));
        }
        if let (Some(&low), Some(&high)) = (layer.bias_ends[0].get(row), layer.bias_ends[1].get(row)) {
            (least, largest) = (least.min(low), largest.max(high));
        }
        if least == 0.0 && largest == 0.0 && most.1 == 0.0 {
            return;
        }
        // A change is the difference of two values.
        let (before, value) = self.hits.largest[number];
        let of_inputs = if inputs_move { 8.0 * UNIT * most.1 } else { most.1 };
        let off = 2.0 * value * of_inputs + 16.0 * UNIT * value * (most.0 + 1.0) + f64::MIN_POSITIVE;
        let (least, largest) = (least - off, largest + off);
        let entries = [(row, 1.0, 0.0)];
        let ray = Ray { node: layer.node, entries: &entries };
        // Where a ReLU behind it starts to act, and where flips of exponents, which are far apart from all others, begin.
        let kink = -self.clean.values[layer.node][row];
        let usual = 4.0 * before * most.0.max(1.0);
        let pieces = self.pieces(&ray, (least, largest), &[kink, -usual, usual]);
        if pieces.iter().all(|piece| piece.holds == Some(self.holds)) {
            return;
        }
        let unmoved = unmoved(&pieces, self.holds);
        let of_weights = (0..layer.cols).map(|j| (row * layer.cols + j, x[j], errors[j]));
        let biases = layer.words() - layer.rows * layer.cols;
        let of_bias = (biases > 0).then_some((layer.rows * layer.cols + row, 1.0, 0.0));
        let mut open = Vec::new();
        // Changes that move some word of the layer out of the piece where nothing happens: of floating-point formats only a few.
        let far = |reach: &[f64], (x, error): (f64, f64)| -> Vec<usize> {
            let stays = |d: f64| {
                let most = d * x + moved_off(d, value, x, error);
                unmoved.0 <= -most && most <= unmoved.1
            };
            (0..reach.len()).filter(|&c| !stays(reach[c])).collect()
        };
        let [of_any_weight, of_any_bias] = &self.hits.reach[number];
        let far = [far(of_any_weight, most), far(of_any_bias, (1.0, 0.0))];
        for (word, x, error) in of_weights.chain(of_bias) {
            let place = layer.place(word);
            let end = |k: usize| match place {
                (i, Some(j)) => layer.weight_ends[k][(i, j)],
                (i, None) => layer.bias_ends[k][i],
            };
            let point = |d: f64| (d * x, moved_off(d, value, x, error));
            let inside = |(t, off): (f64, f64)| unmoved.0 <= t - off && t + off <= unmoved.1;
            if inside(point(end(0))) && inside(point(end(1))) {
                continue;
            }
            let (first, _) = layer.numbers_of(word);
            let changes = far[usize::from(layer.is_bias(word))].iter().copied();
            for (c, hit) in layer.hits_by(word, changes).filter(|(_, hit)| hit.is_finite()) {
                let hit_number = first + c;
                let size = hit.before.abs().max(hit.after.abs());
                let (t, error) = (hit.moved() * x, moved_off(hit.moved(), size, x, error));
                // Most hits of a word of a floating-point format are small.
                if inside((t, error)) {
                    continue;
                }
                let point = Point { t, error, number: hit_number, bit: hit.bit };
                let piece = pieces.get(pieces.partition_point(|piece| piece.to < t + error));
                let piece = piece.filter(|piece| piece.from <= t - error && t + error <= piece.to);
                match piece.and_then(|piece| piece.holds) {
                    Some(holds) => self.record(number, &point, Some(holds)),
                    None => open.push(point),
                }
            }
        }
        self.settle_points(number, &ray, open);
    }

    /// Settles all hits on the kernel of one channel: all of them together, else word by word.
    fn channel(
        &mut self,
        number: usize,
        layer: &StoredLayer,
        window: &Window,
        (x, errors): (&[f64], &[f64]),
        channel: usize,
    ) {
        let positions = window.positions();
        let source = |column: usize, position: usize| window.element(channel, column, position);
        let (_, value) = self.hits.largest[number];
        let bias = |k: usize| layer.bias_ends[k].get(channel).copied().unwrap_or(0.0);
        let mut box_of: Vec<(f64, f64)> = vec![(bias(0), bias(1)); positions];
        for column in 0..layer.cols {
            let end = |k: usize| layer.weight_ends[k][(channel, column)];
            for (position, ends) in box_of.iter_mut().enumerate() {
                let Some(k) = source(column, position) else { continue };
                for d in [end(0), end(1)] {
                    let (t, off) = (d * x[k], moved_off(d, value, x[k], errors[k]));
                    *ends = (ends.0.min(t - off), ends.1.max(t + off));
                }
            }
        }
        let line = &mut self.scratch[layer.node];
        for (position, (low, high)) in box_of.iter().enumerate() {
            let k = channel * positions + position;
            line.mid[k] = 0.5 * (low + high);
            line.error[k] = 0.5 * (high - low) + 8.0 * UNIT * (low.abs() + high.abs());
        }
        let together = self.judge_line(layer.node);
        let line = &mut self.scratch[layer.node];
        for k in channel * positions..(channel + 1) * positions {
            (line.mid[k], line.error[k]) = (0.0, 0.0);
        }
        if together == Some(self.holds) {
            return;
        }
        let biases = layer.words() - layer.rows * layer.cols;
        let of_bias = (biases > 0).then_some((layer.rows * layer.cols + channel, None));
        let of_weights = (0..layer.cols).map(|column| (channel * layer.cols + column, Some(column)));
        for (word, column) in of_weights.chain(of_bias) {
            let entry = |position: usize| {
                let k = channel * positions + position;
                match column {
                    None => Some((k, 1.0, 0.0)),
                    Some(column) => source(column, position).map(|s| (k, x[s], errors[s])),
                }
            };
            let moves = |entry: &(usize, f64, f64)| entry.1 != 0.0 || entry.2 != 0.0;
            let entries: Vec<(usize, f64, f64)> = (0..positions).filter_map(entry).filter(moves).collect();
            if entries.is_empty() {
                continue;
            }
            let point = |(number, hit): (usize, Hit)| {
                let error = 4.0 * UNIT * hit.before.abs().max(hit.after.abs());
                Point { t: hit.moved(), error, number, bit: hit.bit }
            };
            let points: Vec<Point> =
                layer.hits_on(word).filter(|(_, hit)| hit.is_finite()).map(point).collect();
            let ray = Ray { node: layer.node, entries: &entries };
            self.settle_points(number, &ray, points);
        }
    }

    /// Pieces of a ray between two numbers, in order, each with what is known of it. A piece is cut at zero and at `cuts`.
    fn pieces(&mut self, ray: &Ray<'_>, (from, to): (f64, f64), cuts: &[f64]) -> Vec<Piece> {
        let mut cuts: Vec<f64> = cuts.iter().map(|cut| cut.clamp(from, to)).collect();
        cuts.extend([from, 0.0, to]);
        cuts.sort_by(f64::total_cmp);
        cuts.dedup();
        let mut pieces = Vec::new();
        for pair in cuts.windows(2) {
            self.halve(ray, (pair[0], pair[1]), HALVINGS, &mut pieces);
        }
        pieces
    }

    fn halve(&mut self, ray: &Ray<'_>, (from, to): (f64, f64), halvings: usize, pieces: &mut Vec<Piece>) {
        let holds = self.judge(ray, from, to);
        if holds.is_some() || halvings == 0 {
            // Neighbours of one kind are one piece.
            if let Some(last) = pieces.last_mut().filter(|last| last.holds == holds && last.to == from) {
                last.to = to;
            } else {
                pieces.push(Piece { from, to, holds });
            }
            return;
        }
        let middle = middle(from, to);
        self.halve(ray, (from, middle), halvings - 1, pieces);
        self.halve(ray, (middle, to), halvings - 1, pieces);
    }

    /// Settles hits on a ray: sorted, then halves of them until each is decided.
    fn settle_points(&mut self, layer: usize, ray: &Ray<'_>, mut points: Vec<Point>) {
        points.sort_by(|a, b| a.t.total_cmp(&b.t).then(a.number.cmp(&b.number)));
        self.settle_sorted(layer, ray, &points);
    }

    fn settle_sorted(&mut self, layer: usize, ray: &Ray<'_>, points: &[Point]) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let off = points.iter().fold(0.0_f64, |most, point| most.max(point.error));
        let holds = self.judge(ray, (first.t - off).next_down(), (last.t + off).next_up());
        if holds.is_some() || points.len() == 1 {
            points.iter().for_each(|point| self.record(layer, point, holds));
            return;
        }
        let (left, right) = points.split_at(points.len() / 2);
        self.settle_sorted(layer, ray, left);
        self.settle_sorted(layer, ray, right);
    }

    /// Notes that the property holds after a hit, or does not.
    fn record(&mut self, layer: usize, point: &Point, holds: Option<bool>) {
        if holds == Some(self.holds) {
            return;
        }
        let holds = if self.broken.contains(&point.number) { Some(false) } else { holds };
        let found = &mut self.found;
        let numbers = match holds {
            Some(true) => &mut found.repaired,
            Some(false) => &mut found.broken,
            None => &mut found.undecided,
        };
        numbers.push(point.number);
        if self.holds && !found.cells.contains(&(layer, point.bit)) {
            found.cells.push((layer, point.bit));
        }
    }
}

/// Where a piece of a ray is cut: in the middle, or where magnitudes are, when these differ much. Words of floating-point formats move
/// by anything from almost nothing to 10³⁸.
fn middle(from: f64, to: f64) -> f64 {
    let (small, large) = (from.abs().min(to.abs()).max(1.0), from.abs().max(to.abs()));
    if from * to < 0.0 || large < 16.0 * small {
        return 0.5 * (from + to);
    }
    let middle = small.sqrt() * large.sqrt();
    if to > 0.0 { middle } else { -middle }
}

/// How far the product of a change `d` and an input may be off: the change is the difference of two values of at most `value`.
fn moved_off(d: f64, value: f64, x: f64, error: f64) -> f64 {
    if x == 0.0 && error == 0.0 {
        return 0.0;
    }
    d.abs() * error * (1.0 + 8.0 * UNIT)
        + 4.0 * UNIT * (value * (x.abs() + error) + (d * x).abs())
        + f64::MIN_POSITIVE
}

/// The largest piece around zero on which nothing changes; empty when there is none.
fn unmoved(pieces: &[Piece], holds: bool) -> (f64, f64) {
    let (mut from, mut to) = (0.0, 0.0);
    for piece in pieces.iter().filter(|piece| piece.holds == Some(holds)) {
        if piece.from <= 0.0 && piece.to >= 0.0 {
            (from, to) = (piece.from.min(from), piece.to.max(to));
        }
    }
    (from, to)
}
