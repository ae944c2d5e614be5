//! Quantized networks (theory.md §16): QuantizeLinear and DequantizeLinear, and operators that read and write integers.
//!
//! A value of integers is followed as the numbers that they stand for; its [`Grid`] says which integers they are in the file. So
//! both forms of a quantized network become the same layers: weights `s (q − z)` that know their integers, and quantizers.

use super::OnnxError;
use super::dense::{floats, integers};
use super::fold::at;
use super::limits::shape_text;
use super::op::Op;
use super::operators::{Quantized, Reduction, Rename, Rule, rule};
use super::reader::{Computed, Reader, Value, computed, constant, lone_part, value};
use super::shape;
use super::tensor::{Element, StoredNumbers, Tensor, Values};
use std::rc::Rc;
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Affine, Jumps, Staircase, StepRounding};

/// Integers with one step and one zero point: `q` stands for `step · (q − zero)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    step: f64,
    zero: i64,
    bits: u32,
    signed: bool,
}

/// Bits of accumulators and biases.
const WIDE: u32 = 32;

impl Grid {
    /// Distance of two numbers.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// The integer that stands for zero.
    pub fn zero(&self) -> i64 {
        self.zero
    }

    fn element(&self) -> Element {
        Element::Small { bits: self.bits, signed: self.signed }
    }

    fn ends(&self) -> (i64, i64) {
        let all = 1_i64 << self.bits;
        if self.signed { (-all / 2, all / 2 - 1) } else { (0, all - 1) }
    }

    fn staircase(&self, op: &Op) -> Result<Staircase, OnnxError> {
        staircase_of(op, self.step, self.zero, self.ends())
    }
}

/// The staircase with steps of `step` from the integer `low` to `high`.
pub fn staircase_of(op: &Op, step: f64, zero: i64, (low, high): (i64, i64)) -> Result<Staircase, OnnxError> {
    let narrow = |n: i64| i32::try_from(n).unwrap_or(i32::MAX);
    let (zero, low, high) = (narrow(zero), narrow(low), narrow(high));
    let (rounding, jumps) = (StepRounding::NearestEven, Jumps::HalfWay);
    let q = Staircase { step, zero, low, high, rounding, jumps };
    q.defect().map_or(Ok(q), |(expected, found)| Err(op.fail(expected, found)))
}

/// Where the operands of a quantized operator have a value, its step and its zero point.
#[derive(Clone, Copy)]
struct Triple {
    value: usize,
    step: usize,
    zero: usize,
}

impl Triple {
    /// Three operands in a row.
    fn at(first: usize) -> Self {
        Triple { value: first, step: first + 1, zero: first + 2 }
    }
}

