//! Constants: the numbers of a `TensorProto`, checked against its dimensions before anything is allocated.

use super::OnnxError;
use super::limits::{Budget, shape_text};
use super::op::clean;
use super::proto::{EXTERNAL, TensorProto, data_type};
use half::{bf16, f16};
use std::fmt;
use std::rc::Rc;

/// The type of the elements of a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element {
    F16,
    Bf16,
    F32,
    F64,
    /// INT32, INT64 and BOOL: shapes, flags and the biases of quantized layers are made of them.
    Int,
    /// Integers of 4, 8 or 16 bits: what quantized numbers are stored as.
    Small {
        bits: u32,
        signed: bool,
    },
}

impl Element {
    /// The type with number `code` in ONNX.
    pub fn from_code(code: i32) -> Option<Element> {
        match code {
            data_type::FLOAT => Some(Element::F32),
            data_type::DOUBLE => Some(Element::F64),
            data_type::FLOAT16 => Some(Element::F16),
            data_type::BFLOAT16 => Some(Element::Bf16),
            data_type::INT32 | data_type::INT64 | data_type::BOOL => Some(Element::Int),
            data_type::UINT8 => Some(Element::Small { bits: 8, signed: false }),
            data_type::INT8 => Some(Element::Small { bits: 8, signed: true }),
            data_type::UINT16 => Some(Element::Small { bits: 16, signed: false }),
            data_type::INT16 => Some(Element::Small { bits: 16, signed: true }),
            data_type::UINT4 => Some(Element::Small { bits: 4, signed: false }),
            data_type::INT4 => Some(Element::Small { bits: 4, signed: true }),
            _ => None,
        }
    }

    /// Whether it is a floating-point type.
    pub fn is_float(self) -> bool {
        matches!(self, Element::F16 | Element::Bf16 | Element::F32 | Element::F64)
    }

    /// `value` as an element of this type holds it.
    pub fn round(self, value: f64) -> f64 {
        match self {
            Element::F16 => f16::from_f64(value).to_f64(),
            Element::Bf16 => bf16::from_f64(value).to_f64(),
            Element::F32 => f64::from(value as f32),
            Element::F64 | Element::Int | Element::Small { .. } => value,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Element::F16 => "fp16",
            Element::Bf16 => "bf16",
            Element::F32 => "f32",
            Element::F64 => "f64",
            Element::Int => "an integer type",
            Element::Small { bits, signed } => {
                return write!(f, "{}int{bits}", if *signed { "" } else { "u" });
            }
        })
    }
}

/// Type number `code` of ONNX, in words.
pub fn type_name(code: i32) -> String {
    let known = match code {
        data_type::FLOAT => "FLOAT (32-bit floating point)",
        2 => "UINT8 (bytes)",
        3 => "INT8 (8-bit integers)",
        4 => "UINT16 (16-bit unsigned integers)",
        5 => "INT16 (16-bit integers)",
        data_type::INT32 => "INT32 (32-bit integers)",
        data_type::INT64 => "INT64 (64-bit integers)",
        8 => "STRING (texts)",
        data_type::BOOL => "BOOL (true or false)",
        data_type::FLOAT16 => "FLOAT16 (16-bit floating point)",
        data_type::DOUBLE => "DOUBLE (64-bit floating point)",
        12 => "UINT32 (32-bit unsigned integers)",
        13 => "UINT64 (64-bit unsigned integers)",
        14 | 15 => "complex numbers",
        data_type::BFLOAT16 => "BFLOAT16 (16-bit floating point)",
        17..=20 => "FLOAT8 (8-bit floating point)",
        21 => "UINT4 (4-bit unsigned integers)",
        22 => "INT4 (4-bit integers)",
        0 => "no type",
        other => return format!("the unknown type number {other}"),
    };
    known.into()
}

/// The numbers of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    Floats(Vec<f64>),
    Ints(Vec<i64>),
}

/// A constant, row major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dims: Vec<usize>,
    pub element: Element,
    pub values: Values,
    /// The initializer it comes from, when only its shape was changed since.
    pub origin: Option<String>,
    /// The integers that floating-point numbers are stored as, where they are.
    pub stored: Option<Rc<StoredNumbers>>,
}

