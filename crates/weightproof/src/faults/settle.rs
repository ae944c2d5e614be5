//! The search that settles all hits on one word for one sample.
//!
//! ```text
//! dense row i:     p_i + t,          t = d z_j for every hit d on weight (i, j), t = d for its bias
//! kernel weight:   p_c + d (z at its tap, position by position)
//! ```
//! Hits that move a node along one ray are settled together. Bounds on pieces of the ray say where the property holds and where it does
//! not. Hits that are left open are sorted along their ray and bounded together, then in parts, down to single ones. Of a kernel all
//! hits of a channel are bounded together first, then all but the furthest ones of each word. Pieces of many rays are bounded at once: they share
//! the weights of the layers behind.
//!
//! # Guarantee
//! Rigorous: a hit is settled by bounds that hold for it.

use super::line::{Bundle, CleanPass, UNIT};
use super::met::{Kernels, Met, SET_APART};
use super::single::SingleHits;
use super::{Effects, Hit};
use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

/// How often pieces of a ray are halved before single hits are looked at.
const HALVINGS: usize = 3;
/// Pieces that are bounded at once.
const LINES: usize = 16;

/// A direction in which hits move a node: elements with their coefficients, and how far these may be off.
type Ray = Rc<[(usize, f64, f64)]>;

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

/// Some neighbours among the hits on a ray, sorted, that are not settled yet.
struct Open {
    ray: Ray,
    points: Rc<[Point]>,
    range: Range<usize>,
}

/// The search for one sample.
pub(super) struct Search<'s, 'm> {
    hits: &'s SingleHits<'m>,
    clean: &'s CleanPass,
    target: usize,
    scratch: Vec<Bundle>,
    /// Whether the property holds without faults.
    holds: bool,
    found: Effects,
    /// Hits that are known to break it.
    broken: HashSet<usize>,
    /// Hits that are to be settled, all of one layer.
    open: Vec<Open>,
}

impl<'s, 'm> Search<'s, 'm> {
    /// Whether the property holds without faults, and what hits do; those in `broken` are known to break it.
    pub fn run(
        hits: &'s SingleHits<'m>,
        clean: &'s CleanPass,
        target: usize,
        broken: HashSet<usize>,
    ) -> Effects {
        let (scratch, found) = (hits.lines().scratch(), Effects::default());
        let mut search =
            Search { hits, clean, target, scratch, holds: true, found, broken, open: Vec::new() };
        let verdict = search.judge(hits.memory().network().output())[0];
        search.holds = verdict == Some(true);
        if verdict.is_some() {
            for layer in 0..hits.memory().layers().len() {
                if !hits.stop().is_set() {
                    search.layer(layer);
                }
            }
        }
        Effects { holds: verdict, ..search.found }
    }

    /// Whether the property holds while `node` moves along each of its lines in the scratch memory.
    fn judge(&mut self, node: usize) -> Vec<Option<bool>> {
        let margins = self.hits.lines().margins(self.clean, node, self.target, &mut self.scratch);
        margins.into_iter().map(judged).collect()
    }

    /// Whether the property holds on pieces of rays of a node.
    fn judge_pieces(&mut self, node: usize, pieces: &[(&Ray, f64, f64)]) -> Vec<Option<bool>> {
        let mut found = Vec::with_capacity(pieces.len());
        for pieces in pieces.chunks(LINES) {
            let bundle = &mut self.scratch[node];
            bundle.resize(pieces.len());
            for (line, &(ray, from, to)) in pieces.iter().enumerate() {
                let (mid, half) = (0.5 * (from + to), 0.5 * (to - from));
                let size = mid.abs() + half.abs();
                let [mids, slopes, errors] = bundle.line_mut(line);
                for &(k, coefficient, off) in ray.iter() {
                    mids[k] = mid * coefficient;
                    slopes[k] = half * coefficient;
                    errors[k] = size * off + 8.0 * UNIT * size * coefficient.abs() + f64::MIN_POSITIVE;
                }
            }
            found.extend(self.judge(node));
            for (line, (ray, _, _)) in pieces.iter().enumerate() {
                let [mids, slopes, errors] = self.scratch[node].line_mut(line);
                for &(k, _, _) in ray.iter() {
                    (mids[k], slopes[k], errors[k]) = (0.0, 0.0, 0.0);
                }
            }
        }
        found
    }

    /// Settles all hits on a layer.
    fn layer(&mut self, number: usize) {
        let (clean, hits) = (self.clean, self.hits);
        let layer = &hits.memory().layers()[number];
        let node = &hits.memory().network().nodes()[layer.node];
        let (x, errors) = (&clean.values[node.inputs[0]], &clean.errors[node.inputs[0]]);
        let met = Met::new(number, layer, (x, errors), hits.bounds(number));
        // Lines of layers before this one went through it.
        self.scratch[layer.node].reset(1, node.width());
        match node.layer.kernel_window() {
            Some(window) => {
                for group in 0..window.groups {
                    let own = group * window.group_outputs()..(group + 1) * window.group_outputs();
                    self.channels(&Kernels::new(&met, window, group), own.collect());
                    self.settle(&met, 1);
                }
            }
            None => {
                for row in 0..layer.rows {
                    self.row(&met, row);
                    self.settle(&met, LINES);
                }
            }
        }
        self.settle(&met, 1);
    }

