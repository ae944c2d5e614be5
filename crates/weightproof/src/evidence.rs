//! What a proof was made of, so that a stranger can repeat it without searching (theory.md §12b).
//!
//! A proof is a tree of domains. Boxes are claims, each of which follows from those before it by an interval step or a backward
//! pass; a row of the specification follows from the boxes by a backward pass with the slopes and multipliers that are listed.
//! [`ExactCertifier::prove`](crate::exact::ExactCertifier::prove) makes evidence.

/// The proof that a property holds for one sample and a whole set.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The first is the whole set; parts of a domain come after it.
    pub domains: Vec<DomainEvidence>,
}

/// A part of the set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DomainEvidence {
    /// Boxes in the order of their nodes: of the whole set all that nonlinear nodes read, of a part those that are smaller than what
    /// the split left.
    pub boxes: Vec<BoxEvidence>,
    /// Rows that are proved here. Without a split, rows that are in no list are proved by the plain rule of slopes.
    pub rows: Vec<RowEvidence>,
    /// How the domain is divided, where rows are left.
    pub split: Option<SplitEvidence>,
}

/// The claim that elements of a node lie in a box.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxEvidence {
    /// Index of the node.
    pub node: usize,
    /// The elements, rising.
    pub elements: Vec<usize>,
    /// One lower end for each element.
    pub lower: Vec<f64>,
    /// One upper end for each element.
    pub upper: Vec<f64>,
}

/// What a row of the specification is proved with.
#[derive(Clone, Debug, PartialEq)]
pub struct RowEvidence {
    /// Its place among the rows of its sample.
    pub row: usize,
    /// In `[0, 1]`: lower slopes of ReLU nodes, and slopes of both lines of quantizers. Elements that are not listed have the plain rule: of ReLU 1
    /// where u > −l, else 0, of a quantizer the edges of the hull that are tightest in the middle.
    pub slopes: Vec<NodeNumbers>,
    /// Multipliers `m` of boxes: `m z ≤ max(m l, m u)` is added to the row; 0 where nothing is listed.
    pub multipliers: Vec<NodeNumbers>,
}

/// Numbers of some elements of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeNumbers {
    /// Index of the node.
    pub node: usize,
    /// The elements, rising.
    pub elements: Vec<usize>,
    /// One for each element.
    pub values: Vec<f64>,
}

/// The division of a domain at one value of an element.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitEvidence {
    /// Index of the node.
    pub node: usize,
    /// Its element.
    pub element: usize,
    /// Where it is divided.
    pub value: f64,
    /// Number of the domain where the element is at most the value, and of that where it is at least the value.
    pub parts: [usize; 2],
}

impl NodeNumbers {
    /// The numbers that come with `true`; `None` when there are none.
    pub(crate) fn chosen(node: usize, numbers: impl Iterator<Item = (f64, bool)>) -> Option<Self> {
        let chosen = numbers.enumerate().filter(|(_, (_, is_chosen))| *is_chosen);
        let (elements, values): (Vec<usize>, Vec<f64>) = chosen.map(|(j, (value, _))| (j, value)).unzip();
        (!elements.is_empty()).then_some(NodeNumbers { node, elements, values })
    }
}

impl RowEvidence {
    /// A row that follows from the boxes alone.
    pub(crate) fn plain(row: usize) -> Self {
        RowEvidence { row, slopes: Vec::new(), multipliers: Vec::new() }
    }

    /// Whether the row follows from the boxes alone.
    pub fn is_plain(&self) -> bool {
        self.slopes.is_empty() && self.multipliers.is_empty()
    }
}

impl Evidence {
    /// Leaves out what need not be said: plain rows of domains without a split.
    pub(crate) fn new(mut domains: Vec<DomainEvidence>) -> Self {
        for domain in domains.iter_mut().filter(|domain| domain.split.is_none()) {
            domain.rows.retain(|row| !row.is_plain());
        }
        Evidence { domains }
    }
}
