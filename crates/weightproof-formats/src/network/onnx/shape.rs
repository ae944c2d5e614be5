//! The shape rules of ONNX, on plain lists of dimensions; errors are (expected, found).

use super::limits::{MAX_RANK, shape_text};

/// What would have been right, and what was there.
pub type Mismatch = (String, String);

/// The shape of one sample in the network: without the batch dimension, which is 1.
pub fn without_batch(dims: &[usize]) -> Vec<usize> {
    match dims {
        [1, rest @ ..] if !rest.is_empty() => rest.to_vec(),
        [] => vec![1],
        all => all.to_vec(),
    }
}

/// `axis` counted from the front; `rank` itself is allowed where `inclusive`.
pub fn axis(axis: i64, rank: usize, inclusive: bool) -> Result<usize, Mismatch> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let from_front = if axis < 0 { axis.saturating_add(signed) } else { axis };
    let most = if inclusive { signed } else { signed - 1 };
    if from_front < 0 || from_front > most {
        return Err((format!("an axis of a tensor with {rank} dimensions"), axis.to_string()));
    }
    Ok(usize::try_from(from_front).unwrap_or(rank))
}

/// Distinct axes, sorted.
pub fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, Mismatch> {
    if list.len() > rank {
        return Err((format!("at most {rank} axes"), list.len().to_string()));
    }
    let mut sorted: Vec<usize> = list.iter().map(|&a| axis(a, rank, false)).collect::<Result<_, _>>()?;
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(("distinct axes".into(), format!("axis {} twice", pair[0]))),
        None => Ok(sorted),
    }
}

/// Flatten: the dimensions before `axis` become one, those from `axis` on the other.
pub fn flatten(dims: &[usize], at: i64) -> Result<Vec<usize>, Mismatch> {
    let (before, after) = dims.split_at(axis(at, dims.len(), true)?);
    Ok(vec![before.iter().product(), after.iter().product()])
}

/// Reshape to `target`, where -1 is inferred and 0 keeps the dimension (unless `allow_zero`).
pub fn reshape(dims: &[usize], target: &[i64], allow_zero: bool) -> Result<Vec<usize>, Mismatch> {
    if target.len() > MAX_RANK {
        return Err((format!("at most {MAX_RANK} dimensions"), target.len().to_string()));
    }
    let size: usize = dims.iter().product();
    let fail = || (format!("a shape of {size} elements"), format!("{target:?}"));
    if size == 0 {
        return Err(("a tensor with elements".into(), shape_text(dims)));
    }
    let mut shape = Vec::with_capacity(target.len());
    let mut inferred = None;
    for (at, &d) in target.iter().enumerate() {
        match d {
            -1 if inferred.is_none() => {
                inferred = Some(at);
                shape.push(1);
            }
            0 if !allow_zero => shape.push(*dims.get(at).ok_or_else(fail)?),
            d => shape.push(usize::try_from(d).map_err(|_| fail())?),
        }
    }
    let known = shape.iter().try_fold(1_usize, |product, &d| product.checked_mul(d)).ok_or_else(fail)?;
    if let Some(at) = inferred {
        if !size.is_multiple_of(known) || known == 0 {
            return Err(fail());
        }
        shape[at] = size / known;
    } else if known != size {
        return Err(fail());
    }
    Ok(shape)
}

/// Squeeze: removes `list` (all dimensions of 1 when there is none).
pub fn squeeze(dims: &[usize], list: Option<&[i64]>) -> Result<Vec<usize>, Mismatch> {
    let Some(list) = list else {
        return Ok(dims.iter().copied().filter(|&d| d != 1).collect());
    };
    let removed = axes(list, dims.len())?;
    if let Some(&at) = removed.iter().find(|&&at| dims[at] != 1) {
        return Err((format!("dimension {at} to be 1"), dims[at].to_string()));
    }
    Ok((0..dims.len()).filter(|at| !removed.contains(at)).map(|at| dims[at]).collect())
}

