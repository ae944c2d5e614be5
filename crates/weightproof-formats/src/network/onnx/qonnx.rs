//! Operators of QONNX, which Brevitas, FINN and hls4ml write: numbers are rounded where they are, and stay floating-point numbers.
//!
//! ```text
//! Quant(x) = s · (round(clamp(x / s + z, low, high)) − z)        BipolarQuant(x) = s for x ≥ 0, else −s
//! ```

use super::OnnxError;
use super::dense::floats;
use super::fold::{self, at};
use super::jumps::Side;
use super::limits::shape_text;
use super::op::Op;
use super::operators::{ChannelsLast, Reduction};
use super::quantize::{constant_at, staircase_of};
use super::reader::{Computed, Reader, Value, constant, lone_part, value};
use super::shape;
use super::tensor::{Element, StoredNumbers, Tensor, Values};
use weightproof::network::Activation;

/// What a Quant node says of its integers.
struct Format {
    steps: Vec<f64>,
    zero: i64,
    bits: u32,
    signed: bool,
    ends: (i64, i64),
}

impl Format {
    fn new(op: &Op, operands: &[Option<Value>]) -> Result<Self, OnnxError> {
        let whole = |position: usize, what: &str| -> Result<i64, OnnxError> {
            let numbers = constant_at(op, operands, position)?.as_numbers();
            match numbers[..] {
                [first, ref others @ ..]
                    if first.fract() == 0.0 && first.abs() < 1e9 && others.iter().all(|v| *v == first) =>
                {
                    Ok(first as i64)
                }
                _ => Err(op.fail(format!("one whole number as {what}"), "another operand")),
            }
        };
        let (zero, bits) = (whole(2, "zero point")?, whole(3, "bit width")?);
        let (signed, narrow) = (op.int("signed", 1)? != 0, i64::from(op.int("narrow", 0)? != 0));
        let bits = u32::try_from(bits).ok().filter(|bits| (1..=32).contains(bits));
        let bits = bits.ok_or_else(|| op.fail("a bit width of 1 to 32", "another one"))?;
        let all = 1_i64 << bits;
        let ends = if signed { (-all / 2 + narrow, all / 2 - 1) } else { (0, all - 1 - narrow) };
        let steps = steps(op, operands, 1)?;
        Ok(Format { steps, zero, bits, signed, ends })
    }
}

