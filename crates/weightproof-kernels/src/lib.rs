//! Numbers, matrices and the few loops in which all the time goes.
//!
//! This crate is compiled with full optimisation in every profile, so all that calls it may be compiled fast. Layout tricks are
//! here and nowhere else. There is no `unsafe` code.

mod compiled;
mod conv;
pub mod definition;
mod direct;
mod kernel_gradient;
mod lanes;
pub mod lines;
mod matrix;
mod own_kernels;
mod patches;
mod pool;
mod product;
pub mod rows;
mod window;

#[doc(hidden)]
pub use pulp;

pub use conv::{
    ConvScratch, Plus, add_by_row, add_convolution_transposed, add_linear_transposed, affine, convolution,
    linear,
};
pub use kernel_gradient::add_kernel_gradient;
pub use matrix::Matrix;
pub use patches::Patches;
pub use pool::{
    add_average_pool_transposed, add_max_pool_gradient, add_window_sums, add_window_sums_transposed,
    average_pool, max_pool, max_pool_row, window_sums,
};
pub use product::{
    Factor, add_product, add_product_transposed, multiply, multiply_adds, product, product_transposed,
};
pub use window::{Region, Window};

/// Element type of the engine: `f32` (fast, default) or `f64`.
pub trait Scalar:
    num_traits::Float
    + faer::traits::RealField
    + pulp::bytemuck::Pod
    + compiled::Compiled
    + std::ops::AddAssign
    + std::ops::SubAssign
    + std::ops::MulAssign
    + std::iter::Sum
    + Default
    + Send
    + Sync
    + 'static
{
    /// Name on the command line and in reports.
    const NAME: &'static str;
    /// Bounds larger than this are treated as overflow: products of them could leave the range of the type.
    const OVERFLOW: f64;
    /// Rounds to the nearest number of this type.
    fn from_f64(value: f64) -> Self;
    /// The smallest number of this type that is at least `value`.
    fn from_f64_up(value: f64) -> Self;
    /// The largest number of this type that is at most `value`.
    fn from_f64_down(value: f64) -> Self {
        -Self::from_f64_up(-value)
    }
    /// Numbers of this type around `value`, no more than two units of the last place from it: without branches, so that loops
    /// over it become vectors. Zero stays zero.
    fn around(value: f64) -> (Self, Self);
    /// Exact conversion.
    fn to_f64(self) -> f64;
}

impl Scalar for f32 {
    const NAME: &'static str = "f32";
    const OVERFLOW: f64 = 1e30;
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn from_f64_up(value: f64) -> Self {
        let nearest = value as f32;
        if f64::from(nearest) < value { nearest.next_up() } else { nearest }
    }
    #[inline(always)]
    fn around(value: f64) -> (Self, Self) {
        let nearest = value as f32;
        let least = if value == 0.0 { 0.0 } else { f32::MIN_POSITIVE };
        let away = nearest.abs() * f32::EPSILON + least;
        (nearest - away, nearest + away)
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Scalar for f64 {
    const NAME: &'static str = "f64";
    const OVERFLOW: f64 = 1e200;
    fn from_f64(value: f64) -> Self {
        value
    }
    fn from_f64_up(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn around(value: f64) -> (Self, Self) {
        (value, value)
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_round_outward() {
        for k in 1..4000 {
            let value = (f64::from(k) * 0.37).sin() * 2.0_f64.powi(k % 40 - 20);
            let (down, up) = (f32::from_f64_down(value), f32::from_f64_up(value));
            assert!(f64::from(down) <= value && value <= f64::from(up) && up <= down.next_up(), "{value}");
            let (below, above) = f32::around(value);
            assert!(f64::from(below) <= value && value <= f64::from(above), "{value}");
            assert!(
                f64::from(above - below) <= 4.0 * f64::from(f32::EPSILON) * value.abs() + 1e-37,
                "{value}"
            );
        }
        assert_eq!((f32::around(0.0), f64::around(0.1)), ((0.0, 0.0), (0.1, 0.1)));
        assert!(f32::around(1e-60).1 > 0.0 && f32::around(-1e-60).0 < 0.0);
        assert_eq!(f32::from_f64_up(0.5), 0.5);
        assert_eq!(f32::from_f64_up(1e-60), f32::from_bits(1));
        assert_eq!(f32::from_f64_up(1e60), f32::INFINITY);
        assert_eq!(f32::from_f64_down(1e60), f32::MAX);
        assert!(f32::from_f64_up(f64::NAN).is_nan());
        assert_eq!((f64::from_f64_up(0.1), f64::from_f64_down(0.1)), (0.1, 0.1));
    }
}
