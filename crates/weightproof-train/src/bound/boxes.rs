//! Operations of a tape that bounds are made of. A box of rows is one matrix: the lower ends, and below them the upper ends.

use crate::tape::{At, Op, Operation, Row, Sink, Spread, Var, accumulate, fill, total, update};
use weightproof::kernels::Scalar;

/// `[l; u] → [(l + u)/2; (u − l)/2]`.
#[derive(Clone, Copy)]
struct Halves;

impl<T: Scalar> Operation<T> for Halves {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        let half = T::from_f64(0.5);
        let (lower, upper) = at.input(0).data.split_at(out.len() / 2);
        let (center, radius) = out.split_at_mut(lower.len());
        fill(center, [lower, upper], move |[l, u]| half * (l + u));
        fill(radius, [lower, upper], move |[l, u]| half * (u - l));
    }

    fn backward(&self, _: &At<'_, '_, T>, mut g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        let half = T::from_f64(0.5);
        let middle = g.len() / 2;
        let (center, radius) = g.split_at_mut(middle);
        // In place: u = r + c first, then l = c − r = 2 c − u.
        update(radius, [center], move |r, [c]| half * (c + r));
        update(center, [radius], |c, [u]| c - u);
        sink.give(0, g);
    }
}

/// `[m − p − d; m + p + u]` for a middle, a push spread over it, and what goes further down and up.
#[derive(Clone, Copy)]
struct Ends;

impl<T: Scalar> Operation<T> for Ends {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        let (m, further) = (at.input(0), at.optional(2).zip(at.optional(3)));
        let push = Spread::new(at.input(1), [m.rows, m.cols]);
        let cols = m.cols.max(1);
        let (lower, upper) = out.split_at_mut(m.data.len());
        let ends = lower.chunks_exact_mut(cols).zip(upper.chunks_exact_mut(cols));
        for (i, ((lower, upper), m)) in ends.zip(m.data.chunks_exact(cols)).enumerate() {
            match push.row(i) {
                Row::Each(p) => {
                    fill(lower, [m, p], |[m, p]| m - p);
                    fill(upper, [m, p], |[m, p]| m + p);
                }
                Row::One(p) => {
                    fill(lower, [m], move |[m]| m - p);
                    fill(upper, [m], move |[m]| m + p);
                }
            }
            if let Some((down, up)) = further {
                let row = i * cols..(i + 1) * cols;
                update(lower, [&down.data[row.clone()]], |l, [d]| l - d);
                update(upper, [&up.data[row]], |u, [d]| u + d);
            }
        }
    }

    fn backward(&self, at: &At<'_, '_, T>, mut g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        let m = at.input(0);
        let (lower, upper) = g.split_at_mut(m.data.len());
        if let Some(slot) = sink.slot(2) {
            accumulate(slot, [lower], |[l]| -l);
        }
        if let Some(slot) = sink.slot(3) {
            accumulate(slot, [upper], |[u]| u);
        }
        if let Some(slot) = sink.slot(0) {
            accumulate(slot, [lower, upper], |[l, u]| l + u);
        }
        if let Some(slot) = sink.slot(1) {
            update(lower, [upper], |l, [u]| u - l);
            Spread::new(at.input(1), [m.rows, m.cols]).reduce(slot, T::one(), lower, None);
        }
        sink.pool.give(g);
    }
}

/// `a⁺ ∘ p + a⁻ ∘ q`, rows of `p` and `q` spread over those of `a`.
#[derive(Clone, Copy)]
struct Split;

/// The sum of [`Split`] over the columns.
#[derive(Clone, Copy)]
struct SplitSum;

/// Rows of `a`, and for each those of `p` and `q`.
fn split_rows<'a, T: Scalar>(at: &At<'a, '_, T>) -> impl Iterator<Item = (usize, [&'a [T]; 3])> + use<'a, T> {
    let [a, p, q] = [0, 1, 2].map(|k| at.input(k));
    let (cols, repeat) = (a.cols.max(1), a.rows / p.rows.max(1));
    a.data.chunks_exact(cols).enumerate().map(move |(i, a)| {
        let start = i / repeat * cols;
        (start, [a, &p.data[start..start + cols], &q.data[start..start + cols]])
    })
}

/// 0 for negative numbers, else 1: a factor, because a choice of loads would keep loops from being vectorized.
fn side<T: Scalar>(a: T) -> T {
    if a < T::zero() { T::zero() } else { T::one() }
}

/// Adds `g ∘ a⁺` and `g ∘ a⁻` to the gradients of `p` and `q`; `weight(i)` is row `i` of `g`.
fn split_lines<'g, T: Scalar>(
    at: &At<'_, '_, T>,
    weight: impl Fn(usize) -> Row<'g, T>,
    sink: &mut Sink<'_, '_, T>,
) {
    for (k, negative) in [(1, false), (2, true)] {
        let Some(slot) = sink.slot(k) else { continue };
        let slot = slot.cleared();
        let part = move |a: T| if (a < T::zero()) == negative { a } else { T::zero() };
        for (i, (start, [a, _, _])) in split_rows(at).enumerate() {
            let sum = &mut slot.data[start..start + a.len()];
            match weight(i) {
                Row::Each(g) => update(sum, [a, g], move |sum, [a, g]| sum + g * part(a)),
                Row::One(g) => update(sum, [a], move |sum, [a]| sum + g * part(a)),
            }
        }
    }
}

