//! Operators that repeat elements or move them between axes: Resize, DepthToSpace, SpaceToDepth, Expand, Tile.

use super::OnnxError;
use super::dense::width;
use super::fold::{self, at};
use super::limits::{MAX_WIDTH, shape_text};
use super::op::Op;
use super::reader::{Computed, Reader, Value, computed, constant, lone_part, value};
use super::reshape::integers;
use super::shape;
use super::tensor::{Element, Tensor, Values};

impl Reader<'_> {
    /// Resize and Upsample to the nearest element.
    pub fn resize(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let mode = op.text("mode", "nearest")?;
        if mode != "nearest" {
            return Err(op.fail(
                "mode = nearest, which repeats elements",
                format!("{mode}: interpolation is not read yet"),
            ));
        }
        let rank = x.dims.len();
        let scales: Option<Vec<f32>> = if self.opset < 9 {
            op.floats("scales")?.map(<[f32]>::to_vec)
        } else {
            let position = if self.opset < 11 { 1 } else { 2 };
            match operands.get(position).and_then(Option::as_ref) {
                None => None,
                Some(Value::Constant(c)) => c
                    .as_floats()
                    .map(|v| v.iter().map(|&s| s as f32).collect())
                    .filter(|v: &Vec<f32>| !v.is_empty()),
                Some(_) => return Err(op.fail("constant scales", "computed ones")),
            }
        };
        let sizes = if self.opset < 11 { None } else { integers(op, operands, 3)? };
        let listed = op.ints("axes")?;
        let every: Vec<i64> = (0..i64::try_from(rank).unwrap_or(0)).collect();
        let axes = listed.unwrap_or(&every);
        at(op, shape::axes(axes, rank))?;
        if op.text("keep_aspect_ratio_policy", "stretch")? != "stretch" {
            return Err(op.fail("keep_aspect_ratio_policy = stretch", "another one"));
        }
        let given = sizes.map_or_else(|| scales.as_ref().map_or(0, Vec::len), <[i64]>::len);
        if given != axes.len() {
            return Err(op.fail(format!("{} scales or sizes", axes.len()), given.to_string()));
        }
        let mut per_axis: Vec<Vec<Option<usize>>> =
            x.dims.iter().map(|&d| (0..d).map(Some).collect()).collect();
        for (k, &axis) in axes.iter().enumerate() {
            let axis = at(op, shape::axis(axis, rank, false))?;
            let size = x.dims[axis];
            let scaled = |scale: f32| (size as f32 * scale).floor() as i64;
            let (length, scale) = match (sizes, &scales) {
                (Some(sizes), _) => (sizes[k], sizes[k] as f32 / size as f32),
                (None, Some(scales)) => (scaled(scales[k]), scales[k]),
                (None, None) => return Err(op.fail("scales or sizes", "none")),
            };
            let length = usize::try_from(length).ok().filter(|n| (1..=MAX_WIDTH).contains(n) && scale > 0.0);
            let length = length
                .ok_or_else(|| op.fail(format!("an axis of 1 to {MAX_WIDTH} elements"), scale.to_string()))?;
            if axis == 0 && self.has_batch(&x.dims) && length != 1 {
                return Err(op.fail("no resizing of the batch", scale.to_string()));
            }
            self.budget.tensor(&op.label(), &[length])?;
            per_axis[axis] = self.nearest(op, size, length, scale)?;
        }
        let dims: Vec<usize> = per_axis.iter().map(Vec::len).collect();
        self.budget.tensor(&op.label(), &dims)?;
        let places = shape::combined(&x.dims, &per_axis);
        let list = places.into_iter().flatten().map(|p| i64::try_from(p).unwrap_or(i64::MAX)).collect();
        let places =
            Tensor { dims, element: Element::Int, values: Values::Ints(list), origin: None, stored: None };
        self.chosen(op, "", &[x], &places, 0.0)
    }

    /// The element of an axis of length `size` that is nearest to each of `length` positions, in the arithmetic of f32, as ONNX Runtime
    /// has it.
    fn nearest(
        &self,
        op: &Op,
        size: usize,
        length: usize,
        scale: f32,
    ) -> Result<Vec<Option<usize>>, OnnxError> {
        let (how, round) = if self.opset < 11 {
            if scale < 1.0 {
                return Err(op.fail("scales of at least 1", scale.to_string()));
            }
            ("asymmetric".into(), "floor".into())
        } else {
            (
                op.text("coordinate_transformation_mode", "half_pixel")?,
                op.text("nearest_mode", "round_prefer_floor")?,
            )
        };
        let last = (size - 1) as f32;
        let mut sources = Vec::with_capacity(length);
        for position in 0..length {
            let x = position as f32;
            let original = if scale == 1.0 {
                x
            } else {
                match how.as_str() {
                    "half_pixel" => (x + 0.5) / scale - 0.5,
                    "asymmetric" => x / scale,
                    "pytorch_half_pixel" if length > 1 => (x + 0.5) / scale - 0.5,
                    "pytorch_half_pixel" => 0.0,
                    "align_corners" if length > 1 => x * last / (length - 1) as f32,
                    "align_corners" => 0.0,
                    other => return Err(op.fail("a coordinate_transformation_mode without regions", other)),
                }
            };
            let nearest = match round.as_str() {
                "floor" => original.floor(),
                "ceil" => original.ceil(),
                "round_prefer_ceil" => original.round(),
                "round_prefer_floor" if original == original.floor() + 0.5 => original.floor(),
                "round_prefer_floor" => original.round(),
                other => return Err(op.fail("a nearest_mode that is known", other)),
            };
            sources.push(Some(nearest.clamp(0.0, last) as usize));
        }
        Ok(sources)
    }

    /// DepthToSpace.
    pub fn depth_to_space(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let (block, [n, channels, height, width]) = self.blocks(op, x)?;
        if !channels.is_multiple_of(block * block) {
            return Err(op.fail(format!("a multiple of {} channels", block * block), channels.to_string()));
        }
        let depth = channels / (block * block);
        let (split, perm) = match op.text("mode", "DCR")?.as_str() {
            "DCR" => (vec![n, block, block, depth, height, width], [0, 3, 4, 1, 5, 2]),
            "CRD" => (vec![n, depth, block, block, height, width], [0, 1, 4, 2, 5, 3]),
            other => return Err(op.fail("mode to be DCR or CRD", other)),
        };
        let dims = vec![n, depth, height * block, width * block];
        self.turned(op, x, split, &perm, dims)
    }

    /// SpaceToDepth.
    pub fn space_to_depth(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?;
        let (block, [n, channels, height, width]) = self.blocks(op, x)?;
        if !(height.is_multiple_of(block) && width.is_multiple_of(block)) {
            return Err(op.fail(format!("multiples of {block} rows and columns"), shape_text(&x.dims)));
        }
        let split = vec![n, channels, height / block, block, width / block, block];
        let dims = vec![n, channels * block * block, height / block, width / block];
        self.turned(op, x, split, &[0, 3, 5, 1, 2, 4], dims)
    }

    fn blocks(&self, op: &Op, x: &Computed) -> Result<(usize, [usize; 4]), OnnxError> {
        let block = usize::try_from(op.int("blocksize", 0)?).ok().filter(|b| (1..=1024).contains(b));
        let block = block.ok_or_else(|| op.fail("a blocksize of 1 to 1024", "another one"))?;
        let dims = <[usize; 4]>::try_from(x.dims.as_slice())
            .map_err(|_| op.fail("data of four dimensions", shape_text(&x.dims)))?;
        Ok((block, dims))
    }

    /// `x` under the dimensions `split`, with their axes permuted, under the dimensions `dims`.
    fn turned(
        &mut self,
        op: &Op,
        x: &Computed,
        split: Vec<usize>,
        perm: &[usize],
        dims: Vec<usize>,
    ) -> Result<Value, OnnxError> {
        let places = self.places(op, x, 0)?.with_dims(split);
        let places = fold::transpose(op, &places, perm, &mut self.budget)?.with_dims(dims);
        self.chosen(op, "", &[x], &places, 0.0)
    }

    /// Expand to a shape that the dimensions broadcast to.
    pub fn expand(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let target = integers(op, operands, 1)?.ok_or_else(|| op.fail("a target shape", "none"))?;
        let list: Vec<usize> = target.iter().filter_map(|&d| usize::try_from(d).ok()).collect();
        if list.len() != target.len() {
            return Err(op.fail("dimensions of at least 0", format!("{target:?}")));
        }
        self.repeated(op, operands, |tensor_dims| at(op, shape::broadcast(tensor_dims, &list)))
    }

    /// Tile by constant repeats.
    pub fn tile(&mut self, op: &Op, operands: &[Option<Value>]) -> Result<Value, OnnxError> {
        let repeats = integers(op, operands, 1)?.ok_or_else(|| op.fail("repeats", "none"))?;
        let list: Vec<usize> =
            repeats.iter().filter_map(|&d| usize::try_from(d).ok().filter(|d| *d > 0)).collect();
        let dims = match value(op, operands, 0)? {
            Value::Constant(tensor) => tensor.dims.clone(),
            Value::Computed(x) => x.dims.clone(),
            Value::Part(part) => return Err(lone_part(op, part)),
        };
        if list.len() != dims.len() || repeats.len() != list.len() {
            return Err(op.fail(format!("{} repeats of at least 1", dims.len()), format!("{repeats:?}")));
        }
        let mut result = operands[0].clone();
        for (axis, &count) in list.iter().enumerate().filter(|(_, count)| **count > 1) {
            let copies = vec![result; count.min(MAX_WIDTH)];
            result = Some(self.joined(op, &copies, axis)?);
        }
        result.ok_or_else(|| op.fail("an operand", "none"))
    }

    /// The first operand broadcast to the dimensions that `target` gives for its own.
    fn repeated(
        &mut self,
        op: &Op,
        operands: &[Option<Value>],
        target: impl Fn(&[usize]) -> Result<Vec<usize>, OnnxError>,
    ) -> Result<Value, OnnxError> {
        let spread = |reader: &mut Self, tensor: &Tensor| -> Result<Tensor, OnnxError> {
            let dims = target(&tensor.dims)?;
            reader.budget.tensor(&op.label(), &dims)?;
            let indices = shape::broadcast_indices(&tensor.dims, &dims);
            Ok(tensor.select(dims, &indices))
        };
        match value(op, operands, 0)? {
            Value::Constant(tensor) => Ok(constant(spread(self, tensor)?)),
            Value::Computed(x) => {
                let places = self.places(op, x, 0)?;
                let places = spread(self, &places)?;
                if width(&places.dims) == width(&x.dims) {
                    return Ok(self.renamed(op, x, places.dims));
                }
                if self.has_batch(&x.dims) && (places.dims.len() != x.dims.len() || places.dims[0] != 1) {
                    return Err(op.fail("no repetition of the batch", shape_text(&places.dims)));
                }
                self.chosen(op, "", &[x], &places, 0.0)
            }
            Value::Part(part) => Err(lone_part(op, part)),
        }
    }
}
