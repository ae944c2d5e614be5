//! The layers of a network as files hold them.
//!
//! A layer looks at the number of elements that it reads, an operator of a file at their shape. What lies between becomes a step
//! of its own: a change of shape before or after a layer, a scale after average pooling whose factors no operator has.

use std::borrow::Cow;
use std::collections::HashSet;
use weightproof::network::{AveragePool, Conv, Gather, Layer, Network, Node, Scale, Window};

/// One step, and what holds for it besides what holds for nodes of a network:
///
/// * a dense layer reads one dimension;
/// * windows read and write `(channels, height, width)`, or `(channels, length)` where [`is_one_dimensional`];
/// * average pooling is a mean, [`counts_padding`] says which;
/// * the inputs of elementwise layers and sums have the shape of the result;
/// * a choice of elements reads one dimension of every input, unless it [`joins`] them.
#[derive(Debug)]
pub struct Step<'n> {
    pub name: String,
    pub layer: Cow<'n, Layer>,
    /// Numbers of the steps it reads, all smaller than its own.
    pub inputs: Vec<usize>,
    /// Shape of one sample's output.
    pub shape: Vec<usize>,
}

/// The steps of a network. Every node is one of them under its own name, whatever is added around it; the last step is the output.
pub fn steps(network: &Network) -> Vec<Step<'_>> {
    let taken = network.nodes().iter().map(|node| node.name.clone()).collect();
    let mut draft = Draft { steps: Vec::new(), names: Names { taken } };
    // The step that holds the value of every node.
    let mut places: Vec<usize> = Vec::new();
    for node in network.nodes() {
        let inputs = node.inputs.iter().map(|&i| places[i]).collect();
        places.push(draft.node(node, inputs));
    }
    draft.steps
}

/// Names that are taken.
pub struct Names {
    pub taken: HashSet<String>,
}

impl Names {
    /// `wanted`, or `wanted_2`, `wanted_3`, … when it is taken.
    pub fn fresh(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_string();
        let mut number = 1;
        while !self.taken.insert(name.clone()) {
            number += 1;
            name = format!("{wanted}_{number}");
        }
        name
    }
}

/// The steps so far.
struct Draft<'n> {
    steps: Vec<Step<'n>>,
    names: Names,
}

impl<'n> Draft<'n> {
    /// Adds a node, and returns the step that has its value in its shape.
    fn node(&mut self, node: &'n Node, inputs: Vec<usize>) -> usize {
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|&i| self.steps[i].shape.clone()).collect();
        let flat: Vec<Vec<usize>> = shapes.iter().map(|shape| vec![shape.iter().product()]).collect();
        let sliding = |window: &Window| match shapes.first() {
            Some(shape) if slides(window, shape, &node.shape) => (shapes.clone(), node.shape.clone()),
            _ => (vec![window.input.to_vec()], window.output().to_vec()),
        };
        let (wanted, shape) = match &node.layer {
            Layer::Input | Layer::Reshape => (shapes.clone(), node.shape.clone()),
            Layer::Dense(affine) => (flat, vec![affine.weight.rows()]),
            Layer::Conv(Conv { window, .. })
            | Layer::MaxPool(window)
            | Layer::AveragePool(AveragePool { window, .. }) => sliding(window),
            Layer::Scale(_)
            | Layer::Activation(_)
            | Layer::DynamicQuantize(_)
            | Layer::Add
            | Layer::Multiply => (vec![node.shape.clone(); inputs.len()], node.shape.clone()),
            Layer::Gather(gather) if joins(gather, &shapes, &node.shape) => {
                (shapes.clone(), node.shape.clone())
            }
            Layer::Gather(_) => (flat, node.shape.clone()),
        };
        let before = format!("{}.input", node.name);
        let inputs: Vec<usize> =
            inputs.iter().zip(&wanted).map(|(&input, shape)| self.reshaped(&before, input, shape)).collect();
        let step = match &node.layer {
            Layer::AveragePool(pool) if counts_padding(pool).is_none() => {
                self.weighted(node, pool, inputs, shape)
            }
            Layer::AveragePool(_)
            | Layer::Input
            | Layer::Dense(_)
            | Layer::Conv(_)
            | Layer::Scale(_)
            | Layer::Activation(_)
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::Add
            | Layer::Multiply
            | Layer::Gather(_)
            | Layer::Reshape => self.push(node.name.clone(), Cow::Borrowed(&node.layer), inputs, shape),
        };
        self.reshaped(&format!("{}.output", node.name), step, &node.shape)
    }

    /// Average pooling with factors of its own: the mean over all taps, times factor · taps.
    fn weighted(&mut self, node: &Node, pool: &AveragePool, inputs: Vec<usize>, shape: Vec<usize>) -> usize {
        let window = &pool.window;
        let mean = Layer::AveragePool(AveragePool::new(window.clone(), true));
        let step = self.push(node.name.clone(), Cow::Owned(mean), inputs, shape.clone());
        let channel: Vec<f64> = pool.factor.iter().map(|f| f * window.taps() as f64).collect();
        let scale = channel.repeat(window.channels);
        let shift = vec![0.0; scale.len()];
        let name = self.names.fresh(&format!("{}.factor", node.name));
        self.push(name, Cow::Owned(Layer::Scale(Scale::new(scale, shift))), vec![step], shape)
    }

    /// The step with the value of `step` in `shape`.
    fn reshaped(&mut self, name: &str, step: usize, shape: &[usize]) -> usize {
        if self.steps[step].shape == shape {
            return step;
        }
        let name = self.names.fresh(name);
        self.push(name, Cow::Owned(Layer::Reshape), vec![step], shape.to_vec())
    }

    fn push(&mut self, name: String, layer: Cow<'n, Layer>, inputs: Vec<usize>, shape: Vec<usize>) -> usize {
        self.steps.push(Step { name, layer, inputs, shape });
        self.steps.len() - 1
    }
}