impl Reader<'_> {
    /// QuantizeLinear.
    pub fn quantize(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        if op.int("precision", 0)? > 1 {
            return Err(op.fail("a quotient in single precision", "another precision"));
        }
        match value(op, operands, 0)? {
            Value::Computed(x) => {
                let grid = grid(op, operands, 1, 2)?;
                self.rounded(op, &op.name, x, grid)
            }
            Value::Constant(tensor) => {
                let stored = groups(op, operands, (1, 2), tensor, op.int("axis", 1)?)?;
                let numbers = floats(op, tensor, Element::F32)?;
                self.budget.tensor(&op.label(), &tensor.dims)?;
                let (low, high) =
                    Grid { step: 0.0, zero: 0, bits: stored.bits, signed: stored.signed }.ends();
                let of = |(k, &w): (usize, &f64)| {
                    let group = stored.group(k);
                    let level = (w as f32 / stored.steps[group] as f32).round_ties_even();
                    (level as i64).saturating_add(stored.zeros[group]).clamp(low, high)
                };
                let values = Values::Ints(numbers.iter().enumerate().map(of).collect());
                let element = Element::Small { bits: stored.bits, signed: stored.signed };
                let origin = tensor.origin.clone();
                Ok(constant(Tensor { dims: tensor.dims.clone(), element, values, origin, stored: None }))
            }
            Value::Part(part) => Err(lone_part(op, part)),
        }
    }

    /// DequantizeLinear.
    pub fn dequantize(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        if let Some(numbers) = self.dynamic_numbers(operands) {
            return Ok(numbers);
        }
        self.real(op, operands, Triple::at(0), op.int("axis", 1)?)
    }

    /// An operator on quantized numbers: as the operator on the numbers that they stand for, then a quantizer.
    pub fn quantized_operator(
        &mut self,
        op: &Op,
        kind: Quantized,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        if op.int("channels_last", 0)? != 0 {
            return Err(op.fail("channels_last = 0", "1"));
        }
        let first = |reader: &mut Self| reader.real(op, operands, Triple::at(0), 0);
        let (result, output) = match kind {
            Quantized::Conv => {
                let (x, w) = (first(self)?, self.real(op, operands, Triple::at(3), 0)?);
                let bias = self.wide_bias(op, operands, 8, (1, 4), 1.0)?;
                (self.conv(op, &[Some(x), Some(w), bias])?, 6)
            }
            Quantized::MatMul => {
                let (a, b) = (first(self)?, self.real(op, operands, Triple::at(3), -1)?);
                (self.matmul(op, &[Some(a), Some(b)])?, 6)
            }
            Quantized::Gemm => {
                let axis = if op.flag("transB")? { 0 } else { 1 };
                let (a, b) = (first(self)?, self.real(op, operands, Triple::at(3), axis)?);
                let bias = self.wide_bias(op, operands, 6, (1, 4), op.float("alpha", 1.0)?)?;
                (self.gemm(op, &[Some(a), Some(b), bias])?, 7)
            }
            Quantized::Add => {
                let (a, b) = (first(self)?, self.real(op, operands, Triple::at(3), 0)?);
                (self.arithmetic(op, super::operators::Arithmetic::Add, &[Some(a), Some(b)])?, 6)
            }
            Quantized::AveragePool => {
                let x = first(self)?;
                (self.pool(op, Reduction::Mean, &[Some(x)])?, 3)
            }
            Quantized::GlobalAveragePool => {
                let x = first(self)?;
                (self.pool_all(op, Reduction::Mean, &[Some(x)])?, 3)
            }
            Quantized::Concat => {
                let parts = (2..operands.len()).step_by(3);
                let parts: Vec<Option<Value>> = parts
                    .map(|k| self.real(op, operands, Triple::at(k), 0).map(Some))
                    .collect::<Result<_, _>>()?;
                (self.concat(op, &parts)?, 0)
            }
            Quantized::LeakyRelu => {
                let slope = op.float("alpha", f64::from(0.01_f32))?;
                let x = first(self)?;
                (self.activation(op, Activation::LeakyRelu { slope }, &[Some(x)])?, 3)
            }
            Quantized::Sigmoid => {
                let x = first(self)?;
                (self.activation(op, Activation::Sigmoid, &[Some(x)])?, 3)
            }
        };
        if kind == Quantized::Gemm && operands.get(output).is_none_or(Option::is_none) {
            return Ok(result);
        }
        let Value::Computed(x) = &result else {
            return Err(op.fail("an operand that depends on the input", "constants"));
        };
        let grid = grid(op, operands, output, output + 1)?;
        self.rounded(op, &format!("{}.quantize", op.name), x, grid)
    }

    /// MatMulNBits: `x Wᵀ`, the weights in blocks of `block_size` along each row.
    pub fn matmul_n_bits(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        if operands.iter().skip(4).any(Option::is_some) {
            return Err(op.fail("no group indices and no bias", "some"));
        }
        let size =
            |name: &str| usize::try_from(op.int(name, 0)?).map_err(|_| op.fail(name, "a negative number"));
        let (cols, rows, block) = (size("K")?, size("N")?, size("block_size")?);
        let bits = u32::try_from(op.int("bits", 4)?).unwrap_or(0);
        if !matches!(bits, 4 | 8) || block == 0 || cols == 0 || rows == 0 || x.dims.last() != Some(&cols) {
            let expected = "weights of 4 or 8 bits in blocks, for the last dimension of the operand";
            return Err(
                op.fail(expected, format!("{bits} bits, K {cols} and a value of {}", shape_text(&x.dims)))
            );
        }
        let width: usize = x.dims.iter().product();
        if width != cols {
            return Err(op.fail("a product with one row per sample", shape_text(&x.dims)));
        }
        self.budget.tensor(&op.label(), &[rows, cols])?;
        let (packed, steps) = (constant_at(op, operands, 1)?, constant_at(op, operands, 2)?);
        let blocks = cols.div_ceil(block);
        let each = block.saturating_mul(bits as usize).div_ceil(8);
        let steps = steps.as_floats().filter(|steps| steps.len() == rows * blocks);
        let steps = steps.ok_or_else(|| op.fail(format!("{} scales", rows * blocks), "another number"))?;
        let bytes = |tensor: &Tensor, count: usize| match &tensor.values {
            Values::Ints(v) if Some(v.len()) == Some(count) && v.iter().all(|b| (0..256).contains(b)) => {
                Ok(v.clone())
            }
            Values::Ints(_) | Values::Floats(_) => {
                Err(op.fail(format!("{count} bytes"), shape_text(&tensor.dims)))
            }
        };
        let packed = bytes(packed, rows.saturating_mul(blocks).saturating_mul(each))?;
        let number =
            |bytes: &[i64], k: usize| if bits == 8 { bytes[k] } else { bytes[k / 2] >> (4 * (k % 2)) & 15 };
        let zeros = match operands.get(3).and_then(Option::as_ref) {
            None => vec![1_i64 << (bits - 1); rows * blocks],
            Some(_) => {
                let of_row = (blocks * bits as usize).div_ceil(8);
                let packed = bytes(constant_at(op, operands, 3)?, rows * of_row)?;
                let of = |row: usize, k: usize| number(&packed[row * of_row..], k);
                (0..rows)
                    .flat_map(|row| (0..blocks).map(move |k| (row, k)))
                    .map(|(row, k)| of(row, k))
                    .collect()
            }
        };
        let of_weight = |k: usize| k / cols * blocks + k % cols / block;
        let groups: Vec<u32> = (0..rows * cols).map(|k| of_weight(k) as u32).collect();
        let weight = Matrix::from_fn(rows, cols, |i, j| {
            let group = of_weight(i * cols + j);
            steps[group] * (number(&packed[group * each..], j % block) - zeros[group]) as f64
        });
        let stored = StoredNumbers { bits, signed: false, steps: steps.to_vec(), zeros, groups: vec![] };
        self.float64 = true;
        let affine = Affine {
            weight,
            bias: vec![0.0; rows],
            has_bias: false,
            stored: Some(integers(&stored, groups)),
        };
        let mut dims = x.dims.clone();
        *dims.last_mut().expect("checked above") = rows;
        let origins = constant_at(op, operands, 1)?.origin.iter().cloned().collect();
        let layer = self.sketch.dense(&op.name, x.layer, affine, origins);
        self.sketch.await_bias(layer, op.node.output.first().map_or("", String::as_str));
        Ok(Value::Computed(Computed { layer, dims, ..x.clone() }))
    }

    /// Refuses operators that would take integers for the numbers that they stand for.
    pub fn check_grids(&self, op: &Op, operands: &[Option<Value>]) -> Result<(), OnnxError> {
        let grids: Vec<Option<Grid>> = operands
            .iter()
            .flatten()
            .filter_map(|value| match value {
                Value::Computed(x) => Some(x.grid),
                Value::Constant(_) | Value::Part(_) => None,
            })
            .collect();
        if grids.iter().all(Option::is_none) {
            return Ok(());
        }
        match rule(&op.kind()) {
            Some(
                Rule::Rename(Rename::Flatten | Rename::Reshape | Rename::Squeeze | Rename::Unsqueeze)
                | Rule::Transpose
                | Rule::Slice
                | Rule::Gather
                | Rule::Split
                | Rule::Identity
                | Rule::Shape
                | Rule::Pool(Reduction::Max)
                | Rule::GlobalPool(Reduction::Max)
                | Rule::DequantizeLinear
                | Rule::IntegerProduct(_)
                | Rule::MatMulIntegerToFloat
                | Rule::Quantized(_),
            ) => Ok(()),
            Some(Rule::Concat) if grids.windows(2).all(|pair| pair[0] == pair[1]) => Ok(()),
            Some(Rule::Concat) => Err(op.fail("operands with one step and zero point", "several")),
            _ => Err(op.fail(format!("a DequantizeLinear before {}", op.kind()), "quantized numbers")),
        }
    }

    /// `x` rounded to `grid`, as a layer of this name; nothing where it is on the grid already.
    fn rounded(&mut self, op: &Op, name: &str, x: &Computed, grid: Grid) -> Result<Value, OnnxError> {
        if x.grid.is_some() {
            return Err(op.fail("a floating-point operand", "quantized numbers"));
        }
        let q = grid.staircase(op)?;
        let layer = if self.sketch.quantizer_of(x.layer) == Some(q) {
            x.layer
        } else {
            self.sketch.activation(name, x.layer, Activation::Quantize(q))
        };
        self.float64 = true;
        Ok(Value::Computed(Computed { layer, grid: Some(grid), ..x.clone() }))
    }

    /// The numbers that the integers at `places` stand for; of constants with one step along `axis`, or in blocks.
    fn real(
        &mut self,
        op: &Op,
        operands: &[Option<Value>],
        places: Triple,
        axis: i64,
    ) -> Result<Value, OnnxError> {
        match value(op, operands, places.value)? {
            Value::Computed(x) => {
                let wanted = grid(op, operands, places.step, places.zero)?;
                match x.grid {
                    Some(found) if found == wanted => {
                        Ok(Value::Computed(Computed { grid: None, ..x.clone() }))
                    }
                    Some(found) => {
                        let text =
                            |g: Grid| format!("step {} and zero point {} of {} bits", g.step, g.zero, g.bits);
                        Err(op.fail(format!("{} as they were quantized", text(found)), text(wanted)))
                    }
                    // An input of the graph may be integers.
                    None if x.element == wanted.element() => {
                        let line = (wanted.step, -wanted.step * wanted.zero as f64);
                        let layer = self.affine(op, "numbers", x.layer, line)?;
                        self.float64 = true;
                        Ok(Value::Computed(Computed { layer, element: Element::F32, ..x.clone() }))
                    }
                    None => Err(op.fail("quantized numbers", format!("{}", x.element))),
                }
            }
            Value::Constant(tensor) => {
                let stored = groups(op, operands, (places.step, places.zero), tensor, axis)?;
                let element = constant_at(op, operands, places.step)?.element;
                self.stored_as(op, tensor, stored, element).map(constant)
            }
            Value::Part(part) => Err(lone_part(op, part)),
        }
    }

    /// The numbers that the integers of a constant stand for, as exact products.
    pub fn stored_as(
        &mut self,
        op: &Op,
        tensor: &Tensor,
        stored: StoredNumbers,
        element: Element,
    ) -> Result<Tensor, OnnxError> {
        let Values::Ints(list) = &tensor.values else {
            return Err(op.fail("integers", format!("{:?}", tensor.element)));
        };
        let (low, high) = Grid { step: 0.0, zero: 0, bits: stored.bits, signed: stored.signed }.ends();
        if let Some(beyond) = list.iter().chain(&stored.zeros).find(|q| !(low..=high).contains(*q)) {
            return Err(op.fail(format!("integers of {} bits", stored.bits), beyond.to_string()));
        }
        self.budget.tensor(&op.label(), &tensor.dims)?;
        let number = |(k, &q): (usize, &i64)| {
            let group = stored.group(k);
            stored.steps[group] * (q - stored.zeros[group]) as f64
        };
        let values = Values::Floats(list.iter().enumerate().map(number).collect());
        self.float64 = true;
        let (dims, origin) = (tensor.dims.clone(), tensor.origin.clone());
        Ok(Tensor { dims, element, values, origin, stored: Some(Rc::new(stored)) })
    }

    /// The bias of a quantized product, integers of 32 bits whose step is `factor` times those of both operands.
    fn wide_bias(
        &mut self,
        op: &Op,
        operands: &[Option<Value>],
        place: usize,
        (x, w): (usize, usize),
        factor: f64,
    ) -> Result<Option<Value>, OnnxError> {
        if operands.get(place).is_none_or(Option::is_none) {
            return Ok(None);
        }
        let bias = constant_at(op, operands, place)?;
        let (x, w) = (numbers(op, operands, x)?[0], numbers(op, operands, w)?);
        let steps: Vec<f64> = w.iter().map(|w| factor * x * w).collect();
        if steps.len() > 1 && bias.len() != steps.len() {
            return Err(op.fail(format!("{} biases", steps.len()), bias.len().to_string()));
        }
        let groups = if steps.len() > 1 { (0..bias.len()).map(|k| k as u32).collect() } else { vec![] };
        let zeros = vec![0; steps.len()];
        let stored = StoredNumbers { bits: WIDE, signed: true, steps, zeros, groups };
        self.stored_as(op, bias, stored, Element::F32).map(|tensor| Some(constant(tensor)))
    }
}

