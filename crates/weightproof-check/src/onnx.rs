//! A minimal reader of ONNX: piecewise linear networks whose parameters are stored in the file. Everything else is refused.

use crate::network::{Activation, Affine, Network, Op, WIDEST, Window};
use crate::number::{Number, Numbers};
use crate::protobuf::Message;
use std::collections::HashMap;

/// Attributes that are looked at; another one must be zero.
const ATTRIBUTES: &str = "alpha auto_pad axis beta ceil_mode count_include_pad dilations group kernel_shape max min pads \
    storage_order strides transA transB value";

/// A tensor of the file: its numbers, or its integers (shapes).
#[derive(Clone, Debug, Default)]
struct Tensor {
    dims: Vec<usize>,
    numbers: Vec<Number>,
    integers: Vec<i64>,
}

/// What a name stands for.
#[derive(Clone, Debug)]
enum Value {
    Constant(Tensor),
    /// The elements of a node under a shape whose first dimension is the batch.
    Computed {
        node: usize,
        dims: Vec<usize>,
    },
}

/// A node of the file.
#[derive(Debug)]
struct Operation<'a> {
    inputs: Vec<String>,
    name: String,
    kind: String,
    attributes: HashMap<String, Message<'a>>,
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
    if !matches!(versions[..], [7..=22]) {
        return Err(format!("expected one operator set from 7 to 22, found {versions:?}"));
    }
    if graph.has(15) {
        return Err("sparse tensors are not supported".into());
    }
    let mut reader = Reader { network: Network::default(), values: HashMap::new(), uses: HashMap::new() };
    for message in graph.messages(5)? {
        let name = message.text(8);
        let tensor = tensor(&message).map_err(|what| format!("tensor {name}: {what}"))?;
        reader.define(name, Value::Constant(tensor))?;
    }
    let nodes = graph.messages(1)?;
    let (mut inputs, outputs) = (graph.messages(11)?, graph.messages(12)?);
    inputs.retain(|input| !reader.values.contains_key(&input.text(1)));
    let ([input], [output]) = (&inputs[..], &outputs[..]) else {
        return Err(format!(
            "expected one input and one output, found {} and {}",
            inputs.len(),
            outputs.len()
        ));
    };
    let output = output.text(1);
    for name in nodes.iter().flat_map(|node| node.texts(1)).chain([output.clone()]) {
        *reader.uses.entry(name).or_default() += 1;
    }
    let dims = input_dims(input)?;
    reader.network.push(&input.text(1), Op::Input(dims.iter().product()), vec![])?;
    reader.define(input.text(1), Value::Computed { node: 0, dims })?;
    for node in &nodes {
        let attributes =
            node.messages(5)?.into_iter().map(|attribute| (attribute.text(1), attribute)).collect();
        let op = Operation { inputs: node.texts(1), name: node.text(3), kind: node.text(4), attributes };
        let at = |what: String| format!("node {} ({}): {what}", op.name, op.kind);
        if !is_onnx(&node.text(7)) {
            return Err(at("not an operator of ONNX".into()));
        }
        let value = reader.value(&op).map_err(at)?;
        reader.define(node.texts(2).into_iter().next().unwrap_or_default(), value)?;
    }
    match reader.values.get(&output) {
        Some(Value::Computed { node, .. }) if *node == reader.network.output() => Ok(reader.network),
        _ => Err(format!("output {output}: not the last node")),
    }
}

/// The first dimension is the batch; every other one must be a number.
fn input_dims(input: &Message<'_>) -> Result<Vec<usize>, String> {
    let mut dims = Vec::new();
    // Type, its tensor type, and the shape of it.
    let (mut messages, path) = (vec![input.clone()], [2, 1, 2, 1]);
    for field in path {
        messages = messages.iter().map(|m| m.messages(field)).collect::<Result<Vec<_>, _>>()?.concat();
    }
    for dim in messages {
        dims.push(dim.integers(1)?.pop().unwrap_or(0));
    }
    let sizes: Option<Vec<usize>> =
        dims.iter().map(|&d| usize::try_from(d).ok().filter(|d| *d <= WIDEST)).collect();
    match sizes {
        Some(mut sizes) if matches!(sizes.first(), Some(0 | 1)) && !sizes[1..].contains(&0) => {
            sizes[0] = 1;
            product(&sizes).map(|_| sizes)
        }
        _ => Err("input: expected a batch of 1 or with a name, and dimensions that are numbers".into()),
    }
}

