//! What every bound method must satisfy (theory.md §13), for one network.

use crate::networks::{Design, input, rng};
use crate::oracle::{Tried, coordinate_search, margin};
use crate::threats::sets;
use weightproof::bounds::METHODS;
use weightproof::certify::{Certifier, CertifyOptions};
use weightproof::network::{Activation, Layer, Network};
use weightproof::property::Property;
use weightproof::threat::PerturbationSet;
use weightproof::verdict::{Precision, SampleCertificate, Samples};

/// What rounding may do to the forward passes in f64 that bounds are compared with, relative to the size of the numbers involved.
/// Bounds of either precision are rigorous: nothing is added for their own rounding.
pub(crate) const FORWARD_ROUNDING: f64 = 1e-13;

/// How far a rigorous bound of each precision may stay below a margin that nothing moves: what is charged for rounding.
fn charge(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 1e-3,
        Precision::F64 => 1e-9,
    }
}

/// Certifies one sample with every method.
pub fn certificates(
    network: &Network,
    set: &PerturbationSet,
    x: &[f64],
    label: u32,
    options: &CertifyOptions,
) -> SampleCertificate {
    let certifier = Certifier::new(network, std::slice::from_ref(set), options.clone()).expect("a method");
    let labels = [label];
    certifier.certify(Samples { first: 0, inputs: x, labels: Some(&labels) })[0][0]
}

/// Containment, for every threat model, method, precision and property: no sampled, vertex or searched perturbation
/// is worse than a bound says.
///
/// # Errors
/// The first violation, in words.
pub fn containment(design: &impl Design, points: usize) -> Result<(), String> {
    let network = design.build();
    let mut rng = rng(design.seed() ^ 0x5eed);
    for (name, set) in sets(&network) {
        let Tried { x, clean, label, outputs, worst, size } = Tried::new(&network, &set, points, &mut rng);
        let label = label as u32;
        let deviation = |f: &[f64]| f.iter().zip(&clean).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let farthest = outputs.iter().map(|f| deviation(f)).fold(0.0, f64::max);
        let farthest = farthest.max(-coordinate_search(&network, &set, &x, |f| -deviation(f), &mut rng));
        for method in METHODS {
            for precision in [Precision::F64, Precision::F32] {
                let slack = size * FORWARD_ROUNDING;
                let mut options =
                    CertifyOptions { precision, ..CertifyOptions::new(method.name, Property::Label) };
                let bound = certificates(&network, &set, &x, label, &options).margin_lower;
                if !(bound <= worst + slack) {
                    return Err(format!("{} {precision:?} {name}: bound {bound} > {worst}", method.name));
                }
                options.property = Property::Deviation;
                let bound =
                    certificates(&network, &set, &x, label, &options).deviation_upper.expect("asked for");
                if !(bound >= farthest - slack) {
                    return Err(format!(
                        "{} {precision:?} {name}: deviation {bound} < {farthest}",
                        method.name
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Whether a staircase of the network reads a number so close to a jump that what is charged for rounding may be beyond it.
fn is_at_a_jump(network: &Network, x: &[f64]) -> bool {
    let values = network.forward_all(x);
    network.nodes().iter().any(|node| {
        let Layer::Activation(Activation::Quantize(q)) = node.layer else { return false };
        values[node.inputs[0]].iter().any(|p| {
            let near = NEAR_A_JUMP * (1.0 + p.abs());
            let (low, high) = q.range(p - near, p + near);
            low != high
        })
    })
}

/// Of the size of a number (at least 1).
const NEAR_A_JUMP: f64 = 1e-4;

/// At radius zero every method returns the margin of the forward pass, if no quantizer is at a jump.
///
/// # Errors
/// The first difference, in words.
pub fn zero_radius(design: &impl Design) -> Result<(), String> {
    let network = design.build();
    let x = input(network.input_width(), true, &mut rng(design.seed()));
    if is_at_a_jump(&network, &x) {
        return Ok(());
    }
    for (name, set) in sets(&network) {
        let mut set = set.scaled(0.0);
        set.input_radius = 0.0;
        set.activation_radius = 0.0;
        set.layers.iter_mut().for_each(|l| l.bias.fill(0.0));
        for method in METHODS {
            for precision in [Precision::F64, Precision::F32] {
                let options =
                    CertifyOptions { precision, ..CertifyOptions::new(method.name, Property::Label) };
                let found = certificates(&network, &set, &x, 0, &options);
                let exact = margin(&network.forward(&x), 0);
                let size = 1.0 + exact.abs();
                let too_high = found.margin_lower > exact + size * FORWARD_ROUNDING;
                if too_high || !(found.margin_lower >= exact - size * charge(precision)) {
                    return Err(format!("{} {name}: {} != {exact}", method.name, found.margin_lower));
                }
            }
        }
    }
    Ok(())
}
