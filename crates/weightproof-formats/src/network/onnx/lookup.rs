//! Embeddings: rows of a table chosen by computed integers.
//!
//! ```text
//! h_k = [x ≥ k] − [x ≥ k + 1], the first without its lower and the last without its upper end        row = h T
//! ```
//! The table is the matrix of a layer, whose entries are weights like any other. Fractions are cut off, as a Cast does, and numbers beyond
//! the table mean its ends, where ONNX Runtime has an error.

use super::OnnxError;
use super::dense::width;
use super::fold::at;
use super::jumps::Side;
use super::limits::shape_text;
use super::op::Op;
use super::reader::{Computed, Reader, Value};
use super::shape;
use super::tensor::{Element, Tensor, Values};
use super::written_out::Part;
use weightproof::kernels::Matrix;
use weightproof::network::{Affine, Layer};

impl Reader<'_> {
    /// Gather of the rows of a constant table by a computed value that was cast to integers.
    pub fn lookup(&mut self, op: &Op, table: &Tensor, index: &Part) -> Result<Value, OnnxError> {
        let axis = at(op, shape::axis(op.int("axis", 0)?, table.dims.len(), false))?;
        let ([rows, columns], 0, Some(numbers)) = (&table.dims[..], axis, table.as_floats()) else {
            let found = format!("axis {axis} of the shape {}", shape_text(&table.dims));
            return Err(op.fail("a table of floating-point numbers, whose rows are chosen", found));
        };
        let (rows, columns, count) = (*rows, *columns, width(&index.dims));
        if rows < 2 || columns == 0 {
            return Err(op.fail("a table of at least two rows", shape_text(&table.dims)));
        }
        self.budget.value(&op.label(), &[count, rows])?;
        self.budget.tensor(&op.label(), &[columns, rows])?;
        let x = Computed {
            layer: index.of,
            dims: index.dims.clone(),
            element: table.element,
            head: None,
            grid: None,
        };
        // One comparison for each row but the first.
        let repeated = places(count, rows - 1, |i, _| i);
        let Value::Computed(repeated) = self.chosen(op, ".repeated", &[&x], &repeated, 0.0)? else {
            return Err(op.fail("a computed index", "a constant"));
        };
        let shifts = (0..count).flat_map(|_| 1..rows).map(|k| -(k as f64)).collect();
        let above = self.sketch.scale(
            &format!("{}.places", op.name),
            repeated.layer,
            vec![1.0; count * (rows - 1)],
            shifts,
        );
        let reached = self.step(op, "reached", above, Side::Below, (1.0, 1.0))?;
        let reached = Computed { layer: reached, ..repeated };
        let place = |i: usize, k: usize| i * (rows - 1) + k;
        let lower = places(count, rows, |i, k| if k == 0 { usize::MAX } else { place(i, k - 1) });
        let upper = places(count, rows, |i, k| if k + 1 == rows { usize::MAX } else { place(i, k) });
        let lower = self.chosen(op, ".lower", &[&reached], &lower, 1.0)?;
        let upper = self.chosen(op, ".upper", &[&reached], &upper, 0.0)?;
        let (Value::Computed(lower), Value::Computed(upper)) = (lower, upper) else {
            return Err(op.fail("a computed index", "a constant"));
        };
        let upper = self.affine(op, "beyond", upper.layer, (-1.0, 0.0))?;
        let shape = self.sketch.shape(lower.layer).to_vec();
        let chosen =
            self.sketch.push(&format!("{}.chosen", op.name), Layer::Add, vec![lower.layer, upper], shape);
        let chosen = Computed { layer: chosen, dims: vec![1, count, rows], ..lower };
        let weight = Matrix::from_fn(columns, rows, |j, i| numbers[i * columns + j]);
        let affine = Affine { weight, bias: vec![0.0; columns], has_bias: false, stored: None };
        let origins = table.origin.iter().cloned().collect();
        let dims = [&index.dims[..], &[columns]].concat();
        self.rows_times(op, &chosen, affine, origins, dims)
    }
}

/// Places of a table of `rows` by `columns`; the largest number is no place.
fn places(rows: usize, columns: usize, place: impl Fn(usize, usize) -> usize) -> Tensor {
    let list = (0..rows).flat_map(|i| (0..columns).map(move |k| (i, k)));
    let values = list.map(|(i, k)| i64::try_from(place(i, k)).unwrap_or(-1)).collect();
    Tensor {
        dims: vec![1, rows, columns],
        element: Element::Int,
        values: Values::Ints(values),
        origin: None,
        stored: None,
    }
}
