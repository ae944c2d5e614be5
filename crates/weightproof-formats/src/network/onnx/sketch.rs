//! The layers found so far, and how the chain from the output back to the input becomes a network.

use super::OnnxError;
use std::collections::{BTreeMap, HashMap};
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Affine, Layer, Network, NetworkBuilder, Scale};

/// A layer under construction.
pub struct Sketched {
    name: String,
    layer: Layer,
    input: usize,
    shape: Vec<usize>,
    /// Initializers that its parameters come from.
    origins: Vec<String>,
    /// For a product without bias: the value whose only reader may add one.
    awaits_bias: Option<String>,
}

/// Layers in the order in which they were found; layer 0 is the input.
pub struct Sketch {
    layers: Vec<Sketched>,
}

impl Sketch {
    /// Starts with the input of the given shape, without batch dimension.
    pub fn new(shape: Vec<usize>) -> Self {
        let input = Sketched {
            name: "input".into(),
            layer: Layer::Input,
            input: 0,
            shape,
            origins: vec![],
            awaits_bias: None,
        };
        Sketch { layers: vec![input] }
    }

    /// Shape of one sample after `layer`.
    pub fn shape(&self, layer: usize) -> &[usize] {
        &self.layers[layer].shape
    }

    /// Adds a dense layer whose parameters come from `origins`.
    pub fn dense(&mut self, name: &str, input: usize, dense: Affine, origins: Vec<String>) -> usize {
        let shape = vec![dense.weight.rows()];
        self.push(Sketched {
            name: name.into(),
            layer: Layer::Dense(dense),
            input,
            shape,
            origins,
            awaits_bias: None,
        })
    }

    /// Adds a product `weight · input` whose result is `value`; a bias may follow.
    pub fn product(
        &mut self,
        name: &str,
        input: usize,
        weight: Matrix<f64>,
        origins: Vec<String>,
        value: &str,
    ) -> usize {
        let bias = vec![0.0; weight.rows()];
        let index = self.dense(name, input, Affine { weight, bias, has_bias: false }, origins);
        self.layers[index].awaits_bias = Some(value.into());
        index
    }

    /// Whether `layer` is a product without bias whose result is `value`.
    pub fn awaits_bias(&self, layer: usize, value: &str) -> bool {
        self.layers[layer].awaits_bias.as_deref() == Some(value)
    }

    /// Gives the product `layer` its bias.
    pub fn set_bias(&mut self, layer: usize, bias: Vec<f64>, origin: Option<String>) {
        let sketched = &mut self.layers[layer];
        sketched.awaits_bias = None;
        sketched.origins.extend(origin);
        if let Layer::Dense(dense) = &mut sketched.layer {
            dense.bias = bias;
            dense.has_bias = true;
        }
    }

    /// Adds an activation.
    pub fn activation(&mut self, name: &str, input: usize, f: Activation) -> usize {
        self.keep_shape(name, input, Layer::Activation(f))
    }

    /// Adds an elementwise affine map.
    pub fn scale(&mut self, name: &str, input: usize, scale: Vec<f64>, shift: Vec<f64>) -> usize {
        self.keep_shape(name, input, Layer::Scale(Scale { scale, shift }))
    }

    /// Adds a change of shape, unless the shape is the same.
    pub fn reshape(&mut self, name: &str, input: usize, shape: Vec<usize>) -> usize {
        if self.shape(input) == shape {
            return input;
        }
        let (layer, name) = (Layer::Reshape, name.into());
        self.push(Sketched { name, layer, input, shape, origins: vec![], awaits_bias: None })
    }

    /// When `layer` multiplies all elements by one number: what it multiplies, and the number.
    pub fn multiple_of(&self, layer: usize) -> Option<(usize, f64)> {
        let Layer::Scale(Scale { scale, shift }) = &self.layers[layer].layer else { return None };
        let factor = *scale.first()?;
        let uniform = scale.iter().all(|&s| s == factor) && shift.iter().all(|&t| t == 0.0);
        uniform.then_some((self.layers[layer].input, factor))
    }

    fn keep_shape(&mut self, name: &str, input: usize, layer: Layer) -> usize {
        let (name, shape) = (name.into(), self.shape(input).to_vec());
        self.push(Sketched { name, layer, input, shape, origins: vec![], awaits_bias: None })
    }

    fn push(&mut self, layer: Sketched) -> usize {
        self.layers.push(layer);
        self.layers.len() - 1
    }

    /// The network that ends with `output`: neighbouring scales are merged, neighbouring reshapes too, and those that
    /// do nothing are left out. Also notes on parameters that several layers share.
    ///
    /// # Errors
    /// When the numbers or shapes do not make a network.
    pub fn finish(self, output: usize) -> Result<(Network, Vec<String>), OnnxError> {
        let mut wanted = vec![false; self.layers.len()];
        let mut at = output;
        while at != 0 {
            wanted[at] = true;
            at = self.layers[at].input;
        }
        // Layers have larger numbers than what they read, so the chain is in order.
        let mut layers = self.layers.into_iter();
        let input_shape = layers.next().map_or(vec![], |l| l.shape);
        let chain =
            simplify(&input_shape, layers.zip(&wanted[1..]).filter(|(_, wanted)| **wanted).map(|(l, _)| l));
        let mut builder = NetworkBuilder::new(input_shape);
        let mut names = HashMap::from([("input".to_string(), 2)]);
        let mut readers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for sketched in chain {
            let name = unique(&mut names, &sketched.name);
            for origin in sketched.origins {
                readers.entry(origin).or_default().push(name.clone());
            }
            builder.push(&name, sketched.layer, vec![builder.last()], sketched.shape)?;
        }
        let shared = readers.into_iter().filter(|(_, names)| names.len() > 1);
        let notes = shared.map(|(tensor, names)| {
            format!(
                "tensor {tensor} is shared by the layers {}: each perturbs a copy of its own",
                names.join(", ")
            )
        });
        let notes = notes.collect();
        Ok((builder.finish()?, notes))
    }
}

fn simplify(input_shape: &[usize], chain: impl Iterator<Item = Sketched>) -> Vec<Sketched> {
    let mut simple: Vec<Sketched> = Vec::new();
    for mut next in chain {
        match (simple.last().map(|l| &l.layer), &mut next.layer) {
            (Some(Layer::Scale(first)), Layer::Scale(second)) => {
                *second = compose(first, second);
                next.name = simple.pop().map_or(next.name, |l| l.name);
            }
            (Some(Layer::Reshape), Layer::Reshape) => next.name = simple.pop().map_or(next.name, |l| l.name),
            (_, _) => {}
        }
        let before = simple.last().map_or(input_shape, |l| &l.shape);
        let is_identity = match &next.layer {
            Layer::Scale(Scale { scale, shift }) => {
                scale.iter().all(|&s| s == 1.0) && shift.iter().all(|&t| t == 0.0)
            }
            Layer::Reshape => before == next.shape,
            Layer::Input | Layer::Dense(_) | Layer::Activation(_) => false,
        };
        if !is_identity {
            simple.push(next);
        }
    }
    simple
}

/// `second ∘ first`: `s₂ (s₁ x + t₁) + t₂`.
fn compose(first: &Scale, second: &Scale) -> Scale {
    let scale = first.scale.iter().zip(&second.scale).map(|(a, b)| a * b).collect();
    let shift =
        (first.shift.iter().zip(&second.scale)).zip(&second.shift).map(|((t, b), u)| t * b + u).collect();
    Scale { scale, shift }
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
