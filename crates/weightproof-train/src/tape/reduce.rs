//! Operations with fewer numbers than they read: sums, maxima and choices by label.

use super::loops::{Spread, total, update};
use super::{At, Operation, Sink, Var};
use weightproof::kernels::Scalar;

/// The sum over the rows, (1, cols), or over the columns, (rows, 1).
#[derive(Clone, Copy)]
pub(super) enum Sum {
    Rows,
    Columns,
}

impl<T: Scalar> Operation<T> for Sum {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        let x = at.input(0);
        let rows = x.data.chunks_exact(x.cols.max(1));
        match self {
            Sum::Rows => {
                out.fill(T::zero());
                rows.for_each(|row| update(out, [row], |sum, [x]| sum + x));
            }
            Sum::Columns => out.iter_mut().zip(rows).for_each(|(out, row)| *out = total([row], |[x]| x)),
        }
    }

    fn backward(&self, at: &At<'_, '_, T>, g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        let x = at.input(0);
        if let Some(slot) = sink.slot(0) {
            let slot = slot.cleared();
            for (i, slot) in slot.data.chunks_exact_mut(x.cols.max(1)).enumerate() {
                match self {
                    Sum::Rows => update(slot, [&g], |sum, [g]| sum + g),
                    Sum::Columns => {
                        let g = g[i];
                        update(slot, [], move |sum, []| sum + g);
                    }
                }
            }
        }
        sink.pool.give(g);
    }
}

/// The largest number of every row, (rows, 1); the gradient goes to the first of them.
#[derive(Clone, Copy)]
pub(super) struct Max;

impl<T: Scalar> Operation<T> for Max {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        let x = at.input(0);
        let larger = |most: T, &x: &T| if most >= x || most.is_nan() { most } else { x };
        let rows = x.data.chunks_exact(x.cols.max(1));
        out.iter_mut().zip(rows).for_each(|(out, row)| *out = row.iter().fold(-T::infinity(), larger));
    }

    fn backward(&self, at: &At<'_, '_, T>, g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        let x = at.input(0);
        if let Some(slot) = sink.slot(0) {
            let rows = x.data.chunks_exact(x.cols.max(1));
            for ((slot, row), &g) in slot.cleared().data.chunks_exact_mut(x.cols.max(1)).zip(rows).zip(&g) {
                let most = (0..row.len()).fold(0, |most, j| if row[j] > row[most] { j } else { most });
                slot[most] += g;
            }
        }
        sink.pool.give(g);
    }
}

/// Of every sample the block of `cols` numbers that belongs to its label.
pub(super) struct Block {
    labels: Box<[u32]>,
}

impl Block {
    /// For every sample the place of its block.
    fn places(&self, rows: usize, width: usize, cols: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
        let row = move |s: usize| if rows == 1 { 0 } else { s * width };
        self.labels.iter().enumerate().map(move |(s, &label)| {
            let start = row(s) + label as usize * cols;
            start..start + cols
        })
    }
}

impl<T: Scalar> Operation<T> for Block {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        let x = at.input(0);
        let places = self.places(x.rows, x.cols, at.cols);
        out.chunks_exact_mut(at.cols)
            .zip(places)
            .for_each(|(out, place)| out.copy_from_slice(&x.data[place]));
    }

    fn backward(&self, at: &At<'_, '_, T>, g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        let x = at.input(0);
        if let Some(slot) = sink.slot(0) {
            let slot = slot.cleared();
            for (g, place) in g.chunks_exact(at.cols).zip(self.places(x.rows, x.cols, at.cols)) {
                update(&mut slot.data[place], [g], |sum, [g]| sum + g);
            }
        }
        sink.pool.give(g);
    }
}

impl<'p, T: Scalar> Var<'p, T> {
    /// The sum over the rows, (1, cols).
    pub fn sum_rows(self) -> Self {
        self.record(Sum::Rows, [1, self.cols])
    }

    /// The sum over the columns, (rows, 1).
    pub fn sum_columns(self) -> Self {
        self.record(Sum::Columns, [self.rows, 1])
    }

    /// The largest number of every row, (rows, 1); NaN where there is one.
    pub fn max_columns(self) -> Self {
        self.record(Max, [self.rows, 1])
    }

    /// The largest of all numbers, (1, 1).
    pub fn max(self) -> Self {
        self.reshape([1, self.rows * self.cols]).max_columns()
    }

    /// The mean of all numbers, (1, 1).
    pub fn mean(self) -> Self {
        let count = self.rows * self.cols;
        self.reshape([1, count]).sum_columns().scale(1.0 / count as f64)
    }

    /// Rows of blocks of `cols` numbers, one block for each class; a single row serves all samples. Of every sample the block of
    /// its label: (samples, cols).
    pub fn block(self, labels: &[u32], cols: usize) -> Self {
        assert!(
            self.rows == 1 || self.rows == labels.len(),
            "{} rows for {} labels",
            self.rows,
            labels.len()
        );
        self.record(Block { labels: labels.into() }, [labels.len(), cols])
    }

    /// The numbers as rows and columns of a larger matrix, as operands of `+` serve it.
    pub fn spread(self, shape: [usize; 2]) -> Self {
        self.tape.full(0.0, shape) + self
    }
}

/// The gradient of an operand that an operation starts from: added to slot `k`.
pub(super) fn give_start<T: Scalar>(at: &At<'_, '_, T>, k: usize, g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
    let Some(start) = at.optional(k) else { return sink.pool.give(g) };
    let start = Spread::new(start, [at.rows, at.cols]);
    if start.whole() {
        return sink.give(k, g);
    }
    if let Some(slot) = sink.slot(k) {
        start.reduce(slot, T::one(), &g, None);
    }
    sink.pool.give(g);
}
