//! Operators whose operands are all constant: their results are constants.

use super::OnnxError;
use super::limits::{Budget, MAX_WIDTH, shape_text};
use super::op::{Op, clean};
use super::operators::{Arithmetic, Function};
use super::proto::attribute_kind;
use super::shape::{self, Mismatch};
use super::tensor::{Element, Tensor, Values};

/// `(expected, found)` as the error of `op`.
pub fn at<T>(op: &Op, result: Result<T, Mismatch>) -> Result<T, OnnxError> {
    result.map_err(|(expected, found)| op.fail(expected, found))
}

/// Constant, in all its forms but strings and sparse tensors.
pub fn constant(op: &Op, budget: &mut Budget) -> Result<Tensor, OnnxError> {
    if let Some(proto) = op.tensor("value")? {
        return Tensor::decode(proto, &op.name, budget);
    }
    let float = |v: &f32| f64::from(*v);
    let get = |name, kind| op.attribute(name, kind);
    let (dims, element, values) = if let Some(a) = get("value_float", attribute_kind::FLOAT)? {
        (vec![], Element::F32, Values::Floats(vec![float(&a.f)]))
    } else if let Some(a) = get("value_floats", attribute_kind::FLOATS)? {
        (vec![a.floats.len()], Element::F32, Values::Floats(a.floats.iter().map(float).collect()))
    } else if let Some(a) = get("value_int", attribute_kind::INT)? {
        (vec![], Element::Int, Values::Ints(vec![a.i]))
    } else if let Some(a) = get("value_ints", attribute_kind::INTS)? {
        (vec![a.ints.len()], Element::Int, Values::Ints(a.ints.clone()))
    } else {
        let found = op.node.attribute.first().map_or("none".into(), |a| clean(&a.name));
        return Err(op.fail("one of the attributes value, value_float(s), value_int(s)", found));
    };
    budget.tensor(&op.label(), &dims)?;
    Ok(Tensor { dims, element, values, origin: None, stored: None })
}

/// ConstantOfShape: one number (0 by default) everywhere.
pub fn constant_of_shape(op: &Op, shape: &Tensor, budget: &mut Budget) -> Result<Tensor, OnnxError> {
    let list = shape.as_ints().ok_or_else(|| op.fail("a list of integers", "another constant"))?;
    let dims: Vec<usize> = list
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| op.fail("dimensions of at least 0", d.to_string())))
        .collect::<Result<_, _>>()?;
    let count = budget.tensor(&op.label(), &dims)?;
    let value = match op.tensor("value")? {
        None => Tensor {
            dims: vec![1],
            element: Element::F32,
            values: Values::Floats(vec![0.0]),
            origin: None,
            stored: None,
        },
        Some(proto) => Tensor::decode(proto, &op.name, budget)?,
    };
    if value.len() != 1 {
        return Err(op.fail("attribute value of one element", shape_text(&value.dims)));
    }
    Ok(value.select(dims, &vec![0; count]))
}

/// Cast to the type of attribute `to`: floats are rounded, fractions cut off.
pub fn cast(tensor: &Tensor, to: Element) -> Tensor {
    let values = match (&tensor.values, to) {
        (Values::Floats(v), Element::Int) => Values::Ints(v.iter().map(|&v| v as i64).collect()),
        (Values::Ints(v), Element::Int) => Values::Ints(v.clone()),
        (Values::Floats(v), _) => Values::Floats(v.iter().map(|&v| to.round(v)).collect()),
        (Values::Ints(v), _) => Values::Floats(v.iter().map(|&v| to.round(v as f64)).collect()),
    };
    let origin = tensor.origin.clone().filter(|_| values == tensor.values);
    Tensor { dims: tensor.dims.clone(), element: to, values, origin, stored: None }
}

/// Transpose by a checked permutation.
pub fn transpose(op: &Op, tensor: &Tensor, perm: &[usize], budget: &mut Budget) -> Result<Tensor, OnnxError> {
    budget.tensor(&op.label(), &tensor.dims)?;
    let strides = shape::strides(&tensor.dims);
    let dims: Vec<usize> = perm.iter().map(|&at| tensor.dims[at]).collect();
    let strides: Vec<usize> = perm.iter().map(|&at| strides[at]).collect();
    let indices = shape::strided_indices(&dims, &strides);
    Ok(Tensor { origin: tensor.origin.clone(), ..tensor.select(dims, &indices) })
}

