//! Products of integers whose step follows from the data (theory.md §16): DynamicQuantizeLinear, MatMulInteger, ConvInteger, and what
//! ONNX Runtime fuses of them.
//!
//! ```text
//! q, s, z = DynamicQuantizeLinear(x)        float((q − z) (W − w)) · (s t) = V x̂      x̂ = s (q − z), V = t (W − w)
//! ```
//! The quantizer is a layer that gives `x̂`; the product is a layer with the weights `V`, which know their integers. It is made when the
//! sum of products is multiplied by the steps `s t`.

use super::OnnxError;
use super::dense::floats;
use super::fold;
use super::limits::shape_text;
use super::op::Op;
use super::operators::{Arithmetic, IntegerProduct};
use super::quantize::{constant_at, zeros};
use super::reader::{Computed, Form, Part, Reader, Value, computed, constant, lone_part, value};
use super::tensor::{Element, StoredNumbers, Tensor, Values};
use std::rc::Rc;
use weightproof::network::{DynamicQuantizer, Layer};

/// A product of integers that waits for its steps.
#[derive(Clone)]
pub struct IntegerSum<'a> {
    op: Op<'a>,
    is_convolution: bool,
    /// What the integers stand for: the layer, its dimensions, and its step where that is constant.
    x: (usize, Vec<usize>, Option<f64>),
    weight: Rc<Tensor>,
    /// Zero points of the weights, their bits and whether they have a sign.
    zeros: (Vec<i64>, u32, bool),
}

/// What is read of a dynamic quantizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dynamic {
    /// Its integers.
    Integers,
    /// Its step, times the numbers that the reader has at this place.
    Step(usize),
    /// Its zero point.
    Zero,
}

