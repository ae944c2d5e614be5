//! Numbers that a model keeps in files beside it, as PyTorch's exporter writes them: `model.onnx` with `model.onnx.data`.
//!
//! A model from outside names these files, so nothing but plain files of its own folder is opened, and sizes are checked before
//! anything is copied.

use super::error::OnnxError;
use super::op::clean;
use super::proto::{EXTERNAL, GraphProto, TensorProto};
use crate::error::FormatError;
use crate::network::{MAX_FILE, read_file};
use std::path::{Component, Path};

/// The most files that one model may name.
const MOST_FILES: usize = 64;

/// The files that a model names, in the order in which it does.
#[derive(Default)]
pub struct ExternalData {
    files: Vec<(String, Vec<u8>)>,
    copied: u64,
}

impl ExternalData {
    /// Puts the numbers of all initializers that are in other files into `graph`, the graph of the file `model`.
    ///
    /// # Errors
    /// A name that leaves the folder of the model, directly or by a link; a file that cannot be read; a range that is not in it;
    /// more than 64 files, more than 2 GiB, or ranges that overlap to more than twice the files.
    pub fn load(graph: &mut GraphProto, model: &Path) -> Result<Self, FormatError> {
        let mut data = ExternalData::default();
        for tensor in graph.initializer.iter_mut().filter(|t| t.data_location == EXTERNAL) {
            let bytes = data.bytes(tensor, model)?;
            tensor.raw_data = bytes;
            tensor.data_location = 0;
            tensor.external_data.clear();
        }
        Ok(data)
    }

    /// The bytes of the files.
    pub fn files(&self) -> impl Iterator<Item = &[u8]> {
        self.files.iter().map(|(_, bytes)| bytes.as_slice())
    }

    fn bytes(&mut self, tensor: &TensorProto, model: &Path) -> Result<Vec<u8>, FormatError> {
        let refuse = |expected: String, found: String| FormatError::Onnx {
            path: model.into(),
            source: OnnxError::Tensor { tensor: clean(&tensor.name), expected, found },
        };
        let value = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let number = |key: &str| {
            let parse = |text: &str| {
                text.parse::<u64>()
                    .map_err(|_| refuse(format!("a whole number as {key} of its data"), clean(text)))
            };
            value(key).map(parse).transpose()
        };
        let location = value("location").unwrap_or_default();
        let file = self.file(location, model, &refuse)?;
        let size = self.files[file].1.len() as u64;
        let begin = number("offset")?.unwrap_or(0);
        let end = match number("length")? {
            Some(length) => begin.checked_add(length),
            None => Some(size),
        };
        let Some(end) = end.filter(|end| begin <= *end && *end <= size) else {
            let length =
                value("length").map_or_else(String::new, |length| format!(", length {}", clean(length)));
            return Err(refuse(
                format!("data within the {size} bytes of {location}"),
                format!("offset {begin}{length}"),
            ));
        };
        self.copied += end - begin;
        let known: u64 = self.files().map(|bytes| bytes.len() as u64).sum();
        if self.copied > 2 * known {
            return Err(refuse(format!("tensors of at most {} bytes in all", 2 * known), "more".into()));
        }
        // The range is within the file, which is in memory.
        Ok(self.files[file].1[begin as usize..end as usize].to_vec())
    }

