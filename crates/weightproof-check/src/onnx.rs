//! A minimal reader of ONNX: piecewise linear networks whose parameters are stored in the file, and quantized ones. Everything else is
//! refused.

use crate::network::{Activation, Affine, Head, Network, Op, Stored, Window};
use crate::number::{Number, Numbers};
use crate::protobuf::Message;
use crate::quantized::{is_of_integers, operators};
use crate::staircase::Staircase;
use crate::tensor::{Tensor, product, reshaped, sizes_of};
use std::collections::{BTreeMap, HashMap};

/// Attributes that are looked at; another one must be zero.
const ATTRIBUTES: &str = "alpha auto_pad axes axis beta bias block_size ceil_mode count_include_pad dilations group kernel_shape lambd \
    max min mode pads perm saturate storage_order strides transA transB value";

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Constant(Tensor),
    /// The elements of a node under a shape whose first dimension is the batch.
    Computed(usize, Vec<usize>),
    /// The same as integers, before they are made numbers again.
    Quantized(usize, Vec<usize>, Staircase),
}

/// A node of the file.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    pub(crate) inputs: Vec<String>,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) attributes: BTreeMap<String, Message<'a>>,
    /// In place of the attribute of this name.
    pub(crate) axis: Option<i64>,
}

/// A network that is being read.
pub(crate) struct Reader {
    pub(crate) network: Network,
    pub(crate) values: HashMap<String, Value>,
    uses: HashMap<String, usize>,
}

/// Reads a network.
///
/// # Errors
/// Names what is damaged or not supported.
pub fn read(bytes: &[u8]) -> Result<Network, String> {
    let file = Message::new(bytes)?;
    let graph = file.messages(7)?.pop().ok_or("no graph")?;
    let is_onnx = |domain: &str| matches!(domain, "" | "ai.onnx");
    let sets = file.messages(8)?.into_iter().filter(|set| is_onnx(&set.text(1)));
    let versions = sets.map(|set| set.integers(2)).collect::<Result<Vec<_>, _>>()?.concat();
    if !matches!(versions[..], [7..=22]) || graph.has(15) {
        return Err(format!(
            "expected one operator set from 7 to 22 and no sparse tensors, found sets {versions:?}"
        ));
    }
    let mut reader = Reader { network: Network::default(), values: HashMap::new(), uses: HashMap::new() };
    let (nodes, tensors) = (graph.messages(1)?, graph.messages(5)?);
    let (mut inputs, outputs) = (graph.messages(11)?, graph.messages(12)?);
    inputs.retain(|input| tensors.iter().all(|tensor| tensor.text(8) != input.text(1)));
    let ([input], [output]) = (&inputs[..], &outputs[..]) else {
        let (inputs, outputs) = (inputs.len(), outputs.len());
        return Err(format!("expected one input and one output, found {inputs} and {outputs}"));
    };
    let output = output.text(1);
    for name in nodes.iter().flat_map(|node| node.texts(1)).chain([output.clone()]) {
        *reader.uses.entry(name).or_default() += 1;
    }
    // The input first: one that is too large is refused before all weights are read.
    let dims = input_dims(input)?;
    reader.network.push(&input.text(1), Op::Input(product(&dims)?), vec![])?;
    reader.define(input.text(1), Value::Computed(0, dims))?;
    for message in tensors {
        let name = message.text(8);
        let tensor = Tensor::new(&message).map_err(|what| format!("tensor {name}: {what}"))?;
        reader.define(name, Value::Constant(tensor))?;
    }
    for node in &nodes {
        let attributes =
            node.messages(5)?.into_iter().map(|attribute| (attribute.text(1), attribute)).collect();
        let (inputs, name, kind) = (node.texts(1), node.text(3), node.text(4));
        let at = |what: String| format!("node {} ({}): {what}", node.text(3), node.text(4));
        let is_of_runtime = node.text(7) == "com.microsoft" && is_of_integers(&kind);
        if !is_onnx(&node.text(7)) && !is_of_runtime {
            return Err(at("not an operator of ONNX".into()));
        }
        let result = node.texts(2).into_iter().next().unwrap_or_default();
        for (op, name) in operators(Operation { inputs, name, kind, attributes, axis: None }, &result) {
            let value = match reader.head(&op).filter(|_| name == output) {
                Some((head, node, dims)) => {
                    reader.network.head = Some(head);
                    Ok(Value::Computed(node, dims))
                }
                None => reader.value(&op),
            };
            let value = match (value.map_err(at)?, reader.integers_of(&op)) {
                (Value::Computed(node, dims), Some(q)) => Value::Quantized(node, dims, q),
                (value, _) => value,
            };
            reader.define(name, value)?;
        }
    }
    match reader.values.get(&output) {
        Some(Value::Computed(node, _)) if *node == reader.network.output() => Ok(reader.network),
        _ => Err(format!("output {output}: not the last node")),
    }
}

