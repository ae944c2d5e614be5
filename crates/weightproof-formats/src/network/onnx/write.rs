//! Networks as ONNX models.

use super::OnnxError;
use super::op::clean;
use super::proto::*;
use crate::network::steps::{Names, Step, check, counts_padding, is_one_dimensional, joins, shortest, steps};
use prost::Message;
use std::collections::HashSet;
use weightproof::network::{
    Activation, Affine, Conv, Gather, Jumps, Layer, Network, Scale, Staircase, Window,
};

/// The largest model: protocol buffers end there.
const MAX_BYTES: usize = i32::MAX as usize;
/// Operator set and version of the format, where the layers need no newer ones.
const VERSIONS: (i64, i64) = (17, 8);
/// The same with Gelu and dilated average pooling.
const NEWER: (i64, i64) = (20, 9);
/// The first operator set with Swish, and its IR version.
const NEWEST: (i64, i64) = (24, 12);

/// Writes a network as an ONNX model, the same bytes for the same network.
///
/// The model has one input `input` and one output `output` whose first dimension is a batch of any size, and operator set 17, or
/// 20 where GELU or dilated average pooling need it. Numbers are stored as f32: those that f32 does not hold are **rounded** to
/// nearest, so what is read back is the network of the rounded numbers.
///
/// Every node becomes an operator of its name. Where shapes do not fit the operator, a change of shape is added before or after it;
/// average pooling with factors that are no means is multiplied by constants. [`parse_onnx`](super::parse_onnx) gives back the same
/// dense layers and convolutions under the same names and a network that computes the same; the nodes between them are the same too,
/// but for those additions and for neighbours that the reader merges.
///
/// # Errors
/// [`OnnxError::Node`] for numbers beyond the range of f32, for shapes without elements, and for names that are empty, longer than 120
/// characters or hold control characters; [`OnnxError::Limit`] for models of 2 GiB and more.
pub fn encode_onnx(network: &Network) -> Result<Vec<u8>, OnnxError> {
    let steps = steps(network);
    let mut writer = Writer::new(&steps);
    for index in 0..steps.len() {
        writer.step(&steps, index)?;
    }
    let (opset, ir_version) = writer.versions;
    let graph = WrittenGraphProto {
        node: writer.nodes,
        name: "network".into(),
        initializer: writer.initializers,
        input: vec![described("input", network.input_shape())],
        output: steps.last().map(|step| described("output", &step.shape)).into_iter().collect(),
    };
    let model = WrittenModelProto {
        ir_version,
        producer_name: "weightproof".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: opset }],
    };
    match model.encoded_len() {
        bytes if bytes > MAX_BYTES => {
            let (what, found) = ("bytes of the model".into(), bytes.to_string());
            Err(OnnxError::Limit { what, limit: MAX_BYTES, found })
        }
        _ => Ok(model.encode_to_vec()),
    }
}

/// An operator without name: what it does to the value before it.
struct Operator {
    kind: &'static str,
    /// Names of its operands after the first.
    operands: Vec<String>,
    attributes: Vec<AttributeProto>,
}

impl Operator {
    fn new(kind: &'static str, operands: Vec<String>) -> Self {
        Operator { kind, operands, attributes: vec![] }
    }

    fn int(self, name: &str, i: i64) -> Self {
        self.with(AttributeProto { name: name.into(), i, kind: attribute_kind::INT, ..Default::default() })
    }

    fn ints(self, name: &str, numbers: &[usize]) -> Self {
        let (ints, kind) = (signed(numbers), attribute_kind::INTS);
        self.with(AttributeProto { name: name.into(), ints, kind, ..Default::default() })
    }

    fn float(self, name: &str, f: f32) -> Self {
        self.with(AttributeProto { name: name.into(), f, kind: attribute_kind::FLOAT, ..Default::default() })
    }

    fn text(self, name: &str, text: &str) -> Self {
        let (s, kind) = (text.into(), attribute_kind::STRING);
        self.with(AttributeProto { name: name.into(), s, kind, ..Default::default() })
    }

    fn with(mut self, attribute: AttributeProto) -> Self {
        self.attributes.push(attribute);
        self
    }

