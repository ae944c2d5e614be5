//! Reverse-mode differentiation of matrices: a tape records what is computed, [`Tape::backward`] runs it backwards.
//!
//! ```text
//! v_k = op_k(v_i, v_j, …)          g_i += (∂op_k/∂v_i)ᵀ g_k   for k from the last to the first,   g_k = ∂loss/∂v_k
//! ```
//! Every value is a matrix (rows, cols), row-major. An operation is a type with a forward pass and its adjoint beside it, here or
//! where it belongs (`bound/boxes.rs`); products and convolutions are the core's. Gradients are computed only for what depends on
//! a parameter. Parameters and batches are borrowed; all other values and gradients come from a [`Pool`] and return to it with the
//! tape, so that a step like the one before allocates no matrix. A tape works on one thread, and all sums are in a fixed order.

mod elementwise;
mod images;
mod linear;
mod loops;
mod pool;
mod reduce;
#[cfg(test)]
mod tests;

pub(crate) use loops::{Row, Spread, accumulate, fill, total, update, vectorized};
pub use pool::Pool;
use std::cell::RefCell;
use std::sync::Arc;
use weightproof::kernels::Scalar;

/// A record of operations on matrices that live for `'p`.
pub struct Tape<'p, T: Scalar> {
    nodes: RefCell<Vec<Node<'p, T>>>,
    store: RefCell<Store<T>>,
}

/// A value on a tape, (rows, cols).
#[derive(Clone, Copy)]
pub struct Var<'p, T: Scalar> {
    tape: &'p Tape<'p, T>,
    index: usize,
    rows: usize,
    cols: usize,
}

/// The numbers of a tape: one vector for each node, empty where there is none.
struct Store<T: Scalar> {
    values: Vec<Vec<T>>,
    gradients: Vec<Vec<T>>,
    pool: Arc<Pool<T>>,
}

impl<T: Scalar> Drop for Store<T> {
    fn drop(&mut self) {
        self.values.drain(..).chain(self.gradients.drain(..)).for_each(|vector| self.pool.give(vector));
    }
}

struct Node<'p, T> {
    /// `None` for what is given.
    op: Option<Op<'p, T>>,
    inputs: Inputs,
    rows: usize,
    cols: usize,
    place: Place<'p, T>,
    /// Whether it depends on a parameter.
    tracked: bool,
}

/// Indices of the nodes that an operation reads; `None` behind the last, and for an optional one that is not given.
type Inputs = [Option<usize>; 4];

/// Where the numbers of a node are.
#[derive(Clone, Copy)]
enum Place<'p, T> {
    /// In the store.
    Own,
    /// With the caller.
    Borrowed(&'p [T]),
    /// In the numbers of another node, from an offset on; that node is no view. So is the gradient.
    View(usize, usize),
}

/// An operation: what it computes and its adjoint.
pub(crate) trait Operation<T: Scalar> {
    /// Computes `out`, whose numbers are unspecified before.
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]);
    /// Adds to the gradients of the inputs in `sink` what `g`, the gradient of the value, makes of them.
    fn backward(&self, at: &At<'_, '_, T>, g: Vec<T>, sink: &mut Sink<'_, '_, T>);
}

/// An operation on a tape. Those that borrow from the network are named, because what a tape owns must be free to go after it.
pub(crate) enum Op<'p, T> {
    Linear(linear::Linear<'p>),
    Pick(images::Pick<'p>),
    MaxPool(images::MaxPool<'p>),
    WindowSums(images::WindowSums<'p>),
    Own(Box<dyn Operation<T>>),
}

impl<T: Scalar> Op<'_, T> {
    pub(crate) fn own(op: impl Operation<T> + 'static) -> Self {
        Op::Own(Box::new(op))
    }

    fn operation(&self) -> &dyn Operation<T> {
        match self {
            Op::Linear(op) => op,
            Op::Pick(op) => op,
            Op::MaxPool(op) => op,
            Op::WindowSums(op) => op,
            Op::Own(op) => &**op,
        }
    }
}

/// The numbers of a matrix, row-major.
#[derive(Clone, Copy)]
pub(crate) struct Numbers<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

/// Inputs and shape of the operation that runs.
pub(crate) struct At<'a, 'p, T> {
    nodes: &'a [Node<'p, T>],
    values: &'a [Vec<T>],
    inputs: Inputs,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// What the forward pass gave; empty during it.
    output: &'a [T],
}

impl<'a, T> At<'a, '_, T> {
    pub(crate) fn input(&self, k: usize) -> Numbers<'a, T> {
        self.optional(k).expect("an input of the operation")
    }

    pub(crate) fn optional(&self, k: usize) -> Option<Numbers<'a, T>> {
        let index = self.inputs[k]?;
        let (rows, cols) = (self.nodes[index].rows, self.nodes[index].cols);
        Some(Numbers { data: numbers(self.nodes, self.values, index), rows, cols })
    }
}

