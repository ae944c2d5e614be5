//! Arithmetic with constants and activations.

use super::OnnxError;
use super::dense::{floats, width};
use super::fold::{self, at};
use super::op::Op;
use super::operators::Arithmetic;
use super::proto::attribute_kind;
use super::reader::{Computed, Form, Part, Reader, Value, computed, constant, lone_part, value};
use super::shape;
use super::tensor::Tensor;
use weightproof::network::{Activation, Layer};

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

    /// Add, Sub, Mul, Div. Powers that do not become a part of an activation are layers.
    pub fn arithmetic(
        &mut self,
        op: &Op,
        kind: Arithmetic,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        let is_power = |operand: &Option<Value>| {
            matches!(operand, Some(Value::Part(Part { form: Form::Polynomial(_), .. })))
        };
        let found = self.arithmetic_of_parts(op, kind, operands);
        if found.is_ok() || !operands.iter().any(is_power) {
            return found;
        }
        let of =
            |operand: &Option<Value>| operand.clone().map(|value| self.materialized(op, value)).transpose();
        let operands: Vec<Option<Value>> = operands.iter().map(of).collect::<Result<_, _>>()?;
        self.arithmetic_of_parts(op, kind, &operands)
    }

    fn arithmetic_of_parts(
        &mut self,
        op: &Op,
        kind: Arithmetic,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        match (value(op, operands, 0)?, value(op, operands, 1)?) {
            (Value::Constant(a), Value::Constant(b)) => {
                Ok(constant(fold::arithmetic(op, kind, a, b, &mut self.budget)?))
            }
            (Value::Computed(x), Value::Constant(c)) => self.with_constant(op, kind, x, c, 0),
            (Value::Constant(c), Value::Computed(x)) => self.with_constant(op, kind, x, c, 1),
            (Value::Part(part), Value::Constant(c)) => self.part_with_constant(op, kind, part, c, false),
            (Value::Constant(c), Value::Part(part)) => self.part_with_constant(op, kind, part, c, true),
            (Value::Computed(x), Value::Part(part)) | (Value::Part(part), Value::Computed(x)) => {
                self.part_with_computed(op, kind, x, part)
            }
            (Value::Computed(x), Value::Computed(y)) => match kind {
                Arithmetic::Add => self.sum_of(op, &[x, y]),
                Arithmetic::Sub => {
                    let y = self.negated(op, y)?;
                    self.sum_of(op, &[x, &y])
                }
                Arithmetic::Mul => self.product(op, x, y),
                Arithmetic::Div => self.quotient(op, x, y),
            },
            (Value::Part(part @ Part { form: Form::Truncated, .. }), _) => Err(lone_part(op, part)),
            (Value::Part(a), Value::Part(b)) if kind == Arithmetic::Mul => self.dynamic_product(op, a, b),
            (Value::Part(part), Value::Part(_)) => Err(lone_part(op, part)),
        }
    }

    /// `−y`.
    fn negated(&mut self, op: &Op, y: &Computed) -> Result<Computed, OnnxError> {
        let count = self.budget.tensor(&op.label(), &y.dims)?;
        let name = format!("{}.negated", op.name);
        let layer = self.sketch.scale(&name, y.layer, vec![-1.0; count], vec![0.0; count]);
        Ok(Computed { layer, ..y.clone() })
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

    /// Max and Min of any number of values and constants: a clip where there is one value and the constants are the same for all
    /// elements, else by `max(x, y) = y + relu(x − y)`.
    pub fn extremum(
        &mut self,
        op: &Op,
        largest: bool,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        let (mut found, mut ends): (Option<Computed>, Vec<&Tensor>) = (None, Vec::new());
        for position in 0..operands.len() {
            match value(op, operands, position)? {
                Value::Computed(x) => {
                    found = Some(match found {
                        None => x.clone(),
                        Some(other) => self.larger(op, largest, &other, x)?,
                    });
                }
                Value::Constant(c) => ends.push(c),
                Value::Part(part) => return Err(lone_part(op, part)),
            }
        }
        let mut x = found.ok_or_else(|| op.fail("an operand that depends on the input", "constants"))?;
        for end in ends {
            let numbers = self.spread(op, end, x.element, &x.dims)?;
            let is_one = numbers.iter().all(|c| *c == numbers[0] || c.is_nan() && numbers[0].is_nan());
            let clipped = match (is_one, largest) {
                (true, true) => self.clipped(op, &x, numbers[0], f64::INFINITY)?,
                (true, false) => self.clipped(op, &x, f64::NEG_INFINITY, numbers[0])?,
                (false, _) => self.beyond(op, &x, &numbers, largest),
            };
            if let Value::Computed(clipped) = clipped {
                x = clipped;
            }
        }
        Ok(Value::Computed(x))
    }

    /// `max(x, c) = c + relu(x − c)`, `min(x, c) = c − relu(c − x)`, with a constant for each element.
    fn beyond(&mut self, op: &Op, x: &Computed, c: &[f64], largest: bool) -> Value {
        let sign = if largest { 1.0 } else { -1.0 };
        let shift = c.iter().map(|c| -sign * c).collect();
        let above = self.sketch.scale(&format!("{}.above", op.name), x.layer, vec![sign; c.len()], shift);
        let relu = self.sketch.activation(&op.name, above, Activation::Relu);
        let name = format!("{}.end", op.name);
        let layer = self.sketch.scale(&name, relu, vec![sign; c.len()], c.to_vec());
        Value::Computed(Computed { layer, ..x.clone() })
    }

    /// The larger, or the smaller, of two computed values.
    fn larger(&mut self, op: &Op, largest: bool, x: &Computed, y: &Computed) -> Result<Computed, OnnxError> {
        let (first, second) = if largest { (x, y) } else { (y, x) };
        let negated = self.negated(op, second)?;
        let name = |part: &str| Op { name: format!("{}.{part}", op.name), node: op.node };
        let Value::Computed(difference) = self.sum_of(&name("difference"), &[first, &negated])? else {
            return Err(op.fail("computed operands", "others"));
        };
        let relu = self.sketch.activation(&op.name, difference.layer, Activation::Relu);
        let mut above = Computed { layer: relu, ..difference };
        if !largest {
            above = self.negated(&name("above"), &above)?;
        }
        match self.sum_of(&name("sum"), &[y, &above])? {
            Value::Computed(sum) => Ok(sum),
            Value::Constant(_) | Value::Part(_) => Err(op.fail("computed operands", "others")),
        }
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

    /// PRelu: `s x + (1 − s) relu(x)`, a leaky ReLU where all slopes are the same.
    pub fn prelu(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let Value::Constant(slope) = value(op, operands, 1)? else {
            return Err(op.fail("constant slopes", "computed ones"));
        };
        // Before operator set 7 one slope for each channel is written without the axes behind it.
        let per_channel = self.opset < 7 && slope.dims.len() == 1 && slope.len() > 1 && x.dims.len() > 1;
        let slope = if per_channel {
            let behind = vec![1; x.dims.len() - 2];
            &slope.with_dims([slope.dims.clone(), behind].concat())
        } else {
            slope.as_ref()
        };
        let slopes = self.spread(op, slope, x.element, &x.dims)?;
        if slopes.iter().all(|s| *s == slopes[0]) {
            return self.activation(op, Activation::LeakyRelu { slope: slopes[0] }, operands);
        }
        let rest = slopes.iter().map(|s| 1.0 - s).collect();
        let zeros = || vec![0.0; slopes.len()];
        let relu = self.sketch.activation(&op.name, x.layer, Activation::Relu);
        let bent = self.sketch.scale(&format!("{}.bent", op.name), relu, rest, zeros());
        let line = self.sketch.scale(&format!("{}.line", op.name), x.layer, slopes.clone(), zeros());
        let shape = self.sketch.shape(x.layer).to_vec();
        let layer = self.sketch.push(&format!("{}.sum", op.name), Layer::Add, vec![line, bent], shape);
        Ok(Value::Computed(Computed { layer, ..x.clone() }))
    }

    /// `out · f(into · x + shift)`.
    pub fn scaled_activation(
        &mut self,
        op: &Op,
        f: Activation,
        [into, shift, out]: [f64; 3],
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let mut layer = x.layer;
        let count = width(&x.dims);
        if (into, shift) != (1.0, 0.0) {
            self.budget.tensor(&op.label(), &x.dims)?;
            layer = self.sketch.scale(
                &format!("{}.argument", op.name),
                layer,
                vec![into; count],
                vec![shift; count],
            );
        }
        layer = self.sketch.activation(&op.name, layer, f);
        if out != 1.0 {
            self.budget.tensor(&op.label(), &x.dims)?;
            layer =
                self.sketch.scale(&format!("{}.factor", op.name), layer, vec![out; count], vec![0.0; count]);
        }
        Ok(Value::Computed(Computed { layer, ..x.clone() }))
    }

    /// The activations of the domain com.microsoft, some with a bias.
    pub fn microsoft(
        &mut self,
        op: &Op,
        f: Activation,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        if operands.get(1).is_none_or(Option::is_none) {
            return self.activation(op, f, operands);
        }
        // The operator may add a bias first.
        let biased = self.arithmetic(op, Arithmetic::Add, operands)?;
        self.activation(op, f, &[Some(biased)])
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
            Value::Part(part) => Err(lone_part(op, part)),
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
        if let (Some(&product), Arithmetic::Add) = (self.rows_of.get(&x.layer), kind)
            && read_once
            && self.sketch.awaits_bias(product, read_name).is_some()
        {
            let channels = self.sketch.shape(product)[0];
            let (first, others) = numbers.split_at(channels);
            if others.chunks(channels).all(|row| row == first) {
                let mut steps = self.spread_steps(c, &x.dims);
                steps.truncate(channels);
                self.sketch.set_bias(product, first.to_vec(), steps, c.origin.clone());
                return Ok(Value::Computed(Computed { dims, ..x.clone() }));
            }
        }
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
                let inverse = self.function(op, "inverse", x, Activation::Reciprocal)?;
                let layer = self.sketch.scale(&op.name, inverse.layer, numbers, vec![0.0; count]);
                return Ok(Value::Computed(Computed { layer, dims, ..x.clone() }));
            }
            Arithmetic::Div => {
                if let Some(k) = numbers.iter().position(|&c| c == 0.0) {
                    return Err(op.fail("divisors other than 0", format!("0 at element {k}")));
                }
                let layer = self.sketch.divide(&op.name, x.layer, numbers);
                return Ok(Value::Computed(Computed { layer, dims, ..x.clone() }));
            }
        };
        let layer = self.sketch.scale(&op.name, x.layer, scale, shift);
        Ok(Value::Computed(Computed { layer, dims, ..x.clone() }))
    }
}
