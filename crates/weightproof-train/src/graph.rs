//! A network on tensors: its parameters as tracked tensors, and what every node computes for a batch.

use crate::parameters::Parameters;
use burn::tensor::module::{conv_transpose2d, conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, MaxPoolOptions};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData, activation};
use weightproof::kernels::Window;
use weightproof::network::{Activation, AveragePool, Gather, Layer, Network, Node};

/// Parameters that gradients are taken of.
#[derive(Clone, Debug)]
pub struct Weights {
    /// One matrix (n_out, n_in) for each layer.
    pub weight: Vec<Tensor<2>>,
    /// One row (1, n_out) for each layer that has biases.
    pub bias: Vec<Option<Tensor<2>>>,
}

impl Weights {
    /// The same numbers, without a copy of them, as leaves of a graph of their own.
    pub(crate) fn tracked(&self) -> Weights {
        let leaf = |tensor: &Tensor<2>| tensor.clone().detach().require_grad();
        Weights {
            weight: self.weight.iter().map(leaf).collect(),
            bias: self.bias.iter().map(|bias| bias.as_ref().map(leaf)).collect(),
        }
    }
}

/// A network whose nodes can be evaluated on tensors. Values are (batch, width of the node).
#[derive(Clone, Debug)]
pub struct Graph {
    network: Network,
    /// For each node with parameters, its place among those nodes.
    slots: Vec<Option<usize>>,
    device: Device,
}

impl Graph {
    /// The shapes and constants of `network`; its parameters play no role.
    pub fn new(network: &Network) -> Self {
        let mut next = 0..;
        let slots = network.nodes().iter().map(|n| n.layer.affine().and_then(|_| next.next())).collect();
        Graph { network: network.clone(), slots, device: Device::flex().autodiff() }
    }

    /// The network that was given.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// All nodes in topological order.
    pub fn nodes(&self) -> &[Node] {
        self.network.nodes()
    }

    /// The device that tensors live on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Place of a node among those with parameters.
    ///
    /// # Panics
    /// When it has none.
    pub fn slot(&self, node: usize) -> usize {
        self.slots[node].expect("a node with parameters")
    }

    /// A batch as a tensor (count, width).
    pub fn batch(&self, inputs: &[f32]) -> Tensor<2> {
        let width = self.network.input_width();
        Tensor::from_data(TensorData::new(inputs.to_vec(), [inputs.len() / width, width]), &self.device)
    }

    /// Labels as a column (count, 1).
    pub fn labels(&self, labels: &[u32]) -> Tensor<2, Int> {
        let labels: Vec<i64> = labels.iter().map(|&l| i64::from(l)).collect();
        let shape = [labels.len(), 1];
        Tensor::from_data(TensorData::new(labels, shape), &self.device)
    }

    /// `parameters` as tensors that gradients are taken of.
    pub fn track(&self, parameters: &Parameters) -> Weights {
        self.constants(parameters).tracked()
    }

    /// `parameters` as tensors.
    pub(crate) fn constants(&self, parameters: &Parameters) -> Weights {
        let tensor = |numbers: &[f32], shape: [usize; 2]| {
            Tensor::<2>::from_data(TensorData::new(numbers.to_vec(), shape), &self.device)
        };
        let layers: Vec<_> = self.network.affine_layers().zip(parameters.arrays.chunks(2)).collect();
        Weights {
            weight: layers
                .iter()
                .map(|((_, _, affine), arrays)| {
                    tensor(&arrays[0], [affine.weight.rows(), affine.weight.cols()])
                })
                .collect(),
            bias: layers
                .iter()
                .map(|(_, arrays)| (!arrays[1].is_empty()).then(|| tensor(&arrays[1], [1, arrays[1].len()])))
                .collect(),
        }
    }

    /// Values of the output node, (batch, classes).
    pub fn forward(&self, weights: &Weights, x: Tensor<2>) -> Tensor<2> {
        self.values(weights, x).pop().expect("an output node")
    }

