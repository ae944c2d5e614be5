//! Activations that exporters write out: GELU with Erf or Tanh, SiLU, HardSwish, Mish, Softsign.
//!
//! ```text
//! x · (1 + erf(x / √2)) / 2        x · (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2        x · sigmoid(β x)
//! x · clip(x + 3, 0, 6) / 6        x · tanh(softplus(x))                               x / (1 + |x|)
//! ```
//! Other products of computed values are layers ([`super::product`]).

use super::OnnxError;
use super::integer::Dynamic;
use super::op::Op;
use super::operators::Arithmetic;
use super::reader::{Computed, Reader, Value, computed, value};
use super::tensor::{Element, Tensor};
use crate::network::sketch::UniformScale;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
use weightproof::network::Activation;

/// Factor of the cube in the hyperbolic-tangent form of GELU.
const GELU_CUBIC: f64 = 0.044_715;

/// A function of one layer that is no layer itself: a part of an activation.
#[derive(Clone)]
pub struct Part {
    /// The layer of `x`.
    pub of: usize,
    pub dims: Vec<usize>,
    pub element: Element,
    pub form: Form,
    /// Name of the node that began it; the activation gets it.
    pub name: String,
}

/// What is computed of `x`.
#[derive(Clone, Copy)]
pub enum Form {
    /// `factor · (2 g(x) / x − 1) + shift` for a GELU `g`: erf or tanh of its argument.
    Bend { gelu: Activation, factor: f64, shift: f64 },
    /// `c₀ + c₁ x + c₂ x² + c₃ x³`.
    Polynomial([f64; 4]),
    /// `x` without its fraction: the rows that a Gather takes of a table.
    Truncated,
    /// Of a dynamic quantizer, the layer `of`.
    Dynamic(Dynamic),
    /// A sum of products of its integers, at this place of the reader.
    Sum(usize),
}

/// The error for a part that does not become an activation.
pub fn lone_part(op: &Op, part: &Part) -> OnnxError {
    let whole = match part.form {
        Form::Bend { gelu: Activation::Gelu, .. } => "Erf to be part of x * (1 + erf(x / sqrt 2)) / 2",
        Form::Truncated => "a cast to integers to be the indices of a Gather, as in an embedding",
        Form::Dynamic(_) => {
            "the outputs of DynamicQuantizeLinear to be read by MatMulInteger, ConvInteger and the Mul behind them"
        }
        Form::Sum(_) => "a Cast to FLOAT and a Mul by the steps behind MatMulInteger and ConvInteger",
        Form::Bend { .. } | Form::Polynomial(_) => {
            "a power of a computed value to be part of x * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2"
        }
    };
    op.fail(format!("{whole} (node {})", part.name), op.kind())
}

/// `factor · f(z)` for the layer z.
struct Gated {
    /// z.
    of: usize,
    f: Activation,
    factor: f64,
}