/// The integers that numbers are stored as: `step · (q − zero)`, with the step and the zero point of the group of each number.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredNumbers {
    pub bits: u32,
    pub signed: bool,
    /// One for each group.
    pub steps: Vec<f64>,
    /// One for each group.
    pub zeros: Vec<i64>,
    /// The group of each number; empty when there is one group.
    pub groups: Vec<u32>,
}

impl StoredNumbers {
    /// The group of number `k`.
    pub fn group(&self, k: usize) -> usize {
        self.groups.get(k).map_or(0, |&group| group as usize)
    }

    /// Those at `indices`.
    fn select(&self, indices: &[usize]) -> Self {
        let groups =
            if self.groups.is_empty() { vec![] } else { indices.iter().map(|&i| self.groups[i]).collect() };
        StoredNumbers { groups, ..self.clone() }
    }
}

impl Tensor {
    /// A one-dimensional constant of integers.
    pub fn ints(values: Vec<i64>) -> Self {
        Tensor {
            dims: vec![values.len()],
            element: Element::Int,
            values: Values::Ints(values),
            origin: None,
            stored: None,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Floats(v) => v.len(),
            Values::Ints(v) => v.len(),
        }
    }

    /// The numbers when they are floating-point.
    pub fn as_floats(&self) -> Option<&[f64]> {
        match &self.values {
            Values::Floats(v) => Some(v),
            Values::Ints(_) => None,
        }
    }

    /// The numbers when they are integers and there is at most one dimension.
    pub fn as_ints(&self) -> Option<&[i64]> {
        match &self.values {
            Values::Ints(v) if self.dims.len() <= 1 => Some(v),
            Values::Ints(_) | Values::Floats(_) => None,
        }
    }

    /// The numbers, whatever they are.
    pub fn as_numbers(&self) -> Vec<f64> {
        match &self.values {
            Values::Floats(v) => v.clone(),
            Values::Ints(v) => v.iter().map(|&v| v as f64).collect(),
        }
    }

    /// The same numbers under another shape of the same size.
    pub fn with_dims(&self, dims: Vec<usize>) -> Self {
        Tensor { dims, ..self.clone() }
    }

    /// The elements at `indices`, as a constant of shape `dims`.
    pub fn select(&self, dims: Vec<usize>, indices: &[usize]) -> Self {
        let values = match &self.values {
            Values::Floats(v) => Values::Floats(indices.iter().map(|&i| v[i]).collect()),
            Values::Ints(v) => Values::Ints(indices.iter().map(|&i| v[i]).collect()),
        };
        let stored = self.stored.as_ref().map(|stored| Rc::new(stored.select(indices)));
        Tensor { dims, element: self.element, values, origin: None, stored }
    }

    /// Reads a stored tensor; `owner` names it where it has no name itself.
    ///
    /// # Errors
    /// When the type is not read, the dimensions are negative or do not match the data, or the data are elsewhere.
    pub fn decode(proto: &TensorProto, owner: &str, budget: &mut Budget) -> Result<Self, OnnxError> {
        let name = if proto.name.is_empty() { owner.to_string() } else { clean(&proto.name) };
        let fail =
            |expected: String, found: String| OnnxError::Tensor { tensor: name.clone(), expected, found };
        if proto.data_location == EXTERNAL || !proto.external_data.is_empty() {
            let entry = proto.external_data.iter().find(|e| e.key == "location");
            let location = entry.map_or("(no name)".into(), |e| clean(&e.value));
            return Err(OnnxError::ExternalData { tensor: name, location });
        }
        let element = Element::from_code(proto.data_type).ok_or_else(|| {
            let expected =
                "one of the types FLOAT, DOUBLE, FLOAT16, BFLOAT16, BOOL, INT4 to INT64, UINT4 to UINT16";
            fail(expected.into(), type_name(proto.data_type))
        })?;
        let dims: Vec<usize> = proto
            .dims
            .iter()
            .map(|&d| usize::try_from(d).map_err(|_| fail("dimensions of at least 0".into(), d.to_string())))
            .collect::<Result<_, _>>()?;
        let count = dims.iter().try_fold(1_usize, |product, &d| product.checked_mul(d));
        let stored = stored_count(proto).map_err(|(expected, found)| fail(expected, found))?;
        // Two numbers of 4 bits share a byte; the last one may be alone.
        let padded = is_packed(proto) && count.is_some_and(|count| count.next_multiple_of(2) == stored);
        if count != Some(stored) && !padded {
            return Err(fail(
                format!("data for the shape {}", shape_text(&dims)),
                format!("{stored} numbers"),
            ));
        }
        budget.tensor(&format!("tensor {name}"), &dims)?;
        let mut values = decode_values(proto).map_err(|(expected, found)| fail(expected, found))?;
        if let (Values::Ints(list), Some(count)) = (&mut values, count) {
            list.truncate(count);
        }
        let origin = (!proto.name.is_empty()).then_some(name);
        Ok(Tensor { dims, element, values, origin, stored: None })
    }
}