impl<T: Scalar> Operation<T> for Split {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        for (out, (_, rows)) in out.chunks_exact_mut(at.cols.max(1)).zip(split_rows(at)) {
            fill(out, rows, |[a, p, q]| a * (side(a) * p + (T::one() - side(a)) * q));
        }
    }

    fn backward(&self, at: &At<'_, '_, T>, mut g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        let cols = at.cols.max(1);
        split_lines(at, |i| Row::Each(&g[i * cols..(i + 1) * cols]), sink);
        for (g, (_, rows)) in g.chunks_exact_mut(cols).zip(split_rows(at)) {
            update(g, rows, |g, [a, p, q]| g * (side(a) * p + (T::one() - side(a)) * q));
        }
        sink.give(0, g);
    }
}

impl<T: Scalar> Operation<T> for SplitSum {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        for (out, (_, rows)) in out.iter_mut().zip(split_rows(at)) {
            *out = total(rows, |[a, p, q]| a * (side(a) * p + (T::one() - side(a)) * q));
        }
    }

    fn backward(&self, at: &At<'_, '_, T>, g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        split_lines(at, |i| Row::One(g[i]), sink);
        if let Some(slot) = sink.slot(0) {
            let slot = slot.cleared();
            let cols = at.input(0).cols.max(1);
            for ((slot, (_, [a, p, q])), &g) in slot.data.chunks_exact_mut(cols).zip(split_rows(at)).zip(&g) {
                update(slot, [a, p, q], move |sum, [a, p, q]| {
                    sum + g * (side(a) * p + (T::one() - side(a)) * q)
                });
            }
        }
        sink.pool.give(g);
    }
}

/// `x · row i + y · row j` for every pair of rows, in the order of `i`, then `j`.
#[derive(Clone, Copy)]
struct Pairs<T>([T; 2]);

impl<T: Scalar> Operation<T> for Pairs<T> {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        let (v, [x, y]) = (at.input(0), self.0);
        let row = |i: usize| &v.data[i * v.cols..(i + 1) * v.cols];
        for (k, out) in out.chunks_exact_mut(v.cols.max(1)).enumerate() {
            fill(out, [row(k / v.rows), row(k % v.rows)], move |[v, w]| x * v + y * w);
        }
    }

    fn backward(&self, at: &At<'_, '_, T>, g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        let (v, [x, y]) = (at.input(0), self.0);
        if let Some(slot) = sink.slot(0) {
            let slot = slot.cleared();
            for (k, g) in g.chunks_exact(v.cols.max(1)).enumerate() {
                for (i, factor) in [(k / v.rows, x), (k % v.rows, y)] {
                    let sum = &mut slot.data[i * v.cols..(i + 1) * v.cols];
                    update(sum, [g], move |sum, [g]| sum + factor * g);
                }
            }
        }
        sink.pool.give(g);
    }
}

impl<'p, T: Scalar> Var<'p, T> {
    /// Midpoints and radii of a box: rows of lower and upper ends become rows of midpoints and radii.
    pub fn halves(self) -> Self {
        assert!(self.shape()[0].is_multiple_of(2), "a box has two rows for each sample");
        self.tape().record(Op::own(Halves), [Some(self)], self.shape())
    }

    /// The box `[m − push − down; m + push + up]` around `m`. `push` serves rows and columns as an operand of `+` does, the
    /// others have the shape of `m`.
    pub fn ends(self, push: Self, further: Option<[Self; 2]>) -> Self {
        let [down, up] = further.map_or([None; 2], |further| further.map(Some));
        let [rows, cols] = self.shape();
        self.tape().record(Op::own(Ends), [Some(self), Some(push), down, up], [2 * rows, cols])
    }

    /// `a⁺ ∘ p + a⁻ ∘ q`; each row of `p` and `q` serves as many rows of `a` that follow each other.
    pub fn split(self, p: Self, q: Self) -> Self {
        self.check_split(p, q);
        self.tape().record(Op::own(Split), [Some(self), Some(p), Some(q)], self.shape())
    }

    /// The sum of [`Var::split`] over the columns, (rows, 1): the least `a·v` of a row for `v` in the box from `p` to `q`.
    pub fn split_sum(self, p: Self, q: Self) -> Self {
        self.check_split(p, q);
        self.tape().record(Op::own(SplitSum), [Some(self), Some(p), Some(q)], [self.shape()[0], 1])
    }

    fn check_split(self, p: Self, q: Self) {
        let ([rows, cols], [lines, width]) = (self.shape(), p.shape());
        let fits = rows.is_multiple_of(lines.max(1)) && width == cols && p.shape() == q.shape();
        assert!(fits, "{:?} and {:?} for {:?}", p.shape(), q.shape(), self.shape());
    }

    /// `x · row i + y · row j` for every pair of rows, (rows², cols), in the order of `i`, then `j`.
    pub fn pairs(self, [x, y]: [f64; 2]) -> Self {
        let [rows, cols] = self.shape();
        self.tape().record(Op::own(Pairs([x, y].map(T::from_f64))), [Some(self)], [rows * rows, cols])
    }
}
