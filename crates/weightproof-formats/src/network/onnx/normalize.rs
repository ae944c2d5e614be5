//! Normalizations by statistics of the sample itself, as products.
//!
//! ```text
//! layer, instance, group        d = x − mean(x),  y = γ d (mean(d²) + ε)^(−1/2) + β           means over a group of elements
//! root mean square              y = γ x (mean(x²) + ε)^(−1/2)
//! Lp                            y = x (Σ x²)^(−1/2),  y = x / Σ |x|
//! LRN                           y = x (bias + α / size · Σ x²)^(−β)                           sums over neighbouring channels
//! ```
//! γ and β are a layer of their own with one weight for each, which threat models perturb, as they do those of batch normalization.

use super::OnnxError;
use super::dense::{floats, width};
use super::fold::at;
use super::limits::shape_text;
use super::op::Op;
use super::operators::Normalization;
use super::reader::{Computed, Reader, Value, computed};
use super::shape::{self, without_batch};
use super::tensor::Tensor;
use crate::network::sketch::check_window;
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{Activation, Affine, AveragePool, Conv, Gather, Layer};

/// How far a mask lowers an element whose exponentials against others may be too large for a number.
const LOWERED: f64 = 64.0;

/// Factors or summands, and the tensor that they are stored as.
type Numbers = (Vec<f64>, Option<String>);

