//! Text of a threat model in TOML; one that is accepted makes a set of a small network, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weightproof::kernels::Matrix;
use weightproof::network::{Activation, Network, NetworkBuilder};
use weightproof_run::threat::{ThreatConfig, parse};

/// Two dense layers, `dense1` and `dense2`.
fn network() -> Network {
    let mut builder = NetworkBuilder::new(vec![1]);
    let p =
        builder.dense("dense1", 0, Matrix::from_vec(2, 1, vec![1.0, -0.5]), Vec::new()).expect("it is right");
    let z = builder.activation("relu", p, Activation::Relu).expect("it is right");
    builder
        .dense("dense2", z, Matrix::from_vec(2, 2, vec![1.0, 0.0, 0.5, 2.0]), vec![0.1, 0.2])
        .expect("it is right");
    builder.finish().expect("it is right")
}

fuzz_target!(|text: &str| match parse(text) {
    Ok(model) => {
        let (network, config) = (network(), ThreatConfig::new(model, vec![0.1], None));
        for sets in [config.sets(&network, None).map(drop), config.unit_set(&network, None).map(drop)] {
            let _ = sets.map_err(|error| assert!(!error.to_string().is_empty()));
        }
    }
    Err(error) => assert!(!error.to_string().is_empty()),
});