/// Unsqueeze: puts dimensions of 1 where `list` says, counted in the result.
pub fn unsqueeze(dims: &[usize], list: &[i64]) -> Result<Vec<usize>, Mismatch> {
    if list.len() > MAX_RANK {
        return Err((format!("at most {MAX_RANK} axes"), list.len().to_string()));
    }
    let rank = dims.len() + list.len();
    let inserted = axes(list, rank)?;
    let mut rest = dims.iter().copied();
    Ok((0..rank).map(|at| if inserted.contains(&at) { 1 } else { rest.next().unwrap_or(1) }).collect())
}

/// The permutation of a Transpose (reversal when there is none).
pub fn permutation(rank: usize, perm: Option<&[i64]>) -> Result<Vec<usize>, Mismatch> {
    let Some(perm) = perm else {
        return Ok((0..rank).rev().collect());
    };
    let found: Vec<usize> = perm.iter().filter_map(|&p| usize::try_from(p).ok()).collect();
    let is_permutation = perm.len() == rank && (0..rank).all(|at| found.contains(&at));
    if is_permutation {
        Ok(found)
    } else {
        Err((format!("a permutation of {rank} axes"), format!("{perm:?}")))
    }
}

/// Whether permuting the axes leaves the elements in their order: only dimensions of 1 move.
pub fn keeps_order(dims: &[usize], perm: &[usize]) -> bool {
    let moved: Vec<usize> = perm.iter().copied().filter(|&at| dims[at] != 1).collect();
    moved.is_sorted()
}

/// Whether the first of several dimensions is the batch, which is 1.
pub fn has_batch(dims: &[usize]) -> bool {
    matches!(dims, [1, _, ..])
}

/// Split: the lengths of `count` parts of an axis of length `size`, as `given`, or equal (the last one shorter if `uneven`).
pub fn parts(size: usize, count: usize, given: Option<&[i64]>, uneven: bool) -> Result<Vec<usize>, Mismatch> {
    let Some(given) = given else {
        let each = size.div_ceil(count);
        if !size.is_multiple_of(count) && !uneven || (count - 1) * each > size {
            return Err((format!("{count} equal parts"), format!("{size} elements")));
        }
        let start = |k: usize| k * each;
        return Ok((0..count).map(|k| size.min(start(k + 1)) - start(k)).collect());
    };
    let sizes: Vec<usize> = given.iter().filter_map(|&part| usize::try_from(part).ok()).collect();
    let sum = sizes.iter().try_fold(0_usize, |sum, &part| sum.checked_add(part));
    if given.len() != count || sizes.len() != count || sum != Some(size) {
        let shown: Vec<&i64> = given.iter().take(MAX_RANK).collect();
        return Err((format!("{count} parts of {size} elements together"), format!("{shown:?}")));
    }
    Ok(sizes)
}

/// Pad: how many elements go before and after every axis; negative numbers remove elements.
pub fn pads(rank: usize, given: &[i64], axes: Option<&[i64]>) -> Result<Vec<(i64, i64)>, Mismatch> {
    let all: Vec<i64> = (0..i64::try_from(rank).unwrap_or(0)).collect();
    let list = axes.unwrap_or(&all);
    self::axes(list, rank)?;
    if given.len() != 2 * list.len() {
        return Err((format!("{} paddings", 2 * list.len()), given.len().to_string()));
    }
    let mut pads = vec![(0, 0); rank];
    for (k, &at) in list.iter().enumerate() {
        pads[axis(at, rank, false)?] = (given[k], given[list.len() + k]);
    }
    Ok(pads)
}

/// The length of an axis of length `size` after padding: at least 1, at most `most`.
pub fn padded_length(size: usize, before: i64, after: i64, most: usize) -> Result<usize, Mismatch> {
    let length = i64::try_from(size).ok().and_then(|n| n.checked_add(before)?.checked_add(after));
    let length = length.and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=most).contains(n));
    let found = || format!("{size} elements with {before} before and {after} after");
    length.ok_or_else(|| (format!("an axis of 1 to {most} elements after padding"), found()))
}