    /// Settles all hits on a row of a dense layer, but for those that it leaves open.
    fn row(&mut self, met: &Met<'_>, row: usize) {
        let (layer, node) = (met.layer, met.layer.node);
        let Some((least, largest)) = met.extent(row) else { return };
        let ray: Ray = [(row, 1.0, 0.0)].into();
        // Where a ReLU behind it starts to act, and where flips of exponents, which are far apart from all others, begin.
        let kink = -self.clean.values[node][row];
        let usual = 4.0 * met.bounds.before * met.most.0.max(1.0);
        let pieces = self.pieces(node, &ray, (least, largest), kink, usual);
        if pieces.iter().all(|piece| piece.holds == Some(self.holds)) {
            return;
        }
        let unmoved = unmoved(&pieces, self.holds);
        let inside = |(t, off): (f64, f64)| unmoved.0 <= t - off && t + off <= unmoved.1;
        // Nothing that moves less than this changes anything.
        let near = unmoved.1.min(-unmoved.0);
        let mut open = Vec::new();
        for (word, [low, high], input) in met.of_row(row) {
            if inside(met.moved(low, input)) && inside(met.moved(high, input)) {
                continue;
            }
            for (number, hit) in layer.furthest_first(word) {
                let (t, error) = met.moved(hit.moved(), input);
                if t.abs() + error <= near {
                    break;
                }
                if inside((t, error)) {
                    continue;
                }
                let point = Point { t, error, number, bit: hit.bit };
                let piece = pieces.get(pieces.partition_point(|piece| piece.to < t + error));
                let piece = piece.filter(|piece| piece.from <= t - error && t + error <= piece.to);
                match piece.and_then(|piece| piece.holds) {
                    Some(holds) => self.record(met.number, &point, Some(holds)),
                    None => open.push(point),
                }
            }
        }
        self.open(&ray, open);
    }

    /// Settles all hits on kernels: of each channel together, then all but the furthest hits of each word, then those one by one.
    fn channels(&mut self, kernels: &Kernels<'_>, channels: Vec<usize>) {
        let mut left = channels;
        for apart in 0..=SET_APART {
            let hulls: Vec<_> = left.iter().map(|&c| kernels.hull(c, apart)).collect();
            let held = self.judge_hulls(kernels.met.layer.node, &left, &hulls);
            let mut still = Vec::new();
            for (channel, held) in left.into_iter().zip(held) {
                match held == Some(self.holds) {
                    true if apart == 0 => {}
                    true => self.channel(kernels, channel, apart),
                    false => still.push(channel),
                }
            }
            left = still;
        }
        left.into_iter().for_each(|channel| self.channel(kernels, channel, usize::MAX));
    }

    /// Whether the property holds while all elements of a channel move in a box; for each channel.
    fn judge_hulls(
        &mut self,
        node: usize,
        channels: &[usize],
        hulls: &[Vec<(f64, f64)>],
    ) -> Vec<Option<bool>> {
        let mut found = Vec::with_capacity(channels.len());
        for (channels, hulls) in channels.chunks(LINES).zip(hulls.chunks(LINES)) {
            let bundle = &mut self.scratch[node];
            bundle.resize(channels.len());
            for (line, (channel, hull)) in channels.iter().zip(hulls).enumerate() {
                let [mids, _, errors] = bundle.line_mut(line);
                for (k, (low, high)) in (channel * hull.len()..).zip(hull) {
                    mids[k] = 0.5 * (low + high);
                    errors[k] = 0.5 * (high - low) + 8.0 * UNIT * (low.abs() + high.abs());
                }
            }
            found.extend(self.judge(node));
            for (line, (channel, hull)) in channels.iter().zip(hulls).enumerate() {
                let [mids, _, errors] = self.scratch[node].line_mut(line);
                let own = channel * hull.len()..(channel + 1) * hull.len();
                mids[own.clone()].fill(0.0);
                errors[own].fill(0.0);
            }
        }
        found
    }

