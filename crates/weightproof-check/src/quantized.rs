//! Quantized networks of ONNX: QuantizeLinear, DequantizeLinear, and operators on integers.

use crate::network::{Activation, Node, Op, Stored};
use crate::number::{Number, Numbers};
use crate::onnx::{Operation, Reader, Value};
use crate::staircase::Staircase;
use crate::tensor::{Tensor, ends, product, sizes_of};

/// Operators that change no numbers, so that they may have the integers of a quantizer.
const OF_INTEGERS: [&str; 9] =
    ["Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"];

/// Whether the name is one of an operator that reads or writes integers, as ONNX Runtime has more of them than ONNX.
pub fn is_of_integers(kind: &str) -> bool {
    kind.starts_with("QLinear") || matches!(kind, "QGemm" | "QuantizeLinear" | "DequantizeLinear")
}

/// An operator on integers as operators on the numbers that they stand for, with the name of what each gives; any other as it is.
pub fn operators<'a>(op: Operation<'a>, output: &str) -> Vec<(Operation<'a>, String)> {
    // Places of its operands, each with a step and a zero point behind it, of a bias, and of the step of the result.
    let of_numbers = op.kind.trim_start_matches("QLinear").to_owned();
    let (kind, operands, bias, result) = match &*op.kind {
        "QLinearConv" => (of_numbers, vec![0, 3], Some(8), 6),
        "QLinearMatMul" | "QLinearAdd" => (of_numbers, vec![0, 3], None, 6),
        "QGemm" => ("Gemm".into(), vec![0, 3], Some(6), 7),
        "QLinearAveragePool" | "QLinearGlobalAveragePool" | "QLinearLeakyRelu" => {
            (of_numbers, vec![0], None, 3)
        }
        "QLinearConcat" => (of_numbers, (2..op.inputs.len()).step_by(3).collect(), None, 0),
        _ => return vec![(op, output.into())],
    };
    let given = |k: usize| op.inputs.get(k).cloned().unwrap_or_default();
    let part = |kind: &str, inputs: Vec<String>, axis: i64| {
        let (name, kind, attributes) = (op.name.clone(), kind.into(), Default::default());
        Operation { inputs, name, kind, attributes, axis: Some(axis) }
    };
    let of_rows = kind == "Conv" || (kind == "Gemm" && op.integer("transB", 0) != Ok(0));
    let (mut parts, mut inputs) = (vec![], vec![]);
    for at in operands {
        let (triple, axis) = ([at, at + 1, at + 2].map(given), if of_rows { 0 } else { -1 });
        inputs.push(format!("{output}/{at}"));
        parts.push((part("DequantizeLinear", triple.into(), axis), format!("{output}/{at}")));
    }
    if let Some(bias) = bias.filter(|&bias| op.has(bias)) {
        inputs.push(format!("{output}/bias"));
        parts.push((part("Bias", vec![given(bias), given(1), given(4)], 0), format!("{output}/bias")));
    }
    let sums = format!("{output}/sums");
    let quantize = op
        .has(result)
        .then(|| part("QuantizeLinear", vec![sums.clone(), given(result), given(result + 1)], 0));
    let own = Operation { inputs, kind, ..op };
    parts.push((own, if quantize.is_some() { sums } else { output.into() }));
    parts.extend(quantize.map(|op| (op, output.into())));
    parts
}

impl Reader {
    /// The quantizer whose integers an operator has and gives.
    pub fn integers_of(&self, op: &Operation<'_>) -> Option<Staircase> {
        match op.inputs.first().and_then(|name| self.values.get(name)) {
            Some(Value::Quantized(_, _, q)) if OF_INTEGERS.contains(&&*op.kind) => Some(*q),
            _ => None,
        }
    }

