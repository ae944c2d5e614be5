//! Follows the values of a graph, node by node.

use super::dense::width;
use super::fold;
use super::input::{Sample, check_declared_width, given};
use super::integer::IntegerSum;
use super::limits::{Budget, MAX_WIDTH};
use super::op::{Op, clean};
use super::operators::{Function, Normalization, Rule, rule};
use super::order::Plan;
use super::proto::{GraphProto, NodeProto, ValueInfoProto, attribute_kind};
use super::quantize::Grid;
use super::shape;
use super::tensor::{Element, Tensor};
pub use super::written_out::{Form, Part, lone_part, part};
use super::{OnnxError, OnnxNetwork, OnnxOptions};
use crate::network::sketch::Sketch;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use weightproof::network::{Activation, Gather};

/// What a name of the graph stands for.
#[derive(Clone)]
pub enum Value {
    Constant(Rc<Tensor>),
    Computed(Computed),
    Part(Part),
}

/// The output of a layer.
#[derive(Clone)]
pub struct Computed {
    /// Number of the layer in the sketch.
    pub layer: usize,
    /// Dimensions as in ONNX, for a batch of 1.
    pub dims: Vec<usize>,
    /// Type of its elements; constants that meet it have the same.
    pub element: Element,
    /// The head that was dropped; nothing but reshapes may follow.
    pub head: Option<Head>,
    /// The grid of the integers that the value consists of in the file, where it does; the layer has the numbers they stand for.
    pub grid: Option<Grid>,
}

/// An operator at the end that is left out.
#[derive(Clone)]
pub struct Head {
    /// The operator and its node, as notes tell them.
    pub name: String,
    /// Its node.
    pub node: String,
    /// Whether it gives numbers of classes instead of one number for each class.
    pub chooses: bool,
    /// Whether it is a softmax of two classes or its logarithm, which is left out only where nothing reads it.
    pub is_pair: bool,
    /// Whether it is a logarithm.
    pub is_logarithm: bool,
    /// Of a Softmax the dimensions of what it reads, and the axes that it is taken over together.
    pub over: Option<(Vec<usize>, Range<usize>)>,
}

/// The state of reading one graph.
pub struct Reader<'a> {
    pub opset: i64,
    pub plan: Plan<'a>,
    pub budget: Budget,
    pub sketch: Sketch,
    values: HashMap<&'a str, Value>,
    /// The batch dimension where the file fixes it.
    pub batch: Option<usize>,
    /// For results of [`Reader::rows_times`] the convolution that they come from.
    pub rows_of: HashMap<usize, usize>,
    /// What the steps of dynamic quantizers are multiplied by.
    pub factors: Vec<Tensor>,
    /// Products of integers that wait for their steps.
    pub sums: Vec<IntegerSum<'a>>,
    /// Whether a value that depends on the input, or a parameter, is in double precision.
    pub float64: bool,
    pub notes: Vec<String>,
}

/// The network of a graph, and notes. Where a file fixes the batch at several samples and mixes them, all of them together are one sample.
pub fn read(
    graph: &GraphProto,
    opset: i64,
    budget: Budget,
    options: &OnnxOptions,
) -> Result<OnnxNetwork, OnnxError> {
    let (again, mut batch) = (budget.clone(), None);
    read_samples(graph, opset, (budget, false), options, &mut batch).or_else(|error| match batch {
        Some(2..) => read_samples(graph, opset, (again, true), options, &mut batch).map_err(|_| error),
        Some(_) | None => Err(error),
    })
}