    /// Settles hits on the kernel of one channel, of each word so many of the furthest ones.
    fn channel(&mut self, kernels: &Kernels<'_>, channel: usize, furthest: usize) {
        let met = kernels.met;
        for word in met.words(channel) {
            let entry = |(position, (x, error)): (usize, (f64, f64))| {
                let moves = x != 0.0 || error != 0.0;
                moves.then_some((channel * kernels.positions + position, x, error))
            };
            let ray: Ray = kernels.inputs(word).enumerate().filter_map(entry).collect();
            if ray.is_empty() {
                continue;
            }
            let point = |(number, hit): (usize, Hit)| {
                let error = 4.0 * UNIT * hit.before.abs().max(hit.after.abs());
                Point { t: hit.moved(), error, number, bit: hit.bit }
            };
            let points = met.layer.furthest_first(word).take(furthest).map(point).collect();
            self.open(&ray, points);
            self.settle(met, LINES);
        }
    }

    /// Pieces of a ray between two numbers, in order, each with what is known of it. A piece is cut at zero, at `kink`, and `usual` away
    /// from zero: hits that move it further than that are far apart from all others, so that of what is beyond, and not decided at once,
    /// only the further half is bounded.
    fn pieces(
        &mut self,
        node: usize,
        ray: &Ray,
        (from, to): (f64, f64),
        kink: f64,
        usual: f64,
    ) -> Vec<Piece> {
        let mut cuts = [from, kink, -usual, 0.0, usual, to].map(|cut| cut.clamp(from, to)).to_vec();
        cuts.sort_by(f64::total_cmp);
        cuts.dedup();
        let mut open: Vec<(f64, f64)> = cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let mut pieces = Vec::new();
        for halvings in 0..=HALVINGS {
            let on_ray: Vec<_> = open.iter().map(|&(from, to)| (ray, from, to)).collect();
            let judged = self.judge_pieces(node, &on_ray);
            let mut halves = Vec::new();
            for ((from, to), holds) in open.into_iter().zip(judged) {
                if holds.is_some() || halvings == HALVINGS {
                    pieces.push(Piece { from, to, holds });
                    continue;
                }
                let middle = middle(from, to);
                for (from, to) in [(from, middle), (middle, to)] {
                    if middle.abs() > usual && from.abs().max(to.abs()) <= middle.abs() {
                        pieces.push(Piece { from, to, holds: None });
                    } else {
                        halves.push((from, to));
                    }
                }
            }
            open = halves;
        }
        pieces.sort_by(|a, b| a.from.total_cmp(&b.from));
        // Neighbours of one kind are one piece.
        pieces.dedup_by(|next, piece| {
            let same = piece.holds == next.holds;
            piece.to = if same { next.to } else { piece.to };
            same
        });
        pieces
    }

    /// Notes hits on a ray that are to be settled.
    fn open(&mut self, ray: &Ray, mut points: Vec<Point>) {
        if points.is_empty() {
            return;
        }
        points.sort_by(|a, b| a.t.total_cmp(&b.t).then(a.number.cmp(&b.number)));
        self.open.push(Open { ray: ray.clone(), range: 0..points.len(), points: points.into() });
    }

    /// Settles open hits, until there are less than so many groups of them: each group together, else in two parts.
    fn settle(&mut self, met: &Met<'_>, fewer_than: usize) {
        while self.open.len() >= fewer_than {
            let groups = self.open.split_off(self.open.len().saturating_sub(LINES));
            let piece = |Open { ray, points, range }: &'_ Open| {
                let points = &points[range.clone()];
                let off = points.iter().fold(0.0_f64, |most, point| most.max(point.error));
                let (first, last) = (points[0].t, points[points.len() - 1].t);
                (ray.clone(), (first - off).next_down(), (last + off).next_up())
            };
            let pieces: Vec<(Ray, f64, f64)> = groups.iter().map(piece).collect();
            let pieces: Vec<_> = pieces.iter().map(|(ray, from, to)| (ray, *from, *to)).collect();
            let judged = self.judge_pieces(met.layer.node, &pieces);
            for (Open { ray, points, range }, holds) in groups.into_iter().zip(judged) {
                if holds.is_some() || range.len() == 1 {
                    points[range].iter().for_each(|point| self.record(met.number, point, holds));
                    continue;
                }
                let at = range.start + cut(&points[range.clone()]);
                for range in [range.start..at, at..range.end] {
                    self.open.push(Open { ray: ray.clone(), points: points.clone(), range });
                }
            }
        }
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

/// What bounds of a margin, below and above, say of it. NaN says nothing.
pub(super) fn judged((lower, upper): (f64, f64)) -> Option<bool> {
    if lower > 0.0 {
        Some(true)
    } else if upper <= 0.0 {
        Some(false)
    } else {
        None
    }
}

/// Where sorted hits are parted: at the widest gap when it is more than half of their extent, else in the middle. One hit of a word is
/// often far from all others.
fn cut(points: &[Point]) -> usize {
    let gap = |k: &usize| points[*k].t - points[k - 1].t;
    let widest = (1..points.len()).max_by(|a, b| gap(a).total_cmp(&gap(b)));
    let extent = points[points.len() - 1].t - points[0].t;
    widest.filter(|k| gap(k) > 0.5 * extent).unwrap_or(points.len() / 2)
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