fn numbers<'a, T>(nodes: &'a [Node<'_, T>], values: &'a [Vec<T>], index: usize) -> &'a [T] {
    let node = &nodes[index];
    match node.place {
        Place::Own => &values[index],
        Place::Borrowed(data) => data,
        Place::View(base, offset) => &numbers(nodes, values, base)[offset..offset + node.rows * node.cols],
    }
}

/// The gradients of the inputs of the operation that runs.
pub(crate) struct Sink<'a, 'p, T> {
    nodes: &'a [Node<'p, T>],
    gradients: &'a mut [Vec<T>],
    inputs: Inputs,
    pub(crate) pool: &'a Pool<T>,
}

/// A gradient to be added to.
pub(crate) struct Slot<'a, T> {
    pub(crate) data: &'a mut [T],
    /// The numbers are unspecified and must be replaced.
    fresh: bool,
}

impl<T: Scalar> Slot<'_, T> {
    /// Zeros where nothing was added yet.
    pub(crate) fn cleared(self) -> Self {
        if self.fresh {
            self.data.fill(T::zero());
        }
        Slot { fresh: false, ..self }
    }
}

impl<T: Scalar> Sink<'_, '_, T> {
    /// The gradient of an input; `None` when nobody needs it.
    pub(crate) fn slot(&mut self, k: usize) -> Option<Slot<'_, T>> {
        let index = self.inputs[k].filter(|&index| self.nodes[index].tracked)?;
        let length = self.nodes[index].rows * self.nodes[index].cols;
        let (base, offset) = self.base(index);
        let whole = self.nodes[base].rows * self.nodes[base].cols;
        let gradient = &mut self.gradients[base];
        let mut fresh = gradient.is_empty();
        if fresh {
            *gradient = self.pool.take(whole);
            if length < whole {
                gradient.fill(T::zero());
                fresh = false;
            }
        }
        Some(Slot { data: &mut gradient[offset..offset + length], fresh })
    }

    /// Adds `g` to the gradient of an input, which keeps the vector when it is the first.
    pub(crate) fn give(&mut self, k: usize, g: Vec<T>) {
        let Some(index) = self.inputs[k].filter(|&index| self.nodes[index].tracked) else {
            return self.pool.give(g);
        };
        let (base, _) = self.base(index);
        let whole = self.nodes[base].rows * self.nodes[base].cols;
        if self.gradients[base].is_empty() && g.len() == whole {
            self.gradients[base] = g;
            return;
        }
        if let Some(slot) = self.slot(k) {
            loops::accumulate(slot, [&g], |[g]| g);
        }
        self.pool.give(g);
    }

    fn base(&self, index: usize) -> (usize, usize) {
        if let Place::View(base, offset) = self.nodes[index].place { (base, offset) } else { (index, 0) }
    }
}

impl<'p, T: Scalar> Tape<'p, T> {
    /// Nothing is recorded yet.
    pub fn new(pool: &Arc<Pool<T>>) -> Self {
        let store = Store { values: Vec::new(), gradients: Vec::new(), pool: pool.clone() };
        Tape { nodes: RefCell::default(), store: RefCell::new(store) }
    }

