//! Gemm and MatMul: a constant matrix times rows or columns.
//!
//! A matrix that meets several rows of a sample (tokens, positions) is a convolution of one tap over them: the layer keeps its matrix.

use super::OnnxError;
use super::fold::{self, at};
use super::limits::shape_text;
use super::op::Op;
use super::reader::{Computed, Reader, Value, lone_part, value};
use super::shape;
use super::tensor::{Element, StoredNumbers, Tensor};
use crate::network::sketch::check_window;
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{Affine, Conv, Layer, StoredIntegers};

/// The two operands of a product, one of which must be constant.
enum Product<'v> {
    /// `x · B`.
    Right(&'v Computed, &'v Tensor),
    /// `A · x`.
    Left(&'v Tensor, &'v Computed),
}

impl<'v> Product<'v> {
    fn new(op: &Op, operands: &'v [Option<Value>]) -> Result<Self, OnnxError> {
        match (value(op, operands, 0)?, value(op, operands, 1)?) {
            (Value::Computed(x), Value::Constant(b)) => Ok(Product::Right(x, b)),
            (Value::Constant(a), Value::Computed(x)) => Ok(Product::Left(a, x)),
            (Value::Constant(_), Value::Constant(_)) => {
                Err(op.fail("one operand that depends on the input", "two constants"))
            }
            (Value::Part(part), _) | (_, Value::Part(part)) => Err(lone_part(op, part)),
            (Value::Computed(_), Value::Computed(_)) => {
                Err(OnnxError::Branches { node: op.name.clone(), op: op.kind() })
            }
        }
    }
}