/// Add, Sub, Mul and Div of two constants, rounded to their type.
pub fn arithmetic(
    op: &Op,
    kind: Arithmetic,
    a: &Tensor,
    b: &Tensor,
    budget: &mut Budget,
) -> Result<Tensor, OnnxError> {
    let dims = at(op, shape::broadcast(&a.dims, &b.dims))?;
    budget.tensor(&op.label(), &dims)?;
    let pairs =
        shape::broadcast_indices(&a.dims, &dims).into_iter().zip(shape::broadcast_indices(&b.dims, &dims));
    let values = match (&a.values, &b.values) {
        (Values::Floats(x), Values::Floats(y)) if a.element == b.element => {
            Values::Floats(pairs.map(|(i, j)| a.element.round(apply(kind, x[i], y[j]))).collect())
        }
        (Values::Ints(x), Values::Ints(y)) => {
            let whole = |(i, j): (usize, usize)| {
                apply_whole(kind, x[i], y[j])
                    .ok_or_else(|| op.fail("an integer result", format!("{} and {}", x[i], y[j])))
            };
            Values::Ints(pairs.map(whole).collect::<Result<_, _>>()?)
        }
        (_, _) => {
            return Err(
                op.fail(format!("constants of one type, {:?}", a.element), format!("{:?}", b.element))
            );
        }
    };
    Ok(Tensor { dims, element: a.element, values, origin: None, stored: None })
}

fn apply(kind: Arithmetic, x: f64, y: f64) -> f64 {
    match kind {
        Arithmetic::Add => x + y,
        Arithmetic::Sub => x - y,
        Arithmetic::Mul => x * y,
        Arithmetic::Div => x / y,
    }
}

fn apply_whole(kind: Arithmetic, x: i64, y: i64) -> Option<i64> {
    match kind {
        Arithmetic::Add => x.checked_add(y),
        Arithmetic::Sub => x.checked_sub(y),
        Arithmetic::Mul => x.checked_mul(y),
        Arithmetic::Div => x.checked_div(y),
    }
}

/// A function of constants, rounded to their type.
pub fn function(
    op: &Op,
    function: Function,
    operands: &[Option<&Tensor>],
    budget: &mut Budget,
) -> Result<Tensor, OnnxError> {
    let mut dims = vec![];
    for k in 0..operands.len() {
        let own = &operand(op, operands, k)?.dims;
        dims = if function == Function::Range { vec![] } else { at(op, shape::broadcast(&dims, own))? };
    }
    budget.tensor(&op.label(), &dims)?;
    let spread = |k: usize| -> Result<Tensor, OnnxError> {
        let tensor = operand(op, operands, k)?;
        Ok(tensor.select(dims.clone(), &shape::broadcast_indices(&tensor.dims, &dims)))
    };
    let first = spread(0)?;
    let (element, dims) = (first.element, dims.clone());
    let result =
        |element, values| Ok(Tensor { dims: dims.clone(), element, values, origin: None, stored: None });
    let each = |f: fn(f64) -> f64| match &first.values {
        Values::Floats(v) => {
            result(element, Values::Floats(v.iter().map(|&v| element.round(f(v))).collect()))
        }
        Values::Ints(_) => Err(op.fail("floating-point numbers", "integers")),
    };
    match function {
        Function::Ceil => each(f64::ceil),
        Function::Exp => each(f64::exp),
        Function::Floor => each(f64::floor),
        Function::Reciprocal => each(|v| 1.0 / v),
        Function::Sqrt => each(f64::sqrt),
        Function::Pow => match (&first.values, &spread(1)?.as_numbers()[..]) {
            (Values::Floats(x), y) => {
                let values = x.iter().zip(y).map(|(x, y)| element.round(x.powf(*y))).collect();
                result(element, Values::Floats(values))
            }
            (Values::Ints(_), _) => Err(op.fail("floating-point numbers", "integers")),
        },
        Function::Equal => {
            let (x, y) = (first.as_numbers(), spread(1)?.as_numbers());
            result(Element::Int, Values::Ints(x.iter().zip(&y).map(|(x, y)| i64::from(x == y)).collect()))
        }
        Function::Where => {
            let (yes, no) = (spread(1)?, spread(2)?);
            let chosen = first.as_numbers();
            let values = match (&yes.values, &no.values) {
                (Values::Floats(x), Values::Floats(y)) => Values::Floats(
                    (0..chosen.len()).map(|k| if chosen[k] != 0.0 { x[k] } else { y[k] }).collect(),
                ),
                (Values::Ints(x), Values::Ints(y)) => Values::Ints(
                    (0..chosen.len()).map(|k| if chosen[k] != 0.0 { x[k] } else { y[k] }).collect(),
                ),
                (_, _) => return Err(op.fail("two operands of one type", "several")),
            };
            result(yes.element, values)
        }
        Function::Range => {
            let ends: Vec<i64> = (0..3)
                .filter_map(|k| match &operand(op, operands, k).ok()?.values {
                    Values::Ints(v) => v.first().copied(),
                    Values::Floats(_) => None,
                })
                .collect();
            let &[start, end, step] = &ends[..] else { return Err(op.fail("whole numbers", "others")) };
            let most = i64::try_from(MAX_WIDTH).unwrap_or(i64::MAX);
            let count = if step == 0 { -1 } else { (end.saturating_sub(start)).div_euclid(step).min(most) };
            let count =
                if step != 0 && end.saturating_sub(start).rem_euclid(step) != 0 { count + 1 } else { count };
            if count < 0 || count > most {
                return Err(op.fail(format!("a range of at most {MAX_WIDTH} numbers"), format!("{ends:?}")));
            }
            budget.tensor(&op.label(), &[usize::try_from(count).unwrap_or(0)])?;
            Ok(Tensor::ints((0..count).map(|k| start + k * step).collect()))
        }
    }
}

