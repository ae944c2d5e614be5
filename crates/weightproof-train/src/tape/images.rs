//! Operations of layers without parameters: pooling, and elements in another order.

use super::loops::{fill, total, update};
use super::{At, Op, Operation, Sink, Var};
use weightproof::kernels::{
    Scalar, Window, add_max_pool_gradient, add_window_sums, add_window_sums_transposed, max_pool_row,
};
use weightproof::network::Gather;

/// Two matrices below each other, or beside each other.
#[derive(Clone, Copy)]
pub(super) enum Join {
    Below,
    Beside,
}

impl Join {
    /// Lengths of the pieces of both that alternate.
    fn pieces<T: Scalar>(self, at: &At<'_, '_, T>) -> [usize; 2] {
        [0, 1].map(|k| match self {
            Join::Below => at.input(k).data.len(),
            Join::Beside => at.input(k).cols,
        })
    }
}

impl<T: Scalar> Operation<T> for Join {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        let pieces = self.pieces(at);
        for (i, out) in out.chunks_exact_mut((pieces[0] + pieces[1]).max(1)).enumerate() {
            let (first, second) = out.split_at_mut(pieces[0]);
            for (k, out) in [first, second].into_iter().enumerate() {
                out.copy_from_slice(&at.input(k).data[i * pieces[k]..(i + 1) * pieces[k]]);
            }
        }
    }

    fn backward(&self, at: &At<'_, '_, T>, g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        let pieces = self.pieces(at);
        for (k, before) in [(0, 0), (1, pieces[0])] {
            let Some(slot) = sink.slot(k) else { continue };
            let parts = slot.cleared().data.chunks_exact_mut(pieces[k].max(1));
            for (sum, g) in parts.zip(g.chunks_exact((pieces[0] + pieces[1]).max(1))) {
                update(sum, [&g[before..before + pieces[k]]], |sum, [g]| sum + g);
            }
        }
        sink.pool.give(g);
    }
}

/// Every number several times, one after the other.
#[derive(Clone, Copy)]
pub(super) struct Repeat {
    count: usize,
}

impl<T: Scalar> Operation<T> for Repeat {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        let parts = out.chunks_exact_mut(self.count);
        parts.zip(at.input(0).data).for_each(|(out, &x)| out.fill(x));
    }

    fn backward(&self, _: &At<'_, '_, T>, g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        if let Some(slot) = sink.slot(0) {
            let parts = g.chunks_exact(self.count);
            slot.cleared().data.iter_mut().zip(parts).for_each(|(sum, g)| *sum += total([g], |[g]| g));
        }
        sink.pool.give(g);
    }
}

/// Elements of every row in another order.
#[derive(Clone, Copy)]
pub(crate) struct Pick<'p> {
    gather: &'p Gather,
}

impl<T: Scalar> Operation<T> for Pick<'_> {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        let (x, constant) = (at.input(0), T::from_f64(self.gather.constant));
        for (out, x) in out.chunks_exact_mut(at.cols.max(1)).zip(x.data.chunks_exact(x.cols.max(1))) {
            for (out, source) in out.iter_mut().zip(&self.gather.source) {
                *out = source.map_or(constant, |source| x[source]);
            }
        }
    }

    fn backward(&self, at: &At<'_, '_, T>, g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        if let Some(slot) = sink.slot(0) {
            let rows = slot.cleared().data.chunks_exact_mut(at.input(0).cols.max(1));
            for (sum, g) in rows.zip(g.chunks_exact(at.cols.max(1))) {
                for (&g, source) in g.iter().zip(&self.gather.source) {
                    if let Some(source) = source {
                        sum[*source] += g;
                    }
                }
            }
        }
        sink.pool.give(g);
    }
}

/// The largest element of every window; the gradient goes to the first of them.
#[derive(Clone, Copy)]
pub(crate) struct MaxPool<'p> {
    window: &'p Window,
}

impl<T: Scalar> Operation<T> for MaxPool<'_> {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        let x = at.input(0);
        let rows = out.chunks_exact_mut(at.cols).zip(x.data.chunks_exact(x.cols));
        rows.for_each(|(out, x)| max_pool_row(out, x, self.window));
    }

    fn backward(&self, at: &At<'_, '_, T>, mut g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        let x = at.input(0);
        if let Some(slot) = sink.slot(0) {
            let rows = slot.cleared().data.chunks_exact_mut(x.cols).zip(x.data.chunks_exact(x.cols));
            let windows = g.chunks_exact_mut(at.cols).zip(at.output.chunks_exact(at.cols));
            for ((back, x), (g, most)) in rows.zip(windows) {
                add_max_pool_gradient(back, g, x, most, self.window);
            }
        }
        sink.pool.give(g);
    }
}

/// The sum of every window.
#[derive(Clone, Copy)]
pub(crate) struct WindowSums<'p> {
    window: &'p Window,
}

impl<T: Scalar> Operation<T> for WindowSums<'_> {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        let x = at.input(0);
        fill(out, [], |[]| T::zero());
        let rows = out.chunks_exact_mut(at.cols).zip(x.data.chunks_exact(x.cols));
        rows.for_each(|(out, x)| add_window_sums(out, x, self.window));
    }

    fn backward(&self, at: &At<'_, '_, T>, g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        if let Some(slot) = sink.slot(0) {
            let rows = slot.cleared().data.chunks_exact_mut(at.input(0).cols);
            rows.zip(g.chunks_exact(at.cols))
                .for_each(|(b, g)| add_window_sums_transposed(b, g, self.window));
        }
        sink.pool.give(g);
    }
}

impl<'p, T: Scalar> Var<'p, T> {
    /// The rows of `other` below these.
    pub fn below(self, other: Self) -> Self {
        assert_eq!(self.cols, other.cols, "columns of both");
        let shape = [self.rows + other.rows, self.cols];
        self.tape.record(Op::own(Join::Below), [Some(self), Some(other)], shape)
    }

    /// The columns of `other` beside these.
    pub fn beside(self, other: Self) -> Self {
        assert_eq!(self.rows, other.rows, "rows of both");
        let shape = [self.rows, self.cols + other.cols];
        self.tape.record(Op::own(Join::Beside), [Some(self), Some(other)], shape)
    }

    /// Every number `count` times, one after the other.
    pub fn repeat(self, count: usize) -> Self {
        self.record(Repeat { count }, [self.rows, self.cols * count])
    }

    /// The elements of every row that a layer picks.
    pub fn pick(self, gather: &'p Gather) -> Self {
        self.tape.record(Op::Pick(Pick { gather }), [Some(self)], [self.rows, gather.source.len()])
    }

    /// The largest element of every window, of rows of images.
    pub fn max_pool(self, window: &'p Window) -> Self {
        self.tape.record(Op::MaxPool(MaxPool { window }), [Some(self)], [self.rows, window.output_width()])
    }

    /// The sum of every window, of rows of images.
    pub fn window_sums(self, window: &'p Window) -> Self {
        self.tape.record(
            Op::WindowSums(WindowSums { window }),
            [Some(self)],
            [self.rows, window.output_width()],
        )
    }
}
