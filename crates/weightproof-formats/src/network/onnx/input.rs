//! The shape of one input sample.

use super::OnnxError;
use super::limits::{MAX_RANK, MAX_WIDTH};
use super::op::clean;
use super::proto::ValueInfoProto;
use super::tensor::Element;

/// The dimensions of the input for one sample, with the batch dimension (if any) as 1, and its element type.
///
/// The first of several dimensions is the batch unless the input is a column, (n, 1); a single one is not.
///
/// # Errors
/// When a dimension other than the batch is unknown, the batch is fixed to more than 1, or the type is not a float.
pub fn sample_shape(input: &ValueInfoProto) -> Result<(Vec<usize>, Element), OnnxError> {
    let fail =
        |expected: String, found: String| OnnxError::Input { input: clean(&input.name), expected, found };
    let tensor = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| fail("a tensor".into(), "another type".into()))?;
    let element = Element::from_code(tensor.elem_type).filter(|e| e.is_float());
    let element = element.ok_or_else(|| {
        fail(
            "one of the types FLOAT, DOUBLE, FLOAT16, BFLOAT16".into(),
            format!("type number {}", tensor.elem_type),
        )
    })?;
    let shape = tensor.shape.as_ref().filter(|s| !s.dim.is_empty());
    let shape = &shape.ok_or_else(|| fail("a shape with dimensions".into(), "none".into()))?.dim;
    if shape.len() > MAX_RANK {
        return Err(fail(format!("at most {MAX_RANK} dimensions"), shape.len().to_string()));
    }
    // `None`: unknown. Some exporters write -1 or 0 for it.
    let known: Vec<Option<usize>> =
        shape.iter().map(|d| d.dim_value.and_then(|v| usize::try_from(v).ok()).filter(|&v| v > 0)).collect();
    let is_column = matches!(known[..], [Some(_), Some(1)]);
    let mut dims = Vec::with_capacity(known.len());
    for (at, dim) in known.iter().enumerate() {
        match dim {
            None if at == 0 && known.len() > 1 => dims.push(1),
            None => {
                let found = shape[at].dim_param.as_deref().map_or("an unknown one".into(), clean);
                return Err(fail(format!("dimension {at} to be a number"), found));
            }
            Some(batch) if at == 0 && known.len() > 1 && *batch > 1 && !is_column => {
                return Err(fail("a batch dimension of 1".into(), batch.to_string()));
            }
            Some(d) => dims.push(*d),
        }
    }
    let width = dims.iter().try_fold(1_usize, |product, &d| product.checked_mul(d));
    match width {
        Some(width) if width <= MAX_WIDTH => Ok((dims, element)),
        _ => Err(fail(format!("at most {MAX_WIDTH} elements"), format!("{dims:?}"))),
    }
}
