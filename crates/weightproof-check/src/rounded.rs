//! Floating-point parameters that are stored as integers: a certificate's layer is that of the model, rounded (theory.md §12b).

use crate::network::{Affine, Stored};
use crate::number::{Interval, Number};

/// Bits of an integer that is rounded to.
const BITS: std::ops::RangeInclusive<u32> = 2..=16;

/// Whether the parameters of `layer` are `stored` as integers that are nearest to those of `model`, or at that end which these are beyond:
/// weights by a step at most, biases, which may have the steps of the weights, by any number.
///
/// # Errors
/// Says what is not.
pub fn check(layer: &Affine, stored: &Stored, model: &Affine) -> Result<(), String> {
    let shape = |of: &Affine| (of.rows, of.columns(), of.window.clone());
    if shape(layer) != shape(model)
        || model.stored.is_some()
        || !BITS.contains(&stored.bits)
        || !stored.signed
    {
        return Err("another shape, or integers of other bits".into());
    }
    for (k, (&value, &number)) in layer.weight.0.iter().zip(&model.weight.0).enumerate() {
        let grid = stored.grid(k, layer.weight.0.len());
        stored.rounds(number, value, grid, false).map_err(|what| format!("weight {k}: {what}"))?;
    }
    match (&layer.bias, &model.bias, &stored.bias_steps) {
        (Some(own), Some(bias), Some(steps)) => {
            for (i, ((&value, &number), &step)) in own.0.iter().zip(&bias.0).zip(&steps.0).enumerate() {
                stored.rounds(number, value, (step, 0), true).map_err(|what| format!("bias {i}: {what}"))?;
            }
            Ok(())
        }
        (own, bias, None) if own == bias => Ok(()),
        _ => Err("other biases".into()),
    }
}

impl Stored {
    /// Whether a number is rounded to `value`; one that is far beyond the last integer only where it may be `cut`.
    fn rounds(
        &self,
        number: Number,
        value: Number,
        (step, zero): (Number, i64),
        cut: bool,
    ) -> Result<(), String> {
        let most = 1_i64 << (self.bits - 1);
        let word = value.in_steps(step)?.saturating_add(zero);
        let gap = Interval::around(number - value, value - number).size();
        // Symmetric grids leave out the least integer.
        let is_beyond = if number > value { word == most - 1 } else { word <= 1 - most };
        let (is_nearest, is_near) = (gap + gap <= step, cut || gap <= step);
        if step.is_positive() && (-most..most).contains(&word) && (is_nearest || (is_beyond && is_near)) {
            Ok(())
        } else {
            Err(format!("{number} is not rounded to {value}, the integer {word}"))
        }
    }
}