/// [`read`], with the inputs read sample by sample, or as wholes. `fixed` becomes the batch that the file fixes.
fn read_samples(
    graph: &GraphProto,
    opset: i64,
    (budget, is_whole): (Budget, bool),
    options: &OnnxOptions,
    fixed: &mut Option<usize>,
) -> Result<OnnxNetwork, OnnxError> {
    let mut plan = Plan::new(graph, options)?;
    let samples: Vec<Sample> = plan
        .inputs
        .iter()
        .map(|input| Sample::new(input, &options.dims, is_whole))
        .collect::<Result<_, _>>()?;
    let LaidOut { sketch, values: inputs, batch } = laid_out(&samples, &plan.inputs, &mut plan.notes)?;
    *fixed = batch;
    if is_whole {
        plan.notes
            .push("the file mixes the samples of its batch: all of them together are one sample".into());
    }
    let element = samples[0].element;
    let mut values: HashMap<&str, Value> = plan.inputs.iter().map(|i| i.name.as_str()).zip(inputs).collect();
    for constant_input in &options.inputs {
        if let Some(input) = graph.input.iter().find(|i| i.name == constant_input.name) {
            values.insert(&input.name, constant(given(input, constant_input)?));
        }
    }
    let order = plan.order.clone();
    let float64 = element == Element::F64;
    let (notes, rows_of) = (std::mem::take(&mut plan.notes), HashMap::new());
    let (factors, sums) = (Vec::new(), Vec::new());
    let mut reader =
        Reader { opset, plan, budget, sketch, values, batch, rows_of, factors, sums, float64, notes };
    if matches!(element, Element::F16 | Element::Bf16) {
        reader.notes.push(format!("the model computes in {element}: its rounding is not modelled"));
    }
    if let Some(batch) = batch.filter(|n| *n > 1) {
        reader.notes.push(format!("the file fixes the batch at {batch} samples: each is taken on its own"));
    }
    if order.len() < graph.node.len() {
        let ignored = graph.node.len() - order.len();
        reader.notes.push(format!("nodes that the output does not depend on, ignored: {ignored}"));
    }
    for index in order {
        let node = &graph.node[index];
        let op = Op::new(index, node);
        for (name, value) in node.output.iter().zip(reader.evaluate(&op)?) {
            if let Value::Computed(x) = &value {
                reader.float64 |= x.element == Element::F64;
                reader.budget.value(&op.label(), &x.dims)?;
            }
            reader.values.insert(name, value);
        }
    }
    reader.finish(options)
}

/// The inputs of a network as layers.
struct LaidOut {
    sketch: Sketch,
    /// The value of each input.
    values: Vec<Value>,
    /// The batch dimension that the file fixes.
    batch: Option<usize>,
}

/// The input layer. Several inputs are laid end to end as one sample.
fn laid_out(
    samples: &[Sample],
    inputs: &[&ValueInfoProto],
    notes: &mut Vec<String>,
) -> Result<LaidOut, OnnxError> {
    let computed = |layer, sample: &Sample| {
        let (dims, element) = (sample.dims.clone(), sample.element);
        Value::Computed(Computed { layer, dims, element, head: None, grid: None })
    };
    if let [sample] = samples {
        let sketch = Sketch::new(shape::without_batch(&sample.dims));
        return Ok(LaidOut { sketch, values: vec![computed(0, sample)], batch: sample.batch });
    }
    let widths: Vec<usize> = samples.iter().map(|sample| width(&sample.dims)).collect();
    let total = widths.iter().fold(0_usize, |sum, &w| sum.saturating_add(w));
    if total > MAX_WIDTH {
        let what = "elements of all inputs together".into();
        return Err(OnnxError::Limit { what, limit: MAX_WIDTH, found: total.to_string() });
    }
    let (mut sketch, mut values, mut first) = (Sketch::new(vec![total]), Vec::new(), 0);
    for ((sample, input), &width) in samples.iter().zip(inputs).zip(&widths) {
        let source = (first..first + width).map(Some).collect();
        let gather = Gather { source, constant: 0.0 };
        let shape = shape::without_batch(&sample.dims);
        values.push(computed(sketch.gather(&clean(&input.name), vec![0], gather, shape), sample));
        first += width;
    }
    let listed: Vec<String> = inputs
        .iter()
        .zip(&widths)
        .map(|(input, width)| format!("{} ({width})", clean(&input.name)))
        .collect();
    notes.push(format!(
        "{} inputs are laid end to end as one sample: {}; --input NAME=file.npy gives one a constant value",
        inputs.len(),
        listed.join(", ")
    ));
    Ok(LaidOut { sketch, values, batch: samples.iter().find_map(|sample| sample.batch) })
}