impl Reader<'_> {
    /// Quant.
    pub fn quant(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let format = Format::new(op, operands)?;
        if format.bits == 1 && format.signed {
            return self.bipolar(op, operands);
        }
        let rounding = op.text("rounding_mode", "ROUND")?.to_uppercase();
        if !matches!(rounding.as_str(), "ROUND" | "HALF_EVEN") {
            return Err(op.fail("rounding_mode = ROUND, to the nearest and ties to even", rounding));
        }
        match value(op, operands, 0)? {
            Value::Constant(tensor) => {
                let numbers = floats(op, tensor, Element::F32)?;
                let groups = self.groups_of(op, operands, tensor)?;
                let (low, high) = format.ends;
                let of = |(k, &w): (usize, &f64)| {
                    let level = w as f32 / format.steps[groups[k] as usize] as f32 + format.zero as f32;
                    (level.clamp(low as f32, high as f32).round_ties_even() as i64).clamp(low, high)
                };
                let values = Values::Ints(numbers.iter().enumerate().map(of).collect());
                let element = Element::Small { bits: format.bits, signed: format.signed };
                let (dims, origin) = (tensor.dims.clone(), tensor.origin.clone());
                let integers = Tensor { dims, element, values, origin, stored: None };
                let zeros = vec![format.zero; format.steps.len()];
                let groups = if format.steps.len() == 1 { vec![] } else { groups };
                let Format { steps, bits, signed, .. } = format;
                let stored = StoredNumbers { bits, signed, steps, zeros, groups };
                self.stored_as(op, &integers, stored, Element::F32).map(constant)
            }
            Value::Computed(x) => {
                if format.zero % 2 != 0 {
                    let expected = "an even zero point, with which ties go to the same integers";
                    return Err(op.fail(expected, format.zero.to_string()));
                }
                // One step for all elements is that of the staircase; several are multiplied before and after.
                let one = format.steps.iter().all(|s| *s == format.steps[0]);
                let step = if one { format.steps[0] } else { 1.0 };
                let q = staircase_of(op, step, format.zero, format.ends)?;
                self.float64 = true;
                if one {
                    let layer = self.sketch.activation(&op.name, x.layer, Activation::Quantize(q));
                    return Ok(Value::Computed(Computed { layer, ..x.clone() }));
                }
                let steps = self.spread(op, constant_at(op, operands, 1)?, x.element, &x.dims)?;
                let divided = self.sketch.divide(&format!("{}.steps", op.name), x.layer, steps.clone());
                let rounded = self.sketch.activation(&op.name, divided, Activation::Quantize(q));
                let none = vec![0.0; steps.len()];
                let layer = self.sketch.scale(&format!("{}.numbers", op.name), rounded, steps, none);
                Ok(Value::Computed(Computed { layer, ..x.clone() }))
            }
            Value::Part(part) => Err(lone_part(op, part)),
        }
    }

    /// BipolarQuant, and Quant of one bit with a sign.
    pub fn bipolar(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let steps = steps(op, operands, 1)?;
        match value(op, operands, 0)? {
            Value::Constant(tensor) => {
                let numbers = floats(op, tensor, Element::F32)?;
                let groups = self.groups_of(op, operands, tensor)?;
                let of = |(k, &w): (usize, &f64)| {
                    let step = steps[groups[k] as usize];
                    if w >= 0.0 { step } else { -step }
                };
                let values = Values::Floats(numbers.iter().enumerate().map(of).collect());
                Ok(constant(Tensor { values, stored: None, ..tensor.as_ref().clone() }))
            }
            Value::Computed(x) => {
                // Levels −1 and 0 tell whether x ≥ 0.
                let steps = self.spread(op, constant_at(op, operands, 1)?, x.element, &x.dims)?;
                let sign = self.step(op, "sign", x.layer, Side::Below, (1.0, 0.0))?;
                let twice = steps.iter().map(|s| 2.0 * s).collect();
                let layer = self.sketch.scale(&op.name, sign, twice, steps);
                Ok(Value::Computed(Computed { layer, ..x.clone() }))
            }
            Value::Part(part) => Err(lone_part(op, part)),
        }
    }

    /// The steps of a constant's elements, by their number in the list of steps.
    fn groups_of(
        &mut self,
        op: &Op,
        operands: &[Option<Value>],
        tensor: &Tensor,
    ) -> Result<Vec<u32>, OnnxError> {
        let steps = constant_at(op, operands, 1)?;
        let dims = at(op, shape::broadcast(&tensor.dims, &steps.dims))?;
        if dims != tensor.dims {
            let expected = format!("steps that broadcast to the shape {}", shape_text(&tensor.dims));
            return Err(op.fail(expected, shape_text(&steps.dims)));
        }
        self.budget.tensor(&op.label(), &dims)?;
        Ok(shape::broadcast_indices(&steps.dims, &dims).into_iter().map(|k| k as u32).collect())
    }

    /// Operators on images whose channels are the last axis, as FINN and hls4ml have them: the same between two transpositions.
    pub fn channels_last(
        &mut self,
        op: &Op,
        kind: ChannelsLast,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        let rank = match value(op, operands, 0)? {
            Value::Computed(x) => x.dims.len(),
            Value::Constant(_) | Value::Part(_) => 0,
        };
        if rank < 3 {
            return Err(op.fail("an image that depends on the input", "another operand"));
        }
        let first: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        let last: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
        let mut operands = operands.to_vec();
        operands[0] = Some(self.permuted(op, ".first", &operands[0], &first)?);
        let result = match kind {
            ChannelsLast::Conv => {
                operands[1] = Some(self.permuted(op, ".kernel", &operands[1], &first)?);
                self.conv(op, &operands)?
            }
            ChannelsLast::BatchNormalization => self.batch_normalization(op, &operands)?,
            ChannelsLast::MaxPool => self.pool(op, Reduction::Max, &operands)?,
        };
        self.permuted(op, ".last", &Some(result), &last)
    }

    /// A value with its axes permuted.
    fn permuted(
        &mut self,
        op: &Op,
        suffix: &str,
        operand: &Option<Value>,
        perm: &[usize],
    ) -> Result<Value, OnnxError> {
        let of = |dims: &[usize]| {
            if dims.len() == perm.len() {
                Ok(())
            } else {
                Err(op.fail(format!("{} dimensions", perm.len()), shape_text(dims)))
            }
        };
        match operand {
            Some(Value::Constant(tensor)) => {
                of(&tensor.dims)?;
                Ok(constant(fold::transpose(op, tensor, perm, &mut self.budget)?))
            }
            Some(Value::Computed(x)) => {
                of(&x.dims)?;
                let places = self.places(op, x, 0)?;
                let places = fold::transpose(op, &places, perm, &mut self.budget)?;
                self.chosen(op, suffix, &[x], &places, 0.0)
            }
            Some(Value::Part(part)) => Err(lone_part(op, part)),
            None => Err(op.fail("an operand", "none")),
        }
    }
}

/// The steps of operand number `position`, which are above zero.
fn steps(op: &Op, operands: &[Option<Value>], position: usize) -> Result<Vec<f64>, OnnxError> {
    let tensor = constant_at(op, operands, position)?;
    let steps = floats(op, tensor, Element::F32)?;
    match steps.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
        _ if steps.is_empty() => Err(op.fail("at least one step", "none")),
        Some(bad) => Err(op.fail("steps above zero", bad.to_string())),
        None => Ok(steps.to_vec()),
    }
}