impl Reader<'_> {
    /// Gemm, `alpha A' B' + beta C`.
    ///
    /// The weights are those stored: `alpha` becomes a scale layer in front. `beta` is multiplied into the bias.
    pub fn gemm(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let (alpha, beta) = (op.float("alpha", 1.0)?, op.float("beta", 1.0)?);
        let (flip_a, flip_b) = (op.flag("transA")?, op.flag("transB")?);
        let flipped = |dims: &[usize], flip: bool| match dims {
            [rows, cols] => Ok(if flip { [*cols, *rows] } else { [*rows, *cols] }),
            other => Err(op.fail("operands of two dimensions", shape_text(other))),
        };
        // Before operator set 7 data with more dimensions are taken as a row, by those who write them.
        let mut operands = operands.to_vec();
        if let Some(Some(Value::Computed(x))) = operands.first_mut()
            && self.opset < 7
            && x.dims.len() > 2
            && x.dims[..x.dims.len() - 1].iter().all(|d| *d == 1)
        {
            x.dims = vec![1, width(&x.dims)];
        }
        let operands = &operands[..];
        // `weight` is (n_out, n_in): Bᵀ for x·B, A for A·x.
        let (x, matrix, flip, dims, rows) = match Product::new(op, operands)? {
            Product::Right(x, b) => {
                let ([rows, inner], [_, cols]) = (flipped(&x.dims, flip_a)?, flipped(&b.dims, flip_b)?);
                if flip_a {
                    expect_one(op, "row", rows, inner)?;
                }
                (x, b, !flip_b, vec![rows, cols], rows)
            }
            Product::Left(a, x) => {
                let ([rows, _], [inner, cols]) = (flipped(&a.dims, flip_a)?, flipped(&x.dims, flip_b)?);
                expect_one(op, "column", cols, inner)?;
                (x, a, flip_a, vec![rows, 1], 1)
            }
        };
        let (weight, mut stored) = self.matrix(op, matrix, flip, x.element, width(&x.dims) / rows)?;
        let mut origins: Vec<String> = matrix.origin.iter().cloned().collect();
        let (mut bias, mut has_bias) = (vec![0.0; weight.rows()], false);
        match operands.get(2).and_then(Option::as_ref) {
            Some(Value::Constant(c)) if beta != 0.0 => {
                let numbers = self.spread(op, c, x.element, &dims)?;
                let (first, others) = numbers.split_at(weight.rows());
                if !others.chunks(first.len()).all(|row| row == first) {
                    return Err(op.fail("the same operand C for all rows", "several"));
                }
                bias = first.iter().map(|b| beta * b).collect();
                has_bias = true;
                if let Some(stored) = stored.as_mut().filter(|_| beta == 1.0) {
                    stored.bias_steps = self.spread_steps(c, &dims);
                }
                origins.extend(c.origin.clone());
            }
            None | Some(Value::Constant(_)) => {}
            Some(Value::Computed(_) | Value::Part(_)) => {
                return Err(op.fail("a constant operand C", "a computed one"));
            }
        }
        let mut input = x.layer;
        if alpha != 1.0 {
            let count = self.budget.tensor(&op.label(), self.sketch.shape(input))?;
            input =
                self.sketch.scale(&format!("{}.alpha", op.name), input, vec![alpha; count], vec![0.0; count]);
        }
        if beta != 1.0 {
            self.notes.push(format!("node {}: beta = {beta} is multiplied into the bias", op.name));
        }
        let affine = Affine { weight, bias, has_bias, stored };
        let x = Computed { layer: input, ..x.clone() };
        if rows > 1 {
            return self.rows_times(op, &x, affine, origins, dims);
        }
        let layer = self.sketch.dense(&op.name, input, affine, origins);
        Ok(Value::Computed(Computed { layer, dims, ..x }))
    }

    /// MatMul of rows with a constant matrix, of a constant matrix with columns, or of two computed values.
    pub fn matmul(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        if let [Some(Value::Computed(a)), Some(Value::Computed(b))] = operands {
            return self.matmul_of_computed(op, a, b);
        }
        let (x, matrix, flip, dims, inner, rows) = match Product::new(op, operands)? {
            Product::Right(x, b) => {
                let (x_dims, b_dims) = (as_row(&x.dims), as_column(&b.dims));
                let (inner, cols) = (x_dims[x_dims.len() - 1], b_dims[b_dims.len() - 1]);
                let mut dims = x_dims[..x_dims.len() - 1].to_vec();
                dims.splice(..0, vec![1; b_dims.len().saturating_sub(x_dims.len())]);
                if x.dims.len() < 2 {
                    dims.pop();
                }
                dims.extend((b.dims.len() > 1).then_some(cols));
                let rows = width(&x_dims) / inner;
                (x, b, true, dims, inner, rows)
            }
            Product::Left(a, x) => {
                let (a_dims, x_dims) = (as_row(&a.dims), as_column(&x.dims));
                let (rows, inner) = (a_dims[a_dims.len() - 2], x_dims[x_dims.len() - 2]);
                expect_one(op, "column", width(&x_dims) / inner, inner)?;
                let mut dims = vec![1; a_dims.len().max(x_dims.len()) - 2];
                dims.extend((a.dims.len() > 1).then_some(rows));
                dims.extend((x.dims.len() > 1).then_some(1));
                (x, a, false, dims, inner, 1)
            }
        };
        // A vector is a column on the right and a row on the left: as a weight, always a single row.
        let vector = matrix.dims.len() == 1;
        let plain =
            matrix.with_dims(if vector { vec![1, matrix.len()] } else { last_two(op, &matrix.dims)? });
        let weight = self.matrix(op, &plain, flip && !vector, x.element, inner)?;
        let origins = matrix.origin.iter().cloned().collect();
        if rows > 1 {
            let (weight, stored) = weight;
            let bias = vec![0.0; weight.rows()];
            return self.rows_times(op, x, Affine { weight, bias, has_bias: false, stored }, origins, dims);
        }
        let result = op.node.output.first().map_or("", String::as_str);
        let layer = self.sketch.product(&op.name, x.layer, weight, origins, result);
        Ok(Value::Computed(Computed { layer, dims, ..x.clone() }))
    }

    /// `W z + b` for every row `z` of `x`, whose last dimension is that of a row: a convolution of one tap, whose positions are the rows.
    pub fn rows_times(
        &mut self,
        op: &Op,
        x: &Computed,
        affine: Affine,
        origins: Vec<String>,
        dims: Vec<usize>,
    ) -> Result<Value, OnnxError> {
        let (n_out, n_in) = (affine.weight.rows(), affine.weight.cols());
        let rows = width(&x.dims) / n_in;
        let places = self.places(op, x, 0)?.with_dims(vec![rows, n_in]);
        let places = fold::transpose(op, &places, &[1, 0], &mut self.budget)?;
        let turned = self.chosen(op, ".rows", &[x], &places, 0.0)?;
        let Value::Computed(turned) = turned else { return Ok(turned) };
        let window = Window::new([n_in, 1, rows], n_out, [1, 1]);
        at(op, check_window(&window))?;
        let has_bias = affine.has_bias;
        let layer = Layer::Conv(Conv { affine, window });
        let product = self.sketch.push(&op.name, layer, vec![turned.layer], vec![n_out, rows]);
        self.sketch.note_origins(product, origins);
        if !has_bias {
            self.sketch.await_bias(product, op.node.output.first().map_or("", String::as_str));
        }
        let product = Computed { layer: product, dims: vec![n_out, rows], ..x.clone() };
        let places = self.places(op, &product, 0)?;
        let places = fold::transpose(op, &places, &[1, 0], &mut self.budget)?;
        let places = places.with_dims(dims);
        let back = self.chosen(op, ".columns", &[&product], &places, 0.0)?;
        if let Value::Computed(back) = &back {
            self.rows_of.insert(back.layer, product.layer);
        }
        Ok(back)
    }

    /// The weights of shape (n_out, n_in) in a constant of two dimensions, transposed first where `flip`.
    pub fn matrix(
        &mut self,
        op: &Op,
        tensor: &Tensor,
        flip: bool,
        element: Element,
        n_in: usize,
    ) -> Result<(Matrix<f64>, Option<StoredIntegers>), OnnxError> {
        let numbers = floats(op, tensor, element)?;
        let [rows, cols] = tensor.dims[..] else {
            return Err(op.fail("weights of two dimensions", shape_text(&tensor.dims)));
        };
        let (n_out, found) = if flip { (cols, rows) } else { (rows, cols) };
        if n_out == 0 || found != n_in {
            let expected = format!("a weight matrix for {n_in} inputs");
            return Err(op.fail(expected, shape_text(&tensor.dims)));
        }
        self.budget.tensor(&op.label(), &tensor.dims)?;
        let weight = Matrix::from_vec(rows, cols, numbers.to_vec());
        let stored = tensor.stored.as_ref().map(|stored| {
            let group = |i: usize, j: usize| if flip { j * cols + i } else { i * cols + j };
            let place = |k: usize| group(k / n_in, k % n_in);
            let groups = (0..stored.groups.len()).map(|k| stored.groups[place(k)]).collect();
            integers(stored, groups)
        });
        Ok((if flip { weight.transposed() } else { weight }, stored))
    }

    /// The steps of the integers that a constant is stored as, one for each element of `dims`, to which it broadcasts; none when it
    /// is stored otherwise.
    pub fn spread_steps(&self, tensor: &Tensor, dims: &[usize]) -> Vec<f64> {
        let Some(stored) = &tensor.stored else { return vec![] };
        let Ok(common) = shape::broadcast(dims, &tensor.dims) else { return vec![] };
        let indices = shape::broadcast_indices(&tensor.dims, &common);
        indices.into_iter().map(|k| stored.steps[stored.group(k)]).collect()
    }

    /// The numbers of a constant that broadcasts to `dims`, one per element.
    pub fn spread(
        &mut self,
        op: &Op,
        tensor: &Tensor,
        element: Element,
        dims: &[usize],
    ) -> Result<Vec<f64>, OnnxError> {
        let numbers = floats(op, tensor, element)?;
        let common = at(op, shape::broadcast(dims, &tensor.dims))?;
        if width(&common) != width(dims) {
            let expected = format!("a constant that broadcasts to the shape {}", shape_text(dims));
            return Err(op.fail(expected, shape_text(&tensor.dims)));
        }
        self.budget.tensor(&op.label(), &common)?;
        Ok(shape::broadcast_indices(&tensor.dims, &common).into_iter().map(|i| numbers[i]).collect())
    }
}

