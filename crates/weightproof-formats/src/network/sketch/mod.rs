//! The layers found so far, and how those that the output needs become a network.
//!
//! ```text
//! layers in the order of reading → batch normalization folded (batch_norm) → neighbours merged (simplify) → Network
//! ```

mod batch_norm;
mod simplify;

pub use batch_norm::{BatchNorm, Normalization};

use std::collections::{BTreeMap, HashMap, HashSet};
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{
    Activation, Affine, Gather, Layer, Network, NetworkBuilder, NetworkError, Scale, Staircase,
    StoredIntegers,
};

/// The most elements of one value computed for one sample.
pub const MAX_WIDTH: usize = 1 << 22;
/// The most elements of all values together, computed for one sample.
pub const MAX_TOTAL_WIDTH: usize = 1 << 27;
/// The most numbers that the windows of a layer read for one sample.
pub const MAX_PATCHES: usize = 1 << 28;

/// Refuses windows that are impossible or larger than the limits: `(expected, found)`. Sizes are at most [`MAX_WIDTH`] each.
pub fn check_window(window: &Window) -> Result<(), (String, String)> {
    let [channels, height, width] = window.input;
    let found = || {
        let (kernel, groups) = (window.kernel, window.groups);
        format!("{groups} groups, kernel {kernel:?} on the shape [{channels}, {height}, {width}]")
    };
    if let Some(expected) = window.defect() {
        return Err((expected, found()));
    }
    let patches = (channels * window.taps()).checked_mul(window.positions());
    if patches.is_none_or(|count| count > MAX_PATCHES) {
        return Err((format!("at most {MAX_PATCHES} numbers that the windows read"), "more".into()));
    }
    if window.output_width() > MAX_WIDTH {
        return Err((format!("at most {MAX_WIDTH} outputs"), window.output_width().to_string()));
    }
    Ok(())
}

/// A layer under construction.
struct Sketched {
    name: String,
    layer: Layer,
    inputs: Vec<usize>,
    shape: Vec<usize>,
    /// Stored tensors that its parameters come from.
    origins: Vec<String>,
    /// For a product without bias: the value whose only reader may add one.
    awaits_bias: Option<String>,
    /// Whether it is a batch normalization that may be folded.
    is_normalization: bool,
    /// Whether it was folded or does nothing: its readers read its first input.
    dropped: bool,
}

/// Layers in the order in which they were found, so that each has a larger number than what it reads; layer 0 is the input.
pub struct Sketch {
    layers: Vec<Sketched>,
}

/// `factor · x + summand` for every element of a layer.
#[derive(Clone, Copy)]
pub struct UniformScale {
    /// The layer.
    pub of: usize,
    pub factor: f64,
    pub summand: f64,
}

impl Sketch {
    /// Starts with the input of the given shape, without batch dimension.
    pub fn new(shape: Vec<usize>) -> Self {
        let mut sketch = Sketch { layers: vec![] };
        sketch.push("input", Layer::Input, vec![], shape);
        sketch
    }

    /// Shape of one sample after `layer`.
    pub fn shape(&self, layer: usize) -> &[usize] {
        &self.layers[layer].shape
    }

    /// Number of the layer added last.
    pub fn last(&self) -> usize {
        self.layers.len() - 1
    }

    /// Adds a layer and returns its number.
    pub fn push(&mut self, name: &str, layer: Layer, inputs: Vec<usize>, shape: Vec<usize>) -> usize {
        let (name, origins, awaits_bias) = (name.into(), vec![], None);
        let (is_normalization, dropped) = (false, false);
        self.layers.push(Sketched {
            name,
            layer,
            inputs,
            shape,
            origins,
            awaits_bias,
            is_normalization,
            dropped,
        });
        self.last()
    }

    /// Notes that the parameters of `layer` come from the stored tensors `origins`.
    pub fn note_origins(&mut self, layer: usize, origins: impl IntoIterator<Item = String>) {
        self.layers[layer].origins.extend(origins);
    }

    /// Adds a dense layer whose parameters come from `origins`.
    pub fn dense(&mut self, name: &str, input: usize, dense: Affine, origins: Vec<String>) -> usize {
        let shape = vec![dense.weight.rows()];
        let layer = self.push(name, Layer::Dense(dense), vec![input], shape);
        self.note_origins(layer, origins);
        layer
    }