    /// The bias of a product of integers: its steps are the products of those of both operands, and its numbers are rounded to double
    /// precision.
    pub fn bias(&self, op: &Operation<'_>) -> Result<Value, String> {
        let (bias, x, w) = (self.constant(op, 0)?, self.constant(op, 1)?, self.constant(op, 2)?);
        let ([x], count) = (&x.numbers[..], w.numbers.len()) else {
            return Err("expected one step for all elements".into());
        };
        if count != 1 && count != bias.integers.len() || bias.kind != 6 {
            return Err("expected biases of 32 bits, with a step for each".into());
        }
        let grid: Vec<_> = (0..bias.integers.len()).map(|k| (*x * w.numbers[k % count], 0)).collect();
        let number = |(&q, &(step, _)): (&i64, &(Number, i64))| (step * Number::new(q, 0)).rounded(53);
        let numbers = bias.integers.iter().zip(&grid).map(number).collect();
        Ok(Value::Constant(Tensor { dims: bias.dims.clone(), kind: 6, numbers, integers: vec![], grid }))
    }

    /// Steps and zero points of a quantizer; the type of the integers is that of the zero points, `otherwise` without them.
    fn grid(&self, op: &Operation<'_>, otherwise: i64) -> Result<(&Tensor, Vec<i64>, i64), String> {
        let steps = self.constant(op, 1)?;
        let zeros = self.optional(op, 2)?;
        let integers = zeros.map_or(vec![0; steps.numbers.len()], |zeros| zeros.integers.clone());
        let (kind, count) = (zeros.map_or(otherwise, |zeros| zeros.kind), steps.numbers.len());
        if count == 0 || integers.len() != count || !steps.numbers.iter().all(|s| s.is_positive()) {
            return Err("expected steps above zero, and as many zero points".into());
        }
        Ok((steps, integers, kind))
    }

    /// QuantizeLinear: of a computed value a node, which is left out where the same one came before; of a constant its integers.
    pub fn quantized(&mut self, op: &Operation<'_>) -> Result<Value, String> {
        let (steps, zeros, kind) = self.grid(op, 2)?;
        let (low, high) = ends(kind)?;
        let staircase = |k: usize| {
            let narrow =
                |integer: i64| i32::try_from(integer).map_err(|_| "a zero point out of range".to_owned());
            let (zero, low, high) = (narrow(zeros[k])?, narrow(low)?, narrow(high)?);
            let q = Staircase { step: steps.numbers[k], zero, low, high, freedom: 0 };
            q.defect().map_or(Ok(q), |defect| Err(defect.to_owned()))
        };
        if let Ok(numbers) = self.constant(op, 0) {
            let group = groups(op, &numbers.dims, steps)?;
            let level = |(k, &x): (usize, &Number)| Ok(staircase(group(k))?.level(x) + zeros[group(k)]);
            let integers = numbers.numbers.iter().enumerate().map(level).collect::<Result<_, String>>()?;
            let dims = numbers.dims.clone();
            return Ok(Value::Constant(Tensor { dims, kind, integers, ..Tensor::default() }));
        }
        let (node, dims) = self.computed(op, 0)?;
        if zeros.len() != 1 || steps.kind != 1 {
            return Err("expected one step in single precision for all elements".into());
        }
        let q = staircase(0)?;
        if self.is_on_grid(node, q) {
            return Ok(Value::Quantized(node, dims, q));
        }
        let node = self.network.push(&op.name, Op::Activation(Activation::Quantize(q)), vec![node])?;
        Ok(Value::Quantized(node, dims, q))
    }

    /// Whether the elements of a node are values of a quantizer that were not changed since.
    fn is_on_grid(&self, node: usize, q: Staircase) -> bool {
        let mut node = &self.network.nodes[node];
        let is_copy = |node: &Node| {
            let chooses = |source: &[Option<usize>]| node.inputs.len() == 1 && !source.contains(&None);
            let is_choice = matches!(&node.op, Op::Gather { source, .. } if chooses(source));
            is_choice || matches!(node.op, Op::MaxPool(_))
        };
        while is_copy(node) {
            node = &self.network.nodes[node.inputs[0]];
        }
        node.op == Op::Activation(Activation::Quantize(q))
    }

