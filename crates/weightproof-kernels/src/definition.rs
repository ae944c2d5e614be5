//! Affine layers and pooling by their definitions, in f64: the plain loops that kernels and witnesses are checked with.

use crate::{Matrix, Window};

/// `W z + b`, or the convolution of `z` with the rows of `W`.
///
/// # Shapes
/// `weight`: (n_out, n_in) or (channels, patch), `bias`: one for each row, `z`: input width; returns the output width.
pub fn affine_map(weight: &Matrix<f64>, bias: &[f64], window: Option<&Window>, z: &[f64]) -> Vec<f64> {
    let Some(window) = window else {
        let dot = |i: usize| weight.row(i).iter().zip(z).map(|(w, z)| w * z).sum::<f64>();
        return (0..weight.rows()).map(|i| dot(i) + bias[i]).collect();
    };
    let (taps, positions) = (window.taps(), window.positions());
    let mut out = Vec::with_capacity(window.output_width());
    for o in 0..window.channels {
        let first = o / window.group_outputs() * window.group_inputs();
        for position in 0..positions {
            let mut sum = 0.0;
            for (column, w) in weight.row(o).iter().enumerate() {
                if let Some(source) = window.source(position, column % taps) {
                    sum += w * z[(first + column / taps) * window.plane() + source];
                }
            }
            out.push(sum + bias[o]);
        }
    }
    out
}

/// `f(position, elements)` for every window of every channel.
///
/// # Shapes
/// `z`: input width; returns the output width.
pub fn pool(window: &Window, z: &[f64], f: impl Fn(usize, &mut dyn Iterator<Item = f64>) -> f64) -> Vec<f64> {
    let mut out = Vec::with_capacity(window.output_width());
    for plane in z.chunks(window.plane()) {
        for position in 0..window.positions() {
            let mut elements =
                (0..window.taps()).filter_map(|tap| window.source(position, tap)).map(|k| plane[k]);
            out.push(f(position, &mut elements));
        }
    }
    out
}
