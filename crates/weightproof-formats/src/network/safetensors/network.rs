//! Networks as a safetensors file and an architecture.

use super::SafetensorsError;
use super::architecture::{Architecture, LayerSpec, Numbers, Sizes};
use super::read::{clean, layer_error};
use super::write::{NamedTensor, Stored, header, write_tensors};
use crate::network::steps::{Step, check, counts_padding, is_one_dimensional, joins, shortest, steps};
use weightproof::network::{Activation, Affine, Conv, Layer, Network, Scale, Window};

/// Writes a network as the bytes of a safetensors file and the text of its architecture (TOML), the same for the same network.
///
/// Layers keep their names, and their tensors are `NAME.weight` and `NAME.bias`: of type F32 when all of them are numbers that f32
/// holds, else of type F64, so that nothing is rounded. Where shapes do not fit the layers of the file, a change of shape is added
/// before or after; average pooling with factors that are no means is multiplied by constants. Without such additions
/// [`parse_safetensors`](super::parse_safetensors) gives back the very same network, else one that computes the same, with the same
/// dense layers and convolutions under the same names.
///
/// # Errors
/// [`SafetensorsError::Layer`] for choices of elements other than concatenation along the first axis (transposition, padding, slices),
/// for shapes without elements, and for names that are empty, longer than 120 characters or hold control characters.
pub fn encode_safetensors(network: &Network) -> Result<(Vec<u8>, String), SafetensorsError> {
    let steps = steps(network);
    let mut tensors = Vec::new();
    let mut layer = Vec::with_capacity(steps.len() - 1);
    for (index, step) in steps.iter().enumerate() {
        check(step, clean).map_err(|(expected, found)| layer_error(&clean(&step.name), expected, found))?;
        layer.extend(spec(&steps, index, &mut tensors)?);
    }
    let architecture = Architecture { input: network.input_shape().to_vec(), layer };
    let text = toml::to_string(&architecture)
        .map_err(|error| SafetensorsError::Architecture { detail: error.to_string() })?;
    let is_narrow = |v: &f64| f64::from(*v as f32) == *v;
    let narrow = tensors.iter().all(|(_, _, numbers)| numbers.iter().all(is_narrow));
    let stored = if narrow { Stored::F32 } else { Stored::F64 };
    let header = header(&tensors, &[], stored)?;
    let mut bytes = Vec::new();
    write_tensors(&mut bytes, &header, &tensors, stored)
        .map_err(|error| SafetensorsError::Weights { detail: error.to_string() })?;
    Ok((bytes, text))
}