fn product(dims: &[usize]) -> Result<usize, String> {
    let all = dims.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
    all.ok_or_else(|| "a shape that is too large".into())
}

fn tensor(message: &Message<'_>) -> Result<Tensor, String> {
    let (kind, data) =
        (message.integers(2)?.pop().unwrap_or(0), [4, 9, 10].map(|n| message.numbers(n)).concat());
    let mut integers = [message.integers(5)?, message.integers(7)?].concat();
    let dims =
        message.integers(1)?.into_iter().map(|d| usize::try_from(d).map_err(|_| "a negative dimension"));
    let dims: Vec<usize> = dims.collect::<Result<_, _>>()?;
    let size = match kind {
        1 | 6 => 4,
        7 | 11 => 8,
        _ => return Err(format!("type {kind} is not supported")),
    };
    let (count, length) =
        (product(&dims)?, if integers.is_empty() { data.len() } else { integers.len().saturating_mul(size) });
    if count.checked_mul(size) != Some(length) || message.has(13) {
        return Err(format!("expected {count} numbers of {size} bytes in the file, found {length} bytes"));
    }
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
    let words = data.chunks(size).map(word);
    let number = |word| if kind == 1 { Number::from_single(word as u32) } else { Number::from_double(word) };
    let mut numbers = Vec::new();
    match kind {
        6 => integers.extend(words.map(|word| i64::from(word as u32 as i32))),
        7 => integers.extend(words.map(|word| word as i64)),
        _ => numbers = words.map(number).collect::<Option<_>>().ok_or("NaN or infinite")?,
    }
    Ok(Tensor { dims, numbers, integers })
}

struct Reader {
    network: Network,
    values: HashMap<String, Value>,
    uses: HashMap<String, usize>,
}

impl Reader {
    fn define(&mut self, name: String, value: Value) -> Result<(), String> {
        match self.values.insert(name.clone(), value) {
            None => Ok(()),
            Some(_) => Err(format!("value {name}: defined twice")),
        }
    }

    fn value(&mut self, op: &Operation<'_>) -> Result<Value, String> {
        for name in op.attributes.keys().filter(|name| !ATTRIBUTES.split(' ').any(|known| known == **name)) {
            if op.integer(name, 0)? != 0 || !op.attributes[name].has(3) {
                return Err(format!("attribute {name} is not supported"));
            }
        }
        if op.kind == "Constant" {
            let value =
                op.attributes.get("value").ok_or("expected a tensor as its value")?.messages(5)?.pop();
            return tensor(&value.unwrap_or_default()).map(Value::Constant);
        }
        if op.kind == "Gemm" || op.kind == "MatMul" {
            return self.product(op);
        }
        if matches!(op.kind.as_str(), "Add" | "Sub" | "Mul" | "Div") {
            return self.arithmetic(op);
        }
        let (node, dims) = self.computed(op, 0)?;
        let (act, mut shape) = (|f| Some(Op::Activation(f)), dims.clone());
        let same = match op.kind.as_str() {
            "Identity" => None,
            "Flatten" if op.integer("axis", 1)? == 1 => {
                shape = vec![1, product(&dims)?];
                None
            }
            "Reshape" => {
                shape = reshaped(&dims, &self.constant(op, 1)?.integers)?;
                None
            }
            "Relu" => act(Activation::Relu),
            "LeakyRelu" if !op.attributes.contains_key("alpha") => Err("expected the attribute alpha")?,
            "LeakyRelu" => act(Activation::LeakyRelu(op.single("alpha").ok_or("alpha: NaN or infinite")?)),
            "Clip" => {
                let end = |name: &str, place: usize| match op.single(name) {
                    Some(end) => Ok(Some(end)),
                    None if op.inputs.get(place).is_none_or(String::is_empty) => Ok(None),
                    None => Ok::<_, String>(self.constant(op, place)?.numbers.first().copied()),
                };
                let is_end =
                    |x: &Number| x.magnitude() < Number::from_single(0x7f7f_ffff).expect("it is finite");
                match (end("min", 1)?.filter(is_end), end("max", 2)?.filter(is_end)) {
                    (None, None) => None,
                    (Some(Number::ZERO), None) => act(Activation::Relu),
                    (low, high) => act(Activation::Clip(low, high)),
                }
            }
            "Conv" | "MaxPool" | "AveragePool" => return self.windowed(op, node, &dims),
            "GlobalAveragePool" | "GlobalMaxPool" => {
                let image = image(&dims)?;
                let window = op.window(image, [image[1], image[2]], image[0], image[0])?;
                return self.pool(op, node, window);
            }
            _ => return Err("this operator is not supported".into()),
        };
        match same {
            Some(layer) => self.push(op, layer, vec![node], shape),
            None => Ok(Value::Computed { node, dims: shape }),
        }
    }

