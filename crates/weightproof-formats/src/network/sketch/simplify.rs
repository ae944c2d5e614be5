//! Layers that do nothing are left out, and neighbours that are one layer are merged.

use super::{Sketch, is_identity};
use weightproof::network::{Gather, Layer, Scale};

impl Sketch {
    /// Merges products and sums after them, reshapes and choices of elements whose value in between has one reader, and leaves out
    /// layers that do nothing, among what `output` depends on. Nothing is rounded: the network is the one of the file.
    pub fn simplify(&mut self, output: usize) {
        let wanted = self.wanted(output);
        let mut readers: Vec<usize> = self.readers(output).iter().map(Vec::len).collect();
        for at in (1..self.layers.len()).filter(|&at| wanted[at]) {
            let inputs: Vec<usize> = self.layers[at].inputs.iter().map(|&i| self.resolve(i)).collect();
            self.layers[at].inputs = inputs;
            if let [before] = self.layers[at].inputs[..] {
                self.merge(at, before, &mut readers);
            }
            if self.does_nothing(at) {
                let before = self.layers[at].inputs[0];
                // The readers of this layer take its place among the readers of the one before.
                readers[before] = readers[before] - 1 + readers[at];
                self.layers[at].dropped = true;
            }
        }
    }

    /// Makes `at` do the work of `before` too, where one layer can.
    fn merge(&mut self, at: usize, before: usize, readers: &mut [usize]) {
        if readers[before] != 1 {
            return;
        }
        let merged = match (&self.layers[before].layer, &self.layers[at].layer) {
            (Layer::Scale(first), Layer::Scale(second)) if first.is_product() && second.is_sum() => {
                Some(Layer::Scale(Scale::new(first.scale.clone(), second.shift.clone())))
            }
            (Layer::Reshape, Layer::Reshape) => Some(Layer::Reshape),
            (Layer::Gather(first), Layer::Gather(second)) => choose(first, second).map(Layer::Gather),
            (Layer::Reshape, Layer::Gather(_)) => {
                let inputs = self.layers[before].inputs.clone();
                let input = inputs[0];
                self.layers[at].inputs = inputs;
                // What was reshaped may itself be a choice of elements.
                return self.merge(at, input, readers);
            }
            (_, _) => None,
        };
        if let Some(layer) = merged {
            let (name, inputs) = (self.layers[before].name.clone(), self.layers[before].inputs.clone());
            let sketched = &mut self.layers[at];
            (sketched.name, sketched.layer, sketched.inputs) = (name, layer, inputs);
        }
    }

    fn does_nothing(&mut self, at: usize) -> bool {
        let [before] = self.layers[at].inputs[..] else { return false };
        let before = &self.layers[before].shape;
        let width: usize = before.iter().product();
        match &self.layers[at].layer {
            Layer::Scale(Scale { scale, shift, .. }) => {
                scale.iter().all(|&s| s == 1.0) && shift.iter().all(|&t| t == 0.0)
            }
            Layer::Reshape => *before == self.layers[at].shape,
            Layer::Gather(gather) if is_identity(gather, width) => {
                let same = *before == self.layers[at].shape;
                self.layers[at].layer = Layer::Reshape;
                same
            }
            Layer::Input
            | Layer::Dense(_)
            | Layer::Conv(_)
            | Layer::Activation(_)
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Add
            | Layer::Multiply
            | Layer::Gather(_) => false,
        }
    }
}

/// `second ∘ first`, unless that takes two constants.
fn choose(first: &Gather, second: &Gather) -> Option<Gather> {
    let mut constants = Vec::new();
    let source = second.source.iter().map(|&source| {
        let chosen = source.and_then(|k| first.source[k]);
        if chosen.is_none() {
            constants.push(if source.is_none() { second.constant } else { first.constant });
        }
        chosen
    });
    let source = source.collect();
    let constant = constants.first().copied().unwrap_or(0.0);
    constants.iter().all(|&other| other == constant).then_some(Gather { source, constant })
}
