//! Conv, and BatchNormalization, which is a convolution of one weight for each channel unless it is folded.

use super::OnnxError;
use super::dense::{floats, integers, width};
use super::fold::at;
use super::limits::{MAX_WIDTH, shape_text};
use super::op::Op;
use super::reader::{Computed, Reader, Value, computed, value};
use super::shape::without_batch;
use super::tensor::{Tensor, Values};
use super::window::{Slide, image, on_axes, output_dims, sizes};
use crate::network::sketch::Normalization;
use weightproof::kernels::Matrix;
use weightproof::network::{Affine, Conv, Layer};

impl Reader<'_> {
    /// Conv over one or two axes.
    pub fn conv(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let (image, axes) = image(op, &x.dims)?;
        let weight = constant_at(op, operands, 1, "weight")?;
        let numbers = floats(op, weight, x.element)?;
        let groups = usize::try_from(op.int("group", 1)?).unwrap_or(0);
        let [channels, inputs, kernel @ ..] = &weight.dims[..] else {
            return Err(op.fail("a weight of at least two dimensions", shape_text(&weight.dims)));
        };
        let fits = kernel.len() == axes
            && inputs.checked_mul(groups) == Some(image[0])
            && *channels > 0
            && kernel.iter().all(|k| (1..=MAX_WIDTH).contains(k));
        if !fits {
            let expected = format!(
                "a weight for {} channels in {groups} groups and {axes} axes besides batch and channels",
                image[0]
            );
            return Err(op.fail(expected, shape_text(&weight.dims)));
        }
        if sizes(op, "kernel_shape", axes)?.is_some_and(|given| given != kernel) {
            return Err(op.fail("kernel_shape as the weight has it", shape_text(&weight.dims)));
        }
        let slide = Slide::new(op, image, axes, on_axes(kernel))?;
        let window = slide.window(op, image, *channels, groups)?;
        self.budget.tensor(&op.label(), &weight.dims)?;
        let rows = Matrix::from_vec(*channels, window.patch(), numbers.to_vec());
        let mut origins: Vec<String> = weight.origin.iter().cloned().collect();
        let mut stored = weight.stored.as_ref().map(|stored| integers(stored, stored.groups.clone()));
        let bias = match operands.get(2).and_then(Option::as_ref) {
            None => None,
            Some(_) => {
                let bias = constant_at(op, operands, 2, "bias")?;
                origins.extend(bias.origin.clone());
                if let Some(stored) = &mut stored {
                    stored.bias_steps = self.spread_steps(bias, &[*channels]);
                }
                Some(per_channel(op, bias, *channels, "biases")?.to_vec())
            }
        };
        let has_bias = bias.is_some();
        let bias = bias.unwrap_or_else(|| vec![0.0; *channels]);
        let dims = output_dims(&window, axes);
        let conv = Layer::Conv(Conv { affine: Affine { weight: rows, bias, has_bias, stored }, window });
        let layer = self.sketch.push(&op.name, conv, vec![x.layer], without_batch(&dims));
        self.sketch.note_origins(layer, origins);
        if !has_bias {
            self.sketch.await_bias(layer, op.node.output.first().map_or("", String::as_str));
        }
        Ok(Value::Computed(Computed { layer, dims, ..x.clone() }))
    }

    /// BatchNormalization with stored statistics.
    pub fn batch_normalization(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        if self.opset >= 14 && op.flag("training_mode")? {
            return Err(op.fail("training_mode = 0: inference", "1"));
        }
        if op.int("spatial", 1)? != 1 {
            return Err(op.fail("spatial = 1: one factor for each channel", "another value"));
        }
        let [1, channels, plane @ ..] = &x.dims[..] else {
            return Err(op.fail("data of shape (1, channels, …)", shape_text(&x.dims)));
        };
        let image = match *plane {
            [height, width] => [*channels, height, width],
            ref plane => [*channels, 1, width(plane)],
        };
        let constant = |position: usize, what: &str| {
            per_channel(op, constant_at(op, operands, position, what)?, *channels, what)
        };
        let parameters = Normalization {
            scale: constant(1, "factors")?,
            bias: constant(2, "summands")?,
            mean: constant(3, "means")?,
            variance: constant(4, "variances")?,
            epsilon: op.float("epsilon", f64::from(1e-5_f32))?,
        };
        let layer = at(op, self.sketch.batch_norm(&op.name, x.layer, image, &parameters))?;
        let origins = (1..=2).filter_map(|k| constant_at(op, operands, k, "").ok()?.origin.clone());
        self.sketch.note_origins(layer, origins);
        Ok(Value::Computed(Computed { layer, ..x.clone() }))
    }
}

/// Operand number `position`, which must be constant.
fn constant_at<'v>(
    op: &Op,
    operands: &'v [Option<Value>],
    position: usize,
    what: &str,
) -> Result<&'v Tensor, OnnxError> {
    match value(op, operands, position)? {
        Value::Constant(tensor) => Ok(tensor),
        Value::Computed(_) | Value::Erf(_) => Err(op.fail(format!("constant {what}"), "a computed operand")),
    }
}

/// The numbers of a constant with one for each channel.
fn per_channel<'t>(op: &Op, tensor: &'t Tensor, channels: usize, what: &str) -> Result<&'t [f64], OnnxError> {
    match &tensor.values {
        Values::Floats(numbers) if tensor.dims == [channels] => Ok(numbers),
        Values::Floats(_) | Values::Ints(_) => {
            let found = format!("the shape {} of {:?}", shape_text(&tensor.dims), tensor.element);
            Err(op.fail(format!("{channels} floating-point {what}, one for each channel"), found))
        }
    }
}
