//! Follows the values of a graph, node by node.

use super::dense::width;
use super::fold;
use super::input::{check_declared_width, sample_shape};
use super::limits::Budget;
use super::op::{Op, clean};
use super::operators::{Rule, rule};
use super::order::Plan;
use super::proto::GraphProto;
use super::quantize::Grid;
use super::shape;
use super::tensor::{Element, Tensor};
use super::{OnnxError, OnnxNetwork};
use crate::network::sketch::{BatchNorm, Sketch};
use std::collections::HashMap;
use std::rc::Rc;
use weightproof::network::Activation;

/// What a name of the graph stands for.
#[derive(Clone)]
pub enum Value {
    Constant(Rc<Tensor>),
    Computed(Computed),
    Erf(ErfTerm),
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
    /// The Softmax that was dropped; nothing but reshapes may follow.
    pub softmax: Option<String>,
    /// The grid of the integers that the value consists of in the file, where it does; the layer has the numbers they stand for.
    pub grid: Option<Grid>,
}

/// `factor · erf(x / √2) + shift`: a part of the GELU that exporters write out.
#[derive(Clone)]
pub struct ErfTerm {
    /// The layer of `x`.
    pub of: usize,
    pub dims: Vec<usize>,
    pub element: Element,
    pub factor: f64,
    pub shift: f64,
    /// Name of the Erf node; the activation gets it.
    pub name: String,
}

/// The state of reading one graph.
pub struct Reader<'a> {
    pub opset: i64,
    pub plan: Plan<'a>,
    pub budget: Budget,
    pub sketch: Sketch,
    values: HashMap<&'a str, Value>,
    /// Whether a value that depends on the input, or a parameter, is in double precision.
    pub float64: bool,
    pub notes: Vec<String>,
}