/// A step as a layer of the file (the input is none); its parameters are added to `tensors`.
fn spec(
    steps: &[Step],
    index: usize,
    tensors: &mut Vec<NamedTensor>,
) -> Result<Option<LayerSpec>, SafetensorsError> {
    let step = &steps[index];
    let name = Some(step.name.clone());
    let inputs: Vec<String> = step.inputs.iter().map(|&i| steps[i].name.clone()).collect();
    let follows = step.inputs.first().is_some_and(|&i| i + 1 == index);
    let input = if follows { None } else { inputs.first().cloned() };
    Ok(Some(match step.layer.as_ref() {
        Layer::Input => return Ok(None),
        Layer::Dense(affine) => {
            let shape = vec![affine.weight.rows(), affine.weight.cols()];
            let (weight, bias) = store(tensors, &step.name, affine, shape);
            LayerSpec::Dense { name, input, weight, bias, transposed: false }
        }
        Layer::Conv(Conv { affine, window }) => {
            let Slide { kernel, stride, padding, dilation } = Slide::new(window, &step.shape);
            let shape = [&[window.channels, window.group_inputs()], &kernel[..]].concat();
            let (weight, bias) = store(tensors, &step.name, affine, shape);
            let (stride, groups) = (unless(&stride, 1), (window.groups > 1).then_some(window.groups));
            LayerSpec::Conv { name, input, weight, bias, stride, padding, dilation, groups }
        }
        Layer::MaxPool(window) => {
            let Slide { kernel, stride, padding, dilation } = Slide::new(window, &step.shape);
            let [kernel, stride] = [kernel, stride].map(|list| Some(sizes(&list)));
            LayerSpec::MaxPool { name, input, kernel, stride, padding, dilation }
        }
        Layer::AveragePool(pool) => {
            let Slide { kernel, stride, padding, dilation } = Slide::new(&pool.window, &step.shape);
            let [kernel, stride] = [kernel, stride].map(|list| Some(sizes(&list)));
            let count_padding = (counts_padding(pool) == Some(false)).then_some(false);
            LayerSpec::AveragePool { name, input, kernel, stride, padding, dilation, count_padding }
        }
        Layer::Add => LayerSpec::Add { name, inputs },
        Layer::Gather(gather) => {
            let shapes: Vec<Vec<usize>> = step.inputs.iter().map(|&i| steps[i].shape.clone()).collect();
            if !joins(gather, &shapes, &step.shape) {
                let expected = "a concatenation along the first axis".into();
                return Err(layer_error(&step.name, expected, "another choice of elements".into()));
            }
            LayerSpec::Concat { name, inputs }
        }
        Layer::Scale(Scale { scale, shift, divisor }) => {
            let numbers = |list: &[f64], default: f64| match *shortest(list, &step.shape) {
                [one] if one == default => None,
                [one] => Some(Numbers::One(one)),
                ref many => Some(Numbers::Many(many.to_vec())),
            };
            match divisor {
                Some(divisor) => {
                    let divisor = numbers(divisor, 1.0).or(Some(Numbers::One(1.0)));
                    LayerSpec::Scale { name, input, scale: None, shift: None, divisor }
                }
                None => {
                    let (scale, shift) = (numbers(scale, 1.0), numbers(shift, 0.0));
                    LayerSpec::Scale { name, input, scale, shift, divisor: None }
                }
            }
        }
        Layer::Reshape if step.shape.len() == 1 => LayerSpec::Flatten { name, input },
        Layer::Reshape => LayerSpec::Reshape { name, input, shape: step.shape.clone() },
        Layer::Multiply => return Err(not_described(step)),
        Layer::DynamicQuantize(_) => {
            let expected = "an activation without steps".into();
            return Err(layer_error(&step.name, expected, "a quantizer".into()));
        }
        Layer::Activation(f) => match *f {
            Activation::Relu => LayerSpec::Relu { name, input },
            Activation::LeakyRelu { slope } => LayerSpec::LeakyRelu { name, input, slope },
            Activation::Clip { low, high } => {
                let end = |end: f64| end.is_finite().then_some(end);
                LayerSpec::Clip { name, input, low: end(low), high: end(high) }
            }
            Activation::SoftThreshold { lambda } => LayerSpec::SoftThreshold { name, input, lambda },
            Activation::Sigmoid => LayerSpec::Sigmoid { name, input },
            Activation::Tanh => LayerSpec::Tanh { name, input },
            Activation::Softplus => LayerSpec::Softplus { name, input },
            Activation::Gelu => LayerSpec::Gelu { name, input },
            Activation::GeluTanh => LayerSpec::GeluTanh { name, input },
            Activation::Elu { alpha } => LayerSpec::Elu { name, input, alpha: Some(alpha) },
            Activation::Silu => LayerSpec::Silu { name, input },
            Activation::Mish => LayerSpec::Mish { name, input },
            Activation::HardSwish => LayerSpec::HardSwish { name, input },
            Activation::Softsign => LayerSpec::Softsign { name, input },
            Activation::Atan => LayerSpec::Atan { name, input },
            Activation::Square | Activation::Exp | Activation::Reciprocal | Activation::Power { .. } => {
                return Err(not_described(step));
            }
            Activation::Quantize(_) => {
                return Err(layer_error(
                    &step.name,
                    "an activation without steps".into(),
                    "a quantizer".into(),
                ));
            }
        },
    }))
}

/// The error for layers that only ONNX has words for.
fn not_described(step: &Step) -> SafetensorsError {
    let expected = "a layer that the architecture file describes; ONNX holds this one".into();
    layer_error(&step.name, expected, step.layer.kind().into())
}

/// Adds the parameters of a layer, with weights of the given shape; returns their names.
fn store(
    tensors: &mut Vec<NamedTensor>,
    layer: &str,
    affine: &Affine,
    shape: Vec<usize>,
) -> (String, Option<String>) {
    let weight = format!("{layer}.weight");
    tensors.push((weight.clone(), shape, affine.weight.as_slice().to_vec()));
    let bias = affine.has_bias.then(|| format!("{layer}.bias"));
    tensors.extend(bias.clone().map(|bias| (bias, vec![affine.bias.len()], affine.bias.clone())));
    (weight, bias)
}

/// How a window slides along the axes of the file; paddings and dilations only where there are some.
struct Slide {
    kernel: Vec<usize>,
    stride: Vec<usize>,
    padding: Option<Sizes>,
    dilation: Option<Sizes>,
}

impl Slide {
    fn new(window: &Window, output: &[usize]) -> Self {
        let from = usize::from(is_one_dimensional(output));
        let [[top, bottom], [left, right]] = window.padding;
        let padding = if from == 1 { vec![left, right] } else { vec![top, left, bottom, right] };
        Slide {
            kernel: window.kernel[from..].to_vec(),
            stride: window.stride[from..].to_vec(),
            padding: unless(&padding, 0),
            dilation: unless(&window.dilation[from..], 1),
        }
    }
}

/// One number where all are the same.
fn sizes(list: &[usize]) -> Sizes {
    if list.iter().all(|size| *size == list[0]) { Sizes::One(list[0]) } else { Sizes::Many(list.to_vec()) }
}

/// Nothing where all numbers are the default.
fn unless(list: &[usize], default: usize) -> Option<Sizes> {
    list.iter().any(|&size| size != default).then(|| sizes(list))
}