/// The integers of a layer's weights, whose groups in their order are `groups`.
pub fn integers(stored: &StoredNumbers, groups: Vec<u32>) -> StoredIntegers {
    let StoredNumbers { bits, signed, steps, zeros, .. } = stored.clone();
    StoredIntegers { bits, signed, steps, zeros, groups, bias_steps: vec![] }
}

/// The numbers of a constant of the type `element`.
pub fn floats<'t>(op: &Op, tensor: &'t Tensor, element: Element) -> Result<&'t [f64], OnnxError> {
    let fail = || op.fail(format!("a constant of type {element}"), tensor.element.to_string());
    tensor.as_floats().filter(|_| tensor.element == element).ok_or_else(fail)
}

/// Number of elements; a computed value has at most `MAX_WIDTH`, a constant at most what the budget allows.
pub fn width(dims: &[usize]) -> usize {
    dims.iter().product()
}

fn as_row(dims: &[usize]) -> Vec<usize> {
    if dims.len() < 2 { vec![1, width(dims)] } else { dims.to_vec() }
}

fn as_column(dims: &[usize]) -> Vec<usize> {
    if dims.len() < 2 { vec![width(dims), 1] } else { dims.to_vec() }
}

/// The dimensions of a matrix in a stack of one.
fn last_two(op: &Op, dims: &[usize]) -> Result<Vec<usize>, OnnxError> {
    let (stack, matrix) = dims.split_at(dims.len().saturating_sub(2));
    if matrix.len() != 2 || stack.iter().any(|&d| d != 1) {
        return Err(op.fail("one weight matrix", shape_text(dims)));
    }
    Ok(matrix.to_vec())
}

fn expect_one(op: &Op, kind: &str, count: usize, length: usize) -> Result<(), OnnxError> {
    if count == 1 {
        return Ok(());
    }
    Err(op.fail(format!("a product with one {kind} per sample"), format!("{count} of length {length}")))
}