/// For every position of a padded axis of length `length` the position in the axis of length `size` that it copies.
pub fn padded_axis(
    size: usize,
    length: usize,
    before: i64,
    mode: &str,
) -> Result<Vec<Option<usize>>, Mismatch> {
    let signed = i64::try_from(size).unwrap_or(i64::MAX);
    let place = |position: usize| i64::try_from(position).unwrap_or(i64::MAX).saturating_sub(before);
    let source = |at: i64| match mode {
        "constant" => Some(at),
        "edge" => Some(at.clamp(0, signed - 1)),
        "wrap" => Some(at.rem_euclid(signed)),
        "reflect" if at < 0 => Some(at.saturating_neg()),
        "reflect" if at >= signed => Some((2 * (signed - 1)).saturating_sub(at)),
        "reflect" => Some(at),
        _ => None,
    };
    let mut sources = Vec::with_capacity(length);
    for position in 0..length {
        let at = source(place(position))
            .ok_or_else(|| ("mode to be constant, reflect, edge or wrap".into(), mode.to_string()))?;
        let inside = usize::try_from(at).ok().filter(|&at| at < size);
        if inside.is_none() && mode != "constant" {
            return Err((format!("at most {} reflected elements", size - 1), "more".into()));
        }
        sources.push(inside);
    }
    Ok(sources)
}

/// Flat positions in a tensor of shape `dims` of all combinations of positions picked along every axis.
pub fn combined(dims: &[usize], per_axis: &[Vec<Option<usize>>]) -> Vec<Option<usize>> {
    let mut places = vec![Some(0)];
    for (picked, stride) in per_axis.iter().zip(strides(dims)) {
        let add = |base: Option<usize>, at: Option<usize>| Some(base? + at? * stride);
        places = places.iter().flat_map(|&base| picked.iter().map(move |&at| add(base, at))).collect();
    }
    places
}

/// The common shape of two operands (NumPy broadcasting).
pub fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Mismatch> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], i: usize| if i + dims.len() < rank { 1 } else { dims[i + dims.len() - rank] };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            _ => Err((format!("a shape that broadcasts with {}", shape_text(a)), shape_text(b))),
        })
        .collect()
}

/// For every element of `result`, in order, the element of a tensor of shape `dims` that broadcasting puts there.
///
/// `dims` must broadcast to `result`.
pub fn broadcast_indices(dims: &[usize], result: &[usize]) -> Vec<usize> {
    let offset = result.len() - dims.len();
    let mut strides = vec![0; result.len()];
    let mut stride = 1;
    for at in (0..dims.len()).rev() {
        strides[offset + at] = if dims[at] == 1 { 0 } else { stride };
        stride *= dims[at];
    }
    strided_indices(result, &strides)
}

/// `Σ index[i] · strides[i]` for every index of a tensor of shape `dims`, in order.
pub fn strided_indices(dims: &[usize], strides: &[usize]) -> Vec<usize> {
    let mut indices = vec![0];
    for (&d, &stride) in dims.iter().zip(strides) {
        indices = indices.iter().flat_map(|&base| (0..d).map(move |i| base + i * stride)).collect();
    }
    indices
}