/// The first dimension is the batch; every other one must be a number.
fn input_dims(input: &Message<'_>) -> Result<Vec<usize>, String> {
    // Type, its tensor type, the shape of it, and the dimensions of that.
    let mut messages = vec![input.clone()];
    for field in [2, 1, 2, 1] {
        messages = messages.iter().map(|m| m.messages(field)).collect::<Result<Vec<_>, _>>()?.concat();
    }
    let sizes = messages.iter().map(|dim| Ok(dim.integers(1)?.pop().unwrap_or(0)));
    let mut dims = sizes_of(&sizes.collect::<Result<Vec<_>, String>>()?)?;
    if !matches!(dims.first(), Some(0 | 1)) || dims[1..].contains(&0) {
        return Err("input: expected a batch of 1 or with a name, and dimensions that are numbers".into());
    }
    dims[0] = 1;
    product(&dims).map(|_| dims)
}

impl Reader {
    fn define(&mut self, name: String, value: Value) -> Result<(), String> {
        match self.values.insert(name.clone(), value) {
            None => Ok(()),
            Some(_) => Err(format!("value {name}: defined twice")),
        }
    }

    /// What a last operator reads that changes no order.
    fn head(&self, op: &Operation<'_>) -> Option<(Head, usize, Vec<usize>)> {
        let (node, dims) = self.computed(op, 0).ok()?;
        let is_of_all = dims.len() == 2 && matches!(op.integer("axis", 1), Ok(1 | -1));
        match &*op.kind {
            "Sigmoid" => Some((Head::Sigmoid, node, dims)),
            "Softmax" | "LogSoftmax" if is_of_all => Some((Head::Softmax, node, dims)),
            _ => None,
        }
    }