    /// Values of every node.
    pub(crate) fn values(&self, weights: &Weights, x: Tensor<2>) -> Vec<Tensor<2>> {
        let mut values: Vec<Tensor<2>> = Vec::with_capacity(self.nodes().len());
        for (index, node) in self.nodes().iter().enumerate() {
            let value = match &node.layer {
                Layer::Input => x.clone(),
                Layer::Dense(_) | Layer::Conv(_) => {
                    let slot = self.slot(index);
                    let z = values[node.inputs[0]].clone();
                    let p = apply(window(&node.layer), weights.weight[slot].clone(), z);
                    add_bias(&node.layer, p, weights.bias[slot].clone())
                }
                Layer::Activation(f) => activate(*f, values[node.inputs[0]].clone()),
                Layer::Scale(_)
                | Layer::MaxPool(_)
                | Layer::AveragePool(_)
                | Layer::Add
                | Layer::Gather(_)
                | Layer::Reshape => {
                    let inputs: Vec<_> = node.inputs.iter().map(|&i| values[i].clone()).collect();
                    self.rearrange(&node.layer, &inputs)
                }
            };
            values.push(value);
        }
        values
    }

    /// A layer without parameters that is monotone in all of its inputs, or a `Scale`.
    pub(crate) fn rearrange(&self, layer: &Layer, inputs: &[Tensor<2>]) -> Tensor<2> {
        match layer {
            Layer::Scale(scale) => inputs[0].clone() * self.row(&scale.scale) + self.row(&scale.shift),
            Layer::MaxPool(window) => max_pool(window, inputs[0].clone()),
            Layer::AveragePool(pool) => self.average_pool(pool, inputs[0].clone()),
            Layer::Add => inputs[1..].iter().fold(inputs[0].clone(), |sum, z| sum + z.clone()),
            Layer::Gather(gather) => self.gather(gather, inputs),
            Layer::Reshape => inputs[0].clone(),
            Layer::Input | Layer::Dense(_) | Layer::Conv(_) | Layer::Activation(_) => {
                unreachable!("{} has a rule of its own", layer.kind())
            }
        }
    }

    /// Constants as a row (1, n).
    pub(crate) fn row(&self, numbers: &[f64]) -> Tensor<2> {
        let numbers: Vec<f32> = numbers.iter().map(|&n| n as f32).collect();
        let shape = [1, numbers.len()];
        Tensor::from_data(TensorData::new(numbers, shape), &self.device)
    }

    fn average_pool(&self, pool: &AveragePool, z: Tensor<2>) -> Tensor<2> {
        let window = &pool.window;
        let ones = Tensor::ones([window.channels, window.taps()], &self.device);
        apply(Some(window), ones, z) * self.row(&pool.factor.repeat(window.channels))
    }

    fn gather(&self, gather: &Gather, inputs: &[Tensor<2>]) -> Tensor<2> {
        let batch = inputs[0].dims()[0];
        let constant = Tensor::<2>::full([batch, 1], gather.constant, &self.device);
        let width: usize = inputs.iter().map(|z| z.dims()[1]).sum();
        let all = Tensor::cat([inputs, &[constant]].concat(), 1);
        let indices: Vec<i64> = gather.source.iter().map(|s| s.unwrap_or(width) as i64).collect();
        let shape = [indices.len()];
        all.select(1, Tensor::<1, Int>::from_data(TensorData::new(indices, shape), &self.device))
    }

    /// Gradients in the order of the parameters; zeros where the loss does not depend on them.
    pub fn gradient(&self, weights: &Weights, mut gradients: Option<Gradients>) -> Parameters {
        let mut read = |tensor: &Tensor<2>| match gradients.as_mut().and_then(|g| tensor.grad_remove(g)) {
            Some(gradient) => numbers(gradient),
            None => vec![0.0; tensor.shape().num_elements()],
        };
        let pairs = weights.weight.iter().zip(&weights.bias);
        let arrays = pairs.flat_map(|(w, b)| [read(w), b.as_ref().map_or(Vec::new(), &mut read)]);
        Parameters { arrays: arrays.collect() }
    }
}

/// The numbers of a tensor, row-major.
pub fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("tensors of f32")
}

/// The window of a convolution.
pub(crate) fn window(layer: &Layer) -> Option<&Window> {
    if let Layer::Conv(conv) = layer { Some(&conv.window) } else { None }
}

