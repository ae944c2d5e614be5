//! Witnesses as files: the perturbed parameters, in f64, with what they do in the metadata.

use crate::RunError;
use crate::journal::differing;
use crate::threat::SetAt;
use serde_json::Value;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use weightproof::attack::in_counts;
use weightproof::network::Network;
use weightproof::threat::Perturbation;
use weightproof::verdict::Clean;
use weightproof_formats::FormatError;
use weightproof_formats::fingerprint::sha256;
use weightproof_formats::network::write_safetensors;

/// The file of a folder that says which run its witnesses are of.
const MANIFEST: &str = "run.json";

/// What the manifest names.
const SCHEMA: &str = "weightproof/witnesses/1";

/// A folder for the witnesses of one run.
#[derive(Debug)]
pub struct WitnessFolder {
    folder: PathBuf,
}

impl WitnessFolder {
    /// Creates the folder if it is not there, and says in it that its witnesses are those of the run with this
    /// [`identity`](crate::store::identity).
    ///
    /// # Errors
    /// The folder cannot be created, or has witnesses of another run, which would lie beside those of this one.
    pub fn open(folder: &Path, identity: &Value) -> Result<Self, RunError> {
        fs::create_dir_all(folder).map_err(FormatError::io(folder))?;
        let mut ours = identity.clone();
        ours["schema"] = SCHEMA.into();
        if let Some(ours) = ours.as_object_mut() {
            // A folder may be moved, and all parts of a run may share it.
            ours.remove("witness");
            ours.remove("shard");
        }
        let manifest = folder.join(MANIFEST);
        let text = format!("{ours}\n");
        let found = match fs::read(&manifest) {
            Ok(found) if found == text.as_bytes() => return Ok(WitnessFolder { folder: folder.into() }),
            Ok(found) => serde_json::from_slice::<Value>(&found).ok(),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(FormatError::io(&manifest)(error).into()),
        };
        if let Some(witness) = witness(folder)? {
            let what = match found.filter(|found| found["schema"] == SCHEMA) {
                None => format!("no other witnesses, found {witness}"),
                Some(theirs) => {
                    format!(
                        "the witnesses of this run, found those of another: {}",
                        differing(&ours, &theirs)
                    )
                }
            };
            return Err(RunError::Misfit {
                message: format!("{}: expected {what}", folder.display()),
                hint: Some("give a new folder, or the settings and the build of that run"),
            });
        }
        // Whole or not at all.
        let draft = folder.join(format!(".{MANIFEST}.{}.tmp", std::process::id()));
        fs::write(&draft, text)
            .and_then(|()| fs::rename(&draft, &manifest))
            .map_err(FormatError::io(&manifest))?;
        Ok(WitnessFolder { folder: folder.into() })
    }

    /// [`WitnessFolder::open`] where there is a folder; `identity` is asked only then.
    ///
    /// # Errors
    /// Those of `identity` and of [`WitnessFolder::open`].
    pub fn asked(
        folder: Option<&Path>,
        identity: impl FnOnce() -> Result<Value, RunError>,
    ) -> Result<Option<Self>, RunError> {
        folder.map(|folder| Self::open(folder, &identity()?)).transpose()
    }

    /// Whether it has a file of this name.
    pub fn has(&self, name: &str) -> bool {
        self.folder.join(name).is_file()
    }

    /// Writes what breaks one sample at the radius of set `k`: of a quantized network whole counts of its integers, if some that break it are
    /// found near the perturbation.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_sample(
        &self,
        (sets, k): (&[SetAt], usize),
        network: &Network,
        broken: &Broken<'_>,
        perturbation: &Perturbation,
    ) -> Result<WitnessFile, RunError> {
        let clean = broken.clean;
        let counted = broken
            .classes
            .filter(|_| network.is_quantized())
            .map(|x| in_counts(network, &sets[k].set, x, clean.target, perturbation));
        let (perturbation, worst_margin) = match &counted {
            Some(Some(counted)) => (&counted.perturbation, counted.margin),
            Some(None) | None => (perturbation, broken.worst_margin),
        };
        let integers = counted.as_ref().map(Option::is_some);
        let runner_up = broken.runner_up.map(|class| ("runner_up", class.to_string()));
        let metadata: Vec<(&str, String)> = [
            Some(("sample", clean.index.to_string())),
            Some(("target", clean.target.to_string())),
            runner_up,
            Some(("margin", clean.margin.to_string())),
            Some(("worst_margin", worst_margin.to_string())),
            integers.map(|integers| ("integers", integers.to_string())),
        ]
        .into_iter()
        .flatten()
        .collect();
        let name = format!("{}sample-{}", prefix(sets, k), clean.index);
        let file = self.write(&name, network, perturbation, &metadata)?;
        Ok(WitnessFile { integers, ..file })
    }

    /// Writes `perturbation` as `NAME.safetensors`: tensors `LAYER.weight` and `LAYER.bias`, `input` where the input moves
    /// and `NODE.offset` where activations do.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(
        &self,
        name: &str,
        network: &Network,
        perturbation: &Perturbation,
        metadata: &[(&str, String)],
    ) -> Result<WitnessFile, RunError> {
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
        let path = self.folder.join(&file);
        write_safetensors(&path, &tensors, &metadata)?;
        let bytes = fs::read(&path).map_err(FormatError::io(&path))?;
        Ok(WitnessFile {
            name: file.into_boxed_str(),
            sha256: sha256(&bytes).into_boxed_str(),
            integers: None,
        })
    }
}

/// A witness in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessFile {
    /// Name of the file.
    pub name: Box<str>,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: Box<str>,
    /// Of a quantized network, whether its parameters are integers that the file of the network can store, and break the class when the
    /// network is run in integers.
    pub integers: Option<bool>,
}

/// The name of a witness in the folder, if it has one.
fn witness(folder: &Path) -> Result<Option<String>, RunError> {
    for entry in fs::read_dir(folder).map_err(FormatError::io(folder))? {
        let path = entry.map_err(FormatError::io(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            return Ok(path.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
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
    /// Where the property is a class, the input of the sample.
    pub classes: Option<&'a [f64]>,
}

/// What tells the files of several radii apart.
pub fn prefix(sets: &[SetAt], k: usize) -> String {
    let radius = sets[k].radius.filter(|_| sets.len() > 1);
    radius.map_or_else(String::new, |radius| format!("radius-{radius}-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn witnesses_of_two_runs_do_not_mix() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("w");
        let open = |seed| WitnessFolder::open(&folder, &json!({ "seed": seed, "witness": "w" })).map(|_| ());
        // A run that found none leaves the folder to others.
        open(1).unwrap();
        open(2).unwrap();
        fs::write(folder.join("sample-3.safetensors"), "").unwrap();
        open(2).unwrap();
        let error = open(1).unwrap_err();
        assert!(
            error.to_string().ends_with("expected the witnesses of this run, found those of another: seed")
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("new folder")));
        open(2).unwrap();
        // The folder may be called otherwise.
        WitnessFolder::open(&folder, &json!({ "seed": 2, "witness": "other" })).unwrap();
        for manifest in [None, Some(""), Some("{}"), Some("[1]"), Some("{\"seed\":2}")] {
            match manifest {
                None => fs::remove_file(folder.join(MANIFEST)).unwrap(),
                Some(text) => fs::write(folder.join(MANIFEST), text).unwrap(),
            }
            let error = open(2).unwrap_err().to_string();
            assert!(error.ends_with("expected no other witnesses, found sample-3.safetensors"), "{error}");
        }
    }
}
