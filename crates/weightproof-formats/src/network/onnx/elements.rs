//! Operators that choose elements and put them in order: Transpose, Slice, Gather, Split, Pad, Concat.
//!
//! Constants are folded. For computed values the same rules are applied to the tensor of the places of the elements, which
//! gives the place that each element of the result comes from.

use super::OnnxError;
use super::dense::width;
use super::fold::{self, at};
use super::limits::{MAX_WIDTH, shape_text};
use super::op::Op;
use super::proto::attribute_kind as kind;
use super::reader::{Computed, Form, Part, Reader, Value, constant, constants, lone_part, part, value};
use super::reshape::integers;
use super::shape::{self, without_batch};
use super::tensor::{Element, Tensor, Values};
use weightproof::network::{Gather, Layer};

/// The place of elements that come from nowhere: padding.
const NOWHERE: i64 = -1;

impl Reader<'_> {
    /// The places `first`, `first + 1`, … of the elements of `x`, in its shape.
    pub fn places(&mut self, op: &Op, x: &Computed, first: usize) -> Result<Tensor, OnnxError> {
        let count = self.budget.tensor(&op.label(), &x.dims)?;
        let places = (first..first + count).map(|k| i64::try_from(k).unwrap_or(i64::MAX)).collect();
        Ok(Tensor {
            dims: x.dims.clone(),
            element: Element::Int,
            values: Values::Ints(places),
            origin: None,
            stored: None,
        })
    }

    /// The value whose elements come from `places` among those of `inputs`, laid end to end; elsewhere it is `constant`.
    pub fn chosen(
        &mut self,
        op: &Op,
        suffix: &str,
        inputs: &[&Computed],
        places: &Tensor,
        constant: f64,
    ) -> Result<Value, OnnxError> {
        let count = places.len();
        if count == 0 || count > MAX_WIDTH {
            let expected = format!("a result of 1 to {MAX_WIDTH} elements");
            return Err(op.fail(expected, format!("the shape {}", shape_text(&places.dims))));
        }
        // A source takes the memory of two numbers.
        self.budget.tensor(&op.label(), &[2, count])?;
        let Values::Ints(list) = &places.values else { return Err(op.fail("places", "other numbers")) };
        let source = list.iter().map(|&place| usize::try_from(place).ok()).collect();
        let layers = inputs.iter().map(|x| x.layer).collect();
        let (gather, dims) = (Gather { source, constant }, places.dims.clone());
        let name = format!("{}{suffix}", op.name);
        let layer = self.sketch.gather(&name, layers, gather, without_batch(&dims));
        Ok(Value::Computed(Computed { layer, dims, ..inputs[0].clone() }))
    }

    /// Applies a rule for constants to the first operand, whatever it is.
    fn choose(
        &mut self,
        op: &Op,
        operands: &[Option<Value>],
        rule: impl FnOnce(&mut Self, &Tensor) -> Result<Tensor, OnnxError>,
    ) -> Result<Value, OnnxError> {
        match value(op, operands, 0)? {
            Value::Constant(tensor) => Ok(constant(rule(self, tensor)?)),
            Value::Computed(x) => {
                let places = self.places(op, x, 0)?;
                let places = rule(self, &places)?;
                self.chosen(op, "", &[x], &places, 0.0)
            }
            Value::Part(part) => Err(lone_part(op, part)),
        }
    }

    /// Transpose by any permutation.
    pub fn transpose(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let perm = |dims: &[usize]| at(op, shape::permutation(dims.len(), op.ints("perm")?));
        if let Value::Computed(x) = value(op, operands, 0)? {
            let perm = perm(&x.dims)?;
            if shape::keeps_order(&x.dims, &perm) {
                let dims = perm.iter().map(|&from| x.dims[from]).collect();
                return Ok(self.renamed(op, x, dims));
            }
        }
        self.choose(op, operands, |reader, tensor| {
            fold::transpose(op, tensor, &perm(&tensor.dims)?, &mut reader.budget)
        })
    }

    /// Slice with constant bounds.
    pub fn slice(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        self.choose(op, operands, |reader, tensor| {
            let mut all = vec![Some(tensor)];
            all.extend(constants(op, &operands[1..])?);
            fold::slice(op, reader.opset, &all, &mut reader.budget)
        })
    }

    /// Gather with constant indices, or of a constant table by computed ones.
    pub fn gather(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        match (value(op, operands, 0)?, value(op, operands, 1)?) {
            (Value::Constant(table), Value::Part(index @ Part { form: Form::Truncated, .. })) => {
                return self.lookup(op, table, index);
            }
            (Value::Constant(table), Value::Computed(x)) if x.element == Element::Int => {
                return self.lookup(op, table, &part(op, x.layer, x, Form::Truncated));
            }
            _ => {}
        }
        self.choose(op, operands, |reader, tensor| {
            let indices = constants(op, &operands[1..])?;
            fold::gather(op, tensor, fold::operand(op, &indices, 0)?, &mut reader.budget)
        })
    }

    /// Split along one axis: as many results as the node has outputs.
    pub fn split(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Vec<Value>, OnnxError> {
        let dims = match value(op, operands, 0)? {
            Value::Constant(tensor) => tensor.dims.clone(),
            Value::Computed(x) => x.dims.clone(),
            Value::Part(part) => return Err(lone_part(op, part)),
        };
        let along = at(op, shape::axis(op.int("axis", 0)?, dims.len(), false))?;
        let given = if self.opset < 13 { op.ints("split")? } else { integers(op, operands, 1)? };
        let parts = op.int("num_outputs", i64::try_from(op.node.output.len()).unwrap_or(0))?;
        if usize::try_from(parts).ok() != Some(op.node.output.len()) || parts == 0 {
            return Err(op.fail("as many parts as outputs, at least one", parts.to_string()));
        }
        let sizes = at(op, shape::parts(dims[along], op.node.output.len(), given, self.opset >= 18))?;
        let mut start = 0;
        let mut results = Vec::with_capacity(sizes.len());
        for size in sizes {
            let range = start..start + size;
            start += size;
            results.push(self.choose(op, operands, |reader, tensor| {
                fold::range_of(op, tensor, along, range, &mut reader.budget)
            })?);
        }
        Ok(results)
    }

    /// Pad: by a constant, or by elements of the data themselves.
    pub fn pad(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = super::reader::computed(op, operands)?;
        let rank = x.dims.len();
        let (given, fill, axes) = if self.opset < 11 {
            (op.ints("pads")?, op.float("value", 0.0)?, None)
        } else {
            let fill = match operands.get(2).and_then(Option::as_ref) {
                None => 0.0,
                Some(Value::Constant(c)) if c.len() == 1 && c.element == x.element => {
                    c.as_floats().map_or(f64::NAN, |numbers| numbers[0])
                }
                Some(_) => return Err(op.fail("a constant number to pad with", "another operand")),
            };
            (integers(op, operands, 1)?, fill, integers(op, operands, 3)?)
        };
        if !fill.is_finite() {
            return Err(op.fail("a finite number to pad with", fill.to_string()));
        }
        let given = given.ok_or_else(|| op.fail("pads", "none"))?;
        let pads = at(op, shape::pads(rank, given, axes))?;
        if self.has_batch(&x.dims) && pads[0] != (0, 0) {
            return Err(op.fail("no padding of the batch", format!("{:?}", pads[0])));
        }
        let mode = op.text("mode", "constant")?;
        let mut sources = Vec::with_capacity(rank);
        for (&size, &(before, after)) in x.dims.iter().zip(&pads) {
            let length = at(op, shape::padded_length(size, before, after, MAX_WIDTH))?;
            self.budget.tensor(&op.label(), &[length])?;
            sources.push(at(op, shape::padded_axis(size, length, before, &mode))?);
        }
        let dims: Vec<usize> = sources.iter().map(Vec::len).collect();
        self.budget.tensor(&op.label(), &dims)?;
        let places = shape::combined(&x.dims, &sources)
            .into_iter()
            .map(|place| place.map_or(NOWHERE, |p| i64::try_from(p).unwrap_or(NOWHERE)));
        let values = Values::Ints(places.collect());
        self.chosen(
            op,
            "",
            &[x],
            &Tensor { dims, element: Element::Int, values, origin: None, stored: None },
            fill,
        )
    }

    /// Concat: of constants folded, else any mixture along an axis that is not the batch.
    pub fn concat(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let rank = match value(op, operands, 0)? {
            Value::Constant(tensor) => tensor.dims.len(),
            Value::Computed(x) => x.dims.len(),
            Value::Part(part) => return Err(lone_part(op, part)),
        };
        let axis = op.attribute("axis", kind::INT)?.ok_or_else(|| op.fail("attribute axis", "none"))?.i;
        let along = at(op, shape::axis(axis, rank, false))?;
        self.joined(op, operands, along)
    }

    /// The operands one after the other along an axis.
    pub fn joined(&mut self, op: &Op, operands: &[Option<Value>], along: usize) -> Result<Value, OnnxError> {
        let mut inputs: Vec<&Computed> = Vec::new();
        let mut tensors: Vec<Tensor> = Vec::new();
        let mut numbers: Vec<Tensor> = Vec::new();
        if operands.iter().all(|operand| matches!(operand, Some(Value::Constant(_)))) {
            return Ok(constant(fold::concat(op, &constants(op, operands)?, along, &mut self.budget)?));
        }
        let has_constants = operands.iter().any(|operand| matches!(operand, Some(Value::Constant(_))));
        let mut first = 0;
        for position in 0..operands.len() {
            match value(op, operands, position)? {
                Value::Constant(tensor) => {
                    let count = self.budget.tensor(&op.label(), &tensor.dims)?;
                    let values = Values::Ints(vec![NOWHERE; count]);
                    tensors.push(Tensor { values, element: Element::Int, ..tensor.as_ref().clone() });
                    numbers.push(tensor.as_ref().clone());
                }
                Value::Computed(x) => {
                    if inputs.first().is_some_and(|other| other.element != x.element) {
                        return Err(op.fail("operands of one type", "several"));
                    }
                    tensors.push(self.places(op, x, first)?);
                    first += width(&x.dims);
                    if has_constants {
                        let zeros = Values::Floats(vec![0.0; self.budget.tensor(&op.label(), &x.dims)?]);
                        let (dims, element) = (x.dims.clone(), x.element);
                        numbers.push(Tensor { dims, element, values: zeros, origin: None, stored: None });
                    }
                    inputs.push(x);
                }
                Value::Part(part) => return Err(lone_part(op, part)),
            }
        }
        let list: Vec<Option<&Tensor>> = tensors.iter().map(Some).collect();
        let places = fold::concat(op, &list, along, &mut self.budget)?;
        if along == 0 && self.has_batch(&inputs[0].dims) {
            return Err(op.fail("an axis other than the batch", "0"));
        }
        let result = self.chosen(op, "", &inputs, &places, 0.0)?;
        let Value::Computed(joined) = &result else { return Ok(result) };
        if !has_constants {
            return Ok(result);
        }
        // The constant parts are added to zeros.
        let list: Vec<Option<&Tensor>> = numbers.iter().map(Some).collect();
        let shifts = fold::concat(op, &list, along, &mut self.budget)?;
        let shift = shifts.as_floats().unwrap_or(&[]).to_vec();
        let layer =
            self.sketch.scale(&format!("{}.constants", op.name), joined.layer, vec![1.0; shift.len()], shift);
        Ok(Value::Computed(Computed { layer, ..joined.clone() }))
    }

    /// Where with a constant condition: elements of one operand or of the other.
    pub fn masked(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let Value::Constant(condition) = value(op, operands, 0)? else {
            return Err(op.fail("a constant condition", "a computed one"));
        };
        let mut dims = condition.dims.clone();
        for k in 1..3 {
            let of = match value(op, operands, k)? {
                Value::Constant(tensor) => &tensor.dims,
                Value::Computed(x) => &x.dims,
                Value::Part(part) => return Err(lone_part(op, part)),
            };
            dims = at(op, shape::broadcast(&dims, of))?;
        }
        let count = self.budget.tensor(&op.label(), &dims)?;
        self.budget.tensor(&op.label(), &[4, count])?;
        let (mut inputs, mut places, mut shift) = (Vec::new(), vec![NOWHERE; count], vec![0.0; count]);
        let chosen = condition.as_numbers();
        let chosen: Vec<bool> =
            shape::broadcast_indices(&condition.dims, &dims).into_iter().map(|k| chosen[k] != 0.0).collect();
        let mut first = 0;
        for (k, wanted) in [(1, true), (2, false)] {
            let of = |own: &[usize]| {
                let indices = shape::broadcast_indices(own, &dims).into_iter().enumerate();
                indices.filter(|(at, _)| chosen[*at] == wanted).collect::<Vec<(usize, usize)>>()
            };
            match value(op, operands, k)? {
                Value::Computed(x) => {
                    for (at, source) in of(&x.dims) {
                        places[at] = i64::try_from(first + source).unwrap_or(NOWHERE);
                    }
                    first += width(&x.dims);
                    inputs.push(x);
                }
                Value::Constant(tensor) => {
                    let numbers = tensor.as_numbers();
                    of(&tensor.dims).into_iter().for_each(|(at, source)| shift[at] = numbers[source]);
                }
                Value::Part(part) => return Err(lone_part(op, part)),
            }
        }
        if inputs.iter().any(|x| x.element != inputs[0].element) {
            return Err(op.fail("operands of one type", "several"));
        }
        if let Some(bad) = shift.iter().find(|v| !v.is_finite()) {
            return Err(op.fail("finite constants where they are chosen", bad.to_string()));
        }
        let places =
            Tensor { dims, element: Element::Int, values: Values::Ints(places), origin: None, stored: None };
        let mut x = self.computed_of(op, |reader| reader.chosen(op, "", &inputs, &places, 0.0))?;
        if shift.iter().any(|v| *v != 0.0) {
            let name = format!("{}.constants", op.name);
            x.layer = self.sketch.scale(&name, x.layer, vec![1.0; shift.len()], shift);
        }
        Ok(Value::Computed(x))
    }

    /// The sum of computed values, repeated where they broadcast.
    pub fn sum_of(&mut self, op: &Op, summands: &[&Computed]) -> Result<Value, OnnxError> {
        let first = summands[0];
        let mut dims = first.dims.clone();
        for x in summands {
            if x.element != first.element {
                let found = format!("{} and {}", first.element, x.element);
                return Err(op.fail("computed summands of one type", found));
            }
            dims = at(op, shape::broadcast(&dims, &x.dims))?;
        }
        self.budget.value(&op.label(), &dims)?;
        let mut layers = Vec::with_capacity(summands.len());
        for (k, x) in summands.iter().enumerate() {
            layers.push(self.spread_to(op, k, x, &dims)?);
        }
        let layer = self.sketch.push(&op.name, Layer::Add, layers, without_batch(&dims));
        Ok(Value::Computed(Computed { layer, dims, ..first.clone() }))
    }

    /// The layer of operand number `k` with its elements repeated to the dimensions `dims`.
    pub fn spread_to(&mut self, op: &Op, k: usize, x: &Computed, dims: &[usize]) -> Result<usize, OnnxError> {
        if width(&x.dims) == width(dims) {
            return Ok(x.layer);
        }
        if self.has_batch(dims) && x.dims.len() == dims.len() && x.dims[0] != 1 {
            return Err(op.fail("no repetition of the batch", shape_text(&x.dims)));
        }
        let places = self.places(op, x, 0)?;
        self.budget.tensor(&op.label(), dims)?;
        let places = places.select(dims.to_vec(), &shape::broadcast_indices(&x.dims, dims));
        match self.chosen(op, &format!(".repeated{}", k + 1), &[x], &places, 0.0)? {
            Value::Computed(repeated) => Ok(repeated.layer),
            Value::Constant(_) | Value::Part(_) => Ok(x.layer),
        }
    }
}