/// Operand number `position`, which must be constant.
pub fn constant_at<'v>(
    op: &Op,
    operands: &'v [Option<Value>],
    position: usize,
) -> Result<&'v Tensor, OnnxError> {
    match value(op, operands, position)? {
        Value::Constant(tensor) => Ok(tensor),
        Value::Computed(_) | Value::Part(_) => {
            Err(op.fail(format!("a constant operand number {}", position + 1), "a computed one"))
        }
    }
}

/// The floating-point numbers of operand number `position`, at least one.
fn numbers<'v>(op: &Op, operands: &'v [Option<Value>], position: usize) -> Result<&'v [f64], OnnxError> {
    let tensor = constant_at(op, operands, position)?;
    let numbers = tensor.as_floats().filter(|numbers| !numbers.is_empty());
    numbers.ok_or_else(|| op.fail("steps that are floating-point numbers", format!("{:?}", tensor.element)))
}

/// Zero points and the type of the integers.
pub struct Zeros<'v> {
    pub list: &'v [i64],
    pub bits: u32,
    pub signed: bool,
}

/// The integers of operand number `position` and their type; `None` when it is left out.
pub fn zeros<'v>(
    op: &Op,
    operands: &'v [Option<Value>],
    position: usize,
) -> Result<Option<Zeros<'v>>, OnnxError> {
    if operands.get(position).is_none_or(Option::is_none) {
        return Ok(None);
    }
    let tensor = constant_at(op, operands, position)?;
    let fail = || op.fail("zero points that are integers", format!("{:?}", tensor.element));
    match (&tensor.values, tensor.element) {
        (Values::Ints(list), Element::Small { bits, signed }) => Ok(Some(Zeros { list, bits, signed })),
        (Values::Ints(list), Element::Int) => Ok(Some(Zeros { list, bits: WIDE, signed: true })),
        _ => Err(fail()),
    }
}