/// Refuses what no format holds: shapes without elements, and names that `clean` would change.
///
/// # Errors
/// `(expected, found)`.
pub fn check(step: &Step, clean: impl Fn(&str) -> String) -> Result<(), (String, String)> {
    if step.shape.is_empty() || step.shape.contains(&0) {
        return Err(("a shape with elements".into(), format!("{:?}", step.shape)));
    }
    let name = clean(&step.name);
    if name.is_empty() || name != step.name {
        return Err((
            "a name of 1 to 120 characters, none of them a control character".into(),
            format!("{name:?}"),
        ));
    }
    Ok(())
}

/// Whether a window goes from the one shape to the other as it is.
fn slides(window: &Window, from: &[usize], to: &[usize]) -> bool {
    let output = window.output();
    if is_one_dimensional(to) {
        let flat = window.input[1] == 1 && window.kernel[0] == 1 && window.padding[0] == [0, 0];
        return flat && from == [window.input[0], window.input[2]] && to == [output[0], output[2]];
    }
    from == window.input && to == output
}

/// Whether a window whose output has this shape slides along one axis.
pub fn is_one_dimensional(shape: &[usize]) -> bool {
    shape.len() == 2
}

/// Whether average pooling counts padding; `None` when it is no mean of either kind.
pub fn counts_padding(pool: &AveragePool) -> Option<bool> {
    [true, false]
        .into_iter()
        .find(|&counted| AveragePool::new(pool.window.clone(), counted).factor == pool.factor)
}

/// Whether a choice of elements lays inputs of these shapes one after the other along their first axis.
pub fn joins(gather: &Gather, inputs: &[Vec<usize>], shape: &[usize]) -> bool {
    let in_order = gather.source.iter().enumerate().all(|(k, &source)| source == Some(k));
    let like = |input: &Vec<usize>| input.len() == shape.len() && input[1..] == shape[1..];
    in_order
        && !shape.is_empty()
        && inputs.iter().all(like)
        && inputs.iter().map(|input| input[0]).sum::<usize>() == shape[0]
}

/// The numbers of a scale layer in the shortest form: one for all elements, one for each channel, or one for each element.
pub fn shortest<'v>(numbers: &'v [f64], shape: &[usize]) -> Cow<'v, [f64]> {
    let same = |part: &[f64]| part.iter().all(|v| v.to_bits() == part[0].to_bits());
    let channels = shape.first().copied().unwrap_or(1).max(1);
    let plane = (numbers.len() / channels).max(1);
    if same(numbers) {
        Cow::Borrowed(&numbers[..1])
    } else if numbers.chunks(plane).all(same) {
        Cow::Owned(numbers.iter().copied().step_by(plane).collect())
    } else {
        Cow::Borrowed(numbers)
    }
}
