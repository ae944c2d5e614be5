//! Tensors of ONNX files: their types, numbers and shapes.

use crate::number::Number;
use crate::protobuf::Message;

/// A tensor of the file: its numbers, or its integers.
#[derive(Clone, Debug, Default)]
pub struct Tensor {
    /// Its shape.
    pub dims: Vec<usize>,
    /// The type, as ONNX numbers them; of numbers that integers stand for, that of the integers.
    pub kind: i64,
    /// Floating-point numbers, or those that integers stand for.
    pub numbers: Vec<Number>,
    /// Integers, of a tensor of integers.
    pub integers: Vec<i64>,
    /// Of numbers that integers stand for, the step and the zero point of each.
    pub grid: Vec<(Number, i64)>,
}

/// Bits of a type of numbers, and whether it has a sign.
fn format(kind: i64) -> Result<(usize, bool), String> {
    match kind {
        2 | 4 => Ok((4 * kind as usize, false)),
        3 | 5 => Ok((4 * kind as usize - 4, true)),
        1 | 6 => Ok((32, true)),
        7 | 11 => Ok((64, true)),
        21 | 22 => Ok((4, kind == 22)),
        _ => Err(format!("type {kind} is not supported")),
    }
}

/// Least and largest integer of a type; those of 64 bits have no more than others.
///
/// # Errors
/// When the type is not supported.
pub fn ends(kind: i64) -> Result<(i64, i64), String> {
    let (bits, signed) = format(kind)?;
    let half = 1_i64 << (bits.min(32) - 1);
    Ok(if signed { (-half, half - 1) } else { (0, 2 * half - 1) })
}

impl Tensor {
    /// Reads a tensor.
    ///
    /// # Errors
    /// When it is of a type that is not supported, or damaged.
    pub fn new(message: &Message<'_>) -> Result<Tensor, String> {
        let kind = message.integers(2)?.pop().unwrap_or(0);
        let mut tensor = Tensor { dims: sizes_of(&message.integers(1)?)?, kind, ..Tensor::default() };
        let (bits, signed) = format(kind)?;
        // Numbers of single precision, raw bytes, numbers of double precision; or integers of their own.
        let mut data: Vec<u8> =
            [4, 9, 10].into_iter().flat_map(|field| message.bytes(field)).flatten().copied().collect();
        let own = [message.integers(5)?, message.integers(7)?].concat();
        let count = product(&tensor.dims)?;
        // Integers of 4 bits are two in a byte, those of their own field, too.
        let is_packed = bits == 4;
        if is_packed {
            data.extend(own.iter().map(|&pair| pair as u8));
        } else {
            tensor.integers = own;
        }
        let length = match tensor.integers.len() {
            0 => data.len(),
            integers => integers.saturating_mul(bits / 8),
        };
        if count.checked_mul(bits).map(|all| all.div_ceil(8)) != Some(length) || message.has(13) {
            return Err(format!("expected {count} numbers of {bits} bits in the file, found {length} bytes"));
        }
        let words = data.chunks(bits.div_ceil(8)).flat_map(|word| {
            let word = word.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
            if is_packed { vec![word & 15, word >> 4] } else { vec![word] }
        });
        for word in words.take(count) {
            let unused = 64 - bits;
            match kind {
                1 => tensor.numbers.push(Number::from_single(word as u32).ok_or("NaN or infinite")?),
                11 => tensor.numbers.push(Number::from_double(word).ok_or("NaN or infinite")?),
                _ if signed => tensor.integers.push((word << unused) as i64 >> unused),
                _ => tensor.integers.push(word as i64),
            }
        }
        Ok(tensor)
    }

    /// Some elements of it, in the order of their places, as a list: its numbers, and the steps that they have.
    pub fn at(&self, places: impl Iterator<Item = usize> + Clone) -> Tensor {
        let numbers = places.clone().map(|k| self.numbers[k]).collect::<Vec<_>>();
        let grid = places.filter_map(|k| self.grid.get(k).copied()).collect();
        Tensor { dims: vec![numbers.len()], kind: self.kind, numbers, integers: vec![], grid }
    }

    /// The same under the shape `dims` that it broadcasts to.
    ///
    /// # Errors
    /// When it does not broadcast.
    pub fn spread(&self, dims: &[usize]) -> Result<Tensor, String> {
        let own = &self.dims;
        let fail = || format!("a constant of shape {own:?} for the shape {dims:?}");
        let missing = dims.len().checked_sub(own.len()).ok_or_else(fail)?;
        let size = |axis: usize| if axis < missing { 1 } else { own[axis - missing] };
        if (0..dims.len()).any(|axis| size(axis) != 1 && size(axis) != dims[axis]) || self.numbers.is_empty()
        {
            return Err(fail());
        }
        let place = |mut k: usize| {
            let (mut place, mut step) = (0, 1);
            for axis in (0..dims.len()).rev() {
                place += if size(axis) == 1 { 0 } else { k % dims[axis] * step };
                (k, step) = (k / dims[axis], step * size(axis));
            }
            place
        };
        Ok(self.at((0..product(dims)?).map(place)))
    }
}

/// Shapes: integers that are not negative and not too large.
///
/// # Errors
/// Lists those that are not.
pub fn sizes_of(integers: &[i64]) -> Result<Vec<usize>, String> {
    let size = |&i: &i64| usize::try_from(i).ok().filter(|size| *size <= 1 << 30);
    integers
        .iter()
        .map(size)
        .collect::<Option<_>>()
        .ok_or_else(|| format!("sizes out of range: {integers:?}"))
}

/// The number of elements of a shape.
///
/// # Errors
/// When it is too large.
pub fn product(dims: &[usize]) -> Result<usize, String> {
    let all = dims.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
    all.ok_or_else(|| "a shape that is too large".into())
}

/// The shape that Reshape asks for: 0 keeps a dimension, −1 takes what is left.
///
/// # Errors
/// When it has another number of elements.
pub fn reshaped(dims: &[usize], target: &[i64]) -> Result<Vec<usize>, String> {
    let kept = |(axis, &size): (usize, &i64)| {
        if size == 0 { dims.get(axis).map_or(-2, |&d| d as i64) } else { size }
    };
    let mut shape: Vec<i64> = target.iter().enumerate().map(kept).collect();
    let known: Vec<i64> = shape.iter().copied().filter(|&size| size != -1).collect();
    let (all, known) = (product(dims)?, product(&sizes_of(&known)?)?.max(1));
    shape.iter_mut().filter(|size| **size == -1).for_each(|size| *size = (all / known) as i64);
    // A batch that is written as a number other than one does not fit.
    let shape = sizes_of(&shape)?;
    if product(&shape)? == all { Ok(shape) } else { Err("a shape of another size".into()) }
}