impl<'a> Reader<'a> {
    fn finish(mut self, options: &OnnxOptions) -> Result<OnnxNetwork, OnnxError> {
        let mut outputs = Vec::with_capacity(self.plan.outputs.len());
        for name in self.plan.outputs.clone() {
            let end = Op { name: clean(name), node: &NodeProto::default() };
            let output = self.values.remove(name).map(|value| self.materialized(&end, value)).transpose()?;
            let Some(Value::Computed(output)) = output else {
                let expected = "an output that depends on the input".into();
                return Err(OnnxError::Graph { expected, found: clean(name) });
            };
            if let Some(Head { name, .. }) = &output.head {
                let note = format!("final {name} dropped: it does not change the order of the classes");
                self.notes.push(note);
            }
            let chooses = output.head.as_ref().is_some_and(|head| head.chooses);
            let declared = self.plan.declared.iter().find(|d| d.name == name && !chooses);
            declared.map_or(Ok(()), |d| check_declared_width(d, width(&output.dims), self.batch))?;
            outputs.push(output);
        }
        let heads: Vec<String> =
            outputs.iter().filter_map(|output| Some(output.head.as_ref()?.name.clone())).collect();
        let layer = match &outputs[..] {
            [output] => output.layer,
            several => {
                let count = several.iter().map(|output| width(&output.dims)).sum();
                self.budget.value("the outputs together", &[count])?;
                let gather = Gather { source: (0..count).map(Some).collect(), constant: 0.0 };
                let layers = several.iter().map(|output| output.layer).collect();
                self.sketch.gather("outputs", layers, gather, vec![count])
            }
        };
        self.notes.extend(self.sketch.place_batch_norms(layer, options.batch_norm));
        self.sketch.simplify(layer);
        let (network, notes) = self.sketch.build(layer)?;
        self.notes.extend(notes);
        Ok(OnnxNetwork {
            network: network.with_float64(self.float64),
            notes: self.notes,
            dropped_head: (!heads.is_empty()).then(|| heads.join(", ")),
        })
    }

    /// Whether the first of the dimensions `dims` is the batch: several samples may be there when the network runs.
    pub fn has_batch(&self, dims: &[usize]) -> bool {
        self.batch != Some(1) && shape::has_batch(dims)
    }