    fn value(&mut self, op: &Operation<'_>) -> Result<Value, String> {
        for (name, attribute) in &op.attributes {
            let is_zero = attribute.has(3) && op.integer(name, 0)? == 0;
            if !is_zero && ATTRIBUTES.split(' ').all(|known| known != name) {
                return Err(format!("attribute {name} is not supported"));
            }
        }
        if op.kind == "Constant" {
            let value =
                op.attributes.get("value").ok_or("expected a tensor as its value")?.messages(5)?.pop();
            return Tensor::new(&value.unwrap_or_default()).map(Value::Constant);
        }
        if let "Add" | "Sub" | "Mul" | "Div" = &*op.kind {
            return self.arithmetic(op);
        }
        if let "QuantizeLinear" | "DequantizeLinear" = &*op.kind {
            return if op.kind.starts_with('Q') { self.quantized(op) } else { self.numbers(op) };
        }
        if op.axis.is_some() && op.kind == "Bias" {
            return self.bias(op);
        }
        let (node, dims) = self.computed(op, 0)?;
        let same = |dims: Vec<usize>| Ok(Value::Computed(node, dims));
        let activation = match &*op.kind {
            "Gemm" | "MatMul" => return self.product(op, node, &dims),
            "Conv" | "MaxPool" | "AveragePool" | "GlobalMaxPool" | "GlobalAveragePool" => {
                return self.windowed(op, node, &dims);
            }
            "Transpose" | "Slice" | "Gather" | "Pad" | "Concat" => return self.choice(op, node, dims),
            "Squeeze" | "Unsqueeze" => return Ok(Value::Computed(node, self.squeezed(op, &dims)?)),
            "Identity" => return same(dims),
            "Flatten" if op.integer("axis", 1)? == 1 => return same(vec![1, product(&dims)?]),
            "Reshape" => return same(reshaped(&dims, &self.constant(op, 1)?.integers)?),
            "Neg" => {
                let all = |x: Number| Numbers(vec![x; self.network.nodes[node].width]);
                let scale = Op::Scale { scale: all(-Number::ONE), shift: all(Number::ZERO) };
                return self.push(op, scale, vec![node], dims);
            }
            "Relu" => Activation::Relu,
            "LeakyRelu" => Activation::LeakyRelu(op.single("alpha")?.ok_or("expected the attribute alpha")?),
            "Clip" => {
                let end = |name: &str, place| match (op.single(name)?, self.optional(op, place)?) {
                    (None, Some(end)) => Ok(end.numbers.first().copied()),
                    (end, _) => Ok::<_, String>(end),
                };
                // What exporters write where there is no end.
                let largest = Number::from_single(0x7f7f_ffff).expect("it is finite");
                let is_end = |x: &Number| x.magnitude() < largest;
                match (end("min", 1)?.filter(is_end), end("max", 2)?.filter(is_end)) {
                    (None, None) => return same(dims),
                    (Some(low), None) if low == Number::ZERO => Activation::Relu,
                    (low, high) => Activation::Clip(low, high),
                }
            }
            "Shrink" => {
                let threshold = op.single("lambd")?.ok_or("expected the attribute lambd")?;
                if op.single("bias")? != Some(threshold) {
                    return Err("expected a bias that is the threshold".into());
                }
                Activation::SoftThreshold(threshold)
            }
            _ => return Err("this operator is not supported".into()),
        };
        self.push(op, Op::Activation(activation), vec![node], dims)
    }

    pub(crate) fn push(
        &mut self,
        op: &Operation<'_>,
        layer: Op,
        inputs: Vec<usize>,
        dims: Vec<usize>,
    ) -> Result<Value, String> {
        Ok(Value::Computed(self.network.push(&op.name, layer, inputs)?, dims))
    }

    pub(crate) fn computed(&self, op: &Operation<'_>, place: usize) -> Result<(usize, Vec<usize>), String> {
        match op.inputs.get(place).and_then(|name| self.values.get(name)) {
            Some(Value::Computed(node, dims)) => Ok((*node, dims.clone())),
            Some(Value::Quantized(node, dims, _)) if self.integers_of(op).is_some() => {
                Ok((*node, dims.clone()))
            }
            Some(Value::Quantized(..)) => Err("expected a DequantizeLinear before".into()),
            _ => Err(format!("operand {place}: expected one that depends on the input")),
        }
    }

    pub(crate) fn constant(&self, op: &Operation<'_>, place: usize) -> Result<&Tensor, String> {
        match op.inputs.get(place).and_then(|name| self.values.get(name)) {
            Some(Value::Constant(tensor)) => Ok(tensor),
            _ => Err(format!("operand {place}: expected a constant")),
        }
    }

    /// A constant operand that may be missing.
    pub(crate) fn optional(&self, op: &Operation<'_>, place: usize) -> Result<Option<&Tensor>, String> {
        op.has(place).then(|| self.constant(op, place)).transpose()
    }