/// The grid of a computed value: one step, and one zero point whose type is that of the integers.
fn grid(op: &Op, operands: &[Option<Value>], step: usize, zero: usize) -> Result<Grid, OnnxError> {
    let steps = numbers(op, operands, step)?;
    let zeros = zeros(op, operands, zero)?;
    let several = || op.fail("values with one step for all elements", "a step for each channel");
    let ([step], element) = (steps, constant_at(op, operands, step)?.element) else { return Err(several()) };
    if element != Element::F32 {
        return Err(op.fail("a step of type F32", format!("{element:?}")));
    }
    match zeros {
        Some(Zeros { list: &[zero], bits, signed }) => Ok(Grid { step: *step, zero, bits, signed }),
        Some(_) => Err(several()),
        None => {
            let (bits, signed) = output_type(op)?;
            Ok(Grid { step: *step, zero: 0, bits, signed })
        }
    }
}

/// The type of integers without zero point: UINT8, or what an attribute says.
fn output_type(op: &Op) -> Result<(u32, bool), OnnxError> {
    let code = if op.node.op_type == "QuantizeLinear" { op.int("output_dtype", 0)? } else { 0 };
    match Element::from_code(i32::try_from(code).unwrap_or(-1)) {
        Some(Element::Small { bits, signed }) => Ok((bits, signed)),
        None if code == 0 => Ok((8, false)),
        _ => Err(op.fail("integers of 4, 8 or 16 bits", format!("type number {code}"))),
    }
}