    /// The outputs of `op` that have a value: the first one, except where an operator has several of equal rank.
    fn evaluate(&mut self, op: &Op<'a>) -> Result<Vec<Value>, OnnxError> {
        let kind = op.kind();
        let unknown = || OnnxError::Operator { node: op.name.clone(), op: kind.clone() };
        let rule = rule(&kind).ok_or_else(unknown)?;
        let mut operands = self.operands(op)?;
        let (known, old) = (rule.attributes(self.opset), rule.old_attributes(self.opset));
        let is_known = |name: &str| known.contains(&name) || old.contains(&name);
        if let Some(unknown) = op.node.attribute.iter().find(|a| !is_known(&a.name)) {
            let expected = format!("attributes of {kind} in operator set {}", self.opset);
            return Err(op.fail(expected, clean(&unknown.name)));
        }
        let (least, most) = rule.operands();
        if !(least..=most).contains(&operands.len()) {
            let expected = if least == most { least.to_string() } else { format!("{least} to {most}") };
            return Err(op.fail(format!("{expected} operands of {kind}"), operands.len().to_string()));
        }
        if self.opset < 7 {
            self.as_before_seven(op, rule, &mut operands)?;
        }
        if rule == Rule::Split {
            return self.split(op, &operands);
        }
        if rule == Rule::DynamicQuantizeLinear {
            return self.dynamic_quantize(op, &operands);
        }
        if let Rule::Normalization(kind @ (Normalization::SkipLayer | Normalization::SkipRootMeanSquare)) =
            rule
        {
            return self.skip_normalization(op, kind, &operands);
        }
        if rule == Rule::TopK {
            let value = self.choice(op, &operands)?;
            return Ok(vec![value.clone(), value]);
        }
        let value = match rule {
            Rule::Gemm => self.gemm(op, &operands),
            Rule::MatMul => self.matmul(op, &operands),
            Rule::Arithmetic(kind) => self.arithmetic(op, kind, &operands),
            Rule::Neg => self.negate(op, &operands),
            Rule::Activation(f) => self.activation(op, f, &operands),
            Rule::LeakyRelu => {
                let slope = op.float("alpha", f64::from(0.01_f32))?;
                self.activation(op, Activation::LeakyRelu { slope }, &operands)
            }
            Rule::Gelu if self.opset < 20 => Err(unknown()),
            Rule::Swish if self.opset < 24 => Err(unknown()),
            Rule::Swish | Rule::QuickGelu => {
                let alpha =
                    op.float("alpha", if rule == Rule::Swish { 1.0 } else { f64::from(1.702_f32) })?;
                if alpha == 0.0 {
                    return Err(op.fail("attribute alpha other than 0", "0"));
                }
                self.scaled_activation(op, Activation::Silu, [alpha, 0.0, 1.0 / alpha], &operands)
            }
            Rule::Elu => {
                let alpha = op.float("alpha", 1.0)?;
                self.activation(op, Activation::Elu { alpha }, &operands)
            }
            Rule::Celu => {
                let alpha = op.float("alpha", 1.0)?;
                if alpha == 0.0 {
                    return Err(op.fail("attribute alpha other than 0", "0"));
                }
                self.scaled_activation(
                    op,
                    Activation::Elu { alpha: 1.0 },
                    [1.0 / alpha, 0.0, alpha],
                    &operands,
                )
            }
            Rule::Selu => {
                let alpha = op.float("alpha", f64::from(1.673_263_2_f32))?;
                let gamma = op.float("gamma", f64::from(1.050_701_f32))?;
                self.scaled_activation(op, Activation::Elu { alpha }, [1.0, 0.0, gamma], &operands)
            }
            Rule::HardSigmoid => {
                let (alpha, beta) = (op.float("alpha", f64::from(0.2_f32))?, op.float("beta", 0.5)?);
                let clip = Activation::Clip { low: 0.0, high: 1.0 };
                self.scaled_activation(op, clip, [alpha, beta, 1.0], &operands)
            }
            Rule::PRelu => self.prelu(op, &operands),
            Rule::Shrink => self.shrink(op, &operands),
            Rule::Sign => self.sign(op, &operands),
            Rule::ThresholdedRelu => self.thresholded_relu(op, &operands),
            Rule::Quant => self.quant(op, &operands),
            Rule::BipolarQuant => self.bipolar(op, &operands),
            Rule::Fused(kind) => self.fused(op, kind, &operands),
            Rule::ChannelsLast(kind) => self.channels_last(op, kind, &operands),
            Rule::Microsoft(f) => self.microsoft(op, f, &operands),
            Rule::Tanh => self.tanh(op, &operands),
            Rule::Log => self.log(op, &operands),
            Rule::Pow => match operands.first() {
                Some(Some(Value::Constant(_))) => {
                    let constants = constants(op, &operands)?;
                    Ok(constant(fold::function(op, Function::Pow, &constants, &mut self.budget)?))
                }
                _ => self.power(op, &operands),
            },
            Rule::Gelu => match op.text("approximate", "none")?.as_str() {
                "none" => self.activation(op, Activation::Gelu, &operands),
                "tanh" => self.activation(op, Activation::GeluTanh, &operands),
                other => Err(op.fail("attribute approximate to be none or tanh", other)),
            },
            Rule::Erf => self.erf(op, &operands),
            Rule::Softmax => self.softmax(op, &operands),
            Rule::ArgMax | Rule::TopK => self.choice(op, &operands),
            Rule::Rename(rename) => self.reshape(op, rename, &operands),
            Rule::Transpose => self.transpose(op, &operands),
            Rule::Slice => self.slice(op, &operands),
            Rule::Gather => self.gather(op, &operands),
            Rule::Pad => self.pad(op, &operands),
            Rule::Resize => self.resize(op, &operands),
            Rule::DepthToSpace => self.depth_to_space(op, &operands),
            Rule::SpaceToDepth => self.space_to_depth(op, &operands),
            Rule::Expand => self.expand(op, &operands),
            Rule::Tile => self.tile(op, &operands),
            Rule::Concat => self.concat(op, &operands),
            Rule::Split | Rule::DynamicQuantizeLinear => Err(unknown()),
            Rule::QuantizeLinear => self.quantize(op, &operands),
            Rule::DequantizeLinear => self.dequantize(op, &operands),
            Rule::Quantized(kind) => self.quantized_operator(op, kind, &operands),
            Rule::MatMulNBits => self.matmul_n_bits(op, &operands),
            Rule::Attention => self.attention(op, &operands),
            Rule::IntegerProduct(kind) => self.integer_product(op, kind, &operands),
            Rule::MatMulIntegerToFloat => self.integer_product_to_float(op, &operands),
            Rule::DynamicQuantizeMatMul => self.dynamic_quantize_matmul(op, &operands),
            Rule::Conv => self.conv(op, &operands),
            Rule::ConvTranspose => self.conv_transpose(op, &operands),
            Rule::BatchNormalization => self.batch_normalization(op, &operands),
            Rule::Normalization(kind) => self.normalization(op, kind, &operands),
            Rule::Pool(reduction) => self.pool(op, reduction, &operands),
            Rule::GlobalPool(reduction) => self.pool_all(op, reduction, &operands),
            Rule::Reduce(reduction) => self.reduce(op, reduction, &operands),
            Rule::Sum => self.sum(op, &operands),
            Rule::Clip => self.clip(op, &operands),
            Rule::Extremum { largest } => self.extremum(op, largest, &operands),
            Rule::Identity => self.pass(op, &operands),
            Rule::Dropout => self.dropout(op, &operands),
            Rule::Cast => self.cast(op, &operands),
            Rule::Shape => self.shape(op, &operands),
            Rule::OnConstants(function)
                if operands.iter().any(|v| !matches!(v, None | Some(Value::Constant(_)))) =>
            {
                let f = match function {
                    Function::Exp => Activation::Exp,
                    Function::Reciprocal => Activation::Reciprocal,
                    Function::Sqrt => Activation::SQRT,
                    Function::Where => return self.masked(op, &operands).map(|value| vec![value]),
                    Function::Ceil | Function::Equal | Function::Floor | Function::Pow | Function::Range => {
                        return Err(unknown());
                    }
                };
                self.activation(op, f, &operands)
            }
            Rule::OnConstants(function) => {
                let constants = constants(op, &operands)?;
                Ok(constant(fold::function(op, function, &constants, &mut self.budget)?))
            }
            Rule::Constant => Ok(constant(fold::constant(op, &mut self.budget)?)),
            Rule::ConstantOfShape => {
                let constants = constants(op, &operands)?;
                let target = fold::operand(op, &constants, 0)?;
                Ok(constant(fold::constant_of_shape(op, target, &mut self.budget)?))
            }
        };
        value.map(|value| vec![value])
    }