    /// Gemm and MatMul: one row times a constant matrix.
    fn product(&mut self, op: &Operation<'_>, node: usize, dims: &[usize]) -> Result<Value, String> {
        let (matrix, is_gemm) = (self.constant(op, 1)?, op.kind == "Gemm");
        let is_one = |name| Ok::<_, String>(op.single(name)?.is_none_or(|x| x == Number::ONE));
        if is_gemm && !(is_one("alpha")? && is_one("beta")? && op.integer("transA", 0)? == 0) {
            return Err("expected alpha = beta = 1 and transA = 0".into());
        }
        let &[height, width] = &matrix.dims[..] else {
            return Err("expected weights of two dimensions".into());
        };
        let transposed = is_gemm && op.integer("transB", 0)? != 0;
        let (rows, columns) = if transposed { (height, width) } else { (width, height) };
        if dims.last() != Some(&columns)
            || product(dims)? != columns
            || matrix.numbers.len() != rows * columns
        {
            return Err(format!("weights {height}×{width} do not fit the input"));
        }
        let place = |k: usize| if transposed { k } else { k % columns * rows + k / columns };
        let weight = matrix.at((0..rows * columns).map(place));
        let bias = self.optional(op, 2)?.map(|bias| bias.spread(&[1, rows])).transpose()?;
        self.push(op, affine(rows, weight, bias, None)?, vec![node], vec![1, rows])
    }

    /// Add, Sub, Mul and Div: a bias, constants for each element, or the sum of two nodes.
    fn arithmetic(&mut self, op: &Operation<'_>) -> Result<Value, String> {
        if let (Ok((a, dims)), Ok((b, other))) = (self.computed(op, 0), self.computed(op, 1)) {
            if op.kind != "Add" || dims != other {
                return Err("of two computed values only sums of the same shape are supported".into());
            }
            return self.push(op, Op::Sum, vec![a, b], dims);
        }
        let place = usize::from(self.computed(op, 0).is_err());
        let (node, dims) = self.computed(op, place)?;
        let given = self.constant(op, 1 - place)?.spread(&dims)?;
        let constants = given.numbers.clone();
        let all = |x: Number| vec![x; given.numbers.len()];
        let (scale, shift) = match (&*op.kind, place) {
            ("Add", _) => (all(Number::ONE), constants),
            ("Sub", 0) => (all(Number::ONE), constants.iter().map(|x| -*x).collect()),
            ("Sub", _) => (all(-Number::ONE), constants),
            ("Mul", _) => (constants.clone(), all(Number::ZERO)),
            ("Div", 0) => return self.push(op, Op::Divide(Numbers(constants)), vec![node], dims),
            _ => return Err("a constant divided by a computed value is not supported".into()),
        };
        // The sum of a product that nothing else reads is its bias, where every position of a channel has the same.
        let is_only = self.uses.get(&op.inputs[place]) == Some(&1);
        let adds = is_only && matches!((&*op.kind, place), ("Add", _) | ("Sub", 0));
        if let (true, Op::Affine(affine @ Affine { bias: None, .. })) =
            (adds, &mut self.network.nodes[node].op)
        {
            let each = shift.len() / affine.rows;
            if shift.chunks(each).all(|channel| channel.iter().all(|b| *b == channel[0])) {
                affine.bias = Some(Numbers(shift.into_iter().step_by(each).collect()));
                if let Some(stored) = &mut affine.stored {
                    stored.bias_steps = given.at((0..affine.rows).map(|i| i * each)).steps_of_biases()?;
                }
                return Ok(Value::Computed(node, dims));
            }
        }
        // A sum after a product that nothing else reads is one map with it.
        if let (true, Op::Scale { shift: none, .. }) = (adds, &mut self.network.nodes[node].op)
            && none.0.iter().all(|t| *t == Number::ZERO)
        {
            none.0 = shift;
            return Ok(Value::Computed(node, dims));
        }
        self.push(op, Op::Scale { scale: Numbers(scale), shift: Numbers(shift) }, vec![node], dims)
    }