/// Steps and zero points of a constant: one, one along `axis`, or one for each block along it.
fn groups(
    op: &Op,
    operands: &[Option<Value>],
    (step, zero): (usize, usize),
    tensor: &Tensor,
    axis: i64,
) -> Result<StoredNumbers, OnnxError> {
    let (steps, shape) = (numbers(op, operands, step)?, &constant_at(op, operands, step)?.dims);
    let dims = &tensor.dims;
    if let Some(bad) = steps.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
        return Err(op.fail("steps above zero", bad.to_string()));
    }
    let count: usize = dims.iter().product();
    let block = usize::try_from(op.int("block_size", 0)?).unwrap_or(0);
    let groups = if block > 0 {
        let along = at(op, shape::axis(axis, dims.len(), false))?;
        let blocked: Vec<usize> =
            dims.iter().enumerate().map(|(k, &d)| if k == along { d.div_ceil(block) } else { d }).collect();
        if *shape != blocked {
            return Err(op.fail(format!("steps of shape {}", shape_text(&blocked)), shape_text(shape)));
        }
        let inner: usize = dims[along + 1..].iter().product();
        let of = |k: usize| {
            let (outer, rest) = (k / (inner * dims[along]), k % (inner * dims[along]));
            (outer * blocked[along] + rest / inner / block) * inner + rest % inner
        };
        (0..count).map(|k| of(k) as u32).collect()
    } else if steps.len() == 1 {
        vec![]
    } else {
        let along = at(op, shape::axis(axis, dims.len(), false))?;
        if shape.len() != 1 || steps.len() != dims[along] {
            return Err(op.fail(format!("{} steps, one along axis {along}", dims[along]), shape_text(shape)));
        }
        let inner: usize = dims[along + 1..].iter().product();
        (0..count).map(|k| (k / inner % dims[along]) as u32).collect()
    };
    let none = vec![0; steps.len()];
    let (zeros, bits, signed) = match (zeros(op, operands, zero)?, tensor.element) {
        (Some(Zeros { list, bits, signed }), _) => (list.to_vec(), bits, signed),
        (None, Element::Small { bits, signed }) => (none, bits, signed),
        (None, Element::Int) => (none, WIDE, true),
        (None, _) => {
            let (bits, signed) = output_type(op)?;
            (none, bits, signed)
        }
    };
    if zeros.len() != steps.len() {
        return Err(op.fail(format!("{} zero points", steps.len()), zeros.len().to_string()));
    }
    Ok(StoredNumbers { bits, signed, steps: steps.to_vec(), zeros, groups })
}