    fn push(
        &mut self,
        op: &Operation<'_>,
        layer: Op,
        inputs: Vec<usize>,
        dims: Vec<usize>,
    ) -> Result<Value, String> {
        Ok(Value::Computed { node: self.network.push(&op.name, layer, inputs)?, dims })
    }

    fn computed(&self, op: &Operation<'_>, place: usize) -> Result<(usize, Vec<usize>), String> {
        match op.inputs.get(place).and_then(|name| self.values.get(name)) {
            Some(Value::Computed { node, dims }) => Ok((*node, dims.clone())),
            _ => Err(format!("operand {place}: expected one that depends on the input")),
        }
    }

    fn constant(&self, op: &Operation<'_>, place: usize) -> Result<&Tensor, String> {
        match op.inputs.get(place).and_then(|name| self.values.get(name)) {
            Some(Value::Constant(tensor)) => Ok(tensor),
            _ => Err(format!("operand {place}: expected a constant")),
        }
    }

    /// Gemm and MatMul: one row times a constant matrix.
    fn product(&mut self, op: &Operation<'_>) -> Result<Value, String> {
        let (node, dims) = self.computed(op, 0)?;
        let matrix = self.constant(op, 1)?;
        let plain = |name| !op.attributes.contains_key(name) || op.single(name) == Some(Number::ONE);
        if op.kind == "Gemm" && !(plain("alpha") && plain("beta") && op.integer("transA", 0)? == 0) {
            return Err("expected alpha = beta = 1 and transA = 0".into());
        }
        let &[height, width] = &matrix.dims[..] else {
            return Err("expected weights of two dimensions".into());
        };
        let transposed = op.kind == "Gemm" && op.integer("transB", 0)? != 0;
        let (rows, columns) = if transposed { (height, width) } else { (width, height) };
        if dims.last() != Some(&columns)
            || product(&dims)? != columns
            || matrix.numbers.len() != rows * columns
        {
            return Err(format!("weights {height}×{width} do not fit the input"));
        }
        let at = |k: usize| if transposed { k } else { k % columns * rows + k / columns };
        let weight = (0..rows * columns).map(|k| matrix.numbers[at(k)]).collect();
        let bias = if op.inputs.get(2).is_some_and(|name| !name.is_empty()) {
            Some(spread(self.constant(op, 2)?, &[1, rows])?)
        } else {
            None
        };
        let affine = Affine { rows, weight: Numbers(weight), bias: bias.map(Numbers), window: None };
        self.push(op, Op::Affine(affine), vec![node], vec![1, rows])
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
        let constants = spread(self.constant(op, 1 - place)?, &dims)?;
        let negated = |all: &[Number]| all.iter().map(|x| -*x).collect::<Vec<_>>();
        let (one, count) = (Number::ONE, constants.len());
        let (scale, shift) = match (op.kind.as_str(), place) {
            ("Add", _) => (vec![one; count], constants),
            ("Sub", 0) => (vec![one; count], negated(&constants)),
            ("Sub", _) => (vec![-one; count], constants),
            ("Mul", _) => (constants, vec![Number::ZERO; count]),
            ("Div", 0) => {
                let inverse = constants.iter().map(|x| x.exact_inverse()).collect::<Option<Vec<_>>>();
                let inverse = inverse.ok_or("a division by anything but powers of two is not exact")?;
                (inverse, vec![Number::ZERO; count])
            }
            _ => return Err("a constant divided by a computed value is not supported".into()),
        };
        // The sum of a product that nothing else reads is its bias, where every position of a channel has the same.
        let read_once = self.uses.get(&op.inputs[place]) == Some(&1);
        let is_bias = op.kind == "Add" || (op.kind == "Sub" && place == 0);
        if let Op::Affine(affine @ Affine { bias: None, .. }) = &mut self.network.nodes[node].op
            && is_bias
            && read_once
        {
            let each = shift.len() / affine.rows;
            if shift.chunks(each).all(|channel| channel.iter().all(|b| *b == channel[0])) {
                affine.bias = Some(Numbers(shift.into_iter().step_by(each).collect()));
                return Ok(Value::Computed { node, dims });
            }
        }
        self.push(op, Op::Scale { scale: Numbers(scale), shift: Numbers(shift) }, vec![node], dims)
    }

