//! Files that are something else than their name says, by their first bytes.

/// What a file is that is no network which is read, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recognised {
    /// What it is, in words.
    pub what: &'static str,
    /// What to do.
    pub hint: &'static str,
}

const PYTORCH: Recognised = Recognised {
    what: "a file of PyTorch",
    hint: "export the model: torch.onnx.export(model.eval(), example, \"model.onnx\"), or read it in Python with Network.from_torch",
};
const KERAS: Recognised = Recognised {
    what: "a file of Keras",
    hint: "export the model: keras.saving.load_model(file).export(\"model.onnx\", format=\"onnx\")",
};
const TFLITE: Recognised = Recognised {
    what: "a TensorFlow Lite model",
    hint: "convert it: python -m tf2onnx.convert --tflite model.tflite --output model.onnx",
};

/// What the bytes at the start of a file say that it is.
pub fn recognise(bytes: &[u8]) -> Option<Recognised> {
    let has = |part: &[u8]| bytes[..bytes.len().min(512)].windows(part.len()).any(|window| window == part);
    let found = |what, hint| Some(Recognised { what, hint });
    if bytes.starts_with(b"version https://git-lfs") {
        found("a pointer of Git LFS, not the file that it stands for", "fetch the file: git lfs pull")
    } else if bytes.starts_with(&[0x1f, 0x8b]) {
        found(
            "a file packed by gzip",
            "a name that ends with .onnx.gz is read as it is; else unpack it: gunzip",
        )
    } else if bytes.starts_with(b"PK\x03\x04") {
        if has(b"metadata.json") || has(b"config.json") {
            Some(KERAS)
        } else if has(b"data.pkl") || has(b".format_version") || has(b"byteorder") {
            Some(PYTORCH)
        } else {
            found("a ZIP archive", "unpack it")
        }
    } else if bytes.starts_with(&[0x80, 0x02, 0x8a]) || bytes.starts_with(&[0x80, 0x02, b'}']) {
        Some(PYTORCH)
    } else if bytes.starts_with(b"\x89HDF\r\n\x1a\n") {
        Some(KERAS)
    } else if bytes.get(4..8) == Some(b"TFL3") {
        Some(TFLITE)
    } else if bytes.starts_with(b"GGUF") {
        found("a GGUF file", "it holds weights without a network; export the model it was made from to ONNX")
    } else if bytes.get(..9).is_some_and(|start| start[8] == b'{' && start[4..8] == [0; 4]) {
        found(
            "a safetensors file",
            "a name that ends with .safetensors is read, with its architecture in a .toml beside it",
        )
    } else if bytes.starts_with(b"<!DOCTYPE") || bytes.starts_with(b"<html") {
        found("a page of a website", "download the file itself")
    } else {
        None
    }
}

/// What a file of this extension probably is, and what to do about it.
pub fn by_extension(extension: &str) -> Option<Recognised> {
    match extension {
        "pt" | "pth" | "ckpt" => Some(PYTORCH),
        "h5" | "hdf5" | "keras" => Some(KERAS),
        "tflite" => Some(TFLITE),
        "pb" => Some(Recognised {
            what: "a TensorFlow graph",
            hint: "convert it: python -m tf2onnx.convert --saved-model FOLDER --output model.onnx",
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell() {
        let cases: [(&[u8], &str); 10] = [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "Git LFS"),
            (&[0x1f, 0x8b, 8, 0], "gzip"),
            (b"PK\x03\x04........archive/data.pklFB", "PyTorch"),
            (b"PK\x03\x04........metadata.json", "Keras"),
            (&[0x80, 0x02, 0x8a, 0x0a], "PyTorch"),
            (b"\x89HDF\r\n\x1a\n\0", "Keras"),
            (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
            (b"GGUF\x03\0\0\0", "GGUF"),
            (b"\x40\0\0\0\0\0\0\0{\"w\":", "safetensors"),
            (b"<!DOCTYPE html>", "website"),
        ];
        for (bytes, what) in cases {
            let found = recognise(bytes).unwrap();
            assert!(found.what.contains(what) && !found.hint.is_empty(), "{found:?}");
            assert!(recognise(&bytes[..2.min(bytes.len())]).is_none_or(|found| found.what.contains("gzip")));
        }
        // The first field of a model is its version.
        assert_eq!(recognise(&[0x08, 0x08, 0x12, 0x07]), None);
        assert!(by_extension("pth").unwrap().hint.contains("torch.onnx.export"));
    }
}