impl Reader<'_> {
    /// A normalization.
    pub fn normalization(
        &mut self,
        op: &Op,
        kind: Normalization,
        operands: &[Option<Value>],
    ) -> Result<Value, OnnxError> {
        let x = computed(op, operands)?.clone();
        let rank = x.dims.len();
        let epsilon = op.float("epsilon", f64::from(1e-5_f32))?;
        match kind {
            Normalization::Layer | Normalization::RootMeanSquare => {
                let axis = at(op, shape::axis(op.int("axis", -1)?, rank, false))?;
                self.over_last_axes(op, &x, (axis, epsilon), kind, [operands.get(1), operands.get(2)])
            }
            Normalization::SkipLayer | Normalization::SkipRootMeanSquare => {
                Ok(self.skip_normalization(op, kind, operands)?.swap_remove(0))
            }
            Normalization::Instance | Normalization::Group => {
                let [_, channels, plane @ ..] = &x.dims[..] else {
                    return Err(op.fail("data of shape (1, channels, …)", shape_text(&x.dims)));
                };
                let (channels, plane) = (*channels, width(plane));
                let groups = if kind == Normalization::Instance {
                    channels
                } else {
                    let groups = usize::try_from(op.int("num_groups", 0)?).unwrap_or(0);
                    if groups == 0 || !channels.is_multiple_of(groups) {
                        let expected = format!("groups that divide {channels} channels");
                        return Err(op.fail(expected, groups.to_string()));
                    }
                    groups
                };
                if x.dims[0] != 1 {
                    return Err(op.fail("data of shape (1, channels, …)", shape_text(&x.dims)));
                }
                let normalized = self.normalized(op, &x, channels / groups * plane, epsilon, true)?;
                let numbers = |reader: &Self, k: usize, what: &str| -> Result<Numbers, OnnxError> {
                    let tensor = constant_at(op, operands.get(k), what)?;
                    let found = floats(op, tensor, x.element)?;
                    // Before operator set 21 a group has one factor.
                    let count =
                        if kind == Normalization::Group && reader.opset < 21 { groups } else { channels };
                    if found.len() != count {
                        return Err(op.fail(format!("{count} {what}"), found.len().to_string()));
                    }
                    let each = found.iter().flat_map(|&v| std::iter::repeat_n(v, channels / count)).collect();
                    Ok((each, tensor.origin.clone()))
                };
                let (scale, bias) = (numbers(self, 1, "factors")?, numbers(self, 2, "summands")?);
                let layer = self.per_feature(op, normalized.layer, [channels, plane], scale, Some(bias))?;
                Ok(Value::Computed(Computed { layer, ..x }))
            }
            Normalization::Lp => {
                let axis = at(op, shape::axis(op.int("axis", -1)?, rank, false))?;
                self.by_length(op, &x, axis)
            }
            Normalization::Channels => self.by_neighbours(op, &x),
        }
    }

    /// A normalization of a sum, and as the fourth output the sum.
    pub fn skip_normalization(
        &mut self,
        op: &Op,
        kind: Normalization,
        operands: &[Option<Value>],
    ) -> Result<Vec<Value>, OnnxError> {
        let x = computed(op, operands)?.clone();
        let has_beta = kind == Normalization::SkipLayer;
        let read = |name: &String| !name.is_empty() && self.plan.uses.contains_key(name.as_str());
        if op.node.output.iter().skip(1).take(2).any(read) {
            return Err(op.fail("means and deviations not to be used", "a node that reads them"));
        }
        let mut sum = self.with_skip(op, x, operands.get(1))?;
        sum = self.with_skip(op, sum, operands.get(if has_beta { 4 } else { 3 }))?;
        let beta = operands.get(3).filter(|_| has_beta);
        let plain = if has_beta { Normalization::Layer } else { Normalization::RootMeanSquare };
        let epsilon = op.float("epsilon", f64::from(1e-12_f32))?;
        let last = (sum.dims.len() - 1, epsilon);
        let normalized = self.over_last_axes(op, &sum, last, plain, [operands.get(2), beta])?;
        let sum = Value::Computed(sum);
        // What nothing reads may be anything.
        Ok(vec![normalized, sum.clone(), sum.clone(), sum])
    }

    /// `x` and an operand that may be left out.
    fn with_skip(
        &mut self,
        op: &Op,
        x: Computed,
        more: Option<&Option<Value>>,
    ) -> Result<Computed, OnnxError> {
        let Some(Some(more)) = more else { return Ok(x) };
        let sum = Op { name: format!("{}.sum", op.name), node: op.node };
        let operands = [Some(Value::Computed(x)), Some(more.clone())];
        self.computed_of(op, |reader| reader.arithmetic(&sum, super::operators::Arithmetic::Add, &operands))
    }

    /// Layer and root-mean-square normalization over all axes from `axis` on.
    fn over_last_axes(
        &mut self,
        op: &Op,
        x: &Computed,
        (axis, epsilon): (usize, f64),
        kind: Normalization,
        [scale, bias]: [Option<&Option<Value>>; 2],
    ) -> Result<Value, OnnxError> {
        if axis == 0 && self.has_batch(&x.dims) {
            return Err(op.fail("axes without the batch", "0"));
        }
        let (rows, features) = (width(&x.dims[..axis]), width(&x.dims[axis..]));
        let is_centred = kind == Normalization::Layer;
        let normalized = self.normalized(op, x, features, epsilon, is_centred)?;
        let mut numbers = |operand: Option<&Option<Value>>, what: &str| match operand {
            None | Some(None) => Ok::<Option<Numbers>, OnnxError>(None),
            Some(Some(_)) => {
                let tensor = constant_at(op, operand, what)?;
                let spread = self.spread(op, tensor, x.element, &x.dims[axis..])?;
                Ok(Some((spread, tensor.origin.clone())))
            }
        };
        let (scale, bias) = (numbers(scale, "factors")?, numbers(bias, "summands")?);
        let Some(scale) = scale else {
            return Ok(Value::Computed(Computed { dims: x.dims.clone(), ..normalized }));
        };
        // Features first, as channels are.
        let turned = self.turned_rows(op, "features", &normalized, [rows, features])?;
        let layer = self.per_feature(op, turned.layer, [features, rows], scale, bias)?;
        let scaled = Computed { layer, ..turned };
        let back = self.turned_rows(op, "back", &scaled, [features, rows])?;
        let layer = self.sketch.reshape(&format!("{}.shape", op.name), back.layer, without_batch(&x.dims));
        Ok(Value::Computed(Computed { layer, ..x.clone() }))
    }

    /// The transpose of `x` as a matrix of `rows` and `columns`.
    fn turned_rows(
        &mut self,
        op: &Op,
        part: &str,
        x: &Computed,
        [rows, columns]: [usize; 2],
    ) -> Result<Computed, OnnxError> {
        if rows == 1 || columns == 1 {
            return Ok(x.clone());
        }
        self.budget.tensor(&op.label(), &[rows, columns])?;
        let places = (0..rows * columns).map(|k| k % rows * columns + k / rows).collect();
        self.elements_at(op, part, x, places)
    }

    /// `x` less its mean, where it `is_centred`, over the root of the mean of its squares; of each `count` neighbours.
    fn normalized(
        &mut self,
        op: &Op,
        x: &Computed,
        count: usize,
        epsilon: f64,
        is_centred: bool,
    ) -> Result<Computed, OnnxError> {
        let mean = 1.0 / count as f64;
        let mut centred = Computed { dims: vec![width(&x.dims)], ..x.clone() };
        if is_centred {
            let means = self.sums_of_neighbours(op, "mean", x, count, mean)?;
            let repeated = self.repeated_each(op, "means", &means, count)?;
            let negated = self.affine(op, "opposite", repeated.layer, (-1.0, 0.0))?;
            self.budget.value(&op.label(), &x.dims)?;
            let shape = without_batch(&x.dims);
            let name = format!("{}.centred", op.name);
            centred.layer = self.sketch.push(&name, Layer::Add, vec![x.layer, negated], shape);
        }
        let squares = self.function(op, "squares", &centred, Activation::Square)?;
        let variances = self.sums_of_neighbours(op, "variance", &squares, count, mean)?;
        let layer = self.affine(op, "epsilon", variances.layer, (1.0, epsilon))?;
        let inverse = self.function(
            op,
            "inverse",
            &Computed { layer, ..variances },
            Activation::Power { exponent: -0.5 },
        )?;
        let factors = self.repeated_each(op, "factors", &inverse, count)?;
        let product = Op { name: format!("{}.normalized", op.name), node: op.node };
        self.computed_of(op, |reader| reader.times(&product, &centred, &factors))
    }

    /// Every element `count` times.
    fn repeated_each(
        &mut self,
        op: &Op,
        part: &str,
        x: &Computed,
        count: usize,
    ) -> Result<Computed, OnnxError> {
        self.budget.tensor(&op.label(), &[width(&x.dims), count])?;
        let places = (0..width(&x.dims)).flat_map(|k| std::iter::repeat_n(k, count)).collect();
        self.elements_at(op, part, x, places)
    }

    /// A layer with one weight, and perhaps one bias, for each of the first axis of two.
    fn per_feature(
        &mut self,
        op: &Op,
        input: usize,
        [features, each]: [usize; 2],
        (scale, origin): Numbers,
        bias: Option<Numbers>,
    ) -> Result<usize, OnnxError> {
        let window = Window { groups: features, ..Window::new([features, 1, each], features, [1, 1]) };
        at(op, check_window(&window))?;
        let has_bias = bias.is_some();
        let (bias, of_bias) = bias.unwrap_or_else(|| (vec![0.0; features], None));
        let weight = Matrix::from_vec(features, 1, scale);
        let conv = Layer::Conv(Conv { affine: Affine { weight, bias, has_bias, stored: None }, window });
        let shape = self.sketch.shape(input).to_vec();
        let layer = self.sketch.push(&op.name, conv, vec![input], shape);
        self.sketch.note_origins(layer, origin.into_iter().chain(of_bias));
        Ok(layer)
    }

    /// LpNormalization along one axis.
    fn by_length(&mut self, op: &Op, x: &Computed, axis: usize) -> Result<Value, OnnxError> {
        if axis == 0 && self.has_batch(&x.dims) {
            return Err(op.fail("an axis other than the batch", "0"));
        }
        let (part, f, inverse) = match op.int("p", 2)? {
            1 => ("magnitudes", Activation::ABSOLUTE, Activation::Reciprocal),
            2 => ("squares", Activation::Square, Activation::Power { exponent: -0.5 }),
            other => return Err(op.fail("p to be 1 or 2", other.to_string())),
        };
        let terms = self.function(op, part, x, f)?;
        let (before, count, after) = (width(&x.dims[..axis]), x.dims[axis], width(&x.dims[axis + 1..]));
        // The axis last, and back.
        self.budget.tensor(&op.label(), &x.dims)?;
        let places = (0..before * after)
            .flat_map(|k| (0..count).map(move |j| (k / after * count + j) * after + k % after))
            .collect();
        let last = self.elements_at(op, "along", &terms, places)?;
        let sums = self.sums_of_neighbours(op, "sum", &last, count, 1.0)?;
        let inverse = self.function(op, "inverse", &sums, inverse)?;
        let places = (0..width(&x.dims)).map(|k| k / (count * after) * after + k % after).collect();
        let factors = self.elements_at(op, "factors", &inverse, places)?;
        let factors = Computed { dims: x.dims.clone(), ..factors };
        self.times(op, x, &factors)
    }

    /// Local response normalization.
    fn by_neighbours(&mut self, op: &Op, x: &Computed) -> Result<Value, OnnxError> {
        let [1, channels, plane @ ..] = &x.dims[..] else {
            return Err(op.fail("data of shape (1, channels, …)", shape_text(&x.dims)));
        };
        let (channels, plane) = (*channels, width(plane));
        let size = usize::try_from(op.int("size", 0)?).ok().filter(|size| (1..=1 << 16).contains(size));
        let size = size.ok_or_else(|| op.fail("a size of at least 1", "another one"))?;
        let (alpha, beta) = (op.float("alpha", f64::from(1e-4_f32))?, op.float("beta", 0.75)?);
        let bias = op.float("bias", 1.0)?;
        if !(alpha >= 0.0 && beta > 0.0) {
            return Err(op.fail("alpha and beta that are not negative", format!("{alpha} and {beta}")));
        }
        let squares = self.function(op, "squares", x, Activation::Square)?;
        let window = Window {
            padding: [[(size - 1) / 2, size / 2], [0, 0]],
            ..Window::pooling([1, channels, plane], [size, 1])
        };
        at(op, check_window(&window))?;
        let factor = vec![alpha / size as f64; window.positions()];
        let average = Layer::AveragePool(AveragePool { window, factor });
        let shape = without_batch(&x.dims);
        self.budget.value(&op.label(), &x.dims)?;
        let sums = self.sketch.push(&format!("{}.sum", op.name), average, vec![squares.layer], shape);
        let layer = self.affine(op, "bias", sums, (1.0, bias))?;
        let factors = self.raised(op, &Computed { layer, ..x.clone() }, -beta)?;
        self.times(op, x, &factors)
    }

    /// Softmax of the elements of the axes `together`, of a value of shape `dims`: `y_i = 1 / (1 + Σ_{j ≠ i} exp(x_j − x_i))`, between 0 and 1
    /// whatever is known of the elements. Of an element that a mask lowers, where these exponentials are too large, `y_i = exp(x_i − x_k) y_k`
    /// with the element k of its group that the mask lowers least.
    pub fn softmax_of(
        &mut self,
        op: &Op,
        x: &Computed,
        (dims, together): (&[usize], std::ops::Range<usize>),
    ) -> Result<Value, OnnxError> {
        let after = width(&dims[together.end..]);
        let count = width(&dims[together]);
        if count == 1 {
            let layer = self.affine(op, "one", x.layer, (0.0, 1.0))?;
            return Ok(Value::Computed(Computed { layer, head: None, ..x.clone() }));
        }
        let all = width(dims);
        self.budget.value(&op.label(), &[all, count - 1])?;
        self.budget.tensor(&op.label(), &[2, all, count - 1])?;
        let (mut others, mut own) = (Vec::new(), Vec::new());
        let shifts = self.sketch.shifts(x.layer);
        // The element whose probability is computed in place of each one's.
        let stands_for: Vec<usize> = (0..all)
            .map(|k| {
                let (group, rest) = (k / (count * after), k % after);
                let of_group = (0..count).map(|j| (group * count + j) * after + rest);
                let least_lowered =
                    of_group.fold(k, |most, j| if shifts[j] > shifts[most] { j } else { most });
                if shifts[k] < shifts[least_lowered] - LOWERED { least_lowered } else { k }
            })
            .collect();
        for other in 0..count - 1 {
            others.extend(stands_for.iter().map(|&k| {
                let (group, i, rest) = (k / (count * after), k / after % count, k % after);
                (group * count + if other < i { other } else { other + 1 }) * after + rest
            }));
            own.extend(&stands_for);
        }
        let plain = Computed { head: None, ..x.clone() };
        let others = self.elements_at(op, "others", &plain, others)?;
        let opposite =
            Computed { layer: self.affine(op, "opposite", x.layer, (-1.0, 0.0))?, ..plain.clone() };
        let own = self.elements_at(op, "own", &opposite, own)?;
        let name = format!("{}.differences", op.name);
        let differences =
            self.sketch.push(&name, Layer::Add, vec![others.layer, own.layer], others.dims.clone());
        let powers =
            self.function(op, "powers", &Computed { layer: differences, ..others }, Activation::Exp)?;
        let sums = self.sum_of_lists(op, &powers, count - 1)?;
        let total = Computed { layer: self.affine(op, "total", sums.layer, (1.0, 1.0))?, ..sums };
        let mut shares = self.function(op, "inverse", &total, Activation::Reciprocal)?;
        let lowered: Vec<usize> = (0..all).filter(|&k| stands_for[k] != k).collect();
        if !lowered.is_empty() {
            let own = self.elements_at(op, "lowered", &plain, lowered.clone())?;
            let of = lowered.iter().map(|&k| stands_for[k]).collect();
            let other = self.elements_at(op, "instead", &opposite, of)?;
            let name = format!("{}.below", op.name);
            let below = self.sketch.push(&name, Layer::Add, vec![own.layer, other.layer], own.dims.clone());
            let powers = self.function(op, "parts", &Computed { layer: below, ..own }, Activation::Exp)?;
            let known = self.elements_at(op, "known", &shares, lowered.clone())?;
            let parts = Op { name: format!("{}.masked", op.name), node: op.node };
            let parts = self.computed_of(op, |reader| reader.times(&parts, &powers, &known))?;
            let mut source: Vec<Option<usize>> = (0..all).map(Some).collect();
            lowered.iter().enumerate().for_each(|(place, &k)| source[k] = Some(all + place));
            self.budget.value(&op.label(), &[all])?;
            let gather = Gather { source, constant: 0.0 };
            let name = format!("{}.all", op.name);
            shares.layer = self.sketch.gather(&name, vec![shares.layer, parts.layer], gather, vec![all]);
        }
        let layer = self.sketch.reshape(&op.name, shares.layer, without_batch(&x.dims));
        Ok(Value::Computed(Computed { layer, ..plain }))
    }
}

/// A constant operand.
fn constant_at<'v>(op: &Op, operand: Option<&'v Option<Value>>, what: &str) -> Result<&'v Tensor, OnnxError> {
    match operand {
        Some(Some(Value::Constant(tensor))) => Ok(tensor),
        Some(Some(Value::Computed(_) | Value::Part(_))) => {
            Err(op.fail(format!("constant {what}"), "a computed operand"))
        }
        Some(None) | None => Err(op.fail(format!("constant {what}"), "none")),
    }
}