    /// With the attributes of a window over one or two axes.
    fn window(self, window: &Window, output: &[usize]) -> Self {
        let from = usize::from(is_one_dimensional(output));
        let [[top, bottom], [left, right]] = window.padding;
        let pads = if from == 1 { vec![left, right] } else { vec![top, left, bottom, right] };
        let operator = self
            .ints("kernel_shape", &window.kernel[from..])
            .ints("pads", &pads)
            .ints("strides", &window.stride[from..]);
        // AveragePool knows no dilations before operator set 19.
        let dilation = &window.dilation[from..];
        if dilation.iter().all(|&d| d == 1) { operator } else { operator.ints("dilations", dilation) }
    }
}

/// The graph so far.
struct Writer {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// Names of values and nodes.
    names: Names,
    /// Name of the value of every step.
    values: Vec<String>,
    /// Operator set, version of the format.
    versions: (i64, i64),
}

impl Writer {
    fn new(steps: &[Step]) -> Self {
        let mut taken: HashSet<String> = steps.iter().map(|step| step.name.clone()).collect();
        taken.insert("output".into());
        let mut names = Names { taken };
        let last = steps.len() - 1;
        let value = |(index, step): (usize, &Step)| match step.name.as_str() {
            _ if index == last => "output".into(),
            "output" => names.fresh("output"),
            name => name.into(),
        };
        let values = steps.iter().enumerate().map(value).collect();
        Writer { nodes: vec![], initializers: vec![], names, values, versions: VERSIONS }
    }

    /// Adds the operators of step number `index`.
    fn step(&mut self, steps: &[Step], index: usize) -> Result<(), OnnxError> {
        let step = &steps[index];
        check(step, clean).map_err(|(expected, found)| fail(&step.name, expected, found))?;
        let shapes: Vec<Vec<usize>> = step.inputs.iter().map(|&i| steps[i].shape.clone()).collect();
        let operators = match step.layer.as_ref() {
            Layer::Input => return Ok(()),
            Layer::Dense(affine) => {
                let dims = [affine.weight.rows(), affine.weight.cols()];
                vec![Operator::new("Gemm", self.affine(&step.name, affine, &dims)?).int("transB", 1)]
            }
            Layer::Conv(Conv { affine, window }) => {
                let from = usize::from(is_one_dimensional(&step.shape));
                let dims = [&[window.channels, window.group_inputs()], &window.kernel[from..]].concat();
                let operator = Operator::new("Conv", self.affine(&step.name, affine, &dims)?);
                vec![operator.int("group", to_i64(window.groups)).window(window, &step.shape)]
            }
            Layer::Scale(scale) => self.scale(step, scale)?,
            Layer::Activation(Activation::Quantize(q)) if q.jumps == Jumps::AtZero => self.sign(step, q)?,
            Layer::Activation(f) => vec![self.activation(step, *f)?],
            Layer::DynamicQuantize(_) => {
                let expected = "an activation without steps".into();
                return Err(fail(&step.name, expected, "a quantizer".into()));
            }
            Layer::MaxPool(window) => vec![Operator::new("MaxPool", vec![]).window(window, &step.shape)],
            Layer::AveragePool(pool) => {
                let operator = Operator::new("AveragePool", vec![]).window(&pool.window, &step.shape);
                if pool.window.dilation != [1, 1] {
                    self.versions = self.versions.max(NEWER);
                }
                let padded = pool.window.padding != [[0; 2]; 2];
                let counted = padded && counts_padding(pool) == Some(true);
                vec![if counted { operator.int("count_include_pad", 1) } else { operator }]
            }
            Layer::Add if step.inputs.len() == 2 => vec![Operator::new("Add", vec![])],
            Layer::Add => vec![Operator::new("Sum", vec![])],
            Layer::Multiply => vec![Operator::new("Mul", vec![])],
            Layer::Gather(gather) => self.gather(step, gather, &shapes)?,
            Layer::Reshape if step.shape.len() == 1 => vec![Operator::new("Flatten", vec![]).int("axis", 1)],
            Layer::Reshape => {
                // 0 keeps the batch.
                let target = [&[0], &signed(&step.shape)[..]].concat();
                let target = self.integers(&format!("{}.shape", step.name), &[target.len()], &target);
                vec![Operator::new("Reshape", vec![target])]
            }
        };
        self.chain(index, &step.inputs, &step.name, operators);
        Ok(())
    }

