//! The page on operators and the table of exporters, written from the table of operators and the exported models that the tests
//! read.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test -p weightproof-formats --lib` writes them anew.

use super::operators::SUPPORTED_OPERATORS;
use super::proto::ModelProto;
use super::{MAX_OPSET, MIN_OPSET};
use prost::Message;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// Heading and what the names of exported models start with.
const EXPORTERS: [(&str, &str); 4] = [
    ("PyTorch legacy", "torch-legacy-"),
    ("PyTorch dynamo", "torch-dynamo-"),
    ("tf2onnx", "tf2onnx-"),
    ("Keras", "keras-"),
];

/// The operators in the exported models whose names start with `prefix`.
fn operators(prefix: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exporters");
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the exported models") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.starts_with(prefix) && name.ends_with(".onnx") {
            let model =
                ModelProto::decode(std::fs::read(&path).expect("a file").as_slice()).expect("a model");
            found.extend(model.graph.expect("a graph").node.into_iter().map(|node| node.op_type));
        }
    }
    found
}

fn page() -> String {
    let mut page = format!(
        "# ONNX operators\n\n\
         Operator sets {MIN_OPSET} to {MAX_OPSET}. *tested*: a network from that exporter with this operator is part of \
         the tests, which compare its outputs\nwith ONNX Runtime's (`crates/weightproof-formats/tests/exporters`, made by \
         `assets/make_exporter_onnx.py` with PyTorch 2.8.0,\nTensorFlow 2.18.0, tf2onnx 1.17.0 and Keras 3.15.1). Operators \
         without a mark are tested on models written by hand\n(`assets/make_tiny_onnx.py`). Everything else is an error that \
         names the node.\n\n"
    );
    let found: Vec<BTreeSet<String>> = EXPORTERS.iter().map(|(_, prefix)| operators(prefix)).collect();
    let headings: Vec<&str> = EXPORTERS.iter().map(|(heading, _)| *heading).collect();
    // Writing to a string does not fail.
    let _ = writeln!(page, "| operator | {} | becomes |\n|---|---|---|---|---|---|", headings.join(" | "));
    for operator in SUPPORTED_OPERATORS {
        let mark = |set: &BTreeSet<String>| if set.contains(operator.name) { "tested" } else { "" };
        let marks: Vec<&str> = found.iter().map(mark).collect();
        let _ = writeln!(page, "| {} | {} | {} |", operator.name, marks.join(" | "), operator.remark);
    }
    page.push_str(NOTES);
    page
}

