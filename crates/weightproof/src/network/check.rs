//! What must hold for a node to be added: shapes fit, numbers are finite.

use super::{Activation, Affine, AveragePool, Conv, Gather, Layer, NetworkError, Scale};
use crate::kernels::Window;

/// Checks a layer of the name `node` whose inputs have `widths` elements and whose output has `shape`.
pub(super) fn check(
    node: &str,
    layer: &Layer,
    widths: &[usize],
    shape: &[usize],
) -> Result<(), NetworkError> {
    let fail = |expected: String, found: String| NetworkError::Shape { node: node.into(), expected, found };
    let (least, most) = layer.arity();
    if widths.len() < least || widths.len() > most {
        let expected = if least == most { format!("{least}") } else { format!("at least {least}") };
        return Err(fail(format!("{expected} inputs"), widths.len().to_string()));
    }
    let width = shape.iter().try_fold(1_usize, |n, &s| n.checked_mul(s));
    let width = width.ok_or_else(|| fail("a shape that fits into memory".into(), format!("{shape:?}")))?;
    let same_width = |expected: usize| {
        if width == expected {
            Ok(())
        } else {
            Err(fail(format!("{expected} elements"), format!("{shape:?}")))
        }
    };
    match layer {
        Layer::Input => Err(fail("one input node, the first".into(), "another one".into())),
        Layer::Dense(affine) => {
            check_affine(node, affine, affine.weight.rows(), widths[0])?;
            if width != affine.weight.rows() {
                return Err(fail(format!("{} outputs", affine.weight.rows()), format!("{shape:?}")));
            }
            Ok(())
        }
        Layer::Conv(Conv { affine, window }) => {
            check_window(node, window, widths[0])?;
            check_affine(node, affine, window.channels, window.patch())?;
            same_width(window.output_width())
        }
        Layer::MaxPool(window) => {
            check_pooling(node, window, widths[0])?;
            same_width(window.output_width())
        }
        Layer::AveragePool(AveragePool { window, factor }) => {
            check_pooling(node, window, widths[0])?;
            if factor.len() != window.positions() {
                return Err(fail(format!("{} factors", window.positions()), factor.len().to_string()));
            }
            if let Some(k) = factor.iter().position(|f| !(*f >= 0.0 && f.is_finite())) {
                let parameter = format!("factor [{k}]");
                return Err(NetworkError::NotFinite { node: node.into(), parameter, value: factor[k] });
            }
            same_width(window.output_width())
        }
        Layer::Add | Layer::Multiply => {
            if let Some(other) = widths.iter().find(|w| **w != widths[0]) {
                return Err(fail(format!("inputs of {} elements", widths[0]), other.to_string()));
            }
            same_width(widths[0])
        }
        Layer::Gather(Gather { source, constant }) => {
            let all: usize = widths.iter().sum();
            if let Some(beyond) = source.iter().flatten().find(|k| **k >= all) {
                return Err(fail(format!("sources below {all}"), beyond.to_string()));
            }
            check_finite(node, |_| "the constant".into(), &[*constant])?;
            same_width(source.len())
        }
        Layer::Scale(Scale { scale, shift, divisor }) => {
            if divisor.as_ref().is_some_and(|divisor| divisor.len() != widths[0]) {
                return Err(fail(format!("{} divisors", widths[0]), "another number".into()));
            }
            if scale.len() != widths[0] || shift.len() != widths[0] || width != widths[0] {
                let found = format!("{} and {}", scale.len(), shift.len());
                return Err(fail(format!("{} factors and summands", widths[0]), found));
            }
            check_finite(node, |k| format!("factor [{k}]"), scale)?;
            check_finite(node, |k| format!("summand [{k}]"), shift)
        }
        Layer::Activation(Activation::LeakyRelu { slope }) if !slope.is_finite() => {
            Err(fail("a finite leaky ReLU slope".into(), slope.to_string()))
        }
        Layer::Activation(Activation::Elu { alpha }) if !(*alpha >= 0.0 && alpha.is_finite()) => {
            Err(fail("an ELU alpha of at least 0".into(), alpha.to_string()))
        }
        Layer::Activation(Activation::SoftThreshold { lambda })
            if !(*lambda >= 0.0 && lambda.is_finite()) =>
        {
            Err(fail("a threshold of at least 0".into(), lambda.to_string()))
        }
        Layer::Activation(Activation::Clip { low, high })
            if !(low <= high) || *low == f64::INFINITY || *high == f64::NEG_INFINITY =>
        {
            Err(fail("a clip whose least value is at most its largest".into(), format!("{low} to {high}")))
        }
        Layer::Activation(Activation::Power { exponent })
            if !(exponent.is_finite() && exponent.fract() != 0.0) =>
        {
            Err(fail("an exponent that is no whole number".into(), exponent.to_string()))
        }
        Layer::Activation(Activation::Quantize(q)) if q.defect().is_some() => {
            let (expected, found) = q.defect().expect("there is one");
            Err(fail(expected, found))
        }
        Layer::Activation(_) | Layer::DynamicQuantize(_) | Layer::Reshape => same_width(widths[0]),
    }
}

fn check_affine(node: &str, affine: &Affine, rows: usize, cols: usize) -> Result<(), NetworkError> {
    let fail = |expected: String, found: String| NetworkError::Shape { node: node.into(), expected, found };
    let Affine { weight, bias, .. } = affine;
    if weight.cols() != cols || weight.rows() != rows {
        let expected = format!("a weight matrix with {cols} columns");
        let expected = if weight.rows() == rows { expected } else { format!("{expected} and {rows} rows") };
        return Err(fail(expected, format!("{} x {}", weight.rows(), weight.cols())));
    }
    if bias.len() != rows {
        return Err(fail(format!("{rows} biases"), bias.len().to_string()));
    }
    check_finite(node, |k| format!("weight [{}, {}]", k / cols, k % cols), weight.as_slice())?;
    check_finite(node, |k| format!("bias [{k}]"), bias)
}

fn check_window(node: &str, window: &Window, width: usize) -> Result<(), NetworkError> {
    let fail = |expected: String, found: String| NetworkError::Shape { node: node.into(), expected, found };
    if let Some(expected) = window.defect() {
        return Err(fail(expected, format!("{window:?}")));
    }
    if window.input_width() != width {
        return Err(fail(format!("an input of shape {:?}", window.input), format!("{width} elements")));
    }
    Ok(())
}

/// Pooling keeps channels apart, and every window holds an element.
fn check_pooling(node: &str, window: &Window, width: usize) -> Result<(), NetworkError> {
    let fail = |expected: String, found: String| NetworkError::Shape { node: node.into(), expected, found };
    check_window(node, window, width)?;
    if window.groups != window.input[0] || window.channels != window.input[0] {
        let found = format!("{} groups and {} channels", window.groups, window.channels);
        return Err(fail("pooling of each channel on its own".into(), found));
    }
    let empty = (0..2).any(|axis| (0..window.extent(axis)).any(|at| window.taps_inside(axis, at).is_empty()));
    if empty {
        return Err(fail("windows that hold at least one element".into(), format!("{window:?}")));
    }
    Ok(())
}

fn check_finite(node: &str, at: impl Fn(usize) -> String, values: &[f64]) -> Result<(), NetworkError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(k) => Err(NetworkError::NotFinite { node: node.into(), parameter: at(k), value: values[k] }),
    }
}