    /// Adds a product `weight · input` whose result is `value`; a bias may follow.
    pub fn product(
        &mut self,
        name: &str,
        input: usize,
        (weight, stored): (Matrix<f64>, Option<StoredIntegers>),
        origins: Vec<String>,
        value: &str,
    ) -> usize {
        let bias = vec![0.0; weight.rows()];
        let layer = self.dense(name, input, Affine { weight, bias, has_bias: false, stored }, origins);
        self.await_bias(layer, value);
        layer
    }

    /// Lets the only reader of `value`, the result of `layer`, add a bias to the layer.
    pub fn await_bias(&mut self, layer: usize, value: &str) {
        self.layers[layer].awaits_bias = Some(value.into());
    }

    /// When `layer` is a product without bias whose result is `value`: the number of its outputs that share a bias.
    pub fn awaits_bias(&self, layer: usize, value: &str) -> Option<usize> {
        let sketched = &self.layers[layer];
        let awaits = sketched.awaits_bias.as_deref() == Some(value);
        awaits.then(|| positions(&sketched.layer)).flatten()
    }

    /// Gives the product `layer` its bias; `steps` are those of the integers that it is stored as, if it is.
    pub fn set_bias(&mut self, layer: usize, bias: Vec<f64>, steps: Vec<f64>, origin: Option<String>) {
        let sketched = &mut self.layers[layer];
        sketched.awaits_bias = None;
        sketched.origins.extend(origin);
        if let Some(affine) = affine_mut(&mut sketched.layer) {
            affine.bias = bias;
            affine.has_bias = true;
            if let Some(stored) = &mut affine.stored {
                stored.bias_steps = steps;
            }
        }
    }

    /// Adds an activation.
    pub fn activation(&mut self, name: &str, input: usize, f: Activation) -> usize {
        self.keep_shape(name, input, Layer::Activation(f))
    }

    /// Adds an elementwise affine map.
    pub fn scale(&mut self, name: &str, input: usize, scale: Vec<f64>, shift: Vec<f64>) -> usize {
        self.keep_shape(name, input, Layer::Scale(Scale::new(scale, shift)))
    }

    /// Adds a division of each element.
    pub fn divide(&mut self, name: &str, input: usize, divisor: Vec<f64>) -> usize {
        self.keep_shape(name, input, Layer::Scale(Scale::dividing(divisor)))
    }

    /// Adds a change of shape, unless the shape is the same.
    pub fn reshape(&mut self, name: &str, input: usize, shape: Vec<usize>) -> usize {
        if self.shape(input) == shape {
            return input;
        }
        self.push(name, Layer::Reshape, vec![input], shape)
    }

    /// Adds a choice of elements; a change of shape when all stay where they are.
    pub fn gather(&mut self, name: &str, inputs: Vec<usize>, gather: Gather, shape: Vec<usize>) -> usize {
        let width: usize = self.shape(inputs[0]).iter().product();
        if inputs.len() == 1 && is_identity(&gather, width) {
            return self.reshape(name, inputs[0], shape);
        }
        self.push(name, Layer::Gather(gather), inputs, shape)
    }

    /// The quantizer that the elements of `layer` come from, when they were not changed since.
    pub fn quantizer_of(&self, mut layer: usize) -> Option<Staircase> {
        loop {
            let Sketched { layer: found, inputs, .. } = &self.layers[layer];
            match found {
                Layer::Activation(Activation::Quantize(q)) => return Some(*q),
                Layer::Gather(gather) if inputs.len() > 1 || gather.source.contains(&None) => return None,
                Layer::Reshape | Layer::MaxPool(_) | Layer::Gather(_) => layer = inputs[0],
                Layer::Input
                | Layer::Dense(_)
                | Layer::Conv(_)
                | Layer::Scale(_)
                | Layer::Activation(_)
                | Layer::DynamicQuantize(_)
                | Layer::AveragePool(_)
                | Layer::Add
                | Layer::Multiply => return None,
            }
        }
    }

    /// When `layer` multiplies all elements by one number: what it multiplies, and the number.
    pub fn multiple_of(&self, layer: usize) -> Option<(usize, f64)> {
        self.uniform(layer).filter(|scale| scale.summand == 0.0).map(|scale| (scale.of, scale.factor))
    }

