//! Numbers, matrices and the few loops in which all the time goes.
//!
//! This crate is compiled with full optimisation in every profile, so all that calls it may be compiled fast. Layout tricks are
//! here and nowhere else. There is no `unsafe` code.

mod compiled;
mod conv;
pub mod definition;
mod kernel_gradient;
mod lanes;
mod matrix;
mod own_kernels;
mod pool;
mod product;
pub mod rows;
mod window;

#[doc(hidden)]
pub use pulp;

pub use conv::{
    ConvScratch, Patches, Region, add_by_row, add_convolution_transposed, add_linear_transposed, convolution,
    linear,
};
pub use kernel_gradient::add_kernel_gradient;
pub use matrix::Matrix;
pub use pool::{
    add_average_pool_transposed, add_max_pool_gradient, add_window_sums, add_window_sums_transposed,
    average_pool, max_pool, max_pool_row, window_sums,
};
pub use product::{
    Factor, add_product, add_product_transposed, multiply, multiply_adds, product, product_transposed,
};
pub use window::Window;

/// Element type of the engine: `f32` (fast, default) or `f64`.
pub trait Scalar:
    num_traits::Float
    + faer::traits::RealField
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
    /// Rounds to this type.
    fn from_f64(value: f64) -> Self;
    /// Exact conversion.
    fn to_f64(self) -> f64;
}

impl Scalar for f32 {
    const NAME: &'static str = "f32";
    const OVERFLOW: f64 = 1e30;
    fn from_f64(value: f64) -> Self {
        value as f32
    }
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
    fn to_f64(self) -> f64 {
        self
    }
}
