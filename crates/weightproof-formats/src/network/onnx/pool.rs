//! Pooling: windows, whole images, and reductions over any axes but the batch.

use super::OnnxError;
use super::dense::width;
use super::fold::{self, at};
use super::limits::shape_text;
use super::op::Op;
use super::operators::Reduction;
use super::reader::{Computed, Reader, Value, computed};
use super::reshape::integers;
use super::shape::{self, without_batch};
use super::window::{Slide, image, on_axes, output_dims, sizes};
use weightproof::network::{AveragePool, Layer, Window};

impl Reader<'_> {
    /// MaxPool and AveragePool.
    pub fn pool(
        &mut self,
        op: &Op,
        reduction: Reduction,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let (image, axes) = image(op, &x.dims)?;
        let kernel =
            sizes(op, "kernel_shape", axes)?.ok_or_else(|| op.fail("attribute kernel_shape", "none"))?;
        if op.int("storage_order", 0)? != 0 {
            return Err(op.fail("storage_order = 0", "another value"));
        }
        if op.node.output.iter().skip(1).any(|name| self.plan.uses.contains_key(name.as_str())) {
            return Err(op.fail("the indices of the maxima not to be used", "a node that reads them"));
        }
        let mut slide = Slide::new(op, image, axes, on_axes(&kernel))?;
        if op.flag("ceil_mode")? {
            slide.round_up(image);
        }
        let window = slide.window(op, image, image[0], image[0])?;
        let holds_something =
            |axis: usize| (0..window.extent(axis)).all(|at| !window.taps_inside(axis, at).is_empty());
        if !(holds_something(0) && holds_something(1)) {
            return Err(
                op.fail("windows that hold at least one element", format!("pads {:?}", slide.padding))
            );
        }
        let dims = output_dims(&window, axes);
        let layer = match reduction {
            Reduction::Max | Reduction::Min => Layer::MaxPool(window),
            Reduction::Sum | Reduction::Mean => {
                self.budget.tensor(&op.label(), &[window.positions()])?;
                let counted = op.flag("count_include_pad")?.then_some(slide.padding);
                Layer::AveragePool(averages(window, counted))
            }
        };
        let layer = self.sketch.push(&op.name, layer, vec![x.layer], without_batch(&dims));
        Ok(Value::Computed(Computed { layer, dims, ..x.clone() }))
    }

    /// GlobalMaxPool and GlobalAveragePool.
    pub fn pool_all(
        &mut self,
        op: &Op,
        reduction: Reduction,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        if x.dims.len() < 3 {
            return Err(op.fail("data of shape (1, channels, …)", shape_text(&x.dims)));
        }
        let axes: Vec<usize> = (2..x.dims.len()).collect();
        self.reduced(op, reduction, x, &axes, true)
    }

    /// ReduceMean, ReduceSum and ReduceMax. Axes are an attribute up to operator set `last`, an operand after.
    pub fn reduce(
        &mut self,
        op: &Op,
        reduction: Reduction,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let given = if self.opset < reduction.axes_operand_since() {
            op.ints("axes")?
        } else {
            integers(op, operands, 1)?
        };
        let given = given.filter(|list| !list.is_empty());
        if given.is_none() && op.flag("noop_with_empty_axes")? {
            return Ok(Value::Computed(x.clone()));
        }
        let axes = match given {
            None => (0..x.dims.len()).collect(),
            Some(list) => at(op, shape::axes(list, x.dims.len()))?,
        };
        let keep = op.int("keepdims", 1)? != 0;
        self.reduced(op, reduction, x, &axes, keep)
    }

    /// Pooling of everything along `axes`, with the other axes as channels.
    fn reduced(
        &mut self,
        op: &Op,
        reduction: Reduction,
        x: &Computed,
        axes: &[usize],
        keep: bool,
    ) -> Result<Value, OnnxError> {
        if self.has_batch(&x.dims) && axes.contains(&0) {
            return Err(op.fail("axes without the batch", format!("{axes:?}")));
        }
        let others = (0..x.dims.len()).filter(|axis| !axes.contains(axis));
        let perm: Vec<usize> = others.clone().chain(axes.iter().copied()).collect();
        let mut input = x.layer;
        if !shape::keeps_order(&x.dims, &perm) {
            let places = self.places(op, x, 0)?;
            let moved = fold::transpose(op, &places, &perm, &mut self.budget)?;
            if let Value::Computed(moved) = self.chosen(op, ".transposed", &[x], &moved, 0.0)? {
                input = moved.layer;
            }
        }
        let plane: Vec<usize> = axes.iter().map(|&axis| x.dims[axis]).collect();
        let channels: usize = others.map(|axis| x.dims[axis]).product();
        let image = match plane[..] {
            [height, width] => [channels, height, width],
            _ => [channels, 1, width(&plane)],
        };
        let window = Window::pooling(image, [image[1], image[2]]);
        let negated = |reader: &mut Self, layer: usize, part: &str| {
            let count = width(reader.sketch.shape(layer));
            let name = format!("{}.{part}", op.name);
            reader.sketch.scale(&name, layer, vec![-1.0; count], vec![0.0; count])
        };
        if reduction == Reduction::Min {
            input = negated(self, input, "negated");
        }
        let layer = match reduction {
            Reduction::Max | Reduction::Min => Layer::MaxPool(window),
            Reduction::Mean => Layer::AveragePool(AveragePool::new(window, true)),
            Reduction::Sum => Layer::AveragePool(AveragePool { window, factor: vec![1.0] }),
        };
        let dims: Vec<usize> = (0..x.dims.len())
            .filter(|axis| keep || !axes.contains(axis))
            .map(|axis| if axes.contains(&axis) { 1 } else { x.dims[axis] })
            .collect();
        let mut layer = self.sketch.push(&op.name, layer, vec![input], without_batch(&dims));
        if reduction == Reduction::Min {
            layer = negated(self, layer, "least");
        }
        Ok(Value::Computed(Computed { layer, dims, ..x.clone() }))
    }
}

/// The mean of every window: over its elements in the image, or over those in the image with `counted` padding. What rounding
/// up adds counts neither way.
fn averages(window: Window, counted: Option<[[usize; 2]; 2]>) -> AveragePool {
    let Some(padding) = counted else { return AveragePool::new(window, false) };
    // The padded image is an image without padding.
    let [channels, height, width] = window.input;
    let padded = |size: usize, [before, after]: [usize; 2]| size + before + after;
    let input = [channels, padded(height, padding[0]), padded(width, padding[1])];
    let counting = Window { input, padding: [[0; 2]; 2], ..window.clone() };
    let taps: Vec<Vec<usize>> = (0..2)
        .map(|axis| (0..window.extent(axis)).map(|at| counting.taps_inside(axis, at).len()).collect())
        .collect();
    let factor = taps[0].iter().flat_map(|y| taps[1].iter().map(move |x| 1.0 / (y * x) as f64)).collect();
    AveragePool { window, factor }
}