type Mismatch = (String, String);

/// Bytes per element of `raw_data`.
fn raw_size(proto: &TensorProto) -> usize {
    match proto.data_type {
        data_type::DOUBLE | data_type::INT64 => 8,
        data_type::FLOAT16 | data_type::BFLOAT16 => 2,
        data_type::INT16 | data_type::UINT16 => 2,
        data_type::BOOL | data_type::INT8 | data_type::UINT8 | data_type::INT4 | data_type::UINT4 => 1,
        _ => 4,
    }
}

/// Whether two numbers share a byte.
fn is_packed(proto: &TensorProto) -> bool {
    matches!(proto.data_type, data_type::INT4 | data_type::UINT4)
}

/// How many numbers are stored, in whichever field.
fn stored_count(proto: &TensorProto) -> Result<usize, Mismatch> {
    let typed = [
        (proto.float_data.len(), "float_data", data_type::FLOAT),
        (proto.double_data.len(), "double_data", data_type::DOUBLE),
        (proto.int64_data.len(), "int64_data", data_type::INT64),
        (proto.int32_data.len(), "int32_data", data_type::INT32),
    ];
    let field_type = match proto.data_type {
        data_type::FLOAT | data_type::DOUBLE | data_type::INT64 => proto.data_type,
        _ => data_type::INT32,
    };
    if let Some((_, field, _)) = typed.iter().find(|(count, _, kind)| *count > 0 && *kind != field_type) {
        return Err((format!("no {field} for the type {}", type_name(proto.data_type)), "some".into()));
    }
    let typed_count: usize = typed.iter().map(|(count, _, _)| count).sum();
    let each = if is_packed(proto) { 2 } else { 1 };
    match (proto.raw_data.len(), typed_count) {
        (0, count) => Ok(each * count),
        (bytes, 0) if bytes.is_multiple_of(raw_size(proto)) => Ok(each * (bytes / raw_size(proto))),
        (bytes, 0) => {
            Err((format!("raw data in units of {} bytes", raw_size(proto)), format!("{bytes} bytes")))
        }
        (_, _) => Err(("raw data or typed data".into(), "both".into())),
    }
}

fn decode_values(proto: &TensorProto) -> Result<Values, Mismatch> {
    let raw = &proto.raw_data;
    let is_raw = !raw.is_empty();
    Ok(match proto.data_type {
        data_type::FLOAT if is_raw => Values::Floats(le_chunks(raw, |b| f64::from(f32::from_le_bytes(b)))),
        data_type::FLOAT => Values::Floats(proto.float_data.iter().copied().map(f64::from).collect()),
        data_type::DOUBLE if is_raw => Values::Floats(le_chunks(raw, f64::from_le_bytes)),
        data_type::DOUBLE => Values::Floats(proto.double_data.clone()),
        data_type::FLOAT16 if is_raw => Values::Floats(le_chunks(raw, |b| f16::from_le_bytes(b).to_f64())),
        data_type::BFLOAT16 if is_raw => Values::Floats(le_chunks(raw, |b| bf16::from_le_bytes(b).to_f64())),
        data_type::FLOAT16 => Values::Floats(half_bits(proto, |bits| f16::from_bits(bits).to_f64())?),
        data_type::BFLOAT16 => Values::Floats(half_bits(proto, |bits| bf16::from_bits(bits).to_f64())?),
        data_type::INT64 if is_raw => Values::Ints(le_chunks(raw, i64::from_le_bytes)),
        data_type::INT64 => Values::Ints(proto.int64_data.clone()),
        data_type::INT32 if is_raw => Values::Ints(le_chunks(raw, |b| i64::from(i32::from_le_bytes(b)))),
        data_type::BOOL | data_type::UINT8 if is_raw => {
            Values::Ints(raw.iter().map(|&b| i64::from(b)).collect())
        }
        data_type::INT8 if is_raw => Values::Ints(le_chunks(raw, |b| i64::from(i8::from_le_bytes(b)))),
        data_type::UINT16 if is_raw => Values::Ints(le_chunks(raw, |b| i64::from(u16::from_le_bytes(b)))),
        data_type::INT16 if is_raw => Values::Ints(le_chunks(raw, |b| i64::from(i16::from_le_bytes(b)))),
        data_type::UINT4 | data_type::INT4 if is_raw => Values::Ints(nibbles(proto.data_type, raw)),
        data_type::UINT4 | data_type::INT4 => {
            let bytes: Vec<u8> = proto.int32_data.iter().map(|&pair| pair.to_le_bytes()[0]).collect();
            Values::Ints(nibbles(proto.data_type, &bytes))
        }
        _ => Values::Ints(proto.int32_data.iter().copied().map(i64::from).collect()),
    })
}