    /// What operator sets 5 and 6 write otherwise: inference is an attribute, and constants broadcast from an axis on.
    fn as_before_seven(&self, op: &Op, rule: Rule, operands: &mut [Option<Value>]) -> Result<(), OnnxError> {
        if matches!(rule, Rule::BatchNormalization | Rule::Dropout) && !op.flag("is_test")? {
            return Err(op.fail("is_test = 1: inference", "0"));
        }
        let from = op.attribute("axis", attribute_kind::INT)?.filter(|_| matches!(rule, Rule::Arithmetic(_)));
        if let (Some(axis), [Some(Value::Computed(x)), Some(Value::Constant(c))]) = (from, operands) {
            let axis = fold::at(op, shape::axis(axis.i, x.dims.len(), true))?;
            let behind = x.dims.len().saturating_sub(axis + c.dims.len());
            *c = Rc::new(c.with_dims([c.dims.clone(), vec![1; behind]].concat()));
        }
        Ok(())
    }

    /// The values that `op` reads; `None` for optional operands that are left out.
    fn operands(&mut self, op: &Op<'a>) -> Result<Vec<Option<Value>>, OnnxError> {
        let mut operands = Vec::with_capacity(op.node.input.len());
        for name in &op.node.input {
            let mut value = match self.values.get(name.as_str()) {
                _ if name.is_empty() => None,
                Some(value) => Some(value.clone()),
                None => match self.plan.initializers.get(name.as_str()) {
                    Some(proto) => {
                        let value = constant(Tensor::decode(proto, name, &mut self.budget)?);
                        self.values.insert(name, value.clone());
                        Some(value)
                    }
                    // Defined, since the plan checked it, but not computed: a second output such as Dropout's mask.
                    None => return Err(OnnxError::Undefined { node: op.name.clone(), value: clean(name) }),
                },
            };
            let renames = matches!(rule(&op.kind()), Some(Rule::Identity | Rule::Cast | Rule::Rename(_)));
            if let Some(Value::Computed(x @ Computed { head: Some(Head { name, .. }), .. })) = &value
                && !renames
            {
                let head = self.computed_head(op, x)?;
                value = Some(head.ok_or_else(|| op.fail(format!("no operator after {name}"), op.kind()))?);
            }
            // A power may be a part of an activation: sums, products and Tanh find that out.
            if let Some(Value::Part(_)) = &value
                && !matches!(rule(&op.kind()), Some(Rule::Arithmetic(_) | Rule::Tanh))
            {
                value = value.map(|part| self.materialized(op, part)).transpose()?;
            }
            operands.push(value);
        }
        self.check_grids(op, &operands)?;
        Ok(operands)
    }
}

