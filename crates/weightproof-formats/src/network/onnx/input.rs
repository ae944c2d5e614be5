//! The shape of one input sample.

use super::OnnxError;
use super::limits::{MAX_RANK, MAX_WIDTH};
use super::op::clean;
use super::proto::{DimensionProto, ValueInfoProto};
use super::tensor::{Element, type_name};

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
        fail("one of the types FLOAT, DOUBLE, FLOAT16, BFLOAT16".into(), type_name(tensor.elem_type))
    })?;
    let shape = tensor.shape.as_ref().filter(|s| !s.dim.is_empty());
    let shape = &shape.ok_or_else(|| fail("a shape with dimensions".into(), "none".into()))?.dim;
    if shape.len() > MAX_RANK {
        return Err(fail(format!("at most {MAX_RANK} dimensions"), shape.len().to_string()));
    }
    let known: Vec<Option<usize>> = shape.iter().map(known_dimension).collect();
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

/// Refuses an output whose declared shape has another number of elements per sample than the network computes.
///
/// # Errors
/// When every declared dimension but the first is known and their product differs from `width`.
pub fn check_declared_width(output: &ValueInfoProto, width: usize) -> Result<(), OnnxError> {
    let tensor = output.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let Some(shape) = tensor.and_then(|t| t.shape.as_ref()) else { return Ok(()) };
    let mut declared = Some(1_usize);
    for (at, dim) in shape.dim.iter().enumerate() {
        match known_dimension(dim) {
            Some(d) => declared = declared.and_then(|product| product.checked_mul(d)),
            None if at == 0 => {}
            None => return Ok(()),
        }
    }
    if declared == Some(width) {
        return Ok(());
    }
    let expected = format!(
        "an output {} of {} elements, as declared",
        clean(&output.name),
        declared.unwrap_or(usize::MAX)
    );
    Err(OnnxError::Graph { expected, found: width.to_string() })
}

/// A dimension that is a positive number. Some exporters write -1 or 0 for an unknown one.
fn known_dimension(dim: &DimensionProto) -> Option<usize> {
    dim.dim_value.and_then(|value| usize::try_from(value).ok()).filter(|&value| value > 0)
}
