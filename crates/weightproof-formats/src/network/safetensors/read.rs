//! Architecture and weights as a network.

use super::SafetensorsError;
use super::architecture::{Architecture, LayerSpec, Numbers, Sizes};
use super::images::Slide;
use crate::network::sketch::{BatchNorm, MAX_TOTAL_WIDTH, MAX_WIDTH, Sketch};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Affine, Layer, Network, NetworkError};

/// The most layers.
const MAX_LAYERS: usize = 10_000;
/// Numbers that scale, pooling and concatenation layers may hold together.
const MAX_NUMBERS: usize = 1 << 24;

/// Reads a network from the bytes of a safetensors file and the text of its architecture (TOML).
///
/// Returns the network and notes, on tensors that no layer uses and on tensors that several use.
///
/// # Errors
/// [`SafetensorsError`], naming the layer or tensor.
pub fn parse_safetensors(
    weights: &[u8],
    architecture: &str,
) -> Result<(Network, Vec<String>), SafetensorsError> {
    parse_safetensors_with(weights, architecture, BatchNorm::default())
}

/// As [`parse_safetensors`], with a choice of what becomes of batch normalization.
///
/// # Errors
/// [`SafetensorsError`], naming the layer or tensor.
pub fn parse_safetensors_with(
    weights: &[u8],
    architecture: &str,
    batch_norm: BatchNorm,
) -> Result<(Network, Vec<String>), SafetensorsError> {
    let architecture = Architecture::parse(architecture)?;
    let tensors = SafeTensors::deserialize(weights)
        .map_err(|error| SafetensorsError::Weights { detail: clean(&error.to_string()) })?;
    checked_width(&architecture.input).map_err(|(expected, found)| layer_error("input", expected, found))?;
    if architecture.layer.len() > MAX_LAYERS {
        let found = architecture.layer.len().to_string();
        return Err(layer_error("count", format!("at most {MAX_LAYERS} layers"), found));
    }
    let mut reader = Reader {
        tensors,
        sketch: Sketch::new(architecture.input),
        names: HashMap::from([("input".into(), 0)]),
        readers: BTreeMap::new(),
        numbers: 0,
        width: 0,
        float64: false,
    };
    let mut unread = vec![false];
    for (index, spec) in architecture.layer.iter().enumerate() {
        let name = spec.name().map_or(format!("{}_{}", spec.kind(), index + 1), clean);
        let inputs = reader.inputs(&name, spec)?;
        for &input in &inputs {
            unread[input] = false;
        }
        unread.push(true);
        let layer = reader.add(&name, spec, &inputs)?;
        reader.account(&name, layer)?;
        if reader.names.insert(name.clone(), layer).is_some() {
            return Err(NetworkError::DuplicateName { node: name }.into());
        }
    }
    let (mut notes, float64) = (reader.notes(), reader.float64);
    let mut sketch = reader.sketch;
    let output = sketch.last();
    unread.pop();
    let unread = unread.iter().filter(|unread| **unread).count();
    if unread > 0 {
        notes.push(format!("layers that no other layer reads, ignored: {unread}"));
    }
    notes.extend(sketch.place_batch_norms(output, batch_norm));
    // Notes on shared tensors come from here: the sketch was told of no tensors.
    let (network, _) = sketch.build(output)?;
    Ok((network.with_float64(float64), notes))
}

/// The state of reading one architecture.
pub struct Reader<'a> {
    tensors: SafeTensors<'a>,
    pub sketch: Sketch,
    /// The layers by name.
    names: HashMap<String, usize>,
    /// The layers that read each tensor.
    readers: BTreeMap<String, Vec<String>>,
    numbers: usize,
    width: usize,
    /// Whether a number is none of f32.
    float64: bool,
}