    /// Conv, MaxPool and AveragePool.
    fn windowed(&mut self, op: &Operation<'_>, node: usize, dims: &[usize]) -> Result<Value, String> {
        let image = image(dims)?;
        if op.kind != "Conv" {
            let kernel = op.integers("kernel_shape")?.ok_or("expected the attribute kernel_shape")?;
            if op.integer("ceil_mode", 0)? != 0 || op.integer("storage_order", 0)? != 0 {
                return Err("ceil_mode and storage_order are not supported".into());
            }
            let window = op.window(image, pair(&kernel)?, image[0], image[0])?;
            return self.pool(op, node, window);
        }
        let weight = self.constant(op, 1)?;
        let &[channels, _, ref kernel @ ..] = &weight.dims[..] else {
            return Err("expected kernels for every channel".into());
        };
        let groups = usize::try_from(op.integer("group", 1)?).map_err(|_| "a negative number of groups")?;
        let window = op.window(image, pair(kernel)?, channels, groups)?;
        let bias = match op.inputs.get(2) {
            Some(name) if !name.is_empty() => Some(self.constant(op, 2)?),
            _ => None,
        };
        let given = op.integers("kernel_shape")?;
        if given.is_some_and(|given| given != kernel) || bias.is_some_and(|bias| bias.dims != [channels]) {
            return Err("kernel_shape or biases that do not fit the kernels".into());
        }
        let bias = bias.map(|bias| Numbers(bias.numbers.clone()));
        let shape = [1, channels, window.extent(0), window.extent(1)];
        let weight = Numbers(weight.numbers.clone());
        let affine = Affine { rows: channels, weight, bias, window: Some(window) };
        self.push(op, Op::Affine(affine), vec![node], shape.to_vec())
    }

    fn pool(&mut self, op: &Operation<'_>, node: usize, window: Window) -> Result<Value, String> {
        let shape = [1, window.channels, window.extent(0), window.extent(1)];
        let taps = window.kernel[0] * window.kernel[1];
        let counted = op.integer("count_include_pad", 0)? != 0;
        let count = |p| if counted { taps } else { window.taps(0, p).len() };
        let counts = (0..window.positions()).map(count).collect();
        let layer = if op.kind.ends_with("MaxPool") {
            Op::MaxPool(window)
        } else {
            Op::AveragePool { window, counts }
        };
        self.push(op, layer, vec![node], shape.to_vec())
    }
}

