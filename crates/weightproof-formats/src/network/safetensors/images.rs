//! Layers of images and layers that join others.

use super::SafetensorsError;
use super::architecture::Sizes;
use super::read::{Mismatch, Reader, layer_error};
use crate::network::sketch::{MAX_WIDTH, Normalization, check_window};
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{Affine, AveragePool, Conv, Gather, Layer};

/// ε of a batch normalization that gives none.
const EPSILON: f64 = 1e-5;

impl Reader<'_> {
    /// A convolution over one or two axes; `tensors` are weight and bias.
    pub fn conv(
        &mut self,
        name: &str,
        input: usize,
        tensors: (&str, Option<&str>),
        groups: usize,
        slide: &Slide,
    ) -> Result<usize, SafetensorsError> {
        let fail = |(expected, found): Mismatch| layer_error(name, expected, found);
        let (image, axes) = self.image(name, input)?;
        if groups == 0 || !image[0].is_multiple_of(groups) {
            return Err(fail((format!("groups that divide {} channels", image[0]), groups.to_string())));
        }
        let expected = [None, Some(image[0] / groups), None, None];
        let (shape, numbers) = self.tensor(name, tensors.0, &expected[..axes + 2])?;
        let window = slide.window(image, axes, two(&shape[2..])).map_err(fail)?;
        let window = Window { channels: shape[0], groups, ..window };
        check_window(&window).map_err(fail)?;
        let weight = Matrix::from_vec(shape[0], window.patch(), numbers);
        let (bias, has_bias) = self.bias(name, tensors.1, shape[0])?;
        let shape = without_height(&window.output(), axes);
        let conv = Layer::Conv(Conv { affine: Affine { weight, bias, has_bias, stored: None }, window });
        Ok(self.sketch.push(name, conv, vec![input], shape))
    }

    /// Batch normalization over the first axis; `tensors` are weight, bias, mean and variance.
    pub fn batch_norm(
        &mut self,
        name: &str,
        input: usize,
        tensors: [&str; 4],
        epsilon: Option<f64>,
    ) -> Result<usize, SafetensorsError> {
        let shape = self.sketch.shape(input).to_vec();
        let plane: usize = shape[1..].iter().product();
        let mut read = |tensor: &str| -> Result<Vec<f64>, SafetensorsError> {
            Ok(self.tensor(name, tensor, &[Some(shape[0])])?.1)
        };
        let [scale, bias, mean, variance] = tensors.map(&mut read);
        let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
        let epsilon = epsilon.unwrap_or(EPSILON);
        let parameters =
            Normalization { scale: &scale, bias: &bias, mean: &mean, variance: &variance, epsilon };
        let added = self.sketch.batch_norm(name, input, [shape[0], 1, plane], &parameters);
        added.map_err(|(expected, found)| layer_error(name, expected, found))
    }

    /// Average pooling where `count_padding` is given, else max pooling; without a kernel over the whole image.
    pub fn pool(
        &mut self,
        name: &str,
        input: usize,
        slide: &Slide,
        count_padding: Option<bool>,
    ) -> Result<usize, SafetensorsError> {
        let fail = |(expected, found): Mismatch| layer_error(name, expected, found);
        let (image, axes) = self.image(name, input)?;
        let kernel = on_axes("kernel", slide.kernel, axes, [image[1], image[2]]).map_err(fail)?;
        let slide = Slide { stride: slide.stride.or(slide.kernel), ..*slide };
        let window = slide.window(image, axes, kernel).map_err(fail)?;
        let window = Window { channels: image[0], groups: image[0], ..window };
        check_window(&window).map_err(fail)?;
        let shape = without_height(&window.output(), axes);
        let layer = match count_padding {
            None => Layer::MaxPool(window),
            Some(count_padding) => {
                self.pay(name, window.positions())?;
                Layer::AveragePool(AveragePool::new(window, count_padding))
            }
        };
        Ok(self.sketch.push(name, layer, vec![input], shape))
    }

    /// The sum of layers of one shape.
    pub fn sum(&mut self, name: &str, inputs: &[usize]) -> Result<usize, SafetensorsError> {
        let shape = self.sketch.shape(inputs[0]).to_vec();
        if let Some(&other) = inputs.iter().find(|&&input| self.sketch.shape(input) != shape) {
            let found = format!("{:?}", self.sketch.shape(other));
            return Err(layer_error(name, format!("inputs of the shape {shape:?}"), found));
        }
        Ok(self.sketch.push(name, Layer::Add, inputs.to_vec(), shape))
    }

    /// Layers one after the other along their first axis.
    pub fn concat(&mut self, name: &str, inputs: &[usize]) -> Result<usize, SafetensorsError> {
        let mut shape = self.sketch.shape(inputs[0]).to_vec();
        shape[0] = 0;
        for &input in inputs {
            let other = self.sketch.shape(input);
            if other[1..] != shape[1..] {
                let expected = format!("inputs whose shapes end with {:?}", &shape[1..]);
                return Err(layer_error(name, expected, format!("{other:?}")));
            }
            shape[0] += other[0];
        }
        let count: usize = shape.iter().product();
        // A source takes the memory of two numbers.
        self.pay(name, 2 * count)?;
        let gather = Gather { source: (0..count).map(Some).collect(), constant: 0.0 };
        Ok(self.sketch.push(name, Layer::Gather(gather), inputs.to_vec(), shape))
    }

    /// The image `(channels, height, width)` of a layer and the number of its spatial axes.
    fn image(&self, name: &str, input: usize) -> Result<([usize; 3], usize), SafetensorsError> {
        match *self.sketch.shape(input) {
            [channels, height, width] => Ok(([channels, height, width], 2)),
            [channels, length] => Ok(([channels, 1, length], 1)),
            ref other => {
                let expected = "an input of shape (channels, height, width) or (channels, length)";
                Err(layer_error(name, expected.into(), format!("{other:?}")))
            }
        }
    }
}

