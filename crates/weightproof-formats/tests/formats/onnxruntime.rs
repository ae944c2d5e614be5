//! The reader against ONNX Runtime itself, where Python has it: random inputs on the embedded model.

use std::path::Path;
use std::process::Command;
use weightproof_formats::network::read_network;

/// Outputs are computed in f32, the network computes in f64.
const TOLERANCE: f64 = 1e-4;

const SCRIPT: &str = r#"
import sys
try:
    import numpy, onnxruntime
except ImportError:
    sys.exit(77)
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
spec = session.get_inputs()[0]
shape = [d if isinstance(d, int) else 1 for d in spec.shape]
rng = numpy.random.default_rng(7)
for _ in range(20):
    x = rng.uniform(0, 1, shape).astype(numpy.float32)
    y = session.run(None, {spec.name: x})[0]
    print(*(repr(float(v)) for v in x.ravel()), "|", *(repr(float(v)) for v in y.ravel()))
"#;

#[test]
fn outputs_agree_on_random_inputs() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/mnist-784-128-64-32-10.onnx");
    let output = match Command::new("python3").arg("-c").arg(SCRIPT).arg(&model).output() {
        Ok(output) if output.status.success() => output,
        _ => {
            eprintln!("skipped: no ONNX Runtime");
            return;
        }
    };
    let network = read_network(&model).unwrap().network;
    let numbers = |text: &str| -> Vec<f64> { text.split_whitespace().map(|v| v.parse().unwrap()).collect() };
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 20);
    for line in text.lines() {
        let (x, y) = line.split_once('|').unwrap();
        for (a, b) in network.forward(&numbers(x)).iter().zip(numbers(y)) {
            assert!((a - b).abs() <= TOLERANCE * b.abs().max(1.0), "{a} instead of {b}");
        }
    }
}