    /// When `layer` multiplies all elements by one number and adds another.
    pub fn uniform(&self, layer: usize) -> Option<UniformScale> {
        let Layer::Scale(Scale { scale, shift, .. }) = &self.layers[layer].layer else { return None };
        let (factor, summand) = (*scale.first()?, *shift.first()?);
        let uniform = scale.iter().all(|&s| s == factor) && shift.iter().all(|&t| t == summand);
        uniform.then_some(UniformScale { of: self.layers[layer].inputs[0], factor, summand })
    }

    /// What the file adds to each element of `layer` last, as masks of attention do; zeros where nothing is added.
    pub fn shifts(&self, layer: usize) -> Vec<f64> {
        let Sketched { layer: found, inputs, shape, .. } = &self.layers[layer];
        match found {
            Layer::Scale(scale) if scale.is_product() => self
                .shifts(inputs[0])
                .iter()
                .zip(&scale.scale)
                .map(|(shift, factor)| shift * factor)
                .collect(),
            Layer::Scale(scale) => scale.shift.clone(),
            Layer::Reshape => self.shifts(inputs[0]),
            Layer::Input
            | Layer::Dense(_)
            | Layer::Conv(_)
            | Layer::Activation(_)
            | Layer::DynamicQuantize(_)
            | Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Add
            | Layer::Multiply
            | Layer::Gather(_) => vec![0.0; shape.iter().product()],
        }
    }

    /// When `layer` is an activation: which one, and of what.
    pub fn function(&self, layer: usize) -> Option<(Activation, usize)> {
        let Layer::Activation(f) = &self.layers[layer].layer else { return None };
        Some((*f, self.layers[layer].inputs[0]))
    }

    fn keep_shape(&mut self, name: &str, input: usize, layer: Layer) -> usize {
        let shape = self.shape(input).to_vec();
        self.push(name, layer, vec![input], shape)
    }

    /// What stands for `layer` once folded layers are left out.
    fn resolve(&self, mut layer: usize) -> usize {
        while self.layers[layer].dropped {
            layer = self.layers[layer].inputs[0];
        }
        layer
    }

    /// Which layers `output` depends on.
    fn wanted(&self, output: usize) -> Vec<bool> {
        let mut wanted = vec![false; self.layers.len()];
        wanted[self.resolve(output)] = true;
        for at in (0..self.layers.len()).rev() {
            if wanted[at] {
                for &input in &self.layers[at].inputs {
                    wanted[self.resolve(input)] = true;
                }
            }
        }
        wanted
    }

    /// For every layer that `output` depends on its readers, once for each reading; a reader of number `usize::MAX` stands
    /// for the outside that reads the output.
    fn readers(&self, output: usize) -> Vec<Vec<usize>> {
        let wanted = self.wanted(output);
        let mut readers = vec![vec![]; self.layers.len()];
        readers[self.resolve(output)].push(usize::MAX);
        for (at, sketched) in self.layers.iter().enumerate().filter(|(at, _)| wanted[*at]) {
            for &input in &sketched.inputs {
                readers[self.resolve(input)].push(at);
            }
        }
        readers
    }

