//! Operators of ONNX that choose elements: Transpose, Slice, Gather, Pad, Concat, and shapes with more or fewer axes.

use crate::network::{Op, WIDEST};
use crate::number::Number;
use crate::onnx::{Operation, Reader, Value};
use crate::tensor::{product, sizes_of};

impl Reader {
    /// Operators that choose elements.
    pub fn choice(&mut self, op: &Operation<'_>, node: usize, dims: Vec<usize>) -> Result<Value, String> {
        let (rank, mut constant, mut inputs) = (dims.len(), Number::ZERO, vec![node]);
        let mut lists: Vec<Vec<Option<usize>>> = dims.iter().map(|&d| (0..d).map(Some).collect()).collect();
        let mut shape: Vec<Vec<usize>> = dims.iter().map(|&d| vec![d]).collect();
        let source = match &*op.kind {
            "Transpose" => {
                let axes = op.sizes("perm", Some((0..rank).rev().collect()))?.unwrap_or_default();
                let source = transposed(&dims, &axes)?;
                shape = axes.iter().map(|&axis| vec![dims[axis]]).collect();
                source
            }
            "Concat" => {
                let along = axis(op.integer("axis", 0)?, rank)?;
                let parts = (0..op.inputs.len()).map(|k| self.computed(op, k));
                let parts: Vec<(usize, Vec<usize>)> = parts.collect::<Result<_, _>>()?;
                let alike = |(_, own): &(usize, Vec<usize>)| {
                    own.len() == rank && (0..rank).all(|k| k == along || own[k] == dims[k])
                };
                if !parts.iter().all(alike) {
                    return Err("operands whose shapes do not fit".into());
                }
                inputs = parts.iter().map(|(node, _)| *node).collect();
                shape[along] = vec![parts.iter().map(|(_, own)| own[along]).sum()];
                if product(&shape.concat())? > WIDEST {
                    return Err(format!("expected at most {WIDEST} elements"));
                }
                let outer = product(&dims[..along])?;
                let mut source = vec![];
                for k in 0..outer {
                    let mut first = 0;
                    for (_, own) in &parts {
                        let size = product(own)? / outer.max(1);
                        source.extend((first + k * size..first + (k + 1) * size).map(Some));
                        first += size * outer;
                    }
                }
                source
            }
            "Gather" => {
                let (along, places) = (axis(op.integer("axis", 0)?, rank)?, self.constant(op, 1)?);
                let place = |&k: &i64| axis(k, dims[along]).map(Some);
                lists[along] = places.integers.iter().map(place).collect::<Result<_, _>>()?;
                shape[along].clone_from(&places.dims);
                chosen(&dims, &lists)?
            }
            _ => {
                let pads = op.kind == "Pad";
                if op.attributes.get("mode").is_some_and(|mode| mode.text(4) != "constant") {
                    return Err("expected padding with a constant".into());
                }
                let given = |place| {
                    op.has(place).then(|| self.constant(op, place).map(|tensor| &tensor.integers)).transpose()
                };
                let all: Vec<i64> = (0..rank as i64).collect();
                let axes = given(3)?.unwrap_or(&all);
                let numbers = &self.constant(op, 1)?.integers;
                let (ends, steps) =
                    if pads { (None, None) } else { (Some(&self.constant(op, 2)?.integers), given(4)?) };
                let count = if pads { 2 * axes.len() } else { axes.len() };
                if numbers.len() != count
                    || [ends, steps].into_iter().flatten().any(|list| list.len() != count)
                {
                    return Err("expected a number for each axis".into());
                }
                if pads && op.has(2) {
                    constant =
                        *self.constant(op, 2)?.numbers.first().ok_or("expected a number to pad with")?;
                }
                let axes = axes.iter().map(|&number| axis(number, rank)).collect::<Result<Vec<_>, _>>()?;
                for (k, &along) in axes.iter().enumerate() {
                    if axes[..k].contains(&along) {
                        return Err("expected each axis once".into());
                    }
                    lists[along] = match ends {
                        Some(ends) => {
                            slice(dims[along], numbers[k], ends[k], steps.map_or(1, |steps| steps[k]))
                        }
                        None => {
                            let around = sizes_of(&[numbers[k], numbers[k + axes.len()]])?;
                            let [before, after] = [around[0], around[1]].map(|n| vec![None; n.min(WIDEST)]);
                            [before, lists[along].clone(), after].concat()
                        }
                    };
                    shape[along] = vec![lists[along].len()];
                }
                chosen(&dims, &lists)?
            }
        };
        if shape.first().is_none_or(|batch| *batch != [1]) {
            return Err("expected the batch as it is".into());
        }
        let shape = shape.concat();
        let is_all = inputs.len() == 1 && source.iter().enumerate().all(|(k, own)| *own == Some(k));
        if is_all && source.len() == product(&dims)? {
            return Ok(Value::Computed(node, shape));
        }
        self.push(op, Op::Gather { source, constant }, inputs, shape)
    }

