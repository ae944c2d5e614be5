//! Operators that leave the elements of a value alone, and Shape.

use super::OnnxError;
use super::fold::{self, at};
use super::op::Op;
use super::operators::Rename;
use super::proto::data_type::BOOL;
use super::reader::{Computed, Form, Head, Part, Reader, Value, computed, constant, lone_part, part, value};
use super::shape::{self, without_batch};
use super::tensor::{Element, Tensor, Values, type_name};

impl Reader<'_> {
    /// Flatten, Reshape, Squeeze, Unsqueeze.
    pub fn reshape(
        &mut self,
        op: &Op,
        rename: Rename,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        match value(op, operands, 0)? {
            Value::Constant(tensor) => {
                let dims = self.target(op, rename, &tensor.dims, operands)?;
                self.budget.tensor(&op.label(), &dims)?;
                Ok(constant(tensor.with_dims(dims)))
            }
            // What a head chose has another shape than what it was chosen from.
            Value::Computed(Computed { head: Some(Head { chooses: true, .. }), .. }) => {
                value(op, operands, 0).cloned()
            }
            Value::Computed(x) => {
                let dims = self.target(op, rename, &x.dims, operands)?;
                Ok(self.renamed(op, x, dims))
            }
            Value::Part(part) => Err(lone_part(op, part)),
        }
    }

    fn target(
        &self,
        op: &Op,
        rename: Rename,
        dims: &[usize],
        operands: &[Option<Value>],
    ) -> Result<Vec<usize>, OnnxError> {
        match rename {
            Rename::Flatten => at(op, shape::flatten(dims, op.int("axis", 1)?)),
            Rename::Reshape => {
                let target = integers(op, operands, 1)?.ok_or_else(|| op.fail("a target shape", "none"))?;
                let mut target = target.to_vec();
                // A batch that the file fixes is written into shapes, too.
                let of_data = matches!(operands.first(), Some(Some(Value::Computed(_))));
                let batch = self.batch.and_then(|n| i64::try_from(n).ok()).filter(|_| of_data);
                if let (Some(first), [1, ..]) = (target.first_mut().filter(|d| Some(**d) == batch), dims) {
                    *first = 1;
                }
                at(op, shape::reshape(dims, &target, op.flag("allowzero")?))
            }
            Rename::Squeeze => at(op, shape::squeeze(dims, self.axes(op, operands)?)),
            Rename::Unsqueeze => {
                let list = self.axes(op, operands)?.ok_or_else(|| op.fail("axes", "none"))?;
                at(op, shape::unsqueeze(dims, list))
            }
        }
    }

    /// Axes: an attribute up to operator set 12, an operand after.
    fn axes<'v>(&self, op: &Op<'v>, operands: &'v [Option<Value>]) -> Result<Option<&'v [i64]>, OnnxError> {
        if self.opset < 13 { op.ints("axes") } else { integers(op, operands, 1) }
    }

    /// The elements of `x` under other dimensions.
    pub fn renamed(&mut self, op: &Op, x: &Computed, dims: Vec<usize>) -> Value {
        let layer = self.sketch.reshape(&op.name, x.layer, without_batch(&dims));
        Value::Computed(Computed { layer, dims, ..x.clone() })
    }

    /// Identity.
    pub fn pass(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        value(op, operands, 0).cloned()
    }

    /// Dropout: nothing during inference.
    pub fn dropout(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        match operands.get(2).and_then(Option::as_ref) {
            None => {}
            Some(Value::Constant(flag)) if matches!(&flag.values, Values::Ints(v) if v.iter().all(|&v| v == 0)) =>
                {}
            Some(_) => return Err(op.fail("training_mode to be the constant false", "another value")),
        }
        self.pass(op, operands)
    }

    /// Cast between floating-point types; any cast of constants.
    pub fn cast(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let code = op.int("to", 0)?;
        let code = i32::try_from(code).unwrap_or(-1);
        let element = Element::from_code(code);
        let element = element.ok_or_else(|| op.fail("a cast to a type that is read", type_name(code)))?;
        match value(op, operands, 0)? {
            Value::Constant(tensor) => {
                self.budget.tensor(&op.label(), &tensor.dims)?;
                Ok(constant(fold::cast(tensor, element)))
            }
            Value::Computed(Computed { head: Some(Head { chooses: true, .. }), .. }) => {
                value(op, operands, 0).cloned()
            }
            Value::Computed(x) if element.is_float() => {
                if matches!(element, Element::F16 | Element::Bf16) {
                    self.notes.push(format!("node {}: rounding to {element} is not modelled", op.name));
                }
                Ok(Value::Computed(Computed { element, ..x.clone() }))
            }
            Value::Computed(x) if element == Element::Int && code != BOOL => {
                Ok(if x.element == Element::Int {
                    Value::Computed(x.clone())
                } else {
                    Value::Part(part(op, x.layer, x, Form::Truncated))
                })
            }
            Value::Computed(_) => Err(op.fail("a cast to a floating-point type", type_name(code))),
            Value::Part(part) if element == Element::F32 && matches!(part.form, Form::Sum(_)) => {
                Ok(Value::Part(Part { element, ..part.clone() }))
            }
            Value::Part(part) if element == Element::Int && matches!(part.form, Form::Truncated) => {
                Ok(Value::Part(part.clone()))
            }
            Value::Part(part) => Err(lone_part(op, part)),
        }
    }

    /// Shape: known for one sample, so a constant.
    pub fn shape(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let dims = match value(op, operands, 0)? {
            Value::Constant(tensor) => &tensor.dims,
            Value::Computed(_) => &computed(op, operands)?.dims,
            Value::Part(part) => &part.dims,
        };
        let rank = i64::try_from(dims.len()).unwrap_or(i64::MAX);
        let place = |i: i64| {
            let from_front = if i < 0 { i.saturating_add(rank) } else { i }.clamp(0, rank);
            usize::try_from(from_front).unwrap_or(0)
        };
        let (start, end) = (place(op.int("start", 0)?), place(op.int("end", rank)?));
        let range = dims.get(start..end.max(start)).unwrap_or(&[]);
        Ok(constant(Tensor::ints(range.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect())))
    }
}

/// Operand number `position` as a list of integers, where it is there.
pub fn integers<'v>(
    op: &Op,
    operands: &'v [Option<Value>],
    position: usize,
) -> Result<Option<&'v [i64]>, OnnxError> {
    match operands.get(position).and_then(Option::as_ref) {
        None => Ok(None),
        Some(Value::Constant(tensor)) => tensor
            .as_ints()
            .map(Some)
            .ok_or_else(|| op.fail("a list of integers", tensor.element.to_string())),
        Some(Value::Computed(_) | Value::Part(_)) => {
            Err(op.fail("a constant list of integers", "a computed value"))
        }
    }
}
