//! Architecture and weights as a network.

use super::SafetensorsError;
use super::architecture::{Architecture, LayerSpec, Numbers};
use crate::network::sketch::BatchNorm;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Network, NetworkBuilder, Scale};

/// The most elements of one sample between layers.
const MAX_WIDTH: usize = 1 << 22;
/// The most layers.
const MAX_LAYERS: usize = 10_000;
/// Numbers that scale layers may hold together.
const MAX_SCALE_NUMBERS: usize = 1 << 24;

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
    let fail = |what: &str, expected: String, found: String| SafetensorsError::Layer {
        layer: what.into(),
        expected,
        found,
    };
    checked_width(&architecture.input).map_err(|(expected, found)| fail("input", expected, found))?;
    if architecture.layer.len() > MAX_LAYERS {
        let found = architecture.layer.len().to_string();
        return Err(fail("count", format!("at most {MAX_LAYERS} layers"), found));
    }
    let mut reader = Reader {
        tensors,
        builder: NetworkBuilder::new(architecture.input),
        readers: BTreeMap::new(),
        scale_numbers: 0,
    };
    for (index, spec) in architecture.layer.iter().enumerate() {
        let name = spec.name().map_or(format!("{}_{}", spec.kind(), index + 1), clean);
        reader.add(&name, spec)?;
    }
    let notes = reader.notes();
    Ok((reader.builder.finish()?, notes))
}

struct Reader<'a> {
    tensors: SafeTensors<'a>,
    builder: NetworkBuilder,
    /// The layers that read each tensor.
    readers: BTreeMap<String, Vec<String>>,
    scale_numbers: usize,
}

impl Reader<'_> {
    fn add(&mut self, name: &str, spec: &LayerSpec) -> Result<(), SafetensorsError> {
        let last = self.builder.last();
        let shape = self.builder.shape(last).to_vec();
        let width: usize = shape.iter().product();
        let fail =
            |expected: String, found: String| SafetensorsError::Layer { layer: name.into(), expected, found };
        let activation = match spec {
            LayerSpec::Dense { weight, bias, transposed, .. } => {
                if shape.len() != 1 {
                    return Err(fail("a flat input".into(), format!("the shape {shape:?}")));
                }
                let weight = self.weight(name, weight, width, *transposed)?;
                let bias = match bias {
                    None => Vec::new(),
                    Some(tensor) => self.tensor(name, tensor, &[Some(weight.rows())])?.1,
                };
                self.builder.dense(name, last, weight, bias)?;
                return Ok(());
            }
            LayerSpec::Scale { scale, shift, .. } => {
                self.scale_numbers = self.scale_numbers.saturating_add(2 * width);
                if self.scale_numbers > MAX_SCALE_NUMBERS {
                    return Err(fail(
                        format!("at most {MAX_SCALE_NUMBERS} numbers in scale layers"),
                        "more".into(),
                    ));
                }
                let spread = |numbers: &Option<Numbers>, default| spread(numbers.as_ref(), default, &shape);
                let scale = spread(scale, 1.0).map_err(|(expected, found)| fail(expected, found))?;
                let shift = spread(shift, 0.0).map_err(|(expected, found)| fail(expected, found))?;
                self.builder.scale(name, last, Scale { scale, shift })?;
                return Ok(());
            }
            LayerSpec::Flatten { .. } => {
                self.builder.reshape(name, last, vec![width])?;
                return Ok(());
            }
            LayerSpec::Reshape { shape, .. } => {
                checked_width(shape).map_err(|(expected, found)| fail(expected, found))?;
                self.builder.reshape(name, last, shape.clone())?;
                return Ok(());
            }
            LayerSpec::Relu { .. } => Activation::Relu,
            LayerSpec::LeakyRelu { slope, .. } => Activation::LeakyRelu { slope: *slope },
            LayerSpec::Sigmoid { .. } => Activation::Sigmoid,
            LayerSpec::Tanh { .. } => Activation::Tanh,
            LayerSpec::Softplus { .. } => Activation::Softplus,
            LayerSpec::Gelu { .. } => Activation::Gelu,
            LayerSpec::GeluTanh { .. } => Activation::GeluTanh,
        };
        self.builder.activation(name, last, activation)?;
        Ok(())
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
    fn tensor(
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

type Mismatch = (String, String);

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
fn clean(name: &str) -> String {
    name.chars().take(120).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
