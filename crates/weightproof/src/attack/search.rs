//! The search for a block of samples: which rivals to aim at, where to start, what was best.

use super::descent::{Descents, Found, Landscape, Rows, Schedule, Way, descend, to_vertex};
use super::objective::Objective;
use super::pass::Pass;
use super::space::Point;
use crate::kernels::Scalar;
use crate::property::SpecRow;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A generator for one start of one sample: the same whatever the number of threads and the size of the blocks.
pub(super) fn generator(seed: u64, stream: u64, start: usize) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&stream.to_le_bytes());
    key[16..24].copy_from_slice(&(start as u64).to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// Smoothing of the starts of a sample, in turn: other smoothings lead to other local minima than other starting points.
const SPREAD: [f64; 4] = [1.0, 2.0, 1.0, 0.5];

/// How the search is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    pub schedule: Schedule,
    pub restarts: usize,
    pub seed: u64,
    /// Threads for its rows.
    pub threads: usize,
}

/// The best points of a block.
pub(super) struct Best<T> {
    /// Points from all stages of the search.
    points: Vec<Point<T>>,
    /// For each sample: its margin, and where in `points` it is; `None` where no margin was finite.
    of: Vec<Option<(T, usize, usize)>>,
}

impl<T: Scalar> Best<T> {
    fn new(samples: usize) -> Self {
        Best { points: Vec::new(), of: vec![None; samples] }
    }

    fn add(&mut self, rows: &[usize], point: Point<T>, margins: &[T]) {
        for (row, (&s, &margin)) in rows.iter().zip(margins).enumerate() {
            let better = self.of[s].is_none_or(|(least, _, _)| margin < least);
            if better && num_traits::Float::is_finite(margin) {
                self.of[s] = Some((margin, self.points.len(), row));
            }
        }
        self.points.push(point);
    }

    /// The best point of each sample, rounded to f32.
    pub fn compact(&self) -> Vec<Option<Vec<Vec<f32>>>> {
        self.of.iter().map(|of| of.map(|(_, k, row)| self.points[k].compact_row(row))).collect()
    }

    /// The samples that have a best point, and these points one after the other.
    pub fn gather(&self, pass: &impl Landscape<T>) -> (Vec<usize>, Point<T>) {
        let samples: Vec<usize> = (0..self.of.len()).filter(|&s| self.of[s].is_some()).collect();
        let mut point = Point::zeros(pass.space(), samples.len());
        for (to, (_, k, row)) in self.of.iter().flatten().enumerate() {
            point.copy_row(to, &self.points[*k], *row);
        }
        (samples, point)
    }
}

/// Sizes of the boxes around the centre in which customary descents start: a random change of all weights moves a neuron by
/// little, because the changes average out.
const NEAR: [f64; 2] = [0.1, 1.0];
/// Most rows with which descents of all kinds go side by side and share their products. More are not faster: they leave the cache.
const ROWS: usize = 192;

/// Most rows of a sample that descend side by side.
pub(super) fn starts(restarts: usize, stop_when_broken: bool) -> usize {
    restarts * if stop_when_broken { 1 } else { NEAR.len() + 1 }
}

/// Rounds of drawing some variables anew.
const HOPS: usize = 2;
/// Share of the variables that a round draws anew.
const REDRAWN: f64 = 0.1;

/// Searches for the worst point of every sample.
///
/// A first pass goes from the centre to a vertex for every goal, descends from there for a few steps, and ranks the goals.
/// Then start 0 of a sample goes on with its first goal, the odd ones go from random points towards it, the even ones from
/// random points towards the next goals; each start is tried with the customary descent too. At last the best point of each
/// sample is refined.
pub(super) fn search<T: Scalar>(
    pass: &mut Pass<'_, '_, T>,
    objective: &Objective<T>,
    streams: &[u64],
    search: Search,
) -> Best<T> {
    let Ranking { samples, found, goals: ranked } = rank(pass, objective, search);
    let mut best = Best::new(objective.samples());
    best.add(&samples, found.point, &found.margins);
    // Each with the part of the box where it starts.
    let mut kinds: Vec<(f64, Schedule)> = match search.schedule.customary() {
        Some(plain) => NEAR.map(|factor| (factor, plain)).to_vec(),
        None => Vec::new(),
    };
    kinds.push((1.0, search.schedule));
    // Sample and number of each start.
    let mut starts = Vec::new();
    for (s, ranked) in ranked.iter().enumerate() {
        let broken = best.of[s].is_some_and(|(margin, _, _)| margin < T::zero());
        // A network with one output has no rivals.
        if !(ranked.is_empty() || search.schedule.stop_when_broken && broken) {
            starts.extend((0..search.restarts).map(|start| (s, start)));
        }
    }
    let mut point = Point::zeros(pass.space(), starts.len());
    for (row, &(s, start)) in starts.iter().enumerate() {
        if start == 0 {
            point.copy_row(row, &best.points[0], ranked[s][0].1);
        } else {
            point.randomize(pass.space(), row, &mut generator(search.seed, streams[s], start));
        }
    }
    let together = if starts.len() * kinds.len() <= ROWS { kinds.len() } else { 1 };
    for (turn, alike) in kinds.chunks(together).enumerate() {
        let descents = side_by_side(alike, &starts, &ranked, &point);
        if (turn + 1) * together >= kinds.len() {
            point = Point::default();
        }
        let samples = descents.rows.samples.clone();
        let found = descend(pass, objective, descents, search.threads);
        best.add(&samples, found.point, &found.margins);
    }
    refine(pass, objective, streams, search, &mut best);
    best
}

