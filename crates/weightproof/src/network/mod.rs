//! Networks: a closed set of layers in a checked graph (theory.md §1).

mod activation;
mod check;
mod dynamic;
pub(crate) mod forward;
mod graph;
mod integers;
mod layer;
mod outputs;
mod rounding;
mod staircase;

pub use crate::kernels::Window;
pub use activation::Activation;
pub(crate) use activation::FUNCTION_ROUNDING;
pub use dynamic::DynamicQuantizer;
pub use graph::{Network, NetworkBuilder, NetworkError, Node};
pub use layer::{Affine, AveragePool, Conv, Gather, Layer, Scale, StoredIntegers};
pub(crate) use rounding::{Read, largest_error};
pub use staircase::{Jumps, Staircase, StepRounding};