/// Height and width of a list for one or two axes.
fn two(list: &[usize]) -> [usize; 2] {
    match *list {
        [height, width] => [height, width],
        [length] => [1, length],
        _ => [1, 1],
    }
}

fn without_height(output: &[usize; 3], axes: usize) -> Vec<usize> {
    if axes == 1 { vec![output[0], output[2]] } else { output.to_vec() }
}

/// A number of at least 1 for height and width.
fn on_axes(
    what: &str,
    sizes: Option<&Sizes>,
    axes: usize,
    default: [usize; 2],
) -> Result<[usize; 2], Mismatch> {
    let list = match sizes {
        None => return Ok(default),
        Some(Sizes::One(size)) => vec![*size; axes],
        Some(Sizes::Many(list)) => list.clone(),
    };
    let fits = list.len() == axes && list.iter().all(|size| (1..=MAX_WIDTH).contains(size));
    let expected = || format!("a {what} of one number, or of {axes}, from 1 to {MAX_WIDTH}");
    if fits { Ok(two(&list)) } else { Err((expected(), format!("{list:?}"))) }
}

/// How a window slides, as the architecture says it.
pub struct Slide<'s> {
    pub kernel: Option<&'s Sizes>,
    pub stride: Option<&'s Sizes>,
    pub dilation: Option<&'s Sizes>,
    pub padding: Option<&'s Sizes>,
}

impl Slide<'_> {
    /// A window of `kernel` taps with stride, dilation and padding; channels and groups are left to the caller.
    fn window(&self, image: [usize; 3], axes: usize, kernel: [usize; 2]) -> Result<Window, Mismatch> {
        let stride = on_axes("stride", self.stride, axes, [1, 1])?;
        let dilation = on_axes("dilation", self.dilation, axes, [1, 1])?;
        let list = match self.padding {
            None => vec![0; axes],
            Some(Sizes::One(size)) => vec![*size; axes],
            Some(Sizes::Many(list)) => list.clone(),
        };
        let sides = match (axes, &list[..]) {
            (1, &[both]) => Some([[0, 0], [both, both]]),
            (1, &[left, right]) => Some([[0, 0], [left, right]]),
            (2, &[height, width]) => Some([[height, height], [width, width]]),
            (2, &[top, left, bottom, right]) => Some([[top, bottom], [left, right]]),
            _ => None,
        };
        let sides = sides.filter(|_| list.iter().all(|&size| size <= MAX_WIDTH));
        let expected = || format!("a padding of one number, or of {axes} or {}, up to {MAX_WIDTH}", 2 * axes);
        let padding = sides.ok_or_else(|| (expected(), format!("{list:?}")))?;
        if kernel.iter().any(|size| !(1..=MAX_WIDTH).contains(size)) {
            return Err((format!("a kernel of 1 to {MAX_WIDTH} taps along an axis"), format!("{kernel:?}")));
        }
        Ok(Window { stride, dilation, padding, ..Window::new(image, 1, kernel) })
    }
}