/// Descents of some `kinds` from all `starts`, which are samples and numbers, at the rows of `point`: sample after sample.
fn side_by_side<T: Scalar>(
    kinds: &[(f64, Schedule)],
    starts: &[(usize, usize)],
    ranked: &[Vec<(SpecRow, usize)>],
    point: &Point<T>,
) -> Descents<T> {
    let (mut rows, mut ways, mut from) = (Rows::default(), Vec::new(), Vec::new());
    for of_sample in starts.chunk_by(|a, b| a.0 == b.0) {
        let first = from.len() / kinds.len();
        for schedule in 0..kinds.len() {
            for (k, &(s, start)) in of_sample.iter().enumerate() {
                let goal = if start % 2 == 1 { 0 } else { (start / 2) % ranked[s].len() };
                rows.push(s, ranked[s][goal].0);
                ways.push(Way { schedule, smoothing: SPREAD[start % SPREAD.len()] });
                from.push(first + k);
            }
        }
    }
    let mut point = point.rows_at(&from);
    ways.iter().enumerate().for_each(|(row, way)| point.shrink(row, kinds[way.schedule].0));
    Descents { point, rows, ways, schedules: kinds.iter().map(|kind| kind.1).collect() }
}

/// Descents from the best point of each sample towards the rival that is worst there: [`HOPS`] rounds from points in which
/// some variables were drawn anew, to leave a local minimum, and a last one from the best point itself with ever smaller
/// steps, which settles the neurons that are best left at a kink, inside of their interval.
fn refine<T: Scalar>(
    pass: &mut Pass<'_, '_, T>,
    objective: &Objective<T>,
    streams: &[u64],
    search: Search,
    best: &mut Best<T>,
) {
    for round in 0..=HOPS {
        let last = round == HOPS;
        let Some(schedule) = search.schedule.refining(last) else { return };
        let copies = if last { 1 } else { search.restarts };
        let (samples, found) = best.gather(pass);
        if samples.is_empty() {
            return;
        }
        let outputs = pass.outputs(&found, &samples);
        let worst = |row: usize| {
            let (s, f) = (samples[row], outputs.row(row));
            let goals = objective.goals(s).into_iter().map(|goal| (objective.value(s, goal, f), goal));
            goals.reduce(|a, b| if b.0 < a.0 { b } else { a }).map(|(_, goal)| goal)
        };
        let mut rows = Rows::default();
        let mut from = Vec::new();
        for row in 0..samples.len() {
            let Some(goal) = worst(row) else { continue };
            for _ in 0..copies {
                rows.push(samples[row], goal);
                from.push(row);
            }
        }
        let mut point = Point::zeros(pass.space(), from.len());
        for (to, &row) in from.iter().enumerate() {
            point.copy_row(to, &found, row);
            if !last {
                let start = search.restarts * (round + 1) + to % copies;
                point.redraw(
                    pass.space(),
                    to,
                    REDRAWN,
                    &mut generator(search.seed, streams[samples[row]], start),
                );
            }
        }
        let samples = rows.samples.clone();
        let found = descend(pass, objective, Descents::alike(point, rows, schedule), search.threads);
        best.add(&samples, found.point, &found.margins);
    }
}

/// The first pass: one row for every goal of every sample.
struct Ranking<T> {
    samples: Vec<usize>,
    found: Found<T>,
    /// The goals of each sample with their rows, the most damaging first.
    goals: Vec<Vec<(SpecRow, usize)>>,
}

fn rank<T: Scalar>(pass: &mut Pass<'_, '_, T>, objective: &Objective<T>, search: Search) -> Ranking<T> {
    let mut rows = Rows::default();
    for s in 0..objective.samples() {
        for goal in objective.goals(s) {
            rows.push(s, goal);
        }
    }
    let mut vertices = Point::zeros(pass.space(), rows.samples.len());
    pass.outputs(&vertices, &rows.samples);
    pass.backward(&vertices, &rows);
    to_vertex(pass, &mut vertices);
    let short = Schedule { steps: search.schedule.ranking, ..search.schedule };
    let descents = Descents::alike(vertices, rows.clone(), short);
    let found = descend(pass, objective, descents, search.threads);
    let outputs = pass.outputs(&found.point, &rows.samples);
    let mut goals: Vec<Vec<(f64, SpecRow, usize)>> = vec![Vec::new(); objective.samples()];
    for (row, (&s, &goal)) in rows.samples.iter().zip(&rows.goals).enumerate() {
        goals[s].push((objective.value(s, goal, outputs.row(row)).to_f64(), goal, row));
    }
    let sorted = goals.into_iter().map(|mut goals| {
        goals.sort_by(|a, b| a.0.total_cmp(&b.0));
        goals.into_iter().map(|(_, goal, row)| (goal, row)).collect()
    });
    let goals = sorted.collect();
    Ranking { samples: rows.samples, found, goals }
}
