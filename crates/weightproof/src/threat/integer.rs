//! Symmetric integer quantization, rounding to nearest: half a step of the tensor or of the output channel.

use super::WeightRadius;
use super::model::LayerRadii;
use super::per_channel::largest;
use crate::network::Affine;

/// What shares one quantization step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// All weights of a layer.
    Tensor,
    /// The weights of one output channel (row).
    Channel,
}

/// `E = step / 2` with `step = max |W| / (2^(bits−1) − 1)`, so that the largest weight is represented and nothing is
/// clipped. Half a step is rounded up by one unit in the last place for the rounding of the quantizer itself.
pub(super) fn radii(dense: &Affine, bits: u32, granularity: Granularity, multiplier: f64) -> LayerRadii {
    let levels = f64::from((1_u32 << (bits - 1)) - 1);
    let half_step =
        |scale: f64| (multiplier * 0.5 * scale / levels).next_up() * f64::from(u8::from(scale > 0.0));
    let rows: Vec<f64> = (0..dense.bias.len()).map(|i| largest(dense, i)).collect();
    match granularity {
        Granularity::Tensor => {
            let radius = half_step(rows.iter().copied().fold(0.0, f64::max));
            (WeightRadius::uniform(radius), vec![radius; rows.len()])
        }
        Granularity::Channel => {
            let rows: Vec<f64> = rows.into_iter().map(half_step).collect();
            (WeightRadius::PerRow(rows.clone()), rows)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Matrix;

    #[test]
    fn rounding_to_nearest_stays_within_half_a_step() {
        let weight = Matrix::from_fn(3, 5, |i, j| (1.7 * i as f64 + 0.9 * j as f64).sin());
        let dense = Affine { weight, bias: vec![0.0; 3], has_bias: true };
        for bits in [2, 4, 8] {
            let levels = f64::from((1_u32 << (bits - 1)) - 1);
            let (radius, _) = radii(&dense, bits, Granularity::Channel, 1.0);
            let WeightRadius::PerRow(rows) = radius else { panic!("per channel") };
            for i in 0..3 {
                let step = largest(&dense, i) / levels;
                for w in dense.weight.row(i) {
                    assert!(((w / step).round() * step - w).abs() <= rows[i] * (1.0 + 1e-12));
                }
            }
        }
    }
}