impl Operation<'_> {
    fn integer(&self, name: &str, none: i64) -> Result<i64, String> {
        self.attributes.get(name).map_or(Ok(none), |a| Ok(a.integers(3)?.pop().unwrap_or(0)))
    }

    /// A number in single precision; zero when the attribute is there without one.
    fn single(&self, name: &str) -> Option<Number> {
        let bytes = self.attributes.get(name)?.numbers(2);
        let bits = bytes.try_into().map_or(0, u32::from_le_bytes);
        Number::from_single(bits)
    }

    fn integers(&self, name: &str) -> Result<Option<Vec<usize>>, String> {
        let Some(attribute) = self.attributes.get(name) else { return Ok(None) };
        let size = |&i: &i64| usize::try_from(i).ok().filter(|i| *i <= WIDEST);
        let sizes: Option<Vec<usize>> = attribute.integers(8)?.iter().map(size).collect();
        sizes.map(Some).ok_or_else(|| format!("attribute {name}: a size out of range"))
    }

    fn window(
        &self,
        input: [usize; 3],
        kernel: [usize; 2],
        channels: usize,
        groups: usize,
    ) -> Result<Window, String> {
        let auto = self.attributes.get("auto_pad").map_or("NOTSET".into(), |a| a.text(4));
        if !matches!(auto.as_str(), "NOTSET" | "VALID") {
            return Err("auto_pad is not supported".into());
        }
        let axes = |name| self.integers(name).and_then(|sizes| pair(&sizes.unwrap_or(vec![1, 1])));
        let pads = self.integers("pads")?.unwrap_or(vec![0; 4]);
        let (before, after) = pads.split_at(pads.len() / 2);
        let (before, after) = (pair(before)?, pair(after)?);
        let padding = [[before[0], after[0]], [before[1], after[1]]];
        let (stride, dilation) = (axes("strides")?, axes("dilations")?);
        let window = Window { input, channels, groups, kernel, stride, dilation, padding };
        window.defect().map_or(Ok(window), |defect| Err(defect.into()))
    }
}

/// Sizes along height and width.
fn pair(sizes: &[usize]) -> Result<[usize; 2], String> {
    sizes.try_into().map_err(|_| "expected two axes".into())
}

fn image(dims: &[usize]) -> Result<[usize; 3], String> {
    if let [1, image @ ..] = dims {
        image.try_into().map_err(|_| "expected an image".into())
    } else {
        Err("expected an image".into())
    }
}

/// The shape that Reshape asks for: 0 keeps a dimension, −1 takes what is left.
fn reshaped(dims: &[usize], target: &[i64]) -> Result<Vec<usize>, String> {
    let mut shape = Vec::new();
    for (axis, &size) in target.iter().enumerate() {
        shape.push(match size {
            0 => *dims.get(axis).ok_or("a dimension that is not there")?,
            -1 => 0,
            _ => usize::try_from(size).map_err(|_| "a negative dimension")?,
        });
    }
    let known: Vec<usize> = shape.iter().copied().filter(|&d| d != 0).collect();
    let (all, known) = (product(dims)?, product(&known)?.max(1));
    shape.iter_mut().filter(|d| **d == 0).for_each(|d| *d = all / known);
    // A batch that is written as a number other than one does not fit.
    if product(&shape)? == all { Ok(shape) } else { Err("a shape of another size".into()) }
}

/// The numbers of a constant that broadcasts to `dims`, one for each element.
fn spread(tensor: &Tensor, dims: &[usize]) -> Result<Vec<Number>, String> {
    let fail = || format!("a constant of shape {:?} for the shape {dims:?}", tensor.dims);
    let missing = dims.len().checked_sub(tensor.dims.len()).ok_or_else(fail)?;
    let own = |axis: usize| if axis < missing { 1 } else { tensor.dims[axis - missing] };
    if (0..dims.len()).any(|axis| own(axis) != 1 && own(axis) != dims[axis]) || tensor.numbers.is_empty() {
        return Err(fail());
    }
    let at = |mut k: usize| {
        let (mut place, mut step) = (0, 1);
        for axis in (0..dims.len()).rev() {
            place += if own(axis) == 1 { 0 } else { k % dims[axis] * step };
            (k, step) = (k / dims[axis], step * own(axis));
        }
        tensor.numbers[place]
    };
    Ok((0..product(dims)?).map(at).collect())
}
