//! Witnesses as files: the perturbed parameters, in f64, with what they do in the metadata.

use crate::error::Failure;
use std::fs;
use std::path::{Path, PathBuf};
use weightproof::network::Network;
use weightproof::threat::Perturbation;
use weightproof_formats::network::write_safetensors;

/// A folder for witnesses.
#[derive(Debug)]
pub struct WitnessFolder {
    folder: PathBuf,
}

impl WitnessFolder {
    /// Creates the folder if it is not there.
    pub fn create(folder: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(folder).map_err(Failure::io(folder))?;
        Ok(WitnessFolder { folder: folder.into() })
    }

    /// Writes `perturbation` as `NAME.safetensors`: tensors `LAYER.weight` and `LAYER.bias`, `input` where the input moves
    /// and `NODE.offset` where activations do.
    pub fn write(
        &self,
        name: &str,
        network: &Network,
        perturbation: &Perturbation,
        metadata: &[(&str, String)],
    ) -> Result<(), Failure> {
        let node = |index: usize| network.nodes()[index].name.as_str();
        let biased = |index| network.affine_layers().any(|(i, _, dense)| i == index && dense.has_bias);
        let mut tensors = Vec::new();
        for layer in &perturbation.layers {
            let shape = vec![layer.weight.rows(), layer.weight.cols()];
            tensors.push((format!("{}.weight", node(layer.node)), shape, layer.weight.as_slice().to_vec()));
            if biased(layer.node) {
                let shape = vec![layer.bias.len()];
                tensors.push((format!("{}.bias", node(layer.node)), shape, layer.bias.clone()));
            }
        }
        if let Some(input) = &perturbation.input {
            tensors.push(("input".into(), vec![input.len()], input.clone()));
        }
        for added in &perturbation.activations {
            let shape = vec![added.offset.len()];
            tensors.push((format!("{}.offset", node(added.node)), shape, added.offset.clone()));
        }
        let metadata: Vec<(String, String)> =
            metadata.iter().map(|(key, text)| ((*key).into(), text.clone())).collect();
        let path = self.folder.join(format!("{name}.safetensors"));
        Ok(write_safetensors(&path, &tensors, &metadata)?)
    }
}