impl<'a> Reader<'a> {
    /// DynamicQuantizeLinear: integers, their step and their zero point.
    pub fn dynamic_quantize(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Vec<Value>, OnnxError> {
        let x = computed(op, operands)?.clone();
        let of = self.dynamic_quantizer(op, &op.name, &x)?;
        self.factors.push(one());
        let step = Dynamic::Step(self.factors.len() - 1);
        let part = |dynamic: Dynamic, dims: Vec<usize>, element: Element| {
            let (form, name) = (Form::Dynamic(dynamic), op.name.clone());
            Value::Part(Part { of, dims, element, form, name })
        };
        let integers = Element::Small { bits: 8, signed: false };
        Ok(vec![
            part(Dynamic::Integers, x.dims, integers),
            part(step, vec![], Element::F32),
            part(Dynamic::Zero, vec![], integers),
        ])
    }

    /// The layer of a quantizer whose step follows from the range of `x`.
    fn dynamic_quantizer(&mut self, op: &Op, name: &str, x: &Computed) -> Result<usize, OnnxError> {
        if x.element != Element::F32 {
            return Err(op.fail("an operand of type FLOAT", format!("{}", x.element)));
        }
        if self.factors.is_empty() {
            self.notes.push("steps of dynamic quantization are those of one sample at a time".into());
        }
        self.float64 = true;
        let shape = self.sketch.shape(x.layer).to_vec();
        let layer = Layer::DynamicQuantize(DynamicQuantizer::default());
        Ok(self.sketch.push(name, layer, vec![x.layer], shape))
    }

    /// MatMulInteger and ConvInteger: a sum of products that waits for its steps.
    pub fn integer_product(
        &mut self,
        op: &Op<'a>,
        kind: IntegerProduct,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        let sum = self.integer_sum(op, kind, operands, (2, 3))?;
        let (of, dims) = (sum.x.0, sum.x.1.clone());
        self.sums.push(sum);
        let form = Form::Sum(self.sums.len() - 1);
        Ok(Value::Part(Part { of, dims, element: Element::Int, form, name: op.name.clone() }))
    }

    /// MatMulIntegerToFloat: the product, its steps and a bias.
    pub fn integer_product_to_float(
        &mut self,
        op: &Op<'a>,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        let sum = self.integer_sum(op, IntegerProduct::MatMul, operands, (4, 5))?;
        let steps = constant_at(op, operands, 3)?.clone();
        let steps = match (value(op, operands, 2)?, sum.x.2) {
            (Value::Part(Part { of, form: Form::Dynamic(Dynamic::Step(k)), .. }), None) if *of == sum.x.0 => {
                fold::arithmetic(op, Arithmetic::Mul, &self.factors[*k].clone(), &steps, &mut self.budget)?
            }
            (Value::Constant(step), Some(unit)) if step.as_floats() == Some(&[unit]) => steps,
            _ => return Err(op.fail("the step of the integers in operand number 1", "another one")),
        };
        let Value::Computed(result) = self.stepped(op, &sum, &steps, None)? else { unreachable!("a layer") };
        self.with_bias(op, result, operands, 6)
    }

    /// DynamicQuantizeMatMul: a quantizer, the product, its steps and a bias.
    pub fn dynamic_quantize_matmul(
        &mut self,
        op: &Op<'a>,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?.clone();
        let layer = self.dynamic_quantizer(op, &format!("{}.quantize", op.name), &x)?;
        self.factors.push(one());
        let (weight, zeros) = self.integers(op, operands, 1, 3)?;
        let named = Op { name: op.name.clone(), node: op.node };
        let sum = IntegerSum { op: named, is_convolution: false, x: (layer, x.dims, None), weight, zeros };
        let steps = constant_at(op, operands, 2)?.clone();
        let Value::Computed(result) = self.stepped(op, &sum, &steps, None)? else { unreachable!("a layer") };
        self.with_bias(op, result, operands, 4)
    }

    /// The integers of both operands; zero points are operands number `places`.
    fn integer_sum(
        &mut self,
        op: &Op<'a>,
        kind: IntegerProduct,
        operands: &[Option<Value>],
        places: (usize, usize),
    ) -> Result<IntegerSum<'a>, OnnxError> {
        let zero = operands.get(places.0).and_then(Option::as_ref);
        let other = || op.fail("the zero point of the integers in operand number 1", "another one");
        let x = match value(op, operands, 0)? {
            Value::Part(part @ Part { form: Form::Dynamic(Dynamic::Integers), .. }) => match zero {
                Some(Value::Part(Part { of, form: Form::Dynamic(Dynamic::Zero), .. })) if *of == part.of => {
                    (part.of, part.dims.clone(), None)
                }
                _ => return Err(other()),
            },
            Value::Computed(Computed { grid: Some(grid), layer, dims, .. }) => {
                let found = zeros(op, operands, places.0)?;
                let found =
                    found.map_or(Some(0), |zeros| if let [zero] = zeros.list { Some(*zero) } else { None });
                if found != Some(grid.zero()) {
                    return Err(other());
                }
                (*layer, dims.clone(), Some(grid.step()))
            }
            Value::Part(part) => return Err(lone_part(op, part)),
            Value::Computed(_) | Value::Constant(_) => {
                let expected = "integers of a DynamicQuantizeLinear or QuantizeLinear as operand number 1";
                return Err(op.fail(expected, "another operand"));
            }
        };
        let (weight, zeros) = self.integers(op, operands, 1, places.1)?;
        let is_convolution = kind == IntegerProduct::Conv;
        Ok(IntegerSum { op: Op { name: op.name.clone(), node: op.node }, is_convolution, x, weight, zeros })
    }