/// `W z` for every sample of a batch, without bias; of a convolution when there is a window.
///
/// # Shapes
/// `weight`: (n_out, n_in) of the layer's parameters; `z`: (batch, width of the input).
pub(crate) fn apply(window: Option<&Window>, weight: Tensor<2>, z: Tensor<2>) -> Tensor<2> {
    let Some(window) = window else { return z.matmul(weight.transpose()) };
    let batch = z.dims()[0];
    let [padding_y, padding_x] = window.padding.map(|[before, after]| (before, after));
    let options = ConvOptions {
        stride: window.stride,
        padding: [padding_y, padding_x],
        dilation: window.dilation,
        groups: window.groups,
    };
    flat(conv2d(images(window, z), kernels(window, weight), None, options), batch)
}

/// `Wᵀ a` for every row of coefficients.
///
/// # Shapes
/// `weight` as in [`apply`]; `a`: (rows, width of the output); returns (rows, width of the input).
pub(crate) fn apply_transposed(window: Option<&Window>, weight: Tensor<2>, a: Tensor<2>) -> Tensor<2> {
    let Some(window) = window else { return a.matmul(weight) };
    let rows = a.dims()[0];
    let [channels, height, width] = window.output();
    // Over the padded image, from its first element; then the image is cut out.
    let needed = |axis: usize| {
        let reached = ([height, width][axis] - 1) * window.stride[axis]
            + (window.kernel[axis] - 1) * window.dilation[axis]
            + 1;
        (window.padding[axis][0] + window.input[axis + 1]).saturating_sub(reached)
    };
    let options = ConvTransposeOptions::new(
        window.stride,
        [0, 0],
        [needed(0), needed(1)],
        window.dilation,
        window.groups,
    );
    let a = a.reshape([rows, channels, height, width]);
    let padded = conv_transpose2d(a, kernels(window, weight), None, options);
    let [top, left] = [window.padding[0][0], window.padding[1][0]];
    let [_, h, w] = window.input;
    flat(padded.slice([0..rows, 0..window.input[0], top..top + h, left..left + w]), rows)
}

/// `p + b`, where there is a bias.
pub(crate) fn add_bias(layer: &Layer, p: Tensor<2>, bias: Option<Tensor<2>>) -> Tensor<2> {
    match bias {
        Some(bias) => p + per_output(layer, bias),
        None => p,
    }
}

/// A row (1, n_out) of numbers of output neurons or channels, for every output: (1, width).
pub(crate) fn per_output(layer: &Layer, row: Tensor<2>) -> Tensor<2> {
    let Some(window) = window(layer) else { return row };
    let (positions, channels) = (window.positions(), window.channels);
    row.reshape([channels, 1]).repeat_dim(1, positions).reshape([1, channels * positions])
}

/// The function on every element.
pub(crate) fn activate(f: Activation, p: Tensor<2>) -> Tensor<2> {
    match f {
        Activation::Relu => activation::relu(p),
        Activation::LeakyRelu { slope } => activation::leaky_relu(p, slope),
        Activation::Clip { low, high } => p.clamp(low, high),
        Activation::Sigmoid => activation::sigmoid(p),
        Activation::Tanh => activation::tanh(p),
        Activation::Softplus => activation::softplus(p, 1.0),
        Activation::Gelu => activation::gelu(p),
        Activation::GeluTanh => activation::gelu_approximate(p),
    }
}

fn max_pool(window: &Window, z: Tensor<2>) -> Tensor<2> {
    let batch = z.dims()[0];
    let [padding_y, padding_x] = window.padding.map(|[before, after]| (before, after));
    let options = MaxPoolOptions {
        kernel_size: window.kernel,
        stride: window.stride,
        padding: [padding_y, padding_x],
        dilation: window.dilation,
        ceil_mode: false,
    };
    flat(max_pool2d(images(window, z), options), batch)
}

fn images(window: &Window, z: Tensor<2>) -> Tensor<4> {
    let [channels, height, width] = window.input;
    let batch = z.dims()[0];
    z.reshape([batch, channels, height, width])
}

fn kernels(window: &Window, weight: Tensor<2>) -> Tensor<4> {
    let [height, width] = window.kernel;
    weight.reshape([window.channels, window.group_inputs(), height, width])
}

fn flat(images: Tensor<4>, batch: usize) -> Tensor<2> {
    let width = images.shape().num_elements() / batch.max(1);
    images.reshape([batch, width])
}