impl Reader<'_> {
    /// Erf of `x / √2`.
    pub fn erf(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        match self.sketch.multiple_of(x.layer) {
            Some((of, factor)) if is_close(factor, FRAC_1_SQRT_2, x.element) => {
                let form = Form::Bend { gelu: Activation::Gelu, factor: 1.0, shift: 0.0 };
                Ok(Value::Part(part(op, of, x, form)))
            }
            _ => Err(op.fail("the argument x / sqrt 2, as in the GELU", "another one")),
        }
    }

    /// Tanh, an activation or a part of a GELU.
    pub fn tanh(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let Value::Part(inner) = value(op, operands, 0)? else {
            return self.activation(op, Activation::Tanh, operands);
        };
        let factor = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
        let expected = [0.0, factor, 0.0, factor * GELU_CUBIC];
        match inner.form {
            Form::Polynomial(c) if c.iter().zip(expected).all(|(c, e)| is_close(*c, e, inner.element)) => {
                let form = Form::Bend { gelu: Activation::GeluTanh, factor: 1.0, shift: 0.0 };
                Ok(Value::Part(Part { form, ..inner.clone() }))
            }
            Form::Polynomial(_) => {
                let whole = self.materialized(op, Value::Part(inner.clone()))?;
                self.activation(op, Activation::Tanh, &[Some(whole)])
            }
            Form::Bend { .. } | Form::Truncated | Form::Dynamic(_) | Form::Sum(_) => {
                Err(lone_part(op, inner))
            }
        }
    }

    /// Log of a sigmoid: `−ln(1 + exp(−z))`.
    pub fn log(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let Some((Activation::Sigmoid, z)) = self.sketch.function(x.layer) else {
            return Err(op.fail("Log of a Sigmoid", "of another value"));
        };
        let count = self.budget.tensor(&op.label(), &x.dims)?;
        let negated = |reader: &mut Self, layer, part: &str| {
            let name = format!("{}.{part}", op.name);
            reader.sketch.scale(&name, layer, vec![-1.0; count], vec![0.0; count])
        };
        let argument = negated(self, z, "argument");
        let softplus = self.sketch.activation(&op.name, argument, Activation::Softplus);
        let layer = negated(self, softplus, "factor");
        Ok(Value::Computed(Computed { layer, ..x.clone() }))
    }

    /// Pow of a computed value: a square or a cube as parts, other powers as layers.
    pub fn power(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let exponent = match value(op, operands, 1)? {
            Value::Constant(c) if c.len() == 1 => {
                c.as_floats().map_or_else(|| c.as_ints().map_or(f64::NAN, |v| v[0] as f64), |v| v[0])
            }
            Value::Constant(_) | Value::Computed(_) | Value::Part(_) => f64::NAN,
        };
        let form = match exponent {
            1.0 => return Ok(Value::Computed(x.clone())),
            2.0 => [0.0, 0.0, 1.0, 0.0],
            3.0 => [0.0, 0.0, 0.0, 1.0],
            exponent if exponent.is_finite() => {
                let x = x.clone();
                return self.raised(op, &x, exponent).map(Value::Computed);
            }
            _ => return Err(op.fail("one constant exponent", "another operand")),
        };
        Ok(Value::Part(part(op, x.layer, x, Form::Polynomial(form))))
    }

    /// A part after an operation with one number.
    pub fn part_with_constant(
        &mut self,
        op: &Op,
        kind: Arithmetic,
        part: &Part,
        c: &Tensor,
        constant_first: bool,
    ) -> Result<Value, OnnxError> {
        if let Form::Dynamic(_) | Form::Sum(_) = part.form {
            let is_product = kind == Arithmetic::Mul;
            return if is_product {
                self.dynamic_times_constant(op, part, c)
            } else {
                Err(lone_part(op, part))
            };
        }
        let numbers = self.spread(op, c, part.element, &part.dims)?;
        let c = numbers[0];
        if numbers.iter().any(|&other| other != c) {
            return Err(lone_part(op, part));
        }
        // `m · part + a`.
        let (m, a) = match kind {
            Arithmetic::Add => (1.0, c),
            Arithmetic::Mul => (c, 0.0),
            Arithmetic::Sub if !constant_first => (1.0, -c),
            Arithmetic::Sub => (-1.0, c),
            Arithmetic::Div if !constant_first => (1.0 / c, 0.0),
            Arithmetic::Div => return Err(lone_part(op, part)),
        };
        let form = match part.form {
            Form::Bend { gelu, factor, shift } => {
                Form::Bend { gelu, factor: m * factor, shift: m * shift + a }
            }
            Form::Polynomial([c0, c1, c2, c3]) => Form::Polynomial([m * c0 + a, m * c1, m * c2, m * c3]),
            Form::Truncated | Form::Dynamic(_) | Form::Sum(_) => return Err(lone_part(op, part)),
        };
        Ok(Value::Part(Part { form, ..part.clone() }))
    }

    /// A part with a layer: the end of a GELU, or a polynomial.
    pub fn part_with_computed(
        &mut self,
        op: &Op,
        kind: Arithmetic,
        x: &Computed,
        part: &Part,
    ) -> Result<Value, OnnxError> {
        let Some(k) = self.multiple(x.layer, part.of).filter(|_| x.dims == part.dims) else {
            return Err(lone_part(op, part));
        };
        match (part.form, kind) {
            // `k x · factor (1 + bend) = 2 k factor · gelu(x)`.
            (Form::Bend { gelu, factor, shift }, Arithmetic::Mul) if is_close(factor, shift, x.element) => {
                self.multiplied(op, &part.name, x, &Gated { of: part.of, f: gelu, factor: 2.0 * k * factor })
            }
            (Form::Polynomial([c0, c1, c2, 0.0]), Arithmetic::Mul) => Ok(Value::Part(Part {
                form: Form::Polynomial([0.0, k * c0, k * c1, k * c2]),
                ..part.clone()
            })),
            (Form::Polynomial([c0, c1, c2, c3]), Arithmetic::Add) => {
                Ok(Value::Part(Part { form: Form::Polynomial([c0, c1 + k, c2, c3]), ..part.clone() }))
            }
            (
                Form::Bend { .. } | Form::Polynomial(_) | Form::Truncated | Form::Dynamic(_) | Form::Sum(_),
                _,
            ) => Err(lone_part(op, part)),
        }
    }

    /// The product of two layers: an activation where one of them is its gate, a power of one layer, else a layer of its own.
    pub fn product(&mut self, op: &Op, x: &Computed, y: &Computed) -> Result<Value, OnnxError> {
        if x.dims == y.dims && x.element == y.element {
            if x.layer == y.layer {
                return Ok(Value::Part(part(op, x.layer, x, Form::Polynomial([0.0, 0.0, 1.0, 0.0]))));
            }
            for (x, gate) in [(x, y), (y, x)] {
                if let Some(gated) = self.gated(x, gate.layer) {
                    return self.multiplied(op, &op.name, x, &gated);
                }
            }
        }
        self.times(op, x, y)
    }

    /// The quotient of two layers: Softsign, `x / (1 + |x|)`, else a product with the reciprocal.
    pub fn quotient(&mut self, op: &Op, x: &Computed, y: &Computed) -> Result<Value, OnnxError> {
        let is_softsign = |UniformScale { of, factor, summand }: UniformScale| {
            self.sketch.function(of) == Some((Activation::ABSOLUTE, x.layer))
                && (factor, summand) == (1.0, 1.0)
                && x.dims == y.dims
        };
        if !self.sketch.uniform(y.layer).is_some_and(is_softsign) {
            return self.divided(op, x, y);
        }
        self.multiplied(op, &op.name, x, &Gated { of: x.layer, f: Activation::Softsign, factor: 1.0 })
    }

    /// What `x · gate` is.
    fn gated(&self, x: &Computed, gate: usize) -> Option<Gated> {
        let close = |a, b| is_close(a, b, x.element);
        // The gate may be divided by six.
        let (gate, part) = self.sketch.multiple_of(gate).unwrap_or((gate, 1.0));
        let (f, z) = self.sketch.function(gate)?;
        match f {
            Activation::Sigmoid => {
                // x σ(β x) = silu(β x) / β
                if let Some(k) = self.multiple(x.layer, z) {
                    return Some(Gated { of: z, f: Activation::Silu, factor: part * k });
                }
                let (of, beta) = self.sketch.multiple_of(z)?;
                let k = self.multiple(x.layer, of).filter(|_| beta != 0.0)?;
                Some(Gated { of: z, f: Activation::Silu, factor: part * k / beta })
            }
            Activation::Tanh => {
                let (Activation::Softplus, of) = self.sketch.function(z)? else { return None };
                Some(Gated { of, f: Activation::Mish, factor: part * self.multiple(x.layer, of)? })
            }
            Activation::Clip { low: 0.0, high } => {
                // clip(s x + t, 0, h) = h · clip(x / 6 + 1/2, 0, 1)
                let UniformScale { of, factor, summand } = self.sketch.uniform(z)?;
                let is_hard = close(6.0 * factor, high) && close(2.0 * summand, high);
                let k = self.multiple(x.layer, of).filter(|_| is_hard)?;
                Some(Gated { of, f: Activation::HardSwish, factor: part * k * high })
            }
            Activation::Relu
            | Activation::LeakyRelu { .. }
            | Activation::Clip { .. }
            | Activation::SoftThreshold { .. }
            | Activation::Softplus
            | Activation::Gelu
            | Activation::GeluTanh
            | Activation::Elu { .. }
            | Activation::Silu
            | Activation::Mish
            | Activation::HardSwish
            | Activation::Softsign
            | Activation::Atan
            | Activation::Square
            | Activation::Exp
            | Activation::Reciprocal
            | Activation::Power { .. }
            | Activation::Quantize(_) => None,
        }
    }

    /// `k` where `layer` is `k` times `of`.
    fn multiple(&self, layer: usize, of: usize) -> Option<f64> {
        if layer == of {
            return Some(1.0);
        }
        self.sketch.multiple_of(layer).filter(|(inner, _)| *inner == of).map(|(_, k)| k)
    }

    /// It as layers of the shape of `x`.
    fn multiplied(
        &mut self,
        op: &Op,
        name: &str,
        x: &Computed,
        &Gated { of, f, factor }: &Gated,
    ) -> Result<Value, OnnxError> {
        let factor = if is_close(factor, 1.0, x.element) { 1.0 } else { factor };
        let mut layer = self.sketch.activation(name, of, f);
        if factor != 1.0 {
            let count = self.budget.tensor(&op.label(), &x.dims)?;
            layer =
                self.sketch.scale(&format!("{name}.factor"), layer, vec![factor; count], vec![0.0; count]);
        }
        Ok(Value::Computed(Computed { layer, ..x.clone() }))
    }
}

pub fn part(op: &Op, of: usize, x: &Computed, form: Form) -> Part {
    Part { of, dims: x.dims.clone(), element: x.element, form, name: op.name.clone() }
}

/// Whether two constants of an activation are the same but for the rounding of their type.
fn is_close(a: f64, b: f64, element: Element) -> bool {
    let tolerance = match element {
        Element::F16 => 4e-3,
        Element::Bf16 => 3e-2,
        Element::F32 | Element::F64 | Element::Int | Element::Small { .. } => 1e-6,
    };
    (a - b).abs() <= tolerance * b.abs()
}