    /// Constant integers of 8 bits and their zero points.
    #[expect(clippy::type_complexity, reason = "what an `IntegerSum` has")]
    fn integers(
        &self,
        op: &Op,
        operands: &[Option<Value>],
        place: usize,
        zero: usize,
    ) -> Result<(Rc<Tensor>, (Vec<i64>, u32, bool)), OnnxError> {
        let Value::Constant(weight) = value(op, operands, place)? else {
            return Err(op.fail(format!("a constant operand number {}", place + 1), "a computed one"));
        };
        let (Element::Small { bits, signed }, Values::Ints(_)) = (weight.element, &weight.values) else {
            return Err(op.fail("integers of 8 bits as weights", format!("{}", weight.element)));
        };
        let list = match zeros(op, operands, zero)? {
            Some(zeros) if (zeros.bits, zeros.signed) == (bits, signed) => zeros.list.to_vec(),
            Some(_) => return Err(op.fail("zero points of the type of the weights", "another type")),
            None => vec![0],
        };
        Ok((weight.clone(), (list, bits, signed)))
    }

    /// The numbers that the integers of a dynamic quantizer stand for, where the operands are its outputs.
    pub fn dynamic_numbers(&self, operands: &[Option<Value>]) -> Option<Value> {
        let dynamic = |place: usize| match operands.get(place) {
            Some(Some(Value::Part(part @ Part { form: Form::Dynamic(dynamic), .. }))) => {
                Some((part, *dynamic))
            }
            _ => None,
        };
        let [(part, Dynamic::Integers), (step, Dynamic::Step(k)), (zero, Dynamic::Zero)] =
            [dynamic(0)?, dynamic(1)?, dynamic(2)?]
        else {
            return None;
        };
        let plain = self.factors[k] == one() && [step.of, zero.of] == [part.of; 2];
        let (layer, dims) = (part.of, part.dims.clone());
        let numbers = Computed { layer, dims, element: Element::F32, head: None, grid: None };
        plain.then_some(Value::Computed(numbers))
    }

    /// A part of dynamic quantization after a multiplication by constants.
    pub fn dynamic_times_constant(&mut self, op: &Op, part: &Part, c: &Tensor) -> Result<Value, OnnxError> {
        match part.form {
            Form::Dynamic(Dynamic::Step(k)) => {
                let before = self.factors[k].clone();
                let product = fold::arithmetic(op, Arithmetic::Mul, &before, c, &mut self.budget)?;
                let dims = product.dims.clone();
                self.factors.push(product);
                let form = Form::Dynamic(Dynamic::Step(self.factors.len() - 1));
                Ok(Value::Part(Part { form, dims, ..part.clone() }))
            }
            Form::Sum(k) => {
                let sum = self.sums[k].clone();
                let Some(unit) = sum.x.2 else {
                    return Err(
                        op.fail("the step of its DynamicQuantizeLinear among the factors", "a constant")
                    );
                };
                let steps = floats(op, c, Element::F32)?.iter().map(|step| step / unit).collect();
                let steps = Tensor { values: Values::Floats(steps), ..c.clone() };
                self.stepped(op, &sum, &steps, op.node.output.first().map(String::as_str))
            }
            Form::Dynamic(Dynamic::Integers | Dynamic::Zero)
            | Form::Bend { .. }
            | Form::Polynomial(_)
            | Form::Truncated => Err(lone_part(op, part)),
        }
    }

    /// A sum of products of integers times their steps.
    pub fn dynamic_product(&mut self, op: &Op, a: &Part, b: &Part) -> Result<Value, OnnxError> {
        for (sum, step) in [(a, b), (b, a)] {
            if let (Form::Sum(k), Form::Dynamic(Dynamic::Step(factors))) = (sum.form, step.form)
                && sum.of == step.of
            {
                let (sum, steps) = (self.sums[k].clone(), self.factors[factors].clone());
                return self.stepped(op, &sum, &steps, op.node.output.first().map(String::as_str));
            }
        }
        let is_integer = |part: &Part| matches!(part.form, Form::Sum(_) | Form::Dynamic(_));
        if is_integer(a) && is_integer(b) {
            return Err(
                op.fail("a product of integers and the step of the quantizer that it reads", "others")
            );
        }
        Err(lone_part(op, a))
    }

