//! What `inspect --against` says: where values of a network differ from those that another program computed.

use crate::table::{Side, Table};
use serde::Serialize;
use weightproof_figure::number::{grouped, shape, value};

/// Values of one node, compared.
#[derive(Clone, Debug, Serialize)]
pub struct NodeComparison {
    /// Name of the node.
    pub node: String,
    /// Elements of all samples.
    pub compared: usize,
    /// Those that differ: by more than half a step of a quantizer, elsewhere by more than the tolerance.
    pub differing: usize,
    /// Largest difference.
    pub largest: f64,
}

/// A value that differs.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Name of the node.
    pub node: String,
    /// Number of the sample.
    pub sample: usize,
    /// Place of the element in the shape of the node.
    pub element: Vec<usize>,
    /// The value of the network.
    pub found: f64,
    /// The value of the other program.
    pub expected: f64,
}

/// All that a comparison found.
#[derive(Clone, Debug, Serialize)]
pub struct ComparisonReport {
    /// Samples that were compared.
    pub samples: usize,
    /// Samples whose largest output is the same; none when the outputs were not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_class: Option<usize>,
    /// Part of the largest magnitude of a node's values by which values may differ.
    pub tolerance: f64,
    /// The first node, in their order, with a value that differs, at the first sample where it does.
    pub first: Option<Difference>,
    /// Nodes that were given.
    pub nodes: Vec<NodeComparison>,
    /// Arrays of the file that are the values of no node.
    pub unknown: Vec<String>,
}

impl ComparisonReport {
    /// Whether nothing differs.
    pub fn agrees(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn lines(&self) -> String {
        let mut table = Table::new([Side::Left, Side::Right, Side::Right, Side::Right]);
        table.push(["node", "compared", "differing", "largest difference"]);
        for n in &self.nodes {
            table.push([n.node.clone(), grouped(n.compared), grouped(n.differing), value(n.largest)]);
        }
        let class = self
            .same_class
            .map(|same| format!("class equal on {} of {} samples\n", grouped(same), grouped(self.samples)));
        let first = match &self.first {
            None => "no value differs\n".to_owned(),
            Some(d) => format!(
                "first difference: node {}, element {}, sample {}: {} instead of {}\n",
                d.node,
                shape(&d.element),
                d.sample,
                value(d.found),
                value(d.expected)
            ),
        };
        let unknown = (!self.unknown.is_empty())
            .then(|| format!("arrays that are no node's: {}\n", self.unknown.join(", ")));
        format!("{table}\n{first}{}{}", class.unwrap_or_default(), unknown.unwrap_or_default())
    }
}