/// Neg.
pub fn negate(tensor: &Tensor) -> Tensor {
    let values = match &tensor.values {
        Values::Floats(v) => Values::Floats(v.iter().map(|v| -v).collect()),
        Values::Ints(v) => Values::Ints(v.iter().map(|v| v.wrapping_neg()).collect()),
    };
    Tensor { dims: tensor.dims.clone(), element: tensor.element, values, origin: None, stored: None }
}

/// Gather along one axis.
pub fn gather(op: &Op, tensor: &Tensor, indices: &Tensor, budget: &mut Budget) -> Result<Tensor, OnnxError> {
    let along = at(op, shape::axis(op.int("axis", 0)?, tensor.dims.len(), false))?;
    let Values::Ints(list) = &indices.values else {
        return Err(op.fail("indices that are integers", "floating-point numbers"));
    };
    let picked: Vec<usize> =
        list.iter().map(|&i| at(op, shape::axis(i, tensor.dims[along], false))).collect::<Result<_, _>>()?;
    let (before, after) = (&tensor.dims[..along], &tensor.dims[along + 1..]);
    let dims = [before, &indices.dims, after].concat();
    budget.tensor(&op.label(), &dims)?;
    let per_axis: Vec<Vec<usize>> = (0..tensor.dims.len())
        .map(|d| if d == along { picked.clone() } else { (0..tensor.dims[d]).collect() })
        .collect();
    Ok(tensor.select(dims, &grid(&tensor.dims, &per_axis)))
}

/// Slice: attributes up to operator set 9, operands after.
pub fn slice(
    op: &Op,
    opset: i64,
    operands: &[Option<&Tensor>],
    budget: &mut Budget,
) -> Result<Tensor, OnnxError> {
    let tensor = operand(op, operands, 0)?;
    let list = |position: usize, name: &str| -> Result<Option<Vec<i64>>, OnnxError> {
        if opset < 10 {
            return Ok(op.ints(name)?.map(<[i64]>::to_vec));
        }
        let Some(given) = operands.get(position).copied().flatten() else { return Ok(None) };
        given
            .as_ints()
            .map(|v| Some(v.to_vec()))
            .ok_or_else(|| op.fail(format!("{name} as integers"), "another constant"))
    };
    let required = |found: Option<Vec<i64>>, name: &str| found.ok_or_else(|| op.fail(name, "none"));
    let starts = required(list(1, "starts")?, "starts")?;
    let ends = required(list(2, "ends")?, "ends")?;
    let rank = tensor.dims.len();
    let all_axes = || (0..i64::try_from(starts.len()).unwrap_or(0)).collect();
    let axes: Vec<i64> = list(3, "axes")?.unwrap_or_else(all_axes);
    let steps = if opset < 10 { None } else { list(4, "steps")? }.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()].iter().any(|&n| n != starts.len()) {
        return Err(op.fail("starts, ends, axes and steps of one length", "several"));
    }
    at(op, shape::axes(&axes, rank))?;
    let mut per_axis: Vec<Vec<usize>> = tensor.dims.iter().map(|&d| (0..d).collect()).collect();
    for k in 0..starts.len() {
        let along = at(op, shape::axis(axes[k], rank, false))?;
        per_axis[along] = at(op, range(tensor.dims[along], starts[k], ends[k], steps[k]))?;
    }
    let dims: Vec<usize> = per_axis.iter().map(Vec::len).collect();
    budget.tensor(&op.label(), &dims)?;
    Ok(tensor.select(dims, &grid(&tensor.dims, &per_axis)))
}

/// The elements of `range` along one axis.
pub fn range_of(
    op: &Op,
    tensor: &Tensor,
    along: usize,
    range: std::ops::Range<usize>,
    budget: &mut Budget,
) -> Result<Tensor, OnnxError> {
    let mut per_axis: Vec<Vec<usize>> = tensor.dims.iter().map(|&d| (0..d).collect()).collect();
    per_axis[along] = range.collect();
    let dims: Vec<usize> = per_axis.iter().map(Vec::len).collect();
    budget.tensor(&op.label(), &dims)?;
    Ok(tensor.select(dims, &grid(&tensor.dims, &per_axis)))
}

