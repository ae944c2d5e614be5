//! The shape of one input sample, and inputs that are given as constants.

use super::limits::{MAX_RANK, MAX_WIDTH, shape_text};
use super::op::clean;
use super::proto::{DimensionProto, ValueInfoProto, data_type};
use super::tensor::{Element, Tensor, Values, type_name};
use super::{ConstantInput, OnnxError};

/// One sample of the input.
pub struct Sample {
    /// Its dimensions, with the batch dimension (if any) as 1.
    pub dims: Vec<usize>,
    /// Type of its elements.
    pub element: Element,
    /// The batch dimension where the file fixes it.
    pub batch: Option<usize>,
}

impl Sample {
    /// What the file declares about the input, with the values of symbolic dimensions.
    ///
    /// The first of several dimensions is the batch unless the input is a column, (n, 1), or the file fixes it and the input `is_whole`, one
    /// sample; a single one is not.
    ///
    /// # Errors
    /// When a dimension other than the batch is unknown, or the type is neither a floating-point nor an integer type.
    pub fn new(
        input: &ValueInfoProto,
        values: &[(String, usize)],
        is_whole: bool,
    ) -> Result<Sample, OnnxError> {
        let fail =
            |expected: String, found: String| OnnxError::Input { input: clean(&input.name), expected, found };
        let tensor = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
        let tensor = tensor.ok_or_else(|| fail("a tensor".into(), "another type".into()))?;
        let element = Element::from_code(tensor.elem_type).filter(|_| tensor.elem_type != data_type::BOOL);
        let element = element.ok_or_else(|| {
            fail(
                "floating-point numbers (FLOAT, DOUBLE, FLOAT16 or BFLOAT16) or integers of 4 to 64 bits"
                    .into(),
                type_name(tensor.elem_type),
            )
        })?;
        let shape = tensor.shape.as_ref().filter(|s| !s.dim.is_empty());
        let shape = &shape.ok_or_else(|| fail("a shape with dimensions".into(), "none".into()))?.dim;
        if shape.len() > MAX_RANK {
            return Err(fail(format!("at most {MAX_RANK} dimensions"), shape.len().to_string()));
        }
        let known: Vec<Option<usize>> = shape.iter().map(|dim| known_dimension(dim, values)).collect();
        let is_column = matches!(known[..], [Some(_), Some(1)]);
        let has_batch = known.len() > 1 && !is_column && !(is_whole && known[0].is_some());
        let mut dims = Vec::with_capacity(known.len());
        for (at, dim) in known.iter().enumerate() {
            match dim {
                _ if at == 0 && (has_batch || dim.is_none() && known.len() > 1) => dims.push(1),
                Some(d) => dims.push(*d),
                None => {
                    let name = shape[at].dim_param.as_deref().filter(|name| !name.is_empty()).map(clean);
                    return Err(match name {
                        Some(name) => OnnxError::Dimension { input: clean(&input.name), at, name },
                        None => fail(format!("dimension {at} to be a number"), "an unknown one".into()),
                    });
                }
            }
        }
        let width = dims.iter().try_fold(1_usize, |product, &d| product.checked_mul(d));
        if width.is_none_or(|width| width > MAX_WIDTH) {
            return Err(fail(format!("at most {MAX_WIDTH} elements"), format!("{dims:?}")));
        }
        Ok(Sample { dims, element, batch: known[0].filter(|_| has_batch) })
    }
}

/// An input as the constant that the options give.
///
/// # Errors
/// When its shape differs from the declared one, or its type is not read.
pub fn given(input: &ValueInfoProto, constant: &ConstantInput) -> Result<Tensor, OnnxError> {
    let fail =
        |expected: String, found: String| OnnxError::Input { input: clean(&input.name), expected, found };
    let tensor = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| fail("a tensor".into(), "another type".into()))?;
    let element = Element::from_code(tensor.elem_type)
        .ok_or_else(|| fail("a type that is read".into(), type_name(tensor.elem_type)))?;
    let mut dims = constant.shape.clone();
    if let Some(shape) = &tensor.shape {
        let declared: Vec<Option<usize>> = shape.dim.iter().map(|dim| known_dimension(dim, &[])).collect();
        // A single number may be written with or without axes of its own.
        if dims == [1] && declared.iter().all(|known| known.is_none_or(|d| d == 1)) {
            dims = vec![1; declared.len()];
        }
        let fits = declared.len() == dims.len()
            && declared.iter().zip(&dims).enumerate().all(|(at, (known, found))| {
                known.is_none_or(|known| known == *found || at == 0 && declared.len() > 1 && *found == 1)
            });
        if !fits {
            let text = |known: &Option<usize>| known.map_or("?".into(), |known: usize| known.to_string());
            let expected: Vec<String> = declared.iter().map(text).collect();
            return Err(fail(format!("a constant of shape [{}]", expected.join(", ")), shape_text(&dims)));
        }
    }
    let numbers = &constant.numbers;
    let values = if element.is_float() {
        Values::Floats(numbers.iter().map(|&v| element.round(v)).collect())
    } else if numbers.iter().all(|v| v.fract() == 0.0 && v.abs() < 2.0_f64.powi(53)) {
        Values::Ints(numbers.iter().map(|&v| v as i64).collect())
    } else {
        return Err(fail("whole numbers".into(), "others".into()));
    };
    Ok(Tensor { dims, element, values, origin: None, stored: None })
}

/// Refuses an output whose declared shape has another number of elements per sample than the network computes.
///
/// # Errors
/// When every declared dimension but the first is known and their product differs from `width`, for one sample or a fixed batch.
pub fn check_declared_width(
    output: &ValueInfoProto,
    width: usize,
    batch: Option<usize>,
) -> Result<(), OnnxError> {
    let tensor = output.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let Some(shape) = tensor.and_then(|t| t.shape.as_ref()) else { return Ok(()) };
    let mut declared = Some(1_usize);
    for (at, dim) in shape.dim.iter().enumerate() {
        match known_dimension(dim, &[]) {
            Some(d) => declared = declared.and_then(|product| product.checked_mul(d)),
            None if at == 0 => {}
            None => return Ok(()),
        }
    }
    if declared == Some(width) || declared.is_some() && declared == batch.and_then(|n| n.checked_mul(width)) {
        return Ok(());
    }
    let expected = format!(
        "an output {} of {} elements, as declared",
        clean(&output.name),
        declared.unwrap_or(usize::MAX)
    );
    Err(OnnxError::Graph { expected, found: width.to_string() })
}

/// A dimension that is a positive number, or has a value. Some exporters write -1 or 0 for an unknown one.
fn known_dimension(dim: &DimensionProto, values: &[(String, usize)]) -> Option<usize> {
    let number = dim.dim_value.and_then(|value| usize::try_from(value).ok()).filter(|&value| value > 0);
    let named = || values.iter().find(|(name, _)| dim.dim_param.as_deref() == Some(name)).map(|(_, n)| *n);
    number.or_else(named)
}
