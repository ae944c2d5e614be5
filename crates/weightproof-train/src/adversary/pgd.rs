//! Projected gradient ascent on weights and inputs of a batch.

use super::Landscape;
use crate::parameters::Parameters;

/// Length of a step times the number of steps, as a multiple of the radius.
const REACH: f64 = 2.5;

/// Signed steps within boxes around the start: `w ← clip(w + a sign(g), w₀ ± radius)`, inputs also within [0, 1].
pub(super) fn climb(
    landscape: &dyn Landscape,
    start: &Parameters,
    first: &[f32],
    (radius, input_radius): (f64, f64),
    steps: usize,
) -> (Parameters, Vec<f32>) {
    let (mut at, mut inputs) = (start.clone(), first.to_vec());
    let both = radius > 0.0 && input_radius > 0.0;
    for step in 0..steps {
        let (gradient, by_input) = landscape.cross_entropy_gradients(&at, &inputs);
        // Inputs first, then weights, in turns.
        if radius > 0.0 && (!both || step % 2 == 1) {
            at = step_parameters(&at, &gradient, start, radius, steps);
        }
        if input_radius > 0.0 && (!both || step % 2 == 0) {
            step_inputs(&mut inputs, &by_input, first, input_radius, steps);
        }
    }
    (at, inputs)
}

/// One of `steps` signed steps of parameters within `start ± radius`.
pub fn step_parameters(
    at: &Parameters,
    gradient: &Parameters,
    start: &Parameters,
    radius: f64,
    steps: usize,
) -> Parameters {
    let (r, length) = (radius as f32, (REACH * radius / steps as f64) as f32);
    let raised = at.zip(gradient, |w, g| w + length * sign(g));
    raised.zip(start, |w, center| w.clamp(center - r, center + r))
}

/// One of `steps` signed steps of inputs within `first ± radius` and [0, 1].
pub fn step_inputs(inputs: &mut [f32], gradient: &[f32], first: &[f32], radius: f64, steps: usize) {
    let (r, length) = (radius as f32, (REACH * radius / steps as f64) as f32);
    for ((x, g), center) in inputs.iter_mut().zip(gradient).zip(first) {
        *x = (*x + length * sign(*g)).clamp(center - r, center + r).clamp(0.0, 1.0);
    }
}

/// The sign, 0 for 0 and for NaN.
fn sign(g: f32) -> f32 {
    f32::from(i8::from(g > 0.0) - i8::from(g < 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loss `w + x`.
    struct Slope;

    impl Landscape for Slope {
        fn loss_gradient(&self, _: &Parameters, _: &[f32]) -> Parameters {
            unreachable!("not asked for")
        }

        fn cross_entropy_gradients(&self, at: &Parameters, inputs: &[f32]) -> (Parameters, Vec<f32>) {
            (at.zip(at, |_, _| 1.0), vec![1.0; inputs.len()])
        }
    }

    #[test]
    fn the_ascent_ends_on_the_boundary_and_inputs_stay_in_their_range() {
        let start = Parameters { arrays: vec![vec![1.0], vec![-1.0]] };
        let (at, inputs) = climb(&Slope, &start, &[0.5, 0.95], (0.25, 0.125), 6);
        assert_eq!(at.arrays, [[1.25], [-0.75]]);
        assert_eq!(inputs, [0.625, 1.0]);
        let (at, inputs) = climb(&Slope, &start, &[0.5], (0.0, 0.125), 3);
        assert_eq!((at, inputs), (start, vec![0.625]));
    }
}