impl Reader<'_> {
    /// The layers that `spec` reads: those that it names, else the one before it.
    fn inputs(&self, name: &str, spec: &LayerSpec) -> Result<Vec<usize>, SafetensorsError> {
        let Some(inputs) = spec.inputs() else { return Ok(vec![self.sketch.last()]) };
        let fewest = usize::from(matches!(spec, LayerSpec::Add { .. })) + 1;
        if inputs.len() < fewest {
            return Err(layer_error(name, format!("at least {fewest} inputs"), inputs.len().to_string()));
        }
        let find = |input: &String| {
            let found = self.names.get(&clean(input)).copied();
            found.ok_or_else(|| layer_error(name, "inputs that are earlier layers".into(), clean(input)))
        };
        inputs.iter().map(find).collect()
    }

    fn add(&mut self, name: &str, spec: &LayerSpec, inputs: &[usize]) -> Result<usize, SafetensorsError> {
        let input = inputs[0];
        let shape = self.sketch.shape(input).to_vec();
        let width: usize = shape.iter().product();
        let fail = |(expected, found): Mismatch| layer_error(name, expected, found);
        let activation = match spec {
            LayerSpec::Dense { weight, bias, transposed, .. } => {
                if shape.len() != 1 {
                    return Err(fail(("a flat input".into(), format!("the shape {shape:?}"))));
                }
                let weight = self.weight(name, weight, width, *transposed)?;
                let rows = weight.rows();
                let (bias, has_bias) = self.bias(name, bias.as_deref(), rows)?;
                return Ok(self.sketch.dense(
                    name,
                    input,
                    Affine { weight, bias, has_bias, stored: None },
                    vec![],
                ));
            }
            LayerSpec::Conv { weight, bias, stride, padding, dilation, groups, .. } => {
                let slide = slide(&None, stride, dilation, padding);
                return self.conv(name, input, (weight, bias.as_deref()), groups.unwrap_or(1), &slide);
            }
            LayerSpec::BatchNorm { weight, bias, mean, variance, epsilon, .. } => {
                return self.batch_norm(name, input, [weight, bias, mean, variance], *epsilon);
            }
            LayerSpec::MaxPool { kernel, stride, padding, dilation, .. } => {
                return self.pool(name, input, &slide(kernel, stride, dilation, padding), None);
            }
            LayerSpec::AveragePool { kernel, stride, padding, dilation, count_padding, .. } => {
                let count_padding = Some(count_padding.unwrap_or(true));
                return self.pool(name, input, &slide(kernel, stride, dilation, padding), count_padding);
            }
            LayerSpec::Add { .. } => return self.sum(name, inputs),
            LayerSpec::Concat { .. } => return self.concat(name, inputs),
            LayerSpec::Scale { scale, shift, divisor, .. } => {
                self.pay(name, 2 * width)?;
                let spread = |numbers: &Option<Numbers>, default| spread(numbers.as_ref(), default, &shape);
                if divisor.is_some() {
                    if scale.is_some() || shift.is_some() {
                        return Err(fail(("a divisor, or scale and shift".into(), "both".into())));
                    }
                    let divisor = spread(divisor, 1.0).map_err(fail)?;
                    return Ok(self.sketch.divide(name, input, divisor));
                }
                let scale = spread(scale, 1.0).map_err(fail)?;
                let shift = spread(shift, 0.0).map_err(fail)?;
                return Ok(self.sketch.scale(name, input, scale, shift));
            }
            LayerSpec::Flatten { .. } => {
                return Ok(self.sketch.push(name, Layer::Reshape, vec![input], vec![width]));
            }
            LayerSpec::Reshape { shape, .. } => {
                if checked_width(shape).map_err(fail)? != width {
                    let (expected, found) = (format!("{width} elements"), format!("{shape:?}"));
                    return Err(NetworkError::Shape { node: name.into(), expected, found }.into());
                }
                return Ok(self.sketch.push(name, Layer::Reshape, vec![input], shape.clone()));
            }
            LayerSpec::Relu { .. } => Activation::Relu,
            LayerSpec::LeakyRelu { slope, .. } => Activation::LeakyRelu { slope: *slope },
            LayerSpec::Clip { low, high, .. } => Activation::Clip {
                low: low.unwrap_or(f64::NEG_INFINITY),
                high: high.unwrap_or(f64::INFINITY),
            },
            LayerSpec::SoftThreshold { lambda, .. } => Activation::SoftThreshold { lambda: *lambda },
            LayerSpec::Sigmoid { .. } => Activation::Sigmoid,
            LayerSpec::Tanh { .. } => Activation::Tanh,
            LayerSpec::Softplus { .. } => Activation::Softplus,
            LayerSpec::Gelu { .. } => Activation::Gelu,
            LayerSpec::GeluTanh { .. } => Activation::GeluTanh,
            LayerSpec::Abs { .. } => Activation::ABSOLUTE,
            LayerSpec::Elu { alpha, .. } => Activation::Elu { alpha: alpha.unwrap_or(1.0) },
            LayerSpec::Silu { .. } => Activation::Silu,
            LayerSpec::Mish { .. } => Activation::Mish,
            LayerSpec::HardSwish { .. } => Activation::HardSwish,
            LayerSpec::Softsign { .. } => Activation::Softsign,
            LayerSpec::Atan { .. } => Activation::Atan,
        };
        Ok(self.sketch.activation(name, input, activation))
    }

    /// Pays for numbers that a layer holds beyond those of the file.
    pub fn pay(&mut self, name: &str, count: usize) -> Result<(), SafetensorsError> {
        self.numbers = self.numbers.saturating_add(count);
        if self.numbers > MAX_NUMBERS {
            let expected = format!("at most {MAX_NUMBERS} numbers in layers without weights");
            return Err(layer_error(name, expected, "more".into()));
        }
        Ok(())
    }

    /// Accounts for the elements of the value of `layer`.
    fn account(&mut self, name: &str, layer: usize) -> Result<(), SafetensorsError> {
        let width = checked_width(self.sketch.shape(layer));
        let width = width.map_err(|(expected, found)| layer_error(name, expected, found))?;
        self.width = self.width.saturating_add(width);
        if self.width > MAX_TOTAL_WIDTH {
            let expected = format!("at most {MAX_TOTAL_WIDTH} elements in all layers");
            return Err(layer_error(name, expected, "more".into()));
        }
        Ok(())
    }

    /// Biases of `rows` outputs and whether there are any.
    pub fn bias(
        &mut self,
        layer: &str,
        tensor: Option<&str>,
        rows: usize,
    ) -> Result<(Vec<f64>, bool), SafetensorsError> {
        match tensor {
            None => Ok((vec![0.0; rows], false)),
            Some(tensor) => Ok((self.tensor(layer, tensor, &[Some(rows)])?.1, true)),
        }
    }

    /// The weight matrix (n_out, n_in) of a layer with `n_in` inputs.
    fn weight(
        &mut self,
        layer: &str,
        tensor: &str,
        n_in: usize,
        transposed: bool,
    ) -> Result<Matrix<f64>, SafetensorsError> {
        let expected = if transposed { [Some(n_in), None] } else { [None, Some(n_in)] };
        let (shape, numbers) = self.tensor(layer, tensor, &expected)?;
        let stored = Matrix::from_vec(shape[0], shape[1], numbers);
        Ok(if transposed { stored.transposed() } else { stored })
    }

    /// Shape and numbers of a tensor; `None` in `expected` stands for any number but 0.
    pub fn tensor(
        &mut self,
        layer: &str,
        name: &str,
        expected: &[Option<usize>],
    ) -> Result<(Vec<usize>, Vec<f64>), SafetensorsError> {
        let fail = |expected: String, found: String| SafetensorsError::Tensor {
            tensor: clean(name),
            expected,
            found,
        };
        let view = self.tensors.tensor(name).map_err(|_| {
            let mut names: Vec<&str> = self.tensors.names();
            names.sort_unstable();
            let names: Vec<String> = names.iter().take(20).map(|n| clean(n)).collect();
            fail(format!("a tensor of this name for layer {layer}"), format!("only {}", names.join(", ")))
        })?;
        let shape = view.shape().to_vec();
        let fits = shape.len() == expected.len()
            && shape.iter().zip(expected).all(|(&d, e)| e.map_or(d > 0, |e| e == d));
        if !fits {
            let dims: Vec<String> =
                expected.iter().map(|e| e.map_or("any".into(), |e| e.to_string())).collect();
            return Err(fail(format!("the shape [{}]", dims.join(", ")), format!("{shape:?}")));
        }
        // Every tensor is read once or twice in sound files; without a limit a short file could ask for terabytes.
        let readers = self.readers.entry(name.into()).or_default();
        if readers.len() == MAX_READERS {
            return Err(fail(format!("at most {MAX_READERS} layers that use it"), "more".into()));
        }
        readers.push(layer.into());
        let numbers = decode(view.dtype(), view.data()).ok_or_else(|| {
            fail("one of the types F64, F32, F16, BF16".into(), format!("{:?}", view.dtype()))
        })?;
        self.float64 |= view.dtype() == Dtype::F64 && numbers.iter().any(|&v| f64::from(v as f32) != v);
        Ok((shape, numbers))
    }

    fn notes(&self) -> Vec<String> {
        let mut names = self.tensors.names();
        names.sort_unstable();
        let unused = names.into_iter().filter(|name| !self.readers.contains_key(*name));
        let unused = unused.map(|name| format!("tensor {} is not used by any layer", clean(name)));
        let shared = self.readers.iter().filter(|(_, layers)| layers.len() > 1).map(|(tensor, layers)| {
            let layers = layers.join(", ");
            format!(
                "tensor {} is shared by the layers {layers}: each perturbs a copy of its own",
                clean(tensor)
            )
        });
        unused.chain(shared).take(MAX_NOTES).collect()
    }
}