/// The indices of `start:end:step` on an axis of length `size`, as Python counts them.
fn range(size: usize, start: i64, end: i64, step: i64) -> Result<Vec<usize>, Mismatch> {
    if step == 0 {
        return Err(("steps other than 0".into(), "0".into()));
    }
    let signed = i64::try_from(size).unwrap_or(i64::MAX);
    let (least, most) = if step > 0 { (0, signed) } else { (-1, signed - 1) };
    let place = |i: i64| if i < 0 { i.saturating_add(signed) } else { i }.clamp(least, most);
    let (mut i, end) = (place(start), place(end));
    let mut picked = Vec::new();
    while if step > 0 { i < end } else { i > end } {
        picked.extend(usize::try_from(i));
        i = i.saturating_add(step);
    }
    Ok(picked)
}

/// Concat along one axis, which the first operand has.
pub fn concat(
    op: &Op,
    operands: &[Option<&Tensor>],
    along: usize,
    budget: &mut Budget,
) -> Result<Tensor, OnnxError> {
    let first = operand(op, operands, 0)?;
    let mut dims = first.dims.clone();
    dims[along] = 0;
    let mut tensors = Vec::with_capacity(operands.len());
    for position in 0..operands.len() {
        let tensor = operand(op, operands, position)?;
        let fits = tensor.dims.len() == dims.len()
            && (0..dims.len()).all(|d| d == along || dims[d] == tensor.dims[d])
            && tensor.element == first.element;
        if !fits {
            let expected = format!("operands like the first one, of shape {}", shape_text(&first.dims));
            return Err(op.fail(expected, shape_text(&tensor.dims)));
        }
        dims[along] = dims[along].saturating_add(tensor.dims[along]);
        tensors.push(tensor);
    }
    budget.tensor(&op.label(), &dims)?;
    let blocks: usize = dims[..along].iter().product();
    let values = match &first.values {
        Values::Floats(_) => Values::Floats(interleave(&tensors, blocks, Tensor::as_floats)),
        Values::Ints(_) => Values::Ints(interleave(&tensors, blocks, |t| match &t.values {
            Values::Ints(v) => Some(v),
            Values::Floats(_) => None,
        })),
    };
    Ok(Tensor { dims, element: first.element, values, origin: None, stored: None })
}

/// One block of every tensor, then the next block of every tensor, and so on.
fn interleave<'a, T: Copy + 'a>(
    tensors: &[&'a Tensor],
    blocks: usize,
    values: impl Fn(&'a Tensor) -> Option<&'a [T]>,
) -> Vec<T> {
    let slices: Vec<&[T]> = tensors.iter().map(|t| values(t).unwrap_or(&[])).collect();
    let block = |slice: &'a [T], k: usize| {
        let size = slice.len() / blocks.max(1);
        &slice[k * size..(k + 1) * size]
    };
    (0..blocks).flat_map(|k| slices.iter().flat_map(move |slice| block(slice, k))).copied().collect()
}

/// Flat positions of all combinations of the indices picked along every axis.
fn grid(dims: &[usize], per_axis: &[Vec<usize>]) -> Vec<usize> {
    let mut positions = vec![0];
    for (picked, stride) in per_axis.iter().zip(shape::strides(dims)) {
        positions =
            positions.iter().flat_map(|&base| picked.iter().map(move |&i| base + i * stride)).collect();
    }
    positions
}

/// Operand number `position`, which must be there.
pub fn operand<'a, T: ?Sized>(
    op: &Op,
    operands: &[Option<&'a T>],
    position: usize,
) -> Result<&'a T, OnnxError> {
    operands
        .get(position)
        .copied()
        .flatten()
        .ok_or_else(|| op.fail(format!("an operand number {}", position + 1), "none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_python() {
        assert_eq!(range(5, 1, -1, 1), Ok(vec![1, 2, 3]));
        assert_eq!(range(5, -2, i64::MAX, 1), Ok(vec![3, 4]));
        assert_eq!(range(5, -1, i64::MIN, -2), Ok(vec![4, 2, 0]));
        assert_eq!(range(3, 2, 1, 1), Ok(vec![]));
        assert_eq!(range(3, 0, 3, i64::MAX), Ok(vec![0]));
        assert!(range(3, 0, 1, 0).is_err());
    }

    #[test]
    fn casts_round_like_the_type() {
        let third = Tensor {
            dims: vec![1],
            element: Element::F64,
            values: Values::Floats(vec![1.0 / 3.0]),
            origin: None,
            stored: None,
        };
        assert_eq!(cast(&third, Element::F32).as_floats(), Some([f64::from(1.0_f32 / 3.0)].as_slice()));
        assert_eq!(cast(&third, Element::Int).values, Values::Ints(vec![0]));
    }
}
