//! Why a measure has no value for a network.

use thiserror::Error;
use weightproof::network::{Layer, Network, Node};

/// A measure is not defined here.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// A node of the network is outside of what the measure is defined for.
    #[error("node {node}: expected {expected}, found {found}")]
    Node {
        /// Name of the node.
        node: String,
        /// What the measure is defined for.
        expected: &'static str,
        /// What the node is.
        found: String,
    },
    /// Something that the measure needs was not given.
    #[error("needs {0}")]
    Missing(&'static str),
    /// The perturbation set is outside of what the measure is defined for.
    #[error("threat: expected {expected}, found {found}")]
    Threat {
        /// What the measure is defined for.
        expected: &'static str,
        /// What the set has.
        found: &'static str,
    },
    /// No value came out that means anything.
    #[error("{0}")]
    Undefined(String),
}

impl Refusal {
    /// About a node.
    pub fn node(node: &Node, expected: &'static str) -> Self {
        Refusal::Node { node: node.name.clone(), expected, found: node.layer.kind().into() }
    }
}

/// Checks that no activation jumps, as quantizers do: derivatives and Lipschitz constants are asked for.
///
/// # Errors
/// Names the activation that does.
pub fn continuous(network: &Network) -> Result<(), Refusal> {
    let jumps = |node: &&Node| match &node.layer {
        Layer::Activation(f) => f.lipschitz().is_infinite(),
        Layer::DynamicQuantize(_) | Layer::Multiply => true,
        Layer::Input
        | Layer::Dense(_)
        | Layer::Conv(_)
        | Layer::Scale(_)
        | Layer::MaxPool(_)
        | Layer::AveragePool(_)
        | Layer::Add
        | Layer::Gather(_)
        | Layer::Reshape => false,
    };
    match network.nodes().iter().find(jumps) {
        Some(node) => Err(Refusal::node(node, "an activation with a Lipschitz constant")),
        None => Ok(()),
    }
}