    /// Numbers that gradients are taken of, (rows, cols).
    pub fn parameter(&'p self, data: &'p [T], shape: [usize; 2]) -> Var<'p, T> {
        self.given(data, shape, true)
    }

    /// Numbers without a gradient, (rows, cols).
    pub fn input(&'p self, data: &'p [T], shape: [usize; 2]) -> Var<'p, T> {
        self.given(data, shape, false)
    }

    fn given(&'p self, data: &'p [T], [rows, cols]: [usize; 2], tracked: bool) -> Var<'p, T> {
        assert_eq!(data.len(), rows * cols, "numbers of a {rows}x{cols} matrix");
        let place = Place::Borrowed(data);
        self.push(Node { op: None, inputs: [None; 4], rows, cols, place, tracked }, Vec::new())
    }

    /// Numbers without a gradient that the tape keeps, (rows, cols): those of `data` in their order.
    pub fn constant(&'p self, data: impl Iterator<Item = T>, [rows, cols]: [usize; 2]) -> Var<'p, T> {
        let mut value = self.store.borrow().pool.take(rows * cols);
        let count = value.iter_mut().zip(data).map(|(to, from)| *to = from).count();
        assert_eq!(count, rows * cols, "numbers of a {rows}x{cols} matrix");
        let place = Place::Own;
        self.push(Node { op: None, inputs: [None; 4], rows, cols, place, tracked: false }, value)
    }

    /// `value` everywhere, (rows, cols).
    pub fn full(&'p self, value: f64, shape: [usize; 2]) -> Var<'p, T> {
        self.constant(std::iter::repeat(T::from_f64(value)), shape)
    }

    fn push(&'p self, node: Node<'p, T>, value: Vec<T>) -> Var<'p, T> {
        let (mut nodes, mut store) = (self.nodes.borrow_mut(), self.store.borrow_mut());
        let (index, rows, cols) = (nodes.len(), node.rows, node.cols);
        nodes.push(node);
        store.values.push(value);
        store.gradients.push(Vec::new());
        Var { tape: self, index, rows, cols }
    }

    pub(crate) fn record<const N: usize>(
        &'p self,
        op: Op<'p, T>,
        of: [Option<Var<'p, T>>; N],
        [rows, cols]: [usize; 2],
    ) -> Var<'p, T> {
        let mut inputs = [None; 4];
        inputs.iter_mut().zip(of).for_each(|(input, var)| *input = var.map(|var| var.index));
        let nodes = self.nodes.borrow();
        let store = self.store.borrow();
        let mut value = store.pool.take(rows * cols);
        let at = At { nodes: &nodes, values: &store.values, inputs, rows, cols, output: &[] };
        op.operation().forward(&at, &mut value);
        let tracked = inputs.iter().flatten().any(|&index| nodes[index].tracked);
        drop((nodes, store));
        self.push(Node { op: Some(op), inputs, rows, cols, place: Place::Own, tracked }, value)
    }

    /// Computes the gradients of `seed · loss`, one number, by all parameters.
    pub fn backward(&'p self, loss: Var<'p, T>, seed: T) {
        assert_eq!((loss.rows, loss.cols), (1, 1), "the loss is one number");
        let nodes = self.nodes.borrow();
        let store = &mut *self.store.borrow_mut();
        let mut start = store.pool.take(1);
        start[0] = seed;
        let first = Sink {
            nodes: &nodes,
            gradients: &mut store.gradients,
            inputs: [Some(loss.index), None, None, None],
            pool: &store.pool,
        };
        { first }.give(0, start);
        for (index, node) in nodes.iter().enumerate().take(loss.index + 1).rev() {
            let (Some(op), false) = (&node.op, store.gradients[index].is_empty()) else { continue };
            let g = std::mem::take(&mut store.gradients[index]);
            let (inputs, rows, cols) = (node.inputs, node.rows, node.cols);
            let output = &store.values[index];
            let at = At { nodes: &nodes, values: &store.values, inputs, rows, cols, output };
            let mut sink = Sink { nodes: &nodes, gradients: &mut store.gradients, inputs, pool: &store.pool };
            op.operation().backward(&at, g, &mut sink);
        }
    }
}

impl<'p, T: Scalar> Var<'p, T> {
    /// The tape that it is on.
    pub fn tape(self) -> &'p Tape<'p, T> {
        self.tape
    }

    /// Rows and columns.
    pub fn shape(self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// `f` of the numbers, row-major.
    pub fn read<R>(self, f: impl FnOnce(&[T]) -> R) -> R {
        let (nodes, store) = (self.tape.nodes.borrow(), self.tape.store.borrow());
        f(numbers(&nodes, &store.values, self.index))
    }

    /// A copy of the numbers, row-major.
    pub fn numbers(self) -> Vec<T> {
        self.read(<[T]>::to_vec)
    }

    /// The gradient of a parameter, which the tape gives away; zeros where the loss does not depend on it.
    pub fn gradient(self) -> Vec<T> {
        let mut store = self.tape.store.borrow_mut();
        let found = std::mem::take(&mut store.gradients[self.index]);
        if !found.is_empty() {
            return found;
        }
        let mut zeros = store.pool.take(self.rows * self.cols);
        zeros.fill(T::zero());
        zeros
    }

    /// The same numbers under another shape.
    pub fn reshape(self, [rows, cols]: [usize; 2]) -> Self {
        assert_eq!(rows * cols, self.rows * self.cols, "numbers of a {rows}x{cols} matrix");
        self.view(0, rows, cols)
    }

    /// `count` rows from the row `first` on.
    pub fn rows(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.rows, "rows {first} to {} of {}", first + count, self.rows);
        self.view(first * self.cols, count, self.cols)
    }

    fn view(self, offset: usize, rows: usize, cols: usize) -> Self {
        let (place, tracked) = {
            let node = &self.tape.nodes.borrow()[self.index];
            let place = match node.place {
                Place::View(base, before) => Place::View(base, before + offset),
                Place::Own | Place::Borrowed(_) => Place::View(self.index, offset),
            };
            (place, node.tracked)
        };
        self.tape.push(Node { op: None, inputs: [None; 4], rows, cols, place, tracked }, Vec::new())
    }

    pub(crate) fn record(self, op: impl Operation<T> + 'static, shape: [usize; 2]) -> Self {
        self.tape.record(Op::own(op), [Some(self)], shape)
    }
}