    /// Adds operators one after the other, of which the first reads the values of `inputs` and has the name of the step.
    fn chain(&mut self, index: usize, inputs: &[usize], name: &str, operators: Vec<Operator>) {
        let mut input: Vec<String> = inputs.iter().map(|&i| self.values[i].clone()).collect();
        let last = operators.len() - 1;
        for (k, Operator { kind, operands, attributes }) in operators.into_iter().enumerate() {
            let part = || format!("{name}.{}", kind.to_lowercase());
            let node_name = if k == 0 { name.to_string() } else { self.names.fresh(&part()) };
            let output = if k == last { self.values[index].clone() } else { self.names.fresh(&part()) };
            input.extend(operands);
            self.nodes.push(NodeProto {
                input: std::mem::replace(&mut input, vec![output.clone()]),
                output: vec![output],
                name: node_name,
                op_type: kind.into(),
                attribute: attributes,
                domain: String::new(),
            });
        }
    }

    /// Stores weights of shape `dims`, and biases where there are some.
    fn affine(&mut self, name: &str, affine: &Affine, dims: &[usize]) -> Result<Vec<String>, OnnxError> {
        let mut operands = vec![self.floats(name, "weight", dims, affine.weight.as_slice())?];
        if affine.has_bias {
            operands.push(self.floats(name, "bias", &[affine.bias.len()], &affine.bias)?);
        }
        Ok(operands)
    }

    /// `Mul`, and `Add` where there is a shift; `Div` for a division.
    ///
    /// A factor of 1 is not left out: an addition alone would be read as the bias of a convolution before it.
    fn scale(&mut self, step: &Step, scale: &Scale) -> Result<Vec<Operator>, OnnxError> {
        let mut operators = Vec::new();
        let first = match &scale.divisor {
            Some(divisor) => ("Div", "divisor", divisor),
            None => ("Mul", "scale", &scale.scale),
        };
        for (kind, what, numbers) in [first, ("Add", "shift", &scale.shift)] {
            if kind != "Add" || numbers.iter().any(|&v| v != 0.0) {
                let numbers = shortest(numbers, &step.shape);
                let mut dims = step.shape.clone();
                match numbers.len() {
                    1 => dims.clear(),
                    count if count == dims[0] => dims[1..].fill(1),
                    _ => {}
                }
                operators.push(Operator::new(kind, vec![self.floats(&step.name, what, &dims, &numbers)?]));
            }
        }
        Ok(operators)
    }

    fn activation(&mut self, step: &Step, f: Activation) -> Result<Operator, OnnxError> {
        let plain = |kind| Operator::new(kind, vec![]);
        Ok(match f {
            Activation::Relu => plain("Relu"),
            Activation::LeakyRelu { slope } => {
                plain("LeakyRelu").float("alpha", narrow(&step.name, "slope", slope)?)
            }
            Activation::Clip { low, high } => {
                let mut end = |what: &str, end: f64| {
                    if end.is_infinite() {
                        Ok(String::new())
                    } else {
                        self.floats(&step.name, what, &[], &[end])
                    }
                };
                Operator::new("Clip", vec![end("low", low)?, end("high", high)?])
            }
            Activation::SoftThreshold { lambda } => {
                let lambda = narrow(&step.name, "lambda", lambda)?;
                plain("Shrink").float("lambd", lambda).float("bias", lambda)
            }
            Activation::Sigmoid => plain("Sigmoid"),
            Activation::Tanh => plain("Tanh"),
            Activation::Softplus => plain("Softplus"),
            Activation::Gelu | Activation::GeluTanh => {
                self.versions = self.versions.max(NEWER);
                plain("Gelu").text("approximate", if f == Activation::Gelu { "none" } else { "tanh" })
            }
            Activation::Elu { alpha } => plain("Elu").float("alpha", narrow(&step.name, "alpha", alpha)?),
            Activation::Silu => {
                self.versions = NEWEST;
                plain("Swish")
            }
            Activation::Mish => {
                self.versions = self.versions.max(NEWER);
                plain("Mish")
            }
            Activation::HardSwish => plain("HardSwish"),
            Activation::Softsign => plain("Softsign"),
            Activation::Atan => plain("Atan"),
            Activation::Square => self.power(step, 2.0)?,
            Activation::Exp => plain("Exp"),
            Activation::Reciprocal => plain("Reciprocal"),
            Activation::SQRT => plain("Sqrt"),
            Activation::Power { exponent } => self.power(step, exponent)?,
            Activation::Quantize(_) => {
                let (expected, found) = ("an activation without steps".into(), "a quantizer".into());
                return Err(OnnxError::Node { node: step.name.clone(), expected, found });
            }
        })
    }