/// Distances between neighbours along every axis of a row-major tensor.
pub fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for at in (1..dims.len()).rev() {
        strides[at - 1] = strides[at] * dims[at];
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_infers_and_copies() {
        assert_eq!(reshape(&[2, 3, 4], &[0, -1], false), Ok(vec![2, 12]));
        assert_eq!(reshape(&[2, 3], &[-1], false), Ok(vec![6]));
        for bad in [vec![-1, -1], vec![4, -1], vec![7], vec![0, 0, 0], vec![-2, -3], vec![i64::MAX, i64::MAX]]
        {
            assert!(reshape(&[2, 3], &bad, false).is_err(), "{bad:?}");
        }
        assert!(reshape(&[2, 3], &[0, -1], true).is_err());
    }

    #[test]
    fn axes_count_from_either_end() {
        assert_eq!(flatten(&[1, 2, 3], -1), Ok(vec![2, 3]));
        assert_eq!(flatten(&[1, 2, 3], 3), Ok(vec![6, 1]));
        assert!(flatten(&[1, 2, 3], 4).is_err() && flatten(&[1], i64::MIN).is_err());
        assert_eq!(squeeze(&[1, 6, 1], Some(&[-1, 0])), Ok(vec![6]));
        assert_eq!(squeeze(&[1, 6, 1], None), Ok(vec![6]));
        assert!(squeeze(&[1, 6], Some(&[1])).is_err());
        assert_eq!(unsqueeze(&[6], &[0, -1]), Ok(vec![1, 6, 1]));
        assert!(unsqueeze(&[6], &[0, 0]).is_err());
    }

    #[test]
    fn broadcasting_repeats_along_dimensions_of_one() {
        assert_eq!(broadcast(&[1, 3, 2, 2], &[3, 1, 1]), Ok(vec![1, 3, 2, 2]));
        assert!(broadcast(&[2, 3], &[2]).is_err());
        assert_eq!(broadcast_indices(&[2, 1], &[2, 2]), vec![0, 0, 1, 1]);
        assert_eq!(broadcast_indices(&[2], &[2, 2]), vec![0, 1, 0, 1]);
        assert_eq!(broadcast_indices(&[], &[2]), vec![0, 0]);
    }

    #[test]
    fn paddings_count_on_every_axis() {
        assert_eq!(pads(3, &[1, -2], Some(&[-1])), Ok(vec![(0, 0), (0, 0), (1, -2)]));
        assert!(pads(2, &[1, 1, 1], None).is_err() && pads(2, &[1, 1, 1, 1], Some(&[0, 0])).is_err());
        assert_eq!(padded_length(3, 1, -2, 10), Ok(2));
        assert!(padded_length(3, -2, -1, 10).is_err() && padded_length(3, i64::MAX, 1, 10).is_err());
        let axis = |before, length, mode| padded_axis(3, length, before, mode).unwrap();
        assert_eq!(axis(1, 5, "constant"), [None, Some(0), Some(1), Some(2), None]);
        assert_eq!(axis(-1, 2, "constant"), [Some(1), Some(2)]);
        assert_eq!(axis(2, 7, "reflect"), [2, 1, 0, 1, 2, 1, 0].map(Some));
        assert_eq!(axis(2, 6, "edge"), [0, 0, 0, 1, 2, 2].map(Some));
        assert_eq!(axis(1, 5, "wrap"), [2, 0, 1, 2, 0].map(Some));
        assert!(padded_axis(3, 6, 3, "reflect").is_err() && padded_axis(3, 3, 0, "other").is_err());
        let places = combined(&[2, 3], &[vec![Some(1), None], vec![None, Some(2)]]);
        assert_eq!(places, [None, Some(5), None, None]);
    }

    #[test]
    fn parts_fill_the_axis() {
        assert_eq!(parts(6, 3, None, false), Ok(vec![2, 2, 2]));
        assert_eq!(parts(5, 3, None, true), Ok(vec![2, 2, 1]));
        assert_eq!(parts(5, 2, Some(&[4, 1]), false), Ok(vec![4, 1]));
        assert!(parts(5, 3, None, false).is_err() && parts(1, 4, None, true).is_err());
        assert!(parts(5, 2, Some(&[6, -1]), false).is_err() && parts(5, 2, Some(&[5]), false).is_err());
    }

    #[test]
    fn transposing_dimensions_of_one_keeps_the_order() {
        assert!(keeps_order(&[1, 6, 1], &[1, 0, 2]));
        assert!(!keeps_order(&[1, 2, 3], &[0, 2, 1]));
        assert!(permutation(2, Some(&[0, 0])).is_err() && permutation(2, Some(&[0, 2])).is_err());
    }
}
