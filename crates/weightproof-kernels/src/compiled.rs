//! The kernels that are compiled in this crate, once for each precision.
//!
//! Generic code is compiled in the crate that uses it, with that crate's optimisation. What costs time is called through this
//! trait instead, so other crates compile fast, and run fast even where they are not optimised.

use crate::conv::{self, ConvScratch, Plus};
use crate::kernel_gradient;
use crate::patches::Patches;
use crate::pool;
use crate::product::{self, Factor};
use crate::{Matrix, Region, Window};

macro_rules! compiled {
    ($(fn $name:ident($($argument:ident: $type:ty),*) = $generic:path;)*) => {
        /// Entry points of compiled kernels; call the functions of this crate instead, which say what they do.
        pub trait Compiled: Sized {
            $(#[doc(hidden)] fn $name($($argument: $type),*);)*
        }

        compiled!(@for f32: $(fn $name($($argument: $type),*) = $generic;)*);
        compiled!(@for f64: $(fn $name($($argument: $type),*) = $generic;)*);
    };
    (@for $scalar:ty: $(fn $name:ident($($argument:ident: $type:ty),*) = $generic:path;)*) => {
        impl Compiled for $scalar {
            $(#[inline(never)] fn $name($($argument: $type),*) { $generic($($argument),*); })*
        }
    };
}

compiled! {
    fn multiply(
        out: &mut [Self], add: bool, a: Factor<'_, Self>, b: Factor<'_, Self>, shape: (usize, usize, usize)
    ) = product::multiply_generic;
    fn convolution(
        out: &mut [Self], plus: Plus<'_, Self>, z: &[Self], weight: &[Self], window: &Window
    ) = conv::convolution_generic;
    fn add_convolution_transposed(
        out: &mut [Self], a: &[Self], weight: &[Self], window: &Window
    ) = conv::add_convolution_transposed_generic;
    fn add_kernel_gradient(
        gradient: &mut [Self], g: &[Self], z: &[Self], window: &Window
    ) = kernel_gradient::add_kernel_gradient_generic;
    fn unfold(
        patches: &mut Patches<Self>, window: &Window, group: usize, z: &[Self], region: Region
    ) = Patches::unfold_generic;
    fn add_image_transposed(
        scratch: &mut ConvScratch<Self>, out: &mut [Self], a: &[Self], weight: &[Self], window: &Window
    ) = ConvScratch::add_transposed_generic;
    fn convolve_image(
        scratch: &mut ConvScratch<Self>, out: &mut [Self], z: &[Self], kernels: &[Self], window: &Window
    ) = ConvScratch::convolve_generic;
    fn add_image_kernel_gradient(
        scratch: &mut ConvScratch<Self>, gradient: &mut [Self], g: &[Self], z: &[Self], window: &Window
    ) = ConvScratch::add_kernel_gradient_generic;
    fn add_by_row(out: &mut Matrix<Self>, bias: &[Self]) = conv::add_by_row_generic;
    fn max_pool_row(out: &mut [Self], z: &[Self], window: &Window) = pool::max_pool_row_generic;
    fn add_max_pool_gradient(
        back: &mut [Self], g: &mut [Self], z: &[Self], most: &[Self], window: &Window
    ) = pool::add_max_pool_gradient_generic;
    fn add_window_sums(out: &mut [Self], z: &[Self], window: &Window) = pool::add_window_sums_generic;
    fn add_window_sums_transposed(
        out: &mut [Self], a: &[Self], window: &Window
    ) = pool::add_window_sums_transposed_generic;
}