    /// Convolutions and pooling over images.
    fn windowed(&mut self, op: &Operation<'_>, node: usize, dims: &[usize]) -> Result<Value, String> {
        let &[1, depth, height, width] = dims else { return Err("expected an image".into()) };
        let given = op.sizes("kernel_shape", None)?;
        let weight = (op.kind == "Conv").then(|| self.constant(op, 1)).transpose()?;
        let (kernel, channels, groups) = match weight.map(|weight| &weight.dims[..]) {
            Some(&[channels, _, h, w]) => (vec![h, w], channels, sizes_of(&[op.integer("group", 1)?])?[0]),
            Some(_) => return Err("expected kernels for every channel of an image".into()),
            None if op.kind.starts_with("Global") => (vec![height, width], depth, depth),
            None => (given.clone().ok_or("expected the attribute kernel_shape")?, depth, depth),
        };
        if given.is_some_and(|given| given != kernel) {
            return Err("kernel_shape: not that of the kernels".into());
        }
        if op.integer("ceil_mode", 0)? != 0 || op.integer("storage_order", 0)? != 0 {
            return Err("ceil_mode and storage_order are not supported".into());
        }
        if !op.attributes.get("auto_pad").is_none_or(|pad| matches!(&*pad.text(4), "NOTSET" | "VALID")) {
            return Err("auto_pad is not supported".into());
        }
        let axes =
            |sizes: Vec<usize>| <[usize; 2]>::try_from(sizes).map_err(|_| "expected two axes".to_owned());
        let pads = op.sizes("pads", Some(vec![0; 4]))?.unwrap_or_default();
        let &[top, left, bottom, right] = &pads[..] else { return Err("expected two axes".into()) };
        let window = Window {
            input: [depth, height, width],
            channels,
            groups,
            kernel: axes(kernel)?,
            stride: axes(op.sizes("strides", Some(vec![1; 2]))?.unwrap_or_default())?,
            dilation: axes(op.sizes("dilations", Some(vec![1; 2]))?.unwrap_or_default())?,
            padding: [[top, bottom], [left, right]],
        };
        window.defect().map_or(Ok(()), Err)?;
        let shape = vec![1, channels, window.extent(0), window.extent(1)];
        let layer = if let Some(weight) = weight {
            let bias = self.optional(op, 2)?;
            if bias.is_some_and(|bias| bias.dims != [channels]) {
                return Err("biases that do not fit the kernels".into());
            }
            affine(channels, weight.clone(), bias.cloned(), Some(window))?
        } else if op.kind.ends_with("MaxPool") {
            Op::MaxPool(window)
        } else {
            let counted = op.integer("count_include_pad", 0)? != 0;
            let taps = window.kernel[0] * window.kernel[1];
            let count = |p| if counted { taps } else { window.taps(0, p).len() };
            Op::AveragePool { counts: (0..window.positions()).map(count).collect(), window }
        };
        self.push(op, layer, vec![node], shape)
    }
}

/// A layer with these weights, row by row, and biases.
fn affine(rows: usize, weight: Tensor, bias: Option<Tensor>, window: Option<Window>) -> Result<Op, String> {
    let bias_steps = bias.as_ref().map_or(Ok(None), Tensor::steps_of_biases)?;
    let stored = Stored::new(&weight, rows, bias_steps)?;
    let (weight, bias) = (Numbers(weight.numbers), bias.map(|bias| Numbers(bias.numbers)));
    Ok(Op::Affine(Affine { rows, weight, bias, window, stored }))
}

impl Operation<'_> {
    /// Whether there is such an operand.
    pub(crate) fn has(&self, place: usize) -> bool {
        self.inputs.get(place).is_some_and(|name| !name.is_empty())
    }

    pub(crate) fn integer(&self, name: &str, none: i64) -> Result<i64, String> {
        self.attributes.get(name).map_or(Ok(none), |a| Ok(a.integers(3)?.pop().unwrap_or(0)))
    }

    /// A number in single precision; zero when the attribute is there without one.
    fn single(&self, name: &str) -> Result<Option<Number>, String> {
        let Some(attribute) = self.attributes.get(name) else { return Ok(None) };
        let bits =
            attribute.bytes(2).next().and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
        Number::from_single(bits).map(Some).ok_or_else(|| format!("attribute {name}: NaN or infinite"))
    }

    pub(crate) fn sizes(&self, name: &str, none: Option<Vec<usize>>) -> Result<Option<Vec<usize>>, String> {
        self.attributes.get(name).map_or(Ok(none), |attribute| sizes_of(&attribute.integers(8)?).map(Some))
    }
}
