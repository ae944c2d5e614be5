//! Certificates of quantized networks against inference in integers (theory.md §16).
//!
//! `WEIGHTPROOF_INFERENCES=1000000 cargo test -p weightproof --test core quantized` carries out that many.

use weightproof::network::StepRounding;
use weightproof_testkit::emulation::emulation;
use weightproof_testkit::images::dynamic_quantizers;
use weightproof_testkit::integers::{QuantizedBlueprint, contradiction};
use weightproof_testkit::suite::{containment, zero_radius};

/// Inferences for each network without the variable.
const DRAWS: usize = 60;

fn designs() -> Vec<QuantizedBlueprint> {
    let mut designs = Vec::new();
    for seed in 0..12 {
        for convolutional in [false, true] {
            for rounding in [StepRounding::NearestEven, StepRounding::Any] {
                for dynamic in [false, true] {
                    designs.push(QuantizedBlueprint {
                        convolutional,
                        widths: vec![6, 5, 3],
                        per_channel: seed % 2 == 0,
                        signed: seed % 3 == 0,
                        dynamic,
                        rounding,
                        seed,
                    });
                }
            }
        }
    }
    designs
}

#[test]
fn integer_inference_never_contradicts_a_certificate() {
    let designs = designs();
    let asked = std::env::var("WEIGHTPROOF_INFERENCES").ok().and_then(|n| n.parse::<usize>().ok());
    let draws = asked.map_or(DRAWS, |n| n.div_ceil(designs.len()));
    for design in &designs {
        for counts in [0, 1] {
            assert_eq!(contradiction(design, counts, draws), Ok(()));
        }
    }
}

/// The suite on networks with quantizers whose steps follow from the data.
#[test]
fn dynamic_quantizers_pass_the_suite() {
    for seed in 0..12 {
        let any = seed % 4 == 3;
        let rounding = if any { StepRounding::Any } else { StepRounding::NearestEven };
        let design = dynamic_quantizers(rounding, seed);
        assert_eq!(containment(&design, 4), Ok(()), "{design:?}");
        assert_eq!(emulation(&design), Ok(()), "{design:?}");
        if !any {
            assert_eq!(zero_radius(&design), Ok(()), "{design:?}");
        }
    }
}