/// A constant as a value.
pub fn constant(tensor: Tensor) -> Value {
    Value::Constant(Rc::new(tensor))
}

/// The value of operand number `position`, which must be there.
pub fn value<'v>(op: &Op, operands: &'v [Option<Value>], position: usize) -> Result<&'v Value, OnnxError> {
    let found = operands.get(position).and_then(Option::as_ref);
    found.ok_or_else(|| op.fail(format!("an operand number {}", position + 1), "none"))
}

/// The output of a layer that `op` is applied to.
pub fn computed<'v>(op: &Op, operands: &'v [Option<Value>]) -> Result<&'v Computed, OnnxError> {
    match value(op, operands, 0)? {
        Value::Computed(computed) => Ok(computed),
        Value::Constant(_) => Err(op.fail("an operand that depends on the input", "a constant")),
        Value::Part(part) => Err(lone_part(op, part)),
    }
}

/// All operands, which must be constant.
pub fn constants<'v>(op: &Op, operands: &'v [Option<Value>]) -> Result<Vec<Option<&'v Tensor>>, OnnxError> {
    let tensor = |value: &'v Option<Value>| match value {
        None => Ok(None),
        Some(Value::Constant(tensor)) => Ok(Some(tensor.as_ref())),
        Some(Value::Computed(_) | Value::Part(_)) => Err(op.fail("constant operands", "a computed one")),
    };
    operands.iter().map(tensor).collect()
}