    /// The layer of a product whose weights have `steps`: one, or one for each output; a bias may be added to the value `result`.
    fn stepped(
        &mut self,
        op: &Op,
        sum: &IntegerSum<'a>,
        steps: &Tensor,
        result: Option<&str>,
    ) -> Result<Value, OnnxError> {
        let dims = &sum.weight.dims;
        let (layer, x_dims, _) = &sum.x;
        // Outputs are the last axis of a matrix and of what it gives, the first of kernels and the second of what they give.
        let (along, behind) = match (sum.is_convolution, dims.len()) {
            (true, rank) if rank >= 3 => (0, rank - 2),
            (false, 2) => (1, 0),
            _ => return Err(sum.op.fail("weights of two dimensions, or kernels", shape_text(dims))),
        };
        let count = dims[along];
        let numbers = floats(op, steps, Element::F32)?;
        if let Some(bad) = numbers.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return Err(op.fail("steps above zero", bad.to_string()));
        }
        let others: usize = steps.dims.iter().product();
        let place = steps.dims.len().checked_sub(behind + 1);
        if others > 1 && place.and_then(|place| steps.dims.get(place)) != Some(&others) || others == 0 {
            let expected = format!("one step, or {count} along the outputs of the product");
            return Err(op.fail(expected, shape_text(&steps.dims)));
        }
        let (zeros, bits, signed) = &sum.zeros;
        let each = |list: usize, what: &str| {
            if list == 1 || list == count {
                Ok(())
            } else {
                Err(op.fail(format!("one {what}, or {count}"), list.to_string()))
            }
        };
        each(numbers.len(), "step")?;
        each(zeros.len(), "zero point")?;
        let groups = if numbers.len() == 1 && zeros.len() == 1 { 1 } else { count };
        let inner: usize = dims[along + 1..].iter().product();
        let stored = StoredNumbers {
            bits: *bits,
            signed: *signed,
            steps: numbers.iter().copied().cycle().take(groups).collect(),
            zeros: zeros.iter().copied().cycle().take(groups).collect(),
            groups: if groups == 1 {
                vec![]
            } else {
                (0..sum.weight.len()).map(|k| (k / inner % count) as u32).collect()
            },
        };
        let weight = self.stored_as(op, &sum.weight, stored, Element::F32)?;
        let (layer, dims) = (*layer, x_dims.clone());
        let x = Value::Computed(Computed { layer, dims, element: Element::F32, head: None, grid: None });
        let operands = [Some(x), Some(constant(weight))];
        let product = if sum.is_convolution {
            self.conv(&sum.op, &operands)?
        } else {
            self.matmul(&sum.op, &operands)?
        };
        if let (Value::Computed(product), Some(result)) = (&product, result) {
            let layer = self.rows_of.get(&product.layer).copied().unwrap_or(product.layer);
            self.sketch.await_bias(layer, result);
        }
        Ok(product)
    }

    /// A product with the bias that is operand number `place`, if there is one.
    fn with_bias(
        &mut self,
        op: &Op,
        product: Computed,
        operands: &[Option<Value>],
        place: usize,
    ) -> Result<Value, OnnxError> {
        if operands.get(place).is_some_and(Option::is_some) {
            let tensor = constant_at(op, operands, place)?;
            let bias = floats(op, tensor, Element::F32)?.to_vec();
            let layer = self.rows_of.get(&product.layer).copied().unwrap_or(product.layer);
            let rows = product.dims.last().copied().unwrap_or(1);
            if bias.len() != rows {
                return Err(op.fail(format!("{rows} biases"), bias.len().to_string()));
            }
            self.sketch.set_bias(layer, bias, vec![], tensor.origin.clone());
        }
        Ok(Value::Computed(product))
    }
}

/// The number one.
fn one() -> Tensor {
    Tensor {
        dims: vec![],
        element: Element::F32,
        values: Values::Floats(vec![1.0]),
        origin: None,
        stored: None,
    }
}