/// Numbers of four bits, the lower half of each byte first.
fn nibbles(kind: i32, bytes: &[u8]) -> Vec<i64> {
    let number = |half: u8| {
        let number = i64::from(half);
        if kind == data_type::INT4 && number > 7 { number - 16 } else { number }
    };
    bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]).map(number).collect()
}

/// Little-endian numbers of `N` bytes each.
fn le_chunks<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|&chunk| read(chunk)).collect()
}

/// Sixteen-bit floats are stored in `int32_data` as their bits.
fn half_bits(proto: &TensorProto, read: impl Fn(u16) -> f64) -> Result<Vec<f64>, Mismatch> {
    let convert = |&bits: &i32| {
        u16::try_from(bits).map(&read).map_err(|_| ("bits of a 16-bit number".to_string(), bits.to_string()))
    };
    proto.int32_data.iter().map(convert).collect()
}

#[cfg(test)]
mod tests {
    use super::super::limits::FREE_NUMBERS;
    use super::*;

    fn decode(proto: &TensorProto) -> Result<Tensor, OnnxError> {
        Tensor::decode(proto, "owner", &mut Budget::for_file(0, FREE_NUMBERS))
    }

    #[test]
    fn half_precision_in_both_encodings() {
        let raw_data = vec![0x00, 0x3c, 0x00, 0xc0]; // 1.0, -2.0
        let raw =
            TensorProto { dims: vec![2], data_type: data_type::FLOAT16, raw_data, ..Default::default() };
        let int32_data = vec![0x3c00, 0xc000];
        let typed =
            TensorProto { dims: vec![2], data_type: data_type::FLOAT16, int32_data, ..Default::default() };
        for proto in [raw, typed] {
            assert_eq!(decode(&proto).unwrap().as_floats(), Some([1.0, -2.0].as_slice()));
        }
        let raw_data = vec![0x80, 0x3f];
        let bf =
            TensorProto { dims: vec![1, 1], data_type: data_type::BFLOAT16, raw_data, ..Default::default() };
        assert_eq!(decode(&bf).unwrap().as_floats(), Some([1.0].as_slice()));
    }

    #[test]
    fn a_shape_that_the_data_do_not_fill_is_refused_without_allocating() {
        let proto = TensorProto {
            name: "w".into(),
            dims: vec![1 << 40, 1 << 40],
            data_type: data_type::FLOAT,
            raw_data: vec![0; 8],
            ..Default::default()
        };
        let message = decode(&proto).unwrap_err().to_string();
        assert_eq!(
            message,
            "tensor w: expected data for the shape [1099511627776, 1099511627776], found 2 numbers"
        );
    }

    #[test]
    fn contradictory_encodings_are_refused() {
        let both = TensorProto {
            dims: vec![1],
            data_type: 1,
            raw_data: vec![0; 4],
            float_data: vec![0.0],
            ..Default::default()
        };
        let ragged = TensorProto { dims: vec![1], data_type: 1, raw_data: vec![0; 3], ..Default::default() };
        let other = TensorProto { dims: vec![1], data_type: 1, int64_data: vec![1], ..Default::default() };
        let text = TensorProto { dims: vec![1], data_type: 8, ..Default::default() };
        let outside =
            TensorProto { dims: vec![1], data_type: 1, data_location: EXTERNAL, ..Default::default() };
        for proto in [both, ragged, other, text, outside] {
            assert!(decode(&proto).is_err());
        }
    }
}
