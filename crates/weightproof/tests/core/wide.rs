//! Networks whose outputs are images: more outputs than backward passes.

use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::kernels::{Matrix, Window};
use weightproof::network::{Activation, Affine, Conv, Layer, NetworkBuilder};
use weightproof::property::Property;
use weightproof::threat::{Kind, ThreatModel};
use weightproof::verdict::{Samples, Verdict};

const SIDE: usize = 200;
const RADIUS: f64 = 0.01;
/// Deviations are bounded in f32 first.
const TOLERANCE: f64 = 5e-5;

/// Two layers of one weight each (passes for every output would take many minutes), 2 and 3, with a ReLU between: outputs `3 relu(2 x)` move by `((2 + r)(3 + r) − 6) x`.
#[test]
fn images_of_outputs_are_bounded_tightly() {
    let mut builder = NetworkBuilder::new(vec![1, SIDE, SIDE]);
    let mut last = 0;
    for (name, weight) in [("first", 2.0), ("second", 3.0)] {
        let window = Window::new([1, SIDE, SIDE], 1, [1, 1]);
        let affine = Affine {
            weight: Matrix::from_vec(1, 1, vec![weight]),
            bias: vec![0.0],
            has_bias: false,
            stored: None,
        };
        let layer = Layer::Conv(Conv { affine, window });
        last = builder.push(name, layer, vec![last], vec![1, SIDE, SIDE]).unwrap();
        if name == "first" {
            last = builder.activation("relu", last, Activation::Relu).unwrap();
        }
    }
    let network = builder.finish().unwrap();
    let inputs: Vec<f64> = (0..SIDE * SIDE).map(|k| k as f64 / (SIDE * SIDE - 1) as f64).collect();
    let set = ThreatModel::new(Kind::Absolute, RADIUS).resolve(&network).unwrap();
    let expected = (2.0 + RADIUS) * (3.0 + RADIUS) - 6.0;
    for method in ["interval", "linear"] {
        let options = CertifyOptions { tolerance: 0.1, ..CertifyOptions::new(method, Property::Deviation) };
        let sets = [set.clone()];
        let certifier = Certifier::new(&network, &sets, options).unwrap();
        let found =
            certifier.certify(Samples { first: 0, inputs: &inputs, labels: None }).remove(0).remove(0);
        assert_eq!(found.verdict, Verdict::Verified, "{method}");
        let deviation = found.deviation_upper.unwrap();
        assert!(deviation >= expected && deviation <= expected + TOLERANCE, "{method}: {deviation}");
    }
}