    /// DequantizeLinear: the numbers `step · (integer − zero)` that integers stand for.
    pub fn numbers(&self, op: &Operation<'_>) -> Result<Value, String> {
        let value = op.inputs.first().and_then(|name| self.values.get(name));
        if let Some(Value::Quantized(node, dims, q)) = value {
            let (steps, zeros, kind) = self.grid(op, 2)?;
            let same = steps.numbers == [q.step]
                && zeros == [i64::from(q.zero)]
                && ends(kind)? == (q.low.into(), q.high.into());
            let computed = || Value::Computed(*node, dims.clone());
            return if same { Ok(computed()) } else { Err("another step or zero point than before".into()) };
        }
        let tensor = self.constant(op, 0)?;
        let (steps, zeros, kind) = self.grid(op, tensor.kind)?;
        let (group, (low, high)) = (groups(op, &tensor.dims, steps)?, ends(kind)?);
        if tensor.integers.len() != product(&tensor.dims)? || kind != tensor.kind {
            return Err("expected integers of the type of their zero points".into());
        }
        if let Some(q) = tensor.integers.iter().chain(&zeros).find(|q| !(low..=high).contains(*q)) {
            return Err(format!("the integer {q} is out of range"));
        }
        let grid: Vec<(Number, i64)> =
            (0..tensor.integers.len()).map(|k| (steps.numbers[group(k)], zeros[group(k)])).collect();
        let number = |(&q, &(step, zero)): (&i64, &(Number, i64))| step * Number::new(q - zero, 0);
        let numbers = tensor.integers.iter().zip(&grid).map(number).collect();
        Ok(Value::Constant(Tensor { dims: tensor.dims.clone(), kind, numbers, integers: vec![], grid }))
    }
}

/// For each element of a constant the place of its step: one for all, one for each place along an axis, or one for each block along it.
fn groups(op: &Operation<'_>, dims: &[usize], steps: &Tensor) -> Result<impl Fn(usize) -> usize, String> {
    let axis =
        usize::try_from(op.axis.map_or(op.integer("axis", 1), Ok)?.rem_euclid(dims.len().max(1) as i64))
            .unwrap_or(0);
    let along = dims.get(axis).copied().unwrap_or(1);
    let inner = product(dims.get(axis + 1..).unwrap_or_default())?.max(1);
    let block = sizes_of(&[op.integer("block_size", 0)?])?[0];
    let blocks = along.div_ceil(block.max(1));
    let of_blocks = || dims.iter().enumerate().map(|(k, &size)| if k == axis { blocks } else { size });
    let is_one = block == 0 && steps.numbers.len() == 1;
    if !is_one && steps.dims != if block == 0 { vec![along] } else { of_blocks().collect() } {
        return Err("expected one step, or one for each place or block along an axis".into());
    }
    Ok(move |k: usize| match (is_one, k / inner % along) {
        (true, _) => 0,
        (false, place) if block == 0 => place,
        (false, place) => (k / (inner * along) * blocks + place / block) * inner + k % inner,
    })
}

impl Stored {
    /// Of weights with these steps and zero points, which are listed once for each row where they are the same within rows; `None` of
    /// weights that are no integers.
    ///
    /// # Errors
    /// When the type is not supported.
    pub fn new(weight: &Tensor, rows: usize, bias_steps: Option<Numbers>) -> Result<Option<Stored>, String> {
        let grid = &weight.grid;
        if grid.is_empty() {
            return Ok(None);
        }
        let columns = grid.len() / rows;
        let of_rows = grid.chunks(columns).all(|row| row.iter().all(|grid| *grid == row[0]));
        let listed = || grid.iter().step_by(if of_rows { columns } else { 1 });
        let (low, high) = ends(weight.kind)?;
        Ok(Some(Stored {
            bits: 64 - (high - low).leading_zeros(),
            signed: low < 0,
            steps: Numbers(listed().map(|grid| grid.0).collect()),
            zeros: listed().map(|grid| grid.1).collect(),
            bias_steps,
            rounded: false,
        }))
    }
}

impl Tensor {
    /// The steps of biases, if they are integers.
    ///
    /// # Errors
    /// When these have not 32 bits, or a zero point.
    pub fn steps_of_biases(&self) -> Result<Option<Numbers>, String> {
        let is_stored = !self.grid.is_empty();
        if is_stored && (self.kind != 6 || self.grid.iter().any(|(_, zero)| *zero != 0)) {
            return Err("expected biases of 32 bits without zero point".into());
        }
        Ok(is_stored.then(|| Numbers(self.grid.iter().map(|(step, _)| *step).collect())))
    }
}