/// The network of a graph, and notes.
pub fn read(
    graph: &GraphProto,
    opset: i64,
    budget: Budget,
    batch_norm: BatchNorm,
) -> Result<OnnxNetwork, OnnxError> {
    let plan = Plan::new(graph)?;
    let (dims, element) = sample_shape(plan.input)?;
    let sketch = Sketch::new(shape::without_batch(&dims));
    let input = Value::Computed(Computed { layer: 0, dims, element, softmax: None, grid: None });
    let values = HashMap::from([(plan.input.name.as_str(), input)]);
    let order = plan.order.clone();
    let float64 = element == Element::F64;
    let mut reader = Reader { opset, plan, budget, sketch, values, float64, notes: vec![] };
    if matches!(element, Element::F16 | Element::Bf16) {
        reader.notes.push(format!("the model computes in {element:?}: its rounding is not modelled"));
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
    reader.finish(batch_norm)
}

impl<'a> Reader<'a> {
    fn finish(mut self, batch_norm: BatchNorm) -> Result<OnnxNetwork, OnnxError> {
        let output = self.values.remove(self.plan.output);
        let Some(Value::Computed(output)) = output else {
            let expected = "an output that depends on the input".into();
            return Err(OnnxError::Graph { expected, found: clean(self.plan.output) });
        };
        if let Some(node) = &output.softmax {
            let note = format!("final {node} dropped: it does not change the order of the classes");
            self.notes.push(note);
        }
        check_declared_width(self.plan.result, width(&output.dims))?;
        self.notes.extend(self.sketch.place_batch_norms(output.layer, batch_norm));
        self.sketch.simplify(output.layer);
        let (network, notes) = self.sketch.build(output.layer)?;
        self.notes.extend(notes);
        Ok(OnnxNetwork {
            network: network.with_float64(self.float64),
            notes: self.notes,
            dropped_head: output.softmax,
        })
    }

    /// The outputs of `op` that have a value: the first one, except where an operator has several of equal rank.
    fn evaluate(&mut self, op: &Op<'a>) -> Result<Vec<Value>, OnnxError> {
        let kind = op.kind();
        let unknown = || OnnxError::Operator { node: op.name.clone(), op: kind.clone() };
        let rule = rule(&kind).ok_or_else(unknown)?;
        let operands = self.operands(op)?;
        let known = rule.attributes(self.opset);
        if let Some(unknown) = op.node.attribute.iter().find(|a| !known.contains(&a.name.as_str())) {
            let expected = format!("attributes of {kind} in operator set {}", self.opset);
            return Err(op.fail(expected, clean(&unknown.name)));
        }
        let (least, most) = rule.operands();
        if !(least..=most).contains(&operands.len()) {
            let expected = if least == most { least.to_string() } else { format!("{least} to {most}") };
            return Err(op.fail(format!("{expected} operands of {kind}"), operands.len().to_string()));
        }
        if rule == Rule::Split {
            return self.split(op, &operands);
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
            Rule::Gelu => match op.text("approximate", "none")?.as_str() {
                "none" => self.activation(op, Activation::Gelu, &operands),
                "tanh" => self.activation(op, Activation::GeluTanh, &operands),
                other => Err(op.fail("attribute approximate to be none or tanh", other)),
            },
            Rule::Erf => self.erf(op, &operands),
            Rule::Softmax => self.softmax(op, &operands),
            Rule::Rename(rename) => self.reshape(op, rename, &operands),
            Rule::Transpose => self.transpose(op, &operands),
            Rule::Slice => self.slice(op, &operands),
            Rule::Gather => self.gather(op, &operands),
            Rule::Pad => self.pad(op, &operands),
            Rule::Concat => self.concat(op, &operands),
            Rule::Split => Err(unknown()),
            Rule::QuantizeLinear => self.quantize(op, &operands),
            Rule::DequantizeLinear => self.dequantize(op, &operands),
            Rule::Quantized(kind) => self.quantized_operator(op, kind, &operands),
            Rule::MatMulNBits => self.matmul_n_bits(op, &operands),
            Rule::Conv => self.conv(op, &operands),
            Rule::BatchNormalization => self.batch_normalization(op, &operands),
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
            Rule::Constant => Ok(constant(fold::constant(op, &mut self.budget)?)),
            Rule::ConstantOfShape => {
                let constants = constants(op, &operands)?;
                let target = fold::operand(op, &constants, 0)?;
                Ok(constant(fold::constant_of_shape(op, target, &mut self.budget)?))
            }
        };
        value.map(|value| vec![value])
    }

    /// The values that `op` reads; `None` for optional operands that are left out.
    fn operands(&mut self, op: &Op<'a>) -> Result<Vec<Option<Value>>, OnnxError> {
        let mut operands = Vec::with_capacity(op.node.input.len());
        for name in &op.node.input {
            let value = match self.values.get(name.as_str()) {
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
            if let Some(Value::Computed(Computed { softmax: Some(node), .. })) = &value {
                let renames = matches!(rule(&op.kind()), Some(Rule::Identity | Rule::Cast | Rule::Rename(_)));
                if !renames {
                    return Err(op.fail(format!("no operator after {node}"), op.kind()));
                }
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
        Value::Erf(term) => Err(lone_erf(op, term)),
    }
}

/// All operands, which must be constant.
pub fn constants<'v>(op: &Op, operands: &'v [Option<Value>]) -> Result<Vec<Option<&'v Tensor>>, OnnxError> {
    let tensor = |value: &'v Option<Value>| match value {
        None => Ok(None),
        Some(Value::Constant(tensor)) => Ok(Some(tensor.as_ref())),
        Some(Value::Computed(_) | Value::Erf(_)) => Err(op.fail("constant operands", "a computed one")),
    };
    operands.iter().map(tensor).collect()
}

/// The error for an Erf that is not part of a GELU.
pub fn lone_erf(op: &Op, term: &ErfTerm) -> OnnxError {
    op.fail(format!("Erf (node {}) to be part of x * (1 + erf(x / sqrt 2)) / 2", term.name), op.kind())
}