/// The most layers that may use one tensor.
const MAX_READERS: usize = 16;
/// The most notes that are kept.
const MAX_NOTES: usize = 100;

pub type Mismatch = (String, String);

fn slide<'s>(
    kernel: &'s Option<Sizes>,
    stride: &'s Option<Sizes>,
    dilation: &'s Option<Sizes>,
    padding: &'s Option<Sizes>,
) -> Slide<'s> {
    let [kernel, stride, dilation, padding] = [kernel, stride, dilation, padding].map(Option::as_ref);
    Slide { kernel, stride, dilation, padding }
}

/// The error of a layer.
pub fn layer_error(layer: &str, expected: String, found: String) -> SafetensorsError {
    SafetensorsError::Layer { layer: layer.into(), expected, found }
}

/// Number of elements of a shape.
fn checked_width(shape: &[usize]) -> Result<usize, Mismatch> {
    let width = shape.iter().try_fold(1_usize, |product, &d| product.checked_mul(d));
    match width {
        Some(width) if (1..=MAX_WIDTH).contains(&width) && !shape.is_empty() => Ok(width),
        _ => Err((format!("a shape of 1 to {MAX_WIDTH} elements"), format!("{shape:?}"))),
    }
}

/// One number per element: the number itself, one per channel (first dimension), or the list.
fn spread(numbers: Option<&Numbers>, default: f64, shape: &[usize]) -> Result<Vec<f64>, Mismatch> {
    let width: usize = shape.iter().product();
    let channels = shape[0];
    match numbers {
        None => Ok(vec![default; width]),
        Some(Numbers::One(number)) => Ok(vec![*number; width]),
        Some(Numbers::Many(list)) if list.len() == width => Ok(list.clone()),
        Some(Numbers::Many(list)) if list.len() == channels => {
            Ok(list.iter().flat_map(|&v| std::iter::repeat_n(v, width / channels)).collect())
        }
        Some(Numbers::Many(list)) => {
            Err((format!("a number, {channels} or {width} numbers"), format!("{} numbers", list.len())))
        }
    }
}

// The enum is open: types may be added.
#[allow(clippy::wildcard_enum_match_arm)]
fn decode(dtype: Dtype, data: &[u8]) -> Option<Vec<f64>> {
    match dtype {
        Dtype::F64 => Some(numbers(data, f64::from_le_bytes)),
        Dtype::F32 => Some(numbers(data, |b| f64::from(f32::from_le_bytes(b)))),
        Dtype::F16 => Some(numbers(data, |b| f16::from_le_bytes(b).to_f64())),
        Dtype::BF16 => Some(numbers(data, |b| bf16::from_le_bytes(b).to_f64())),
        _ => None,
    }
}

fn numbers<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let (chunks, _) = data.as_chunks::<N>();
    chunks.iter().map(|&chunk| read(chunk)).collect()
}

/// A name without control characters and of bounded length.
pub fn clean(name: &str) -> String {
    name.chars().take(120).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
