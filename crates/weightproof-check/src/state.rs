//! What is known of the nodes for one domain of one sample: boxes, and lines of the nonlinear ones.

use crate::layer::Model;
use crate::number::Number;
use crate::relax::Relaxation;
use std::sync::Arc;

/// A box: one number for each element.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// Lower ends.
    pub lower: Vec<Number>,
    /// Upper ends, none below its lower one.
    pub upper: Vec<Number>,
}

/// Boxes of the first nodes, in their order.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// By node.
    pub boxes: Vec<Arc<Bounds>>,
    /// By node, with the box of the input that it belongs to; `None` for linear ones.
    pub relaxed: Vec<Option<(Arc<Bounds>, Arc<Relaxation>)>>,
}

impl State {
    /// Adds the box of the next node; what is known of a node stays when its input has the same box as in `before`.
    pub fn push(&mut self, model: &Model, bounds: Arc<Bounds>, before: Option<&State>) {
        let index = self.boxes.len();
        let relaxed = model.network.nodes[index].inputs.first().and_then(|&input| {
            let input = &self.boxes[input];
            let old = before.and_then(|before| before.relaxed[index].clone());
            match old.filter(|(of, _)| Arc::ptr_eq(of, input)) {
                Some(old) => Some(old),
                None => Relaxation::new(model, index, input).map(|new| (input.clone(), Arc::new(new))),
            }
        });
        self.boxes.push(bounds);
        self.relaxed.push(relaxed);
    }
}
