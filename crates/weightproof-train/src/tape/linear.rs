//! Products with a weight matrix and convolutions, in both directions, by the core's kernels.

use super::loops::Spread;
use super::reduce::give_start;
use super::{At, Op, Operation, Sink, Slot, Var};
use weightproof::kernels::{
    Factor, Scalar, Window, add_convolution_transposed, add_kernel_gradient, convolution, multiply,
};

/// `start + W x` for rows `x`, or `start + Wᵀ x`; of a convolution when there is a window.
///
/// # Shapes
/// inputs `x`: (rows, n_in) or (rows, n_out), `W`: (n_out, n_in) of the layer's parameters, `start`: spread over the result.
#[derive(Clone, Copy)]
pub(crate) struct Linear<'p> {
    window: Option<&'p Window>,
    transposed: bool,
}

impl<T: Scalar> Operation<T> for Linear<'_> {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        let start = at.optional(2).map(|start| Spread::new(start, [at.rows, at.cols]));
        if let Some(start) = start {
            start.copy(out);
        }
        apply(
            self.window,
            self.transposed,
            (at.input(0).data, at.rows),
            at.input(1).data,
            Slot { data: out, fresh: start.is_none() },
        );
    }

    fn backward(&self, at: &At<'_, '_, T>, g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        let (x, w) = (at.input(0), at.input(1));
        if let Some(slot) = sink.slot(0) {
            apply(self.window, !self.transposed, (&g, at.rows), w.data, slot);
        }
        if let Some(slot) = sink.slot(1) {
            // (rows, n_out) and (rows, n_in)
            let (outer, inner) = if self.transposed { (x.data, &g[..]) } else { (&g[..], x.data) };
            match self.window {
                None => {
                    let (outer, inner) = (Factor::Transposed(outer), Factor::Plain(inner));
                    multiply(slot.data, !slot.fresh, outer, inner, (w.rows, at.rows, w.cols));
                }
                Some(window) => add_kernel_gradient(slot.cleared().data, outer, inner, window),
            }
        }
        give_start(at, 2, g, sink);
    }
}

/// Adds `W x`, or `Wᵀ x`.
fn apply<T: Scalar>(
    window: Option<&Window>,
    transposed: bool,
    (x, rows): (&[T], usize),
    w: &[T],
    slot: Slot<'_, T>,
) {
    match window {
        None => {
            let (k, n) = (x.len() / rows.max(1), slot.data.len() / rows.max(1));
            let w = if transposed { Factor::Plain(w) } else { Factor::Transposed(w) };
            multiply(slot.data, !slot.fresh, Factor::Plain(x), w, (rows, k, n));
        }
        Some(window) if transposed => add_convolution_transposed(slot.cleared().data, x, w, window),
        Some(window) => convolution(slot.data, !slot.fresh, x, w, window),
    }
}

impl<'p, T: Scalar> Var<'p, T> {
    /// `start + W x` for every row `x`; of a convolution when there is a window. `start` serves rows and columns as an operand
    /// of `+` does.
    pub fn linear(self, weight: Self, window: Option<&'p Window>, start: Option<Self>) -> Self {
        let cols = window.map_or(weight.rows, Window::output_width);
        let inner = window.map_or(weight.cols, Window::input_width);
        assert_eq!(self.cols, inner, "inner dimensions of a product");
        let op = Op::Linear(Linear { window, transposed: false });
        self.tape.record(op, [Some(self), Some(weight), start], [self.rows, cols])
    }

    /// `start + Wᵀ a` for every row `a` of coefficients, as [`Var::linear`].
    pub fn linear_transposed(self, weight: Self, window: Option<&'p Window>, start: Option<Self>) -> Self {
        let cols = window.map_or(weight.cols, Window::input_width);
        let inner = window.map_or(weight.rows, Window::output_width);
        assert_eq!(self.cols, inner, "inner dimensions of a product");
        let op = Op::Linear(Linear { window, transposed: true });
        self.tape.record(op, [Some(self), Some(weight), start], [self.rows, cols])
    }
}
