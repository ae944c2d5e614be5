//! Witnesses as files: the perturbed parameters, in f64, with what they do in the metadata.

use crate::RunError;
use crate::threat::SetAt;
use std::fs;
use std::path::{Path, PathBuf};
use weightproof::network::Network;
use weightproof::threat::Perturbation;
use weightproof::verdict::Clean;
use weightproof_formats::FormatError;
use weightproof_formats::network::write_safetensors;

/// A folder for witnesses.
#[derive(Debug)]
pub struct WitnessFolder {
    folder: PathBuf,
}

impl WitnessFolder {
    /// Creates the folder if it is not there.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn create(folder: &Path) -> Result<Self, RunError> {
        fs::create_dir_all(folder).map_err(FormatError::io(folder))?;
        Ok(WitnessFolder { folder: folder.into() })
    }

    /// Writes what breaks one sample at the radius of set `k`, and gives the name of the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_sample(
        &self,
        (sets, k): (&[SetAt], usize),
        network: &Network,
        broken: &Broken<'_>,
        perturbation: &Perturbation,
    ) -> Result<String, RunError> {
        let clean = broken.clean;
        let runner_up = broken.runner_up.map(|class| ("runner_up", class.to_string()));
        let metadata: Vec<(&str, String)> = [
            Some(("sample", clean.index.to_string())),
            Some(("target", clean.target.to_string())),
            runner_up,
            Some(("margin", clean.margin.to_string())),
            Some(("worst_margin", broken.worst_margin.to_string())),
        ]
        .into_iter()
        .flatten()
        .collect();
        let name = format!("{}sample-{}", prefix(sets, k), clean.index);
        self.write(&name, network, perturbation, &metadata)
    }

    /// Writes `perturbation` as `NAME.safetensors`: tensors `LAYER.weight` and `LAYER.bias`, `input` where the input moves
    /// and `NODE.offset` where activations do. Gives the name of the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(
        &self,
        name: &str,
        network: &Network,
        perturbation: &Perturbation,
        metadata: &[(&str, String)],
    ) -> Result<String, RunError> {
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
        let file = format!("{name}.safetensors");
        write_safetensors(&self.folder.join(&file), &tensors, &metadata)?;
        Ok(file)
    }
}

/// A sample whose property a perturbation breaks.
#[derive(Debug)]
pub struct Broken<'a> {
    /// The unperturbed network.
    pub clean: &'a Clean,
    /// Class (deviation: output) that breaks it, where it is known.
    pub runner_up: Option<usize>,
    /// The margin under the perturbation.
    pub worst_margin: f64,
}

/// What tells the files of several radii apart.
pub fn prefix(sets: &[SetAt], k: usize) -> String {
    let radius = sets[k].radius.filter(|_| sets.len() > 1);
    radius.map_or_else(String::new, |radius| format!("radius-{radius}-"))
}
