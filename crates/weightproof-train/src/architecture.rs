//! Networks to be trained: a chain of dense layers, or an architecture file without weights.

use crate::error::TrainError;
use serde::{Deserialize, Serialize};
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{Activation, Network, NetworkBuilder, NetworkError};

/// One layer of `[[network.layer]]`; it reads the one before it. Images are (channels, height, width).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LayerConfig {
    /// `W z + b` of all elements.
    Dense {
        /// Size of the output.
        outputs: usize,
    },
    /// A convolution with a square kernel.
    Conv {
        /// Output channels.
        channels: usize,
        /// Height and width of the kernel.
        kernel: usize,
        /// Steps of the window.
        #[serde(default = "one")]
        stride: usize,
        /// Zeros around the image.
        #[serde(default)]
        padding: usize,
    },
    /// `max(p, 0)`.
    Relu,
    /// The soft threshold: towards zero by `lambda`, zero where the magnitude is below it.
    SoftThreshold {
        /// The threshold.
        lambda: f64,
    },
    /// `1 / (1 + exp(-p))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// The largest element of square windows.
    MaxPool {
        /// Height and width of the window, and its steps.
        kernel: usize,
    },
    /// The mean of square windows.
    AveragePool {
        /// Height and width of the window, and its steps.
        kernel: usize,
    },
    /// Adds the output of an earlier layer, counted from 1.
    Add {
        /// Number of that layer.
        layer: usize,
    },
}

fn one() -> usize {
    1
}

/// Layers one after the other, named by type and number, all parameters zero.
///
/// # Errors
/// When a layer does not fit its input.
pub fn layers(input: Vec<usize>, layers: &[LayerConfig]) -> Result<Network, TrainError> {
    let mut builder = NetworkBuilder::new(input);
    // Node of each layer; layer 0 is the input.
    let mut nodes = vec![0];
    for (number, layer) in layers.iter().enumerate().map(|(k, layer)| (k + 1, layer)) {
        let before = nodes[number - 1];
        let name = |kind: &str| format!("{kind}_{number}");
        let image = || match *builder.shape(before) {
            [channels, height, width] => Ok([channels, height, width]),
            ref shape => Err(TrainError::setting(
                format!("network.layer {number}"),
                format!("expected an input of shape (channels, height, width), found {shape:?}"),
            )),
        };
        let node = match *layer {
            LayerConfig::Dense { outputs } => {
                let inputs = builder.shape(before).iter().product();
                builder.dense(&name("dense"), before, Matrix::zeros(outputs, inputs), vec![0.0; outputs])?
            }
            LayerConfig::Conv { channels, kernel, stride, padding } => {
                let window = Window {
                    stride: [stride; 2],
                    padding: [[padding; 2]; 2],
                    ..Window::new(image()?, channels, [kernel; 2])
                };
                let weight = Matrix::zeros(channels, window.patch());
                builder.conv(&name("conv"), before, weight, vec![0.0; channels], window)?
            }
            LayerConfig::Relu => builder.activation(&name("relu"), before, Activation::Relu)?,
            LayerConfig::SoftThreshold { lambda } => {
                let f = Activation::SoftThreshold { lambda };
                builder.activation(&name("soft-threshold"), before, f)?
            }
            LayerConfig::Sigmoid => builder.activation(&name("sigmoid"), before, Activation::Sigmoid)?,
            LayerConfig::Tanh => builder.activation(&name("tanh"), before, Activation::Tanh)?,
            LayerConfig::MaxPool { kernel } => {
                let window = Window { stride: [kernel; 2], ..Window::pooling(image()?, [kernel; 2]) };
                builder.max_pool(&name("max-pool"), before, window)?
            }
            LayerConfig::AveragePool { kernel } => {
                let window = Window { stride: [kernel; 2], ..Window::pooling(image()?, [kernel; 2]) };
                builder.average_pool(&name("average-pool"), before, window, true)?
            }
            LayerConfig::Add { layer } => {
                let there = nodes.get(layer).copied().ok_or_else(|| {
                    let detail = format!("expected an earlier layer, found {layer}");
                    TrainError::setting(format!("network.layer {number}"), detail)
                })?;
                builder.add(&name("add"), vec![before, there])?
            }
        };
        nodes.push(node);
    }
    Ok(builder.finish()?)
}

/// Dense layers `fc1, fc2, …` of the given sizes, input first, with `activation` between them; all parameters zero.
///
/// # Errors
/// When there are fewer than three sizes (no activation) or a size is zero.
pub fn dense(sizes: &[usize], activation: Activation) -> Result<Network, NetworkError> {
    if let Some(k) = sizes.iter().position(|&n| n == 0) {
        return Err(NetworkError::Shape {
            node: format!("fc{k}"),
            expected: "sizes of at least 1".into(),
            found: "0".into(),
        });
    }
    let mut builder = NetworkBuilder::new(sizes.iter().take(1).copied().collect());
    for (k, pair) in sizes.windows(2).enumerate() {
        let weight = Matrix::zeros(pair[1], pair[0]);
        let layer = builder.dense(&format!("fc{}", k + 1), builder.last(), weight, vec![0.0; pair[1]])?;
        if k + 2 < sizes.len() {
            builder.activation(&format!("{}{}", activation.name(), k + 1), layer, activation)?;
        }
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_make_a_chain() {
        let network = dense(&[4, 3, 3, 2], Activation::Relu).unwrap();
        let names: Vec<&str> = network.nodes().iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["input", "fc1", "relu1", "fc2", "relu2", "fc3"]);
        assert_eq!(dense(&[4, 2], Activation::Relu).unwrap().neurons(), 0);
        assert_eq!(dense(&[], Activation::Relu), Err(NetworkError::NoWeights));
        let error = dense(&[4, 0, 2], Activation::Relu).unwrap_err();
        assert_eq!(error.to_string(), "node fc1: expected sizes of at least 1, found 0");
    }
}
