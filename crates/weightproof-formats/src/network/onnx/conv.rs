//! Conv, and BatchNormalization, which is a convolution of one weight for each channel unless it is folded.

use super::OnnxError;
use super::dense::{floats, integers, width};
use super::fold::at;
use super::limits::{MAX_WIDTH, shape_text};
use super::op::Op;
use super::reader::{Computed, Reader, Value, computed, value};
use super::shape::{self, without_batch};
use super::tensor::{Element, Tensor, Values};
use super::window::{Slide, image, on_axes, output_dims, paddings, sizes};
use crate::network::sketch::{Normalization, check_window};
use weightproof::kernels::{Matrix, Window};
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

    /// ConvTranspose over one or two axes: zeros between the elements and around them, and a convolution with the kernel turned round. The
    /// layer has the weights that are stored, in the order of output channels.
    pub fn conv_transpose(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let ([inputs, height, width], axes) = image(op, &x.dims)?;
        let weight = constant_at(op, operands, 1, "weight")?;
        let numbers = floats(op, weight, x.element)?;
        let groups = usize::try_from(op.int("group", 1)?).unwrap_or(0);
        let fits = weight.dims.len() == axes + 2
            && weight.dims[0] == inputs
            && groups > 0
            && inputs.is_multiple_of(groups)
            && weight.dims[1..].iter().all(|k| (1..=MAX_WIDTH).contains(k));
        if !fits {
            let expected = format!("a weight for {inputs} channels in {groups} groups and {axes} axes");
            return Err(op.fail(expected, shape_text(&weight.dims)));
        }
        if !matches!(op.text("auto_pad", "NOTSET")?.as_str(), "NOTSET" | "VALID")
            || op.ints("output_shape")?.is_some()
        {
            return Err(op.fail("explicit pads", "auto_pad or output_shape"));
        }
        let kernel = on_axes(&weight.dims[2..]);
        let ones = || vec![1; axes];
        let stride = on_axes(&sizes(op, "strides", axes)?.unwrap_or_else(ones));
        let dilation = on_axes(&sizes(op, "dilations", axes)?.unwrap_or_else(ones));
        let padding = paddings(op, axes)?.unwrap_or_default();
        let more = match op.ints("output_padding")? {
            None => [0; 2],
            Some(given) => {
                let list: Vec<usize> = given.iter().filter_map(|&p| usize::try_from(p).ok()).collect();
                if list.len() != axes || list.iter().any(|p| *p > MAX_WIDTH) {
                    return Err(op.fail(format!("{axes} output paddings"), format!("{given:?}")));
                }
                if axes == 1 { [0, list[0]] } else { [list[0], list[1]] }
            }
        };
        // For every position of the spread image the element that is there.
        let mut per_axis = vec![(0..inputs).map(Some).collect::<Vec<_>>()];
        for (axis, size) in [height, width].into_iter().enumerate() {
            let reach = (kernel[axis] - 1) * dilation[axis];
            let spread = (size - 1) * stride[axis] + 1;
            let length = (spread + 2 * reach + more[axis]).checked_sub(padding[axis][0] + padding[axis][1]);
            let length = length.filter(|n| (reach + 1..=MAX_WIDTH).contains(n));
            let length = length.ok_or_else(|| op.fail("an output of at least one element", "none"))?;
            self.budget.tensor(&op.label(), &[length])?;
            let source = |position: usize| {
                let at = (position + padding[axis][0])
                    .checked_sub(reach)
                    .filter(|at| at.is_multiple_of(stride[axis]))?;
                Some(at / stride[axis]).filter(|at| *at < size)
            };
            per_axis.push((0..length).map(source).collect());
        }
        let spread: [usize; 3] = [inputs, per_axis[1].len(), per_axis[2].len()];
        self.budget.tensor(&op.label(), &spread)?;
        let places = shape::combined(&[inputs, height, width], &per_axis);
        let list = places.into_iter().map(|p| p.map_or(-1, |p| i64::try_from(p).unwrap_or(-1))).collect();
        let places = Tensor {
            dims: spread.to_vec(),
            element: Element::Int,
            values: Values::Ints(list),
            origin: None,
            stored: None,
        };
        let Value::Computed(image) = self.chosen(op, ".spread", &[x], &places, 0.0)? else {
            return Err(op.fail("a computed image", "another value"));
        };
        let (of_group, taps) = (weight.dims[1], kernel[0] * kernel[1]);
        let (channels, inputs_of_group) = (of_group * groups, inputs / groups);
        let window = Window { groups, dilation, ..Window::new(spread, channels, kernel) };
        at(op, check_window(&window))?;
        self.budget.tensor(&op.label(), &weight.dims)?;
        let rows = Matrix::from_fn(channels, inputs_of_group * taps, |channel, k| {
            let (group, own) = (channel / of_group, channel % of_group);
            let (input, tap) = (k / taps, k % taps);
            numbers[((group * inputs_of_group + input) * of_group + own) * taps + (taps - 1 - tap)]
        });
        let mut origins: Vec<String> = weight.origin.iter().cloned().collect();
        let bias = match operands.get(2).and_then(Option::as_ref) {
            None => None,
            Some(_) => {
                let bias = constant_at(op, operands, 2, "bias")?;
                origins.extend(bias.origin.clone());
                Some(per_channel(op, bias, channels, "biases")?.to_vec())
            }
        };
        let has_bias = bias.is_some();
        let bias = bias.unwrap_or_else(|| vec![0.0; channels]);
        let dims = output_dims(&window, axes);
        let conv =
            Layer::Conv(Conv { affine: Affine { weight: rows, bias, has_bias, stored: None }, window });
        let layer = self.sketch.push(&op.name, conv, vec![image.layer], without_batch(&dims));
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
        Value::Computed(_) | Value::Part(_) => Err(op.fail(format!("constant {what}"), "a computed operand")),
    }
}

/// The numbers of a constant with one for each channel.
fn per_channel<'t>(op: &Op, tensor: &'t Tensor, channels: usize, what: &str) -> Result<&'t [f64], OnnxError> {
    match &tensor.values {
        Values::Floats(numbers) if tensor.dims == [channels] => Ok(numbers),
        Values::Floats(_) | Values::Ints(_) => {
            let found = format!("the shape {} of {}", shape_text(&tensor.dims), tensor.element);
            Err(op.fail(format!("{channels} floating-point {what}, one for each channel"), found))
        }
    }
}