    /// `Pow` with a constant exponent.
    fn power(&mut self, step: &Step, exponent: f64) -> Result<Operator, OnnxError> {
        Ok(Operator::new("Pow", vec![self.floats(&step.name, "exponent", &[], &[exponent])?]))
    }

    /// `Sign`, the levels that are kept, and their size.
    fn sign(&mut self, step: &Step, q: &Staircase) -> Result<Vec<Operator>, OnnxError> {
        let mut operators = vec![Operator::new("Sign", vec![])];
        let (low, high) = q.ends();
        if (low, high) != (-1.0, 1.0) {
            operators.push(self.activation(step, Activation::Clip { low, high })?);
        }
        if q.step != 1.0 {
            operators.push(Operator::new("Mul", vec![self.floats(&step.name, "size", &[], &[q.step])?]));
        }
        Ok(operators)
    }

    /// Inputs laid end to end, the constant after them, and the choice.
    fn gather(
        &mut self,
        step: &Step,
        gather: &Gather,
        inputs: &[Vec<usize>],
    ) -> Result<Vec<Operator>, OnnxError> {
        let concat = Operator::new("Concat", vec![]).int("axis", 1);
        if joins(gather, inputs, &step.shape) {
            return Ok(vec![concat]);
        }
        let mut operators = Vec::new();
        if inputs.len() > 1 {
            operators.push(concat);
        }
        if gather.source.contains(&None) {
            let pads = self.integers(&format!("{}.pads", step.name), &[4], &[0, 0, 0, 1]);
            let constant = self.floats(&step.name, "constant", &[], &[gather.constant])?;
            operators.push(Operator::new("Pad", vec![pads, constant]));
        }
        let after = inputs.iter().flatten().sum::<usize>();
        let places: Vec<i64> = gather.source.iter().map(|source| to_i64(source.unwrap_or(after))).collect();
        let places = self.integers(&format!("{}.places", step.name), &step.shape, &places);
        operators.push(Operator::new("Gather", vec![places]).int("axis", 1));
        Ok(operators)
    }

    /// Stores the numbers `what` of a step, and returns the name of the tensor.
    fn floats(
        &mut self,
        step: &str,
        what: &str,
        dims: &[usize],
        numbers: &[f64],
    ) -> Result<String, OnnxError> {
        let mut bytes = Vec::with_capacity(4 * numbers.len());
        for &number in numbers {
            bytes.extend(narrow(step, what, number)?.to_le_bytes());
        }
        Ok(self.tensor(&format!("{step}.{what}"), data_type::FLOAT, dims, bytes))
    }

    fn integers(&mut self, name: &str, dims: &[usize], numbers: &[i64]) -> String {
        self.tensor(name, data_type::INT64, dims, numbers.iter().flat_map(|i| i.to_le_bytes()).collect())
    }

    fn tensor(&mut self, name: &str, data_type: i32, dims: &[usize], raw_data: Vec<u8>) -> String {
        let (name, dims) = (self.names.fresh(name), signed(dims));
        self.initializers.push(TensorProto {
            name: name.clone(),
            dims,
            data_type,
            raw_data,
            ..Default::default()
        });
        name
    }
}

/// A batch of values of f32 and the given shape.
fn described(name: &str, shape: &[usize]) -> ValueInfoProto {
    let batch = DimensionProto { dim_value: None, dim_param: Some("batch".into()) };
    let fixed = shape.iter().map(|&d| DimensionProto { dim_value: Some(to_i64(d)), dim_param: None });
    let shape = Some(TensorShapeProto { dim: [batch].into_iter().chain(fixed).collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: data_type::FLOAT, shape });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }) }
}

/// The f32 nearest to a number of a step.
fn narrow(step: &str, what: &str, number: f64) -> Result<f32, OnnxError> {
    let narrow = number as f32;
    if narrow.is_finite() {
        return Ok(narrow);
    }
    Err(fail(step, format!("a {what} within the range of f32"), format!("{number:e}")))
}

fn fail(step: &str, expected: String, found: String) -> OnnxError {
    OnnxError::Node { node: clean(step), expected, found }
}

fn signed(numbers: &[usize]) -> Vec<i64> {
    numbers.iter().map(|&n| to_i64(n)).collect()
}

/// Sizes of what is in memory fit.
fn to_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