const NOTES: &str = "
Weights may be in files beside the model (`model.onnx.data`, as PyTorch's dynamo exporter writes them): plain files of the same folder, no links, at most 64
files and 2 GiB. The SHA-256 of the network in results is then of the model's bytes followed by theirs.

What the exported networks contain: convolutions in one and two dimensions, strided, dilated, depthwise and grouped, with explicit,
asymmetric and `same` padding; batch normalization before and after convolutions and dense layers and after additions; max, average
(with and without padding counted), global pooling and means over axes; residual additions; ReLU, ReLU6, leaky ReLU, hardtanh, tanh,
sigmoid; channels split, sliced and joined; flattening with a batch size taken from the input's shape (`x.view(x.size(0), -1)`);
images with channels last, as TensorFlow has them. PyTorch legacy was tested with and without its own folding of batch
normalization (operator sets 17 and 13), PyTorch dynamo at 18, tf2onnx and Keras at 15, all but the unfolded ones with a dynamic batch size.

Quantized networks, in both forms, are those of [Networks that are quantized already](how-to/quantized-networks.md): tested on what ONNX Runtime's static and dynamic
quantization writes (`crates/weightproof-formats/tests/onnx-quantized`, made by `assets/make_quantized_onnx.py`).

Weights in fp16 and bf16, with a Cast behind them or in networks that compute in the format, are tested on `crates/weightproof-formats/tests/onnx-half`
(`assets/make_half_onnx.py`): outputs are those of ONNX Runtime, of bf16 networks, for which its CPU provider has no products, those of onnx's reference evaluator up to the format's rounding.

Rules that hold for all operators:

- The batch dimension is 1, dynamic, or fixed at any number: samples are taken one by one. Every other dimension of the input must be a
  number, or get one: `--dim seqlen=16`.
- Inputs that the output does not depend on are ignored, others get constant values by `--input NAME=file.npy`; several that are left are laid end to
  end as one sample, in the order of the file, with a note. Inputs may be integers, as a cast or a DequantizeLinear reads them. Of several outputs
  the first with weights is taken, with a note; `--output-name NAME,…` takes others, several end to end, or any other value of the graph.
- Weights and all parameters of layers are constants. `.onnx.gz` is read, too.
- Batch normalization is folded into the convolution or dense layer before it, if nothing else reads that layer, else into the one
  after it, if that one has no padding (or the shift is zero); otherwise, and always with `--batch-norm separate`, it is a depthwise
  convolution of one weight and one bias per channel, which threat models perturb. Exporters that write batch normalization as `Mul`
  and `Add` (TensorFlow where it cannot be folded) give constants, which are not perturbed.
- `Mul`, `Div` and `MatMul` of two computed values are products ([theory](theory.md#17-products-of-computed-values)), but for SiLU, HardSwish, Mish, Softsign and
  GELU as exporters write them out, which are activations. A product of matrices has at most four million terms. Where a divisor may be zero, or a
  root negative, nothing certifies. Number formats (`--threat format:…`), certificate files and safetensors have no products. Three-dimensional
  convolution and pooling are errors.
- Factors and summands of `LayerNormalization`, `RMSNormalization`, `InstanceNormalization` and `GroupNormalization` are a convolution of one weight (and one bias) for each, which
  threat models perturb, as those of batch normalization that is not folded. Written out as `Mul` and `Add` they are constants, which are not perturbed.
- A file that fixes the batch at several samples and mixes them (attention along the first axis) is read as one sample, with a note.
- A matrix that meets several rows of a sample (tokens) is a convolution of one tap, with the matrix as its parameters; a transposed
  convolution is a convolution over an image with zeros between its elements, with the same parameters.
- Not read, by name: fused attention (`MultiHeadAttention`, and `Attention` with masks or past values as operands; `MatMul` and `Softmax` are read), recurrence (`LSTM`, `GRU`), control flow, interpolation (`Resize` but to the
  nearest element), functions that jump (`Round`, `Greater`, `Less`, `Where` with a computed condition, `OneHot`), `Log`, `Sin`, `Cos` and powers with a computed exponent, operators behind a
  LogSoftmax of more than two classes, an ArgMax or TopK that is not over all elements (but for two), trees and text operators (`ai.onnx.ml`), graphs with gradients. The part
  before such a node can be certified: its value is the output with `--output-name`.

`assets/measure_coverage.py FOLDER` says how many networks of a folder are read and agree with ONNX Runtime, and why not the others;
`assets/make_torch_exports.py` writes such a folder with PyTorch's own modules.
";

/// The table of the page on convolutional networks: what each exporter writes, and what is read besides.
fn summary() -> String {
    let mut rest: BTreeSet<&str> = SUPPORTED_OPERATORS.iter().map(|o| o.name).collect();
    let mut table = "| exporter | operators that are tested on its networks |\n|---|---|\n".to_owned();
    for (heading, prefix) in EXPORTERS {
        let found = operators(prefix);
        found.iter().for_each(|name| _ = rest.remove(name.as_str()));
        let _ = writeln!(table, "| {heading} | {} |", found.into_iter().collect::<Vec<_>>().join(", "));
    }
    let _ = writeln!(table, "| *by hand* | {} |", rest.into_iter().collect::<Vec<_>>().join(", "));
    table
}

/// Compares the file at `path` from the root of the repository with what `renew` makes of it.
fn check(path: &str, renew: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    let renewed = renew(&stored);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &renewed).expect("a writable page");
    } else {
        assert!(stored == renewed, "{}: run with UPDATE_SNAPSHOTS=1", path.display());
    }
}

#[test]
fn the_page_on_operators_is_up_to_date() {
    check("docs/operators.md", |_| page());
}

#[test]
fn the_table_of_exporters_is_up_to_date() {
    const START: &str = "<!-- operators -->\n";
    const END: &str = "<!-- end of operators -->";
    check("docs/convolutional.md", |page| {
        let (before, rest) = page.split_once(START).expect("the start of the table");
        let (_, after) = rest.split_once(END).expect("the end of the table");
        format!("{before}{START}{}{END}{after}", summary())
    });
}

#[test]
fn every_exporter_is_covered() {
    for (heading, prefix) in EXPORTERS {
        let found = operators(prefix);
        assert!(found.contains("Conv") && found.contains("Relu"), "{heading}: {found:?}");
        let names: Vec<&str> = SUPPORTED_OPERATORS.iter().map(|o| o.name).collect();
        assert!(found.iter().all(|name| names.contains(&name.as_str())), "{heading}: {found:?}");
    }
}