    /// Names for layers with parameters whose name in the file is not theirs alone: `same` twice becomes `same_1` and `same_2`, so
    /// that `same` alone names none of them. Each such name is told in a note.
    fn numbered(&self, wanted: &[bool], notes: &mut Vec<String>) -> HashMap<usize, String> {
        let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, sketched) in self.layers.iter().enumerate() {
            if wanted[at] && sketched.layer.affine().is_some() {
                places.entry(&sketched.name).or_default().push(at);
            }
        }
        let mut taken: HashSet<String> = self.layers.iter().map(|layer| layer.name.clone()).collect();
        let mut numbered = HashMap::new();
        for (name, places) in places.into_iter().filter(|(_, places)| places.len() > 1) {
            let mut numbers = 1..;
            let mut fresh =
                || numbers.by_ref().map(|k| format!("{name}_{k}")).find(|n| taken.insert(n.clone()));
            let names: Vec<String> = places.iter().filter_map(|_| fresh()).collect();
            notes.push(format!(
                "{} layers of the file have the name {name}: they are called {}, in their order",
                places.len(),
                names.join(", ")
            ));
            numbered.extend(places.into_iter().zip(names));
        }
        numbered
    }

    /// The network that ends with `output`, and notes on parameters that several layers share and on names that were not unique.
    ///
    /// # Errors
    /// When the numbers or shapes do not make a network.
    pub fn build(self, output: usize) -> Result<(Network, Vec<String>), NetworkError> {
        let wanted = self.wanted(output);
        let mut notes = Vec::new();
        let numbered = self.numbered(&wanted, &mut notes);
        let inputs: Vec<Vec<usize>> =
            self.layers.iter().map(|l| l.inputs.iter().map(|&i| self.resolve(i)).collect()).collect();
        let mut layers = self.layers.into_iter().zip(inputs).zip(wanted).enumerate();
        let input_shape = layers.next().map_or(vec![], |(_, ((input, _), _))| input.shape);
        let mut builder = NetworkBuilder::new(input_shape);
        let mut names = HashMap::from([("input".to_string(), 2)]);
        let mut readers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        // Number in the network of every layer that was added.
        let mut places = vec![0];
        for (at, ((sketched, inputs), wanted)) in layers {
            if wanted {
                let name = unique(&mut names, numbered.get(&at).unwrap_or(&sketched.name));
                for origin in sketched.origins {
                    readers.entry(origin).or_default().push(name.clone());
                }
                let inputs = inputs.iter().map(|&i| places[i]).collect();
                builder.push(&name, sketched.layer, inputs, sketched.shape)?;
            }
            places.push(builder.last());
        }
        let shared = readers.into_iter().filter(|(_, names)| names.len() > 1);
        notes.extend(shared.map(|(tensor, names)| {
            format!(
                "tensor {tensor} is shared by the layers {}: each perturbs a copy of its own",
                names.join(", ")
            )
        }));
        Ok((builder.finish()?, notes))
    }
}

/// How many outputs share a row of the parameters, for layers that have some.
fn positions(layer: &Layer) -> Option<usize> {
    match layer {
        Layer::Dense(_) => Some(1),
        Layer::Conv(conv) => Some(conv.window.positions()),
        Layer::Input
        | Layer::Scale(_)
        | Layer::Activation(_)
        | Layer::DynamicQuantize(_)
        | Layer::MaxPool(_)
        | Layer::AveragePool(_)
        | Layer::Add
        | Layer::Multiply
        | Layer::Gather(_)
        | Layer::Reshape => None,
    }
}

fn affine_mut(layer: &mut Layer) -> Option<&mut Affine> {
    match layer {
        Layer::Dense(affine) => Some(affine),
        Layer::Conv(conv) => Some(&mut conv.affine),
        Layer::Input
        | Layer::Scale(_)
        | Layer::Activation(_)
        | Layer::DynamicQuantize(_)
        | Layer::MaxPool(_)
        | Layer::AveragePool(_)
        | Layer::Add
        | Layer::Multiply
        | Layer::Gather(_)
        | Layer::Reshape => None,
    }
}

/// Whether the elements of an input of `width` elements all stay where they are.
fn is_identity(gather: &Gather, width: usize) -> bool {
    gather.source.len() == width && gather.source.iter().enumerate().all(|(k, &source)| source == Some(k))
}

/// `name`, or `name_2`, `name_3`, … when it is taken; `taken` holds the next number to try.
fn unique(taken: &mut HashMap<String, usize>, name: &str) -> String {
    let mut number = taken.get(name).copied().unwrap_or(1);
    let mut candidate = if number == 1 { name.to_string() } else { format!("{name}_{number}") };
    while taken.contains_key(&candidate) {
        number += 1;
        candidate = format!("{name}_{number}");
    }
    taken.insert(name.into(), number + 1);
    taken.entry(candidate.clone()).or_insert(2);
    candidate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_unique() {
        let mut taken = HashMap::from([("input".to_string(), 2)]);
        let names: Vec<String> =
            ["a", "a", "a_2", "a", "input", "a_2"].iter().map(|name| unique(&mut taken, name)).collect();
        assert_eq!(names, ["a", "a_2", "a_2_2", "a_3", "input_2", "a_2_3"]);
    }
}
