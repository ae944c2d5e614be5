//! Arithmetic with constants, activations, and the GELU that exporters write out.

use super::OnnxError;
use super::dense::{floats, width};
use super::fold::{self, at};
use super::limits::shape_text;
use super::op::Op;
use super::operators::Arithmetic;
use super::proto::attribute_kind;
use super::reader::{Computed, ErfTerm, Reader, Value, computed, constant, lone_erf, value};
use super::shape;
use super::tensor::Tensor;
use std::f64::consts::FRAC_1_SQRT_2;
use weightproof::network::Activation;

/// How far the constants of a written-out GELU may be from theirs, relatively: the rounding of f32.
const GELU_CONSTANT_TOLERANCE: f64 = 1e-6;

impl Reader<'_> {
    /// An activation on every element.
    pub fn activation(
        &mut self,
        op: &Op,
        f: Activation,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let layer = self.sketch.activation(&op.name, x.layer, f);
        Ok(Value::Computed(Computed { layer, ..x.clone() }))
    }

    /// Add, Sub, Mul, Div.
    pub fn arithmetic(
        &mut self,
        op: &Op,
        kind: Arithmetic,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        let branches = || OnnxError::Branches { node: op.name.clone(), op: op.kind() };
        match (value(op, operands, 0)?, value(op, operands, 1)?) {
            (Value::Constant(a), Value::Constant(b)) => {
                Ok(constant(fold::arithmetic(op, kind, a, b, &mut self.budget)?))
            }
            (Value::Computed(x), Value::Constant(c)) => self.with_constant(op, kind, x, c, 0),
            (Value::Constant(c), Value::Computed(x)) => self.with_constant(op, kind, x, c, 1),
            (Value::Erf(term), Value::Constant(c)) => self.erf_with_constant(op, kind, term, c, false),
            (Value::Constant(c), Value::Erf(term)) => self.erf_with_constant(op, kind, term, c, true),
            (Value::Computed(x), Value::Erf(term)) | (Value::Erf(term), Value::Computed(x)) => {
                if kind != Arithmetic::Mul {
                    return Err(lone_erf(op, term));
                }
                self.finish_gelu(op, x, term)
            }
            (Value::Computed(x), Value::Computed(y)) => match kind {
                Arithmetic::Add => self.sum_of(op, &[x, y]),
                Arithmetic::Sub => {
                    let count = self.budget.tensor(&op.label(), &y.dims)?;
                    let name = format!("{}.negated", op.name);
                    let layer = self.sketch.scale(&name, y.layer, vec![-1.0; count], vec![0.0; count]);
                    self.sum_of(op, &[x, &Computed { layer, ..y.clone() }])
                }
                Arithmetic::Mul | Arithmetic::Div => Err(branches()),
            },
            (Value::Erf(_), Value::Erf(_)) => Err(branches()),
        }
    }

    /// Sum of any number of operands.
    pub fn sum(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let mut summands = Vec::with_capacity(operands.len());
        for position in 0..operands.len() {
            if let Value::Computed(x) = value(op, operands, position)? {
                summands.push(x);
            }
        }
        if summands.len() == operands.len() && summands.len() > 1 {
            return self.sum_of(op, &summands);
        }
        let mut sum = value(op, operands, 0)?.clone();
        for summand in &operands[1..] {
            sum = self.arithmetic(op, Arithmetic::Add, &[Some(sum), summand.clone()])?;
        }
        Ok(sum)
    }

    /// Clip: the ends are attributes up to operator set 10, operands after.
    pub fn clip(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let end = |name: &str, position: usize, none: f64| {
            if self.opset < 11 {
                return Ok(op.attribute(name, attribute_kind::FLOAT)?.map_or(none, |a| f64::from(a.f)));
            }
            match operands.get(position).and_then(Option::as_ref) {
                None => Ok(none),
                Some(Value::Constant(c)) if c.len() == 1 => Ok(floats(op, c, x.element)?[0]),
                Some(_) => Err(op.fail(format!("{name} to be one constant number"), "another operand")),
            }
        };
        let (low, high) = (end("min", 1, f64::NEG_INFINITY)?, end("max", 2, f64::INFINITY)?);
        self.clipped(op, x, low, high)
    }

    /// Max and Min of a value and constants, the same for all elements.
    pub fn extremum(
        &mut self,
        op: &Op,
        largest: bool,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
        let mut found = None;
        for position in 0..operands.len() {
            match value(op, operands, position)? {
                Value::Computed(x) if found.is_none() => found = Some(x),
                Value::Computed(_) => {
                    return Err(OnnxError::Branches { node: op.name.clone(), op: op.kind() });
                }
                Value::Constant(c) => match c.as_floats() {
                    Some([first, rest @ ..]) if rest.iter().all(|other| other == first) => {
                        if largest {
                            low = if *first > low || first.is_nan() { *first } else { low };
                        } else {
                            high = if *first < high || first.is_nan() { *first } else { high };
                        }
                    }
                    _ => return Err(op.fail("one constant number for all elements", shape_text(&c.dims))),
                },
                Value::Erf(term) => return Err(lone_erf(op, term)),
            }
        }
        let x = found.ok_or_else(|| op.fail("an operand that depends on the input", "constants"))?;
        for operand in operands.iter().flatten() {
            if let Value::Constant(c) = operand {
                self.spread(op, c, x.element, &x.dims)?;
            }
        }
        self.clipped(op, x, low, high)
    }

    /// `x` kept between two numbers, the largest and least of f32 standing for no end.
    fn clipped(&mut self, op: &Op, x: &Computed, low: f64, high: f64) -> Result<Value, OnnxError> {
        let low = if low <= f64::from(f32::MIN) { f64::NEG_INFINITY } else { low };
        let high = if high >= f64::from(f32::MAX) { f64::INFINITY } else { high };
        if !(low <= high) || low == f64::INFINITY || high == f64::NEG_INFINITY {
            return Err(op.fail("a least value of at most the largest", format!("{low} and {high}")));
        }
        let layer = match (low, high) {
            (f64::NEG_INFINITY, f64::INFINITY) => x.layer,
            (0.0, f64::INFINITY) => self.sketch.activation(&op.name, x.layer, Activation::Relu),
            _ => self.sketch.activation(&op.name, x.layer, Activation::Clip { low, high }),
        };
        Ok(Value::Computed(Computed { layer, ..x.clone() }))
    }

    /// Neg.
    pub fn negate(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        match value(op, operands, 0)? {
            Value::Constant(tensor) => {
                self.budget.tensor(&op.label(), &tensor.dims)?;
                Ok(constant(fold::negate(tensor)))
            }
            Value::Computed(x) => {
                let count = self.budget.tensor(&op.label(), &x.dims)?;
                let layer = self.sketch.scale(&op.name, x.layer, vec![-1.0; count], vec![0.0; count]);
                Ok(Value::Computed(Computed { layer, ..x.clone() }))
            }
            Value::Erf(term) => Err(lone_erf(op, term)),
        }
    }

    /// `x ∘ c`, where `x` is operand number `place`: the bias of the product before it, or a scale layer.
    fn with_constant(
        &mut self,
        op: &Op,
        kind: Arithmetic,
        x: &Computed,
        c: &Tensor,
        place: usize,
    ) -> Result<Value, OnnxError> {
        let numbers = self.spread(op, c, x.element, &x.dims)?;
        let dims = at(op, shape::broadcast(&x.dims, &c.dims))?;
        self.budget.tensor(&op.label(), &dims)?;
        let count = numbers.len();
        let constant_first = place == 1;
        let read_name = op.node.input.get(place).map_or("", String::as_str);
        let read_once = self.plan.uses.get(read_name) == Some(&1);
        let each = self.sketch.awaits_bias(x.layer, read_name).filter(|_| read_once).unwrap_or(0);
        let negated = || numbers.iter().map(|c| -c).collect::<Vec<f64>>();
        // A bias is the same at all positions of a channel.
        let uniform = |positions: &[f64]| positions.iter().all(|c| *c == positions[0]);
        let takes_bias = each > 0 && numbers.chunks(each).all(uniform);
        let biases = |numbers: Vec<f64>| numbers.into_iter().step_by(each.max(1)).collect();
        let steps = || biases(self.spread_steps(c, &x.dims));
        let (scale, shift) = match kind {
            Arithmetic::Add if takes_bias => {
                let (numbers, steps) = (biases(numbers), steps());
                self.sketch.set_bias(x.layer, numbers, steps, c.origin.clone());
                return Ok(Value::Computed(Computed { dims, ..x.clone() }));
            }
            Arithmetic::Sub if takes_bias && !constant_first => {
                let (numbers, steps) = (biases(negated()), steps());
                self.sketch.set_bias(x.layer, numbers, steps, c.origin.clone());
                return Ok(Value::Computed(Computed { dims, ..x.clone() }));
            }
            Arithmetic::Add => (vec![1.0; count], numbers),
            Arithmetic::Sub if constant_first => (vec![-1.0; count], numbers),
            Arithmetic::Sub => (vec![1.0; count], negated()),
            Arithmetic::Mul => (numbers, vec![0.0; count]),
            Arithmetic::Div if constant_first => {
                return Err(op.fail("a constant divisor", "a computed one"));
            }
            Arithmetic::Div => {
                if let Some(k) = numbers.iter().position(|&c| c == 0.0) {
                    return Err(op.fail("divisors other than 0", format!("0 at element {k}")));
                }
                (numbers.iter().map(|c| 1.0 / c).collect(), vec![0.0; count])
            }
        };
        let layer = self.sketch.scale(&op.name, x.layer, scale, shift);
        Ok(Value::Computed(Computed { layer, dims, ..x.clone() }))
    }

    /// Erf of `x / √2`.
    pub fn erf(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        match self.sketch.multiple_of(x.layer) {
            Some((of, factor)) if is_close(factor, FRAC_1_SQRT_2) => {
                let (dims, element, name) = (x.dims.clone(), x.element, op.name.clone());
                Ok(Value::Erf(ErfTerm { of, dims, element, factor: 1.0, shift: 0.0, name }))
            }
            _ => Err(op.fail("the argument x / sqrt 2, as in the GELU", "another one")),
        }
    }

    /// `factor · erf + shift` after an operation with one number.
    fn erf_with_constant(
        &mut self,
        op: &Op,
        kind: Arithmetic,
        term: &ErfTerm,
        c: &Tensor,
        constant_first: bool,
    ) -> Result<Value, OnnxError> {
        let numbers = self.spread(op, c, term.element, &term.dims)?;
        let c = numbers[0];
        if numbers.iter().any(|&other| other != c) {
            return Err(lone_erf(op, term));
        }
        let (factor, shift) = match kind {
            Arithmetic::Add => (term.factor, term.shift + c),
            Arithmetic::Mul => (term.factor * c, term.shift * c),
            Arithmetic::Sub if !constant_first => (term.factor, term.shift - c),
            Arithmetic::Div if !constant_first => (term.factor / c, term.shift / c),
            Arithmetic::Sub | Arithmetic::Div => return Err(lone_erf(op, term)),
        };
        Ok(Value::Erf(ErfTerm { factor, shift, ..term.clone() }))
    }

    /// `k x · factor (1 + erf(x / √2)) = 2 k factor · gelu(x)`.
    fn finish_gelu(&mut self, op: &Op, x: &Computed, term: &ErfTerm) -> Result<Value, OnnxError> {
        let k = if x.layer == term.of {
            1.0
        } else {
            match self.sketch.multiple_of(x.layer) {
                Some((of, k)) if of == term.of => k,
                _ => return Err(lone_erf(op, term)),
            }
        };
        if !is_close(term.factor, term.shift) || x.dims != term.dims {
            return Err(lone_erf(op, term));
        }
        let mut layer = self.sketch.activation(&term.name, term.of, Activation::Gelu);
        let factor = 2.0 * k * term.factor;
        if factor != 1.0 {
            let count = self.budget.tensor(&op.label(), &x.dims)?;
            layer = self.sketch.scale(&op.name, layer, vec![factor; count], vec![0.0; count]);
        }
        Ok(Value::Computed(Computed { layer, ..x.clone() }))
    }

    /// Softmax and LogSoftmax over all elements: dropped, and nothing may follow.
    ///
    /// Up to operator set 12 the elements from `axis` on are normalized together, from 13 on only those along it.
    pub fn softmax(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let default = if self.opset < 13 { 1 } else { -1 };
        let along = at(op, shape::axis(op.int("axis", default)?, x.dims.len(), self.opset < 13))?;
        let group: usize = if self.opset < 13 { width(&x.dims[along..]) } else { x.dims[along] };
        if group != width(&x.dims) {
            let expected = format!("the axis of the classes of the shape {}", shape_text(&x.dims));
            return Err(op.fail(expected, along.to_string()));
        }
        Ok(Value::Computed(Computed {
            softmax: Some(format!("{} (node {})", op.kind(), op.name)),
            ..x.clone()
        }))
    }
}

fn is_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= GELU_CONSTANT_TOLERANCE * b.abs()
}
