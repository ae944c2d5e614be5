//! A network, and where it came from.

use crate::array::{self, Array, ArrayFeed};
use crate::error::raise;
use numpy::{PyArray1, PyArrayMethods};
use pyo3::prelude::*;
use serde_json::json;
use std::path::PathBuf;
use weightproof::model::ForwardPass;
use weightproof::network::{Conv, Layer, StepRounding};
use weightproof_formats::FormatError;
use weightproof_formats::fingerprint::sha256;
use weightproof_formats::network::{BatchNorm, parse_safetensors_with, write_network};
use weightproof_report::ModelReport;
use weightproof_run::config::{DataConfig, ModelConfig};
use weightproof_run::feed::Feed;
use weightproof_run::{RunError, source};

/// Samples of a forward pass for each thread.
const BLOCK: usize = 64;

/// A network of the library with its description.
#[pyclass(frozen, module = "weightproof._weightproof")]
pub struct Network {
    /// The network.
    pub network: weightproof::network::Network,
    /// The block of reports about it.
    pub model: ModelReport,
    /// Where it was read from.
    pub config: ModelConfig,
}

/// A layer's weights with their shape, and its biases if it has any.
type Parameters<'py> = (String, Bound<'py, PyAny>, Option<Bound<'py, PyArray1<f64>>>);

#[pymethods]
impl Network {
    /// Reads a file, or the embedded network without one.
    #[staticmethod]
    fn load(
        py: Python<'_>,
        path: Option<PathBuf>,
        architecture: Option<PathBuf>,
        separate: bool,
        outputs: Vec<String>,
        inputs: Vec<(String, PathBuf)>,
        dims: Vec<(String, usize)>,
        neighbours: bool,
    ) -> PyResult<Network> {
        let step_rounding = if neighbours { StepRounding::Any } else { StepRounding::NearestEven };
        let config = ModelConfig {
            path,
            architecture,
            separate_batch_norm: separate,
            step_rounding,
            outputs,
            inputs,
            dims,
        };
        let (network, model) = py.detach(|| source::load_model(&config)).map_err(raise)?;
        Ok(Network { network, model, config })
    }

    /// Builds a network from the bytes of a safetensors file and its architecture in TOML.
    #[staticmethod]
    fn build(
        py: Python<'_>,
        weights: &[u8],
        architecture: &str,
        separate: bool,
        name: &str,
        format: &str,
        mut notes: Vec<String>,
        dropped_head: Option<String>,
    ) -> PyResult<Network> {
        let batch_norm = if separate { BatchNorm::Separate } else { BatchNorm::Fold };
        let (network, found) = py
            .detach(|| parse_safetensors_with(weights, architecture, batch_norm))
            .map_err(|source| raise(FormatError::Safetensors { path: name.into(), source }.into()))?;
        notes.extend(found);
        let sha256 = sha256(weights);
        let model =
            ModelReport { notes, dropped_head, ..ModelReport::new(&network, name, None, sha256, format) };
        let config = ModelConfig { separate_batch_norm: separate, ..ModelConfig::default() };
        Ok(Network { network, model, config })
    }

    /// Outputs of samples, (n, outputs) as one list, in f64.
    fn forward<'py>(&self, py: Python<'py>, x: Array<'py>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let (values, (samples, shape)) = (x.values()?, x.shape());
        let outputs = py.detach(|| {
            let report = array::describe(samples, shape, false);
            let mut feed =
                ArrayFeed::new(values, None, report, None, (&self.network, &DataConfig::default()))?;
            let pass = ForwardPass::<f64>::new(&self.network);
            let mut outputs = Vec::with_capacity(samples * self.network.output_width());
            // As many blocks at once as keep all threads busy, so that memory does not grow with the samples.
            while let Some(batch) = feed.advance(BLOCK * rayon::current_num_threads(), None)? {
                outputs.extend(pass.outputs(batch.inputs).as_slice());
            }
            Ok(outputs)
        });
        Ok(PyArray1::from_vec(py, outputs.map_err(raise)?))
    }

    /// Layers as JSON: name, kind, inputs, shape of the output, shapes of the parameters.
    fn layers(&self) -> String {
        let nodes = self.network.nodes();
        let layer = |node: &weightproof::network::Node| {
            let inputs: Vec<&str> = node.inputs.iter().map(|&i| nodes[i].name.as_str()).collect();
            let weight = node.layer.affine().map(|_| weight_shape(&node.layer));
            let bias = node.layer.affine().filter(|a| a.has_bias).map(|a| [a.bias.len()]);
            json!({
                "name": node.name, "kind": node.layer.kind(), "inputs": inputs, "shape": node.shape,
                "weight": weight, "bias": bias,
            })
        };
        json!(nodes.iter().map(layer).collect::<Vec<_>>()).to_string()
    }

    /// Copies of weights and biases of the layers that have them.
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Vec<Parameters<'py>>> {
        let parameters = self.network.affine_layers().map(|(_, node, affine)| {
            let weight =
                PyArray1::from_slice(py, affine.weight.as_slice()).reshape(weight_shape(&node.layer))?;
            let bias = affine.has_bias.then(|| PyArray1::from_slice(py, &affine.bias));
            Ok((node.name.clone(), weight.into_any(), bias))
        });
        parameters.collect()
    }

    /// Writes the network; the extension says how.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| write_network(&path, &self.network)).map_err(|error| raise(RunError::from(error)))
    }

    /// The block of reports about the network, as JSON.
    fn model(&self) -> String {
        json!(self.model).to_string()
    }
}

/// (n_out, n_in) of a dense layer, (channels, inputs of a group, height, width) of a convolution.
fn weight_shape(layer: &Layer) -> Vec<usize> {
    match layer {
        Layer::Conv(Conv { window, .. }) => {
            vec![window.channels, window.group_inputs(), window.kernel[0], window.kernel[1]]
        }
        Layer::Dense(affine) => vec![affine.weight.rows(), affine.weight.cols()],
        Layer::Input
        | Layer::Scale(_)
        | Layer::Activation(_)
        | Layer::DynamicQuantize(_)
        | Layer::MaxPool(_)
        | Layer::AveragePool(_)
        | Layer::Add
        | Layer::Multiply
        | Layer::Gather(_)
        | Layer::Reshape => Vec::new(),
    }
}