    /// The shape with some axes of size 1 more, or less.
    pub fn squeezed(&self, op: &Operation<'_>, dims: &[usize]) -> Result<Vec<usize>, String> {
        let axes = match op.attributes.get("axes") {
            Some(axes) => axes.integers(8)?,
            None => self.constant(op, 1)?.integers.clone(),
        };
        let adds = op.kind == "Unsqueeze";
        let rank = if adds { dims.len() + axes.len() } else { dims.len() };
        let axes = axes.iter().map(|&number| axis(number, rank)).collect::<Result<Vec<_>, _>>()?;
        let mut left = dims.iter();
        let size = |k: usize| match (adds, axes.contains(&k)) {
            (true, true) => Some(1),
            (true, false) => left.next().copied(),
            (false, named) => left.next().copied().filter(|size| !(named && *size == 1)),
        };
        let shape: Vec<usize> = (0..rank).filter_map(size).collect();
        let fits = if adds { shape.len() == rank } else { shape.len() + axes.len() == rank };
        if fits { Ok(shape) } else { Err("expected axes of size 1, each once".into()) }
    }
}

/// Places along an axis from `start` to before `end`; negative ones count from behind.
fn slice(size: usize, start: i64, end: i64, step: i64) -> Vec<Option<usize>> {
    let size = size as i64;
    let from_front = |k: i64| if k < 0 { k.saturating_add(size) } else { k };
    let (mut at, end) = match step > 0 {
        true => (from_front(start).clamp(0, size), from_front(end).clamp(0, size)),
        false => (from_front(start).clamp(0, size - 1), from_front(end).clamp(-1, size - 1)),
    };
    let mut places = vec![];
    while (step > 0 && at < end) || (step < 0 && at > end) {
        places.push(usize::try_from(at).ok());
        at = at.saturating_add(step);
    }
    places
}

/// The elements of a value of shape `dims` that have the listed places along each axis, in the order of the lists; `None` where one of
/// their places is none.
fn chosen(dims: &[usize], lists: &[Vec<Option<usize>>]) -> Result<Vec<Option<usize>>, String> {
    let sizes: Vec<usize> = lists.iter().map(Vec::len).collect();
    if sizes.contains(&0) || product(&sizes)? > WIDEST {
        return Err(format!("expected 1 to {WIDEST} elements"));
    }
    let mut all = vec![Some(0)];
    for (size, list) in dims.iter().zip(lists) {
        let of = |place: Option<usize>| list.iter().map(move |k| Some(place? * size + (*k)?));
        all = all.into_iter().flat_map(of).collect();
    }
    Ok(all)
}

/// The elements of a value of shape `dims` when its axes are put in the order `axes`.
fn transposed(dims: &[usize], axes: &[usize]) -> Result<Vec<Option<usize>>, String> {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    if sorted != (0..dims.len()).collect::<Vec<_>>() {
        return Err("perm: expected each axis once".into());
    }
    let mut all = vec![0];
    for &axis in axes {
        let step: usize = dims[axis + 1..].iter().product();
        all = all.into_iter().flat_map(|at| (0..dims[axis]).map(move |k| at + k * step)).collect();
    }
    Ok(all.into_iter().map(Some).collect())
}

/// The axis that a number stands for: a negative one counts from behind.
fn axis(number: i64, count: usize) -> Result<usize, String> {
    let axis = if number < 0 { number + count as i64 } else { number };
    let fit = usize::try_from(axis).ok().filter(|axis| *axis < count);
    fit.ok_or_else(|| format!("expected one of {count} axes, found {number}"))
}
