//! Loops over the numbers of matrices, compiled for the best instructions of the machine.

use super::{Numbers, Slot};
use weightproof::kernels::{Scalar, rows};

/// Runs a closure with the best instruction set of this machine. What it captures is moved into it, so that the compiler knows
/// that no store changes it; closures that are given to the loops below capture by value for the same reason.
macro_rules! vectorized {
    (|| $body:expr) => {
        weightproof::kernels::rows::vectorized!(move || $body)
    };
}
pub(crate) use vectorized;

/// `out_i = f(of_i)`.
pub(crate) fn fill<T: Scalar, const N: usize>(out: &mut [T], of: [&[T]; N], f: impl Fn([T; N]) -> T) {
    update(out, of, move |_, of| f(of));
}

/// `out_i = f(out_i, of_i)`.
pub(crate) fn update<T: Scalar, const N: usize>(out: &mut [T], of: [&[T]; N], f: impl Fn(T, [T; N]) -> T) {
    vectorized!(|| {
        let (f, count) = (f, out.len());
        let (out, of) = (&mut out[..count], of.map(|of| &of[..count]));
        for i in 0..count {
            out[i] = f(out[i], rows::column(of, i));
        }
    });
}

/// `slot_i += f(of_i)`.
pub(crate) fn accumulate<T: Scalar, const N: usize>(
    slot: Slot<'_, T>,
    of: [&[T]; N],
    f: impl Fn([T; N]) -> T,
) {
    if slot.fresh { fill(slot.data, of, f) } else { update(slot.data, of, move |sum, of| sum + f(of)) }
}

/// `Σ f(of_i)`, in an order that does not depend on the machine.
pub(crate) fn total<T: Scalar, const N: usize>(of: [&[T]; N], f: impl Fn([T; N]) -> T) -> T {
    const LANES: usize = 16;
    vectorized!(|| {
        let (f, count) = (f, of[0].len());
        let of = of.map(|of| of[..count].as_chunks::<LANES>());
        let mut lanes = [T::zero(); LANES];
        let chunks = of.map(|(chunks, _)| &chunks[..count / LANES]);
        for k in 0..count / LANES {
            let chunk = chunks.map(|chunks| &chunks[k][..]);
            for l in 0..LANES {
                lanes[l] += f(rows::column(chunk, l));
            }
        }
        let rest = of.map(|(_, rest)| rest);
        let mut tail = T::zero();
        for i in 0..count % LANES {
            tail += f(rows::column(rest, i));
        }
        rows::sum(&lanes) + tail
    })
}

/// One row of an operand: a number for each column, or one for all.
#[derive(Clone, Copy)]
pub(crate) enum Row<'a, T> {
    Each(&'a [T]),
    One(T),
}

/// An operand of a result with more rows or columns: a row serves as many rows of the result that follow each other as there
/// are more of them, a single column serves all columns.
#[derive(Clone, Copy)]
pub(crate) struct Spread<'a, T> {
    of: Numbers<'a, T>,
    /// Rows of the result for each row.
    repeat: usize,
    /// Columns of the result.
    cols: usize,
}

impl<'a, T: Scalar> Spread<'a, T> {
    pub(crate) fn new(of: Numbers<'a, T>, [rows, cols]: [usize; 2]) -> Self {
        assert!(
            rows.is_multiple_of(of.rows.max(1)) && (of.cols == cols || of.cols == 1),
            "a {}x{} matrix for a {rows}x{cols} one",
            of.rows,
            of.cols
        );
        Spread { of, repeat: rows / of.rows.max(1), cols }
    }

    /// Whether it has the shape of the result.
    pub(super) fn whole(&self) -> bool {
        self.repeat == 1 && self.of.cols == self.cols
    }

    /// What serves row `i` of the result.
    pub(crate) fn row(&self, i: usize) -> Row<'a, T> {
        let start = i / self.repeat * self.of.cols;
        if self.of.cols == self.cols {
            Row::Each(&self.of.data[start..start + self.cols])
        } else {
            Row::One(self.of.data[start])
        }
    }

    /// Writes it over the result.
    pub(super) fn copy(&self, out: &mut [T]) {
        for (i, out) in out.chunks_exact_mut(self.cols.max(1)).enumerate() {
            match self.row(i) {
                Row::Each(row) => out.copy_from_slice(row),
                Row::One(number) => out.fill(number),
            }
        }
    }

    /// The adjoint of [`Spread::copy`]: adds `factor · g ∘ times` to the gradient of the operand.
    pub(crate) fn reduce(&self, slot: Slot<'_, T>, factor: T, g: &[T], times: Option<Spread<'_, T>>) {
        let slot = slot.cleared();
        for (i, g) in g.chunks_exact(self.cols.max(1)).enumerate() {
            let start = i / self.repeat * self.of.cols;
            let sum = &mut slot.data[start..start + self.of.cols];
            let times = times.map_or(Row::One(T::one()), |times| times.row(i));
            match (sum, times) {
                ([sum], Row::One(t)) => *sum += factor * t * total([g], |[g]| g),
                ([sum], Row::Each(t)) => *sum += factor * total([g, t], |[g, t]| g * t),
                (sum, Row::One(t)) => update(sum, [g], move |sum, [g]| sum + factor * t * g),
                (sum, Row::Each(t)) => update(sum, [g, t], move |sum, [g, t]| sum + factor * g * t),
            }
        }
    }
}

/// `out = f(x, y)` for operands that are spread over the result.
pub(super) fn combine<T: Scalar>(
    out: &mut [T],
    x: Spread<'_, T>,
    y: Spread<'_, T>,
    f: impl Fn(T, T) -> T + Copy,
) {
    if x.whole() && y.whole() {
        return fill(out, [x.of.data, y.of.data], move |[x, y]| f(x, y));
    }
    for (i, out) in out.chunks_exact_mut(x.cols.max(1)).enumerate() {
        match (x.row(i), y.row(i)) {
            (Row::Each(x), Row::Each(y)) => fill(out, [x, y], move |[x, y]| f(x, y)),
            (Row::Each(x), Row::One(y)) => fill(out, [x], move |[x]| f(x, y)),
            (Row::One(x), Row::Each(y)) => fill(out, [y], move |[y]| f(x, y)),
            (Row::One(x), Row::One(y)) => out.fill(f(x, y)),
        }
    }
}
