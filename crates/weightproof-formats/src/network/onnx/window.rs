//! How convolution and pooling slide over their input: kernels, strides, dilations and paddings as the attributes give them.

use super::OnnxError;
use super::fold::at;
use super::limits::{MAX_WIDTH, shape_text};
use super::op::Op;
use crate::network::sketch::check_window;
use weightproof::network::Window;

/// How a window slides, before the number of output channels is known.
pub struct Slide {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Padding `[before, after]` of height and width as given, without what rounding up adds.
    pub padding: [[usize; 2]; 2],
    /// Padding after height and width that the windows reach.
    reached: [usize; 2],
}

impl Slide {
    /// The attributes of `op` for an image `(channels, height, width)` with `axes` spatial axes and a kernel that is known.
    ///
    /// # Errors
    /// For attributes of another length, numbers below 1 (paddings: below 0) or beyond [`MAX_WIDTH`], and kernels that do not
    /// fit.
    pub fn new(op: &Op, image: [usize; 3], axes: usize, kernel: [usize; 2]) -> Result<Self, OnnxError> {
        let ones = || vec![1; axes];
        let stride = on_axes(&sizes(op, "strides", axes)?.unwrap_or_else(ones));
        let dilation = on_axes(&sizes(op, "dilations", axes)?.unwrap_or_else(ones));
        let explicit = paddings(op, axes)?;
        let mut slide = Slide { kernel, stride, dilation, padding: [[0; 2]; 2], reached: [0; 2] };
        match op.text("auto_pad", "NOTSET")?.as_str() {
            "NOTSET" => slide.padding = explicit.unwrap_or_default(),
            other if explicit.is_some_and(|pads| pads != [[0; 2]; 2]) => {
                return Err(op.fail("pads or auto_pad", format!("both, auto_pad = {other}")));
            }
            "VALID" => {}
            "SAME_UPPER" => slide.padding = slide.same(image, false),
            "SAME_LOWER" => slide.padding = slide.same(image, true),
            other => return Err(op.fail("auto_pad to be NOTSET, VALID, SAME_UPPER or SAME_LOWER", other)),
        }
        for axis in 0..2 {
            let (size, reach) = (image[axis + 1], slide.reach(axis));
            let padded = size + slide.padding[axis][0] + slide.padding[axis][1];
            if reach > padded {
                let expected =
                    format!("a kernel that fits into {padded} elements of an axis, padding included");
                return Err(op.fail(expected, format!("one over {reach}")));
            }
            slide.reached[axis] = slide.padding[axis][1];
        }
        Ok(slide)
    }

    /// Elements from the first to the last tap: kernels and dilations are at most [`MAX_WIDTH`], so nothing overflows.
    fn reach(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    /// The padding that makes the output as large as the input divided by the stride, rounded up.
    fn same(&self, image: [usize; 3], more_before: bool) -> [[usize; 2]; 2] {
        [0, 1].map(|axis| {
            let (size, stride) = (image[axis + 1], self.stride[axis]);
            let needed = (size.div_ceil(stride) - 1) * stride + self.reach(axis);
            let total = needed.saturating_sub(size);
            let (less, more) = (total / 2, total - total / 2);
            if more_before { [more, less] } else { [less, more] }
        })
    }

    /// Rounds the number of positions up, as `ceil_mode` asks for: a last window may reach beyond the padded image, if it
    /// starts inside of the image or the padding before it.
    pub fn round_up(&mut self, image: [usize; 3]) {
        for axis in 0..2 {
            let [before, after] = self.padding[axis];
            let (inside, stride, reach) = (image[axis + 1] + before, self.stride[axis], self.reach(axis));
            let mut last = (inside + after - reach).div_ceil(stride) * stride;
            if last >= inside {
                last -= stride;
            }
            self.reached[axis] = (last + reach).saturating_sub(inside);
        }
    }

    /// The window over an image for `channels` output channels in `groups` groups.
    ///
    /// # Errors
    /// When groups do not divide the channels, or the sizes are beyond the limits.
    pub fn window(
        &self,
        op: &Op,
        input: [usize; 3],
        channels: usize,
        groups: usize,
    ) -> Result<Window, OnnxError> {
        let [before, after] = [self.padding.map(|p| p[0]), self.reached];
        let padding = [[before[0], after[0]], [before[1], after[1]]];
        let (kernel, stride, dilation) = (self.kernel, self.stride, self.dilation);
        let window = Window { input, channels, groups, kernel, stride, dilation, padding };
        at(op, check_window(&window))?;
        Ok(window)
    }
}

/// The image `(channels, height, width)` in data of shape (1, channels, length) or (1, channels, height, width), and the
/// number of its spatial axes.
///
/// # Errors
/// For other ranks, three-dimensional data among them, and several samples.
pub fn image(op: &Op, dims: &[usize]) -> Result<([usize; 3], usize), OnnxError> {
    match *dims {
        [1, channels, length] => Ok(([channels, 1, length], 1)),
        [1, channels, height, width] => Ok(([channels, height, width], 2)),
        [_, _, _] | [_, _, _, _] => Err(op.fail("a batch of 1", format!("the shape {}", shape_text(dims)))),
        _ => {
            let expected = format!("{} over one or two axes besides batch and channels", op.kind());
            Err(op.fail(expected, format!("the shape {}", shape_text(dims))))
        }
    }
}

/// Output dimensions as ONNX has them: (1, channels, length) for one spatial axis.
pub fn output_dims(window: &Window, axes: usize) -> Vec<usize> {
    let [channels, height, width] = window.output();
    if axes == 1 { vec![1, channels, width] } else { vec![1, channels, height, width] }
}

/// Numbers of one or two axes as height and width.
pub fn on_axes(numbers: &[usize]) -> [usize; 2] {
    match *numbers {
        [height, width] => [height, width],
        [width] => [1, width],
        _ => [1, 1],
    }
}

/// An attribute of one number of at least 1 for each axis.
pub fn sizes(op: &Op, name: &str, axes: usize) -> Result<Option<Vec<usize>>, OnnxError> {
    list(op, name, axes, 1)
}

pub fn paddings(op: &Op, axes: usize) -> Result<Option<[[usize; 2]; 2]>, OnnxError> {
    let list = list(op, "pads", 2 * axes, 0)?;
    Ok(list.map(|pads| match pads[..] {
        [top, left, bottom, right] => [[top, bottom], [left, right]],
        [left, right] => [[0, 0], [left, right]],
        _ => [[0; 2]; 2],
    }))
}

fn list(op: &Op, name: &str, count: usize, least: usize) -> Result<Option<Vec<usize>>, OnnxError> {
    let Some(list) = op.ints(name)? else { return Ok(None) };
    if list.len() != count {
        return Err(op.fail(format!("attribute {name} of {count} numbers"), list.len().to_string()));
    }
    let number = |&v: &i64| {
        let found = usize::try_from(v).ok().filter(|v| (least..=MAX_WIDTH).contains(v));
        let expected = || format!("attribute {name} of numbers from {least} to {MAX_WIDTH}");
        found.ok_or_else(|| op.fail(expected(), v.to_string()))
    };
    list.iter().map(number).collect::<Result<Vec<usize>, _>>().map(Some)
}
