//! Networks: a closed set of layers in a checked graph (theory.md §1).

mod activation;
mod check;
mod forward;
mod graph;
mod layer;

pub use activation::Activation;
pub(crate) use forward::affine_map;
pub use graph::{Network, NetworkBuilder, NetworkError, Node};
pub use layer::{Affine, AveragePool, Conv, Gather, Layer, Scale};
pub use crate::kernels::Window;