    /// The number of the file of this name, which is read when it is new.
    fn file(
        &mut self,
        location: &str,
        model: &Path,
        refuse: &impl Fn(String, String) -> FormatError,
    ) -> Result<usize, FormatError> {
        if let Some(known) = self.files.iter().position(|(name, _)| name == location) {
            return Ok(known);
        }
        let name = Path::new(location);
        let mut parts = name.components();
        let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name.as_os_str());
        if !plain || location.contains(['\\', ':', '\0']) {
            return Err(refuse(
                "its data in the folder of the model".into(),
                format!("them in {}", clean(location)),
            ));
        }
        if self.files.len() == MOST_FILES {
            return Err(refuse(format!("at most {MOST_FILES} files with data"), "more".into()));
        }
        let path = model.with_file_name(location);
        let kind = std::fs::symlink_metadata(&path).map_err(FormatError::io(&path))?;
        if !kind.is_file() {
            return Err(refuse(
                "its data in a file".into(),
                format!("a link or a folder, {}", clean(location)),
            ));
        }
        let known: u64 = self.files().map(|bytes| bytes.len() as u64).sum();
        let bytes = read_file(&path, MAX_FILE - known)?;
        self.files.push((location.into(), bytes));
        Ok(self.files.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{
        DimensionProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorShapeProto,
        TensorTypeProto, TypeProto, ValueInfoProto, data_type,
    };
    use super::*;
    use crate::fingerprint::sha256;
    use crate::network::{LoadedNetwork, read_network};
    use prost::Message;

    /// A Gemm of two inputs whose four weights are where `entries` says.
    fn model(entries: &[(&str, &str)]) -> Vec<u8> {
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: (*key).into(),
            value: (*value).into(),
        };
        let weights = TensorProto {
            name: "w".into(),
            dims: vec![2, 2],
            data_type: data_type::FLOAT,
            external_data: entries.iter().map(entry).collect(),
            data_location: EXTERNAL,
            ..TensorProto::default()
        };
        let node = |op: &str, inputs: &[&str], output: &str| NodeProto {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.into()],
            op_type: op.into(),
            ..NodeProto::default()
        };
        let value = |name: &str, dims: &[i64]| {
            let dim = dims.iter().map(|&d| DimensionProto { dim_value: Some(d), dim_param: None }).collect();
            let tensor_type =
                Some(TensorTypeProto { elem_type: data_type::FLOAT, shape: Some(TensorShapeProto { dim }) });
            ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }) }
        };
        let graph = GraphProto {
            node: vec![node("MatMul", &["x", "w"], "h"), node("Relu", &["h"], "y")],
            initializer: vec![weights],
            input: vec![value("x", &[1, 2])],
            output: vec![value("y", &[1, 2])],
            ..GraphProto::default()
        };
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
        ModelProto { graph: Some(graph), opset_import }.encode_to_vec()
    }

    const NUMBERS: [f32; 6] = [9.0, 1.0, 2.0, 3.0, 4.0, 9.0];

    fn read(folder: &Path, entries: &[(&str, &str)]) -> Result<LoadedNetwork, FormatError> {
        let path = folder.join("model.onnx");
        std::fs::write(&path, model(entries)).unwrap();
        read_network(&path)
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = NUMBERS.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(folder.path().join("model.onnx.data"), bytes).unwrap();
        folder
    }

    #[test]
    fn data_beside_a_model_are_read_and_hashed() {
        let folder = folder();
        let entries = [("location", "model.onnx.data"), ("offset", "4"), ("length", "16")];
        let loaded = read(folder.path(), &entries).unwrap();
        assert_eq!(loaded.network.forward(&[1.0, 10.0]), [31.0, 42.0]);
        let data = std::fs::read(folder.path().join("model.onnx.data")).unwrap();
        assert_eq!(loaded.sha256, sha256(&[model(&entries), data].concat()));
    }

    #[test]
    fn only_plain_files_of_the_folder_are_opened() {
        let folder = folder();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::copy(folder.path().join("model.onnx.data"), folder.path().join("sub/data")).unwrap();
        let absolute = folder.path().join("model.onnx.data");
        let names = [
            "../data",
            "sub/data",
            "./model.onnx.data",
            "..",
            "",
            "/etc/passwd",
            "a\\b",
            "c:data",
            absolute.to_str().unwrap(),
        ];
        for name in names {
            let error = read(folder.path(), &[("location", name)]).unwrap_err().to_string();
            assert!(
                error.contains("tensor w: expected its data in the folder of the model"),
                "{name}: {error}"
            );
        }
        let error = read(folder.path(), &[("location", "sub")]).unwrap_err().to_string();
        assert!(error.contains("expected its data in a file"), "{error}");
        assert!(read(folder.path(), &[("location", "none")]).unwrap_err().to_string().contains("none"));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folder.path().join("sub/data"), folder.path().join("link")).unwrap();
            let error = read(folder.path(), &[("location", "link")]).unwrap_err().to_string();
            assert!(error.contains("found a link or a folder, link"), "{error}");
        }
    }

    #[test]
    fn ranges_are_within_the_file_and_as_large_as_the_shape() {
        let folder = folder();
        let last = u64::MAX.to_string();
        for (offset, length, expected) in [
            ("4", "21", "expected data within the 24 bytes of model.onnx.data, found offset 4, length 21"),
            ("25", "0", "expected data within the 24 bytes"),
            (last.as_str(), "16", "expected data within the 24 bytes"),
            ("-1", "16", "expected a whole number as offset of its data, found -1"),
            ("4", "x", "expected a whole number as length of its data, found x"),
            ("4", "12", "tensor w: expected data for the shape"),
        ] {
            let entries = [("location", "model.onnx.data"), ("offset", offset), ("length", length)];
            let error = read(folder.path(), &entries).unwrap_err().to_string();
            assert!(error.contains(expected), "{offset} {length}: {error}");
        }
        // To the end of the file where no length is said.
        let entries = [("location", "model.onnx.data"), ("offset", "8")];
        assert_eq!(read(folder.path(), &entries).unwrap().network.forward(&[1.0, 0.0]), [2.0, 3.0]);
    }
}
