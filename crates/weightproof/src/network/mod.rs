//! Networks: a closed set of layers in a checked graph (theory.md §1).

mod activation;
mod forward;
mod graph;
mod layer;

pub use activation::Activation;
pub(crate) use forward::affine;
pub use graph::{Network, NetworkBuilder, NetworkError, Node};
pub use layer::{Dense, Layer, Scale};
